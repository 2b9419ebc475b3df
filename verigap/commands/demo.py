"""`verigap demo`: everything end to end on the runs that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from verigap.console import Json, emit, fail, progress, write_json
from verigap.options import Force, check_absent

if TYPE_CHECKING:
    from rich.console import Console


def demo(
    *,
    out: Annotated[Path, typer.Option(help="Folder for the report and its data.")] = Path(
        "verigap-demo"
    ),
    force: Force = False,
    json: Json = False,
) -> None:
    """Logged runs: what each verifier cost, whether a forecast knew, a verdict per arm, an HTML report."""
    if out.exists() and not out.is_dir():
        fail(f"{out}: is a file; --out names a folder")

    written = ("report.html", "runs.csv", "gaps.csv", "forecasts.csv", "calibration.json")
    check_absent(*(out / name for name in written), force=force)

    from empirical.demo import GROUP_SIZE, LOGGED, answers, gap_table, run_demo
    from empirical.validate.predict import stored
    from fits import write_runs
    from verigap.report.demo import demo_report
    from verigap.report.model import write_report

    with progress() as bar:
        task = bar.add_task("gaps and forecasts", total=None)

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        result = run_demo(report=report)
    page = out / "report.html"
    write_runs(result.runs, out / "runs.csv")
    write_runs(gap_table(result), out / "gaps.csv")
    write_runs(result.validation.forecasts, out / "forecasts.csv")
    write_json(out / "calibration.json", stored(result.validation, source=LOGGED))
    write_report(demo_report(result), page)
    said = answers(result)
    document: dict[str, Any] = {
        "answers": said,
        "group_size": GROUP_SIZE,
        "arms": result.arms,
        "budgets": {budget.group_size: budget.gap.arms for budget in result.budgets},
        "delta": result.comparable.delta,
        "asymmetry": result.comparable.asymmetry,
        "exchange_rate": result.comparable.exchange_rate,
        "forecast": result.validation.report,
        "report": page,
    }

    def show(console: Console) -> None:
        from rich import box
        from rich.padding import Padding
        from rich.table import Table

        from fits.advice import interval_in_words
        from fits.gap import verdict_in_words

        console.print(
            f"{result.runs['run_id'].nunique()} GRPO runs under verifiers that err, here at {GROUP_SIZE} rollouts a prompt",
            highlight=False,
        )
        for question, answer in said.items():
            console.print(question, style="bold", highlight=False)
            console.print(Padding(answer, (0, 0, 0, 2)), highlight=False)
        console.print()
        view = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        view.add_column("arm", no_wrap=True)
        view.add_column("lost\nhalfway", justify="right", no_wrap=True)
        view.add_column("lost at\nthe end", justify="right", no_wrap=True)
        view.add_column("in the long\nrun, 95 %", no_wrap=True)
        view.add_column("times\ncompute", justify="right", no_wrap=True)
        view.add_column("does the\ngap close?")
        for arm in result.arms:
            times = arm.compute_halfway.multiplier
            view.add_row(
                arm.arm,
                f"{arm.halfway.measured:+.3f}",
                f"{arm.end.measured:+.3f}",
                interval_in_words(arm.floor_ci),
                "–" if times is None else f"{times:.2f}",
                verdict_in_words(arm.verdict, arm.basis),
            )
        console.print(view)
        console.print(
            "fpr0.4 pays 40 % of wrong answers, fnr0.4 refuses 40 % of right ones. Lost: accuracy, against a verifier"
            " without errors; halfway: where that one has done half of its rise; times compute: what takes the arm"
            " as far.",
            style="dim",
            highlight=False,
        )
        # Not wrapped, so that a terminal can make a link of it.
        console.print(f"Report: {page}", soft_wrap=True, highlight=False)

    emit(document, as_json=json, show=show)
