"""The run table: what is refused, in one line that names the place; what is repaired, and said."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fits import InputError, read_runs, validate_runs, write_runs
from tests.builders import matched_runs
from tests.shared_data import shared_data

HEADER = "run_id,step,fpr,fnr,accuracy\n"


def table(tmp_path: Path, text: str, name: str = "runs.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def refused(path: Path, *parts: str, **options: object) -> None:
    with pytest.raises(InputError) as caught:
        read_runs(path, **options)  # pyright: ignore[reportArgumentType]
    message = str(caught.value)
    assert "\n" not in message
    for part in (path.name, *parts):
        assert part in message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("run_id,step,fpr\na,0,0\n", ["accuracy", "--map accuracy="]),
        ("step,accuracy\n0,.1\n", ["run_id"]),
        (HEADER + "a,0,0,0,.1\na,1,1.2,0,.2\n", ["row 2 (line 3)", "column fpr", "1.2", "[0, 1]"]),
        (HEADER + "a,0,0,0,NaN\n", ["row 1 (line 2)", "column accuracy", "NaN", "not finite"]),
        (HEADER + "a,0,0,inf,.1\n", ["column fnr", "inf"]),
        (HEADER + "a,0,0,0,-0.1\n", ["column accuracy", "-0.1"]),
        (HEADER + "a,0,0,0,.5\na,1,0,0,101\n", ["row 2", "column accuracy", "101", "--scale"]),
        (HEADER + "a,0,0,0,.5\na,1,0,0,-.6\na,2,0,0,1.2\n", ["row 2", "column accuracy", "-0.6"]),
        (HEADER + "a,0,0,0,high\n", ["row 1", "column accuracy", "'high' is not a number"]),
        (HEADER + "a,0.5,0,0,.1\n", ["column step", "0.5", "whole"]),
        (HEADER + "a,-1,0,0,.1\n", ["column step", "-1"]),
        (HEADER + "a,0,0,0,.1\na,0,0,0,.2\n", ["row 2", "'a'", "step 0 twice", "row 1"]),
        (HEADER + ",0,0,0,.1\n", ["row 1", "run_id", "empty"]),
        (HEADER + "a,0,0\n" + "a,1,0,0,.1\n", ["row 1 (line 2)", "3 cells under 5 columns"]),
        (HEADER + "a,0,0,0,.1,9\n", ["row 1", "6 cells under 5 columns"]),
        (HEADER, ["a header and no rows"]),
        ("", ["empty"]),
        (" \n\n", ["empty"]),
        ("run_id,accuracy,accuracy\na,1,1\n", ["two columns", "'accuracy'"]),
        ("run_id,accuracy\na,.1\na,.2\n", ["row 2", "'a' has several rows", "no column step"]),
        (HEADER + "a,0,0,0,\n", ["every accuracy cell is empty"]),
    ],
)
def test_unusable_tables_are_refused_by_place(tmp_path: Path, text: str, parts: list[str]) -> None:
    refused(table(tmp_path, text), *parts)


def test_binary_folder_and_absent_files_are_refused(tmp_path: Path) -> None:
    binary = tmp_path / "runs.csv"
    binary.write_bytes(b"run_id\x00\xff\xfe")
    refused(binary, "binary")
    latin = tmp_path / "latin.csv"
    latin.write_bytes("run_id,accuracy\né,.5\n".encode("latin-1"))
    refused(latin, "not UTF-8")
    refused(tmp_path / "none.csv", "no such file")
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(empty, "no runs")
    refused(empty, "is a folder", format="csv")
    fake = tmp_path / "fake.parquet"
    fake.write_bytes(b"PAR1 and nothing else")
    refused(fake, "Parquet")
    refused(
        table(tmp_path, HEADER + "a,0,0,0,.1\n"), "no column 'acc'", columns={"accuracy": "acc"}
    )


def test_per_cent_is_converted_and_said(tmp_path: Path) -> None:
    got = read_runs(table(tmp_path, HEADER + "a,0,0,0,0.4\na,1,0,0,30\na,2,0,0,61.5\n"))
    np.testing.assert_allclose(got.frame["accuracy"], [0.004, 0.3, 0.615])
    assert any("per cent" in note for note in got.notes)


@pytest.mark.parametrize(
    "rows",
    [
        "a,0,0,0,0\na,1,0,0,.2\na,2,0,0,.4\na,3,0,0,.3\na,4,0,0,.4\na,5,0,0,55\n",
        # Final accuracies, two of them at 1 of 256.
        "a,9,0,0,69.9\nb,9,.4,.5,.39\nc,9,.5,.5,.39\n",
        "a,0,0,0,100\na,1,0,0,1\na,2,0,0,1\n",
    ],
)
def test_some_above_one_make_per_cent(tmp_path: Path, rows: str) -> None:
    values = np.array([float(row.rsplit(",", 1)[1]) for row in rows.splitlines()])
    got = read_runs(table(tmp_path, HEADER + rows))
    np.testing.assert_allclose(got.frame["accuracy"], values / 100.0)
    assert any(f"{(values > 1).sum()} of {len(values)} above 1" in note for note in got.notes)


@pytest.mark.parametrize("largest", ["1.2", "2.0", "3", "10"])
def test_a_largest_value_that_a_reward_may_have_is_no_evidence_of_per_cent(
    tmp_path: Path, largest: str
) -> None:
    path = table(tmp_path, HEADER + f"a,0,0,0,0\na,1,0,0,1\na,2,0,0,{largest}\n")
    refused(path, "row 3 (line 4)", f"largest value is {float(largest):g}", "--scale")
    got = read_runs(path, scale=float(largest)).frame["accuracy"]
    np.testing.assert_allclose(got, [0.0, 1.0 / float(largest), 1.0])
    got = read_runs(path, scale=100.0).frame["accuracy"]
    np.testing.assert_allclose(got, [0.0, 0.01, float(largest) / 100.0])


@pytest.mark.parametrize("name", ["reward", "rewards/accuracy_reward/mean", "completion_length"])
def test_what_is_no_accuracy_by_its_name_is_never_per_cent(tmp_path: Path, name: str) -> None:
    path = table(tmp_path, f"run_id,step,{name}\na,0,1\na,1,30\na,2,60\n")
    refused(
        path, "largest value is 60", "no name of an accuracy", "--scale", columns={"accuracy": name}
    )
    got = read_runs(path, columns={"accuracy": name}, scale=60).frame["accuracy"]
    np.testing.assert_allclose(got, [1 / 60, 0.5, 1.0])


def test_a_scale_is_a_number_above_0_and_reaches_every_value(tmp_path: Path) -> None:
    path = table(tmp_path, HEADER + "a,0,0,0,.5\na,1,0,0,2\n")
    for scale in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="--scale"):
            read_runs(path, scale=scale)
    refused(path, "row 2", "2 / 1.5 (--scale) lies above 1", scale=1.5)


def test_a_selection_does_not_change_the_unit_of_what_it_selects(tmp_path: Path) -> None:
    path = table(tmp_path, HEADER + "a,0,0,0,30\na,1,0,0,40\nd,5,.5,.5,.4\nd,6,.5,.5,.39\n")
    refused(path, "at most 1 in the rows selected, up to 40", where=["run_id=d"])
    got = read_runs(path, where=["run_id=d"], scale=100.0).frame["accuracy"]
    np.testing.assert_allclose(got, [0.004, 0.0039])


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_truth_is_no_number(tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame({"run_id": ["a", "a"], "step": [0, 1], "accuracy": [True, False]})
    path = tmp_path / f"runs.{suffix}"
    if suffix == "csv":
        frame.to_csv(path, index=False)
    elif suffix == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=True)
    refused(path, "column accuracy", "is not a number")


def test_what_is_counted_from_the_start_is_nothing_at_step_0(tmp_path: Path) -> None:
    path = table(tmp_path, "run_id,step,tokens,accuracy\na,0,,.1\na,5,1000,.2\na,9,,.3\n")
    got = read_runs(path)
    assert got.frame["tokens"].tolist()[:2] == [0.0, 1000.0]
    assert np.isnan(got.frame["tokens"].tolist()[2])
    assert any("tokens is 0 at step 0" in note for note in got.notes)
    write_runs(got.frame, tmp_path / "again.csv")
    again = read_runs(tmp_path / "again.csv")
    pd.testing.assert_frame_equal(again.frame, got.frame)


def test_an_arm_that_collapsed_is_still_in_per_cent(tmp_path: Path) -> None:
    clean = "".join(f"c{s},{t},0,0,{30 + t / 5 + s}\n" for s in range(3) for t in (0, 50, 100))
    dead = "".join(
        f"d{s},{t},.5,.5,{v}\n" for s in range(3) for t, v in ((0, 31), (50, 0.8), (100, 0.4))
    )
    got = read_runs(table(tmp_path, HEADER + clean + dead)).frame
    assert got.loc[got["run_id"] == "d0", "accuracy"].tolist() == pytest.approx(
        [0.31, 0.008, 0.004]
    )


def test_a_rounding_above_one_is_no_unit(tmp_path: Path) -> None:
    got = read_runs(table(tmp_path, HEADER + "a,0,0,0,.5\na,1,0,0,1.0000000002\n"))
    assert got.frame["accuracy"].tolist() == [0.5, 1.0]
    assert got.notes == ()


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        # A replicate at a hundredth of its siblings, at two steps.
        (
            "a,5,0,0,30\na,6,0,0,40\nb,5,0,0,.31\nb,6,0,0,.39\n",
            ["row 3 (line 4) and row 1", "0.31", "30"],
        ),
        # Another arm, but before training, where all are alike; whatever the number of rows.
        ("a,0,0,0,30\na,6,0,0,40\nb,0,.3,0,.31\nb,6,.3,0,.36\n", ["row 3", "before training"]),
        ("a,0,0,0,30\nb,0,.3,0,.31\n", ["row 2", "row 1", "before training"]),
        # One evaluation among its neighbours, either way round.
        ("a,1,0,0,30\na,2,0,0,.31\na,3,0,0,33\n", ["row 2", "neighbours in one run"]),
        ("a,1,0,0,.3\na,2,0,0,31\na,3,0,0,.33\n", ["row 2", "row 1", "neighbours"]),
    ],
)
def test_two_units_in_one_column_are_refused_by_row(
    tmp_path: Path, rows: str, parts: list[str]
) -> None:
    refused(table(tmp_path, HEADER + rows), "per cent", "fraction", "one unit", *parts)


def test_an_empty_accuracy_is_not_evaluated_and_counted(tmp_path: Path) -> None:
    got = read_runs(table(tmp_path, HEADER + "a,0,0,0,.1\na,1,0,0,\na,2,0,0,.3\n"))
    assert got.frame["step"].tolist() == [0, 2]
    assert any("1 of 3 rows" in note for note in got.notes)


def test_a_null_accuracy_in_parquet_is_empty_and_a_nan_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"run_id": ["a", "a"], "step": [0, 1]}
    pq.write_table(
        pa.table({**columns, "accuracy": pa.array([0.5, None])}), tmp_path / "null.parquet"
    )
    assert len(read_runs(tmp_path / "null.parquet").frame) == 1
    pq.write_table(pa.table({**columns, "accuracy": [0.5, float("nan")]}), tmp_path / "nan.parquet")
    refused(tmp_path / "nan.parquet", "row 2", "accuracy", "not finite")


def test_torn_shuffled_and_repeated_rows_are_repaired_and_said(tmp_path: Path) -> None:
    got = read_runs(
        table(tmp_path, HEADER + "a,2,0,0,.3\na,0,0,0,.1\na,0,0,0,.1\nb,0,0,0,.2\nb,1,0")
    )
    assert got.frame[["run_id", "step"]].to_numpy().tolist() == [["a", 0], ["a", 2], ["b", 0]]
    said = " ".join(got.notes)
    assert "line 6: last line cut short" in said
    assert "1 rows repeat another" in said
    assert "sorted by step" in said


def test_rows_of_a_shuffled_table_come_back_in_one_order(tmp_path: Path) -> None:
    frame = matched_runs()
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    frame.to_csv(a, index=False)
    frame.sample(frac=1.0, random_state=3).to_csv(b, index=False)
    pd.testing.assert_frame_equal(read_runs(a).frame, read_runs(b).frame)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_what_is_written_is_read_back(tmp_path: Path, suffix: str) -> None:
    frame, _ = validate_runs(matched_runs())
    write_runs(frame, tmp_path / f"new/runs.{suffix}")
    pd.testing.assert_frame_equal(read_runs(tmp_path / f"new/runs.{suffix}").frame, frame)
    assert [p.name for p in (tmp_path / "new").iterdir()] == [f"runs.{suffix}"]
    with pytest.raises(InputError, match=r"\.csv or \.parquet"):
        write_runs(frame, tmp_path / "runs.xlsx")


def test_validation_is_idempotent() -> None:
    once, _ = validate_runs(matched_runs())
    twice, notes = validate_runs(once)
    pd.testing.assert_frame_equal(once, twice)
    assert notes == ()


def test_map_set_where_and_derived_rollouts(tmp_path: Path) -> None:
    path = table(tmp_path, "name,step,acc\na,0,.1\na,5,.2\nb,5,.3\n")
    got = read_runs(
        path,
        columns={"run_id": "name", "accuracy": "acc"},
        constants={"group_size": "8", "prompts_per_step": "4"},
        where=["name=a,step>0", "name=b"],
    )
    assert got.frame["accuracy"].tolist() == [0.2, 0.3]
    assert got.frame["rollouts"].tolist() == [160.0, 160.0]
    assert any("step * prompts_per_step * group_size" in note for note in got.notes)
    mapped = {"run_id": "name", "accuracy": "acc"}
    refused(
        path, "no row satisfies --where name=c: name is a or b", where=["name=c"], columns=mapped
    )
    refused(path, "name is a or b; step is 0 or 5", where=["name=a,step>9"], columns=mapped)


def test_flops_follow_from_tokens_and_parameters(tmp_path: Path) -> None:
    path = table(tmp_path, "run_id,step,tokens,accuracy\na,0,0,.1\na,5,1000,.2\n")
    got = read_runs(path, constants={"parameters": "1.5e9"})
    assert got.frame["flops"].tolist() == [0.0, 8 * 1.5e9 * 1000]
    assert any("flops derived as 8 * parameters * tokens" in note for note in got.notes)
    assert "flops" not in read_runs(path).frame
    logged = table(tmp_path, "run_id,step,tokens,flops,accuracy\na,5,10,7,.2\n", "own.csv")
    assert read_runs(logged, constants={"parameters": "2"}).frame["flops"].tolist() == [7.0]


def test_a_manifest_gives_logs_their_condition(tmp_path: Path) -> None:
    path = table(tmp_path, "run_id,step,accuracy\na,0,.1\nb,0,.2\n")
    manifest = table(
        tmp_path, "a: {arm: clean, fpr: 0, seed: 1}\nruns/b: {arm: fp, fpr: .3}\n", "m.yaml"
    )
    got = read_runs(path, manifest=manifest).frame
    assert got["arm"].tolist() == ["clean", "fp"]
    assert got["fpr"].tolist() == [0.0, 0.3]
    for text, part in (
        ("c: {arm: x}", "'c' names no run"),
        ("a: {armm: x}", "'armm' is no column"),
        ("- a", "expected run"),
        ("a: {", "line 1: not valid YAML"),
        ("a: {arm: x}\na: {arm: y}", "line 2: .*given twice"),
    ):
        with pytest.raises(InputError, match=part):
            read_runs(path, manifest=table(tmp_path, text, "bad.yaml"))


# --- run folders ---------------------------------------------------------------------------------


def run_folder(
    parent: Path, run_id: str, *, done: bool = True, tail: str = "", seed: int = 0
) -> Path:
    folder = parent / run_id
    folder.mkdir(parents=True)
    spec = {
        "run_id": run_id,
        "arm": "clean",
        "fpr": 0.0,
        "fnr": 0.0,
        "seed": seed,
        "group_size": 8,
        "extra": [1],
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    lines = [
        {"kind": "eval", "step": 0, "accuracy": 0.1, "n_eval": 100, "rollouts": 0},
        {"kind": "train", "step": 1, "loss": 0.0, "reward": 0.2},
        {
            "kind": "eval",
            "step": 10,
            "accuracy": 0.3,
            "n_eval": 100,
            "rollouts": 640,
            "pass_at_8": 0.9,
        },
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + tail)
    if done:
        (folder / "DONE").write_text("{}")
    return folder


def test_a_folder_of_run_folders_is_one_table(tmp_path: Path) -> None:
    run_folder(tmp_path, "a")
    run_folder(tmp_path / "deeper", "b", seed=1)
    got = read_runs(tmp_path)
    assert got.format == "runs"
    assert got.frame["run_id"].tolist() == ["a", "a", "b", "b"]
    assert got.frame["rollouts"].tolist() == [0.0, 640.0] * 2
    assert got.frame["arm"].unique().tolist() == ["clean"]
    assert got.notes == ()
    assert read_runs(tmp_path / "a").format == "run"


def test_a_folder_with_a_run_table_and_no_runs_stands_for_the_table(tmp_path: Path) -> None:
    frame, _ = validate_runs(matched_runs(seeds=1))
    write_runs(frame, tmp_path / "runs.parquet")
    pd.testing.assert_frame_equal(read_runs(tmp_path).frame, frame)


def test_a_torn_last_line_is_dropped_and_an_unfinished_run_said(tmp_path: Path) -> None:
    run_folder(tmp_path, "a", done=False, tail='{"kind": "eval", "step": 20, "accu')
    got = read_runs(tmp_path / "a")
    assert got.frame["step"].tolist() == [0, 10]
    assert any("line 4: last line cut short" in note for note in got.notes)
    assert any("no DONE" in note for note in got.notes)


def test_a_broken_line_in_the_middle_is_refused_by_line(tmp_path: Path) -> None:
    run_folder(tmp_path, "a", tail='{"kind": \n{"kind": "eval", "step": 20, "accuracy": 0.4}\n')
    refused(tmp_path / "a", "metrics.jsonl, line 4", "no JSON")


def test_an_evaluation_repeated_after_a_resume_counts_once(tmp_path: Path) -> None:
    run_folder(tmp_path, "a", tail='{"kind": "eval", "step": 10, "accuracy": 0.4}\n')
    got = read_runs(tmp_path / "a")
    assert got.frame["accuracy"].tolist() == [0.1, 0.4]
    assert any("after a resume" in note for note in got.notes)


def test_a_json_nan_accuracy_is_refused(tmp_path: Path) -> None:
    run_folder(tmp_path, "a", tail='{"kind": "eval", "step": 20, "accuracy": NaN}\n')
    refused(tmp_path / "a", "metrics.jsonl line 4", "accuracy", "not finite")


def trainer_state(folder: Path, **last: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    history = [
        {"step": 10, "loss": 0.0, "reward": 0.4, "num_tokens": 1000.0, "epoch": 0.1},
        {"step": 10, "eval_accuracy": 0.5, "epoch": 0.1},
        {"step": 20, "loss": 0.0, "reward": "0.6", "num_tokens": 2000.0, "epoch": 0.2},
        {"step": 20, "eval_accuracy": "0.55", "epoch": 0.2, **last},
    ]
    path = folder / "trainer_state.json"
    path.write_text(json.dumps({"log_history": history, "global_step": 20}))
    return path


def test_a_trainer_state_is_read_with_its_companions(tmp_path: Path) -> None:
    path = trainer_state(tmp_path / "run-7")
    for source, form in ((path, "trl"), (path.parent, "run")):
        got = read_runs(source)
        assert got.format == form
        assert got.frame["run_id"].unique().tolist() == ["run-7"]
        assert got.frame["accuracy"].tolist() == [0.5, 0.55]
        assert got.frame["observed_reward"].tolist() == [0.4, 0.6]
        assert got.frame["tokens"].tolist() == [1000.0, 2000.0]


def test_the_last_checkpoint_speaks_for_a_run_without_a_state_of_its_own(tmp_path: Path) -> None:
    trainer_state(tmp_path / "r" / "checkpoint-9")
    trainer_state(tmp_path / "r" / "checkpoint-20", accuracy=0.7)
    got = read_runs(tmp_path / "r", metric="accuracy")
    assert got.frame["accuracy"].tolist() == [0.7]


def test_several_or_no_accuracies_ask_for_metric(tmp_path: Path) -> None:
    path = trainer_state(tmp_path / "r", accuracy=0.7)
    assert read_runs(path).frame["accuracy"].tolist() == [0.5, 0.55]  # evaluation before training
    assert read_runs(path, metric="reward").frame["accuracy"].tolist() == [0.4, 0.6]
    refused(path, "nothing is logged as 'acc'", metric="acc")
    both = {"step": 1, "eval_gsm8k_accuracy": 0.1, "eval_math_accuracy": 0.2}
    path.write_text(json.dumps({"log_history": [both]}))
    refused(path, "--metric", "eval_gsm8k_accuracy", "eval_math_accuracy")
    path.write_text(json.dumps({"log_history": [{"step": 1, "loss": 0.1}]}))
    refused(path, "no accuracy is logged", "loss")


# --- the field's own tables ------------------------------------------------------------------------


def test_the_trajectory_table_is_read_by_map() -> None:
    path = shared_data("math_trajectories/mL4.csv")
    got = read_runs(path, columns={"accuracy": "accuracy_mean_of_5_seeds", "run_id": "arm"})
    assert got.frame.groupby("arm").size().to_dict() == {"clean": 34, "fn": 34, "fp": 34}


RUN = "run_id,arm,step,fpr,seed,accuracy\n"


@pytest.mark.parametrize(
    ("rows", "part"),
    [
        ("a,c,0,0,0,.5\na,c,1,.4,0,.5\n", "row 2 .*column fpr: 0.4, but run 'a' began with 0"),
        ("a,c,0,.1,0,.5\na,c,1,,0,.5\n", "row 2 .*column fpr: empty, but run 'a' began with 0.1"),
        ("a,c,0,0,,.5\na,c,1,0,3,.5\n", "row 2 .*column seed: 3, but run 'a' began with empty"),
        ("a,c,0,0,0,.5\na,c,1,0,3,.5\n", "row 2 .*column seed: 3, but run 'a' began with 0$"),
        ("a,c,0,0,0,.5\na,d,1,0,0,.5\n", "row 2 .*column arm: 'd', but run 'a' began with 'c'"),
        ("a,c,1e30,0,0,.5\n", "row 1 .*column step: 1e30 is above 2"),
        ("a,c,0,0,9007199254740994,.5\n", "row 1 .*column seed: 9007199254740994 is above 2"),
        ("a,c,0,0,0,1_0\n", "row 1 .*'1_0' is not a number"),
    ],
)
def test_a_run_keeps_its_condition_and_integers_their_digits(
    rows: str, part: str, tmp_path: Path
) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(RUN + rows, encoding="utf-8")
    with pytest.raises(InputError, match=part):
        read_runs(path)


def test_runs_may_differ_from_each_other_and_lack_what_they_never_had(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(RUN + "a,c,0,,0,.5\na,c,1,,0,.5\nb,d,0,.2,1,.5\n", encoding="utf-8")
    assert len(read_runs(path).frame) == 3


def test_lines_may_end_as_on_an_old_macintosh(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_bytes((RUN + "a,c,0,0,0,.5\na,c,1,0,0,.6\n").replace("\n", "\r").encode())
    assert list(read_runs(path).frame["accuracy"]) == [0.5, 0.6]


def test_cells_of_a_column_nobody_asked_about_may_be_lists(tmp_path: Path) -> None:
    rows = pd.DataFrame({"run_id": "a", "step": [0, 1, 1], "accuracy": [0.1, 0.2, 0.2]})
    rows.assign(extra=pd.Series([[1], [2, 3], [2, 3]])).to_parquet(tmp_path / "runs.parquet")
    table = read_runs(tmp_path / "runs.parquet")
    assert len(table.frame) == 2
    assert table.notes[0] == "lists and structures left out: extra"
    assert "repeat another" in table.notes[1]


@pytest.mark.parametrize("name", ["runs.csv", "runs.parquet", "runs.jsonl"])
def test_a_metric_is_not_ignored_where_columns_have_names(name: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"run_id": ["a"], "accuracy": [0.1], "other": [0.2]})
    path = tmp_path / name
    if name.endswith("csv"):
        frame.to_csv(path, index=False)
    elif name.endswith("parquet"):
        frame.to_parquet(path)
    else:
        path.write_text('{"run_id": "a", "accuracy": 0.1, "other": 0.2}\n')
    with pytest.raises(InputError, match="--map accuracy=other"):
        read_runs(path, metric="other")


@pytest.mark.parametrize(
    ("line", "part"),
    [
        (
            '{"kind": "eval", "step": [1], "accuracy": 0.5}',
            r"line 2, step: \[1\] is no number of steps",
        ),
        ('{"kind": "eval", "step": 1%s, "accuracy": 0.5}' % ("0" * 5000), "line 2: Exceeds"),
        ('{"kind": "eval", "x": %s' % ("[" * 100000), "line 2: is nested more than 64 levels"),
    ],
)
def test_json_of_another_shape_or_size_is_refused(line: str, part: str, tmp_path: Path) -> None:
    good = '{"kind": "eval", "step": 0, "accuracy": 0.5}\n'
    (tmp_path / "metrics.jsonl").write_text(good + line + "\n" + good)
    with pytest.raises(InputError, match=part):
        read_runs(tmp_path)


def test_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", locked)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
        read_runs(tmp_path)


def test_a_stream_is_refused_rather_than_called_empty(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "stream.csv")
    with pytest.raises(InputError, match="is a stream"):
        read_runs(tmp_path / "stream.csv")


def test_a_table_is_the_same_however_its_cells_are_written(tmp_path: Path) -> None:
    import csv

    frame = matched_runs().assign(note="-", empty="", odd=" a b ")
    paths = [tmp_path / name for name in ("plain.csv", "quoted.csv", "windows.csv", "runs.jsonl")]
    frame.to_csv(paths[0], index=False)
    frame.to_csv(paths[1], index=False, quoting=csv.QUOTE_ALL)
    paths[2].write_bytes(paths[0].read_bytes().replace(b"\n", b"\r\n"))
    frame.to_json(paths[3], orient="records", lines=True, double_precision=15)
    first = read_runs(paths[0])
    for path in paths[1:]:
        got = read_runs(path)
        pd.testing.assert_frame_equal(got.frame, first.frame)
        assert got.notes == first.notes
    # And an error has one place, whoever splits the cells.
    for path in paths[:3]:
        text = path.read_bytes().replace(b"\r\n", b"\n")
        path.write_bytes(text.replace(text.splitlines()[5], text.splitlines()[5] + b",9"))
        refused(path, "row 5 (line 6)", "cells under")


def test_only_what_ends_a_line_in_a_file_ends_a_row(tmp_path: Path) -> None:
    for mark in ("\u2028", "\u0085", "\x0c"):
        path = table(tmp_path, f"run_id,step,accuracy\nr{mark}0,1,.5\nr1,1,.5\n")
        assert len(read_runs(path).frame) == 2
        lines = table(tmp_path, "", "runs.jsonl")
        row = {"run_id": f"r{mark}0", "step": 1, "accuracy": 0.5}
        lines.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
        assert len(read_runs(lines).frame) == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-8-sig"])
def test_what_windows_writes_is_the_same_table(tmp_path: Path, encoding: str) -> None:
    frame = matched_runs()
    first = table(tmp_path, frame.to_csv(index=False))
    other = tmp_path / "other.csv"
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    texts = {
        "other.csv": frame.to_csv(index=False, sep=";", decimal=","),
        "other.txt": frame.to_csv(index=False, sep="\t"),
        "excel.csv": "sep=;\n" + frame.to_csv(index=False, sep=";", decimal=","),
        "other.jsonl": frame.to_json(orient="records", lines=True, double_precision=15),
    }
    for name, text in texts.items():
        other = tmp_path / name
        other.write_bytes((mark + str(text)).encode(encoding))
        pd.testing.assert_frame_equal(read_runs(other).frame, read_runs(first).frame)


@pytest.mark.parametrize(
    "rows",
    ["a;1,000;0.3", "a;1,000;31", "a;1,5;1.500,5"],
    ids=["a point beside it", "no cell that tells", "not a number after all"],
)
def test_a_comma_that_may_part_thousands_is_refused(tmp_path: Path, rows: str) -> None:
    path = table(tmp_path, f"run_id;step;accuracy\n{rows}\n")
    with pytest.raises(InputError, match=r"(1,000 may part decimals or thousands|not a|whole)"):
        read_runs(path)


def test_cells_with_a_per_cent_sign_are_per_cent(tmp_path: Path) -> None:
    head = "run_id,step,fpr,accuracy\n"
    got = read_runs(table(tmp_path, head + "a,0,20%,0.5%\na,1,20%,31.25 %\na,2,20%,\n"))
    assert got.frame["accuracy"].tolist() == [0.005, 0.3125]
    assert got.frame["fpr"].tolist() == [0.2, 0.2]
    assert any("accuracy is written in per cent" in note for note in got.notes)
    for rows, part in (
        ("a,0,0,31%\na,1,0,.4\n", "row 2 (line 3) and row 1 (line 2), column accuracy: .4 has no"),
        ("a,0,0,131%\n", "131% lies outside 0 % to 100 %"),
        ("a,0,0,-1%\n", "lies outside"),
        ("a,0,0,x%\n", "'x%' is not a number"),
        ("a,0,0,nan%\n", "is not a number"),
    ):
        refused(table(tmp_path, head + rows), part)
    with pytest.raises(InputError, match="not in --scale 2"):
        read_runs(table(tmp_path, head + "a,0,0,31%\n"), scale=2.0)


def test_before_training_one_row_in_another_unit_tells(tmp_path: Path) -> None:
    rows = "a,0,0.31\na,10,35\na,20,40\nb,0,30\nb,10,33\nb,20,44\n"
    refused(table(tmp_path, "run_id,step,accuracy\n" + rows), "both before training")
    # A model that is as bad everywhere before training is in per cent.
    path = table(tmp_path, "run_id,step,accuracy\n" + rows.replace("b,0,30", "b,0,0.3"))
    assert read_runs(path).frame["accuracy"].iloc[0] == pytest.approx(0.0031)
