"""Step logs against exact theory: calibrated where flips are independent, alarmed where they are not."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from empirical.errors import StudyError
from empirical.real_groups import inject, read_groups
from tests.shared_data import shared_data
from theory import DR_GRPO, GRPO, VerifierChannel, advantages
from theory.structures import GroupCorrelated, Independent, Rollouts, Structure
from verigap import gradient_level as module
from verigap.gradient_level import (
    BATCH,
    gradient_level,
    main,
    run_z,
    step_table,
    write_gradient_level,
)
from verigap.gradient_real import GRADIENT, WITHIN, ZERO, read_derived, real_level
from verigap.gradient_report import document

GROUP, PROMPTS, STEPS = 8, 8, 100
REAL = "ethsri_rollouts/olmo3_7b_base_rollouts_slim.csv"


@dataclass(frozen=True)
class Made:
    """A run to be made up: its arm, its noise and what the table says of it."""

    arm: str
    seed: int
    structure: Structure
    fpr: float
    fnr: float
    estimator: str = "grpo"
    noise: str = "independent"
    rollout_seed: int | None = None


def steps_of(made: Made, *, within: bool) -> list[dict[str, Any]]:
    """Unequal prompts that get easier, judged by `theory.structures` itself and counted as a step is."""
    rng = np.random.default_rng(made.seed if made.rollout_seed is None else made.rollout_seed)
    rows: list[dict[str, Any]] = []
    for step in range(1, STEPS + 1):
        pass_rate_P = rng.beta(1.0, 2.0 - step / STEPS, PROMPTS)
        right_PG = rng.random((PROMPTS, GROUP)) < pass_rate_P[:, np.newaxis]
        right, place = right_PG.ravel(), np.arange(PROMPTS * GROUP)
        prompt = step * PROMPTS + place // GROUP
        rollouts = Rollouts(right=right, prompt=prompt, index=place, group=place // GROUP)
        paid = made.structure.judge(rollouts, seed=made.seed, step=step)
        paid_PG = paid.reshape(PROMPTS, GROUP)
        by_right = np.bincount(right_PG.sum(axis=1), minlength=GROUP + 1).astype(float)
        by_paid = np.bincount(paid_PG.sum(axis=1), minlength=GROUP + 1).astype(float)
        row: dict[str, Any] = {
            "run_id": f"{made.arm}-{made.seed}",
            "step": step,
            "right": float(right.sum()),
            "wrong": float((~right).sum()),
            "paid_wrong": float((paid & ~right).sum()),
            "unpaid_right": float((~paid & right).sum()),
            "observed_reward": paid.mean(),
            "groups_by_right": by_right.tolist(),
            "zero_advantage_fraction": (by_paid[0] + by_paid[-1]) / PROMPTS,
        }
        if within:
            estimator = GRPO if made.estimator == "grpo" else DR_GRPO
            centred_PG = right_PG - right_PG.mean(axis=1, keepdims=True)
            row["groups_by_paid"] = by_paid.tolist()
            row["ability_gradient"] = (advantages(paid_PG, estimator) * centred_PG).mean()
        rows.append(row)
    return rows


def campaign(folder: Path, runs: list[Made], *, within: bool = True) -> Path:
    """A results folder of these runs."""
    (folder / "steps").mkdir(parents=True)
    described = [
        {"run_id": f"{made.arm}-{made.seed}", "group_size": GROUP, "step": step, "accuracy": 0.5}
        | {k: v for k, v in asdict(made).items() if k not in {"structure", "rollout_seed"}}
        for made in runs
        for step in (0, STEPS)
    ]
    pd.DataFrame(described).to_parquet(folder / "runs.parquet")
    for seed in {made.seed for made in runs}:
        rows = [r for made in runs if made.seed == seed for r in steps_of(made, within=within)]
        pd.DataFrame(rows).to_parquet(folder / "steps" / f"g{GROUP}-s{seed}.parquet")
    return folder


def independent(arm: str, seed: int, fpr: float, fnr: float, **other: Any) -> Made:
    return Made(arm, seed, Independent(VerifierChannel(fpr, fnr)), fpr, fnr, **other)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four arms of twelve seeds whose flips are what the table says."""
    runs = [
        independent(arm, seed, fpr, fnr, estimator=estimator)
        for seed in range(12)
        for arm, fpr, fnr, estimator in (
            ("clean", 0.0, 0.0, "grpo"),
            ("fpr0.4", 0.4, 0.0, "grpo"),
            ("both0.2", 0.2, 0.2, "dr_grpo"),
            ("inverted", 0.7, 0.5, "grpo"),
        )
    ]
    return campaign(tmp_path_factory.mktemp("honest") / "results", runs)


@pytest.mark.parametrize("name", [ZERO, BATCH, WITHIN, GRADIENT])
def test_z_of_honest_runs_is_standard_normal(honest: Path, name: str) -> None:
    z = run_z(step_table(honest), name)["z"].to_numpy()
    assert len(z) == 36
    assert abs(z.mean()) < 4.0 / np.sqrt(len(z))
    # Four standard deviations of a chi-square, arms of a seed taken to be one at worst.
    assert abs(np.mean(z**2) - 1.0) < 4.0 * np.sqrt(2.0 / 12)


def test_honest_runs_are_called_calibrated_and_clean_ones_exact(honest: Path) -> None:
    level = gradient_level(honest, check=None, derived=honest / "none")
    assert (level.runs, level.steps, level.groups) == (48, 48 * STEPS, 48 * STEPS * PROMPTS)
    assert level.check_runs == 0
    assert level.clean_steps == level.clean_exact == 12 * STEPS
    for found in (level.zero_advantage, level.batch_reward_variance):
        assert found.p_value > 1e-3
        assert found.worst_p > 1e-3
        assert 12 <= found.freedom <= 36
        # Steps of 36 runs; 4 standard errors of a mean square, of normal steps or milder ones.
        assert abs(found.dispersion - 1.0) < 4.0 * np.sqrt(2.0 / (36 * STEPS)) * np.sqrt(3.0)
        assert found.dispersion_ci is not None
        assert found.dispersion_ci[0] < found.dispersion < found.dispersion_ci[1]
    # One rate for all prompts is wrong by far more than chance, because prompts are unequal.
    assert level.rmse_given_right < 3.0 * level.rmse_expected < level.rmse_one_rate
    assert level.rule.given_right == level.rule.cells > 0


def test_errors_that_hang_together_are_noticed(tmp_path: Path) -> None:
    channel = VerifierChannel(0.4, 0.0)
    runs = [
        Made("fpr0.4", seed, GroupCorrelated(channel, 0.2), channel.fpr, channel.fnr)
        for seed in range(4)
    ]
    level = gradient_level(campaign(tmp_path / "c", runs), check=None, derived=tmp_path / "none")
    assert level.zero_advantage.mean_square > 20.0
    assert level.zero_advantage.dispersion_ci is not None
    assert level.zero_advantage.dispersion_ci[0] > 1.5
    assert level.zero_advantage.p_value < 1e-6
    assert level.zero_advantage.worst_z > 8.0


def test_wrong_rates_are_noticed_by_both_quantities(tmp_path: Path) -> None:
    structure = Independent(VerifierChannel(0.3, 0.0))
    runs = [Made("said .4", seed, structure, 0.4, 0.0) for seed in range(4)]
    level = gradient_level(campaign(tmp_path / "c", runs), check=None, derived=tmp_path / "none")
    assert level.zero_advantage.worst_z < -5.0
    assert level.batch_reward_variance.worst_z > 5.0


def test_the_same_run_twice_is_one_run(tmp_path: Path) -> None:
    """Effective degrees of freedom: two arms with all flips in common count once, unlike ones twice."""
    seeds = range(12)
    twins = [independent(arm, seed, 0.4, 0.0) for seed in seeds for arm in ("a", "b")]
    strangers = [
        independent(arm, seed + shift, 0.4, 0.0)
        for seed in seeds
        for arm, shift in (("a", 0), ("b", 100))
    ]
    twice, once = (
        gradient_level(campaign(tmp_path / name, runs), check=None, derived=tmp_path / "none")
        for name, runs in (("twins", twins), ("strangers", strangers))
    )
    assert twice.zero_advantage.freedom == pytest.approx(12, rel=0.05)
    assert once.zero_advantage.freedom == 24
    only = gradient_level(
        campaign(tmp_path / "only", twins[:1]), check=None, derived=tmp_path / "none"
    )
    assert only.zero_advantage.dispersion_ci is None


def test_dependent_arms_are_shown_with_both_rates_and_left_out_of_the_calibration(
    tmp_path: Path,
) -> None:
    """The rate a run met mends a wrong rate, and does not mend errors in common."""
    channel = VerifierChannel(0.3, 0.0)
    runs = [
        Made(arm, seed, structure, 0.2, 0.0, noise="triggered")
        for seed in range(3)
        for arm, structure in (
            ("tied", GroupCorrelated(channel, 0.3)),
            ("moved", Independent(channel)),
        )
    ]
    runs += [independent("fpr0.4", seed, 0.4, 0.0) for seed in range(3)]
    level = gradient_level(campaign(tmp_path / "c", runs), check=None, derived=tmp_path / "none")
    assert level.runs == 9
    assert level.zero_advantage.runs == 3
    names = ("tied", "tied (realised rate)", "moved", "moved (realised rate)")
    arms = {arm.arm: arm for arm in level.arms}
    assert set(arms) == {*names, "fpr0.4"}
    batch = [arms[name].batch_reward_variance.z or 0.0 for name in names]
    zero = [arms[name].zero_advantage.z or 0.0 for name in names]
    assert abs(batch[2]) > 10.0 > 4.0 > abs(batch[3])
    assert abs(zero[3]) < 4.0
    assert min(zero[:2]) > 10.0


def test_logs_made_before_the_variance_within_groups_was_kept(tmp_path: Path) -> None:
    runs = [independent("fpr0.4", seed, 0.4, 0.0) for seed in range(2)]
    level = gradient_level(
        campaign(tmp_path / "c", runs, within=False), check=None, derived=tmp_path / "none"
    )
    (arm,) = level.arms
    assert arm.reward_variance is None
    assert arm.gradient is None
    write_gradient_level(level, tmp_path / "out")
    text = (tmp_path / "out" / "gradient-level.md").read_text()
    assert "No run here logs the variance within groups" in text
    assert "real groups" not in text.split("## What this cannot show")[0]


def rollouts_csv(path: Path, groups: int = 60, size: int = 6) -> Path:
    rng = np.random.default_rng(5)
    right = (rng.random((groups, size)) < rng.random((groups, 1)) * 0.9).astype(float)
    number = np.arange(groups * size)
    pd.DataFrame(
        {
            "step": number // (20 * size) + 1,
            "prompt_id": number // size % 20,
            "reward": right.ravel(),
            "advantage": advantages(right).ravel(),
            "extracted_answer": ["7" if r else "8" for r in right.ravel()],
            "has_boxed": (rng.random(number.size) < 0.6).astype(int),
        }
    ).to_csv(path, index=False)
    return path


def test_real_groups_keep_their_right_ones_and_nothing_is_injected_at_rate_0(
    tmp_path: Path,
) -> None:
    groups = read_groups(rollouts_csv(tmp_path / "r.csv"))
    assert groups.right_NG.shape == (60, 6)
    found = inject(groups, Independent(VerifierChannel(0.0, 0.0)), seeds=[1])
    right = groups.right_NG.astype(float)
    np.testing.assert_allclose(found.reward_variance[0], right.var(axis=1, ddof=1), atol=1e-15)
    np.testing.assert_allclose(found.gradient[0], (advantages(right) * right).mean(axis=1))
    np.testing.assert_array_equal(found.zero_advantage[0], right.mean(axis=1) % 1 == 0)


def test_derived_numbers_stand_in_for_the_rollouts(honest: Path, tmp_path: Path) -> None:
    """Remade where the source is there, read where it is not: the same document either way."""
    out, again = tmp_path / "out", tmp_path / "again"
    csv = rollouts_csv(tmp_path / "r.csv")
    level = gradient_level(honest, check=None, rollouts=csv)
    assert level.real is not None
    assert level.real.advantage_error < 1e-12
    for name in (ZERO, WITHIN, GRADIENT):
        agreement = level.real.agreement(name)
        assert agreement.cells > 5
        assert agreement.p_value > 1e-3
    write_gradient_level(level, out)
    derived = out / "derived" / "real-groups.json"
    assert len(json.loads(derived.read_text())["sha256"]) == 64
    kept = gradient_level(honest, check=None, derived=derived)
    write_gradient_level(kept, again)
    for name in ("gradient-level.md", "derived/real-groups.json", "figures/gradient-level.csv"):
        assert (again / name).read_text() == (out / name).read_text()


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the workplace's rollouts, which the command takes unless told others."""
    monkeypatch.setattr(module, "ROLLOUTS", Path("/nowhere.csv"))


def test_the_field_s_own_rollouts() -> None:
    level = real_level(shared_data(REAL), command=module.COMMAND)
    assert (level.groups, level.group_size) == (640, 16)
    assert level.advantage_error < 1e-6
    for name in (ZERO, WITHIN, GRADIENT):
        assert level.agreement(name).p_value > 1e-3
    pooled = {
        (row.noise, row.quantity): row.z or 0.0
        for row in level.rows
        if row.right is None and not row.independent
    }
    assert pooled["per answer", ZERO] > 100.0
    assert pooled["group-correlated 0.3", WITHIN] < -100.0
    assert pooled["triggered by a box", GRADIENT] > 4.0
    assert read_derived(module.RESULTS / module.DERIVED) == level


def test_the_committed_page_is_that_of_the_committed_tables(tmp_path: Path) -> None:
    level = gradient_level()
    write_gradient_level(level, tmp_path)
    for name in (module.TABLE, module.DERIVED):
        assert (tmp_path / name).read_text() == (module.RESULTS / name).read_text()
    assert level.zero_advantage.p_value > 1e-3
    assert level.zero_advantage.worst_p > 1e-2
    assert level.rmse_given_right < 2.0 * level.rmse_expected
    assert level.clean_exact == level.clean_steps


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="advantage"), "lacks advantage"),
        (lambda f: f.assign(reward=0.5), "rewards must be 0 or 1"),
        (lambda f: f.iloc[:-1], "unequal size"),
    ],
)
def test_other_csv_files_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    path = rollouts_csv(tmp_path / "r.csv")
    change(pd.read_csv(path)).to_csv(path, index=False)
    with pytest.raises(StudyError, match=message):
        read_groups(path)


def test_bad_input_is_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], honest: Path
) -> None:
    none, bare, out = tmp_path / "none", tmp_path / "bare", tmp_path / "out"
    clean = campaign(tmp_path / "clean", [independent("clean", 0, 0.0, 0.0)])
    bare.mkdir()
    pd.read_parquet(clean / "runs.parquet").to_parquet(bare / "runs.parquet")
    (tmp_path / "derived").mkdir()
    (tmp_path / "derived" / "real-groups.json").write_text("{}")
    for given, message in (
        ((none, honest, out), "no run table"),
        ((bare, honest, out), "no step logs"),
        ((honest, bare, out), "no step logs"),
        ((clean, clean, out), "nothing to hold against theory"),
        ((honest, honest, tmp_path), "not numbers derived from real groups"),
    ):
        told = zip(("--campaign", "--check", "--out"), map(str, given), strict=True)
        assert main([word for pair in told for word in pair]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert main(["--campaign", str(honest), "--rollouts", str(none), "--out", str(out)]) == 2
    assert "no such file" in capsys.readouterr().err
    assert not out.exists()


def test_further_runs_are_those_beside_the_campaign_and_counted(tmp_path: Path) -> None:
    """The command takes no folder of this repository for another campaign."""
    seeds = range(2)
    alone = campaign(tmp_path / "a" / "c", [independent("fpr0.4", s, 0.4, 0.0) for s in seeds])
    beside = campaign(tmp_path / "b" / "c", [independent("fpr0.4", s, 0.4, 0.0) for s in seeds])
    campaign(tmp_path / "b" / "gradient-check", [independent("fnr0.4", 7, 0.0, 0.4)])
    for given, said in ((alone, "2 runs (0 of them"), (beside, "3 runs (1 of them")):
        out = given.parent / "out"
        assert main(["--campaign", str(given), "--out", str(out)]) == 0
        assert said in (out / "gradient-level.md").read_text()


def test_scatter_that_is_not_theory_s_is_said_in_words(tmp_path: Path) -> None:
    runs = [independent("fpr0.4", seed, 0.4, 0.0) for seed in range(4)]
    level = gradient_level(campaign(tmp_path / "c", runs), check=None, derived=tmp_path / "none")

    def findings(dispersion: float, interval: tuple[float, float] | None) -> str:
        found = replace(level.zero_advantage, dispersion=dispersion, dispersion_ci=interval)
        page = document(replace(level, zero_advantage=found), command="c", figure="f")
        return page.split("## Zero-advantage")[0]

    assert "more scatter than theory's, by 50.0%" in findings(1.5, (1.2, 1.8))
    assert "less scatter than theory's, by 2.8%" in findings(0.972, (0.954, 0.991))
    assert "scatter" not in findings(1.01, (0.99, 1.03)).split("Reward variance")[0]
    assert "scatter" not in findings(1.5, None).split("Reward variance")[0]
