"""Paces that a step's rollouts and verdicts buy, and the error a policy learns with and without an audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from fits.drawing import Drawing, blank, in_style, key_above, sample, set_title, shades

if TYPE_CHECKING:
    from paper.corrections import Corrections

__all__ = ["draw_corrections"]

DASHES = ("-", "--", "-.", (0, (6, 2)))


@in_style
def draw_corrections(found: Corrections) -> Drawing:
    """Left: pace of each way to spend a step, 95 % over seeds, by the probe hollow. Right: accuracy by step."""
    figure = blank(1.4 + 0.22 * max(len(found.bought), 9))
    axes = figure.subplots(
        1, 2 if found.mended else 1, squeeze=False, width_ratios=[3, 2][: 1 + bool(found.mended)]
    )[0]
    left = axes[0]
    rows = [
        {
            "panel": "pace",
            "name": f"{one.name}{'' if one.verdicts == 1 else f', {one.verdicts} verdicts'}",
            "verdicts": one.rollouts * one.verdicts,
            "value": one.pace.value,
            "low": None if one.pace.ci is None else one.pace.ci[0],
            "high": None if one.pace.ci is None else one.pace.ci[1],
            "probe": one.probe,
        }
        for one in found.bought
    ]
    data = pd.DataFrame(rows).astype({"low": float, "high": float, "probe": float})
    places = range(len(data))
    left.errorbar(
        data["value"],
        places,
        xerr=(
            (data["value"] - data["low"]).fillna(0.0).to_numpy(),
            (data["high"] - data["value"]).fillna(0.0).to_numpy(),
        ),
        fmt="o",
        markersize=3.5,
        color="0.1",
        elinewidth=0.7,
    )
    left.plot(data["probe"], places, "D", markersize=4.5, markerfacecolor="none", color="#2166ac")
    left.set_yticks(list(places), [f"{row.name} ({row.verdicts})" for row in data.itertuples()])
    left.tick_params(axis="y", labelsize="x-small")
    left.set_xlabel("pace, clean at 8 × 8 = 1", fontsize="small")
    set_title(left, "Independent errors of .4 and .4 (verdicts a step)")
    keys = [
        sample("runs", "0.1", dash="", marker="o"),
        sample("probe, before training", "#2166ac", dash="", marker="D", hollow=True),
    ]
    if found.mended:
        right = axes[1]
        names = [f"{one.arm}, {one.group_size}" for one in found.mended]
        colours = shades(names)
        curves = [("clean, 8", found.clean, "0.1", ":")]
        curves += [
            (name, one.curve, colours[name], dash)
            for name, one, dash in zip(names, found.mended, DASHES, strict=False)
        ]
        for name, curve, colour, dash in curves:
            right.plot(
                list(curve), list(curve.values()), linestyle=dash, color=colour, linewidth=1.3
            )
            keys.append(sample(name, colour, dash=dash))
        right.set_xlabel("step", fontsize="small")
        right.set_ylabel("accuracy", fontsize="small")
        set_title(right, "An error the policy learns")
        data = pd.concat(
            [
                data,
                pd.DataFrame(
                    [
                        {"panel": "accuracy", "name": name, "step": step, "value": value}
                        for name, curve, _, _ in curves
                        for step, value in curve.items()
                    ]
                ),
            ],
            ignore_index=True,
        )
    key_above(figure, keys, across=4)
    return Drawing(figure, data)
