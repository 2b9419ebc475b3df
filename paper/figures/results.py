"""The pictures of the results: what every arm loses against rollouts, and the forecast beside the measurements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from fits.drawing import (
    Colour,
    Drawing,
    Row,
    draw_band,
    in_style,
    key_above,
    mark_gap,
    panels,
    sample,
    set_title,
    shades,
    strokes,
)
from fits.hypotheses import LEAST_UNITS
from fits.inference import student_interval
from paper.claims import DELTA
from paper.contrasts import Curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_forecast", "draw_gaps"]

# Row by row; arms with errors of one kind stand above each other where their rates agree.
PANELS: Final = (
    ("fpr0.2", "fpr0.4", "fpr0.6", "drgrpo-fpr0.4"),
    ("fnr0.2", "fnr0.4", "fnr0.6", "drgrpo-fnr0.4"),
    ("both0.2", "trigger0.2", "both0.4", "coin"),
)
OWN_SCALE: Final = ("both0.4", "coin")
# The arms whose forecasts are drawn with a stroke of their own, from the most to the least that is learnt.
SHOWN: Final = ("clean", "fnr0.6", "fpr0.6", "both0.4", "coin", "inverted")


@in_style
def draw_gaps(curves: Curves, prompts_per_step: int) -> Drawing:
    """Accuracy lost against rollouts, a panel an arm, a line a group size, 95 % t bands over seeds."""
    sizes = curves.group_sizes
    figure, axes = panels(5.4, [1.0] * len(PANELS[0]), [1.0] * len(PANELS), share_x=True)
    colours = shades(sizes)
    panel_of = dict(zip([arm for line in PANELS for arm in line], axes.flat, strict=True))
    rows: list[Row] = []
    for arm, axis in panel_of.items():
        clean = "drgrpo-clean" if arm.startswith("drgrpo-") else "clean"
        for size in sizes:
            gap = curves.difference([clean], [arm], size)
            if not gap.empty:
                drawn = _line(axis, gap, size * prompts_per_step, colours[size])
                rows += [{**row, "arm": arm, "group_size": size} for row in drawn]
        mark_gap(axis, DELTA)
        set_title(axis, arm.replace("drgrpo-", "dr_grpo, "))
        axis.set_xscale("log")
        axis.locator_params(axis="y", nbins=4)
    reach = [row["gap"] for row in rows if row["arm"] not in OWN_SCALE]
    for arm, axis in panel_of.items():
        if arm not in OWN_SCALE and reach:
            axis.set_ylim(min(reach) - 0.006, max(reach) + 0.012)
    key_above(
        figure, [sample(f"{size} rollouts a prompt", colours[size], marker="o") for size in sizes]
    )
    figure.supxlabel("rollouts (log scale)", fontsize="medium")
    figure.supylabel("accuracy, clean minus noisy", fontsize="medium")
    return Drawing(figure, pd.DataFrame(rows))


def _line(axis: Axes, gap: pd.DataFrame, rollouts_a_step: int, colour: Colour) -> list[Row]:
    """One group size's gap: seeds x steps; bands only where seeds are enough for one to say something."""
    rows: list[Row] = []
    for step in gap.columns:
        if int(step) == 0:
            continue  # no rollout yet, and no gap: a log axis has no place for it
        mean, ci = student_interval(gap[step].to_numpy(np.float64))
        low, high = ci if ci is not None else (np.nan, np.nan)
        rows.append(
            {
                "step": int(step),
                "rollouts": int(step) * rollouts_a_step,
                "gap": mean,
                "low": low,
                "high": high,
                "seeds": len(gap),
            }
        )
    at, mean, low, high = ([row[n] for row in rows] for n in ("rollouts", "gap", "low", "high"))
    if len(gap) >= LEAST_UNITS:
        draw_band(axis, at, low, high, colour)
    axis.plot(at, mean, "o-", color=colour, linewidth=1.1, markersize=2.4)
    return rows


@in_style
def draw_forecast(forecasts: pd.DataFrame) -> Drawing:
    """Above, forecasts with their 90 % bands and the measurements, a panel a group size; below, what is missed.

    forecasts: of `empirical.validate.forecast.Validation`. Points are means over seeds; a band is that
    of one evaluation of one run. Below are the means over seeds of every arm, those not drawn above in grey.
    """
    columns = ["accuracy", "forecast", "low90", "high90"]
    keys = ["group_size", "arm", "step"]
    means = forecasts.groupby(keys, as_index=False)[columns].mean()
    means = means.assign(missed=means["accuracy"] - means["forecast"])
    sizes = sorted(means["group_size"].unique())
    figure, axes = panels(4.6, [1.0] * len(sizes), [1.6, 1.0], share_x=True, share_y="row")
    drawn = strokes(SHOWN)
    for (above, below), size in zip(axes.T, sizes, strict=True):
        below.axhline(0.0, color="0.2", linewidth=0.7)
        for arm, one in means[means["group_size"] == size].groupby("arm"):
            if arm not in drawn:
                below.plot(one["step"], one["missed"], color="0.7", linewidth=0.8, zorder=1)
                continue
            colour, dash = drawn[str(arm)]
            line: dict[str, Any] = {"color": colour, "linestyle": dash, "linewidth": 1.1}
            draw_band(above, one["step"], one["low90"], one["high90"], colour)
            above.plot(one["step"], one["forecast"], **line)
            above.plot(one["step"], one["accuracy"], "o", color=colour, markersize=2.4)
            below.plot(one["step"], one["missed"], marker="o", markersize=2, **line)
        set_title(above, f"{size} rollouts")
    axes[0, 0].set_ylabel("accuracy")
    axes[1, 0].set_ylabel("measured − forecast")
    key = [sample(arm, drawn[arm].colour, dash=drawn[arm].dash, marker="o") for arm in SHOWN]
    key_above(figure, [*key, sample("other arms", "0.7")])
    figure.supxlabel("step", fontsize="medium")
    return Drawing(figure, means.round(5))
