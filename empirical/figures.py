"""Figures of where theory meets runs: predicted against measured, the demo's budgets, phases, simulated studies."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from fits.drawing import (
    DASHED,
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
    key_beside,
    literal,
    mark_level,
    panels,
    sample,
    say,
    set_title,
    shades,
    strokes,
)
from fits.table import varying

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure, SubFigure

    from empirical.audit import Audit
    from empirical.audit.logged import LoggedAudit
    from empirical.simulated_studies import Arm, Panel
    from empirical.validate.forecast import Validation
    from empirical.validate.score import Report
    from theory.phase import Phase

__all__ = [
    "draw_audit",
    "draw_curves",
    "draw_logged",
    "draw_phase",
    "draw_study",
    "draw_validation",
]

MOST_PANELS: Final = 24  # curves of more groups are drawn as points about the diagonal
REACH: Final = 0.1  # accuracy: a gap beyond it is written, not drawn
SCORES: Final = 3.0  # inches: the panel of RMSEs
MOST_COLOURS: Final = 6  # conditions within a group, told apart by colour
OURS: Final = Look("#0173b2", "o")
THEIRS: Final = Look("0.45", "o")
RATE_LOOKS: Final[Mapping[str, Look]] = {"fpr": Look("#8c2d04", "s"), "fnr": OURS}
# What an audit measures on one scale, and how a figure calls it.
AUDITED: Final[Mapping[str, str]] = {
    "fpr": "fpr: wrong, paid",
    "fnr": "fnr: right, unpaid",
    "youden": "J = 1 − fpr − fnr",
    "pass_rate": "pass rate",
    "phi2": "φ²",
}
ROW: Final = 0.27  # inches: of one estimate
MOST_SEGMENTS: Final = 10


@in_style
def draw_validation(validation: Validation) -> Drawing:
    """Forecasts with their 90 % intervals and the measurements, beside the RMSE of every forecast.

    Curves get a panel per group; final accuracies, and curves of more than MOST_PANELS groups, are
    points about the diagonal.
    """
    report, rows = validation.report, validation.forecasts
    groups = len(report.by_group) if report.kind == "curves" else 1
    down = -(-groups // 3) if groups <= MOST_PANELS else 1
    height = max(SCORES, 1.35 * down + 0.5)
    figure = blank(height)
    halves: Any = figure.subfigures(1, 2, width_ratios=[1.6, 1.0])
    left, right = halves
    if report.kind == "curves" and groups <= MOST_PANELS:
        _curve_panels(left, validation, across=min(3, groups), down=down)
    else:
        axis = left.subplots()
        _bars(axis, rows)
        bar = left.colorbar(_diagonal(axis, rows, "forecast"), ax=axis, shrink=0.8)
        bar.set_label("J = 1 − fpr − fnr")
        axis.set(xlabel="accuracy forecast, 90 %", ylabel="accuracy measured")
    # The scores keep their height beside a tall stack of panels.
    scores, below = right.subplots(2, 1, height_ratios=[SCORES, height - SCORES + 1e-3])
    below.set_axis_off()
    _scores(scores, report)
    return Drawing(figure, _shown(validation))


def _shown(validation: Validation) -> pd.DataFrame:
    """Every row forecast, by whom, and the RMSE of every forecast."""
    report, rows = validation.report, validation.forecasts
    known = ["group", "run_id", "step", "fpr", "fnr", "group_size", "accuracy", "forecast"]
    kept = [n for n in (*known, "low90", "high90", *report.baselines) if n in rows.columns]
    summary: list[Row] = [
        {"shows": "RMSE", "group": "all", "of": "verigap", "rmse": report.rmse},
        *(
            {"shows": "RMSE", "group": "all", "of": name, "rmse": one.rmse, "note": one.reason}
            for name, one in report.baselines.items()
        ),
        {"shows": "RMSE", "group": "all", "of": "noise floor", "rmse": report.noise_floor},
    ]
    return pd.concat([rows[kept].assign(shows="forecast row"), pd.DataFrame(summary)])


@in_style
def draw_curves(validation: Validation) -> Drawing:
    """Forecast curves with their 90 % bands through the measurements, a panel per group."""
    count = len(validation.report.by_group)
    across = min(4, count)
    down = -(-count // across)
    figure = blank(1.45 * down + 0.9)
    _curve_panels(figure, validation, across=across, down=down)
    return Drawing(figure, _shown(validation))


def _curve_panels(
    part: Figure | SubFigure, validation: Validation, *, across: int, down: int
) -> None:
    """One panel a group: the 90 % band, the forecast, the best baseline, the measurements.

    Conditions within a group have a shade each, where they are few enough to be told apart.
    """
    report, rows = validation.report, validation.forecasts
    axes = part.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    best = report.best_baseline
    groups = {label: rows[rows["group"] == label] for label in report.by_group}
    named = ["fpr", "fnr", "group_size", "prompts_per_step", "noise", "estimator"]
    within = dict.fromkeys(name for mine in groups.values() for name in varying(mine, named))
    by = list(within) or ["group_size"]
    kinds = sorted(dict(tuple(rows.groupby(by, dropna=False))))
    several = 1 < len(kinds) <= MOST_COLOURS
    colours = shades(kinds[::-1]) if several else dict.fromkeys(kinds, OURS.colour)
    for axis, (label, mine) in zip(axes.flat, groups.items(), strict=False):
        for kind, one in mine.groupby(by, dropna=False):
            colour = colours[kind]
            axis.plot(
                one["step"],
                one["accuracy"],
                "o",
                color=colour if several else "0.15",
                markersize=1.8,
                markeredgewidth=0,
                zorder=3,
            )
            columns = ["forecast", "low90", "high90", *([best] if best else [])]
            at = one.groupby("step")[columns].mean()
            draw_band(axis, at.index, at["low90"], at["high90"], colour)
            axis.plot(at.index, at["forecast"], color=colour, linewidth=1.2)
            if best is not None:
                axis.plot(at.index, at[best], color="0.5", linewidth=0.9, linestyle=DASHED)
        count_along(axis)
        set_title(axis, f"{textwrap.shorten(label, 24)} ({report.by_group[label].rmse:.3f})")
    for axis in list(axes.flat)[len(report.by_group) :]:
        axis.set_visible(False)
    # Where the last row is short, the lowest panel of a column shows the steps.
    for column in range(across):
        lowest = [axis for axis in axes[:, column] if axis.get_visible()][-1]
        lowest.tick_params(labelbottom=True)
    part.supxlabel("step (in brackets: RMSE of the forecast)", fontsize="medium")
    part.supylabel("accuracy", fontsize="medium")
    key = [
        sample("measured", "0.15", dash="", marker="o"),
        sample("forecast, 90 %", "0.15" if several else OURS.colour),
    ]
    if best is not None:
        key.append(sample(best, "0.5", dash=DASHED))
    if several:
        key += [sample(_spoken(by, kind), colours[kind]) for kind in kinds]
    key_above(part, key, across=3)


def _spoken(names: Sequence[str], values: Sequence[object]) -> str:
    """A condition in words: "group_size 8", "fpr 0.2, fnr 0"."""
    said = [format(v, "g") if isinstance(v, int | float) else str(v) for v in values]
    return ", ".join(f"{name} {value}" for name, value in zip(names, said, strict=True))


def _diagonal(
    axis: Axes, rows: pd.DataFrame, column: str, *, beside: Sequence[str] = ()
) -> PathCollection:
    """Measured against the forecast in `column`, shaded by J. beside: columns that the axes leave room for."""
    every = rows[["accuracy", column, *beside]].to_numpy(np.float64)
    ends = (float(every.min()) - 0.03, float(every.max()) + 0.03)
    axis.plot(ends, ends, color="0.3", linewidth=0.8, zorder=1)
    youden = 1.0 - rows["fpr"] - rows["fnr"]
    size = 14 if len(rows) < 200 else 6
    points = axis.scatter(rows[column], rows["accuracy"], c=youden, cmap="viridis", s=size)
    points.set(linewidths=0, zorder=2)
    axis.set(xlim=ends, ylim=ends)
    axis.set_box_aspect(1.0)
    return points


def _bars(axis: Axes, rows: pd.DataFrame) -> None:
    """The 90 % interval about every forecast, as far as the axes go."""
    reach = [rows["forecast"] - rows["low90"], rows["high90"] - rows["forecast"]]
    axis.errorbar(
        rows["forecast"],
        rows["accuracy"],
        xerr=np.stack(reach).clip(0.0),
        fmt="none",
        ecolor="0.75",
        elinewidth=0.7,
        zorder=0,
    )


def _scores(axis: Axes, report: Report) -> None:
    """RMSE of every forecast, the noise floor as a line, unidentified baselines in words."""
    names = ["verigap", *report.baselines]
    values = [report.rmse, *(one.rmse for one in report.baselines.values())]
    reach = 1.08 * max(value for value in values if value is not None)
    # Words stand where the line of the noise floor does not.
    right = (report.noise_floor or 0.0) < 0.5 * reach
    for y, (name, value) in enumerate(zip(names[::-1], values[::-1], strict=True)):
        if value is None:
            say(axis, y, "unidentified", right=right)
            continue
        look = OURS if name == "verigap" else THEIRS
        axis.plot([0.0, value], [y, y], color=look.colour, linewidth=1.0)
        draw_interval(axis, y, value, None, look)
    if report.noise_floor is not None:
        mark_level(axis, report.noise_floor, "noise floor")
    axis.set_xlim(0.0, reach)
    axis.set_ylim(-0.6, len(names) - 0.4)
    # One line a name: a second would run into the rows beside it.
    longest = max(map(len, names))
    axis.set_yticks(range(len(names)), names[::-1], fontsize="small" if longest < 20 else "x-small")
    axis.set_xlabel("RMSE")


@in_style
def draw_phase(phase: Phase) -> Drawing:
    """Slowdown over (fpr, fnr), one panel per group size, up to the line where verdicts say nothing."""
    from matplotlib.colors import LogNorm

    count = phase.group_size.size
    across = min(3, count)
    down = -(-count // across)
    figure, axes = panels(
        1.75 * down + 0.9, [1.0] * across, [1.0] * down, share_x=True, share_y=True
    )
    levels = [1.2, 1.5, 2, 3, 5, 10, 20]
    # The colours are pale where little is lost.
    inks = ["0.2" if level < 4 else "w" for level in levels]
    shown = np.where(np.isfinite(phase.slowdown) & (phase.slowdown < 1e3), phase.slowdown, np.nan)
    mesh = None
    for axis, size, slow in zip(axes.flat, phase.group_size, shown, strict=False):
        # Cells know no diagonal: the slowest colour runs on beneath the grey, and that ends at J = 0.
        mesh = axis.pcolormesh(
            phase.fpr,
            phase.fnr,
            np.nan_to_num(slow, nan=1e3).T,
            norm=LogNorm(1, 30),
            cmap="YlGnBu",
            shading="nearest",
            rasterized=True,
        )
        if min(phase.youden.shape) > 1:
            lines = axis.contour(phase.fpr, phase.fnr, slow.T, levels, colors=inks, linewidths=0.8)
            axis.clabel(lines, fmt="%g×", fontsize=7)
        corner = np.array([-1.0, 2.0])
        axis.fill_between(corner, 1.0 - corner, 3.0, color="0.85", lw=0, zorder=2.5)
        axis.plot(corner, 1.0 - corner, color="0.1", lw=1.5, zorder=2.6)
        axis.set(xlim=_limits(phase.fpr), ylim=_limits(phase.fnr))
        axis.set_box_aspect(1.0)
        set_title(axis, f"{size} rollouts")
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    figure.supxlabel("false-positive rate", fontsize="medium")
    figure.supylabel("false-negative rate", fontsize="medium")
    figure.suptitle(
        f"Steps from pass rate {phase.start:g} to {phase.target:g}, over the clean verifier's; "
        "beyond the black line (J = 0) training unlearns",
        fontsize="small",
    )
    if mesh is not None:
        figure.colorbar(mesh, ax=list(axes.flat), label="slowdown", extend="max")
    size, fpr, fnr = np.meshgrid(phase.group_size, phase.fpr, phase.fnr, indexing="ij")
    cells = {"group_size": size, "fpr": fpr, "fnr": fnr, "slowdown": shown}
    return Drawing(figure, pd.DataFrame({name: cell.ravel() for name, cell in cells.items()}))


def _limits(grid: np.ndarray) -> tuple[float, float]:
    """The grid's range; a little around a grid of one point."""
    low, high = float(grid.min()), float(grid.max())
    return (low, high) if high > low else (low - 0.05, high + 0.05)


_LABELS = {
    "step": "optimiser step",
    "group_size": "rollouts per prompt",
    "snr": "signal-to-noise, per group",
    "entropy": "entropy, nats",
    "marginal_fpr": "false-positive rate met",
}


def _styles(names: Sequence[str], arms: Mapping[str, Arm]) -> dict[str, Stroke]:
    """The stroke of each arm named: a colour and a dash each, shared as the arms say."""
    if not any(arms[name].colour or arms[name].dash for name in names if name in arms):
        return strokes(names)
    colour_of = {name: (arms[name].colour if name in arms else None) or name for name in names}
    dash_of = {name: (arms[name].dash if name in arms else None) or "" for name in names}
    palette = strokes(dict.fromkeys(colour_of.values()))
    turns = list(dict.fromkeys(dash_of.values()))
    colours = list(dict.fromkeys(colour_of.values()))
    drawn: dict[str, Stroke] = {}
    for name in names:
        # Dashes of different colours begin at different places, so that curves that coincide all show.
        begin = 3.0 * colours.index(colour_of[name])
        gaps = [(), (3.0, 6.0), (1.0, 2.0), (5.0, 2.0, 1.0, 2.0)][turns.index(dash_of[name]) % 4]
        drawn[name] = Stroke(palette[colour_of[name]].colour, (begin, gaps) if gaps else "-")
    return drawn


@in_style
def draw_study(
    table: pd.DataFrame,
    shown: Sequence[Panel],
    *,
    arms: Mapping[str, Arm] | None = None,
    about: str = "",
) -> Drawing:
    """One panel each: a curve per arm, means over seeds (and their range over x that seeds share).

    arms: those of the study, for the colours and dashes they share.
    """
    names = list(dict.fromkeys(table["arm"]))
    figure, (axes,) = panels(2.9, [1.0] * len(shown))
    rows: list[pd.DataFrame] = []
    for axis, panel in zip(axes, shown, strict=True):
        if panel.at == "all":
            rows.append(
                _over_training(axis, table, panel, _styles(panel.arms or names, arms or {}))
            )
        else:
            rows.append(_points(axis, table, panel))
        axis.set(
            xlabel=_LABELS.get(panel.x, panel.x.replace("_", " ")),
            ylabel=_LABELS.get(panel.y, panel.y.replace("_", " ")),
        )
        set_title(axis, panel.title)
        count_along(axis)
        if panel.log_x:
            axis.set_xscale("log", base=2)
            axis.xaxis.set_major_formatter("{x:g}")
        if panel.log_y:
            axis.set_yscale("log", base=2)
            axis.yaxis.set_major_formatter("{x:g}")
        if panel.mark_y is not None:
            axis.axhline(panel.mark_y, color="0.6", lw=0.8, ls=":", zorder=0)
        if panel.arms is not None:
            axis.legend(frameon=False, fontsize="small", handlelength=3.5)
    if shown[-1].arms is None:
        # Beside the panels that share it: a dozen arms would cover any curve.
        key_beside(figure, axes[-1])
    if about:
        about = "\n".join(textwrap.wrap(about, 110, break_on_hyphens=False))
        figure.suptitle(literal(about), fontsize="small")
    return Drawing(figure, pd.concat(rows, ignore_index=True))


def _over_training(
    axis: Axes, table: pd.DataFrame, panel: Panel, styles: dict[str, Stroke]
) -> pd.DataFrame:
    rows: list[pd.DataFrame] = []
    for arm, (colour, dash) in styles.items():
        by_step = table[table["arm"] == arm].groupby("step")
        x, y = by_step[panel.x].mean(), by_step[panel.y].mean()
        axis.plot(x, y, color=colour, linestyle=dash, label=literal(arm), linewidth=1.3)
        low, high = by_step[panel.y].min(), by_step[panel.y].max()
        if panel.x in ("step", "rollouts"):
            draw_band(axis, x, low, high, colour)
        rows.append(_rows(panel, arm, x, y, low, high))
    return pd.concat(rows)


def _rows(panel: Panel, name: str, x: Any, y: Any, low: Any, high: Any) -> pd.DataFrame:
    """A curve's points with the range of seeds."""
    columns = {panel.x: np.asarray(x), panel.y: np.asarray(y), "low": low, "high": high}
    shown = pd.DataFrame({name: np.asarray(values) for name, values in columns.items()})
    return shown.assign(shows=f"{panel.y} against {panel.x}", arm=name)


def _points(axis: Axes, table: pd.DataFrame, panel: Panel) -> pd.DataFrame:
    after_start = table[table["step"] > 0]
    ordered = after_start.sort_values("step", kind="stable").groupby("run_id", sort=False)
    rows = ordered.tail(1) if panel.at == "last" else ordered.head(1)
    key = "series" if "series" in rows.columns else "arm"
    names = [name for name in dict.fromkeys(table[key]) if name in set(rows[key])]
    shown: list[pd.DataFrame] = []
    for name, (colour, dash) in strokes(names).items():
        at = rows[rows[key] == name].groupby(panel.x)[panel.y]
        y = at.mean()
        axis.plot(
            y.index, y, "o", color=colour, linestyle=dash, label=literal(name), lw=1.3, ms=3.5
        )
        shown.append(_rows(panel, name, y.index, y, at.min(), at.max()))
    if panel.root_guide:
        x = np.sort(rows.loc[rows[panel.x] > 0, panel.x].unique()).astype(np.float64)
        # Below every curve, so that it hides none.
        low = 0.8 * float(rows.groupby([key, panel.x])[panel.y].mean().min())
        label = f"like the root of {_LABELS.get(panel.x, panel.x)}"
        axis.plot(x, low * np.sqrt(x / x[:1]), "--", color="0.6", lw=1.0, label=label, zorder=0)
    return pd.concat(shown)


@in_style
def draw_audit(audit: Audit) -> Drawing:
    """What an audit measured, with 95 % intervals; below, systematic errors beside the rate elsewhere, worst first."""
    segments = sorted(audit.segments, key=lambda one: one.p_adjusted)[:MOST_SEGMENTS]
    shown = max(len(segments), 1)
    heights = (len(AUDITED) + 1.0, shown + 1.0)
    figure, axes = panels(ROW * sum(heights) + 1.4, heights=heights, share_x=True)
    top, bottom = axes[:, 0]
    rows: list[Row] = []
    for place, name in enumerate(AUDITED):
        value, ci = getattr(audit, name), getattr(audit, f"{name}_ci")
        rows.append(_estimate("measured", name, value, ci))
        if value is None:
            say(top, place, textwrap.shorten(audit.reasons.get(name, "not identified"), 90))
        else:
            draw_interval(top, place, value, ci, RATE_LOOKS.get(name, THEIRS))
    _name_places(top, [literal(name) for name in AUDITED.values()])
    worth = "not known"
    if audit.effective_rollouts is not None:
        low, high = audit.effective_rollouts_ci or (audit.effective_rollouts,) * 2
        worth = f"worth {audit.effective_rollouts:.2f} [{low:.2f}, {high:.2f}] clean ones"
    set_title(top, f"{audit.group_size} rollouts are {worth}", width=70)
    for place, one in enumerate(segments):
        draw_interval(bottom, place, one.rate, one.ci, RATE_LOOKS[one.error])
        rows.append(_estimate(f"systematic {one.error}", one.segment, one.rate, one.ci))
        if one.rate_elsewhere is not None:
            bottom.plot([one.rate_elsewhere], [place], "|", color="0.2", markersize=9)
            rows.append(_estimate(f"{one.error} elsewhere", one.segment, one.rate_elsewhere, None))
    if not segments:
        why = audit.reasons.get("segments", f"none among {audit.segments_tested} tests")
        say(bottom, 0, textwrap.shorten(why, 90))
    names = [literal(textwrap.shorten(f"{s.error} where {s.segment}", 44)) for s in segments]
    _name_places(bottom, names or [""])
    set_title(bottom, "Systematic errors: their rate where, and | elsewhere")
    low = min([0.0, *(row["low"] for row in rows if row["low"] is not None)])
    bottom.set_xlim(low - 0.02, 1.02)
    bottom.set_xlabel(f"{audit.n} labelled rollouts, {audit.clusters} prompts; 95 % intervals")
    return Drawing(figure, pd.DataFrame(rows))


@in_style
def draw_logged(cells: Sequence[LoggedAudit]) -> Drawing:
    """fpr, fnr and J by kind of run, from logs, with 95 % intervals; where errors move, the kind is marked."""
    figure, axes = panels(ROW * (len(cells) + 1) + 1.0, (1.0, 1.0, 1.0), share_y=True)
    rows: list[Row] = []
    for axis, name in zip(axes[0], ("fpr", "fnr", "youden"), strict=True):
        for place, cell in enumerate(cells):
            value, ci = getattr(cell, name), getattr(cell, f"{name}_ci")
            rows.append(_estimate(name, cell.group, value, ci))
            if value is None:
                say(axis, place, "unidentified")
            else:
                draw_interval(axis, place, value, ci, RATE_LOOKS.get(name, THEIRS))
        axis.set_xlabel({"youden": "J"}.get(name, name))
        axis.axvline(0.0, color="0.2", linewidth=0.7, zorder=0)
    parts = [one.group.split(", ") for one in cells]
    shared = set(parts[0]).intersection(*parts) if len(cells) > 1 else set[str]()
    telling = [[part for part in own if part not in shared] for own in parts]
    # As many words as tell the kinds apart.
    words = next(
        (k for k in range(1, 9) if len({tuple(own[:k]) for own in telling}) == len(cells)), 9
    )
    names = [
        literal(textwrap.shorten(", ".join(own[:words]) or one.group, 44))
        + (" (errors move)" if one.errors_move else "")
        for one, own in zip(cells, telling, strict=True)
    ]
    _name_places(axes[0, 0], names)
    return Drawing(figure, pd.DataFrame(rows))


def _estimate(kind: str, name: str, value: float | None, ci: tuple[float, float] | None) -> Row:
    low, high = ci or (None, None)
    return {"kind": kind, "name": name, "value": value, "low": low, "high": high}


def _name_places(axis: Axes, names: Sequence[str]) -> None:
    """A name for each row, the first at the top."""
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
