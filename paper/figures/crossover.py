"""Which error costs more: one prompt under three laws, and the campaign's climbs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import logit

from fits.drawing import Drawing, Row, blank, in_style, key_above, sample, set_title, strokes
from paper.claims import EARLY, LATE, RATES
from paper.probe import climb_by_law
from theory import DR_GRPO, GRPO, Estimator, VerifierChannel
from theory.flow import FlowOptimiser, PopulationFlow, accuracy

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

    from empirical.probe import Probe
    from paper.numbers import Findings

__all__ = ["draw_crossover"]

START: Final = 0.1
RATE: Final = 0.3
LAWS: Final[tuple[tuple[str, Estimator, FlowOptimiser], ...]] = (
    ("(a) grpo, SGD", GRPO, "sgd"),
    ("(b) dr_grpo, SGD", DR_GRPO, "sgd"),
    ("(c) dr_grpo, Adam", DR_GRPO, "adam"),
)


class Climb(NamedTuple):
    """A climb of the campaign: the claim about it, the head of its estimates' labels, and how it is drawn."""

    key: str
    head: str
    name: str
    mark: str
    hollow: bool
    window: tuple[float | None, float]
    rates: tuple[float, ...]


EACH: Final = tuple(float(rate) for rate in RATES)
CLIMBS: Final = (
    Climb("P2", "start to 0.45", "grpo, to .45", "o", False, EARLY, EACH),
    Climb("P3", "", "dr_grpo, to .45", "^", False, EARLY, (0.4,)),
    Climb("P2", "0.6 to 0.75", "grpo, .6 to .75", "s", True, LATE, EACH),
)


@in_style
def draw_crossover(findings: Findings, probe: Probe) -> Drawing:
    """Accuracy of a prompt under either error, in clean time units; log of steps under FP over steps under FN, by G.

    probe: of the campaign's initial weights, for the law's lines.
    """
    figure = blank(2.05)
    axes = figure.subplots(1, 4, width_ratios=(1.0, 1.0, 1.0, 1.5))
    rows: list[Row] = []
    verifiers = {
        "clean": VerifierChannel(0.0, 0.0),
        f"fpr {RATE:g}": VerifierChannel(RATE, 0.0),
        f"fnr {RATE:g}": VerifierChannel(0.0, RATE),
    }
    time = np.linspace(0.0, 1.0, 121)
    for axis, (title, estimator, optimiser) in zip(axes[:3], LAWS, strict=True):
        flow = PopulationFlow(
            np.array([0.0]),
            theta=float(logit(START)),
            optimiser=optimiser,
            rate=1.0,
            signal=0.3,
            prompts_per_step=8,
            estimator=estimator,
        )
        # As long as false positives need to get to the mirror of the start, and a fifth more.
        steps = np.linspace(0.0, 400.0, 4001)
        slow = accuracy(flow, verifiers[f"fpr {RATE:g}"], steps)
        last = 1.2 * float(np.interp(1.0 - START, slow, steps))
        for name, stroke in strokes(verifiers).items():
            curve = accuracy(flow, verifiers[name], last * time)
            axis.plot(last * time, curve, color=stroke.colour, linestyle=stroke.dash, label=name)
            rows += [
                {"panel": title, "curve": name, "x": x, "y": y}
                for x, y in zip(last * time, curve, strict=True)
            ]
        axis.set_ylim(0.0, 1.0)
        axis.set_xlabel("time")
        set_title(axis, title)
    axes[0].set_ylabel("accuracy")
    key_above(
        figure,
        [
            sample(
                f"(a) to (c): {name}" if name == "clean" else name, stroke.colour, dash=stroke.dash
            )
            for name, stroke in strokes(verifiers).items()
        ],
    )
    asked = {one.key: one.finding.rows for one in findings.questions}
    sizes = (4, 8, 16, 32)
    axis = axes[3]
    axis.axhline(0.0, color="0.3", linewidth=0.7)
    entries: list[Line2D] = []
    for shift, climb, stroke in zip(
        (-0.12, 0.0, 0.12), CLIMBS, strokes([one.name for one in CLIMBS]).values(), strict=True
    ):
        said = [climb_by_law(probe, size, *climb.window, climb.rates) for size in sizes]
        axis.plot(
            [place + shift for place in range(len(sizes))],
            said,
            color=stroke.colour,
            linestyle=stroke.dash,
            linewidth=0.9,
        )
        rows += [
            {"panel": "campaign", "curve": f"{climb.name}, law", "x": size, "y": y}
            for size, y in zip(sizes, said, strict=True)
        ]
        entries.append(
            sample(
                climb.name, stroke.colour, dash=stroke.dash, marker=climb.mark, hollow=climb.hollow
            )
        )
        for place, size in enumerate(sizes):
            label = f"{climb.head}: {size} rollouts" if climb.head else f"{size} rollouts"
            found = next(
                (row.estimate for row in asked.get(climb.key, ()) if row.estimate.label == label),
                None,
            )
            if found is None or found.ci is None:
                continue
            axis.plot([place + shift] * 2, found.ci, color=stroke.colour, linewidth=1.2)
            axis.plot(
                [place + shift],
                [found.value],
                climb.mark,
                color=stroke.colour,
                markersize=4,
                markerfacecolor="white" if climb.hollow else stroke.colour,
            )
            rows.append(
                {
                    "panel": "campaign",
                    "curve": climb.name,
                    "x": size,
                    "y": found.value,
                    "low": found.ci[0],
                    "high": found.ci[1],
                }
            )
    axis.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    axis.set_xlabel("rollouts per prompt, $G$")
    axis.set_ylabel("log(steps FP / FN)")
    axis.set_ylim(-0.17, 0.46)
    axis.legend(
        handles=entries, frameon=False, fontsize="small", loc="upper right", handlelength=2.4
    )
    set_title(axis, "(d) trained; lines: law")
    return Drawing(figure, pd.DataFrame(rows))
