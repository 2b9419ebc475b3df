"""Figures of fits and gaps, each with the table of what it shows, written beside it as CSV.

Bands are what their captions say: bootstrap bands for fitted curves, t intervals over seeds for gaps.
Nothing here touches pyplot: a figure is an object, no window opens and no global style changes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from fits.batch import bootstrap_curve
from fits.errors import InputError
from fits.files import check_target, replacing
from fits.fit import GroupFit
from fits.gap import ArmGap, GapReport
from fits.joint import SurfaceFit, final_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Drawing", "check_figure", "draw_fits", "draw_gap", "draw_surface", "literal", "save"]

Row = dict[str, Any]

SUFFIXES: Final = (".pdf", ".svg", ".png")
WIDTH: Final = 7.0  # inches: two columns of a paper
BAND_REPLICATES: Final = 500


@dataclass(frozen=True)
class Drawing:
    """A matplotlib figure and the data it shows, one row per point, line vertex or interval."""

    figure: Figure
    data: pd.DataFrame


def check_figure(path: Path) -> None:
    """Raise InputError where no figure could be written to `path`: by its suffix, or by its folder."""
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: draw to a file ending in {', '.join(SUFFIXES)}")
    check_target(path)
    check_target(path.with_suffix(".csv"))


def save(drawing: Drawing, path: Path) -> Path:
    """Write the figure to `path` and its data to the same name with .csv; returns the latter.

    Raises InputError for a suffix that is no figure's, and where the file system refuses.
    """
    check_figure(path)
    # No date in the file, so that the same data give the same bytes.
    stamp = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(path.suffix)
    beside = path.with_suffix(".csv")
    with replacing(path) as part, replacing(beside) as data:
        drawing.figure.savefig(part, dpi=200, metadata=stamp)
        drawing.data.to_csv(data, index=False)
    return beside


def literal(text: str) -> str:
    """`text` for matplotlib to draw as it stands: a `$` in a name must not start mathematics."""
    return text.replace("$", r"\$")


def _canvas(
    height: float, ratios: Sequence[float], *, width: float = WIDTH
) -> tuple[Figure, list[Axes]]:
    import seaborn as sns
    from matplotlib.figure import Figure

    with sns.axes_style("ticks"), sns.plotting_context("paper"):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(1, len(ratios), width_ratios=list(ratios), squeeze=False)[0]
    for axis in axes:
        sns.despine(ax=axis)
    return figure, list(axes)


def _colours(names: Sequence[str]) -> dict[str, Any]:
    """A colour per curve, safe for colour-blind readers; black for one called clean."""
    import seaborn as sns

    others = [name for name in names if name != "clean"]
    drawn = (
        sns.color_palette("colorblind", len(others))
        if len(others) <= 10
        else sns.color_palette("viridis", len(others))
    )
    return {"clean": (0.1, 0.1, 0.1), **dict(zip(others, drawn, strict=True))}


def _engineering(axis: Axes) -> None:
    from matplotlib.ticker import EngFormatter

    axis.xaxis.set_major_formatter(EngFormatter(sep=""))


def draw_fits(
    fits: Sequence[GroupFit],
    groups: Mapping[str, pd.DataFrame],
    *,
    x: str,
    y: str = "accuracy",
    seed: int = 0,
) -> Drawing:
    """Measured accuracies, fitted curves with 95 % bootstrap bands, and the asymptotes they claim.

    fits: from `fits.fit_groups`. groups: the rows of each, by label. seed: of the bootstrap.
    """
    figure, (curves, levels) = _canvas(3.1, [1.7, 1.0])
    colours = _colours([one.group for one in fits])
    rows: list[Row] = []
    for place, one in enumerate(fits):
        group, colour = groups[one.group], colours[one.group]
        x_N, y_N = group[x].to_numpy(np.float64), group[y].to_numpy(np.float64)
        curves.plot(x_N, y_N, "o", color=colour, markersize=2.2, alpha=0.45, markeredgewidth=0)
        rows += [
            {"shows": "measured", "group": one.group, "run_id": run, x: at, y: value}
            for run, at, value in zip(group["run_id"], x_N, y_N, strict=True)
        ]
        fit = one.fit
        if np.isfinite(fit.theta_P).all() and fit.status in ("converged", "at bound"):
            grid = np.linspace(
                max(float(x_N.min()), 1e-12 if fit.law.needs_positive_x else 0.0), fit.x_max, 160
            )
            low_N, high_N = np.full(160, np.nan), np.full(160, np.nan)
            if len(fit.runs) > 1 and not fit.law.needs_positive_x:
                low_N, high_N = bootstrap_curve(
                    fit.law,
                    x_N,
                    y_N,
                    run=group["run_id"].to_numpy(),
                    theta_P=fit.theta_P,
                    rng=np.random.default_rng(seed),
                    replicates=BAND_REPLICATES,
                ).band(grid)
                curves.fill_between(grid, low_N, high_N, color=colour, alpha=0.18, linewidth=0)
            line = fit.predict(grid)
            curves.plot(
                grid,
                line,
                color=colour,
                linewidth=1.3,
                label=literal(f"{one.group} ({fit.law.name})"),
            )
            rows += [
                {"shows": "fit", "group": one.group, x: a, y: b, "low": lo, "high": hi}
                for a, b, lo, hi in zip(grid, line, low_N, high_N, strict=True)
            ]
        rows += _asymptote(levels, one, len(fits) - 1 - place, colour, y)
    curves.set_xlabel(x)
    curves.set_ylabel(y)
    _engineering(curves)
    if curves.get_legend_handles_labels()[0]:
        curves.legend(frameon=False, fontsize="small", loc="lower right")
    levels.set_yticks(
        range(len(fits)), [literal(textwrap.shorten(one.group, 26)) for one in reversed(fits)]
    )
    levels.set_ylim(-0.6, len(fits) - 0.4)
    levels.set_xlabel(f"asymptote of {y}, 95 %")
    levels.grid(axis="x", linewidth=0.4, alpha=0.6)
    return Drawing(figure, pd.DataFrame(rows))


def _asymptote(axis: Axes, one: GroupFit, place: int, colour: object, y: str) -> list[Row]:
    """One row of the right panel: an interval where the asymptote is identified, else words."""
    value, interval = one.fit.params.get("asymptote"), one.fit.ci.get("asymptote")
    if not one.fit.identified or value is None:
        axis.text(
            0.5,
            place,
            "unidentified",
            ha="center",
            va="center",
            fontsize="small",
            style="italic",
            transform=axis.get_yaxis_transform(),
            color="0.35",
        )
        return [
            {"shows": "asymptote", "group": one.group, "note": f"unidentified: {one.fit.reason}"}
        ]
    low, high = interval if interval is not None else (np.nan, np.nan)
    if interval is not None:
        axis.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
    axis.plot([value], [place], "o", color=colour, markersize=4.5)
    return [{"shows": "asymptote", "group": one.group, y: value, "low": low, "high": high}]


_VERDICT_MARKS: Final = {"closes": "o", "persists": "s", "undetermined": "D"}


def draw_gap(report: GapReport) -> Drawing:
    """Paired gap against compute, with t bands over seeds, and every arm's floor with its verdict."""
    has_curves = any(len(arm.curve) > 1 for arm in report.arms)
    height = max(2.9, 0.28 * len(report.arms) + 1.2)
    figure, axes = _canvas(height, [1.35, 1.0] if has_curves else [1.0])
    colours = _colours([arm.arm for arm in report.arms])
    rows: list[Row] = []
    if has_curves:
        rows += _gap_curves(axes[0], report, colours)
    floors = axes[-1]
    for place, arm in enumerate(reversed(report.arms)):
        rows.append(_floor(floors, arm, place, colours[arm.arm]))
    floors.axvline(0.0, color="0.2", linewidth=0.7)
    floors.axvline(report.delta, color="0.4", linewidth=0.8, linestyle=(0, (4, 3)))
    floors.set_yticks(
        range(len(report.arms)),
        [
            f"{literal(textwrap.shorten(arm.arm, 24))}\n{arm.verdict}"
            for arm in reversed(report.arms)
        ],
    )
    floors.set_ylim(-0.6, len(report.arms) - 0.4)
    floors.set_xlabel("floor of the gap, 95 %")
    floors.annotate(
        f"δ = {report.delta:g}",
        (report.delta, 1.0),
        xycoords=floors.get_xaxis_transform(),
        ha="center",
        va="bottom",
        fontsize="small",
        color="0.3",
        annotation_clip=False,
    )
    floors.grid(axis="x", linewidth=0.4, alpha=0.6)
    return Drawing(figure, pd.DataFrame(rows))


def _gap_curves(axis: Axes, report: GapReport, colours: Mapping[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for arm in report.arms:
        at = np.array([point.x for point in arm.curve])
        gap = np.array([point.gap for point in arm.curve])
        low = np.array([point.ci[0] if point.ci else np.nan for point in arm.curve])
        high = np.array([point.ci[1] if point.ci else np.nan for point in arm.curve])
        colour = colours[arm.arm]
        # Over two seeds a band says only that there are two: it stays in the table, not on the page.
        if min(point.seeds for point in arm.curve) > 2:
            axis.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.plot(
            at, gap, "-o", color=colour, linewidth=1.1, markersize=2.4, label=literal(arm.arm)
        )
        rows += [
            {"shows": "gap", "arm": arm.arm, report.x: a, "gap": g, "low": lo, "high": hi}
            for a, g, lo, hi in zip(at, gap, low, high, strict=True)
        ]
    # A band over few seeds can be many times wider than any gap: keep the axis on the gaps.
    every = np.concatenate([[point.gap for point in arm.curve] for arm in report.arms])
    reach = max(float(np.ptp(every)), 4.0 * report.delta)
    axis.set_ylim(float(every.min()) - 0.6 * reach, float(every.max()) + 0.6 * reach)
    axis.axhline(0.0, color="0.2", linewidth=0.7)
    axis.axhline(report.delta, color="0.4", linewidth=0.8, linestyle=(0, (4, 3)))
    axis.set_xlabel(report.x)
    axis.set_ylabel("accuracy, clean minus noisy")
    _engineering(axis)
    axis.legend(frameon=False, fontsize="small", ncols=2 if len(report.arms) > 4 else 1)
    return rows


def _floor(axis: Axes, arm: ArmGap, place: int, colour: object) -> Row:
    low, high = arm.floor_ci if arm.floor_ci is not None else (np.nan, np.nan)
    if arm.floor_ci is not None:
        axis.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
    axis.plot(
        [arm.floor],
        [place],
        _VERDICT_MARKS[arm.verdict],
        color=colour,
        markersize=4.5,
        # Hollow where the floor speaks of the largest budget only.
        markerfacecolor=colour if arm.basis == "asymptote" else "white",
    )
    return {
        "shows": f"floor of the {arm.basis}",
        "arm": arm.arm,
        "gap": arm.floor,
        "low": low,
        "high": high,
        "verdict": arm.verdict,
    }


def draw_surface(
    fits: Sequence[tuple[str, SurfaceFit]], groups: Mapping[str, pd.DataFrame], *, axis: str
) -> Drawing:
    """Fitted against measured final accuracy of every run, one colour a group; refused fits in words."""
    figure, (panel,) = _canvas(3.4, [1.0], width=3.6)
    colours = _colours([label for label, _ in fits])
    rows: list[Row] = []
    for label, fit in fits:
        runs = final_rows(groups[label])
        if fit.aliased:
            panel.plot(
                [], [], "x", color=colours[label], label=literal(f"{label}: refused, aliased terms")
            )
            rows.append({"shows": "refused", "group": label, "note": fit.reason})
            continue
        compute = runs[axis].to_numpy(np.float64) if axis in runs.columns else np.ones(len(runs))
        fitted = fit.predict(
            runs["fpr"].to_numpy(np.float64), runs["fnr"].to_numpy(np.float64), compute
        )
        measured = runs["accuracy"].to_numpy(np.float64)
        panel.plot(
            fitted,
            measured,
            "o",
            color=colours[label],
            markersize=3.5,
            label=literal(f"{label} (RMSE {fit.rmse:.3f})"),
        )
        rows += [
            {"shows": "run", "group": label, "fpr": x, "fnr": d, "fitted": f, "measured": m}
            for x, d, f, m in zip(runs["fpr"], runs["fnr"], fitted, measured, strict=True)
        ]
    shown = [float(row[name]) for row in rows for name in ("fitted", "measured") if name in row]
    low, high = (min(shown), max(shown)) if shown else (0.0, 1.0)
    panel.plot([low, high], [low, high], color="0.3", linewidth=0.8)
    panel.set_xlabel("fitted accuracy")
    panel.set_ylabel("measured accuracy")
    panel.set_aspect("equal", adjustable="box")
    panel.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0.0, 1.0))
    return Drawing(figure, pd.DataFrame(rows))
