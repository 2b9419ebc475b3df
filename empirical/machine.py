"""On what a run ran, and what this machine can do: versions, hardware, commit. No paths, no host names.

Found out without doing it: torch is asked nothing, since importing it takes seconds; where a driver lists a GPU
that torch was not built for, training says so at its start.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from empirical import extras

__all__ = [
    "Check",
    "Report",
    "describe",
    "examine",
    "git_state",
    "gpus",
    "memory_gb",
    "processor",
    "releases",
    "versions",
]

PACKAGES: Final = (
    "verigap",
    "torch",
    "transformers",
    "trl",
    "accelerate",
    "datasets",
    "tokenizers",
    "peft",
    "vllm",
    "math-verify",
    "reasoning-gym",
    "numpy",
    "scipy",
)


def versions() -> dict[str, str | None]:
    """Python's version, and what is installed of PACKAGES."""
    return {"python": platform.python_version(), **releases(PACKAGES)}


def releases(packages: Iterable[str]) -> dict[str, str | None]:
    """Installed versions of `packages`, None where one is absent."""
    found: dict[str, str | None] = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def processor() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def gpus() -> list[str]:
    """Names of the NVIDIA GPUs that the driver lists; asks no torch."""
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(
        ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return [line.strip() for line in listed.stdout.splitlines() if line.strip()]


def memory_gb() -> float | None:
    """Memory of the machine in GB, None where the system does not say."""
    info = Path("/proc/meminfo")
    if not info.exists():
        return None
    return round(int(info.read_text(encoding="utf-8").split()[1]) * 1024 / 1e9, 1)


def git_state() -> dict[str, Any]:
    """Commit of the checkout this code runs from; dirty if a loaded module of ours differs from it."""
    root = Path(__file__).resolve().parents[1]

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return {"sha": None, "dirty": None, "reason": "not run from a checkout"}
        ours = ("theory", "fits", "empirical", "verigap")
        loaded = [
            module.__file__
            for name, module in list(sys.modules.items())
            if name.partition(".")[0] in ours and getattr(module, "__file__", None)
        ]
        changed = git("status", "--porcelain", "--", __file__, *map(str, loaded))
        return {"sha": git("rev-parse", "HEAD"), "dirty": bool(changed)}
    except (OSError, subprocess.SubprocessError):
        return {"sha": None, "dirty": None, "reason": "not run from a checkout"}


def describe() -> dict[str, Any]:
    """Everything env.json says of the machine and the code; needs no torch."""
    return {
        "versions": versions(),
        "platform": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "git": git_state(),
    }


@dataclass(frozen=True)
class Check:
    """One thing a machine may be able to do."""

    name: str
    able: bool
    reason: str


@dataclass(frozen=True)
class Report:
    """The machine, the installed versions and the checks."""

    machine: dict[str, Any]
    versions: dict[str, str | None]
    checks: tuple[Check, ...]


def examine() -> Report:
    """Look at the machine the process runs on."""
    found, memory = gpus(), memory_gb()
    free_gb = round(shutil.disk_usage(Path.cwd()).free / 1e9, 1)
    return Report(
        machine={
            "processor": processor(),
            "cores": os.cpu_count(),
            "memory_gb": memory,
            "disk_free_gb": free_gb,
            "gpus": found,
        },
        versions=versions(),
        checks=tuple(_checks(found, memory)),
    )


def _checks(found: list[str], memory: float | None) -> list[Check]:
    missing = [name for name in extras.TRAIN if find_spec(name) is None]
    trains = not missing
    extra = "the train extra is missing: " + ", ".join(missing)
    cores = os.cpu_count() or 1
    vllm = find_spec("vllm") is not None
    small = memory is not None and memory < 12
    return [
        Check("simulate, fit, gap, drift, demo", True, "needs the core packages only"),
        Check(
            "train tiny models on the CPU",
            trains,
            f"{cores} cores: {max(1, cores)} runs at a time, one thread each" if trains else extra,
        ),
        Check(
            "train a 135 M-parameter model on the CPU, a few steps",
            trains and not small,
            extra if missing else f"{memory} GB of memory; it needs 8 to 10, and about 40 s a step",
        ),
        Check(
            "train Qwen2.5 (the gsm8k studies)",
            trains and bool(found),
            extra if missing else (", ".join(found) or "no NVIDIA GPU is listed by nvidia-smi"),
        ),
        Check(
            "bfloat16", bool(found), "on a GPU" if found else "on a CPU it is slower than float32"
        ),
        Check(
            "vLLM generation",
            vllm and bool(found),
            "installed"
            if vllm and found
            else "the vllm package is absent"
            if not vllm
            else "vLLM needs a GPU",
        ),
        Check(
            "one run on several GPUs (running.gpus_per_run)",
            trains and len(found) > 1,
            f"{len(found)} listed by nvidia-smi",
        ),
        Check(
            "LoRA (models[].lora)",
            find_spec("peft") is not None,
            "peft is installed" if find_spec("peft") else "peft is absent (train extra)",
        ),
        Check(
            "verifier math_verify",
            find_spec("math_verify") is not None,
            "installed" if find_spec("math_verify") else "math-verify is absent (train extra)",
        ),
        Check(
            "tasks of reasoning-gym",
            find_spec("reasoning_gym") is not None,
            "installed" if find_spec("reasoning_gym") else "reasoning-gym is absent (train extra)",
        ),
        Check(
            "pause and checkpoint by signal",
            hasattr(signal, "SIGSTOP") and hasattr(signal, "SIGUSR1"),
            "SIGSTOP, SIGTERM, SIGUSR1"
            if hasattr(signal, "SIGUSR1")
            else "this system has no SIGUSR1; use --max-minutes",
        ),
    ]
