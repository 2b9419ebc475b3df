"""`verigap report`: anyone's runs and the results beside them, with the numbers that the other commands print."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.builders import flow_runs, matched_runs
from tests.commands.command import document, refused, verigap
from verigap.pages.layout import browser

LABELS = "truth,verdict\n" + "1,1\n1,0\n0,0\n0,1\n1,1\n0,0\n" * 5


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "grader.csv"
    matched_runs(seeds=3, evaluations=8).to_csv(path, index=False)
    return path


def charts(page: Path) -> Any:
    text = page.read_text(encoding="utf-8")
    return json.loads(text.split('id="charts">')[1].split("</script>")[0])


def test_its_numbers_are_those_of_gap(runs: Path, tmp_path: Path) -> None:
    """In its document, in the data of its figure and in its cells."""
    page = tmp_path / "page.html"
    told = document("report", runs, "--out", page, "--law", "exponential")
    gap = document("gap", runs, "--law", "exponential")
    assert told["gap"] == gap
    assert told["report"] == str(page)
    lost, levels = charts(page)[0][0]["quantities"]
    text = page.read_text(encoding="utf-8")
    for arm in gap["arms"]:
        (line,) = (one for one in lost["lines"] if one["name"] == arm["arm"])
        assert line["y"] == [point["gap"] for point in arm["curve"]]
        assert line["low"] == [None if p["ci"] is None else p["ci"][0] for p in arm["curve"]]
        (level,) = (one for one in levels["lines"] if one["name"] == arm["arm"])
        assert level["y"] == [point["accuracy"] for point in arm["curve"]]
        for value in (arm["end"], arm["trend"]):
            assert f"{value:+.4f}" in text
        low, high = arm["end_ci"]
        assert f"[{low:+.3f},\u00a0{high:+.3f}]" in text
    for one in told["answers"]:
        assert one["answer"] in text


def test_results_beside_are_found_and_their_numbers_shown(runs: Path, tmp_path: Path) -> None:
    shutil.copy(runs, tmp_path / "runs.csv")
    (tmp_path / "labels.csv").write_text(LABELS)
    audit = ("audit", tmp_path / "labels.csv", "--truth", "truth", "--verdict", "verdict")
    audited = document(*audit, "--out", tmp_path / "audit.json")
    (tmp_path / "labels.csv").unlink()
    rates = ("--pass-rate", "0.3", "--fpr", "0.1", "--fnr", "0.2", "--steps", "100")
    plan = document("plan", *rates)
    (tmp_path / "what-first.json").write_text(json.dumps(plan))
    (tmp_path / "other.json").write_text('{"not": "ours"}')
    (tmp_path / "torn.json").write_text('{"fpr":')
    page = tmp_path / "out" / "page.html"
    told = document("report", tmp_path, "--out", page, "--law", "exponential")
    assert [one["kind"] for one in told["beside"]] == ["audit", "plan"]
    lost = f"{tmp_path / 'torn.json'}: is no JSON (Expecting value): left out"
    assert [line for line in told["notes"] if ".json" in line] == [lost]
    text = page.read_text(encoding="utf-8")
    assert lost in text
    assert f"{audited['effective_rollouts']:.3f}" in text
    assert plan["advice"] in text
    for lever in plan["levers"]:
        assert lever["name"] in text
    # Results alone are a report too, and another's file named as one is refused.
    (tmp_path / "runs.csv").unlink()
    alone = document("report", tmp_path, "--out", page, "--force")
    assert alone["gap"] is None
    assert alone["answers"] == []
    assert alone["notes"] == [lost]
    assert lost in page.read_text(encoding="utf-8")
    other = tmp_path / "other.json"
    assert "other.json" in refused("report", runs, "--with", other, "--out", tmp_path / "n.html")


def test_a_forecast_is_that_of_validate(tmp_path: Path) -> None:
    table, page = tmp_path / "flow.csv", tmp_path / "page.html"
    flow_runs(seeds=1).to_csv(table, index=False)
    asked = ("--calibrate-on", "arm=clean", "--warmup-steps", "0")
    told = document("report", table, *asked, "--out", page)
    assert told["forecast"] == document("validate", table, *asked, "--group", "arm")
    assert f"{told['forecast']['rmse']:.4f}" in page.read_text(encoding="utf-8")
    assert len(charts(page)) == 2


def histories(folder: Path, *, rates: bool) -> Path:
    """Nine W&B histories, three seeds of three arms, each a file of its own."""
    frame = matched_runs(seeds=3, evaluations=8)
    folder.mkdir()
    for name, run in frame.groupby("run_id"):
        rows = [
            {
                "_step": i,
                "train/global_step": int(step),
                "train/reward": 0.5,
                "eval/accuracy": value,
            }
            for i, (step, value) in enumerate(zip(run["step"], run["accuracy"], strict=True))
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text)
    if rates:
        told = {
            str(name): {column: run[column].iloc[0].item() for column in ("fpr", "fnr", "seed")}
            | {"arm": str(run["arm"].iloc[0])}
            for name, run in frame.groupby("run_id")
        }
        (folder.parent / "manifest.yaml").write_text(json.dumps(told))
    return folder


def test_nine_histories_of_wandb(tmp_path: Path) -> None:
    folder = histories(tmp_path / "wandb", rates=True)
    asked = ("--manifest", tmp_path / "manifest.yaml", "--set", "group_size=8,prompts_per_step=8")
    page = tmp_path / "page.html"
    told = document("report", folder, *asked, "--out", page)
    assert told["gap"] == document("gap", folder, *asked)
    assert page.stat().st_size < 3_000_000


def test_without_a_clean_arm_it_says_so_and_shows_accuracies(tmp_path: Path) -> None:
    folder = histories(tmp_path / "wandb", rates=False)
    page = tmp_path / "page.html"
    told = document("report", folder, "--out", page)
    assert told["gap"] is None
    assert "no clean arm" in told["gap_reason"]
    assert {one["answer"] for one in told["answers"]} == {"No clean arm here."}
    assert len(told["curves"]) == 9
    last = {one["group"]: one["points"][-1]["accuracy"] for one in told["curves"]}
    text = page.read_text(encoding="utf-8")
    assert all(f"{value:.4f}" in text for value in last.values())
    # One that is named and not there is a mistake.
    line = refused("report", folder, "--clean", "arm=clean", "--out", tmp_path / "other.html")
    assert "no clean arm" in line


def test_without_a_noisy_arm_that_is_what_it_says(tmp_path: Path) -> None:
    frame = matched_runs(seeds=3, evaluations=8)
    table, page = tmp_path / "clean.csv", tmp_path / "page.html"
    frame[(frame["fpr"] == 0) & (frame["fnr"] == 0)].to_csv(table, index=False)
    told = document("report", table, "--out", page)
    assert "no noisy arm to compare" in told["gap_reason"]
    assert {one["answer"] for one in told["answers"]} == {"No noisy arm here."}


def test_the_form_is_that_of_the_option_or_the_suffix(runs: Path, tmp_path: Path) -> None:
    law = ("--law", "exponential")
    by_suffix, by_option = tmp_path / "page.md", tmp_path / "page.text"
    for asked in (("--out", by_suffix), ("--out", by_option, "--format", "md")):
        assert verigap("report", runs, *law, *asked).code == 0
    assert by_suffix.read_text().splitlines()[:40] == by_option.read_text().splitlines()[:40]
    assert by_suffix.read_text().startswith("# What the verifier costs: grader\n")
    assert "is there already; --force" in refused("report", runs, *law, "--out", by_suffix)
    for asked, said in (
        (("--out", "x.docx"), "ending in .html, .htm, .md, .markdown, .pdf, or name its form"),
        (("--out", "x.html", "--format", "md"), "x.html: ends as --format html does"),
        (("--out", "x.html", "--format", "xyz"), "none of: html, md, pdf (the page's form), auto,"),
    ):
        _, name, *form = asked
        assert said in refused("report", runs, *law, "--out", tmp_path / name, *form)
        assert not (tmp_path / name).exists()
    # What RUNS is may still be said.
    done = verigap("report", runs, *law, "--format", "csv", "--out", tmp_path / "page.html")
    assert done.code == 0, done.err


def test_a_pdf_needs_chromium_and_says_so_before_the_work(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.pdf"
    if browser() is not None:
        assert verigap("report", runs, "--law", "exponential", "--out", page).code == 0
        assert page.read_bytes()[:5] == b"%PDF-"
    monkeypatch.setenv("PATH", str(tmp_path))
    line = refused("report", runs, "--format", "pdf", "--out", tmp_path / "other.pdf")
    assert "needs Chromium" in line
    assert not (tmp_path / "other.pdf").exists()


def test_a_table_of_last_accuracies_alone(tmp_path: Path) -> None:
    """One evaluation a run shows no curve: no chart, and the lever cannot be said."""
    frame = matched_runs(seeds=3, evaluations=8)
    last = frame[frame["step"] == frame["step"].max()]
    table, page = tmp_path / "last.csv", tmp_path / "page.html"
    pd.DataFrame(last).to_csv(table, index=False)
    told = document("report", table, "--out", page)
    assert charts(page) == []
    assert told["answers"][1]["answer"] == "Cannot be said here."
    assert subprocess.run(["grep", "-c", "NaN\\|>None<", page], capture_output=True).returncode == 1
