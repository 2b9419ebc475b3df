"""How often an asymptote's interval covers when the law is not the one believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from fits.drawing import DASHED, Drawing, Row, in_style
from paper.figures.canvas import column

if TYPE_CHECKING:
    from paper.argument.run_numbers import Record

__all__ = ["draw_one_law"]


@in_style
def draw_one_law(rows: tuple[Record, ...]) -> Drawing:
    """Coverage of the law of least AIC and of the hull over laws, by true law and midpoints reached; five seeds."""
    figure = column(1.75)
    axis = figure.subplots()
    shown = [row for row in rows if row.cells[2] == "5"]
    data: list[Row] = []
    for place, row in enumerate(reversed(shown)):
        axis.plot([row.at(6), row.at(8)], [place, place], color="0.8", linewidth=1.0, zorder=0)
        axis.plot([row.at(6)], [place], "s", color="#de8f05", markersize=4.5,
                  label="one law, least AIC" if place == 0 else None)  # fmt: skip
        little = row.at(7) < 0.5
        axis.plot([row.at(8)], [place], "o", color="#0173b2", markersize=4.5,
                  markerfacecolor="white" if little else "#0173b2",
                  label=None if little or any(d["full"] for d in data) else "hull over laws")  # fmt: skip
        data.append({"truth": row.cells[0], "midpoints": row.cells[1], "aic": row.at(6), "hull": row.at(8),
                     "identified": row.at(7), "full": not little})  # fmt: skip
    axis.axvline(0.95, color="0.4", linewidth=0.8, linestyle=DASHED, label="promised")
    labels = [
        f"{row.cells[0].replace('power law, exponent', 'power')}, {row.cells[1]}"
        for row in reversed(shown)
    ]
    axis.set_yticks(range(len(shown)), labels, fontsize="small")
    axis.set_xlim(0.0, 1.02)
    axis.set_xlabel("share of intervals that cover")
    figure.legend(
        loc="outside upper center",
        ncols=3,
        frameon=False,
        fontsize="small",
        handletextpad=0.2,
        handlelength=1.4,
        columnspacing=1.0,
    )
    return Drawing(figure, pd.DataFrame(data))
