"""Studies and sweeps under kills at random moments, each held to an uninterrupted reference.

Law. Whatever is killed, by whichever signal and when, the command given again leads to the bytes that nobody
interrupted: rows (without timings), weights, completions, tables. Kills hit the launcher, its workers, or both.
Fails first if a moment matters that no kill hit; hence the moments are random and many.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pandas as pd
import psutil
import yaml

from empirical.training.folder import COMPLETIONS, TIMINGS, RunFolder
from fits.readers.jsonl import read_json
from tests.builders import ROOT, tiny_study
from tests.faults.parts import PARTS, Part, keep, kept

SIGNALS: Final = ("SIGKILL", "SIGTERM", "SIGINT")
WHO: Final = ("launcher", "worker", "both")
STEPS: Final = 240  # of a run of the long study: a minute or two
SWEEP: Final = """
population: {prompts: 400, wrong_modes: 3}
training: {steps: 4000, group_size: 64}
arms: {clean: {}, fp: {fpr: 0.3}, fn: {fnr: 0.3}}
seeds: [0, 1]
"""


@dataclass
class Said:
    """What the commands printed and did under kills."""

    kills: dict[str, int] = field(default_factory=dict[str, int])  # by "who, how"
    tracebacks: list[str] = field(default_factory=list[str])
    launches: int = 0


def _is_worker(process: psutil.Process) -> bool:
    """Whether a process below a launcher does a run's work: training, a warm start, a task on Ray."""
    with suppress(psutil.Error):
        line = " ".join(process.cmdline())
        ours = "empirical.training." in line or line.startswith(("ray::_run_of", "ray::_cell"))
        return ours or process.cmdline() == psutil.Process().cmdline()  # forked from us
    return False


@contextmanager
def forking() -> Generator[None]:
    """Within the block, our modules are started by a fork of this process, which has imported what they need.

    Importing torch takes ten times as long as the work under test, and a kill in it shows nothing. All else is as
    without: sessions, signals, files, the modules' own `main`. Launchers forked so fork their workers so.
    """
    from empirical.training import run as training
    from verigap import cli

    def verigap(arguments: list[str]) -> None:
        sys.argv = ["verigap", *arguments]
        cli.main()

    mains = {
        "verigap": verigap,
        "empirical.training.run": lambda given: sys.exit(training.main(given)),
    }
    execute: Any = subprocess.Popen._execute_child  # pyright: ignore[reportAttributeAccessIssue]

    def start(self: Any, args: Any, *others: Any) -> None:
        main = mains.get(args[2]) if list(args[:2]) == [sys.executable, "-m"] else None
        if main is None:
            return execute(self, args, *others)
        cwd, env, pipes = others[4], others[5], others[9:15]  # of subprocess, on POSIX
        self.pid = os.fork()
        if self.pid:
            self._child_created = True
            self._close_pipe_fds(*pipes)
            return None
        read, stdin, stdout, write, error, stderr = pipes
        status = 1
        try:
            os.setsid()
            for end, number in ((read, 0), (write, 1), (stderr, 2)):
                if end >= 0:
                    os.dup2(end, number)
            for end in (stdin, stdout, error):
                if end >= 0:
                    os.close(end)
            sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            for number in (signal.SIGTERM, signal.SIGUSR1):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if env is not None:
                os.environ.clear()
                os.environ.update(env)
            if cwd is not None:
                os.chdir(cwd)
            main(list(args[3:]))
        except SystemExit as left:
            status = left.code if isinstance(left.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    subprocess.Popen._execute_child = start  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        subprocess.Popen._execute_child = execute  # pyright: ignore[reportAttributeAccessIssue]


def _shoot(
    process: subprocess.Popen[bytes], rng: random.Random
) -> tuple[str, list[psutil.Process]]:
    """Signal the launcher, one of its workers, or both; says whom and how, and who works on."""
    root = psutil.Process(process.pid)
    workers = [child for child in root.children(recursive=True) if _is_worker(child)]
    who, how = rng.choice(WHO if workers else ("launcher",)), rng.choice(SIGNALS)
    targets = [root] if who != "worker" else []
    targets += [] if who == "launcher" else [rng.choice(workers)] if who == "worker" else workers
    for target in targets:
        with suppress(psutil.Error):
            target.send_signal(getattr(signal, how))
    return f"{who}, {how}", workers


def carried_on(
    command: Sequence[str],
    folder: Path,
    *,
    rng: random.Random,
    pause: Callable[[], float],
    said: Said,
    most: int | None = None,
) -> Generator[None]:
    """Give a command again and again until nothing of its work is left, with kills between; yields at each kill.

    folder: for its output. pause: seconds to the next kill. most: kills, after which there is peace.
    Raises SystemExit where it makes no headway.
    """
    shots, idle = 0, 0
    while True:
        said.launches += 1
        out, err = folder / "stdout", folder / "stderr"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                command, stdout=stdout, stderr=stderr, start_new_session=True, cwd=ROOT
            )
            hit, name, workers = False, "", list[psutil.Process]()
            while process.poll() is None:
                try:
                    process.wait(pause() if most is None or shots < most else 600.0)
                except subprocess.TimeoutExpired:
                    if most is not None and shots >= most:
                        continue
                    hit = True
                    with suppress(psutil.Error):
                        name, workers = _shoot(process, rng)
                        said.kills[name] = said.kills.get(name, 0) + 1
                        shots += 1
                        yield
                    if "launcher" in name or "both" in name:
                        with suppress(subprocess.TimeoutExpired):
                            process.wait(180.0)
        text = err.read_text(encoding="utf-8", errors="replace")
        if "Traceback" in text:
            said.tracebacks.append(text[text.index("Traceback") :][-2000:])
        if process.returncode == 0:
            document = json.loads(out.read_text(encoding="utf-8"))
            if document.get("done", document["runs"]) == document["runs"]:
                return
        # Half the time the next launcher meets the workers that the last one left.
        if rng.random() < 0.5:
            psutil.wait_procs(workers, timeout=120.0)
        idle = 0 if hit else idle + 1
        if idle > 20:
            raise SystemExit(f"no headway: {text[-2000:]}")


def left(out: Path) -> dict[str, Any]:
    """What a study or a sweep left, but for timings: by run its rows, weights and completions; its tables."""
    found: dict[str, Any] = {}
    for path in sorted(out.glob("*/spec.json")):
        folder = RunFolder(path.parent)
        done = read_json(folder.path / "DONE")
        found[path.parent.name] = {
            "rows": [{k: v for k, v in r.items() if k not in TIMINGS} for r in folder.rows()],
            "weights": done["final_weights_sha256"],
            "completions": {
                file.name: _sha256(file) for file in sorted((folder.path / COMPLETIONS).iterdir())
            },
        }
    if (out / "runs.parquet").exists():
        frame = pd.read_parquet(out / "runs.parquet").drop(columns=list(TIMINGS), errors="ignore")
        found["table"] = frame.to_csv(index=False)
    for name in ("runs.csv", "spec.yaml"):
        if (out / name).exists():
            found[name] = _sha256(out / name)
    return found


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def train_line(study: Path, out: Path, *options: str) -> list[str]:
    line = [sys.executable, "-m", "verigap", "train", str(study), "--out", str(out), "--json"]
    return [*line, *options]


def simulate_line(spec: Path, out: Path, *options: str) -> list[str]:
    line = [sys.executable, "-m", "verigap", "simulate", str(spec), "--out", str(out), "--json"]
    return [*line, "--force", "--workers", "1", *options]


def uninterrupted(command: Sequence[str]) -> float:
    """Seconds that a command takes. Raises SystemExit where it fails."""
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"the uninterrupted reference failed: {done.stderr}")
    return time.monotonic() - began


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def kills(count: int) -> None:
    """Kill launchers, workers or both until there are `count` kills in all; compare each study with its reference."""
    part = kept("kills") or {"by": {}, "studies": 0, "lost": [], "tracebacks": [], "launches": 0}
    folder = fresh(PARTS / "kills")
    with forking():
        _kills(count, part, folder)


def _kills(count: int, part: Part, folder: Path) -> None:
    study = folder / "study.yaml"
    study.write_text(yaml.safe_dump(tiny_study().model_dump(mode="json")), encoding="utf-8")
    uninterrupted(train_line(study, folder / "reference"))
    reference = left(folder / "reference")
    shutil.copytree(folder / "reference" / "models", folder / "again" / "models")
    taken = uninterrupted(train_line(study, folder / "again"))
    while sum(part["by"].values()) < count:
        rng = random.Random(f"kills {part['studies']}")
        out = folder / f"study-{part['studies']}"
        said = Said()
        before = dict(part["by"])
        shutil.copytree(folder / "reference" / "models", out / "models")  # a warm start is no run
        pause = lambda rng=rng: rng.uniform(0.02, 0.6) * taken  # noqa: E731
        wanted = count - sum(before.values())
        # A study that never ends compares nothing: after a dozen it is left in peace.
        for _ in carried_on(
            train_line(study, out), folder, rng=rng, pause=pause, said=said, most=min(12, wanted)
        ):
            pass
        for name, number in said.kills.items():
            part["by"][name] = before.get(name, 0) + number
        part["launches"] += said.launches
        part["tracebacks"] += said.tracebacks
        part["studies"] += 1
        if left(out) != reference:
            part["lost"].append(f"study {part['studies'] - 1}")
        else:
            shutil.rmtree(out)
        keep("kills", part)
        sys.stderr.write(f"kills: {sum(part['by'].values())} of {count}, differ: {part['lost']}\n")


# --- half an hour ------------------------------------------------------------------------------------


@contextmanager
def _watched(samples: list[list[Any]], *, began: float) -> Generator[None]:
    """Note the memory of this process's children every few seconds: [minutes, pid, role, MiB]."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(5.0):
            now = (time.monotonic() - began) / 60.0
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    line = " ".join(child.cmdline())
                    role = (
                        "worker" if _is_worker(child) else "launcher" if "verigap" in line else ""
                    )
                    if role:
                        size = child.memory_info().rss / 2**20
                        samples.append([round(now, 2), child.pid, role, round(size, 1)])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _references() -> tuple[Path, list[dict[str, Any]], float]:
    """The folder of the long study and sweep, what they leave uninterrupted, and the minutes that took; made once.

    One for both backends: that Ray leaves what a local run does is part of what is shown.
    """
    folder = PARTS / "reference"
    part = kept("reference")
    if not part:
        fresh(folder)
        wanted = tiny_study(
            training={"steps": STEPS, "prompts_per_step": 4, "learning_rate": 1e-3},
            evaluation={"steps": [0, STEPS // 2, STEPS], "samples": 64, "greedy": True},
            running={"processes": 1, "checkpoint_every": 20, "save_completions": "all"},
        )
        content = yaml.safe_dump(wanted.model_dump(mode="json"))
        (folder / "study.yaml").write_text(content, encoding="utf-8")
        (folder / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
        part["memory"] = []
        began = time.monotonic()
        with _watched(part["memory"], began=began):
            uninterrupted(train_line(folder / "study.yaml", folder / "study"))
            uninterrupted(simulate_line(folder / "sweep.yaml", folder / "sweep"))
        part["left"] = [left(folder / "study"), left(folder / "sweep")]
        part["minutes"] = (time.monotonic() - began) / 60.0
        keep("reference", part)
    return folder, part["left"], part["minutes"]


def long_run(backend: str, minutes: float) -> None:
    """A study and a sweep, again and again for `minutes`, a kill every one or two; each held to its reference.

    Once the minutes are over nothing more is killed, and what has begun ends.
    """
    name = f"long-{backend}"
    made, references, _ = _references()
    part = kept(name) or {
        "minutes": 0.0, "by": {}, "rounds": 0, "lost": [], "tracebacks": [], "launches": 0, "memory": [],
    }  # fmt: skip
    began = time.monotonic() - 60.0 * part["minutes"]
    folder = PARTS / name
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--backend", backend]

    def so_far() -> float:
        part["minutes"] = (time.monotonic() - began) / 60.0
        keep(name, part)
        return part["minutes"]

    with _watched(part["memory"], began=began):
        while part["minutes"] < minutes:
            rng = random.Random(f"{name} {part['rounds']}")
            study, sweep = (folder / f"{kind}-{part['rounds']}" for kind in ("study", "sweep"))
            # A warm start is no run: nothing of it is kept until it ends, which kills by the minute may forbid.
            shutil.rmtree(study, ignore_errors=True)
            shutil.copytree(made / "study" / "models", study / "models")
            for out, command, reference in (
                (study, train_line(made / "study.yaml", study, *options), references[0]),
                (sweep, simulate_line(made / "sweep.yaml", sweep, *options), references[1]),
            ):
                said, before = Said(), dict(part["by"])

                def pause(rng: random.Random = rng) -> float:
                    return rng.uniform(60.0, 120.0) if so_far() < minutes else 3600.0

                for _ in carried_on(command, folder, rng=rng, pause=pause, said=said):
                    now = {key: before.get(key, 0) + n for key, n in said.kills.items()}
                    part["by"] = before | now
                    sys.stderr.write(f"{name}: {so_far():.0f} minutes, {part['by']}\n")
                part["launches"] += said.launches
                part["tracebacks"] += said.tracebacks
                if json.loads(json.dumps(left(out))) != json.loads(json.dumps(reference)):
                    part["lost"].append(out.name)
                else:
                    shutil.rmtree(out)
                so_far()
            part["rounds"] += 1
            sys.stderr.write(f"{name}: {so_far():.0f} minutes, differ: {part['lost']}\n")
