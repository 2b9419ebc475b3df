"""The site's first page says what the committed runs say today, and its picture shows the same numbers."""

from __future__ import annotations

import pandas as pd
import pytest

from fits import gap_report, parse_selection, read_runs
from fits.answers import three_answers
from fits.gap import GapReport
from paper.claims import DELTA
from paper.figures.answers import ARMS, SIZE, draw_answers
from tests.builders import ROOT

GENERATED = ROOT / "paper" / "generated"


@pytest.fixture(scope="module")
def report() -> GapReport:
    frame = read_runs(ROOT / "empirical/results/cpu-campaign").frame
    return gap_report(frame, clean=parse_selection(["fpr=0,fnr=0"]), delta=DELTA)


def test_the_page_gives_the_three_answers_of_the_campaign(report: GapReport) -> None:
    page = (GENERATED / "home.md").read_text(encoding="utf-8")
    for one in three_answers(report):
        assert f"**{one.question}** {one.answer}" in page
        for said in one.because:
            assert f"- {said}\n" in page


def test_the_picture_shows_the_report_s_numbers(report: GapReport) -> None:
    drawn = draw_answers(report).data
    committed = pd.read_csv(GENERATED / "figures/answers.csv")
    pd.testing.assert_frame_equal(
        drawn.reset_index(drop=True), committed, check_dtype=False, rtol=1e-6, atol=1e-9
    )
    arms = {arm.arm: arm for arm in report.arms}
    lever = drawn[drawn["what"] == "clean verifier"].set_index("arm")["value"]
    assert {name: arms[f"{name},group_size={SIZE}"].end for name in ARMS} == lever.to_dict()
    errors = drawn[drawn["panel"] == 3].set_index("arm")["value"]
    for one in report.settings:
        if one.setting["estimator"] == "grpo":
            assert errors[str(one.setting["group_size"])] == one.asymmetry.difference
