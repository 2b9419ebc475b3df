"""Harm of learnable-errors' arms against what told it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from fits.drawing import Drawing, blank, in_style, key_above, sample, set_title

if TYPE_CHECKING:
    from paper.learnable import Learnable

__all__ = ["draw_learnable"]


@in_style
def draw_learnable(found: Learnable, rare: Learnable | None = None) -> Drawing:
    """Accuracy lost against 1 - J, the probe's growth of the fpr (10^-3 a step) and the early rise, an arm a point.

    rare: the study rare-mode, hollow.
    """
    figure = blank(2.8)
    axes = figure.subplots(1, 3, sharey=True)
    data = pd.DataFrame(
        [
            {
                "study": name,
                "arm": one.static.arm,
                "harm": one.harm.value,
                "low": None if one.harm.ci is None else one.harm.ci[0],
                "high": None if one.harm.ci is None else one.harm.ci[1],
                "1 - J": 1.0 - one.static.youden,
                "growth of fpr": 1e3 * one.fpr_growth,
                "early rise": one.early_rise,
            }
            for name, study in (("learnable-errors", found), ("rare-mode", rare))
            if study is not None
            for one in study.arms
        ]
    )
    data = data.astype({"low": float, "high": float})
    for axis, column, title in zip(
        axes,
        ("1 - J", "growth of fpr", "early rise"),
        ("Static rate", "Probe, before training", "Batches, after 15 %"),
        strict=True,
    ):
        axis.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
        for name, rows in data.groupby("study"):
            fill = "none" if name == "rare-mode" else "0.2"
            axis.errorbar(
                rows[column],
                rows["harm"],
                yerr=(
                    (rows["harm"] - rows["low"]).fillna(0.0).to_numpy(dtype=float),
                    (rows["high"] - rows["harm"]).fillna(0.0).to_numpy(dtype=float),
                ),
                fmt="o",
                markersize=3.5,
                color="0.2",
                markerfacecolor=fill,
                elinewidth=0.6,
            )
        axis.set_xlabel(column, fontsize="small")
        set_title(axis, title)
    axes[0].set_ylabel("accuracy lost", fontsize="small")
    if rare is not None:
        names = ("learnable-errors", "rare-mode")
        key_above(
            figure,
            [sample(n, "0.2", dash="", marker="o", hollow=n == "rare-mode") for n in names],
        )
    return Drawing(figure, data)
