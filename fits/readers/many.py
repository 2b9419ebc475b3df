"""A folder of logs of any kind, nested or not: one run each.

Law. A folder that one run left (ours, TRL's, an offline W&B run, TensorBoard's) is that run; any other file of
a known format is a run too, called by its path, or by the name it bears where no other run bears it. Run tables
among logs are left out and said; tables alone are read together.
Fails first where one run was logged twice into one folder under two formats: refused where the two agree.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from fits.errors import InputError
from fits.readers.formats import FORMATS, TABLES, columns_of, format_of_file, format_of_folder
from fits.readers.history import Ask, Raw, frame_of
from fits.table import ORIGIN

__all__ = ["Found", "read_folder", "runs_below"]

# Where a log may hide: other files of a folder of runs are nobody's logs.
_SUFFIXES: Final = frozenset(
    {".csv", ".tsv", ".jsonl", ".json", ".log", ".txt", ".out", ".err", ".wandb", ".parquet", ".db"}
)
MOST_FILES: Final = 20_000


@dataclass(frozen=True)
class Found:
    """A run in a folder: its format, its file or folder, and the name its path gives it."""

    format: str
    path: Path
    name: str

    @property
    def is_table(self) -> bool:
        """Whether it is a table of runs rather than the log of one."""
        return self.format in TABLES


def runs_below(top: Path) -> tuple[list[Found], list[str]]:
    """Every run in and below a folder, in order of path, and the files that may be logs but are not known.

    Raises InputError for a folder with more files than MOST_FILES.
    """
    found: list[Found] = []
    unknown: list[str] = []
    seen = 0
    for folder, own, files in _folders(top):
        seen += len(files) + 1
        if seen > MOST_FILES:
            raise InputError(f"{top}: more than {MOST_FILES} files: name a folder further down")
        relative = folder.relative_to(top)
        if own is not None:
            found.append(Found(own, folder, str(relative) if folder != top else top.name))
            continue
        logs: list[tuple[str, Path]] = []
        for file in files:
            try:
                format = format_of_file(file)
            except InputError:
                format = None
            if format is None or (format in TABLES and not _has_runs(file, format)):
                unknown.append(str(file.relative_to(top)))
            else:
                logs.append((format, file))
        alone = len([1 for format, _ in logs if format not in TABLES]) == 1 and folder != top
        found.extend(
            Found(
                format,
                file,
                str(relative) if alone else str((relative / file.name).with_suffix("")),
            )
            for format, file in logs
        )
    return found, unknown


def _folders(top: Path) -> Iterator[tuple[Path, str | None, list[Path]]]:
    """(folder, format of the run that it is, files that may be logs) in order of path."""
    own = format_of_folder(top)
    children = sorted(top.iterdir()) if own is None else []
    files = [
        child
        for child in children
        if (child.suffix in _SUFFIXES or not child.suffix)
        and child.is_file()
        and not child.name.startswith((".", "_"))
    ]
    yield top, own, files
    for child in children:
        if child.is_dir() and not child.is_symlink() and not child.name.startswith("."):
            yield from _folders(child)


def _has_runs(file: Path, format: str) -> bool:
    """Whether a table among logs is a run table; it is for its own name to say so where it is not read."""
    if format == "grid":
        return True
    try:
        return {"run_id", "accuracy"} <= set(columns_of(file, format))
    except InputError:
        return False


def read_folder(top: Path, ask: Ask) -> Raw:
    """The evaluations of all runs in and below a folder, as raw run-table rows.

    Raises InputError where there are none, or where one of them cannot be read.
    """
    found, unknown = runs_below(top) if top.is_dir() else ([], [])
    if not found:
        raise InputError(f"{top}: a folder with no runs in it")
    logs = [run for run in found if not run.is_table]
    notes: list[str] = []
    tables = [run for run in found if run.is_table]
    if logs and tables:
        notes.append(
            f"run tables among the logs are left out: {_few(str(t.path.name) for t in tables)}"
        )
    if unknown:
        notes.append(f"no log recognised in: {_few(unknown)}")
    parts = [(run, FORMATS[run.format][1](run.path, ask)) for run in logs or tables]
    _one_metric(top, parts)
    names = _names(parts)
    _no_run_twice(top, parts, names)
    rows: list[dict[str, Any]] = []
    for (run, raw), called in zip(parts, names, strict=True):
        notes.extend(raw.notes)
        for row in raw.frame.to_dict("records"):
            cells = {str(name): cell for name, cell in row.items()}
            if not run.is_table:
                cells["run_id"] = called[str(cells["run_id"])]
            if ORIGIN in cells:
                cells[ORIGIN] = f"{run.name}, {cells[ORIGIN]}"
            rows.append(cells)
    renamed = sum(old != new for called in names for old, new in called.items())
    if renamed and any(not run.is_table for run, _ in parts):
        notes.append(f"{renamed} runs are named by their path")
    measured = {raw.measured for _, raw in parts}
    taken = frozenset.intersection(*(raw.taken for _, raw in parts))
    name = measured.pop() if len(measured) == 1 else "accuracy"
    return Raw(frame_of(rows, source=str(top)), tuple(dict.fromkeys(notes)), name, taken)


def _one_metric(top: Path, parts: list[tuple[Found, Raw]]) -> None:
    """Refuse logs of one format in which different values were taken for the accuracy."""
    taken: dict[str, tuple[Found, str]] = {}
    for found, raw in parts:
        if found.is_table:
            continue
        other, name = taken.setdefault(found.format, (found, raw.measured))
        if _plain(name) != _plain(raw.measured):
            raise InputError(
                f"{top}: the accuracy is {name!r} in {other.name} and {raw.measured!r} in {found.name}: one measure?"
                " --metric chooses one that all have; if they are one, import them apart and read the tables"
                " together"
            )


def _plain(name: str) -> str:
    """The name of a value without what trainers put before that of an evaluation's."""
    return re.sub(r"^eval[/_.]", "", name.lower())


def _few(names: Any) -> str:
    listed = list(names)
    return ", ".join(listed[:6]) + (f" and {len(listed) - 6} more" if len(listed) > 6 else "")


def _names(parts: list[tuple[Found, Raw]]) -> list[Mapping[str, str]]:
    """For each log, its runs' names in the whole: their own where no other has it, else by path."""
    own = [
        list(dict.fromkeys(str(run) for run in raw.frame.get("run_id", pd.Series(dtype=str))))
        for _, raw in parts
    ]
    count = Counter(run for runs in own for run in runs)
    called: list[Mapping[str, str]] = []
    for (found, _), runs in zip(parts, own, strict=True):
        # The stem of a file is its reader's last resort: train.log says nothing of the run.
        nameless = found.path.stem if found.path.is_file() else None
        by_path = {run: f"{found.name}/{run}" if len(runs) > 1 else found.name for run in runs}
        called.append(
            {run: run if count[run] == 1 and run != nameless else by_path[run] for run in runs}
        )
    return called


def _no_run_twice(
    top: Path, parts: list[tuple[Found, Raw]], names: list[Mapping[str, str]]
) -> None:
    """Refuse two logs of different formats, side by side or one below the other, that tell one curve."""
    curves: dict[str, list[tuple[Found, dict[int, float]]]] = {}
    for (found, raw), called in zip(parts, names, strict=True):
        if found.is_table or len(called) != 1 or "step" not in raw.frame:
            continue
        values = pd.to_numeric(raw.frame["accuracy"], errors="coerce")
        curve = dict(zip(raw.frame["step"].tolist(), values.tolist(), strict=True))
        parts_of_path = found.path.relative_to(top).parts
        beside = parts_of_path[0] if found.path.is_dir() or len(parts_of_path) > 1 else ""
        for other, told in curves.setdefault(beside, []):
            common = [step for step in curve if step in told]
            same = all(math.isclose(curve[step], told[step], abs_tol=1e-6) for step in common)
            kinds = {(run.format, run.path.suffix) for run in (other, found)}
            if len(kinds) > 1 and len(common) > 1 and same:
                raise InputError(
                    f"{top}: {other.path.relative_to(top)} and {found.path.relative_to(top)} tell the same"
                    " evaluations: one run logged twice? Keep one of them"
                )
        curves[beside].append((found, curve))
