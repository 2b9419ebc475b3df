"""The committed results can be checked from what was committed with them."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import empirical
from empirical.collect import (
    Committed,
    Rerun,
    code_note,
    collect,
    compare,
    main,
    merged,
    run_table,
)
from empirical.errors import StudyError
from empirical.studies import RunSpec, Study, read_study
from empirical.training.folder import RunFolder
from empirical.training.tasks import load_task
from empirical.verifiers import Verdict, verifier_named
from tests.builders import minimal

PACKAGE = Path(empirical.__file__).parent
SMOKE = PACKAGE / "results" / "cpu-smoke"
RUNS = sorted((SMOKE / "runs").iterdir())


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: folder.name)
def test_a_logged_accuracy_is_recomputed_from_stored_completions(folder: Path):
    """From the completions' text alone: problems from the task, verdicts from the verifier."""
    table = pd.read_parquet(SMOKE / "runs.parquet")
    spec = RunFolder(folder).spec()
    assert spec.run_id == folder.name
    task = load_task(spec.task, verifier=spec.verifier, reference=spec.reference_verifier)
    gold = {problem.id: problem.gold for problem in task.evaluation}
    (stored,) = (folder / "completions").glob("*.parquet")
    completions = pd.read_parquet(stored)
    judge = verifier_named(spec.reference_verifier)
    right = [
        judge(row["completion"], gold[row["problem_id"]]).verdict is Verdict.RIGHT
        for _, row in completions.iterrows()
    ]
    step = int(stored.stem.rpartition("-")[2])
    logged = table[(table["run_id"] == spec.run_id) & (table["step"] == step)].iloc[0]
    assert len(right) == logged["n_eval"]
    assert sum(right) / len(right) == logged["accuracy"]


def test_the_smoke_study_is_what_was_run():
    study = read_study(PACKAGE / "studies" / "trained" / "cpu-smoke.yaml")
    table = pd.read_parquet(SMOKE / "runs.parquet")
    wanted = {run.run_id: run for run in study.runs()}
    assert set(table["run_id"]) == set(wanted) == {folder.name for folder in RUNS}
    for run_id, rows in table.groupby("run_id"):
        assert list(rows["step"]) == study.evaluation.steps
        assert (rows["n_eval"] == study.evaluation.samples).all()
        assert (rows["rollouts"] == rows["step"] * 8 * wanted[str(run_id)].group_size).all()
    for folder in RUNS:
        environment = json.loads((folder / "env.json").read_text())
        assert environment["versions"]["trl"]
        assert environment["git"]["sha"]


def finished(out: Path, run: RunSpec, accuracy: float, *, steps: list[int]) -> None:
    folder = RunFolder(out / run.run_id)
    folder.create(run, study="s")
    for step in steps:
        folder.append({"kind": "train", "step": step, "seconds": 1.0})
        folder.append({"kind": "eval", **run.columns, "step": step, "accuracy": accuracy})
    (folder.path / "env.json").write_text("{}")
    (folder.path / "DONE").write_text("{}")


def test_a_campaign_goes_on_from_the_committed_table_alone(tmp_path: Path):
    study = Study.model_validate(minimal(results="results"))
    runs, file = study.runs(), tmp_path / "study.yaml"
    finished(tmp_path / "machine-1", runs[0], 0.5, steps=[0, 10])
    finished(tmp_path / "machine-1", runs[1], 0.5, steps=[0])  # its last evaluation is missing
    assert collect(study, file, tmp_path / "machine-1").runs == 1
    # The first machine's folders are gone; a second one finishes another run.
    finished(tmp_path / "machine-2", runs[2], 0.6, steps=[0, 10])
    assert (found := collect(study, file, tmp_path / "machine-2")).runs == 2
    assert found.rows == 4
    committed = Committed(tmp_path / "results" / "runs.parquet")
    assert committed.complete(runs) == {runs[0].run_id, runs[2].run_id}
    logs = pd.concat(map(pd.read_parquet, (tmp_path / "results" / "steps").glob("*.parquet")))
    assert set(logs["run_id"]) == {runs[0].run_id, runs[2].run_id}
    assert len((tmp_path / "results" / "environments.jsonl").read_text().splitlines()) == 2


def test_collecting_twice_changes_nothing(tmp_path: Path):
    study = Study.model_validate(minimal(results="results"))
    finished(tmp_path / "out", study.runs()[0], 0.5, steps=[0, 10])
    contents = []
    for _ in range(2):
        collect(study, tmp_path / "study.yaml", tmp_path / "out")
        files = sorted((tmp_path / "results").rglob("*.*"))
        contents.append([(file.name, file.read_bytes()) for file in files])
    assert contents[0] == contents[1]


def test_completions_that_runs_kept_are_brought_along_once(tmp_path: Path) -> None:
    study = Study.model_validate(minimal(results="results"))
    said = {}
    for run in study.runs()[:2]:
        finished(tmp_path / "out", run, 0.5, steps=[0, 10])
        kept = tmp_path / "out" / run.run_id / "completions"
        kept.mkdir()
        for step in (0, 10):
            texts = [f"{run.run_id} {step} {i}" for i in (2, 0, 1)]
            pd.DataFrame({"completion": texts}).to_parquet(kept / f"step-{step:06d}.parquet")
            said[run.run_id, step] = texts
    for _ in range(2):
        collect(study, tmp_path / "study.yaml", tmp_path / "out")
    files = (tmp_path / "results" / "completions").glob("g*-s*.parquet")
    stored = pd.concat(map(pd.read_parquet, files)).groupby(["run_id", "step"])["completion"]
    assert {key: rows.tolist() for key, rows in stored} == said


def test_where_no_run_is_complete_nothing_is_collected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(json.dumps(minimal(results="results")))
    assert main([str(study), str(tmp_path / "absent")]) == 2
    assert "absent: holds no complete run" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
    assert main([str(tmp_path / "none.yaml"), str(tmp_path)]) == 2
    assert "none.yaml" in capsys.readouterr().err


def test_a_run_made_again_is_held_against_its_committed_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    study = Study.model_validate(minimal(results="results"))
    run, file = study.runs()[0], tmp_path / "study.yaml"
    finished(tmp_path / "first", run, 0.5, steps=[0, 10])
    collect(study, file, tmp_path / "first")
    # Made again so far, on a slower machine: the step it has is compared, its seconds are not.
    finished(tmp_path / "again", run, 0.5, steps=[0])
    again = RunFolder(tmp_path / "again" / run.run_id)
    again.append({"kind": "train", "step": 10, "seconds": 7.0})
    assert compare(study, file, tmp_path / "again") == (Rerun(run.run_id, 1, 2, ()),)
    finished(tmp_path / "other", run, 0.5 + 1e-9, steps=[0, 10])
    assert compare(study, file, tmp_path / "other") == (Rerun(run.run_id, 2, 2, ("accuracy",)),)
    file.write_text(json.dumps(minimal(results="results")))
    assert main([str(file), str(tmp_path / "other"), "--compare"]) == 1
    assert "differs in accuracy" in capsys.readouterr().out
    with pytest.raises(StudyError, match="no run that is committed"):
        compare(study, file, tmp_path)


def commit(sha: str | None, dirty: bool | None = False) -> dict[str, object]:
    return {"git": {"sha": sha, "dirty": dirty}}


def test_one_clean_commit_needs_no_note():
    assert code_note([]) is None
    assert code_note([commit("a"), commit("a")]) is None


@pytest.mark.parametrize(
    ("environments", "said"),
    [
        ([commit("a"), commit("a"), commit("b")], ["- commit a: 2 runs", "- commit b: 1 runs"]),
        ([commit("a", dirty=True)], ["- commit a, with our modules modified: 1 runs"]),
        (
            [commit("a"), commit(None, dirty=None), {}],
            ["- not known: 2 runs", "- commit a: 1 runs"],
        ),
    ],
)
def test_runs_of_several_commits_or_a_modified_tree_are_noted(
    environments: list[dict[str, object]], said: list[str]
):
    note = code_note(environments)
    assert note is not None
    assert note.splitlines()[2:] == said


def test_the_note_lies_beside_the_environments_and_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    content = minimal(results="results")
    study, file = Study.model_validate(content), tmp_path / "study.yaml"
    file.write_text(json.dumps(content))
    note = tmp_path / "results" / "environments.md"
    first, second = study.runs()[:2]
    for run, sha, noted in ((first, "a", False), (second, "b", True), (second, "a", False)):
        finished(tmp_path / "out", run, 0.5, steps=[0, 10])
        (tmp_path / "out" / run.run_id / "env.json").write_text(json.dumps(commit(sha)))
        assert main([str(file), str(tmp_path / "out")]) == 0
        assert note.exists() == noted
        assert ("- commit b: 1 runs" in capsys.readouterr().err) == noted


def test_fresh_rows_of_a_run_replace_its_committed_ones():
    old = pd.DataFrame({"run_id": ["a", "b"], "accuracy": [0.1, 0.2]})
    new = pd.DataFrame({"run_id": ["b"], "accuracy": [0.3]})
    both = merged(old, new)
    assert dict(zip(both["run_id"], both["accuracy"], strict=True)) == {"a": 0.1, "b": 0.3}
    assert merged(None, new) is new


def test_the_last_step_is_that_of_the_last_whole_row(tmp_path: Path):
    folder = RunFolder(tmp_path)
    assert folder.last_step() == 0
    for step in (3, 4):
        folder.append({"kind": "train", "step": step})
        assert folder.last_step() == step
    with folder.metrics.open("a") as file:
        file.write('{"kind": "train", "st')
    assert folder.last_step() == 4


@pytest.mark.parametrize("before", [[], [3]])
def test_a_row_after_a_torn_line_takes_its_place(tmp_path: Path, before: list[int]):
    folder = RunFolder(tmp_path)
    for step in before:
        folder.append({"kind": "train", "step": step})
    with folder.metrics.open("a") as file:
        file.write('{"kind": "train", "st')
    folder.append({"kind": "train", "step": 4})
    assert [row["step"] for row in folder.rows()] == [*before, 4]


def test_a_torn_last_line_is_dropped(tmp_path: Path):
    study = Study.model_validate(minimal())
    run = study.runs()[0]
    finished(tmp_path, run, 0.5, steps=[0, 10])
    with (tmp_path / run.run_id / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "eval", "step": 2')
    assert list(run_table(tmp_path)["step"]) == [0, 10]


def test_columns_that_came_later_are_filled_from_the_study(tmp_path: Path) -> None:
    """A run's id is the hash of all that can change its numbers, so its columns are known."""
    study = Study.model_validate(minimal(seeds=[0], group_sizes=[4], results="results"))
    run = study.runs()[0]
    rows = pd.DataFrame([{**run.columns, "step": step, "accuracy": 0.5} for step in (0, 10)])
    old = rows.assign(settings=None, steps=float("nan")).drop(columns="learning_rate")
    (tmp_path / "results").mkdir()
    old.to_parquet(tmp_path / "results" / "runs.parquet")
    collect(study, tmp_path / "study.yaml", tmp_path / "none")
    table = pd.read_parquet(tmp_path / "results" / "runs.parquet")
    for name, value in run.columns.items():
        assert table[name].tolist() == [value, value], name
