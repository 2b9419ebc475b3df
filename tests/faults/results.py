"""Faults at length: kills at random moments, fuzzed inputs, safeguards taken away, into RESULTS.md.

    python -m tests.faults.results [--part NAME]... [--kills N] [--fuzz N]    (make faults)

Each part adds to what it did before (build/faults/PART.json), so that an interrupted one goes on and a long one may be
done in pieces; RESULTS.md is written from whatever is there, and says how much that is.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from fits.errors import InputError
from fits.files import write_text
from fits.readers import read_runs
from tests.builders import ROOT, tiny_study
from tests.faults.inputs import history
from tests.faults.planted import PLANTED, noticed_by

PARTS: Final = ROOT / "build" / "faults"
TABLE: Final = Path(__file__).with_name("RESULTS.md")
WANTED: Final = {"kills": 200, "fuzz": 100_000}
SIGNALS: Final = ("SIGKILL", "SIGTERM", "SIGINT")
Part = dict[str, Any]


def _kept(name: str) -> Part:
    path = PARTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _keep(name: str, part: Part) -> None:
    write_text(PARTS / f"{name}.json", json.dumps(part, indent=1, sort_keys=True) + "\n")


# --- kills -----------------------------------------------------------------------------------------


def _train(study: Path, out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "verigap", "train", str(study), "--out", str(out), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=ROOT,
    )


def _told(out: Path) -> dict[str, Any]:
    """What a study left, but for timings: its rows and final weights, by run."""
    from empirical.training.folder import TIMINGS, RunFolder

    found: dict[str, Any] = {}
    for path in sorted(out.glob("*/DONE")):
        folder = RunFolder(path.parent)
        rows = [{k: v for k, v in r.items() if k not in TIMINGS} for r in folder.rows()]
        weights = json.loads(path.read_text(encoding="utf-8"))["final_weights_sha256"]
        found[path.parent.name] = [rows, weights]
    return found


def kills(count: int) -> None:
    """Kill launchers, workers or both until there are `count` kills in all; compare each study with its reference."""
    import psutil
    import yaml

    part = _kept("kills") or {"kills": 0, "by": {}, "studies": 0, "lost": 0, "tracebacks": 0}
    rng = random.Random(f"kills {part['kills']}")
    with TemporaryDirectory() as folder:
        study = Path(folder) / "study.yaml"
        study.write_text(yaml.safe_dump(tiny_study().model_dump(mode="json")), encoding="utf-8")
        began = time.monotonic()
        whole = _train(study, Path(folder) / "reference")
        _, said = whole.communicate()
        if whole.returncode:
            raise SystemExit(f"the uninterrupted reference failed: {said}")
        taken = time.monotonic() - began
        reference = _told(Path(folder) / "reference")
        while part["kills"] < count:
            out = Path(folder) / f"study-{part['studies']}"
            while True:
                process = _train(study, out)
                who, how = rng.choice(("launcher", "worker", "both")), rng.choice(SIGNALS)
                try:
                    _, said = process.communicate(timeout=rng.uniform(0.1, 0.8) * taken)
                    break
                except subprocess.TimeoutExpired:
                    root = psutil.Process(process.pid)
                    workers = root.children(recursive=True)
                targets = {"launcher": [root], "worker": workers, "both": [root, *workers]}[who]
                for target in targets:
                    try:
                        target.send_signal(getattr(signal, how))
                    except psutil.Error:
                        continue
                _, said = process.communicate(timeout=600)
                part["kills"] += 1
                key = f"{who}, {how}"
                part["by"][key] = part["by"].get(key, 0) + 1
                part["tracebacks"] += "Traceback" in said
                psutil.wait_procs(workers, timeout=120)
                _keep("kills", part)
                if part["kills"] >= count:
                    process = _train(study, out)
                    _, said = process.communicate()
                    break
            part["tracebacks"] += "Traceback" in said
            part["studies"] += 1
            part["lost"] += _told(out) != reference
            _keep("kills", part)
            sys.stderr.write(f"kills: {part['kills']} of {count}, {part['lost']} studies differ\n")


# --- fuzz ------------------------------------------------------------------------------------------


def _mutated(raw: bytes, rng: random.Random) -> bytes:
    """The bytes with one to four small harms: flips, cuts, repeats, splices, odd numbers and texts."""
    out = bytearray(raw)
    odd = (
        b"1e999",
        b"NaN",
        b"\\ud800",
        b"[" * 70,
        b'"',
        b"\0",
        b"\xe2\x80\xa8",
        b"9" * 400,
        b"true",
    )
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out) + 1)
        match rng.randrange(5):
            case 0 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                del out[at : at + rng.randint(1, 40)]
            case 2:
                out[at:at] = out[max(0, at - rng.randint(1, 80)) : at]
            case 3:
                out[at:at] = rng.choice(odd)
            case _:
                out = out[: max(1, at)]
    return bytes(out)


def _seeds() -> dict[str, bytes]:
    """One small sound file for each reader, by the name it is read under."""
    data = ROOT / "tests" / "fits" / "data"
    table = b"run_id,step,accuracy,arm\na,0,0.1,x\na,1,0.5,x\nb,0,0.2,y\n"
    line = b'{"run_id": "a", "step": %d, "accuracy": 0.5}\n'
    kept = {
        "table.csv": table,
        "table.jsonl": line % 1 + line % 2,
        "trainer_state.json": (data / "trl-run-a" / "trainer_state.json").read_bytes(),
        "verl.log": b"step:1 - val-core/x/acc/mean@1:0.5\nstep:2 - val-core/x/acc/mean@1:0.6\n",
        "trl.log": b"{'loss': 1.0, 'eval_accuracy': 0.5, 'step': 1}\n{'loss': 0.5, 'step': 2}\n",
        "events.out.tfevents.0": (
            data / "trl-run-a" / "runs" / "first" / "events.out.tfevents.0"
        ).read_bytes()[:20_000],
    }
    with TemporaryDirectory() as folder:
        import pandas as pd

        frame = pd.DataFrame({"run_id": ["a", "a"], "step": [0, 1], "accuracy": [0.1, 0.5]})
        frame.to_parquet(Path(folder) / "t.parquet")
        kept["table.parquet"] = (Path(folder) / "t.parquet").read_bytes()
        logged = [((b"_step", b"%d" % i), (b"eval/accuracy", b"0.5")) for i in range(4)]
        kept["run.wandb"] = b":W&B\0\0\0" + b"".join(history(*items) for items in logged)
        connection = sqlite3.connect(Path(folder) / "v.db")
        connection.execute("create table metrics (id integer primary key, run_name, step, metrics)")
        logged = [(i, "a", i, json.dumps({"eval/accuracy": i / 9})) for i in range(1, 9)]
        connection.executemany("insert into metrics values (?, ?, ?, ?)", logged)
        connection.commit()
        connection.close()
        kept["project.db"] = (Path(folder) / "v.db").read_bytes()
    return kept


def fuzz(count: int, *, seconds: float = float("inf")) -> None:
    """Read `count` harmed files by every reader: each is refused by InputError or read, in under 2 s of CPU."""
    for name, raw in _seeds().items():
        part = _kept(f"fuzz-{name}") or {"done": 0, "refused": 0, "raised": {}, "slow": 0}
        ends = time.monotonic() + seconds
        with TemporaryDirectory() as folder:
            path = Path(folder) / name
            while part["done"] < count and time.monotonic() < ends:
                path.write_bytes(_mutated(raw, random.Random(f"{name} {part['done']}")))
                began = time.process_time()
                try:
                    read_runs(path)
                except InputError:
                    part["refused"] += 1
                except Exception as error:  # what a user would see as a traceback
                    key = f"{type(error).__name__}: {str(error)[:60]}"
                    part["raised"][key] = part["raised"].get(key, f"input {part['done']}")
                part["slow"] += time.process_time() - began > 2.0
                part["done"] += 1
                if part["done"] % 500 == 0:
                    _keep(f"fuzz-{name}", part)
        _keep(f"fuzz-{name}", part)
        sys.stderr.write(f"fuzz {name}: {part['done']}, raised {part['raised']}\n")


# --- safeguards taken away -------------------------------------------------------------------------


def planted() -> None:
    """Take away each safeguard that has no answer yet."""
    part = _kept("planted")
    for one in PLANTED:
        key = f"{one.safeguard}: {one.new}"
        if key not in part:
            part[key] = noticed_by(one) or "none"
            _keep("planted", part)
            sys.stderr.write(f"{one.safeguard}: {part[key]}\n")


def written() -> str:
    """RESULTS.md, from the parts that are there."""
    lines = [
        "# Faults",
        "",
        "Written by `make faults` from the parts that were run; each can be run on.",
        "",
    ]
    part = _kept("kills")
    lines += ["## Kills at random moments", ""]
    if part:
        lines += [
            f"{part['kills']} of {WANTED['kills']} kills, {part['studies']} studies carried on to their end, each compared"
            " with an uninterrupted reference (rows without timings, final weights):",
            f"{part['lost']} differed, {part['tracebacks']} printed a traceback.",
            "",
            "| who, how | kills |",
            "|---|---:|",
            *(f"| {key} | {number} |" for key, number in sorted(part["by"].items())),
            "",
        ]
    else:
        lines += ["Not run yet.", ""]
    lines += ["## Fuzzed inputs", ""]
    found = {name: one for name in _seeds() if (one := _kept(f"fuzz-{name}"))}
    if found:
        lines += [
            "| read as | inputs | of | refused in one line | raised | over 2 s |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        lines += [
            f"| {name} | {one['done']:,} | {WANTED['fuzz']:,} | {one['refused']:,} | {len(one['raised'])} | {one['slow']} |"
            for name, one in found.items()
        ]
        lines += [
            f"- {name}: {key} ({at})"
            for name, one in found.items()
            for key, at in one["raised"].items()
        ]
        lines.append("")
    else:
        lines += ["Not run yet.", ""]
    lines += ["## Safeguards taken away", ""]
    part = _kept("planted")
    if part:
        lines += ["| safeguard | first test that fails without it |", "|---|---|"]
        for one in PLANTED:
            test = part.get(f"{one.safeguard}: {one.new}", "not run yet")
            lines.append(f"| {one.safeguard} | {'**none**' if test == 'none' else f'`{test}`'} |")
        count = Counter(part.values())["none"]
        lines += ["", f"{len(part) - count} of {len(PLANTED)} noticed.", ""]
    else:
        lines += ["Not run yet.", ""]
    lines += [
        "## Not run",
        "",
        "Half an hour under random kills, local and on Ray, with memory plotted; a full disk; a read-only folder; two"
        " launchers at real training; a clock set back under a run.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run the parts asked for, then write RESULTS.md."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--part", action="append", choices=["kills", "fuzz", "planted"])
    parser.add_argument("--kills", type=int, default=WANTED["kills"])
    parser.add_argument("--fuzz", type=int, default=WANTED["fuzz"])
    parser.add_argument("--seconds", type=float, default=float("inf"), help="a reader, of fuzz")
    given = parser.parse_args()
    parts: dict[str, Callable[[], None]] = {
        "planted": planted,
        "fuzz": lambda: fuzz(given.fuzz, seconds=given.seconds),
        "kills": lambda: kills(given.kills),
    }
    for name in given.part or parts:
        parts[name]()
        write_text(TABLE, written())


if __name__ == "__main__":
    main()
