"""Measured against exact theory at gradient level, as small multiples."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from empirical.step_law.logged import BATCH, REALISED, run_z
from empirical.step_law.real import GRADIENT, WITHIN, ZERO
from fits.drawing import (
    Colour,
    Drawing,
    blank,
    in_style,
    key_beside,
    literal,
    set_title,
    shades,
    strokes,
)

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


@in_style
def draw_gradient_level(level: GradientLevel) -> Drawing:
    """Fractions over training, z of every run, and real groups by their number of right rollouts."""
    heights = [3.9, 3.6] if level.real is None else [3.9, 3.6, 2.4]
    figure = blank(sum(heights))
    parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
    colours = shades(sorted(int(size) for size in level.table["group_size"].unique()))
    shown = [_curves(parts[0], level.table, colours), _scores(parts[1], level, colours)]
    if level.real is not None:
        shown.append(_real(parts[2], level.real))
    return Drawing(figure, pd.concat(shown, ignore_index=True))


def _curves(part: SubFigure, table: pd.DataFrame, colours: dict[int, Colour]) -> pd.DataFrame:
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
        set_title(axis, arm)
    for axis in axes.flat[len(arms) :]:
        axis.set_visible(False)
    key_beside(part, axes.flat[0], "rollouts")
    part.supxlabel(
        f"step (points: measured, {BLOCK} steps; lines: theory given each group's right ones; dotted: one pass rate)",
        fontsize="small",
    )
    part.supylabel(LABELS[ZERO], fontsize="small")
    return means.assign(shows="fraction over training")


def _scores(part: SubFigure, level: GradientLevel, colours: dict[int, Colour]) -> pd.DataFrame:
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
        set_title(axis, LABELS[name])
    axes[0].set_yticks(range(len(arms)), [literal(arm) for arm in arms])
    part.supxlabel("z of a run (grey: ± 1.96; colours: rollouts, as above)", fontsize="small")
    return pd.concat([runs.assign(shows=f"z of a run, {LABELS[name]}") for name, runs in z.items()])


def _real(part: SubFigure, real: RealLevel) -> pd.DataFrame:
    """Real groups by R: points measured with 95 % of chance, lines expected."""
    from matplotlib.ticker import MaxNLocator

    rows = pd.DataFrame([asdict(row) for row in real.rows])
    rows = rows[rows["independent"] & rows["right"].notna()]
    axes = part.subplots(1, 3)
    drawn = strokes(f"{fpr:g}, {fnr:g}" for fpr, fnr in REAL)
    kept: list[pd.DataFrame] = []
    for axis, quantity in zip(axes, (ZERO, WITHIN, GRADIENT), strict=True):
        for fpr, fnr in REAL:
            name = f"{fpr:g}, {fnr:g}"
            colour, dash = drawn[name]
            one = rows[(rows["quantity"] == quantity) & (rows["fpr"] == fpr) & (rows["fnr"] == fnr)]
            line: dict[str, Any] = {"color": colour, "linestyle": dash, "label": name}
            axis.plot(one["right"], one["theory"], linewidth=1.1, **line)
            axis.errorbar(
                one["right"],
                one["measured"],
                yerr=1.96 * one["sd"],
                fmt="o",
                markersize=2.8,
                elinewidth=0.8,
                color=colour,
            )
            kept.append(one)
        axis.set_ylabel(LABELS[quantity], fontsize="small")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[1].set_xlabel(
        f"right rollouts of {real.group_size}, real groups (points: noise injected; lines: theory)",
        fontsize="small",
    )
    key_beside(part, axes[0], "fpr, fnr")
    return pd.concat(kept).assign(shows="real groups by right rollouts")
