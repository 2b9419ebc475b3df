"""Numbers of studies beside the campaign: what a probe foretold, what buys errors back, mid-run probes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pandas as pd

from empirical.studies import Study
from fits.hypotheses import Estimate
from paper.argument.texts import Numbers, count, interval, number, percent, signed
from paper.corrections import BASE, Bought, Corrections
from paper.in_training import InTraining
from paper.paces import Paces
from paper.probe import PROBE
from paper.trained import SIZES, SMOLLM2, Beside, complete, study_of

__all__ = ["foretold_numbers"]

ARMS: Final = {"fpr0.4": "fpr", "fnr0.4": "fnr", "both0.4": "both", "coin": "coin"}


def foretold_numbers(beside: Beside, results: Path) -> dict[str, Numbers]:
    """Everything, by the name of the function that made it. results: where the studies' files are found from."""
    made = {
        pretrained: pretrained(beside, study_of(results, SMOLLM2)),
        sizes: sizes(beside, study_of(results, SIZES), complete(results, SIZES)),
        remedies: remedies(beside.corrected),
        midway: midway(beside.midway),
    }
    return {f"{__name__}.{make.__name__}": numbers for make, numbers in made.items()}


def pretrained(beside: Beside, study: Study) -> Numbers:
    """SmolLM2: paces as probed and as run, and the committed forecast."""
    found, one = beside.pretrained, beside.held
    # Of an arm's single run no error is known.
    told = [abs(arm.z) for arm in found.arms if arm.z is not None]
    return _paced(found, "smollm") | {
        "smollm.runs": count(one.runs),
        "smollm.planned": count(one.planned),
        "smollm.seeds": count(found.seeds),
        "smollm.steps": count(one.steps),
        "smollm.start": number(found.start),
        "smollm.end": number(found.clean_end),
        "smollm.held-j": count(_held(found, "J")),
        "smollm.held-law": count(_held(found, "noise scales")),
        "smollm.held": count(_held(found, PROBE)),
        "smollm.weights": f"{found.parameters / 1e6:.0f}\\,M",
        "smollm.tokens": count(study.training.max_completion_length),
        "smollm.agree": count(sum(z < 1.96 for z in told)),
        "smollm.told": count(len(told)),
        "smollm.forecast": number(one.rmse, 3),
        "smollm.forecast-gap": number(one.gap_rmse, 3),
        "smollm.inside": percent(one.inside / one.rows),
        "smollm.rows": count(one.rows),
        "smollm.made": one.made,
    }


def _held(found: Paces, name: str) -> int:
    """Arms whose trained interval holds what is said by `name`."""
    return sum(arm.pace.holds(arm.said[name]) for arm in found.arms)


def sizes(beside: Beside, study: Study, runs: pd.DataFrame) -> Numbers:
    """The campaign's task at other sizes: the probe's clock at each."""
    found = beside.sizes
    # How much the probe is too slow for false positives, at every size.
    slow = [
        arm.pace.value - arm.probe
        for one in (beside.reference, *found)
        for arm in one.arms
        if arm.arm == "fpr0.4"
    ]
    numbers: Numbers = {
        "sizes.runs": count(runs["run_id"].nunique()),
        "sizes.planned": count(len(study.runs())),
        "sizes.models": count(len(found)),
        "sizes.clock": number(max(one.rmse[PROBE] for one in found), 3),
        "sizes.law": number(max(one.rmse["noise scales"] for one in found), 3),
        "sizes.slow-least": number(min(slow)),
        "sizes.slow-most": number(max(slow)),
        "sizes.all": count(len(slow)),
    }
    for one in found:
        numbers |= _paced(one, f"sizes.{one.model}")
        numbers[f"sizes.{one.model}.weights"] = f"{one.parameters:,}"
    return numbers


def remedies(found: Corrections) -> Numbers:
    """What buys both errors at .4 back, at equal rollouts or verdicts, and what an audit makes of a learned error."""
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
        if one.law is not None:
            numbers[f"{key}.law"] = number(one.law)
    for word in ("probe", "law"):
        told = found.foretold(word)
        numbers |= {
            f"corrections.{word}.of": count(told.of),
            f"corrections.{word}.fast": count(told.fast),
            f"corrections.{word}.outside": count(told.outside),
            f"corrections.{word}.rmse": number(told.rmse, 3),
        }
    for one in found.versus:
        key = f"corrections.{_way(one.one)}-{_way(one.other)}"
        numbers |= {
            f"{key}.pace": _spanned(one.pace, sign=True, digits=3),
            f"{key}.end": _spanned(one.end, sign=True, digits=3),
            f"{key}.verdict": one.verdict,
        }
    for one in found.mended:
        key = f"mended.{one.arm}.{one.group_size}"
        numbers[f"{key}.harm"] = _spanned(one.harm, digits=3)
        if one.undone is not None:
            numbers[f"{key}.undone"] = _spanned(one.undone, sign=True)
    return numbers


def midway(found: InTraining) -> Numbers:
    """Probes made in mid-run beside the growth over the next steps."""
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
    numbers: Numbers = {
        f"{head}.clock{word}": number(found.rmse[name], 3)
        for word, name in (("", PROBE), ("-j", "J"), ("-law", "noise scales"))
    }
    for arm in found.arms:
        if arm.arm in ARMS:
            key = f"{head}.{ARMS[arm.arm]}"
            numbers[f"{key}.probe"] = number(arm.probe)
            numbers[f"{key}.trained"] = _spanned(arm.pace)
    return numbers
