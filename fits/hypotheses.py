"""Estimates over matched seeds, hypotheses about them, and verdicts that allow for asking several times.

Law. A seed gives one paired difference; its mean has Student's t interval over seeds. A claim is one
hypothesis or several, each about an average over group sizes and, in passing, about each group size. It
is supported where every average supports it (an intersection-union test, which needs no correction) and
no estimate contradicts it by itself, contradicted where at least one does after Holm's correction over
all of them, else undetermined. Each test is one-sided at 2.5 %, so that a single estimate is judged as
by its 95 % interval: "above b" by the interval lying above b, "within b" by its lying inside [-b, b].
Fails first with two seeds, whose interval is right on average and now and then far too short: such estimates
are shown and not judged.
Source: Berger 1982 (intersection-union); Schuirmann 1987 (two one-sided tests); Holm 1979.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from fits.inference import Interval, student_interval
from fits.laws import FloatArray

__all__ = [
    "ALPHA",
    "LEAST_UNITS",
    "Estimate",
    "Finding",
    "Hypothesis",
    "Judged",
    "Part",
    "Verdict",
    "after_holm",
    "contradiction",
    "estimate",
    "holm",
    "is_small",
    "jackknife",
    "jackknife_error",
    "judge",
    "rests_on",
    "support",
]

Verdict = Literal["supported", "contradicted", "undetermined", "not testable here"]

ALPHA: Final = 0.025
LEAST_UNITS: Final = 3


@dataclass(frozen=True)
class Estimate:
    """A mean over units (seeds, unless `of` says otherwise), its 95 % t interval, their number.

    error: standard error. ci and error are None with one unit.
    """

    label: str
    value: float
    ci: Interval | None
    error: float | None
    units: int
    of: str = "seeds"

    def holds(self, value: float) -> bool:
        """Whether its interval holds a value; one of a single unit holds none."""
        return self.ci is not None and self.ci[0] <= value <= self.ci[1]


@dataclass(frozen=True)
class Hypothesis:
    """That a true value lies above, below or within +- a bound."""

    kind: Literal["above", "below", "within"]
    bound: float = 0.0

    @property
    def words(self) -> str:
        """As it stands in a table."""
        sign = {"above": "> ", "below": "< ", "within": "within ±"}[self.kind]
        return f"{sign}{self.bound:g}"


@dataclass(frozen=True)
class Part:
    """One hypothesis of a claim: about the average over group sizes, and about each of them.

    each: without the average where there is one group size only.
    """

    hypothesis: Hypothesis
    average: Estimate
    each: tuple[Estimate, ...] = ()


@dataclass(frozen=True)
class Judged:
    """An estimate, the hypothesis about it, and what it says of it alone.

    counts: whether it has units enough to be judged. average: whether support is asked of it.
    """

    estimate: Estimate
    hypothesis: Hypothesis
    verdict: Verdict
    counts: bool
    average: bool


@dataclass(frozen=True)
class Finding:
    """A verdict over all estimates under one claim.

    p: of the verdict (the smaller of the two where undetermined), one-sided; None where nothing is judged.
    """

    verdict: Verdict
    p: float | None
    rows: tuple[Judged, ...]


def estimate(label: str, values: Mapping[str, float] | FloatArray, of: str = "seeds") -> Estimate:
    """The mean of one value per unit."""
    listed = np.array(list(values.values()) if isinstance(values, Mapping) else values, np.float64)
    mean, ci = student_interval(listed)
    error = float(listed.std(ddof=1)) / len(listed) ** 0.5 if len(listed) > 1 else None
    return Estimate(label, mean, ci, error, len(listed), of)


def jackknife_error(without_U: FloatArray) -> FloatArray:
    """Standard error of a statistic by its values with one unit left out each, (U, ...), the units first."""
    U = len(without_U)
    return np.sqrt((U - 1) / U * ((without_U - without_U.mean(axis=0)) ** 2).sum(axis=0))


def jackknife(label: str, whole: float, without_U: FloatArray, of: str) -> Estimate:
    """A statistic of all units with its 95 % t interval, None for one unit; see `jackknife_error`.

    Centred on the statistic: the jackknife's own mean would correct its bias, and only its spread is wanted.
    """
    U = len(without_U)
    if U < 2:
        return Estimate(label, whole, None, None, U, of)
    from scipy.special import stdtrit

    error = float(jackknife_error(without_U))
    half = float(stdtrit(U - 1, 0.975)) * error
    return Estimate(label, whole, (whole - half, whole + half), error, U, of)


def _tail(distance: float, error: float, units: int) -> float:
    """P(T >= distance / error), t with units - 1 degrees of freedom."""
    from scipy.special import stdtr

    t = math.copysign(math.inf, distance) if error == 0.0 and distance else 0.0
    return float(stdtr(units - 1, -(distance / error if error else t)))


def support(found: Estimate, claim: Hypothesis) -> float:
    """One-sided p of "the claim is false": small where the estimate supports it."""
    assert found.error is not None
    above = _tail(found.value - claim.bound, found.error, found.units)
    below = _tail(claim.bound - found.value, found.error, found.units)
    if claim.kind == "above":
        return above
    if claim.kind == "below":
        return below
    return max(below, _tail(claim.bound + found.value, found.error, found.units))


def contradiction(found: Estimate, claim: Hypothesis) -> float:
    """One-sided p of "the claim is true": small where the estimate contradicts it."""
    assert found.error is not None
    if claim.kind == "above":
        return _tail(claim.bound - found.value, found.error, found.units)
    if claim.kind == "below":
        return _tail(found.value - claim.bound, found.error, found.units)
    return _tail(abs(found.value) - claim.bound, found.error, found.units)


def judge(parts: Sequence[Part]) -> Finding:
    """The verdict on a claim of these parts; "not testable here" where there is none."""
    rows = [
        _alone(found, part.hypothesis, average=place == 0)
        for part in parts
        for place, found in enumerate((part.average, *part.each))
    ]
    counted = [row for row in rows if row.counts]
    averages = [row for row in rows if row.average]
    if not averages or not all(row.counts for row in averages):
        return Finding("undetermined" if rows else "not testable here", None, tuple(rows))
    for_it = max(support(row.estimate, row.hypothesis) for row in averages)
    against = min(_against(counted))
    if against < ALPHA:
        return Finding("contradicted", against, tuple(rows))
    if for_it < ALPHA and all(row.verdict != "contradicted" for row in rows):
        return Finding("supported", for_it, tuple(rows))
    return Finding("undetermined", min(for_it, against), tuple(rows))


def _against(counted: Sequence[Judged]) -> list[float]:
    """p of each estimate's contradiction, after Holm's correction over all of them."""
    adjusted = holm([contradiction(row.estimate, row.hypothesis) for row in counted])
    return [p for p in adjusted if p is not None]


def rests_on(finding: Finding) -> tuple[Judged, ...]:
    """The estimates that decide: all averages where supported, those that contradict where contradicted.

    Where undetermined, those that keep the averages from supporting: averages that do not, and single group sizes that
    contradict by themselves.
    """
    if finding.verdict == "supported":
        return tuple(row for row in finding.rows if row.average)
    if finding.verdict == "not testable here":
        return ()
    if finding.verdict == "contradicted":
        counted = [row for row in finding.rows if row.counts]
        against = zip(counted, _against(counted), strict=True) if counted else ()
        return tuple(row for row, p in against if p < ALPHA)
    return tuple(
        row
        for row in finding.rows
        if row.verdict == "contradicted" or (row.average and row.verdict != "supported")
    )


def is_small(finding: Finding, least: float) -> bool:
    """Whether a verdict on direction alone ("above 0", "below 0") rests on estimates smaller than `least`.

    Support rests on every average, so that one small average makes it small; for contradiction one estimate is
    enough, so that all that contradict must be small.
    """
    if finding.verdict not in ("supported", "contradicted"):
        return False
    enough = any if finding.verdict == "supported" else all
    return enough(
        row.hypothesis.kind != "within"
        and row.hypothesis.bound == 0.0
        and abs(row.estimate.value) < least
        for row in rests_on(finding)
    )


def _alone(found: Estimate, claim: Hypothesis, *, average: bool) -> Judged:
    counts = found.units >= LEAST_UNITS
    verdict: Verdict = "undetermined"
    if counts and support(found, claim) < ALPHA:
        verdict = "supported"
    elif counts and contradiction(found, claim) < ALPHA:
        verdict = "contradicted"
    return Judged(found, claim, verdict, counts, average)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment; tests that could not be made do not count."""
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, i) in enumerate(known):
        running = max(running, min(1.0, (len(known) - rank) * p))
        adjusted[i] = running
    return adjusted


def after_holm(findings: Sequence[Finding]) -> list[bool]:
    """Which verdicts stand when all of these claims together are to be wrong with 2.5 % at most."""
    adjusted = holm([finding.p for finding in findings])
    return [
        finding.verdict in ("supported", "contradicted") and p is not None and p < ALPHA
        for finding, p in zip(findings, adjusted, strict=True)
    ]
