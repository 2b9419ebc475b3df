"""`verigap gap` as a shell sees it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.builders import matched_runs
from tests.commands.command import document, verigap
from tests.shared_data import shared_data


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "runs.csv"
    matched_runs(seeds=3).to_csv(path, index=False)
    return path


def test_gap_prints_one_document_with_the_contracts_keys(runs: Path) -> None:
    got = document("gap", runs, "--delta", ".02")
    assert {"arms", "asymmetry", "exchange_rate"} <= set(got)
    for arm in got["arms"]:
        assert {"arm", "verdict", "floor", "floor_ci", "would_settle_it"} <= set(arm)
    assert got["delta"] == 0.02


def test_runs_of_one_arm_and_seed_not_made_alike_are_flagged(runs: Path, tmp_path: Path) -> None:
    assert document("gap", runs)["provenance"] == []
    frame = matched_runs(seeds=3).assign(learning_rate=1e-6)
    again = frame[frame["seed"] == 0].assign(learning_rate=2e-6)
    again["run_id"] += "-again"
    path = tmp_path / "twice.csv"
    pd.concat([frame, again]).to_csv(path, index=False)
    done = verigap("gap", path, "--json")
    flagged = done.document["provenance"]
    assert flagged
    assert all("seed 0: 2 runs" in line and "learning_rate 1e-06" in line for line in flagged)
    # And for whoever reads no JSON, beside it.
    assert all(line in done.err for line in flagged)


def test_gap_of_the_trajectory_table() -> None:
    path = shared_data("math_trajectories/mL4.csv")
    mapping = "accuracy=accuracy_mean_of_5_seeds,run_id=arm"
    got = document("gap", path, "--map", mapping, "--clean", "arm=clean")
    assert {arm["arm"] for arm in got["arms"]} == {"fp", "fn"}
    for arm in got["arms"]:
        assert arm["floor_ci"] is None
        assert "one matched seed" in arm["reason"]
        assert arm["verdict"] == "undetermined"
