"""What groups were paid and what they taught, held against exact finite-group theory given their right ones.

    python -m verigap.gradient_level [--campaign FOLDER] [--rollouts CSV] [--out FOLDER]

Law. Given the histogram of a step's groups by their number R of right rollouts, its zero-advantage fraction,
its reward variance and its gradient have the exact mean and variance of `theory.conditional`. Flips are fresh
at every step, so what is measured less what is expected is a sequence of martingale differences, although
flips decide which rollouts come next: sums over a run over the root of their summed variances are nearly
standard normal. Seeds are independent; arms of one seed share uniforms, and how far their z hang together is
taken from their realised covariation.
Fails first, on purpose, in the arm whose errors are tied to the answer.
Source: the step logs of a study (`empirical.results`); groups of a real model with noise injected
(`empirical.real_groups`), whose derived numbers are kept with the source's sha256 for readers without it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from empirical.errors import StudyError
from empirical.real_groups import RealGroups, inject, read_groups
from fits.errors import InputError
from fits.files import write_text
from theory import VerifierChannel, advantages, estimator_named
from theory.channel import FloatArray
from theory.conditional import given_right
from theory.estimators import GRPO, zero_advantage_probability
from theory.structures import GroupCorrelated, Independent, PerAnswer, Structure, Triggered

__all__ = [
    "ArmLevel",
    "Calibration",
    "Compared",
    "GradientLevel",
    "RealAgreement",
    "RealLevel",
    "RuleCheck",
    "gradient_level",
    "run_z",
    "step_table",
    "write_gradient_level",
]

ROOT: Final = Path(__file__).resolve().parents[1]
RESULTS: Final = ROOT / "empirical" / "results"
CAMPAIGN: Final = RESULTS / "cpu-campaign"
ROLLOUTS: Final = ROOT.parent / "shared/data/ethsri_rollouts/olmo3_7b_base_rollouts_slim.csv"
COMMAND: Final = "python -m verigap.gradient_level"
DERIVED: Final = Path("derived/real-groups.json")
TABLE: Final = Path("gradient-level.md")
FIGURE: Final = Path("figures/gradient-level.png")

ZERO: Final = "zero_advantage"
BATCH: Final = "batch_reward_variance"
WITHIN: Final = "reward_variance"
GRADIENT: Final = "gradient"
BLOCK: Final = 50  # steps over which the sign of a change is asked
REALISED: Final = " (realised rate)"
# A z of fewer than 9 groups' worth of variance is not nearly normal: only the numbers are given then.
LEAST_COUNT_VARIANCE: Final = 9.0
REPLICATES: Final = 20
REAL_CHANNELS: Final = ((0.1, 0.0), (0.3, 0.0), (0.0, 0.3), (0.2, 0.2), (0.5, 0.5), (0.7, 0.5))
REAL_DEPENDENT: Final = 0.3  # marginal fpr of the structures whose errors hang together
REAL_CORRELATION: Final = 0.3


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
    within: share of |z| < 1.96. worst: arm and group size with the largest |z|, all seeds together; worst_p
    is its p-value after Holm's correction.
    """

    runs: int
    mean_square: float
    freedom: float
    p_value: float
    within: float
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
class RealAgreement:
    """Cells compared, mean square of their z (1 if mean and variance are right), two-sided p of their sum."""

    cells: int
    mean_square: float
    p_value: float


def _row_z(row: Mapping[str, Any]) -> float | None:
    """z of one of RealLevel's rows, under the same condition as a run's."""
    counted = (row["sd"] * row["groups"]) ** 2
    if row["sd"] == 0.0 or (row["quantity"] == ZERO and counted < LEAST_COUNT_VARIANCE):
        return None
    return (row["measured"] - row["theory"]) / row["sd"]


@dataclass(frozen=True)
class RealLevel:
    """Noise injected into groups of a real model, what is kept in derived/real-groups.json.

    pass_rate: share of right rollouts. replicates: seeds per noise; none is used for two.
    advantage_error: largest difference between the trainer's advantages and ours on the true rewards.
    rows: noise, independent, fpr, fnr, quantity, right (-1: all groups), groups, measured, theory, sd.
    """

    source: str
    sha256: str
    command: str
    groups: int
    group_size: int
    pass_rate: float
    replicates: int
    advantage_error: float
    rows: tuple[dict[str, Any], ...]

    def agreement(self, quantity: str) -> RealAgreement:
        """How the cells (channel, R) of independent noise agree with theory."""
        from scipy import stats

        z = [
            _row_z(row)
            for row in self.rows
            if row["independent"] and row["quantity"] == quantity and row["right"] >= 0
        ]
        square = [one**2 for one in z if one is not None]
        tail = float(stats.chi2.sf(sum(square), len(square)))
        return RealAgreement(len(square), float(np.mean(square)), 2.0 * min(tail, 1.0 - tail))


@dataclass(frozen=True)
class GradientLevel:
    """The headline numbers, and what the tables and the figure show.

    clean_steps, clean_exact: steps of clean arms, and those whose fraction is exactly what theory says.
    rmse_given_right, rmse_one_rate: of the fraction, over arms and group sizes with independent noise;
    rmse_expected: what chance alone leaves of the first.
    table: as from `step_table`.
    """

    runs: int
    steps: int
    groups: int
    clean_steps: int
    clean_exact: int
    rmse_given_right: float
    rmse_one_rate: float
    rmse_expected: float
    zero_advantage: Calibration
    batch_reward_variance: Calibration
    rule: RuleCheck
    arms: tuple[ArmLevel, ...]
    real: RealLevel | None
    table: pd.DataFrame


def step_table(campaign: Path) -> pd.DataFrame:
    """One row per run and step: what was measured, with its exact mean and variance given who was right.

    campaign: a folder as `empirical.results` writes it. Columns: those of the runs (run_id, arm, seed,
    group_size …), step, pass_rate, clean, one_rate, and for each quantity q: q, q_theory, q_variance, NaN
    where the log lacks it. Runs whose errors are not independent appear twice, with the nominal rates and,
    as "ARM (realised rate)", with those the run met.
    Raises InputError where there is no run table or no step log.
    """
    try:
        runs = pd.read_parquet(campaign / "runs.parquet").drop_duplicates("run_id")
    except OSError as error:
        raise InputError(f"{campaign}: no run table ({error})") from None
    files = sorted((campaign / "steps").glob("*.parquet"))
    if not files:
        raise InputError(f"{campaign}: no step logs below steps/")
    described: dict[str, Any] = {row["run_id"]: row for row in runs.to_dict("records")}
    tables: list[pd.DataFrame] = []
    for file in files:
        for run_id, log in pd.read_parquet(file).groupby("run_id"):
            run = described[str(run_id)]
            channel = VerifierChannel(run["fpr"], run["fnr"])
            tables.append(_levels(run, log, channel))
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


def _compared(rows: pd.DataFrame, name: str) -> Compared | None:
    """A quantity over the rows that have it, every step weighing alike; None where none has."""
    logged = rows[rows[name].notna()]
    if logged.empty:
        return None
    measured, theory = float(logged[name].mean()), float(logged[f"{name}_theory"].mean())
    variance = float(logged[f"{name}_variance"].sum())
    sd = math.sqrt(variance) / len(logged)
    return Compared(measured, theory, sd, _z(logged, name))


def _z(rows: pd.DataFrame, name: str) -> float | None:
    variance = rows[f"{name}_variance"]
    total = float(variance.sum())
    # Fractions of `groups` groups: in groups, so that "9" means the same at every batch size.
    counted = float((variance * rows["groups"] ** 2).sum())
    if total <= 0.0 or (name == ZERO and counted < LEAST_COUNT_VARIANCE):
        return None
    return float((rows[name] - rows[f"{name}_theory"]).sum()) / math.sqrt(total)


def run_z(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """run_id, arm, group_size and z of each run with enough left to chance."""
    keys = ["run_id", "arm", "group_size"]
    rows = [(*key, _z(run, name)) for key, run in table.groupby(keys)]
    return pd.DataFrame(rows, columns=pd.Index([*keys, "z"])).dropna(ignore_index=True)


def _calibration(table: pd.DataFrame, name: str) -> Calibration:
    """`Calibration` of the z of single runs whose errors are independent given who is right."""
    from scipy import stats
    from statsmodels.stats.multitest import multipletests

    noisy = table[table["noise"] == "independent"]
    found = run_z(noisy, name)
    if found.empty:
        raise InputError(
            "no run with independent errors leaves enough to chance: nothing to hold against theory"
        )
    z, runs = found["z"], len(found)
    compared = noisy[noisy["run_id"].isin(found["run_id"])]
    residual = compared[name] - compared[f"{name}_theory"]
    residual = residual / np.sqrt(compared.groupby("run_id")[f"{name}_variance"].transform("sum"))
    overlap = 0.0
    for _, seed in compared.assign(residual=residual).groupby("seed"):
        wide = seed.pivot_table("residual", "run_id", "step", fill_value=0.0)
        residual_RT = wide.to_numpy()
        together = (residual_RT @ residual_RT.T) ** 2
        # The realised covariation of independent runs is not 0: take its own noise off its square.
        together -= residual_RT**2 @ (residual_RT**2).T
        np.fill_diagonal(together, 0.0)
        overlap += float(together.sum())
    square = float(np.mean(np.square(z)))
    scale = 1.0 + max(overlap, 0.0) / runs
    freedom = runs / scale
    tail = float(stats.chi2.sf(square * freedom, freedom))
    arms = {
        f"{arm}, {size} rollouts": one
        for (arm, size), rows in noisy.groupby(["arm", "group_size"])
        if (one := _z(rows, name)) is not None
    }
    p_values = 2.0 * stats.norm.sf(np.abs(list(arms.values())))
    corrected = np.asarray(multipletests(p_values, method="holm")[1])
    worst = max(arms, key=lambda arm: abs(arms[arm]))
    return Calibration(
        runs=runs,
        mean_square=square,
        freedom=freedom,
        p_value=2.0 * min(tail, 1.0 - tail),
        within=float(np.mean(np.abs(z) < 1.96)),
        worst=worst,
        worst_z=arms[worst],
        worst_p=float(corrected[list(arms).index(worst)]),
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


def _arms(table: pd.DataFrame, campaign: Path) -> tuple[ArmLevel, ...]:
    evaluations = pd.read_parquet(campaign / "runs.parquet").sort_values("step")
    levels: list[ArmLevel] = []
    for _, rows in table.groupby(["arm", "group_size"]):
        first = rows.iloc[0]
        curve = evaluations[evaluations["run_id"].isin(rows["run_id"].unique())].groupby("run_id")
        ends = curve["accuracy"].first().mean(), curve["accuracy"].last().mean()
        zero, batch = _compared(rows, ZERO), _compared(rows, BATCH)
        assert zero is not None
        assert batch is not None
        levels.append(
            ArmLevel(
                arm=str(first["arm"]),
                independent=bool(first["noise"] == "independent"),
                fpr=float(first["fpr"]),
                fnr=float(first["fnr"]),
                group_size=int(first["group_size"]),
                runs=int(rows["run_id"].nunique()),
                groups=int(rows["groups"].sum()),
                zero_advantage=zero,
                one_rate=float(rows["one_rate"].mean()),
                clean=float(rows["clean"].mean()),
                batch_reward_variance=batch,
                reward_variance=_compared(rows, WITHIN),
                gradient=_compared(rows, GRADIENT),
                accuracy=(float(ends[0]), float(ends[1])),
            )
        )
    return tuple(levels)


def gradient_level(
    campaign: Path = CAMPAIGN,
    *,
    rollouts: Path | None = None,
    derived: Path = RESULTS / DERIVED,
) -> GradientLevel:
    """Compare a campaign's step logs, and real groups with injected noise, with the exact law.

    campaign: a folder as `empirical.results` writes it. rollouts: a CSV for `empirical.real_groups`; None takes
    our workplace's, and where there is none what was derived from it (`derived`); without that too, `real`
    is None.
    Raises InputError where the campaign has no run table, no step log or no noise to speak of, and
    InputError or StudyError where `rollouts` is no such CSV.
    """
    return _result(step_table(campaign), campaign, _real(rollouts, derived))


def _result(table: pd.DataFrame, campaign: Path, real: RealLevel | None) -> GradientLevel:
    arms = _arms(table, campaign)
    independent = [arm for arm in arms if arm.independent]
    clean = table[(table["fpr"] == 0.0) & (table["fnr"] == 0.0)]
    own = table[~table["arm"].str.endswith(REALISED)]

    def rmse(errors: Sequence[float]) -> float:
        return float(np.sqrt(np.mean(np.square(errors))))

    return GradientLevel(
        runs=int(own["run_id"].nunique()),
        steps=len(own),
        groups=int(own["groups"].sum()),
        clean_steps=len(clean),
        clean_exact=int(np.isclose(clean[ZERO], clean[f"{ZERO}_theory"], atol=1e-6, rtol=0).sum()),
        rmse_given_right=rmse(
            [arm.zero_advantage.measured - arm.zero_advantage.theory for arm in independent]
        ),
        rmse_one_rate=rmse([arm.zero_advantage.measured - arm.one_rate for arm in independent]),
        rmse_expected=rmse([arm.zero_advantage.sd for arm in independent]),
        zero_advantage=_calibration(table, ZERO),
        batch_reward_variance=_calibration(table, BATCH),
        rule=_rule(table),
        arms=arms,
        real=real,
        table=table,
    )


def _real(rollouts: Path | None, derived: Path) -> RealLevel | None:
    if rollouts is None and ROLLOUTS.exists():
        rollouts = ROLLOUTS
    if rollouts is not None:
        if not rollouts.is_file():
            raise InputError(f"{rollouts}: no such file")
        return _injected(rollouts)
    if derived.exists():
        kept: dict[str, Any] = json.loads(derived.read_text(encoding="utf-8"))
        kept["rows"] = tuple(kept["rows"])
        return RealLevel(**kept)
    return None


def _structures(groups: RealGroups) -> list[tuple[str, bool, VerifierChannel, Structure]]:
    """What is injected: name, whether errors are independent given who is right, marginal rates, noise."""
    channels = [VerifierChannel(*rates) for rates in REAL_CHANNELS]
    one_sided = VerifierChannel(REAL_DEPENDENT, 0.0)
    boxed = VerifierChannel(REAL_DEPENDENT / groups.selected_share, 0.0)
    return [
        *(("independent", True, channel, Independent(channel)) for channel in channels),
        (
            f"group-correlated {REAL_CORRELATION:g}",
            False,
            one_sided,
            GroupCorrelated(one_sided, REAL_CORRELATION),
        ),
        ("triggered by a box", False, one_sided, Triggered(boxed, VerifierChannel(0.0, 0.0))),
        ("per answer", False, one_sided, PerAnswer(one_sided)),
    ]


def _injected(rollouts: Path) -> RealLevel:
    """Noise injected into the groups of `rollouts`, by structure, quantity and number of right ones."""
    groups = read_groups(rollouts)
    right_NG = groups.right_NG
    right_N = right_NG.sum(axis=1)
    rows: list[dict[str, Any]] = []
    for place, (noise, independent, channel, structure) in enumerate(_structures(groups)):
        # Seeds of their own: flips at a lower rate would be a subset of those at a higher one.
        seeds = range(place * REPLICATES, (place + 1) * REPLICATES)
        met = inject(groups, structure, seeds=seeds)
        law = given_right(right_N, channel, groups.group_size)
        quantities = {
            ZERO: (
                met.zero_advantage,
                law.zero_advantage,
                law.zero_advantage * (1.0 - law.zero_advantage),
            ),
            WITHIN: (met.reward_variance, law.reward_variance, law.reward_variance_variance),
            GRADIENT: (met.gradient, law.gradient, law.gradient_variance),
        }
        for quantity, (measured_RN, mean_N, variance_N) in quantities.items():
            for right in (-1, *np.unique(right_N).tolist()):
                chosen = (right_N == right) | (right == -1)
                count = int(chosen.sum()) * REPLICATES
                rows.append(
                    {
                        "noise": noise,
                        "independent": independent,
                        "fpr": channel.fpr,
                        "fnr": channel.fnr,
                        "quantity": quantity,
                        "right": right,
                        "groups": count,
                        # Six digits, so that another machine's last bits change nothing that is kept.
                        **{
                            name: float(f"{value:.6g}")
                            for name, value in (
                                ("measured", measured_RN[:, chosen].mean()),
                                ("theory", mean_N[chosen].mean()),
                                ("sd", math.sqrt(variance_N[chosen].sum() * REPLICATES) / count),
                            )
                        },
                    }
                )
    error = np.abs(advantages(right_NG, GRPO) - groups.advantages_NG).max()
    return RealLevel(
        source="/".join(rollouts.parts[-2:]),
        sha256=hashlib.sha256(rollouts.read_bytes()).hexdigest(),
        command=COMMAND,
        groups=len(right_N),
        group_size=groups.group_size,
        pass_rate=float(right_NG.mean()),
        replicates=REPLICATES,
        advantage_error=float(error),
        rows=tuple(rows),
    )


def write_gradient_level(level: GradientLevel, out: Path = RESULTS) -> None:
    """Write gradient-level.md, figures/gradient-level.png (and .csv) and derived/real-groups.json below `out`.

    Raises InputError where the file system refuses.
    """
    from fits.figures import save
    from verigap.gradient_figures import draw_gradient_level

    if level.real is not None:
        values = asdict(level.real)
        rows = ",\n".join(json.dumps(row) for row in values.pop("rows"))
        # A row a line, so that a change can be read.
        head = json.dumps(values, indent=0).removesuffix("\n}")
        write_text(out / DERIVED, f'{head},\n"rows": [\n{rows}\n]\n}}\n')
    save(draw_gradient_level(level), out / FIGURE)
    write_text(out / TABLE, "\n".join(_document(level)) + "\n")


def _document(level: GradientLevel) -> list[str]:
    zero, batch, rule = level.zero_advantage, level.batch_reward_variance, level.rule
    return [
        "# Gradient level: measured against exact theory, given each group's right rollouts",
        "",
        f"Generated by `{COMMAND}`; do not edit. {level.runs} runs, {level.steps:,} steps, {level.groups:,} groups.",
        "",
        f"![Measured against theory]({FIGURE.as_posix()})",
        "",
        "A step log holds, per step, how many groups had R = 0 … G right rollouts. Given that histogram, the"
        " zero-advantage fraction and the reward variance have an exact mean and variance if flips are"
        " independent (`theory/conditional.py`). z is (measured - theory)/sd. Assumed: flips are fresh at every"
        " step and independent of which rollouts are right; nothing of pass rates. What is measured less what is"
        " expected is then a martingale, so a run's z is nearly standard normal although its flips decide its"
        " later rollouts. No parameter is fitted.",
        "",
        "## Findings",
        "",
        f"- Clean arms: the fraction is exactly that of groups with R = 0 or G in {level.clean_exact:,} of"
        f" {level.clean_steps:,} steps.",
        _finding("Zero-advantage fraction", zero),
        _finding("Reward variance of the batch", batch),
        f"- Over arms and group sizes with independent errors the fraction misses theory by an RMSE of"
        f" {level.rmse_given_right:.4f}, where chance alone leaves {level.rmse_expected:.4f}. q^G + (1 - q)^G at the"
        f" step's mean pass rate misses by {level.rmse_one_rate:.4f}: prompts are not alike, and groups that all"
        " fail or all pass are more common than one pass rate allows.",
        *_dependent(level),
        f'- "Noise lowers the fraction iff |q - 1/2| < |a - 1/2|", a the mean pass rate: right in {rule.one_rate} of the'
        f" {rule.cells} cells (arm, group size, {BLOCK} steps) where noise changed it by more than 2 sd; the law given R:"
        f" {rule.given_right}. The rule holds for one prompt; a population averages it.",
        *_no_progress(level),
        "",
        "## Zero-advantage fraction",
        "",
        *_markdown(
            [
                "arm",
                "G",
                "runs",
                "groups",
                "measured",
                "given R",
                "sd",
                "z",
                "one rate",
                "clean verifier, same rollouts",
                "accuracy",
            ],
            [
                [
                    arm.arm,
                    str(arm.group_size),
                    str(arm.runs),
                    f"{arm.groups:,}",
                    *_cells(arm.zero_advantage),
                    f"{arm.one_rate:.4f}",
                    f"{arm.clean:.4f}",
                    f"{arm.accuracy[0]:.3f} → {arm.accuracy[1]:.3f}",
                ]
                for arm in level.arms
            ],
        ),
        "",
        'z is left out where chance leaves less than 9 groups of variance. "one rate": q^G + (1 - q)^G at the step\'s'
        ' mean pass rate. "realised rate": theory with the rate the run met instead of the nominal one, so that'
        " only the dependence of errors is left to fail. Accuracy: first and last evaluation, mean of seeds.",
        "",
        "## Reward variance",
        "",
        "Of all rewards of a step together, ddof 1 (what TRL logs as `reward_std` is its root).",
        "",
        *_markdown(
            ["arm", "G", "runs", "measured", "given R", "sd", "z"],
            [
                [arm.arm, str(arm.group_size), str(arm.runs), *_cells(arm.batch_reward_variance)]
                for arm in level.arms
            ],
        ),
        "",
        *_within(level),
        *_real_section(level.real),
        "## What this cannot show",
        "",
        "- The batch's variance depends on the number paid alone: it tests rates and their independence over the"
        " batch, not within groups. The variance within groups is tested on the real groups, and on runs that"
        " log `groups_by_paid`.",
        "- Agreement says that the trainer is paid as the theory says; not that its optimiser uses it as the theory"
        " says: that is what `verigap validate` tests.",
        "- The real groups are a 7B model's, with few right rollouts; the noise in them is ours.",
    ]


def _finding(what: str, found: Calibration) -> str:
    return (
        f"- {what}, {found.runs} runs with independent errors and enough left to chance: mean z² {found.mean_square:.2f}"
        f" (1 expected; chi-square with {found.freedom:.0f} effective degrees of freedom, since arms of a seed share"
        f" uniforms, p = {found.p_value:.2g}), {found.within:.0%} within ± 1.96; the worst of all arms,"
        f" {found.worst}, has z = {found.worst_z:+.2f} (Holm p = {found.worst_p:.2g})."
    )


def _dependent(level: GradientLevel) -> list[str]:
    found = [arm for arm in level.arms if not arm.independent and arm.zero_advantage.z is not None]
    told = "; ".join(
        f"{arm.arm}, {arm.group_size} rollouts: {arm.zero_advantage.measured:.4f} against"
        f" {arm.zero_advantage.theory:.4f}, z = {arm.zero_advantage.z:+.1f}"
        for arm in found
    )
    lead = "- Errors tied to the answer are not independent given R, and there the law fails: "
    return [f"{lead}{told}."] if found else []


def _no_progress(level: GradientLevel) -> list[str]:
    """Arms where verdicts say nothing or the contrary, and noise lowers the fraction all the same."""
    idle = [
        f"{arm.arm}, {arm.group_size} rollouts: fraction {arm.zero_advantage.measured:.4f} where a clean verifier would"
        f" leave {arm.clean:.4f}, accuracy {arm.accuracy[0]:.3f} → {arm.accuracy[1]:.3f}"
        for arm in level.arms
        if VerifierChannel(arm.fpr, arm.fnr).youden <= 0.0
        and arm.zero_advantage.measured < arm.clean
    ]
    lead = "- A lower fraction is no progress (J ≤ 0): "
    return [f"{lead}{'; '.join(idle)}."] if idle else []


def _within(level: GradientLevel) -> list[str]:
    rows = [
        [arm.arm, str(arm.group_size), *_cells(arm.reward_variance), *_cells(arm.gradient)]
        for arm in level.arms
        if arm.reward_variance is not None and arm.gradient is not None
    ]
    if not rows:
        return [
            "The step logs of these runs do not hold the variance within groups, nor the gradient along the"
            " ability; runs made from now on log `groups_by_paid` and `ability_gradient`.",
            "",
        ]
    columns = ["measured", "given R", "sd", "z"]
    return [
        "Within groups (ddof 1), then the gradient along the ability, for the runs that log them.",
        "",
        *_markdown(["arm", "G", *columns, *columns], rows),
        "",
    ]


def _real_section(real: RealLevel | None) -> list[str]:
    if real is None:
        return []
    names = {ZERO: "zero-advantage fraction", WITHIN: "reward variance", GRADIENT: "gradient"}
    told = "; ".join(
        f"{name}: mean z² {found.mean_square:.2f} over {found.cells} cells (channel, R), p = {found.p_value:.2g}"
        for quantity, name in names.items()
        for found in (real.agreement(quantity),)
    )
    pooled: dict[tuple[str, float, float], list[str]] = {}
    for row in real.rows:
        if row["right"] == -1:
            key = row["noise"], row["fpr"], row["fnr"]
            z = _row_z(row)
            told_z = "–" if z is None else f"{z:+.1f}"
            cells = [f"{row['measured']:.4f}", f"{row['theory']:.4f}", told_z]
            pooled.setdefault(key, []).extend(cells)
    return [
        "## Noise injected into real groups",
        "",
        f"{real.groups} groups of {real.group_size} rollouts of a 7B model ({real.source}, sha256 `{real.sha256}`), {real.pass_rate:.3f}"
        f" of them right, judged anew with {real.replicates} seeds per noise by `{real.command}`. On the true rewards our"
        f" advantages are the trainer's to {real.advantage_error:.1g}. Independent noise: {told}. The last three"
        " rows have errors that hang together within a group at the same marginal rate.",
        "",
        *_markdown(
            ["noise", "fpr", "fnr"]
            + [
                f"{name}{part}"
                for name in names.values()
                for part in (", measured", ", given R", ", z")
            ],
            [
                [noise, f"{fpr:g}", f"{fnr:g}", *cells]
                for (noise, fpr, fnr), cells in pooled.items()
            ],
        ),
        "",
    ]


def _cells(found: Compared | None) -> list[str]:
    if found is None:
        return ["–"] * 4
    z = "–" if found.z is None else f"{found.z:+.2f}"
    return [f"{found.measured:.4f}", f"{found.theory:.4f}", f"{found.sd:.4f}", z]


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def main(arguments: Sequence[str]) -> int:
    """Remake table, figure and derived numbers."""
    parser = argparse.ArgumentParser(
        prog=COMMAND, description="Measured against finite-group theory."
    )
    parser.add_argument("--campaign", type=Path, default=CAMPAIGN)
    parser.add_argument("--rollouts", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    try:
        level = gradient_level(given.campaign, rollouts=given.rollouts, derived=given.out / DERIVED)
        write_gradient_level(level, given.out)
    except (InputError, StudyError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
