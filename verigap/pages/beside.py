"""Results of other commands as parts of a report: what lies beside the runs, recognised by what it holds.

Law. A document is what `verigap audit`, `plan`, `probe` or `validate` prints with `--json`: KINDS names the keys that
only it has. Every number shown is read from the document; a value that is not there is a dash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fits.errors import InputError
from fits.files import file_bytes
from fits.plain import json_text
from fits.readers.jsonl import TornJsonError, parse_json
from verigap.pages.model import Section, Span, Table

__all__ = [
    "KINDS",
    "Document",
    "document_of",
    "documents_beside",
    "documents_in",
    "read_document",
    "section_of",
    "sha256_of",
]

DASH: Final = "–"
KINDS: Final[Mapping[str, frozenset[str]]] = {
    "audit": frozenset({"fpr", "fnr", "youden", "effective_rollouts", "clusters", "segments"}),
    "plan": frozenset({"advice", "levers", "assumptions"}),
    "probe": frozenset({"arms", "snr2", "noise_scale", "pass_rate"}),
    "validate": frozenset({"rmse", "coverage90", "by_group", "baselines", "noise_floor"}),
}
MOST_BYTES: Final = 16 << 20
MOST_LOOKED_AT: Final = 200  # files beside the runs


@dataclass(frozen=True)
class Document:
    """A result of another command. kind: of KINDS. digest: sha256 of the file."""

    kind: str
    path: Path
    content: Mapping[str, Any]
    digest: str


def sha256_of(raw: bytes) -> str:
    """The hash by which a file is named."""
    return hashlib.sha256(raw).hexdigest()


def _kind(content: object) -> str | None:
    if not isinstance(content, dict):
        return None
    return next((kind for kind, keys in KINDS.items() if keys <= content.keys()), None)


def read_document(path: Path) -> Document:
    """The result in a file. Raises InputError where it is none of ours."""
    found = _read(path)
    if found is None:
        raise InputError(f"{path}: is no JSON that verigap {', '.join(KINDS)} printed")
    return found


def _read(path: Path) -> Document | None:
    """None of what is JSON and not ours. Raises InputError: TornJsonError where it is no JSON."""
    try:
        raw = file_bytes(path, most=MOST_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        content = parse_json(raw.decode("utf-8"), source=str(path))
    except UnicodeDecodeError:
        raise TornJsonError(f"{path}: is no JSON (no UTF-8)") from None
    except TornJsonError:
        raise
    except InputError:
        return None
    kind = _kind(content)
    return None if kind is None else Document(kind, path, content, sha256_of(raw))


def document_of(content: Mapping[str, Any], path: Path) -> Document:
    """A result at hand, as if it had been read from `path`. Raises InputError where it is none of ours."""
    kind = _kind(content)
    if kind is None:
        raise InputError(f"{path}: is no result that verigap {', '.join(KINDS)} printed")
    return Document(kind, path, content, sha256_of(json_text(content).encode()))


def documents_in(folder: Path) -> tuple[tuple[Document, ...], tuple[str, ...]]:
    """The results among the .json files of a folder, by name, and which files are no JSON, as a torn result is.

    The first MOST_LOOKED_AT files are looked at.
    """
    found: list[Document] = []
    lost: list[str] = []
    for path in sorted(folder.glob("*.json"))[:MOST_LOOKED_AT]:
        try:
            one = _read(path) if path.is_file() else None
        except TornJsonError as error:
            one = None
            lost.append(f"{error}: left out")
        except InputError:
            one = None  # too large, or not ours to read
        if one is not None:
            found.append(one)
    return tuple(found), tuple(lost)


def documents_beside(runs: Path) -> tuple[tuple[Document, ...], tuple[str, ...]]:
    """`documents_in` the folder that `runs` is, or lies in; nothing where there is no such folder."""
    folder = runs if runs.is_dir() else runs.parent
    return documents_in(folder) if folder.is_dir() else ((), ())


def section_of(one: Document) -> Section:
    """What a document says, as a section. Raises InputError where it is not laid out as its command does it."""
    try:
        return _SECTIONS[one.kind](one)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        raise InputError(
            f"{one.path}: is not as verigap {one.kind} printed it: damaged or of another version"
        ) from None


def number(value: Any, spec: str = ".3f") -> str:
    """A number, or a dash."""
    return format(value, spec) if isinstance(value, int | float) else DASH


def span(value: Any, ci: Any, spec: str = ".3f") -> Span:
    """A number and its interval, as text and as a drawing."""
    ends = tuple(ci) if isinstance(ci, list | tuple) and None not in ci else None
    text = number(value, spec)
    if ends is not None and len(ends) == 2:
        low, high = float(ends[0]), float(ends[1])
        return Span(f"{text} [{low:{spec}}, {high:{spec}}]", value, (low, high))
    return Span(text, value if isinstance(value, int | float) else None)


def reach(cells: Iterable[str | Span], *within: float) -> tuple[float, float]:
    """A scale that holds every span among the cells and the points `within`."""
    ends = [*within]
    for one in cells:
        if isinstance(one, str):
            continue
        ends += [end for end in (one.value, *(one.ci or ())) if end is not None]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    room = 0.04 * (high - low) or 0.5
    return low - room, high + room


def _lines(values: Any) -> tuple[str, ...]:
    return tuple(str(one) for one in values) if isinstance(values, list) else ()


def _audit(one: Document) -> Section:
    content = one.content
    cells = content.get("cells")
    names = (
        ("fpr", "fpr"),
        ("fnr", "fnr"),
        ("youden", "J"),
        ("effective_rollouts", "worth, in clean rollouts"),
    )
    parts: list[Mapping[str, Any]] = cells if isinstance(cells, list) and cells else [content]
    rows = [
        (
            str(part.get("group") or "the verifier"),
            *(span(part.get(key), part.get(f"{key}_ci")) for key, _ in names),
        )
        for part in parts
    ]
    columns = ("verifier", *(words for _, words in names))
    scales = {
        words: reach((row[at + 1] for row in rows), 0.0) for at, (_, words) in enumerate(names)
    }
    n, clusters = content.get("n"), content.get("clusters")
    said = [
        f"From {n:,} labelled and judged rollouts of {clusters:,} prompts; rollouts of one prompt count together."
        if isinstance(n, int) and isinstance(clusters, int)
        else "From logged rewards held against accuracies."
    ]
    segments = content.get("segments")
    said += [
        f"Systematic {one.get('error')}: {one.get('errors')} of {one.get('n')} where {one.get('segment')}."
        for one in (segments if isinstance(segments, list) else [])
    ]
    said += [f"Assumed: {line}." for line in _lines(content.get("assumptions"))]
    said += [f"Warning: {line}." for line in _lines(content.get("warnings"))]
    table = Table(columns, tuple(rows), frozenset({"verifier"}), scales=scales)
    return Section(f"Audit of the verifier: {one.path.name}", tuple(said), tables=(table,))


def _plan(one: Document) -> Section:
    content = one.content
    levers: list[Mapping[str, Any]] = content["levers"]
    rows = [
        (
            str(lever.get("name")),
            span(lever.get("accuracy_gain"), lever.get("ci"), "+.3f"),
            span(
                lever.get("effective_rollouts_gain"),
                lever.get("effective_rollouts_gain_ci"),
                "+.2f",
            ),
            number(lever.get("cost"), ".2f"),
        )
        for lever in levers
    ]
    columns = ("lever", "accuracy gained", "effective rollouts gained", "times the cost")
    scales = {columns[at]: reach((row[at] for row in rows), 0.0) for at in (1, 2)}
    said = (
        str(content["advice"]),
        *(f"Assumed: {line}." for line in _lines(content["assumptions"])),
    )
    table = Table(columns, tuple(rows), frozenset({"lever"}), scales=scales)
    return Section(f"What to fix first: {one.path.name}", said, tables=(table,))


def _probe(one: Document) -> Section:
    content = one.content
    arms: list[Mapping[str, Any]] = content["arms"]
    rows = [
        (
            str(arm.get("arm")),
            number(arm.get("fpr"), "g"),
            number(arm.get("fnr"), "g"),
            span(arm.get("relative_speed"), arm.get("ci")),
            span(arm.get("effective_rollouts"), arm.get("effective_rollouts_ci"), ".2f"),
        )
        for arm in arms
    ]
    columns = ("arm", "fpr", "fnr", "speed beside a clean verifier", "effective rollouts")
    scales = {columns[at]: reach((row[at] for row in rows), 0.0) for at in (3, 4)}
    said = (
        f"At one checkpoint ({content.get('model', 'the model')}), without training: pass rate"
        f" {span(content['pass_rate'], content.get('pass_rate_ci')).text}, squared signal-to-noise of a group"
        f" {span(content['snr2'], content.get('snr2_ci')).text}, noise scale {number(content['noise_scale'], '.2f')}.",
        *(f"Assumed: {line}." for line in _lines(content.get("assumptions"))),
    )
    table = Table(columns, tuple(rows), frozenset({"arm"}), scales=scales)
    return Section(f"Probe of the gradient: {one.path.name}", said, tables=(table,))


def _validate(one: Document) -> Section:
    return forecast_section(one.content, f"Forecast against measured: {one.path.name}")


def forecast_section(content: Mapping[str, Any], heading: str) -> Section:
    """How well the simulator forecast what it was not shown, beside baselines: from what `validate` prints."""
    baselines: Mapping[str, Mapping[str, Any]] = content["baselines"]
    by_group: Mapping[str, Mapping[str, Any]] = content["by_group"]
    rows: list[tuple[str | Span, ...]] = [
        ("verigap", number(content["rmse"], ".4f"), "", "the simulator")
    ]
    for name, base in baselines.items():
        difference = span(base.get("difference"), base.get("difference_ci"), "+.4f")
        known = base.get("rmse") is not None
        rows.append(
            (
                name,
                number(base.get("rmse"), ".4f") if known else "unidentified",
                difference if known else DASH,
                str(base.get("formula", "")),
            )
        )
    rows.append(("noise floor", number(content["noise_floor"], ".4f"), "", "a perfect forecast"))
    columns = ("forecast by", "RMSE", "verigap's less this one's", "law")
    scored = Table(
        columns,
        tuple(rows),
        frozenset({"forecast by", "law"}),
        note="Intervals are 95 % over groups: below 0 where verigap is better.",
        scales={columns[2]: reach((row[2] for row in rows), 0.0)},
    )
    known = [(name, base) for name, base in baselines.items() if base.get("rmse") is not None]
    best = min(known, key=lambda each: each[1]["rmse"], default=None)
    group_columns = ("group", "evaluations", "RMSE", "bias", "in 90 %") + (
        (f"RMSE of {best[0]}",) if best else ()
    )
    groups = Table(
        group_columns,
        tuple(
            (
                label,
                number(score.get("rows"), ",d"),
                number(score.get("rmse"), ".4f"),
                number(score.get("bias"), "+.4f"),
                number(score.get("coverage90"), ".0%"),
                *((number(best[1]["by_group"][label].get("rmse"), ".4f"),) if best else ()),
            )
            for label, score in by_group.items()
        ),
        frozenset({"group"}),
    )
    low, high = content["coverage90_ci"]
    parameters: Mapping[str, Mapping[str, Any]] = content.get("parameters", {})
    open_ = [name for name, one in parameters.items() if one.get("status") == "unidentified"]
    said = [
        f"The simulator was calibrated on {content['calibration_rows']:,} evaluations ({content['calibrated_on']}) and"
        f" then forecast the other {content['forecast_rows']:,}. Its error is {content['rmse']:.4f} (root mean square);"
        f" its 90 % intervals hold {content['coverage90']:.1%} [{low:.1%}, {high:.1%}] of them.",
        "Baselines are forecasts that cost nothing, from the same evaluations; unidentified: those evaluations leave"
        " the baseline's forecast open.",
    ]
    if open_:
        said.append(f"Left to priors: {', '.join(open_)}.")
    said += [f"{line}." for line in _lines(content.get("notes"))]
    return Section(heading, tuple(said), tables=(scored, groups))


_SECTIONS: Final[Mapping[str, Callable[[Document], Section]]] = {
    "audit": _audit,
    "plan": _plan,
    "probe": _probe,
    "validate": _validate,
}
