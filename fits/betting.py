"""Evidence that may be looked at after every step: test martingales by betting on bounded outcomes.

Law. A step shows units (x, w), 0 <= x <= w <= 1; a rate is E[x]/E[w] given all that came before: of labels, x = wrong
and paid, w = wrong, and the rate is fpr. Under "the rate is at most p" every product over units of
    1 + g (x/p - w),  0 <= g < 1,
is a supermartingale that begins at 1, and under "at least p" so is that of 1 - g (x - p w)/(1 - p). A mean of such
products over g, and over the step at which the betting begins, is one again, so by Ville's inequality it ever reaches
1/a with probability at most a, whenever one looks and for whatever reason one stops.
"The rate is never above what it was before, plus a margin" has no p. For a step s let p be the least rate up to s:
bets up to s that the rate is below p and from s on that it is above p + margin win, factor by factor, at most what they
would at each step's own rate, and that product is a supermartingale. Hence the least wealth over all p is evidence
against it. Between two points of the grid the first part at the lower and the second at the upper bound it from below:
the grid costs power, never validity.
Fails first where two units of a step are not independent given the past, as two rollouts of one prompt: average
them into one unit.
Source: docs/theory.md#evidence-while-a-run-goes-on; Ville 1939; Shafer & Vovk 2019; Waudby-Smith & Ramdas 2024;
Howard et al. 2021.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fits.errors import InputError

__all__ = ["DIFFERENCES", "RATES", "STAKES", "Bets", "risen"]

FloatArray = NDArray[np.float64]

# g, the share of the wealth at stake, by judgement; weights with three runs in view (LOG.md, 2026-11-29).
STAKES: Final = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.6, 0.9])
_WEIGHTS: Final = np.array([0.05, 0.1, 0.2, 0.25, 0.2, 0.15, 0.05])
_FIRST: Final = 4  # steps after which bets begin anew: 4, 8, 16, …
_ANEW: Final = 12  # times: the last after 8,192 steps
_AT_ONCE: Final = 2.0 / 3.0  # of the wealth; the rest in equal parts where bets begin anew
_LEAST: Final = 1e-6
_MOST: Final = 600.0  # log evidence: beyond it nothing is added
# Grids of p for a rate, and for a mean of (1 + a difference)/2: fine where rates of verifiers lie.
RATES: Final = np.concatenate([[0.0], 1.0 / (1.0 + np.exp(-np.linspace(-5.0, 3.0, 39))), [1.0]])
DIFFERENCES: Final = 0.5 + 0.5 * np.concatenate(
    [-np.geomspace(1.0, 0.01, 18), [0.0], np.geomspace(0.01, 1.0, 18)]
)


class Bets:
    """Wealth of bets on one rate, in one run or many side by side.

    nulls: values p of the rate, ascending in [0, 1], shape (P,). margin: by how much a rise must exceed.
    runs: leading shape of many runs that are watched at once, () of one.
    Raises InputError where a null lies outside [0, 1] or they do not ascend.
    """

    def __init__(
        self, nulls: FloatArray, *, margin: float = 0.0, runs: tuple[int, ...] = ()
    ) -> None:
        p = np.asarray(nulls, dtype=np.float64)
        if p.ndim != 1 or not len(p) or p[0] < 0.0 or p[-1] > 1.0 or (np.diff(p) <= 0.0).any():
            raise InputError(f"nulls must ascend within [0, 1], got {p}")
        if not 0.0 <= margin < 1.0:
            raise InputError(f"margin must lie in [0, 1), got {margin:g}")
        self.nulls_P = p
        self.upper_P = np.clip(p + margin, _LEAST, 1.0)
        lower_P = np.minimum(p, 1.0 - _LEAST)
        # A factor of the wealth is 1 + x gain - w cost: of bets that the rate is above, and of those that it is below.
        stakes = STAKES[:, None]
        self._gain = stakes * np.stack([1.0 / self.upper_P, -1.0 / (1.0 - lower_P)])[:, None]
        self._cost = stakes * np.stack([np.ones(len(p)), -lower_P / (1.0 - lower_P)])[:, None]
        self._won = np.zeros((*runs, *self._gain.shape))  # log wealth
        # What had been won where bets began anew.
        self._ups = np.zeros((0, *runs, len(STAKES), len(p)))
        self._below = np.zeros((0, *runs, len(p)))
        self.steps = 0  # that showed something

    @property
    def _up(self) -> FloatArray:
        return self._won[..., 0, :, :]

    def observe(self, x: FloatArray, w: FloatArray, times: FloatArray | None = None) -> None:
        """Take one step's units.

        x, w: shape (U,), or (*runs, U) where every run shows its own. times: how often each unit was seen,
        (*runs, U); None: once.
        """
        anew = self.steps >= _FIRST and self.steps & (self.steps - 1) == 0
        if anew and len(self._ups) < _ANEW:
            self._ups = np.concatenate([self._ups, self._up[None]])
            self._below = np.concatenate([self._below, _mixed(self._won[..., 1, :, :])[None]])
        self.steps += 1
        each = (..., None, None, None)
        won = np.log1p(x[each] * self._gain - w[each] * self._cost)
        if times is None:
            self._won += won.sum(axis=-4)
        elif x.ndim == 1:
            self._won += (times @ won.reshape(len(won), -1)).reshape(self._won.shape)
        else:
            self._won += (times[each] * won).sum(axis=-4)

    def above(self) -> FloatArray:
        """Log evidence that the rate was above null + margin at some step, shape (*runs, P)."""
        later = np.exp(np.minimum(_mixed(self._up - self._ups), _MOST)).sum(axis=0)
        anew = (1.0 - _AT_ONCE) / _ANEW
        cash = (_ANEW - len(self._ups)) * anew
        first = np.exp(np.minimum(_mixed(self._up), _MOST))
        return np.log(cash + _AT_ONCE * first + anew * later)

    def rising(self, *, every: int = 1, among: NDArray[np.intp] | None = None) -> FloatArray:
        """Log evidence that the rate was above an earlier one by more than the margin, by split: (K, *runs).

        Split k is the k-th step at which bets began anew; `risen` weighs them into one number. every: looks at each
        so many points of the grid alone, for a bound from above that costs less. among: of these runs alone.
        """
        up, ups, below = self._up, self._ups, self._below
        if among is not None:
            up, ups, below = up[among], ups[:, among], below[:, among]
        late = _mixed(up[..., 1::every] - ups[..., 1::every])
        return np.min(below[..., :-1:every] + late, axis=-1)

    def reached(self, level: float) -> FloatArray:
        """The largest null + margin that the rate was above at some step, at this level: shape runs, 0 of none.

        A lower confidence bound on the run's largest rate so far that holds at all steps at once.
        """
        shown = self.above() >= -np.log(level)
        return np.where(shown, self.upper_P, 0.0).max(axis=-1)


def risen(by_split: FloatArray) -> FloatArray:
    """One log evidence of those by split, (K, *runs): their mean over all splits, later ones in cash until then."""
    splits = len(by_split)
    won = np.exp(np.minimum(by_split, _MOST)).sum(axis=0)
    return np.log((won + (_ANEW - splits)) / _ANEW)


def _mixed(wealth: FloatArray) -> FloatArray:
    """Log of the weighted mean over stakes, the last axis but one."""
    top = wealth.max(axis=-2, keepdims=True)
    return np.log(_WEIGHTS @ np.exp(wealth - top)) + top[..., 0, :]
