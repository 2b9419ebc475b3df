"""JSON and JSON lines: one object a line, each with its place; a torn last line is dropped and said.

Law. An object names a key once, and a line holds one object. Files of plain values are parsed by Arrow
in bulk; any other, and any with an error to name, line by line: the two agree wherever both read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from fits.errors import InputError
from fits.files import DEEPEST
from fits.readers.text import frame_from_arrow, lines_of, places, read_text, refuse_wide
from fits.table import COLUMNS, ORIGIN

__all__ = ["TornJsonError", "json_table", "parse_json", "read_json", "read_json_lines"]

_KNOWN: Final = frozenset(column.name for column in COLUMNS)


class TornJsonError(InputError):
    """Text that is no JSON, as a line cut short is not."""


# Half of a character written as two escapes: no text that can be written again.
_HALF: Final = re.compile(r"\\u[dD][89a-fA-F]")


_LONG: Final = re.compile(r"[0-9]{309}")


def _float_holds(digits: str) -> int:
    """A whole number. Raises ValueError where no float holds it, and no step or accuracy is so large."""
    if len(digits.lstrip("-")) > 308:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


class _TwiceError(ValueError):
    """A key given twice, which plain JSON answers by forgetting the first."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(next(name for i, name in enumerate(names) if name in names[:i]))
    return made


def parse_json(text: str, *, source: str) -> Any:
    """The JSON value in `text`.

    Raises InputError naming `source`: TornJsonError where it is no JSON, the plain one where it is JSON
    that gives a key twice, nests deeper than DEEPEST, holds half a character or a number of a size that Python
    declines to hold.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object)
        if _LONG.search(text):  # in a text it may stand
            json.loads(text, parse_int=_float_holds)
        if _HALF.search(text):
            json.dumps(value, ensure_ascii=False).encode()
        if text.count("{") + text.count("[") > DEEPEST and _deeper(value, DEEPEST):
            raise RecursionError
        return value
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if "\n" in text.strip() else ""
        raise TornJsonError(f"{source}{line}: is no JSON ({error.msg})") from None
    except _TwiceError as error:
        raise InputError(f"{source}: the key {str(error)!r} is given twice") from None
    except UnicodeEncodeError:
        raise InputError(f"{source}: a text holds half a character (a lone surrogate)") from None
    except ValueError as error:
        raise InputError(f"{source}: {str(error).partition(';')[0]}") from None
    except RecursionError:
        raise InputError(f"{source}: is nested more than {DEEPEST} levels deep") from None


def _deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects nest more than `levels` deep."""
    layer: list[Any] = [value]
    for _ in range(levels + 1):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, list | dict)
        ]
        if not layer:
            return False
    return True


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`. Raises InputError where it holds none."""
    value = parse_json(read_text(path), source=str(path))
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds no JSON object")
    return value


def read_json_lines(path: Path) -> tuple[list[tuple[int, dict[str, Any]]], tuple[str, ...]]:
    """(line number, object) for each line; a torn last line is dropped and said in the notes.

    Raises InputError naming any other line that is not a JSON object.
    """
    rows: list[tuple[int, dict[str, Any]]] = []
    lines = [(i, line) for i, line in enumerate(lines_of(read_text(path)), start=1) if line.strip()]
    for place, (number, line) in enumerate(lines):
        try:
            row = parse_json(line, source=f"{path}, line {number}")
        except TornJsonError:
            if place < len(lines) - 1:
                raise
            return rows, (f"{path.name}, line {number}: last line cut short, dropped",)
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: is no JSON object: {line[:40]}")
        rows.append((number, row))
    return rows, ()


def json_table(path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The lines of a file as rows of cells, each with its place; and notes on repairs.

    Raises InputError as `read_json_lines` does, and where no line is whole.
    """
    frame = _parsed_by_arrow(path)
    if frame is not None:
        return frame, ()
    lines, torn = read_json_lines(path)
    if not lines:
        raise InputError(f"{path}: {'; '.join(torn) or 'no rows'}")
    lines = [
        (number, _flat(row, source=f"{path}, line {number}") if _nested(row) else row)
        for number, row in lines
    ]
    names = dict.fromkeys(name for _, row in lines for name in row)
    values = sum(len(row) for _, row in lines)
    refuse_wide(len(names), rows=len(lines), values=values, source=str(path))
    cells: dict[str, Any] = {
        name: pd.Series([row.get(name) for _, row in lines], dtype=object) for name in names
    }
    cells[ORIGIN] = places("line ", np.array([number for number, _ in lines], dtype=np.int64))
    return pd.DataFrame(cells), torn


def _nested(row: Mapping[str, Any]) -> bool:
    return any(isinstance(value, dict) for value in row.values())


def _flat(row: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """A row whose objects are spelled out, {"eval": {"accuracy": .3}} as eval/accuracy; W&B's media stay whole.

    Raises InputError where a name comes twice so.
    """
    flat: dict[str, Any] = {}
    for name, value in row.items():
        whole = not isinstance(value, dict) or "_type" in value
        inner = {name: value} if whole else _flat(value, source=source)
        for rest, cell in inner.items():
            spelled = name if whole else f"{name}/{rest}"
            if spelled in flat:
                raise InputError(f"{source}: {spelled!r} is there twice, spelled out and nested")
            flat[spelled] = cell
    return flat


MOST_NAMES_OF_ARROW: Final = 200
_LIST: Final = re.compile(rb":[ \t]*\[")
_NAME: Final = re.compile(rb'"([^"\\]{0,200})"[ \t]*:')


def _plain_lines(path: Path) -> int | None:
    """How many lines a file has, where each begins the one object in it and none is odd; else None.

    Odd is also a list for a value: lists are no plain values, and deep ones end the process within Arrow, whose
    parser calls itself for each level.
    """
    ends = begins = objects = 0
    last = b"\n"
    awaits = False  # whether a block ended between a name and its value
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 24):
                if b"\r" in block or b"\0" in block:
                    return None
                if b"[" in block and (
                    _LIST.search(block) or (awaits and block.lstrip(b" \t").startswith(b"["))
                ):
                    return None
                cut = block.rstrip(b" \t")
                awaits = cut.endswith(b":") if cut else awaits
                if not ends and len(set(_NAME.findall(block))) > MOST_NAMES_OF_ARROW:
                    return None  # which would lay out a cell of each in every row
                ends += block.count(b"\n")
                objects += block.count(b"{")
                begins += block.count(b"\n{") + (last == b"\n" and block[:1] == b"{")
                last = block[-1:]
    except OSError:
        return None
    lines = ends + (last != b"\n")
    return lines if lines == begins == objects else None


def _parsed_by_arrow(path: Path) -> pd.DataFrame | None:
    """The rows of a file of plain values; None where there is anything else, or anything to complain of."""
    try:
        return _plain_table(path)
    except UnicodeDecodeError:  # of a column's name, which Arrow does not check
        return None


def _plain_table(path: Path) -> pd.DataFrame | None:
    from pyarrow import json as arrow_json

    lines = _plain_lines(path)
    if not lines:
        return None

    def read(schema: pa.Schema | None) -> pa.Table:
        return arrow_json.read_json(
            path,
            read_options=arrow_json.ReadOptions(block_size=1 << 24),
            parse_options=arrow_json.ParseOptions(explicit_schema=schema),
        )

    try:
        table = read(None)
        # Arrow takes text that looks like a date for one.
        dates = [field.name for field in table.schema if pa.types.is_temporal(field.type)]
        if dates:
            table = read(pa.schema([(name, pa.string()) for name in dates]))
        table.validate(full=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    plain = all(
        pa.types.is_integer(field.type)
        or pa.types.is_floating(field.type)
        or pa.types.is_string(field.type)
        or pa.types.is_null(field.type)
        for field in table.schema
    )
    if not plain or table.num_rows != lines:
        return None
    frame = frame_from_arrow(table)
    for name in _KNOWN & set(table.column_names):
        # A literal NaN is a value that the table has words for; null is none.
        if (
            frame[name].dtype == np.float64
            and np.isnan(table.column(name).drop_null().to_numpy()).any()
        ):
            frame[name] = pd.Series(table.column(name).to_pylist(), dtype=object)
    frame[ORIGIN] = places("line ", np.arange(1, lines + 1))
    return frame
