"""What the demo's report says: sections, tables and figures from a `verigap.demo.Demo`."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import TYPE_CHECKING

from fits.gap import chance_in_words, verdict_in_words
from verigap import __version__
from verigap.demo import LOGGED, SPREAD
from verigap.figures import forecast_figure
from verigap.report import Picture, Report, Section, Table, picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from fits import GapReport, GroupFit
    from verigap.demo import Demo

__all__ = ["demo_report", "interval"]

DASH = "–"


def interval(ci: tuple[float, float] | None, *, signed: bool = True) -> str:
    """An interval as text, or a dash where there is none."""
    if ci is None:
        return DASH
    return f"[{ci[0]:+.3f}, {ci[1]:+.3f}]" if signed else f"[{ci[0]:.3f}, {ci[1]:.3f}]"


def demo_report(demo: Demo) -> Report:
    """The report of the demo."""
    from fits.figures import draw_fits, draw_gap
    from fits.fit import group_rows

    seeds = demo.runs["seed"].nunique()

    def gaps(kind: str, report: GapReport) -> Picture:
        return picture(
            draw_gap(report).figure,
            f"{kind}: left, the gap to the clean arm, mean over {seeds} seeds, paired; right, its floor with the "
            "95 % interval over seeds. Dashed: the smallest gap of interest.",
        )

    def curves(kind: str, frame: pd.DataFrame, fits: Sequence[GroupFit]) -> Picture:
        return picture(
            draw_fits(fits, dict(group_rows(frame, None)), x="rollouts").figure,
            f"{kind}: accuracy by the clean verifier against cumulative rollouts, one point per seed and "
            "evaluation, the fitted law with a bootstrap band, and the asymptotes with 95 % intervals over seeds.",
        )

    scatter = picture(
        forecast_figure(demo.comparison, clean=_clean_arm(demo)),
        "Left: measured points and the simulator's curves. Right: every point against its forecast. Bars: 95 % "
        "of evaluation sampling noise; they hold no seed-to-seed variation.",
    )
    return Report(
        title="What do these verifier errors cost, and does compute buy it back?",
        lead=_lead(demo),
        sections=(
            Section(
                "Verdict per arm",
                _how_to_read(demo),
                (_verdicts(demo),),
                (gaps("Measured", demo.measured_gap), gaps("Simulated", demo.simulated_gap)),
            ),
            Section(
                "Accuracy against compute",
                ("One scaling law per arm, fitted to all its seeds; intervals are t over seeds.",),
                (_fits("measured", demo.measured_fits), _fits("simulated", demo.simulated_fits)),
                (
                    curves("Measured", demo.runs, demo.measured_fits),
                    curves("Simulated", demo.simulated.table, demo.simulated_fits),
                ),
            ),
            Section(
                "Predicted against measured", _forecast_words(demo), (_forecasts(demo),), (scatter,)
            ),
            Section(
                "Which error hurts more, and what it costs in compute",
                _asymmetry(demo.measured_gap),
            ),
        ),
        provenance={
            "logged runs": f"empirical/results/{LOGGED}: {demo.runs['run_id'].nunique()} runs of TRL's "
            f"GRPOTrainer, {len(demo.runs)} evaluations of at least {int(demo.runs['n_eval'].min())} samples",
            "simulation": f"theory.bandit, {demo.spec.population.prompts} prompts, {demo.calibration.flow.optimiser}, seeds "
            f"{', '.join(map(str, demo.spec.seeds))}; its spec lies beside this report",
            "made by": f"verigap {__version__} demo, Python {platform.python_version()}, "
            + ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "scipy", "numba")),
        },
    )


def _clean_arm(demo: Demo) -> str:
    return str(demo.runs.loc[(demo.runs["fpr"] == 0.0) & (demo.runs["fnr"] == 0.0), "arm"].iloc[0])


def _lead(demo: Demo) -> str:
    spoken = "; ".join(
        f"{arm.arm}: {verdict_in_words(arm.verdict, arm.basis)} (measured gap {arm.floor:+.3f}, 95 % {interval(arm.floor_ci)})"
        for arm in demo.arms
    )
    return f"Smallest gap of interest {demo.measured_gap.delta:g} of accuracy. {spoken}."


def _how_to_read(demo: Demo) -> tuple[str, ...]:
    words = (
        "A gap closes when the upper 95 % limit of its floor is below the smallest gap of interest, persists "
        "when the lower limit is above it, and is undetermined otherwise. The floor is the difference of the "
        "arms' asymptotes where the data identify both, else the gap at the largest budget.",
    )
    for arm in demo.arms:
        if arm.reason:
            words += (f"{arm.arm}: {arm.reason}.",)
        if arm.would_settle_it:
            words += (f"What would settle {arm.arm}: {arm.would_settle_it}.",)
    return words


def _verdicts(demo: Demo) -> Table:
    return Table(
        columns=("arm", "J", "verdict", "gap", "95 % interval", "simulator", "its gap", "its 95 %"),
        rows=tuple(
            (
                arm.arm,
                f"{1.0 - arm.fpr - arm.fnr:.2g}",
                verdict_in_words(arm.verdict, arm.basis),
                f"{arm.floor:+.3f}",
                interval(arm.floor_ci),
                verdict_in_words(arm.simulated_verdict, arm.simulated_basis),
                f"{arm.simulated_floor:+.3f}",
                interval(arm.simulated_floor_ci),
            )
            for arm in demo.arms
        ),
        text_columns=frozenset({"arm", "verdict", "simulator"}),
        note="The simulator's verdict rests on as many simulated seeds as were logged. Two arms that are both undetermined do not agree: both lack data.",
    )


def _fits(kind: str, fits: Sequence[GroupFit]) -> Table:
    rows: list[tuple[str, ...]] = []
    for one in fits:
        fit = one.fit
        asymptote = fit.params.get("asymptote")
        rows.append(
            (
                one.group,
                fit.law.name,
                DASH if asymptote is None or not fit.identified else f"{asymptote:.3f}",
                interval(fit.ci.get("asymptote"), signed=False) if fit.identified else DASH,
                DASH if fit.x_max_over_midpoint is None else f"{fit.x_max_over_midpoint:.1f}",
                DASH if fit.forecast_rmse is None else f"{fit.forecast_rmse:.3f}",
                fit.reason or "identified",
            )
        )
    return Table(
        columns=(
            kind,
            "law",
            "asymptote",
            "95 % interval",
            "x_max / midpoint",
            "held-out RMSE",
            "is the asymptote identified?",
        ),
        rows=tuple(rows),
        text_columns=frozenset({kind, "law", "is the asymptote identified?"}),
        note="Held-out RMSE: fitted to the first half of compute, judged on the rest.",
    )


def _forecast_words(demo: Demo) -> tuple[str, ...]:
    flow = demo.calibration.flow
    return (
        f"The simulator saw the clean arm only: start, speed and ceiling ({flow.ceiling:.2f}) of a population of "
        f"prompts whose difficulties spread over {SPREAD:g} logits (given, not fitted). "
        f"Sampling noise of an evaluation, averaged over seeds, is {demo.evaluation_noise:.3f}: an error of that "
        "size is none.",
    )


def _forecasts(demo: Demo) -> Table:
    return Table(
        columns=("arm", "RMSE of the forecast"),
        rows=(
            ("clean (calibrated on it)", f"{demo.calibration.rmse:.3f}"),
            *((arm.arm, f"{arm.forecast_rmse:.3f}") for arm in demo.arms),
        ),
        text_columns=frozenset({"arm"}),
    )


def _asymmetry(report: GapReport) -> tuple[str, ...]:
    asymmetry = report.asymmetry
    words = [
        f"False positives against false negatives at equal J: {asymmetry.reason}."
        if asymmetry.difference is None
        else f"At equal J the arm with false positives ends {asymmetry.difference:+.3f} in accuracy above the arm "
        f"with false negatives, 95 % {interval(asymmetry.ci)} ({asymmetry.reason})."
    ]
    for rate in (report.exchange_rate.fpr, report.exchange_rate.fnr):
        if rate.multiplier is None:
            chance = chance_in_words(rate.p_no_finite_amount)
            words.append(
                f"A percentage point of {rate.rate}: {rate.reason}"
                + (f" ({chance}, over seeds)." if chance else ".")
            )
        else:
            upper = None if rate.ci is None else rate.ci[1]
            limits = (
                ""
                if rate.ci is None
                else f" (95 %: {rate.ci[0]:.3f} to {'no finite amount' if upper is None else f'{upper:.3f}'})"
            )
            words.append(
                f"A percentage point of {rate.rate} costs {rate.multiplier:.3f} times the compute{limits}."
            )
    return tuple(words)
