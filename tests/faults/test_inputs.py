"""Hostile inputs: refused in one line or read right, quickly and in little memory."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from empirical.plan import read_prices
from fits.errors import InputError
from fits.files import load_yaml, write_csv
from fits.readers import read_runs
from tests.commands.command import refused
from tests.faults.inputs import (
    INPUTS,
    MEBIBYTES,
    ROW,
    SECONDS,
    YAML,
    event_record,
    history,
    scalar_event,
)
from tests.faults.measured import Measured, forked, measure
from tests.shared_data import shared_case

# What is no error but odd: read, and what its only run is then called (None: whatever the file says).
READ = {
    "control.csv": "a\\x1b]0;owned\\x07\\x1b[31m\\u202eb",
    "formula.csv": "'=cmd|'/c calc'!A1",
    "separator.jsonl": "r\u2028s",
    "separator.csv": "r\u2028s",
    "far-step.log": "far-step",
    "nodes.log": "nodes",
    "digits.log": "digits",
    "colons.log": "colons",
    "bar.log": "bar",
    "bars.log": "bars",
    "long-dictionary.log": "long-dictionary",
    "nested-dictionary.log": "nested-dictionary",
    "minus.log": "minus",
    "resumes.jsonl": "resumes",
}


def harmless(done: Measured, name: str) -> None:
    """One line or none, no traceback, nothing a terminal obeys, quick and small."""
    assert not done.error, f"{name}: {done.error}"
    assert done.code in (0, 2), f"{name}: exit {done.code}"
    if done.code == 2:
        assert done.err.count("\n") == 1, f"{name}: {done.err}"
        assert len(done.err) < 1000, f"{name}: {len(done.err)} characters"
    control = {c for c in done.out + done.err if ord(c) < 32 or 127 <= ord(c) < 160} - {"\n"}
    assert not control, f"{name}: {control}"
    assert done.seconds < SECONDS, f"{name}: {done.seconds:.1f} s"
    assert done.mebibytes < MEBIBYTES, f"{name}: {done.mebibytes:.0f} MiB"


def test_every_hostile_input_is_refused_in_one_line_or_read_right(tmp_path: Path) -> None:
    for name, write in INPUTS.items():
        write(tmp_path / name)
    outs = {name: tmp_path / f"{name}.out.csv" for name in INPUTS}
    warm = tmp_path / "warm.csv"
    warm.write_text("run_id,step,accuracy\na,1,0.5\n")
    commands = [["import", str(warm), "--out", str(tmp_path / "warm.out.csv")]]
    commands += [["import", str(tmp_path / name), "--out", str(out)] for name, out in outs.items()]
    for name, done in zip(["warm", *INPUTS], measure(commands), strict=True):
        if name == "warm":  # the imports
            continue
        harmless(done, name)
        assert (done.code == 0) == (name in READ), f"{name}: {done.err}"
        if name in READ:
            assert set(pd.read_csv(outs[name])["run_id"]) == {READ[name]}


def test_every_file_of_the_reported_faults_is_refused_in_one_line_or_read_right(
    tmp_path: Path,
) -> None:
    files = sorted(path for path in shared_case("faults").iterdir() if path.is_file())
    warm = tmp_path / "warm.csv"
    warm.write_text("run_id,step,accuracy\na,1,0.5\n")
    commands: list[list[str]] = [["fit", str(warm), "--json"]]
    for file in files:
        commands += [
            ["import", str(file), "--out", str(tmp_path / f"{file.name}.csv")],
            ["import", str(warm), "--manifest", str(file), "--out", str(tmp_path / "warm.out.csv")],
            ["train", str(file), "--dry-run", "--json"],
            ["simulate", str(file), "--out", str(tmp_path / "sweep")],
            ["predict", str(file), "--fpr", "0", "--fnr", "0", "--group-size", "8", "--steps", "9"],
        ]
    for command, done in zip(commands[1:], measure(commands)[1:], strict=True):
        harmless(done, " ".join(command))


def test_what_is_no_file_of_a_fair_size_is_refused_wherever_a_file_is_read(tmp_path: Path) -> None:
    kinds = {
        "pipe": os.mkfifo,
        "device": lambda path: path.symlink_to("/dev/zero"),
        "loop": lambda path: path.symlink_to(path.name),
        "never there": lambda path: path.symlink_to("/proc/kmsg"),
        "huge": lambda path: path.write_text("# " + "x" * (3 << 20)),
    }
    table = tmp_path / "table.csv"
    table.write_text("run_id,step,accuracy\na,1,0.5\n")
    commands: list[list[str]] = []
    for kind, make in kinds.items():
        odd = tmp_path / f"{kind}.yaml"
        make(odd)
        commands += [
            ["train", str(odd), "--dry-run"],
            ["simulate", str(odd), "--out", str(tmp_path / "out")],
            ["predict", str(odd), "--fpr", "0", "--fnr", "0", "--group-size", "8", "--steps", "9"],
            ["audit", str(odd), "--truth", "a", "--verdict", "b"],
            ["import", str(table), "--out", str(tmp_path / "out.csv"), "--manifest", str(odd)],
        ]
    for command, done in zip(commands, measure(commands), strict=True):
        assert done.code == 2, f"{command}: {done.error or done.err}"
        assert not done.error
        assert done.err.count("\n") == 1
        assert str(tmp_path) in done.err


@pytest.mark.parametrize("kind", YAML)
def test_yaml_that_expands_or_is_of_no_plain_type_is_refused_before_it_is_built(kind: str) -> None:
    began = time.process_time()
    with pytest.raises(InputError, match=r"^study\.yaml"):
        load_yaml(YAML[kind], source="study.yaml")
    assert time.process_time() - began < SECONDS


@pytest.mark.parametrize("at", [0, (1 << 24) - 90])
def test_a_list_within_json_lines_is_kept_from_the_parser_that_deep_ones_end(
    at: int, tmp_path: Path
) -> None:
    # Arrow's parser calls itself for each level; at the end of the first block the list begins the second.
    path = tmp_path / "t.jsonl"
    row = ROW % f', "x": {" " * at}' + "[" * 100_000 + "]" * 100_000 + "}"
    path.write_text(row.replace("}\n", ""))
    done = measure([["import", str(path), "--out", str(tmp_path / "out.csv")]])[0]
    harmless(done, "deep")
    assert "nested more than 64 levels deep" in done.err


def test_a_refusal_that_lists_what_a_file_names_is_cut(tmp_path: Path) -> None:
    events = tmp_path / "run" / "events.out.tfevents.0"
    events.parent.mkdir()
    tags = [b"%d/accuracy" % i for i in range(2000)]
    events.write_bytes(b"".join(event_record(scalar_event(1, 0.5, tag)) for tag in tags))
    said = refused("import", events, "--out", tmp_path / "out.csv")
    assert len(said) < 1000
    assert said.endswith("more characters)\n")


@pytest.mark.parametrize("name", ["wide.csv", "wide.jsonl", "sparse.jsonl"])
def test_labels_that_ask_for_too_many_cells_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    names = [f"c{i}" for i in range(6000)]
    rows = {
        "wide.csv": ",".join(["t", "v", *names]) + "\n" + "1," * 6001 + "1\n",
        "wide.jsonl": json.dumps({"t": 1, "v": 1} | dict.fromkeys(names, 1)) + "\n",
        "sparse.jsonl": "".join(json.dumps({"t": 1, "v": 1, n: 1}) + "\n" for n in names[:4900]),
    }
    path.write_text(rows[name])
    assert "not read" in refused("audit", path, "--truth", "t", "--verdict", "v")


@pytest.mark.parametrize("pattern", ["(" * 5000 + ")" * 5000, "a{99999999999}", "((("])
def test_a_pattern_that_is_none_is_refused(pattern: str, tmp_path: Path) -> None:
    labels = tmp_path / "t.csv"
    labels.write_text("c,g\n#### 1,1\n")
    columns = ["--completion", "c", "--gold", "g", "--reference", "strict"]
    assert "--verifier-regex" in refused("audit", labels, *columns, "--verifier-regex", pattern)


@pytest.mark.parametrize("count", ["9" * 400, "1000000000"])
def test_a_grid_of_too_many_points_is_refused_before_it_is_laid_out(
    count: str, tmp_path: Path
) -> None:
    grid = ["--fpr-grid", f"0:0.5:{count}"]
    assert "at most 1,000" in refused("phase", "--out", tmp_path / "out", *grid)


def test_a_command_that_a_signal_ends_is_told_and_not_waited_for() -> None:
    class Deadly(list[str]):
        def __iter__(self) -> Iterator[str]:
            os.kill(os.getpid(), signal.SIGKILL)
            return super().__iter__()

    assert forked(Deadly()).error == f"ended by signal {signal.SIGKILL:d}"


def test_a_price_that_no_float_holds_is_refused(tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text(f"label: {'9' * 400}\n")
    with pytest.raises(InputError, match=r"prices\.yaml: label must be a price, got 9{40}$"):
        read_prices(prices)


def test_yaml_that_shares_a_little_is_read() -> None:
    text = "base: &base {fpr: 0.1}\nnoisy: {<<: *base, fnr: 0.2}\nagain: *base\n"
    assert load_yaml(text, source="x")["noisy"] == {"fpr": 0.1, "fnr": 0.2}


def test_a_table_for_spreadsheets_keeps_its_numbers(tmp_path: Path) -> None:
    cells = ["=1+1", "+a", "-b", "@c", "\td", "-0.5", "+1e3", "plain", ""]
    frame = pd.DataFrame({"text": cells, "=x": -1.0})
    write_csv(frame, tmp_path / "out.csv")
    back = pd.read_csv(tmp_path / "out.csv", dtype=str, keep_default_na=False)
    assert back["text"].tolist() == [*(f"'{cell}" for cell in cells[:5]), *cells[5:]]
    assert list(back.columns) == ["text", "'=x"]
    assert set(back["'=x"]) == {"-1.0"}


EVENTS = Path(__file__).parents[1] / "fits" / "data" / "trl-run-a" / "runs" / "first"


def test_every_flipped_bit_of_an_event_file_is_an_error_and_never_another_accuracy(
    tmp_path: Path,
) -> None:
    raw = (EVENTS / "events.out.tfevents.0").read_bytes()
    copy = tmp_path / "run" / "events.out.tfevents.0"
    copy.parent.mkdir()
    for at in range(0, len(raw), 997):
        flipped = bytearray(raw)
        flipped[at] ^= 1 << at % 8
        copy.write_bytes(bytes(flipped))
        with pytest.raises(InputError, match=r"damaged|no TensorBoard"):
            read_runs(copy)


WANDB = Path(__file__).parents[1] / "fits" / "data" / "wandb-offline" / "run-a.wandb"


def test_a_flipped_bit_of_an_offline_run_is_an_error_or_changes_nothing(tmp_path: Path) -> None:
    raw = WANDB.read_bytes()
    whole = read_runs(WANDB).frame
    copy = tmp_path / "run-a.wandb"
    refused = 0
    for at in range(7, len(raw), len(raw) // 40):
        flipped = bytearray(raw)
        flipped[at] ^= 1 << at % 8
        copy.write_bytes(bytes(flipped))
        try:
            read = read_runs(copy)
        except InputError:
            refused += 1
            continue
        if not any("cut short" in note for note in read.notes):
            pd.testing.assert_frame_equal(read.frame, whole)
    assert refused > 30


def test_the_record_of_an_offline_run_that_is_damaged_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.wandb"
    path.write_bytes(b":W&B\0\0\0" + history((b"_step", b"1")) + history((b"_step", b"[")))
    with pytest.raises(InputError, match="record 2"):
        read_runs(path)
