"""Rates of clustered rollouts: estimates, intervals and what clustering costs.

Law. Rollouts of one prompt err together, so prompts and not rollouts are the unit of replication. A rate is
a ratio of cluster sums, p = sum y_c / sum n_c, of variance sum u_c^2 with u_c = (y_c - p n_c)/(N sqrt(1 -
n_c/N)); its interval is taken on the logit scale with a t of Satterthwaite's degrees of freedom. Functions of
several rates (J, phi) take the limits of each rate as they are and put them together with the correlation
that prompts give them (MOVER), which keeps the asymmetry of each.
Where fewer than `FEW` clusters show an error (or a success) no variance can be trusted: the interval is then
Clopper and Pearson's at the effective sample size, and with none at all the intraclass correlation is the
literature's .53, for there is nothing to measure it by.
Fails first with fewer than about 30 clusters, and where clusters share a cause of error.
Source: Korn & Graubard 1998; Zou & Donner 2008; Bell & McCaffrey 2002; arXiv 2609.06386 for the .53.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats
from statsmodels.stats.proportion import proportion_confint

FloatArray = NDArray[np.float64]
Interval = tuple[float, float]

__all__ = [
    "ASSUMED_ICC",
    "FEW",
    "ClusteredRate",
    "Interval",
    "clustered_rate",
    "combined",
    "correlation",
]

FEW: Final = 10
ASSUMED_ICC: Final = 0.53
LEVEL: Final = 0.95


@dataclass(frozen=True)
class ClusteredRate:
    """A rate with its 95 % interval, both in [0, 1].

    n: rollouts behind it; n_effective: independent rollouts with the same variance. clusters: that hold such
    a rollout; clusters_with: that show an error (or, if those are fewer, that show none). icc: intraclass
    correlation of the errors, in [0, 1]; None where nothing measures it. influence_K: what each cluster
    moves the rate by, one entry per cluster of the table, zeros where it holds none.
    """

    value: float
    ci: Interval
    n: int
    errors: int
    n_effective: float
    clusters: int
    clusters_with: int
    icc: float | None
    degrees: float
    influence_K: FloatArray

    @property
    def few(self) -> bool:
        """Whether too few clusters show an error for the interval's coverage to be relied on."""
        return self.clusters_with < FEW


def clustered_rate(errors_K: FloatArray, sizes_K: FloatArray) -> ClusteredRate | None:
    """The rate of errors among rollouts: counts per cluster, shape [clusters]; None without a rollout."""
    inside = sizes_K > 0
    y, n = errors_K[inside], sizes_K[inside]
    total = float(n.sum())
    if total == 0.0:
        return None
    p = float(y.sum() / total)
    rho = intraclass_correlation(y, n)
    influence = np.zeros_like(sizes_K)
    # A cluster pulls the rate towards itself, which makes its residual too small by 1 - n_c/N.
    leverage = np.minimum(n / total, 0.999)
    influence[inside] = (y - p * n) / (total * np.sqrt(1.0 - leverage))
    naive = p * (1.0 - p) / total
    used = ASSUMED_ICC if rho is None else rho
    degrees = max(_degrees(n, used), 1.0)
    with_error = int(np.count_nonzero(y > 0))
    without = int(np.count_nonzero(y < n))
    if naive > 0.0:
        # A design effect below 1 is chance: rollouts of one prompt do not err apart.
        effect = max(float(influence @ influence) / naive, 1.0)
    else:
        effect = 1.0 + (float(n @ n) / total - 1.0) * ASSUMED_ICC
    effective = total / effect
    t = float(stats.t.ppf(0.5 + LEVEL / 2.0, degrees))
    fewest = min(with_error, without)
    return ClusteredRate(
        value=p,
        ci=_interval(p, effective, t, few=fewest < FEW),
        n=int(total),
        errors=int(y.sum()),
        n_effective=effective,
        clusters=int(inside.sum()),
        clusters_with=fewest,
        icc=rho,
        degrees=degrees,
        influence_K=influence,
    )


def _interval(p: float, effective: float, t: float, *, few: bool) -> Interval:
    if few or not 0.0 < p < 1.0:
        z = float(stats.norm.ppf(0.5 + LEVEL / 2.0))
        shrunk = max(effective * (z / t) ** 2, 1.0)
        ends: tuple[Any, Any] = proportion_confint(
            p * shrunk, shrunk, alpha=1.0 - LEVEL, method="beta"
        )
        return (0.0 if p == 0.0 else float(ends[0]), 1.0 if p == 1.0 else float(ends[1]))
    middle = float(special.logit(p))
    half = t / math.sqrt(effective * p * (1.0 - p))
    return float(special.expit(middle - half)), float(special.expit(middle + half))


def intraclass_correlation(errors_K: FloatArray, sizes_K: FloatArray) -> float | None:
    """The ANOVA estimate of errors' correlation within a cluster, cut to [0, 1].

    None where no cluster holds two rollouts, or errors never or always happen.
    """
    n = sizes_K[sizes_K > 0]
    y = errors_K[sizes_K > 0]
    total, count = float(n.sum()), len(n)
    if total <= count or count < 2 or y.sum() in (0.0, total):
        return None
    p = float(y.sum() / total)
    share = y / n
    between = float((n * (share - p) ** 2).sum()) / (count - 1)
    within = float((y * (1.0 - share)).sum()) / (total - count)
    typical = (total - float(n @ n) / total) / (count - 1)
    below = between + (typical - 1.0) * within
    return min(max((between - within) / below, 0.0), 1.0) if below > 0.0 else 0.0


def _degrees(sizes_K: FloatArray, rho: float) -> float:
    """Satterthwaite's degrees of freedom of a sum of squares of clusters this unequal."""
    variance = sizes_K * (1.0 + (sizes_K - 1.0) * rho)
    return float(variance.sum() ** 2 / (variance @ variance)) - 1.0


def correlation(one: ClusteredRate, other: ClusteredRate) -> float:
    """Correlation of two estimates through the clusters they share, in [-1, 1]; 0 where one cannot vary."""
    below = math.sqrt(
        float(one.influence_K @ one.influence_K) * float(other.influence_K @ other.influence_K)
    )
    return float(one.influence_K @ other.influence_K) / below if below > 0.0 else 0.0


def combined(
    function: Callable[..., float], rates: Sequence[ClusteredRate]
) -> tuple[float, Interval]:
    """`function` of the rates' values, and its interval from theirs.

    Each rate is moved to whichever of its limits lowers (raises) the result; the distances add up like
    correlated errors.
    """
    values = [rate.value for rate in rates]
    centre = function(*values)
    ends: list[float] = []
    for side in (-1.0, 1.0):
        distances: list[float] = []
        for i, rate in enumerate(rates):
            moves = [
                (side * (function(*values[:i], limit, *values[i + 1 :]) - centre), sign)
                for limit, sign in ((rate.ci[0], -1.0), (rate.ci[1], 1.0))
            ]
            far, sign = max(moves)
            distances.append(max(far, 0.0) * sign)
        square = sum(
            first * second * (1.0 if i == k else correlation(rates[i], rates[k]))
            for i, first in enumerate(distances)
            for k, second in enumerate(distances)
        )
        ends.append(centre + side * math.sqrt(max(square, 0.0)))
    return centre, (ends[0], ends[1])
