"""`verigap plan`: what to fix first, the verifier or the budget, and whether that is known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verigap.console import Json, emit, write_json

if TYPE_CHECKING:
    from rich.console import Console


def plan(
    *,
    fpr: Annotated[float | None, typer.Option(help="P(paid | wrong), without --audit.")] = None,
    fnr: Annotated[float | None, typer.Option(help="P(unpaid | right), without --audit.")] = None,
    audit: Annotated[Path | None, typer.Option(help="What `verigap audit --out` wrote.")] = None,
    pass_rate: Annotated[
        list[float] | None,
        typer.Option(help="Of one's prompts (repeatable); default: the audit's mean."),
    ] = None,
    group_size: Annotated[int, typer.Option(help="Rollouts per prompt, at least 2.")] = 8,
    steps: Annotated[int, typer.Option(help="Optimiser steps of the run.")] = 250,
    prompts_per_step: Annotated[int, typer.Option(help="Prompts of a step.")] = 32,
    estimator: Annotated[str, typer.Option(help="grpo, dr_grpo, rloo, …")] = "grpo",
    calibration: Annotated[
        Path | None,
        typer.Option(help="What `verigap validate --out` wrote: gains in accuracy too."),
    ] = None,
    probe: Annotated[
        Path | None,
        typer.Option(help="What `verigap probe --out` wrote: levers priced in learning."),
    ] = None,
    prices: Annotated[
        Path | None, typer.Option(help="YAML: rollouts_1000, judgements_1000, label.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON document here.")] = None,
    json: Json = False,
) -> None:
    """What each lever buys: more rollouts or steps, a better verifier, several judgements."""
    from fits.files import check_target
    from verigap.face import decisions

    if out is not None:
        check_target(out)
    found = decisions.plan(
        fpr=fpr,
        fnr=fnr,
        audit=audit,
        pass_rate=pass_rate,
        group_size=group_size,
        steps=steps,
        prompts_per_step=prompts_per_step,
        estimator=estimator,
        calibration=calibration,
        probe=probe,
        prices=prices,
    )

    def show(console: Console) -> None:
        from rich.table import Table

        def say(text: str, *, style: str | None = None) -> None:
            console.print(text, style=style, highlight=False)

        low, high = found.effective_rollouts_ci
        say(
            f"{found.group_size} rollouts are worth {found.effective_rollouts:.2f} [{low:.2f}, {high:.2f}]"
            " of a clean verifier's.",
            style="bold",
        )
        if found.matching_rollouts is not None:
            least, most = found.matching_rollouts_ci
            far = "∞" if most is None else f"{most:.1f}"
            say(
                f"To match a clean verifier's {found.group_size} takes {found.matching_rollouts:.1f}"
                f" [{least:.1f}, {far}] rollouts."
            )
        say(found.advice)
        view = Table()
        probed = any(lever.progress is not None for lever in found.levers)
        headings = ["lever", "accuracy", "effective rollouts", "as many times the rollouts"]
        if probed:
            headings.append("as far a run")
        for heading in (*headings, "cost"):
            view.add_column(heading, overflow="fold")
        for lever in found.levers:
            gain, ends = lever.effective_rollouts_gain, lever.effective_rollouts_gain_ci
            factor, limits = lever.rollouts_factor, lever.rollouts_factor_ci
            far, reach = lever.progress, lever.progress_ci
            learning = (
                "–"
                if far is None or reach is None
                else f"{far:.2f} [{reach[0]:.2f}, {reach[1]:.2f}] times"
            )
            view.add_row(
                lever.name,
                "not known"
                if lever.accuracy_gain is None or lever.ci is None
                else f"{lever.accuracy_gain:+.3f} [{lever.ci[0]:+.3f}, {lever.ci[1]:+.3f}]",
                lever.reason
                if gain is None or ends is None
                else f"{gain:+.2f} [{ends[0]:+.2f}, {ends[1]:+.2f}]",
                "–"
                if factor is None or limits is None
                else f"{factor:.2f} [{limits[0]:.2f}, {'∞' if limits[1] is None else f'{limits[1]:.2f}'}]",
                *([learning] if probed else []),
                f"{lever.cost:g}x the rollouts"
                + ("" if lever.cost_money is None else f" ({lever.cost_money:,.0f})")
                + (f"; {lever.effort}" if lever.effort else ""),
            )
        console.print(view)
        for measurement, share in found.would_narrow[:1]:
            say(f"Would narrow the first line most: {measurement} ({share:.0%} of its variance).")
        for text in found.assumptions:
            say(f"Assumed: {text}.", style="dim")

    if out is not None:
        write_json(out, found)
    emit(found, as_json=json, show=show)
