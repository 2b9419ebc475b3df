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
from paper.learnable import COIN
from paper.probe import PROBE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fits.drawing import Stroke
    from paper.paces import Paces
    from paper.probe import ProbeCheck

__all__ = ["draw_speeds"]

STEP: Final = 20
LOOKS: Final = {"clean": ".", **dict(zip(ARMS, MARKS, strict=True)), COIN: "x"}


@in_style
def draw_speeds(check: ProbeCheck, runs: pd.DataFrame, pretrained: Paces) -> Drawing:
    """Speed over clean as probed and as measured by step 20; accuracy against steps, and against the probe's time.

    pretrained: another model, its accuracy by step beside clean's clock at the probed speed.
    """
    figure = blank(2.05)
    axes = figure.subplots(1, 4)
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
        fontsize="x-small",
        loc="upper left",
        borderpad=0.0,
        handletextpad=0.2,
    )
    axes[0].set_xlabel("speed / clean, probed")
    axes[0].set_ylabel(f"trained, step {STEP}")
    set_title(axes[0], "(a) speeds, no fit")

    mean = runs.groupby(["group_size", "arm", "step"])["accuracy"].mean()
    probed = check.probe.at(8)
    speed = {arm.arm: arm.relative_speed or 0.0 for arm in probed.arms}
    looks = strokes(LOOKS)
    for axis, rescaled, title in (
        (axes[1], False, "(b) by step"),
        (axes[2], True, "(c) by the probe"),
    ):
        for arm in ("clean", *ARMS):
            mark = LOOKS[arm]
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
            for arm, mark in LOOKS.items()
        ],
    )
    axes[2].set_xlabel("step × probed speed")
    rows += _pretrained(axes[3], pretrained, looks)
    return Drawing(figure, pd.DataFrame(rows))


def _pretrained(axis: Axes, found: Paces, looks: dict[str, Stroke]) -> list[Row]:
    """Means over seeds, and clean at the probed speed as lines."""
    title = "(d) SmolLM2, blind"
    rows: list[Row] = []
    for arm in found.arms:
        own = [point for point in found.points if point.arm == arm.arm]
        steps, said = [p.step for p in own], [p.by[PROBE] for p in own]
        stroke = looks[arm.arm]
        axis.plot(
            [0, *steps], [found.start, *said], color=stroke.colour, linestyle=stroke.dash, linewidth=1.0
        )  # fmt: skip
        axis.plot(
            steps, [p.accuracy for p in own], LOOKS[arm.arm], color=stroke.colour, markersize=3.5
        )
        rows += [
            {"panel": title, "arm": p.arm, "x": p.step, "y": p.accuracy, "clock": p.by[PROBE]}
            for p in own
        ]
    axis.set_xlabel("step")
    axis.set_ylim(0.2, 0.8)
    set_title(axis, title)
    return rows
