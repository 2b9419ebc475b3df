"""Forecast errors, blind ones apart from those made with the rows in view, beside what a forecast has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pandas as pd

from fits.drawing import Drawing, Row, in_style, sample
from paper.figures.canvas import column

if TYPE_CHECKING:
    from paper.numbers import Findings
    from paper.scores import Score

__all__ = ["BASELINES", "Scored", "draw_scores", "first_blind", "in_view"]

BASELINES: Final = (
    ("no-gap", "no harm", "D", "#a0a0a0"),
    ("time-scaled-by-J", "clean at $Jt$", "s", "#de8f05"),
    ("sqrt-margin", r"linear in $\sqrt{J}$", "^", "#029e73"),
    ("phi-clock", r"clean at $\phi t$", "v", "#cc78bc"),
)
OURS: Final = ("this work", "o", "0.05")


@dataclass(frozen=True)
class Scored:
    """A set of forecasts: root mean square errors, ours, of baselines by their name, and of evaluation noise."""

    name: str
    ours: float
    baselines: Mapping[str, float] = field(default_factory=dict[str, float])
    noise: float | None = None


def first_blind(reported: Mapping[str, Mapping[str, str]]) -> list[Scored]:
    """The failed blind test, as it was scored by the person who held the answers. reported: outside/reported.json."""
    return [
        Scored(
            name,
            float(reported[f"first-blind-{key}"]["text"]),
            {"time-scaled-by-J": float(reported[f"first-blind-{key}-clock"]["text"])},
        )
        for key, name in (("1b", "GSM8K, 1B"), ("addition", "addition"))
    ]


def in_view(findings: Findings) -> list[tuple[str, Score]]:
    """Scores of the forecasts that were made with the rows in view, by set."""
    shared = findings.shared
    found = [("campaign", findings.forecast)]
    found += [
        (name, score)
        for name in ("seed grid", "MATH curves")
        if name in shared and (score := shared[name].score) is not None
    ]
    return found


def _in_view(findings: Findings) -> list[Scored]:
    return [
        Scored(
            name,
            score.rmse,
            {key: one.rmse for key, one in score.baselines.items() if one.rmse is not None},
            score.noise_floor,
        )
        for name, score in in_view(findings)
    ]


@in_style
def draw_scores(
    findings: Findings, earlier: Sequence[Scored], present: Sequence[Scored]
) -> Drawing:
    """RMSE by set: ours, baselines that are identified there, and evaluation noise.

    earlier, present: blind sets by the version of the model that forecast them, below those made in view.
    """
    figure = column(1.95)
    axis = figure.subplots()
    kinds = (
        ("in view", "not blind", _in_view(findings)),
        ("blind, earlier version", "blind, earlier", earlier),
        ("blind, present version", "blind, present", present),
    )
    sets = [(one, what) for what, _, some in kinds for one in some]
    rows: list[Row] = []
    for place, (one, what) in enumerate(sets):
        y = len(sets) - 1 - place
        if one.noise is not None:
            axis.plot([one.noise] * 2, [y - 0.36, y + 0.36], color="0.1", linewidth=1.6)
            rows.append({"set": one.name, "made": what, "of": "noise", "rmse": one.noise})
        for key, _, mark, colour in BASELINES:
            if key in one.baselines:
                axis.plot([one.baselines[key]], [y], mark, color=colour, markersize=5)
                rows.append({"set": one.name, "made": what, "of": key, "rmse": one.baselines[key]})
        axis.plot([one.ours], [y], OURS[1], color=OURS[2], markersize=6)
        rows.append({"set": one.name, "made": what, "of": "ours", "rmse": one.ours})
    below = len(sets)
    for (_, text, some), shade in zip(kinds, ("1.0", "0.92", "0.84"), strict=True):
        top, below = below - 0.5, below - len(some)
        axis.axhspan(below - 0.5, top, color=shade, zorder=0, linewidth=0)
        axis.text(
            0.355, top - 0.12, text, ha="right", va="top", fontsize="small", fontweight="bold"
        )
    axis.set_yticks(range(len(sets)), [one.name for one, _ in reversed(sets)])
    axis.set_ylim(-0.5, len(sets) - 0.4)
    axis.set_xlim(0.0, 0.36)
    axis.set_xlabel("RMSE of accuracy")
    entries = [
        sample(name, colour, dash="", marker=mark)
        for name, mark, colour in (OURS, *((n, m, c) for _, n, m, c in BASELINES))
    ]
    for entry, (_, name, _, _) in zip(entries[1:], BASELINES, strict=True):
        entry.set_label(name)  # mathematics, which `sample` draws as it stands
    entries.append(sample("evaluation noise", "0.1", dash="", marker="|"))
    figure.legend(
        handles=entries,
        loc="outside upper center",
        ncols=3,
        frameon=False,
        fontsize="small",
        handletextpad=0.1,
        columnspacing=1.0,
    )
    return Drawing(figure, pd.DataFrame(rows))
