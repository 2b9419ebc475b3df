"""Small hostile inputs of every kind the readers meet, made anew for each test: name -> what writes it.

Law. A name says the kind; each is refused in one line or read right, within SECONDS and MEBIBYTES.
"""

from __future__ import annotations

import json
import os
import sqlite3
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SECONDS: Final = 2.0
MEBIBYTES: Final = 300.0
ROW: Final = '{"run_id": "a", "step": 1, "accuracy": 0.5%s}\n'
EVAL: Final = "{'loss': 1, 'eval_accuracy': 0.5}\n"
VERL: Final = "val-core/x/acc/mean@1:0.5\n"


def varint(value: int) -> bytes:
    """A number in the wire format."""
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def history(*items: tuple[bytes, bytes]) -> bytes:
    """One history record of an offline W&B run, without checksum."""
    body = b""
    for key, text in items:
        item = b"\x0a" + varint(len(key)) + key + b"\x82\x01" + varint(len(text)) + text
        body += b"\x0a" + varint(len(item)) + item
    body = b"\x12" + varint(len(body)) + body
    return struct.pack("<IHB", 0, len(body), 1) + body


def event_record(payload: bytes) -> bytes:
    """A record of a TensorBoard event file, its checksums right."""
    length = struct.pack("<Q", len(payload))
    return length + _crc(length) + payload + _crc(payload)


def _crc(data: bytes) -> bytes:
    import google_crc32c

    crc: int = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def scalar_event(step: int, value: float, tag: bytes = b"eval/accuracy") -> bytes:
    """The payload of an Event of one scalar."""
    scalar = b"\x0a" + varint(len(tag)) + tag + b"\x15" + struct.pack("<f", value)
    summary = b"\x0a" + varint(len(scalar)) + scalar
    return b"\x09" + bytes(8) + b"\x10" + varint(step) + b"\x2a" + varint(len(summary)) + summary


def _wandb(path: Path, *items: tuple[bytes, bytes]) -> None:
    logged = (b"_step", b"1"), (b"eval/accuracy", b"0.5")
    path.write_bytes(b":W&B\0\0\0" + history(*logged, *items))


def _many_rows(path: Path) -> None:
    rows = pa.table({"run_id": pa.array(["a"] * 500_000), "accuracy": np.zeros(500_000)})
    with pq.ParquetWriter(path, rows.schema) as file:
        for _ in range(20):
            file.write_table(rows)


def _levels(path: Path) -> None:
    """A column whose repetition is none: the sizes that the footer gives of it then differ, which ended the process."""
    pq.write_table(pa.table({"run_id": ["a", "a"], "step": [0, 1], "accuracy": [0.1, 0.5]}), path)
    raw = path.read_bytes()
    assert raw.count(b"\x25\x02\x18\x04step") == 1
    path.write_bytes(raw.replace(b"\x25\x02\x18\x04step", b"\x25\x12\x18\x04step"))


def _long_text(path: Path) -> None:
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(5000, np.int32)), ["x" * 1_000_000])
    pq.write_table(
        pa.table({"run_id": text, "step": np.arange(5000), "accuracy": np.zeros(5000)}), path
    )


def _flipped(path: Path) -> None:
    _long_text(path)
    raw = bytearray(path.read_bytes())
    raw[-200:-100] = b"\xff" * 100
    path.write_bytes(bytes(raw))


def _endless_view(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(
        "create view metrics as with recursive r(id) as (select 1 union all select id + 1 from r)"
        " select id, 'a' as run_name, id as step, '{}' as metrics from r"
    )
    connection.close()


def _nothing_logged(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("create table metrics (id, run_name, step, metrics)")
    connection.execute("insert into metrics values (1, 'a', 1, null)")
    connection.commit()
    connection.close()


def _text(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text, encoding="utf-8", newline="")


INPUTS: Final[Mapping[str, Callable[[Path], object]]] = {
    "huge-step.csv": _text("run_id,step,accuracy\na," + "1" * 5000 + ",0.5\n"),
    "huge-accuracy.jsonl": _text('{"run_id": "a", "step": 1, "accuracy": 1' + "0" * 4000 + "}\n"),
    "control.csv": _text('run_id,step,accuracy\n"a\x1b]0;owned\x07\x1b[31m\u202eb",1,0.5\n'),
    "formula.csv": _text("run_id,step,accuracy,arm\n=cmd|'/c calc'!A1,1,0.5,@SUM(1)\n"),
    "bool.jsonl": _text('{"run_id": "a", "step": true, "accuracy": 0.5}\n'),
    "twice.jsonl": _text(ROW % ', "step": 2'),
    "surrogate.jsonl": _text('{"run_id": "\\ud800", "step": 1, "accuracy": 0.5}\n'),
    "surrogate-elsewhere.jsonl": _text(ROW % ', "note": {"x": "\\udc00"}'),
    "digits.jsonl": _text(
        '{"_step": 1, "train/global_step": ' + "9" * 400 + ', "eval/accuracy": 0.5}\n'
    ),
    "deep.jsonl": _text(ROW % (', "x": ' + "[" * 500 + "]" * 500)),
    "deeper.jsonl": _text(ROW % (', "x": ' + "[" * 100_000)),
    "deepest.jsonl": _text(
        ROW % (', "x": ' + "[" * 100_000 + "]" * 100_000)
    ),  # ended Arrow's parser
    "name.jsonl": lambda path: path.write_bytes(b'{"run_id": "a", "accuracy": 0.5, "\xf4x": 1}\n'),
    "separator.jsonl": _text('{"run_id": "r\u2028s", "step": 1, "accuracy": 0.5}\n'),
    "separator.csv": _text("run_id,step,accuracy\nr\u2028s,1,0.5\n"),
    "infinity.json": _text('{"log_history": [{"step": Infinity, "eval_accuracy": 0.5}]}'),
    "huge-step.log": _text("step:" + "1" * 5000 + " - " + VERL),
    "far-step.log": _text("step:300000000 - " + VERL),
    "nodes.log": _text(
        "verl.trainer trainer.nnodes=$NNODES trainer.n_gpus_per_node=" + "9" * 5000 + "\n"
        "step:1 - timing_s/step:3 - " + VERL
    ),
    "digits.log": _text("step:1 - x:array(" + "1" * 200_000 + " - " + VERL),
    "colons.log": _text("step:1 - x" + ":" * 200_000 + " - " + VERL),
    "hexadecimal.log": _text("{'loss': 1, 'eval_accuracy': 0.5, 'step': 0x" + "f" * 10_000 + "}\n"),
    "bar.log": _text("100%|##| " + "1" * 5000 + "/5 [\n" + EVAL),
    "bars.log": _text("".join(EVAL + f" 1%|#| {i}/90000 [\n" for i in range(10_000))),
    "long-dictionary.log": _text("{'loss': [" + "1," * 400_000 + "]}\n" + EVAL),
    "nested-dictionary.log": _text("{'loss': " + "[" * 5000 + "]" * 5000 + "}\n" + EVAL),
    "minus.log": _text("{'loss': " + "-" * 5000 + "1}\n" + EVAL),
    "resumes.jsonl": _text(
        "".join(
            json.dumps({"_step": i, "trainer/global_step": step, "eval/accuracy": 0.5}) + "\n"
            for i, step in enumerate([*range(5000), *[4998, 4999] * 5000])
        )
    ),
    "deep.wandb": lambda path: _wandb(path, (b"x", b'{"a":' * 900 + b"1" + b"}" * 900)),
    "surrogate.wandb": lambda path: _wandb(path, (b"x", b'"\\ud800"')),
    "huge.wandb": lambda path: _wandb(path, (b"_step", b"1" * 4200)),
    "longer.wandb": lambda path: _wandb(path, (b"x", b"1" * 9000)),
    "infinity.wandb": lambda path: _wandb(path, (b"_step", b"Infinity")),
    "rows.parquet": _many_rows,
    "text.parquet": _long_text,
    "damaged.parquet": _flipped,
    "levels.parquet": _levels,
    "view.db": _endless_view,
    "null.db": _nothing_logged,
    "pipe.csv": lambda path: os.mkfifo(path),
    "loop.csv": lambda path: path.symlink_to(path.name),
    "device.csv": lambda path: path.symlink_to("/dev/zero"),
}

YAML: Final[Mapping[str, str]] = {
    "merges": "a: &a {x: 1}\n"
    + "".join(
        f"{b}: &{b} {{<<: [{', '.join(['*' + a] * 9)}]}}\n"
        for a, b in zip("abcdefghijk", "bcdefghijkl", strict=True)
    ),
    "aliases": "a: &a [1]\n"
    + "".join(
        f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n"
        for a, b in zip("abcdefghijk", "bcdefghijkl", strict=True)
    ),
    "within itself": "a: &a [*a]\n",
    "deep": "a: " + "[" * 300 + "]" * 300,
    "huge number": "a: 0x" + "f" * 100_000,
    "huge": "a: [" + "1, " * 600_000 + "]",
    "many": "a: [" + "1, " * 300_000 + "]",
    "deep block": "".join(" " * i + "a:\n" for i in range(1200)),
    "deep keys": "? " * 100_000 + "a",
    "a mapping that is none": "a: !!map 1",
    "a number that is none": "a: !!int ''",
    "neither true nor false": "a: !!bool x",
    "no date": "a: !!timestamp x",
    "bytes": "a: !!binary aa",
    "a set": "a: !!set {b}",
    "Python": "a: !!python/object/apply:os.system ['true']",
    "half a character": 'a: "\\ud800"',
    "a character that is none": "a: \ud800",
}
