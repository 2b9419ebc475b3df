"""`verigap demo`: everything end to end on the runs that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from verigap.console import Json, emit, fail, progress

if TYPE_CHECKING:
    from rich.console import Console


def demo(
    *,
    out: Annotated[Path, typer.Option(help="Folder for the report and its data.")] = Path(
        "verigap-demo"
    ),
    json: Json = False,
) -> None:
    """Logged runs, the same arms simulated, both fitted: a verdict per arm and an HTML report."""
    if out.exists() and not out.is_dir():
        fail(f"{out}: is a file; --out names a folder")

    from fits import write_runs
    from verigap.demo import LOGGED, run_demo
    from verigap.demo_report import demo_report, interval
    from verigap.report import write_report
    from verigap.simulation import write_study

    with progress() as bar:
        task = bar.add_task("simulating the same arms", total=None)

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        result = run_demo(report=report)
    page = out / "report.html"
    write_study(result.spec, result.simulated, out / "simulated")
    write_runs(result.runs, out / "measured" / "runs.csv")
    write_runs(result.comparison, out / "predicted-against-measured.csv")
    write_report(demo_report(result), page)
    document: dict[str, Any] = {
        "arms": result.arms,
        "delta": result.measured_gap.delta,
        "asymmetry": result.measured_gap.asymmetry,
        "exchange_rate": result.measured_gap.exchange_rate,
        "calibration_rmse": result.calibration.rmse,
        "evaluation_noise": result.evaluation_noise,
        "report": page,
    }

    def show(console: Console) -> None:
        from rich import box
        from rich.table import Table

        from fits.gap import verdict_in_words

        console.print(
            f"{result.runs['run_id'].nunique()} logged GRPO runs ({LOGGED}), and the same arms simulated",
            style="bold",
            highlight=False,
        )
        view = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for heading in ("arm", "verdict", "gap", "95 % interval", "simulator", "its gap"):
            view.add_column(heading, no_wrap=heading not in ("verdict", "simulator"))
        view.add_column("RMSE", no_wrap=True)
        for arm in result.arms:
            view.add_row(
                arm.arm,
                verdict_in_words(arm.verdict, arm.basis),
                f"{arm.floor:+.3f}",
                interval(arm.floor_ci),
                verdict_in_words(arm.simulated_verdict, arm.simulated_basis),
                f"{arm.simulated_floor:+.3f}",
                f"{arm.forecast_rmse:.3f}",
            )
        console.print(view)
        console.print(
            "RMSE: of the simulator's forecast of the arm's curve, calibrated to the clean arm alone.",
            highlight=False,
        )
        for arm in result.arms:
            if arm.would_settle_it is not None:
                console.print(
                    f"What would settle {arm.arm}: {arm.would_settle_it}.", highlight=False
                )
        # Not wrapped, so that a terminal can make a link of it.
        console.print(f"Report: {page}", soft_wrap=True, highlight=False)

    emit(document, as_json=json, show=show)
