"""Growth of accuracy over the next steps, as a probe in mid-run said and as the runs had it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from fits.drawing import Drawing, blank, in_style, key_above, sample, shades

if TYPE_CHECKING:
    from paper.in_training import InTraining

__all__ = ["draw_in_training"]

MARKERS = ("o", "s", "^", "D", "v")


@in_style
def draw_in_training(found: InTraining) -> Drawing:
    """A point a probe: 10^-3 of accuracy a step, probed across, measured upwards, 95 %; colours steps, marks arms."""
    figure = blank(3.2)
    axis = figure.subplots()
    data = pd.DataFrame(
        [
            {
                "arm": row.arm,
                "group_size": row.group_size,
                "step": row.step,
                "probed": 1e3 * row.probed,
                "probed_low": 1e3 * row.probed_ci[0],
                "probed_high": 1e3 * row.probed_ci[1],
                "measured": 1e3 * row.measured.value,
                "measured_low": None if row.measured.ci is None else 1e3 * row.measured.ci[0],
                "measured_high": None if row.measured.ci is None else 1e3 * row.measured.ci[1],
            }
            for row in found.rows
        ]
    ).astype({"measured_low": float, "measured_high": float})
    top = float(data[["probed_high", "measured_high"]].max().max())
    axis.plot((0.0, top), (0.0, top), color="0.7", linewidth=0.8, zorder=0)
    colours = shades(sorted(data["step"].unique()))
    markers = dict(zip(dict.fromkeys(data["arm"]), MARKERS, strict=False))
    for (arm, step), own in data.groupby(["arm", "step"]):
        axis.errorbar(
            own["probed"],
            own["measured"],
            xerr=(own["probed"] - own["probed_low"], own["probed_high"] - own["probed"]),
            yerr=(
                (own["measured"] - own["measured_low"]).fillna(0.0).to_numpy(),
                (own["measured_high"] - own["measured"]).fillna(0.0).to_numpy(),
            ),
            fmt=markers[arm],
            markersize=4,
            elinewidth=0.6,
            color=colours[step],
        )
    axis.set_xlabel("accuracy a step, probed (10⁻³)", fontsize="small")
    axis.set_ylabel("over the next steps (10⁻³)", fontsize="small")
    key_above(
        figure,
        [
            *(
                sample(f"step {step}", colour, dash="", marker="o")
                for step, colour in colours.items()
            ),
            *(sample(arm, "0.4", dash="", marker=marker) for arm, marker in markers.items()),
        ],
    )
    return Drawing(figure, data)
