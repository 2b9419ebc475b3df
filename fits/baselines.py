"""What a forecast must beat: baselines calibrated on some rows of a run table, forecasting others.

Law. Each reads fpr, fnr, group_size and step alone (J = 1 - fpr - fnr; clean(t): the mean accuracy at
step t of the calibration rows of least noise, linear between steps, constant beyond the last):
    no-gap                    a = clean(t): noise does nothing
    time-scaled-by-J          a = clean(J t): noise slows the clock
    time-scaled-by-J-warmup   a = clean(u), s(u) = J s(t), s the integral of the learning rate
    margin-linear             a = a0 + b J
    sqrt-margin               a = a0 + b sqrt(J)
    margin-logit, additive, quadratic    the joint laws of `fits.joint`
The last five have no time: over curves they are fitted anew at every calibrated step, least squares,
and interpolated between steps. A baseline counts only if it is estimable, that is, if the equations by
which the calibration rows alias its terms hold in every row it has to forecast: log2(group_size) = 3 is
harmless while all rows to forecast have 8 rollouts too.
Fails first where noise moves the end of training and not its speed.
Source: arXiv 2605.25252 (quadratic surface), 2601.04411 (J sets the rate); Rao 1973, section 4a
(estimable functions).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fits.errors import InputError
from fits.joint import Term, aliases, design_of, linear_law, margin_logit, quadratic
from fits.laws import FloatArray, Law
from fits.solve import solve
from fits.table import check_numbers, need_columns

__all__ = ["WARMUP_FROM", "BaselineForecast", "forecast_baselines", "learning_rate_clock"]

WARMUP_FROM: Final = 0.1  # of the full learning rate, at step 0: the seed paper's schedule


@dataclass(frozen=True)
class BaselineForecast:
    """One baseline's forecast of the target rows.

    status: "identified", or "unidentified" where the calibration rows leave open what some target row
    needs: then `reason` says so, `aliased` holds the equations, and accuracy_N is None.
    accuracy_N: forecasts in [0, 1], (N,). params: of the joint laws where there is one step; without
    aliased coefficients, whose effect is in those they are aliased with.
    """

    name: str
    formula: str
    status: Literal["identified", "unidentified"]
    reason: str = ""
    aliased: tuple[str, ...] = ()
    params: Mapping[str, float] = field(default_factory=dict[str, float])
    accuracy_N: FloatArray | None = None


@dataclass(frozen=True)
class _Rows:
    """The columns the baselines read, (N,) each; step_N is 0 throughout where the table has none."""

    fpr_N: FloatArray
    fnr_N: FloatArray
    group_size_N: FloatArray
    step_N: FloatArray

    @property
    def youden_N(self) -> FloatArray:
        return 1.0 - self.fpr_N - self.fnr_N

    @property
    def inputs_KN(self) -> FloatArray:
        return np.stack([self.fpr_N, self.fnr_N, self.group_size_N])

    def where(self, keep_N: NDArray[np.bool_]) -> _Rows:
        return _Rows(
            self.fpr_N[keep_N], self.fnr_N[keep_N], self.group_size_N[keep_N], self.step_N[keep_N]
        )


def forecast_baselines(
    calibration: pd.DataFrame,
    targets: pd.DataFrame,
    *,
    warmup_steps: float,
    source: str = "the table",
) -> tuple[BaselineForecast, ...]:
    """Calibrate every baseline on `calibration` and forecast `targets`, both rows of one run table.

    warmup_steps: over which the learning rate rose linearly from WARMUP_FROM of itself, at least 0.
    Raises InputError for missing columns, cells that are empty or out of range, a negative warm-up.
    """
    if not (np.isfinite(warmup_steps) and warmup_steps >= 0.0):
        raise InputError(f"warmup_steps must be a number of at least 0, got {warmup_steps:g}")
    known, asked = _rows(calibration, source), _rows(targets, source)
    y_N = check_numbers(calibration, "accuracy", high=1.0, source=source)

    def plain(steps: FloatArray) -> FloatArray:
        return steps

    def warmed(steps: FloatArray) -> FloatArray:
        return learning_rate_clock(steps, warmup_steps)

    laws = (_margin_linear(), _sqrt_margin(), margin_logit(), quadratic(cross=False), quadratic())
    return (
        _no_gap(known, y_N, asked),
        _time_scaled("time-scaled-by-J", "a = clean(J t)", known, y_N, asked, clock=plain),
        _time_scaled(
            "time-scaled-by-J-warmup",
            f"a = clean(u), s(u) = J s(t), s the integral of a learning rate that rises over"
            f" {warmup_steps:g} steps",
            known,
            y_N,
            asked,
            clock=warmed,
        ),
        *(_joint(law, known, y_N, asked) for law in laws),
    )


def learning_rate_clock(steps: FloatArray, warmup_steps: float) -> FloatArray:
    """Steps at full learning rate that `steps` are worth after a linear warm-up; same shape."""
    if warmup_steps == 0.0:
        return steps
    ramp = np.minimum(steps, warmup_steps)
    return steps - ramp + ramp * (WARMUP_FROM + (1.0 - WARMUP_FROM) * ramp / (2.0 * warmup_steps))


def _rows(frame: pd.DataFrame, source: str) -> _Rows:
    need_columns(frame, "fpr", "fnr", "group_size", purpose="a baseline", source=source)
    return _Rows(
        check_numbers(frame, "fpr", high=1.0, source=source),
        check_numbers(frame, "fnr", high=1.0, source=source),
        check_numbers(frame, "group_size", source=source),
        check_numbers(frame, "step", source=source)
        if "step" in frame.columns
        else np.zeros(len(frame)),
    )


def _clean_curves(known: _Rows, y_N: FloatArray) -> dict[float, tuple[FloatArray, FloatArray]]:
    """By group size: the calibrated steps, and the mean accuracy there, of the rows of least noise."""
    least = known.youden_N >= known.youden_N.max() - 1e-9
    curves: dict[float, tuple[FloatArray, FloatArray]] = {}
    for size in np.unique(known.group_size_N[least]):
        rows = least & (known.group_size_N == size)
        steps, place = np.unique(known.step_N[rows], return_inverse=True)
        curves[float(size)] = steps, np.bincount(place, weights=y_N[rows]) / np.bincount(place)
    return curves


def _read_clean(
    known: _Rows,
    y_N: FloatArray,
    asked: _Rows,
    *,
    clock: Callable[[FloatArray], FloatArray],
    pace_N: FloatArray,
) -> FloatArray:
    """clean(u) with clock(u) = pace * clock(t), of each row's group size or the nearest calibrated."""
    curves = _clean_curves(known, y_N)
    sizes = np.array(list(curves))
    apart = np.abs(np.log2(sizes)[:, None] - np.log2(asked.group_size_N))
    nearest_N = sizes[apart.argmin(axis=0)]
    forecast_N = np.empty(len(nearest_N))
    for size, (steps, level) in curves.items():
        rows = nearest_N == size
        at = np.maximum(pace_N[rows], 0.0) * clock(asked.step_N[rows])
        forecast_N[rows] = np.interp(at, clock(steps), level)
    return forecast_N


def _one_step(known: _Rows) -> str:
    """The equation of calibration rows that know one step only; "" where they know several."""
    steps = np.unique(known.step_N)
    return f"step = {steps[0]:g}" if len(steps) == 1 else ""


def _no_gap(known: _Rows, y_N: FloatArray, asked: _Rows) -> BaselineForecast:
    name, formula = "no-gap", "a = clean(t)"
    elsewhere_N = asked.step_N != known.step_N[0]
    if (only := _one_step(known)) and elsewhere_N.any():
        return _refused(name, formula, (only,), elsewhere_N)
    accuracy_N = _read_clean(
        known, y_N, asked, clock=lambda steps: steps, pace_N=np.ones_like(asked.step_N)
    )
    return BaselineForecast(name, formula, "identified", accuracy_N=accuracy_N)


def _time_scaled(
    name: str,
    formula: str,
    known: _Rows,
    y_N: FloatArray,
    asked: _Rows,
    *,
    clock: Callable[[FloatArray], FloatArray],
) -> BaselineForecast:
    """The clean curve read at J times the clock; where J <= 0 nothing moves from the start."""
    only = _one_step(known)
    if only:
        reason = f"{only} in every calibration row: no curve whose time could be rescaled"
        return BaselineForecast(name, formula, "unidentified", reason, (only,))
    least = float(known.youden_N.max())
    if least <= 0.0:
        reason = f"no calibration row has J > 0 (the largest is {least:g}), so none learns"
        return BaselineForecast(name, formula, "unidentified", reason)
    accuracy_N = _read_clean(known, y_N, asked, clock=clock, pace_N=asked.youden_N / least)
    return BaselineForecast(name, formula, "identified", accuracy_N=accuracy_N)


def _margin_linear() -> Law:
    terms = [
        Term("a0", "1", lambda v: np.ones_like(v[0])),
        Term("b", "J", lambda v: 1.0 - v[0] - v[1]),
    ]
    return linear_law("margin-linear", "a = a0 + b J", terms, inputs=("fpr", "fnr"), logit=False)


def _sqrt_margin() -> Law:
    """Where J < 0 its root counts as 0, since the law says nothing there."""
    terms = [
        Term("a0", "1", lambda v: np.ones_like(v[0])),
        Term("b", "sqrt(J)", lambda v: np.sqrt(np.maximum(1.0 - v[0] - v[1], 0.0))),
    ]
    return linear_law(
        "sqrt-margin", "a = a0 + b sqrt(J)", terms, inputs=("fpr", "fnr"), logit=False
    )


def _joint(law: Law, known: _Rows, y_N: FloatArray, asked: _Rows) -> BaselineForecast:
    """One joint law, fitted at every calibrated step and interpolated between steps."""
    steps = np.unique(known.step_N)
    elsewhere_N = asked.step_N != steps[0]
    if (only := _one_step(known)) and elsewhere_N.any():
        return _refused(law.name, law.formula, (only,), elsewhere_N)
    # Which calibrated steps a row lies between, and how far from the first to the second.
    after_N = np.clip(np.searchsorted(steps, asked.step_N), 0, len(steps) - 1)
    before_N = np.maximum(after_N - 1, 0)
    span_N = steps[after_N] - steps[before_N]
    share_N = np.clip(
        np.divide(
            asked.step_N - steps[before_N], span_N, out=np.ones_like(span_N), where=span_N > 0
        ),
        0.0,
        1.0,
    )
    accuracy_N = np.zeros(len(share_N))
    open_N = np.zeros(len(share_N), dtype=np.bool_)
    said: list[str] = []
    params: dict[str, float] = {}
    for place, step in enumerate(steps):
        weight_N = np.where(after_N == place, share_N, 0.0)
        weight_N = weight_N + np.where(before_N == place, 1.0 - share_N, 0.0)
        needed_N = weight_N > 0.0
        if not needed_N.any():
            continue
        here = known.step_N == step
        part = asked.where(needed_N)
        theta_P, held_P, broken_N, equations = _fit(law, known.where(here), y_N[here], part)
        said += [one for one in equations if one not in said]
        open_N[needed_N] |= broken_N
        accuracy_N[needed_N] += weight_N[needed_N] * np.clip(
            law.predict(part.inputs_KN, theta_P[None])[0], 0.0, 1.0
        )
        if len(steps) == 1:
            coefficients = zip(law.names, theta_P.tolist(), held_P, strict=True)
            params = {coefficient: value for coefficient, value, held in coefficients if not held}
    if open_N.any():
        return _refused(law.name, law.formula, tuple(said), open_N)
    return BaselineForecast(
        law.name, law.formula, "identified", params=params, accuracy_N=accuracy_N
    )


def _fit(
    law: Law, known: _Rows, y_N: FloatArray, asked: _Rows
) -> tuple[FloatArray, NDArray[np.bool_], NDArray[np.bool_], list[str]]:
    """theta_P, which of it is aliased and held at 0, which asked rows need it, and the equations why."""
    found = aliases(law, known.inputs_KN)
    design_PN = design_of(law, asked.inputs_KN)
    broken_N = np.zeros(design_PN.shape[1], dtype=np.bool_)
    equations: list[str] = []
    for alias in found:
        holds_N = alias.holds(design_PN)
        if not holds_N.all():
            equations.append(alias.reads)
            broken_N |= ~holds_N
    # What is aliased stays at 0: estimable rows are forecast alike whatever it is held at.
    held_P = np.isin(np.arange(len(law.parameters)), [alias.term for alias in found])
    start_P = np.where(held_P, 0.0, law.starts(known.inputs_KN, y_N)[0])
    solution = solve(law, known.inputs_KN, y_N[None], start_P[None], fixed_RP=held_P[None])
    return solution.theta_RP[0], held_P, broken_N, equations


def _refused(
    name: str, formula: str, aliased: Sequence[str], open_N: NDArray[np.bool_]
) -> BaselineForecast:
    reason = (
        f"{'; '.join(aliased)} in every calibration row, but not in {int(open_N.sum())} of"
        f" the {len(open_N)} rows to forecast"
    )
    return BaselineForecast(name, formula, "unidentified", reason, tuple(aliased))
