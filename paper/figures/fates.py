"""Errors of one static rate that a policy can learn: accuracy and the rate that training meets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

from fits.drawing import (
    DASHED,
    Drawing,
    Row,
    Stroke,
    blank,
    in_style,
    key_above,
    sample,
    set_title,
    strokes,
)
from paper.learnable import HARM

if TYPE_CHECKING:
    from paper.learnable import Learnable

__all__ = ["draw_fates"]

WINDOW: Final = 15  # steps of a running mean
GREY: Final = "0.65"
BROAD: Final = 3.2


@in_style
def draw_fates(found: Learnable, runs: pd.DataFrame, steps: pd.DataFrame) -> Drawing:
    """Means over seeds; arms that cost more than HARM by name, the others in grey."""
    figure = blank(1.8)
    axes = figure.subplots(1, 2)
    rows: list[Row] = []
    ordered = sorted(found.arms, key=lambda one: -one.harm.value)
    harmful = [one.static.arm for one in ordered if one.harm.value > HARM]
    others = [one.static.arm for one in ordered if one.harm.value <= HARM]
    looks = {arm: Stroke(GREY, "-") for arm in reversed(others)} | strokes(["clean", *harmful])
    logs = steps.merge(runs[["run_id", "arm", "seed"]].drop_duplicates(), on="run_id")
    for arm, stroke in looks.items():
        # The first is drawn broad, below the next, which may lie on it.
        width = 0.6 if arm in others else BROAD if arm in harmful[:1] else 1.3
        curve = runs[runs["arm"] == arm].groupby("step")["accuracy"].mean()
        axes[0].plot(
            curve.index, curve, color=stroke.colour, linestyle=stroke.dash, linewidth=width
        )
        rows += [{"panel": "accuracy", "arm": arm, "step": x, "y": y} for x, y in curve.items()]
        if arm == "clean" or not any(
            one.static.arm == arm and one.static.fpr > 0.0 for one in ordered
        ):
            continue
        own = logs[logs["arm"] == arm].groupby("step")[["paid_wrong", "wrong"]].sum()
        smooth = own.rolling(WINDOW, min_periods=1).sum()
        rate = smooth["paid_wrong"] / smooth["wrong"]
        axes[1].plot(rate.index, rate, color=stroke.colour, linestyle=stroke.dash, linewidth=width)
        rows += [{"panel": "fpr", "arm": arm, "step": x, "y": y} for x, y in rate.items()]
    entries = [sample(arm, looks[arm].colour, dash=looks[arm].dash) for arm in ("clean", *harmful)]
    if harmful:
        entries[1].set_linewidth(BROAD)
    if others:
        entries.append(sample(f"{len(others)} other arms", GREY))
    axes[1].axvline(0.15 * found.steps, color="0.5", linewidth=0.8, linestyle=DASHED)
    axes[1].axhline(found.coin_fpr, color="0.5", linewidth=0.8, linestyle=DASHED)
    axes[0].set_ylabel("accuracy")
    axes[1].set_ylabel("fpr of the batches")
    for axis, title in zip(axes, ("(a) fate", "(b) the rate that training meets"), strict=True):
        axis.set_xlabel("step")
        set_title(axis, title)
    key_above(figure, entries)
    return Drawing(figure, pd.DataFrame(rows))
