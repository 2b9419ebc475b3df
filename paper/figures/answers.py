"""One picture of what the library says: its three questions, each answered by the campaign."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import pandas as pd

from fits.answers import QUESTIONS
from fits.drawing import (
    BLACK,
    VERDICTS,
    Drawing,
    Look,
    Row,
    count_along,
    draw_band,
    draw_interval,
    in_style,
    mark_gap,
    panels,
    strokes,
)
from fits.gap import ArmGap, GapReport, verdict_in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SIZE", "draw_answers"]

SIZE: Final = 8  # rollouts a prompt of the first two panels
# From harmless to hopeless; the first panel leaves out the last, which would hide the others.
ARMS: Final = ("fnr0.4", "fpr0.4", "both0.4", "coin")
VERIFIER: Final = Look(BLACK, "o")
COMPUTE: Final = Look("0.55", "D")
PLAIN: Final = "grpo"  # the estimator that is drawn in full


@in_style
def draw_answers(report: GapReport) -> Drawing:
    """Gaps against rollouts; gaps beside what compute adds; which error costs more, by group size.

    report: of the campaign, several settings of estimator and group size. Intervals and bands are 95 % over seeds.
    """
    figure, axes = panels(2.9, [1.0, 1.0, 0.9])
    by_name = {arm.arm.split(",")[0]: arm for arm in report.arms if _in_full(arm)}
    shown = [by_name[name] for name in ARMS if name in by_name]
    rows = [
        *_closing(axes[0, 0], shown[:-1], report.delta),
        *_lever(axes[0, 1], shown),
        *_error(axes[0, 2], report),
    ]
    for axis, question in zip(axes[0], QUESTIONS, strict=True):
        half = question.index(" ", len(question) // 2 - 3)
        axis.set_title(
            f"{question[:half]}\n{question[half + 1 :]}", fontsize=9, fontweight="bold", loc="left"
        )
    return Drawing(figure, pd.DataFrame(rows))


def _in_full(arm: ArmGap) -> bool:
    # What all arms share is in no setting.
    setting = {"group_size": SIZE, "estimator": PLAIN, **arm.setting}
    return (setting["group_size"], setting["estimator"]) == (SIZE, PLAIN)


def _closing(axis: Axes, arms: Sequence[ArmGap], delta: float) -> list[Row]:
    """Accuracy lost against rollouts, each curve named at its end with its verdict."""
    rows: list[Row] = []
    looks = strokes([arm.arm for arm in arms])
    for arm in arms:
        name, (colour, dash) = arm.arm.split(",")[0], looks[arm.arm]
        points = [point for point in arm.curve if point.x > 0.0]
        at, mean = [point.x for point in points], [point.gap for point in points]
        low, high = zip(*(point.ci or (point.gap, point.gap) for point in points), strict=True)
        draw_band(axis, at, low, high, colour)
        axis.plot(at, mean, color=colour, linestyle=dash, linewidth=1.3)
        rows += [
            {"panel": 1, "arm": name, "x": p.x, "value": p.gap, "low": a, "high": b}
            for p, a, b in zip(points, low, high, strict=True)
        ]
        top = max(range(len(points)), key=lambda k: mean[k])
        lowest = arm is min(arms, key=lambda one: max(point.gap for point in one.curve))
        axis.annotate(
            f"{name}: {verdict_in_words(arm.verdict, arm.basis)}".replace(" (", "\n("),
            (at[top], 0.0 if lowest else high[top]),  # the lowest has no place above it
            xytext=(0, -3 if lowest else 2),
            textcoords="offset points",
            ha="center",
            va="top" if lowest else "bottom",
            color=colour,
            fontsize="small",
        )
    mark_gap(axis, delta)
    axis.set_xscale("log")
    count_along(axis)
    low, high = axis.get_ylim()
    axis.set_ylim(low - 0.08 * (high - low), high + 0.16 * (high - low))  # for the names
    axis.set_xlabel("rollouts (log scale)")
    axis.set_ylabel("accuracy lost to the verifier")
    return rows


def _lever(axis: Axes, arms: Sequence[ArmGap]) -> list[Row]:
    """What a clean verifier would add at the end, beside what the last doubling of compute did."""
    rows: list[Row] = []
    for place, arm in enumerate(reversed(arms)):
        name = arm.arm.split(",")[0]
        draw_interval(axis, place + 0.13, arm.end, arm.end_ci, VERIFIER)
        rows.append(_interval(2, name, "clean verifier", arm.end, arm.end_ci))
        if arm.doubling is not None:
            draw_interval(axis, place - 0.13, arm.doubling, arm.doubling_ci, COMPUTE)
            rows.append(_interval(2, name, "doubling", arm.doubling, arm.doubling_ci))
    axis.set_yticks(range(len(arms)), [arm.arm.split(",")[0] for arm in reversed(arms)])
    axis.set_ylim(-0.6, len(arms) - 0.4)
    axis.set_xscale("symlog", linthresh=0.1)
    axis.set_xticks([0.0, 0.05, 0.1, 0.5], ["0", ".05", ".1", ".5"])
    axis.minorticks_off()
    axis.set_xlim(right=0.9)
    axis.axvline(0.0, color="0.2", linewidth=0.7, zorder=0)
    axis.set_xlabel("accuracy added by")
    if not arms:
        return rows
    first = arms[0]
    for text, value, look, side in (
        ("a clean verifier", first.end, VERIFIER, 1),
        ("the last doubling", first.doubling, COMPUTE, -1),
    ):
        if value is not None:
            axis.annotate(
                text,
                (value, len(arms) - 1 + 0.13 * side),
                xytext=(0, 5 * side),
                textcoords="offset points",
                ha="center" if side < 0 else "left",
                va="top" if side < 0 else "bottom",
                color=look.colour if side > 0 else "0.35",
                fontsize="small",
            )
    return rows


def _error(axis: Axes, report: GapReport) -> list[Row]:
    """Accuracy of arms with false positives less that of arms with false negatives, equal J, by group size."""
    rows: list[Row] = []
    told = [one for one in report.settings if one.asymmetry.difference is not None]
    plain = {
        int(one.setting.get("group_size") or SIZE): one.asymmetry
        for one in told
        if one.setting.get("estimator", PLAIN) == PLAIN
    }
    sizes = sorted(plain)
    for place, size in enumerate(sizes):
        found = plain[size]
        assert found.difference is not None
        look = VERDICTS["persists" if found.difference < 0.0 else "closes"]
        if found.ci is not None:
            axis.plot([place, place], found.ci, color=look.colour, linewidth=1.6)
        axis.plot([place], [found.difference], look.marker, color=look.colour, markersize=4.5)
        rows.append(_interval(3, str(size), "fp less fn", found.difference, found.ci))
    axis.axhline(0.0, color="0.2", linewidth=0.7, zorder=0)
    axis.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    axis.set_xlim(-0.5, len(sizes) - 0.5)
    axis.set_xlabel("rollouts a prompt")
    axis.set_ylabel("accuracy, FP arms − FN arms")
    for text, where, side in (
        ("false negatives cost more", 0.97, "top"),
        ("false positives cost more", 0.03, "bottom"),
    ):
        look = VERDICTS["closes" if side == "top" else "persists"]
        axis.text(
            0.04 if side == "top" else 0.96,
            where,
            text,
            transform=axis.transAxes,
            ha="left" if side == "top" else "right",
            va=side,
            fontsize="small",
            color=look.colour,
        )
    axis.margins(y=0.18)
    return rows


def _interval(panel: int, arm: str, what: str, value: float, ci: tuple[float, float] | None) -> Row:
    low, high = ci or (float("nan"), float("nan"))
    return {"panel": panel, "arm": arm, "what": what, "value": value, "low": low, "high": high}
