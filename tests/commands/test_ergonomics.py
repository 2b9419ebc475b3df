"""What makes a command line bearable: whole words on narrow terminals, nothing written over, names in messages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import empirical
from tests.commands.command import refused

SMOKE = Path(empirical.__file__).parent / "studies" / "trained" / "cpu-smoke.yaml"
RUNS = "run_id,arm,step,fpr,fnr,seed,accuracy\n" + "".join(
    f"{arm}{seed},{arm},{step},{rate},{rate},{seed},{0.2 + 0.01 * step + 0.02 * seed}\n"
    for arm, rate in (("clean", 0), ("noisy", 0.2))
    for seed in (0, 1)
    for step in (0, 10, 20, 30)
)


def verigap(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "verigap", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    path = tmp_path / "runs.csv"
    path.write_text(RUNS)
    return path


DRIFT = ("drift", "--pass-rate", "0.3", "--fpr", "0.1", "--fnr", "0.2", "--group-size", "8")
PLAN = ("train", SMOKE, "--dry-run")


@pytest.mark.parametrize("command", [DRIFT, PLAN], ids=["drift", "train"])
@pytest.mark.parametrize("columns", ["60", "40"])
def test_a_narrow_terminal_splits_no_word_and_no_number(
    command: tuple[object, ...], columns: str
) -> None:
    def words(width: str) -> set[str]:
        text = verigap(*command, COLUMNS=width).stdout
        return {word.strip(":,") for word in re.split(r"[\s\u2500-\u257f]+", text)} - {""}

    assert words("200") <= words(columns)


def test_an_output_is_not_written_over_without_being_told(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("mine")
    assert "out.csv: is there already; --force" in refused("import", runs, "--out", out)
    assert out.read_text() == "mine"
    done = verigap("import", runs, "--out", out, "--force")
    assert done.returncode == 0
    assert out.read_text().startswith("run_id,")
    # What is read is not written over even so.
    assert "is read by this command" in refused("import", runs, "--out", runs, "--force")


def test_what_is_not_found_is_named_beside_what_is(runs: Path) -> None:
    for options, there in (
        (("--group", "nosuch"), "there are: run_id, arm, step"),
        (("--x", "flops"), "there are: run_id, arm, step"),
        (("--where", "arm=nobody"), "arm is clean or noisy"),
        (("--where", "nosuch=1"), "there are: run_id, arm"),
        (("--map", "accuracy=acc"), "there are: run_id, arm"),
    ):
        assert there in refused("fit", runs, *options)


def test_a_joint_law_that_the_design_cannot_carry_is_refused(runs: Path) -> None:
    done = verigap("fit", runs, "--law", "quadratic", "--x", "step")
    assert done.returncode == 2
    assert "--law quadratic is refused" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_completion_is_there_for_the_shell() -> None:
    done = verigap("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0
    assert "complete" in done.stdout
    asked = {"_VERIGAP_COMPLETE": "complete_bash", "COMP_WORDS": "verigap im", "COMP_CWORD": "1"}
    found = subprocess.run(
        [Path(sys.executable).with_name("verigap")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **asked},
    )
    assert "import" in found.stdout


def test_the_figure_of_gap_takes_arms_and_a_size(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(RUNS.replace(",0.2,0.2,", ",0.2,0,"))
    asked = ("gap", path, "--x", "step", "--figure")
    assert "must be WIDTHxHEIGHT" in refused(*asked, tmp_path / "a.png", "--figure-size", "7")
    assert "no arm 'nobody' to draw" in refused(*asked, tmp_path / "a.png", "--arms", "nobody")
    assert not (tmp_path / "a.png").exists()
    done = verigap(*asked, tmp_path / "b.png", "--arms", "noisy", "--figure-size", "5x3")
    assert done.returncode == 0, done.stderr
    assert "in favour of" not in done.stdout
