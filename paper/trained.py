"""Runs of a study that were trained to the end, and the answers that stand on them and on probes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from empirical.collect import TABLE
from empirical.probe import read_probe
from empirical.studies import Study, read_study
from paper.corrections import Corrections, corrections
from paper.in_training import InTraining, equal_steps, in_training
from paper.paces import Held, Paces, held, paces

__all__ = [
    "CAMPAIGN",
    "PRETRAINED",
    "SIZES",
    "SMOLLM2",
    "Beside",
    "complete",
    "read_beside",
    "read_corrections",
    "read_held",
    "read_in_training",
    "read_pretrained",
    "read_sizes",
    "sized_runs",
    "study_of",
]

CAMPAIGN: Final = "cpu-campaign"
SMOLLM2: Final = "smollm2-arithmetic"
SIZES: Final = "model-sizes"
PRETRAINED: Final = "SmolLM2-135M-Instruct"


@dataclass(frozen=True)
class Beside:
    """What the studies beside the campaign say, each read once.

    pretrained, held: its paces and its committed forecast. reference: the campaign's paces; sizes: of other sizes.
    """

    pretrained: Paces
    held: Held
    reference: Paces
    sizes: tuple[Paces, ...]
    corrected: Corrections
    midway: InTraining

    @property
    def paced(self) -> dict[str, Paces]:
        """All paces by model, small ones first."""
        small = sorted((self.reference, *self.sizes), key=lambda one: one.parameters)
        return {one.model: one for one in small} | {PRETRAINED: self.pretrained}


def read_beside(results: Path, forecasts: Path) -> Beside:
    """Read it all. Raises StudyError where a probe, or runs that are asked for, are absent."""
    reference, sizes = read_sizes(results)
    return Beside(
        pretrained=read_pretrained(results),
        held=read_held(results, forecasts),
        reference=reference,
        sizes=sizes,
        corrected=read_corrections(results),
        midway=read_in_training(results),
    )


def study_of(results: Path, name: str) -> Study:
    """The study file of a results folder beside `results`. Raises StudyError where it is not one."""
    return read_study(results.parent / f"studies/trained/{name}.yaml")


def complete(results: Path, name: str) -> pd.DataFrame:
    """The rows of a study's runs that were trained to the end."""
    runs = pd.read_parquet(results / name / TABLE)
    done: Any = runs.groupby("run_id")["step"].max() == study_of(results, name).training.steps
    return runs[runs["run_id"].isin(done[done].index)]


def read_pretrained(results: Path) -> Paces:
    """The pretrained model's paces. Raises StudyError where its probe or clean runs are absent."""
    return paces(read_probe(results / SMOLLM2 / "probe.json"), complete(results, SMOLLM2))


def read_held(results: Path, forecasts: Path) -> Held:
    """The pretrained model's committed forecast beside its runs. Raises StudyError where its probe is absent."""
    return held(
        json.loads((forecasts / f"{SMOLLM2}.json").read_text(encoding="utf-8")),
        complete(results, SMOLLM2),
        study_of(results, SMOLLM2),
        read_probe(results / SMOLLM2 / "probe.json"),
    )


def sized_runs(results: Path, *, alike: bool = False) -> dict[str, pd.DataFrame]:
    """Runs of the study of sizes, and of the campaign that are like them, by model: the campaign's is the first.

    alike: of the seeds that all models have alone.
    """
    campaign, sized = complete(results, CAMPAIGN), complete(results, SIZES)
    like = campaign["arm"].isin(list(study_of(results, SIZES).arms)) & (campaign["group_size"] == 8)
    both: Any = pd.concat([campaign[like], sized])
    if alike:
        models = both.groupby("seed")["model"].nunique()
        both = both[both["seed"].isin(models[models == both["model"].nunique()].index)]
    return {str(model): runs for model, runs in both.groupby("model", sort=False)}


def read_sizes(results: Path) -> tuple[Paces, tuple[Paces, ...]]:
    """Paces of the campaign's size, and of the others that have runs, small ones first.

    Raises StudyError where one has no probe.
    """
    reference, *others = sized_runs(results).items()
    found = [
        paces(read_probe(results / SIZES / f"probe-{model}.json"), runs) for model, runs in others
    ]
    return (
        paces(read_probe(results / CAMPAIGN / "probe.json"), reference[1]),
        tuple(sorted(found, key=lambda one: one.parameters)),
    )


def read_corrections(results: Path) -> Corrections:
    """What buys errors back, by the tables below `results`.

    Raises StudyError where the probe, or the campaign's or learnable-errors' runs are absent.
    """
    learnt = results / "corrections-learnable"
    there = (learnt / TABLE).is_file()
    return corrections(
        complete(results, "corrections"),
        complete(results, CAMPAIGN),
        read_probe(results / "corrections" / "probe.json"),
        learnt=complete(results, learnt.name) if there else None,
        uncorrected=complete(results, "learnable-errors"),
        learnt_probe=read_probe(learnt / "probe.json") if there else None,
        planned=sum(len(study_of(results, name).runs()) for name in ("corrections", learnt.name)),
    )


def read_in_training(results: Path) -> InTraining:
    """Probes made in mid-run beside the campaign's runs, by the tables below `results`.

    Raises StudyError where no probe is there that the campaign's runs can be held against.
    """
    folder, campaign = results / "in-training", results / CAMPAIGN
    study = study_of(results, folder.name)
    start = read_probe(campaign / "probe.json")
    probes = {(arm, size, 0): start for arm in study.arms for size in study.group_sizes}
    for path in sorted(folder.glob("probe-*-g*-*.json")):
        arm, size, step = path.stem.removeprefix("probe-").rsplit("-", 2)
        probes[arm, int(size.removeprefix("g")), int(step)] = read_probe(path)
    return in_training(
        probes,
        pd.read_parquet(campaign / TABLE),
        equal_steps(_steps(folder), _steps(campaign)),
        _steps(results / "gradient-noise"),
    )


def _steps(results: Path) -> pd.DataFrame:
    """The step logs of a study's runs, with what each run was."""
    named = ["run_id", "arm", "group_size", "seed"]
    runs = pd.read_parquet(results / TABLE)[named].drop_duplicates()
    logs = [pd.read_parquet(path) for path in sorted((results / "steps").glob("*.parquet"))]
    return pd.concat(logs).merge(runs, on="run_id")
