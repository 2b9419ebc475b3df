"""One law on one curve: estimate, interval, identifiability, forecast.

Law. A curve is the evaluations of one condition, in S runs (seeds). The law is fitted to all rows at
once; each run then has an influence on the estimate, psi_s = S H^-1 J_s' (y_s - f_s), and the interval
is Student's t on the S influences: runs, not evaluations, are the unit of replication, so correlated
residuals and run-level asymptotes need no model. One run has no replication: its interval is a
profile likelihood that widens with the residuals' autocorrelation, and speaks of that run only.
Fails first when the curve does not bend within the data: the asymptote is then any number, which is
reported as `identified: false` with the reason and not as a wide interval.
Source: cluster-robust inference with few clusters (Bell & McCaffrey 2002); arXiv 2510.13786 for the
C_max / C_mid criterion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fits.errors import InputError
from fits.laws import CURVE_LAWS, FloatArray, Law, curve_law
from fits.solve import best_of, solve
from fits.table import need_columns, varying

IntArray = NDArray[np.int64]
Interval = tuple[float, float]

__all__ = [
    "CurveFit",
    "GroupFit",
    "Interval",
    "Turn",
    "find_turn",
    "fit_curve",
    "fit_groups",
    "group_rows",
    "student_interval",
]

# An asymptote is claimed only from data that reach this multiple of the midpoint (LITERATURE: below
# about 3 a sigmoid stopped at its midpoint leaves A anywhere in [.57, .91]) ...
MIDPOINTS_NEEDED: Final = 3.0
# ... and whose likelihood alone pins it to within this, whatever the spread of seeds adds.
WIDEST_PROFILE: Final = 0.2
# Several runs ask the likelihood only whether it pins the asymptote; where its quadratic form is far
# narrower than that (half-width), the profile need not be traced.
DECISIVE_WALD: Final = 0.025
FORECAST_FRACTIONS: Final = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Turn:
    """Where a curve stopped rising and fell: the x of its peak, the level there and at the end."""

    x: float
    peak: float
    end: float


@dataclass(frozen=True)
class CurveFit:
    """One law fitted to one curve; `identified` is about the asymptote (or, without one, all of it).

    theta_P: the estimate in the solver's coordinates. params: in natural units. ci: 95 % intervals in
    natural units, None where `ci_reason` says why. influence_SP: the pull of each run on theta
    (their mean is 0; theta + influence are pseudo-values). runs: their names, length S.
    """

    law: Law
    theta_P: FloatArray
    params: Mapping[str, float]
    ci: Mapping[str, Interval | None]
    ci_reason: str
    status: str
    message: str
    identified: bool
    reason: str
    x_max_over_midpoint: float | None
    aicc: float | None
    rmse: float
    forecast_rmse: float | None
    forecast: Mapping[str, float | None]
    n: int
    x_max: float
    runs: tuple[str, ...]
    influence_SP: FloatArray
    turn: Turn | None = None
    notes: tuple[str, ...] = field(default=())

    def predict(self, x: ArrayLike) -> FloatArray:
        """The fitted accuracy at compute x, any shape."""
        x_ = np.asarray(x, dtype=np.float64)
        return self.law.predict(x_.reshape(1, -1), self.theta_P[None])[0].reshape(x_.shape)

    def pseudo_predict(self, x: float) -> FloatArray:
        """Linearised prediction at x for each run, (S,): their mean is the prediction."""
        slope_P = self.law.jacobian(np.array([[float(x)]]), self.theta_P[None])[0, :, 0]
        return float(self.predict(x)) + self.influence_SP @ slope_P

    def pseudo(self, name: str) -> FloatArray:
        """Pseudo-values of one parameter in the solver's coordinates, (S,)."""
        i = self.law.index(name)
        return self.theta_P[i] + self.influence_SP[:, i]


def student_interval(values: FloatArray, *, level: float = 0.95) -> tuple[float, Interval | None]:
    """Mean of `values` (S,) and its Student-t interval; None with fewer than two values."""
    mean = float(np.mean(values))
    count = len(values)
    if count < 2:
        return mean, None
    from scipy.special import stdtrit

    half = float(stdtrit(count - 1, 0.5 + level / 2)) * float(np.std(values, ddof=1)) / count**0.5
    return mean, (mean - half, mean + half)


def find_turn(x: ArrayLike, y: ArrayLike) -> Turn | None:
    """Where the curve rises and then falls by more than its noise; None where it does not.

    x, y: one curve, or several runs pooled, any order. The curve is smoothed over a tenth of its
    points; noise is judged from successive differences, so that no law is assumed; a fall must
    exceed 4.5 standard errors (it is the largest of many), a fifth of the rise, and .02.
    """
    x_T, place_N = np.unique(np.asarray(x, dtype=np.float64), return_inverse=True)
    y_T = np.bincount(place_N, weights=np.asarray(y, dtype=np.float64)) / np.bincount(place_N)
    if len(y_T) < 5:
        return None
    width = max(2 if len(y_T) < 20 else 3, len(y_T) // 10)
    smooth = np.convolve(y_T, np.full(width, 1.0 / width), mode="valid")
    second = np.diff(y_T, n=2)
    noise = float(np.median(np.abs(second))) / 0.6745 / 6.0**0.5
    top = int(smooth.argmax())
    rise, fall = float(smooth[top] - smooth[0]), float(smooth[top] - smooth[-1])
    bar = max(0.02, 4.5 * noise * (2.0 / width) ** 0.5)
    if fall <= bar or rise <= bar or fall <= 0.2 * rise:
        return None
    return Turn(float(x_T[top + width // 2]), float(smooth[top]), float(smooth[-1]))


def fit_curve(
    x: ArrayLike,
    y: ArrayLike,
    *,
    law: Law,
    run: ArrayLike | None = None,
    forecast: bool = True,
) -> CurveFit:
    """Fit `law` to one curve.

    x: compute, >= 0, (N,). y: accuracy in [0, 1], (N,). run: the run each row belongs to, (N,); one
    run where None. forecast: also refit on the first 25, 50 and 75 % of compute and forecast the rest.
    Raises InputError where x or y are unusable; a curve that cannot be fitted is a result, not an error.
    """
    x_N, y_N, run_N, runs = _curve_data(x, y, run)
    notes: list[str] = []
    if law.needs_positive_x and (x_N <= 0.0).any():
        keep = x_N > 0.0
        notes.append(f"{int((~keep).sum())} rows at x = 0 left out: the law has no value there")
        x_N, y_N, run_N = x_N[keep], y_N[keep], run_N[keep]
        runs = tuple(name for i, name in enumerate(runs) if (run_N == i).any())
        _, run_N = np.unique(run_N, return_inverse=True)
    points, P, S = len(np.unique(x_N)), len(law.parameters), len(runs)
    x_max = float(x_N.max()) if x_N.size else 0.0
    if points < P or x_max <= 0.0:
        return _no_fit(
            law,
            x_N,
            y_N,
            runs,
            f"{points} distinct values of x cannot hold the {P} parameters of the {law.name} law",
            notes,
        )
    inputs_KN = x_N[None]
    solution = solve(law, inputs_KN, y_N[None], law.starts(inputs_KN, y_N))
    best = best_of(solution)
    theta_P = solution.theta_RP[best]
    residual_N = y_N - law.predict(inputs_KN, theta_P[None])[0]
    jacobian_PN = law.jacobian(inputs_KN, theta_P[None])[0]
    rss = float(residual_N @ residual_N)
    low_P, high_P = law.bounds(inputs_KN)
    at_bound = (theta_P <= low_P + 1e-9) | (theta_P >= high_P - 1e-9)
    weak = _weak_directions(law, jacobian_PN)
    influence_SP = _influence(jacobian_PN, residual_N, run_N, S, free_P=~at_bound)

    turn = find_turn(x_N, y_N) if law.has_asymptote else None
    midpoint = law.midpoint(theta_P) if law.midpoint is not None else None
    ratio = x_max / midpoint if midpoint else None
    # Several runs have their own intervals: the likelihood is then asked about the asymptote only.
    asked = law.names if S == 1 else tuple(name for name in law.names if name == "asymptote")
    profile = _profile(law, inputs_KN, y_N, theta_P, rss, residual_N, jacobian_PN, run_N, S, asked)
    reason = _why_unidentified(
        law, theta_P, points, at_bound, weak, turn, ratio, profile, residual_N, y_N
    )
    ci, ci_reason = _intervals(law, theta_P, influence_SP, profile, at_bound, weak)
    if turn is not None:
        status, message = "not monotone", reason
    elif not solution.converged_R[best]:
        status, message = "not converged", f"stopped after {solution.iterations} iterations"
    elif at_bound.any():
        names = ", ".join(name for name, at in zip(law.names, at_bound, strict=True) if at)
        status, message = "at bound", f"{names} at the edge of the range allowed"
    else:
        status, message = "converged", f"converged in {solution.iterations} iterations"
    held = _forecasts(law, x_N, y_N) if forecast else {}
    return CurveFit(
        law=law,
        theta_P=theta_P,
        params=dict(zip(law.names, law.natural(theta_P).tolist(), strict=True)),
        ci=ci,
        ci_reason=ci_reason,
        status=status,
        message=message,
        identified=not reason,
        reason=reason,
        x_max_over_midpoint=ratio,
        aicc=_aicc(rss, len(y_N), P),
        rmse=(rss / len(y_N)) ** 0.5,
        forecast_rmse=held.get("0.5"),
        forecast=held,
        n=len(y_N),
        x_max=x_max,
        runs=runs,
        influence_SP=influence_SP,
        turn=turn,
        notes=tuple(notes),
    )


def _curve_data(
    x: ArrayLike, y: ArrayLike, run: ArrayLike | None
) -> tuple[FloatArray, FloatArray, IntArray, tuple[str, ...]]:
    x_N, y_N = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x_N.ndim != 1 or x_N.shape != y_N.shape or not x_N.size:
        raise InputError(
            f"x and y must be one-dimensional and equally long, got {x_N.shape}, {y_N.shape}"
        )
    for name, values in (("x", x_N), ("y", y_N)):
        if not np.isfinite(values).all():
            raise InputError(
                f"{name} must be finite, got {values[~np.isfinite(values)][0]} in row "
                f"{int((~np.isfinite(values)).argmax()) + 1}"
            )
    if (x_N < 0.0).any():
        raise InputError(f"x must be at least 0, got {x_N.min():g} in row {int(x_N.argmin()) + 1}")
    if run is None:
        return x_N, y_N, np.zeros(len(x_N), dtype=np.int64), ("run",)
    names, codes = np.unique(np.asarray(run).astype(str), return_inverse=True)
    if codes.shape != x_N.shape:
        raise InputError(f"run must be as long as x, got {codes.shape} for {x_N.shape}")
    return x_N, y_N, codes.astype(np.int64), tuple(str(name) for name in names)


def _no_fit(
    law: Law,
    x_N: FloatArray,
    y_N: FloatArray,
    runs: tuple[str, ...],
    reason: str,
    notes: Sequence[str],
) -> CurveFit:
    P = len(law.parameters)
    return CurveFit(
        law=law,
        theta_P=np.full(P, np.nan),
        params={},
        ci=dict.fromkeys(law.names),
        ci_reason=reason,
        status="too few points",
        message=reason,
        identified=False,
        reason=reason,
        x_max_over_midpoint=None,
        aicc=None,
        rmse=float("nan"),
        forecast_rmse=None,
        forecast={},
        n=len(y_N),
        x_max=float(x_N.max()) if x_N.size else 0.0,
        runs=runs,
        influence_SP=np.full((len(runs), P), np.nan),
        notes=tuple(notes),
    )


def _weak_directions(law: Law, jacobian_PN: FloatArray) -> tuple[str, ...]:
    """Parameters in directions that the data do not see (to 1e-5 of the rest), by name."""
    size_P = np.linalg.norm(jacobian_PN, axis=1)
    if (size_P == 0.0).any():
        return tuple(name for name, size in zip(law.names, size_P, strict=True) if size == 0.0)
    _, singular, directions = np.linalg.svd(jacobian_PN.T / size_P, full_matrices=False)
    weak = np.abs(directions[singular < 1e-5 * singular[0]])
    return tuple(name for i, name in enumerate(law.names) if weak.size and weak[:, i].max() > 0.3)


def _influence(
    jacobian_PN: FloatArray,
    residual_N: FloatArray,
    run_N: IntArray,
    S: int,
    *,
    free_P: NDArray[np.bool_],
) -> FloatArray:
    """psi_s = S H^-1 J_s' r_s on the coordinates off their bounds, (S, P); the others do not move."""
    influence_SP = np.zeros((S, len(jacobian_PN)))
    if not free_P.any():
        return influence_SP
    jacobian_FN = jacobian_PN[free_P]
    inverse_FF = np.linalg.pinv(jacobian_FN @ jacobian_FN.T, rcond=1e-13)
    pull_FN = inverse_FF @ (jacobian_FN * residual_N)
    one_hot_NS = (run_N[:, None] == np.arange(S)).astype(np.float64)
    influence_SP[:, free_P] = S * (pull_FN @ one_hot_NS).T
    return influence_SP


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


def _profile(
    law: Law,
    inputs_KN: FloatArray,
    y_N: FloatArray,
    theta_P: FloatArray,
    rss: float,
    residual_N: FloatArray,
    jacobian_PN: FloatArray,
    run_N: IntArray,
    S: int,
    asked: tuple[str, ...],
) -> dict[str, tuple[float | None, float | None]]:
    """Profile-likelihood intervals in the solver's coordinates; None on a side that stays open.

    The excess of the profiled sum of squares is held against a t threshold. Its variance is that of
    residuals about each run's own (linearised) fit, so that runs with their own asymptotes do not pass
    for noise, inflated by (1 + rho)/(1 - rho) for their autocorrelation rho along a run. All points of all
    parameters are one batch of constrained fits, started along the ridge of the quadratic form.
    """
    from scipy.special import stdtrit

    P = len(theta_P)
    within_N, freedom = _within_runs(residual_N, jacobian_PN, run_N, S)
    if freedom < 1 or not asked:
        return dict.fromkeys(asked, (None, None))
    rho = _autocorrelation(within_N, inputs_KN[0], run_N, P)
    variance = max(float(within_N @ within_N) / freedom, 1e-18) * (1.0 + rho) / (1.0 - rho)
    threshold = float(stdtrit(freedom, 0.975))
    covariance_PP = np.linalg.pinv(jacobian_PN @ jacobian_PN.T, rcond=1e-13) * variance
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
    solution = solve(
        law,
        inputs_KN,
        y_N[None],
        starts_QMP.reshape(Q * M, P),
        fixed_RP=fixed,
        max_iterations=25,
        tolerance=1e-5,
    )
    excess_QM = np.maximum(2.0 * solution.loss_R.reshape(Q, M) - rss, 0.0)
    root_QM = np.sqrt(excess_QM / variance)
    result: dict[str, tuple[float | None, float | None]] = {}
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


def _why_unidentified(
    law: Law,
    theta_P: FloatArray,
    points: int,
    at_bound: NDArray[np.bool_],
    weak: tuple[str, ...],
    turn: Turn | None,
    ratio: float | None,
    profile: Mapping[str, tuple[float | None, float | None]],
    residual_N: FloatArray,
    y_N: FloatArray,
) -> str:
    """Why the asymptote (or, without one, the law) is not identified; "" where it is."""
    P = len(law.parameters)
    if turn is not None:
        return (
            f"not monotone: rises to {turn.peak:.3f} at x = {turn.x:.4g}, then falls to {turn.end:.3f};"
            f" the {law.name} law cannot describe a collapse"
        )
    if points <= P:
        return f"{points} distinct values of x leave nothing to judge {P} parameters by"
    if weak:
        names = " from ".join(weak)
        return f"the data cannot tell {names}" if len(weak) > 1 else f"the data do not see {names}"
    if not law.has_asymptote:
        return ""
    rise = float(theta_P[law.index("asymptote")] - theta_P[law.index("start")])
    if abs(rise) <= 2.0 * float(residual_N.std()) and float(y_N.std()) <= 1.2 * float(
        residual_N.std()
    ):
        return f"the curve neither rises nor falls by more than its noise (by {rise:+.3f})"
    if ratio is not None and ratio < MIDPOINTS_NEEDED:
        return (
            f"the data end at {ratio:.2g} midpoints, below {MIDPOINTS_NEEDED:g}: the curve has not bent"
            " enough to show where it saturates"
        )
    if at_bound.any():
        names = [name for name, at in zip(law.names, at_bound, strict=True) if at]
        return f"{', '.join(names)} at the edge of the range allowed"
    low, high = profile["asymptote"]
    if low is None or high is None:
        side = "below" if low is None else "above"
        return f"the likelihood does not bound the asymptote from {side}"
    if high - low > WIDEST_PROFILE:
        return f"the likelihood leaves the asymptote anywhere in [{low:.3f}, {high:.3f}]"
    return ""


def _intervals(
    law: Law,
    theta_P: FloatArray,
    influence_SP: FloatArray,
    profile: Mapping[str, tuple[float | None, float | None]],
    at_bound: NDArray[np.bool_],
    weak: tuple[str, ...],
) -> tuple[dict[str, Interval | None], str]:
    S = len(influence_SP)
    ci: dict[str, Interval | None] = {}
    for p, (name, parameter) in enumerate(zip(law.names, law.parameters, strict=True)):
        interval: Interval | None = None
        if not (at_bound[p] or name in weak):
            if S >= 2:
                _, interval = student_interval(theta_P[p] + influence_SP[:, p])
            else:
                low, high = profile[name]
                interval = None if low is None or high is None else (low, high)
        if interval is not None and parameter.log:
            with np.errstate(over="ignore"):
                interval = (float(np.exp(interval[0])), float(np.exp(interval[1])))
            if not np.isfinite(interval[1]):
                interval = None
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


def _aicc(rss: float, N: int, P: int) -> float | None:
    k = P + 1  # the residual variance is a parameter too
    if N - k - 1 <= 0 or rss <= 0.0:
        return None
    return float(N * np.log(rss / N) + 2 * k + 2 * k * (k + 1) / (N - k - 1))


def _forecasts(law: Law, x_N: FloatArray, y_N: FloatArray) -> dict[str, float | None]:
    """RMSE on the rest of the curve after a fit to the first part of its compute, by fraction."""
    held: dict[str, float | None] = {}
    for fraction in FORECAST_FRACTIONS:
        seen = x_N <= fraction * x_N.max()
        held[f"{fraction:g}"] = None
        if len(np.unique(x_N[seen])) > len(law.parameters) and x_N[seen].max() > 0.0:
            inputs_KN = x_N[None, seen]
            solution = solve(law, inputs_KN, y_N[None, seen], law.starts(inputs_KN, y_N[seen]))
            theta_RP = solution.theta_RP[best_of(solution)][None]
            error = y_N[~seen] - law.predict(x_N[None, ~seen], theta_RP)[0]
            held[f"{fraction:g}"] = float(np.sqrt(np.mean(error**2)))
    return held


# --- whole tables ------------------------------------------------------------------------------


@dataclass(frozen=True)
class GroupFit:
    """The law chosen for one group of rows, and how the other laws did: {law: aicc or None}."""

    group: str
    fit: CurveFit
    compared: Mapping[str, float | None]


def group_rows(frame: pd.DataFrame, key: str | None) -> list[tuple[str, pd.DataFrame]]:
    """Rows by condition: (label, rows) in order of appearance.

    key: columns, comma-separated. None: `arm` where there is one (else fpr and fnr, else run_id),
    with whatever else of the condition varies, so that no curve mixes two conditions.
    """
    condition = ("model", "fpr", "fnr", "noise", "group_size", "prompts_per_step")
    if key is not None:
        columns = [name.strip() for name in key.split(",") if name.strip()]
        need_columns(frame, *columns, purpose=f"--group {key}")
    elif "arm" in frame.columns:
        within = [
            name
            for name in varying(frame, condition)
            if (frame.groupby("arm", dropna=False)[name].nunique(dropna=False) > 1).any()
        ]
        columns = ["arm", *within]
    else:
        columns = varying(frame, condition) or ["run_id"]
    grouped = frame.groupby(columns, sort=False, dropna=False)
    named = len(columns) > 1
    return [
        (
            ",".join(
                (f"{c}={_spoken(v)}" if named and i else _spoken(v))
                for i, (c, v) in enumerate(zip(columns, values, strict=True))
            )
            if columns[0] == "arm" or not named
            else ",".join(f"{c}={_spoken(v)}" for c, v in zip(columns, values, strict=True)),
            rows,
        )
        for values, rows in grouped
    ]


def _spoken(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def fit_groups(
    frame: pd.DataFrame,
    *,
    x: str = "rollouts",
    y: str = "accuracy",
    group: str | None = None,
    law: str = "auto",
    source: str = "the table",
) -> list[GroupFit]:
    """One law per curve of a run table; `law="auto"` takes the least AICc among the laws.

    x, y: columns. group: see `group_rows`. Laws without a value at x = 0 compete only where no row is
    at 0, since AICc compares fits to the same rows.
    Raises InputError naming a missing column or an unknown law.
    """
    need_columns(frame, x, y, purpose="a curve", source=source)
    laws = CURVE_LAWS if law == "auto" else (curve_law(law),)
    for name in (x, y):
        values = pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64, na_value=np.nan)
        if not np.isfinite(values).all():
            row = int((~np.isfinite(values)).argmax())
            cell = str(frame[name].iloc[row])
            raise InputError(
                f"{source}, row {row + 1}, column {name}: {cell!r} is no number to fit"
            )
    fits: list[GroupFit] = []
    for label, rows in group_rows(frame, group):
        x_N, y_N = rows[x].to_numpy(np.float64), rows[y].to_numpy(np.float64)
        fair = [
            one for one in laws if len(laws) == 1 or not one.needs_positive_x or x_N.min() > 0.0
        ]
        tried = [
            fit_curve(x_N, y_N, law=one, run=rows["run_id"].to_numpy(), forecast=False)
            for one in fair
        ]
        chosen = min(
            tried, key=lambda fit: (fit.aicc is None, fit.aicc if fit.aicc is not None else 0.0)
        )
        best = fit_curve(x_N, y_N, law=chosen.law, run=rows["run_id"].to_numpy())
        fits.append(GroupFit(label, best, {fit.law.name: fit.aicc for fit in tried}))
    return fits
