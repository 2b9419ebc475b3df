"""The figures that belong to neither package alone: predicted against measured."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from fits.figures import Drawing
    from verigap.validation import Report, Validation

__all__ = ["draw_validation", "forecast_figure"]

MOST_PANELS: Final = 24  # curves of more groups are drawn as points about the diagonal
SCORES: Final = 3.0  # inches: the panel of RMSEs


def forecast_figure(frame: pd.DataFrame, *, clean: str) -> Figure:
    """Forecast curves through the measured points, and every point against its forecast.

    frame: arm, rollouts, measured, predicted and half (95 % half-width of the sampling noise), one row
    per arm and step. clean: the arm the simulator was calibrated to, drawn black.
    """
    import seaborn as sns
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    from fits.figures import literal

    with sns.axes_style("ticks"), sns.plotting_context("paper"):
        # A figure of our own, not pyplot's: no global state, no window, no warning about open ones.
        figure = Figure(figsize=(7.0, 3.3), layout="constrained")
        curves, scatter = figure.subplots(1, 2, width_ratios=[1.25, 1.0])
    sns.despine(fig=figure)
    arms = [str(arm) for arm in frame["arm"].unique()]
    noisy = [arm for arm in arms if arm != clean]
    colours = {clean: (0.1, 0.1, 0.1)}
    colours |= dict(zip(noisy, sns.color_palette("colorblind", len(noisy)), strict=True))
    for arm, rows in frame.groupby("arm", sort=False):
        colour = colours[str(arm)]
        bars = {
            "yerr": rows["half"],
            "fmt": "o",
            "markersize": 3,
            "elinewidth": 0.8,
            "color": colour,
        }
        label = literal(f"{arm} (calibrated on it)" if arm == clean else str(arm))
        curves.errorbar(rows["rollouts"], rows["measured"], **bars, label=label)
        curves.plot(rows["rollouts"], rows["predicted"], color=colour, linewidth=1.2)
        scatter.errorbar(rows["predicted"], rows["measured"], **bars)
    values = frame[["measured", "predicted"]].to_numpy()
    ends = np.array([values.min() - 0.03, values.max() + 0.03])
    scatter.plot(ends, ends, color="0.6", linewidth=0.9, zorder=0)
    scatter.set_aspect("equal")
    scatter.set_xlabel("accuracy predicted")
    scatter.set_ylabel("accuracy measured")
    curves.set_xlabel("rollouts")
    curves.set_ylabel("accuracy")
    curves.xaxis.set_major_formatter(EngFormatter(sep=""))
    curves.legend(frameon=False, loc="lower right", fontsize="small")
    return figure


def draw_validation(validation: Validation) -> Drawing:
    """Forecasts with their 90 % intervals and the measurements, beside the RMSE of every forecast.

    Curves get a panel per group; final accuracies, and curves of more than MOST_PANELS groups, are
    points about the diagonal.
    """
    import seaborn as sns
    from matplotlib.figure import Figure

    from fits.figures import WIDTH, Drawing

    report, rows = validation.report, validation.forecasts
    panels = len(report.by_group) if report.kind == "curves" else 1
    across = min(3, panels)
    down = -(-panels // across) if panels <= MOST_PANELS else 1
    with sns.axes_style("ticks"), sns.plotting_context("paper"):
        height = max(SCORES, 1.35 * down + 0.5)
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        halves: Any = figure.subfigures(1, 2, width_ratios=[1.6, 1.0])
        left, right = halves
        if report.kind == "curves" and panels <= MOST_PANELS:
            _curve_panels(left, validation, across=across, down=down)
        else:
            _diagonal(left, rows)
        # The scores keep their height beside a tall stack of panels.
        scores, below = right.subplots(2, 1, height_ratios=[SCORES, height - SCORES + 1e-3])
        below.set_axis_off()
        _scores(scores, report)
    sns.despine(fig=figure)
    shown = ["group", "run_id", "step", "fpr", "fnr", "group_size", "accuracy", "forecast"]
    names = [name for name in report.baselines if name in rows.columns]
    kept = [name for name in (*shown, "low90", "high90", *names) if name in rows.columns]
    summary: list[dict[str, Any]] = [
        {"shows": "RMSE", "group": "all", "of": "verigap", "rmse": report.rmse},
        *(
            {"shows": "RMSE", "group": "all", "of": name, "rmse": one.rmse, "note": one.reason}
            for name, one in report.baselines.items()
        ),
        {"shows": "RMSE", "group": "all", "of": "noise floor", "rmse": report.noise_floor},
    ]
    return Drawing(
        figure, pd.concat([rows[kept].assign(shows="forecast row"), pd.DataFrame(summary)])
    )


def _curve_panels(part: SubFigure, validation: Validation, *, across: int, down: int) -> None:
    """One panel a group: the 90 % band, the forecast, the best baseline, the measurements."""
    import seaborn as sns

    from fits.figures import literal
    from fits.table import varying

    report, rows = validation.report, validation.forecasts
    axes = part.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    blue = sns.color_palette("colorblind")[0]
    best = report.best_baseline
    conditions = ["fpr", "fnr", "group_size", "prompts_per_step", "noise", "estimator"]
    for axis, (label, score) in zip(axes.flat, report.by_group.items(), strict=False):
        mine = rows[rows["group"] == label]
        axis.plot(mine["step"], mine["accuracy"], "o", color="0.15", markersize=1.8, zorder=3)
        by = varying(mine, conditions) or ["group_size"]
        for _, one in mine.groupby(by, sort=False, dropna=False):
            columns = ["forecast", "low90", "high90", *([best] if best else [])]
            at = one.groupby("step")[columns].mean()
            axis.fill_between(
                at.index, at["low90"], at["high90"], color=blue, alpha=0.22, linewidth=0
            )
            axis.plot(at.index, at["forecast"], color=blue, linewidth=1.2)
            if best is not None:
                axis.plot(at.index, at[best], color="0.5", linewidth=0.9, linestyle=(0, (3, 2)))
        title = literal(textwrap.shorten(label, 24))
        axis.set_title(f"{title} ({score.rmse:.3f})", fontsize="small", loc="left", pad=3)
    for axis in list(axes.flat)[len(report.by_group) :]:
        axis.set_visible(False)
    # Where the last row is short, the lowest panel of a column shows the steps.
    for column in range(across):
        lowest = [axis for axis in axes[:, column] if axis.get_visible()][-1]
        lowest.tick_params(labelbottom=True)
    part.supxlabel("step (in brackets: RMSE of the forecast)", fontsize="medium")
    part.supylabel("accuracy", fontsize="medium")
    handles: list[tuple[Any, str]] = [
        (axes[0, 0].lines[0], "measured"),
        (axes[0, 0].lines[1], "forecast, 90 %"),
    ]
    if best is not None:
        handles.append((axes[0, 0].lines[2], best))
    part.legend(
        [handle for handle, _ in handles],
        [name for _, name in handles],
        loc="outside upper center",
        ncols=3,
        frameon=False,
        fontsize="small",
    )


def _diagonal(part: SubFigure, rows: pd.DataFrame) -> None:
    """Measured against forecast, each with the interval about its forecast, coloured by J."""
    axis = part.subplots()
    youden = 1.0 - rows["fpr"] - rows["fnr"]
    axis.errorbar(
        rows["forecast"],
        rows["accuracy"],
        xerr=np.stack([rows["forecast"] - rows["low90"], rows["high90"] - rows["forecast"]]).clip(
            0.0
        ),
        fmt="none",
        ecolor="0.75",
        elinewidth=0.7,
        zorder=1,
    )
    points = axis.scatter(
        rows["forecast"], rows["accuracy"], c=youden, cmap="viridis", s=14, zorder=3, linewidths=0
    )
    values = rows[["accuracy", "forecast"]].to_numpy()
    ends = np.array([values.min() - 0.03, values.max() + 0.03])
    axis.plot(ends, ends, color="0.3", linewidth=0.8, zorder=2)
    axis.set_aspect("equal", adjustable="datalim")
    axis.set_xlabel("accuracy forecast, 90 %")
    axis.set_ylabel("accuracy measured")
    part.colorbar(points, ax=axis, label="J = 1 − fpr − fnr", shrink=0.8)


def _scores(axis: Axes, report: Report) -> None:
    """RMSE of every forecast, the noise floor as a line, unidentified baselines in words."""
    import seaborn as sns

    from fits.figures import mark_level

    names = ["verigap", *report.baselines]
    values = [report.rmse, *(one.rmse for one in report.baselines.values())]
    for place, (name, value) in enumerate(zip(names, values, strict=True)):
        y = len(names) - 1 - place
        if value is None:
            axis.text(
                0.05,
                y,
                "unidentified",
                va="center",
                fontsize="small",
                style="italic",
                color="0.35",
                backgroundcolor="white",
                transform=axis.get_yaxis_transform(),
            )
            continue
        colour = sns.color_palette("colorblind")[0] if name == "verigap" else "0.45"
        axis.plot([0.0, value], [y, y], color=colour, linewidth=1.0)
        axis.plot([value], [y], "o", color=colour, markersize=4.5)
    if report.noise_floor is not None:
        mark_level(axis, report.noise_floor, "noise floor")
    axis.set_xlim(0.0, 1.08 * max(value for value in values if value is not None))
    axis.set_ylim(-0.6, len(names) - 0.4)
    axis.set_yticks(range(len(names)), ["\n".join(textwrap.wrap(name, 18)) for name in names[::-1]])
    axis.set_xlabel("RMSE")
