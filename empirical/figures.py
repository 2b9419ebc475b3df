"""The figures that belong to neither package alone: predicted against measured."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure, SubFigure

    from empirical.demo import Budget
    from empirical.validate.forecast import Validation
    from empirical.validate.score import Report
    from fits.figures import Drawing

__all__ = ["draw_against", "draw_budgets", "draw_curves", "draw_validation"]

MOST_PANELS: Final = 24  # curves of more groups are drawn as points about the diagonal
INKS: Final = {
    "closes": "#1a7f37",
    "persists": "#b42318",
    "undetermined": "#8a5a00",
}  # as in reports
REACH: Final = 0.1  # accuracy: a gap beyond it is written, not drawn
SCORES: Final = 3.0  # inches: the panel of RMSEs
MOST_COLOURS: Final = 6  # conditions within a group, told apart by colour


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


def draw_curves(validation: Validation) -> Figure:
    """Forecast curves with their 90 % bands through the measurements, a panel per group."""
    import seaborn as sns
    from matplotlib.figure import Figure

    from fits.figures import WIDTH

    panels = len(validation.report.by_group)
    across = min(4, panels)
    down = -(-panels // across)
    with sns.axes_style("ticks"), sns.plotting_context("paper"):
        figure = Figure(figsize=(WIDTH, 1.45 * down + 0.9), layout="constrained")
        _curve_panels(figure, validation, across=across, down=down)
    sns.despine(fig=figure)
    return figure


def draw_against(validation: Validation) -> Figure:
    """Measured against forecast, by the model and by the best baseline, and the RMSE of every forecast."""
    import seaborn as sns
    from matplotlib.figure import Figure

    from fits.figures import WIDTH

    report, rows = validation.report, validation.forecasts
    best = report.best_baseline
    shown = [("verigap", "forecast", report.rmse)]
    if best is not None:
        shown.append((best, best, report.baselines[best].rmse or 0.0))
    with sns.axes_style("ticks"), sns.plotting_context("paper"):
        figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
        *panels, scores = figure.subplots(
            1, len(shown) + 1, width_ratios=[1.0] * len(shown) + [0.8]
        )
        every = rows[["accuracy", *(column for _, column, _ in shown)]].to_numpy(np.float64)
        ends = (float(every.min()) - 0.03, float(every.max()) + 0.03)
        youden = 1.0 - rows["fpr"] - rows["fnr"]
        points: list[PathCollection] = []
        for axis, (name, column, rmse) in zip(panels, shown, strict=True):
            axis.plot(ends, ends, color="0.3", linewidth=0.8, zorder=1)
            dots = axis.scatter(rows[column], rows["accuracy"], c=youden, cmap="viridis", s=6)
            dots.set(linewidths=0, zorder=2)
            points.append(dots)
            axis.set(xlim=ends, ylim=ends, xlabel="accuracy forecast")
            axis.set_box_aspect(1.0)
            axis.set_title(f"{name} ({rmse:.3f})", fontsize="small", loc="left", pad=3)
        panels[0].set_ylabel("accuracy measured")
        bar = figure.colorbar(points[0], ax=panels, location="bottom", shrink=0.5, aspect=30)
        bar.set_label("J = 1 − fpr − fnr")
        _scores(scores, report)
        scores.tick_params(axis="y", labelsize="small")
    sns.despine(fig=figure)
    return figure


def draw_budgets(budgets: Sequence[Budget], arms: Sequence[str]) -> Figure:
    """Every arm's gap in the long run, a panel per budget, coloured by verdict; a ring where it was halfway.

    budgets: of `empirical.demo`. arms: from top to bottom.
    """
    import seaborn as sns
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from fits.figures import WIDTH, literal

    place = {name: len(arms) - 1 - i for i, name in enumerate(arms)}
    with sns.axes_style("ticks"), sns.plotting_context("paper"):
        figure = Figure(figsize=(WIDTH, 0.21 * len(arms) + 1.1), layout="constrained")
        axes = figure.subplots(1, len(budgets), sharey=True, squeeze=False)[0]
    for axis, budget in zip(axes, budgets, strict=True):
        for arm in budget.gap.arms:
            if arm.arm not in place:
                continue
            y, ink = place[arm.arm], INKS[arm.verdict]
            halfway = [point.gap for point in arm.curve if point.x == budget.halfway]
            axis.plot(halfway, [y] * len(halfway), "o", color="0.6", markersize=4, fillstyle="none")
            if arm.floor_ci is not None:
                axis.plot(arm.floor_ci, [y, y], color=ink, linewidth=1.5, solid_capstyle="butt")
            if arm.floor <= REACH:
                hollow = arm.basis != "asymptote"
                face = "white" if hollow else ink
                axis.plot([arm.floor], [y], "o", color=ink, markerfacecolor=face, markersize=4)
            else:
                axis.text(
                    REACH,
                    y,
                    f"{arm.floor:.2f} →",
                    color=ink,
                    ha="right",
                    va="center",
                    fontsize="small",
                    backgroundcolor="white",
                )
        axis.axvline(0.0, color="0.2", linewidth=0.7, zorder=0)
        axis.axvline(budget.gap.delta, color="0.4", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        axis.set_xlim(-0.6 * REACH, 1.05 * REACH)
        axis.set_ylim(-0.6, len(arms) - 0.4)
        axis.set_title(
            f"{budget.group_size} rollouts a prompt", fontsize="small", loc="left", pad=3
        )
        axis.grid(axis="y", linewidth=0.4, alpha=0.5)
    axes[0].set_yticks(list(place.values()), [literal(name) for name in place])
    figure.supxlabel("accuracy lost to the verifier, 95 % interval over seeds", fontsize="medium")
    key = [
        Line2D([], [], color=ink, marker="o", markersize=4, linewidth=1.5, label=verdict)
        for verdict, ink in INKS.items()
    ]
    ring: dict[str, Any] = {"marker": "o", "markersize": 4, "fillstyle": "none", "linestyle": ""}
    key += [
        Line2D([], [], color=grey, label=words, **ring)
        for grey, words in (("0.3", "hollow: at the largest budget"), ("0.6", "halfway up"))
    ]
    figure.legend(handles=key, loc="outside upper center", ncols=5, frameon=False, fontsize="small")
    sns.despine(fig=figure)
    return figure


def _curve_panels(
    part: Figure | SubFigure, validation: Validation, *, across: int, down: int
) -> None:
    """One panel a group: the 90 % band, the forecast, the best baseline, the measurements.

    Conditions within a group have a colour each, where they are few enough to be told apart.
    """
    import seaborn as sns
    from matplotlib.lines import Line2D

    from fits.figures import literal
    from fits.table import varying

    report, rows = validation.report, validation.forecasts
    axes = part.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    best = report.best_baseline
    groups = {label: rows[rows["group"] == label] for label in report.by_group}
    named = ["fpr", "fnr", "group_size", "prompts_per_step", "noise", "estimator"]
    within = dict.fromkeys(name for mine in groups.values() for name in varying(mine, named))
    by = list(within) or ["group_size"]
    kinds = sorted(dict(tuple(rows.groupby(by, dropna=False))))
    several = 1 < len(kinds) <= MOST_COLOURS
    blue = sns.color_palette("colorblind")[0]
    shades = sns.color_palette("viridis_r", len(kinds)) if several else [blue] * len(kinds)
    colours = dict(zip(kinds, shades, strict=True))
    for axis, (label, mine) in zip(axes.flat, groups.items(), strict=False):
        for kind, one in mine.groupby(by, dropna=False):
            colour = colours[kind]
            axis.plot(
                one["step"],
                one["accuracy"],
                "o",
                color=colour if several else "0.15",
                markersize=1.8,
                markeredgewidth=0,
                zorder=3,
            )
            columns = ["forecast", "low90", "high90", *([best] if best else [])]
            at = one.groupby("step")[columns].mean()
            axis.fill_between(
                at.index, at["low90"], at["high90"], color=colour, alpha=0.2, linewidth=0
            )
            axis.plot(at.index, at["forecast"], color=colour, linewidth=1.2)
            if best is not None:
                axis.plot(at.index, at[best], color="0.5", linewidth=0.9, linestyle=(0, (3, 2)))
        title = literal(textwrap.shorten(label, 24))
        axis.set_title(
            f"{title} ({report.by_group[label].rmse:.3f})", fontsize="small", loc="left", pad=3
        )
    for axis in list(axes.flat)[len(report.by_group) :]:
        axis.set_visible(False)
    # Where the last row is short, the lowest panel of a column shows the steps.
    for column in range(across):
        lowest = [axis for axis in axes[:, column] if axis.get_visible()][-1]
        lowest.tick_params(labelbottom=True)
    part.supxlabel("step (in brackets: RMSE of the forecast)", fontsize="medium")
    part.supylabel("accuracy", fontsize="medium")
    key = [
        Line2D([], [], color="0.15", marker="o", markersize=3, linestyle="", label="measured"),
        Line2D([], [], color="0.15" if several else blue, linewidth=1.2, label="forecast, 90 %"),
    ]
    if best is not None:
        key.append(Line2D([], [], color="0.5", linewidth=0.9, linestyle=(0, (3, 2)), label=best))
    if several:
        key += [
            Line2D([], [], color=colours[kind], linewidth=3.0, label=literal(_spoken(by, kind)))
            for kind in kinds
        ]
    part.legend(handles=key, loc="outside upper center", ncols=3, frameon=False, fontsize="small")


def _spoken(names: Sequence[str], values: Sequence[object]) -> str:
    """A condition in words: "group_size 8", "fpr 0.2, fnr 0"."""
    said = [format(v, "g") if isinstance(v, int | float) else str(v) for v in values]
    return ", ".join(f"{name} {value}" for name, value in zip(names, said, strict=True))


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
    reach = 1.08 * max(value for value in values if value is not None)
    # Words stand where the line of the noise floor does not.
    right = (report.noise_floor or 0.0) < 0.5 * reach
    for place, (name, value) in enumerate(zip(names, values, strict=True)):
        y = len(names) - 1 - place
        if value is None:
            axis.text(
                0.97 if right else 0.03,
                y,
                "unidentified",
                ha="right" if right else "left",
                va="center",
                fontsize="small",
                style="italic",
                color="0.35",
                transform=axis.get_yaxis_transform(),
            )
            continue
        colour = sns.color_palette("colorblind")[0] if name == "verigap" else "0.45"
        axis.plot([0.0, value], [y, y], color=colour, linewidth=1.0)
        axis.plot([value], [y], "o", color=colour, markersize=4.5)
    if report.noise_floor is not None:
        mark_level(axis, report.noise_floor, "noise floor")
    axis.set_xlim(0.0, reach)
    axis.set_ylim(-0.6, len(names) - 0.4)
    axis.set_yticks(range(len(names)), ["\n".join(textwrap.wrap(name, 18)) for name in names[::-1]])
    axis.set_xlabel("RMSE")
