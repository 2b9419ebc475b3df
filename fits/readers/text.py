"""Text, CSV and Parquet: bytes in, cells with their places out.

Law. Every cell of a CSV arrives as the text it was; every row knows its number and its line. Cells are parted by
commas, else by what the header is parted by: semicolons (whose decimal commas become points) or tabs. A file whose
quotes, lines and cells are plain is split by Arrow; any other, and any with an error to name, by Python's
own reader: the two agree wherever both read.
Fails first where a quoted cell is torn in the middle of a file: refused by line.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from fits.errors import InputError
from fits.files import file_bytes
from fits.table import ORIGIN

__all__ = [
    "csv_header",
    "frame_from_arrow",
    "head_of",
    "lines_of",
    "parquet_names",
    "places",
    "read_bytes",
    "read_csv",
    "read_parquet",
    "read_text",
    "refuse_wide",
]

_BOM: Final = b"\xef\xbb\xbf"
_UTF_16: Final = (
    b"\xff\xfe",
    b"\xfe\xff",
)  # the marks that Windows' shells and spreadsheets begin with
_CHUNK: Final = 50_000  # rows held as Python objects at a time
# Of a Parquet file, whose encodings make a billion equal cells a few bytes: what is unpacked at most.
MOST_CELLS: Final = 1_000_000
MOST_UNPACKED: Final = 64 << 20
_CELLS_A_BYTE: Final = 4
# Of tables and logs: a column costs as much whatever stands in it, and so does a cell of a log that is empty.
MOST_COLUMNS: Final = 5_000
MOST_LAID_OUT: Final = 4_000_000
_LAID_OUT_A_VALUE: Final = 16
_UNPACKED_A_BYTE: Final = 16
# Only what ends a line in a file does; str.splitlines also breaks inside cells (U+2028, form feeds).
_LINE_END: Final = re.compile(r"\r\n|\n|\r")
_QUOTED: Final = re.compile(r'"[^"]*"')
_DECIMAL_COMMA: Final = r"[-+]?\d*,\d+(?:[eE][-+]?\d+)?"
_THOUSANDS: Final = r"[-+]?[1-9]\d{0,2},\d{3}"
_DECIMAL_POINT: Final = r"[-+]?\d*\.\d+(?:[eE][-+]?\d+)?"


def read_bytes(path: Path) -> bytes:
    """The bytes of a text file, without the mark that some editors put before them.

    Raises InputError where it is a folder, unreadable, empty, or not text.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder, a file was expected")
    try:
        raw = file_bytes(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file or folder") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if not raw or raw.isspace():
        raise InputError(f"{path}: is empty")
    if raw.startswith(_UTF_16):
        try:
            raw = raw.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}: begins as UTF-16 text and is not (offset {error.start})"
            ) from None
        if not raw or raw.isspace():
            raise InputError(f"{path}: is empty")
    if b"\0" in raw:
        raise InputError(f"{path}: is binary, not text (byte 0 at offset {raw.index(0)})")
    return raw.removeprefix(_BOM)


def _decoded(path: Path, raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is not UTF-8 text (offset {error.start}); save it as UTF-8"
        ) from None


def read_text(path: Path) -> str:
    """The text of `path`.

    Raises InputError where it is a folder, unreadable, empty, or not text.
    """
    return _decoded(path, read_bytes(path))


def head_of(path: Path, size: int = 1 << 20) -> str:
    """The first `size` bytes of a text file, as text; enough to tell what it is. "" where it is no text.

    Raises InputError where it cannot be read.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(size)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if raw.startswith(_UTF_16):
        return raw.decode("utf-16", "ignore")
    return "" if b"\0" in raw else raw.removeprefix(_BOM).decode("utf-8", "ignore")


def lines_of(text: str) -> list[str]:
    """The lines of a text, ended by a line feed, a carriage return or both, and by nothing else."""
    lines = _LINE_END.split(text)
    return lines[:-1] if lines and not lines[-1] else lines


def csv_header(path: Path, text: str) -> list[str]:
    """The column names in the first line of a CSV (or .tsv) file's text.

    Raises InputError where that line is no CSV.
    """
    first = _first_line(text)
    refuse_wide(first.count(_delimiter(path, first)) + 1, source=str(path))
    try:
        return [
            name.strip()
            for name in next(csv.reader([first], delimiter=_delimiter(path, first)), [])
        ]
    except csv.Error as error:
        raise InputError(f"{path}, line 1: {error}") from None


def refuse_wide(columns: int, *, rows: int = 0, values: int = 0, source: str) -> None:
    """Raise InputError where a table, or a log laid out as one, has more columns or empty cells than are read.

    rows, values: of a log whose lines name what they hold, so that few values may ask for a cell in every row.
    """
    if columns > MOST_COLUMNS:
        raise InputError(f"{source}: more than {MOST_COLUMNS:,} columns: not read")
    if columns * rows > MOST_LAID_OUT + _LAID_OUT_A_VALUE * values:
        raise InputError(
            f"{source}: {columns:,} names over {rows:,} rows and nearly every cell empty: not read"
        )


def _first_line(text: str) -> str:
    """The first line that is not empty, nor what a spreadsheet puts first to say how cells are parted."""
    found = re.search(r"[^\r\n]+", text[_said_first(text) :])
    return found.group() if found else ""


def _said_first(text: str) -> int:
    """The length of a spreadsheet's first line `sep=;`, 0 where there is none."""
    found = re.match(r"sep=.(?=\r|\n)", text, re.IGNORECASE)
    return found.end() if found else 0


def _delimiter(path: Path, header: str) -> str:
    """What parts the cells: a tab in a .tsv, else the first of , ; and tab that is in the header, quotes apart."""
    if path.suffix == ".tsv":
        return "\t"
    bare = _QUOTED.sub("", header)
    return next((mark for mark in ",;\t" if mark in bare), ",")


def _decimal_points(path: Path, cells: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The cells of a file parted by semicolons, decimal commas as points; and a note where there were any.

    Raises InputError where a comma may part thousands as well: where no cell tells, or some have a point.
    """
    commas: list[str] = []
    certain = False
    point: str | None = None
    for name in cells.columns:
        texts = cells[name].astype(str).str.strip()
        marked = texts[texts.str.fullmatch(_DECIMAL_COMMA)]
        if len(marked):
            commas.append(str(name))
            certain = certain or not marked.str.fullmatch(_THOUSANDS).all()
        pointed = texts[texts.str.fullmatch(_DECIMAL_POINT)]
        point = str(pointed.iloc[0]) if point is None and len(pointed) else point
    if not commas:
        return cells, ()
    if point is not None or not certain:
        shown = cells[commas[0]].astype(str).str.strip()
        shown = shown[shown.str.fullmatch(_DECIMAL_COMMA)].iloc[0]
        beside = f", beside {point}" if point is not None else ""
        raise InputError(
            f"{path}, column {commas[0]}: the comma of {shown} may part decimals or thousands{beside}; write"
            " numbers with a decimal point and nothing between thousands"
        )
    spelled = {
        name: cells[name].where(
            ~cells[name].str.strip().str.fullmatch(_DECIMAL_COMMA),
            cells[name].str.replace(",", ".", regex=False),
        )
        for name in commas
    }
    return cells.assign(**spelled), (f"decimal commas read in: {', '.join(commas[:6])}",)


def places(*parts: str | Sequence[int] | Any) -> pd.Series[Any]:
    """Places of rows as text, made in bulk: texts and arrays of numbers, one after another."""
    import pyarrow.compute as pc

    spelled = [
        part if isinstance(part, str) else pc.cast(pa.array(part), pa.string()) for part in parts
    ]
    joined: Any = pc.binary_join_element_wise(  # pyright: ignore[reportAttributeAccessIssue]
        *spelled, ""
    )
    return pa.table({ORIGIN: joined}).to_pandas()[ORIGIN]


def _row_places(lines: Any) -> pd.Series[Any]:
    """Places such as "row 3 (line 4)" for each row, given the lines they stand in."""
    return places("row ", np.arange(1, len(lines) + 1), " (line ", lines, ")")


def read_csv(path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """All cells of a CSV (or .tsv) file as text, with each row's place; and notes on repairs.

    A last line cut short is dropped and said. Raises InputError naming a line with too few or too
    many cells, and for files that are empty, binary or without rows.
    """
    raw = read_bytes(path)
    header = _first_line(raw[: 1 << 20].decode("utf-8", "replace"))
    delimiter = _delimiter(path, header)
    refuse_wide(header.count(delimiter) + 1, source=str(path))
    raw = raw[_said_first(raw[:8].decode("latin-1")) :]
    frame = _split_by_arrow(raw, delimiter)
    notes: tuple[str, ...] = ()
    if frame is None:
        frame, notes = _split_by_python(path, _decoded(path, raw), delimiter)
    if delimiter == ";":
        frame, said = _decimal_points(path, frame)
        notes = (*notes, *said)
    return frame, notes


def _split_by_arrow(raw: bytes, delimiter: str) -> pd.DataFrame | None:
    """The cells of a plain file; None where there is a quote, an odd line or anything to complain of."""
    from pyarrow import csv as arrow_csv

    if b'"' in raw or raw.count(b"\r") != raw.count(b"\r\n"):
        return None
    head = raw[: raw.find(b"\n")]
    try:
        names = [name.strip() for name in head.decode("utf-8").split(delimiter)]
    except UnicodeDecodeError:
        return None
    if b"\n" not in raw or not head.strip() or len(set(names)) < len(names) or len(names) < 2:
        return None
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(pa.py_buffer(raw).slice(len(head) + 1)),
            read_options=arrow_csv.ReadOptions(column_names=names, block_size=1 << 24),
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter, quote_char=False, ignore_empty_lines=True
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid:
        return None
    lines = raw.count(b"\n") - raw.endswith(b"\n")
    if table.num_rows != lines or not lines:
        return None
    frame: pd.DataFrame = table.to_pandas()
    frame[ORIGIN] = _row_places(np.arange(2, lines + 2))
    return frame


def _split_by_python(path: Path, text: str, delimiter: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = [name.strip() for name in next((cells for cells in reader if cells), [])]
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: {error}") from None
    if not names:
        raise InputError(f"{path}: is empty")
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise InputError(f"{path}: two columns are called {twice!r}")
    lines: list[int] = []
    block: list[list[str]] = []
    tables: list[pa.Table] = []
    ragged = failure = ""
    short = False
    try:
        for cells in reader:
            if not cells:
                continue
            if ragged:
                raise InputError(ragged)
            if len(cells) != len(names):
                row = f"{path}, row {len(lines) + 1} (line {reader.line_num})"
                ragged = f"{row}: {len(cells)} cells under {len(names)} columns"
                short = len(cells) < len(names)
                continue
            lines.append(reader.line_num)
            block.append(cells)
            if len(block) == _CHUNK:
                tables.append(_arrow_of(block, len(names)))
                block = []
    except csv.Error as error:
        failure = f"line {reader.line_num}: {error}"
    # Only a torn end is repairable; an unterminated quote swallows the rest of the file.
    torn = not text.endswith(("\n", "\r"))
    if ragged and (failure or not (torn and short)):
        raise InputError(ragged)
    if failure and not torn:
        raise InputError(f"{path}: {failure}")
    notes = [f"{failure}: last line cut short, dropped"] if failure else []
    if ragged:
        notes.append(f"line {reader.line_num}: last line cut short, dropped")
    if not lines:
        raise InputError(f"{path}: a header and no rows")
    if block:
        tables.append(_arrow_of(block, len(names)))
    frame: pd.DataFrame = pa.concat_tables(tables).to_pandas()
    frame.columns = pd.Index(names)
    frame[ORIGIN] = _row_places(np.array(lines, dtype=np.int64))
    return frame, tuple(notes)


def _arrow_of(block: list[list[str]], width: int) -> pa.Table:
    """Rows of cells as columns of text: a tenth of the memory."""
    columns = [pa.array(cells, pa.string()) for cells in zip(*block, strict=True)]
    return pa.table(columns, names=[str(i) for i in range(width)])


def parquet_names(path: Path) -> list[str]:
    """The columns of a Parquet file. Raises InputError where it is none."""
    names = list(_opened(path).schema_arrow.names)
    refuse_wide(len(names), source=str(path))
    return names


def _opened(path: Path) -> Any:
    """A Parquet file, its footer read. Raises InputError where that is damaged or asks for too much."""
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        metadata = file.metadata
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        unpacked = sum(group.total_byte_size for group in groups)
        # Lists hold more values than rows. Of other columns the footer is not asked: where the two sizes that it gives
        # of one differ, Arrow ends the process rather than raise.
        repeated = [
            k for k in range(metadata.num_columns) if file.schema.column(k).max_repetition_level
        ]
        values = sum(
            group.num_rows * (group.num_columns - len(repeated))
            + sum(max(group.num_rows, group.column(k).num_values) for k in repeated)
            for group in groups
        )
        texts = [
            field.name
            for field in file.schema_arrow
            if pa.types.is_string(field.type) or pa.types.is_binary(field.type)
        ]
        if texts:
            file = pyarrow.parquet.ParquetFile(path, read_dictionary=texts)
    except Exception as error:  # a damaged footer raises whatever its reader trips over
        raise InputError(f"{path}: is no readable Parquet file ({_brief(error)})") from None
    size = path.stat().st_size
    if values > MOST_CELLS + _CELLS_A_BYTE * size:
        raise InputError(
            f"{path}: {metadata.num_rows:,} rows, {values:,} cells, in {size:,} bytes: at most"
            f" {MOST_CELLS + _CELLS_A_BYTE * size:,} cells are read of a file of that size"
        )
    if unpacked > MOST_UNPACKED + _UNPACKED_A_BYTE * size:
        raise InputError(f"{path}: unpacks to {unpacked:,} bytes, more than are read")
    return file


def _written_out(batch: Any, most: int) -> tuple[Any, int]:
    """A batch with its dictionaries of texts written out, and its bytes; as it is where these exceed `most`."""
    import pyarrow.compute as pc

    size = 0
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            lengths: Any = pc.binary_length(column.dictionary)  # pyright: ignore[reportAttributeAccessIssue]
            size += pc.sum(lengths.take(column.indices)).as_py() or 0  # pyright: ignore[reportAttributeAccessIssue]
        else:
            size += column.nbytes
    if size > most:
        return batch, size
    columns = [
        column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        for column in batch.columns
    ]
    names = batch.schema.names
    return pa.RecordBatch.from_arrays(columns, names=names), size


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def read_parquet(path: Path, *, lists: Sequence[str] = ()) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """A Parquet table; a null accuracy stays apart from a NaN one. lists: columns that may be lists or structures.

    Raises InputError where the file is no Parquet file, has no rows, or unpacks to more than is read: more
    than MOST_CELLS or MOST_UNPACKED, beside a multiple of the file's own size.
    """
    file = _opened(path)
    refuse_wide(len(file.schema_arrow.names), source=str(path))
    most = MOST_UNPACKED + _UNPACKED_A_BYTE * path.stat().st_size
    # No column of a run table is a list or a structure, and writing one out as text takes for ever.
    schema = file.schema_arrow
    nested = [f.name for f in schema if pa.types.is_nested(f.type) and f.name not in lists]
    flat = [name for name in schema.names if name not in set(nested)] if nested else None
    batches: list[pa.RecordBatch] = []
    held = 0
    try:
        for packed in file.iter_batches(batch_size=_CHUNK, columns=flat):
            batch, size = _written_out(packed, most - held)
            held += size
            if held > most:
                break
            batches.append(batch)
        arrow = pa.Table.from_batches(batches) if batches else file.schema_arrow.empty_table()
        if not nested:
            arrow = arrow.replace_schema_metadata(file.schema_arrow.metadata)
    except Exception as error:  # as above: damaged pages, lengths, dictionaries
        raise InputError(f"{path}: is no readable Parquet file ({_brief(error)})") from None
    if held > most:
        raise InputError(f"{path}: unpacks to more than {most:,} bytes: not read")
    if not arrow.num_rows:
        raise InputError(f"{path}: no rows")
    try:
        frame = frame_from_arrow(arrow)
    except Exception as error:  # pandas' own metadata may be damaged as well
        raise InputError(f"{path}: is no readable Parquet file ({_brief(error)})") from None
    if frame.columns.has_duplicates:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise InputError(f"{path}: two columns are called {twice!r}")
    frame[ORIGIN] = places("row ", np.arange(1, len(frame) + 1))
    said = f"lists and structures left out: {', '.join(nested[:6])}"
    return frame, ((said,) if nested else ())


def frame_from_arrow(table: pa.Table) -> pd.DataFrame:
    """An Arrow table as cells; a null accuracy stays apart from a NaN one."""
    frame: pd.DataFrame = table.to_pandas()
    if "accuracy" in table.column_names and table.column("accuracy").null_count:
        frame["accuracy"] = pd.Series(table.column("accuracy").to_pylist(), dtype=object)
    return frame
