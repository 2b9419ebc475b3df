"""The report's figures, as matplotlib objects with the data they show; nothing is drawn on screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fits import GapReport, GroupFit

__all__ = ["Curves", "accuracy_figure", "forecast_figure", "gap_figure", "palette"]

WIDTH: Final = 8.6  # inches: the report's column


@dataclass(frozen=True)
class Curves:
    """One panel's worth of runs: its heading, the run table and the law fitted to each arm."""

    heading: str
    frame: pd.DataFrame
    fits: Sequence[GroupFit]


def palette(arms: Sequence[str], *, clean: str) -> dict[str, Any]:
    """A colour-blind-safe colour per arm; the clean arm is black."""
    import seaborn as sns

    noisy = [arm for arm in arms if arm != clean]
    return {
        clean: (0.0, 0.0, 0.0),
        **dict(zip(noisy, sns.color_palette("colorblind", len(noisy)), strict=True)),
    }


def _canvas(columns: int, height: float) -> tuple[Figure, list[Axes]]:
    import seaborn as sns
    from matplotlib.figure import Figure

    with sns.axes_style("ticks"), sns.plotting_context("notebook", font_scale=0.9):
        # A figure of our own, not pyplot's: no global state, no window, no warning about open ones.
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.subplots(1, columns, sharey=True, squeeze=False)[0]
    sns.despine(fig=figure)
    return figure, list(axes)


def _thousands(axis: Axes, name: str) -> None:
    from matplotlib.ticker import EngFormatter

    axis.set_xlabel(name)
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))


def accuracy_figure(panels: Sequence[Curves], *, x: str, colours: Mapping[str, Any]) -> Figure:
    """Accuracy against compute by arm: mean and range over seeds, and the fitted law."""
    figure, axes = _canvas(len(panels), 3.7)
    for axis, panel in zip(axes, panels, strict=True):
        fitted = {one.group: one.fit for one in panel.fits}
        for arm, rows in panel.frame.groupby("arm", sort=False):
            name = str(arm)
            at = rows.groupby(x)["accuracy"].agg(["mean", "min", "max"])
            places = at.index.to_numpy(np.float64)
            colour = colours[name]
            axis.fill_between(places, at["min"], at["max"], color=colour, alpha=0.15, linewidth=0)
            fit = fitted.get(name)
            if fit is not None and fit.status in ("converged", "at bound"):
                grid = np.linspace(places.min(), places.max(), 200)
                axis.plot(grid, fit.predict(grid), color=colour, linewidth=1.6)
            axis.plot(places, at["mean"], "o", color=colour, markersize=3.5, label=name)
        axis.set_title(panel.heading, loc="left")
        _thousands(axis, x)
    axes[0].set_ylabel("accuracy (clean verifier)")
    axes[0].legend(frameon=False, loc="lower right")
    return figure


def gap_figure(panels: Sequence[tuple[str, GapReport]], *, colours: Mapping[str, Any]) -> Figure:
    """The paired gap against compute by arm, with 95 % intervals over seeds and the smallest gap of interest."""
    arms = [arm.arm for arm in panels[0][1].arms]
    figure, axes = _canvas(len(arms), 3.5)
    offsets = np.linspace(-1.0, 1.0, len(panels)) if len(panels) > 1 else [0.0]
    markers = ("o", "s", "^")
    means = [p.gap for _, report in panels for arm in report.arms for p in arm.curve]
    room = max(0.05, max((abs(value) for value in means), default=0.05))
    for axis, name in zip(axes, arms, strict=True):
        for (label, report), offset, marker in zip(panels, offsets, markers, strict=False):
            arm = next((one for one in report.arms if one.arm == name), None)
            if arm is None:
                continue
            places = np.array([point.x for point in arm.curve])
            shift = offset * 0.006 * places.max()
            gaps = np.array([point.gap for point in arm.curve])
            half = np.array(
                [
                    0.0 if point.ci is None else (point.ci[1] - point.ci[0]) / 2
                    for point in arm.curve
                ]
            )
            measured = marker == "o"
            axis.errorbar(
                places + shift,
                gaps,
                yerr=half,
                fmt=marker,
                markersize=4,
                color=colours[name],
                markerfacecolor=colours[name] if measured else "white",
                elinewidth=0.9,
                alpha=1.0 if measured else 0.75,
                label=label,
            )
        axis.axhline(0.0, color="0.6", linewidth=0.8, zorder=0)
        delta = panels[0][1].delta
        axis.axhline(delta, color="0.3", linewidth=0.9, linestyle="--", zorder=0)
        axis.annotate(
            f"δ = {delta:g}",
            (1.0, delta),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize="small",
            color="0.3",
        )
        axis.set_title(name, loc="left")
        _thousands(axis, panels[0][1].x)
    axes[0].legend(
        loc="upper left", fontsize="small", frameon=True, framealpha=0.9, edgecolor="none"
    )
    # Few seeds make intervals many times the gap: the axis shows the gap, and intervals run off it.
    axes[0].set_ylim(-1.5 * room, 2.2 * room)
    axes[0].set_ylabel("accuracy gap, clean − noisy")
    return figure


def forecast_figure(frame: pd.DataFrame, *, colours: Mapping[str, Any]) -> Figure:
    """Predicted against measured accuracy; `frame` has arm, measured, predicted and half (a 95 % half-width)."""
    figure, (axis,) = _canvas(1, 4.2)
    low = float(min(frame["measured"].min(), frame["predicted"].min())) - 0.03
    high = float(max(frame["measured"].max(), frame["predicted"].max())) + 0.03
    axis.plot([low, high], [low, high], color="0.6", linewidth=0.9, zorder=0)
    for arm, rows in frame.groupby("arm", sort=False):
        axis.errorbar(
            rows["predicted"],
            rows["measured"],
            yerr=rows["half"],
            fmt="o",
            markersize=4,
            elinewidth=0.9,
            color=colours[str(arm)],
            label=str(arm),
        )
    axis.set_xlim(low, high)
    axis.set_ylim(low, high)
    axis.set_aspect("equal")
    axis.set_xlabel("accuracy predicted by the simulator")
    axis.set_ylabel("accuracy measured")
    axis.legend(frameon=False, loc="upper left")
    return figure
