"""What groups were paid and what they taught, held against exact finite-group theory given their right ones.

Law. Given the histogram of a step's groups by their number R of right rollouts, its zero-advantage fraction,
its reward variance and its gradient have the exact mean and variance of `theory.conditional`. Flips are fresh
at every step, so what is measured less what is expected is a sequence of martingale differences, although
flips decide which rollouts come next: sums over a run over the root of their summed variances are nearly
standard normal. Seeds are independent; arms of one seed share uniforms, and how far their z hang together is
taken from their realised covariation.
Fails first, on purpose, in the arm whose errors are tied to the answer.
Source: the step logs of a study (`empirical.collect`); groups of a real model with noise injected
(`empirical.step_law.real`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from empirical.step_law.real import (
    GRADIENT,
    WITHIN,
    ZERO,
    RealLevel,
    nearly_normal,
    read_derived,
    real_level,
)
from fits.errors import InputError
from theory import VerifierChannel, estimator_named
from theory.channel import FloatArray
from theory.conditional import given_right
from theory.estimators import zero_advantage_probability

__all__ = [
    "ArmLevel",
    "Calibration",
    "Compared",
    "GradientLevel",
    "RuleCheck",
    "beside",
    "gradient_level",
    "run_z",
    "step_table",
]

RESULTS: Final = Path(__file__).resolve().parents[1] / "results"
CAMPAIGN: Final = RESULTS / "cpu-campaign"
CHECK: Final = RESULTS / "gradient-check"
COMMAND: Final = "python -m paper steps"

BATCH: Final = "batch_reward_variance"
BLOCK: Final = 50  # steps over which the sign of a change is asked
REALISED: Final = " (realised rate)"


@dataclass(frozen=True)
class Compared:
    """A mean over steps (of an arm, or of groups): measured, expected, and its exact standard deviation.

    z: (measured - theory)/sd; None where too little is left to chance for a z to be normal.
    """

    measured: float
    theory: float
    sd: float
    z: float | None


@dataclass(frozen=True)
class ArmLevel:
    """One arm at one group size, all its seeds together.

    independent: whether the errors are independent given who is right, as the theory assumes.
    one_rate: q^G + (1 - q)^G at each step's mean pass rate: what follows if all prompts were alike.
    clean: zero-advantage fraction a clean verifier would have had on the same rollouts.
    batch_reward_variance: of all rewards of a step together (ddof 1). reward_variance: within groups;
    gradient: along the ability, of the arm's estimator; both None where the step logs lack them.
    accuracy: at the first and last evaluation.
    """

    arm: str
    independent: bool
    fpr: float
    fnr: float
    group_size: int
    runs: int
    groups: int
    zero_advantage: Compared
    one_rate: float
    clean: float
    batch_reward_variance: Compared
    reward_variance: Compared | None
    gradient: Compared | None
    accuracy: tuple[float, float]


@dataclass(frozen=True)
class Calibration:
    """The z of single runs, over runs whose errors are independent given who is right.

    mean_square: of z, 1 if mean and variance are right. freedom: of the chi-square, arms of a seed
    counted for what they are worth (Satterthwaite, from realised covariation). p_value: two-sided.
    within: share of |z| < 1.96. dispersion: squared deviations of single steps over their exact
    variances, 1 if those are right, with a 95 % interval (jackknife over seeds; None for one seed).
    worst: arm and group size with the largest |z|, all seeds together; worst_p is its p-value after
    Holm's correction.
    """

    runs: int
    mean_square: float
    freedom: float
    p_value: float
    within: float
    dispersion: float
    dispersion_ci: tuple[float, float] | None
    worst: str
    worst_z: float
    worst_p: float


@dataclass(frozen=True)
class RuleCheck:
    """Does the sign of the change follow "noise lowers the fraction iff |q - 1/2| < |a - 1/2|"?

    cells: arm, group size and 50 steps, where noise changed the fraction by more than 2 sd.
    lowered: cells where it fell. one_rate, given_right: cells whose sign is foretold by the rule at the
    mean pass rate, and by the conditional law.
    """

    cells: int
    lowered: int
    one_rate: int
    given_right: int


@dataclass(frozen=True)
class GradientLevel:
    """The headline numbers, and what the tables and the figure show.

    runs: of both folders; check_runs: those of the second.
    clean_steps, clean_exact: steps of clean arms, and those whose fraction is exactly what theory says.
    rmse_given_right, rmse_one_rate: of the fraction, over arms and group sizes with independent noise;
    rmse_expected: what chance alone leaves of the first.
    zero_advantage, batch_reward_variance, reward_variance (within groups), gradient: how single runs agree;
    the last two None where no run logs them.
    table: as from `step_table`.
    """

    runs: int
    check_runs: int
    steps: int
    groups: int
    clean_steps: int
    clean_exact: int
    rmse_given_right: float
    rmse_one_rate: float
    rmse_expected: float
    zero_advantage: Calibration
    batch_reward_variance: Calibration
    reward_variance: Calibration | None
    gradient: Calibration | None
    rule: RuleCheck
    arms: tuple[ArmLevel, ...]
    real: RealLevel | None
    table: pd.DataFrame


def step_table(folder: Path) -> pd.DataFrame:
    """One row per run and step: what was measured, with its exact mean and variance given who was right.

    folder: as `empirical.collect` writes it. Columns: those of the runs (run_id, arm, seed, group_size …),
    first_accuracy and last_accuracy of its evaluations, step, groups, pass_rate, clean, one_rate, and for each
    quantity q: q, q_theory, q_variance, with q NaN where the log lacks it. Runs whose errors are not
    independent appear twice, with the nominal rates and, as "ARM (realised rate)", with those the run met.
    Raises InputError where there is no run table or no step log.
    """
    tables: list[pd.DataFrame] = []
    try:
        evaluations = pd.read_parquet(folder / "runs.parquet").sort_values("step")
    except OSError as error:
        raise InputError(f"{folder}: no run table ({error})") from None
    files = sorted((folder / "steps").glob("*.parquet"))
    if not files:
        raise InputError(f"{folder}: no step logs below steps/")
    described: dict[str, Any] = {
        rows["run_id"].iloc[0]: rows.iloc[0].to_dict()
        | {
            "first_accuracy": rows["accuracy"].iloc[0],
            "last_accuracy": rows["accuracy"].iloc[-1],
        }
        for _, rows in evaluations.groupby("run_id")
    }
    for file in files:
        for run_id, log in pd.read_parquet(file).groupby("run_id"):
            run = described[str(run_id)]
            tables.append(_levels(run, log, VerifierChannel(run["fpr"], run["fnr"])))
            if run["noise"] != "independent":
                met = VerifierChannel(
                    _share(log["paid_wrong"], log["wrong"]),
                    _share(log["unpaid_right"], log["right"]),
                )
                realised = _levels(run, log, met)
                tables.append(realised.assign(arm=realised["arm"] + REALISED))
    return pd.concat(tables, ignore_index=True)


def _share(part: pd.Series[float], whole: pd.Series[float]) -> float:
    total = float(whole.sum())
    return float(part.sum()) / total if total else 0.0


def _levels(run: Mapping[str, Any], log: pd.DataFrame, channel: VerifierChannel) -> pd.DataFrame:
    """`step_table` of one run under one channel."""
    size, estimator = run["group_size"], estimator_named(run["estimator"])
    by_right_TK = np.stack(log["groups_by_right"].to_list()).astype(np.float64)
    groups_T = by_right_TK.sum(axis=1)
    share_TK = by_right_TK / groups_T[:, np.newaxis]
    counts_K = np.arange(size + 1)
    law = given_right(counts_K, channel, size, estimator=estimator)
    right_T = log["right"].to_numpy(dtype=np.int64)
    rollouts = size * int(groups_T[0])
    pass_rate_T = right_T / rollouts
    paid_T = log["observed_reward"].to_numpy(dtype=np.float64)
    # The step as one group of all its rollouts: the same law at the batch's size.
    batch = given_right(right_T, channel, rollouts)
    spread_K = counts_K * (size - counts_K) / (size * (size - 1.0))
    within_T = _column(log, "groups_by_paid", len(log), weights=spread_K) / groups_T
    measured = {
        ZERO: (log["zero_advantage_fraction"].to_numpy(dtype=np.float64), law.zero_advantage),
        WITHIN: (within_T, law.reward_variance),
        GRADIENT: (_column(log, "ability_gradient", len(log)), law.gradient),
    }
    variances = {
        ZERO: law.zero_advantage * (1.0 - law.zero_advantage),
        WITHIN: law.reward_variance_variance,
        GRADIENT: law.gradient_variance,
    }
    columns: dict[str, Any] = {}
    for name, (values_T, mean_K) in measured.items():
        columns |= {
            name: values_T,
            f"{name}_theory": share_TK @ mean_K,
            f"{name}_variance": share_TK @ variances[name] / groups_T,
        }
    kept = ["run_id", "arm", "fpr", "fnr", "noise", "estimator", "seed", "group_size"]
    kept += ["first_accuracy", "last_accuracy"]
    return pd.DataFrame(
        {
            **{name: run[name] for name in kept},
            "step": log["step"].to_numpy(),
            "groups": groups_T,
            "pass_rate": pass_rate_T,
            "clean": share_TK[:, 0] + share_TK[:, -1],
            "one_rate": zero_advantage_probability(channel.observed_rate(pass_rate_T), size),
            BATCH: paid_T * (1.0 - paid_T) * rollouts / (rollouts - 1.0),
            f"{BATCH}_theory": batch.reward_variance,
            f"{BATCH}_variance": batch.reward_variance_variance,
            **columns,
        }
    )


def _column(
    log: pd.DataFrame, name: str, length: int, *, weights: FloatArray | None = None
) -> FloatArray:
    """A column of the step log, lists weighted and summed; NaN where it is not logged."""
    if name not in log.columns:
        return np.full(length, np.nan)
    if weights is None:
        return log[name].to_numpy(dtype=np.float64)
    return np.array(
        [np.nan if cell is None else float(weights @ np.asarray(cell)) for cell in log[name]]
    )


def _compared(rows: pd.DataFrame, name: str) -> Compared:
    """A quantity over rows that have it, every step weighing alike."""
    sd = math.sqrt(float(rows[f"{name}_variance"].sum())) / len(rows)
    return Compared(
        measured=float(rows[name].mean()),
        theory=float(rows[f"{name}_theory"].mean()),
        sd=sd,
        z=_z(rows, name),
    )


def _z(rows: pd.DataFrame, name: str) -> float | None:
    total = float(rows[f"{name}_variance"].sum())
    counted = float((rows[f"{name}_variance"] * rows["groups"] ** 2).sum())
    if not nearly_normal(name, counted, 1.0):
        return None
    return float((rows[name] - rows[f"{name}_theory"]).sum()) / math.sqrt(total)


def run_z(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """run_id, arm, group_size and z of each run that logs `name` and leaves enough to chance."""
    keys = ["run_id", "arm", "group_size"]
    logged = table[table[name].notna()]
    rows = [(*key, _z(run, name)) for key, run in logged.groupby(keys)]
    return pd.DataFrame(rows, columns=pd.Index([*keys, "z"])).dropna(ignore_index=True)


def _calibration(table: pd.DataFrame, name: str) -> Calibration | None:
    """`Calibration` of the runs whose errors are independent given who is right; None without a z."""
    from scipy import stats

    from fits.hypotheses import holm, jackknife

    noisy = table[(table["noise"] == "independent") & table[name].notna()]
    found = run_z(noisy, name)
    if found.empty:
        return None
    z, runs = found["z"], len(found)
    compared = noisy[noisy["run_id"].isin(found["run_id"])]
    deviation = compared[name] - compared[f"{name}_theory"]
    scale = np.sqrt(compared.groupby("run_id")[f"{name}_variance"].transform("sum"))
    overlap = 0.0
    for _, seed in compared.assign(residual=deviation / scale).groupby("seed"):
        wide = seed.pivot_table("residual", "run_id", "step", fill_value=0.0)
        residual_RT = wide.to_numpy()
        together = (residual_RT @ residual_RT.T) ** 2
        # The realised covariation of independent runs is not 0: take its own noise off its square.
        together -= residual_RT**2 @ (residual_RT**2).T
        np.fill_diagonal(together, 0.0)
        overlap += float(together.sum())
    square = float(np.mean(np.square(z)))
    freedom = runs / (1.0 + max(overlap, 0.0) / runs)
    tail = float(stats.chi2.sf(square * freedom, freedom))
    arms = {
        f"{arm}, {size} rollouts": one
        for (arm, size), rows in noisy.groupby(["arm", "group_size"])
        if (one := _z(rows, name)) is not None
    }
    p_values = 2.0 * stats.norm.sf(np.abs(list(arms.values())))
    corrected = dict(zip(arms, holm(p_values.tolist()), strict=True))
    worst = max(arms, key=lambda arm: abs(arms[arm]))
    by_seed = compared.assign(square=deviation**2).groupby("seed")
    found_S, expected_S = by_seed["square"].sum(), by_seed[f"{name}_variance"].sum()
    dispersion, interval = float(found_S.sum() / expected_S.sum()), None
    if len(found_S) > 1:
        without_S = (found_S.sum() - found_S) / (expected_S.sum() - expected_S)
        interval = jackknife("dispersion", dispersion, without_S.to_numpy(), "seeds").ci
    return Calibration(
        runs=runs,
        mean_square=square,
        freedom=freedom,
        p_value=2.0 * min(tail, 1.0 - tail),
        within=float(np.mean(np.abs(z) < 1.96)),
        dispersion=dispersion,
        dispersion_ci=interval,
        worst=worst,
        worst_z=arms[worst],
        worst_p=corrected[worst] or 0.0,
    )


def _rule(table: pd.DataFrame) -> RuleCheck:
    """`RuleCheck` over the noisy arms whose errors are independent given who is right."""
    noisy = table[(table["noise"] == "independent") & (table["fpr"] + table["fnr"] > 0.0)]
    cells = lowered = one_rate = conditional = 0
    for (_, _, _), rows in noisy.groupby(["arm", "group_size", (noisy["step"] - 1) // BLOCK]):
        change = float((rows[ZERO] - rows["clean"]).sum())
        sd = math.sqrt(float(rows[f"{ZERO}_variance"].sum()))
        if abs(change) <= 2.0 * sd:
            continue
        first = rows.iloc[0]
        a = float(rows["pass_rate"].mean())
        q = float(VerifierChannel(first["fpr"], first["fnr"]).observed_rate(a))
        expected = float((rows[f"{ZERO}_theory"] - rows["clean"]).sum())
        cells += 1
        lowered += change < 0.0
        one_rate += (change < 0.0) == (abs(q - 0.5) < abs(a - 0.5))
        conditional += (change < 0.0) == (expected < 0.0)
    return RuleCheck(cells, lowered, one_rate, conditional)


def _arms(table: pd.DataFrame) -> tuple[ArmLevel, ...]:
    levels: list[ArmLevel] = []
    for _, rows in table.groupby(["arm", "group_size"]):
        first, runs = rows.iloc[0], rows.drop_duplicates("run_id")
        within, pulled = rows[rows[WITHIN].notna()], rows[rows[GRADIENT].notna()]
        levels.append(
            ArmLevel(
                arm=str(first["arm"]),
                independent=bool(first["noise"] == "independent"),
                fpr=float(first["fpr"]),
                fnr=float(first["fnr"]),
                group_size=int(first["group_size"]),
                runs=len(runs),
                groups=int(rows["groups"].sum()),
                zero_advantage=_compared(rows, ZERO),
                one_rate=float(rows["one_rate"].mean()),
                clean=float(rows["clean"].mean()),
                batch_reward_variance=_compared(rows, BATCH),
                reward_variance=None if within.empty else _compared(within, WITHIN),
                gradient=None if pulled.empty else _compared(pulled, GRADIENT),
                accuracy=(
                    float(runs["first_accuracy"].mean()),
                    float(runs["last_accuracy"].mean()),
                ),
            )
        )
    return tuple(levels)


def gradient_level(
    campaign: Path = CAMPAIGN,
    *,
    check: Path | None = CHECK,
    rollouts: Path | None = None,
    derived: Path | None = None,
) -> GradientLevel:
    """Compare step logs, and real groups with injected noise, with the exact law.

    campaign, check: folders as `empirical.collect` writes them; the second adds runs that log what early runs
    of the first lack. rollouts: a CSV for `empirical.step_law.groups`; None takes what was derived from one
    (`derived`); without that too, `real` is None.
    Raises InputError where a folder has no run table or no step log, or no noise to speak of is left, and
    InputError or StudyError where `rollouts` is no such CSV.
    """
    first = step_table(campaign)
    table = first if check is None else pd.concat([first, step_table(check)], ignore_index=True)
    zero, batch = _calibration(table, ZERO), _calibration(table, BATCH)
    if zero is None or batch is None:
        raise InputError(
            f"{campaign}: no run with independent errors leaves enough to chance: nothing to hold against"
            " theory"
        )
    real = None
    if rollouts is not None:
        real = real_level(rollouts, command=COMMAND)
    elif derived is not None:
        real = read_derived(derived)
    arms = _arms(table)
    independent = [arm for arm in arms if arm.independent]
    fractions = [arm.zero_advantage for arm in independent]
    clean = table[(table["fpr"] == 0.0) & (table["fnr"] == 0.0)]
    own = table[~table["arm"].str.endswith(REALISED)]
    return GradientLevel(
        runs=int(own["run_id"].nunique()),
        check_runs=int(own["run_id"].nunique() - first["run_id"].nunique()),
        steps=len(own),
        groups=int(own["groups"].sum()),
        clean_steps=len(clean),
        clean_exact=int(np.isclose(clean[ZERO], clean[f"{ZERO}_theory"], atol=1e-6, rtol=0).sum()),
        rmse_given_right=_rms([one.measured - one.theory for one in fractions]),
        rmse_one_rate=_rms([arm.zero_advantage.measured - arm.one_rate for arm in independent]),
        rmse_expected=_rms([one.sd for one in fractions]),
        zero_advantage=zero,
        batch_reward_variance=batch,
        reward_variance=_calibration(table, WITHIN),
        gradient=_calibration(table, GRADIENT),
        rule=_rule(table),
        arms=arms,
        real=real,
        table=table,
    )


def _rms(values: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def beside(campaign: Path) -> Path | None:
    """The folder of further runs that lies beside a campaign's; None where there is none."""
    folder = campaign.parent / CHECK.name
    return folder if folder.exists() else None
