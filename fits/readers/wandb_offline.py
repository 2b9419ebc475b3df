"""Weights & Biases: the file of an offline run.

Law. The file is a LevelDB-style log of protocol-buffer records (header ":W&B", 32 KiB blocks, each part with
its checksum; record fields 2: history, 5: config, 17: run).
Fails first on a file cut in mid-record, whose tail is dropped and said.
Source: wandb/proto/wandb_internal.proto, wandb/sdk/internal/datastore.py (formats only).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from fits.errors import InputError
from fits.files import file_bytes
from fits.plain import counted
from fits.readers.axes import read_rows
from fits.readers.history import Ask, Logged, Raw, frame_of
from fits.readers.jsonl import parse_json
from fits.readers.wandb import COUNTER
from fits.readers.wire import fields_of
from fits.table import ORIGIN

__all__ = ["offline_file", "offline_history", "read_offline_run"]

_BLOCK: Final = 32768
_RECORD: Final = struct.Struct("<IHB")  # crc, length, kind: 1 whole, 2 first, 3 middle, 4 last


def offline_file(path: Path) -> Path | None:
    """The `.wandb` file of an offline run: `path` itself, or the one in the folder."""
    if path.is_file():
        return path if path.suffix == ".wandb" else None
    found = sorted(path.glob("*.wandb"))
    return found[0] if len(found) == 1 else None


def read_offline_run(path: Path, ask: Ask) -> Raw:
    """The evaluations of an offline run, from its folder or its `.wandb` file.

    Settings named like columns of the run table (seed, fpr, …), or as trainers name them, fill them.
    Raises InputError where the file is no offline run or no single accuracy is logged.
    """
    history = offline_history(path)
    raw = read_rows(
        frame_of(list(history.rows), source=str(offline_file(path))),
        run_column=None,
        run_id=history.name,
        calls="_step",
        counter=COUNTER,
        ask=ask,
        source=str(path),
        config={history.name: history.config},
    )
    return Raw(raw.frame, (*history.notes, *raw.notes), raw.measured, raw.taken)


def offline_history(path: Path) -> Logged:
    """All that an offline run logged, from its folder or its `.wandb` file.

    Raises InputError where the file is no offline run.
    """
    file = offline_file(path)
    if file is None:
        raise InputError(f"{path}: holds no single .wandb file of an offline run")
    rows: list[dict[str, Any]] = []
    config: dict[str, Any] = {}
    name = file.stem.removeprefix("run-")
    data = file_bytes(file)
    if data[:4] != b":W&B":
        raise InputError(f"{file}: is no W&B offline run")
    notes: tuple[str, ...] = ()
    number = 0
    try:
        # One record at a time: a record of many small fields takes a hundred times its size.
        for number, payload in enumerate(_payloads(data), start=1):
            if payload is None:
                notes = (
                    f"{file.name}: cut short in mid-record, {counted(number - 1, 'record')} read",
                )
                break
            for field in fields_of(payload):
                if field.number == 2:
                    rows.append({**_items(field.data), ORIGIN: f"record {number}"})
                elif field.number == 5:
                    config.update(_items(field.data))
                elif field.number == 17:
                    name = _run_name(field.data) or name
                    config.update(_run_config(field.data))
    except InputError as error:
        raise InputError(f"{file}, record {number}: {error}") from None
    except _BadPartError as error:
        raise InputError(f"{file}, record {number + 1}: is no record ({error})") from None
    except ValueError as error:
        raise InputError(f"{file}, record {number}: is no record ({error})") from None
    if not rows:
        raise InputError(f"{file}: an offline run with no history")
    return Logged(name, tuple(rows), config, notes)


def _items(message: bytes) -> dict[str, Any]:
    """{key: value} of a history or config record: items of (1: key, 2: nested key, 16: JSON)."""
    values: dict[str, Any] = {}
    for item in fields_of(message):
        if item.number != 1:
            continue
        key: list[str] = []
        text = "null"
        for field in fields_of(item.data):
            if field.number in (1, 2) and field.data:
                key.append(field.data.decode())
            elif field.number == 16:
                text = field.data.decode()
        values["/".join(key)] = parse_json(text, source=f"the value of {'/'.join(key)[:60]!r}")
    return values


def _run_name(message: bytes) -> str:
    """The run's display name (8), else its id (1)."""
    named = {f.number: f.data.decode() for f in fields_of(message) if f.number in (1, 8)}
    return named.get(8) or named.get(1, "")


def _run_config(message: bytes) -> dict[str, Any]:
    for field in fields_of(message):
        if field.number == 4:
            return _items(field.data)
    return {}


class _BadPartError(ValueError):
    """A part of the log that is not what its checksum says."""


def _payloads(data: bytes) -> Iterator[bytes | None]:
    """Payloads of the log, joined over blocks; None where the data end in mid-record."""
    at = 7
    parts: list[bytes] = []
    while at < len(data):
        left = _BLOCK - at % _BLOCK
        if left < _RECORD.size:
            at += left
            continue
        if at + _RECORD.size > len(data):
            yield None
            return
        checksum, length, kind = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        if kind == 0 and length == 0:  # padding to the end of a preallocated block
            at += left - _RECORD.size
            continue
        if at + length > len(data):
            yield None
            return
        # 0 stands for none kept.
        if checksum and zlib.crc32(data[at : at + length], zlib.crc32(bytes([kind]))) != checksum:
            raise _BadPartError(f"checksum at byte {at - _RECORD.size}")
        parts.append(data[at : at + length])
        at += length
        if kind in (1, 4):
            yield b"".join(parts)
            parts = []
    if parts:
        yield None
