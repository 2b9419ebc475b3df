"""What buys back a noisy verifier's errors under Adam: more verdicts, more rollouts, fewer groups, an audit.

Law. An arm's pace is that of `paper.paces`: the R for which clean at R t, by the campaign's 8 prompts of 8 rollouts, is
the arm's curve. All arms share the campaign's task, warm start, steps, seeds and evaluations, so that differences pair
within seeds. Two currencies: rollouts a step, which a trainer pays for, and verdicts a step, which a judge does.
Harm of the error a policy learns is that of `paper.learnable`: clean's accuracy less the arm's in the last third.
Fails first where verdicts of one rollout are not independent: a majority of them is then one verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from empirical.errors import StudyError
from empirical.probe import Probe
from fits.hypotheses import LEAST_UNITS, Estimate, estimate
from paper.learnable import SETTLED
from paper.paces import CLEAN, by_seed, pace
from paper.probe import law_pace, rms
from theory import VerifierChannel, population_phi2

__all__ = ["BASE", "Bought", "Corrections", "Foretold", "Mended", "Versus", "corrections"]

BASE: Final = "both0.4"
DROP: Final = "drop"
VOTES: Final = {"majority3": 3, "majority5": 5}
FAULT: Final = "unfinished-low"
# Which of two ways to spend as much is better: (currency, one, other), each (arm, rollouts, prompts).
ASKED: Final = (
    ("rollouts", (DROP, 8, 8), (BASE, 8, 8)),
    ("rollouts", ("drgrpo", 8, 8), (BASE, 8, 8)),
    ("rollouts", (BASE, 4, 16), (BASE, 8, 8)),
    ("rollouts", (BASE, 16, 4), (BASE, 8, 8)),
    ("rollouts", (BASE, 32, 2), (BASE, 8, 8)),
    ("rollouts", (BASE, 24, 8), (BASE, 8, 24)),
    ("verdicts", ("majority3", 8, 8), (BASE, 24, 8)),
    ("verdicts", ("majority3", 8, 8), (BASE, 8, 24)),
)
SAME: Final = 0.05  # of pace: no difference of interest


@dataclass(frozen=True)
class Bought:
    """A way to spend a step.

    verdicts: on each rollout. probe, law: speed over clean's at 8 prompts of 8, known before training, weight by weight
    and by two noise scales; None where they say none. end: accuracy at the last step. campaign: the campaign's run,
    which was there before.
    """

    arm: str
    group_size: int
    prompts: int
    verdicts: int
    probe: float | None
    probe_ci: tuple[float | None, float | None] | None
    law: float | None
    pace: Estimate
    end: Estimate
    campaign: bool

    @property
    def rollouts(self) -> int:
        """A step."""
        return self.group_size * self.prompts

    @property
    def name(self) -> str:
        """Arm, prompts and rollouts."""
        return f"{self.arm}, {self.prompts} × {self.group_size}"


@dataclass(frozen=True)
class Versus:
    """One way to spend less another that costs as much. currency: "rollouts" or "verdicts". pace, end: differences."""

    currency: str
    one: Bought
    other: Bought
    pace: Estimate
    end: Estimate

    @property
    def verdict(self) -> str:
        """By the interval of pace."""
        if self.pace.ci is None or self.pace.units < LEAST_UNITS:
            return "not judged"
        low, high = self.pace.ci
        if low > 0.0:
            return "faster"
        if high < 0.0:
            return "slower"
        return "as fast" if low > -SAME and high < SAME else "undetermined"


@dataclass(frozen=True)
class Mended:
    """An arm of the error that a policy learns. harm: accuracy lost to clean; undone: of the uncorrected arm's, a gain.

    curve: mean accuracy by step.
    """

    arm: str
    group_size: int
    harm: Estimate
    undone: Estimate | None
    probe: float | None
    curve: Mapping[int, float]


@dataclass(frozen=True)
class Foretold:
    """Speeds said before training beside paces: how many, how many too fast, outside the pace's interval; the error."""

    of: int
    fast: int
    outside: int
    rmse: float


@dataclass(frozen=True)
class Corrections:
    """Everything both studies say. runs, missing: made and still to come."""

    bought: tuple[Bought, ...]
    versus: tuple[Versus, ...]
    mended: tuple[Mended, ...]
    clean: Mapping[int, float]
    steps: int
    runs: int
    missing: int

    def foretold(self, word: Literal["probe", "law"]) -> Foretold:
        """How what was said before training did on the paces of runs that were not there before."""
        found: list[tuple[float, Estimate]] = []
        for one in self.bought:
            said = one.probe if word == "probe" else one.law
            if said is not None and not one.campaign:
                found.append((said, one.pace))
        missed = [said - pace.value for said, pace in found]
        return Foretold(
            of=len(found),
            fast=sum(value > 0.0 for value in missed),
            outside=sum(pace.ci is not None and not pace.holds(said) for said, pace in found),
            rmse=rms(missed) if found else float("nan"),
        )


def corrections(
    own: pd.DataFrame,
    campaign: pd.DataFrame,
    probe: Probe,
    *,
    learnt: pd.DataFrame | None,
    uncorrected: pd.DataFrame,
    learnt_probe: Probe | None,
    planned: int,
) -> Corrections:
    """Hold complete runs of `corrections` beside the campaign's, those of `corrections-learnable` beside its base's.

    own, campaign, learnt, uncorrected: rows of the run tables. planned: runs of both studies.
    Raises StudyError where the campaign's clean arm is absent.
    """
    at8 = campaign["arm"].isin([CLEAN, BASE]) & (campaign["prompts_per_step"] == 8)
    both = pd.concat([own, campaign[at8]], ignore_index=True)
    curves: dict[tuple[str, int, int], dict[int, pd.Series]] = {}
    key: Any
    for key, rows in both.groupby(["arm", "group_size", "prompts_per_step"]):
        table = rows.pivot_table(index=["arm", "seed"], columns="step", values="accuracy")
        curves[str(key[0]), int(key[1]), int(key[2])] = by_seed(table, str(key[0]))
    clean = curves.get((CLEAN, 8, 8))
    if clean is None:
        raise StudyError("the campaign's table holds no clean run of 8 rollouts")
    paces = {
        key: {seed: pace(clean[seed], one) for seed, one in of.items() if seed in clean}
        for key, of in curves.items()
        if key[0] != CLEAN
    }
    paces = {key: of for key, of in paces.items() if of}
    there = set(
        campaign[["arm", "group_size", "prompts_per_step"]].itertuples(index=False, name=None)
    )
    bought = {
        key: _bought(key, of, curves[key], probe, campaign=key in there)
        for key, of in paces.items()
    }
    made = sum(table["run_id"].nunique() for table in (own, learnt) if table is not None)
    mended: tuple[Mended, ...] = ()
    reference: Mapping[int, float] = {}
    if learnt is not None:
        mended, reference = _mended(learnt, uncorrected, learnt_probe)
    return Corrections(
        bought=tuple(
            sorted(bought.values(), key=lambda one: (one.rollouts * one.verdicts, one.pace.value))
        ),
        versus=tuple(
            _versus(currency, bought[one], bought[other], paces, curves)
            for currency, one, other in ASKED
            if one in bought and other in bought
        ),
        mended=mended,
        clean=reference,
        steps=int(own["step"].max()),
        runs=made,
        missing=planned - made,
    )


def _last(curves: Mapping[int, pd.Series]) -> dict[int, float]:
    return {seed: float(one.iloc[-1]) for seed, one in curves.items()}


def _bought(
    key: tuple[str, int, int],
    paces: Mapping[int, float],
    curves: Mapping[int, pd.Series],
    probe: Probe,
    *,
    campaign: bool,
) -> Bought:
    arm, size, prompts = key
    speed, ci = None, None
    sizes = {one.group_size: one for one in probe.by_group_size}
    if prompts == probe.prompts_per_step and size in sizes:
        for one in sizes[size].arms:
            scale = sizes[size].clean_speed
            if one.arm == arm and one.relative_speed is not None and scale is not None:
                speed = one.relative_speed * scale
                ci = (
                    None
                    if one.ci is None
                    else tuple(None if e is None else e * scale for e in one.ci)
                )
    return Bought(
        arm=arm,
        group_size=size,
        prompts=prompts,
        verdicts=VOTES.get(arm, 1),
        probe=speed,
        probe_ci=ci,  # pyright: ignore[reportArgumentType]
        law=_law(arm, size, prompts, probe),
        pace=estimate(arm, np.array(list(paces.values()))),
        end=estimate(arm, np.array(list(_last(curves).values()))),
        campaign=campaign,
    )


def _law(arm: str, size: int, prompts: int, probe: Probe) -> float | None:
    """None where groups are dropped, of which the law does not speak."""
    known = {one.arm: one for one in probe.arms}
    if arm == DROP or arm not in known:
        return None
    channel = VerifierChannel(known[arm].fpr, known[arm].fnr)
    worth = population_phi2(np.array(probe.pass_rates), channel)
    return float(law_pace(probe, size, prompts, worth))


def _versus(
    currency: str,
    one: Bought,
    other: Bought,
    paces: Mapping[tuple[str, int, int], Mapping[int, float]],
    curves: Mapping[tuple[str, int, int], Mapping[int, pd.Series]],
) -> Versus:
    def less(of: Mapping[tuple[str, int, int], Mapping[int, float]]) -> Estimate:
        a, b = (of[way.arm, way.group_size, way.prompts] for way in (one, other))
        shared = sorted(set(a) & set(b))
        return estimate(f"{one.name} less {other.name}", np.array([a[s] - b[s] for s in shared]))

    return Versus(
        currency, one, other, less(paces), less({key: _last(of) for key, of in curves.items()})
    )


def _mended(
    learnt: pd.DataFrame, uncorrected: pd.DataFrame, probe: Probe | None
) -> tuple[tuple[Mended, ...], Mapping[int, float]]:
    base = uncorrected[uncorrected["arm"].isin([CLEAN, FAULT])]
    both = pd.concat([learnt, base], ignore_index=True)
    steps = int(both["step"].max())
    late = both[both["step"] >= SETTLED * steps]
    settled: Any = late.groupby(["arm", "group_size", "seed"])["accuracy"].mean().unstack("seed")
    curve: Any = both.groupby(["arm", "group_size", "step"])["accuracy"].mean()
    clean, plain = settled.loc[CLEAN, 8], settled.loc[FAULT, 8]
    known = {} if probe is None else {one.arm: one.relative_speed for one in probe.at(8).arms}
    found = [
        Mended(
            arm=str(arm),
            group_size=int(size),
            harm=estimate(str(arm), (clean - own).dropna().to_numpy()),
            undone=None
            if (arm, size) == (FAULT, 8)
            else estimate(str(arm), (own - plain).dropna().to_numpy()),
            probe=known.get(str(arm)) if size == 8 else None,
            curve={int(step): float(value) for step, value in curve.loc[arm, size].items()},
        )
        for (arm, size), own in settled.iterrows()
        if arm != CLEAN
    ]
    order = sorted(found, key=lambda one: -one.harm.value)
    return tuple(order), {int(s): float(v) for s, v in curve.loc[CLEAN, 8].items()}
