"""`verigap import` as a shell sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import matched_runs
from tests.commands.command import document


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "runs.csv"
    matched_runs(seeds=3).to_csv(path, index=False)
    return path


def test_import_writes_what_fit_reads(runs: Path, tmp_path: Path) -> None:
    got = document("import", runs, "--where", "arm=clean", "--out", tmp_path / "clean.parquet")
    assert (got["rows"], got["runs"]) == (63, 3)
    again = document("fit", tmp_path / "clean.parquet", "--law", "sigmoid")
    assert [curve["group"] for curve in again["curves"]] == ["clean"]
