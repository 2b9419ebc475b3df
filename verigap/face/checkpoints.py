"""What a checkpoint says of verifiers, without training."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from empirical.probe import GROUPS, WEIGHTS, Probe, discard_parts, initial_weights, probe_spec
from empirical.probe import probe as measure
from verigap.face.base import Shown, as_shown, verb


@dataclass(frozen=True, repr=False)
class Probed(Shown, Probe):
    """Signal and noise of the policy gradient at a model's weights; see `empirical.probe.Probe`."""

    def to_frame(self) -> pd.DataFrame:
        """One row per verifier and group size."""
        return Probe.to_frame(self)

    def headline(self) -> str:  # noqa: D102
        return (
            f"{self.model} on {self.task}: pass rate {self.pass_rate:.3f}, squared signal-to-noise of a clean"
            f" batch of {self.prompts_per_step} x {self.group_size} {self.snr2:.2f}"
        )

    def remarks(self) -> Sequence[str]:  # noqa: D102
        return [f"{line}." for line in self.assumptions]


@verb
def probe(
    study: str | Path,
    *,
    model: str | None = None,
    groups: int = GROUPS,
    group_size: int | None = None,
    weights: int = WEIGHTS,
    seed: int = 0,
    processes: int | None = None,
    out: str | Path | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Probed:
    """Measure what each verifier of a study does to the speed of learning at a model's weights.

    study: path of a study file. model: one of its models, or a folder of its first one's weights; its first
    if None. groups: of the largest group size, two per prompt. group_size: what `arms` is about; that of the
    study's first run if None. weights: looked at, chosen at random. processes: at a time; the study's number
    if None, one with a GPU. out: file to write; an interrupted probe goes on from what lies beside it.
    report: called with the prompts done and in all.
    Raises UserError, one line: a study or a model that is not there, no train extra, another probe's parts.
    Source: docs/theory.md#probe.
    """
    from empirical.machine import gpus
    from empirical.studies import read_study
    from fits.files import check_target, write_text
    from fits.plain import json_text

    file = Path(study)
    wanted = read_study(file)
    target = None if out is None else Path(out)
    if target is not None:
        check_target(target)
    spec = probe_spec(
        wanted, model=model, groups=groups, group_size=group_size, weights=weights, seed=seed
    )
    folder = Path(model) if model is not None and Path(model).is_dir() else None

    def told(blocks: int, of: int) -> None:
        if report is not None:
            report(blocks * spec.prompts // of, spec.prompts)

    with tempfile.TemporaryDirectory() as scratch:
        beside = target or Path(scratch) / "probe.json"
        found = measure(
            spec,
            beside,
            weights=folder or initial_weights(wanted, file, spec, beside.parent),
            processes=processes or (1 if gpus() else wanted.running.processes),
            report=told,
        )
        result = as_shown(Probed, found)
        if target is not None:
            write_text(target, json_text(result.plain()))
            discard_parts(target)
    return result
