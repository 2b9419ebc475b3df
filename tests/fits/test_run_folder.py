"""A run folder of ours is read alike by whoever analyses it and by whoever trains into it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from empirical.collect import run_table
from empirical.errors import StudyError
from empirical.studies import Study
from empirical.training.folder import RunFolder
from fits.errors import InputError
from fits.readers import read_runs
from fits.readers.run_folder import DONE, METRICS, SPEC
from tests.builders import minimal

RUN = Study.model_validate(minimal(seeds=[0], group_sizes=[4])).runs()[0]


def made(out: Path) -> RunFolder:
    """A complete run, as training leaves it."""
    folder = RunFolder(out / RUN.run_id)
    folder.create(RUN, study="s")
    for step in (0, 10):
        folder.append(
            {"kind": "eval", **RUN.columns, "step": step, "accuracy": step / 20, "n_eval": 9}
        )
    folder.finish({"step": 10, "final_weights_sha256": "0"})
    return folder


def _edited(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def _rows(folder: RunFolder, edit: Callable[[list[str]], list[str]]) -> None:
    folder.metrics.write_text("".join(edit(folder.metrics.read_text().splitlines(keepends=True))))


DAMAGES: dict[str, tuple[Callable[[RunFolder], object], str]] = {
    "a row is missing": (lambda f: _rows(f, lambda lines: lines[:1]), r"says DONE.*step 10"),
    "the log is missing": (lambda f: f.metrics.unlink(), r"says DONE.*step 0"),
    "the log is empty": (lambda f: f.metrics.write_text(""), r"says DONE.*step 0"),
    "a row is of another run": (
        lambda f: _rows(f, lambda lines: [lines[0], lines[1].replace('"seed": 0', '"seed": 1')]),
        r"line 2: seed is 1, and spec.json says 0",
    ),
    "an accuracy is altered": (
        lambda f: _rows(f, lambda lines: [lines[0], lines[1].replace("0.5", "0.7")]),
        r"metrics.jsonl: is not what was written",
    ),
    "a row is cut": (lambda f: _rows(f, lambda lines: [lines[0][:30] + "\n", lines[1]]), r"line 1.*no JSON"),
    "a row has no step": (
        lambda f: _rows(f, lambda lines: [lines[0], lines[1].replace('"step": 10', '"step": true')]),
        r"line 2, step: True",
    ),
    "a column is edited": (
        lambda f: _edited(f.path / SPEC, lambda spec: spec.update(fpr=0.5)),
        r"spec.json: is not what was written",
    ),
    "what was asked for is edited": (
        lambda f: _edited(f.path / SPEC, lambda spec: spec["spec"]["training"].update(temperature=0.5)),
        r"spec.json: is not what was written",
    ),
    "the spec is cut": (lambda f: (f.path / SPEC).write_text('{"run_id": '), r"spec.json"),
    "the spec is a list": (lambda f: (f.path / SPEC).write_text("[1]"), r"spec.json"),
    "the spec is deep": (lambda f: (f.path / SPEC).write_text("[" * 10_000), r"spec.json"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused_alike_by_analysis_and_by_the_launcher(
    damage: str, tmp_path: Path
) -> None:
    folder = made(tmp_path)
    harm, said = DAMAGES[damage]
    harm(folder)
    for path in (folder.path, tmp_path):
        with pytest.raises(InputError, match=said) as refused:
            read_runs(path)
        assert str(folder.path) in str(refused.value)
    with pytest.raises(StudyError, match=said):
        folder.refuse_damaged()
    assert not folder.done
    left_out: list[str] = []
    assert run_table(tmp_path, say=left_out.append).empty
    assert len(left_out) == 1


@pytest.mark.parametrize("harm", ["removed", "altered"])
def test_completions_of_a_run_that_is_done_are_held_to_done(harm: str, tmp_path: Path) -> None:
    folder = made(tmp_path)
    file = folder.path / "completions" / "step-000010.parquet"
    file.parent.mkdir()
    file.write_bytes(b"one")
    folder.finish({"step": 10, "final_weights_sha256": "0"})
    assert folder.done
    file.unlink() if harm == "removed" else file.write_bytes(b"two")
    assert not folder.done
    with pytest.raises(StudyError, match=r"step-000010\.parquet: is not what was written"):
        folder.refuse_damaged()


def test_a_sound_folder_is_read_alike(tmp_path: Path) -> None:
    folder = made(tmp_path)
    with folder.metrics.open("a") as log:
        log.write(
            json.dumps({"kind": "eval", "step": 20, "accuracy": 0.9})
        )  # no newline: being written
    read = read_runs(folder.path)
    assert any("line 3: last line cut short" in note for note in read.notes)
    table = run_table(tmp_path)
    assert read.frame["step"].tolist() == table["step"].tolist() == [0, 10]
    assert read.frame["accuracy"].tolist() == table["accuracy"].tolist()
    assert folder.done


def test_a_run_whose_spec_is_of_an_older_release_is_read(tmp_path: Path) -> None:
    folder = made(tmp_path)
    _edited(folder.path / SPEC, lambda spec: spec.pop("sha256"))
    assert folder.done
    assert read_runs(folder.path).frame["step"].tolist() == [0, 10]


def test_an_edited_spec_of_an_older_release_is_refused_by_its_id(tmp_path: Path) -> None:
    folder = made(tmp_path)
    _edited(folder.path / SPEC, lambda spec: spec.pop("sha256"))
    _edited(folder.path / SPEC, lambda spec: spec["spec"]["training"].update(temperature=0.5))
    with pytest.raises(StudyError, match=r"says it is .*edited after the run began"):
        folder.refuse_damaged()


@pytest.mark.parametrize("left", [None, "", '{"step": 1'])
def test_a_run_without_a_whole_done_is_said_to_go_on(left: str | None, tmp_path: Path) -> None:
    folder = made(tmp_path)
    (folder.path / DONE).unlink()
    if left is not None:  # by a full disk
        (folder.path / DONE).write_text(left)
    assert not folder.done
    assert any("not finished" in note for note in read_runs(folder.path).notes)
    assert (folder.path / METRICS).exists()


def test_a_training_row_has_the_learning_rate_of_its_step(tmp_path: Path) -> None:
    """Under a warm-up it is not the run's: such a run was refused as another's."""
    folder = RunFolder(tmp_path / RUN.run_id)
    folder.create(RUN, study="s")
    folder.append({"kind": "train", "step": 1, "learning_rate": 0.0, "true_accuracy": 0.5})
    assert folder.rows() == [
        {"kind": "train", "step": 1, "learning_rate": 0.0, "true_accuracy": 0.5}
    ]
