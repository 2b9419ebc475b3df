"""Bounded Levenberg-Marquardt for many fits of one law at once.

Law. Minimise sum_n w_n rho(y_n, f(x_n; theta)) for every replicate r, theta in a box. Each step
solves (H + lambda diag H) d = -g on the coordinates that are free (not fixed, not pressed against a
bound), with g and H from the analytic Jacobian and the slope and expected curvature of the loss
(Fisher scoring); it is clipped to the box and kept only if the loss falls. Replicates advance
together in NumPy and leave as they converge, so 2,000 bootstrap refits cost little more than a few dozen single ones.
Fails first on losses with several basins: hence a few starts, all of them advanced as replicates.
Source: More 1978 (scaling); Kelley 1999 (projected steps).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fits.laws import FloatArray, Law
from fits.losses import LEAST_SQUARES, Loss

BoolArray = NDArray[np.bool_]

__all__ = ["Solution", "best_of", "solve"]


@dataclass(frozen=True)
class Solution:
    """Where R solves ended: theta_RP in the solver's coordinates, loss_R, converged_R, iterations."""

    theta_RP: FloatArray
    loss_R: FloatArray
    converged_R: BoolArray
    iterations: int


def solve(
    law: Law,
    inputs_KN: FloatArray,
    y_RN: FloatArray,
    starts_RP: FloatArray,
    *,
    weights_RN: FloatArray | None = None,
    samples_N: FloatArray | None = None,
    loss: Loss = LEAST_SQUARES,
    fixed_RP: BoolArray | None = None,
    bounds: tuple[FloatArray, FloatArray] | None = None,
    max_iterations: int = 60,
    tolerance: float = 1e-8,
) -> Solution:
    """Minimise the loss of R replicates from one start each.

    inputs_KN: what the law reads. y_RN: data, (R, N) or (1, N) shared. starts_RP: clipped to the box.
    weights_RN: >= 0, (R, N) or (1, N). fixed_RP: coordinates that stay at their start, (R, P).
    A replicate has converged when a full step moves no coordinate by more than `tolerance` of its
    scale or promises less than `tolerance` of its loss.
    """
    low_P, high_P = law.bounds(inputs_KN) if bounds is None else bounds
    theta_RP = np.clip(starts_RP, low_P, high_P)
    R, P = theta_RP.shape
    N = inputs_KN.shape[1]
    y_RN = np.broadcast_to(y_RN, (R, N))
    weights_RN = None if weights_RN is None else np.broadcast_to(weights_RN, (R, N))
    n_N = np.ones(N) if samples_N is None else samples_N
    free_AP = (
        np.ones((R, P), dtype=np.bool_) if fixed_RP is None else ~np.broadcast_to(fixed_RP, (R, P))
    )
    plain = loss is LEAST_SQUARES

    def total(y: FloatArray, mu: FloatArray, w: FloatArray | None) -> FloatArray:
        values = loss.value(y, mu, n_N)
        return np.einsum("rn->r", values) if w is None else np.einsum("rn,rn->r", values, w)

    mu_AN = law.predict(inputs_KN, theta_RP)
    loss_R = total(y_RN, mu_AN, weights_RN)
    converged_R = np.zeros(R, dtype=np.bool_)
    alive_A = np.arange(R)
    damping_A = np.full(R, 1e-3)
    stale_A = np.ones(R, dtype=np.bool_)  # whose gradient and curvature must be computed anew
    gradient_AP = np.zeros((R, P))
    hessian_APP = np.zeros((R, P, P))
    diagonal = np.arange(P)
    iterations = 0
    while iterations < max_iterations:
        iterations += 1
        fresh = np.flatnonzero(stale_A)
        if fresh.size:
            rows = alive_A[fresh]
            theta, y = theta_RP[rows], y_RN[rows]
            jacobian = law.jacobian(inputs_KN, theta)
            mu = mu_AN[fresh]
            slope = mu - y if plain else loss.slope(y, mu, n_N)
            curved = None if plain else loss.curvature(y, mu, n_N)
            if weights_RN is not None:
                w = weights_RN[rows]
                slope = slope * w
                curved = w if curved is None else curved * w
            scaled = jacobian if curved is None else jacobian * curved[:, None, :]
            gradient_AP[fresh] = np.matmul(jacobian, slope[:, :, None])[:, :, 0]
            hessian_APP[fresh] = np.matmul(scaled, jacobian.transpose(0, 2, 1))
        theta = theta_RP[alive_A]
        pressed = ((theta <= low_P) & (gradient_AP > 0.0)) | (
            (theta >= high_P) & (gradient_AP < 0.0)
        )
        move = free_AP & ~pressed
        # Rows and columns of coordinates that may not move become those of the identity.
        system = hessian_APP * (move[:, :, None] & move[:, None, :])
        own = system[:, diagonal, diagonal]
        ridge = own * damping_A[:, None] + 1e-12 * own.max(axis=1, keepdims=True) + 1e-300
        system[:, diagonal, diagonal] = np.where(move, own + ridge, 1.0)
        step = np.linalg.solve(system, np.where(move, -gradient_AP, 0.0)[:, :, None])[:, :, 0]
        proposal = np.clip(theta + step, low_P, high_P)
        taken = proposal - theta
        y = y_RN[alive_A]
        w = None if weights_RN is None else weights_RN[alive_A]
        trial_AN = law.predict(inputs_KN, proposal)
        trial = total(y, trial_AN, w)
        old = loss_R[alive_A]
        better = trial < old
        promised = -np.einsum("ap,ap->a", gradient_AP, taken)
        small = (np.abs(taken) <= tolerance * (1.0 + np.abs(theta))).all(axis=1)
        idle = promised <= tolerance * (old + 1e-300)
        done = small | (idle & (damping_A < 1e-1)) | (idle & ~better)
        theta_RP[alive_A[better]] = proposal[better]
        loss_R[alive_A[better]] = trial[better]
        mu_AN[better] = trial_AN[better]
        damping_A = np.where(better, np.maximum(damping_A * 0.1, 1e-12), damping_A * 8.0)
        # Damped beyond sense without a better point: rounding, not progress, decides from here.
        done |= damping_A > 1e12
        converged_R[alive_A[done]] = True
        keep = ~done
        if not keep.any():
            break
        if done.any():
            alive_A, damping_A, free_AP = alive_A[keep], damping_A[keep], free_AP[keep]
            gradient_AP, hessian_APP, stale_A = gradient_AP[keep], hessian_APP[keep], better[keep]
            mu_AN = mu_AN[keep]
        else:
            stale_A = better
    return Solution(theta_RP, loss_R, converged_R, iterations)


def best_of(solution: Solution) -> int:
    """The replicate with the least loss, where replicates are starts of one fit."""
    return int(np.argmin(solution.loss_R))
