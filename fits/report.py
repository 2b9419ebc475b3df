"""What `fit` says of a run table: one law per curve, or one law over error rates, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from fits.each import Each, in_turn
from fits.errors import InputError
from fits.fit import GroupFit, check_loss, fit_groups, group_rows
from fits.inference import Interval
from fits.joint import JOINT_LAWS, SurfaceFit, fit_surface
from fits.laws import CURVE_LAWS
from fits.table import varying

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CurveReport", "FitReport", "fit_report"]


@dataclass(frozen=True)
class CurveReport:
    """One curve, or one group of final accuracies under a joint law.

    params, ci: of the law, by name; an interval is None where `ci_basis` says why. identified, reason: whether
    the data fix the law's asymptote (of a joint law: its coefficients), and if not why; aliased: terms that the
    design cannot tell apart. x_max_over_midpoint: how far the curve reaches, None with a reason for joint laws.
    forecast_rmse: held out, by fraction of the curve in forecast_rmse_by_fraction, or leaving one condition out.
    """

    group: str
    law: str
    formula: str
    loss: str
    params: Mapping[str, float]
    ci: Mapping[str, Interval | None]
    ci_basis: str
    status: str
    message: str
    identified: bool
    reason: str | None
    aliased: tuple[str, ...]
    x_max_over_midpoint: float | None
    x_max_over_midpoint_reason: str | None
    aicc: float | None
    aicc_by_law: Mapping[str, float | None]
    forecast: Literal["held out", "leave one condition out"]
    forecast_rmse: float | None
    forecast_rmse_by_fraction: Mapping[str, float | None]
    rmse: float | None
    rows: int
    runs: int | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class FitReport:
    """Every curve of a run table, by the law asked for.

    x, y: the columns fitted. loss: what was minimised. fitted, frame, group: what figures are drawn from, which
    `plain` leaves out.
    """

    curves: tuple[CurveReport, ...]
    x: str
    y: str
    loss: str
    notes: tuple[str, ...] = ()
    fitted: tuple[GroupFit, ...] | tuple[tuple[str, SurfaceFit], ...] = field(
        default=(), repr=False, metadata={"plain": False}
    )
    rows: Mapping[str, pd.DataFrame] = field(
        default_factory=dict, repr=False, metadata={"plain": False}
    )


def fit_report(
    frame: pd.DataFrame,
    *,
    x: str = "rollouts",
    y: str = "accuracy",
    group: str | None = None,
    law: str = "auto",
    loss: str = "auto",
    source: str = "the table",
    notes: tuple[str, ...] = (),
    each: Each = in_turn,
) -> FitReport:
    """Fit `law` to every curve of a run table, or a joint law to its final accuracies.

    x, y: compute and accuracy columns. group: columns that make a curve, comma-separated (default: the condition;
    of a joint law: the model). law: auto, sigmoid, power, exponential, log, or a joint law of `fits.joint`. loss:
    see `fits.fit.check_loss`. each: what carries out the curves, see `fits.each`.
    Raises InputError naming what is missing, unknown or out of range.
    """
    if law in JOINT_LAWS:
        return _joint(frame, law=law, x=x, y=y, group=group, loss=loss, source=source, notes=notes)
    names = ["auto", *(one.name for one in CURVE_LAWS), *JOINT_LAWS]
    if law not in names:
        raise InputError(f"law {law!r} is none of: {', '.join(names)}")
    fits = fit_groups(frame, x=x, y=y, group=group, law=law, loss=loss, source=source, each=each)
    curves = tuple(
        CurveReport(
            group=one.group,
            law=one.fit.law.name,
            formula=one.fit.law.formula,
            loss=one.fit.loss,
            params=one.fit.params,
            ci=one.fit.ci,
            ci_basis=one.fit.ci_reason,
            status=one.fit.status,
            message=one.fit.message,
            identified=one.fit.identified,
            reason=one.fit.reason or None,
            aliased=(),
            x_max_over_midpoint=one.fit.x_max_over_midpoint,
            x_max_over_midpoint_reason=None,
            aicc=one.fit.aicc,
            aicc_by_law=one.compared,
            forecast="held out",
            forecast_rmse=one.fit.forecast_rmse,
            forecast_rmse_by_fraction=one.fit.forecast,
            rmse=one.fit.rmse,
            rows=one.fit.n,
            runs=len(one.fit.runs),
            notes=one.fit.notes,
        )
        for one in fits
    )
    rows = dict(group_rows(frame, group, source=source))
    return FitReport(curves, x, y, check_loss(frame, loss), notes, tuple(fits), rows)


def _joint(
    frame: pd.DataFrame,
    *,
    law: str,
    x: str,
    y: str,
    group: str | None,
    loss: str,
    source: str,
    notes: tuple[str, ...],
) -> FitReport:
    """One joint law per group of final accuracies."""
    loss_named = check_loss(frame, loss)
    if y in frame.columns:
        frame = frame.assign(accuracy=frame[y])
    # A joint law spans conditions: only the model separates groups, unless --group says otherwise.
    key = group if group is not None else ("model" if varying(frame, ["model"]) else None)
    groups = group_rows(frame, key, source=source) if key else [("all", frame)]
    axis = "group_size" if x == "rollouts" else x
    fits = tuple(
        (label, fit_surface(rows, law=law, axis=axis, loss=loss, source=source))
        for label, rows in groups
    )
    curves = tuple(
        CurveReport(
            group=label,
            law=one.law.name,
            formula=one.law.formula,
            loss=one.loss,
            params=one.params,
            ci=one.ci,
            ci_basis=one.ci_reason,
            status=one.status,
            message=one.message,
            identified=one.identified,
            reason=one.reason or None,
            aliased=tuple(one.aliased),
            x_max_over_midpoint=None,
            x_max_over_midpoint_reason="a joint law has no midpoint",
            aicc=one.aicc,
            aicc_by_law={},
            forecast="leave one condition out",
            forecast_rmse=one.loco_rmse,
            forecast_rmse_by_fraction={},
            rmse=one.rmse,
            rows=one.n,
            runs=None,
            notes=one.notes,
        )
        for label, one in fits
    )
    return FitReport(curves, axis, y, loss_named, notes, fits, dict(groups))
