"""The main job, end to end, on the committed campaign: what each verifier costs, and whether a forecast knew.

Real runs (TRL's GRPO on a tiny model, `empirical/results`), in four steps: read the run table; measure the
gap of every arm at every budget (`fits.gap_report`); calibrate the simulator on the clean arm at one budget
and let it forecast all other runs (`empirical.validate.score`); say what it means. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Final

import numpy as np

from empirical.errors import StudyError
from fits.advice import fix_first, listed, still_behind, verdict_means

if TYPE_CHECKING:
    import pandas as pd

    from empirical.validate.forecast import Validation
    from fits import GapReport
    from fits.gap import ArmGap, GapPoint, Multiplier
    from fits.inference import Interval

__all__ = [
    "CALIBRATE_ON",
    "CLEAN",
    "COMPARABLE",
    "GROUP_SIZE",
    "LOGGED",
    "Budget",
    "Demo",
    "DemoArm",
    "Lost",
    "answers",
    "gap_table",
    "logged_runs",
    "run_demo",
]

LOGGED: Final = "cpu-campaign"
GROUP_SIZE: Final = 8  # rollouts a prompt: of the verdicts in words, and of the calibration
CLEAN: Final = "fpr=0,fnr=0"
CALIBRATE_ON: Final = f"arm=clean,group_size={GROUP_SIZE}"
# Which arms say what a point of either error costs: one trainer, errors that no answer can provoke.
COMPARABLE: Final = f"group_size={GROUP_SIZE},estimator=grpo,noise=independent"
DELTA: Final = 0.01


@dataclass(frozen=True)
class Lost:
    """Accuracy lost against the clean arm after so many rollouts: as measured, with the 95 % t interval over
    seeds (None with one seed), and as forecast."""

    rollouts: float
    measured: float
    ci: Interval | None
    forecast: float


@dataclass(frozen=True)
class DemoArm:
    """One noisy verifier at GROUP_SIZE rollouts a prompt.

    verdict, floor, floor_ci, basis, reason, would_settle_it: see `fits.gap_report`. halfway: where the clean
    arm has done half of its rise; end: at the last evaluation. compute_halfway, compute_end: times the clean
    arm's compute to reach the accuracy that it has there. forecast_rmse, coverage90, baseline_rmse (of the
    best baseline): of all evaluations of this arm, at every budget. means: the verdict for its user.
    """

    arm: str
    fpr: float
    fnr: float
    noise: str
    estimator: str
    verdict: str
    floor: float
    floor_ci: Interval | None
    basis: str
    reason: str
    would_settle_it: str | None
    seeds: int
    halfway: Lost
    end: Lost
    compute_halfway: Multiplier
    compute_end: Multiplier
    forecast_rmse: float
    coverage90: float
    baseline_rmse: float | None
    means: str

    @property
    def youden(self) -> float:
        """J = 1 - fpr - fnr: 1 says everything, 0 nothing."""
        return 1.0 - self.fpr - self.fnr


@dataclass(frozen=True)
class Budget:
    """The gaps of all arms at one number of rollouts a prompt.

    halfway: cumulative rollouts at the first evaluation where the clean arm has done half of its rise.
    """

    group_size: int
    gap: GapReport
    halfway: float


@dataclass(frozen=True)
class Demo:
    """Everything the report shows.

    arms: at GROUP_SIZE, the mildest verifier of each kind first. comparable: the gaps of COMPARABLE, for the
    asymmetry and the exchange rate.
    """

    runs: pd.DataFrame
    budgets: tuple[Budget, ...]
    arms: tuple[DemoArm, ...]
    comparable: GapReport
    validation: Validation

    @property
    def best_baseline(self) -> str:
        """The name of the identified baseline that forecast best."""
        name = self.validation.report.best_baseline
        assert name is not None  # no-gap is identified wherever there is a clean arm
        return name

    @property
    def noise_floor(self) -> float:
        """RMSE of a perfect forecast."""
        floor = self.validation.report.noise_floor
        assert floor is not None  # the campaign's evaluations have n_eval
        return floor


def logged_runs() -> pd.DataFrame:
    """The packaged run table. Raises StudyError where the package was built without it."""
    from fits import read_runs

    folder = resources.files("empirical") / "results" / LOGGED
    with resources.as_file(folder / "runs.parquet") as path:
        if not path.is_file():
            raise StudyError(
                f"the logged runs are missing from this installation: no {folder / 'runs.parquet'}"
            )
        return read_runs(path).frame


def run_demo(*, report: Callable[[int, int], None] | None = None) -> Demo:
    """Load, measure, calibrate and forecast.

    report: called with (steps done, steps in all).
    """
    from empirical.validate.forecast import validate_forecast
    from fits import gap_report, parse_selection, select

    runs = logged_runs()
    clean = parse_selection([CLEAN])
    sizes = sorted(int(size) for size in runs["group_size"].unique())
    total = len(sizes) + 2

    def tick(done: int) -> None:
        if report is not None:
            report(done, total)

    budgets: list[Budget] = []
    for place, size in enumerate(sizes):
        tick(place)
        rows = runs[runs["group_size"] == size]
        budgets.append(
            Budget(size, gap_report(rows, clean=clean, delta=DELTA, source=LOGGED), _halfway(rows))
        )
    tick(total - 2)
    comparable = runs[select(runs, parse_selection([COMPARABLE]), source=LOGGED)]
    prices = gap_report(comparable, clean=clean, delta=DELTA, source=LOGGED)
    tick(total - 1)
    validation = validate_forecast(
        # The campaign's learning rate has no warm-up.
        runs.assign(warmup_steps=0.0),
        calibrate_on=parse_selection([CALIBRATE_ON]),
        group="arm",
        source=LOGGED,
    )
    tick(total)
    here = next(one for one in budgets if one.group_size == GROUP_SIZE)
    return Demo(runs, tuple(budgets), _arms(runs, here, validation), prices, validation)


def _halfway(rows: pd.DataFrame) -> float:
    """Cumulative rollouts at the first evaluation where the clean arm has done half of its rise."""
    mean = rows[rows["arm"] == "clean"].groupby("rollouts")["accuracy"].mean()
    up = mean.to_numpy() >= (mean.iloc[0] + mean.iloc[-1]) / 2.0
    return float(mean.index[int(up.argmax())])


def _arms(runs: pd.DataFrame, budget: Budget, validation: Validation) -> tuple[DemoArm, ...]:
    """The arms of one budget with everything that is known of each, ordered by kind and then by J."""
    rows = runs[runs["group_size"] == budget.group_size]
    conditions = rows.drop_duplicates(["arm", "rollouts"])
    forecast = conditions.assign(
        forecast=validation.calibration.forecast(conditions).accuracy
    ).set_index(["arm", "rollouts"])["forecast"]
    told = conditions.drop_duplicates("arm").set_index("arm")
    is_clean = (told["fpr"] == 0.0) & (told["fnr"] == 0.0)
    reference = {str(told.at[name, "estimator"]): str(name) for name in told.index[is_clean]}
    report = validation.report
    best = None if report.best_baseline is None else report.baselines[report.best_baseline]
    rates = budget.gap.exchange_rate

    def lost(arm: ArmGap, point: GapPoint) -> Lost:
        clean = reference[str(told.at[arm.arm, "estimator"])]
        return Lost(
            rollouts=point.x,
            measured=point.gap,
            ci=point.ci,
            forecast=float(forecast[clean, point.x] - forecast[arm.arm, point.x]),
        )

    found: list[DemoArm] = []
    for gap, halfway, end in zip(budget.gap.arms, rates.halfway.arms, rates.arms, strict=True):
        (middle,) = (point for point in gap.curve if point.x == budget.halfway)
        score = report.by_group[gap.arm]
        last = lost(gap, gap.curve[-1])
        found.append(
            DemoArm(
                arm=gap.arm,
                fpr=gap.fpr or 0.0,
                fnr=gap.fnr or 0.0,
                noise=str(told.at[gap.arm, "noise"]),
                estimator=str(told.at[gap.arm, "estimator"]),
                verdict=gap.verdict,
                floor=gap.floor,
                floor_ci=gap.floor_ci,
                basis=gap.basis,
                reason=gap.reason,
                would_settle_it=None if gap.would_settle_it is None else gap.would_settle_it.text,
                seeds=gap.seeds,
                halfway=lost(gap, middle),
                end=last,
                compute_halfway=halfway,
                compute_end=end,
                forecast_rmse=score.rmse,
                coverage90=score.coverage90,
                baseline_rmse=None if best is None else best.by_group[gap.arm].rmse,
                means=verdict_means(gap, last, end, budget.gap.delta),
            )
        )
    return tuple(sorted(found, key=_order))


def _order(arm: DemoArm) -> tuple[bool, bool, float, float]:
    """GRPO before others, independent errors before others, then the mildest first."""
    return arm.estimator != "grpo", arm.noise != "independent", -round(arm.youden, 9), arm.fpr


def answers(demo: Demo) -> dict[str, str]:
    """The questions of the README, answered from the runs: question to answer."""
    score = demo.validation.report
    best = score.baselines[demo.best_baseline]
    return {
        "How much accuracy does the verifier cost?": _cost(demo),
        "Can more compute buy it back?": _bought_back(demo),
        "What should be fixed first?": fix_first(demo.comparable),
        "Could it have been forecast?": (
            f"Calibrated on the clean arm at {GROUP_SIZE} rollouts a prompt alone, the simulator forecast the other "
            f"{score.forecast_rows:,} evaluations with an error of {score.rmse:.3f} (root mean square), against "
            f"{best.rmse:.3f} for the best forecast that costs nothing ({demo.best_baseline}) and "
            f"{demo.noise_floor:.3f} for evaluation noise alone. {100 * score.coverage90:.0f} % lie in "
            "their 90 % intervals. This forecast is not blind: the simulator's form and the centres of two priors were "
            "chosen with these runs in view (LOG.md)."
        ),
    }


def _cost(demo: Demo) -> str:
    informative = [arm for arm in demo.arms if arm.youden > 1e-9]
    others = [arm for arm in demo.arms if arm.youden <= 1e-9]
    text: list[str] = []
    if informative:
        text.append(
            f"Halfway up the clean curve, {_span(informative, lambda a: a.halfway.measured)}; when the runs stop, "
            f"{_span(informative, lambda a: a.end.measured)}."
        )
    if others:
        lost = listed(f"{arm.arm} {arm.end.measured:.3f}" for arm in others)
        text.append(f"A verifier that says nothing or the opposite (J ≤ 0) costs more: {lost}.")
    return " ".join(text)


def _span(arms: Sequence[DemoArm], value: Callable[[DemoArm], float]) -> str:
    least, most = min(arms, key=value), max(arms, key=value)
    return f"from {value(least):.3f} ({least.arm}) to {value(most):.3f} ({most.arm})"


def _bought_back(demo: Demo) -> str:
    """The verdicts, by what they say and what they rest on."""
    words = {
        ("closes", "asymptote"): f"Yes, to within {DELTA:g}, under every law not ruled out",
        ("closes", "largest budget"): f"Yes, to within {DELTA:g}, within these runs",
        ("persists", "largest budget"): "Not within these runs",
        ("persists", "asymptote"): "No, at any budget, under every law not ruled out",
    }
    said: list[str] = []
    for (verdict, basis), answer in words.items():
        own = [arm for arm in demo.arms if (arm.verdict, arm.basis) == (verdict, basis)]
        if not own:
            continue
        said.append(f"{answer}: {listed(arm.arm for arm in own)}.")
    undetermined = [arm for arm in demo.arms if arm.verdict == "undetermined"]
    if undetermined:
        said.append(f"Undetermined: {listed(arm.arm for arm in undetermined)}.")
    behind = [arm for arm in undetermined if still_behind(arm.end, DELTA)]
    if behind:
        lost = listed(f"{arm.arm} by {arm.end.measured:.3f}" for arm in behind)
        said.append(f"Of these, still more than {DELTA:g} behind when the runs stop: {lost}.")
    return " ".join(said)


def gap_table(demo: Demo) -> pd.DataFrame:
    """Every gap, one row per arm, budget and evaluation, with the arm's verdict at that budget."""
    import pandas as pd

    rows = [
        {
            "arm": arm.arm,
            "group_size": budget.group_size,
            "rollouts": point.x,
            "gap": point.gap,
            "low": np.nan if point.ci is None else point.ci[0],
            "high": np.nan if point.ci is None else point.ci[1],
            "seeds": point.seeds,
            "verdict": arm.verdict,
            "floor": arm.floor,
            "floor_low": np.nan if arm.floor_ci is None else arm.floor_ci[0],
            "floor_high": np.nan if arm.floor_ci is None else arm.floor_ci[1],
            "basis": arm.basis,
        }
        for budget in demo.budgets
        for arm in budget.gap.arms
        for point in arm.curve
    ]
    return pd.DataFrame(rows)
