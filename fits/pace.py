"""Can a change of pace alone explain a gap? The null that stands between a gap at the end and a floor for ever.

Law. The noisy arm runs through the clean curve at a pace that moves linearly with the share of the rise done,
    d tau / dt = s0 + (s1 - s0) share(tau),   noisy(t) = start + (A - floor - start) share(tau(t)),
s0 and s1 free: the theory's own account of noise, whose factor falls with accuracy for false negatives and rises for
false positives. It is fitted to the mean paired gap and judged by an F test against the scatter over seeds. It is
never evidence that a gap closes (as an arbiter it was the most confident model and the most wrong); where it fits,
no floor above the one it has may be claimed.
Fails first where part of the prompts is slow and the rest is not: a pace then moves otherwise than linearly.
Source: docs/theory.md#mean-field.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from fits.fit import CurveFit
from fits.laws import FloatArray

__all__ = ["pace_explains"]

LACK: Final = 0.01
# Paces at the start of the rise and at its end, the second over the first: noise of J = .2 changes it no further.
STARTS: Final = ((0.7, 1.0), (0.9, 0.4), (0.5, 1.8))
SLOWEST: Final = 0.02
FASTEST: Final = 3.0
MOST_CHANGE: Final = 5.0


def pace_explains(
    clean: CurveFit, x_T: FloatArray, gap_T: FloatArray, error: float, freedom: int, floor: float
) -> bool:
    """Whether the mean gap at x is that of the clean curve at another pace, with this floor.

    error: standard error of one mean gap, with `freedom` degrees of freedom, from the scatter over seeds.
    """
    from scipy.optimize import least_squares
    from scipy.special import fdtrc

    T = len(x_T)
    start, asymptote = clean.params["start"], clean.params["asymptote"]
    if T <= 3 or asymptote - start <= floor:
        return False
    tau = np.concatenate([[0.0], np.geomspace(1e-4, FASTEST, 160)]) * float(x_T.max())
    share = np.clip((clean.predict(tau) - start) / (asymptote - start), 0.0, 1.0)
    ours_T = clean.predict(x_T)
    step, middle = np.diff(tau), 0.5 * (share[1:] + share[:-1])

    def misfit(log_pace: FloatArray) -> FloatArray:
        first, ratio = np.exp(log_pace)
        last = first * ratio
        time = np.concatenate([[0.0], np.cumsum(step / (first + (last - first) * middle))])
        theirs_T = start + (asymptote - floor - start) * np.interp(x_T, time, share)
        return (gap_T - ours_T + theirs_T) / error

    most = float(np.log(MOST_CHANGE))
    bounds = ([np.log(SLOWEST), -most], [np.log(FASTEST), most])
    for pace in STARTS:
        found = least_squares(misfit, np.log(pace), bounds=bounds, max_nfev=25)
        ratio = 2.0 * float(found.cost) / (T - 2)
        if float(fdtrc(T - 2, freedom, ratio)) >= LACK:
            return True
    return False
