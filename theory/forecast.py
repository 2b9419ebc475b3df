"""Calibrate `theory.adam_flow` on the runs one has, forecast the accuracy of those one has not.

Law. The six numbers of an `AdamFlow` are fitted by least squares with a Gaussian prior on each, in
log or logit coordinates; the prior decides what the rows do not, and says so. A forecast's variance is
the linearised posterior's plus what the calibration rows scatter about the fit, evaluation noise
included.
    theta    -4 +- 1.5               an untrained model that scores a few per cent
    rate     7/T, times e^(+-1)      logits that T full-rate steps of pure signal would move
    signal   4/sqrt G, times e^(+-.5)  a signal-to-noise ratio per group that does not depend on G
    ceiling  logit 1.2 +- .7
    spread   1.75, times e^(+-.3)    logits
    jitter   .1, times e^(+-.7)
Only arms with noise identify `signal`, and they or a plateau `jitter`; else they are their priors. The
centres of these two were set with the noisy arms of three tasks in view (LOG.md): on those the forecasts
are not blind to them. A group size at which people train is evidence of how noisy their task is, and poor
evidence: a task trained at a G far from its own is forecast worse.
Fails first where an accuracy falls for other reasons than the gradient (collapse after a peak), and
where noise depends on what the policy can learn: the law then knows the rates and not the structure.
Source: docs/theory.md#adam-with-a-stationary-signal; the priors and every form tried and dropped are in LOG.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from theory.adam_flow import AdamFlow, Condition, accuracy_curves
from theory.channel import FloatArray, check_rates
from theory.errors import ArgumentError

__all__ = ["NAMES", "Fit", "calibrate", "forecast"]

NAMES: Final = ("theta", "rate", "signal", "ceiling", "spread", "jitter")
DISCREPANCY: Final = 0.01  # accuracy; no curve of six numbers is believed closer than this
_IDENTIFIED: Final = 0.5  # of its prior's standard deviation: what the rows have to leave of it
_ALIASED: Final = 0.7  # correlation


@dataclass(frozen=True)
class Fit:
    """A calibrated flow.

    location, prior_location, prior_sd: of the six coordinates, by NAMES: theta, log rate, log signal,
    logit ceiling, log spread, log jitter. covariance: of the posterior, [6, 6]. discrepancy: standard
    deviation of a run about the forecast, evaluation noise excluded where n_eval was known. samples: the
    n_eval that has the calibration rows' mean evaluation noise; None where n_eval was not known. rmse: of
    the calibration rows. status: of the solve; message: the solver's.
    """

    location: FloatArray
    covariance: FloatArray
    prior_location: FloatArray
    prior_sd: FloatArray
    discrepancy: float
    samples: float | None
    rmse: float
    status: Literal["converged", "not converged"]
    message: str

    @property
    def flow(self) -> AdamFlow:
        """The flow at the posterior's mode."""
        return _flow(self.location)

    def aliased(self) -> Mapping[str, tuple[str, ...]]:
        """The parameters whose values the rows leave to the prior, each with those it trades off against."""
        sd = np.sqrt(np.diag(self.covariance))
        correlation = self.covariance / np.outer(sd, sd)
        return {
            name: tuple(
                other
                for k, other in enumerate(NAMES)
                if k != i and abs(correlation[i, k]) > _ALIASED
            )
            for i, name in enumerate(NAMES)
            if sd[i] > _IDENTIFIED * self.prior_sd[i]
        }

    def interval(self, name: str, *, z: float = 1.959963984540054) -> tuple[float, float]:
        """Posterior interval of a parameter in its own units, z standard deviations to either side."""
        i = NAMES.index(name)
        half = z * math.sqrt(self.covariance[i, i])
        ends = [self.location + side * half * np.eye(len(NAMES))[i] for side in (-1.0, 1.0)]
        low, high = (float(getattr(_flow(end), name)) for end in ends)
        return low, high


def calibrate(
    conditions: Sequence[Condition],
    condition: ArrayLike,
    step: ArrayLike,
    accuracy: ArrayLike,
    *,
    n_eval: ArrayLike | None = None,
) -> Fit:
    """Fit to rows: accuracy at `step` under conditions[condition]; arrays of shape [rows].

    n_eval: samples behind each accuracy, where known.
    Raises ArgumentError if there are no rows, or an index, a step or an n_eval is out of range.
    """
    place, at = np.asarray(condition), np.asarray(step, dtype=np.float64)
    measured = check_rates("accuracy", accuracy)
    if measured.size == 0 or not measured.shape == at.shape == place.shape:
        raise ArgumentError("condition, step and accuracy must be rows of one length, at least 1")
    if place.min() < 0 or place.max() >= len(conditions):
        raise ArgumentError(f"condition must be below {len(conditions)}, got {place.max()}")
    times, column = np.unique(at, return_inverse=True)
    prior, width = _prior(conditions, times)
    noise, samples = 0.0, None
    if n_eval is not None:
        share = measured * (1.0 - measured)
        n = _checked_samples(n_eval)
        noise = float(np.mean(share / n))
        # Of accuracies 0 and 1 alone nothing is known but how many samples they had.
        samples = float(share.mean()) / noise if noise > 0.0 else float(1.0 / np.mean(1.0 / n))

    def modelled(point: FloatArray) -> FloatArray:
        return accuracy_curves([_flow(point)], conditions, times)[0][place, column]

    def solve(start: FloatArray, sd: float) -> _Solved:
        return _least_squares(
            lambda p: np.concatenate([(modelled(p) - measured) / sd, (p - prior) / width]), start
        )

    # The weight of the rows against the prior is what they scatter about the fit: found in rounds.
    sd = 2.0 * DISCREPANCY
    first = float(measured[np.argmin(at)])
    starts = [prior.copy() for _ in range(3)]
    for start, speed in zip(starts, (0.0, -1.5, 1.5), strict=True):
        start[1] += speed
        if times.size > 1:
            start[0] = special.logit(np.clip(first, 1e-3, 0.99)) - 0.5
    solved = min((solve(start, sd) for start in starts), key=lambda one: one.cost)
    for _ in range(2):
        residual = modelled(solved.point) - measured
        # Of the parameters the rows have fitted only the share that the prior left them.
        fitted = len(NAMES) - float(np.trace(np.linalg.inv(solved.information) / width**2))
        freedom = max(measured.size - fitted, 1.0)
        sd = max(math.sqrt(float(residual @ residual) / freedom), DISCREPANCY)
        solved = solve(solved.point, sd)
    residual = modelled(solved.point) - measured
    return Fit(
        location=solved.point,
        covariance=np.asarray(np.linalg.inv(solved.information), dtype=np.float64),
        prior_location=prior,
        prior_sd=width,
        discrepancy=max(math.sqrt(max(sd * sd - noise, 0.0)), DISCREPANCY),
        samples=samples,
        rmse=float(np.sqrt(np.mean(residual**2))),
        status="converged" if solved.success else "not converged",
        message=solved.message,
    )


def forecast(
    fit: Fit,
    conditions: Sequence[Condition],
    condition: ArrayLike,
    step: ArrayLike,
    *,
    n_eval: ArrayLike | None = None,
) -> tuple[FloatArray, FloatArray]:
    """(accuracy, standard deviation of a measured accuracy about it), shapes [rows], in [0, 1] and above 0.

    n_eval: samples behind the measured accuracy; None: as the calibration's. Counted only where the
    calibration knew its own, whose scatter holds them otherwise.
    Raises ArgumentError if a step or an n_eval is out of range.
    """
    place, at = np.asarray(condition), np.asarray(step, dtype=np.float64)
    times, column = np.unique(at, return_inverse=True)
    h = 0.05 * np.sqrt(np.diag(fit.covariance))
    nudges = np.diag(h)
    points = [fit.location, *(fit.location + s * n for n in nudges for s in (1.0, -1.0))]
    curves = accuracy_curves([_flow(p) for p in points], conditions, times)[:, place, column]
    slopes = (curves[1::2] - curves[2::2]) / (2.0 * h[:, np.newaxis])
    variance = np.einsum("ir,ik,kr->r", slopes, fit.covariance, slopes) + fit.discrepancy**2
    if fit.samples is not None:
        samples = fit.samples if n_eval is None else _checked_samples(n_eval)
        variance = variance + curves[0] * (1.0 - curves[0]) / samples
    return curves[0], np.sqrt(variance)


def _checked_samples(n_eval: ArrayLike) -> FloatArray:
    samples = np.asarray(n_eval, dtype=np.float64)
    if not np.all(samples >= 1.0):
        raise ArgumentError("n_eval must be at least 1")
    return samples


def _flow(point: FloatArray) -> AdamFlow:
    theta, rate, signal, ceiling, spread, jitter = (float(v) for v in point)
    return AdamFlow(
        theta=theta,
        rate=math.exp(rate),
        signal=math.exp(signal),
        ceiling=float(special.expit(ceiling)),
        spread=math.exp(spread),
        jitter=math.exp(jitter),
    )


def _prior(conditions: Sequence[Condition], times: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Means and standard deviations of the coordinates before any row is read."""
    size = float(np.median([c.group_size for c in conditions]))
    last = float(times.max())
    lost = max(c.warmup_steps * (1.0 - c.warmup_from) / 2.0 for c in conditions)
    full = max(last - lost, 0.5 * last, 1.0)
    natural = np.array([7.0 / full, 4.0 / math.sqrt(size), 1.75, 0.1])
    rate, signal, spread, jitter = np.log(natural)
    mean = np.array([-4.0, rate, signal, 1.2, spread, jitter])
    return mean, np.array([1.5, 1.0, 0.5, 0.7, 0.3, 0.7])


@dataclass(frozen=True)
class _Solved:
    point: FloatArray
    cost: float
    information: FloatArray
    success: bool
    message: str


def _least_squares(residuals: Callable[[FloatArray], FloatArray], start: FloatArray) -> _Solved:
    from scipy.optimize import least_squares

    solved = least_squares(residuals, start, x_scale="jac", max_nfev=100)
    jacobian = np.asarray(solved.jac, dtype=np.float64)
    return _Solved(
        np.asarray(solved.x, dtype=np.float64),
        float(solved.cost),
        jacobian.T @ jacobian,
        bool(solved.success),
        str(solved.message),
    )
