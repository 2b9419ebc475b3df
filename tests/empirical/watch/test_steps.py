"""Logs of every kind as steps; labels; a run looked at again and again."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from empirical.watch.alarms import Declared
from empirical.watch.labels import Unit
from empirical.watch.monitor import Monitor, Settings, summary_line
from empirical.watch.steps import LOG, Run, Step, read_labels, read_run, refuse_impossible
from fits.errors import InputError
from tests.fits.test_logs import offline
from tests.watched import callback_lines, ours, training_row


def test_a_run_folder_of_ours(tmp_path: Path) -> None:
    run = read_run(ours(tmp_path / "a", steps=5, fpr=0.1, done=False), labels=4)
    assert (run.format, run.total, run.group_size, run.done) == ("run", 9, 8, False)
    assert run.declared == Declared(0.1, 0.0)
    assert [step.step for step in run.steps] == [1, 2, 3, 4, 5]
    first = run.steps[0]
    assert (first.rollouts, first.paid, first.reward) == (64, 32, 0.5)
    assert first.zero_advantage == 0.25
    assert first.groups == (0.125, 0.75, 0.125)
    assert sum(unit.labels for unit in first.units) == 4
    assert run.evaluations == ((0, 0.25),)
    again = read_run(tmp_path / "a", labels=4)
    assert again.steps == run.steps
    assert read_run(tmp_path / "a", labels=0).steps[0].units == ()


def test_what_labels_are_drawn_does_not_hang_on_the_other_steps(tmp_path: Path) -> None:
    short = read_run(ours(tmp_path / "a", steps=3, fpr=0.1)).steps
    long = read_run(ours(tmp_path / "b", steps=6, fpr=0.1)).steps
    assert long[:3] == short


def test_drawn_labels_are_the_counts_on_average(tmp_path: Path) -> None:
    folder = ours(tmp_path / "a", steps=1, fpr=0.1)
    units = [u for seed in range(300) for u in read_run(folder, labels=8, seed=seed).steps[0].units]
    shares = np.mean([unit.shares for unit in units], axis=0)
    assert shares == pytest.approx([8 / 64, 40 / 64, 0.0], abs=0.04)


def test_a_step_told_again_counts_once(tmp_path: Path) -> None:
    folder = ours(tmp_path / "a", steps=4, fpr=0.1)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(training_row(3, paid_wrong=40)) + "\n")
        file.write(json.dumps(training_row(5)) + "\n")
    run = read_run(folder)
    assert [step.step for step in run.steps] == [1, 2, 3, 4, 5]
    assert run.steps[2].reward == 0.5


def test_the_callbacks_log_begins_anew_with_another_run(tmp_path: Path) -> None:
    log = tmp_path / LOG
    log.write_text(callback_lines(4, run="first") + callback_lines(2, run="second"))
    run = read_run(tmp_path)
    assert run.identity == "second"
    assert [(step.step, step.rollouts, step.paid) for step in run.steps] == [
        (1, 64, 32),
        (2, 64, 32),
    ]
    assert run.notes == ("1 earlier runs in this file are set aside",)
    log.write_text(
        callback_lines(4, run="a") + callback_lines(6, run="a", resumed=True, first=3, end=True)
    )
    run = read_run(tmp_path)
    assert [step.step for step in run.steps] == [1, 2, 3, 4, 5, 6]
    assert run.done


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    whole = callback_lines(3)
    (tmp_path / LOG).write_text(whole[:-20])
    run = read_run(tmp_path)
    assert len(run.steps) == 2
    assert "being written" in run.notes[0]


@pytest.mark.parametrize("line", ["no json\n", "{}\n", "[]\n", '{"kind": "step"}\n'])
def test_a_damaged_callbacks_log_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / LOG).write_text(callback_lines(1) + line)
    with pytest.raises(InputError, match="line 3"):
        read_run(tmp_path)


def trl_rows(steps: int) -> list[dict[str, Any]]:
    """What TRL logs to W&B with our reward function, and an evaluation."""
    rows: list[dict[str, Any]] = [
        {
            "train/global_step": step,
            "train/reward": 0.5,
            "train/frac_reward_zero_std": 0.25,
            "train/step_time": 2.0,
            "train/verifier/rollouts": 64.0,
            "train/verifier/right": 24.0,
            "train/verifier/paid_wrong": 8.0,
            "train/verifier/unpaid_right": 0.0,
            "_step": step,
        }
        for step in range(1, steps + 1)
    ]
    return [*rows, {"train/global_step": steps, "eval/accuracy": 0.4, "_step": steps + 1}]


def test_an_offline_run_of_wandb(tmp_path: Path) -> None:
    offline(tmp_path / "run-x.wandb", trl_rows(3), num_generations=8, max_steps=10, fpr=0.1)
    run = read_run(tmp_path)
    assert (run.format, run.group_size, run.total) == ("wandb", 8, 10)
    assert run.declared.fpr == 0.1
    assert [(s.step, s.reward, s.zero_advantage, s.seconds) for s in run.steps] == [
        (step, 0.5, 0.25, 2.0) for step in (1, 2, 3)
    ]
    assert all(len(step.units) == 8 for step in run.steps)
    assert run.evaluations == ((3, 0.4),)
    # Its counts are means over processes: a person may label more.
    refuse_impossible({1: (Unit(0, 0, 0, 1),) * 99}, run, source=tmp_path)


def trackio(path: Path, **runs: int) -> Path:
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE metrics (id INTEGER PRIMARY KEY, timestamp TEXT, run_name TEXT, step INTEGER, metrics TEXT)"
        )
        for name, steps in runs.items():
            for step in range(1, steps + 1):
                values = {"train/reward": 0.5, "train/frac_reward_zero_std": 0.1}
                connection.execute(
                    "INSERT INTO metrics (timestamp, run_name, step, metrics) VALUES (?, ?, ?, ?)",
                    ["2026", name, step, json.dumps(values)],
                )
    connection.close()
    return path


def test_a_database_of_trackios_and_its_runs(tmp_path: Path) -> None:
    path = trackio(tmp_path / "project.db", one=2, two=3)
    with pytest.raises(InputError, match="2 runs; one is watched: name it with --run: one, two"):
        read_run(path)
    run = read_run(tmp_path, run="two")
    assert [step.step for step in run.steps] == [1, 2, 3]
    assert run.labels_by == ""
    with pytest.raises(InputError, match="no run is called 'three'; there are: one, two"):
        read_run(path, run="three")


def test_a_trainer_state(tmp_path: Path) -> None:
    state = {
        "max_steps": 20,
        "log_history": [
            {"step": 1, "reward": 0.5, "frac_reward_zero_std": 0.0},
            {"step": 2, "reward": 3.5, "frac_reward_zero_std": 0.5},
        ],
    }
    for checkpoint in (10, 9):
        (tmp_path / f"checkpoint-{checkpoint}").mkdir()
        (tmp_path / f"checkpoint-{checkpoint}/trainer_state.json").write_text(json.dumps(state))
    run = read_run(tmp_path)
    assert (run.format, run.total) == ("trl", 20)
    assert [step.reward for step in run.steps] == [0.5, None]
    assert "reward 3.5 at step 2" in run.notes[0]


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        read_run(tmp_path / "absent")
    with pytest.raises(InputError, match="no log of a run to watch"):
        read_run(tmp_path)
    (tmp_path / "a.csv").write_text("x\n1\n")
    with pytest.raises(InputError, match="no log of a run to watch"):
        read_run(tmp_path / "a.csv")
    ours(tmp_path / "one", steps=1)
    assert read_run(tmp_path).name == "one"
    ours(tmp_path / "two", steps=1)
    with pytest.raises(InputError, match="holds 2 runs"):
        read_run(tmp_path)
    assert read_run(tmp_path, run="two").name == "two"


# --- labels ----------------------------------------------------------------------------------------------


def test_a_persons_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("step,prompt,verdict,truth\n1,a,1,0\n1,a,0,false\n1,b,1,1\n2,a,0,\n3,a,0,yes\n")
    by_step = {1: (Unit(1, 2, 0, 2), Unit(0, 0, 0, 1)), 3: (Unit(0, 0, 1, 1),)}
    assert read_labels(path) == (by_step, ())
    lines = tmp_path / "labels.jsonl"
    lines.write_text(
        '{"step": 1, "paid": true, "right": false}\n{"step": 1, "paid": 1, "right": 0}\n'
    )
    assert read_labels(lines) == ({1: (Unit(1, 1, 0, 1), Unit(1, 1, 0, 1))}, ())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("step,paid\n1,1\n", "labels need a column right or truth or label; there are: step, paid"),
        ("step,paid,right\n1,1,maybe\n", "'maybe' is neither 1 nor 0"),
        ("step,paid,right\n1,.5,1\n", "neither 1 nor 0"),
        ("step,paid,right\nlast,1,1\n", "'last' is no step"),
        ("step,paid,right\n1.5,1,1\n", "'1.5' is no step"),
    ],
)
def test_labels_that_are_none(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_labels(path)


# --- look after look ---------------------------------------------------------------------------------------


def steps_of(count: int, fpr: float = 0.9) -> tuple[Step, ...]:
    rng = np.random.default_rng(0)
    return tuple(
        Step(step, rollouts=64, reward=0.6, seconds=2.0, units=tuple(_units(rng, fpr)))
        for step in range(1, count + 1)
    )


def _units(rng: np.random.Generator, fpr: float) -> list[Unit]:
    wrong = rng.random(8) < 0.5
    return [Unit(int(w and rng.random() < fpr), int(w), 0, 1) for w in wrong]


def test_looking_often_is_looking_once() -> None:
    steps = steps_of(60, 0.3)
    once, often = (Monitor(Settings(declared=Declared(0.1, 0.0))) for _ in range(2))
    for upto in (1, 2, 30, 30, 60):
        often.follow(Run("r", "r", "run", steps[:upto]))
    once.follow(Run("r", "r", "run", steps))
    run = Run("r", "r", "run", steps, total=100, group_size=8)
    assert often.status(run) == once.status(run)
    assert once.status(run).labels == 480
    assert once.status(run).seconds_left == 80.0


def test_another_run_in_the_same_place_begins_anew() -> None:
    monitor = Monitor(Settings(declared=Declared(0.1, 0.0)))
    monitor.follow(Run("r", "first", "run", steps_of(60)))
    assert monitor.status(Run("r", "first", "run", ())).alarm
    second = Run("r", "second", "run", steps_of(3, 0.1))
    monitor.follow(second)
    seen = monitor.status(second)
    assert (seen.step, seen.labels, seen.alarm) == (3, 24, False)
    assert "another run began" in seen.notes[0]


def test_labels_that_come_late_are_left_out_and_said() -> None:
    monitor = Monitor()
    run = Run("r", "r", "run", tuple(Step(n, reward=0.5) for n in range(1, 10)))
    one = Unit(1, 1, 0, 1)
    monitor.follow(run, {2: (one,), 4: (one,)})
    assert monitor.status(run).step == 4  # later steps wait for their labels
    monitor.follow(run, {2: (one,), 3: (one, one), 4: (one,), 6: (one,)})
    seen = monitor.status(run, labels_by="a person")
    assert (seen.step, seen.labels) == (6, 3)
    assert "2 labels of steps already passed" in seen.notes[0]


def test_without_labels_it_says_what_cannot_be_known() -> None:
    monitor = Monitor()
    run = Run("r", "r", "wandb", tuple(Step(n, reward=n / 10) for n in range(1, 10)))
    monitor.follow(run)
    seen = monitor.status(run)
    assert not seen.alarm
    assert not any(alarm.can for alarm in seen.alarms)
    assert "three unknowns" in seen.unknown[0]
    assert (seen.fpr, seen.accuracy, seen.effective_rollouts, seen.fpr_reached) == (None,) * 4
    assert "no labels, no alarms" in summary_line(seen)


def test_rates_and_their_worth() -> None:
    monitor = Monitor(Settings(group_size=8))
    units = (Unit(1, 1, 0, 1), *(Unit(0, 1, 0, 1),) * 3, *(Unit(0, 0, 0, 1),) * 4)
    run = Run("r", "r", "run", tuple(Step(n, reward=0.6, units=units) for n in range(1, 41)))
    monitor.follow(run)
    seen = monitor.status(run)
    assert (seen.fpr, seen.fnr, seen.accuracy) == (0.25, 0.0, 0.5)
    assert seen.effective_rollouts == pytest.approx(1 + 0.75**2 * 0.25 / (0.625 * 0.375) * 7)
    low, high = seen.effective_rollouts_ci
    assert low < seen.effective_rollouts < high <= 8.0
    assert seen.snr > 0.0
    assert sum(block.labels for block in seen.course) == 320
    assert (seen.course[0].first, seen.course[-1].last) == (1, 40)
    clean = Monitor(Settings(group_size=8))
    empty = Run("r", "r", "run", ())
    clean.follow(empty)
    assert "no step is logged yet" in clean.status(empty).unknown[0]
