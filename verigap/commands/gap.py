"""`verigap gap`: the paired accuracy gap per arm, its verdict, the asymmetry test, the exchange rate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verigap.console import Json, emit, fail, write_json
from verigap.options import (
    Clean,
    Delta,
    Figure,
    Group,
    Law,
    Loss,
    Reading,
    reads_runs,
    save_figure,
    say_what_was_read,
)

if TYPE_CHECKING:
    from rich.console import Console

    from fits.gap import GapReport, SettingGap


@reads_runs
def gap(
    read: Reading,
    *,
    clean: Clean = None,
    delta: Delta = 0.01,
    x: Annotated[str, typer.Option(help="The compute column.")] = "rollouts",
    group: Group = None,
    law: Law = "auto",
    loss: Loss = "auto",
    frontier: Annotated[
        bool,
        typer.Option("--frontier", help="Also compare arms at their best rollouts a prompt."),
    ] = False,
    figure: Figure = None,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON document here.")] = None,
    arms: Annotated[list[str] | None, typer.Option(help="Draw this arm only (repeatable).")] = None,
    figure_size: Annotated[
        str | None, typer.Option(help="Size of the figure in inches: WIDTHxHEIGHT.")
    ] = None,
    json: Json = False,
) -> None:
    """Whether each noisy arm's accuracy gap closes with compute, persists, or is undetermined."""
    from verigap.face.runs import gap as found_in

    read.check_outputs(figure, out)
    table = read.load()
    report = found_in(
        table,
        clean=clean,
        delta=delta,
        x=x,
        group=group,
        law=law,
        loss=loss,
        frontier=frontier,
    )

    def show(console: Console) -> None:
        from rich import box
        from rich.table import Table

        from fits.gap import setting_in_words, verdict_in_words

        console.print(
            f"Accuracy lost to the verifier, against {x}; smallest gap of interest {delta:g}",
            style="bold",
            highlight=False,
        )
        view = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for heading in ("arm", "verdict", "gap at\nthe end", "its last\ndoubling", "floor"):
            view.add_column(heading, overflow="fold")
        setting = report.arms[0].setting
        for arm in report.arms:
            if arm.setting != setting:
                view.add_section()
            setting = arm.setting
            view.add_row(
                f"{arm.arm}\nseeds: {arm.seeds}",
                verdict_in_words(arm.verdict, arm.basis),
                _stacked(arm.end, arm.end_ci),
                _stacked(arm.trend, arm.trend_ci),
                _stacked(arm.floor, arm.floor_ci) if arm.horizon == "asymptote" else "–",
            )
        console.print(view)
        for arm in report.arms:
            if arm.reason:
                console.print(f"{arm.arm}: {arm.reason}.", highlight=False)
            if arm.would_settle_it is not None:
                console.print(
                    f"What would settle {arm.arm}: {arm.would_settle_it.text}.", highlight=False
                )
        for one in report.settings:
            if len(report.settings) > 1:
                console.print(f"{setting_in_words(one.setting)}:", style="bold", highlight=False)
            _compare(console, one)
        if report.frontier:
            _frontier(console, report)
        console.print(
            f"Compute prices: the {report.law} law, {report.loss}.", style="dim", highlight=False
        )
        console.print(
            "Gap: measured, paired within seeds, at the largest budget both arms reached, and its change over"
            " the last doubling of compute. Floor: for ever, under every law not ruled out. In brackets 95 %.",
            style="dim",
            highlight=False,
        )
        for note in report.notes:
            console.print(note, style="dim", highlight=False)

    if figure is not None:
        from fits.figures import draw_gap

        size = None if figure_size is None else _inches(figure_size)
        save_figure(figure, lambda: draw_gap(report, arms=arms, size=size))
    if out is not None:
        write_json(out, report)
    say_what_was_read(table)
    emit(report, as_json=json, show=show)


def _frontier(console: Console, report: GapReport) -> None:
    """Every noisy arm at its best rollouts a prompt against the clean arm at its own, at the largest budget."""
    from rich import box
    from rich.table import Table

    from fits.gap import with_interval

    console.print(
        f"Best against best: rollouts a prompt at each budget of {report.x}",
        style="bold",
        highlight=False,
    )
    view = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("arm", report.x, "best clean", "best noisy", "gap", "own best gains"):
        view.add_column(heading, overflow="fold")
    for arm in report.frontier:
        # The budgets at which a best size changes tell all that the frontier has; --json has every one.
        shown = [
            point
            for before, point in zip((None, *arm.points), arm.points, strict=False)
            if before is None
            or point is arm.points[-1]
            or (before.clean_group_size, before.group_size)
            != (point.clean_group_size, point.group_size)
        ]
        for place, point in enumerate(shown):
            view.add_row(
                arm.arm if place == 0 else "",
                f"{point.x:,.0f}",
                str(point.clean_group_size),
                str(point.group_size),
                with_interval(point.gap, point.gap_ci),
                with_interval(point.gain, point.gain_ci) if point.differs else "–",
            )
        view.add_section()
    console.print(view)


def _stacked(value: float | None, ci: tuple[float, float] | None) -> str:
    """A gap, and its interval below it."""
    if value is None:
        return "–"
    return f"{value:+.4f}" if ci is None else f"{value:+.4f}\n[{ci[0]:+.3f}, {ci[1]:+.3f}]"


def _inches(text: str) -> tuple[float, float]:
    """Width and height. Raises UserError where `text` is not two numbers above 0."""
    width, by, height = text.lower().partition("x")
    try:
        size = float(width), float(height)
    except ValueError:
        size = 0.0, 0.0
    if not by or not all(0.5 <= side <= 100.0 for side in size):
        fail(f"--figure-size {text}: must be WIDTHxHEIGHT in inches, each from 0.5 to 100")
    return size


def _compare(console: Console, one: SettingGap) -> None:
    """Which error hurts more, and what a point of either costs, among the arms of one setting."""
    from fits.gap import chance_in_words

    asymmetry = one.asymmetry
    if asymmetry.difference is None:
        console.print(f"FP against FN at equal J: {asymmetry.reason}.", highlight=False)
    else:
        interval = (
            "" if asymmetry.ci is None else f" [{asymmetry.ci[0]:+.4f}, {asymmetry.ci[1]:+.4f}]"
        )
        cheaper = "false positives" if asymmetry.difference >= 0.0 else "false negatives"
        console.print(
            f"FP against FN at equal J: {cheaper} cost {abs(asymmetry.difference):.4f} of accuracy less;"
            f" FP minus FN {asymmetry.difference:+.4f}{interval} ({asymmetry.reason}).",
            highlight=False,
        )
    halfway, final = one.exchange_rate.halfway, one.exchange_rate
    for where, rate in (
        ("halfway up", halfway.fpr),
        ("halfway up", halfway.fnr),
        ("at the clean arm's end", final.fpr),
        ("at the clean arm's end", final.fnr),
    ):
        chance = chance_in_words(rate.p_no_finite_amount)
        if rate.multiplier is None:
            line = f"{rate.reason} ({chance}, over seeds)" if chance else rate.reason
        else:
            low, high = rate.ci or (None, None)
            upper = "∞" if high is None else f"{high:.3f}"
            interval = "" if low is None else f" [{low:.3f}, {upper}]"
            never = f"; no finite amount with {chance}" if chance else ""
            line = f"{rate.multiplier:.3f}{interval} times the compute{never}"
        console.print(f"A point of {rate.rate}, {where}: {line}.", highlight=False)
