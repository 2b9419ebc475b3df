from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from tests.commands.command import refused, verigap


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    prompt = np.repeat(np.arange(60), 5)
    right = rng.random(300) < 0.4
    paid = right ^ (rng.random(300) < np.where(right, 0.2, 0.08))
    path = tmp_path / "labels.csv"
    pd.DataFrame({"prompt": prompt, "human": right.astype(int), "grader": paid.astype(int)}).to_csv(
        path, index=False
    )
    return path


WANTED = [
    "fpr", "fpr_ci", "fnr", "fnr_ci", "youden", "youden_ci", "phi2", "phi2_ci", "effective_rollouts",
    "effective_rollouts_ci", "n", "clusters", "icc", "unscorable", "segments", "warnings",
]  # fmt: skip


def arguments(labels: Path) -> tuple[object, ...]:
    return ("audit", labels, "--truth", "human", "--verdict", "grader", "--cluster", "prompt")


def test_the_contract_keys_are_there_and_the_human_view_says_what_is_assumed(labels: Path) -> None:
    done = verigap(*arguments(labels), "--group-size", 16, "--json")
    assert done.code == 0
    assert set(WANTED) <= set(done.document)
    assert (done.document["n"], done.document["clusters"]) == (300, 60)
    shown = verigap(*arguments(labels), "--group-size", 16).out
    assert "effective_rollouts" in shown
    assert "Assumed:" in shown
    assert "To halve the interval of fpr" in shown


def test_a_rule_that_holds_exits_1_and_is_reported(labels: Path, tmp_path: Path) -> None:
    junit, sarif = tmp_path / "audit.xml", tmp_path / "audit.sarif"
    done = verigap(
        *arguments(labels), "--fail-on", "youden<.99,n>10", "--fail-on", "fpr_high>.9",
        "--junit", junit, "--sarif", sarif, "--json",
    )  # fmt: skip
    assert done.code == 1
    assert [gate["fires"] for gate in done.document["gates"]] == [True, False]
    suite = ElementTree.parse(junit).getroot()[0]
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("3", "1")
    log = json.loads(sarif.read_text())
    assert log["version"] == "2.1.0"
    assert [result["level"] for result in log["runs"][0]["results"]] == ["error"]
    assert verigap(*arguments(labels), "--fail-on", "youden<.1").code == 0


def test_a_rule_that_cannot_be_judged_is_not_passed(labels: Path) -> None:
    done = verigap(*arguments(labels), "--where", "human=1", "--fail-on", "fpr>.5", "--json")
    assert done.code == 1
    assert "unidentified" in done.document["gates"][0]["message"]


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (("--fail-on", "import os"), "is no comparison"),
        (("--fail-on", "accuracy<.5"), "an audit has no 'accuracy'"),
        (("--fail-on", "youden<high"), "'high' is not a number"),
        (("--group-size", "1"), "--group-size must be at least 2"),
        (("--cluster", "promt"), "--cluster: no column 'promt'"),
        (("--verifier", "strict"), "name where verdicts come from"),
        (("--out", "{labels}"), "is read by this command"),
        (("--where", "human=7"), "no row where human=7"),
    ],
)
def test_mistakes_are_one_line(labels: Path, extra: tuple[str, ...], said: str) -> None:
    filled = [one.format(labels=labels) for one in extra]
    assert said in refused(*arguments(labels), *filled)


def test_a_missing_file_and_a_missing_function_are_one_line(labels: Path, tmp_path: Path) -> None:
    assert "no such file" in refused(
        "audit", tmp_path / "none.csv", "--truth", "a", "--verdict", "b"
    )
    frame = pd.DataFrame({"text": ["4", "5"], "gold": ["4", "4"]})
    frame.to_csv(tmp_path / "texts.csv", index=False)
    given = ("audit", tmp_path / "texts.csv", "--completion", "text", "--gold", "gold")
    assert "cannot be imported" in refused(
        *given, "--reference", "number", "--verifier", "nowhere:grade"
    )
    assert "no verifier 'nowhere'" in refused(*given, "--reference", "number", "--verifier", "nowhere")  # fmt: skip
    assert "missing )" in refused(*given, "--reference", "number", "--verifier-regex", "(")


def test_the_figure_shows_what_was_measured(labels: Path, tmp_path: Path) -> None:
    figure = tmp_path / "audit.svg"
    done = verigap(*arguments(labels), "--figure", figure, "--json")
    assert figure.read_text().startswith("<?xml")
    data = {row["name"]: row for row in pd.read_csv(figure.with_suffix(".csv")).to_dict("records")}
    for name in ("fpr", "fnr", "youden", "pass_rate", "phi2"):
        shown = [data[name][column] for column in ("value", "low", "high")]
        assert shown == pytest.approx([done.document[name], *done.document[f"{name}_ci"]])
    assert "draw to a file ending in" in refused(*arguments(labels), "--figure", tmp_path / "a.txt")
    assert "is read by this command" in refused(*arguments(labels), "--figure", labels.with_suffix(".png"))  # fmt: skip


def test_the_figure_of_logged_runs_has_a_row_a_kind(tmp_path: Path) -> None:
    figure = tmp_path / "runs.png"
    runs = Path(__file__).parents[2] / "empirical" / "results" / "cpu-campaign"
    where = ("--where", "group_size=8,arm=clean", "--where", "group_size=8,arm=coin")
    done = verigap("audit", "--runs", runs, *where, "--figure", figure, "--json")
    data = pd.read_csv(figure.with_suffix(".csv"))
    told = {cell["group"]: cell["fpr"] for cell in done.document["cells"]}
    mine = data[data["kind"] == "fpr"]
    drawn = dict(zip(mine["name"], mine["value"], strict=True))
    assert len(drawn) == len(told) == 2
    for group, fpr in told.items():
        assert drawn[group] == pytest.approx(fpr) if fpr is not None else pd.isna(drawn[group])
    assert figure.stat().st_size > 1000
