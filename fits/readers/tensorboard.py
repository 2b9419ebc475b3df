"""TensorBoard event files, read from the wire format: two framing rules and three messages.

Law. A file is records of [length u64, crc u32, payload, crc u32], both checksums masked CRC-32C and checked; a
payload is an Event (2: step, 5: summary), a summary repeated Values (1: tag, 2: simple_value, 8: tensor with
5: float_val). Reading them takes a checksum from a package; TensorBoard's own reader brings in a web server.
Fails first on a file cut in mid-record, whose tail is dropped and said.
Source: tensorflow/core/util/event.proto, tfrecord framing.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pandas as pd

from fits.errors import InputError
from fits.files import file_bytes
from fits.plain import counted
from fits.readers.history import Ask, Raw, evaluations
from fits.readers.wire import Field, fields_of
from fits.table import ORIGIN

__all__ = ["event_files", "is_scalar_download", "read_events", "read_scalar_download"]

_HEADER: Final = struct.Struct("<QI")
_DOWNLOAD: Final = re.compile(r"run[-_](?P<run>.+?)-tag-(?P<tag>.+)")
_CHECK: Final = struct.Struct("<I")


def _masked(data: bytes) -> int:
    """The checksum of a record: CRC-32C, turned and shifted so that one of checksums is none of its own."""
    import google_crc32c

    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def event_files(path: Path) -> list[Path]:
    """Event files of one run: `path` itself, or those in and below the folder, in order of name."""
    if path.is_file():
        return [path] if "tfevents" in path.name else []
    return sorted(p for p in path.rglob("*tfevents*") if p.is_file())


def read_events(path: Path, ask: Ask) -> Raw:
    """The evaluations in the event files of one run, as raw run-table rows.

    Raises InputError where there is no event file, or one is not of the format.
    """
    files = event_files(path) or ([path] if path.is_file() else [])
    if not files:
        raise InputError(f"{path}: no TensorBoard event file in it")
    notes: list[str] = []
    history: list[tuple[str, int, dict[str, float]]] = []
    for file in files:
        events, torn = _events(file)
        notes.extend(torn)
        history.extend((f"{file.name} step {step}", step, values) for step, values in events)
    raw = evaluations(history, run_id=_run_name(files[0]), ask=ask, source=str(path))
    return Raw(raw.frame, (*notes, *raw.notes), raw.measured, raw.taken)


def is_scalar_download(names: Sequence[str]) -> bool:
    """Whether columns are those of a scalar downloaded from TensorBoard's page, one tag of one run a file."""
    return list(names) == ["Wall time", "Step", "Value"]


def read_scalar_download(frame: pd.DataFrame, *, path: Path, ask: Ask) -> Raw:
    """The values of one tag of one run, which the file's own name tells, as raw run-table rows.

    frame: cells, with each row's place. A name that tells no tag leaves the value called "Value".
    Raises InputError where the tag is no accuracy and none was asked for.
    """
    named = _DOWNLOAD.fullmatch(path.stem)
    run, tag = (named["run"], named["tag"]) if named else (path.stem, "Value")
    history = [
        (str(row[ORIGIN]), row["Step"], {tag: row["Value"]}) for row in frame.to_dict("records")
    ]
    return evaluations(history, run_id=run, ask=ask, source=str(path))


def _run_name(file: Path) -> str:
    """The folder the run wrote to: transformers puts event files in OUTPUT/runs/TIME_HOST."""
    folder = file.resolve().parent
    return folder.parent.parent.name if folder.parent.name == "runs" else folder.name


def _events(file: Path) -> tuple[list[tuple[int, dict[str, float]]], tuple[str, ...]]:
    data = file_bytes(file)
    if not data:
        raise InputError(f"{file}: is empty")
    events: list[tuple[int, dict[str, float]]] = []
    at = 0
    while at < len(data):
        if at + _HEADER.size > len(data):
            return events, (
                f"{file.name}: cut short in mid-record, {counted(len(events), 'event')} read",
            )
        length, check = _HEADER.unpack_from(data, at)
        start = at + _HEADER.size
        if _masked(data[at : at + 8]) != check:
            if at == 0:
                raise InputError(f"{file}: is no TensorBoard event file")
            raise InputError(f"{file}, byte {at}: damaged (the checksum of a record's length)")
        if start + length + 4 > len(data):
            return events, (
                f"{file.name}: cut short in mid-record, {counted(len(events), 'event')} read",
            )
        (check,) = _CHECK.unpack_from(data, start + length)
        if _masked(data[start : start + length]) != check:
            raise InputError(f"{file}, byte {start}: damaged (the checksum of a record)")
        try:
            step, values = _event(data[start : start + length])
        except (ValueError, struct.error) as error:
            raise InputError(f"{file}, byte {at}: is no TensorBoard event ({error})") from None
        if values:
            events.append((step, values))
        at = start + length + 4
    return events, ()


def _event(payload: bytes) -> tuple[int, dict[str, float]]:
    step = 0
    values: dict[str, float] = {}
    for field in fields_of(payload):
        if field.number == 2:
            step = field.integer
        elif field.number == 5:
            for value in fields_of(field.data):
                if value.number == 1:
                    values.update(_scalar(value.data))
    return step, values


def _scalar(payload: bytes) -> Iterator[tuple[str, float]]:
    """(tag, value) of a scalar summary; nothing for text, images and histograms."""
    tag, number = "", None
    for field in fields_of(payload):
        if field.number == 1:
            tag = field.data.decode()
        elif field.number == 2 and field.kind == 5:
            (number,) = struct.unpack("<f", field.data)
        elif field.number == 8:
            number = _tensor_scalar(field.data)
    if number is not None:
        yield tag, number


def _tensor_scalar(payload: bytes) -> float | None:
    """The one float of a scalar tensor (dtype 1: float, 2: double), None for anything else."""
    fields: list[Field] = list(fields_of(payload))
    dtype = next((field.integer for field in fields if field.number == 1), 0)
    form = {1: "<f", 2: "<d"}.get(dtype)
    if form is None:
        return None
    size = struct.calcsize(form)
    for field in fields:
        # 4: raw content, 5: packed floats, 6: packed doubles.
        if field.number in (4, 5, 6) and len(field.data) == size:
            return float(struct.unpack(form, field.data)[0])
    return None
