"""Joint laws of final accuracy over error rates and compute, and why a design cannot carry one.

Law. All are linear in their coefficients, on one scale or the other (J = 1 - fpr - fnr):
    margin-logit  logit a = a0 + a1 log2 G - b (1 - J) - b1 (1 - J) log2 G
    quadratic     a = c0 + c1 fpr + c2 fnr + c3 fpr^2 + c4 fpr fnr + c5 fnr^2 + c6 log2 G
    additive      the quadratic surface without its cross term fpr fnr
Compute terms are left out, and that is said, where compute does not vary. A design in which a term is
a combination of others (fpr = fnr in every row; fpr fnr = 0 with a cross term) is refused, naming both.
Fails first outside the grid: the quadratic surface is a description, which forecasts worst of all.
Source: arXiv 2605.25252 (quadratic surface); arXiv 2502.18969 on unreported choices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fits.errors import InputError
from fits.fit import check_loss
from fits.inference import (
    Data,
    Fit,
    Interval,
    aicc,
    choose_loss,
    influence,
    optimum,
    student_interval,
)
from fits.laws import FloatArray, Law, Parameter
from fits.losses import NEED_SAMPLES, Loss
from fits.plain import counted
from fits.table import need_columns

__all__ = [
    "JOINT_LAWS",
    "Alias",
    "SurfaceFit",
    "Term",
    "aliased_terms",
    "aliases",
    "design_of",
    "final_rows",
    "fit_surface",
    "linear_law",
    "margin_logit",
    "quadratic",
]


@dataclass(frozen=True)
class Term:
    """One term of a linear law: its coefficient's name, how it reads, its value from the inputs (K, N)."""

    coefficient: str
    reads: str
    column: Callable[[FloatArray], FloatArray]


def linear_law(
    name: str, formula: str, terms: Sequence[Term], *, inputs: tuple[str, ...], logit: bool
) -> Law:
    """A law linear in its coefficients, on the accuracy scale or (logit) on the log-odds scale."""
    from scipy.special import expit

    def design(inputs_KN: FloatArray) -> FloatArray:
        ones_N = np.ones(inputs_KN.shape[-1])
        return np.stack([term.column(inputs_KN) * ones_N for term in terms])

    def predict(inputs_KN: FloatArray, theta_RP: FloatArray) -> FloatArray:
        linear_RN = theta_RP @ design(inputs_KN)
        return expit(linear_RN) if logit else linear_RN

    def jacobian(inputs_KN: FloatArray, theta_RP: FloatArray) -> FloatArray:
        design_PN = design(inputs_KN)
        if not logit:
            return np.broadcast_to(design_PN, (len(theta_RP), *design_PN.shape))
        a_RN = expit(theta_RP @ design_PN)
        return design_PN * (a_RN * (1.0 - a_RN))[:, None, :]

    def starts(inputs_KN: FloatArray, y_N: FloatArray) -> FloatArray:
        inside_N = np.clip(y_N, 0.01, 0.99)
        target_N = np.log(inside_N / (1.0 - inside_N)) if logit else y_N
        solved = np.linalg.lstsq(design(inputs_KN).T, target_N, rcond=None)[0]
        return np.asarray(solved, dtype=np.float64)[None]

    return Law(
        name=name,
        formula=formula,
        parameters=tuple(
            Parameter(term.coefficient, "log-odds" if logit else "accuracy", reads=term.reads)
            for term in terms
        ),
        predict=predict,
        jacobian=jacobian,
        starts=starts,
        bounds=lambda _inputs_KN: (np.full(len(terms), -1e3), np.full(len(terms), 1e3)),
        inputs=inputs,
    )


# Inputs of both laws: fpr, fnr, compute.
_INTERCEPT: Final = "1"


def margin_logit(*, compute: bool = True, axis: str = "group_size") -> Law:
    """logit a against the margin J and log2 of compute; without its compute terms if not `compute`."""
    terms = [
        Term("a0", _INTERCEPT, lambda v: np.ones_like(v[0])),
        Term("beta", "-(1-J)", lambda v: -(v[0] + v[1])),
    ]
    if compute:
        terms.insert(1, Term("a1", f"log2({axis})", lambda v: np.log2(v[2])))
        terms.append(
            Term("beta1", f"-(1-J) log2({axis})", lambda v: -(v[0] + v[1]) * np.log2(v[2]))
        )
    formula = "logit a = " + (
        f"a0 + a1 log2({axis}) - beta (1-J) - beta1 (1-J) log2({axis})"
        if compute
        else "a0 - beta (1-J)"
    )
    return linear_law("margin-logit", formula, terms, inputs=("fpr", "fnr", axis), logit=True)


def quadratic(*, compute: bool = True, axis: str = "group_size", cross: bool = True) -> Law:
    """The quadratic surface in fpr and fnr plus log2 of compute; without that term if not `compute`.

    cross: whether fpr*fnr is a term; without it the surface is additive in the two rates.
    """
    terms = [
        Term("c0", _INTERCEPT, lambda v: np.ones_like(v[0])),
        Term("c_fpr", "fpr", lambda v: v[0]),
        Term("c_fnr", "fnr", lambda v: v[1]),
        Term("c_fpr2", "fpr^2", lambda v: v[0] ** 2),
        *([Term("c_fpr_fnr", "fpr*fnr", lambda v: v[0] * v[1])] if cross else []),
        Term("c_fnr2", "fnr^2", lambda v: v[1] ** 2),
    ]
    if compute:
        terms.append(Term("c_compute", f"log2({axis})", lambda v: np.log2(v[2])))
    formula = (
        "a = c0 + c_fpr fpr + c_fnr fnr + c_fpr2 fpr^2"
        + (" + c_fpr_fnr fpr fnr" if cross else "")
        + " + c_fnr2 fnr^2"
        + (f" + c_compute log2({axis})" if compute else "")
    )
    name = "quadratic" if cross else "additive"
    return linear_law(name, formula, terms, inputs=("fpr", "fnr", axis), logit=False)


_Build = Callable[..., Law]
JOINT_LAWS: Final[Mapping[str, _Build]] = {"margin-logit": margin_logit, "quadratic": quadratic}


@dataclass(frozen=True)
class Alias:
    """An equation among the terms of a linear law that holds in every row of a design.

    term: the place of the term it defines, from earlier ones. reads: the equation, "fnr = fpr".
    null_P: the same as a direction of the coefficients that these rows do not see: null_P @ terms = 0.
    """

    term: int
    reads: str
    null_P: FloatArray

    def holds(self, design_PN: FloatArray, *, tolerance: float = 1e-7) -> NDArray[np.bool_]:
        """Whether the equation holds in other rows too, (N,).

        Only then does what these rows leave open not matter to a forecast of the others.
        """
        parts_PN = self.null_P[:, None] * design_PN
        return np.asarray(
            np.abs(parts_PN.sum(axis=0)) <= tolerance * np.abs(parts_PN).max(axis=0), dtype=np.bool_
        )


def design_of(law: Law, inputs_KN: FloatArray) -> FloatArray:
    """The terms of a linear law, (P, N), up to one common factor: its Jacobian at theta = 0."""
    return law.jacobian(inputs_KN, np.zeros((1, len(law.parameters))))[0]


def aliases(law: Law, inputs_KN: FloatArray, *, tolerance: float = 1e-9) -> tuple[Alias, ...]:
    """The equations by which these rows cannot tell terms of a linear law apart; () if none.

    Terms are taken in order; one that is a combination of earlier ones (to `tolerance` of its size) is
    aliased, and the equation says with which: "fnr = fpr", "fpr*fnr = 0". Together their null_P span
    all that the rows do not see.
    """
    design_PN = design_of(law, inputs_KN)
    names = [parameter.reads or parameter.name for parameter in law.parameters]
    columns_PN = design_PN / (float(np.abs(design_PN[0]).max()) or 1.0)
    kept: list[int] = []
    found: list[Alias] = []
    for p in range(len(names)):
        size = float(np.linalg.norm(columns_PN[p]))
        null_P = np.zeros(len(names))
        null_P[p] = 1.0
        if size <= tolerance:
            found.append(Alias(p, f"{names[p]} = 0", null_P))
            continue
        if kept:
            basis = columns_PN[kept].T
            shares = np.linalg.lstsq(basis, columns_PN[p], rcond=None)[0]
            if float(np.linalg.norm(columns_PN[p] - basis @ shares)) <= tolerance * size:
                shares = np.where(np.abs(shares) > 1e-7, shares, 0.0)
                null_P[kept] = -shares
                right = [
                    _times(float(share), names[k])
                    for k, share in zip(kept, shares, strict=True)
                    if share
                ]
                reads = f"{names[p]} = {' + '.join(right).replace('+ -', '- ')}"
                found.append(Alias(p, reads, null_P))
                continue
        kept.append(p)
    return tuple(found)


def aliased_terms(law: Law, inputs_KN: FloatArray) -> tuple[str, ...]:
    """The equations of `aliases` as a person reads them."""
    return tuple(alias.reads for alias in aliases(law, inputs_KN))


def _times(share: float, name: str) -> str:
    if name == _INTERCEPT:
        return f"{share:.4g}"
    return name if abs(share - 1.0) < 1e-9 else f"{share:.4g} {name}"


@dataclass(frozen=True, kw_only=True)
class SurfaceFit(Fit):
    """One joint law fitted to one group of final accuracies; see `fits.inference.Fit`.

    status: "converged" or "unidentified", the aliased terms in `aliased`.
    loco_rmse: leave-one-condition-out, every (fpr, fnr, compute) forecast from all others; None where a
    condition left out leaves the rest aliased (then `notes` say so).
    """

    aliased: tuple[str, ...] = ()
    loco_rmse: float | None = None

    def predict(self, fpr: FloatArray, fnr: FloatArray, compute: FloatArray) -> FloatArray:
        """Accuracy at rates and compute, each (N,)."""
        return self.law.predict(np.stack([fpr, fnr, compute]), self.theta_P[None])[0]


def final_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The last evaluation of every run."""
    if "step" not in frame.columns:
        return frame
    return frame.sort_values("step", kind="stable").groupby("run_id", sort=False).tail(1)


def fit_surface(
    frame: pd.DataFrame,
    *,
    law: str,
    axis: str = "group_size",
    loss: str = "auto",
    source: str = "the table",
) -> SurfaceFit:
    """Fit a joint law to the last evaluation of every run of `frame`.

    law: "margin-logit" or "quadratic". axis: the compute column; absent or constant, its terms are left
    out and a note says so. loss: see `fits.fit.check_loss`. Runs are the rows; where three or more seeds
    cover the same conditions the intervals are t over seeds, else t over rows.
    Raises InputError for an unknown law or missing columns; an aliased design is a result.
    """
    if law not in JOINT_LAWS:
        raise InputError(f"law {law!r} is none of: {', '.join(JOINT_LAWS)}")
    need_columns(frame, "fpr", "fnr", purpose=f"the {law} law", source=source)
    rows = final_rows(frame)
    for name in ("fpr", "fnr"):
        if rows[name].isna().any():
            run = rows.loc[rows[name].isna(), "run_id"].iloc[0]
            raise InputError(f"{source}: run {run!r} has no {name}, which the {law} law needs")
    compute_N = rows[axis].to_numpy(np.float64) if axis in rows.columns else np.ones(len(rows))
    varies = len(np.unique(compute_N)) > 1
    notes: list[str] = []
    if not varies:
        what = (
            f"{axis} is {compute_N[0]:g} in every row"
            if axis in rows.columns
            else f"no column {axis}"
        )
        notes.append(f"no compute term: {what}")
    elif not (np.isfinite(compute_N) & (compute_N > 0.0)).all():
        raise InputError(f"{source}: {axis} must be positive for the {law} law")
    loss = check_loss(rows, loss, source=source)
    chosen = JOINT_LAWS[law](compute=varies, axis=axis)
    inputs_KN = np.stack(
        [rows["fpr"].to_numpy(np.float64), rows["fnr"].to_numpy(np.float64), compute_N]
    )
    y_N = rows["accuracy"].to_numpy(np.float64)
    aliased = aliased_terms(chosen, inputs_KN)
    if aliased:
        return _refused(chosen, loss, len(rows), aliased, notes)
    seeds = (
        rows["seed"].astype(str).to_numpy() if "seed" in rows.columns else np.full(len(rows), "0")
    )
    names, run_N = np.unique(seeds, return_inverse=True)
    samples = rows["n_eval"].to_numpy(np.float64) if loss in NEED_SAMPLES else None
    data = Data(inputs_KN, y_N, run_N.astype(np.int64), tuple(str(n) for n in names), samples)
    minimised = choose_loss(loss, chosen, data)
    at = optimum(chosen, data, loss=minimised)
    ci, basis = _surface_intervals(
        chosen, data, at.theta_P, influence(at, data), at.jacobian_PN, at.scaled_N
    )
    N, P = len(y_N), len(at.theta_P)
    reason = "" if P < N else f"{N} runs leave nothing to judge {P} coefficients by"
    loco, why_not = _leave_one_condition_out(chosen, data, minimised)
    return SurfaceFit(
        law=chosen,
        loss=minimised.name,
        params=dict(zip(chosen.names, at.theta_P.tolist(), strict=True)),
        ci=ci,
        ci_reason=basis,
        status="converged" if at.converged else "not converged",
        message=f"{N} runs",
        identified=not reason,
        reason=reason,
        aicc=aicc(at, minimised),
        rmse=float(np.sqrt(np.mean(at.residual_N**2))),
        loco_rmse=loco,
        n=N,
        theta_P=at.theta_P,
        notes=(*notes, *([why_not] if why_not else [])),
    )


def _refused(
    law: Law, loss: str, n: int, aliased: tuple[str, ...], notes: Sequence[str]
) -> SurfaceFit:
    reason = f"the design cannot tell these terms apart: {'; '.join(aliased)} in every row"
    return SurfaceFit(
        law=law,
        loss=loss,
        theta_P=np.full(len(law.parameters), np.nan),
        ci=dict.fromkeys(law.names),
        ci_reason=reason,
        status="unidentified",
        message=reason,
        reason=reason,
        aliased=aliased,
        n=n,
        notes=tuple(notes),
    )


def _surface_intervals(
    law: Law,
    data: Data,
    theta_P: FloatArray,
    influence_SP: FloatArray,
    jacobian_PN: FloatArray,
    scaled_N: FloatArray,
) -> tuple[dict[str, Interval | None], str]:
    """t over seeds where there are three or more, else over rows from the residual spread."""
    S, freedom = len(data.runs), len(scaled_N) - len(theta_P)
    if S >= 3:
        pairs = {
            name: student_interval(theta_P[p] + influence_SP[:, p])[1]
            for p, name in enumerate(law.names)
        }
        return pairs, f"t over {S} seeds"
    if freedom < 1:
        return dict.fromkeys(law.names), "no interval: as many coefficients as runs"
    from scipy.special import stdtrit

    variance = float(scaled_N @ scaled_N) / freedom
    spread_P = np.sqrt(np.diag(np.linalg.inv(jacobian_PN @ jacobian_PN.T)) * variance)
    half_P = float(stdtrit(freedom, 0.975)) * spread_P
    ci: dict[str, Interval | None] = {
        name: (float(theta_P[p] - half_P[p]), float(theta_P[p] + half_P[p]))
        for p, name in enumerate(law.names)
    }
    return (
        ci,
        f"t over {len(scaled_N)} rows ({counted(S, 'seed')}: runs taken as independent)",
    )


def _leave_one_condition_out(law: Law, data: Data, loss: Loss) -> tuple[float | None, str]:
    """RMSE of every condition forecast from all others, and why there is none."""
    conditions, place_N = np.unique(data.inputs_KN, axis=1, return_inverse=True)
    place_N = place_N.ravel()
    errors: list[FloatArray] = []
    for c in range(conditions.shape[1]):
        out = place_N == c
        rest = data.inputs_KN[:, ~out]
        if aliased_terms(law, rest):
            fpr, fnr, _ = conditions[:, c]
            return (
                None,
                f"no leave-one-condition-out: without fpr {fpr:g}, fnr {fnr:g} terms are aliased",
            )
        left = Data(
            rest,
            data.y_N[~out],
            np.zeros(int((~out).sum()), dtype=np.int64),
            ("rest",),
            None if data.samples_N is None else data.samples_N[~out],
        )
        theta_P = optimum(law, left, loss=loss).theta_P
        errors.append(data.y_N[out] - law.predict(data.inputs_KN[:, out], theta_P[None])[0])
    return float(np.sqrt(np.mean(np.concatenate(errors) ** 2))), ""
