"""Readers against files that real trainers wrote; `data/` came from one TRL 1.16 run of six steps.

That run (a random 12 k-parameter Qwen2, reward "starts with an even digit") reported to TensorBoard and
to W&B offline at once, so its three logs must give one table.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fits import InputError, read_runs, recognise
from tests.shared_data import shared_data

DATA = Path(__file__).with_name("data")
EVENTS = DATA / "trl-run-a" / "runs" / "first"
OFFLINE = DATA / "wandb-offline"


def test_the_three_logs_of_one_trl_run_agree() -> None:
    state = read_runs(DATA / "trl-run-a")
    events = read_runs(EVENTS)
    offline = read_runs(OFFLINE)
    assert (state.format, events.format, offline.format) == ("run", "tensorboard", "wandb")
    columns = ["step", "accuracy", "observed_reward", "tokens"]
    for other in (events, offline):
        np.testing.assert_allclose(other.frame[columns], state.frame[columns], rtol=1e-6)
    assert state.frame["step"].tolist() == [2, 4, 6]
    assert events.frame["run_id"].unique().tolist() == ["trl-run-a"]
    assert offline.frame["run_id"].unique().tolist() == ["run-a"]
    assert offline.frame["seed"].unique().tolist() == [3]


def test_a_folder_of_different_logs_is_one_table(tmp_path: Path) -> None:
    shutil.copytree(EVENTS, tmp_path / "a")
    shutil.copytree(OFFLINE, tmp_path / "b")
    got = read_runs(tmp_path)
    assert got.format == "runs"
    assert got.frame.groupby("run_id").size().to_dict() == {"a": 3, "run-a": 3}


def test_event_files_cut_short_keep_what_is_whole(tmp_path: Path) -> None:
    data = (EVENTS / "events.out.tfevents.0").read_bytes()
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(data[: len(data) - 30])
    got = read_runs(path)
    assert got.frame["step"].tolist() == [2, 4, 6]
    assert any("cut short" in note for note in got.notes)
    path.write_bytes(b"not an event file at all")
    with pytest.raises(InputError, match="no TensorBoard event"):
        read_runs(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        read_runs(path)


def test_offline_runs_cut_short_keep_what_is_whole(tmp_path: Path) -> None:
    data = (OFFLINE / "run-a.wandb").read_bytes()
    path = tmp_path / "run-a.wandb"
    path.write_bytes(data[: len(data) // 2])
    got = read_runs(path)
    assert got.frame["step"].tolist()[0] == 2
    assert any("cut short" in note for note in got.notes)
    path.write_bytes(b"not W&B")
    with pytest.raises(InputError, match="no W&B offline run"):
        read_runs(path)


def test_formats_are_recognised_and_named(tmp_path: Path) -> None:
    assert recognise(EVENTS / "events.out.tfevents.0") == "tensorboard"
    unknown = tmp_path / "x.log"
    unknown.write_text("nothing of the kind\n")
    with pytest.raises(InputError, match=r"no format recognised; name one with --format: csv"):
        recognise(unknown)
    with pytest.raises(InputError, match="format 'excel' is none of: auto, csv"):
        read_runs(EVENTS, format="excel")
    table = tmp_path / "t.csv"
    table.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no W&B history"):
        read_runs(table, format="wandb")


# --- W&B exports -----------------------------------------------------------------------------------


def test_a_wandb_history_in_csv_and_in_json_lines_agree(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "_step": [0, 1, 2, 3],
            "train/global_step": [10, 10, 20, 20],
            "train/reward": [0.3, np.nan, 0.5, np.nan],
            "eval/accuracy": [np.nan, 0.4, np.nan, 0.6],
            "_runtime": [1.0, 2.0, 3.0, 4.0],
        }
    )
    frame.to_csv(tmp_path / "run.csv", index=False)
    (tmp_path / "run.jsonl").write_text(
        "".join(row.dropna().to_json() + "\n" for _, row in frame.iterrows())
    )
    for name in ("run.csv", "run.jsonl"):
        got = read_runs(tmp_path / name)
        assert got.format == "wandb"
        assert got.frame["step"].tolist() == [10, 20]
        assert got.frame["accuracy"].tolist() == [0.4, 0.6]
        assert got.frame["observed_reward"].tolist() == [0.3, 0.5]
        assert got.frame["run_id"].unique().tolist() == ["run"]


def test_a_chart_export_holds_one_run_a_column(tmp_path: Path) -> None:
    path = tmp_path / "chart.csv"
    path.write_text(
        '"Step","clean - eval/accuracy","clean - eval/accuracy__MIN","noisy - 2 - eval/accuracy"\n'
        '"0","0.1","0.1","0.1"\n"10","0.3","0.3",""\n'
    )
    got = read_runs(path)
    assert got.frame[["run_id", "step", "accuracy"]].to_numpy().tolist() == [
        ["clean", 0, 0.1],
        ["clean", 10, 0.3],
        ["noisy - 2", 0, 0.1],
    ]


def test_a_nan_in_a_history_is_not_logged_and_an_infinity_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text('{"_step": 0, "eval/accuracy": 0.5}\n{"_step": 1, "eval/accuracy": "NaN"}\n')
    got = read_runs(path)
    assert got.frame["accuracy"].tolist() == [0.5]
    assert any("1 NaN in 'eval/accuracy': not logged" in note for note in got.notes)
    path.write_text(
        '{"_step": 0, "eval/accuracy": 0.5}\n{"_step": 1, "eval/accuracy": "Infinity"}\n'
    )
    with pytest.raises(InputError, match=r"line 2, column accuracy: 'Infinity' is not finite"):
        read_runs(path)
    path.write_text('{"_step": 0, "eval/accuracy": NaN}\n')
    with pytest.raises(InputError, match="no accuracy is logged"):
        read_runs(path)


# --- verl and the grid -------------------------------------------------------------------------------

GSM8K = "val-core/openai/gsm8k/reward/mean@1"


def test_the_verl_log_asks_which_metric_and_gives_compute() -> None:
    path = shared_data("verl_qwen2_7b/qwen2-7b_math.log")
    with pytest.raises(InputError, match=r"several accuracies .*--metric: .*MATH-lighteval.*gsm8k"):
        read_runs(path)
    got = read_runs(path, metric=GSM8K)
    assert got.format == "verl"
    first, last = got.frame.iloc[0], got.frame.iloc[-1]
    assert (first["step"], first["accuracy"]) == (0, 0.221)
    assert last["step"] == 210
    assert (last["group_size"], last["prompts_per_step"]) == (5, 1024)
    assert last["rollouts"] == 210 * 5 * 1024
    assert last["model"] == "Qwen/Qwen2-7B-Instruct"
    steps = got.frame["step"].to_numpy()
    assert (np.diff(steps) == 5).all()
    assert (np.diff(got.frame["tokens"]) > 0).all()


VERL = """(TaskRunner pid=1) step:0 - val-core/gsm8k/acc/mean@1:0.2
\x1b[36m(TaskRunner pid=1)\x1b[0m step:1 - critic/rewards/mean:0.3 - perf/total_num_tokens:100.0
noise step:x - not a step line
(TaskRunner pid=1) step:2 - critic/rewards/mean:0.4 - perf/total_num_tokens:50.0 - val-core/gsm8k/acc/mean@1:0.5
"""


def test_verl_lines_amid_everything_else(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text(VERL)
    got = read_runs(path)
    assert got.frame["accuracy"].tolist() == [0.2, 0.5]
    assert got.frame["tokens"].tolist() == [0.0, 150.0]
    # Cut in mid-number: .5 would read as 0.; the torn value is dropped, and said.
    path.write_text(VERL[:-3])
    got = read_runs(path)
    assert got.frame["accuracy"].tolist() == [0.2]
    assert any("cut short" in note for note in got.notes)
    # Shuffled and repeated lines give the same table.
    lines = VERL.splitlines()
    path.write_text("\n".join([*lines[::-1], lines[0]]) + "\n")
    got = read_runs(path)
    assert got.frame["accuracy"].tolist() == [0.2, 0.5]
    assert any("step 0 was logged twice" in note for note in got.notes)
    assert any("out of order" in note for note in got.notes)
    # A log written twice is one line, not one a step.
    path.write_text(VERL * 2)
    twice = [note for note in read_runs(path).notes if "later line holds" in note]
    assert twice == [
        "train: 3 lines repeat a step logged before (first: step 0): the later line holds"
    ]


def test_a_verl_log_with_missing_steps_claims_no_totals(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text("\n".join(VERL.splitlines()[2:]) + "\n")
    got = read_runs(path)
    assert "tokens" not in got.frame
    assert any("steps are missing" in note for note in got.notes)


def test_the_grid_derives_model_and_setup() -> None:
    got = read_runs(shared_data("seed_grid/batch32_r8_metrics.csv"))
    assert got.format == "grid"
    frame = got.frame
    assert frame.groupby("model").size().to_dict() == {"0.5B": 5, "1.5B": 36}
    assert (frame["step"] == 233).all()
    assert (frame["rollouts"] == 233 * 32 * 8).all()
    small = frame[frame["model"] == "0.5B"]
    assert (small["fpr"] == small["fnr"]).all()
    for size, count in (("1.5B", 36), ("0.5B", 5)):
        picked = read_runs(shared_data("seed_grid/batch32_r8_metrics.csv"), where=[f"model={size}"])
        assert len(picked.frame) == count
    with pytest.raises(InputError, match=r"model is 1\.5B or 0\.5B"):
        read_runs(shared_data("seed_grid/batch32_r8_metrics.csv"), where=["model=7B"])
    best = read_runs(
        shared_data("seed_grid/batch32_r8_metrics.csv"), metric="best_validation_accuracy"
    )
    assert (best.frame["accuracy"] >= frame["accuracy"]).all()


def test_a_map_still_reaches_the_grids_own_columns() -> None:
    path = shared_data("seed_grid/batch32_r8_metrics.csv")
    got = read_runs(path, columns={"accuracy": "best_validation_accuracy"}, where=["fpr=0.1,fnr=0"])
    assert len(got.frame) == 1
    assert got.frame["accuracy"].iloc[0] == 0.71875
