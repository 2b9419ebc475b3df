"""Power laws of measured cost, by the library's own fits: log cost = intercept + exponent log(size)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fits import fit_curve
from fits.laws import LOG


def exponent(cost: Mapping[float, Sequence[float]]) -> tuple[float, tuple[float, float] | None]:
    """The exponent of cost in size, and its 95 % interval by Student's t over rounds.

    cost: positive costs of each round, by size; every size has the same rounds. One round has no
    interval by t: it gets the profile likelihood's, of how well a power law describes it.
    """
    x = np.repeat(list(cost), [len(rounds) for rounds in cost.values()])
    y = np.log(np.concatenate([np.asarray(rounds, dtype=float) for rounds in cost.values()]))
    run = np.concatenate([np.arange(len(rounds)) for rounds in cost.values()])
    # An arbitrary scale keeps logarithms of bytes and of microseconds within the law's bounds.
    fit = fit_curve(x, y - y.mean(), law=LOG, run=run, forecast=False)
    interval = fit.ci["slope"]
    return float(fit.params["slope"]), interval


def in_words(interval: tuple[float, float] | None) -> str:
    """[low, high] as a table shows it."""
    return "" if interval is None else f"[{interval[0]:.2f}, {interval[1]:.2f}]"
