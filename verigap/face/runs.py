"""Logged runs: read, fit, held against their clean arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from fits import GapReport, RunTable, gap_report, parse_assignments
from fits import read_runs as read_table
from fits.each import Each, in_turn
from fits.plain import counted
from fits.report import FitReport, fit_report
from fits.selection import Selection
from verigap.face.base import (
    RunsLike,
    Shown,
    Words,
    as_shown,
    frame_of,
    listed,
    selection_of,
    table_of,
    verb,
)

if TYPE_CHECKING:
    from fits.drawing import Axes, Drawing


@dataclass(frozen=True, repr=False)
class Runs(Shown, RunTable):
    """A checked run table."""

    def plain(self) -> dict[str, Any]:  # noqa: D102
        return {
            "format": self.format,
            "rows": len(self.frame),
            "runs": int(self.frame["run_id"].nunique()),
            "columns": [str(name) for name in self.frame.columns],
            "notes": list(self.notes),
        }

    def to_frame(self) -> pd.DataFrame:  # noqa: D102
        return self.frame

    def headline(self) -> str:  # noqa: D102
        return f"{self.source}: {counted(len(self.frame), 'row')} of {counted(self.frame['run_id'].nunique(), 'run')}"

    def remarks(self) -> Sequence[str]:  # noqa: D102
        return self.notes


@verb
def read_runs(
    path: str | Path,
    *,
    format: str = "auto",
    metric: str | None = None,
    manifest: str | Path | None = None,
    map: Words = None,
    set: Words = None,
    where: Words = None,
    runs_from: str | None = None,
    scale: float | None = None,
) -> Runs:
    """Read a table, a log, a run folder or a folder of run folders as one checked run table.

    path: what RUNS is on the command line. format: see `fits.FORMATS`; "auto" recognises it. metric: which logged
    value is the accuracy, of several. manifest: a YAML file, run -> columns. map: "accuracy=final,run_id=name"
    copies columns; set: "n_eval=256" fills them; where: "fpr=0,step>=50" keeps rows (a list: any may hold). runs_from:
    columns from the runs' names, "{arm}-seed{seed}".
    scale: what accuracies are divided by (100 of per cent).
    Returns the table, one row per evaluation, columns and units as docs/contract.md says (accuracy in [0, 1]).
    Raises UserError naming file, row, column and value.
    Source: docs/contract.md#the-run-table.
    """
    table = read_table(
        Path(path),
        format=format,
        metric=metric,
        manifest=None if manifest is None else Path(manifest),
        columns=parse_assignments(listed(map), option="--map"),
        constants=parse_assignments(listed(set), option="--set"),
        where=listed(where),
        runs_from=runs_from,
        scale=scale,
    )
    return as_shown(Runs, table)


@dataclass(frozen=True, repr=False)
class Fits(Shown, FitReport):
    """One law per curve, or a joint law; see `fits.report.FitReport`."""

    def to_frame(self) -> pd.DataFrame:
        """A row per curve: law, asymptote with interval, what is identified and why not."""
        rows: list[dict[str, Any]] = []
        for one in self.curves:
            low, high = one.ci.get("asymptote") or (None, None)
            rows.append(
                {
                    "group": one.group,
                    "law": one.law,
                    "asymptote": one.params.get("asymptote") if one.identified else None,
                    "low": low if one.identified else None,
                    "high": high if one.identified else None,
                    "identified": one.identified,
                    "x_max_over_midpoint": one.x_max_over_midpoint,
                    "forecast_rmse": one.forecast_rmse,
                    "rmse": one.rmse,
                }
            )
        return pd.DataFrame(rows)

    def headline(self) -> str:  # noqa: D102
        return f"{self.y} against {self.x}; loss: {self.loss}"

    def remarks(self) -> Sequence[str]:  # noqa: D102
        return [f"{one.group}: {one.reason}." for one in self.curves if one.reason]

    def plot(self, ax: Axes | None = None, *, each: Each = in_turn) -> Drawing:
        """Measured accuracies and fitted curves; `fits.figures.draw_fits`, or `draw_surface` of a joint law.

        ax: an axes whose place in its figure the picture takes; None: a figure of its own. each: see `fit`.
        """
        from fits.drawing import in_place_of
        from fits.figures import draw_report

        with in_place_of(ax):
            return draw_report(self, each=each)


@verb
def fit(
    runs: RunsLike,
    *,
    group: str | None = None,
    x: str = "rollouts",
    y: str = "accuracy",
    law: str = "auto",
    loss: str = "auto",
    where: Words = None,
    each: Each = in_turn,
) -> Fits:
    """Fit a scaling law to each curve of accuracy against compute, or a joint law over error rates.

    runs: a run table, a data frame of one, or a path. group: columns that make a curve, comma-separated (default:
    the condition). x: the compute column, numbers of at least 0. y: the column fitted, in [0, 1]. law: auto,
    sigmoid, power, exponential, log, margin-logit or quadratic. loss: least-squares, huber, binomial,
    beta-binomial or auto. where: rows to keep. each: what carries out the curves, see `fits.each`.
    Returns parameters with 95 % intervals over seeds, and whether the data identify the asymptote.
    Raises UserError naming a missing column, a cell out of range, an unknown law.
    Source: docs/references.md#scaling-laws; arXiv 2510.13786 and 2404.10102 for the laws and losses.
    """
    table = table_of(runs, where)
    report = fit_report(
        table.frame,
        x=x,
        y=y,
        group=group,
        law=law,
        loss=loss,
        source=table.source,
        notes=tuple(table.notes),
        each=each,
    )
    return as_shown(Fits, report)


@dataclass(frozen=True, repr=False)
class Gap(Shown, GapReport):
    """The paired gap of every arm; see `fits.gap.GapReport`."""

    def to_frame(self) -> pd.DataFrame:
        """A row per arm, in the order of the report; intervals as two columns."""
        return frame_of(self.arms)

    def headline(self) -> str:  # noqa: D102
        return f"Accuracy lost to the verifier, against {self.x}; smallest gap of interest {self.delta:g}"

    def remarks(self) -> Sequence[str]:  # noqa: D102
        return self.notes

    def __repr__(self) -> str:
        from fits.gap import verdict_in_words

        def told(value: float | None, ci: tuple[float, float] | None) -> str:
            ends = "" if ci is None else " [{:+.3f}, {:+.3f}]".format(*ci)
            return "–" if value is None else f"{value:+.4f}{ends}"

        table = pd.DataFrame(
            {
                "arm": arm.arm,
                "verdict": verdict_in_words(arm.verdict, arm.basis),
                "gap at the end": told(arm.end, arm.end_ci),
                "its last doubling": told(arm.trend, arm.trend_ci),
                "floor": told(arm.floor, arm.floor_ci) if arm.horizon == "asymptote" else "–",
                "seeds": arm.seeds,
            }
            for arm in self.arms
        )
        text = table.to_string(index=False)
        return "\n".join([self.headline(), text, *self.remarks()])

    def plot(self, ax: Axes | None = None) -> Drawing:
        """The gap against compute, by arm; `fits.figures.draw_gap`. ax: an axes whose place it takes."""
        from fits.drawing import in_place_of
        from fits.figures import draw_gap

        with in_place_of(ax):
            return draw_gap(self)


@verb
def gap(
    runs: RunsLike,
    *,
    clean: Words | Selection = None,
    delta: float = 0.01,
    x: str = "rollouts",
    group: str | None = None,
    law: str = "auto",
    loss: str = "auto",
    frontier: bool = False,
    where: Words = None,
) -> Gap:
    """Whether each noisy arm's accuracy gap closes with compute, persists, or is undetermined.

    runs: a run table, a data frame of one, or a path. clean: which rows are the clean arm (default
    "fpr=0,fnr=0"). delta: smallest gap of interest, accuracy in (0, 1). x: the compute column. group: columns
    that make an arm, comma-separated. law, loss: see `fit`. frontier: also compare arms at their best group
    sizes, at each budget. where: rows to keep.
    Returns accuracies lost (clean minus noisy, in [-1, 1]) with 95 % intervals over matched seeds, a verdict an
    arm, the false-positive against false-negative test and the exchange rate.
    Raises UserError naming a missing column, a delta outside (0, 1), the lack of a clean arm.
    Source: docs/theory.md#rate-or-fate.
    """
    reference = selection_of("clean", "fpr=0,fnr=0" if clean is None else clean)
    table = table_of(runs, where)
    report = gap_report(
        table.frame,
        clean=reference,
        delta=delta,
        x=x,
        group=group,
        law=law,
        loss=loss,
        frontier=frontier,
        source=table.source,
    )
    return as_shown(Gap, report)
