"""Relative speed as probed against as measured, and effective rollouts against theory's."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fits.drawing import Drawing, blank, in_style, key_beside, set_title, shades

if TYPE_CHECKING:
    from paper.probe import ProbeCheck

__all__ = ["draw_probe"]


@in_style
def draw_probe(check: ProbeCheck) -> Drawing:
    """Speeds at steps 10 and 20 with standard errors; effective rollouts measured and by phi^2, both ways."""
    figure = blank(3.1)
    axes = figure.subplots(1, 3, width_ratios=(1.15, 1.0, 1.0))
    speeds = pd.DataFrame([asdict(one) for one in check.compared])
    colours = shades(sorted(int(size) for size in speeds["group_size"].unique()))
    ends = (float(speeds["probe"].min()) - 0.05, 1.03)
    axes[0].plot(ends, ends, color="0.7", linewidth=0.8, zorder=0)
    for size, colour in colours.items():
        for step, mark in ((10, "o"), (20, "s")):
            rows = speeds[(speeds["group_size"] == size) & (speeds["step"] == step)]
            axes[0].errorbar(
                rows["probe"],
                rows["measured"],
                xerr=rows["probe_se"],
                yerr=rows["measured_se"],
                fmt=mark,
                markersize=3.0,
                elinewidth=0.6,
                color=colour,
                label=str(size) if step == 10 else None,
            )
    axes[0].set_xlabel("speed over clean, probed", fontsize="small")
    axes[0].set_ylabel("measured, steps 10 (o), 20 (□)", fontsize="small")
    set_title(axes[0], "Relative speed")
    worth = pd.DataFrame([asdict(one) for one in check.worth])
    for axis, column, title in (
        (axes[1], "phi2", "Rollouts worth, by φ²"),
        (axes[2], "with_norms", "by φ² with v₀/v₁"),
    ):
        span = np.array([0.06, 40.0])
        axis.plot(span, span, color="0.7", linewidth=0.8, zorder=0)
        for size, colour in colours.items():
            rows = worth[worth["group_size"] == size]
            axis.plot(rows[column] - 1.0, rows["measured"] - 1.0, "o", markersize=3.0, color=colour)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel("theory, beyond the first", fontsize="small")
        set_title(axis, title)
    axes[1].set_ylabel("probed, beyond the first", fontsize="small")
    key_beside(figure, axes[0], "rollouts")
    return Drawing(
        figure,
        pd.concat([speeds.assign(shows="speed"), worth.assign(shows="worth")], ignore_index=True),
    )
