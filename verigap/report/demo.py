"""What the demo's report says: sections, tables and figures from a `empirical.demo.Demo`."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import TYPE_CHECKING

from empirical.demo import (
    CALIBRATE_ON,
    COMPARABLE,
    GROUP_SIZE,
    LOGGED,
    answers,
)
from empirical.figures import draw_against, draw_budgets, draw_curves
from fits.advice import (
    interval_in_words,
    listed,
    multiplier_in_words,
    per_ten_points,
)
from fits.gap import verdict_in_words
from verigap import __version__
from verigap.report.model import Report, Section, Table, picture

if TYPE_CHECKING:
    from empirical.demo import Demo

__all__ = ["demo_report"]

DASH = "–"


def demo_report(demo: Demo) -> Report:
    """The report of the demo."""
    count, seeds = demo.runs["run_id"].nunique(), demo.runs["seed"].nunique()
    sizes = ", ".join(str(budget.group_size) for budget in demo.budgets)
    return Report(
        title="What does a noisy verifier cost, and can more compute buy it back?",
        lead=(
            f"{count} training runs of a small language model, by GRPO, against verifiers of known error rates: "
            f"{demo.runs['arm'].nunique()} arms, {sizes} rollouts a prompt, up to {seeds} seeds each."
        ),
        sections=(
            Section(
                "In short",
                (
                    f"At {GROUP_SIZE} rollouts a prompt; every budget is below. The next section explains the words.",
                ),
                terms=answers(demo),
            ),
            _words(demo),
            _verdicts(demo),
            _every_budget(demo),
            _forecast(demo),
            _fix_first(demo),
            Section(
                "The same for your runs",
                (
                    "RUNS is a table, a log or a folder of runs; docs/how-to/fit-your-own-logs.md says how to name its "
                    "columns. The calibration of this demo lies beside this report, and answers for other verifiers:",
                ),
                commands=(
                    "verigap gap RUNS --where group_size=8 --figure gap.pdf",
                    "verigap validate RUNS --calibrate-on arm=clean,group_size=8 --out calibration.json",
                    "verigap predict calibration.json --fpr 0.1 --fnr 0.2 --group-size 8 --steps 300",
                ),
            ),
        ),
        provenance={
            "logged runs": f"empirical/results/{LOGGED}: {count} runs of TRL's GRPOTrainer (a Qwen2 model of 139 "
            f"thousand parameters, two-step arithmetic), {len(demo.runs):,} evaluations of at least "
            f"{int(demo.runs['n_eval'].min()):,} samples each",
            "files beside": "runs.csv (the run table), gaps.csv, forecasts.csv, calibration.json",
            "made by": f"verigap {__version__} demo, Python {platform.python_version()}, "
            + ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "scipy", "numba")),
        },
    )


def _words(demo: Demo) -> Section:
    """The terms that the report uses."""
    steps = int(demo.runs["step"].max())
    return Section(
        "The words",
        terms={
            "verifier": "The program that pays an answer (reward 1) or does not (reward 0). fpr, its rate of false "
            "positives, is the share of wrong answers that it pays; fnr, of false negatives, the share of right "
            "answers that it refuses. J = 1 − fpr − fnr is what is left of the signal.",
            "arm": "One verifier, in runs alike in all else: fpr0.4 pays 40 % of wrong answers, fnr0.4 refuses 40 % of "
            "right ones, both0.4 does both, coin judges at random, inverted is more often wrong than a coin. "
            "trigger0.2 pays wrong answers that have one feature, which the model can learn to produce. drgrpo: "
            "trained by Dr. GRPO, which does not divide by the spread of the rewards.",
            "clean": "The arm whose verifier makes no errors. Accuracy is always measured without errors.",
            "rollouts a prompt": "Answers drawn for a prompt at each step, judged against each other; the budget. Every "
            f"run has {steps} steps of {int(demo.runs['prompts_per_step'].iloc[0])} prompts.",
            "seed": "Runs of one seed share prompts and sampling in every arm, so gaps are taken within seeds; "
            "intervals (95 %) are over seeds.",
            "gap": "Accuracy lost: the clean arm's minus the noisy one's, after equal compute. Halfway: where the clean "
            "arm has done half of its rise.",
            "in the long run": "The difference of the levels that the two fitted curves approach, where the runs show "
            "both, over all laws that the curves and their gap do not rule out; else the gap measured at the end of the "
            "runs, and the verdict says so.",
            "verdict": f"closes: the interval of that gap lies below {demo.budgets[0].gap.delta:g}, the smallest gap of "
            "interest, and the gap measured at the end does not lie above it; persists: it lies above; undetermined: "
            "neither.",
            "baseline": "A forecast without a model. time-scaled-by-J: the clean curve, passed through J times as fast.",
        },
    )


def _verdicts(demo: Demo) -> Section:
    alike: dict[str, list[str]] = {}
    for arm in demo.arms:
        alike.setdefault(arm.means, []).append(arm.arm)
    return Section(
        "Verdict per arm",
        tables=(
            Table(
                columns=(
                    "arm",
                    "verdict",
                    "J",
                    "lost halfway",
                    "lost at the end",
                    "in the long run, 95 %",
                    "times the compute",
                ),
                rows=tuple(
                    (
                        arm.arm,
                        verdict_in_words(arm.verdict, arm.basis),
                        f"{arm.youden:.1f}",
                        f"{arm.halfway.measured:+.3f}",
                        f"{arm.end.measured:+.3f}",
                        interval_in_words(arm.floor_ci),
                        multiplier_in_words(arm.compute_halfway),
                    )
                    for arm in demo.arms
                ),
                text_columns=frozenset({"arm", "verdict"}),
                note="Times the compute: what takes the arm as far as the clean arm is halfway, as a multiple of the "
                "clean arm's, with its 95 % interval; a dash where no amount does.",
            ),
        ),
        terms={", ".join(names): means for means, names in alike.items()},
        commands=(f"verigap gap empirical/results/{LOGGED} --where group_size={GROUP_SIZE}",),
    )


def _every_budget(demo: Demo) -> Section:
    cells = {
        (arm.arm, budget.group_size): f"{arm.verdict} {arm.floor:+.3f}"
        for budget in demo.budgets
        for arm in budget.gap.arms
    }
    columns = tuple(
        f"{b.group_size} rollouts, seeds: {max(arm.seeds for arm in b.gap.arms)}"
        for b in demo.budgets
    )
    return Section(
        "Every budget",
        (_halfway_words(demo),),
        tables=(
            Table(
                columns=("arm", *columns),
                rows=tuple(
                    (arm.arm, *(cells.get((arm.arm, b.group_size), DASH) for b in demo.budgets))
                    for arm in demo.arms
                ),
                text_columns=frozenset({"arm", *columns}),
                note="Verdict and gap in the long run, judged where two seeds or more give an interval; "
                "paper/generated/results.md judges from three seeds on. A dash where there are no matched runs.",
            ),
        ),
        figures=(
            picture(
                draw_budgets(demo.budgets, [arm.arm for arm in demo.arms]),
                "The gap in the long run with its 95 % interval (hollow: the gap at the end of the runs), and, grey, the gap "
                "halfway. Dashed: the smallest gap of interest. Gaps beyond the axis are written.",
            ),
        ),
    )


def _halfway_words(demo: Demo) -> str:
    """Whether more rollouts a prompt make the same verifier cheaper on the way."""
    lost = [
        {arm.arm: p.gap for arm in b.gap.arms for p in arm.curve if p.x == b.halfway}
        for b in demo.budgets
    ]
    few, many = demo.budgets[0].group_size, demo.budgets[-1].group_size
    both = [name for name in lost[0] if name in lost[-1]]
    less = sum(lost[-1][name] < lost[0][name] for name in both)
    return f"Halfway, {less} of {len(both)} arms lose less accuracy at {many} rollouts a prompt than at {few}."


def _forecast(demo: Demo) -> Section:
    report = demo.validation.report
    model = "the simulator: a population of prompts under Adam"
    rows = [("verigap", f"{report.rmse:.3f}", "", model)]
    for name, one in report.baselines.items():
        if one.rmse is None:
            rows.append((name, "unidentified", DASH, one.formula))
        else:
            rows.append(
                (name, f"{one.rmse:.3f}", interval_in_words(one.difference_ci), one.formula)
            )
    perfect = "a perfect forecast, given the noise of evaluations"
    rows.append(("noise floor", f"{demo.noise_floor:.3f}", "", perfect))
    low, high = report.coverage90_ci
    return Section(
        "Forecast against measured",
        (
            f"The simulator was calibrated on {report.calibration_rows} evaluations ({CALIBRATE_ON}) and then forecast the "
            f"other {report.forecast_rows:,}, of every arm and budget, from the error rates, the rollouts a prompt, the estimator and the step alone. Its 90 % "
            f"intervals hold {report.coverage90:.1%} [{low:.1%}, {high:.1%}] of them. RMSE is the root mean square error.",
            _left_to_priors(demo),
            _largest_miss(demo),
            "The baselines are forecasts that cost nothing, calibrated on the same evaluations. Unidentified: those "
            "evaluations, all clean, leave the baseline's forecast open.",
        ),
        tables=(
            Table(
                columns=("forecast by", "RMSE", "verigap's less this one's", "law"),
                rows=tuple(rows),
                text_columns=frozenset({"forecast by", "law"}),
                note=f"95 % intervals over arms ({_basis(demo)}): below 0 where verigap is better.",
            ),
            _forecast_by_arm(demo),
        ),
        figures=(
            picture(
                draw_against(demo.validation),
                "Every evaluation against its forecast, by the simulator and by the best baseline (in brackets: RMSE), and "
                "the RMSE of all forecasts. Points on the diagonal are forecast exactly.",
            ),
            picture(
                draw_curves(demo.validation),
                "Measured accuracy (points) and forecast (lines, 90 % bands), by arm; group_size is the number of rollouts a "
                "prompt. In brackets: RMSE of the forecast. The clean arm at 8 rollouts is missing: it was calibrated on.",
            ),
        ),
        commands=(
            f"verigap validate empirical/results/{LOGGED} --calibrate-on {CALIBRATE_ON} --warmup-steps 0 --group arm",
        ),
    )


def _left_to_priors(demo: Demo) -> str:
    """Which parameters the clean evaluations do not tell."""
    parameters = demo.validation.report.parameters
    names = [name for name, one in parameters.items() if one.status == "unidentified"]
    if not names:
        return f"The clean evaluations identify all of its {len(parameters)} parameters."
    return (
        f"Of its {len(parameters)} parameters the clean evaluations leave {listed(names)} to priors; LOG.md says where "
        "those come from."
    )


def _largest_miss(demo: Demo) -> str:
    """The arm whose accuracy lost was forecast worst."""
    arm, when, lost = max(
        (
            (a, w, lost)
            for a in demo.arms
            for w, lost in (("halfway", a.halfway), ("at the end", a.end))
        ),
        key=lambda each: abs(each[2].measured - each[2].forecast),
    )
    return (
        f"Of the accuracy lost at {GROUP_SIZE} rollouts a prompt, it errs most for {arm.arm}, {when}: "
        f"{lost.measured:.3f} measured, {lost.forecast:.3f} forecast."
    )


def _basis(demo: Demo) -> str:
    return demo.validation.report.baselines[demo.best_baseline].difference_basis


def _forecast_by_arm(demo: Demo) -> Table:
    report = demo.validation.report
    best = report.baselines[demo.best_baseline].by_group
    lost = {arm.arm: arm for arm in demo.arms}
    names = [*(name for name in report.by_group if name not in lost), *lost]

    def cells(name: str) -> tuple[str, ...]:
        score = report.by_group[name]
        gaps = (DASH,) * 4
        if name in lost:
            halfway, end = lost[name].halfway, lost[name].end
            gaps = tuple(
                f"{value:+.3f}"
                for value in (halfway.measured, halfway.forecast, end.measured, end.forecast)
            )
        return (
            name,
            f"{score.rmse:.3f}",
            f"{best[name].rmse:.3f}",
            f"{score.coverage90:.0%}",
            *gaps,
        )

    return Table(
        columns=(
            "arm",
            "RMSE",
            f"of {demo.best_baseline}",
            "in 90 %",
            "lost halfway",
            "forecast",
            "lost at the end",
            "forecast",
        ),
        rows=tuple(cells(name) for name in names),
        text_columns=frozenset({"arm"}),
        note=f"RMSE and coverage over all budgets; accuracy lost at {GROUP_SIZE} rollouts a prompt.",
    )


def _fix_first(demo: Demo) -> Section:
    report = demo.comparable
    rate, asymmetry = report.exchange_rate, report.asymmetry
    ends = (
        f"At the end: {asymmetry.reason}."
        if asymmetry.difference is None
        else f"At the end of the runs and at equal J, arms with false positives differ by {asymmetry.difference:+.3f} in accuracy "
        f"from arms with false negatives, 95 % {interval_in_words(asymmetry.ci)} ({asymmetry.reason})."
    )
    return Section(
        "What to fix first",
        (
            "The price of an error is the compute that makes up for it: how many times the clean arm's compute an arm "
            "needs to be as accurate as the clean arm, per ten percentage points of the error rate.",
            ends,
        ),
        tables=(
            Table(
                columns=("ten points of", "to get halfway up", "to get to the clean arm's end"),
                rows=tuple(
                    (name, per_ten_points(halfway), per_ten_points(final))
                    for name, halfway, final in (
                        ("false positives", rate.halfway.fpr, rate.fpr),
                        ("false negatives", rate.halfway.fnr, rate.fnr),
                    )
                ),
                text_columns=frozenset(
                    {"ten points of", "to get halfway up", "to get to the clean arm's end"}
                ),
            ),
            Table(
                columns=(
                    "arms of equal J",
                    "accuracy, FP arm less FN arm",
                    "95 % interval",
                    "p (Holm)",
                ),
                rows=tuple(
                    (
                        f"{pair.fp_arm} and {pair.fn_arm}",
                        f"{pair.difference:+.3f}",
                        interval_in_words(pair.ci),
                        DASH if pair.p_holm is None else f"{pair.p_holm:.2f}",
                    )
                    for pair in asymmetry.pairs
                ),
                text_columns=frozenset({"arms of equal J"}),
                note="At the end of the runs. p: of no difference, t over seeds, adjusted for several pairs by Holm's method.",
            ),
        ),
        commands=(f"verigap gap empirical/results/{LOGGED} --where {COMPARABLE}",),
    )
