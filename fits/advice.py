"""What an error of the verifier costs, what to fix first, and what a verdict means to its user, in words.

Law. The price of an error is the compute that makes up for it (`fits.exchange`), compounded to ten percentage points.
One error is dearer than the other, or both together than each alone, only where the 95 % intervals do not meet.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from fits.gap import verdict_of

if TYPE_CHECKING:
    from fits.gap import ArmGap, GapReport, Multiplier, PerPoint
    from fits.inference import Interval

__all__ = [
    "Measured",
    "compounding",
    "dearer",
    "fix_first",
    "interval_in_words",
    "listed",
    "multiplier_in_words",
    "per_ten_points",
    "still_behind",
    "verdict_means",
]


class Measured(Protocol):
    """A gap as measured, with its 95 % interval (None with one seed)."""

    @property
    def measured(self) -> float: ...  # noqa: D102
    @property
    def ci(self) -> Interval | None: ...  # noqa: D102


def fix_first(report: GapReport) -> str:
    """Which error a point costs more of, where the intervals can tell, and what errors do together."""
    final = report.exchange_rate
    half = final.halfway
    words = (
        f"To get halfway up, {dearer(half.fpr, half.fnr)} (compute for ten percentage points of fpr: "
        f"{per_ten_points(half.fpr)}; of fnr: {per_ten_points(half.fnr)}). To get to the clean arm's end, "
        f"{dearer(final.fpr, final.fnr)} (fpr: {per_ten_points(final.fpr)}; fnr: {per_ten_points(final.fnr)})."
    )
    together = compounding(report)
    if together is not None:
        arm, joint, product = together
        words += (
            f" Errors of both kinds compound: {arm} needs {joint:.2f} times the compute, where the two errors "
            f"alone would multiply to {product:.2f}."
        )
    return words


def dearer(fp: PerPoint, fn: PerPoint) -> str:
    """Which error costs more compute a point, if the intervals do not meet."""
    if fp.ci is not None and fn.ci is not None:
        if fn.ci[1] is not None and fp.ci[0] > fn.ci[1]:
            return "false positives first"
        if fp.ci[1] is not None and fn.ci[0] > fp.ci[1]:
            return "false negatives first"
    return "no clear order"


def per_ten_points(rate: PerPoint) -> str:
    """What ten percentage points of an error rate cost in compute, with the 95 % interval, in per cent."""
    if rate.multiplier is None:
        return rate.reason

    def percent(multiplier: float) -> str:
        # A rate r costs (1 - r)^-b: of the first point, to ten points.
        return f"{100.0 * (multiplier ** (math.log(0.9) / math.log(0.99)) - 1.0):+.1f}"

    if rate.ci is None:
        return f"{percent(rate.multiplier)} %"
    upper = "no limit" if rate.ci[1] is None else percent(rate.ci[1])
    return f"{percent(rate.multiplier)} % [{percent(rate.ci[0])}, {upper}]"


def compounding(report: GapReport) -> tuple[str, float, float] | None:
    """The arm with both errors whose compute, halfway up, most exceeds the product of its errors' alone.

    (arm, its multiplier, the product); None where no arm's lower limit is above the product of the upper ones.
    """
    times = {one.arm: one for one in report.exchange_rate.halfway.arms}
    alone = {(arm.fpr, arm.fnr): times[arm.arm] for arm in report.arms}
    found: list[tuple[str, float, float]] = []
    for arm in report.arms:
        both, fp, fn = times[arm.arm], alone.get((arm.fpr, 0.0)), alone.get((0.0, arm.fnr))
        if not (arm.fpr and arm.fnr and fp and fn):
            continue
        if not (
            both.multiplier and both.ci and fp.multiplier and fp.ci and fn.multiplier and fn.ci
        ):
            continue
        if fp.ci[1] and fn.ci[1] and both.ci[0] > fp.ci[1] * fn.ci[1]:
            found.append((arm.arm, both.multiplier, fp.multiplier * fn.multiplier))
    return max(found, key=lambda each: each[1] / each[2], default=None)


def listed(names: Iterable[str]) -> str:
    """Names as a sentence holds them: "a, b and c"; at least one."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def verdict_means(gap: ArmGap, end: Measured, final: Multiplier, delta: float) -> str:
    """The verdict for who has this verifier: what it costs, and what would change that."""
    if gap.verdict == "closes" and gap.basis != "asymptote":
        return f"Costs compute, and less than {delta:g} of accuracy when the runs stop."
    if gap.verdict == "closes":
        return f"Costs compute, and less than {delta:g} of accuracy in the long run, under every law not ruled out."
    if gap.verdict == "undetermined":
        settle = gap.would_settle_it
        behind = (
            f"Still {end.measured:.3f} behind when the runs stop; in the long run open."
            if still_behind(end, delta)
            else "Open."
        )
        return behind if settle is None else f"{behind} To settle it: {settle.text}."
    if gap.basis == "asymptote":
        return f"Costs accuracy for good under every law not ruled out: about {gap.floor:.3f}, however long it trains."
    behind = f"Still {end.measured:.3f} behind when the runs stop"
    if final.multiplier is None:
        return f"{behind}, and its curve does not head for the clean arm's end."
    return (
        f"{behind}. Its curve, drawn out, reaches the clean arm's end with {multiplier_in_words(final)} times the compute; it"
        " has not bent enough to say where it ends."
    )


def still_behind(end: Measured, delta: float) -> bool:
    """Whether the interval of the last measurement lies above the smallest gap of interest."""
    return verdict_of(end.ci, delta) == "persists"


def multiplier_in_words(one: Multiplier) -> str:
    """A compute multiplier as text with its 95 % interval, or a dash where no amount of compute does."""
    if one.multiplier is None:
        return "–"
    if one.ci is None:
        return f"{one.multiplier:.2f}"
    upper = "no limit" if one.ci[1] is None else f"{one.ci[1]:.2f}"
    return f"{one.multiplier:.2f} [{one.ci[0]:.2f}, {upper}]"


def interval_in_words(ci: Interval | None) -> str:
    """An interval of a difference in accuracy as text, or a dash where there is none."""
    return "–" if ci is None else f"[{ci[0]:+.3f}, {ci[1]:+.3f}]"
