"""CSV and Parquet tables."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pandas as pd

from fits.errors import InputError
from fits.table import ORIGIN

__all__ = ["csv_header", "read_csv", "read_parquet", "read_text"]


def read_text(path: Path) -> str:
    """The text of `path`.

    Raises InputError where it is a folder, unreadable, empty, or not text.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder, a file was expected")
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file or folder") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if not raw.strip():
        raise InputError(f"{path}: is empty")
    if b"\0" in raw:
        raise InputError(f"{path}: is binary, not text (byte 0 at offset {raw.index(0)})")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text (offset {error.start})") from None


def csv_header(path: Path, text: str) -> list[str]:
    """The column names in the first line of a CSV (or .tsv) file's text.

    Raises InputError where that line is no CSV.
    """
    first = next((line for line in text.splitlines() if line), "")
    try:
        return [name.strip() for name in next(csv.reader([first], delimiter=_delimiter(path)), [])]
    except csv.Error as error:
        raise InputError(f"{path}, line 1: {error}") from None


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix == ".tsv" else ","


def read_csv(path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """All cells of a CSV (or .tsv) file as text, with each row's place; and notes on repairs.

    A last line cut short is dropped and said. Raises InputError naming a line with too few or too
    many cells, and for files that are empty, binary or without rows.
    """
    text = read_text(path)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=_delimiter(path), strict=True)
    lines: list[tuple[int, list[str]]] = []
    failure = ""
    try:
        for cells in reader:
            if cells:
                lines.append((reader.line_num, cells))  # noqa: PERF401 (keeps what precedes an error)
    except csv.Error as error:
        failure = f"line {reader.line_num}: {error}"
    if not lines:
        raise InputError(f"{path}: {failure or 'is empty'}")
    names = [name.strip() for name in lines[0][1]]
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise InputError(f"{path}: two columns are called {twice!r}")
    notes: list[str] = []
    body = lines[1:]
    torn = not text.endswith("\n")
    if failure:
        # An unterminated quote swallows the rest of the file: only a torn end is repairable.
        if not torn:
            raise InputError(f"{path}: {failure}")
        notes.append(f"{failure}: last line cut short, dropped")
    elif body and torn and len(body[-1][1]) < len(names):
        notes.append(f"line {body[-1][0]}: last line cut short, dropped")
        body = body[:-1]
    for row, (line, cells) in enumerate(body, start=1):
        if len(cells) != len(names):
            raise InputError(
                f"{path}, row {row} (line {line}): {len(cells)} cells under {len(names)} columns"
            )
    if not body:
        raise InputError(f"{path}: a header and no rows")
    columns: dict[str, Any] = {
        name: pd.Series([cells[i] for _, cells in body], dtype=object)
        for i, name in enumerate(names)
    }
    columns[ORIGIN] = [f"row {row} (line {line})" for row, (line, _) in enumerate(body, start=1)]
    return pd.DataFrame(columns), tuple(notes)


def read_parquet(path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """A Parquet table; a null accuracy stays apart from a NaN one.

    Raises InputError where the file is no Parquet file or has no rows.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        arrow = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: is no readable Parquet file ({error})") from None
    if not arrow.num_rows:
        raise InputError(f"{path}: no rows")
    frame: pd.DataFrame = arrow.to_pandas()
    for name in arrow.column_names:
        column = arrow.column(name)
        if name == "accuracy" and column.null_count:
            frame[name] = pd.Series(column.to_pylist(), dtype=object)
    frame[ORIGIN] = [f"row {i + 1}" for i in range(len(frame))]
    return frame, ()
