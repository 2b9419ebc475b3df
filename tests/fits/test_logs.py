"""Logs as people keep them: every kind read to its values, or refused in one line that says why.

The cases reported from outside lie beside the checkout; the literal logs here are of our own making, in the forms
that verl, TRL, W&B and trackio write.
"""

from __future__ import annotations

import json
import sqlite3
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fits import InputError, RunTable, read_runs
from tests.shared_data import shared_case


def points(table: RunTable, run: str | None = None) -> list[tuple[int, float]]:
    frame = table.frame if run is None else table.frame[table.frame["run_id"] == run]
    return [
        (int(step), round(float(a), 9))
        for step, a in zip(frame["step"], frame["accuracy"], strict=True)
    ]


def said(table: RunTable, part: str) -> bool:
    return any(part in note for note in table.notes)


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path, *parts: str, **options: object) -> None:
    with pytest.raises(InputError) as caught:
        read_runs(path, **options)  # pyright: ignore[reportArgumentType]
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


# --- the cases reported from outside -----------------------------------------------------------------


def test_case_verl_prints_numpy_scalars() -> None:
    got = read_runs(
        shared_case("01-verl-numpy-values/train.log"), metric="val-core/openai/gsm8k/acc/mean@1"
    )
    assert points(got) == [(0, 0.305), (2, 0.494313874)]
    assert got.frame["accuracy"].iloc[1] == 0.4943138741470811
    assert got.frame["tokens"].tolist() == [0.0, 2100.0]


def test_case_a_reward_of_two_is_no_per_cent() -> None:
    path = shared_case("03-reward-scale-read-as-percent/trainer_state.json")
    metric = "rewards/correctness_reward_func"
    refused(path, "largest value is 2", "--scale", metric=metric)
    got = read_runs(path, metric=metric, scale=2.0)
    assert got.frame["accuracy"].tolist() == [0, 0.25, 0.25, 0.5, 0.75, 1, 0.75, 1]


def test_case_a_chart_over_the_trainers_step() -> None:
    got = read_runs(shared_case("04-wandb-chart-custom-x/chart.csv"))
    assert points(got, "grpo-a") == [(50, 0.31), (100, 0.42), (150, 0.47)]


def test_case_metrics_with_steps_of_their_own() -> None:
    got = read_runs(shared_case("05-wandb-eval-own-step/history.csv"), metric="eval/gsm8k_pass1")
    assert points(got) == [(2, 0.40), (4, 0.44)]
    got = read_runs(shared_case("05-wandb-eval-own-step/first-eval.csv"))
    assert points(got) == [(0, 0.21), (20, 0.33), (40, 0.40)]
    assert said(got, "where train/global_step is not logged, step is _step")


def test_case_a_folder_of_logs() -> None:
    got = read_runs(shared_case("10-folder-of-logs/runs"), runs_from="{arm}-seed{seed}")
    assert len(got.frame) == 4
    assert points(got, "clean-seed0") == points(got, "fp30-seed0") == [(0, 0.3), (5, 0.4)]
    assert got.frame["arm"].unique().tolist() == ["clean", "fp30"]
    assert got.frame["seed"].unique().tolist() == [0]


def test_case_the_file_logger_of_verl() -> None:
    got = read_runs(shared_case("11-verl-file-logger/gsm8k.jsonl"))
    assert points(got) == [(0, 0.31), (2, 0.42)]
    assert got.frame["observed_reward"].iloc[1] == 0.45


def test_case_nan_in_a_history_is_not_logged() -> None:
    assert points(read_runs(shared_case("12-wandb-nan-cells/history.jsonl"))) == [
        (0, 0.2),
        (20, 0.33),
    ]


# --- verl ----------------------------------------------------------------------------------------------

ACC = "val-core/g/acc/mean@1"


@pytest.mark.parametrize(
    ("printed", "value"),
    [
        ("np.float64(.3)", 0.3),
        ("np.float32(0.30000001192092896)", 0.30000001192092896),
        ("numpy.float64(3e-1)", 0.3),
        ("np.int64(1)", 1.0),
        ("array(0.25)", 0.25),
        ("array(0.25, dtype=float32)", 0.25),
        ("tensor(0.5000, device='cuda:0')", 0.5),
        ("tensor(0.5, dtype=torch.float64)", 0.5),
        (".5", 0.5),
        ("5e-1", 0.5),
        ("+0.5", 0.5),
        ("1", 1.0),
    ],
)
def test_verl_values_as_python_prints_them(tmp_path: Path, printed: str, value: float) -> None:
    path = written(tmp_path / "x.log", f"step:0 - a/lr:1e-06 - {ACC}:{printed} - b/c:{printed}\n")
    got = read_runs(path)
    assert got.frame["accuracy"].tolist() == [value]


@pytest.mark.parametrize("printed", ["np.float64(nan)", "nan", "tensor(nan)"])
def test_a_verl_nan_is_not_logged_and_words_are_refused(tmp_path: Path, printed: str) -> None:
    path = written(tmp_path / "x.log", f"step:0 - {ACC}:0.25\nstep:1 - {ACC}:{printed}\n")
    assert points(read_runs(path)) == [(0, 0.25)]
    written(path, f"step:0 - {ACC}:0.25\nstep:1 - {ACC}:np.foo(bar)\n")
    refused(path, "line 2", "accuracy", "np.foo(bar)", "not a number")


def test_lines_of_one_step_are_one_step_name_by_name(tmp_path: Path) -> None:
    path = written(
        tmp_path / "x.log",
        f"step:0 - {ACC}:0.2\nstep:1 - critic/rewards/mean:0.3 - perf/total_num_tokens:10\n"
        f"step:1 - {ACC}:0.25\nstep:1 - timing_s/testing:3.0\n",
    )
    got = read_runs(path)
    assert points(got) == [(0, 0.2), (1, 0.25)]
    assert got.frame["observed_reward"].iloc[1] == 0.3
    assert got.frame["tokens"].tolist() == [0.0, 10.0]
    assert not said(got, "twice")
    written(path, f"step:0 - {ACC}:0.2\nstep:1 - {ACC}:0.25\nstep:1 - {ACC}:0.26\n")
    got = read_runs(path)
    assert points(got) == [(0, 0.2), (1, 0.26)]
    assert said(got, "step 1 was logged twice: the later line holds")


def test_verls_file_logger_in_its_variants(tmp_path: Path) -> None:
    lines = [
        {"step": 0, "data": {ACC: 0.25, "perf/total_num_tokens": None}},
        {"step": 1, "data": {"critic/rewards/mean": 0.5, "perf/total_num_tokens": 7}},
        {"step": 1, "data": {ACC: 0.5}},
        {"step": 2, "data": {ACC: float("nan"), "perf/total_num_tokens": 8}},
        {"step": 3, "data": {ACC: "0.75", "perf/total_num_tokens": 9}},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    path = written(tmp_path / "exp-seed3.jsonl", text)
    got = read_runs(path)
    assert got.format == "verl"
    assert points(got, "exp-seed3") == [(0, 0.25), (1, 0.5), (3, 0.75)]
    assert got.frame["tokens"].tolist() == [0.0, 7.0, 24.0]
    written(path, text + '{"step": 4, "data": {"' + ACC)
    assert said(read_runs(path), "line 6: last line cut short, dropped")
    refused(written(path, text.replace('"step": 2', '"step": 2.5')), "line 4", "2.5")


def test_a_step_of_any_size_takes_no_time(tmp_path: Path) -> None:
    path = written(tmp_path / "x.log", f"step:300000000 - {ACC}:0.5\n")
    assert points(read_runs(path)) == [(300000000, 0.5)]


# --- dictionaries ------------------------------------------------------------------------------------


def test_dictionaries_with_a_step_in_them(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.log",
        "some noise {not a dict}\n"
        "{'loss': 0.1, 'reward': np.float64(0.5), 'num_tokens': 100.0, 'step': 10}\n"
        "{'eval_loss': nan, 'eval_accuracy': 0.25, 'step': 10}\n"
        '{"loss": 0.1, "reward": 0.6, "num_tokens": 200.0, "step": 20}\n'
        "{'eval_accuracy': '0.5', 'step': 20}\n",
    )
    got = read_runs(path)
    assert got.format == "trl-console"
    assert points(got) == [(10, 0.25), (20, 0.5)]
    assert got.frame["observed_reward"].tolist() == [0.5, 0.6]
    assert got.frame["tokens"].tolist() == [100.0, 200.0]
    swift = "{'loss': 0.1, 'reward': %s, 'global_step/max_steps': '%d/90', 'percentage': '1%%'}\n"
    written(path, swift % (0.5, 5) + swift % (0.75, 10))
    assert points(read_runs(path, metric="reward")) == [(5, 0.5), (10, 0.75)]


def test_the_step_of_a_dictionary_stands_in_the_progress_bar(tmp_path: Path) -> None:
    def bar(n: int, total: int, name: str = "") -> str:
        return f"\r{name}  {n}%|##   | {n}/{total} [00:{n:02d}<01:00,  1.00s/it]"

    text = bar(2, 2, "Loading checkpoint shards:") + "\n" + bar(0, 40)
    for step in (10, 20):
        text += bar(step - 1, 40) + f"\r     \r{{'loss': '0.1', 'reward': '0.{step}'}}\n"
        text += bar(step, 40) + "\n" + bar(1, 3) + bar(3, 3)
        text += f"\r     \r{{'eval_accuracy': '0.{step + 5}'}}\n" + bar(step, 40)
    got = read_runs(written(tmp_path / "a.log", text + "\n"))
    assert points(got) == [(10, 0.15), (20, 0.25)]
    assert said(got, "step is read off the progress bar (of 40)")


def test_a_log_printed_past_the_progress_bar_is_of_the_step_before_it(tmp_path: Path) -> None:
    def bar(n: int) -> str:
        return f"\r {n}%|##   | {n}/40 [00:{n:02d}<01:00,  1.00s/it]"

    printed = held = drawn = ""
    for step in (10, 20):
        logs = f"{{'loss': 0.1, 'epoch': {step / 40}}}\n{{'eval_accuracy': 0.{step}, 'epoch': {step / 40}}}\n"
        printed += bar(step) + "\n" + logs
        held += logs
        drawn += bar(step)
    assert points(read_runs(written(tmp_path / "a.log", printed + bar(40)))) == [
        (10, 0.1),
        (20, 0.2),
    ]
    # A pipe that held the logs back leaves them all beside the last bar: no step can be read off it.
    got = read_runs(written(tmp_path / "b.log", drawn + "\n" + held))
    assert points(got) == [(1, 0.1), (2, 0.2)]
    assert said(got, "the progress bar does not stand beside the logs")


def test_two_runs_printed_into_one_file_are_not_counted_as_one(tmp_path: Path) -> None:
    line = "{'loss': 0.1, 'epoch': %s}\n{'eval_accuracy': 0.%d, 'epoch': %s}\n"
    text = "".join(line % (epoch, n, epoch) for n, epoch in ((2, 0.5), (3, 1.0), (4, 0.5)))
    refused(written(tmp_path / "a.log", text), "line 5", "the epoch goes back from 1 to 0.5")
    # Where steps are told, it is a run resumed.
    stepped = "".join(
        f"{{'eval_accuracy': 0.{n}, 'epoch': {step / 20}, 'step': {step}}}\n"
        for n, step in ((1, 5), (2, 10), (3, 20), (4, 10))
    )
    got = read_runs(written(tmp_path / "b.log", stepped))
    assert points(got) == [(5, 0.1), (10, 0.4)]
    assert said(got, "resumed at step 10")


def test_a_scalar_downloaded_from_tensorboards_page(tmp_path: Path) -> None:
    rows = "Wall time,Step,Value\n1.7e9,0,0.25\n1.7e9,10,0.5\n"
    for run in ("clean-seed0", "fp-seed0"):
        written(tmp_path / f"run-{run}-tag-eval_accuracy.csv", rows)
    got = read_runs(tmp_path, runs_from="{arm}-seed{seed}")
    assert points(got, "clean-seed0") == points(got, "fp-seed0") == [(0, 0.25), (10, 0.5)]
    # What no name tells is asked for, and a loss is no accuracy.
    other = written(tmp_path / "other" / "scalars.csv", rows)
    refused(other, "no accuracy is logged", "--metric: Value")
    assert points(read_runs(other, metric="Value")) == [(0, 0.25), (10, 0.5)]
    refused(written(tmp_path / "run-a-tag-train_loss.csv", rows), "no accuracy is logged")


def test_logs_of_one_folder_have_one_measure(tmp_path: Path) -> None:
    for run, metric in (("a", "gsm8k"), ("b", "math")):
        written(
            tmp_path / run / "train.log",
            f"step:0 - val-core/{metric}/acc/mean@1:0.3\nstep:1 - val-core/{metric}/acc/mean@1:0.4\n",
        )
    refused(tmp_path, "'val-core/gsm8k/acc/mean@1' in a and 'val-core/math/acc/mean@1' in b")
    # And one unit, which is refused by file and line.
    for run, percent in (("a", 1), ("b", 100)):
        text = f"_step,eval/acc\n0,{0.3 * percent}\n10,{0.4 * percent}\n"
        written(tmp_path / "units" / f"{run}.csv", text)
    refused(tmp_path / "units", "a, row 1 (line 2) and b, row 1 (line 2)", "one unit a column")


def test_dictionaries_without_a_step_are_counted_and_that_is_said(tmp_path: Path) -> None:
    line = "{'loss': 0.1, 'reward': 0.%d, 'epoch': 0.1}\n"
    path = written(
        tmp_path / "a.log", (line % 1) + (line % 2) + "{'eval_accuracy': 0.5, 'epoch': 1}\n"
    )
    got = read_runs(path)
    assert points(got) == [(2, 0.5)]
    assert said(got, "step counts the training logs")
    refused(written(path, line % 1), "no accuracy is logged", "reward")


# --- W&B histories -----------------------------------------------------------------------------------


def offline(path: Path, rows: Sequence[Mapping[str, object]], **config: object) -> Path:
    """An offline run's file, written as W&B frames it."""

    def field(number: int, data: bytes) -> bytes:
        size, varint = len(data), b""
        while size > 0x7F:
            varint += bytes([size & 0x7F | 0x80])
            size >>= 7
        return bytes([*_varint(number << 3 | 2)]) + varint + bytes([size]) + data

    def items(values: Mapping[str, object]) -> bytes:
        return b"".join(
            field(1, field(1, name.encode()) + field(16, json.dumps(value).encode()))
            for name, value in values.items()
        )

    records = [field(2, items(row)) for row in rows]
    if config:
        records.insert(0, field(5, items(config)))
    data = b":W&B\0\0\0"
    for record in records:
        data += struct.pack("<IHB", zlib.crc32(record, zlib.crc32(b"\1")), len(record), 1) + record
    path.write_bytes(data)
    return path


def _varint(number: int) -> list[int]:
    return [number] if number < 0x80 else [number & 0x7F | 0x80, number >> 7]


Row = dict[str, object]


def histories(folder: Path, rows: Sequence[Mapping[str, object]]) -> list[Path]:
    """The same history as CSV, JSON lines (with and without NaN) and an offline run."""
    pd.DataFrame(rows).to_csv(folder / "h.csv", index=False)
    names = dict.fromkeys(name for row in rows for name in row)
    full = [{name: row.get(name, float("nan")) for name in names} for row in rows]
    sparse = "".join(json.dumps(row) + "\n" for row in rows)
    return [
        folder / "h.csv",
        written(folder / "h.jsonl", sparse),
        written(folder / "n" / "h.jsonl", "".join(json.dumps(row) + "\n" for row in full)),
        offline(folder / "h.wandb", rows),
    ]


OWN_STEPS = {
    "the evaluation's own": (
        [
            {"_step": 0, "train/global_step": 1, "train/reward": 0.3},
            {"_step": 1, "train/global_step": 2, "train/reward": 0.4},
            {"_step": 2, "eval/global_step": 2, "eval/accuracy": 0.5},
            {"_step": 3, "train/global_step": 3, "train/reward": 0.6},
            {"_step": 4, "eval/global_step": 3, "eval/accuracy": 0.7},
        ],
        [(2, 0.5), (3, 0.7)],
        [0.4, 0.6],
        "step is 'eval/global_step'",
    ),
    "eval/step": (
        [
            {"_step": 0, "eval/step": 0, "eval/accuracy": 0.2},
            {"_step": 1, "train/step": 50, "train/reward": 0.4},
            {"_step": 2, "eval/step": 50, "eval/accuracy": 0.5},
        ],
        [(0, 0.2), (50, 0.5)],
        [np.nan, 0.4],
        "step is 'eval/step'",
    ),
    "the trainer's": (
        [
            {"_step": 0, "train/global_step": 10, "train/reward": 0.3},
            {"_step": 1, "train/global_step": 10, "eval/accuracy": 0.2},
            {"_step": 2, "train/global_step": 20, "eval/accuracy": 0.5},
        ],
        [(10, 0.2), (20, 0.5)],
        [0.3, np.nan],
        "eval/accuracy",
    ),
    "one with the counter": (
        [
            {"_step": 0, "eval/accuracy": 0.2},
            {"_step": 5, "training/global_step": 5, "train/reward": 0.3},
            {"_step": 10, "training/global_step": 10, "eval/accuracy": 0.5},
            {"_step": 15, "eval/accuracy": 0.6},
        ],
        [(0, 0.2), (10, 0.5), (15, 0.6)],
        [np.nan, np.nan, np.nan],
        "where training/global_step is not logged, step is _step",
    ),
    "none: calls are counted": (
        [
            {"_step": 3, "eval/accuracy": 0.2, "train/reward": 0.1},
            {"_step": 9, "eval/accuracy": 0.5, "train/reward": 0.2},
        ],
        [(3, 0.2), (9, 0.5)],
        [0.1, 0.2],
        "counts logging calls",
    ),
    "missing beside one evaluation": (
        [
            {"_step": 0, "train/global_step": 10, "train/reward": 0.3},
            {"_step": 1, "eval/accuracy": 0.2},
            {"_step": 2, "train/global_step": 20, "eval/accuracy": 0.5},
        ],
        [(20, 0.5)],
        [np.nan],
        "1 of 2 values of 'eval/accuracy' have no train/global_step beside them: left out",
    ),
}


@pytest.mark.parametrize("name", OWN_STEPS)
def test_each_metric_is_read_at_its_own_step(tmp_path: Path, name: str) -> None:
    rows, expected, rewards, note = OWN_STEPS[name]
    for path in histories(tmp_path, rows):
        got = read_runs(path)
        assert got.format == "wandb"
        assert points(got) == expected, path
        assert said(got, note), path
        logged = got.frame.get("observed_reward", pd.Series([np.nan] * len(got.frame)))
        np.testing.assert_array_equal(logged.to_numpy(np.float64), rewards)


def test_nested_values_are_read_by_their_path(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {
            "_step": i,
            "train": {"reward": 0.5, "global_step": 10 * i},
            "hist": {"_type": "histogram"},
        }
        for i in range(5)
    ]
    rows = [
        row | {"eval": {"acc": {"mean": 0.1 * i}}} if i % 2 else row for i, row in enumerate(rows)
    ]
    path = written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    got = read_runs(path)
    assert points(got) == [(10, 0.1), (30, 0.3)]
    assert said(got, "accuracy is 'eval/acc/mean'")
    # W&B itself spells it with points.
    cells = "0,0,0.1,,\n1,,,0.5,7\n2,20,0.3,,\n"
    names = "_step,eval.global_step,eval.acc,train.reward,train.global_step\n"
    assert points(read_runs(written(tmp_path / "a.csv", names + cells))) == [(0, 0.1), (20, 0.3)]
    twice = written(path, '{"_step": 1, "eval/acc": 0.1, "eval": {"acc": 0.2}}\n')
    refused(twice, "line 1", "'eval/acc' is there twice")


def test_a_step_may_be_named(tmp_path: Path) -> None:
    rows, *_ = OWN_STEPS["missing beside one evaluation"]
    for path in histories(tmp_path, rows):
        assert points(read_runs(path, columns={"step": "_step"})) == [(1, 0.2), (2, 0.5)]
        refused(path, "nothing is logged as 'epoch'", "_step", columns={"step": "epoch"})


@pytest.mark.parametrize("setting", ["group_size", "num_generations", "n_samples_per_prompt"])
def test_settings_are_read_under_the_trainers_names(tmp_path: Path, setting: str) -> None:
    rows: list[Row] = [{"_step": 0, "eval/accuracy": 0.5}]
    path = offline(tmp_path / "r.wandb", rows, **{setting: 16, "seed": 3, "epochs": 2})
    got = read_runs(path).frame
    assert (got["group_size"].item(), got["seed"].item()) == (16, 3)
    wrapped = offline(tmp_path / "s.wandb", rows, **{setting: {"value": 16, "desc": None}})
    assert read_runs(wrapped).frame["group_size"].item() == 16
    nested = {"rollout": {"n": 5}, "model": {"path": "/x/models--Qwen--Qwen3/snapshots/1"}}
    verl = read_runs(offline(tmp_path / "v.wandb", rows, actor_rollout_ref=nested)).frame
    assert (verl["group_size"].item(), verl["model"].item()) == (5, "Qwen/Qwen3")
    csv = written(tmp_path / "h.csv", f"_step,{setting},eval/accuracy\n0,16,.5\n1,,.6\n")
    assert read_runs(csv).frame["group_size"].tolist() == [16, 16]


def test_an_offline_run_with_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    path = offline(tmp_path / "r.wandb", [{"_step": 0, "eval/accuracy": 0.5}])
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    refused(path, "record 1", "checksum")


# --- several histories -----------------------------------------------------------------------------


def nine(folder: Path, *, column: str | None = None, order: str = "run") -> Path:
    rows = [
        {
            "_step": t,
            "train/global_step": 10 * t,
            "eval/accuracy": round(0.1 + 0.01 * k + 0.1 * t, 3),
        }
        | ({} if column is None else {column: f"run{k}"})
        for k in range(9)
        for t in range(3)
    ]
    frame = pd.DataFrame(rows)
    if order == "step":
        frame = frame.sort_values("_step", kind="stable")
    frame.to_csv(folder / "nine.csv", index=False)
    return folder / "nine.csv"


@pytest.mark.parametrize("order", ["run", "step"])
def test_several_histories_in_one_file_are_told_apart_or_refused(
    tmp_path: Path, order: str
) -> None:
    refused(nine(tmp_path, order=order), "nine.csv", "_step 0", "several runs?", "--map run_id=")
    refused(nine(tmp_path, column="member", order=order), "several runs?")
    got = read_runs(nine(tmp_path, column="member", order=order), columns={"run_id": "member"})
    assert got.frame.groupby("run_id").size().to_dict() == {f"run{k}": 3 for k in range(9)}
    for column in ("run_name", "Name", "run_path", "experiment_name"):
        got = read_runs(nine(tmp_path, column=column, order=order))
        assert points(got, "run4") == [(0, 0.14), (10, 0.24), (20, 0.34)]


def test_two_runs_in_one_log_are_refused_and_a_copy_is_one(tmp_path: Path) -> None:
    one = f"step:0 - {ACC}:0.2\nstep:1 - r/x:1\nstep:5 - {ACC}:0.4\n"
    path = written(tmp_path / "x.log", one + one.replace("0.4", "0.5"))
    refused(path, "begins again", "0.4", "0.5", "One run a file", "line 6")
    assert points(read_runs(written(path, one + one))) == [(0, 0.2), (5, 0.4)]
    logs = "{'reward': 0.1, 'step': 1}\n{'eval_accuracy': 0.%d, 'step': 2}\n"
    refused(written(path, logs % 3 + logs % 4), "two runs in one file")
    lines = [{"step": t, "data": {ACC: v}} for t, v in ((0, 0.2), (5, 0.4), (0, 0.2), (5, 0.6))]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    refused(written(tmp_path / "x.jsonl", text), "two runs in one file")


# --- a resumed run -----------------------------------------------------------------------------------


def test_the_abandoned_branch_of_a_resumed_run_is_dropped_and_said(tmp_path: Path) -> None:
    first = [(0, 0.1), (5, 0.2), (10, 0.3), (15, 0.4), (20, 0.5)]
    again = [(10, 0.3), (15, 0.35)]
    log = "".join(
        f"step:{t} - {ACC}:{a}\nstep:{t + 1} - critic/rewards/mean:{a}\n" for t, a in first + again
    )
    got = read_runs(written(tmp_path / "x.log", log))
    assert points(got) == [(0, 0.1), (5, 0.2), (10, 0.3), (15, 0.35)]
    assert said(got, "resumed at step 10 (line 11): what the abandoned branch logged")
    rows: list[Row] = [
        {"_step": i, "train/global_step": t, "eval/accuracy": a}
        for i, (t, a) in enumerate(first + again)
    ]
    for path in histories(tmp_path, rows):
        got = read_runs(path)
        assert points(got) == [(0, 0.1), (5, 0.2), (10, 0.3), (15, 0.35)]
        assert said(got, "resumed at step 10")
    # Between two evaluations: the trainer's own lines tell where it went on.
    train = [f"step:{t} - critic/rewards/mean:0.{t}\n" for t in range(1, 9)]
    log = "".join(train) + f"step:8 - {ACC}:0.9\n" + "".join(train[4:6]) + f"step:6 - {ACC}:0.7\n"
    got = read_runs(written(tmp_path / "y.log", log))
    assert points(got) == [(6, 0.7)]
    assert said(got, "resumed at step 5")


def test_our_own_run_folder_drops_the_abandoned_branch_too(tmp_path: Path) -> None:
    def line(step: int, accuracy: float) -> str:
        return json.dumps({"kind": "eval", "step": step, "accuracy": accuracy}) + "\n"

    evals = [(0, 0.1), (5, 0.2), (10, 0.3), (5, 0.2)]
    written(tmp_path / "a" / "metrics.jsonl", "".join(line(t, a) for t, a in evals))
    got = read_runs(tmp_path / "a")
    assert points(got) == [(0, 0.1), (5, 0.2)]
    assert said(got, "resumed at step 5: 1 later evaluation dropped")


def test_a_late_evaluation_is_no_resume(tmp_path: Path) -> None:
    log = f"step:1 - r/x:1\nstep:2 - r/x:2\nstep:3 - r/x:3\nstep:2 - {ACC}:0.5\nstep:4 - r/x:4\n"
    got = read_runs(written(tmp_path / "x.log", log + f"step:4 - {ACC}:0.6\n"))
    assert points(got) == [(2, 0.5), (4, 0.6)]
    assert said(got, "out of order")


# --- W&B charts and tables ---------------------------------------------------------------------------


def chart(folder: Path, x: str, values: Sequence[float], *, calls: bool = True) -> Path:
    names = [x, *(["a - _step"] if calls else []), "a - eval/accuracy", "a - eval/accuracy__MIN"]
    rows = [
        [value, *([7 * i] if calls else []), 0.1 * (i + 1), 0.1 * (i + 1)]
        for i, value in enumerate(values)
    ]
    text = "\n".join(",".join(f'"{cell}"' for cell in row) for row in [names, *rows])
    return written(folder / "chart.csv", text + "\n")


@pytest.mark.parametrize(
    "x", ["train/global_step", "eval/global_step", "trainer/step", "Step", "_step"]
)
def test_a_charts_x_axis_is_its_step(tmp_path: Path, x: str) -> None:
    got = read_runs(chart(tmp_path, x, [10, 20]))
    assert points(got, "a") == [(10, 0.1), (20, 0.2)]
    assert said(got, "counts logging calls") == (x in ("Step", "_step"))


@pytest.mark.parametrize(
    ("x", "column"),
    [
        ("Relative Time (Process)", "relative_time_process"),
        ("Relative Time (Wall)", "relative_time_wall"),
        ("Wall Time", "wall_time"),
        ("train/num_tokens", "train/num_tokens"),
    ],
)
def test_an_x_axis_that_is_no_step_is_named_as_what_it_is(
    tmp_path: Path, x: str, column: str
) -> None:
    got = read_runs(chart(tmp_path, x, [12.5, 99.5]))
    assert points(got, "a") == [(0, 0.1), (7, 0.2)]
    assert [float(cell) for cell in got.frame[column]] == [12.5, 99.5]
    assert said(got, "counts logging calls")
    assert said(got, f"x axis {x!r} is column {column}")
    refused(chart(tmp_path, x, [12.5, 99.5], calls=False), f"{x!r}, which is no step")


def test_a_chart_of_half_steps_or_means_is_not_taken_as_it_is(tmp_path: Path) -> None:
    refused(chart(tmp_path, "Step", [10, 20.5]), "column step", "20.5", "whole")
    text = '"Step","Group: a - acc","Group: a - acc__MIN","Group: a - acc__MAX"\n"1","0.5","0.4","0.6"\n'
    assert said(read_runs(written(tmp_path / "g.csv", text)), "MIN and MAX differ")


TABLE = """"Name","State","Runtime","num_generations","seed","eval/accuracy","train/global_step","_step"
"clean-0","finished","100","8","0","0.71","200","431"
"fp30-0","crashed","50","8","0","0.55","90","200"
"empty","finished","1","8","1","","",""
"""


def test_a_table_of_runs_has_one_row_a_run(tmp_path: Path) -> None:
    path = written(tmp_path / "runs-table.csv", TABLE)
    got = read_runs(path)
    assert points(got, "clean-0") == [(200, 0.71)]
    assert points(got, "fp30-0") == [(90, 0.55)]
    assert got.frame["group_size"].tolist() == [8, 8]
    assert said(got, "not finished, their last values stand: fp30-0 (crashed)")
    assert said(got, "left out: empty")
    refused(written(path, TABLE.replace("fp30-0", "clean-0")), "several runs", "ID")
    twice = TABLE.replace("fp30-0", "clean-0").replace('"State"', '"State","ID"')
    twice = twice.replace('"finished",', '"finished","x1",').replace(
        '"crashed",', '"crashed","x2",'
    )
    got = read_runs(written(path, twice))
    assert got.frame["run_id"].tolist() == ["clean-0 (x1)", "clean-0 (x2)"]
    without = "\n".join(line.rsplit(",", 2)[0] for line in TABLE.splitlines()) + "\n"
    got = read_runs(written(path, without))
    assert got.frame["accuracy"].tolist() == [0.71, 0.55]
    assert "step" not in got.frame


# --- trackio -----------------------------------------------------------------------------------------

CALLS: list[tuple[str, int, Row]] = [
    ("a", 0, {"train/reward": 0.2, "train/global_step": 10, "train/num_tokens": 100}),
    ("a", 1, {"eval/accuracy": 0.3, "train/global_step": 10}),
    ("b", 0, {"eval/accuracy": 0.4, "train/global_step": 10, "train/reward": "NaN"}),
    ("a", 2, {"eval/accuracy": "NaN", "train/global_step": 20}),
    ("b", 1, {"eval/accuracy": 0.6, "train/global_step": 20}),
]


def database(path: Path, *, ids: bool = True) -> Path:
    connection = sqlite3.connect(path)
    own = "run_id TEXT, " if ids else ""
    connection.execute(
        f"CREATE TABLE metrics (id INTEGER PRIMARY KEY, {own}timestamp TEXT, run_name TEXT, step INTEGER,"
        " metrics TEXT)"
    )
    connection.execute("CREATE TABLE configs (id INTEGER PRIMARY KEY, run_name TEXT, config TEXT)")
    for name, step, values in CALLS:
        cells = ([f"id-{name}"] if ids else []) + ["2026", name, step, json.dumps(values)]
        marks = ", ".join("?" * len(cells))
        columns = ("run_id, " if ids else "") + "timestamp, run_name, step, metrics"
        connection.execute(f"INSERT INTO metrics ({columns}) VALUES ({marks})", cells)
    config = json.dumps({"num_generations": 8, "seed": 4})
    connection.execute("INSERT INTO configs (run_name, config) VALUES ('a', ?)", [config])
    connection.commit()
    connection.close()
    return path


@pytest.mark.parametrize("ids", [True, False])
def test_trackios_database(tmp_path: Path, ids: bool) -> None:
    got = read_runs(database(tmp_path / "project.db", ids=ids))
    assert got.format == "trackio"
    assert points(got, "a") == [(10, 0.3)]
    assert points(got, "b") == [(10, 0.4), (20, 0.6)]
    first = got.frame[got.frame["run_id"] == "a"].iloc[0]
    assert (first["group_size"], first["seed"]) == (8, 4)
    assert (first["observed_reward"], first["tokens"]) == (0.2, 100)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_trackios_exports(tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame(
        [
            {"id": i, "timestamp": "2026", "run_name": name, "step": step}
            | {key: np.nan if value == "NaN" else value for key, value in values.items()}
            for i, (name, step, values) in enumerate(CALLS)
        ]
    )
    path = tmp_path / f"project.{suffix}"
    if suffix == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    got = read_runs(path)
    assert got.format == "trackio"
    assert points(got, "a") == [(10, 0.3)]
    assert points(got, "b") == [(10, 0.4), (20, 0.6)]


def test_a_database_of_somebody_else_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "x.db")
    connection.execute("CREATE TABLE other (a)")
    connection.commit()
    connection.close()
    refused(tmp_path / "x.db", "none of trackio's")
    (tmp_path / "y.db").write_bytes(b"SQLite format 3\0" + b"\0" * 20)
    refused(tmp_path / "y.db", "no readable database")
    (tmp_path / "z.db").write_bytes(b"nothing")
    refused(tmp_path / "z.db", "no format recognised")


# --- folders -----------------------------------------------------------------------------------------

LOG = f"step:0 - {ACC}:0.3\nstep:5 - {ACC}:%s\n"


def test_a_folder_of_logs_flat_nested_and_of_several_kinds(tmp_path: Path) -> None:
    for k in range(9):
        rows = [{"_step": 0, "eval/accuracy": 0.3}, {"_step": 5, "eval/accuracy": 0.4 + 0.01 * k}]
        folder = tmp_path / "flat"
        folder.mkdir(exist_ok=True)
        pd.DataFrame(rows).to_csv(folder / f"fp0.{k}-seed{k % 3}.csv", index=False)
    written(tmp_path / "flat" / "README.md", "not a log")
    got = read_runs(tmp_path / "flat", runs_from="fp{fpr}-seed{seed}")
    assert got.frame["run_id"].nunique() == 9
    assert points(got, "fp0.7-seed1") == [(0, 0.3), (5, 0.47)]
    assert sorted(got.frame["fpr"].unique()) == pytest.approx([0.1 * k for k in range(9)])
    written(tmp_path / "deep/arm-a/seed0/out.log", LOG % 0.5)
    written(tmp_path / "deep/arm-a/seed1/out.log", LOG % 0.6)
    written(tmp_path / "deep/arm-b/seed0.txt", "{'eval_accuracy': 0.7, 'step': 5}\n")
    written(tmp_path / "deep/arm-b/seed1.jsonl", json.dumps({"step": 5, "data": {ACC: 0.8}}) + "\n")
    got = read_runs(tmp_path / "deep", runs_from="{arm}/seed{seed}")
    last = got.frame[got.frame["step"] == 5].set_index("run_id")["accuracy"].to_dict()
    assert last == {
        "arm-a/seed0": 0.5,
        "arm-a/seed1": 0.6,
        "arm-b/seed0": 0.7,
        "arm-b/seed1": 0.8,
    }
    assert got.frame["seed"].tolist() == [0, 0, 1, 1, 0, 1]


def test_runs_that_bear_one_name_are_named_by_path(tmp_path: Path) -> None:
    command = "+ python3 -m verl.trainer.main_ppo trainer.experiment_name=same\n"
    for arm in ("a", "b"):
        written(tmp_path / arm / "train.log", command + LOG % 0.5)
    got = read_runs(tmp_path)
    assert got.frame["run_id"].unique().tolist() == ["a", "b"]
    assert said(got, "2 runs are named by their path")


def test_one_run_logged_twice_in_one_folder_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "a" / "train.log", LOG % 0.5)
    lines = [{"step": 0, "data": {ACC: 0.3}}, {"step": 5, "data": {ACC: 0.5}}]
    other = written(tmp_path / "a" / "f.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    refused(tmp_path, "a/f.jsonl and a/train.log", "one run logged twice?")
    written(other, json.dumps({"step": 5, "data": {ACC: 0.9}}) + "\n")
    assert read_runs(tmp_path).frame["run_id"].unique().tolist() == ["a/f", "a/train"]


def test_tables_among_logs_are_left_out_and_said(tmp_path: Path) -> None:
    written(tmp_path / "a.log", LOG % 0.5)
    written(tmp_path / "all.csv", "run_id,step,accuracy\na,0,.3\na,5,.5\n")
    written(tmp_path / "notes.txt", "nothing")
    got = read_runs(tmp_path)
    assert points(got, "a") == [(0, 0.3), (5, 0.5)]
    assert said(got, "left out: all.csv")
    assert said(got, "no log recognised in: notes.txt")
    (tmp_path / "a.log").unlink()
    written(tmp_path / "more.csv", "run_id,step,accuracy\nb,0,.3\n")
    assert read_runs(tmp_path).frame["run_id"].tolist() == ["a", "a", "b"]


@pytest.mark.parametrize(
    ("pattern", "part"),
    [
        ("{arm}_s{seed}", "the run 'clean-seed0' has no such name"),
        ("{arm}-seed{sed}", "'sed' is none of the columns"),
        ("{arm}-{arm}", "is in it twice"),
        ("clean", "is no pattern"),
        ("{arm-seed{seed}", "is no pattern"),
        ("{accuracy}-seed{seed}", "'accuracy' is none of the columns"),
        ("{fpr}-seed{seed}", "has no such name"),
    ],
)
def test_a_pattern_that_does_not_hold_is_refused(tmp_path: Path, pattern: str, part: str) -> None:
    written(tmp_path / "clean-seed0.log", LOG % 0.5)
    refused(tmp_path, part, runs_from=pattern)


def test_rates_and_more_are_read_from_names(tmp_path: Path) -> None:
    for name in ("grpo-fp.3-fn0-G8-s1_x", "grpo-fp0-fn0.15-G16-s20_yy"):
        written(tmp_path / f"{name}.log", LOG % 0.5)
    got = read_runs(
        tmp_path, runs_from="{estimator}-fp{fpr}-fn{fnr}-G{group_size}-s{seed}_{_}"
    ).frame
    row = got[got["group_size"] == 16].iloc[0]
    assert (row["estimator"], row["fpr"], row["fnr"], row["seed"]) == ("grpo", 0.0, 0.15, 20)
    row = got[got["group_size"] == 8].iloc[0]
    assert (row["fpr"], row["fnr"], row["seed"]) == (0.3, 0.0, 1)
