"""Carrying a probe out, block by block, in one process or several, and going on where one was interrupted."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING

from empirical import extras
from empirical.errors import StudyError
from empirical.machine import gpus
from empirical.probe.measure import Prober
from empirical.probe.result import Probe, result_of
from empirical.probe.spec import ProbeSpec
from empirical.studies import PretrainedSpec, Study
from fits.files import write_text

if TYPE_CHECKING:
    pass


__all__ = ["discard_parts", "initial_weights", "probe"]


def probe(
    spec: ProbeSpec,
    out: Path,
    *,
    weights: Path | None,
    processes: int = 1,
    report: Callable[[int, int], None] = lambda *_: None,
) -> Probe:
    """Measure `spec`, going on from the blocks in `<out>.parts`; the caller writes the result.

    weights: folder of a tiny model's weights. processes: at a time. report: blocks done, and of how many.
    Raises StudyError if the train extra is absent, or the parts are another probe's.
    """
    extras.require(*extras.TRAIN)
    if isinstance(spec.model, PretrainedSpec):
        if spec.model.lora is not None:
            extras.require("peft")
        if spec.model.dtype == "bfloat16" and not gpus():
            raise StudyError(
                f"model {spec.model.name}: bfloat16 needs a GPU, and none is here;"
                " dtype: float32 works on a CPU"
            )
    started = time.monotonic()
    folder = out.with_name(out.name + ".parts")
    _claim(folder, spec)
    missing = [k for k in range(spec.blocks) if not (folder / f"block-{k:03d}.json").exists()]
    report(spec.blocks - len(missing), spec.blocks)
    for done, _ in enumerate(_measured(spec, weights, folder, missing, processes), start=1):
        report(spec.blocks - len(missing) + done, spec.blocks)
    return result_of(spec, folder, seconds=time.monotonic() - started)


def initial_weights(study: Study, study_file: Path, spec: ProbeSpec, out: Path) -> Path | None:
    """Folder of a tiny model's weights: committed ones, else made below `out`; None for other models."""
    from empirical.collect import read_committed
    from empirical.training import launch

    extras.require(*extras.TRAIN)
    models = read_committed(study, study_file).models
    return launch.initial_weights(study, spec.model, out, models)


def discard_parts(out: Path) -> None:
    """Remove the blocks of a probe whose result is written."""
    shutil.rmtree(out.with_name(out.name + ".parts"), ignore_errors=True)


def _claim(folder: Path, spec: ProbeSpec) -> None:
    path = folder / "spec.json"
    text = spec.model_dump_json(indent=1) + "\n"
    if path.exists():
        if path.read_text(encoding="utf-8") != text:
            raise StudyError(
                f"{folder}: holds the blocks of another probe; remove it, or name another --out"
            )
        return
    write_text(path, text)


def _measured(
    spec: ProbeSpec, weights: Path | None, folder: Path, blocks: Sequence[int], processes: int
) -> Iterator[int]:
    if not blocks:
        return
    if min(processes, len(blocks)) == 1:
        with _one_thread():
            prober = Prober(spec, weights)
            for block in blocks:
                prober.measure(block, folder)
                yield block
        return
    pool = ProcessPoolExecutor(
        min(processes, len(blocks)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_enter,
        initargs=(spec.model_dump_json(), weights),
    )
    try:
        waiting: dict[Future[None], int] = {
            pool.submit(_measure, block, folder): block for block in blocks
        }
        for future in as_completed(waiting):
            future.result()
            yield waiting[future]
    except BrokenProcessPool:
        raise StudyError(
            "a process of the probe was killed, perhaps for want of memory; the same command goes on,"
            " --processes 1 takes less"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _one_thread:
    """torch on one thread while the block runs, so that sums do not depend on how many there are."""

    def __enter__(self) -> None:
        import torch

        self.threads = torch.get_num_threads()
        torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        import torch

        torch.set_num_threads(self.threads)


_prober: Prober | None = None  # of a worker process


def _enter(spec: str, weights: Path | None) -> None:
    global _prober
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    torch.set_num_threads(1)
    _prober = Prober(ProbeSpec.model_validate_json(spec), weights)


def _leave_with(parent: int) -> None:
    """End this process when its parent is gone: nobody else would."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _measure(block: int, folder: Path) -> None:
    assert _prober is not None
    _prober.measure(block, folder)
