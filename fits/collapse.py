"""Whether a training curve fell back, and where: a collapse is called one before any law is fitted to it.

Law. The statistic of a curve is its largest fall from a window of w evaluations to a later one, over all w of WIDTHS
and all places, in standard errors; the noise comes from second differences, the largest quarter left out (of
those a collapse and a steep start have a few), so no law is assumed. Its quantiles under white noise about a level
curve, the null that falls most, are tabulated by length; a rising curve falls less. A short curve has too few
differences to judge by: there a fall by more than BEYOND standard errors of its evaluations and OF_QUIET of the noise
of its quieter half, or to less than LOST of the peak in two evaluations in a row, counts too.
Fails first on noise that is correlated over many evaluations, which wanders as a slow decline does.
Source: simulation; tests/fits/test_collapse.py holds the table, and the false alarms, to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

__all__ = ["FEWEST_TO_TURN", "Turn", "fall_statistic", "find_turn", "may_have_turned"]

FEWEST_TO_TURN: Final = 5
WIDTHS: Final = (1, 2, 3, 5, 8)
# Quantiles of the statistic of white noise at these lengths: .995 for a curve, .9993 for one of several runs.
LENGTHS: Final = (6, 7, 8, 9, 10, 12, 15, 20, 30, 40, 60)
ALONE: Final = (46.6, 21.3, 15.0, 12.1, 10.7, 11.9, 11.2, 10.2, 9.2, 9.4, 9.2)
OF_SEVERAL: Final = (126.6, 42.0, 25.7, 18.5, 15.1, 16.3, 15.1, 12.6, 10.9, 11.0, 10.3)
# A fall that matters: this much accuracy, and this share of the rise before it.
LEAST_FALL: Final = 0.02
LEAST_SHARE: Final = 0.2
QUIET: Final = 0.36  # root mean square of the smaller half of |z|, z normal
LEAST_RISE: Final = 4.0  # standard errors: it is the largest of several too
# Standard errors of one evaluation by its samples: noise of training may be several times that of evaluation.
BEYOND: Final = 25.0
OF_QUIET: Final = (
    6.0  # and of the quieter half's noise: with many samples noise of training is far more
)
# Of the peak, in two evaluations in a row, on curves of fewer than SHORT; the peak itself at least PEAK.
LOST: Final = 1.0 / 3.0
PEAK: Final = 0.2
SHORT: Final = 13


@dataclass(frozen=True)
class Turn:
    """Where a curve stopped rising and fell: the x of its peak, and the levels there, at its lowest after, and at
    the end.

    runs: which runs turned, () where it is their mean that did.
    """

    x: float
    peak: float
    end: float
    low: float
    runs: tuple[str, ...] = ()


def find_turn(
    x: ArrayLike, y: ArrayLike, *, run: ArrayLike | None = None, n_eval: ArrayLike | None = None
) -> Turn | None:
    """Where the curve rises and then falls by more than its noise; None where it does not.

    x, y: one curve, or several runs, any order, (N,). run: which run each row belongs to; one where None. The mean of
    the runs is asked first, then each run. n_eval: samples behind each y, where known.
    """
    x_N, y_N = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    n_N = np.full(len(x_N), np.inf)
    if n_eval is not None:
        n_N = np.broadcast_to(np.asarray(n_eval, dtype=np.float64), x_N.shape)
    if run is None:
        return _turn(*_by_x(x_N, y_N, n_N), several=False)
    names = np.asarray(run).astype(str)
    each = {name: _by_x(*(v[names == name] for v in (x_N, y_N, n_N))) for name in np.unique(names)}
    if len(each) == 1:
        return _turn(*next(iter(each.values())), several=False)
    shared = set.intersection(*(set(at.tolist()) for at, _, _ in each.values()))
    together = None
    if len(shared) >= FEWEST_TO_TURN:
        kept = np.isin(x_N, sorted(shared))
        together = _turn(*_by_x(x_N[kept], y_N[kept], n_N[kept]), several=True)
    if together is not None:
        return together
    turned = {name: _turn(*curve, several=True) for name, curve in each.items()}
    found = {name: turn for name, turn in turned.items() if turn is not None}
    if not found:
        return None
    first = min(found.values(), key=lambda turn: turn.x)
    return Turn(first.x, first.peak, first.end, first.low, tuple(found))


def fall_statistic(y_RT: FloatArray) -> FloatArray:
    """The largest fall of each curve in standard errors of its noise, (R,); T at least 6."""
    noise_R = _noise(y_RT)
    best_R = np.full(len(y_RT), -np.inf)
    for width in _widths(y_RT.shape[1]):
        fall_R = _falls(y_RT, width)[0]
        best_R = np.maximum(best_R, fall_R / np.maximum(noise_R, 1e-9) / (2.0 / width) ** 0.5)
    return best_R


def may_have_turned(y_RT: FloatArray, n_eval: int | None = None) -> NDArray[np.bool_]:
    """Where `find_turn` may find a turn in a curve of its own or one of several, (R,); elsewhere it finds none."""
    T = y_RT.shape[1]
    fall_R = np.stack([_falls(y_RT, width)[0] for width in _widths(T)]).max(axis=0)
    told_R: NDArray[np.bool_] = fall_statistic(y_RT) > float(np.interp(T, LENGTHS, ALONE))
    if T < SHORT:
        told_R = np.ones_like(told_R) if n_eval is not None else told_R | _lost(y_RT)
    return (fall_R > LEAST_FALL) & told_R


def _by_x(
    x_N: FloatArray, y_N: FloatArray, n_N: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Distinct x ascending, the mean y there, and the samples behind it, (T,) each."""
    x_T, place_N = np.unique(x_N, return_inverse=True)
    count_T = np.bincount(place_N)
    mean_T = np.bincount(place_N, weights=y_N) / count_T
    return x_T, mean_T.astype(np.float64), np.bincount(place_N, weights=n_N).astype(np.float64)


def _widths(T: int) -> list[int]:
    return [width for width in WIDTHS if width == 1 or 3 * width <= T]


def _noise(y_RT: FloatArray) -> FloatArray:
    second = np.sort(np.abs(np.diff(y_RT, n=2, axis=1)), axis=1)
    kept = second.shape[1] - max(2, -(-second.shape[1] // 4))
    return np.sqrt(np.square(second[:, :kept]).mean(axis=1) / 6.0)


def _quiet_noise(y_T: FloatArray) -> float:
    """Noise by the quieter half of the second differences, which a fall with a recovery leaves alone."""
    second = np.sort(np.abs(np.diff(y_T, n=2)))
    half = second[: max(len(second) // 2, 1)]
    return float(np.sqrt(np.square(half).mean() / 6.0)) / QUIET


def _falls(y_RT: FloatArray, width: int) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """Per curve the largest fall between windows of this width, their means, and where the later one starts."""
    total_RT = np.concatenate([np.zeros((len(y_RT), 1)), np.cumsum(y_RT, axis=1)], axis=1)
    mean_RK = (total_RT[:, width:] - total_RT[:, :-width]) / width
    top_RK = np.maximum.accumulate(mean_RK, axis=1)
    fall_RK = top_RK[:, :-width] - mean_RK[:, width:]
    at_R = fall_RK.argmax(axis=1)
    return fall_RK[np.arange(len(y_RT)), at_R], mean_RK, at_R + width


def _turn(x_T: FloatArray, y_T: FloatArray, n_T: FloatArray, *, several: bool) -> Turn | None:
    T = len(y_T)
    if T < FEWEST_TO_TURN:
        return None
    error = _evaluation_error(y_T, n_T)
    judged = LENGTHS[0] <= T
    scatter = float(_noise(y_T[None])[0]) if judged else 0.0
    known_error = error if np.isfinite(error) else 0.0
    noise, quiet = max(scatter, known_error, 1e-9), max(_quiet_noise(y_T), known_error)
    bar = float(np.interp(T, LENGTHS, OF_SEVERAL if several else ALONE))
    lost = T < SHORT and bool(_lost(y_T[None])[0])
    best: tuple[float, Turn] | None = None
    for width in _widths(T):
        fall_1, mean_1K, low_1 = _falls(y_T[None], width)
        fall, mean_K, at = float(fall_1[0]), mean_1K[0], int(low_1[0])
        top = int(mean_K[: at - width + 1].argmax())
        rise = float(mean_K[top] - mean_K[: top + 1].min())
        one = noise * (2.0 / width) ** 0.5
        # An arm that unlearns from the start falls without a rise: that a monotone law describes.
        # A curve that lost all has risen: of few evaluations its own bends would pass for noise.
        least_rise = 0.0 if lost else LEAST_RISE * quiet * (2.0 / width) ** 0.5
        if rise <= max(LEAST_FALL, least_rise) or fall <= max(LEAST_FALL, LEAST_SHARE * rise):
            continue
        score = fall / one
        least = max(BEYOND * error, OF_QUIET * quiet) * (2.0 / width) ** 0.5
        known = T < SHORT and fall > least
        if not (judged and score > bar) and not known and not lost:
            continue
        if best is None or score > best[0]:
            place = top + int(y_T[top : top + width].argmax())
            turn = Turn(float(x_T[place]), float(mean_K[top]), float(mean_K[-1]), float(mean_K[at]))
            best = score, turn
    return None if best is None else best[1]


def _lost(y_RT: FloatArray) -> NDArray[np.bool_]:
    """Whether two evaluations in a row are less than LOST of the peak before them, (R,)."""
    peak_RT = np.maximum.accumulate(y_RT, axis=1)
    low_RT = (y_RT < LOST * peak_RT) & (peak_RT >= PEAK)
    return np.asarray((low_RT[:, 1:] & low_RT[:, :-1]).any(axis=1))


def _evaluation_error(y_T: FloatArray, n_T: FloatArray) -> float:
    """The largest standard error that evaluations of this size have on this curve; infinite where unknown."""
    if not np.isfinite(n_T).all():
        return float("inf")
    spread_T = np.clip(y_T * (1.0 - y_T), (n_T - 1.0).clip(1.0) / np.square(n_T), None)
    return float(np.sqrt((spread_T / n_T).max()))
