"""Every number of the results' README: collected from the committed runs, kept as findings.json.

What needs data that are not here (`shared`) is taken from the findings.json that is replaced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import pandas as pd

from empirical.probe import Probe, read_probe
from empirical.rollouts import RolloutsWorth, rollouts_worth
from empirical.studies import read_study
from empirical.validate.forecast import Validation, validate_forecast
from fits import InputError, gap_report, parse_selection, read_runs
from fits.gap import ArmGap, GapReport
from fits.inference import Interval
from paper.claims import DELTA, Question, ask
from paper.contrasts import Curves, Evidence, Gap, by_condition, gaps
from paper.probe import Checked, check
from paper.public_data import Derived, remake
from paper.scores import Score, score_of

if TYPE_CHECKING:
    from empirical.step_law.logged import GradientLevel

__all__ = [
    "CALIBRATE_ON",
    "Campaign",
    "Findings",
    "Floor",
    "Gradient",
    "Material",
    "collect",
    "floors",
    "read_findings",
    "read_kept",
]

Kind = TypeVar("Kind")

CALIBRATE_ON: Final = "arm=clean,group_size=8"
STUDY: Final = "studies/trained/cpu-campaign.yaml"
OTHER_MARGINS: Final = (0.5, 2.0)  # times DELTA


@dataclass(frozen=True)
class Campaign:
    """What there is of the campaign. seeds: by group size, those that every arm has been trained with.

    planned: runs of the study file, None where it is not beside the results.
    """

    runs: int
    planned: int | None
    rows: int
    samples: int
    steps: int
    seeds: Mapping[str, int]


@dataclass(frozen=True)
class Floor:
    """What `verigap gap` says of an arm: see `fits.gap.ArmGap`."""

    arm: str
    group_size: int
    verdict: str
    floor: float
    ci: Interval | None
    basis: str
    seeds: int
    end: float
    end_ci: Interval | None
    trend: float | None
    trend_ci: Interval | None


@dataclass(frozen=True)
class Gradient:
    """The headline of `empirical.step_law.logged`; see there."""

    runs: int
    check_runs: int
    steps: int
    groups: int
    clean_steps: int
    clean_exact: int
    rmse_given_right: float
    rmse_one_rate: float
    rmse_expected: float
    zero_mean_square: float
    zero_p: float
    variance_mean_square: float
    variance_p: float


@dataclass(frozen=True)
class Findings:
    """Everything the README says. inputs: sha256 of each file it is computed from, by its path in the results.

    rollouts: measured effective rollouts beside predicted ones. speeds: as probed against as measured, None without a
    probe. verdicts_at: of `gap` at OTHER_MARGINS, by the factor, then by "arm,group size".
    """

    inputs: Mapping[str, str]
    campaign: Campaign
    questions: tuple[Question, ...]
    gaps: tuple[Gap, ...]
    floors: tuple[Floor, ...]
    verdicts_at: Mapping[str, Mapping[str, str]]
    rollouts: tuple[RolloutsWorth, ...]
    speeds: Checked | None
    smoke: tuple[Floor, ...]
    forecast: Score
    shared: Mapping[str, Derived]
    gradient: Gradient | None


@dataclass(frozen=True)
class Material:
    """What the figures need beside the findings."""

    curves: Curves
    prompts_per_step: int
    forecasts: Validation
    report: GapReport


def read_findings(path: Path) -> Findings | None:
    """The findings.json at `path`, None where there is none. Raises InputError where it is not one."""
    return _read(path, Findings)


def read_kept(path: Path) -> Mapping[str, Derived]:
    """What the findings.json at `path`, of this version or an older one, keeps of data that are not here."""
    found = _read(path, _Kept)
    return {} if found is None else found.shared


@dataclass(frozen=True)
class _Kept:
    """The part of `Findings` that cannot be remade."""

    shared: Mapping[str, Derived]


def _read(path: Path, kind: type[Kind]) -> Kind | None:
    from pydantic import TypeAdapter, ValidationError

    if not path.exists():
        return None
    try:
        return TypeAdapter(kind).validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise InputError(f"{path}: {error.error_count()} entries are not findings") from error


def digests(results: Path, derived: Path | None = None) -> dict[str, str]:
    """What the numbers are made of: sha256 of the run tables, step logs and probes below `results`, by path there.

    derived: what is kept of real groups of rollouts, named after its folder.
    """
    patterns = ("*/runs.parquet", "*/steps/*.parquet", "*/probe.json")
    files = {
        file.relative_to(results).as_posix(): file
        for pattern in patterns
        for file in sorted(results.glob(pattern))
    }
    if derived is not None and derived.exists():
        files[f"{derived.parent.name}/{derived.name}"] = derived
    return {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}


def collect(
    results: Path,
    shared: Path,
    kept: Mapping[str, Derived],
    gradient: GradientLevel | None,
    real_groups: Path | None = None,
) -> tuple[Findings, Material]:
    """Everything, from the committed tables below `results` and the sources below `shared`, if they are there.

    kept: stands in for sources that are not there. real_groups: see `digests`.
    """
    frame = read_runs(results / "cpu-campaign").frame
    smoke = read_runs(results / "cpu-smoke").frame
    curves = Curves.of(frame)
    derived = remake(shared, kept)
    done = validate_forecast(
        frame.assign(warmup_steps=0),
        calibrate_on=parse_selection([CALIBRATE_ON]),
        group="arm",
        source="cpu-campaign",
    )
    campaign_gaps = _gap_report(frame)
    probe_file = results / "cpu-campaign" / "probe.json"
    probe = read_probe(probe_file) if probe_file.is_file() else None
    findings = Findings(
        inputs=digests(results, real_groups),
        campaign=_campaign(frame, results),
        questions=ask(Evidence(curves, _entropy(results, frame), derived)),
        gaps=gaps(curves),
        floors=floors(frame, campaign_gaps),
        verdicts_at={
            f"{factor:g}": {
                f"{one.arm},{one.group_size}": one.verdict
                for one in floors(frame, _gap_report(frame, factor * DELTA))
            }
            for factor in OTHER_MARGINS
        },
        rollouts=_rollouts(frame, campaign_gaps, probe),
        speeds=None if probe is None else check(probe, frame).checked,
        smoke=floors(smoke),
        forecast=score_of(done, source="cpu-campaign", by=("group_size", "arm")),
        shared=derived,
        gradient=None if gradient is None else _gradient(gradient),
    )
    prompts = int(frame["prompts_per_step"].iloc[0])
    return findings, Material(curves, prompts, done, campaign_gaps)


def _campaign(frame: pd.DataFrame, results: Path) -> Campaign:
    trained = frame.groupby("group_size")
    arms = frame["arm"].nunique()
    study = results.parent / STUDY
    return Campaign(
        runs=int(frame["run_id"].nunique()),
        planned=len(read_study(study).runs()) if study.exists() else None,
        rows=len(frame),
        samples=int(frame["n_eval"].min()),
        steps=int(frame["step"].max()),
        seeds={
            str(size): int((own.groupby("seed")["arm"].nunique() == arms).sum())
            for size, own in trained
        },
    )


def _entropy(results: Path, frame: pd.DataFrame) -> dict[tuple[str, int], pd.DataFrame]:
    """Entropy in the per-step logs of the campaign; see `paper.contrasts.Evidence`."""
    columns = ["run_id", "step", "entropy"]
    files = sorted((results / "cpu-campaign" / "steps").glob("*.parquet"))
    if not files:
        return {}
    logs = pd.concat([pd.read_parquet(file, columns=columns) for file in files])
    runs = frame.drop_duplicates("run_id").set_index("run_id")[["arm", "group_size", "seed"]]
    logs = logs.join(runs, on="run_id", how="inner")
    return by_condition(logs, "entropy")


def _gap_report(frame: pd.DataFrame, delta: float = DELTA) -> GapReport:
    return gap_report(frame, clean=parse_selection(["fpr=0,fnr=0"]), delta=delta)


def _size(arm: ArmGap, frame: pd.DataFrame) -> int:
    """An arm's group size, which no setting says where there is one only."""
    return int(arm.setting.get("group_size") or frame["group_size"].iloc[0])


def _rollouts(
    frame: pd.DataFrame, report: GapReport, probe: Probe | None
) -> tuple[RolloutsWorth, ...]:
    """Of every arm that theory prices, smaller groups first."""
    found: list[RolloutsWorth] = []
    for arm in report.arms:
        name = arm.arm.split(",")[0]
        worth = rollouts_worth(arm, _size(arm, frame), name=name, probe=probe)
        if worth is not None:
            found.append(worth)
    return tuple(sorted(found, key=lambda one: one.group_size))


def floors(frame: pd.DataFrame, report: GapReport | None = None) -> tuple[Floor, ...]:
    """What `verigap gap` says of each arm of a run table. report: what it says, where that is known."""
    report = report or _gap_report(frame)

    def floor(arm: ArmGap) -> Floor:
        return Floor(
            arm.arm.split(",")[0],
            _size(arm, frame),
            arm.verdict,
            arm.floor,
            arm.floor_ci,
            arm.basis,
            arm.seeds,
            arm.end,
            arm.end_ci,
            arm.trend,
            arm.trend_ci,
        )

    return tuple(floor(arm) for arm in report.arms)


def _gradient(level: GradientLevel) -> Gradient:
    return Gradient(
        runs=level.runs,
        check_runs=level.check_runs,
        steps=level.steps,
        groups=level.groups,
        clean_steps=level.clean_steps,
        clean_exact=level.clean_exact,
        rmse_given_right=level.rmse_given_right,
        rmse_one_rate=level.rmse_one_rate,
        rmse_expected=level.rmse_expected,
        zero_mean_square=level.zero_advantage.mean_square,
        zero_p=level.zero_advantage.p_value,
        variance_mean_square=level.batch_reward_variance.mean_square,
        variance_p=level.batch_reward_variance.p_value,
    )
