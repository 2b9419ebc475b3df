"""The demo: what the commands say of the committed campaign, in an empty directory, from a built wheel."""

from __future__ import annotations

import json
import math
import re
import shlex
import subprocess
import sys
import zipfile
from dataclasses import replace
from html import unescape
from pathlib import Path

import pandas as pd
import pytest

from empirical.demo import CALIBRATE_ON, GROUP_SIZE
from fits import GapReport, gap_report, parse_selection, read_runs
from fits.advice import compounding, dearer, multiplier_in_words, per_ten_points
from fits.gap import Multiplier, PerPoint
from tests.builders import ROOT
from tests.commands.command import Done, verigap

CAMPAIGN = ROOT / "empirical" / "results" / "cpu-campaign"
COMPARABLE = f"group_size={GROUP_SIZE},estimator=grpo,noise=independent"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Path]:
    out = tmp_path_factory.mktemp("demo") / "out"
    return verigap("demo", "--out", out, "--json"), out


def test_its_gaps_are_those_of_gap(demo: tuple[Done, Path]) -> None:
    done, out = demo
    assert done.code == 0, done.err
    assert Path(done.document["report"]) == out / "report.html"
    assert done.document["gap"] == verigap("gap", CAMPAIGN, "--frontier", "--json").document


def test_the_forecast_is_the_one_of_validate(demo: tuple[Done, Path]) -> None:
    options = ("--calibrate-on", CALIBRATE_ON, "--warmup-steps", "0", "--group", "arm")
    printed = verigap("validate", CAMPAIGN, *options, "--json").document
    assert demo[0].document["forecast"] == printed


def test_its_tables_can_be_used_again(demo: tuple[Done, Path]) -> None:
    done, out = demo
    runs = read_runs(out / "runs.csv").frame
    pd.testing.assert_series_equal(runs["accuracy"], read_runs(CAMPAIGN).frame["accuracy"])
    forecasts = pd.read_csv(out / "forecasts.csv")
    error = forecasts["forecast"] - forecasts["accuracy"]
    assert float((error**2).mean() ** 0.5) == pytest.approx(done.document["forecast"]["rmse"])
    gaps = pd.read_csv(out / "gaps.csv")
    assert len(gaps) == sum(len(arm["curve"]) for arm in done.document["gap"]["arms"])
    where = ("--fpr", 0.1, "--fnr", 0.2, "--group-size", GROUP_SIZE, "--steps", 300)
    predicted = verigap("predict", out / "calibration.json", *where, "--json").document
    assert 0.0 < predicted["accuracy"] < 1.0


def test_the_report_has_every_arm_and_answer(demo: tuple[Done, Path]) -> None:
    done, out = demo
    text = unescape((out / "report.html").read_text(encoding="utf-8"))
    for arm in done.document["gap"]["arms"]:
        assert arm["arm"] in text
    assert len(done.document["answers"]) == 3
    for one in done.document["answers"]:
        for said in (one["question"], one["answer"], *one["because"], *one["assumes"]):
            assert said in text
    assert "Probe of the gradient" in text


def test_the_commands_of_the_report_are_commands(
    demo: tuple[Done, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    text = unescape((demo[1] / "report.html").read_text(encoding="utf-8"))
    blocks = re.findall(r"<pre><code>(.*?)</code></pre>", text, flags=re.DOTALL)
    lines = dict.fromkeys("\n".join(blocks).splitlines())
    assert len(lines) >= 3
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "verigap"
        done = verigap(*arguments, "--json")
        assert done.code == 0, done.err


def test_the_terminal_says_the_same_in_eighty_columns(
    tmp_path: Path, demo: tuple[Done, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = verigap("demo", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert max(len(line) for line in lines[:-1]) <= 80
    assert lines[-1] == f"Report: {tmp_path / 'out' / 'report.html'}"
    flowing = " ".join(done.out.split())
    for one in demo[0].document["answers"]:
        for said in (one["question"], one["answer"], *one["because"]):
            assert said in flowing


def test_prices_are_compounded_over_ten_points() -> None:
    assert per_ten_points(
        PerPoint("fpr", 2 ** (math.log(0.99) / math.log(0.9)), (1.0, None), 0.2, "")
    ) == ("+100.0 % [+0.0, no limit]")
    assert per_ten_points(PerPoint("fnr", None, None, 1.0, "none does")) == "none does"
    assert multiplier_in_words(Multiplier("a", 0.8, None, None, 1.0, "no finite amount")) == "–"


@pytest.mark.parametrize(
    ("fp", "fn", "order"),
    [
        ((1.02, 1.03), (1.00, 1.01), "false positives first"),
        ((1.00, 1.01), (1.02, None), "false negatives first"),
        ((1.02, None), (1.00, 1.03), "no clear order"),
        ((1.00, 1.02), (1.01, 1.03), "no clear order"),
        (None, (1.01, 1.03), "no clear order"),
    ],
)
def test_an_error_comes_first_only_where_intervals_do_not_meet(
    fp: tuple[float, float | None] | None, fn: tuple[float, float | None] | None, order: str
) -> None:
    said = dearer(PerPoint("fpr", 1.015, fp, 0.0, ""), PerPoint("fnr", 1.015, fn, 0.0, ""))
    assert said == order


def test_errors_compound_only_beyond_their_product() -> None:
    """Two errors of 1.2 and 1.5 times the compute, each with limits of a tenth to either side."""
    runs = read_runs(CAMPAIGN, where=[COMPARABLE]).frame
    report = gap_report(runs, clean=parse_selection(["fpr=0,fnr=0"]))

    def with_joint(joint: float) -> GapReport:
        alone = {"fpr0.4": 1.2, "fnr0.4": 1.5, "both0.4": joint}
        halfway = report.exchange_rate.halfway
        arms = tuple(
            replace(one, multiplier=m, ci=None if m is None else (m - 0.1, m + 0.1))
            for one in halfway.arms
            for m in [alone.get(one.arm)]
        )
        rate = replace(report.exchange_rate, halfway=replace(halfway, arms=arms))
        return replace(report, exchange_rate=rate)

    assert compounding(with_joint(2.3)) == ("both0.4", 2.3, pytest.approx(1.8))
    assert compounding(with_joint(2.1)) is None  # 2.0 is below 1.3 * 1.6


def test_runs_from_a_built_wheel_in_an_empty_directory_without_torch(
    tmp_path: Path, demo: tuple[Done, Path]
) -> None:
    """The same numbers, from another process; and the wheel holds no more of the results than it needs."""
    subprocess.run(
        [
            sys.executable,
            "-m",
            "hatchling",
            "build",
            "--target",
            "wheel",
            "--directory",
            tmp_path / "dist",
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    site, empty = tmp_path / "site", tmp_path / "empty"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    results = site / "empirical" / "results"
    assert not {"steps", "models", "runs"} & {path.name for path in results.glob("*/*")}
    empty.mkdir()
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('torch', 'transformers', 'trl'): raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import theory, verigap.cli\n"
        f"assert theory.__file__.startswith({str(site)!r})\n"
        "sys.argv = ['verigap', 'demo', '--json']\n"
        "verigap.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=empty, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (empty / document["report"]).is_file()
    assert {path.name for path in empty.iterdir()} == {"verigap-demo"}
    assert document | {"report": ""} == demo[0].document | {"report": ""}
