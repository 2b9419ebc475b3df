"""On what a run ran: versions, hardware, commit. No paths, no host names."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

__all__ = ["describe", "git_state", "gpus", "memory_gb", "processor", "releases", "versions"]

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
