"""Runs of a study that were trained to the end, and the two answers that stand on several studies' tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from empirical.collect import TABLE
from empirical.probe import read_probe
from empirical.studies import Study, read_study
from paper.corrections import Corrections, corrections
from paper.in_training import InTraining, equal_steps, in_training

__all__ = ["complete", "read_corrections", "read_in_training", "study_of"]


def study_of(results: Path, name: str) -> Study:
    """The study file of a results folder beside `results`. Raises StudyError where it is not one."""
    return read_study(results.parent / f"studies/trained/{name}.yaml")


def complete(results: Path, name: str) -> pd.DataFrame:
    """The rows of a study's runs that were trained to the end."""
    runs = pd.read_parquet(results / name / TABLE)
    done: Any = runs.groupby("run_id")["step"].max() == study_of(results, name).training.steps
    return runs[runs["run_id"].isin(done[done].index)]


def read_corrections(results: Path) -> Corrections:
    """What buys errors back, by the tables below `results`.

    Raises StudyError where the probe, or the campaign's or learnable-errors' runs are absent.
    """
    learnt = results / "corrections-learnable"
    there = (learnt / TABLE).is_file()
    return corrections(
        complete(results, "corrections"),
        complete(results, "cpu-campaign"),
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
    folder, campaign = results / "in-training", results / "cpu-campaign"
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
    )


def _steps(results: Path) -> pd.DataFrame:
    """The step logs of a study's runs, with what each run was."""
    named = ["run_id", "arm", "group_size", "seed"]
    runs = pd.read_parquet(results / TABLE)[named].drop_duplicates()
    logs = [pd.read_parquet(path) for path in sorted((results / "steps").glob("*.parquet"))]
    return pd.concat(logs).merge(runs, on="run_id")
