"""Measured against exact theory at gradient level, as small multiples."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from empirical.step_law.logged import BATCH, REALISED, run_z
from empirical.step_law.real import GRADIENT, WITHIN, ZERO
from fits.figures import Drawing, literal

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

    from empirical.step_law.logged import GradientLevel
    from empirical.step_law.real import RealLevel

__all__ = ["draw_gradient_level"]

ARMS: Final = ("clean", "fpr0.4", "fnr0.4", "both0.4", "coin", "trigger0.2")
BLOCK: Final = 25  # steps a point averages over
REAL: Final = ((0.1, 0.0), (0.3, 0.0), (0.0, 0.3), (0.5, 0.5))
LABELS: Final = {
    ZERO: "zero-advantage fraction",
    BATCH: "batch reward variance",
    WITHIN: "group's reward variance",
    GRADIENT: "gradient along ability",
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
    """z of every run by arm, a panel for each quantity that is logged."""
    table = level.table[~level.table["arm"].str.endswith(REALISED)]
    z = {name: run_z(table, name) for name in LABELS}
    z = {name: runs for name, runs in z.items() if len(runs)}
    arms = sorted({arm for runs in z.values() for arm in runs["arm"]}, reverse=True)
    axes = part.subplots(1, len(z), sharey=True, squeeze=False)[0]
    for axis, (name, runs) in zip(axes, z.items(), strict=True):
        axis.axvspan(-1.96, 1.96, color="0.9", linewidth=0, zorder=0)
        axis.axvline(0.0, color="0.6", linewidth=0.8, zorder=0)
        for number, (size, colour) in enumerate(colours.items()):
            rows = runs[runs["group_size"] == size]
            place = np.array([arms.index(arm) for arm in rows["arm"]], dtype=np.float64)
            # Sizes one above another, seeds of a size side by side.
            place -= (number - (len(colours) - 1) / 2) * 0.18
            axis.plot(rows["z"], place, "o", markersize=2.8, color=colour)
        axis.set_title(LABELS[name], fontsize="small", loc="left", pad=3)
    axes[0].set_yticks(range(len(arms)), [literal(arm) for arm in arms])
    part.supxlabel("z of a run (grey: ± 1.96; colours: rollouts, as above)", fontsize="small")
    return pd.concat([runs.assign(shows=f"z of a run, {LABELS[name]}") for name, runs in z.items()])


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
