"""Which error costs more: one prompt under three laws, and the campaign's climbs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from scipy.special import logit

from fits.drawing import Drawing, Row, blank, in_style, set_title, strokes
from theory import DR_GRPO, GRPO, Estimator, VerifierChannel
from theory.flow import FlowOptimiser, PopulationFlow, accuracy

if TYPE_CHECKING:
    from paper.numbers import Findings

__all__ = ["draw_crossover"]

START: Final = 0.1
RATE: Final = 0.3
LAWS: Final[tuple[tuple[str, Estimator, FlowOptimiser], ...]] = (
    ("(a) grpo, SGD", GRPO, "sgd"),
    ("(b) dr_grpo, SGD", DR_GRPO, "sgd"),
    ("(c) dr_grpo, Adam", DR_GRPO, "adam"),
)
CLIMBS: Final = (
    ("P2", "start to 0.45", "grpo, to .45", "o", False),
    ("P3", "", "dr_grpo, to .45", "^", False),
    ("P2", "0.6 to 0.75", "grpo, .6 to .75", "s", True),
)


@in_style
def draw_crossover(findings: Findings) -> Drawing:
    """Accuracy of a prompt under either error, in clean time units; log of steps under FP over steps under FN, by G."""
    figure = blank(2.3)
    axes = figure.subplots(1, 4, width_ratios=(1.0, 1.0, 1.0, 1.25))
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
    axes[0].legend(frameon=False, fontsize="small", loc="lower right", handlelength=2.2)
    asked = {one.key: one.finding.rows for one in findings.questions}
    sizes = (4, 8, 16, 32)
    axis = axes[3]
    axis.axhline(0.0, color="0.3", linewidth=0.7)
    for shift, (key, head, name, mark, hollow) in zip((-0.12, 0.0, 0.12), CLIMBS, strict=True):
        colour = list(strokes([one[2] for one in CLIMBS]).values())[
            CLIMBS.index((key, head, name, mark, hollow))
        ].colour
        for place, size in enumerate(sizes):
            label = f"{head}: {size} rollouts" if head else f"{size} rollouts"
            found = next(
                (row.estimate for row in asked.get(key, ()) if row.estimate.label == label), None
            )
            if found is None or found.ci is None:
                continue
            axis.plot([place + shift] * 2, found.ci, color=colour, linewidth=1.2)
            axis.plot(
                [place + shift],
                [found.value],
                mark,
                color=colour,
                markersize=4,
                markerfacecolor="white" if hollow else colour,
                label=name if place == 0 else None,
            )
            rows.append(
                {
                    "panel": "campaign",
                    "curve": name,
                    "x": size,
                    "y": found.value,
                    "low": found.ci[0],
                    "high": found.ci[1],
                }
            )
    axis.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    axis.set_xlabel("rollouts per prompt, $G$")
    axis.set_ylabel("log(steps FP / steps FN)")
    axis.legend(frameon=False, fontsize="x-small", loc="upper right", handletextpad=0.2)
    set_title(axis, "(d) trained")
    return Drawing(figure, pd.DataFrame(rows))
