"""What every command that reads RUNS shares, as a shell sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import matched_runs
from tests.commands.command import document, refused, verigap


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "runs.csv"
    matched_runs(seeds=3).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("loss", ["least-squares", "huber", "binomial", "beta-binomial"])
def test_fit_and_gap_take_the_same_losses_and_say_which(runs: Path, loss: str) -> None:
    fitted = document("fit", runs, "--law", "sigmoid", "--loss", loss)
    assert fitted["loss"] == loss
    assert all(one["loss"].startswith(loss) for one in fitted["curves"])
    assert document("gap", runs, "--law", "sigmoid", "--loss", loss)["loss"] == loss
    assert document("fit", runs, "--law", "margin-logit", "--loss", loss)["loss"] == loss


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
