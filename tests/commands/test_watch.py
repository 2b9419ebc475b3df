"""`verigap watch`: one look or many, exit codes, the line for schedulers, and what is refused."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import verigap as vg
from empirical.watch.steps import LOG, STOP
from tests.builders import ROOT
from tests.commands.command import refused, verigap
from tests.docs.test_contract import missing, promised
from tests.watched import callback_lines, ours, training_row


def test_a_quiet_run_that_ended(tmp_path: Path) -> None:
    folder = ours(tmp_path / "a", steps=9, fpr=0.2, done=True)
    done = verigap("watch", folder, "--json")
    assert done.code == 0
    assert done.out.count("\n") == 1  # one line, for schedulers
    assert done.document["state"] == "ended"
    assert not done.document["alarm"]
    assert missing(done.document, promised("watch")) == []
    assert done.document == vg.watch(folder).plain()


def test_an_alarm_ends_the_watch_with_1_and_may_stop_the_run(tmp_path: Path) -> None:
    folder = ours(tmp_path / "a", steps=60, rises=True, total=300)
    done = verigap("watch", folder, "--json", "--labels-per-step", 16, "--stop")
    assert done.code == 1
    on = {alarm["name"] for alarm in done.document["alarms"] if alarm["on"]}
    assert "declared" in on
    assert "left its declared rates" in (folder / STOP).read_text()
    assert "remove it before the run goes on" in done.err
    shown = verigap("watch", folder, "--once", "--labels-per-step", 16)
    assert shown.code == 1
    assert "ALARM, step" in shown.out
    assert "at most 1 % of runs" in shown.out


def test_other_declared_rates_and_an_audit(tmp_path: Path) -> None:
    folder = ours(tmp_path / "a", steps=60, rises=True, total=300)
    high = verigap("watch", folder, "--once", "--json", "--fpr", 0.95, "--fnr", 0.1).document
    assert high["declared"] == {"fpr": 0.95, "fnr": 0.1}
    assert not {a["name"]: a for a in high["alarms"]}["declared"]["on"]
    audit = tmp_path / "audit.json"
    audit.write_text(json.dumps({"fpr": 0.5, "fnr": 0.1, "fpr_ci": [0.4, 0.6], "fnr_ci": [0, 0.2]}))
    read = verigap("watch", folder, "--once", "--json", "--audit", audit).document
    assert read["declared"] == {"fpr": 0.6, "fnr": 0.2}
    assert "not both" in refused("watch", folder, "--once", "--fpr", 0.1, "--audit", audit)


def test_a_run_is_followed_to_its_end(tmp_path: Path) -> None:
    folder = ours(tmp_path / "a", steps=2, total=6)

    def train() -> None:
        for step in range(3, 7):
            time.sleep(0.15)
            with (folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(training_row(step)) + "\n")

    writer = threading.Thread(target=train)
    writer.start()
    done = verigap("watch", folder, "--every", 0.1)
    writer.join()
    assert done.code == 0
    lines = [line for line in done.out.splitlines() if "a: step" in line]
    assert len(lines) > 2
    assert "step 6/6" in lines[-1]


def test_a_silent_run_and_a_log_that_never_comes_try_patience(tmp_path: Path) -> None:
    folder = ours(tmp_path / "a", steps=2)
    done = verigap("watch", folder, "--every", 0.1, "--patience", 0.005, "--json")
    assert (done.code, done.document["state"]) == (3, "silent")
    (tmp_path / "b").mkdir()
    said = refused("watch", tmp_path / "b", "--every", 0.1, "--patience", 0.005)
    assert "no log of a run came in 0.005 minutes" in said
    assert "no log of a run to watch" in refused("watch", tmp_path / "b")


def test_a_persons_labels_take_the_place_of_the_logs(tmp_path: Path) -> None:
    folder = ours(tmp_path / "a", steps=9)
    labels = tmp_path / "labels.csv"
    labels.write_text("step,paid,right\n" + "1,1,0\n" * 3 + "4,1,1\n")
    seen = vg.watch(folder, labels=labels)
    assert (seen.step, seen.labels, seen.labels_by) == (4, 4, str(labels))
    labels.write_text("step,paid,right\n100,1,0\n")
    said = refused("watch", folder, "--once", "--labels", labels)
    assert "its steps 100 to 100 are none of the run's, 1 to 9" in said
    assert (
        "no such file" in refused("watch", folder, "--once", "--labels", tmp_path / "c.csv").lower()
    )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("1,1,0\n" * 201, "201 rollouts are labelled at step 1, and the run's log has 64"),
        ("2,1,0\n" * 33, "33 paid rollouts are labelled at step 2, and the run's log has 32"),
        ("3,0,0\n" * 33, "33 unpaid rollouts are labelled at step 3, and the run's log has 32"),
    ],
)
def test_more_labels_than_rollouts_are_no_evidence(tmp_path: Path, rows: str, said: str) -> None:
    folder = ours(tmp_path / "a", steps=9)
    labels = tmp_path / "labels.csv"
    labels.write_text("step,paid,right\n" + rows)
    assert f"{labels}: {said}" in refused("watch", folder, "--once", "--labels", labels)
    every = "1,1,1\n" * 24 + "1,1,0\n" * 8 + "1,0,0\n" * 32
    labels.write_text("step,paid,right\n" + every)
    assert vg.watch(folder, labels=labels).labels == 64


def test_labels_of_steps_that_the_run_never_had_are_said(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("step,paid,right\n1,1,0\n9,1,1\n300,1,0\n300,1,0\n")
    ended = vg.watch(ours(tmp_path / "ended", steps=9, done=True), labels=labels)
    assert ended.notes == ("2 labels left out: of 1 step that the run's log does not have (300)",)
    # While it goes on step 300 may come, and what was never logged before its newest step will not.
    folder = ours(tmp_path / "live", steps=20, total=400)
    assert vg.watch(folder, labels=labels).notes == ()
    labels.write_text("step,paid,right\n0,1,0\n1,1,0\n")
    (said,) = vg.watch(folder, labels=labels).notes
    assert said == "1 label left out: of 1 step that the run's log does not have (0)"


def test_a_torn_last_label_is_said_once_the_run_has_ended(tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    labels.write_text('{"step": 1, "paid": 1, "right": 0}\n{"step": 2, "paid": 1, "ri')
    torn = "labels.jsonl, line 2: last line cut short, dropped"
    for done in (False, True):  # until then it is being written
        seen = vg.watch(ours(tmp_path / f"{done}", steps=9, done=done), labels=labels)
        assert seen.labels == 1
        assert (torn in seen.notes) is done


def test_what_cannot_be_known_says_what_would_tell(tmp_path: Path) -> None:
    (tmp_path / "trainer_state.json").write_text('{"log_history": [{"step": 1, "reward": 0.5}]}')
    shown = " ".join(verigap("watch", tmp_path, "--once").out.split())
    assert "cannot go off: no labels" in shown
    assert "cannot go off: no rates are declared (--fpr, --fnr, or an audit's: --audit)" in shown
    assert "there are no labels (--labels, or --reference for completions that TRL saved)" in shown


def test_a_forecast_beside_the_run(tmp_path: Path) -> None:
    calibration = tmp_path / "calibration.json"
    smoke = ROOT / "empirical/results/cpu-smoke"
    assert verigap("validate", smoke, "--calibrate-on", "arm=clean", "--out", calibration).code == 0
    folder = ours(tmp_path / "a", steps=5)
    seen = verigap("watch", folder, "--once", "--json", "--calibration", calibration).document
    low, high = seen["forecast"]["ci90"]
    assert low <= seen["forecast"]["accuracy"] <= high
    assert seen["forecast"]["step"] == 9
    assert seen["forecast_now"]["measured"] == 0.25
    assert seen["accuracy_left"] == pytest.approx(seen["forecast"]["accuracy"] - 0.25)
    assert "is no calibration" in refused(
        "watch", folder, "--once", "--calibration", folder / "spec.json"
    )
    assert "no such file" in refused("watch", folder, "--calibration", tmp_path / "none.json")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--false-alarm", 0), "false_alarm must lie in (0, 1)"),
        (("--tolerance", 0.6), "tolerance must lie in"),
        (("--fpr", 1.2), "declared fpr must lie in [0, 1]"),
        (("--run", "b"), "no run is called 'b'"),
    ],
)
def test_options_that_are_refused(tmp_path: Path, options: tuple[object, ...], said: str) -> None:
    assert said in refused("watch", ours(tmp_path / "a", steps=1), "--once", *options)


def test_a_terminal_is_refreshed_in_place(tmp_path: Path) -> None:
    (tmp_path / LOG).write_text(callback_lines(3, run="x\x1b[31m", end=True))
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "verigap", "watch", str(tmp_path), "--every", "0.1"],
        stdout=slave,
        stderr=subprocess.PIPE,
        env={**os.environ, "COLUMNS": "90", "LINES": "40", "TERM": "xterm-256color"},
        cwd=ROOT,
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(master)
    _, err = process.communicate()
    assert process.returncode == 0, err
    text = shown.decode()
    assert "observed reward" in text
    assert "alarms, at most 1 % of runs" in text
    assert "\x1b[?25l" in text  # the cursor hides while the view refreshes


def test_a_name_of_a_run_commands_no_terminal(tmp_path: Path) -> None:
    folder = ours(tmp_path / "a", steps=1)
    spec = json.loads((folder / "spec.json").read_text())
    del spec["sha256"]
    (folder / "spec.json").write_text(json.dumps({**spec, "run_id": "a\x1b[2J[/b]"}))
    done = verigap("watch", folder, "--once")
    assert done.code == 0
    assert "\x1b" not in done.out
    assert "[/b]" in done.out
