"""Intervals for fitted laws: t over runs, profile likelihood within a run, and what the data cannot see.

Law. At the optimum of a loss with expected second derivative w, let J be the Jacobian and r the
residual, both scaled by sqrt(w). The influence of run s on the estimate is psi_s = S (J'J)^-1 J_s' r_s;
the estimate plus its influence is the run's pseudo-value, exact for a linear law, and Student's t on the
S pseudo-values is the interval. It needs no model of what a run's evaluations share.
Fails first with two or three runs of very unequal length, and wherever the law is far from linear
within the interval: `identified` guards the second.
Source: Bell & McCaffrey 2002 (few clusters); Jaeckel 1972 (infinitesimal jackknife);
Venzon & Moolgavkar 1988 (profile likelihood).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fits.laws import FloatArray, Law
from fits.losses import BINOMIAL, LEAST_SQUARES, Loss, beta_binomial, loss_named
from fits.solve import best_of, solve

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
Interval = tuple[float, float]
Sides = tuple[float | None, float | None]

__all__ = [
    "DECISIVE_WALD",
    "Data",
    "Fit",
    "Interval",
    "Optimum",
    "Sides",
    "aic",
    "aicc",
    "choose_loss",
    "evaluation_variance",
    "influence",
    "least_gap_variance",
    "least_variance",
    "optimum",
    "profile",
    "spread_of",
    "student_interval",
    "t_intervals",
    "weak_directions",
    "wilson",
    "with_width",
]

# Several runs ask the likelihood only whether it pins a parameter; where its quadratic form is
# narrower than this (half-width), the profile need not be traced.
DECISIVE_WALD: Final = 0.025


@dataclass(frozen=True)
class Data:
    """What a law is fitted to: inputs_KN, y_N, the run of each row in 0..S-1, the runs' names.

    samples_N: evaluation samples behind y, None where the loss needs none.
    """

    inputs_KN: FloatArray
    y_N: FloatArray
    run_N: IntArray
    runs: tuple[str, ...]
    samples_N: FloatArray | None = None


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What every fit says of itself, be it of one curve or of a surface.

    loss: what was minimised, by name. theta_P: the estimate in the solver's coordinates, NaN where there
    is none. params: in natural units, empty then. ci: 95 % intervals in natural units, None where
    `ci_reason` says why. identified: whether the estimate may be believed; `reason` says why not. n:
    rows fitted. rmse, aicc: None without a fit.
    """

    law: Law
    loss: str
    theta_P: FloatArray
    params: Mapping[str, float] = field(default_factory=dict[str, float])
    ci: Mapping[str, Interval | None]
    ci_reason: str
    status: str
    message: str
    identified: bool = False
    reason: str
    aicc: float | None = None
    rmse: float | None = None
    n: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Optimum:
    """Where a fit ended: theta_P, its loss, and the linear problem there, scaled by sqrt(information)."""

    theta_P: FloatArray
    loss: float
    converged: bool
    iterations: int
    jacobian_PN: FloatArray
    scaled_N: FloatArray
    residual_N: FloatArray
    at_bound_P: BoolArray
    information_N: FloatArray


def optimum(law: Law, data: Data, *, loss: Loss = LEAST_SQUARES) -> Optimum:
    """Fit `law` from its starts, keep the best."""
    inputs_KN, y_N = data.inputs_KN, data.y_N
    few, weights_1N, spent = _merged(data, loss)
    solution = solve(
        law,
        few.inputs_KN,
        few.y_N[None],
        law.starts(few.inputs_KN, few.y_N),
        weights_RN=weights_1N,
        samples_N=few.samples_N,
        loss=loss,
    )
    best = best_of(solution)
    theta_P = solution.theta_RP[best]
    mu_1N = law.predict(inputs_KN, theta_P[None])
    n_N = np.ones_like(y_N) if data.samples_N is None else data.samples_N
    root_N = np.sqrt(loss.expected(y_N[None], mu_1N, n_N)[0])
    slope_N = loss.slope(y_N[None], mu_1N, n_N)[0]
    low_P, high_P = law.bounds(inputs_KN)
    return Optimum(
        theta_P=theta_P,
        loss=float(solution.loss_R[best]) + spent,
        converged=bool(solution.converged_R[best]),
        iterations=solution.iterations,
        jacobian_PN=law.jacobian(inputs_KN, theta_P[None])[0] * root_N,
        scaled_N=-slope_N / root_N,
        residual_N=y_N - mu_1N[0],
        at_bound_P=(theta_P <= low_P + 1e-9) | (theta_P >= high_P - 1e-9),
        information_N=np.square(root_N),
    )


def choose_loss(name: str, law: Law, data: Data) -> Loss:
    """The loss called `name`: least-squares, huber, binomial, or beta-binomial.

    The beta-binomial's correlation comes from the excess of a binomial fit's dispersion over 1.
    Raises InputError for another name.
    """
    if name != "beta-binomial":
        return loss_named(name)
    at = optimum(law, data, loss=BINOMIAL)
    freedom = max(len(data.y_N) - len(at.theta_P), 1)
    dispersion = float(at.scaled_N @ at.scaled_N) / freedom
    samples = float(np.mean(data.samples_N)) if data.samples_N is not None else 2.0
    return beta_binomial(float(np.clip((dispersion - 1.0) / max(samples - 1.0, 1.0), 1e-6, 0.5)))


def aic(at: Optimum, loss: Loss) -> float:
    """AIC, comparable between laws fitted to the same rows with the same loss."""
    N = len(at.residual_N)
    # A perfect fit has no finite likelihood: it counts as one to twelve digits.
    deviance = (
        2.0 * at.loss if loss.likelihood else float(N * np.log(max(2.0 * at.loss / N, 1e-24)))
    )
    return deviance + 2.0 * _parameters(at, loss)


def aicc(at: Optimum, loss: Loss) -> float | None:
    """AICc, comparable likewise; None with too few rows."""
    N, k = len(at.residual_N), _parameters(at, loss)
    return None if N - k - 1 <= 0 else aic(at, loss) + 2.0 * k * (k + 1) / (N - k - 1)


def _parameters(at: Optimum, loss: Loss) -> int:
    """What was estimated: without a likelihood the residual variance is a parameter too."""
    return len(at.theta_P) + (not loss.likelihood)


def _merged(data: Data, loss: Loss) -> tuple[Data, FloatArray | None, float]:
    """The rows of each input merged into their mean, with counts as weights, and the loss it hides.

    For least squares the minimiser is the same: runs evaluated at the same x cost one row, not S.
    """
    if loss is not LEAST_SQUARES or len(data.runs) < 2:
        return data, None, 0.0
    inputs_KU, place_N = np.unique(data.inputs_KN, axis=1, return_inverse=True)
    place_N = place_N.ravel()
    if inputs_KU.shape[1] == len(data.y_N):
        return data, None, 0.0
    counts_U = np.bincount(place_N).astype(np.float64)
    mean_U = np.bincount(place_N, weights=data.y_N) / counts_U
    hidden = 0.5 * float(np.sum((data.y_N - mean_U[place_N]) ** 2))
    none = np.zeros(len(counts_U), dtype=np.int64)
    return Data(inputs_KU, mean_U, none, ("mean",)), counts_U[None], hidden


def student_interval(
    values: FloatArray, *, level: float = 0.95, least: float = 0.0
) -> tuple[float, Interval | None]:
    """Mean of `values` (S,) and its Student-t interval; None with fewer than two values.

    least: variance that one value has at least, of evaluation noise (see `least_gap_variance`). It is known, not
    estimated from the values, so the width that it leaves at least is the normal's: the t quantile on it would widen
    the intervals of three seeds 2.2 times for a doubt that nobody has.
    """
    mean = float(np.mean(values))
    count = len(values)
    if count < 2:
        return mean, None
    from scipy.special import ndtri, stdtrit

    beyond = 0.5 + level / 2
    half = max(
        float(stdtrit(count - 1, beyond)) * float(np.std(values, ddof=1)),
        float(ndtri(beyond)) * least**0.5,
    )
    half /= count**0.5
    return mean, (mean - half, mean + half)


def spread_of(ci: Interval, count: int) -> float:
    """The spread over `count` values whose mean has this 95 % t interval."""
    from scipy.special import stdtrit

    return (ci[1] - ci[0]) / 2.0 * count**0.5 / float(stdtrit(count - 1, 0.975))


def with_width(ci: Interval | None) -> Interval | None:
    """The interval, None where it has no width: seeds that agree exactly show nothing of how sure they are."""
    return None if ci is None or ci[1] - ci[0] < 1e-12 else ci


def evaluation_variance(accuracy: FloatArray, n_eval: FloatArray) -> FloatArray:
    """Variance that an evaluation of n_eval samples has at least: a (1 - a)/n, a no nearer 0 or 1 than 1/n."""
    least = np.minimum(1.0 / n_eval, 0.5)
    a = np.clip(accuracy, least, 1.0 - least)
    return a * (1.0 - a) / n_eval


def least_gap_variance(gap: FloatArray, n_eval: FloatArray) -> FloatArray:
    """Variance that a paired gap has at least: two evaluations on the same n_eval questions differ in |g| n or more.

    |g| (1 - |g|)/n, |g| no less than 1/n: the same questions cannot disagree less. Independent binomials would treble
    the intervals of paired arms.
    """
    g = np.clip(np.abs(gap), np.minimum(1.0 / n_eval, 0.5), 1.0)
    return g * (1.0 - g) / n_eval


def weak_directions(law: Law, jacobian_PN: FloatArray) -> tuple[str, ...]:
    """Parameters in directions that the data do not see (to 1e-5 of the rest), by name."""
    size_P = np.linalg.norm(jacobian_PN, axis=1)
    if (size_P == 0.0).any():
        return tuple(name for name, size in zip(law.names, size_P, strict=True) if size == 0.0)
    _, singular, directions = np.linalg.svd(jacobian_PN.T / size_P, full_matrices=False)
    weak = np.abs(directions[singular < 1e-5 * singular[0]])
    return tuple(name for i, name in enumerate(law.names) if weak.size and weak[:, i].max() > 0.3)


def influence(at: Optimum, data: Data) -> FloatArray:
    """psi_s = S (J'J)^-1 J_s' r_s on the coordinates off their bounds, (S, P); others do not move."""
    S = len(data.runs)
    influence_SP = np.zeros((S, len(at.theta_P)))
    free_P = ~at.at_bound_P
    if not free_P.any():
        return influence_SP
    jacobian_FN = at.jacobian_PN[free_P]
    inverse_FF = np.linalg.pinv(jacobian_FN @ jacobian_FN.T, rcond=1e-13)
    pull_FN = inverse_FF @ (jacobian_FN * at.scaled_N)
    one_hot_NS = (data.run_N[:, None] == np.arange(S)).astype(np.float64)
    influence_SP[:, free_P] = S * (pull_FN @ one_hot_NS).T
    return influence_SP


def least_variance(at: Optimum, data: Data, noise_N: FloatArray) -> FloatArray:
    """Variance that a run's pseudo-value of each coordinate has at least, (P,), by evaluation noise alone.

    noise_N: variance of each row's accuracy, of `evaluation_variance`.
    """
    least_P = np.zeros(len(at.theta_P))
    free_P = ~at.at_bound_P
    if free_P.any():
        jacobian_FN = at.jacobian_PN[free_P]
        pull_FN = np.linalg.pinv(jacobian_FN @ jacobian_FN.T, rcond=1e-13) @ jacobian_FN
        least_P[free_P] = len(data.runs) * np.square(pull_FN) @ (noise_N * at.information_N)
    return least_P


def _within_runs(
    residual_N: FloatArray, jacobian_PN: FloatArray, run_N: IntArray, S: int
) -> tuple[FloatArray, int]:
    """Residuals about each run's own linearised fit, and their degrees of freedom."""
    within_N = residual_N.copy()
    freedom = 0
    for s in range(S):
        rows = run_N == s
        basis, size, _ = np.linalg.svd(jacobian_PN[:, rows].T, full_matrices=False)
        basis = basis[:, size > 1e-8 * size[0]]
        within_N[rows] -= basis @ (basis.T @ within_N[rows])
        freedom += int(rows.sum()) - basis.shape[1]
    return within_N, freedom


def _autocorrelation(residual_N: FloatArray, x_N: FloatArray, run_N: IntArray, P: int) -> float:
    """Lag-1 autocorrelation of residuals along x within runs, in [0, .95].

    Corrected to first order for the P fitted parameters, which make residuals look less correlated.
    """
    above = below = 0.0
    length = 0
    for code in np.unique(run_N):
        rows = run_N == code
        residual = residual_N[rows][np.argsort(x_N[rows], kind="stable")]
        above += float(residual[1:] @ residual[:-1])
        below += float(residual @ residual)
        length = max(length, len(residual))
    if below == 0.0 or length < 4:
        return 0.0
    raw = above / below
    return float(np.clip(raw + (P + 4.0 * raw) / length, 0.0, 0.95))


def profile(
    law: Law,
    data: Data,
    at: Optimum,
    *,
    asked: tuple[str, ...],
    loss: Loss = LEAST_SQUARES,
    noise_N: FloatArray | None = None,
) -> dict[str, Sides]:
    """Profile-likelihood intervals of the parameters `asked`, in the solver's coordinates.

    None on a side that stays open. The excess of the profiled loss is held against a t threshold. Its
    scale is the dispersion of residuals about each run's own (linearised) fit, so that runs with their
    own asymptotes do not pass for noise, inflated by (1 + rho)/(1 - rho) for their autocorrelation rho
    along a run. All points of all parameters are one batch of constrained fits, started along the
    ridge of the quadratic form. noise_N: variance of each row's accuracy at least, where n_eval is known.
    """
    from scipy.special import stdtrit

    theta_P, inputs_KN = at.theta_P, data.inputs_KN
    P, S = len(theta_P), len(data.runs)
    within_N, freedom = _within_runs(at.scaled_N, at.jacobian_PN, data.run_N, S)
    if freedom < 1 or not asked:
        return dict.fromkeys(asked, (None, None))
    rho = _autocorrelation(within_N, inputs_KN[0], data.run_N, P)
    variance = max(float(within_N @ within_N) / freedom, 1e-18) * (1.0 + rho) / (1.0 - rho)
    if noise_N is not None:
        variance = max(variance, float(np.mean(noise_N * at.information_N)))
    threshold = float(stdtrit(freedom, 0.975))
    covariance_PP = np.linalg.pinv(at.jacobian_PN @ at.jacobian_PN.T, rcond=1e-13) * variance
    error_P = np.sqrt(np.maximum(np.diag(covariance_PP), 1e-16))
    if S > 1 and all(threshold * error_P[law.index(name)] < DECISIVE_WALD for name in asked):
        halves = {name: threshold * float(error_P[law.index(name)]) for name in asked}
        centres = {name: float(theta_P[law.index(name)]) for name in asked}
        return {name: (centres[name] - half, centres[name] + half) for name, half in halves.items()}
    low_P, high_P = law.bounds(inputs_KN)
    steps_M = threshold * np.array([0.5, 1.0, 1.5, 2.2, 3.5, 6.0, 12.0])
    signed_M = np.concatenate([-steps_M[::-1], steps_M])
    M, Q = len(signed_M), len(asked)
    index_Q = np.array([law.index(name) for name in asked])
    offsets_QM = np.clip(
        theta_P[index_Q, None] + error_P[index_Q, None] * signed_M,
        low_P[index_Q, None],
        high_P[index_Q, None],
    )
    # Along the ridge: how the other parameters follow when this one moves.
    ridge_QP = covariance_PP[index_Q] / np.maximum(np.diag(covariance_PP), 1e-16)[index_Q, None]
    starts_QMP = theta_P + (offsets_QM - theta_P[index_Q, None])[:, :, None] * ridge_QP[:, None, :]
    starts_QMP[np.arange(Q), :, index_Q] = offsets_QM
    fixed = np.repeat(np.eye(P, dtype=np.bool_)[index_Q], M, axis=0)
    few, weights_1N, spent = _merged(data, loss)
    solution = solve(
        law,
        few.inputs_KN,
        few.y_N[None],
        starts_QMP.reshape(Q * M, P),
        weights_RN=weights_1N,
        fixed_RP=fixed,
        samples_N=few.samples_N,
        loss=loss,
        max_iterations=25,
        tolerance=1e-5,
    )
    excess_QM = np.maximum(2.0 * (solution.loss_R.reshape(Q, M) + spent - at.loss), 0.0)
    root_QM = np.sqrt(excess_QM / variance)
    result: dict[str, Sides] = {}
    for q, name in enumerate(asked):
        sides: list[float | None] = []
        for half in (slice(M // 2 - 1, None, -1), slice(M // 2, None)):
            place = np.concatenate([[theta_P[index_Q[q]]], offsets_QM[q, half]])
            height = np.maximum.accumulate(np.concatenate([[0.0], root_QM[q, half]]))
            if height[-1] < threshold:
                sides.append(None)
                continue
            k = int((height >= threshold).argmax())
            share = (threshold - height[k - 1]) / (height[k] - height[k - 1])
            sides.append(float(place[k - 1] + share * (place[k] - place[k - 1])))
        result[name] = (sides[0], sides[1])
    return result


def t_intervals(
    law: Law,
    theta_P: FloatArray,
    influence_SP: FloatArray,
    profiled: Mapping[str, Sides],
    unseen: tuple[str, ...],
    *,
    least_P: FloatArray | None = None,
) -> tuple[dict[str, Interval | None], str]:
    """95 % intervals in natural units, and in words what they rest on.

    From t over the runs' pseudo-values, or from `profiled` where there is one run; a level of accuracy
    ends at 0 and 1. unseen: parameters
    at a bound or not seen by the data, which get None. least_P: see `least_variance`.
    """
    S = len(influence_SP)
    ci: dict[str, Interval | None] = {}
    for p, (name, parameter) in enumerate(zip(law.names, law.parameters, strict=True)):
        interval: Interval | None = None
        if name not in unseen:
            if S >= 2:
                least = 0.0 if least_P is None else float(least_P[p])
                _, interval = student_interval(theta_P[p] + influence_SP[:, p], least=least)
                interval = with_width(interval)
            else:
                low, high = profiled[name]
                interval = None if low is None or high is None else (low, high)
        if interval is not None and parameter.log:
            with np.errstate(over="ignore"):
                interval = (float(np.exp(interval[0])), float(np.exp(interval[1])))
            if not np.isfinite(interval[1]):
                interval = None
        elif interval is not None and law.has_asymptote and parameter.unit == "accuracy":
            interval = (max(interval[0], 0.0), min(interval[1], 1.0))
        ci[name] = interval
    basis = (
        f"t over {S} runs"
        if S >= 2
        else "one run: profile likelihood of its residuals, which says nothing of other seeds"
    )
    missing = [name for name, interval in ci.items() if interval is None]
    if missing:
        basis += f"; none for {', '.join(missing)}: unbounded or at the edge of the range"
    return ci, basis


def wilson(count: int, rows: int) -> Interval:
    """Wilson's 95 % interval of the share `count` / `rows`."""
    from statsmodels.stats.proportion import proportion_confint

    interval: Any = proportion_confint(count, rows, alpha=0.05, method="wilson")
    # What rounding leaves at an end is no rate: none of `rows` is compatible with 0, all of them with 1.
    return 0.0 if count == 0 else float(interval[0]), 1.0 if count == rows else float(interval[1])
