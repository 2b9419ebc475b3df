"""Mean accuracy of every condition along compute, for who has no clean arm to hold it against.

Law. Runs of one condition are replicates: at a budget the mean over those evaluated there, its interval Student's t
over runs, None with one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fits.fit import group_rows
from fits.inference import Interval, student_interval
from fits.table import check_numbers, need_columns

__all__ = ["CurvePoint", "MeanCurve", "mean_curves"]


@dataclass(frozen=True)
class CurvePoint:
    """The mean accuracy of a condition at budget x, in [0, 1], with its 95 % interval over runs (None with one)."""

    x: float
    accuracy: float
    ci: Interval | None
    runs: int


@dataclass(frozen=True)
class MeanCurve:
    """One condition, its points in order of x."""

    group: str
    points: tuple[CurvePoint, ...]


def mean_curves(
    frame: pd.DataFrame, x: str, *, group: str | None = None, source: str = "the table"
) -> tuple[MeanCurve, ...]:
    """The mean curve of every condition of a run table, in order of appearance; see `fits.fit.group_rows`.

    Raises InputError where there is no column x, or a cell of it is no number.
    """
    need_columns(frame, x, purpose="accuracy against compute", source=source)
    frame = frame.assign(**{x: check_numbers(frame, x, source=source)})
    curves: list[MeanCurve] = []
    for label, rows in group_rows(frame, group, source=source):
        points: list[CurvePoint] = []
        for at, here in rows.groupby(x):
            values = here.groupby("run_id")["accuracy"].mean().to_numpy(np.float64)
            mean, ci = student_interval(values)
            kept = None if ci is None else (max(ci[0], 0.0), min(ci[1], 1.0))
            points.append(CurvePoint(float(str(at)), mean, kept, len(values)))
        curves.append(MeanCurve(label, tuple(points)))
    return tuple(curves)
