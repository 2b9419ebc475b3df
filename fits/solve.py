"""Bounded Levenberg-Marquardt for many fits of one law at once.

Law. Minimise sum_n w_n rho(y_n, f(x_n; theta)) for every replicate r, theta in a box. Each step
minimises g d + d (H + lambda diag H) d / 2 over the coordinates that are free (not fixed, not pressed
against a bound, not taken to one by the step), with g and H from the analytic Jacobian and the slope
and expected curvature of the loss (Fisher scoring); it is kept only if the loss falls. Replicates
advance together in NumPy and leave as they converge, so 2,000 bootstrap refits cost little more than
a few dozen single ones; they go in blocks that fit a core's cache, so time stays linear and memory does
not grow with their number.
Fails first on losses with several basins: hence a few starts, all of them advanced as replicates.
Source: More 1978 (scaling); Nocedal & Wright 2006, section 16.7 (bounds in a quadratic model).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fits.laws import FloatArray, Law
from fits.losses import LEAST_SQUARES, Loss

BoolArray = NDArray[np.bool_]

__all__ = ["Solution", "best_of", "solve"]

FIRST_DAMPING: Final = (
    1e-3  # of the diagonal; a tenth of it after a better step, 8 times after a worse
)
# Data points of the replicates that advance together, at most: about 3 MB with all that belongs to them.
# Four times as many leave the cache and take a third longer; a quarter as many pay for Python.
BLOCK: Final = 40_960


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
    max_iterations: int = 200,
    tolerance: float = 1e-8,
) -> Solution:
    """Minimise the loss of R replicates from one start each.

    inputs_KN: what the law reads. y_RN: data, (R, N) or (1, N) shared. starts_RP: clipped to the box.
    weights_RN: >= 0, (R, N) or (1, N). fixed_RP: coordinates that stay at their start, (R, P).
    A replicate has converged when a step that is hardly damped moves no coordinate by more than
    `tolerance` of its scale, or promises less than `tolerance` of its loss.
    """
    low_P, high_P = law.bounds(inputs_KN) if bounds is None else bounds
    R, N = len(starts_RP), inputs_KN.shape[1]
    rows = max(1, BLOCK // max(N, 1))
    parts: list[Solution] = []
    for first in range(0, max(R, 1), rows):
        block = slice(first, first + rows)
        parts.append(
            _solve_block(
                law,
                inputs_KN,
                y_RN if len(y_RN) == 1 else y_RN[block],
                starts_RP[block],
                weights_RN=weights_RN
                if weights_RN is None or len(weights_RN) == 1
                else weights_RN[block],
                n_N=np.ones(N) if samples_N is None else samples_N,
                loss=loss,
                fixed_RP=None
                if fixed_RP is None
                else np.broadcast_to(fixed_RP, starts_RP.shape)[block],
                bounds=(low_P, high_P),
                max_iterations=max_iterations,
                tolerance=tolerance,
            )
        )
    if len(parts) == 1:
        return parts[0]
    return Solution(
        np.concatenate([part.theta_RP for part in parts]),
        np.concatenate([part.loss_R for part in parts]),
        np.concatenate([part.converged_R for part in parts]),
        max(part.iterations for part in parts),
    )


def _solve_block(
    law: Law,
    inputs_KN: FloatArray,
    y_RN: FloatArray,
    starts_RP: FloatArray,
    *,
    weights_RN: FloatArray | None,
    n_N: FloatArray,
    loss: Loss,
    fixed_RP: BoolArray | None,
    bounds: tuple[FloatArray, FloatArray],
    max_iterations: int,
    tolerance: float,
) -> Solution:
    """`solve` of replicates that advance together."""
    low_P, high_P = bounds
    R, P = starts_RP.shape
    plain = loss is LEAST_SQUARES
    solved_RP, loss_R = np.empty((R, P)), np.empty(R)
    converged_R = np.zeros(R, dtype=np.bool_)
    # What follows holds the replicates that have not converged, A of them, packed: most steps then
    # work on whole arrays, and only the step at which some leave copies anything.
    rows_A = np.arange(R)
    theta_AP = np.minimum(np.maximum(starts_RP, low_P), high_P)
    y_AN, w_AN = y_RN, weights_RN
    fixed_AP = fixed_RP
    damping_A = np.full(R, FIRST_DAMPING)

    def total(mu: FloatArray) -> FloatArray:
        if plain:
            error = mu - y_AN
            return 0.5 * np.einsum("an,an->a", error, error if w_AN is None else error * w_AN)
        values = loss.value(y_AN, mu, n_N)
        return (values if w_AN is None else values * w_AN).sum(axis=1)

    mu_AN = law.predict(inputs_KN, theta_AP)
    loss_A = total(mu_AN)
    iterations = 0
    while iterations < max_iterations:
        iterations += 1
        jacobian_APN = law.jacobian(inputs_KN, theta_AP)
        slope_AN = mu_AN - y_AN if plain else loss.slope(y_AN, mu_AN, n_N)
        curved_AN = None if plain else loss.curvature(y_AN, mu_AN, n_N)
        if w_AN is not None:
            slope_AN = slope_AN * w_AN
            curved_AN = w_AN if curved_AN is None else curved_AN * w_AN
        scaled_APN = jacobian_APN if curved_AN is None else jacobian_APN * curved_AN[:, None, :]
        gradient_AP = np.matmul(jacobian_APN, slope_AN[:, :, None])[:, :, 0]
        hessian_APP = np.matmul(scaled_APN, jacobian_APN.transpose(0, 2, 1))
        step_AP = _box_step(
            gradient_AP, hessian_APP, damping_A, low_P - theta_AP, high_P - theta_AP, fixed_AP
        )
        proposal_AP = np.minimum(np.maximum(theta_AP + step_AP, low_P), high_P)
        trial_AN = law.predict(inputs_KN, proposal_AP)
        trial_A = total(trial_AN)
        better_A = trial_A < loss_A
        promised_A = -np.einsum("ap,ap->a", gradient_AP, step_AP)
        small_A = (np.abs(step_AP) <= tolerance * (1.0 + np.abs(theta_AP))).all(axis=1)
        idle_A = small_A | ((promised_A >= 0.0) & (promised_A <= tolerance * loss_A))
        # A step that damping made small says nothing, unless even that does not help: rounding decides.
        done_A = (idle_A & ((damping_A < 0.1) | ~better_A)) | (damping_A > 1e12)
        if better_A.all():
            theta_AP, mu_AN, loss_A = proposal_AP, trial_AN, trial_A
            damping_A = np.maximum(damping_A * 0.1, 1e-12)
        else:
            theta_AP = np.where(better_A[:, None], proposal_AP, theta_AP)
            mu_AN = np.where(better_A[:, None], trial_AN, mu_AN)
            loss_A = np.where(better_A, trial_A, loss_A)
            damping_A = np.where(better_A, np.maximum(damping_A * 0.1, 1e-12), damping_A * 8.0)
        if done_A.any():
            left_A = rows_A[done_A]
            solved_RP[left_A], loss_R[left_A] = theta_AP[done_A], loss_A[done_A]
            converged_R[left_A] = True
            if done_A.all():
                return Solution(solved_RP, loss_R, converged_R, iterations)
            stay = ~done_A
            rows_A, theta_AP, mu_AN = rows_A[stay], theta_AP[stay], mu_AN[stay]
            loss_A, damping_A = loss_A[stay], damping_A[stay]
            y_AN = y_AN if len(y_AN) == 1 else y_AN[stay]
            w_AN = w_AN if w_AN is None or len(w_AN) == 1 else w_AN[stay]
            fixed_AP = None if fixed_AP is None else fixed_AP[stay]
    solved_RP[rows_A], loss_R[rows_A] = theta_AP, loss_A
    return Solution(solved_RP, loss_R, converged_R, iterations)


def _box_step(
    gradient_AP: FloatArray,
    hessian_APP: FloatArray,
    damping_A: FloatArray,
    room_below_AP: FloatArray,
    room_above_AP: FloatArray,
    fixed_AP: BoolArray | None,
) -> FloatArray:
    """The damped step that stays in the box, (A, P).

    Coordinates that are fixed, or that rest on a bound and press against it, do not move. A step that
    would leave the box in some coordinate takes that one to its bound and solves for the others anew:
    cutting it off instead leaves the others a step that was meant for both, and may climb.
    """
    A, P = gradient_AP.shape
    system_APP = hessian_APP.copy()
    own_AP = system_APP.reshape(A, P * P)[:, :: P + 1]
    own_AP += own_AP * damping_A[:, None] + 1e-12 * own_AP.max(axis=1, keepdims=True) + 1e-300
    held_AP = ((room_below_AP >= 0.0) & (gradient_AP > 0.0)) | (
        (room_above_AP <= 0.0) & (gradient_AP < 0.0)
    )
    if fixed_AP is not None:
        held_AP |= fixed_AP
    step_AP = np.zeros_like(gradient_AP)  # of the coordinates held
    while True:  # at most P + 1 times: each time round holds another coordinate
        if held_AP.any():
            free_AP = ~held_AP
            right_AP = np.where(
                free_AP,
                -gradient_AP - np.matmul(hessian_APP, step_AP[:, :, None])[:, :, 0],
                step_AP,
            )
            # Rows and columns of coordinates that are held become those of the identity.
            masked_APP = system_APP * (free_AP[:, :, None] & free_AP[:, None, :])
            masked_APP.reshape(A, P * P)[:, :: P + 1] += held_AP
        else:
            right_AP, masked_APP = -gradient_AP, system_APP
        taken_AP = np.linalg.solve(masked_APP, right_AP[:, :, None])[:, :, 0].astype(
            np.float64, copy=False
        )
        below_AP, above_AP = taken_AP < room_below_AP, taken_AP > room_above_AP
        out_AP = below_AP | above_AP
        if not (out_AP & ~held_AP).any():
            return taken_AP
        step_AP = np.where(below_AP, room_below_AP, np.where(above_AP, room_above_AP, step_AP))
        held_AP = held_AP | out_AP


def best_of(solution: Solution) -> int:
    """The replicate with the least loss, where replicates are starts of one fit."""
    return int(np.argmin(solution.loss_R))
