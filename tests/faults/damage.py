"""A run's folder after what befalls disks and clocks: each file harmed, a full disk, a read-only one, two launchers.

Law. The command given again either leads to the bytes of the run that nothing befell, or refuses the folder by name
in one line and leaves the rest of the study whole.
Fails first where two harms meet: each is tried alone.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from fits.errors import InputError
from tests.builders import ROOT, tiny_study
from tests.faults.killing import forking, fresh, left, train_line, uninterrupted
from tests.faults.parts import PARTS, Part, keep, kept

PAGE: Final = 4096  # bytes, of which a file on a file system in memory takes a whole number


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    if raw:
        raw[len(raw) // 2] ^= 4
    path.write_bytes(bytes(raw))


HARMS: Final[dict[str, Callable[[Path], object]]] = {
    "removed": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b""),
    "cut": _cut,
    "a bit flipped": _flip,
}


def _again(study: Path, out: Path, reference: dict[str, Any]) -> tuple[str, str]:
    """What the command given again came to: "whole", "refused", or what is wrong; and what it printed of it."""
    done = subprocess.run(
        train_line(study, out), capture_output=True, text=True, check=False, cwd=ROOT
    )
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    told = lines[0].replace(str(out), "OUT") if lines else ""
    if "Traceback" in done.stderr:
        return "traceback", lines[-1]
    if done.returncode == 2:
        # By name: the run's, or its folder's.
        named = any(name in done.stderr for name in reference)
        return ("refused" if named else "refused without a name"), told
    if done.returncode:
        return f"exit {done.returncode}", told
    try:
        return ("whole" if left(out) == reference else "differs"), told
    except (InputError, OSError) as error:
        return f"left unreadable: {error}", told


@contextmanager
def _disk(path: Path, size: str) -> Generator[Callable[[str], object]]:
    """A file system of its own at `path`; what is yielded mounts it anew with other options."""
    path.mkdir(parents=True, exist_ok=True)

    def mount(options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "faults", str(path)], check=True)

    mount(f"size={size}")
    try:
        yield lambda options: mount(f"remount,{options}")
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@contextmanager
def _clock_goes_back() -> Generator[None]:
    """Within the block, the clock of every process forked from us falls back a day, two seconds into it."""
    real, began = time.time, time.monotonic()
    time.time = lambda: real() - (86_400.0 if time.monotonic() - began > 2.0 else 0.0)
    try:
        yield
    finally:
        time.time = real


def damages() -> None:
    """Try every harm that has not been tried yet."""
    part = kept("damage")
    folder = fresh(PARTS / "damage")
    study = folder / "study.yaml"
    # One run, its checkpoints kept, so that there is a file of every kind.
    running = {"processes": 1, "checkpoint_every": 2, "save_completions": "all"}
    wanted = tiny_study(arms={"noisy": {"fpr": 0.02, "fnr": 0.02}}, running=running)
    study.write_text(yaml.safe_dump(wanted.model_dump(mode="json")), encoding="utf-8")
    with forking():
        uninterrupted(train_line(study, folder / "reference"))
        reference = left(folder / "reference")
        half = folder / "half"
        shutil.copytree(folder / "reference" / "models", half / "models")
        _stop_halfway(study, half)
        states = {"done": folder / "reference", "interrupted": half}
        tried = [
            (f"{state}, {path.relative_to(out / wanted.runs()[0].run_id)}, {harm}", out, path, harm)
            for state, out in states.items()
            for path in sorted((out / wanted.runs()[0].run_id).rglob("*"))
            if path.is_file()
            for harm in HARMS
        ]
        for name, out, path, harm in tried:
            if name not in part:
                copy = folder / "copy"
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(out, copy)
                HARMS[harm](copy / path.relative_to(out))
                _told(part, name, _again(study, copy, reference))
        for name, call in _ELSE.items():
            if name not in part:
                copy = folder / "copy"
                shutil.rmtree(copy, ignore_errors=True)
                _told(part, name, call(study, half, copy, reference))


def _told(part: Part, name: str, found: tuple[str, str]) -> None:
    part[name] = found
    keep("damage", part)
    sys.stderr.write(f"{name}: {': '.join(found)}\n")


def _stop_halfway(study: Path, out: Path) -> None:
    """A run stopped by SIGTERM once it has two checkpoints."""
    process = subprocess.Popen(
        train_line(study, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT
    )
    while process.poll() is None and len(list(out.glob("*/checkpoints/*/COMPLETE"))) < 2:
        time.sleep(0.02)
    process.terminate()
    process.wait()
    if not list(out.glob("*/checkpoints/*/COMPLETE")):
        raise SystemExit("the run ended before it could be stopped")


def _full(study: Path, half: Path, copy: Path, reference: dict[str, Any]) -> tuple[str, str]:
    """The disk fills while a run trains; it is given room, and the run goes on."""
    pages = sum(-(-path.stat().st_size // PAGE) for path in half.rglob("*") if path.is_file())
    with _disk(copy, f"{pages * PAGE + 80_000}") as again:
        shutil.copytree(half, copy / "out")
        first = _again(study, copy / "out", reference)
        again("size=1g")
        second = _again(study, copy / "out", reference)
    return _once_mended("full", first, second)


def _read_only(study: Path, half: Path, copy: Path, reference: dict[str, Any]) -> tuple[str, str]:
    """The folder cannot be written; then it can."""
    with _disk(copy, "1g") as again:
        shutil.copytree(half, copy / "out")
        again("ro")
        first = _again(study, copy / "out", reference)
        again("rw")
        second = _again(study, copy / "out", reference)
    return _once_mended("read-only", first, second)


def _once_mended(what: str, first: tuple[str, str], second: tuple[str, str]) -> tuple[str, str]:
    """What came of a fault that passes: what the command left afterwards, where it was refused before."""
    if first[0] not in ("refused", "refused without a name"):
        return f"{what}: {first[0]}", first[1]
    return second[0], f"{what}: {first[1]}"


def _two(study: Path, half: Path, copy: Path, reference: dict[str, Any]) -> tuple[str, str]:
    """Two launchers at one study, both from where it was stopped."""
    shutil.copytree(half, copy)
    both = [
        subprocess.Popen(train_line(study, copy), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(2)
    ]  # fmt: skip
    said = [process.communicate() for process in both]
    if any(process.returncode for process in both):
        return f"exits {[process.returncode for process in both]}", said[0][1][-300:]
    told = [json.loads(out) for out, _ in said]
    trained = sum(one["done"] for one in told), sum(one["busy"] for one in told)
    whole = left(copy) == reference
    return ("whole" if whole else "differs"), f"done, busy: {trained}"


def _back(study: Path, half: Path, copy: Path, reference: dict[str, Any]) -> tuple[str, str]:
    """The clock falls back a day while a run trains, and again before it goes on."""
    shutil.copytree(half, copy)
    with _clock_goes_back():
        return _again(study, copy, reference)


def _newest_first(
    study: Path, half: Path, copy: Path, reference: dict[str, Any]
) -> tuple[str, str]:
    """Every file's time of change is turned round: the newest checkpoint is the oldest by the clock."""
    shutil.copytree(half, copy)
    for step, path in enumerate(sorted(copy.rglob("*"), reverse=True)):
        os.utime(path, (step, step))
    return _again(study, copy, reference)


_ELSE: Final[dict[str, Callable[[Path, Path, Path, dict[str, Any]], tuple[str, str]]]] = {
    "the disk is full": _full,
    "the disk is read-only": _read_only,
    **{f"two launchers, time {i}": _two for i in (1, 2, 3, 4, 5)},
    "the clock is set back": _back,
    "times of change are turned round": _newest_first,
}


def rows(part: Part) -> list[tuple[str, str, int]]:
    """(what befell, what came of it and was printed, how often), alike ones together."""
    found: dict[tuple[str, str], int] = {}
    for name, (came, told) in part.items():
        *_, last = name.split(", ")
        what = name if last not in HARMS else f"{name.split(', ')[0]}, {_kind(name)}, {last}"
        if what.startswith("two launchers"):
            what, told = "two launchers", ""
        found[what, f"{came}: {told}" if told else came] = (
            found.get((what, f"{came}: {told}" if told else came), 0) + 1
        )
    return [(what, came, number) for (what, came), number in found.items()]


def _kind(name: str) -> str:
    file = name.split(", ")[1]
    return (
        "a checkpoint's file"
        if file.startswith("checkpoints/")
        else "completions"
        if file.startswith("completions/")
        else file
    )


def lost(part: Part) -> list[str]:
    """What came to anything else than whole or refused by name."""
    return [name for name, (came, _) in part.items() if came not in ("whole", "refused")]
