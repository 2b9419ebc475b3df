"""Harmed files through every reader: by hypothesis, and by atheris, guided by coverage, where that installs.

Law. A reader refuses by an exception of ours, or reads; it never raises another, and takes no second over SECONDS.
What is harmed is read when sound, and a format's checksums are written anew over the harm (half the time), or no harm
would reach what is behind them.
Every reader of logs is fuzzed through `read_runs`, as the commands call it; what is declared (studies, sweeps,
manifests, prices, calibrations, probes, audits) through the function that reads it.

Run as `python -m tests.faults.fuzzing NAME COUNT` for the guided part, in a process of its own.
"""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pandas as pd
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from fits.readers import read_runs
from tests.builders import ROOT, SWEEP_SPEC, minimal
from tests.commands.command import verigap
from tests.faults.inputs import SECONDS, event_record, history, scalar_event
from tests.faults.parts import PARTS, Part, keep, kept
from verigap.cli import OURS

__all__ = ["READERS", "files_of", "fuzz", "harmed", "problem", "reader"]

BATCH: Final = 1000  # files between two notes of how far it is
# What small harms are made of: numbers no float holds, halves of characters, depth, marks of formats.
ODD: Final = (
    b"1e999", b"-1e999", b"NaN", b"Infinity", b"1e-320", b"9" * 30, b"9" * 400, b"-1", b"0", b"true", b"null",
    b"\\ud800", b"\\u0000", b"\0", b"\r", b"\n", b"\xe2\x80\xa8", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"'", b",", b";",
    b"\t", b":", b"{", b"}", b"[]", b"{}", b"[" * 70, b"{" * 70, b"&a", b"*a", b"<<: *a", b"!!python/name:os.system",
    b"0x1", b"1_0", b"2020-01-01", b"=1+1", b"\x1b[31m", b"step", b"accuracy", b"run_id", b"_step",
)  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """What is harmed: sound files of the kind as (name, content), what reads them, how a harmed one is a file."""

    sound: tuple[tuple[str, bytes], ...]
    read: Callable[[Path], object]
    sealed: Callable[[bytes], bytes] = bytes


def _runs(*sound: tuple[str, bytes]) -> Reader:
    return Reader(sound, lambda path: read_runs(path))


def _lines(*rows: Mapping[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _folder(path: Path) -> object:
    """A run folder whose log is what was harmed; half the time its spec is."""
    folder = path.parent / "run"
    folder.mkdir(exist_ok=True)
    raw = path.read_bytes()
    log, _, spec = raw.partition(b"\0\0")
    (folder / "metrics.jsonl").write_bytes(log)
    (folder / "spec.json").write_bytes(spec)
    return read_runs(folder)


def _manifest(path: Path) -> object:
    table = path.parent / "table.csv"
    if not table.exists():
        table.write_text("run_id,step,accuracy\na,0,0.1\na,1,0.5\nb,0,0.2\n", encoding="utf-8")
    return read_runs(table, manifest=path)


def _made(write: Callable[[Path], object]) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "made"
        write(path)
        return path.read_bytes()


def _database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("pragma page_size = 1024")
    connection.execute("create table metrics (id integer primary key, run_name, step, metrics)")
    rows = [(i, "a", i, json.dumps({"eval/accuracy": i / 9})) for i in range(1, 9)]
    connection.executemany("insert into metrics values (?, ?, ?, ?)", rows)
    connection.execute("create table configs (run_name, config)")
    connection.execute("insert into configs values ('a', '{\"fpr\": 0.1}')")
    connection.commit()
    connection.close()


def _stored(command: str) -> bytes:
    """What `verigap validate --out` or `verigap audit --out` writes, small."""
    from tests.builders import flow_runs

    with TemporaryDirectory() as folder:
        table, out = Path(folder) / "t.csv", Path(folder) / "out.json"
        if command == "validate":
            flow_runs(seeds=1).to_csv(table, index=False)
            options = ["--calibrate-on", "arm=clean"]
        else:
            table.write_text("p,t,v\n1,1,1\n1,0,1\n2,1,0\n2,0,0\n3,1,1\n3,0,0\n", encoding="utf-8")
            options = ["--truth", "t", "--verdict", "v"]
        done = verigap(command, table, *options, "--out", out)
        assert done.code == 0, done.err
        return out.read_bytes()


def _short(document: Any, most: int) -> Any:
    """A document whose lists are cut: a small harm then hits what matters more often."""
    if isinstance(document, dict):
        return {name: _short(inner, most) for name, inner in document.items()}
    return (
        [_short(inner, most) for inner in document[:most]]
        if isinstance(document, list)
        else document
    )


RECORD: Final = (
    b"\0RECORD\0"  # what stands between the payloads of an event file that is yet to be framed
)


def _framed(raw: bytes) -> bytes:
    """An event file of the payloads in `raw`, each with its length and checksums; anything else as it is."""
    if not raw.startswith(RECORD):
        return raw
    return b"".join(event_record(payload) for payload in raw.split(RECORD)[1:])


def _payloads(raw: bytes, most: int) -> bytes:
    """The first payloads of an event file, for `_framed`."""
    found, at = b"", 0
    for _ in range(most):
        (length,) = struct.unpack_from("<Q", raw, at)
        found += RECORD + raw[at + 12 : at + 12 + length]
        at += length + 16
    return found


@cache
def _readers() -> Mapping[str, Reader]:
    from empirical.plan import read_prices
    from empirical.probe import read_probe
    from empirical.simulated_studies import load_spec
    from empirical.studies import read_study

    data = ROOT / "tests" / "fits" / "data"
    frame = pd.DataFrame({"run_id": ["a", "a"], "step": [0, 1], "accuracy": [0.1, 0.5]})
    logged = [((b"_step", b"%d" % i), (b"eval/accuracy", b"0.5")) for i in range(4)]
    parquet = _made(lambda path: frame.to_parquet(path))
    events = (data / "trl-run-a" / "runs" / "first" / "events.out.tfevents.0").read_bytes()
    evaluation = {"kind": "eval", "step": 0, "accuracy": 0.5, "n_eval": 64}
    spec = json.dumps({"run_id": "r", "arm": "clean", "fpr": 0.0, "group_size": 8}).encode()
    folder = _lines(evaluation, {"kind": "train", "step": 1}, evaluation | {"step": 1})
    study = minimal(running={"processes": 1})
    noisy = minimal(
        arms={
            "a": {"fpr": 0.1, "noise": "per_prompt"},
            "b": {"noise": {"kind": "drifting", "end": {}, "steps": 3}},
        }
    )
    probe = _short(json.loads((ROOT / "empirical/results/cpu-campaign/probe.json").read_text()), 2)
    counted = [{"run_id": "a", "step": i, "accuracy": 0.5} for i in (1, 2)]
    nested = {"run_id": "a", "step": 1, "accuracy": 0.1, "note": {"x": 1, "y": "z"}}
    state = [{"step": 1, "reward": 0.2, "num_tokens": 9.0}, {"step": 1, "eval_accuracy": 0.1}]
    state += [{"step": 2, "eval_accuracy": 0.5, "eval_loss": 1.0}]
    history_rows = [{"_step": i, "train/global_step": i, "eval/accuracy": 0.5} for i in (1, 2)]
    verl = [{"step": i, "data": {"val-core/x/acc/mean@1": 0.5}} for i in (1, 2)]
    logs = {
        "csv": _runs(
            ("t.csv", b"run_id,step,accuracy,arm\na,0,0.1,x\na,1,0.5,x\nb,0,0.2,y\n"),
            ("t.csv", b'run_id;step;accuracy;fpr\n"a";0;0,5;0,1\n"a";1;0,25;0,1\n'),
            ("t.csv", b"run_id,accuracy,n_eval,group_size,seed\na,31%,100,8,0\nb,45%,100,8,1\n"),
        ),
        "jsonl": _runs(("t.jsonl", _lines(*counted)), ("t.jsonl", _lines(nested))),
        "parquet": _runs(("t.parquet", parquet)),
        "trl": _runs(("trainer_state.json", json.dumps({"log_history": state}).encode())),
        "trl-console": _runs(
            ("t.log", b"{'loss': 1.0, 'eval_accuracy': 0.5, 'step': 1}\n{'loss': 0.5, 'step': 2}\n"),
            ("t.log", b"{'eval_accuracy': 0.5}\n 10%|#  | 1/10 [00:01<00:09]\n{'eval_accuracy': 0.6}\n"),
        ),
        "run": Reader((("log", folder + b"\0\0" + spec),), _folder),
        "tensorboard": Reader(
            (
                ("events.out.tfevents.0", events),
                ("events.out.tfevents.0", b"".join(RECORD + scalar_event(i, 0.5) for i in range(4))),
                ("events.out.tfevents.0", _payloads(events, 12) + RECORD + scalar_event(9, 0.5)),
                ("run-a-tag-eval_accuracy.csv", b"Wall time,Step,Value\n1.5,0,0.1\n2.5,1,0.5\n"),
            ),
            read_runs,
            _framed,
        ),
        "wandb": _runs(
            ("r.wandb", b":W&B\0\0\0" + b"".join(history(*items) for items in logged)),
            ("t.csv", b'"Step","a - eval/accuracy","a - eval/accuracy__MIN"\n0,0.1,0.1\n1,0.5,0.5\n'),
            ("t.csv", b"_step,eval/accuracy,train/global_step\n0,0.1,0\n1,,1\n2,0.5,2\n"),
            ("t.csv", b"Name,State,eval/accuracy,_step\na,finished,0.5,9\nb,crashed,0.1,3\n"),
            ("t.jsonl", _lines(*history_rows)),
        ),
        "trackio": _runs(
            ("p.db", _made(_database)),
            ("t.csv", b"id,timestamp,run_name,step,eval/accuracy\n1,2026-01-01,a,0,0.1\n2,2026-01-01,a,1,0.5\n"),
        ),
        "verl": _runs(
            ("t.log", b"step:1 - val-core/x/acc/mean@1:0.5\nstep:2 - val-core/x/acc/mean@1:np.float64(0.6)\n"),
            ("t.jsonl", _lines(*verl)),
        ),
        "grid": _runs(
            (
                "t.csv",
                b"run_name,false_positive_rate,false_negative_rate,num_rollouts,final_validation_accuracy\n"
                b"a-1.5B,0.1,0.2,8,0.5\nb,0.0,0.0,16,0.75\n",
            )
        ),
    }  # fmt: skip
    studies = [yaml.safe_dump(one, default_flow_style=None).encode() for one in (study, noisy)]
    declared = {
        "study": Reader(tuple(("s.yaml", one) for one in studies), lambda path: read_study(path).runs()),
        "sweep": Reader((("s.yaml", SWEEP_SPEC.encode()),), load_spec),
        "manifest": Reader((("m.yaml", b"a: {arm: clean, fpr: 0.1}\nb: {arm: noisy, seed: 3}\n"),), _manifest),
        "prices": Reader((("p.yaml", b"rollouts_1000: 0.5\njudgements_1000: 1\nlabel: 2\n"),), read_prices),
        "probe": Reader((("p.json", json.dumps(probe).encode()),), read_probe),
    }  # fmt: skip
    return logs | declared


@cache
def reader(name: str) -> Reader:
    """The reader of a name of READERS, and its sound files."""
    from empirical.plan import read_audit
    from empirical.validate.predict import read_calibration

    if name == "audit":
        return Reader((("a.json", _stored("audit")),), read_audit)
    if name == "calibration":
        whole = _stored("validate")
        cut = _short(json.loads(whole), 7)
        weight = cut["model"]["fit"]["weight"]
        cut["model"]["fit"]["weight"] = [one / sum(weight) for one in weight]
        return Reader((("c.json", json.dumps(cut).encode()), ("c.json", whole)), read_calibration)
    return _readers()[name]


READERS: Final = (
    "csv", "jsonl", "parquet", "trl", "trl-console", "run", "tensorboard", "wandb", "trackio", "verl", "grid",
    "study", "sweep", "manifest", "prices", "calibration", "probe", "audit",
)  # fmt: skip

EACH: Final = 25  # files of one example of hypothesis', which takes as long to draw as one to read


def _edited(raw: bytes, edits: list[tuple[int, int, int, int]]) -> bytes:
    """The bytes after small harms: a flip, a cut, a repeat, something odd put in or in place, a splice, an end."""
    out = bytearray(raw)
    for kind, where, length, odd in edits:
        at = where % (len(out) + 1)
        match kind:
            case 0 if at < len(out):
                out[at] ^= 1 << length % 8
            case 1:
                del out[at : at + length]
            case 2:
                out[at:at] = out[max(0, at - length) : at]
            case 3:
                out[at:at] = ODD[odd]
            case 4:
                out[at : at + length] = ODD[odd]
            case 5:
                other = (where // 7) % (len(out) + 1)
                out[at:at] = out[other : other + length]
            case _ if length > 50:
                out = out[:at]
            case _:
                continue
    return bytes(out)


EDIT: Final = 7  # bytes that say one harm: kind, place (four), length, what is put in
FILE: Final = 4 * EDIT  # which sound file, how many harms; the harms


def files_of(name: str, drawn: bytes) -> list[tuple[str, bytes]]:
    """The harmed files of a reader's kind that bytes say, FILE of them each: (name, content), one to three harms."""
    sound = reader(name).sound
    made: list[tuple[str, bytes]] = []
    for at in range(0, len(drawn), FILE):
        first, *rest = (drawn[at + i : at + i + EDIT] for i in range(0, FILE, EDIT))
        file, raw = sound[first[0] % len(sound)]
        edits = [(e[0] % 7, int.from_bytes(e[1:5]), 1 + e[5] % 60, e[6] % len(ODD)) for e in rest]
        made.append((file, _edited(raw, edits[: 1 + first[1] % 3])))
    return made


def harmed(name: str) -> st.SearchStrategy[list[tuple[str, bytes]]]:
    """EACH harmed files of a reader's kind, as hypothesis draws them."""
    return st.binary(min_size=EACH * FILE, max_size=EACH * FILE).map(
        lambda drawn: files_of(name, drawn)
    )


def problem(name: str, file: str, raw: bytes, folder: Path) -> tuple[bool, str | None]:
    """Whether a file was refused in a line of ours, and what is wrong with how it was met: raised, or slow."""
    path = folder / file
    path.write_bytes(reader(name).sealed(raw))
    began = time.process_time()
    refused, wrong = False, None
    try:
        reader(name).read(path)
    except Exception as error:  # which of them a user would see as a traceback is the question
        refused = type(error).__module__.partition(".")[0] in OURS or isinstance(error, OSError)
        if not refused:
            wrong = f"{type(error).__name__}: {str(error)[:80]}"
    if time.process_time() - began > SECONDS:
        wrong = f"over {SECONDS:g} s"
    return refused, wrong


def _note(part: Part, name: str, raw: bytes, wrong: str) -> None:
    if wrong not in part["wrong"]:
        part["wrong"][wrong] = raw.hex()[:4000]
        sys.stderr.write(f"fuzz {name}: {wrong}\n")


def fuzz(name: str, count: int) -> None:
    """Read harmed files until `count` were, a batch of hypothesis' at a time."""
    part = kept(f"fuzz-{name}") or _nothing()
    reader(name)  # made before hypothesis draws
    with TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        while part["done"] < count:

            @seed(part["done"])
            @settings(
                max_examples=BATCH // EACH,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            )
            @given(harmed(name))
            def one(files: list[tuple[str, bytes]]) -> None:
                for file, raw in files:
                    refused, wrong = problem(name, file, raw, Path(folder))
                    part["done"] += 1
                    part["refused"] += refused
                    if wrong is not None:
                        _note(part, name, raw, wrong)

            one()
            keep(f"fuzz-{name}", part)
    sys.stderr.write(f"fuzz {name}: {part['done']}, {part['refused']} refused\n")


def _nothing() -> Part:
    return {"done": 0, "refused": 0, "wrong": {}, "guided": 0}


def guided(name: str, count: int) -> None:
    """`count` more, chosen by what code they reach: atheris, in a process of its own; nothing where it is absent."""
    part = kept(f"fuzz-{name}") or _nothing()
    left = count - part["guided"]
    if left <= 0:
        return
    line = [sys.executable, "-m", "tests.faults.fuzzing", name, str(left)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == ABSENT:
        return
    if not (PARTS / f"guided-{name}.json").exists():
        raise SystemExit(f"atheris, {name}: {done.stderr[-2000:]}")
    told = kept(f"guided-{name}")
    part["guided"] += told["done"]
    part["wrong"] |= told["wrong"]
    keep(f"fuzz-{name}", part)


ABSENT: Final = 69  # exit status where atheris is not installed: EX_UNAVAILABLE


def _guided_here(name: str, count: int) -> None:
    try:
        import atheris  # pyright: ignore[reportMissingModuleSource]
    except ImportError:
        raise SystemExit(ABSENT) from None
    fuzzer: Any = atheris  # which has no published types
    with fuzzer.instrument_imports(
        include=["fits.readers", "fits.files", "fits.table", "empirical"]
    ):
        for module in [
            m for m in sys.modules if m.startswith(("fits.readers", "fits.files", "fits.table"))
        ]:
            del sys.modules[module]
        import fits.readers

    global read_runs
    read_runs = fits.readers.read_runs
    part: Part = {"done": 0, "wrong": {}}
    sound = reader(name).sound  # which of them a file is like, its first byte says
    with TemporaryDirectory() as folder, TemporaryDirectory() as corpus:
        for place, (_, raw) in enumerate(sound):
            (Path(corpus) / str(place)).write_bytes(bytes([place]) + raw)

        def one(raw: bytes) -> None:
            file = sound[raw[0] % len(sound)][0] if raw else sound[0][0]
            _, wrong = problem(name, file, raw[1:], Path(folder))
            part["done"] += 1
            if wrong is not None:
                _note(part, name, raw, wrong)
            if part["done"] % 500 == 0 or part["done"] >= count:
                keep(f"guided-{name}", part)

        fuzzer.Setup([sys.argv[0], corpus, f"-atheris_runs={count}", "-max_len=20000"], one)
        fuzzer.Fuzz()


if __name__ == "__main__":
    _guided_here(sys.argv[1], int(sys.argv[2]))
