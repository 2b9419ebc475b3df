"""`verigap fit`, `gap` and `import` as a shell sees them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fits.synthetic import matched_runs
from tests.shared_data import shared_data
from tests.verigap.command import refused, verigap


def document(*arguments: object) -> Any:
    done = verigap(*arguments, "--json")
    assert done.code == 0, done.err
    return done.document


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


def test_gap_prints_one_document_with_the_contracts_keys(runs: Path) -> None:
    got = document("gap", runs, "--delta", ".02")
    assert {"arms", "asymmetry", "exchange_rate"} <= set(got)
    for arm in got["arms"]:
        assert {"arm", "verdict", "floor", "floor_ci", "would_settle_it"} <= set(arm)
    assert got["delta"] == 0.02


@pytest.mark.parametrize("loss", ["least-squares", "huber", "binomial", "beta-binomial"])
def test_fit_and_gap_take_the_same_losses_and_say_which(runs: Path, loss: str) -> None:
    fitted = document("fit", runs, "--law", "sigmoid", "--loss", loss)
    assert fitted["loss"] == loss
    assert all(one["loss"].startswith(loss) for one in fitted["curves"])
    assert document("gap", runs, "--law", "sigmoid", "--loss", loss)["loss"] == loss
    assert document("fit", runs, "--law", "margin-logit", "--loss", loss)["loss"] == loss


def test_gap_of_the_trajectory_table() -> None:
    path = shared_data("math_trajectories/mL4.csv")
    mapping = "accuracy=accuracy_mean_of_5_seeds,run_id=arm"
    got = document("gap", path, "--map", mapping, "--clean", "arm=clean")
    assert {arm["arm"] for arm in got["arms"]} == {"fp", "fn"}
    for arm in got["arms"]:
        assert arm["floor_ci"] is None
        assert "one matched seed" in arm["reason"]
        assert arm["verdict"] == "undetermined"


def test_the_quadratic_surface_on_the_grid() -> None:
    path = shared_data("seed_grid/batch32_r8_metrics.csv")
    curves = document("fit", path, "--law", "quadratic")["curves"]
    by = {curve["group"]: curve for curve in curves}
    assert by["1.5B"]["identified"]
    assert not by["0.5B"]["identified"]
    assert by["0.5B"]["aliased"] == ["fnr = fpr", "fpr*fnr = fpr^2", "fnr^2 = fpr^2"]


def test_import_writes_what_fit_reads(runs: Path, tmp_path: Path) -> None:
    got = document("import", runs, "--where", "arm=clean", "--out", tmp_path / "clean.parquet")
    assert (got["rows"], got["runs"]) == (63, 3)
    again = document("fit", tmp_path / "clean.parquet", "--law", "sigmoid")
    assert [curve["group"] for curve in again["curves"]] == ["clean"]


@pytest.mark.parametrize(
    ("command", "part"),
    [
        (["fit", "{runs}", "--x", "tokens"], "needs the column tokens"),
        (["fit", "{runs}", "--law", "cubic"], "'cubic' is none of"),
        (["fit", "{runs}", "--figure", "f.gif"], "f.gif: draw to a file ending in"),
        (["fit", "{runs}", "--loss", "l1"], "'l1' is none of"),
        (["gap", "{runs}", "--loss", "l1"], "'l1' is none of"),
        (["gap", "{runs}", "--clean", "fpr"], "'fpr' is no comparison"),
        (["gap", "{runs}", "--delta", "2"], "delta must lie in (0, 1), got 2"),
        (
            ["gap", "{runs}", "--where", "fpr>0"],
            "no clean arm by --clean fpr=0,fnr=0, since no row satisfies it (fpr is 0.3; fnr is 0)",
        ),
        (["gap", "{folder}"], "a folder with no runs"),
        (["import", "{runs}", "--out", "x.xlsx"], ".csv or .parquet"),
        (["fit", "nowhere.csv"], "nowhere.csv: no such file"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_two(
    runs: Path, tmp_path: Path, command: list[str], part: str
) -> None:
    line = refused(*(text.format(runs=runs, folder=tmp_path) for text in command))
    assert part in line


def test_the_human_view_is_readable_at_eighty_columns(runs: Path) -> None:
    for command in ("fit", "gap"):
        done = verigap(command, runs)
        assert done.code == 0
        assert max(map(len, done.out.splitlines())) <= 80
        assert "fp" in done.out


@pytest.mark.parametrize("command", ["fit", "gap"])
def test_an_output_never_overwrites_what_is_read(command: str, tmp_path: Path) -> None:
    """`--figure runs.png` writes its data to runs.csv: the natural call must not cost the table."""
    table = tmp_path / "runs.csv"
    matched_runs(seeds=2).to_csv(table, index=False)
    before = table.read_bytes()
    for runs in (table, tmp_path):
        assert "is read by this command" in refused(
            command, runs, "--figure", tmp_path / "runs.png"
        )
        assert "is read by this command" in refused(command, runs, "--out", table)
    both = refused(command, table, "--figure", tmp_path / "f.png", "--out", tmp_path / "f.csv")
    assert "both --out and --figure" in both
    assert "is read by this command" in refused("import", table, "--out", table)
    assert table.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["runs.csv"]
