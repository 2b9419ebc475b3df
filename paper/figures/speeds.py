"""The probe of the initial weights against training: speeds, and one clock for all arms."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from fits.drawing import (
    BLACK,
    Drawing,
    Row,
    blank,
    in_style,
    key_above,
    sample,
    set_title,
    shades,
    strokes,
)
from paper.figures.canvas import ARMS, MARKS

if TYPE_CHECKING:
    from paper.probe import ProbeCheck

__all__ = ["draw_speeds"]

STEP: Final = 20


@in_style
def draw_speeds(check: ProbeCheck, runs: pd.DataFrame) -> Drawing:
    """Speed over clean as probed and as measured by step 20; accuracy against steps, and against the probe's time."""
    figure = blank(2.2)
    axes = figure.subplots(1, 3)
    rows: list[Row] = []
    compared = [one for one in check.compared if one.step == STEP]
    sizes = sorted({one.group_size for one in compared})
    colours = shades(sizes)
    axes[0].plot([0.3, 1.05], [0.3, 1.05], color="0.6", linewidth=0.8)
    for one in compared:
        axes[0].errorbar(
            [one.probe],
            [one.measured],
            yerr=[one.measured_se],
            fmt="os^D"[sizes.index(one.group_size)],
            markersize=3,
            elinewidth=0.6,
            color=colours[one.group_size],
        )
        rows.append({"panel": "speed", **asdict(one)})
    axes[0].legend(
        handles=[
            sample(f"G = {size}", colours[size], dash="", marker=mark)
            for size, mark in zip(sizes, "os^D", strict=True)
        ],
        frameon=False,
        fontsize="small",
        loc="lower right",
        handletextpad=0.2,
    )
    axes[0].set_xlabel("speed / clean, probed")
    axes[0].set_ylabel(f"trained, step {STEP}")
    set_title(axes[0], "(a) probe at step 0, no fit")

    mean = runs.groupby(["group_size", "arm", "step"])["accuracy"].mean()
    probed = check.probe.at(8)
    speed = {arm.arm: arm.relative_speed or 0.0 for arm in probed.arms}
    looks = strokes(["clean", *ARMS])
    for axis, rescaled, title in (
        (axes[1], False, "(b) G = 8, by step"),
        (axes[2], True, "(c) by the probe's clock"),
    ):
        for arm, mark in zip(("clean", *ARMS), "." + MARKS, strict=True):
            curve = mean.loc[8, arm]
            steps = curve.index.to_numpy(dtype=np.float64)
            at = steps * speed[arm] if rescaled else steps
            if rescaled and arm != "clean":
                axis.plot(at, curve.to_numpy(), mark, color=looks[arm].colour, markersize=3.5)
            else:
                axis.plot(
                    at,
                    curve.to_numpy(),
                    color=BLACK if arm == "clean" else looks[arm].colour,
                    linestyle=looks[arm].dash,
                    marker=mark,
                    markersize=3.5,
                    linewidth=1.0,
                    label=arm,
                )
            rows += [
                {"panel": title, "arm": arm, "x": x, "y": y} for x, y in zip(at, curve, strict=True)
            ]
        axis.set_ylim(0.3, 0.9)
        set_title(axis, title)
    axes[1].set_xlabel("step")
    axes[1].set_ylabel("accuracy")
    key_above(
        figure,
        [
            sample(arm, looks[arm].colour, dash=looks[arm].dash, marker=mark)
            for arm, mark in zip(("clean", *ARMS), "." + MARKS, strict=True)
        ],
    )
    axes[2].set_xlabel("step × probed speed")
    return Drawing(figure, pd.DataFrame(rows))
