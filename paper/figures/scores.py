"""Forecast errors of three data sets beside what a forecast has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

from fits.drawing import DASHED, Drawing, Row, in_style
from paper.figures.canvas import column

if TYPE_CHECKING:
    from paper.numbers import Findings
    from paper.scores import Score

__all__ = ["draw_scores"]

BASELINES: Final = (
    ("no-gap", "no harm", "D", "#a0a0a0"),
    ("time-scaled-by-J", "clean at $Jt$", "s", "#de8f05"),
    ("sqrt-margin", r"linear in $\sqrt{J}$", "^", "#029e73"),
    ("phi-clock", r"clean at $\phi t$", "v", "#cc78bc"),
)


@in_style
def draw_scores(findings: Findings) -> Drawing:
    """RMSE by data set: ours, baselines that are identified there, and evaluation noise."""
    figure = column(1.9)
    axis = figure.subplots()
    shared = findings.shared
    sets: list[tuple[str, Score]] = [("campaign", findings.forecast)]
    for name, label in (("seed grid", "seed grid"), ("MATH curves", "MATH curves")):
        if name in shared and shared[name].score is not None:
            sets.append((label, shared[name].score))  # pyright: ignore[reportArgumentType]
    rows: list[Row] = []
    for place, (label, score) in enumerate(sets):
        y = len(sets) - 1 - place
        if score.noise_floor is not None:
            axis.plot(
                [score.noise_floor] * 2,
                [y - 0.3, y + 0.3],
                color="0.3",
                linewidth=1.0,
                linestyle=DASHED,
            )
            rows.append({"set": label, "of": "noise", "rmse": score.noise_floor})
        for key, name, mark, colour in BASELINES:
            rmse = score.baselines[key].rmse
            if rmse is not None:
                axis.plot(
                    [rmse],
                    [y],
                    mark,
                    color=colour,
                    markersize=5,
                    label=name if _first(axis, name) else None,
                )
                rows.append({"set": label, "of": key, "rmse": rmse})
        axis.plot(
            [score.rmse],
            [y],
            "o",
            color="0.05",
            markersize=6,
            label="this work" if place == 0 else None,
        )
        rows.append({"set": label, "of": "ours", "rmse": score.rmse})
    axis.set_yticks([len(sets) - 1 - k for k in range(len(sets))], [label for label, _ in sets])
    axis.set_ylim(-0.6, len(sets) - 0.4)
    axis.set_xlim(0.0, 0.36)
    axis.set_xlabel("RMSE of accuracy")
    axis.legend(frameon=False, fontsize="x-small", loc="center right", handletextpad=0.2)
    return Drawing(figure, pd.DataFrame(rows))


def _first(axis: object, name: str) -> bool:
    """Whether nothing on the axes is called so yet."""
    return name not in {line.get_label() for line in axis.get_lines()}  # type: ignore[attr-defined]
