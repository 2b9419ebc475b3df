"""`verigap fit` as a shell sees it."""

from __future__ import annotations

import json
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


def test_fit_prints_one_document_with_the_contracts_keys(runs: Path, tmp_path: Path) -> None:
    got = document("fit", runs, "--figure", tmp_path / "f.png", "--out", tmp_path / "f.json")
    assert [curve["group"] for curve in got["curves"]] == ["clean", "fn", "fp"]
    keys = "group law params ci status identified reason x_max_over_midpoint aicc forecast_rmse"
    assert set(keys.split()) <= set(got["curves"][0])
    assert (tmp_path / "f.png").exists()
    assert (tmp_path / "f.csv").exists()
    assert json.loads((tmp_path / "f.json").read_text()) == got


def test_the_quadratic_surface_on_the_grid() -> None:
    path = shared_data("seed_grid/batch32_r8_metrics.csv")
    curves = document("fit", path, "--law", "quadratic")["curves"]
    by = {curve["group"]: curve for curve in curves}
    assert by["1.5B"]["identified"]
    assert not by["0.5B"]["identified"]
    assert by["0.5B"]["aliased"] == ["fnr = fpr", "fpr*fnr = fpr^2", "fnr^2 = fpr^2"]
