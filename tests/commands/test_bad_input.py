"""A user's mistake gets one line that names file, row or field, exit code 2, and nothing on stdout."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.command import refused

GOOD = "run_id,step,rollouts,fpr,fnr,seed,accuracy\n"


def table(text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "runs.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return make


def binary(folder: Path) -> Path:
    path = folder / "runs.csv"
    path.write_bytes(bytes(range(256)) * 20)
    return path


def empty_folder(folder: Path) -> Path:
    path = folder / "runs"
    path.mkdir()
    return path


def absent(folder: Path) -> Path:
    return folder / "nowhere.csv"


BAD_RUNS = {
    "missing column": (table("run_id,step\na,0\n"), ("runs.csv", "accuracy")),
    "fpr out of range": (
        table(GOOD + "a,0,0,0.1,0,0,0.5\na,1,64,1.2,0,0,0.5\n"),
        ("runs.csv", "row 2", "fpr", "1.2"),
    ),
    "NaN accuracy": (
        table(GOOD + "a,0,0,0,0,0,0.5\na,1,64,0,0,0,NaN\n"),
        ("runs.csv", "row 2", "accuracy"),
    ),
    "not a number": (table(GOOD + "a,0,0,0,0,0,high\n"), ("runs.csv", "row 1", "accuracy", "high")),
    "empty file": (table(""), ("runs.csv", "empty")),
    "header only": (table(GOOD), ("runs.csv", "no rows")),
    "binary file": (binary, ("runs.csv",)),
    "folder without runs": (empty_folder, ("runs",)),
    "no such file": (absent, ("nowhere.csv", "no such file")),
}


@pytest.mark.parametrize("command", ["fit", "gap"])
@pytest.mark.parametrize("name", BAD_RUNS)
def test_bad_runs(command: str, name: str, tmp_path: Path) -> None:
    make, named = BAD_RUNS[name]
    line = refused(command, make(tmp_path), "--json")
    for part in named:
        assert part in line


SPEC = "arms:\n  clean:\n  fp: {fpr: %s}\n"
STUDY = """
name: s
task: {kind: two_step_arithmetic}
models: [{kind: tiny_qwen2, name: t}]
arms: {clean: {}, fp: {fpr: %s}}
group_sizes: [4]
seeds: [0]
training: {steps: 1, prompts_per_step: 2, learning_rate: 1.0e-5}
evaluation: {steps: [0, 1], samples: 8}
"""

BAD_YAML = {
    "a typo in a field": lambda text: text.replace("fpr:", "fprr:") % 0.1,
    "fpr = 1.2": lambda text: text % 1.2,
    "NaN": lambda text: text % ".nan",
    "broken YAML": lambda text: (text % 0.1) + "\nx: [1, 2",
    "empty": lambda _: "",
    "a list": lambda _: "- 1\n",
}
NAMED = {"a typo in a field": "fprr", "fpr = 1.2": "1.2", "NaN": "fpr", "broken YAML": "line"}


@pytest.mark.parametrize("command", ["simulate", "train"])
@pytest.mark.parametrize("name", BAD_YAML)
def test_bad_yaml(command: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(BAD_YAML[name](SPEC if command == "simulate" else STUDY), encoding="utf-8")
    extra = ("--out", tmp_path / "out") if command == "simulate" else ("--dry-run",)
    line = refused(command, path, *extra, "--json")
    assert "spec.yaml" in line
    assert NAMED.get(name, "") in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["simulate", "train"])
def test_a_folder_a_binary_file_or_nothing_instead_of_yaml(command: str, tmp_path: Path) -> None:
    noise = tmp_path / "noise.yaml"
    noise.write_bytes(bytes(range(256)))
    for path in (tmp_path, noise, tmp_path / "nowhere.yaml"):
        extra = ("--out", tmp_path / "out") if command == "simulate" else ("--dry-run",)
        assert str(path) in refused(command, path, *extra)


def test_an_output_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("keep me", encoding="utf-8")
    spec = tmp_path / "spec.yaml"
    spec.write_text("training: {steps: 1}\n" + SPEC % 0.1, encoding="utf-8")
    assert "taken" in refused("demo", "--out", taken)
    assert "taken" in refused("simulate", spec, "--out", taken)
    assert taken.read_text(encoding="utf-8") == "keep me"


RUNS = GOOD + "".join(
    f"{arm}{seed},{step},{step * 64},{fpr},0,{seed},{0.2 + 0.1 * step}\n"
    for arm, fpr in (("a", 0), ("b", 0.2))
    for seed in (0, 1)
    for step in (0, 1, 2)
)


@pytest.mark.parametrize("command", ["fit", "gap", "import"])
def test_an_output_that_cannot_be_is_refused_in_one_line(command: str, tmp_path: Path) -> None:
    path = table(RUNS)(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    for out in (tmp_path / "folder.csv", path / "x.csv", Path("/dev/null/x.csv")):
        assert str(out) in refused(command, path, "--out", out)


@pytest.mark.parametrize("command", ["fit", "gap"])
def test_a_group_of_nothing_or_of_nobody_is_refused(command: str, tmp_path: Path) -> None:
    path = table(RUNS)(tmp_path)
    assert "names no column" in refused(command, path, "--group", "")
    assert "runs.csv: --group nosuch" in refused(command, path, "--group", "nosuch")


def test_a_full_disk_behind_stdout_is_one_line(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with full.open("w") as out:
        done = subprocess.run(
            [sys.executable, "-m", "verigap", "drift", "--pass-rate", ".3"],
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2
    assert done.stderr == "verigap: output: No space left on device\n"


BAD_SPECS = {
    "fpr: yes": ("arms: {a: {fpr: yes}}", "arms.a.fpr"),
    "fpr: '0.3'": ("arms: {a: {fpr: '0.3'}}", "arms.a.fpr"),
    "steps: true": ("training: {steps: true}\narms: {a: {}}", "training.steps"),
    "seeds: [yes]": ("seeds: [yes]\narms: {a: {}}", "seeds.0"),
    "a key twice": ("arms: {a: {fpr: .1, fpr: .2}}", "line 1: not valid YAML: the key 'fpr'"),
    "beta1": ("training: {optimiser: adam, beta1: 1.0}\narms: {a: {}}", "training.beta1"),
    "adam_eps": ("training: {optimiser: adam, adam_eps: 0}\narms: {a: {}}", "adam_eps"),
    "steps": ("training: {steps: 1000000000000}\narms: {a: {}}", "training.steps"),
    "group_size": (f"training: {{group_size: {10**30}}}\narms: {{a: {{}}}}", "group_size"),
    "inner_epochs": ("training: {inner_epochs: 1000000}\narms: {a: {}}", "inner_epochs"),
    "n_eval": ("n_eval: 10000000000\narms: {a: {}}", "n_eval"),
    "right_modes": ("population: {right_modes: 1000000000}\narms: {a: {}}", "right_modes"),
    "pass_at": (f"pass_at: {'9' * 400}\narms: {{a: {{}}}}", "pass_at"),
    "drifting": (
        f"arms: {{a: {{noise: {{kind: drifting, end: {{}}, steps: {'9' * 400}}}}}}}",
        "drifting.steps",
    ),
    "deep": ("[" * 5000, "nested more than 64 levels deep"),
    "no feature": (
        "arms: {a: {noise: {kind: triggered, selected: {fpr: .5}}}}",
        "feature_share is above 0",
    ),
    "a selector": (
        "arms: {a: {noise: {kind: triggered, selector: {kind: length}, selected: {fpr: .5}}}}",
        "has no 'selector' where it is simulated",
    ),
    "rates beside": (
        "arms: {a: {fpr: .1, noise: {kind: triggered, selected: {fpr: .5}}}}",
        "write the rates elsewhere as its 'otherwise'",
    ),
    "nothing": ("arms: {}", "arms"),
    "no name": ("arms: {'': {}}", "arms"),
    "too easy": ("population: {difficulty: {location: 1000}}\narms: {a: {}}", "population"),
    "too hard": ("population: {difficulty: {location: -1000}}\narms: {a: {}}", "population"),
}


@pytest.mark.parametrize("name", BAD_SPECS)
def test_specs_that_mean_nothing_or_too_much(name: str, tmp_path: Path) -> None:
    text, part = BAD_SPECS[name]
    path = tmp_path / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    line = refused("simulate", path, "--out", tmp_path / "out")
    assert "spec.yaml" in line
    assert part in line
    assert len(line) < 400
    assert not (tmp_path / "out").exists()


def test_training_that_diverges_writes_no_table(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(
        "population: {prompts: 8}\ntraining: {steps: 5, optimiser: adam, learning_rate: 1.0e+308}\n"
        "arms: {a: {}}\nseeds: [0]\n",
        encoding="utf-8",
    )
    assert "diverged" in refused("simulate", path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fpr", ["yes", "'0.3'"])
def test_a_study_takes_no_words_for_numbers(fpr: str, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY % fpr, encoding="utf-8")
    assert "fpr" in refused("train", path, "--dry-run")
