"""`verigap probe`: what each verifier of a study would do to the speed of learning, without training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verigap.console import Json, emit, progress

if TYPE_CHECKING:
    from rich.console import Console

    from empirical.probe import Probe

INTERRUPTED = 3  # exit status: resumable


def probe(
    study: Annotated[Path, typer.Argument(help="Study file (YAML).", metavar="STUDY.yaml")],
    *,
    model: Annotated[
        str | None,
        typer.Option(help="A model of the study, or a folder of its weights. [default: its first]"),
    ] = None,
    groups: Annotated[
        int, typer.Option(min=16, help="Groups of the largest group size, two per prompt.")
    ] = 512,
    group_size: Annotated[
        int | None,
        typer.Option(min=2, help="What `arms` is about. [default: the study's first run's]"),
    ] = None,
    weights: Annotated[
        int, typer.Option(min=100, help="Weights to look at, chosen at random.")
    ] = 32768,
    seed: Annotated[int, typer.Option(min=0, help="Of prompts, rollouts, noise, weights.")] = 0,
    processes: Annotated[
        int | None, typer.Option(min=1, help="At a time. [default: the study's; 1 with a GPU]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write. [default: runs/<study's name>/probe.json]")
    ] = None,
    json: Json = False,
) -> None:
    """Measure signal and noise of the policy gradient at a model's weights, and what each verifier does to them."""
    from empirical.studies import read_study, unpinned
    from verigap.face.checkpoints import probe as measure

    wanted = read_study(study)
    probed = [one for one in wanted.models if one.name == (model or wanted.models[0].name)]
    sys.stderr.writelines(f"{line}\n" for line in unpinned(probed, wanted.task))
    target = out or Path("runs") / wanted.name / "probe.json"
    done = total = 0
    try:
        with progress() as bar:
            task = bar.add_task("prompts", total=None)

            def report(prompts: int, of: int) -> None:
                nonlocal done, total
                done, total = prompts, of
                bar.update(task, completed=prompts, total=of)

            result = measure(
                study,
                model=model,
                groups=groups,
                group_size=group_size,
                weights=weights,
                seed=seed,
                processes=processes,
                out=target,
                report=report,
            )
    except KeyboardInterrupt:
        sys.stderr.write(
            f"verigap: interrupted after {done} of {total} prompts; the same command goes on\n"
        )
        raise typer.Exit(INTERRUPTED) from None
    emit(result, as_json=json, show=lambda console: _show(result, target, console))


def _show(result: Probe, target: Path, console: Console) -> None:
    from rich.table import Table

    def say(line: str, style: str = "") -> None:
        console.print(line, style=style, highlight=False)

    say(
        f"{result.model} on {result.task}: {result.prompts} prompts, {result.rollouts:,} rollouts,"
        f" {result.weights:,} of {result.weights_total:,} weights",
        "bold",
    )
    say(
        f"pass rate {result.pass_rate:.3f} {_span(result.pass_rate_ci)}, squared signal-to-noise of a clean batch"
        f" of {result.prompts_per_step} x {result.group_size} {result.snr2:.2f} {_span(result.snr2_ci, '.2f')},"
        f" noise scale {_number(result.noise_scale, '.1f')} prompts"
        f" ({_number(result.noise_within, '.1f')} within, {_number(result.noise_between, '.1f')} between)"
    )
    for one in result.by_group_size:
        view = Table(
            title=f"{one.group_size} rollouts: clean learns at"
            f" {_number(one.clean_speed)} {_span(one.clean_speed_ci)} of its speed at {result.group_size}"
        )
        for heading in ("arm", "fpr", "fnr", "speed over clean", "95 % interval"):
            view.add_column(heading, justify="left" if heading == "arm" else "right")
        for heading in ("worth rollouts", "wrong and paid, a step", "right, a step"):
            view.add_column(heading, justify="right")
        for arm in one.arms:
            view.add_row(
                arm.arm,
                f"{arm.fpr:g}",
                f"{arm.fnr:g}",
                _number(arm.relative_speed),
                _span(arm.ci),
                _number(arm.effective_rollouts, ".1f"),
                f"{arm.exploit_rate:+.5f}",
                f"{arm.right_rate:+.5f}",
            )
        console.print(view)
    reasons = {
        reason
        for one in result.by_group_size
        for arm in one.arms
        for reason in (arm.relative_speed_reason, arm.effective_rollouts_reason)
        if reason
    }
    for line in (*sorted(reasons), *result.assumptions):
        say(f"{line}.", "dim")
    say(f"written to {target}", "dim")


def _number(value: float | None, spec: str = ".3f") -> str:
    return "–" if value is None else format(value, spec)


def _span(interval: tuple[float | None, float | None] | None, spec: str = ".3f") -> str:
    if interval is None:
        return "–"
    return f"[{_number(interval[0], spec)}, {_number(interval[1], spec)}]"
