"""Figures of the simulator: the phase diagram, and the curves of a simulated study."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fits.figures import literal
from fits.files import replacing

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from empirical.simulate import Arm, Panel
    from theory.phase import Phase

__all__ = ["phase_figure", "save_figure", "study_figure"]


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure as `path`'s suffix says; a reader sees the old file or the new one whole."""
    with replacing(path) as part:
        figure.savefig(part, dpi=150, bbox_inches="tight")


def phase_figure(phase: Phase) -> Figure:
    """Slowdown over (fpr, fnr), one panel per group size, up to the line where verdicts say nothing."""
    import seaborn as sns
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    count = phase.group_size.size
    with sns.axes_style("ticks"), sns.plotting_context("notebook", font_scale=0.9):
        figure = Figure(figsize=(3.4 * count + 1.0, 3.6), layout="constrained")
        axes = figure.subplots(1, count, sharex=True, sharey=True, squeeze=False)[0]
        levels = [1.2, 1.5, 2, 3, 5, 10, 20]
        # The colours are pale where little is lost.
        inks = ["0.2" if level < 4 else "w" for level in levels]
        shown = np.where(
            np.isfinite(phase.slowdown) & (phase.slowdown < 1e3), phase.slowdown, np.nan
        )
        mesh = None
        for axis, size, slow in zip(axes, phase.group_size, shown, strict=True):
            # Cells know no diagonal: the slowest colour runs on beneath the grey, and that ends at J = 0.
            mesh = axis.pcolormesh(
                phase.fpr,
                phase.fnr,
                np.nan_to_num(slow, nan=1e3).T,
                norm=LogNorm(1, 30),
                cmap="mako_r",
                shading="nearest",
            )
            if min(phase.youden.shape) > 1:
                lines = axis.contour(
                    phase.fpr, phase.fnr, slow.T, levels, colors=inks, linewidths=0.8
                )
                axis.clabel(lines, fmt="%g×", fontsize=7)
            corner = np.array([-1.0, 2.0])
            axis.fill_between(corner, 1.0 - corner, 3.0, color="0.85", lw=0, zorder=2.5)
            axis.plot(corner, 1.0 - corner, color="crimson", lw=1.5, zorder=2.6)
            axis.set(
                title=f"{size} rollouts",
                xlabel="false-positive rate",
                xlim=_limits(phase.fpr),
                ylim=_limits(phase.fnr),
            )
        axes[0].set_ylabel("false-negative rate")
        figure.suptitle(
            f"Steps from pass rate {phase.start:g} to {phase.target:g}, over the clean verifier's; "
            "beyond the red line (J = 0) training unlearns",
            fontsize=9,
        )
        if mesh is not None:
            figure.colorbar(mesh, ax=list(axes), label="slowdown", extend="max")
    return figure


def _limits(grid: np.ndarray) -> tuple[float, float]:
    """The grid's range; a little around a grid of one point."""
    low, high = float(grid.min()), float(grid.max())
    return (low, high) if high > low else (low - 0.05, high + 0.05)


_LABELS = {
    "step": "optimiser step",
    "group_size": "rollouts per prompt",
    "snr": "signal-to-noise, per group",
    "entropy": "entropy, nats",
    "marginal_fpr": "false-positive rate met",
}


@dataclass(frozen=True)
class _Style:
    """How an arm is drawn."""

    colour: tuple[float, float, float]
    line: str | tuple[float, tuple[float, ...]]


def _styles(names: Sequence[str], arms: Sequence[Arm]) -> dict[str, _Style]:
    """The style of each arm named: a colour and a line each, shared as the arms say."""
    import seaborn as sns

    of = {arm.name: arm for arm in arms}
    colour_of = {name: (of[name].colour if name in of else None) or name for name in names}
    dash_of = {name: (of[name].dash if name in of else None) or "" for name in names}
    colours, dashes = (list(dict.fromkeys(labels.values())) for labels in (colour_of, dash_of))
    palette = dict(zip(colours, sns.color_palette("colorblind", len(colours)), strict=True))
    styles: dict[str, _Style] = {}
    for name in names:
        turn = dashes.index(dash_of[name])
        # Dashes of different colours begin at different places, so that curves that coincide all show.
        begin = 3.0 * colours.index(colour_of[name])
        gaps = [(), (3.0, 6.0), (1.0, 2.0), (5.0, 2.0, 1.0, 2.0)][turn % 4]
        styles[name] = _Style(palette[colour_of[name]], (begin, gaps) if gaps else "-")
    return styles


def study_figure(
    table: pd.DataFrame, panels: Sequence[Panel], *, arms: Sequence[Arm] = (), about: str = ""
) -> Figure:
    """One panel each: a curve per arm, means over seeds (and their range over x that seeds share).

    arms: those of the study, for the colours and dashes they share.
    """
    import seaborn as sns
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(table["arm"]))
    with sns.axes_style("ticks"), sns.plotting_context("notebook", font_scale=0.9):
        figure = Figure(figsize=(4.6 * len(panels) + 0.6, 3.8), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, panel in zip(axes, panels, strict=True):
            if panel.at == "all":
                _curves(axis, table, panel, _styles(panel.arms or names, arms))
            else:
                _points(axis, table, panel)
            axis.set(
                xlabel=_LABELS.get(panel.x, panel.x.replace("_", " ")),
                ylabel=_LABELS.get(panel.y, panel.y.replace("_", " ")),
                title=literal(panel.title),
            )
            if panel.log_x:
                axis.set_xscale("log", base=2)
                axis.xaxis.set_major_formatter("{x:g}")
            if panel.log_y:
                axis.set_yscale("log", base=2)
                axis.yaxis.set_major_formatter("{x:g}")
            if panel.mark_y is not None:
                axis.axhline(panel.mark_y, color="0.6", lw=0.8, ls=":", zorder=0)
            if panel.arms is not None:
                axis.legend(frameon=False, fontsize=8, handlelength=3.5)
        if panels[-1].arms is None:
            # Beside the panels that share it: a dozen arms would cover any curve.
            axes[-1].legend(
                frameon=False,
                fontsize=8,
                handlelength=3.5,
                loc="upper left",
                bbox_to_anchor=(1.0, 1.0),
            )
        sns.despine(fig=figure)
        if about:
            figure.suptitle(
                literal("\n".join(textwrap.wrap(about, 62 * len(panels), break_on_hyphens=False))),
                fontsize=9,
            )
    return figure


def _curves(axis: Axes, table: pd.DataFrame, panel: Panel, styles: dict[str, _Style]) -> None:
    for arm, style in styles.items():
        by_step = table[table["arm"] == arm].groupby("step")
        x, y = by_step[panel.x].mean(), by_step[panel.y].mean()
        colour = style.colour
        axis.plot(x, y, color=colour, ls=style.line, label=literal(arm), lw=1.6)
        if panel.x in ("step", "rollouts"):
            low, high = by_step[panel.y].min(), by_step[panel.y].max()
            axis.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)


def _points(axis: Axes, table: pd.DataFrame, panel: Panel) -> None:
    import seaborn as sns

    after_start = table[table["step"] > 0]
    ordered = after_start.sort_values("step", kind="stable").groupby("run_id", sort=False)
    rows = ordered.tail(1) if panel.at == "last" else ordered.head(1)
    key = "series" if "series" in rows.columns else "arm"
    names = [name for name in dict.fromkeys(table[key]) if name in set(rows[key])]
    for name, colour in zip(names, sns.color_palette("colorblind", len(names)), strict=True):
        at = rows[rows[key] == name].groupby(panel.x)[panel.y]
        mean = at.mean()
        axis.plot(mean.index, mean, "o-", color=colour, label=literal(name), lw=1.6, ms=4)
    if panel.root_guide:
        x = np.sort(rows.loc[rows[panel.x] > 0, panel.x].unique()).astype(np.float64)
        # Below every curve, so that it hides none.
        low = 0.8 * float(rows.groupby([key, panel.x])[panel.y].mean().min())
        label = f"like the root of {_LABELS.get(panel.x, panel.x)}"
        axis.plot(x, low * np.sqrt(x / x[:1]), "--", color="0.6", lw=1.0, label=label, zorder=0)
