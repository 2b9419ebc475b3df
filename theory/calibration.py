"""From what was logged to the simulator's parameters: difficulties, learning-rate and noise scales.

Law. Difficulties: k_i of n_i samples of prompt i are right, k_i ~ Binomial(n_i, ceiling expit(-d_i)),
d_i normal; location and spread by maximum likelihood, the integral over d by Gauss-Hermite quadrature.
Curves: `theory.flow` with free start, rate, ceiling and, under Adam, signal, by least squares on the
logged accuracies of the arms one chooses.
Fails first when a curve ends before it bends: rate and ceiling then trade off, and the standard errors
say so.
Source: THEORY section 5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from theory import flow as population_flow
from theory.channel import FloatArray, VerifierChannel, check_rate, check_rates
from theory.errors import ArgumentError
from theory.flow import PopulationFlow

Free = Literal["theta", "rate", "ceiling", "signal"]
Status = Literal["converged", "not converged", "unidentified"]

__all__ = ["Curve", "Difficulties", "FlowFit", "fit_difficulties", "fit_flow"]


@dataclass(frozen=True)
class Difficulties:
    """Difficulties fitted to pass counts.

    location: mean logit of being right (of ceiling). spread: its standard deviation over prompts.
    location_se, spread_se: standard errors from the curvature of the likelihood; None if not converged.
    status, message: whether to trust them. ceiling: as given.
    """

    location: float
    spread: float
    location_se: float | None
    spread_se: float | None
    log_likelihood: float
    ceiling: float
    status: Status
    message: str

    def quantiles(self, count: int) -> FloatArray:
        """Difficulties d_i of `count` prompts at theta = 0, for `PopulationFlow`; shape [count]."""
        return population_flow.normal_difficulties(count, spread=self.spread) - self.location


def fit_difficulties(
    passes: ArrayLike, trials: ArrayLike, *, ceiling: float = 1.0, nodes: int = 61
) -> Difficulties:
    """Fit location and spread of difficulties to k of n right per prompt.

    passes, trials: integers, 0 <= passes <= trials, trials >= 1; shapes broadcast to [prompts].
    Raises ArgumentError naming the argument, or if every trial ended alike (no finite location).
    """
    from scipy.optimize import minimize

    k, n = np.broadcast_arrays(np.asarray(passes), np.asarray(trials))
    if k.ndim != 1 or k.size == 0:
        raise ArgumentError(f"passes must have shape [prompts], got {list(k.shape)}")
    if k.dtype.kind not in "iu" or n.dtype.kind not in "iu":
        raise ArgumentError("passes and trials must be integers")
    if n.min() < 1 or k.min() < 0 or np.any(k > n):
        raise ArgumentError("each prompt needs 0 <= passes <= trials and trials >= 1")
    if k.sum() == 0 or k.sum() == n.sum():
        raise ArgumentError("all trials ended alike: no difficulty fits better than an endless one")
    if check_rate("ceiling", ceiling) == 0.0:
        raise ArgumentError("ceiling must be above 0")
    # Prompts of equal counts are one term with a weight: thousands of prompts become dozens.
    pairs, weight = np.unique(np.stack([k, n], axis=1), axis=0, return_counts=True)
    right, wrong = pairs[:, :1].astype(float), (pairs[:, 1:] - pairs[:, :1]).astype(float)
    at, mass = np.polynomial.hermite_e.hermegauss(nodes)
    log_mass = np.log(mass / mass.sum())

    def terms(parameters: FloatArray) -> FloatArray:
        logit = parameters[0] + math.exp(parameters[1]) * at
        hit = math.log(ceiling) + special.log_expit(logit)
        miss = (
            np.log1p(-ceiling * special.expit(logit)) if ceiling < 1 else special.log_expit(-logit)
        )
        return special.logsumexp(log_mass + right * hit + wrong * miss, axis=1)

    def loss(parameters: FloatArray) -> float:
        return -float(weight @ terms(parameters))

    mean = float(np.clip(k.sum() / n.sum() / ceiling, 1e-6, 1.0 - 1e-6))
    solved = minimize(
        loss,
        [float(special.logit(mean)), 0.0],
        method="L-BFGS-B",
        bounds=[(-60.0, 60.0), (-7.0, 4.0)],
    )
    location, log_spread = (float(v) for v in solved.x)
    spread = math.exp(log_spread)
    covariance = _inverse(_hessian(loss, solved.x))
    status: Status = "converged" if solved.success else "not converged"
    message = "maximum of the binomial likelihood" if solved.success else str(solved.message)
    errors: tuple[float | None, float | None] = (None, None)
    if covariance is None or log_spread <= -6.99 or log_spread >= 3.99 or n.max() == 1:
        status = "unidentified"
        message = (
            "one trial per prompt tells the mean, not the spread"
            if n.max() == 1
            else "the likelihood does not bound the spread; more trials per prompt would"
        )
    else:
        errors = math.sqrt(covariance[0, 0]), spread * math.sqrt(covariance[1, 1])
    choose = (
        special.gammaln(n + 1.0) - special.gammaln(k + 1.0) - special.gammaln(n - k + 1.0)
    ).sum()
    return Difficulties(
        location, spread, *errors, float(choose - solved.fun), ceiling, status, message
    )


def _hessian(function: Callable[[FloatArray], float], point: FloatArray) -> FloatArray:
    """Second derivatives by central differences."""
    step = 1e-4
    size = point.size
    result = np.empty((size, size))
    for i in range(size):
        for k in range(size):
            a, b = np.zeros(size), np.zeros(size)
            a[i], b[k] = step, step
            result[i, k] = (
                function(point + a + b)
                - function(point + a - b)
                - function(point - a + b)
                + function(point - a - b)
            ) / (4.0 * step * step)
    return result


def _inverse(matrix: FloatArray) -> FloatArray | None:
    """The inverse of a positive definite matrix; None of any other."""
    values = np.linalg.eigvalsh((matrix + matrix.T) / 2.0)
    if not np.all(np.isfinite(values)) or values[0] <= 1e-9 * max(values[-1], 1e-300):
        return None
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


@dataclass(frozen=True)
class Curve:
    """One logged curve: accuracies at steps, shapes [evaluations], under a verifier.

    group_size: rollouts per prompt of this run; None: the template's.
    """

    step: ArrayLike
    accuracy: ArrayLike
    channel: VerifierChannel
    group_size: int | None = None


@dataclass(frozen=True)
class FlowFit:
    """A population flow fitted to curves.

    flow: the template with its free parameters filled in. rmse: over all rows used; rows: how many.
    errors: standard error by free parameter; empty where the data do not identify them together.
    status, message: whether to trust them, and if not which parameters trade off.
    """

    flow: PopulationFlow
    rmse: float
    rows: int
    errors: dict[str, float]
    status: Status
    message: str


def fit_flow(
    template: PopulationFlow,
    curves: Sequence[Curve],
    *,
    free: Sequence[Free] = ("theta", "rate", "ceiling"),
) -> FlowFit:
    """Fit the free parameters of `template` to logged curves by least squares.

    free: of theta, rate, ceiling and signal. Rate and signal are fitted in logs, the ceiling in logits.
    Raises ArgumentError if there are no more rows than free parameters, or one is named twice.
    """
    from scipy.optimize import least_squares

    if not curves or len(set(free)) < len(free) or not free:
        raise ArgumentError("free parameters must be distinct, and curves must not be empty")
    if "signal" in free and template.optimiser != "adam":
        raise ArgumentError("signal plays a part under adam only")
    measured = [check_rates("accuracy", curve.accuracy) for curve in curves]
    rows = sum(values.size for values in measured)
    if rows <= len(free):
        raise ArgumentError(f"{len(free)} free parameters need more than {rows} rows")

    def filled(vector: FloatArray) -> PopulationFlow:
        values = dict(zip(free, (float(v) for v in vector), strict=True))
        for name in ("rate", "signal"):
            if name in values:
                values[name] = math.exp(values[name])
        if "ceiling" in values:
            values["ceiling"] = float(special.expit(values["ceiling"]))
        return replace(template, **values)  # pyright: ignore[reportArgumentType]

    def residuals(vector: FloatArray) -> FloatArray:
        model = filled(vector)
        parts = [
            population_flow.accuracy(
                replace(model, group_size=curve.group_size or model.group_size),
                curve.channel,
                curve.step,
            )
            - values
            for curve, values in zip(curves, measured, strict=True)
        ]
        return np.concatenate([part.ravel() for part in parts])

    start = {
        "theta": template.theta,
        "rate": math.log(template.rate),
        "ceiling": float(special.logit(np.clip(template.ceiling, 0.05, 0.98))),
        "signal": math.log(template.signal),
    }
    bounds = {
        "theta": (-30.0, 30.0),
        "rate": (-14.0, 8.0),
        "ceiling": (-6.0, 9.0),
        "signal": (-14.0, 8.0),
    }
    low, high = zip(*(bounds[name] for name in free), strict=True)
    solved = least_squares(
        residuals,
        np.clip([start[name] for name in free], np.array(low) + 0.01, np.array(high) - 0.01),
        bounds=(low, high),
        x_scale="jac",
        max_nfev=200,
    )
    fitted = filled(solved.x)
    rmse = float(np.sqrt(np.mean(solved.fun**2)))
    status: Status = "converged" if solved.success else "not converged"
    message = str(solved.message)
    information = np.asarray(solved.jac).T @ np.asarray(solved.jac)
    covariance = _inverse(information)
    errors: dict[str, float] = {}
    if covariance is None:
        status = "unidentified"
        _, directions = np.linalg.eigh(information)
        aliased = [n for n, w in zip(free, directions[:, 0], strict=True) if abs(w) > 0.3]
        message = f"the rows do not tell apart {' and '.join(aliased)}"
    else:
        variance = 2.0 * solved.cost / (rows - len(free))
        scale = {
            "theta": 1.0,
            "rate": fitted.rate,
            "ceiling": fitted.ceiling * (1.0 - fitted.ceiling),
            "signal": fitted.signal,
        }
        errors = {
            name: float(scale[name] * math.sqrt(variance * covariance[i, i]))
            for i, name in enumerate(free)
        }
    return FlowFit(fitted, rmse, rows, errors, status, message)
