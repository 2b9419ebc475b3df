"""`verigap phase` as a shell sees it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.commands.command import refused, verigap


def test_phase_writes_a_table_and_a_figure(tmp_path: Path) -> None:
    command = "phase --fpr-grid 0:0.8:5 --fnr-grid 0,0.3 --group-size 4,8 --json --out"
    document = verigap(*command.split(), tmp_path).document
    table = pd.read_csv(document["table"])
    assert document["cells"] == len(table) == 2 * 5 * 2
    assert Path(document["figure"]).stat().st_size > 5_000
    assert set(table["fate"]) == {"learns", "unlearns"}
    assert table.loc[table["fate"] == "unlearns", "time"].isna().all()
    clean = table[(table["fpr"] == 0) & (table["fnr"] == 0)]
    assert clean["slowdown"].to_list() == [pytest.approx(1.0), pytest.approx(1.0)]


def test_phase_shows_cells_of_the_grid_asked_for(tmp_path: Path) -> None:
    command = "phase --fpr-grid 0.05,0.25 --fnr-grid 0:0.8:9 --group-size 8 --out"
    done = verigap(*command.split(), tmp_path)
    assert done.code == 0, done.err
    table = pd.read_csv(tmp_path / "phase.csv")
    for rate in ("0.05", "0.25", "fnr 0.4", "fnr 0.8"):
        assert rate in done.out
    cell = table[(table["fpr"] == 0.25) & np.isclose(table["fnr"], 0.4)]["slowdown"].item()
    assert f"{cell:.2f}" in done.out
    assert "never" in done.out  # fpr .25, fnr .8: J < 0
    assert "fpr .3" not in done.out


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("--fpr-grid", "0:x:3", "--fpr-grid 0:x:3: must be numbers"),
        ("--fnr-grid", "0:2:3", "fnr must lie in [0, 1], got 2"),
        ("--group-size", "2.5", "must be whole numbers"),
        ("--start", "0.9", "start must be below target"),
    ],
)
def test_phase_names_mistakes(tmp_path: Path, option: str, value: str, named: str) -> None:
    assert named in refused("phase", "--out", tmp_path / "out", option, value)
