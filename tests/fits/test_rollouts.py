"""Measured effective rollouts: recovery of a known number, ends, coverage of the interval."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fits import gap_report, parse_selection
from fits.rollouts import measured_rollouts

STEPS = [0, 20, 40, 80]


def runs(
    sizes: dict[int, float], *, seeds: int, noise: float, seed: int
) -> tuple[pd.DataFrame, ...]:
    """One frame per group size, whose accuracy is that of `sizes[G]` clean rollouts; seeds shift all arms alike."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(0.0, 0.01, seeds)
    frames = []
    for size, worth in sizes.items():
        rows = [
            {
                "run_id": f"{size}-{s}",
                "seed": s,
                "group_size": size,
                "step": step,
                "accuracy": 0.3
                + 0.1 * np.log(worth) * step / 80
                + shared[s]
                + rng.normal(0.0, noise),
            }
            for s in range(seeds)
            for step in STEPS
        ]
        frames.append(pd.DataFrame(rows))
    return tuple(frames)


def test_without_noise_the_known_number_comes_back() -> None:
    *clean, noisy = runs({4: 4, 8: 8, 16: 16, 17: 6.3}, seeds=3, noise=0.0, seed=0)
    found = measured_rollouts(noisy.assign(group_size=16), pd.concat(clean))
    assert found.value == pytest.approx(6.3, rel=1e-9)
    assert found.ci is not None
    assert found.ci[0] <= found.value <= found.ci[1]
    assert (found.steps, found.seeds) == (3, 3)


def test_a_clean_arm_is_worth_itself() -> None:
    clean = pd.concat(runs({4: 4, 8: 8, 16: 16}, seeds=3, noise=0.0, seed=1))
    found = measured_rollouts(clean[clean["group_size"] == 8], clean)
    assert found.value == pytest.approx(8.0, rel=1e-9)


def test_steps_that_not_all_arms_have_change_nothing() -> None:
    *clean, noisy = runs({4: 4, 8: 8, 16: 16, 17: 6.3}, seeds=3, noise=0.01, seed=2)
    noisy = noisy.assign(group_size=16)
    late = noisy[noisy["step"] == 80].assign(step=160, accuracy=0.9)
    assert measured_rollouts(pd.concat([noisy, late]), pd.concat(clean)) == measured_rollouts(
        noisy, pd.concat(clean)
    )


def test_a_step_that_one_seed_alone_has_is_no_fault() -> None:
    *clean, noisy = runs({4: 4, 8: 8, 16: 16, 17: 6.3}, seeds=3, noise=0.0, seed=3)
    noisy = noisy[(noisy["step"] != 40) | (noisy["seed"] == 0)].assign(group_size=16)
    clean[0] = clean[0][(clean[0]["step"] != 20) | (clean[0]["seed"] == 1)]
    found = measured_rollouts(noisy, pd.concat(clean))
    assert found.ci is not None
    assert (found.steps, found.seeds) == (3, 3)


def test_the_interval_covers() -> None:
    inside = 0
    for seed in range(80):
        *clean, noisy = runs({4: 4, 8: 8, 16: 16, 32: 32, 33: 11}, seeds=5, noise=0.006, seed=seed)
        found = measured_rollouts(noisy.assign(group_size=32), pd.concat(clean))
        assert found.ci is not None
        inside += found.ci[0] <= 11 <= found.ci[1]
    # 95 % of 80, and three binomial standard errors below.
    assert inside >= 70


def test_what_cannot_be_said_is_said() -> None:
    (eight,) = runs({8: 8}, seeds=2, noise=0.0, seed=0)
    assert "one group size only (8)" in measured_rollouts(eight, eight).reason
    *clean, low = runs({4: 4, 8: 8, 9: 2}, seeds=2, noise=0.0, seed=0)
    found = measured_rollouts(low.assign(group_size=8), pd.concat(clean))
    assert found.value is None
    assert "fewer than 4" in found.reason
    *clean, one = runs({4: 4, 8: 8, 9: 5}, seeds=1, noise=0.0, seed=0)
    found = measured_rollouts(one.assign(group_size=8), pd.concat(clean))
    assert found.ci is None
    assert "one seed" in found.reason


def test_gap_gives_every_arm_its_own() -> None:
    frames = runs({4: 4, 8: 8, 16: 16}, seeds=3, noise=0.0, seed=0)
    noisy = runs({4: 3, 8: 5, 16: 6.3}, seeds=3, noise=0.0, seed=0)
    clean = pd.concat(frames).assign(arm="clean", fpr=0.0, fnr=0.0)
    arm = pd.concat(noisy).assign(arm="fp", fpr=0.3, fnr=0.0)
    arm["run_id"] = "fp-" + arm["run_id"]
    table = pd.concat([clean, arm], ignore_index=True)
    report = gap_report(table, clean=parse_selection(["arm=clean"]), x="step")
    found = {one.setting["group_size"]: one for one in report.arms}
    assert found[4].effective_rollouts is None
    assert "fewer than 4" in found[4].effective_rollouts_reason
    for size, worth in ((8, 5.0), (16, 6.3)):
        value, ci = found[size].effective_rollouts, found[size].effective_rollouts_ci
        assert value == pytest.approx(worth, rel=0.01)
        assert ci is not None
        assert ci[0] <= worth * 1.01
        assert ci[1] >= worth * 0.99
