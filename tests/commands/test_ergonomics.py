"""What makes a command line bearable: whole words on narrow terminals, nothing written over, names in messages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.builders import ROOT, SWEEP_SPEC
from tests.commands.command import refused, verigap

STUDIES = ROOT / "empirical/studies/trained"
SMOKE = ROOT / "empirical/results/cpu-smoke"
RUNS = "run_id,arm,step,fpr,fnr,seed,accuracy\n" + "".join(
    f"{arm}{seed},{arm},{step},{rate},{rate},{seed},{0.2 + 0.01 * step + 0.02 * seed}\n"
    for arm, rate in (("clean", 0), ("noisy", 0.2))
    for seed in (0, 1)
    for step in (0, 10, 20, 30)
)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    path = tmp_path / "runs.csv"
    path.write_text(RUNS)
    return path


COMMANDS: dict[str, tuple[object, ...]] = {
    "drift": ("--pass-rate", "0.3", "--fpr", "0.1", "--fnr", "0.2", "--group-size", "8"),
    "rest-points": ("--beta", "1", "--reference-pass-rate", "0.2", "--fpr", "0.1"),
    "phase": (
        "--fpr-grid",
        "0,0.2",
        "--fnr-grid",
        "0,0.2",
        "--group-size",
        "8",
        "--out",
        "{tmp}/{width}",
    ),
    "simulate": ("{tmp}/study.yaml", "--out", "{tmp}/{width}"),
    "import": ("{tmp}/runs.csv", "--out", "{tmp}/{width}.csv"),
    "fit": ("{tmp}/runs.csv", "--x", "step"),
    "gap": ("{tmp}/runs.csv", "--x", "step"),
    "validate": (SMOKE, "--calibrate-on", "arm=clean", "--out", "{tmp}/{width}.json"),
    "audit": ("{tmp}/labels.csv", "--truth", "truth", "--verdict", "verdict"),
    "plan": ("--pass-rate", "0.3", "--fpr", "0.1", "--fnr", "0.2", "--steps", "100"),
    "power": (STUDIES / "qwen2.5-gsm8k-powered.yaml",),
    "report": ("{tmp}/runs.csv", "--x", "step", "--out", "{tmp}/{width}.html"),
    "doctor": (),
    "train": (STUDIES / "cpu-smoke.yaml", "--dry-run"),
}


@pytest.mark.parametrize("command", list(COMMANDS))
def test_a_narrow_terminal_splits_no_word_and_no_number(
    command: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "labels.csv").write_text("truth,verdict\n" + "1,1\n1,0\n0,0\n0,1\n1,1\n" * 9)
    (tmp_path / "study.yaml").write_text(SWEEP_SPEC)

    def words(width: str, *arguments: object) -> set[str]:
        monkeypatch.setenv("COLUMNS", width)
        done = verigap(*(str(a).format(tmp=tmp_path, width=width) for a in arguments))
        assert done.code == 0, done.err
        # What it was asked to write, and how long it took, differ from one to the next.
        text = re.sub(r"\d+\.\d s\b", "", done.out.replace(str(tmp_path / width), "out"))
        return {word.strip(":,.;") for word in re.split(r"[\s\u2500-\u257f]+", text)} - {""}

    asked: list[tuple[object, ...]] = [(command, *COMMANDS[command])]
    if command == "validate":  # writes what predict reads
        rates = ("--fpr", "0.1", "--fnr", "0.2", "--group-size", "8", "--steps", "100")
        asked.append(("predict", "{tmp}/{width}.json", *rates))
    for arguments in asked:
        wide = words("200", *arguments)
        assert wide
        for width in ("60", "40"):
            assert wide <= words(width, *arguments)


def test_an_output_is_not_written_over_without_being_told(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("mine")
    assert "out.csv: is there already; --force" in refused("import", runs, "--out", out)
    assert out.read_text() == "mine"
    done = verigap("import", runs, "--out", out, "--force")
    assert done.code == 0
    assert out.read_text().startswith("run_id,")
    # What is read is not written over even so.
    assert "is read by this command" in refused("import", runs, "--out", runs, "--force")


@pytest.mark.parametrize("command", ["phase", "simulate"])
def test_a_folder_of_results_is_not_written_over_without_being_told(
    command: str, tmp_path: Path
) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(SWEEP_SPEC)
    asked = (study,) if command == "simulate" else ("--fpr-grid", "0,0.2", "--fnr-grid", "0,0.2")
    name = "runs.csv" if command == "simulate" else "phase.csv"
    out = tmp_path / "out"
    assert verigap(command, *asked, "--out", out).code == 0
    made = (out / name).read_bytes()
    (out / name).write_text("mine")
    assert f"{name}: is there already; --force" in refused(command, *asked, "--out", out)
    assert (out / name).read_text() == "mine"
    assert verigap(command, *asked, "--out", out, "--force").code == 0
    assert (out / name).read_bytes() == made


def test_the_demo_writes_nothing_over_without_being_told(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("mine")
    assert "report.html: is there already; --force" in refused("demo", "--out", tmp_path)


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
    assert done.code == 2
    assert "--law quadratic is refused" in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


def test_completion_is_there_for_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    done = verigap("--show-completion", "bash")
    assert done.code == 0
    assert "complete" in done.out
    monkeypatch.delenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION")
    asked = {"_VERIGAP_COMPLETE": "complete_bash", "COMP_WORDS": "verigap im", "COMP_CWORD": "1"}
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    assert "import" in verigap().out


def test_the_figure_of_gap_takes_arms_and_a_size(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(RUNS.replace(",0.2,0.2,", ",0.2,0,"))
    asked = ("gap", path, "--x", "step", "--figure")
    assert "must be WIDTHxHEIGHT" in refused(*asked, tmp_path / "a.png", "--figure-size", "7")
    assert "no arm 'nobody' to draw" in refused(*asked, tmp_path / "a.png", "--arms", "nobody")
    assert not (tmp_path / "a.png").exists()
    done = verigap(*asked, tmp_path / "b.png", "--arms", "noisy", "--figure-size", "5x3")
    assert done.code == 0, done.err
    assert "in favour of" not in done.out


def test_colours_do_not_take_a_table_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal with colours, or a notebook, was shown tables row by row: a colour was taken for letters."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm-256color")
    done = verigap("drift", "--pass-rate", "0.3")
    assert "\x1b[1m" in done.out
    assert "┏━━" in done.out
