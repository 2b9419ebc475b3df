"""What this machine can do, found out without doing it: packages, GPUs, memory, disk, seconds.

Asks torch nothing, since importing it takes seconds; where a driver lists a GPU that torch was not built
for, training says so at its start.
"""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from empirical import extras
from empirical.environment import gpus, memory_gb, processor, versions

__all__ = ["Check", "Report", "examine"]


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
