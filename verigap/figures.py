"""The figure that belongs to neither package alone: predicted against measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["forecast_figure"]


def forecast_figure(frame: pd.DataFrame, *, clean: str) -> Figure:
    """Forecast curves through the measured points, and every point against its forecast.

    frame: arm, rollouts, measured, predicted and half (95 % half-width of the sampling noise), one row
    per arm and step. clean: the arm the simulator was calibrated to, drawn black.
    """
    import seaborn as sns
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    from fits.figures import literal

    with sns.axes_style("ticks"), sns.plotting_context("paper"):
        # A figure of our own, not pyplot's: no global state, no window, no warning about open ones.
        figure = Figure(figsize=(7.0, 3.3), layout="constrained")
        curves, scatter = figure.subplots(1, 2, width_ratios=[1.25, 1.0])
    sns.despine(fig=figure)
    arms = [str(arm) for arm in frame["arm"].unique()]
    noisy = [arm for arm in arms if arm != clean]
    colours = {clean: (0.1, 0.1, 0.1)}
    colours |= dict(zip(noisy, sns.color_palette("colorblind", len(noisy)), strict=True))
    for arm, rows in frame.groupby("arm", sort=False):
        colour = colours[str(arm)]
        bars = {
            "yerr": rows["half"],
            "fmt": "o",
            "markersize": 3,
            "elinewidth": 0.8,
            "color": colour,
        }
        label = literal(f"{arm} (calibrated on it)" if arm == clean else str(arm))
        curves.errorbar(rows["rollouts"], rows["measured"], **bars, label=label)
        curves.plot(rows["rollouts"], rows["predicted"], color=colour, linewidth=1.2)
        scatter.errorbar(rows["predicted"], rows["measured"], **bars)
    values = frame[["measured", "predicted"]].to_numpy()
    ends = np.array([values.min() - 0.03, values.max() + 0.03])
    scatter.plot(ends, ends, color="0.6", linewidth=0.9, zorder=0)
    scatter.set_aspect("equal")
    scatter.set_xlabel("accuracy predicted")
    scatter.set_ylabel("accuracy measured")
    curves.set_xlabel("rollouts")
    curves.set_ylabel("accuracy")
    curves.xaxis.set_major_formatter(EngFormatter(sep=""))
    curves.legend(frameon=False, loc="lower right", fontsize="small")
    return figure
