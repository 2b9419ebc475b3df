"""From the pass counts of a base model to the difficulties of its prompts.

Law. k_i of n_i samples of prompt i are right, k_i ~ Binomial(n_i, ceiling expit(-d_i)), d_i normal;
location and spread by maximum likelihood, the integral over d by Gauss-Hermite quadrature.
Fails first with few samples a prompt: one tells the mean and not the spread, and says so.
Source: docs/theory.md#shared-parameters-and-the-optimiser. For curves, see `theory.forecast`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from theory import flow as population_flow
from theory.channel import FloatArray, check_rate
from theory.errors import ArgumentError

Status = Literal["converged", "not converged", "unidentified"]

__all__ = ["Difficulties", "fit_difficulties"]


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
