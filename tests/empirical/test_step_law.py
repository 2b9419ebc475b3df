"""Step logs against exact theory: calibrated where flips are independent, alarmed where they are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from empirical.errors import StudyError
from empirical.step_law import logged as module
from empirical.step_law.groups import inject, read_groups
from empirical.step_law.logged import (
    BATCH,
    gradient_level,
    run_z,
    step_table,
)
from empirical.step_law.real import GRADIENT, WITHIN, ZERO, read_derived, real_level
from tests.builders import (
    LOGGED_STEPS,
    PROMPTS,
    ROOT,
    Made,
    independent,
    logged_campaign,
    rollouts_csv,
)
from tests.shared_data import shared_data
from theory import VerifierChannel, advantages
from theory.structures import GroupCorrelated, Independent

REAL = "ethsri_rollouts/olmo3_7b_base_rollouts_slim.csv"


@pytest.mark.parametrize("name", [ZERO, BATCH, WITHIN, GRADIENT])
def test_z_of_honest_runs_is_standard_normal(honest: Path, name: str) -> None:
    z = run_z(step_table(honest), name)["z"].to_numpy()
    assert len(z) == 36
    assert abs(z.mean()) < 4.0 / np.sqrt(len(z))
    # Four standard deviations of a chi-square, arms of a seed taken to be one at worst.
    assert abs(np.mean(z**2) - 1.0) < 4.0 * np.sqrt(2.0 / 12)


def test_honest_runs_are_called_calibrated_and_clean_ones_exact(honest: Path) -> None:
    level = gradient_level(honest, check=None, derived=honest / "none")
    assert (level.runs, level.steps, level.groups) == (
        48,
        48 * LOGGED_STEPS,
        48 * LOGGED_STEPS * PROMPTS,
    )
    assert level.check_runs == 0
    assert level.clean_steps == level.clean_exact == 12 * LOGGED_STEPS
    for found in (level.zero_advantage, level.batch_reward_variance):
        assert found.p_value > 1e-3
        assert found.worst_p > 1e-3
        assert 12 <= found.freedom <= 36
        # Steps of 36 runs; 4 standard errors of a mean square, of normal steps or milder ones.
        assert abs(found.dispersion - 1.0) < 4.0 * np.sqrt(2.0 / (36 * LOGGED_STEPS)) * np.sqrt(3.0)
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
    level = gradient_level(
        logged_campaign(tmp_path / "c", runs), check=None, derived=tmp_path / "none"
    )
    assert level.zero_advantage.mean_square > 20.0
    assert level.zero_advantage.dispersion_ci is not None
    assert level.zero_advantage.dispersion_ci[0] > 1.5
    assert level.zero_advantage.p_value < 1e-6
    assert level.zero_advantage.worst_z > 8.0


def test_wrong_rates_are_noticed_by_both_quantities(tmp_path: Path) -> None:
    structure = Independent(VerifierChannel(0.3, 0.0))
    runs = [Made("said .4", seed, structure, 0.4, 0.0) for seed in range(4)]
    level = gradient_level(
        logged_campaign(tmp_path / "c", runs), check=None, derived=tmp_path / "none"
    )
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
        gradient_level(
            logged_campaign(tmp_path / name, runs), check=None, derived=tmp_path / "none"
        )
        for name, runs in (("twins", twins), ("strangers", strangers))
    )
    assert twice.zero_advantage.freedom == pytest.approx(12, rel=0.05)
    assert once.zero_advantage.freedom == 24
    only = gradient_level(
        logged_campaign(tmp_path / "only", twins[:1]), check=None, derived=tmp_path / "none"
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
    level = gradient_level(
        logged_campaign(tmp_path / "c", runs), check=None, derived=tmp_path / "none"
    )
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
    assert read_derived(ROOT / "paper/outside/real-groups.json") == level


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
