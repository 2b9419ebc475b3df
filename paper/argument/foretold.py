"""Numbers of the studies that a probe foretold before they were trained: a pretrained model, and other sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pandas as pd

from empirical.collect import TABLE
from empirical.errors import StudyError
from empirical.probe import read_probe
from empirical.studies import Study, read_study
from paper.argument.texts import Numbers, count, interval, number, percent
from paper.paces import Paced, Paces, held, paces

__all__ = ["SIZES", "foretold_numbers"]

SMOLLM: Final = "smollm2-arithmetic"
SIZES: Final = "model-sizes"
ARMS: Final = {"fpr0.4": "fpr", "fnr0.4": "fnr", "both0.4": "both", "coin": "coin"}


def foretold_numbers(root: Path) -> dict[str, Numbers]:
    """Everything, by the name of the function that made it; a study that is not there gives nothing."""
    return {f"{__name__}.{make.__name__}": make(root) for make in (pretrained, sizes)}


def pretrained(root: Path) -> Numbers:
    """SmolLM2: paces as probed and as run, and the committed forecast."""
    study = _study(root, SMOLLM)
    folder = _results(root) / SMOLLM
    if study is None or not (folder / "probe.json").is_file():
        return {}
    runs = _complete(folder / TABLE, study)
    probe = read_probe(folder / "probe.json")
    try:
        found = paces(probe, runs)
    except StudyError:
        return {}
    numbers = {
        "smollm.runs": count(runs["run_id"].nunique()),
        "smollm.planned": count(len(study.runs())),
        "smollm.seeds": count(found.seeds),
        "smollm.steps": count(study.training.steps),
        "smollm.clock": number(found.rmse_probe, 3),
        "smollm.clock-j": number(found.rmse_youden, 3),
        "smollm.start": number(found.start),
        "smollm.end": number(found.clean_end),
        "smollm.snr2": number(probe.snr2, 1),
    }
    numbers |= _paced(found, "smollm")
    forecast = root / "paper" / "forecasts" / f"{SMOLLM}.json"
    if forecast.is_file():
        one = held(json.loads(forecast.read_text(encoding="utf-8")), runs, study, probe)
        numbers |= {
            "smollm.forecast": number(one.rmse, 3),
            "smollm.forecast-gap": number(one.gap_rmse, 3),
            "smollm.inside": percent(one.inside / one.rows),
            "smollm.rows": count(one.rows),
            "smollm.made": one.made,
        }
    return numbers


def sizes(root: Path) -> Numbers:
    """The campaign's task at other sizes: the probe's clock at each."""
    study = _study(root, SIZES)
    if study is None:
        return {}
    runs = _complete(_results(root) / SIZES / TABLE, study)
    numbers: Numbers = {}
    worst, trained = [], 0
    for model in study.models:
        file = _results(root) / SIZES / f"probe-{model.name}.json"
        own = runs[runs["model"] == model.name]
        if not file.is_file() or own.empty:
            continue
        try:
            found = paces(read_probe(file), own)
        except StudyError:
            continue
        trained += int(own["run_id"].nunique())
        worst.append(found.rmse_probe)
        numbers |= _paced(found, f"sizes.{model.name}")
        numbers[f"sizes.{model.name}.clock"] = number(found.rmse_probe, 3)
        numbers[f"sizes.{model.name}.weights"] = f"{found.parameters:,}"
    if not worst:
        return {}
    return numbers | {
        "sizes.runs": count(trained),
        "sizes.models": count(len(worst)),
        "sizes.clock": number(max(worst), 3),
        "sizes.planned": count(len(study.runs())),
    }


def _paced(found: Paces, head: str) -> Numbers:
    numbers: Numbers = {}
    for arm in found.arms:
        if arm.arm in ARMS:
            key = f"{head}.{ARMS[arm.arm]}"
            numbers[f"{key}.probe"] = number(arm.probe)
            numbers[f"{key}.trained"] = _pace(arm)
    return numbers


def _pace(arm: Paced) -> str:
    value = number(arm.pace.value)
    return value if arm.pace.ci is None else f"{value} {interval(arm.pace.ci, 2)}"


def _results(root: Path) -> Path:
    return root / "empirical" / "results"


def _study(root: Path, name: str) -> Study | None:
    """The study where its table is there."""
    if not (_results(root) / name / TABLE).is_file():
        return None
    return read_study(root / "empirical" / "studies" / "trained" / f"{name}.yaml")


def _complete(table: Path, study: Study) -> pd.DataFrame:
    """The rows of runs that were trained to the end."""
    runs = pd.read_parquet(table)
    done: Any = runs.groupby("run_id")["step"].max() == study.training.steps
    return runs[runs["run_id"].isin(done[done].index)]
