"""Figures of fits and gaps.

Bands are what their captions say: bootstrap bands for fitted curves, t intervals over seeds for gaps.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from fits.batch import bootstrap_curve
from fits.curves import MeanCurve
from fits.drawing import (
    DASHED,
    VERDICTS,
    Colour,
    Drawing,
    Look,
    Row,
    Stroke,
    blank,
    count_along,
    draw_band,
    draw_interval,
    in_style,
    key_above,
    literal,
    mark_gap,
    panels,
    sample,
    say,
    set_title,
    strokes,
)
from fits.each import Each, in_turn
from fits.errors import InputError
from fits.fit import CurveFit, GroupFit
from fits.gap import ArmGap, GapReport, setting_in_words
from fits.joint import SurfaceFit, final_rows
from fits.laws import FloatArray

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import SubFigure

    from fits.report import FitReport

__all__ = [
    "MOST_BANDS",
    "draw_fits",
    "draw_gap",
    "draw_means",
    "draw_progress",
    "draw_report",
    "draw_surface",
    "gap_reach",
    "without_setting",
]

BAND_REPLICATES: Final = 500
SURFACE_POINTS: Final = 31
MOST_SURFACES: Final = 6
MOST_BANDS: Final = 6  # bands that are drawn together, here and in a report's page
MOST_TOGETHER: Final = 5  # arms whose curves are told apart in one panel
ACROSS: Final = 4  # small panels side by side


def _name_rows(
    key: Axes, axis: Axes, words: Mapping[str, str], drawn: Mapping[str, Stroke]
) -> None:
    """The key of both panels, in the one between them: a stroke of each line and its words, top to bottom.

    words: by name, in the order of the rows of `axis`, which they stand beside.
    """
    for one in (key, axis):
        one.set_ylim(-0.6, len(words) - 0.4)
        one.set_yticks([])
        one.spines["left"].set_visible(False)
    key.set_axis_off()
    key.set_xlim(0.0, 1.0)
    for place, name in enumerate(reversed(list(words))):
        colour, dash = drawn[name]
        key.plot([0.0, 0.16], [place, place], color=colour, linestyle=dash, linewidth=1.6)
        key.text(0.21, place, literal(words[name]), va="center", fontsize="small")
    axis.grid(axis="x", linewidth=0.4, alpha=0.6)


@in_style
def draw_fits(
    fits: Sequence[GroupFit],
    groups: Mapping[str, pd.DataFrame],
    *,
    x: str,
    y: str = "accuracy",
    seed: int = 0,
    each: Each = in_turn,
) -> Drawing:
    """Measured accuracies, fitted curves with 95 % bootstrap bands, and the asymptotes they claim.

    fits: from `fits.fit_groups`. groups: the rows of each, by label. seed: of the bootstrap.
    each: carries out the curves' bootstraps, here or elsewhere.
    """
    bands = each(_band, [(one.fit, groups[one.group], x, y, seed) for one in fits])
    height = max(3.1, 0.19 * len(fits) + 1.0)
    figure, ((curves, key, levels),) = panels(height, [1.6, 0.85, 1.0])
    drawn = strokes(one.group for one in fits)
    rows: list[Row] = []
    for place, (one, band) in enumerate(zip(fits, bands, strict=True)):
        group, (colour, dash) = groups[one.group], drawn[one.group]
        x_N, y_N = group[x].to_numpy(np.float64), group[y].to_numpy(np.float64)
        curves.plot(x_N, y_N, "o", color=colour, markersize=2.2, alpha=0.45, markeredgewidth=0)
        rows += [
            {"shows": "measured", "group": one.group, "run_id": run, x: at, y: value}
            for run, at, value in zip(group["run_id"], x_N, y_N, strict=True)
        ]
        if band is not None:
            grid, low_N, high_N = band
            draw_band(curves, grid, low_N, high_N, colour)
            line = one.fit.predict(grid)
            curves.plot(grid, line, color=colour, linestyle=dash, linewidth=1.3)
            rows += [
                {"shows": "fit", "group": one.group, x: a, y: b, "low": lo, "high": hi}
                for a, b, lo, hi in zip(grid, line, low_N, high_N, strict=True)
            ]
        rows += _asymptote(levels, one, len(fits) - 1 - place, colour, y)
    curves.set_xlabel(x)
    curves.set_ylabel(y)
    count_along(curves)
    words = {one.group: f"{textwrap.shorten(one.group, 26)} ({one.fit.law.name})" for one in fits}
    _name_rows(key, levels, words, drawn)
    levels.set_xlabel("asymptote, 95 %")
    if not any(one.fit.identified for one in fits):
        levels.set_xticks([])
    return Drawing(figure, pd.DataFrame(rows))


def _band(
    task: tuple[CurveFit, pd.DataFrame, str, str, int],
) -> tuple[FloatArray, FloatArray, FloatArray] | None:
    """(x, low, high) of a fitted curve; NaN where no bootstrap can be made, None where there is no curve."""
    fit, rows, x, y, seed = task
    if not np.isfinite(fit.theta_P).all() or fit.status not in ("converged", "at bound"):
        return None
    x_N = rows[x].to_numpy(np.float64)
    first = max(float(x_N.min()), 1e-12 if fit.law.needs_positive_x else 0.0)
    grid = np.linspace(first, fit.x_max, 160)
    if len(fit.runs) < 2 or fit.law.needs_positive_x:
        return grid, np.full(160, np.nan), np.full(160, np.nan)
    refits = bootstrap_curve(
        fit.law,
        x_N,
        rows[y].to_numpy(np.float64),
        run=rows["run_id"].to_numpy(),
        theta_P=fit.theta_P,
        rng=np.random.default_rng(seed),
        replicates=BAND_REPLICATES,
    )
    return grid, *refits.band(grid)


def _asymptote(axis: Axes, one: GroupFit, place: int, colour: Colour, y: str) -> list[Row]:
    """One row of the right panel: an interval where the asymptote is identified, else words."""
    value, interval = one.fit.params.get("asymptote"), one.fit.ci.get("asymptote")
    if not one.fit.identified or value is None:
        say(axis, place, "unidentified")
        return [
            {"shows": "asymptote", "group": one.group, "note": f"unidentified: {one.fit.reason}"}
        ]
    low, high = interval if interval is not None else (np.nan, np.nan)
    draw_interval(axis, place, value, interval, Look(colour, "o"))
    return [{"shows": "asymptote", "group": one.group, y: value, "low": low, "high": high}]


@in_style
def draw_gap(
    report: GapReport,
    *,
    arms: Sequence[str] | None = None,
    size: tuple[float, float] | None = None,
) -> Drawing:
    """Paired gap against compute, with t bands over seeds, and every arm's floor with its verdict.

    Arms of one setting share a row of panels; where they are more than MOST_TOGETHER, each has a small panel of
    its own, all on one scale. The scale is set by the arms whose verifier still tells right from wrong (J > 0).
    arms: those to draw, all where None. size: of the figure, in inches.
    Raises InputError naming an arm that is not there.
    """
    chosen = _chosen(report, arms)
    rows_of = [
        [arm for arm in chosen if arm.setting == one.setting]
        for one in report.settings
        if any(arm.setting == one.setting for arm in chosen)
    ]
    has_curves = any(len(arm.curve) > 1 for arm in chosen)
    heights = [_height(arms_of, has_curves=has_curves) for arms_of in rows_of]
    figure = blank(sum(heights) + 0.4)
    parts = np.atleast_1d(np.asarray(figure.subfigures(len(rows_of), 1, height_ratios=heights)))
    rows: list[Row] = []
    for part, arms_of in zip(parts, rows_of, strict=True):
        title = setting_in_words(arms_of[0].setting) if len(report.settings) > 1 else ""
        if has_curves and len(arms_of) > MOST_TOGETHER:
            rows += _small_multiples(part, arms_of, report, title)
        else:
            rows += _together(part, arms_of, report, title, has_curves=has_curves)
    key_above(figure, _marks(chosen, report.delta, has_curves=has_curves), across=4)
    if size is not None:
        figure.set_size_inches(*size)
    return Drawing(figure, pd.DataFrame(rows))


@in_style
def draw_progress(arms: Sequence[ArmGap], *, x: str, delta: float) -> Drawing:
    """Mean accuracy of the clean and every noisy arm of one setting against compute, and the gap between them.

    arms: of one setting, each with a curve. At most MOST_BANDS of them have bands of their gap, 95 % over more than two
    seeds.
    """
    figure, ((levels, gaps),) = panels(3.0 + 0.16 * -(-(len(arms) + 1) // 4), [1.0, 1.0])
    drawn = strokes(["clean", *(arm.arm for arm in arms)])
    rows: list[Row] = []
    most = max(arms, key=lambda arm: (min(point.seeds for point in arm.curve), len(arm.curve)))
    clean = [(point.x, point.accuracy + point.gap) for point in most.curve]
    curves = {"clean": clean} | {arm.arm: [(p.x, p.accuracy) for p in arm.curve] for arm in arms}
    for name, points in curves.items():
        colour, dash = drawn[name]
        at, level = zip(*points, strict=True)
        levels.plot(at, level, color=colour, linestyle=dash, linewidth=1.2)
        rows += [{"shows": "accuracy", "arm": name, x: a, "accuracy": b} for a, b in points]
    levels.set_xlabel(x)
    levels.set_ylabel("accuracy")
    count_along(levels)
    for arm in arms:
        colour, dash = drawn[arm.arm]
        at = [point.x for point in arm.curve]
        ends = [p.ci if p.ci and p.seeds > 2 else (np.nan, np.nan) for p in arm.curve]
        low, high = zip(*ends, strict=True)
        if len(arms) <= MOST_BANDS:
            draw_band(gaps, at, low, high, colour)
        gaps.plot(at, [p.gap for p in arm.curve], color=colour, linestyle=dash, linewidth=1.2)
        rows += [
            {"shows": "gap", "arm": arm.arm, x: p.x, "gap": p.gap, "low": lo, "high": hi}
            for p, lo, hi in zip(arm.curve, low, high, strict=True)
        ]
    gaps.set_ylim(*gap_reach(arms, delta))
    mark_gap(gaps, delta)
    gaps.set_xlabel(x)
    gaps.set_ylabel("accuracy, clean minus noisy")
    count_along(gaps)
    words = {arm.arm: textwrap.shorten(without_setting(arm), 24) for arm in arms}
    key = [
        sample(words.get(name, name), stroke.colour, dash=stroke.dash)
        for name, stroke in drawn.items()
    ]
    key_above(figure, key, across=4)
    return Drawing(figure, pd.DataFrame(rows))


@in_style
def draw_means(curves: Sequence[MeanCurve], *, x: str) -> Drawing:
    """Mean accuracy of every condition against compute, with 95 % bands over more than two runs."""
    figure, ((axis,),) = panels(3.2 + 0.16 * -(-len(curves) // 3))
    drawn = strokes(curve.group for curve in curves)
    rows: list[Row] = []
    for curve in curves:
        colour, dash = drawn[curve.group]
        at = [point.x for point in curve.points]
        means = [point.accuracy for point in curve.points]
        wide = [
            point.ci if point.ci and point.runs > 2 else (np.nan, np.nan) for point in curve.points
        ]
        low, high = zip(*wide, strict=True)
        draw_band(axis, at, low, high, colour)
        axis.plot(at, means, color=colour, linestyle=dash, linewidth=1.2)
        rows += [
            {"group": curve.group, x: a, "accuracy": m, "low": lo, "high": hi}
            for a, m, lo, hi in zip(at, means, low, high, strict=True)
        ]
    axis.set_xlabel(x)
    axis.set_ylabel("accuracy")
    count_along(axis)
    key = [
        sample(textwrap.shorten(name, 30), stroke.colour, dash=stroke.dash)
        for name, stroke in drawn.items()
    ]
    key_above(figure, key, across=3)
    return Drawing(figure, pd.DataFrame(rows))


def _chosen(report: GapReport, names: Sequence[str] | None) -> list[ArmGap]:
    if names is None:
        return list(report.arms)
    there = {arm.arm for arm in report.arms}
    for name in names:
        if name not in there:
            raise InputError(
                f"there is no arm {name!r} to draw; there are: {', '.join(sorted(there))}"
            )
    return [arm for arm in report.arms if arm.arm in names]


def _height(arms: Sequence[ArmGap], *, has_curves: bool) -> float:
    if has_curves and len(arms) > MOST_TOGETHER:
        return 1.25 * -(-len(arms) // ACROSS) + 0.24 * len(arms) + 1.4
    return max(2.9, 0.22 * len(arms) + 1.1)


def _tells(arm: ArmGap) -> bool:
    """Whether the arm's verifier still tells right from wrong (J > 0), as far as is known."""
    return arm.fpr is None or arm.fnr is None or arm.fpr + arm.fnr < 1.0


def _marks(arms: Sequence[ArmGap], delta: float, *, has_curves: bool) -> list[Artist]:
    """The key of every mark of the figure."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    grey = "0.35"
    verdicts = dict.fromkeys(arm.verdict for arm in arms)
    marks: list[Artist] = [
        Line2D([], [], color=grey, marker=VERDICTS[verdict].marker, linestyle="", label=verdict)
        for verdict in verdicts
    ]
    if any(arm.basis != "asymptote" for arm in arms):
        hollow = Line2D([], [], color=grey, marker="o", markerfacecolor="white", linestyle="")
        hollow.set_label("hollow: at the largest budget")
        marks.append(hollow)
    marks.append(Line2D([], [], color=grey, linewidth=1.6, label="95 % over seeds"))
    if has_curves:
        marks.append(Patch(color=grey, alpha=0.2, linewidth=0, label="95 % band over seeds"))
    marks.append(
        Line2D([], [], color="0.4", linestyle=DASHED, linewidth=0.8, label=f"δ = {delta:g}")
    )
    return marks


def _together(
    part: SubFigure, arms: Sequence[ArmGap], report: GapReport, title: str, *, has_curves: bool
) -> list[Row]:
    """Few arms: their curves in one panel, each named beside its floor."""
    ratios = [1.5, 0.85, 1.0] if has_curves else [0.6, 1.0]
    line: Any = part.subplots(1, len(ratios), width_ratios=ratios)
    drawn = strokes(arm.arm for arm in arms)
    rows: list[Row] = []
    if has_curves:
        rows += _gap_curves(line[0], arms, drawn, x=report.x, delta=report.delta)
    floors = line[-1]
    rows += _floors(floors, arms, {name: one.colour for name, one in drawn.items()}, report.delta)
    words = {
        arm.arm: f"{textwrap.shorten(without_setting(arm), 24)}: {arm.verdict}" for arm in arms
    }
    _name_rows(line[-2], floors, words, drawn)
    set_title(line[0], title)
    return rows


def _small_multiples(
    part: SubFigure, arms: Sequence[ArmGap], report: GapReport, title: str
) -> list[Row]:
    """Many arms: a small panel each, on one scale, and their floors in one panel below."""
    deep = -(-len(arms) // ACROSS)
    halves: Any = part.subfigures(2, 1, height_ratios=[1.25 * deep + 0.4, 0.24 * len(arms) + 0.6])
    above, below = halves
    if title:
        above.suptitle(literal(title), fontsize="small", x=0.01, ha="left")
    grid: Any = above.subplots(deep, ACROSS, sharex=True, sharey=True, squeeze=False)
    for empty in grid.flat[len(arms) :]:
        empty.set_axis_off()
    small = list(grid.flat[: len(arms)])
    rows: list[Row] = []
    for place, (axis, arm) in enumerate(zip(small, arms, strict=True)):
        drawn = {arm.arm: Stroke(VERDICTS[arm.verdict].colour, "-")}
        rows += _gap_curves(axis, [arm], drawn, x=report.x, delta=report.delta)
        # Above the panel: within it, a steep curve runs through the name.
        set_title(axis, without_setting(arm), width=26)
        axis.set_xlabel(report.x if place // ACROSS == deep - 1 else "")
        axis.set_ylabel("gap" if place % ACROSS == 0 else "")
    low, high = gap_reach(arms, report.delta)
    for axis, arm in zip(small, arms, strict=True):
        axis.set_ylim(low, high)
        largest = max((point.gap for point in arm.curve), default=0.0)
        if largest > high:
            beyond = f"up to {largest:.2f} \u2191"
            axis.annotate(
                beyond,
                (0.97, 0.8),
                xycoords="axes fraction",
                va="top",
                ha="right",
                fontsize="small",
            )
    floors = below.subplots()
    colours = {arm.arm: VERDICTS[arm.verdict].colour for arm in arms}
    rows += _floors(floors, arms, colours, report.delta)
    floors.set_ylim(-0.6, len(arms) - 0.4)
    words = [f"{textwrap.shorten(without_setting(arm), 26)}: {arm.verdict}" for arm in arms]
    floors.set_yticks(range(len(arms)), [literal(word) for word in reversed(words)])
    floors.grid(axis="x", linewidth=0.4, alpha=0.6)
    return rows


def gap_reach(arms: Sequence[ArmGap], delta: float) -> tuple[float, float]:
    """Limits of an axis of gaps: those of the arms with J > 0, all arms where there is none."""
    seen = [arm for arm in arms if _tells(arm)] or list(arms)
    every = np.concatenate([[point.gap for point in arm.curve] for arm in seen])
    # A band over few seeds can be many times wider than any gap: keep the axis on the gaps.
    reach = max(float(np.ptp(every)), 4.0 * delta)
    low = min(float(every.min()), 0.0) - 0.25 * reach
    return low, max(float(every.max()), delta) + 0.25 * reach


def _floors(
    axis: Axes, arms: Sequence[ArmGap], colours: Mapping[str, Colour], delta: float
) -> list[Row]:
    """Every arm's floor with its whole interval; an arm with J <= 0 beyond the axis is said in words at its edge."""
    rows = [_floor(axis, arm, place, colours[arm.arm]) for place, arm in enumerate(reversed(arms))]
    seen = [arm for arm in arms if _tells(arm)] or list(arms)
    ends = [end for arm in seen for end in (arm.floor_ci or (arm.floor, arm.floor))]
    low, high = min(*ends, 0.0, delta), max(*ends, 0.0, delta)
    margin = 0.06 * (high - low)
    axis.set_xlim(low - margin, high + margin)
    for place, arm in enumerate(reversed(arms)):
        if arm.floor > high:
            beyond = f"{arm.floor:.2f} \u2192"
            axis.annotate(
                beyond,
                (0.99, place),
                xycoords=axis.get_yaxis_transform(),
                ha="right",
                va="center",
                fontsize="small",
                color=colours[arm.arm],
            )
    axis.axvline(0.0, color="0.2", linewidth=0.7)
    axis.axvline(delta, color="0.4", linewidth=0.8, linestyle=DASHED)
    axis.set_xlabel("floor of the gap, 95 %")
    return rows


def without_setting(arm: ArmGap) -> str:
    """The arm's label without what the title of its row says."""
    said = {f"{name}={value}" for name, value in arm.setting.items()}
    return ",".join(part for part in arm.arm.split(",") if part not in said) or arm.arm


def _gap_curves(
    axis: Axes,
    arms: Sequence[ArmGap],
    drawn: Mapping[str, Stroke],
    *,
    x: str,
    delta: float,
) -> list[Row]:
    rows: list[Row] = []
    for arm in arms:
        at = np.array([point.x for point in arm.curve])
        gap = np.array([point.gap for point in arm.curve])
        low = np.array([point.ci[0] if point.ci else np.nan for point in arm.curve])
        high = np.array([point.ci[1] if point.ci else np.nan for point in arm.curve])
        colour, dash = drawn[arm.arm]
        # Over two seeds a band says only that there are two: it stays in the table, not on the page.
        if min(point.seeds for point in arm.curve) > 2:
            draw_band(axis, at, low, high, colour)
        axis.plot(at, gap, "o", color=colour, linestyle=dash, linewidth=1.1, markersize=2.4)
        rows += [
            {"shows": "gap", "arm": arm.arm, x: a, "gap": g, "low": lo, "high": hi}
            for a, g, lo, hi in zip(at, gap, low, high, strict=True)
        ]
    axis.set_ylim(*gap_reach(arms, delta))
    mark_gap(axis, delta)
    axis.set_xlabel(x)
    axis.set_ylabel("accuracy, clean minus noisy")
    count_along(axis)
    return rows


def _floor(axis: Axes, arm: ArmGap, place: int, colour: Colour) -> Row:
    low, high = arm.floor_ci if arm.floor_ci is not None else (np.nan, np.nan)
    # Hollow where the floor speaks of the largest budget only.
    look = Look(colour, VERDICTS[arm.verdict].marker)
    draw_interval(axis, place, arm.floor, arm.floor_ci, look, hollow=arm.basis != "asymptote")
    return {
        "shows": f"floor of the {arm.basis}",
        "arm": arm.arm,
        "gap": arm.floor,
        "low": low,
        "high": high,
        "verdict": arm.verdict,
    }


@in_style
def draw_surface(
    fits: Sequence[tuple[str, SurfaceFit]], groups: Mapping[str, pd.DataFrame], *, axis: str
) -> Drawing:
    """A joint law over (fpr, fnr): the fitted surface under the measured cells, residuals, fit against data.

    One row of panels for each group and budget (`axis`, at most MOST_SURFACES of them); a design that is
    refused shows where its runs lie, and why in words.
    """
    shown = [
        (label, fit, level, rows)
        for label, fit in fits
        for level, rows in _by_level(final_rows(groups[label]), axis)
    ]
    left_out = len(shown) - MOST_SURFACES
    shown = shown[:MOST_SURFACES]
    figure, grid = panels(2.0 * len(shown) + 0.1, [1.3, 1.3, 1.0], [1.0] * len(shown))
    cells = [_surface_cells(fit, rows, axis) for _, fit, _, rows in shown]
    levels = np.concatenate([one["measured"].to_numpy(np.float64) for one in cells])
    low, high = float(levels.min()), float(max(levels.max(), levels.min() + 1e-3))
    errors = np.concatenate([one["residual"].dropna().to_numpy(np.float64) for one in cells])
    reach = float(np.abs(errors).max()) if errors.size else 0.01
    data: list[pd.DataFrame] = []
    for (surface, residual, against), (label, fit, level, _), one in zip(
        grid, shown, cells, strict=True
    ):
        name = f"{label}, {axis} = {level:g}" if np.isfinite(level) else label
        data.append(one.assign(shows="cell", group=label))
        shade = surface.scatter(
            one["fnr"],
            one["fpr"],
            c=one["measured"],
            cmap="viridis",
            vmin=low,
            vmax=high,
            s=26,
            edgecolor="white",
            linewidth=0.7,
            zorder=3,
            clip_on=False,
        )
        set_title(surface, name, width=34)
        surface.set_xlabel("fnr")
        surface.set_ylabel("fpr")
        if fit.aliased:
            for panel in (residual, against):
                panel.set_axis_off()
            residual.text(
                0.0,
                0.5,
                literal(textwrap.fill(f"Refused: {fit.reason}.", 52)),
                transform=residual.transAxes,
                va="center",
                fontsize="small",
                style="italic",
                in_layout=False,
            )
            data.append(pd.DataFrame([{"shows": "refused", "group": label, "note": fit.reason}]))
            continue
        data.append(_surface(surface, fit, one, level, (low, high)).assign(group=label))
        tint = _residual_tiles(residual, one, reach)
        for panel, mapped, label in (
            (surface, shade, "accuracy"),
            (residual, tint, "measured − fitted, points"),
        ):
            bar = figure.colorbar(mapped, ax=panel, fraction=0.05, pad=0.03, aspect=20)
            bar.set_label(label, fontsize="small")
            bar.ax.tick_params(labelsize="small")
        against.plot([low, high], [low, high], color="0.3", linewidth=0.8, zorder=0)
        against.plot(one["fitted"], one["measured"], "o", color="0.15", markersize=2.8, alpha=0.8)
        against.set_xlabel("fitted accuracy")
        against.set_ylabel("measured accuracy")
        set_title(against, f"RMSE {fit.rmse or 0.0:.3f}")
    for panel in grid.flat:
        panel.set_box_aspect(1.0)
        panel.locator_params(nbins=4)
    if left_out > 0:
        figure.supxlabel(f"{left_out} more budgets are in the table beside", fontsize="small")
    return Drawing(figure, pd.concat(data, ignore_index=True))


def _by_level(rows: pd.DataFrame, axis: str) -> list[tuple[float, pd.DataFrame]]:
    """The runs at each budget, ascending; one budget, NaN, where none is logged."""
    if axis not in rows.columns:
        return [(float("nan"), rows)]
    return [(float(str(level)), part) for level, part in rows.groupby(axis)]


def _surface_cells(fit: SurfaceFit, rows: pd.DataFrame, axis: str) -> pd.DataFrame:
    """Mean accuracy of the runs of every cell, the fitted one, and their difference (NaN if refused)."""
    keys = ["fpr", "fnr", *([axis] if axis in rows.columns else [])]
    cells = rows.groupby(keys, as_index=False).agg(
        measured=("accuracy", "mean"), runs=("accuracy", "size")
    )
    compute = cells[axis].to_numpy(np.float64) if axis in cells.columns else np.ones(len(cells))
    fitted = (
        np.full(len(cells), np.nan)
        if fit.aliased
        else fit.predict(
            cells["fpr"].to_numpy(np.float64), cells["fnr"].to_numpy(np.float64), compute
        )
    )
    return cells.assign(fitted=fitted, residual=cells["measured"] - fitted)


def _surface(
    panel: Axes, fit: SurfaceFit, cells: pd.DataFrame, level: float, limits: tuple[float, float]
) -> pd.DataFrame:
    """The fitted surface over the rates measured, with contours; returns its vertices."""
    sides = [
        np.linspace(float(cells[name].min()), float(cells[name].max()), SURFACE_POINTS)
        for name in ("fpr", "fnr")
    ]
    fpr, fnr = (side.ravel() for side in np.meshgrid(*sides, indexing="ij"))
    compute = np.full(len(fpr), level if np.isfinite(level) else 1.0)
    fitted = fit.predict(fpr, fnr, compute)
    shape = (SURFACE_POINTS, SURFACE_POINTS)
    x, y, z = fnr.reshape(shape), fpr.reshape(shape), fitted.reshape(shape)
    panel.pcolormesh(
        x,
        y,
        z,
        cmap="viridis",
        vmin=limits[0],
        vmax=limits[1],
        shading="gouraud",
        rasterized=True,
    )
    lines = panel.contour(x, y, z, levels=6, colors="white", linewidths=0.6, alpha=0.8)
    panel.clabel(lines, fontsize=6, fmt="%.2f")
    return pd.DataFrame({"shows": "surface", "fpr": fpr, "fnr": fnr, "fitted": fitted})


def _residual_tiles(panel: Axes, cells: pd.DataFrame, reach: float) -> PathCollection:
    """Residuals in percentage points, a square a cell, with their numbers."""
    points = 100.0 * cells["residual"]
    tint = panel.scatter(
        cells["fnr"],
        cells["fpr"],
        c=points,
        cmap="RdBu_r",
        vmin=-100.0 * reach,
        vmax=100.0 * reach,
        marker="s",
        s=150,
        linewidth=0,
    )
    for fpr, fnr, value in zip(cells["fpr"], cells["fnr"], points, strict=True):
        dark = abs(value) > 60.0 * reach
        panel.text(
            fnr,
            fpr,
            f"{round(value):+d}" if round(value) else "0",
            ha="center",
            va="center",
            fontsize=6,
            color="white" if dark else "0.15",
        )
    panel.set_xlabel("fnr")
    panel.set_ylabel("fpr")
    panel.margins(0.12)
    set_title(panel, "residuals")
    return tint


def draw_report(report: FitReport, *, each: Each = in_turn) -> Drawing:
    """What `fits.report.fit_report` found: curves with bands, or a joint law's surface."""
    curves = [one for one in report.fitted if isinstance(one, GroupFit)]
    if curves:
        return draw_fits(curves, report.rows, x=report.x, y=report.y, each=each)
    surfaces = [one for one in report.fitted if not isinstance(one, GroupFit)]
    return draw_surface(surfaces, report.rows, axis=report.x)
