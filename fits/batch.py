"""Many fits at once: replicated experiments on one design, and bootstrap refits of one curve.

Law. R experiments of S runs evaluated at the same T values of x are R least-squares fits to mean curves,
solved together; influences and intervals are those of `fits.fit_curve`, which a test holds them to.
The hierarchical bootstrap resamples runs, then blocks of residuals within each run, and refits.
Fails first with few runs: a percentile bootstrap over 3 covers 76 %, so it draws bands and never
decides a verdict; intervals are t over runs.
Source: Davison & Hinkley 1997, section 3.8 (hierarchical); Kunsch 1989 (blocks).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fits.errors import InputError
from fits.laws import FloatArray, Law
from fits.solve import solve

BoolArray = NDArray[np.bool_]

__all__ = ["BatchFit", "Bootstrap", "bootstrap_curve", "fit_batch"]


LEAST_SQUARE: Final = 1e-32  # of a mean squared residual: an accuracy's last digit, squared


@dataclass(frozen=True)
class BatchFit:
    """R fits of one law: estimates, influences of the S runs, and what they say of identification.

    theta_RP, influence_RSP: the solver's coordinates. low_RP, high_RP: 95 % t intervals over runs.
    at_bound_RP: coordinates at the edge of their range. wald_RP: half-width of the likelihood's
    quadratic form within runs, inflated for autocorrelation (what `fits.inference.profile` traces).
    aic_R: as `fits.fit_curve` gives it, of all S T rows.
    """

    theta_RP: FloatArray
    influence_RSP: FloatArray
    low_RP: FloatArray
    high_RP: FloatArray
    converged_R: BoolArray
    at_bound_RP: BoolArray
    wald_RP: FloatArray
    aic_R: FloatArray


def fit_batch(law: Law, x: ArrayLike, y_RST: FloatArray) -> BatchFit:
    """Fit `law` to R experiments of S >= 2 runs at T common values of x.

    x: compute, (T,), distinct, at least 0, above it where the law asks for that. y_RST: accuracies.
    Raises InputError for other shapes or values.
    """
    from scipy.special import stdtrit

    x_T = np.asarray(x, dtype=np.float64)
    if y_RST.ndim != 3 or y_RST.shape[2:] != x_T.shape or y_RST.shape[1] < 2:
        raise InputError(f"y must be (experiments, runs >= 2, {x_T.size}), got {y_RST.shape}")
    if law.needs_positive_x and (x_T <= 0.0).any():
        raise InputError(f"law {law.name} needs x above 0, got {x_T.min():g}")
    R, S, T = y_RST.shape
    inputs_KN = x_T[None]
    mean_RT = y_RST.mean(axis=1)
    starts_RMP = np.stack([law.starts(inputs_KN, mean_T) for mean_T in mean_RT])
    M, P = starts_RMP.shape[1:]
    solution = solve(law, inputs_KN, np.repeat(mean_RT, M, axis=0), starts_RMP.reshape(R * M, P))
    best_R = solution.loss_R.reshape(R, M).argmin(axis=1)
    pick_R = np.arange(R) * M + best_R
    theta_RP = solution.theta_RP[pick_R]
    low_P, high_P = law.bounds(inputs_KN)
    at_bound_RP = (theta_RP <= low_P + 1e-9) | (theta_RP >= high_P - 1e-9)
    jacobian_RPT = law.jacobian(inputs_KN, theta_RP) * ~at_bound_RP[:, :, None]
    residual_RST = y_RST - law.predict(inputs_KN, theta_RP)[:, None, :]
    gram_RPP = jacobian_RPT @ jacobian_RPT.transpose(0, 2, 1)
    inverse_RPP = np.linalg.pinv(gram_RPP, rcond=1e-13, hermitian=True)
    pull_RPT = inverse_RPP @ jacobian_RPT
    influence_RSP = residual_RST @ pull_RPT.transpose(0, 2, 1)
    spread_RP = influence_RSP.std(axis=1, ddof=1) / S**0.5
    half_RP = float(stdtrit(S - 1, 0.975)) * spread_RP

    within_RST = residual_RST - influence_RSP @ jacobian_RPT
    freedom = S * (T - P)
    below_R = np.einsum("rst,rst->r", within_RST, within_RST)
    above_R = np.einsum("rst,rst->r", within_RST[:, :, 1:], within_RST[:, :, :-1])
    raw_R = above_R / np.maximum(below_R, 1e-300)
    rho_R = np.clip(raw_R + (P + 4.0 * raw_R) / T, 0.0, 0.95)
    variance_R = np.maximum(below_R / freedom, 1e-18) * (1.0 + rho_R) / (1.0 - rho_R)
    wald_RP = float(stdtrit(freedom, 0.975)) * np.sqrt(
        np.einsum("rpp->rp", inverse_RPP) / S * variance_R[:, None]
    )
    N = S * T
    squares_R = np.einsum("rst,rst->r", residual_RST, residual_RST)
    # A law that meets every point leaves no scatter to take the logarithm of.
    aic_R = N * np.log(np.maximum(squares_R / N, LEAST_SQUARE)) + 2.0 * (P + 1)
    centre_RP = theta_RP + influence_RSP.mean(axis=1)
    return BatchFit(
        theta_RP=theta_RP,
        influence_RSP=influence_RSP,
        low_RP=centre_RP - half_RP,
        high_RP=centre_RP + half_RP,
        converged_R=solution.converged_R[pick_R],
        at_bound_RP=at_bound_RP,
        wald_RP=wald_RP,
        aic_R=aic_R,
    )


@dataclass(frozen=True)
class Bootstrap:
    """Refits of one curve: theta_BP in the solver's coordinates, one row per bootstrap replicate."""

    law: Law
    theta_BP: FloatArray

    def band(self, x: ArrayLike, *, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """Pointwise percentile band of the curve at x, (N,) each."""
        x_N = np.asarray(x, dtype=np.float64)
        curves_BN = self.law.predict(x_N[None], self.theta_BP)
        low_N, high_N = np.quantile(curves_BN, [0.5 - level / 2, 0.5 + level / 2], axis=0)
        return low_N, high_N


def bootstrap_curve(
    law: Law,
    x: ArrayLike,
    y: ArrayLike,
    *,
    run: ArrayLike,
    theta_P: FloatArray,
    rng: np.random.Generator,
    replicates: int = 2000,
    block: int | None = None,
) -> Bootstrap:
    """Hierarchical bootstrap of one curve: runs with replacement, then blocks of their residuals.

    x, y, run: rows, (N,). theta_P: the fit, from which every refit starts. block: evaluations in a
    block of residuals about a run's own smooth course; the cube root of a run's length where None.
    Raises InputError where arrays disagree.
    """
    x_N, y_N = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    names, run_N = np.unique(np.asarray(run).astype(str), return_inverse=True)
    if not x_N.shape == y_N.shape == run_N.shape:
        raise InputError(
            f"x, y and run must be equally long, got {x_N.shape}, {y_N.shape}, {run_N.shape}"
        )
    S, inputs_KN = len(names), x_N[None]
    fitted_N = law.predict(inputs_KN, theta_P[None])[0]
    jacobian_PN = law.jacobian(inputs_KN, theta_P[None])[0]
    resampled_BN = np.empty((replicates, len(x_N)))
    for s in range(S):
        rows = np.flatnonzero(run_N == s)
        rows = rows[np.argsort(x_N[rows], kind="stable")]
        residual_T = y_N[rows] - fitted_N[rows]
        # The run's own departure from the mean curve stays; what is noise about it is resampled.
        own_T = (
            jacobian_PN[:, rows].T @ np.linalg.pinv(jacobian_PN[:, rows].T, rcond=1e-8) @ residual_T
        )
        T = len(rows)
        length = max(1, round(T ** (1 / 3))) if block is None else block
        first_BK = rng.integers(0, T, size=(replicates, -(-T // length)))
        place_BT = ((first_BK[:, :, None] + np.arange(length)) % T).reshape(replicates, -1)[:, :T]
        resampled_BN[:, rows] = (fitted_N[rows] + own_T) + (residual_T - own_T)[place_BT]
    counts_BS = rng.multinomial(S, np.full(S, 1.0 / S), size=replicates).astype(np.float64)
    weights_BN = counts_BS[:, run_N]
    # Runs evaluated at one x merge into their weighted mean there.
    inputs_KU, place_N = np.unique(inputs_KN, axis=1, return_inverse=True)
    one_hot_NU = (place_N.ravel()[:, None] == np.arange(inputs_KU.shape[1])).astype(np.float64)
    total_BU = weights_BN @ one_hot_NU
    mean_BU = (weights_BN * resampled_BN) @ one_hot_NU / np.maximum(total_BU, 1e-300)
    starts_BP = np.broadcast_to(theta_P, (replicates, len(theta_P)))
    solution = solve(law, inputs_KU, mean_BU, starts_BP, weights_RN=total_BU, tolerance=1e-6)
    return Bootstrap(law, solution.theta_RP)
