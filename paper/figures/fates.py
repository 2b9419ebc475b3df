"""Errors of one static rate that a policy can learn: accuracy and the rate that training meets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

from fits.drawing import DASHED, Drawing, Row, blank, in_style, key_beside, set_title, strokes

if TYPE_CHECKING:
    from paper.learnable import Learnable

__all__ = ["draw_fates"]

WINDOW: Final = 15  # steps of a running mean
SHOWN: Final = 8


@in_style
def draw_fates(found: Learnable, runs: pd.DataFrame, steps: pd.DataFrame) -> Drawing:
    """Means over seeds. Of many arms the clean one, the most and the least harmful, and those between, evenly."""
    figure = blank(2.4)
    axes = figure.subplots(1, 2)
    rows: list[Row] = []
    ordered = sorted(found.arms, key=lambda one: one.harm.value)
    if len(ordered) > SHOWN:
        picked = {round(k * (len(ordered) - 1) / (SHOWN - 1)) for k in range(SHOWN)}
        ordered = [one for k, one in enumerate(ordered) if k in picked]
    names = ["clean", *(one.static.arm for one in ordered)]
    logs = steps.merge(runs[["run_id", "arm", "seed"]].drop_duplicates(), on="run_id")
    for arm, stroke in strokes(names).items():
        curve = runs[runs["arm"] == arm].groupby("step")["accuracy"].mean()
        axes[0].plot(curve.index, curve, color=stroke.colour, linestyle=stroke.dash, label=arm)
        rows += [{"panel": "accuracy", "arm": arm, "step": x, "y": y} for x, y in curve.items()]
        if arm == "clean":
            continue
        own = logs[logs["arm"] == arm].groupby("step")[["paid_wrong", "wrong"]].sum()
        smooth = own.rolling(WINDOW, min_periods=1).sum()
        rate = smooth["paid_wrong"] / smooth["wrong"]
        axes[1].plot(rate.index, rate, color=stroke.colour, linestyle=stroke.dash, linewidth=1.0)
        rows += [{"panel": "fpr", "arm": arm, "step": x, "y": y} for x, y in rate.items()]
    axes[1].axvline(0.15 * found.steps, color="0.5", linewidth=0.8, linestyle=DASHED)
    axes[1].axhline(found.coin_fpr, color="0.5", linewidth=0.8, linestyle=DASHED)
    axes[0].set_ylabel("accuracy")
    axes[1].set_ylabel("fpr of the batches")
    for axis, title in zip(axes, ("(a) fate", "(b) the rate that training meets"), strict=True):
        axis.set_xlabel("step")
        set_title(axis, title)
    key_beside(figure, axes[0], "wrong answers paid")
    return Drawing(figure, pd.DataFrame(rows))
