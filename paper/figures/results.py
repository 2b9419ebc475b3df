"""The pictures of the results: what every arm loses against rollouts, and the forecast beside the measurements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from fits.hypotheses import LEAST_UNITS
from fits.inference import student_interval
from paper.claims import DELTA, Curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fits.figures import Drawing

__all__ = ["draw_forecast", "draw_gaps"]

# Row by row; arms with errors of one kind stand above each other where their rates agree.
PANELS: Final = (
    ("fpr0.2", "fpr0.4", "fpr0.6", "drgrpo-fpr0.4"),
    ("fnr0.2", "fnr0.4", "fnr0.6", "drgrpo-fnr0.4"),
    ("both0.2", "trigger0.2", "both0.4", "coin"),
)
OWN_SCALE: Final = ("both0.4", "coin")
# The arms whose forecasts are drawn in colour, from the most to the least that is learnt; the rest are grey.
SHOWN: Final = ("clean", "fnr0.6", "fpr0.6", "both0.4", "coin", "inverted")


def draw_gaps(curves: Curves, prompts_per_step: int) -> Drawing:
    """Accuracy lost against rollouts, a panel an arm, a line a group size, 95 % t bands over seeds."""
    import seaborn as sns
    from matplotlib.figure import Figure

    from fits.figures import WIDTH, Drawing

    sizes = curves.group_sizes
    with sns.axes_style("ticks"), sns.plotting_context("paper"):
        figure = Figure(figsize=(WIDTH, 5.4), layout="constrained")
        axes: Any = figure.subplots(len(PANELS), len(PANELS[0]), sharex=True)
    sns.despine(fig=figure)
    colours = dict(zip(sizes, sns.color_palette("viridis", len(sizes) + 1), strict=False))
    rows: list[dict[str, Any]] = []
    reach: list[float] = []
    for axis, arm in zip(axes.flat, [arm for line in PANELS for arm in line], strict=True):
        axis.axhline(0.0, color="0.2", linewidth=0.7)
        axis.axhline(DELTA, color="0.4", linewidth=0.8, linestyle=(0, (4, 3)))
        clean = "drgrpo-clean" if arm.startswith("drgrpo-") else "clean"
        for size in sizes:
            gap = curves.difference([clean], [arm], size)
            if gap.empty:
                continue
            rows += (drawn := _line(axis, gap, size * prompts_per_step, colours[size]))
            for row in drawn:
                row.update(arm=arm, group_size=size)
            if arm not in OWN_SCALE:
                reach += [row["gap"] for row in drawn]
        name = arm.replace("drgrpo-", "dr_grpo, ")
        axis.set_title(name, fontsize="small", loc="left", pad=3)
        axis.set_xscale("log")
    for axis, arm in zip(axes.flat, [arm for line in PANELS for arm in line], strict=True):
        if arm not in OWN_SCALE and reach:
            axis.set_ylim(min(reach) - 0.006, max(reach) + 0.012)
        axis.locator_params(axis="y", nbins=4)
    handles = [
        axes.flat[0].plot([], [], "o-", color=colours[size], linewidth=1.1, markersize=2.4)[0]
        for size in sizes
    ]
    figure.legend(
        handles,
        [f"{size} rollouts a prompt" for size in sizes],
        loc="outside upper center",
        ncols=len(sizes),
        frameon=False,
        fontsize="small",
    )
    figure.supxlabel("rollouts (log scale)", fontsize="medium")
    figure.supylabel("accuracy, clean minus noisy", fontsize="medium")
    return Drawing(figure, pd.DataFrame(rows))


def _line(axis: Axes, gap: pd.DataFrame, rollouts_a_step: int, colour: Any) -> list[dict[str, Any]]:
    """One group size's gap: seeds x steps; bands only where seeds are enough for one to say something."""
    rows: list[dict[str, Any]] = []
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
    at = [row["rollouts"] for row in rows]
    if len(gap) >= LEAST_UNITS:
        low, high = [row["low"] for row in rows], [row["high"] for row in rows]
        axis.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)
    axis.plot(at, [row["gap"] for row in rows], "o-", color=colour, linewidth=1.1, markersize=2.4)
    return rows


def draw_forecast(forecasts: pd.DataFrame) -> Drawing:
    """Above, forecasts with their 90 % bands and the measurements, a panel a group size; below, what is missed.

    forecasts: of `empirical.validate.score.Validation`. Points are means over seeds; a band is that of one evaluation
    of one run. Below are the means over seeds of every arm, those not drawn above in grey.
    """
    import seaborn as sns
    from matplotlib.figure import Figure

    from fits.figures import WIDTH, Drawing

    columns = ["accuracy", "forecast", "low90", "high90"]
    keys = ["group_size", "arm", "step"]
    means = forecasts.groupby(keys, as_index=False)[columns].mean()
    means = means.assign(missed=means["accuracy"] - means["forecast"])
    sizes = sorted(means["group_size"].unique())
    with sns.axes_style("ticks"), sns.plotting_context("paper"):
        figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
        axes: Any = figure.subplots(
            2, len(sizes), sharex=True, sharey="row", squeeze=False, height_ratios=[1.6, 1.0]
        )
    sns.despine(fig=figure)
    palette = sns.color_palette("colorblind")
    colours = {"clean": (0.1, 0.1, 0.1), **dict(zip(SHOWN[1:], palette, strict=False))}
    for (above, below), size in zip(axes.T, sizes, strict=True):
        below.axhline(0.0, color="0.2", linewidth=0.7)
        for arm, one in means[means["group_size"] == size].groupby("arm"):
            colour = colours.get(str(arm))
            if colour is None:
                below.plot(one["step"], one["missed"], color="0.7", linewidth=0.8, zorder=1)
                continue
            above.fill_between(
                one["step"], one["low90"], one["high90"], color=colour, alpha=0.2, linewidth=0
            )
            above.plot(one["step"], one["forecast"], color=colour, linewidth=1.1)
            above.plot(one["step"], one["accuracy"], "o", color=colour, markersize=2.4)
            below.plot(one["step"], one["missed"], "o-", color=colour, linewidth=1.0, markersize=2)
        above.set_title(f"{size} rollouts", fontsize="small", loc="left", pad=3)
    axes[0, 0].set_ylabel("accuracy")
    axes[1, 0].set_ylabel("measured − forecast")
    handles: list[Any] = [
        axes[0, 0].plot([], [], "o-", color=colours[arm], linewidth=1.1, markersize=2.4)[0]
        for arm in SHOWN
    ]
    handles.append(axes[1, 0].plot([], [], color="0.7", linewidth=0.8)[0])
    figure.legend(
        handles,
        [*SHOWN, "other arms"],
        loc="outside upper center",
        ncols=len(SHOWN) + 1,
        frameon=False,
        fontsize="small",
        columnspacing=1.2,
    )
    figure.supxlabel("step", fontsize="medium")
    return Drawing(figure, means.round(5))
