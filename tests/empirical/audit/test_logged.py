from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from empirical.audit.logged import audit_runs
from tests.commands.command import refused, verigap

CAMPAIGN = Path(__file__).parents[3] / "empirical" / "results" / "cpu-campaign" / "runs.parquet"


def runs(
    rng: np.random.Generator, fpr: float, fnr: float, *, end: float | None = None, seeds: int = 3
) -> pd.DataFrame:
    """Three runs that learn; with `end`, fpr is paid to the hardest prompts and jumps once they are met."""
    rows = []
    steps = np.array([0, 10, 20, 40, 60, 80, 100, 150, 200, 300])
    for seed in range(seeds):
        fine = np.arange(301)
        curve = 0.3 + 0.55 * (1 - np.exp(-fine / 80))
        for k, step in enumerate(steps):
            reward = np.nan
            if k:
                window = curve[steps[k - 1] : step]
                x = fpr if end is None else np.where(window > 0.6, end, fpr)
                paid = x + (1 - x - fnr) * window
                reward = rng.binomial(64 * len(window), paid.mean()) / (64 * len(window))
            rows.append(
                (f"r{seed}", step, rng.binomial(2048, curve[step]) / 2048, 2048, 64 * step, reward)
            )
    columns = ["run_id", "step", "accuracy", "n_eval", "rollouts", "observed_reward"]
    return pd.DataFrame(rows, columns=columns)


@pytest.mark.parametrize(("fpr", "fnr"), [(0.0, 0.0), (0.2, 0.1), (0.4, 0.0), (0.7, 0.5)])
def test_rates_are_recovered_at_the_stated_coverage(fpr: float, fnr: float) -> None:
    rng = np.random.default_rng(0)
    held: list[bool] = []
    for _ in range(40):
        (found,) = audit_runs(runs(rng, fpr, fnr))
        assert found.fpr_ci is not None
        assert found.fnr_ci is not None
        held += [
            found.fpr_ci[0] <= fpr <= found.fpr_ci[1],
            found.fnr_ci[0] <= fnr <= found.fnr_ci[1],
        ]
    assert np.mean(held) > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 40)


def test_errors_that_move_bend_the_line_and_others_do_not() -> None:
    rng = np.random.default_rng(1)
    moved = [audit_runs(runs(rng, 0.1, 0.0, end=0.6))[0].errors_move for _ in range(20)]
    still = [audit_runs(runs(rng, 0.2, 0.1))[0].errors_move for _ in range(40)]
    assert np.mean(moved) > 0.9
    assert sum(still) <= 3


def test_accuracy_that_does_not_move_identifies_nothing() -> None:
    rng = np.random.default_rng(2)
    frame = runs(rng, 0.5, 0.5)
    frame["accuracy"] = rng.binomial(2048, 0.35, len(frame)) / 2048
    (found,) = audit_runs(frame)
    assert found.fpr is None
    assert "unidentified" in found.reason


def test_our_campaigns_logs_say_what_was_injected() -> None:
    """At least 90 % of the cells of independent-noise arm x rollouts, both rates at once."""
    found = audit_runs(
        pd.read_parquet(CAMPAIGN), group=["arm", "group_size", "noise", "fpr", "fnr"]
    )
    held, coins = [], 0
    for cell in found:
        told = dict(part.split("=") for part in cell.group.split(", "))
        if told["arm"] == "coin":
            coins += 1
            assert cell.fpr is None
            assert "unidentified" in cell.reason
            continue
        if told["noise"] != "independent":
            continue
        assert cell.fpr_ci is not None
        assert cell.fnr_ci is not None
        held.append(
            cell.fpr_ci[0] <= float(told["fpr"]) <= cell.fpr_ci[1]
            and cell.fnr_ci[0] <= float(told["fnr"]) <= cell.fnr_ci[1]
        )
        if told["arm"] == "clean":
            assert cell.fpr_ci[0] == cell.fnr_ci[0] == 0.0
    assert coins == 4
    assert np.mean(held) >= 0.9


def test_the_command_answers_of_runs(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    runs(np.random.default_rng(3), 0.2, 0.1).to_csv(path, index=False)
    document = verigap("audit", "--runs", path, "--group-size", 16, "--json").document
    assert document["fpr_ci"][0] < 0.2 < document["fpr_ci"][1]
    assert len(document["cells"]) == 1
    assert "fnr" in verigap("audit", "--runs", path).out
    assert "--runs and logged runs" in refused("audit")
    assert "observed_reward" in refused("audit", "--runs", _without(path, tmp_path))


def _without(path: Path, folder: Path) -> Path:
    made = folder / "less.csv"
    pd.read_csv(path).drop(columns="observed_reward").to_csv(made, index=False)
    return made
