"""Studies: what is refused, in one line that says where; what identifies a run."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from empirical.collect import Committed, read_committed
from empirical.errors import StudyError
from empirical.studies import Study, read_study
from empirical.training.accounting import estimate
from empirical.training.launch import selected
from tests.builders import minimal

STUDIES = Path(__file__).parents[2] / "empirical" / "studies" / "trained"
RESULTS = Path(__file__).parents[2] / "empirical" / "results"
SHIPPED = sorted(STUDIES.glob("*.yaml"))

SHORT = {"kind": "length", "most": 7}


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def complaint(path: Path) -> str:
    with pytest.raises(StudyError) as caught:
        read_study(path)
    message = str(caught.value)
    assert str(path) in message
    assert "Traceback" not in message
    return message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"arms": {"noisy": {"fpr": 1.2}}}, ["arms.noisy.fpr", "less than or equal to 1", "1.2"]),
        ({"arms": {"noisy": {"fpr": float("nan")}}}, ["arms.noisy.fpr"]),
        ({"arms": {"noisy": {"frp": 0.2}}}, ["arms.noisy.frp", "no such field"]),
        ({"arms": {}}, ["arms"]),
        ({"group_sizes": [1]}, ["group_sizes.0", "greater than or equal to 2"]),
        ({"group_sizes": [8, 8]}, ["group_sizes", "must not repeat"]),
        ({"seeds": [-1]}, ["seeds.0"]),
        ({"evaluation": {"steps": [0, 11], "samples": 9}}, ["evaluation.steps", "11", "10"]),
        ({"evaluation": {"steps": [5, 0], "samples": 9}}, ["evaluation.steps", "ascend"]),
        ({"training": {"steps": 10}}, ["training.learning_rate", "required"]),
        (
            {"training": {"steps": 10, "learning_rate": 1e-5, "iterations": 2}},
            ["training.iterations", "should be 1", "2"],
        ),
        ({"blocks": [{"arms": ["nosiy"]}]}, ["blocks.0.arms", "nosiy"]),
        ({"arms": {"a": {"noise": {"kind": "group"}}}}, ["correlation", "required"]),
        ({"arms": {"a": {"noise": "sometimes"}}}, ["arms.a.noise", "sometimes"]),
        ({"arms": [{"name": "a", "fpr": 0.2}]}, ["write arms: {a: {fpr: 0.2}}"]),
        ({"arms": {"a": {"noise": "answer"}}}, ["arms.a: is spelt {noise: per_answer} now"]),
        (
            {"arms": {"a": {"noise": {"kind": "triggered", "selected": {"fpr": 0.5}}}}},
            ["arms.a: noise 'triggered' needs a 'selector'"],
        ),
        (
            # A trained arm's own rates are nominal, so they stay where they are.
            {"arms": {"a": {"fpr": 0.2, "noise": {"kind": "trigger", "selector": SHORT}}}},
            ["spelt {fpr: 0.2, noise: {kind: triggered, selector: {kind: length, most: 7}}} now"],
        ),
        ({"task": {"kind": "two_step_arithmetic", "high": 2}}, ["operands in [1, 2]", "32"]),
        ({"verifier": "guess"}, ["verifier", "guess"]),
        ({"name": "a/b"}, ["name", "a/b"]),
        ({"running": {"report_to": ["a.b"]}}, ["running.report_to.0", "a.b"]),
    ],
)
def test_a_bad_field_is_named_with_its_value(
    tmp_path: Path, change: dict[str, object], expected: list[str]
):
    message = complaint(written(tmp_path, minimal(**change)))
    for part in expected:
        assert part in message


def test_a_misspelt_key_is_not_ignored(tmp_path: Path):
    assert "grup_sizes" in complaint(written(tmp_path, minimal(grup_sizes=[8])))


def test_a_key_given_twice_is_not_overwritten(tmp_path: Path):
    text = yaml.safe_dump(minimal()) + "seeds: [7]\n"
    assert "'seeds' is given twice" in complaint(written(tmp_path, text))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "is empty"),
        ("- a\n- b\n", "is not a mapping"),
        ("name: [unclosed", "not valid YAML"),
        ("name: a: b", "not valid YAML"),
    ],
)
def test_what_is_no_study_is_refused(tmp_path: Path, content: str, expected: str):
    assert expected in complaint(written(tmp_path, content))


def test_files_that_cannot_be_studies(tmp_path: Path):
    assert "no such file" in complaint(tmp_path / "absent.yaml")
    assert "is a folder" in complaint(tmp_path)
    (tmp_path / "b.yaml").write_bytes(b"\x80\x81\xff\xfe")
    assert "is not text" in complaint(tmp_path / "b.yaml")


def test_the_grid_is_literal_and_ids_are_distinct():
    runs = Study.model_validate(minimal()).runs()
    assert len(runs) == 2 * 2 * 3
    assert len({run.run_id for run in runs}) == len(runs)
    # Arms of one cell lie together, so that a study cut short leaves whole comparisons.
    assert [run.arm for run in runs[:2]] == ["clean", "noisy"]


def test_a_run_is_known_by_its_content():
    base = Study.model_validate(minimal()).runs()[0].run_id
    training = {"steps": 10, "learning_rate": 1e-5}

    def first(**changes: object) -> str:
        return Study.model_validate(minimal(**changes)).runs()[0].run_id

    assert first(name="other", description="d", running={"processes": 2}) == base
    assert first(training={**training, "prompts_per_step": 8}) == base  # a default, spelt out
    assert first(training={**training, "learning_rate": 2e-5}) != base
    assert first(evaluation={"steps": [0, 10], "samples": 101}) != base
    assert first(arms={"clean": {"fnr": 0.1}}) != base
    # An arm's name is a label: the hash at the end stays.
    assert first(arms={"renamed": None}).split("-")[-1] == base.split("-")[-1]


def test_committed_ids_do_not_move():
    """A campaign goes on from committed tables by run id; an id that moves would run all again."""
    assert Study.model_validate(minimal()).runs()[0].run_id == "clean-tiny-g4-s0-d379b74e0b"


@pytest.mark.parametrize(
    ("name", "count"), [("cpu-campaign", 240), ("cpu-smoke", 6), ("gradient-check", 5)]
)
def test_committed_runs_keep_their_ids(name: str, count: int):
    """All committed runs are found complete under their old ids, and were run with what is declared."""
    study = read_study(STUDIES / f"{name}.yaml")
    table = RESULTS / name / "runs.parquet"
    runs = pd.read_parquet(table).drop_duplicates("run_id").set_index("run_id")
    assert len(runs) >= count
    assert Committed(table).complete(study.runs()) == set(runs.index)
    for run in study.runs():
        if run.run_id in runs.index:
            declared = {key: run.columns[key] for key in run.columns if key in runs.columns}
            assert dict(runs.loc[run.run_id, list(declared)]) == declared
    committed = read_committed(study, STUDIES / f"{name}.yaml")
    assert study.results is None or committed.table == STUDIES / study.results / "runs.parquet"


def test_only_and_shard_choose_runs():
    study = Study.model_validate(minimal())
    runs = study.runs()
    parts = [selected(study, shard=(i, 5)) for i in range(1, 6)]
    assert sorted(run.run_id for part in parts for run in part) == sorted(r.run_id for r in runs)
    assert selected(study, only=[runs[3].run_id]) == [runs[3]]
    with pytest.raises(StudyError, match="no-such-run"):
        selected(study, only=["no-such-run"])
    with pytest.raises(StudyError, match="6/5"):
        selected(study, shard=(6, 5))


def test_blocks_cover_part_of_the_grid_once():
    study = Study.model_validate(
        minimal(blocks=[{"group_sizes": [4]}, {"arms": ["clean"], "seeds": [0]}])
    )
    runs = [(run.arm, run.group_size, run.seed) for run in study.runs()]
    assert len(runs) == 2 * 3 + 1
    assert runs[-1] == ("clean", 8, 0)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_study_is_valid(path: Path):
    study = read_study(path)
    assert study.name == path.stem
    assert study.runs()


# --- changes from the command line, and runs that were not made alike ---------------------------------


def test_a_study_is_changed_field_by_field(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(minimal()))
    changes = [
        "seeds=0-4",
        "training.learning_rate=1e-3",
        "group_sizes=4",
        "arms.fp.fpr=.25",
        "arms.clean.fnr=.5",
    ]
    study = read_study(path, changes=changes)
    assert study.seeds == [0, 1, 2, 3, 4]
    assert study.group_sizes == [4]
    assert study.training.learning_rate == 1e-3
    assert (study.arms["fp"].fpr, study.arms["clean"].fnr) == (0.25, 0.5)
    assert read_study(path, changes=["models.0.name=other"]).models[0].name == "other"
    assert read_study(path) == Study.model_validate(minimal())


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ("seeds", "is not field=value"),
        ("=3", "is not field=value"),
        ("seeds=4-0", "no range"),
        ("seeds=x", "seeds.0"),
        ("training.stepz=3", "training.stepz"),
        ("models.7.name=x", "there is no '7'"),
        ("name.x=1", "there is no 'x'"),
        ("training.steps=[", "not valid YAML"),
    ],
)
def test_a_change_that_means_nothing_is_shown(tmp_path: Path, change: str, part: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(minimal()))
    with pytest.raises(StudyError, match=re.escape(part)):
        read_study(path, changes=[change])


def test_settings_are_those_that_runs_of_a_study_share() -> None:
    study = Study.model_validate(minimal(arms={"a": {}, "b": {"fpr": 0.2}}, seeds=[0, 1]))
    assert len({run.settings for run in study.runs()}) == 1
    other = Study.model_validate(
        minimal(training={"steps": study.training.steps, "learning_rate": 0.125})
    )
    assert other.runs()[0].settings != study.runs()[0].settings
    assert other.runs()[0].columns["learning_rate"] == 0.125


def test_the_logits_of_a_large_vocabulary_need_memory() -> None:
    model = {"kind": "pretrained", "name": "q", "path": "q", "parameters": 5e8}
    needs = [
        estimate(study, study.runs()).memory_gb
        for study in (
            Study.model_validate(minimal(models=[model | {"vocabulary": v}], group_sizes=[4]))
            for v in (1, 150_001)
        )
    ]
    study = Study.model_validate(minimal(models=[model], group_sizes=[4]))
    run = study.runs()[0]
    tokens = run.training.prompts_per_step * run.group_size * run.training.max_completion_length
    assert needs[1] - needs[0] == pytest.approx(tokens * 150_000 * 8 / 1e9)
