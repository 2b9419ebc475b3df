"""What a group's size does to noise: the expected step, the verifier's worth, and the end of returns to rollouts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from fits.drawing import DASHED, Drawing, Row, blank, in_style, sample, set_title, strokes
from paper.probe import law_speed
from theory import VerifierChannel, drift, phi2, population_phi2

if TYPE_CHECKING:
    from paper.probe import ProbeCheck

__all__ = ["draw_returns"]

SIZES: Final = (2, 3, 4, 6, 8, 12, 16, 32, 64, 128, 256, 512)
PASS_RATES: Final = (0.01, 0.1, 0.5)
FPR: Final = 0.1
VERIFIERS: Final = {
    "fpr .1": (0.1, 0.0),
    "fpr .3": (0.3, 0.0),
    "fnr .1": (0.0, 0.1),
    "fnr .3": (0.0, 0.3),
}
PROBED: Final = ("fpr0.4", "fnr0.4", "both0.4")
BESIDE: Final = 1.18  # trained marks stand to the right of probed ones
STEP: Final = 20  # at which a trained speed is read


@in_style
def draw_returns(check: ProbeCheck) -> Drawing:
    """Noisy over clean step against G; phi^2 against pass rate; speed against G: law, probe, trained by STEP."""
    probe = check.probe
    figure = blank(2.2)
    axes = figure.subplots(1, 3)
    rows: list[Row] = []
    clean, noisy = VerifierChannel(0.0, 0.0), VerifierChannel(FPR, 0.0)
    for a, stroke in strokes([f"a = {a:g}" for a in PASS_RATES]).items():
        rate = float(a[4:])
        ratio = [float(drift(rate, noisy, G).drift / drift(rate, clean, G).drift) for G in SIZES]
        axes[0].plot(SIZES, ratio, color=stroke.colour, linestyle=stroke.dash, label=a)
        limit = float(np.sqrt(phi2(rate, noisy)))
        axes[0].plot([SIZES[-1]], [limit], ">", color=stroke.colour, markersize=4, clip_on=False)
        rows += [
            {"panel": "step", "curve": a, "x": G, "y": y} for G, y in zip(SIZES, ratio, strict=True)
        ]
    axes[0].set_xscale("log", base=2)
    axes[0].set_xlabel("rollouts per prompt, $G$")
    axes[0].set_ylabel("noisy / clean step")
    axes[0].set_ylim(0.0, 1.0)
    axes[0].legend(frameon=False, fontsize="small", loc="lower left", handlelength=2.6)
    set_title(axes[0], f"(a) grpo, fpr {FPR:g}")

    at = np.linspace(0.005, 0.995, 199)
    for name, stroke in strokes(VERIFIERS).items():
        worth = phi2(at, VerifierChannel(*VERIFIERS[name]))
        axes[1].plot(at, worth, color=stroke.colour, linestyle=stroke.dash, label=name)
        rows += [
            {"panel": "worth", "curve": name, "x": x, "y": y}
            for x, y in zip(at, worth, strict=True)
        ]
    axes[1].axvline(0.5, color="0.6", linewidth=0.7, linestyle=DASHED)
    axes[1].set_xlabel("pass rate, $a$")
    axes[1].set_ylabel(r"$\phi^2$")
    axes[1].set_ylim(-0.4, 0.95)  # a place for the key
    axes[1].set_yticks([0.0, 0.25, 0.5, 0.75])
    axes[1].legend(
        frameon=False,
        fontsize="small",
        loc="lower center",
        ncols=2,
        handlelength=2.4,
        columnspacing=1.0,
    )
    set_title(axes[1], "(b) worth of a rollout")

    eight = probe.at(8)
    size = np.geomspace(2, 256, 100)
    entries = []
    for (name, stroke), mark in zip(strokes(PROBED).items(), "os^", strict=True):
        arm = next(one for one in eight.arms if one.arm == name)
        worth = population_phi2(np.array(probe.pass_rates), VerifierChannel(arm.fpr, arm.fnr))
        law = law_speed(probe, size, worth)
        axes[2].plot(size, law, color=stroke.colour, linestyle=stroke.dash)
        rows += [
            {"panel": "speed", "curve": f"{name}, law", "x": x, "y": y}
            for x, y in zip(size, law, strict=True)
        ]
        found = [
            (one.group_size, a) for one in probe.by_group_size for a in one.arms if a.arm == name
        ]
        axes[2].plot(
            [G for G, _ in found],
            [a.relative_speed for _, a in found],
            mark,
            color=stroke.colour,
            markersize=4,
            clip_on=False,
        )
        rows += [
            {"panel": "speed", "curve": f"{name}, probe", "x": G, "y": a.relative_speed}
            for G, a in found
        ]
        for one in check.compared:
            if one.arm != name or one.step != STEP:
                continue
            axes[2].errorbar(
                [one.group_size * BESIDE],
                [one.measured],
                yerr=[one.measured_se],
                fmt=mark,
                markersize=4,
                markerfacecolor="white",
                elinewidth=0.8,
                color=stroke.colour,
                clip_on=False,
            )
            rows.append(
                {
                    "panel": "speed",
                    "curve": f"{name}, trained",
                    "x": one.group_size,
                    "y": one.measured,
                }
            )
        entries.append(sample(name, stroke.colour, dash=stroke.dash, marker=mark))
    entries.append(sample("trained", "0.2", dash="", marker="o", hollow=True))
    axes[2].set_xscale("log", base=2)
    axes[2].set_ylim(0.0, 1.02)
    axes[2].set_xlabel("rollouts per prompt, $G$")
    axes[2].set_ylabel("speed / clean")
    axes[2].legend(
        handles=entries, frameon=False, fontsize="small", loc="lower right", handlelength=2.6
    )
    set_title(axes[2], "(c) law (lines), probe, trained")
    return Drawing(figure, pd.DataFrame(rows))
