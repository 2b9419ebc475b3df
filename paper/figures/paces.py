"""Accuracy of each arm beside clean at the probed pace, and paces by model size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import pandas as pd

from fits.drawing import Drawing, blank, in_style, key_above, sample, set_title, shades
from paper.figures.canvas import MARKS
from paper.probe import PROBE

if TYPE_CHECKING:
    from paper.paces import Paces

__all__ = ["draw_pretrained", "draw_sizes"]

# Of what is said of an arm's speed, the clocks that are drawn.
SAID: Final = ((PROBE, "-", "#2166ac"), ("J", ":", "#b2182b"))


@in_style
def draw_pretrained(found: Paces) -> Drawing:
    """A panel an arm: measured means, clean at R t with R as probed, and at J t."""
    figure = blank(2.4)
    axes = figure.subplots(1, len(found.arms), sharey=True, squeeze=False)[0]
    rows = [
        {
            "arm": one.arm,
            "step": one.step,
            "accuracy": one.accuracy,
            **{name: one.by[name] for name, _, _ in SAID},
        }
        for one in found.points
    ]
    data = pd.DataFrame(rows)
    for axis, arm in zip(axes, found.arms, strict=True):
        own = data[data["arm"] == arm.arm]
        axis.plot(own["step"], own["accuracy"], "o", markersize=3.5, color="0.1")
        for column, dash, colour in SAID:
            axis.plot(
                [0, *own["step"]],
                [found.start, *own[column]],
                linestyle=dash,
                color=colour,
                linewidth=1.3,
            )
        set_title(axis, arm.arm)
        axis.set_xlim(left=0)
    axes[0].set_ylabel("accuracy, held out", fontsize="small")
    figure.supxlabel("step", fontsize="small")
    key_above(
        figure,
        [
            sample("trained", "0.1", dash="", marker="o"),
            sample("clean at R t, R probed", "#2166ac"),
            sample("clean at J t", "#b2182b", dash=":"),
        ],
    )
    return Drawing(figure, data)


@in_style
def draw_sizes(found: Sequence[Paces]) -> Drawing:
    """Pace of the runs against the probe's, a colour a size, a mark an arm, with 95 % intervals."""
    figure = blank(3.0)
    axis = figure.subplots()
    data = pd.DataFrame(
        [
            {
                "model": one.model,
                "arm": arm.arm,
                "probe": arm.probe,
                "probe_se": arm.probe_se,
                "pace": arm.pace.value,
                "low": None if arm.pace.ci is None else arm.pace.ci[0],
                "high": None if arm.pace.ci is None else arm.pace.ci[1],
            }
            for one in found
            for arm in one.arms
        ]
    )
    ends = (float(data["probe"].min()) - 0.05, 1.03)
    axis.plot(ends, ends, color="0.7", linewidth=0.8, zorder=0)
    colours = shades([one.model for one in found])
    marks = dict(zip(dict.fromkeys(data["arm"]), MARKS, strict=False))
    for (model, arm), own in data.groupby(["model", "arm"], sort=False):
        axis.errorbar(
            own["probe"],
            own["pace"],
            xerr=1.96 * own["probe_se"],
            yerr=(
                (own["pace"] - own["low"]).fillna(0.0).to_numpy(),
                (own["high"] - own["pace"]).fillna(0.0).to_numpy(),
            ),
            fmt=marks[arm],
            markersize=4,
            elinewidth=0.7,
            color=colours[model],
        )
    axis.set_xlabel("R, probed before training", fontsize="small")
    axis.set_ylabel("pace of the runs", fontsize="small")
    key_above(
        figure,
        [
            *(sample(model, colour) for model, colour in colours.items()),
            *(sample(arm, "0.3", marker=mark, dash="") for arm, mark in marks.items()),
        ],
    )
    return Drawing(figure, data)
