"""VerigapCallback in TRL's trainer: the script of the how-to as it stands, a resumed run, and what it refuses."""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from empirical.errors import StudyError
from empirical.watch.completions import Reference
from empirical.watch.steps import LOG, STOP, read_run
from fits.errors import InputError
from tests.builders import ROOT
from tests.commands.command import refused, verigap
from tests.watched import sums

pytestmark = [
    pytest.mark.train,
    pytest.mark.skipif(find_spec("trl") is None, reason="needs the train extra"),
    pytest.mark.filterwarnings("ignore"),
]

SCRIPT = re.search(
    r"```python\n(.*?)```", (ROOT / "docs/how-to/watch.md").read_text(encoding="utf-8"), re.DOTALL
)[1]  # type: ignore[index]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A model and problems. Training collects garbage, and what is loaded is none; other tests have the other cores."""
    import torch

    folder = sums(tmp_path_factory.mktemp("script"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()
    yield folder
    gc.unfreeze()
    torch.set_num_threads(threads)


def trainer_of(folder: Path, watch: Any, reward: Any = None, **settings: Any) -> Any:
    from datasets import load_dataset
    from trl import GRPOConfig, GRPOTrainer

    def pays(completions: list[str], gold: list[int], log_extra: Any, **_: Any) -> list[float]:
        log_extra("gold", gold)
        return [float(str(g)[0] in text) for text, g in zip(completions, gold, strict=True)]

    given = {"max_steps": 3, "max_completion_length": 4, "use_cpu": True, "bf16": False}
    args = GRPOConfig(
        str(folder / "run"), report_to="none", disable_tqdm=True, **(given | settings)
    )
    problems = load_dataset("json", data_files=str(folder / "problems.jsonl"), split="train")
    return GRPOTrainer(
        str(folder / "model"), reward or pays, args, train_dataset=problems, callbacks=[watch]
    )


def test_the_script_of_the_how_to_runs_as_it_stands(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        line for line in SCRIPT.splitlines() if line and not line.startswith(("from", "def", "  "))
    ]
    assert len(lines) <= 10
    monkeypatch.chdir(made)
    names: dict[str, Any] = {}
    exec(compile(SCRIPT, "docs/how-to/watch.md", "exec"), names)
    # Nearly every answer of a random model is wrong, and many hold a digit of the right one.
    watched = names["watch"].watched
    assert watched.alarm
    assert {alarm.name for alarm in watched.alarms if alarm.on} == {"declared"}
    assert names["trainer"].state.global_step == watched.step < 20
    assert "declared rates" in capsys.readouterr().out
    run = read_run(made / "run")
    assert (run.done, run.labels_by, run.group_size) == (True, "number, 8 a step", 8)
    assert [len(step.units) for step in run.steps] == [1] * watched.step  # one prompt a step
    assert all(step.units[0].labels == 8 for step in run.steps)
    seen = verigap("watch", made / "run", "--once", "--json")
    assert seen.code == 1
    assert seen.document["labels"] == watched.labels
    assert seen.document["reward"] == pytest.approx(watched.reward)


def test_watching_changes_no_weight_and_costs_no_step(made: Path, tmp_path: Path) -> None:
    import torch

    from empirical.training.callbacks import VerigapCallback

    weights = []
    for watch in (VerigapCallback("number"), VerigapCallback()):
        trainer = trainer_of(made, watch, learning_rate=1e-2, log_completions=True, logging_steps=1)
        trainer.args.output_dir = str(tmp_path / str(len(weights)))
        (tmp_path / str(len(weights)) / "completions").mkdir(parents=True)
        trainer.train()
        weights.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))
        assert watch.overhead < 0.5 * 3
    assert torch.equal(*weights)
    assert not any(alarm.can for alarm in watch.watched.alarms)

    # What TRL saved says the same as the callback, of all eight rollouts of a step, once a reference has judged it.
    within = read_run(tmp_path / "0").steps
    (tmp_path / "1" / LOG).unlink()
    outside = read_run(tmp_path / "1")
    assert (outside.format, outside.group_size) == ("completions", 8)
    assert [(s.step, s.rollouts, s.reward, s.groups, s.zero_advantage) for s in outside.steps] == [
        (s.step, s.rollouts, s.reward, s.groups, s.zero_advantage) for s in within
    ]
    for folder in (tmp_path / "0", tmp_path / "1"):  # with the callback's log, and without
        labelled = Reference("number").label(folder)
        assert [labelled[step.step] for step in within] == [step.units for step in within]
        seen = verigap("watch", folder, "--once", "--json", "--reference", "number", "--fpr", 0)
        assert seen.document["labels"] == 24
        assert seen.document["labels_by"] == "number, 8 a step"
        assert {one["name"]: one["can"] for one in seen.document["alarms"]}["declared"]
    said = refused("watch", tmp_path / "1", "--reference", "number", "--gold", "answer")
    assert "or the right answer's with --gold (there is no 'answer'): pays, gold" in said


def test_a_resumed_run_goes_on_from_its_log(made: Path, tmp_path: Path) -> None:
    from empirical.training.callbacks import VerigapCallback

    out = {"save_steps": 2, "save_strategy": "steps"}
    first = trainer_of(made, VerigapCallback("number"), max_steps=2, **out)
    first.args.output_dir = str(tmp_path)
    first.train()
    before = read_run(tmp_path)
    again = VerigapCallback("number")
    second = trainer_of(made, again, max_steps=4, **out)
    second.args.output_dir = str(tmp_path)
    (tmp_path / STOP).write_text("by hand")
    second.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    run = read_run(tmp_path)
    assert run.identity == before.identity
    assert [step.step for step in run.steps] == [1, 2, 3]  # STOP ended it after its first step
    assert again.watched.labels == 24
    assert len((tmp_path / LOG).read_text().splitlines()) == 3 + 3 + 1


TWO = """
import sys
from pathlib import Path
from datasets import load_dataset
from trl import GRPOConfig, GRPOTrainer
from verigap import VerigapCallback

folder, out = map(Path, sys.argv[1:])

def pays(completions, gold, **_):
    return [float(any(digit in text for digit in str(g))) for text, g in zip(completions, gold)]

problems = load_dataset("json", data_files=str(folder / "problems.jsonl"), split="train")
watch = VerigapCallback("number", labels=8, fpr=0.05, stop=True)
args = GRPOConfig(
    str(out), max_steps=20, max_completion_length=4, per_device_train_batch_size=4, use_cpu=True, bf16=False,
    report_to="none", disable_tqdm=True,
)
trainer = GRPOTrainer(str(folder / "model"), pays, args, train_dataset=problems, callbacks=[watch])
trainer.train()
rank = trainer.accelerator.process_index
(out / f"rank-{rank}").write_text(f"{trainer.accelerator.num_processes} {trainer.state.global_step}")
"""


@pytest.mark.slow
def test_of_two_processes_one_writes_each_label_counts_once_and_both_stop(
    made: Path, tmp_path: Path
) -> None:
    (tmp_path / "two.py").write_text(TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, tmp_path / "two.py", made, tmp_path / "out"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    run = read_run(tmp_path / "out")
    assert run.done
    steps = [step.step for step in run.steps]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) < 20
    told = [(tmp_path / f"out/rank-{rank}").read_text() for rank in (0, 1)]
    assert told == [f"2 {len(steps)}"] * 2
    lines = [json.loads(line) for line in (tmp_path / "out" / LOG).read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["begin", *["step"] * len(steps), "end"]
    # One prompt's eight rollouts are of two processes, and it is one prompt.
    assert {step.rollouts for step in run.steps} == {8}
    assert [[unit.labels for unit in step.units] for step in run.steps] == [[8]] * len(steps)


def test_a_process_that_writes_nothing_stops_with_the_one_that_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import accelerate.utils
    from transformers import TrainerControl

    from empirical.training.callbacks import VerigapCallback

    watch = VerigapCallback("number", labels=3)
    watch._path = tmp_path / LOG
    watch._trainer = SimpleNamespace(
        accelerator=SimpleNamespace(num_processes=2, process_index=1),
        num_generations=8,
        state=SimpleNamespace(global_step=0),
    )
    given = {"completions": ["4"] * 4, "gold": [5] * 4}
    for _ in range(2):  # two batches of a step, each dealt out to both: prompts 0 and 1
        watch._look([1.0] * 4, given)
    assert [prompt for _, prompt in watch._seen] == [0] * 4 + [1] * 4
    assert len(watch._labels) == 2  # of three a batch the other process has two
    monkeypatch.setattr(accelerate.utils, "gather_object", lambda own: own)
    control, state = TrainerControl(), SimpleNamespace(is_world_process_zero=False)
    for theirs in (False, True):
        monkeypatch.setattr(accelerate.utils, "broadcast_object_list", lambda _, t=theirs: [t])
        watch.on_step_end(None, state, control)  # pyright: ignore[reportArgumentType]
        assert control.should_training_stop is theirs
    assert not (tmp_path / LOG).exists()
    assert (watch._seen, watch._offered) == ([], 0)


def test_an_alarm_is_said_once(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    from empirical.training.callbacks import VerigapCallback

    watch = VerigapCallback("number", fpr=0.0)
    watch._path = tmp_path / LOG
    labels = [[p, 1, 0] for p in range(8)]
    row = {"kind": "step", "rollouts": 64, "reward": 1.0, "groups": [0, 0, 1], "seconds": 1.0}
    with caplog.at_level(logging.WARNING):
        for step in range(1, 6):
            watch._weigh({**row, "step": step, "zero_advantage": 1.0, "labels": labels})
    said = [record.message for record in caplog.records if "ALARM" in record.message]
    assert len(said) == 1
    assert "left its declared rates" in said[0]


def test_what_it_refuses(made: Path) -> None:
    from empirical.training.callbacks import VerigapCallback

    with pytest.raises(StudyError, match="labels must be at least 1"):
        VerigapCallback("number", labels=0)
    with pytest.raises(InputError, match="no verifier 'nubmer'"):
        VerigapCallback("nubmer")
    with pytest.raises(StudyError, match="no column 'answer' with the right answer"):
        trainer_of(made, VerigapCallback("number", gold="answer")).train()
    with pytest.raises(StudyError, match="the reference returned 'yes'"):
        trainer_of(made, VerigapCallback(lambda completion, gold: "yes")).train()

    def one(completions: list[str], **_: Any) -> list[float]:
        return [1.0] * len(completions)

    def two(completions: list[str], **_: Any) -> list[float]:
        return [0.0] * len(completions)

    async def waits(completions: list[str], **_: Any) -> list[float]:
        return [0.0] * len(completions)

    with pytest.raises(StudyError, match="several reward functions: name the one that verifies"):
        trainer_of(made, VerigapCallback(), [one, two]).train()
    with pytest.raises(StudyError, match="no reward function is called 'three'"):
        trainer_of(made, VerigapCallback(reward="three"), [one, two]).train()
    with pytest.raises(StudyError, match="asynchronous"):
        trainer_of(made, VerigapCallback(), waits).train()
    watch = VerigapCallback("number", reward="one")
    trainer_of(made, watch, [two, one], max_steps=1).train()
    assert watch.watched.reward == 1.0
