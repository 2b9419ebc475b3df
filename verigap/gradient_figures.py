"""Measured against exact theory at gradient level, as small multiples."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from fits.figures import Drawing, literal
from verigap.gradient_level import BATCH, REALISED, run_z
from verigap.gradient_real import GRADIENT, WITHIN, ZERO

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

    from verigap.gradient_level import GradientLevel
    from verigap.gradient_real import RealLevel

__all__ = ["draw_gradient_level"]

ARMS: Final = ("clean", "fpr0.4", "fnr0.4", "both0.4", "coin", "trigger0.2")
BLOCK: Final = 25  # steps a point averages over
REAL: Final = ((0.1, 0.0), (0.3, 0.0), (0.0, 0.3), (0.5, 0.5))
LABELS: Final = {
    ZERO: "zero-advantage fraction",
    BATCH: "batch reward variance",
    WITHIN: "group's reward variance",
    GRADIENT: "gradient along the ability",
}


def draw_gradient_level(level: GradientLevel) -> Drawing:
    """Fractions over training, z of every run, and real groups by their number of right rollouts."""
    import seaborn as sns
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    with sns.axes_style("ticks"), sns.plotting_context("paper"):
        heights = [3.9, 3.6] if level.real is None else [3.9, 3.6, 2.4]
        figure = Figure(figsize=(7.2, sum(heights)), layout="constrained")
        parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
        sizes = sorted(int(size) for size in level.table["group_size"].unique())
        palette = sns.color_palette("viridis", len(sizes) + 1)[:-1]
        colours = dict(zip(sizes, palette, strict=True))
        shown = [_curves(parts[0], level.table, colours), _scores(parts[1], level, colours)]
        if level.real is not None:
            shown.append(_real(parts[2], level.real))
        # A subfigure's axes are not the figure's own: all of them are here.
        for axis in figure.findobj(Axes):
            sns.despine(ax=axis)
    return Drawing(figure, pd.concat(shown, ignore_index=True))


def _curves(part: SubFigure, table: pd.DataFrame, colours: dict[int, Any]) -> pd.DataFrame:
    """The fraction over training: points measured, lines expected given R, dots at one pass rate."""
    arms = [arm for arm in ARMS if (table["arm"] == arm).any()]
    axes = part.subplots(2, 3, sharex=True, sharey=True)
    blocks = table[table["arm"].isin(arms)].assign(
        step=(table["step"] - 1) // BLOCK * BLOCK + BLOCK / 2
    )
    means = blocks.groupby(["arm", "group_size", "step"], as_index=False).agg(
        measured=(ZERO, "mean"), theory=(f"{ZERO}_theory", "mean"), one_rate=("one_rate", "mean")
    )
    for axis, arm in zip(axes.flat, arms, strict=False):
        for size, colour in colours.items():
            rows = means[(means["arm"] == arm) & (means["group_size"] == size)]
            style: dict[str, Any] = {"color": colour}
            axis.plot(rows["step"], rows["measured"], "o", markersize=2.6, **style)
            axis.plot(rows["step"], rows["theory"], linewidth=1.1, label=str(size), **style)
            axis.plot(rows["step"], rows["one_rate"], ":", linewidth=1.0, **style)
        axis.set_title(literal(arm), fontsize="small", loc="left", pad=3)
    for axis in axes.flat[len(arms) :]:
        axis.set_visible(False)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    part.legend(
        handles,
        labels,
        title="rollouts",
        fontsize="small",
        title_fontsize="small",
        frameon=False,
        loc="outside right center",
    )
    part.supxlabel(
        f"step (points: measured, {BLOCK} steps; lines: theory given each group's right ones; dotted: one pass rate)",
        fontsize="small",
    )
    part.supylabel(LABELS[ZERO], fontsize="small")
    return means.assign(shows="fraction over training")


def _scores(part: SubFigure, level: GradientLevel, colours: dict[int, Any]) -> pd.DataFrame:
    """z of every run by arm, for the fraction and for the batch's reward variance."""
    table = level.table[~level.table["arm"].str.endswith(REALISED)]
    axes = part.subplots(2, 1, sharex=True)
    z = {name: run_z(table, name) for name in (ZERO, BATCH)}
    arms = sorted(set(z[ZERO]["arm"]) | set(z[BATCH]["arm"]))
    for axis, (name, runs) in zip(axes, z.items(), strict=True):
        _band(axis)
        for number, (size, colour) in enumerate(colours.items()):
            rows = runs[runs["group_size"] == size]
            place = np.array([arms.index(arm) for arm in rows["arm"]], dtype=np.float64)
            # Sizes side by side, seeds of a size one above another.
            place += (number - (len(colours) - 1) / 2) * 0.18
            axis.plot(place, rows["z"], "o", markersize=2.8, color=colour)
        axis.set_ylabel(f"z of a run,\n{LABELS[name]}", fontsize="small")
    axes[-1].set_xticks(range(len(arms)), [literal(arm) for arm in arms], rotation=30, ha="right")
    return pd.concat([runs.assign(shows=f"z of a run, {LABELS[name]}") for name, runs in z.items()])


def _band(axis: Axes) -> None:
    axis.axhspan(-1.96, 1.96, color="0.9", linewidth=0, zorder=0)
    axis.axhline(0.0, color="0.6", linewidth=0.8, zorder=0)


def _real(part: SubFigure, real: RealLevel) -> pd.DataFrame:
    """Real groups by R: points measured with 95 % of chance, lines expected."""
    import seaborn as sns
    from matplotlib.ticker import MaxNLocator

    rows = pd.DataFrame([asdict(row) for row in real.rows])
    rows = rows[rows["independent"] & rows["right"].notna()]
    axes = part.subplots(1, 3)
    palette = sns.color_palette("colorblind", len(REAL))
    kept: list[pd.DataFrame] = []
    for axis, quantity in zip(axes, (ZERO, WITHIN, GRADIENT), strict=True):
        for (fpr, fnr), colour in zip(REAL, palette, strict=True):
            one = rows[(rows["quantity"] == quantity) & (rows["fpr"] == fpr) & (rows["fnr"] == fnr)]
            axis.plot(one["right"], one["theory"], linewidth=1.1, color=colour)
            axis.errorbar(
                one["right"],
                one["measured"],
                yerr=1.96 * one["sd"],
                fmt="o",
                markersize=2.8,
                elinewidth=0.8,
                color=colour,
                label=f"{fpr:g}, {fnr:g}",
            )
            kept.append(one)
        axis.set_ylabel(LABELS[quantity], fontsize="small")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[1].set_xlabel(
        f"right rollouts of {real.group_size}, real groups (points: noise injected; lines: theory)",
        fontsize="small",
    )
    handles, labels = axes[0].get_legend_handles_labels()
    part.legend(
        handles,
        labels,
        title="fpr, fnr",
        fontsize="small",
        title_fontsize="small",
        frameon=False,
        loc="outside right center",
    )
    return pd.concat(kept).assign(shows="real groups by right rollouts")
