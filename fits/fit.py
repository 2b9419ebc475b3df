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
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fits.collapse import Turn, find_turn
from fits.each import Each, in_turn
from fits.errors import InputError
from fits.inference import (
    Data,
    Fit,
    Optimum,
    Sides,
    aic,
    aicc,
    choose_loss,
    evaluation_variance,
    influence,
    least_variance,
    optimum,
    profile,
    t_intervals,
    weak_directions,
)
from fits.laws import CURVE_LAWS, FloatArray, Law, curve_law
from fits.losses import BINOMIAL, LEAST_SQUARES, NEED_SAMPLES, Loss, loss_named
from fits.table import SETTING, VERIFIER, check_numbers, need_columns, varying

IntArray = NDArray[np.int64]

__all__ = [
    "CurveFit",
    "GroupFit",
    "Turn",
    "allow_for_laws",
    "check_loss",
    "curve_of",
    "find_turn",
    "fit_curve",
    "fit_groups",
    "fit_laws",
    "group_rows",
    "least_aic",
    "loss_for",
    "named_columns",
    "refuse_same_axis",
    "turn_in_words",
]

# An asymptote is claimed only from data that reach this multiple of the midpoint (docs/references.md: below
# about 3 a sigmoid stopped at its midpoint leaves A anywhere in [.57, .91]) ...
MIDPOINTS_NEEDED: Final = 3.0
# ... and whose likelihood alone pins it to within this, whatever the spread of seeds adds.
WIDEST_PROFILE: Final = 0.2
# ... and from at least this many distinct evaluations: with 6 or 7, of which a law takes four, an asymptote was
# claimed of 98 % of sigmoids run to six midpoints, and covered in 26 %.
FEWEST_EVALUATIONS: Final = 8
FORECAST_FRACTIONS: Final = (0.25, 0.5, 0.75)
# Laws whose AIC lies within this of the least have support (Burnham & Anderson 2002, section 2.6; AICc's penalty alone
# rules a law of four parameters out at 8 evaluations) ...
SUPPORTED: Final = 10.0
# ... and must agree on what means the same in all of them.
SHARED_PARAMETERS: Final = ("start", "asymptote")


@dataclass(frozen=True, kw_only=True)
class CurveFit(Fit):
    """One law fitted to one curve; see `fits.inference.Fit`.

    identified: speaks of the asymptote (of a law without one, of all parameters). influence_SP: the pull
    of each run on theta (their mean is 0; theta + influence are pseudo-values). runs: their names, (S,).
    forecast: RMSE on the rest of the curve after a fit to this fraction of its compute; forecast_rmse:
    that of one half.
    """

    x_max_over_midpoint: float | None = None
    forecast_rmse: float | None = None
    forecast: Mapping[str, float | None] = field(default_factory=dict[str, float | None])
    x_max: float
    runs: tuple[str, ...]
    influence_SP: FloatArray
    turn: Turn | None = None
    aic: float | None = None

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


def fit_curve(
    x: ArrayLike,
    y: ArrayLike,
    *,
    law: Law,
    run: ArrayLike | None = None,
    n_eval: ArrayLike | None = None,
    loss: Loss = LEAST_SQUARES,
    forecast: bool = True,
) -> CurveFit:
    """Fit `law` to one curve.

    x: compute, >= 0, (N,). y: accuracy in [0, 1], (N,). run: the run each row belongs to, (N,); one
    run where None. n_eval: samples behind each y, (N,), which likelihoods need. loss: see fits.losses.
    forecast: also refit on the first 25, 50 and 75 % of compute and forecast the rest.
    Raises InputError where arrays are unusable; a curve that cannot be fitted is a result, not an error.
    """
    data = _curve_data(x, y, run, n_eval, loss)
    evaluated_N = (
        None
        if n_eval is None
        else np.broadcast_to(np.asarray(n_eval, dtype=np.float64), data.y_N.shape)
    )
    notes: list[str] = []
    if law.needs_positive_x and (data.inputs_KN[0] <= 0.0).any():
        dropped = int((data.inputs_KN[0] <= 0.0).sum())
        notes.append(f"{dropped} rows at x = 0 left out: the law has no value there")
        kept = data.inputs_KN[0] > 0.0
        evaluated_N = None if evaluated_N is None else evaluated_N[kept]
        data = _rows(data, kept)
    x_N, y_N, S = data.inputs_KN[0], data.y_N, len(data.runs)
    points, P = len(np.unique(x_N)), len(law.parameters)
    x_max = float(x_N.max()) if x_N.size else 0.0
    if points < P or x_max <= 0.0:
        what = f"{points} distinct values of x" if points != 1 else "a single value of x"
        reason = f"{what} cannot hold the {P} parameters of the {law.name} law"
        return _no_fit(law, data, loss, reason, notes)
    at = optimum(law, data, loss=loss)
    theta_P = at.theta_P
    weak = weak_directions(law, at.jacobian_PN)
    influence_SP = influence(at, data)

    turn = find_turn(x_N, y_N, run=data.run_N, n_eval=evaluated_N)
    if turn is not None and turn.runs:
        turn = replace(turn, runs=tuple(data.runs[int(code)] for code in turn.runs))
    noise_N = None if evaluated_N is None else evaluation_variance(y_N, evaluated_N)
    midpoint = law.midpoint(theta_P) if law.midpoint is not None else None
    ratio = x_max / midpoint if midpoint else None
    # Several runs have their own intervals: the likelihood is then asked about the asymptote only.
    asked = law.names if S == 1 else tuple(name for name in law.names if name == "asymptote")
    profiled = profile(law, data, at, asked=asked, loss=loss, noise_N=noise_N)
    reason = _why_unidentified(law, data, at, points, weak, turn, ratio, profiled)
    edge = tuple(name for name, bound in zip(law.names, at.at_bound_P, strict=True) if bound)
    least_P = None if noise_N is None else least_variance(at, data, noise_N)
    ci, ci_reason = t_intervals(
        law, theta_P, influence_SP, profiled, (*weak, *edge), least_P=least_P
    )
    if turn is not None:
        status, message = "not monotone", reason
    elif not at.converged:
        status, message = "not converged", f"stopped after {at.iterations} iterations"
    elif edge:
        status, message = "at bound", f"{', '.join(edge)} at the edge of the range allowed"
    else:
        status, message = "converged", f"converged in {at.iterations} iterations"
    held = _forecasts(law, data, loss) if forecast else {}
    return CurveFit(
        law=law,
        loss=loss.name,
        theta_P=theta_P,
        params=dict(zip(law.names, law.natural(theta_P).tolist(), strict=True)),
        ci=ci,
        ci_reason=ci_reason,
        status=status,
        message=message,
        identified=not reason,
        reason=reason,
        x_max_over_midpoint=ratio,
        aicc=aicc(at, loss),
        aic=aic(at, loss),
        rmse=float(np.sqrt(np.mean(at.residual_N**2))),
        forecast_rmse=held.get("0.5"),
        forecast=held,
        n=len(y_N),
        x_max=x_max,
        runs=data.runs,
        influence_SP=influence_SP,
        turn=turn,
        notes=tuple(notes),
    )


def _curve_data(
    x: ArrayLike, y: ArrayLike, run: ArrayLike | None, n_eval: ArrayLike | None, loss: Loss
) -> Data:
    x_N, y_N = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x_N.ndim != 1 or x_N.shape != y_N.shape or not x_N.size:
        raise InputError(
            f"x and y must be one-dimensional and equally long, got {x_N.shape}, {y_N.shape}"
        )
    for name, values in (("x", x_N), ("y", y_N)):
        bad = ~np.isfinite(values)
        if bad.any():
            raise InputError(
                f"{name} must be finite, got {values[bad][0]} in row {int(bad.argmax()) + 1}"
            )
    if (x_N < 0.0).any():
        raise InputError(f"x must be at least 0, got {x_N.min():g} in row {int(x_N.argmin()) + 1}")
    if run is None:
        names, codes = np.array(["run"]), np.zeros(len(x_N), dtype=np.int64)
    else:
        names, codes = np.unique(np.asarray(run).astype(str), return_inverse=True)
    if codes.shape != x_N.shape:
        raise InputError(f"run must be as long as x, got {codes.shape} for {x_N.shape}")
    samples_N = None
    if loss.needs_samples:
        if n_eval is None:
            raise InputError(f"the {loss.name} loss needs n_eval, the samples behind each accuracy")
        samples_N = np.broadcast_to(np.asarray(n_eval, dtype=np.float64), x_N.shape)
        if not (np.isfinite(samples_N) & (samples_N >= 1.0)).all():
            row = int((~(samples_N >= 1.0)).argmax())
            raise InputError(f"n_eval must be at least 1, got {samples_N[row]:g} in row {row + 1}")
        if ((y_N < 0.0) | (y_N > 1.0)).any():
            row = int(((y_N < 0.0) | (y_N > 1.0)).argmax())
            raise InputError(f"y must lie in [0, 1], got {y_N[row]:g} in row {row + 1}")
    return Data(
        x_N[None], y_N, codes.astype(np.int64), tuple(str(name) for name in names), samples_N
    )


def _rows(data: Data, keep_N: NDArray[np.bool_]) -> Data:
    """Some rows of the data, and the runs that have any."""
    left, run_N = np.unique(data.run_N[keep_N], return_inverse=True)
    return Data(
        data.inputs_KN[:, keep_N],
        data.y_N[keep_N],
        run_N.astype(np.int64),
        tuple(data.runs[int(s)] for s in left),
        None if data.samples_N is None else data.samples_N[keep_N],
    )


def _no_fit(law: Law, data: Data, loss: Loss, reason: str, notes: Sequence[str]) -> CurveFit:
    P = len(law.parameters)
    return CurveFit(
        law=law,
        loss=loss.name,
        theta_P=np.full(P, np.nan),
        ci=dict.fromkeys(law.names),
        ci_reason=reason,
        status="too few points",
        message=reason,
        reason=reason,
        n=len(data.y_N),
        x_max=float(data.inputs_KN[0].max()) if data.y_N.size else 0.0,
        runs=data.runs,
        influence_SP=np.full((len(data.runs), P), np.nan),
        notes=tuple(notes),
    )


def _why_unidentified(
    law: Law,
    data: Data,
    at: Optimum,
    points: int,
    weak: tuple[str, ...],
    turn: Turn | None,
    ratio: float | None,
    profiled: Mapping[str, Sides],
) -> str:
    """Why the asymptote (or, without one, the law) is not identified; "" where it is."""
    P = len(law.parameters)
    if turn is not None:
        return (
            f"{turn_in_words(turn, len(data.runs))}; the {law.name} law cannot describe a collapse"
        )
    if points < FEWEST_EVALUATIONS:
        return (
            f"{points} distinct values of x, below {FEWEST_EVALUATIONS}: too few to judge by where"
            " the curve ends"
        )
    if points <= P:
        return f"{points} distinct values of x leave nothing to judge {P} parameters by"
    if weak:
        names = " from ".join(weak)
        return f"the data cannot tell {names}" if len(weak) > 1 else f"the data do not see {names}"
    if not law.has_asymptote:
        return ""
    theta_P, residual_N = at.theta_P, at.residual_N
    rise = float(theta_P[law.index("asymptote")] - theta_P[law.index("start")])
    if abs(rise) <= 2.0 * float(residual_N.std()) and float(data.y_N.std()) <= 1.2 * float(
        residual_N.std()
    ):
        return f"the curve neither rises nor falls by more than its noise (by {rise:+.3f})"
    if ratio is not None and ratio < MIDPOINTS_NEEDED:
        return (
            f"the data end at {ratio:.2g} midpoints, below {MIDPOINTS_NEEDED:g}: the curve has not bent"
            " enough to show where it saturates"
        )
    stuck = _improper_edges(law, data, at)
    if stuck:
        return f"{', '.join(stuck)} ended at the edge of the range allowed"
    low, high = profiled["asymptote"]
    if low is None or high is None:
        side = "below" if low is None else "above"
        return f"the likelihood does not bound the asymptote from {side}"
    if high - low > WIDEST_PROFILE:
        return f"the likelihood leaves the asymptote anywhere in [{low:.3f}, {high:.3f}]"
    return ""


def turn_in_words(turn: Turn, runs: int) -> str:
    """A collapse for people: which runs, where, from what, to what."""
    who = f"{len(turn.runs)} of {runs} runs ({', '.join(turn.runs)}) " if turn.runs else ""
    ends = f" and ends at {turn.end:.3f}" if turn.end - turn.low > 0.005 else ""
    return (
        f"not monotone: {who}rises to {turn.peak:.3f} at x = {turn.x:.4g}, then falls to"
        f" {turn.low:.3f}{ends}"
    )


def _improper_edges(law: Law, data: Data, at: Optimum) -> list[str]:
    """Parameters at an end of their range where the law has no proper limit."""
    middle_P = np.mean(law.bounds(data.inputs_KN), axis=0)
    return [
        parameter.name
        for parameter, bound, theta, middle in zip(
            law.parameters, at.at_bound_P, at.theta_P, middle_P, strict=True
        )
        if bound and ("low" if theta < middle else "high") not in parameter.proper_edges
    ]


def _forecasts(law: Law, data: Data, loss: Loss) -> dict[str, float | None]:
    """RMSE on the rest of the curve after a fit to the first part of its compute, by fraction."""
    held: dict[str, float | None] = {}
    x_N = data.inputs_KN[0]
    for fraction in FORECAST_FRACTIONS:
        seen = x_N <= fraction * x_N.max()
        held[f"{fraction:g}"] = None
        if len(np.unique(x_N[seen])) > len(law.parameters) and x_N[seen].max() > 0.0:
            theta_P = optimum(law, _rows(data, seen), loss=loss).theta_P
            error = data.y_N[~seen] - law.predict(x_N[None, ~seen], theta_P[None])[0]
            held[f"{fraction:g}"] = float(np.sqrt(np.mean(error**2)))
    return held


def loss_for(name: str, x: ArrayLike, y: ArrayLike, n_eval: ArrayLike | None, *, law: Law) -> Loss:
    """The loss called `name` for one curve; see `fits.inference.choose_loss`.

    Raises InputError for another name, or where n_eval is needed and not given.
    """
    needed = BINOMIAL if name in NEED_SAMPLES else LEAST_SQUARES
    return choose_loss(name, law, _curve_data(x, y, None, n_eval, needed))


def check_loss(frame: pd.DataFrame, name: str, *, source: str = "the table") -> str:
    """The loss that a table is fitted with, the same for all its curves.

    name: least-squares, huber, binomial, beta-binomial, or "auto": binomial where every row says
    n_eval and they differ, else least squares. Evaluations of one size weigh alike, and then the binomial
    gains nothing; of unequal size it halves the error of the asymptote (LOG.md).
    Raises InputError for another name, and where a likelihood lacks n_eval, naming the run.
    """
    if name == "auto":
        sizes = frame["n_eval"] if "n_eval" in frame.columns else pd.Series(dtype=np.float64)
        told = len(sizes) > 0 and bool(sizes.notna().all())
        return "binomial" if told and sizes.nunique() > 1 else "least-squares"
    if name in NEED_SAMPLES:
        need_columns(frame, "n_eval", purpose=f"the {name} loss", source=source)
        check_numbers(frame, "n_eval", source=source)
    else:
        loss_named(name)
    return name


def curve_of(
    rows: pd.DataFrame, x: str, y: str = "accuracy"
) -> tuple[FloatArray, FloatArray, FloatArray | None]:
    """x, y and (None where not every row says it) n_eval of some rows of a run table, (N,) each."""
    known = "n_eval" in rows.columns and bool(rows["n_eval"].notna().all())
    return (
        rows[x].to_numpy(np.float64),
        rows[y].to_numpy(np.float64),
        rows["n_eval"].to_numpy(np.float64) if known else None,
    )


# --- whole tables ------------------------------------------------------------------------------


@dataclass(frozen=True)
class GroupFit:
    """The law chosen for one group of rows, and how the other laws did: {law: aicc or None}."""

    group: str
    fit: CurveFit
    compared: Mapping[str, float | None]


def group_rows(
    frame: pd.DataFrame,
    key: str | None,
    *,
    apart: Sequence[str] = (),
    source: str = "the table",
) -> list[tuple[str, pd.DataFrame]]:
    """Rows by condition: (label, rows) in order of appearance.

    key: columns, comma-separated. None: `arm` where there is one (else fpr and fnr, else run_id),
    with whatever else of the condition varies, so that no curve mixes two conditions.
    apart: columns that no group may mix either, whatever `key` says.
    Raises InputError where `key` names no column, or one that is not there.
    """
    condition = list(dict.fromkeys(("model", *VERIFIER, *SETTING)))
    if key is not None:
        columns = named_columns(frame, key, source=source)
        columns += _mixed(frame, columns, apart)
    elif "arm" in frame.columns:
        columns = ["arm", *_mixed(frame, ["arm"], condition)]
    else:
        columns = varying(frame, condition) or ["run_id"]
    grouped = frame.groupby(columns, sort=False, dropna=False)
    # A name speaks for itself; a bare number needs its column.
    bare = columns[0] in ("arm", "run_id", "model") or (key is not None and len(columns) == 1)

    def label(values: tuple[Any, ...]) -> str:
        parts = [f"{c}={_spoken(v)}" for c, v in zip(columns, values, strict=True)]
        return ",".join([_spoken(values[0]), *parts[1:]] if bare else parts)

    return [(label(values), rows) for values, rows in grouped]


def named_columns(frame: pd.DataFrame, key: str, *, source: str = "the table") -> list[str]:
    """The columns that a comma-separated `key` of --group names.

    Raises InputError where it names none, or one that is not there.
    """
    columns = list(dict.fromkeys(name.strip() for name in key.split(",") if name.strip()))
    if not columns:
        raise InputError(f"--group {key!r} names no column")
    need_columns(frame, *columns, purpose=f"--group {key}", source=source)
    return columns


def refuse_same_axis(x: str, y: str, *, source: str = "the table") -> None:
    """Refuse a column against itself: any law fits it, and none says anything. Raises InputError."""
    if x == y:
        raise InputError(f"{source}: --x {x} is the column that is fitted: name one of compute")


def _mixed(frame: pd.DataFrame, columns: list[str], names: Sequence[str]) -> list[str]:
    """Those of `names` that vary within a group of `columns`."""
    return [
        name
        for name in varying(frame, names)
        if name not in columns
        and (frame.groupby(columns, dropna=False)[name].nunique(dropna=False) > 1).any()
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
    loss: str = "auto",
    source: str = "the table",
    each: Each = in_turn,
) -> list[GroupFit]:
    """One law per curve of a run table; `law="auto"` takes the least AIC among the laws.

    x, y: columns of numbers of at least 0; y is a fraction, so at most 1. group: see `group_rows`.
    loss: see `check_loss`. Laws without a value at x = 0 compete only where no row is at 0, since AIC
    compares fits to the same rows. With "auto" the intervals of start and asymptote are those of every
    law that the data support, see `allow_for_laws`. each: carries out the curves' fits, which do not
    depend on each other, here or elsewhere.
    Raises InputError naming a missing column, a cell that is out of range, or an unknown law.
    """
    need_columns(frame, x, y, purpose="a curve", source=source)
    refuse_same_axis(x, y, source=source)
    check_numbers(frame, x, source=source)
    check_numbers(frame, y, high=1.0, source=source)
    loss = check_loss(frame, loss, source=source)
    laws = CURVE_LAWS if law == "auto" else (curve_law(law),)
    tasks = [
        _Curve(label, *curve_of(rows, x, y), rows["run_id"].to_numpy(), laws, loss)
        for label, rows in group_rows(frame, group, source=source)
    ]
    return list(each(_fit_one, tasks))


@dataclass(frozen=True)
class _Curve:
    """A curve of a table, and how to fit it."""

    label: str
    x_N: FloatArray
    y_N: FloatArray
    n_eval: FloatArray | None
    run_N: NDArray[Any]
    laws: tuple[Law, ...]
    loss: str


def _fit_one(curve: _Curve) -> GroupFit:
    """The laws of one curve, compared; the chosen one with its forecast."""
    x_N, y_N = curve.x_N, curve.y_N
    tried, loss = fit_laws(
        x_N, y_N, run=curve.run_N, n_eval=curve.n_eval, laws=curve.laws, loss=curve.loss
    )
    chosen = least_aic(tried)
    best = fit_curve(x_N, y_N, law=chosen.law, run=curve.run_N, n_eval=curve.n_eval, loss=loss)
    best = allow_for_laws(best, [fit for fit in tried if fit is not chosen])
    return GroupFit(curve.label, best, {fit.law.name: fit.aicc for fit in tried})


def fit_laws(
    x: FloatArray,
    y: FloatArray,
    *,
    run: ArrayLike,
    n_eval: FloatArray | None,
    laws: Sequence[Law],
    loss: str,
) -> tuple[tuple[CurveFit, ...], Loss]:
    """Every one of `laws` that may compete for one curve, fitted; and the loss, the same for all of them.

    Laws without a value at x = 0 compete only where no row is at 0, since AIC compares fits to the same rows.
    """
    fair = [one for one in laws if len(laws) == 1 or not one.needs_positive_x or x.min() > 0.0]
    # One loss for all laws of a curve, so that their AIC compare.
    one_loss = loss_for(loss, x, y, n_eval, law=fair[0])
    return tuple(
        fit_curve(x, y, law=law, run=run, n_eval=n_eval, loss=one_loss, forecast=False)
        for law in fair
    ), one_loss


def least_aic(tried: Sequence[CurveFit]) -> CurveFit:
    """The fit of least AIC; the first where none has one."""
    return min(tried, key=lambda fit: (fit.aic is None, 0.0 if fit.aic is None else fit.aic))


def allow_for_laws(best: CurveFit, others: Sequence[CurveFit]) -> CurveFit:
    """`best` with the doubt about the law in its intervals and in `identified`.

    others: other laws fitted to the same rows with the same loss. Those whose AIC lies within 10 of
    the least have support, and so do those that have none for want of rows: start and asymptote get the hull of all
    their intervals, and the asymptote is identified only if every one of them identifies it. A law chosen by AIC and
    then believed covers as little as 27 % where none of the laws is the truth (tests/benchmarks/COVERAGE.md).
    """
    least = best.aic
    if least is None:
        return best
    rivals = [fit for fit in others if fit.aic is None or fit.aic - least <= SUPPORTED]
    if not rivals:
        return best
    ci = dict(best.ci)
    for name in (name for name in SHARED_PARAMETERS if name in ci):
        found = [fit.ci.get(name) for fit in (best, *rivals)]
        known = [interval for interval in found if interval is not None]
        ci[name] = (
            (min(low for low, _ in known), max(high for _, high in known))
            if len(known) == len(found)
            else None
        )
    laws = ", ".join(fit.law.name for fit in rivals)
    doubts = [
        f"the {fit.law.name} law is not ruled out"
        + ("" if fit.aic is None else f" (AIC {fit.aic - least:+.1f})")
        + (f", and under it {fit.reason}" if fit.law.has_asymptote else ", and it has no asymptote")
        for fit in rivals
        if not (fit.identified and fit.law.has_asymptote)
    ]
    doubt = doubts[0] if doubts and best.identified and best.law.has_asymptote else ""
    return replace(
        best,
        ci=ci,
        ci_reason=f"{best.ci_reason}; start and asymptote under any law not ruled out ({best.law.name}, {laws})",
        identified=best.identified and not doubt,
        reason=best.reason or doubt,
    )
