"""`verigap demo`: everything end to end on the runs that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

    from empirical.demo import (
        CALIBRATE_ON,
        GROUP_SIZE,
        LOGGED,
        gap_table,
        logged_probe,
        logged_runs,
    )
    from empirical.validate.predict import stored
    from fits import write_runs
    from fits.gap import ArmGap
    from verigap.face.reports import report
    from verigap.pages.beside import document_of

    runs = logged_runs()
    probe = document_of(logged_probe(), Path("probe.json"))
    with progress() as bar:
        bar.add_task("gaps and forecasts", total=None)
        made = report(
            runs,
            calibrate_on=CALIBRATE_ON,
            warmup_steps=0.0,  # the campaign's learning rate has none
            beside=probe,
            title="What does a noisy verifier cost, and can more compute buy it back?",
            command="verigap demo",
        )
    gap, validation = made.gap, made.validation
    assert gap is not None  # the campaign has a clean arm
    assert validation is not None
    page = made.write(out / "report.html")
    write_runs(runs.frame, out / "runs.csv")
    write_runs(gap_table(gap), out / "gaps.csv")
    write_runs(validation.forecasts, out / "forecasts.csv")
    write_json(out / "calibration.json", stored(validation, source=LOGGED))

    def show(console: Console) -> None:
        from rich import box
        from rich.padding import Padding
        from rich.table import Table

        from fits.advice import interval_in_words, multiplier_in_words
        from fits.figures import without_setting
        from fits.gap import verdict_in_words

        for one in made.answers:
            console.print(f"{one.question} {one.answer}", style="bold", highlight=False)
            for line in one.because:
                console.print(Padding(line, (0, 0, 0, 2)), highlight=False)
        score = validation.report
        console.print("Could it have been forecast?", style="bold", highlight=False)
        said = (
            f"From {score.calibration_rows} evaluations of the clean arm at {GROUP_SIZE} rollouts a prompt, the simulator"
            f" forecast the other {score.forecast_rows:,} with an error of {score.rmse:.3f} (root mean square). This is not"
            " blind: its form and two priors were chosen with these runs in view (LOG.md)."
        )
        console.print(Padding(said, (0, 0, 0, 2)), highlight=False)
        console.print()
        view = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        view.add_column(f"arm, {GROUP_SIZE} rollouts\na prompt", no_wrap=True)
        view.add_column("lost at\nthe end", no_wrap=True)
        view.add_column("in the long\nrun, 95 %", no_wrap=True)
        view.add_column("times the compute\nto get halfway")
        view.add_column("does the\ngap close?")
        for one in gap.settings:
            if one.setting.get("group_size") != GROUP_SIZE:
                continue
            arms: list[ArmGap] = [arm for arm in gap.arms if arm.setting == one.setting]
            for arm, times in zip(arms, one.exchange_rate.halfway.arms, strict=True):
                view.add_row(
                    without_setting(arm),
                    f"{arm.end:+.3f}",
                    interval_in_words(arm.floor_ci) if arm.horizon == "asymptote" else "–",
                    multiplier_in_words(times),
                    verdict_in_words(arm.verdict, arm.basis),
                )
        console.print(view)
        console.print(
            "fpr0.4 pays 40 % of wrong answers, fnr0.4 refuses 40 % of right ones. Lost: accuracy, against a verifier"
            " without errors.",
            style="dim",
            highlight=False,
        )
        # Not wrapped, so that a terminal can make a link of it.
        console.print(f"Report: {page}", soft_wrap=True, highlight=False)

    emit({**made.plain(), "report": page}, as_json=json, show=show)
