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

from empirical.demo import (
    CALIBRATE_ON,
    CLEAN,
    COMPARABLE,
    GROUP_SIZE,
    Lost,
)
from fits import GapReport, gap_report, parse_selection, read_runs
from fits.advice import (
    compounding,
    dearer,
    multiplier_in_words,
    per_ten_points,
    still_behind,
    verdict_means,
)
from fits.gap import ArmGap, Multiplier, PerPoint, Settle
from tests.builders import ROOT
from tests.commands.command import Done, verigap

CAMPAIGN = ROOT / "empirical" / "results" / "cpu-campaign"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Path]:
    out = tmp_path_factory.mktemp("demo") / "out"
    return verigap("demo", "--out", out, "--json"), out


def test_a_verdict_per_arm_as_gap_gives_it(demo: tuple[Done, Path]) -> None:
    done, out = demo
    assert done.code == 0, done.err
    document = done.document
    assert Path(document["report"]) == out / "report.html"
    gap = verigap("gap", CAMPAIGN, "--where", f"group_size={GROUP_SIZE}", "--json").document
    theirs = {arm["arm"]: arm for arm in gap["arms"]}
    assert len(document["arms"]) == len(theirs) > 0
    for arm in document["arms"]:
        for key in ("verdict", "floor", "floor_ci", "seeds"):
            assert arm[key] == theirs[arm["arm"]][key]
        last = theirs[arm["arm"]]["curve"][-1]
        assert (arm["end"]["rollouts"], arm["end"]["measured"]) == (last["x"], last["gap"])
        assert 0.0 < arm["halfway"]["rollouts"] < arm["end"]["rollouts"]


def test_every_budget_of_the_campaign_is_measured(demo: tuple[Done, Path]) -> None:
    """And the price of an error is that of GRPO's independent errors."""
    document = demo[0].document
    runs = read_runs(CAMPAIGN).frame
    assert {int(size) for size in document["budgets"]} == set(runs["group_size"])
    gap = verigap("gap", CAMPAIGN, "--where", COMPARABLE, "--json").document
    assert document["asymmetry"] == gap["asymmetry"]
    assert document["exchange_rate"] == gap["exchange_rate"]


def test_the_forecast_is_the_one_of_validate(demo: tuple[Done, Path]) -> None:
    document = demo[0].document
    options = ("--calibrate-on", CALIBRATE_ON, "--warmup-steps", "0", "--group", "arm")
    assert document["forecast"] == verigap("validate", CAMPAIGN, *options, "--json").document
    for arm in document["arms"]:
        assert arm["forecast_rmse"] == document["forecast"]["by_group"][arm["arm"]]["rmse"]


def test_a_lost_accuracy_is_forecast_as_the_difference_of_two_forecasts(
    demo: tuple[Done, Path],
) -> None:
    """Each of them by `verigap predict` from the calibration that the demo leaves behind."""
    done, out = demo
    arm = next(one for one in done.document["arms"] if one["arm"] == "fpr0.4")

    def predicted(fpr: float, rollouts: float) -> float:
        steps = int(rollouts) // (8 * GROUP_SIZE)  # 8 prompts a step
        where = ("--fpr", fpr, "--fnr", 0, "--group-size", GROUP_SIZE, "--steps", steps)
        return verigap("predict", out / "calibration.json", *where, "--json").document["accuracy"]

    for lost in (arm["halfway"], arm["end"]):
        at = lost["rollouts"]
        assert lost["forecast"] == pytest.approx(predicted(0, at) - predicted(0.4, at), abs=1e-12)


def test_its_tables_can_be_used_again(demo: tuple[Done, Path]) -> None:
    done, out = demo
    runs = read_runs(out / "runs.csv").frame
    pd.testing.assert_series_equal(runs["accuracy"], read_runs(CAMPAIGN).frame["accuracy"])
    forecasts = pd.read_csv(out / "forecasts.csv")
    error = forecasts["forecast"] - forecasts["accuracy"]
    assert float((error**2).mean() ** 0.5) == pytest.approx(done.document["forecast"]["rmse"])
    gaps = pd.read_csv(out / "gaps.csv")
    budgets = done.document["budgets"].values()
    assert len(gaps) == sum(len(arm["curve"]) for arms in budgets for arm in arms)


def test_the_report_shows_every_arm_and_three_figures(demo: tuple[Done, Path]) -> None:
    done, out = demo
    text = (out / "report.html").read_text(encoding="utf-8")
    assert text.count("<figure>") == 3
    for arm in done.document["forecast"]["by_group"]:
        assert f'<td class="text">{arm}</td>' in text
    for question, answer in done.document["answers"].items():
        assert question in text
        assert answer in unescape(text)
    assert not re.search(r"\bnan\b|None", text)


def test_the_commands_of_the_report_are_commands(
    demo: tuple[Done, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    text = unescape((demo[1] / "report.html").read_text(encoding="utf-8"))
    lines = "\n".join(re.findall(r"<pre>(.*?)</pre>", text, flags=re.DOTALL)).splitlines()
    assert len(lines) >= 5
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "verigap"
        if "empirical/results/cpu-campaign" in arguments:
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
    for answer in demo[0].document["answers"].values():
        assert answer in flowing


def gap_of(verdict: str, *, basis: str = "asymptote", settle: Settle | None = None) -> ArmGap:
    return ArmGap(
        arm="a",
        setting={},
        verdict=verdict,  # pyright: ignore[reportArgumentType]
        floor=0.25,
        floor_ci=(0.2, 0.3),
        horizon="asymptote" if basis == "asymptote" else 100.0,
        end=0.2,
        end_ci=(0.15, 0.25),
        trend=-0.05,
        trend_ci=(-0.08, -0.02),
        laws=("sigmoid",),
        reason="",
        would_settle_it=settle,
        seeds=3,
        x_max=100.0,
        fpr=0.1,
        fnr=0.0,
    )


END = Lost(100.0, 0.125, (0.1, 0.15), 0.1)
REACHES = Multiplier("a", 0.8, 1.5, (1.25, None), 0.1, "")
NEVER = Multiplier("a", 0.8, None, None, 1.0, "no finite amount")


@pytest.mark.parametrize(
    ("gap", "final", "said"),
    [
        (
            gap_of("closes"),
            REACHES,
            r"in the long run, under every law not ruled out\.",
        ),
        (gap_of("closes", basis="largest budget"), REACHES, "of accuracy when the runs stop"),
        (gap_of("persists"), NEVER, "for good under every law not ruled out: about 0.250"),
        (gap_of("persists", basis="largest budget"), NEVER, "0.125 behind .* does not head for"),
        (
            gap_of("persists", basis="largest budget"),
            REACHES,
            r"with 1.50 \[1.25, no limit\] times",
        ),
        (
            gap_of("undetermined", settle=Settle("9 seeds")),
            REACHES,
            r"^Still 0\.125 behind .*open\. To settle it: 9 seeds\.",
        ),
    ],
)
def test_a_verdict_says_no_more_than_it_rests_on(gap: ArmGap, final: Multiplier, said: str) -> None:
    assert re.search(said, verdict_means(gap, END, final, 0.01))


def test_an_answer_says_where_a_fitted_curve_speaks_and_the_measured_end_another_way(
    demo: tuple[Done, Path],
) -> None:
    """Every arm once, under its verdict and basis; of those that close, who is still behind for sure."""
    document = demo[0].document
    answer = document["answers"]["Can more compute buy it back?"]
    words = {
        ("closes", "asymptote"): "Yes, to within 0.01, under every law not ruled out: ",
        ("closes", "largest budget"): "Yes, to within 0.01, within these runs: ",
        ("persists", "largest budget"): "Not within these runs: ",
        ("persists", "asymptote"): "No, at any budget, under every law not ruled out: ",
    }
    for (verdict, basis), said in words.items():
        arms = [a for a in document["arms"] if (a["verdict"], a["basis"]) == (verdict, basis)]
        assert (said in answer) == bool(arms)
        if arms:
            sentence = answer.split(said)[1].split(". ")[0]
            assert set(re.split(", | and ", sentence.rstrip("."))) == {a["arm"] for a in arms}
    behind = {
        f"{arm['arm']} by {arm['end']['measured']:.3f}"
        for arm in document["arms"]
        if arm["verdict"] == "undetermined" and (arm["end"]["ci"] or [0.0])[0] > 0.01
    }
    found = re.search(r"still more than 0.01 behind when the runs stop: (.*?\d)\. ", answer + " ")
    assert (set() if found is None else set(re.split(", | and ", found[1]))) == behind


def test_the_measured_end_is_behind_where_its_interval_says_so() -> None:
    assert still_behind(END, 0.01)
    assert not still_behind(replace(END, ci=(0.005, 0.2)), 0.01)
    assert not still_behind(replace(END, ci=None), 0.01)
    near = verdict_means(gap_of("closes"), replace(END, ci=(0.0, 0.02)), REACHES, 0.01)
    assert near.endswith("under every law not ruled out.")


def test_prices_are_compounded_over_ten_points() -> None:
    assert per_ten_points(
        PerPoint("fpr", 2 ** (math.log(0.99) / math.log(0.9)), (1.0, None), 0.2, "")
    ) == ("+100.0 % [+0.0, no limit]")
    assert per_ten_points(PerPoint("fnr", None, None, 1.0, "none does")) == "none does"
    assert multiplier_in_words(NEVER) == "–"


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
    report = gap_report(runs, clean=parse_selection([CLEAN]))

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
