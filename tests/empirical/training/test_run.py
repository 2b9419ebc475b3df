"""Matched runs, trained for real by TRL: what agrees bit for bit, and what survives a kill.

One process per run, as always; the runs are short and the model is hardly warm, since what is tested is
which numbers are equal, not what they are.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from empirical.errors import StudyError
from empirical.studies import RunSpec
from empirical.training.folder import CHECKPOINTS, RESUMABLE, TIMINGS, WEIGHTS, Row, RunFolder
from empirical.training.launch import Launch, launch, launch_on_ray
from tests.builders import TINY_STEPS as STEPS
from tests.builders import tiny_study as study

pytestmark = [
    pytest.mark.train,
    pytest.mark.skipif(find_spec("trl") is None, reason="needs the train extra"),
]

LABELS = ("run_id", "arm", "noise", "fpr", "fnr", *TIMINGS)


def comparable(rows: list[Row]) -> list[Row]:
    return [{k: v for k, v in row.items() if k not in LABELS} for row in rows]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, RunSpec]]:
    """The three arms, trained two at a time by the launcher."""
    out = tmp_path_factory.mktemp("study")
    runs = study().runs()
    outcome = launch(study(), runs, out)
    assert outcome.failed == {}
    assert len(outcome.done) == 3
    return out, {run.arm: run for run in runs}


def rows_of(out: Path, run: RunSpec) -> list[Row]:
    return RunFolder(out / run.run_id).rows()


def test_a_run_folder_tells_the_whole_story(trained: tuple[Path, dict[str, RunSpec]]):
    out, runs = trained
    folder = RunFolder(out / runs["noisy"].run_id)
    rows = folder.rows()
    assert [row["step"] for row in rows if row["kind"] == "train"] == list(range(1, STEPS + 1))
    for row in rows:
        if row["kind"] == "train":
            by_paid = row["groups_by_paid"]
            assert sum(by_paid) == sum(row["groups_by_right"])
            assert sum(k * n for k, n in enumerate(by_paid)) == 16 * row["observed_reward"]
            assert row["zero_advantage_fraction"] == (by_paid[0] + by_paid[-1]) / sum(by_paid)
    evaluations = [row for row in rows if row["kind"] == "eval"]
    assert [row["step"] for row in evaluations] == [0, 3, STEPS]
    assert [row["rollouts"] for row in evaluations] == [0, 3 * 16, STEPS * 16]
    assert all(row["n_eval"] == 64 for row in evaluations)
    for key, value in runs["noisy"].columns.items():
        assert all(row[key] == value for row in evaluations)
    environment = json.loads((folder.path / "env.json").read_text())
    assert environment["versions"]["trl"]
    assert environment["torch_threads"] == 1
    assert folder.done
    assert not (folder.path / CHECKPOINTS).exists()


def test_weights_are_kept_after_the_steps_asked_for(
    trained: tuple[Path, dict[str, RunSpec]],
) -> None:
    """The last are those the run ended with, and a tiny model is read from its folder."""
    from empirical.training.models import load_policy

    out, runs = trained
    folder = RunFolder(out / runs["noisy"].run_id)
    assert [path.name for path in sorted((folder.path / WEIGHTS).iterdir())] == [
        "step-000002",
        f"step-{STEPS:06d}",
    ]
    first, last = (
        load_policy(runs["noisy"].model, tiny=path).weights_sha256
        for path in sorted((folder.path / WEIGHTS).iterdir())
    )
    done = json.loads((folder.path / "DONE").read_text())
    assert last == done["final_weights_sha256"] != first


def test_two_zero_noise_arms_agree_bit_for_bit(trained: tuple[Path, dict[str, RunSpec]]):
    out, runs = trained
    clean, zero = (rows_of(out, runs[arm]) for arm in ("clean", "zero"))
    assert comparable(clean) == comparable(zero)
    finals = [
        json.loads((out / runs[arm].run_id / "DONE").read_text())["final_weights_sha256"]
        for arm in ("clean", "zero")
    ]
    assert finals[0] == finals[1]


def test_arms_agree_until_the_first_flip_and_not_after(trained: tuple[Path, dict[str, RunSpec]]):
    """The step of the first flip itself still has the clean run's rollouts; its gradient has not."""
    out, runs = trained
    clean, noisy = (
        [row for row in rows_of(out, runs[arm]) if row["kind"] == "train"]
        for arm in ("clean", "noisy")
    )
    flipped = [row["paid_wrong"] + row["unpaid_right"] > 0 for row in noisy]
    first = flipped.index(True)
    assert 0 < first < STEPS - 1, "choose rates or a seed with the first flip inside the run"
    assert comparable(clean[:first]) == comparable(noisy[:first])
    same_rollouts = ("groups_by_right", "completion_tokens", "tokens", "entropy")
    assert all(clean[first][key] == noisy[first][key] for key in same_rollouts)
    assert clean[first]["grad_norm"] != noisy[first]["grad_norm"]
    assert comparable(clean[first + 1 :]) != comparable(noisy[first + 1 :])


def test_evaluating_does_not_disturb_training(
    trained: tuple[Path, dict[str, RunSpec]], tmp_path: Path
):
    out, runs = trained
    other = study(evaluation={"steps": [STEPS], "samples": 8}).runs()[0]
    trains, _ = start(out, tmp_path, other)
    assert trains.wait(240) == 0
    without = [row for row in rows_of(tmp_path, other) if row["kind"] == "train"]
    with_ = [row for row in rows_of(out, runs["clean"]) if row["kind"] == "train"]
    assert comparable(without) == comparable(with_)


def start(out: Path, to: Path, run: RunSpec) -> tuple[subprocess.Popen[bytes], RunFolder]:
    """A process that trains `run` below `to` from the initial weights made below `out`."""
    folder = RunFolder(to / run.run_id)
    folder.create(run, study="test")
    weights = next((out / "models").iterdir())
    command = [sys.executable, "-m", "empirical.training.run", str(folder.path)]
    command += ["--model", str(weights), "--running", study().running.model_dump_json()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL), folder


def interrupt(
    process: subprocess.Popen[bytes], folder: RunFolder, when: Callable[[], bool], how: int
) -> int:
    deadline = time.monotonic() + 240
    while not when():
        assert process.poll() is None, "the run ended before the moment to interrupt it came"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(how)
    return process.wait(240)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs SIGKILL and SIGUSR1")
def test_a_run_killed_three_times_equals_an_uninterrupted_one(
    trained: tuple[Path, dict[str, RunSpec]], tmp_path: Path
):
    """SIGKILL before the first checkpoint, between checkpoints and near the end; once SIGUSR1 too."""
    out, runs = trained
    run = runs["noisy"]
    for step, how in (
        (1, signal.SIGKILL),
        (3, signal.SIGKILL),
        (4, signal.SIGUSR1),
        (7, signal.SIGKILL),
    ):
        process, folder = start(out, tmp_path, run)
        code = interrupt(process, folder, lambda s=step, f=folder: f.last_step() == s, how)
        assert not folder.done
        if how == signal.SIGKILL:
            assert code == -signal.SIGKILL
        else:
            assert code == RESUMABLE
            saved = folder.checkpoint()
            assert saved is not None
            assert saved[0] == folder.last_step()  # a signal loses nothing
        with folder.metrics.open("ab") as file:  # the row that was being written
            file.write(b'{"kind": "train", "step": 9')
    process, folder = start(out, tmp_path, run)
    assert process.wait(240) == 0
    assert comparable(folder.rows()) == comparable(rows_of(out, run))
    ends = [json.loads((f / run.run_id / "DONE").read_text()) for f in (out, tmp_path)]
    assert ends[0]["final_weights_sha256"] == ends[1]["final_weights_sha256"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_run_killed_in_its_second_epoch_equals_an_uninterrupted_one(
    trained: tuple[Path, dict[str, RunSpec]], tmp_path: Path
):
    """16 problems at 4 a step: an epoch is 4 steps, and the run resumes from step 6."""
    task = {"kind": "two_step_arithmetic", "train_problems": 16, "eval_problems": 64}
    run = study(task=task, evaluation={"steps": [STEPS], "samples": 8}).runs()[0]
    whole, expected = start(trained[0], tmp_path / "whole", run)
    process, folder = start(trained[0], tmp_path / "killed", run)
    interrupt(process, folder, lambda: folder.last_step() == 7, signal.SIGKILL)
    saved = folder.checkpoint()
    assert saved is not None
    assert saved[0] == 6
    process, folder = start(trained[0], tmp_path / "killed", run)
    assert process.wait(240) == whole.wait(240) == 0
    assert comparable(folder.rows()) == comparable(expected.rows())


def test_prompts_come_in_the_order_in_which_trl_draws_them():
    """Three passes of 11 problems at 4 a step, the last 3 of each pass dropped."""
    from trl.trainer.utils import RepeatSampler

    from empirical.training.run import prompt_order

    sampler = RepeatSampler(range(11), mini_repeat_count=1, batch_size=4, seed=3)
    drawn = [place for _ in range(3) for place in sampler]
    assert prompt_order(11, steps=5, prompts_per_step=4, seed=3) == drawn[:20]


def test_counts_of_several_processes_are_sums():
    """TRL logs the mean over processes."""
    from empirical.training.run import step_counts

    logs = {"verifier/rollouts": 32.0, "verifier/noise_seconds": 0.5, "entropy": 1.0}
    assert step_counts(logs, processes=4) == {"rollouts": 128.0, "noise_seconds": 0.5}


def test_complete_runs_are_skipped_and_committed_ones_never_started(
    trained: tuple[Path, dict[str, RunSpec]], tmp_path: Path
):
    out, runs = trained
    before = (out / runs["clean"].run_id / "metrics.jsonl").stat().st_mtime_ns
    states: list[Launch] = []
    assert len(launch(study(), list(runs.values()), out, report=states.append).done) == 3
    assert (out / runs["clean"].run_id / "metrics.jsonl").stat().st_mtime_ns == before
    ids = frozenset(run.run_id for run in runs.values())
    outcome = launch(study(), list(runs.values()), tmp_path, committed=ids)
    assert set(outcome.done) == ids
    assert list(tmp_path.iterdir()) == []


def run_processes(folder: RunFolder) -> list[psutil.Process]:
    """The processes that train the run of a folder."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if {"empirical.training.run", str(folder.path)} <= set(process.info["cmdline"] or ())
    ]


@pytest.mark.usefixtures("ray_of_two")
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_run_on_ray_equals_a_local_one_through_a_stop_and_a_lost_worker(
    trained: tuple[Path, dict[str, RunSpec]], tmp_path: Path
):
    """Stopped by SIGTERM to the launcher, resumed; then its Ray worker is killed under it."""
    weights, steps = trained[0] / "models", 100  # seconds of training: time to be stopped in
    wanted = study(
        arms={"noisy": {"fpr": 0.02, "fnr": 0.02}},
        training={"steps": steps, "prompts_per_step": 4, "learning_rate": 1e-3},
        evaluation={"steps": [steps], "samples": 8},
    )
    (run,) = wanted.runs()
    local, expected = start(trained[0], tmp_path / "local", run)
    folder = RunFolder(tmp_path / "ray" / run.run_id)

    def stop(state: Launch) -> None:
        if state.steps[run.run_id] > 0 and not state.stopping:
            os.kill(os.getpid(), signal.SIGTERM)

    first = launch_on_ray(wanted, [run], tmp_path / "ray", models=weights, report=stop)
    assert first.interrupted == (run.run_id,)
    saved = folder.checkpoint()
    assert saved is not None
    assert 0 < saved[0] == folder.last_step() < steps  # a signal loses nothing
    assert run_processes(folder) == []
    killed: list[psutil.Process] = []

    def kill(state: Launch) -> None:
        if not killed and state.steps[run.run_id] > saved[0]:
            (process,) = run_processes(folder)
            worker = process.parent()
            assert worker is not None
            worker.kill()
            killed.append(worker)

    second = launch_on_ray(wanted, [run], tmp_path / "ray", models=weights, report=kill)
    assert killed
    assert second.done == (run.run_id,)
    assert local.wait(240) == 0
    assert comparable(folder.rows()) == comparable(expected.rows())
    ends = [json.loads((f.path / "DONE").read_text()) for f in (folder, expected)]
    assert ends[0]["final_weights_sha256"] == ends[1]["final_weights_sha256"]


@pytest.mark.usefixtures("ray_of_two")
def test_a_study_on_ray_makes_its_warm_start_once_and_equals_a_local_one(
    trained: tuple[Path, dict[str, RunSpec]], tmp_path: Path
):
    out, runs = trained
    two = [runs["clean"], runs["noisy"]]
    outcome = launch_on_ray(study(), two, tmp_path, processes=2)
    assert set(outcome.done) == {run.run_id for run in two}
    assert outcome.failed == {}
    assert len(list((tmp_path / "models").iterdir())) == 1
    for run in two:
        assert comparable(rows_of(tmp_path, run)) == comparable(rows_of(out, run))


@pytest.mark.usefixtures("ray_of_two")
def test_a_node_that_does_not_share_the_output_folder_refuses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(
        RunFolder, "create", lambda *_, **__: None
    )  # as if made where nodes cannot see
    wanted = study(arms={"clean": {}})
    with pytest.raises(StudyError, match="needs an output folder that all nodes share"):
        launch_on_ray(wanted, wanted.runs(), tmp_path)


def test_a_run_that_fails_says_why(tmp_path: Path):
    absent = study(
        models=[{"kind": "pretrained", "name": "p", "path": str(tmp_path / "no"), "parameters": 1}],
        arms={"clean": {}},
    )
    outcome = launch(absent, absent.runs(), tmp_path / "out")
    (reason,) = outcome.failed.values()
    assert "cannot be loaded" in reason
