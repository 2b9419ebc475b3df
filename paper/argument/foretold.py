"""Numbers of studies read where they are there: what a probe foretold, what buys errors back, mid-run probes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np

from empirical.collect import TABLE
from empirical.errors import StudyError
from empirical.probe import read_probe
from empirical.studies import Study
from fits.hypotheses import Estimate
from paper.argument.texts import Numbers, count, interval, number, percent, signed
from paper.corrections import BASE, Bought
from paper.paces import Paces, held, paces
from paper.probe import law_pace
from paper.trained import complete, read_corrections, read_in_training, study_of
from theory import VerifierChannel, population_phi2

__all__ = ["SIZES", "foretold_numbers"]

SMOLLM: Final = "smollm2-arithmetic"
SIZES: Final = "model-sizes"
ARMS: Final = {"fpr0.4": "fpr", "fnr0.4": "fnr", "both0.4": "both", "coin": "coin"}


def foretold_numbers(root: Path) -> dict[str, Numbers]:
    """Everything, by the name of the function that made it; a study that is not there gives nothing."""
    return {
        f"{__name__}.{make.__name__}": make(root) for make in (pretrained, sizes, remedies, midway)
    }


def pretrained(root: Path) -> Numbers:
    """SmolLM2: paces as probed and as run, and the committed forecast."""
    study = _study(root, SMOLLM)
    folder = _results(root) / SMOLLM
    if study is None or not (folder / "probe.json").is_file():
        return {}
    runs = complete(_results(root), SMOLLM)
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
    # Of an arm's single run no error is known.
    told = [abs(arm.z) for arm in found.arms if arm.z is not None]
    numbers["smollm.agree"] = count(sum(z < 1.96 for z in told))
    numbers["smollm.told"] = count(len(told))
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
    runs = complete(_results(root), SIZES)
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


def remedies(root: Path) -> Numbers:
    """What buys both errors at .4 back, at equal rollouts or verdicts, and what an audit makes of a learned error."""
    if _study(root, "corrections") is None:
        return {}
    found, study = read_corrections(_results(root)), study_of(_results(root), "corrections")
    probe = read_probe(_results(root) / "corrections" / "probe.json")
    numbers: Numbers = {
        "corrections.runs": count(found.runs),
        "corrections.planned": count(found.runs + found.missing),
    }
    for one in found.bought:
        key = f"corrections.{_way(one)}"
        numbers |= {
            f"{key}.pace": _spanned(one.pace),
            f"{key}.end": number(one.end.value),
            f"{key}.rollouts": count(one.rollouts),
            f"{key}.seeds": count(one.pace.units),
        }
        arm = study.arms[one.arm]
        if one.arm != "drop":  # whose groups are not all used
            worth = population_phi2(np.array(probe.pass_rates), VerifierChannel(arm.fpr, arm.fnr))
            law = law_pace(probe, one.group_size, one.prompts, worth)
            numbers[f"{key}.law"] = number(float(law))
    for one in found.versus:
        key = f"corrections.{_way(one.one)}-{_way(one.other)}"
        numbers |= {
            f"{key}.pace": _spanned(one.pace, sign=True),
            f"{key}.end": _spanned(one.end, sign=True, digits=3),
            f"{key}.verdict": one.verdict,
        }
    for one in found.mended:
        key = f"mended.{one.arm}.{one.group_size}"
        numbers[f"{key}.harm"] = _spanned(one.harm)
        if one.undone is not None:
            numbers[f"{key}.undone"] = _spanned(one.undone, sign=True)
    return numbers


def midway(root: Path) -> Numbers:
    """Probes made in mid-run beside the growth over the next steps."""
    if _study(root, "in-training") is None:
        return {}
    found = read_in_training(_results(root))
    numbers: Numbers = {
        "midway.probes": count(len(found.rows)),
        "midway.rank": number(found.rank),
        "midway.within": count(found.within),
        "midway.rmse": number(1e3 * found.rmse),
    }
    for step, ratio in found.ratio.items():
        numbers[f"midway.ratio.{step}"] = number(ratio)
    return numbers


def _way(one: Bought) -> str:
    """A way to spend a step as a key: arm, prompts, rollouts."""
    arm = "both" if one.arm == BASE else one.arm
    return f"{arm}.{one.prompts}x{one.group_size}"


def _spanned(found: Estimate, *, sign: bool = False, digits: int = 2) -> str:
    value = signed(found.value, digits) if sign else number(found.value, digits)
    return value if found.ci is None else f"{value} {interval(found.ci, digits)}"


def _paced(found: Paces, head: str) -> Numbers:
    numbers: Numbers = {}
    for arm in found.arms:
        if arm.arm in ARMS:
            key = f"{head}.{ARMS[arm.arm]}"
            numbers[f"{key}.probe"] = number(arm.probe)
            numbers[f"{key}.trained"] = _spanned(arm.pace)
    return numbers


def _results(root: Path) -> Path:
    return root / "empirical" / "results"


def _study(root: Path, name: str) -> Study | None:
    """The study where its table is there."""
    if not (_results(root) / name / TABLE).is_file():
        return None
    return study_of(_results(root), name)
