"""Harm of learnable-errors' arms against what told it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from fits.drawing import Drawing, blank, in_style, set_title

if TYPE_CHECKING:
    from paper.learnable import Learnable

__all__ = ["draw_learnable"]


@in_style
def draw_learnable(found: Learnable) -> Drawing:
    """Accuracy lost against 1 - J, the probe's growth of the fpr (10^-3 a step) and the early rise, an arm a point."""
    figure = blank(2.8)
    axes = figure.subplots(1, 3, sharey=True)
    data = pd.DataFrame(
        [
            {
                "arm": one.static.arm,
                "harm": one.harm.value,
                "low": None if one.harm.ci is None else one.harm.ci[0],
                "high": None if one.harm.ci is None else one.harm.ci[1],
                "1 - J": 1.0 - one.static.youden,
                "growth of fpr": 1e3 * one.fpr_growth,
                "early rise": one.early_rise,
            }
            for one in found.arms
        ]
    )
    for axis, column, title in zip(
        axes,
        ("1 - J", "growth of fpr", "early rise"),
        ("Static rate", "Probe, before training", "Batches, after 15 %"),
        strict=True,
    ):
        axis.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
        axis.plot(data[column], data["harm"], "o", markersize=3.5, color="0.2")
        axis.set_xlabel(column, fontsize="small")
        set_title(axis, title)
    axes[0].set_ylabel("accuracy lost", fontsize="small")
    return Drawing(figure, data)
