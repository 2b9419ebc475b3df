"""`verigap gap` as a shell sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import matched_runs
from tests.commands.command import document
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


def test_gap_of_the_trajectory_table() -> None:
    path = shared_data("math_trajectories/mL4.csv")
    mapping = "accuracy=accuracy_mean_of_5_seeds,run_id=arm"
    got = document("gap", path, "--map", mapping, "--clean", "arm=clean")
    assert {arm["arm"] for arm in got["arms"]} == {"fp", "fn"}
    for arm in got["arms"]:
        assert arm["floor_ci"] is None
        assert "one matched seed" in arm["reason"]
        assert arm["verdict"] == "undetermined"
