"""Completions as TRL saves them: chats, what is being written, and what is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from empirical.watch.completions import Reference
from empirical.watch.steps import read_run
from fits.errors import InputError
from tests.commands.command import refused


def saved(folder: Path, step: int, **columns: list[Any]) -> Path:
    """Two prompts of four rollouts, of which the first is paid wherever it is wrong."""
    text = {"right": "4", "wrong": "5"}
    rows = {
        "step": [step] * 8,
        "prompt": ["2+2="] * 4 + ["1+3="] * 4,
        "completion": [text["wrong"]] * 4 + [text["right"]] * 2 + [text["wrong"]] * 2,
        "pays": [1.0] * 4 + [1.0, 0.0, 0.0, float("nan")],
        "gold": [4] * 8,
        "advantage": [0.0] * 8,
    }
    path = folder / "completions" / f"completions_{step:05d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame({k: v for k, v in (rows | columns).items() if v}).to_parquet(path)
    return path


def chat(role: str, texts: list[str]) -> list[Any]:
    return [[{"role": role, "content": text}] for text in texts]


def test_a_step_is_told_and_labelled_rollout_by_rollout(tmp_path: Path) -> None:
    saved(tmp_path, 5)
    saved(tmp_path, 10)
    run = read_run(tmp_path)
    assert (run.format, run.group_size, [s.step for s in run.steps]) == ("completions", 4, [5, 10])
    first = run.steps[0]
    assert (first.rollouts, first.reward, first.groups) == (7, 5 / 7, (0.0, 0.5, 0.5))
    assert first.units == ()
    labels = Reference("number", labels=8).label(tmp_path)
    assert [(u.paid_wrong, u.wrong, u.unpaid_right, u.labels) for u in labels[10]] == [
        (4, 4, 0, 4),
        (0, 1, 1, 3),
    ]
    few = Reference("number", labels=2).label(tmp_path)[5]
    assert [unit.labels for unit in few] == [1, 1]  # spread over prompts
    assert read_run(tmp_path / "completions").steps == run.steps


def test_chats_are_judged_by_their_last_message(tmp_path: Path) -> None:
    plain = Reference("number").label(saved(tmp_path / "a", 1).parent)
    prompts = chat("user", ["2+2="] * 4 + ["1+3="] * 4)
    answers = chat("assistant", ["5"] * 4 + ["4"] * 2 + ["5"] * 2)
    saved(tmp_path / "b", 1, prompt=prompts, completion=answers)
    assert Reference("number").label(tmp_path / "b") == plain


def test_the_newest_may_be_being_written_and_a_step_is_judged_once(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    second = saved(tmp_path, 2)
    whole = second.read_bytes()
    second.write_bytes(whole[:-9])
    run, reference = read_run(tmp_path), Reference("number")
    assert [step.step for step in run.steps] == [1]
    assert run.notes == ("completions_00002.parquet: is being written",)
    assert list(reference.label(tmp_path)) == [1]
    second.write_bytes(whole)
    (tmp_path / "completions/completions_00001.parquet").write_bytes(b"gone")
    assert list(reference.label(tmp_path)) == [1, 2]
    with pytest.raises(InputError, match=r"completions_00001.parquet: is no readable Parquet"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        ({"gold": []}, (), "no column 'gold' with the right answer (--gold); there are: step"),
        ({"bonus": [0.5] * 8}, (), "is not clear: name it with --reward: pays, bonus"),
        (
            {},
            ("--reward", "pay"),
            "no column of rewards is called 'pay' (--reward); there are: pays",
        ),
        ({"completion": []}, (), "no column completion; there are: step, prompt"),
        ({"gold": [[4]] * 8}, (), "no column 'gold'"),
        ({"gold": ["four"] * 8}, (), "row 4: gold answer 'four' is not a number"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, columns: dict[str, Any], options: tuple[str, ...], said: str
) -> None:
    saved(tmp_path, 1, **columns)
    assert said in refused("watch", tmp_path, "--once", "--reference", "number", *options)


def test_a_folder_without_completions_and_a_verifier_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "trainer_state.json").write_text('{"log_history": [{"step": 1, "reward": 0.5}]}')
    said = refused("watch", tmp_path, "--once", "--reference", "number")
    assert "there is no completions/completions_*.parquet" in said
    assert "no verifier 'nubmer'" in refused("watch", tmp_path, "--reference", "nubmer")
    labels = tmp_path / "labels.csv"
    said = refused("watch", tmp_path, "--reference", "number", "--labels", labels)
    assert "not both" in said
