"""What a fit minimises: least squares, Huber, binomial and beta-binomial likelihoods.

Law. A loss is summed over points; with mu the law's prediction and n the samples behind y,
    least squares  (y - mu)^2 / 2            Huber  the same, linear beyond `width`
    binomial       -n (y log mu + (1 - y) log(1 - mu))
    beta-binomial  -log BB(n y | n, mu/c, (1 - mu)/c),  c = rho/(1 - rho), rho the correlation of samples
Likelihoods weigh an evaluation by what it is worth; the beta-binomial allows for what n does not explain.
Fails first where n_eval counts repeated samples of few problems: rho then carries the difference.
Source: Huber 1964; Williams 1982 (beta-binomial); McCullagh & Nelder 1989 (Fisher scoring).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fits.errors import InputError

FloatArray = NDArray[np.float64]

__all__ = [
    "BINOMIAL",
    "LEAST_SQUARES",
    "NEED_SAMPLES",
    "Loss",
    "beta_binomial",
    "huber",
    "loss_named",
]

NEED_SAMPLES: Final = ("binomial", "beta-binomial")
_EDGE: Final = 1e-9  # predictions are held this far from 0 and 1, where likelihoods diverge


@dataclass(frozen=True)
class Loss:
    """A loss per point, of the observation y and the prediction mu; arrays (R, N), n (N,).

    value: the loss. slope: d/dmu. curvature: a positive weight that makes Gauss-Newton steps.
    information: the expected second derivative, which intervals need; the curvature where None.
    needs_samples: whether n must be known. likelihood: whether the value is minus a log-likelihood, up to
    what does not depend on mu.
    """

    name: str
    value: Callable[[FloatArray, FloatArray, FloatArray], FloatArray]
    slope: Callable[[FloatArray, FloatArray, FloatArray], FloatArray]
    curvature: Callable[[FloatArray, FloatArray, FloatArray], FloatArray]
    information: Callable[[FloatArray, FloatArray, FloatArray], FloatArray] | None = None
    needs_samples: bool = False
    likelihood: bool = False

    def expected(self, y: FloatArray, mu: FloatArray, n: FloatArray) -> FloatArray:
        """The expected second derivative, (R, N)."""
        return (self.information or self.curvature)(y, mu, n)


LEAST_SQUARES: Final = Loss(
    name="least-squares",
    value=lambda y, mu, _n: 0.5 * (y - mu) ** 2,
    slope=lambda y, mu, _n: mu - y,
    curvature=lambda _y, mu, _n: np.ones_like(mu),
)


def huber(width: float) -> Loss:
    """Huber's loss, linear beyond `width` (accuracy): outlying evaluations pull no harder than that.

    Raises InputError unless width > 0.
    """
    if not width > 0.0:
        raise InputError(f"width must be above 0, got {width:g}")

    def value(y: FloatArray, mu: FloatArray, _n: FloatArray) -> FloatArray:
        size = np.abs(y - mu)
        return np.where(size <= width, 0.5 * size**2, width * (size - 0.5 * width))

    def information(y: FloatArray, mu: FloatArray, _n: FloatArray) -> FloatArray:
        # The second derivative is 1 on the quadratic part and 0 beyond: its mean over the points.
        inside = (np.abs(y - mu) <= width).mean(axis=1, keepdims=True)
        return np.broadcast_to(np.maximum(inside, 1.0 / y.shape[1]), mu.shape)

    return Loss(
        name=f"huber {width:g}",
        value=value,
        slope=lambda y, mu, _n: np.clip(mu - y, -width, width),
        # The secant weight psi(r)/r rather than the derivative, which is 0 on the linear part.
        curvature=lambda y, mu, _n: width / np.maximum(np.abs(y - mu), width),
        information=information,
    )


def _inside(mu: FloatArray) -> FloatArray:
    return np.clip(mu, _EDGE, 1.0 - _EDGE)


def _binomial_value(y: FloatArray, mu: FloatArray, n: FloatArray) -> FloatArray:
    mu = _inside(mu)
    return -n * (y * np.log(mu) + (1.0 - y) * np.log1p(-mu))


def _binomial_slope(y: FloatArray, mu: FloatArray, n: FloatArray) -> FloatArray:
    mu = _inside(mu)
    return n * (mu - y) / (mu * (1.0 - mu))


def _binomial_curvature(_y: FloatArray, mu: FloatArray, n: FloatArray) -> FloatArray:
    mu = _inside(mu)
    return n / (mu * (1.0 - mu))


BINOMIAL: Final = Loss(
    name="binomial",
    value=_binomial_value,
    slope=_binomial_slope,
    curvature=_binomial_curvature,
    needs_samples=True,
    likelihood=True,
)


def beta_binomial(rho: float) -> Loss:
    """The beta-binomial likelihood with correlation rho in (0, 1) between samples of one evaluation.

    rho -> 0 is the binomial. Raises InputError outside (0, 1).
    """
    if not 0.0 < rho < 1.0:
        raise InputError(f"rho must lie in (0, 1), got {rho:g}")
    size = (1.0 - rho) / rho

    def value(y: FloatArray, mu: FloatArray, n: FloatArray) -> FloatArray:
        from scipy.special import gammaln

        alpha = size * _inside(mu)
        beta = size - alpha
        right = n * y
        return (
            gammaln(alpha)
            + gammaln(beta)
            - gammaln(right + alpha)
            - gammaln(n - right + beta)
            + gammaln(n + size)
            - gammaln(size)
        )

    def slope(y: FloatArray, mu: FloatArray, n: FloatArray) -> FloatArray:
        from scipy.special import psi

        alpha = size * _inside(mu)
        beta = size - alpha
        right = n * y
        return size * (psi(alpha) - psi(right + alpha) - psi(beta) + psi(n - right + beta))

    def curvature(_y: FloatArray, mu: FloatArray, n: FloatArray) -> FloatArray:
        # The quasi-likelihood information: the variance is the binomial's times 1 + (n - 1) rho.
        mu = _inside(mu)
        return n / (mu * (1.0 - mu) * (1.0 + (n - 1.0) * rho))

    return Loss(
        name=f"beta-binomial {rho:.3g}",
        value=value,
        slope=slope,
        curvature=curvature,
        needs_samples=True,
        likelihood=True,
    )


def loss_named(name: str) -> Loss:
    """least-squares, huber (width .02) or binomial; a beta-binomial needs data, see `fits.fit.loss_for`.

    Raises InputError listing them.
    """
    known = {
        "least-squares": LEAST_SQUARES,
        "huber": huber(0.02),
        "binomial": BINOMIAL,
    }
    if name not in known:
        raise InputError(f"loss {name!r} is none of: auto, {', '.join(known)}, beta-binomial")
    return known[name]
