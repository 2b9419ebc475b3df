"""A report of runs, and of the results beside them."""

from __future__ import annotations

import hashlib
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from empirical.machine import releases
from fits import GapReport, InputError, RunTable, gap_report
from fits.answers import Answer, no_answers, three_answers
from fits.curves import MeanCurve, mean_curves
from fits.files import file_bytes
from fits.plain import plain
from fits.selection import Selection, select
from fits.table import CUMULATIVE, IN_MEMORY, varying
from verigap import __version__
from verigap.errors import UserError
from verigap.face.base import RunsLike, Shown, Words, selection_of, table_of, verb
from verigap.pages.beside import Document, documents_beside, read_document, sha256_of
from verigap.pages.contents import contents
from verigap.pages.layout import FORMATS, SUFFIXES, html_of, write_report
from verigap.pages.model import Report

if TYPE_CHECKING:
    from empirical.explorer import Explorer
    from empirical.validate.forecast import Validation

CLEAN: Final = "fpr=0,fnr=0"


@dataclass(frozen=True, repr=False)
class Reported(Shown):
    """A report: answers, the gap behind them, the forecast if asked for, the results beside, and the page.

    gap: None where `gap_reason` says why, and then `curves` are the mean accuracies of the conditions.
    """

    answers: tuple[Answer, ...]
    gap: GapReport | None
    gap_reason: str
    curves: tuple[MeanCurve, ...]
    forecast: Mapping[str, Any] | None
    beside: tuple[Document, ...]
    notes: tuple[str, ...]
    provenance: Mapping[str, str]
    page: Report = field(metadata={"plain": False})
    table: RunTable | None = field(metadata={"plain": False})
    validation: Validation | None = field(metadata={"plain": False})
    explorer: Explorer | None = field(metadata={"plain": False})

    def to_frame(self) -> pd.DataFrame:
        """A row per question."""
        return pd.DataFrame(
            {"question": one.question, "answer": one.answer} for one in self.answers
        )

    def headline(self) -> str:  # noqa: D102
        return self.page.title

    def remarks(self) -> Sequence[str]:  # noqa: D102
        return [line for one in self.answers for line in one.because]

    def html(self) -> str:
        """The page, one HTML document that loads nothing."""
        return html_of(self.page)

    def write(self, path: str | Path, *, format: str | None = None) -> Path:
        """Write the report and return its path. format: "html", "md" or "pdf"; None: by the suffix, HTML without one.

        Raises UserError for another format or a suffix of another, a path that cannot be written, or a PDF without
        Chromium.
        """
        chosen = format_of(Path(path), format)
        try:
            write_report(self.page, Path(path), chosen)  # pyright: ignore[reportArgumentType]
        except InputError as error:
            raise UserError(str(error)) from error
        return Path(path)


def format_of(path: Path, format: str | None) -> str:
    """The format of a page: as said, else by the suffix of its path, HTML where it has none.

    Raises UserError for another format, for a suffix of none where none is said, and for one of another than is said.
    """
    if format is not None and format not in FORMATS:
        raise UserError(f"format {format!r}: must be {', '.join(FORMATS)}")
    named = SUFFIXES.get(path.suffix.lower())
    if format is None and named is None and path.suffix:
        raise UserError(
            f"{path}: write to a file ending in {', '.join(SUFFIXES)}, or name its form: --format {', '.join(FORMATS)}"
        )
    if format is not None and named not in (None, format):
        raise UserError(
            f"{path}: ends as --format {named} does, and --format {format} was asked for"
        )
    return format or named or "html"


@verb
def report(
    runs: RunsLike | None = None,
    *,
    clean: Words | Selection = None,
    delta: float = 0.01,
    x: str | None = None,
    group: str | None = None,
    law: str = "auto",
    loss: str = "auto",
    calibrate_on: Words | Selection = None,
    warmup_steps: float | None = None,
    explorer: bool = False,
    beside: str | Path | Document | Sequence[str | Path | Document] | None = None,
    where: Words = None,
    title: str | None = None,
    words: str | None = None,
    command: str | None = None,
    notes: Sequence[str] = (),
) -> Reported:
    """A report of runs: the three answers, gaps and verdicts, prices, worth, forecast, and results beside them.

    runs: a run table, a data frame of one, or a path; None where there are only results. clean, delta, x, group, law,
    loss: as for `gap`; without a clean arm by default, accuracies are reported and the reason given; x None: rollouts,
    else the first axis that the table has. calibrate_on: rows to calibrate the forecast on (None: no forecast),
    warmup_steps: as for `validate`. explorer: also sliders over forecasts for any verifier, calibrated on those rows
    (the clean arm, where none are named). beside: files that audit, plan, probe or validate printed with --json; those
    in the folder of a path `runs` are found by themselves. where: rows to keep. title: of the page. words: RUNS and its
    options as the page's commands shall name them; command: what remakes the page. notes: what else it is to say.
    Returns the answers and all results; `html()` is the page, `write(path)` writes HTML, Markdown or PDF.
    Raises UserError naming what is missing or out of range.
    Source: docs/contract.md#verigap-report.
    """
    named = [beside] if isinstance(beside, str | Path | Document) else list(beside or ())
    by_itself, lost = _found(runs)
    found = [
        *by_itself,
        *(one if isinstance(one, Document) else read_document(Path(one)) for one in named),
    ]
    documents = tuple({one.path.resolve(): one for one in found}.values())
    remarks = (*lost, *notes)
    table = None if runs is None else table_of(runs, where).noting(*remarks)
    if table is None and not documents:
        raise UserError("a report needs runs, or results of audit, plan, probe or validate")
    gap: GapReport | None = None
    reason, lacking = "no runs were named" if table is None else "", ""
    curves: tuple[MeanCurve, ...] = ()
    axis = "rollouts" if table is None else _axis(table, x)
    if table is not None:
        chosen = selection_of("clean", CLEAN if clean is None else clean)
        gap, reason, lacking = _gap(table, chosen, clean is None, delta, axis, group, law, loss)
        if gap is None and axis in table.frame.columns:
            curves = mean_curves(table.frame, axis, group=group, source=table.source)
    validation = None
    if calibrate_on is not None:
        if table is None:
            raise UserError("--calibrate-on needs runs")
        from empirical.validate.forecast import validate_forecast

        warmup = {} if warmup_steps is None else {"warmup_steps": warmup_steps}
        validation = validate_forecast(
            table.frame.assign(**warmup),
            calibrate_on=selection_of("calibrate_on", calibrate_on),
            group="arm" if group is None and "arm" in table.frame.columns else group,
            source=table.source,
        )
    explored: Explorer | None = None
    if explorer:
        if table is None:
            raise UserError("--explorer needs runs to calibrate on")
        from empirical.explorer import explorer_of

        chosen = calibrate_on or clean or CLEAN
        explored = explorer_of(
            table.frame, calibrate_on=selection_of("calibrate_on", chosen), source=table.source
        )
    answers: tuple[Answer, ...] = ()
    if gap is not None:
        answers = three_answers(gap)
    elif table is not None:
        answers = no_answers(reason, lacking=lacking)
    source = "results" if table is None else table.source
    unsaved = table is not None and table.format == IN_MEMORY
    spoken = words or ("RUNS" if unsaved else shlex.quote(source))
    asked = "frame" if unsaved else repr(source)
    made = _provenance(table, documents, command or f"vg.report({asked}).write('report.html')")
    page = contents(
        title=title or f"What the verifier costs: {_called(Path(source))}",
        lead="Results of other commands, without runs." if table is None else _lead(table, axis),
        answers=answers,
        gap=gap,
        curves=curves,
        x=axis,
        validation=validation,
        beside=documents,
        group_size=_size(table),
        words=spoken,
        data=_data(table, remarks),
        provenance=made,
        explorer=explored,
    )
    return Reported(
        answers=tuple(answers),
        gap=gap,
        gap_reason=reason,
        curves=curves,
        forecast=None if validation is None else plain(validation.report),
        beside=documents,
        notes=remarks if table is None else (*table.notes, *(gap.notes if gap else ())),
        provenance=made,
        page=page,
        table=table,
        validation=validation,
        explorer=explored,
    )


def _found(runs: RunsLike | None) -> tuple[tuple[Document, ...], tuple[str, ...]]:
    """The results that lie in the folder of runs that are named by a path, and what is to be said of others."""
    if not isinstance(runs, str | Path):
        return (), ()
    path = Path(runs)
    return documents_beside(path) if path.exists() else ((), ())


def _called(source: Path) -> str:
    """What runs are called: their file, or the folder of a run table."""
    name = source.resolve().parent.name if source.stem == "runs" else source.stem
    return name or str(source)


def _axis(table: RunTable, x: str | None) -> str:
    """The compute axis: as asked, else the first that the table has whole."""
    if x is not None:
        return x
    for name in (*CUMULATIVE, "step"):
        if name in table.frame.columns and table.frame[name].notna().all():
            return name
    return "rollouts"


def _gap(
    table: RunTable,
    clean: Selection,
    by_default: bool,
    delta: float,
    x: str,
    group: str | None,
    law: str,
    loss: str,
) -> tuple[GapReport | None, str, str]:
    """The gap report; or why there is none and which arm is lacking, where nobody said which is clean.

    Lacking are the clean one, where none is by its rates, or the noisy ones, where all are.
    """
    frame = table.frame
    columns = {c.column for conjunction in clean.alternatives for c in conjunction}
    there = columns <= set(frame.columns)
    is_clean = select(frame, clean, source=table.source) if there else None
    try:
        report = gap_report(
            frame,
            clean=clean,
            delta=delta,
            x=x,
            group=group,
            law=law,
            loss=loss,
            frontier=is_clean is not None
            and bool(varying(frame[is_clean], ["group_size"]))
            and x in frame.columns,
            source=table.source,
        )
    except InputError as error:
        if (
            by_default
            and 0.0 < delta < 1.0
            and (is_clean is None or is_clean.all() or not is_clean.any())
        ):
            return None, str(error), "noisy" if is_clean is not None and is_clean.all() else "clean"
        raise
    return report, "", ""


def _size(table: RunTable | None) -> int | None:
    if table is None or "group_size" not in table.frame.columns:
        return None
    sizes = table.frame["group_size"].dropna().unique()
    return int(sizes[0]) if len(sizes) == 1 else None


def _lead(table: RunTable, x: str) -> str:
    frame = table.frame
    runs = frame["run_id"].nunique()
    parts = [f"{runs:,} run{'s' if runs > 1 else ''}, {len(frame):,} evaluations"]
    for name, words in (("arm", "arms"), ("seed", "seeds"), ("group_size", "rollouts a prompt")):
        if name in frame.columns and frame[name].notna().any():
            values = sorted(frame[name].dropna().unique())
            if name == "group_size":
                parts.append(f"{', '.join(f'{value:g}' for value in values[:6])} {words}")
            elif len(values) > 1:
                parts.append(f"{len(values)} {words}")
    if x in frame.columns:
        parts.append(f"up to {float(frame[x].max()):,g} {x}")
    return "; ".join(parts) + "."


def _data(table: RunTable | None, remarks: Sequence[str]) -> dict[str, str]:
    from fits import FORMATS

    if table is None:
        return {"on reading": "; ".join(remarks)} if remarks else {}
    frame = table.frame
    told = {
        "read as": table.format if table.format == IN_MEMORY else FORMATS[table.format][0],
        "columns": ", ".join(str(name) for name in frame.columns),
    }
    if "n_eval" in frame.columns and frame["n_eval"].notna().any():
        low, high = int(frame["n_eval"].min()), int(frame["n_eval"].max())
        told["samples behind an accuracy"] = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    if table.notes:
        told["on reading"] = "; ".join(table.notes)
    return told


def _provenance(
    table: RunTable | None, documents: Sequence[Document], command: str
) -> dict[str, str]:
    installed = releases(("numpy", "scipy", "numba", "pandas"))
    versions = ", ".join(f"{name} {version}" for name, version in installed.items())
    told: dict[str, str] = {}
    if table is not None:
        path = Path(table.source)
        digest = (
            f"sha256 {sha256_of(file_bytes(path))}"
            if path.is_file()
            else f"sha256 of its run table, as CSV: {_digest(table.frame)}"
        )
        saved = " (saved as a table, RUNS of this page's commands)" * (table.format == IN_MEMORY)
        told["runs"] = f"{table.source}{saved}, {digest}"
    told |= {f"beside: {one.path.name}": f"sha256 {one.digest}" for one in documents}
    told["remade by"] = command
    told["made by"] = f"verigap {__version__}, Python {platform.python_version()}, {versions}"
    told["figures"] = "uPlot (MIT), held in this file; nothing is loaded from anywhere"
    return told


def _digest(frame: pd.DataFrame) -> str:
    return hashlib.sha256(frame.to_csv(index=False).encode()).hexdigest()
