"""What noise cost in the campaign by group size, and what a rollout was worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

import pandas as pd

from fits.drawing import (
    Drawing,
    Row,
    blank,
    in_style,
    key_above,
    mark_gap,
    sample,
    set_title,
    strokes,
)
from paper.claims import DELTA
from paper.figures.canvas import ARMS, MARKS

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

    from fits.drawing import Stroke
    from paper.numbers import Findings

__all__ = ["draw_lost"]

SIZE_MARKS: Final = "os^D"
# Around what was trained by dr_grpo.
RING: Final[Mapping[str, Any]] = {
    "marker": "o",
    "linestyle": "",
    "color": "0.35",
    "markersize": 8.5,
    "fillstyle": "none",
    "markeredgewidth": 0.7,
}
# How a kind of error fills its mark, so that kinds differ in grey, and the arm whose colour it has.
KINDS: Final[Mapping[str, tuple[Literal["full", "none", "left"], str]]] = {
    "fpr": ("full", "fpr0.4"),
    "fnr": ("none", "fnr0.4"),
    "both": ("left", "both0.4"),
}


@in_style
def draw_lost(findings: Findings) -> Drawing:
    """Accuracy lost over training and at the last step, 95 % t; measured effective rollouts against the law's."""
    from matplotlib.lines import Line2D

    figure = blank(2.25)
    axes = figure.subplots(1, 4)
    rows: list[Row] = []
    looks = strokes(ARMS)
    sizes = sorted({gap.group_size for gap in findings.gaps})
    for axis, level, title in (
        (axes[0], "over_training", "(a) mean over training"),
        (axes[1], "end", "(b) last step"),
    ):
        for (arm, stroke), mark in zip(looks.items(), MARKS, strict=True):
            found = {gap.group_size: getattr(gap, level) for gap in findings.gaps if gap.arm == arm}
            at = [sizes.index(size) for size in found]
            axis.plot(
                at,
                [one.value for one in found.values()],
                mark,
                color=stroke.colour,
                linestyle=stroke.dash,
                linewidth=1.0,
                markersize=4,
                label=arm,
            )
            for place, (size, one) in zip(at, found.items(), strict=True):
                if one.ci is not None:
                    axis.plot([place, place], one.ci, color=stroke.colour, linewidth=1.2)
                rows.append({"panel": level, "arm": arm, "group_size": size, "value": one.value,
                             "low": None if one.ci is None else one.ci[0],
                             "high": None if one.ci is None else one.ci[1]})  # fmt: skip
        mark_gap(axis, DELTA)
        axis.set_yscale("symlog", linthresh=0.02, linscale=1.2)
        axis.set_ylim(-0.004, 0.25)
        axis.set_yticks([0.0, 0.01, 0.02, 0.05, 0.1, 0.2], ["0", ".01", ".02", ".05", ".1", ".2"])
        axis.set_xticks(range(len(sizes)), [str(size) for size in sizes])
        axis.set_xlabel("rollouts per prompt, $G$")
        set_title(axis, title)
    axes[0].set_ylabel("accuracy lost")
    key_above(
        figure,
        [
            sample(arm, stroke.colour, dash=stroke.dash, marker=mark)
            for (arm, stroke), mark in zip(looks.items(), MARKS, strict=True)
        ],
    )

    measured = [one for one in findings.rollouts if one.measured is not None]
    marks = dict(zip(sizes, SIZE_MARKS, strict=False))
    for axis, kinds, title in (
        (axes[2], ("fpr", "both"), "(c) worth, fp and both"),
        (axes[3], ("fnr",), "(d) worth, fn"),
    ):
        axis.plot([1.0, 40.0], [1.0, 40.0], color="0.6", linewidth=0.8)
        for one in measured:
            kind = next(kind for kind in KINDS if kind in one.arm)
            if kind not in kinds:
                continue
            fill, arm = KINDS[kind]
            colour = looks[arm].colour
            if one.measured_ci is not None:
                axis.plot([one.predicted] * 2, one.measured_ci, color=colour, linewidth=0.9)
            if one.arm.startswith("drgrpo"):
                axis.plot([one.predicted], [one.measured], **RING)
            axis.plot(
                [one.predicted],
                [one.measured],
                marks[one.group_size],
                color=colour,
                markersize=4.5,
                fillstyle=fill,
                markerfacecoloralt="white",
            )
            rows.append({"panel": "worth", "arm": one.arm, "group_size": one.group_size,
                         "value": one.measured, "law": one.predicted})  # fmt: skip
        axis.set_xscale("log", base=2)
        axis.set_yscale("log", base=2)
        ticks = [2, 4, 8, 16, 32]
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.set_yticks(ticks, [str(tick) for tick in ticks])
        axis.set_xlim(2.0, 45.0)
        axis.set_ylim(2.0, 45.0)
        axis.set_xlabel(r"law: $1+\phi^2(G-1)$")
        set_title(axis, title)
    axes[2].set_ylabel("measured rollouts")
    shown = sorted({one.group_size for one in measured})
    entries = [sample(f"G = {size}", "0.2", dash="", marker=marks[size]) for size in shown]
    entries.append(Line2D([], [], label="dr_grpo", **RING))
    for axis, own in ((axes[2], entries[:-1]), (axes[3], entries[-1:])):
        axis.legend(
            handles=[*(_kind(kind, looks) for kind in KINDS if axis is axes[2] and kind != "fnr"), *own],
            frameon=False, fontsize="x-small", loc="upper left", handlelength=1.2, borderpad=0.0,
        )  # fmt: skip
    return Drawing(figure, pd.DataFrame(rows))


def _kind(kind: str, looks: Mapping[str, Stroke]) -> Line2D:
    """A kind of error in a legend."""
    fill, arm = KINDS[kind]
    entry = sample(kind, looks[arm].colour, dash="", marker="p")  # a group size is no pentagon
    entry.set_fillstyle(fill)
    entry.set_markerfacecoloralt("white")
    return entry
