"""What a report says of runs: the answers, gaps, prices, worth and forecasts of a `GapReport`, in sections."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from empirical.rollouts import rollouts_worth
from fits.advice import interval_in_words, multiplier_in_words, per_ten_points
from fits.answers import Answer
from fits.drawing import BLACK, Stroke, strokes
from fits.figures import MOST_BANDS, draw_progress, gap_reach, without_setting
from fits.gap import setting_in_words, verdict_in_words
from fits.plain import plain
from verigap.pages.beside import Document, forecast_section, reach, section_of
from verigap.pages.model import (
    Chart,
    Explored,
    Fold,
    Line,
    Panel,
    Picture,
    Quantity,
    Report,
    Section,
    Span,
    Table,
    picture,
)

if TYPE_CHECKING:
    import pandas as pd

    from empirical.explorer import Explorer
    from empirical.validate.forecast import Validation
    from fits.curves import MeanCurve
    from fits.gap import ArmGap, GapReport, PerPoint, SettingGap
    from fits.laws import FloatArray

__all__ = ["contents", "hex_of"]

DASH: Final = "–"
DASHED: Final = (6.0, 4.0)
MOST_KINDS: Final = 6  # conditions within one group of a forecast that are told apart
FEW_SEEDS: Final = 2  # of which a band says only that they are few


def contents(
    *,
    title: str,
    lead: str,
    answers: Sequence[Answer],
    gap: GapReport | None,
    curves: Sequence[MeanCurve],
    x: str,
    validation: Validation | None,
    beside: Sequence[Document],
    group_size: int | None,
    words: str,
    data: Mapping[str, str],
    provenance: Mapping[str, str],
    explorer: Explorer | None = None,
) -> Report:
    """The report of runs. curves: mean accuracies, where there is no gap. group_size: that of all runs, where
    they have one. words: RUNS and its options as typed."""
    sections: list[Section] = []
    if gap is not None:
        sections += [_gaps(gap, words), _errors(gap, words), *_frontier(gap, words)]
        sections.append(_worth(gap, group_size))
    elif curves:
        sections.append(_curves(curves, x))
    if validation is not None:
        sections.append(_forecast(validation, words))
    elif gap is not None and not any(one.kind == "validate" for one in beside):
        sections.append(
            Section(
                "Forecast against measured",
                (
                    "None was asked for. Named rows calibrate the simulator, which then forecasts all others:",
                ),
                commands=(
                    f"verigap report {words}{_one_model(gap)} --calibrate-on {_calibrate_on(gap)}",
                ),
                gives="To ask for it:",
            )
        )
    sections += [section_of(one) for one in beside]
    if gap is not None:
        sections.append(Section("The words", terms=_words(gap)))
    if data:
        sections.append(Section("Data", terms=data))
    explored = None if explorer is None else _explored(explorer, group_size)
    return Report(title, lead, tuple(answers), tuple(sections), provenance, explored)


def _explored(explorer: Explorer, group_size: int | None) -> Explored:
    """The explorer's tables for its script, accuracies in ten-thousandths."""

    def whole(values: FloatArray) -> Any:
        return np.rint(1e4 * values).astype(np.int64).tolist()

    return Explored(
        f"{explorer.rows:,} evaluations ({explorer.calibrated_on})",
        {
            "rates": list(explorer.rates),
            "sizes": list(explorer.sizes),
            "size": group_size if group_size in explorer.sizes else 8,
            "steps": explorer.steps.tolist(),
            "optimiser": explorer.optimiser,
            "pass_rate": min(max(round(explorer.pass_rate, 2), 0.01), 0.99),
            "surfaces": {
                name: {
                    "accuracy": whole(one.accuracy),
                    "low": whole(one.low),
                    "high": whole(one.high),
                }
                for name, one in explorer.surfaces.items()
            },
        },
    )


def _calibrate_on(gap: GapReport) -> str:
    sizes = [one.setting["group_size"] for one in gap.settings if "group_size" in one.setting]
    size = f",group_size={sizes[0]}" if sizes else ""
    return f"fpr=0,fnr=0{size}"


def _one_model(gap: GapReport) -> str:
    """What names one model where there are several, of which a forecast is calibrated on one."""
    models = dict.fromkeys(
        str(one.setting["model"]) for one in gap.settings if "model" in one.setting
    )
    return f" --where {shlex.quote(f'model={next(iter(models))}')}" if len(models) > 1 else ""


def hex_of(stroke: Stroke) -> tuple[str, tuple[float, ...]]:
    """A stroke as a page draws it: "#rrggbb" and dash lengths."""
    colour = "ink" if stroke.colour == BLACK else str(stroke.colour)
    dash: tuple[float, ...] = () if isinstance(stroke.dash, str) else tuple(stroke.dash[1])
    return colour, tuple(2.0 * part for part in dash)


def _by_setting(gap: GapReport) -> list[tuple[SettingGap, list[ArmGap]]]:
    return [(one, [arm for arm in gap.arms if arm.setting == one.setting]) for one in gap.settings]


def _name(setting: Mapping[str, Any]) -> str:
    return setting_in_words(setting) or "all runs"


# The gap


def _gaps(gap: GapReport, words: str) -> Section:
    columns = (
        "arm",
        "verdict",
        "gap at the end",
        "over the last doubling",
        "in the long run",
        "seeds",
    )
    # A column of dashes alone, in all tables, says nothing.
    trended = any(arm.trend is not None for arm in gap.arms)
    lasting = any(arm.horizon == "asymptote" for arm in gap.arms)
    kept = [at for at in range(6) if (at != 3 or trended) and (at != 4 or lasting)]
    tables: list[Table] = []
    for one, arms in _by_setting(gap):
        ends = [_span(arm.end, arm.end_ci, arm) for arm in arms]
        trends = [_span(arm.trend, arm.trend_ci) for arm in arms]
        floors = [
            _span(arm.floor, arm.floor_ci, arm) if arm.horizon == "asymptote" else Span(DASH, None)
            for arm in arms
        ]
        rows = [
            (
                without_setting(arm),
                verdict_in_words(arm.verdict, arm.basis),
                end,
                trend,
                floor,
                str(arm.seeds),
            )
            for arm, end, trend, floor in zip(arms, ends, trends, floors, strict=True)
        ]
        # Arms that tell right from wrong set the scale, as in the figures; others run off its end.
        low, high = gap_reach(arms, gap.delta) if all(arm.curve for arm in arms) else reach(ends)
        scale = min(low, -0.5 * gap.delta), max(high, 2.0 * gap.delta)
        tables.append(
            Table(
                tuple(columns[at] for at in kept),
                tuple(tuple(row[at] for at in kept) for row in rows),
                frozenset({"arm", "verdict"}),
                caption=_name(one.setting) if len(gap.settings) > 1 else "",
                scales={columns[2]: scale, columns[3]: reach(trends, 0.0), columns[4]: scale},
                level=gap.delta,
            )
        )
    reasons = {arm.arm: f"{arm.reason}." for arm in gap.arms if arm.reason}
    settle = {
        arm.arm: f"{arm.would_settle_it.text}."
        for arm in gap.arms
        if arm.would_settle_it is not None
    }
    folded = [
        Fold(said, terms)
        for said, terms in (
            ("What each verdict rests on", reasons),
            ("What would settle the undetermined", settle),
        )
        if terms
    ]
    return Section(
        "The gap at the end, and its trend",
        (
            "The gap is the clean arm's accuracy less the noisy one's after equal compute, within seeds; brackets hold 95 %.",
        ),
        seen=(
            f"Lines in the cells stand at 0 and, dashed, at {gap.delta:g}, the smallest gap of interest.",
        ),
        charts=_progress(gap),
        tables=tuple(tables),
        folded=tuple(folded),
        commands=(f"verigap gap {words}",),
    )


def _span(value: float | None, ci: tuple[float, float] | None, arm: ArmGap | None = None) -> Span:
    if value is None:
        return Span(DASH, None)
    text = f"{value:+.4f}" if ci is None else f"{value:+.4f} {interval_in_words(ci)}"
    return Span(text, value, ci, "" if arm is None else arm.verdict)


def _progress(gap: GapReport) -> tuple[Chart, ...]:
    panels: list[Panel] = []
    pictures: list[Picture] = []
    for one, arms in _by_setting(gap):
        drawn = [arm for arm in arms if len(arm.curve) > 1]
        if not drawn:
            continue
        panels.append(_panel(_name(one.setting), drawn, gap.delta))
        few = len(drawn) <= MOST_BANDS and any(
            p.ci and p.seeds > FEW_SEEDS for arm in drawn for p in arm.curve
        )
        banded = "; bands are 95 % over seeds" if few else ""
        caption = f"Accuracy, and accuracy lost{banded}, against {gap.x}: {_name(one.setting)}."
        pictures.append(picture(draw_progress(drawn, x=gap.x, delta=gap.delta), caption))
    if not panels:
        return ()
    # The setting with most arms is seen first.
    order = sorted(range(len(panels)), key=lambda at: -len(panels[at].quantities[0].lines))
    most = panels[order[0]].quantities[0].lines
    bands = ""
    if any(line.low for panel in panels for line in panel.quantities[0].lines):
        near = f"; of more than {MOST_BANDS} arms, of the one pointed at" * (len(most) > MOST_BANDS)
        bands = f"; bands are 95 % over seeds, where more than two were matched{near}"
    return (
        Chart(
            title="Accuracy lost to the verifier",
            caption=f"Accuracy lost against {gap.x}, by arm{bands}."
            f" Dashed: {gap.delta:g}, the smallest gap of interest.",
            x=gap.x,
            panels=tuple(panels[at] for at in order),
            pictures=tuple(pictures),
            chooses="setting",
        ),
    )


def _panel(name: str, arms: Sequence[ArmGap], delta: float) -> Panel:
    x = tuple(sorted({point.x for arm in arms for point in arm.curve}))
    looks = strokes(["clean", *(without_setting(arm) for arm in arms)])

    def along(values: Mapping[float, float]) -> tuple[float | None, ...]:
        return tuple(values.get(at) for at in x)

    lost: list[Line] = []
    levels: list[Line] = []
    for arm in arms:
        label = without_setting(arm)
        colour, dash = hex_of(looks[label])
        few = min(point.seeds for point in arm.curve) <= FEW_SEEDS
        ends = {p.x: p.ci for p in arm.curve if p.ci is not None and not few}
        band = (
            (
                along({at: ci[0] for at, ci in ends.items()}),
                along({at: ci[1] for at, ci in ends.items()}),
            )
            if ends
            else ((), ())
        )
        lost.append(Line(label, along({p.x: p.gap for p in arm.curve}), *band, colour, dash))
        levels.append(
            Line(label, along({p.x: p.accuracy for p in arm.curve}), (), (), colour, dash)
        )
    most = max(arms, key=lambda arm: (min(p.seeds for p in arm.curve), len(arm.curve)))
    clean = Line("clean", along({p.x: p.accuracy + p.gap for p in most.curve}))
    return Panel(
        name,
        x,
        (
            Quantity("accuracy lost", tuple(lost), delta, zero=True, reach=gap_reach(arms, delta)),
            Quantity("accuracy", (clean, *levels)),
        ),
    )


def _curves(curves: Sequence[MeanCurve], x: str) -> Section:
    at = tuple(sorted({point.x for curve in curves for point in curve.points}))
    looks = strokes(curve.group for curve in curves)
    lines: list[Line] = []
    for curve in curves:
        colour, dash = hex_of(looks[curve.group])
        means = {p.x: p.accuracy for p in curve.points}
        ends = {p.x: p.ci for p in curve.points if p.ci is not None and p.runs > FEW_SEEDS}
        low = tuple(ends[v][0] if v in ends else None for v in at) if ends else ()
        high = tuple(ends[v][1] if v in ends else None for v in at) if ends else ()
        lines.append(Line(curve.group, tuple(means.get(v) for v in at), low, high, colour, dash))
    charts: tuple[Chart, ...] = ()
    if len(at) > 1:
        from fits.figures import draw_means

        caption = f"Mean accuracy against {x}, by condition; bands are 95 % over runs, where there are more than two."
        charts = (
            Chart(
                "Accuracy",
                caption,
                x,
                (Panel("all runs", at, (Quantity("accuracy", tuple(lines)),)),),
                (picture(draw_means(curves, x=x), caption),),
            ),
        )
    last = [curve.points[-1] for curve in curves]
    spans = [
        Span(
            f"{p.accuracy:.4f}"
            if p.ci is None
            else f"{p.accuracy:.4f} [{p.ci[0]:.3f}, {p.ci[1]:.3f}]",
            p.accuracy,
            p.ci,
        )
        for p in last
    ]
    columns = ("condition", f"last {x}", "accuracy there", "runs")
    table = Table(
        columns,
        tuple(
            (curve.group, f"{p.x:,g}", span, str(p.runs))
            for curve, p, span in zip(curves, last, spans, strict=True)
        ),
        frozenset({"condition"}),
        scales={columns[2]: reach(spans)},
    )
    return Section("Accuracy", charts=charts, tables=(table,))


# Prices


def _errors(gap: GapReport, words: str) -> Section:
    columns = ("ten points of", "compute to get halfway up", "to get to the clean arm's end")
    several = len(gap.settings) > 1
    prices: list[tuple[str, str, str]] = []
    pairs: list[tuple[str | Span, ...]] = []
    times: list[tuple[str, str, str, str]] = []
    spans: list[Span] = []
    for one in gap.settings:
        rate = one.exchange_rate
        kinds: tuple[tuple[str, PerPoint, PerPoint], ...] = (
            ("false positives", rate.halfway.fpr, rate.fpr),
            ("false negatives", rate.halfway.fnr, rate.fnr),
        )
        if any(price.multiplier is not None for _, *both in kinds for price in both):
            place = f", {_name(one.setting)}" if several else ""
            prices += [
                (f"{name}{place}", per_ten_points(half), per_ten_points(end))
                for name, half, end in kinds
            ]
        for pair in one.asymmetry.pairs:
            span = _span(pair.difference, pair.ci)
            spans.append(span)
            p = DASH if pair.p_holm is None else f"{pair.p_holm:.2g}"
            pairs.append((f"{pair.fp_arm} and {pair.fn_arm}", span, p))
        times += [
            (
                half.arm,
                multiplier_in_words(half),
                multiplier_in_words(final),
                half.reason or final.reason,
            )
            for half, final in zip(rate.halfway.arms, rate.arms, strict=True)
            if half.multiplier is not None or final.multiplier is not None
        ]
    tables: list[Table] = []
    if prices:
        tables.append(Table(columns, tuple(prices), frozenset(columns)))
    if pairs:
        heads = ("arms of equal J", "accuracy, FP arm less FN arm", "p (Holm)")
        tables.append(
            Table(
                heads,
                tuple(pairs),
                frozenset({heads[0]}),
                note="At the end of the runs. p: of no difference, t over seeds, adjusted for several pairs.",
                scales={heads[1]: reach(spans, 0.0)},
            )
        )
    if times:
        heads = ("arm", "times the clean arm's compute, halfway", "at its end", "remark")
        kept = heads if any(row[3] for row in times) else heads[:-1]
        rows = tuple(row[: len(kept)] for row in times)
        tables.append(Table(kept, rows, frozenset({"arm", "remark"})))
    return Section(
        "What an error costs in compute",
        (
            "The price of an error is the compute that makes up for it: how many times the clean arm's compute an arm needs"
            " to be as accurate, per ten percentage points of the rate. Halfway: where the clean arm has done half of its"
            " rise.",
        ),
        tables=tuple(tables),
        commands=(f"verigap gap {words}",),
    )


def _frontier(gap: GapReport, words: str) -> list[Section]:
    if not gap.frontier:
        return []
    columns = (
        "arm",
        gap.x,
        "best clean",
        "best noisy",
        "gap, best against best",
        "its own best size adds",
    )
    rows: list[tuple[str | Span, ...]] = []
    for arm in gap.frontier:
        point = arm.points[-1]
        gain = Span(DASH, None) if not point.differs else _span(point.gain, point.gain_ci)
        rows.append(
            (
                arm.arm,
                f"{point.x:,.0f}",
                str(point.clean_group_size),
                str(point.group_size),
                _span(point.gap, point.gap_ci),
                gain,
            )
        )
    gaps = [row[4] for row in rows if isinstance(row[4], Span)]
    tells = [one for one in gaps if one.value is not None and one.value < 0.2] or gaps
    gains = [row[5] for row in rows if isinstance(row[5], Span)]
    table = Table(
        columns,
        tuple(rows),
        frozenset({"arm"}),
        note="At the largest budget that two group sizes of each arm have reached; --json has every budget.",
        scales={columns[4]: reach(tells, 0.0, gap.delta), columns[5]: reach(gains, 0.0)},
        level=gap.delta,
    )
    return [
        Section(
            "Frontier: each arm at its best rollouts a prompt",
            (
                "At one budget a larger group takes fewer steps. Each arm is read at the group size of its highest mean, and"
                " the best is held against the best.",
            ),
            tables=(table,),
            commands=(f"verigap gap {words} --frontier",),
        )
    ]


# Worth


def _worth(gap: GapReport, group_size: int | None) -> Section:
    columns = ("arm", "rollouts a prompt", "measured worth", "by its rates", "why not measured")
    rows: list[tuple[str | Span, ...]] = []
    for arm in gap.arms:
        size = arm.setting.get("group_size")
        size = int(size) if isinstance(size, int | float) else group_size
        worth = None if size is None or size < 2 else rollouts_worth(arm, size)
        measured = Span(DASH, None)
        if arm.effective_rollouts is not None:
            ci = arm.effective_rollouts_ci
            ends = "" if ci is None else f" [{ci[0]:.2f}, {ci[1]:.2f}]"
            measured = Span(f"{arm.effective_rollouts:.2f}{ends}", arm.effective_rollouts, ci)
        rows.append(
            (
                arm.arm,
                DASH if size is None else str(size),
                measured,
                DASH if worth is None else f"{worth.predicted:.2f}",
                arm.effective_rollouts_reason,
            )
        )
    spans = [row[2] for row in rows if isinstance(row[2], Span)]
    reasons = {row[4] for row in rows}
    kept = columns if reasons != {""} else columns[:-1]
    table = Table(
        kept,
        tuple(row[: len(kept)] for row in rows),
        frozenset({"arm", "why not measured"}),
        scales={columns[2]: reach(spans, 1.0)},
    )
    return Section(
        "What the rollouts are worth",
        (
            "Effective rollouts: the clean rollouts a prompt that would learn as fast. Measured: whose clean curve the arm's"
            " is nearest, at equal steps. By its rates: 1 + φ²(G − 1), φ the correlation of right and paid at the arm's mean"
            " accuracy past step 0, as if all prompts were equally hard; only of independent errors with J between 0 and 1.",
        ),
        tables=(table,),
    )


# Forecast


def _forecast(validation: Validation, words: str) -> Section:
    report = validation.report
    told = forecast_section(plain(report), "Forecast against measured")
    from empirical.figures import draw_curves, draw_validation

    curves = report.kind == "curves"
    draw = draw_curves if curves else draw_validation
    still = picture(
        draw(validation),
        "Measured accuracy (points) and forecast (90 %), by group; in brackets the RMSE of the forecast.",
    )
    charts = _forecast_chart(validation, still) if curves else ()
    return Section(
        told.heading,
        told.paragraphs,
        charts=charts,
        tables=told.tables,
        figures=() if charts else (still,),
        commands=(f"verigap validate {words} --calibrate-on {report.calibrated_on}",),
    )


def _forecast_chart(validation: Validation, still: Picture) -> tuple[Chart, ...]:
    from fits.table import varying

    report, rows = validation.report, validation.forecasts
    best = report.best_baseline
    groups = {label: rows[rows["group"] == label] for label in report.by_group}
    names = ["fpr", "fnr", "group_size", "prompts_per_step", "noise", "estimator"]
    by = [name for name in names if any(varying(mine, [name]) for mine in groups.values())]
    panels: list[Panel] = []
    for label, mine in groups.items():
        kinds: list[tuple[str, pd.DataFrame]] = (
            [(_spoken(by, key), part) for key, part in mine.groupby(by, dropna=False)]
            if by
            else [("", mine)]
        )
        if len(kinds) > MOST_KINDS:
            kinds = [("", mine)]
        at = sorted({float(v) for v in mine["step"]})
        looks = strokes(kind or "all" for kind, _ in kinds)
        lines: list[Line] = []
        for kind, part in kinds:
            colour, _ = hex_of(looks[kind or "all"])
            columns = ["accuracy", "forecast", "low90", "high90", *([best] if best else [])]
            means = part.groupby("step")[columns].mean()

            of = f", {kind}" if kind else ""
            lines.append(
                Line(f"measured{of}", _along(means["accuracy"], at), (), (), colour, (), True)
            )
            lines.append(
                Line(
                    f"forecast{of}",
                    _along(means["forecast"], at),
                    _along(means["low90"], at),
                    _along(means["high90"], at),
                    colour,
                )
            )
            if best is not None:
                lines.append(Line(f"{best}{of}", _along(means[best], at), (), (), colour, DASHED))
        panels.append(Panel(label, tuple(at), (Quantity("accuracy", tuple(lines)),)))
    return (
        Chart(
            "Forecast against measured",
            "Measured accuracy (points), forecast with its 90 % band (lines), and the best baseline (dashed).",
            "step",
            tuple(panels),
            (still,),
            chooses="group",
        ),
    )


def _along(means: pd.Series[float], at: Sequence[float]) -> tuple[float | None, ...]:
    """A mean at every step of `at`, None where there is none."""
    return tuple(float(means[step]) if step in means.index else None for step in at)


def _spoken(names: Sequence[str], values: object) -> str:
    told = values if isinstance(values, tuple) else (values,)
    said = [format(v, "g") if isinstance(v, int | float) else str(v) for v in told]
    return ", ".join(f"{name} {value}" for name, value in zip(names, said, strict=True))


def _words(gap: GapReport) -> Mapping[str, str]:
    return {
        "verifier": "The program that pays an answer (reward 1) or does not (reward 0). fpr, its rate of false positives, is"
        " the share of wrong answers that it pays; fnr, of false negatives, the share of right answers that it refuses."
        " J = 1 − fpr − fnr is what is left of the signal.",
        "arm": "One verifier, in runs alike in all else. Clean: the arm whose verifier makes no errors.",
        "gap": "Accuracy lost: the clean arm's less the noisy one's after equal compute. Runs of one seed are matched, so"
        " gaps are taken within seeds.",
        "in the long run": "The difference of the levels that both fitted curves approach, where the runs show both: over all"
        " laws that neither the curves nor their gap rule out. A dash where they do not.",
        "verdict": f"closes: the interval of that gap lies below {gap.delta:g}, and the gap measured at the end does not lie"
        " above it; persists: it lies above; undetermined: neither. At the largest budget: of the runs' end alone.",
    }
