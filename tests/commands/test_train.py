"""`verigap train` and `verigap doctor` from outside: exit codes, one JSON document, one line on mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import empirical
from empirical import extras
from empirical.errors import StudyError
from empirical.studies import Study, read_study, unpinned
from empirical.training import launch
from tests.builders import minimal

STUDIES = Path(empirical.__file__).parent / "studies" / "trained"


def verigap(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "verigap", *arguments], capture_output=True, text=True, check=False
    )


def test_a_dry_run_prints_one_json_document():
    done = verigap("train", str(STUDIES / "qwen2.5-gsm8k-paper.yaml"), "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    cost = json.loads(done.stdout)
    assert cost["runs"] == 150
    assert {"total_rollouts", "total_flops", "gpu_hours", "disk_gb", "memory_gb"} <= set(cost)


def test_what_the_hub_serves_today_is_named(tmp_path: Path):
    study = STUDIES / "qwen2.5-gsm8k-paper.yaml"
    wanted = read_study(study)
    said = "no revision is named, so it is what the Hub serves today; env.json says which commit"
    names = [f"model {model.path}" for model in wanted.models] + ["data set openai/gsm8k"]
    done = verigap("train", str(study), "--dry-run", "--json")
    assert done.stderr.splitlines() == [f"{name}: {said}" for name in names]
    pinned = [model.model_copy(update={"revision": "a" * 40}) for model in wanted.models]
    local = wanted.task.model_copy(update={"source": str(tmp_path)})
    assert unpinned(pinned, local) == []


def test_a_part_without_runs_says_so():
    done = verigap(
        "train", str(STUDIES / "cpu-smoke.yaml"), "--shard", "9/9", "--dry-run", "--json"
    )
    assert (done.returncode, json.loads(done.stdout)["runs"]) == (0, 0)
    assert done.stderr == "--shard 9/9: no run falls to this part\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["absent.yaml"], "absent.yaml: no such file"),
        ([str(STUDIES)], "is a folder"),
        ([str(STUDIES / "cpu-smoke.yaml"), "--only", "x"], "--only x: no such run"),
        ([str(STUDIES / "cpu-smoke.yaml"), "--shard", "3"], "--shard 3: must be i/n"),
        ([str(STUDIES / "cpu-smoke.yaml"), "--shard", "0/2"], "--shard 0/2"),
        ([str(STUDIES / "cpu-smoke.yaml"), "--shard", "²/3"], "--shard ²/3: must be i/n"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], expected: str):
    done = verigap("train", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert expected in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_rate_out_of_range_is_named(tmp_path: Path):
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(minimal(arms={"noisy": {"fpr": 1.2}})))
    done = verigap("train", str(path), "--json")
    assert (done.returncode, done.stdout) == (2, "")
    for part in ("bad.yaml", "arms.noisy.fpr", "1.2"):
        assert part in done.stderr


def test_doctor_says_what_this_machine_can_do():
    done = verigap("doctor", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["machine"]["cores"] >= 1
    assert all(check["reason"] for check in report["checks"])


def test_planning_loads_no_torch():
    code = (
        "import sys, empirical.training.accounting, empirical.machine, empirical.training.launch, empirical.collect\n"
        "import empirical.studies, empirical.training.tasks\n"
        "assert not {'torch', 'transformers', 'trl', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_train_extra_training_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "trl" else object())
    study = Study.model_validate(minimal())
    with pytest.raises(StudyError, match="needs trl, absent here: install the 'train' extra"):
        launch.launch(study, study.runs(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_is_a_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(extras, "find_spec", lambda name: object())
    (tmp_path / "file").touch()
    study = Study.model_validate(minimal())
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StudyError, match=r"file.*: cannot be made a folder"):
            launch.launch(study, [], out)


PRETRAINED = {"kind": "pretrained", "name": "q", "path": "x", "parameters": 1e9}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"training": {"steps": 10, "learning_rate": 1e-5, "vllm": {"mode": "colocate"}}},
            "needs vllm, absent here: pip install vllm",
        ),
        ({"models": [PRETRAINED | {"dtype": "bfloat16"}]}, "bfloat16 needs a GPU"),
        ({"models": [PRETRAINED | {"lora": {}}]}, "needs peft"),
        ({"running": {"gpus_per_run": 4}}, "asks for 4 GPUs, 0 are here"),
        ({"running": {"report_to": ["wandb"]}}, "needs wandb, absent here: pip install wandb"),
    ],
)
def test_what_a_machine_lacks_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], expected: str
):
    absent = {"vllm", "peft", "wandb"}
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name in absent else object())
    monkeypatch.setattr(launch, "gpus", list)
    study = Study.model_validate(minimal(**changes))
    with pytest.raises(StudyError, match=expected):
        launch.refuse_unless_able(study.runs(), study.running)


# --- a day with a study: edited, interrupted, listed, changed ------------------------------------------


def test_a_study_edited_interrupted_listed_and_gone_on_with(tmp_path: Path):
    path = tmp_path / "study.yaml"
    path.write_text(
        yaml.safe_dump(minimal(arms={"clean": {}, "fp": {"fpr": 0.2}}, group_sizes=[4]))
    )
    out = tmp_path / "out"
    base = ("train", str(path), "--out", str(out), "--set", "seeds=0-1")
    plan = json.loads(verigap(*base, "--dry-run", "--price", "2", "--json").stdout)
    assert (plan["runs"], plan["arms"], plan["complete"]) == (4, ["clean", "fp"], [])
    assert plan["money"] == pytest.approx(2 * plan["device_hours"])
    assert not out.exists()
    stopped = verigap(*base, "--max-minutes", "0", "--json")
    assert stopped.returncode == 3, stopped.stderr
    assert json.loads(stopped.stdout)["interrupted"] == 4
    assert f"4 of 4 runs are left; to go on: verigap train {path}" in stopped.stderr
    assert "--set seeds=0-1" in stopped.stderr
    listed = json.loads(verigap(*base, "--list", "--json").stdout)
    assert [run["state"] for run in listed["states"]] == ["waiting"] * 4
    assert listed["device_hours_left"] == pytest.approx(plan["device_hours"])
    # One run got somewhere, another was finished.
    first, second = (out / run["run_id"] for run in listed["states"][:2])
    (first / "metrics.jsonl").write_text('{"kind": "train", "step": 1}\n')
    rows = [{"kind": "eval", "step": step, "accuracy": 0.5} for step in (0, 10)]
    (second / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (second / "DONE").write_text("{}")
    listed = json.loads(verigap(*base, "--list", "--json").stdout)
    assert [run["state"] for run in listed["states"][:2]] == ["interrupted", "complete"]
    assert listed["complete"] == [second.name]
    assert listed["device_hours_left"] < plan["device_hours"]
    # The study changed: its runs do not join those of the old one.
    changed = verigap(*base, "--set", "training.learning_rate=.5", "--list")
    assert (changed.returncode, changed.stdout) == (2, "")
    assert "training.learning_rate" in changed.stderr
    assert "--out" in changed.stderr
    more = verigap(*base[:-1], "seeds=0-2", "--list", "--json")
    assert json.loads(more.stdout)["runs"] == 6


def test_runs_not_made_alike_are_named_wherever_they_are_read(tmp_path: Path):
    path = tmp_path / "runs.csv"
    head = "run_id,arm,fpr,seed,step,learning_rate,accuracy\n"
    rows = "a,clean,0,0,0,1e-5,.1\nb,clean,0,0,0,3e-5,.1\nc,fp,.2,0,0,1e-5,.1\n"
    path.write_text(head + rows)
    done = verigap("import", str(path), "--out", str(tmp_path / "o.csv"))
    assert "arm 'clean', seed 0: 2 runs (a, b), which differ in learning_rate" in done.stderr
    path.write_text(head + rows.replace("b,clean,0,0", "b,clean,0,1"))
    done = verigap("import", str(path), "--out", str(tmp_path / "p.csv"))
    assert "runs that are compared differ in learning_rate: 1e-05, 3e-05" in done.stderr
