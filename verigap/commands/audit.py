"""`verigap audit`: a real verifier's error rates, what its rollouts are worth, and where it errs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verigap.console import Json, emit, fail, write_json
from verigap.options import Figure, save_figure

if TYPE_CHECKING:
    from rich.console import Console

    from empirical.audit import Audit
    from empirical.audit.gate import Gate
    from verigap.face.decisions import AuditedRuns

Column = str | None


def audit(
    labels: Annotated[
        Path | None,
        typer.Argument(metavar="LABELS", help="A row a rollout: CSV, Parquet or JSONL."),
    ] = None,
    *,
    truth: Annotated[
        Column, typer.Option(help="Column: 1 right, 0 wrong, empty where unlabelled.")
    ] = None,
    verdict: Annotated[
        Column, typer.Option(help="Column: 1 paid, 0 not, empty where the verifier could not tell.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="A graded verdict pays at or above this.")
    ] = None,
    cluster: Annotated[
        Column, typer.Option(help="Columns, comma-separated, that make a prompt.")
    ] = None,
    completion: Annotated[Column, typer.Option(help="Column of completions.")] = None,
    gold: Annotated[Column, typer.Option(help="Column of gold answers.")] = None,
    answer: Annotated[Column, typer.Option(help="Column of extracted answers.")] = None,
    gold_after: Annotated[
        str | None, typer.Option(help="The gold answer is what follows the last of this text.")
    ] = None,
    verifier: Annotated[
        str | None,
        typer.Option(
            help="Judge completions: strict, flexible, math_verify, … or module:function."
        ),
    ] = None,
    verifier_regex: Annotated[
        str | None, typer.Option(help="Judge what this pattern finds last in a completion.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="What is right, without --truth: math_verify (default), number, …"),
    ] = None,
    auxiliary: Annotated[
        list[str] | None,
        typer.Option(
            help="Column of another verifier's verdicts; shortens the pass rate's interval."
        ),
    ] = None,
    segment: Annotated[
        list[str] | None, typer.Option(help="Column to look into, whatever its name.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", help="Keep rows: model=a,step>=50; repeated flags OR."),
    ] = None,
    runs: Annotated[
        Path | None,
        typer.Option(help="Instead of LABELS, logged runs: their reward against their accuracy."),
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="With --runs: columns, comma-separated, of one verifier.")
    ] = None,
    group_size: Annotated[int, typer.Option(help="Rollouts per prompt, at least 2.")] = 8,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(help="Exit 1 where this holds: 'youden<.8', 'fpr_high>.1' (repeatable)."),
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write a JUnit report here.")] = None,
    sarif: Annotated[Path | None, typer.Option(help="Write a SARIF log here.")] = None,
    figure: Figure = None,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON document here.")] = None,
    json: Json = False,
) -> None:
    """Audit a verifier from labelled verdicts, or from completions and gold answers judged here."""
    from empirical.audit.gate import junit as junit_text
    from empirical.audit.gate import sarif as sarif_text
    from fits.drawing import check_figure
    from fits.files import check_target, write_text
    from verigap import __version__
    from verigap.face import decisions

    read = labels if runs is None else runs
    beside = None if figure is None else figure.with_suffix(".csv")
    if figure is not None:
        check_figure(figure)
    for path in (junit, sarif, out, figure, beside):
        if path is not None:
            check_target(path)
            if read is not None and read.exists() and path.resolve() == read.resolve():
                fail(f"{path}: is read by this command; write its output elsewhere")
    if runs is not None and (junit or sarif):
        fail("--junit and --sarif need labelled verdicts, not --runs")
    found = decisions.audit(
        labels,
        truth=truth,
        verdict=verdict,
        threshold=threshold,
        cluster=cluster,
        completion=completion,
        gold=gold,
        answer=answer,
        gold_after=gold_after,
        verifier=verifier,
        verifier_regex=verifier_regex,
        reference=reference,
        auxiliary=auxiliary,
        where=where,
        runs=runs,
        group=group,
        group_size=group_size,
        segment=segment,
        fail_on=fail_on,
    )
    if out is not None:
        write_json(out, found)
    if figure is not None:
        save_figure(figure, found.plot)
    if isinstance(found, decisions.AuditedRuns):
        logged = found
        emit(found, as_json=json, show=lambda console: _show_runs(console, logged))
        return
    if junit is not None:
        write_text(junit, junit_text(found, found.gates))
    if sarif is not None:
        write_text(sarif, sarif_text(found, found.gates, version=__version__))
    emit(found, as_json=json, show=lambda console: _show(console, found, found.gates))
    if any(gate.fires for gate in found.gates):
        raise typer.Exit(1)


def _show_runs(console: Console, found: AuditedRuns) -> None:
    from rich.table import Table

    view = Table(title="Reward against accuracy, by kind of run")
    for heading in ("runs", "fpr", "fnr", "J", "worth", "errors move"):
        view.add_column(heading, overflow="fold")
    for cell in found.cells:
        view.add_row(
            cell.group,
            *(
                "–" if getattr(cell, name) is None
                else f"{getattr(cell, name):.3f} {_interval(getattr(cell, f'{name}_ci'))}"
                for name in ("fpr", "fnr", "youden", "effective_rollouts")
            ),
            "yes" if cell.errors_move else "no evidence",
        )  # fmt: skip
    console.print(view)
    *reasons, assumed = found.remarks()
    for line in reasons:
        console.print(line, highlight=False)
    console.print(assumed, style="dim", highlight=False)


def _interval(ends: tuple[float, float] | None) -> str:
    return "–" if ends is None else f"[{ends[0]:.4f}, {ends[1]:.4f}]"


def _show(console: Console, audit: Audit, gates: tuple[Gate, ...]) -> None:
    from rich.table import Table

    from fits.plain import counted

    def say(text: str, *, style: str | None = None) -> None:
        console.print(text, style=style, highlight=False)

    by = audit.clustered_by
    say(
        f"{audit.source}: {counted(audit.n, 'labelled and judged rollout')} of {counted(audit.clusters, 'prompt')}"
        + ("" if by is None else f" (by {by})")
        + f"; {audit.unlabelled} unlabelled, {audit.unscorable} unscorable",
        style="bold",
    )
    view = Table()
    for heading in ("quantity", "value", "95 % interval", "meaning"):
        view.add_column(heading, overflow="fold")
    size = audit.group_size
    for name, meaning in (
        ("fpr", f"P(paid | wrong), {audit.wrong} wrong rollouts"),
        ("fnr", f"P(unpaid | right), {audit.right} right rollouts"),
        ("youden", "J = 1 - fpr - fnr"),
        ("pass_rate", f"P(right), by {audit.pass_rate_from}"),
        ("phi2", "squared correlation of right and paid"),
        ("phi2_within", "the same within prompts, as an advantage sees it"),
        ("effective_rollouts", f"clean rollouts that {size} of these are worth, 1 + phi2 (G - 1)"),
    ):
        value = getattr(audit, name)
        view.add_row(
            name,
            "–" if value is None else f"{value:.4f}",
            _interval(getattr(audit, f"{name}_ci")),
            audit.reasons.get(name, meaning),
        )
    console.print(view)
    if audit.p_youden is not None:
        say(f"J > 0: p = {audit.p_youden:.2g}, one-sided.")
    for name, rho, worth, n in (
        ("fpr", audit.icc_fpr, audit.n_effective_fpr, audit.wrong),
        ("fnr", audit.icc_fnr, audit.n_effective_fnr, audit.right),
    ):
        if worth is not None:
            known = "not measurable" if rho is None else f"{rho:.3f}"
            say(
                f"{name}: intraclass correlation {known}; {n} rollouts are worth {worth:.0f}"
                " independent ones."
            )
    for segment in audit.segments:
        elsewhere = (
            "" if segment.rate_elsewhere is None else f", {segment.rate_elsewhere:.1%} elsewhere"
        )
        say(
            f"Systematic {segment.error}: {segment.errors} of {segment.n} where {segment.segment}"
            f" ({segment.rate:.1%} {_interval(segment.ci)}{elsewhere}; {segment.share:.0%} of all"
            f" such errors; adjusted p {segment.p_adjusted:.1g}). Mended, {segment.error} would be"
            f" {segment.rate_without:.4f}."
        )
        if segment.also:
            say(f"  goes with: {'; '.join(segment.also)}.", style="dim")
    if not audit.segments:
        why = audit.reasons.get("segments", f"none among {audit.segments_tested} tests (Holm, 5 %)")
        say(f"Systematic errors: {why}.")
    if audit.unscorable:
        detail = audit.unscorable_detail
        rates = " and ".join(
            f"{name} {rate:.4f}"
            for name, rate in (("fpr", detail.fpr_if_unpaid), ("fnr", detail.fnr_if_unpaid))
            if rate is not None
        )
        say(
            f"Unscorable: {audit.unscorable} ({detail.share:.1%}); if they go unpaid, {rates or '–'}."
        )
    for one in audit.labels_to_halve:
        say(
            f"To halve the interval of {one.interval}: {one.labels} more labels on {one.prompts} new"
            f" prompts, or {one.labels_one_per_prompt} at one label a prompt."
        )
    for warning in audit.warnings:
        say(f"Warning: {warning}.", style="yellow")
    for gate in gates:
        say(f"--fail-on {gate.rule}: {'FIRES' if gate.fires else 'passed'} ({gate.message}).")
    for text in audit.assumptions:
        say(f"Assumed: {text}.", style="dim")
