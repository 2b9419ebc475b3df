"""What whoever applies the argument asks of it: equal compute, other margins, how large a probe has to be.

Each answer is a table of records, from which its numbers and its table of the manuscript are made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from empirical.probe import ArmProbe, Probe
from fits.hypotheses import Estimate, Finding, Part, estimate, judge
from paper.argument.texts import Numbers, count, number
from paper.contrasts import by_condition

if TYPE_CHECKING:
    from paper.numbers import Findings

__all__ = [
    "AtBudget",
    "Needed",
    "Turned",
    "compute_numbers",
    "equal_compute",
    "margin_numbers",
    "margins",
    "probe_numbers",
    "probe_size",
]

# Of independent errors by grpo, J > 0.
ERROR_ARMS: Final = (
    "fpr0.2",
    "fpr0.4",
    "fpr0.6",
    "fnr0.2",
    "fnr0.4",
    "fnr0.6",
    "both0.2",
    "both0.4",
)
# The rest of the arms have J <= 0: more steps of them are no gain.
LEARNING: Final = (
    "clean",
    *ERROR_ARMS,
    "drgrpo-clean",
    "drgrpo-fpr0.4",
    "drgrpo-fnr0.4",
    "trigger0.2",
)
FACTORS: Final = {"half": 0.5, "twice": 2.0}
ERRORS: Final = (0.05, 0.02)  # standard errors of a relative speed that are asked for


# ---- equal compute


@dataclass(frozen=True)
class AtBudget:
    """One arm after one number of rollouts, by group size.

    accuracy: mean over seeds, straight between evaluations. best: the group size with the most; lead: its accuracy less
    that of the next, within seeds.
    """

    arm: str
    rollouts: int
    accuracy: Mapping[int, float]
    best: int
    lead: Estimate


def equal_compute(runs: pd.DataFrame) -> tuple[AtBudget, ...]:
    """Each arm of J > 0 after as many rollouts as the smaller group sizes were trained with.

    A rollout of these runs is judged once, so that equal rollouts are equal calls of the verifier.
    """
    curves = by_condition(runs, "accuracy")
    # Rollouts of a step, and of the whole run, by group size.
    each = {
        int(str(size)): (float(own["rollouts"].max()) / float(own["step"].max()), int(own["rollouts"].max()))
        for size, own in runs.groupby("group_size")
    }  # fmt: skip
    found: list[AtBudget] = []
    for budget in sorted(whole for _, whole in each.values())[:-1]:
        for arm in LEARNING:
            at: dict[int, dict[str, float]] = {}
            for size, (step, whole) in sorted(each.items()):
                curve = curves.get((arm, size))
                if curve is None or whole < budget:
                    continue
                known = curve.dropna()
                steps = known.columns.to_numpy(np.float64)
                at[size] = {
                    str(seed): float(np.interp(budget / step, steps, row))
                    for seed, row in zip(known.index, known.to_numpy(np.float64), strict=True)
                }
            mean = {size: float(np.mean(list(own.values()))) for size, own in at.items()}
            if len(mean) < 2:
                continue
            best, second = sorted(mean, key=lambda size: -mean[size])[:2]
            lead = {s: at[best][s] - at[second][s] for s in at[best] if s in at[second]}
            found.append(AtBudget(arm, budget, mean, best, estimate(arm, lead)))
    return tuple(found)


def compute_numbers(runs: pd.DataFrame) -> Numbers:
    """How often the smallest group is best at equal rollouts, by how much, and what noise costs there."""
    found = equal_compute(runs)
    budgets = sorted({one.rollouts for one in found})
    smallest = [one for one in found if one.best == min(one.accuracy)]
    sure = [one for one in smallest if one.lead.ci is not None and one.lead.ci[0] > 0.0]
    numbers: Numbers = {
        "compute.cells": count(len(found)),
        "compute.arms": count(len({one.arm for one in found})),
        "compute.budgets": count(len(budgets)),
        "compute.smallest": count(len(smallest)),
        "compute.sure": count(len(sure)),
        "compute.lead-least": number(min(one.lead.value for one in found)),
        "compute.lead-most": number(max(one.lead.value for one in found)),
        "compute.budget": count(budgets[0]),
    }
    for one in found:
        if one.rollouts == budgets[0]:
            for size, value in one.accuracy.items():
                numbers[f"compute.{one.arm}.{size}"] = number(value)
    return numbers


# ---- other margins


@dataclass(frozen=True)
class Turned:
    """The verdict on a claim that names a margin, at half of it, as it is and at twice it."""

    key: str
    title: str
    half: str
    one: str
    twice: str

    @property
    def turns(self) -> bool:
        """Whether either differs from the verdict given."""
        return {self.half, self.twice} != {self.one}


def margins(findings: Findings) -> tuple[Turned, ...]:
    """Every claim that names one; a claim about a sign alone has none to change."""
    found: list[Turned] = []
    for asked in findings.questions:
        rows = asked.finding.rows
        if (
            not any(row.hypothesis.bound for row in rows)
            or asked.finding.verdict == "not testable here"
        ):
            continue  # fmt: skip
        other = {name: _judged_at(asked.finding, factor) for name, factor in FACTORS.items()}
        if _judged_at(asked.finding, 1.0) != asked.finding.verdict:
            raise ValueError(f"{asked.key}: its rows do not give its verdict")
        found.append(Turned(asked.key, asked.title, one=asked.finding.verdict, **other))
    return tuple(found)


def _judged_at(finding: Finding, factor: float) -> str:
    """The verdict of the same estimates at `factor` times each margin."""
    parts: list[Part] = []
    for row in finding.rows:
        if row.average:
            bound = factor * row.hypothesis.bound
            parts.append(Part(replace(row.hypothesis, bound=bound), row.estimate))
        else:
            parts[-1] = replace(parts[-1], each=(*parts[-1].each, row.estimate))
    return judge(parts).verdict


def margin_numbers(findings: Findings, arms: tuple[str, ...]) -> Numbers:
    """How many verdicts turn at half and at twice the margin: on claims, and of `gap` on the settings of `arms`."""
    found = margins(findings)
    numbers: Numbers = {
        "margins.claims": count(len(found)),
        "margins.turn": count(sum(one.turns for one in found)),
        "margins.half": count(sum(one.half != one.one for one in found)),
        "margins.twice": count(sum(one.twice != one.one for one in found)),
        "margins.round": count(
            sum({"supported", "contradicted"} <= {one.half, one.one, one.twice} for one in found)
        ),
    }
    for one in found:
        numbers |= {f"margins.{one.key}.half": one.half, f"margins.{one.key}.twice": one.twice}
    for name, factor in FACTORS.items():
        at = findings.verdicts_at[f"{factor:g}"]
        tally = Counter(
            verdict
            for setting, verdict in at.items()
            if setting.split(",")[0].removeprefix("drgrpo-") in arms
        )
        for word in ("closes", "persists", "undetermined"):
            numbers[f"margins.{name}.{word}"] = count(tally[word])
    return numbers


# ---- how large a probe


@dataclass(frozen=True)
class Needed:
    """What a committed probe knew of one arm, and what it would take to know more.

    labels: rollouts, each of which a reference verifier judged. needed: labels for each of ERRORS, by
    error ~ 1 / sqrt(labels), prompts and rollouts growing alike.
    """

    study: str
    arm: ArmProbe
    prompts: int
    labels: int
    needed: tuple[float, ...]


def probe_size(probes: Mapping[str, Probe]) -> tuple[Needed, ...]:
    """Of every arm with 0 < J < 1 whose speed has an error, at the probe's headline group size."""
    return tuple(
        Needed(
            study,
            arm,
            probe.prompts,
            probe.rollouts,
            tuple(probe.rollouts * (arm.se / error) ** 2 for error in ERRORS),
        )
        for study, probe in probes.items()
        for arm in probe.arms
        if 0.0 < arm.youden < 1.0 and arm.se
    )


def probe_numbers(probes: Mapping[str, Probe]) -> Numbers:
    """The range of labels over arms and probes; and one arm of two probes of unequal size."""
    found = probe_size(probes)
    by = {(one.study, one.arm.arm): one for one in found}
    numbers: Numbers = {"labels.fewest": count(min(one.labels for one in found))}
    for place, word in enumerate(("coarse", "fine")):
        numbers[f"labels.{word}"] = number(ERRORS[place])
        numbers[f"labels.{word}.most"] = _about(max(one.needed[place] for one in found))
    small, large = by.get(("learnable-errors", "coin0.4")), by.get(("cpu-campaign", "fpr0.4"))
    if small is not None and large is not None and small.arm.se and large.arm.se:
        numbers |= {
            "labels.check-times": count(large.labels / small.labels),
            "labels.check-said": number(float(np.sqrt(large.labels / small.labels)), 1),
            "labels.check-was": number(small.arm.se / large.arm.se, 1),
        }
    return numbers


def _about(labels: float) -> str:
    """Two digits that count."""
    return count(float(f"{labels:.2g}"))


def needed_text(labels: float, fewest: int) -> str:
    """Labels as a table says them: below what any probe had nothing was tried."""
    return rf"\ensuremath{{<}}{count(fewest)}" if labels < fewest else _about(labels)


def share_text(found: Needed) -> str:
    """A speed with its standard error."""
    return f"{number(found.arm.relative_speed or 0.0)} ({number(found.arm.se or 0.0, 3)})"
