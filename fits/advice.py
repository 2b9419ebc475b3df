"""What an error of the verifier costs, and which of two is dearer, in words.

Law. The price of an error is the compute that makes up for it (`fits.exchange`), compounded to ten percentage points.
One error is dearer than the other, or both together than each alone, only where the 95 % intervals do not meet.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from fits.gap import verdict_of

if TYPE_CHECKING:
    from fits.gap import ArmGap, GapReport, Multiplier, PerPoint
    from fits.inference import Interval

__all__ = [
    "compounding",
    "dearer",
    "interval_in_words",
    "listed",
    "multiplier_in_words",
    "per_ten_points",
    "still_behind",
]


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


def still_behind(arm: ArmGap, delta: float) -> bool:
    """Whether the interval of the gap measured at the end lies above the smallest gap of interest."""
    return verdict_of(arm.end_ci, delta) == "persists"


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
