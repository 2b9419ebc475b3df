"""Rest points of the published flow with a KL penalty, against its weight."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from fits.drawing import DASHED, Drawing, Row, in_style
from paper.figures.canvas import column
from theory import VerifierChannel
from theory.rest_points import rest_points

__all__ = ["draw_rest_points"]

REFERENCE: Final = 0.001
BETA: Final = 0.1


@in_style
def draw_rest_points() -> Drawing:
    """Stable ones filled, unstable ones hollow; clean and fpr .3."""
    figure = column(2.1)
    axis = figure.subplots()
    rows: list[Row] = []
    looks = {"clean": ((0.0, 0.0), "0.1", "o"), "fpr 0.3": ((0.3, 0.0), "#0173b2", "s")}
    for name, (rates, colour, mark) in looks.items():
        for beta in np.geomspace(0.03, 1.0, 46):
            found = rest_points(
                VerifierChannel(*rates),
                beta=float(beta),
                reference_pass_rate=REFERENCE,
                form="rlver",
            )
            rows += [
                {"verifier": name, "beta": beta, "pass_rate": p.pass_rate, "stable": p.stable}
                for p in found.points
            ]
        own = pd.DataFrame([row for row in rows if row["verifier"] == name])
        for stable in (True, False):
            part = own[own["stable"] == stable]
            axis.plot(
                part["beta"],
                part["pass_rate"],
                mark,
                color=colour,
                markersize=3.0,
                markerfacecolor=colour if stable else "white",
                markeredgewidth=0.7,
                label=f"{name}, {'stable' if stable else 'unstable'}",
            )
    axis.axvline(BETA, color="0.5", linewidth=0.7, linestyle=DASHED)
    axis.set_xscale("log")
    axis.set_yscale("logit")
    axis.set_ylim(5e-4, 0.9995)
    axis.yaxis.set_minor_formatter(lambda *_: "")
    axis.set_yticks(
        [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999], [".001", ".01", ".1", ".5", ".9", ".99", ".999"]
    )
    axis.set_xlabel(r"KL weight $\beta$")
    axis.set_ylabel("pass rate at rest")
    axis.legend(frameon=False, fontsize="x-small", loc="upper right", handletextpad=0.2)
    return Drawing(figure, pd.DataFrame(rows))
