"""The three answers say what their intervals show and no more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fits import GapReport, gap_report, parse_selection
from fits.advice import still_behind
from fits.answers import QUESTIONS, no_answers, three_answers
from fits.asymmetry import Asymmetry
from fits.gap import ArmGap
from tests.builders import matched_runs

CLEAN = parse_selection(["fpr=0,fnr=0"])


@pytest.fixture(scope="module")
def report() -> GapReport:
    return gap_report(matched_runs(seeds=3, evaluations=8), clean=CLEAN, law="exponential")


def with_arms(report: GapReport, *changes: dict[str, object]) -> GapReport:
    """The report with its first arm changed, once for each of `changes`."""
    arms = [replace(report.arms[0], arm=f"a{i}", **change) for i, change in enumerate(changes)]  # pyright: ignore[reportArgumentType]
    rate = report.exchange_rate
    priced = tuple(replace(rate.halfway.arms[0], arm=arm.arm) for arm in arms)
    rate = replace(rate, halfway=replace(rate.halfway, arms=priced))
    return replace(report, arms=tuple(arms), exchange_rate=rate)


def test_the_verdicts_are_counted_and_every_arm_named(report: GapReport) -> None:
    told = with_arms(
        report,
        {"verdict": "closes", "horizon": "asymptote", "floor": 0.001, "floor_ci": (-0.002, 0.004)},
        {"verdict": "persists", "horizon": 100.0, "floor": 0.2, "floor_ci": (0.1, 0.3)},
        {"verdict": "undetermined", "end": 0.03, "end_ci": (0.02, 0.04)},
    )
    closes, _, _ = three_answers(told)
    assert closes.answer == (
        "It depends on the verifier: yes for 1, no for 1 and undetermined for 1 of 3 arms."
    )
    text = " ".join(closes.because)
    assert "under every law not ruled out, it closes for a0 (+0.001 [-0.002, +0.004])" in text
    assert "when the runs stop, it persists for a1 (+0.200 [+0.100, +0.300])" in text
    assert "Undetermined for a2 (+0.030 [+0.020, +0.040])" in text
    assert "a2 is still more than 0.01 behind" in text


@pytest.mark.parametrize(
    ("verdict", "answer"),
    [("closes", "Yes."), ("persists", "No."), ("undetermined", "Undetermined.")],
)
def test_arms_that_agree_give_one_word(report: GapReport, verdict: str, answer: str) -> None:
    told = with_arms(report, {"verdict": verdict}, {"verdict": verdict})
    assert three_answers(told)[0].answer == answer


def test_the_lever_is_what_adds_more_within_seeds(report: GapReport) -> None:
    """By hand, from the table: clean less noisy at the end, less what the noisy arm gained from half of it."""
    frame = matched_runs(seeds=3, evaluations=8)
    end = frame["rollouts"].max()
    at = frame.pivot_table(index="seed", columns=["arm", "rollouts"], values="accuracy")
    for arm in report.arms:
        gap_S = at["clean"][end] - at[arm.arm][end]
        own_S = at[arm.arm][end] - at[arm.arm][end / 2]
        assert arm.doubling == pytest.approx(own_S.mean())
        assert arm.lever_ci is not None
        low, high = arm.lever_ci
        assert (low + high) / 2 == pytest.approx((gap_S - own_S).mean())
        expected = "verifier" if low > 0 else "compute" if high < 0 else "undetermined"
        assert arm.lever == expected
    told = with_arms(report, {"lever": "verifier"}, {"lever": "compute"}, {"lever": "verifier"})
    assert (
        three_answers(told)[1].answer
        == "It depends: the verifier for 2 and compute for 1 of 3 arms."
    )
    assert three_answers(with_arms(report, {"lever": "compute"}))[1].answer == "Compute."


def test_one_evaluation_a_run_shows_no_lever() -> None:
    frame = matched_runs(seeds=3, evaluations=8)
    last = frame[frame["step"] == frame["step"].max()]
    answer = three_answers(gap_report(last, clean=CLEAN))[1]
    assert answer.answer == "Cannot be said here."


def asymmetric(report: GapReport, *cis: tuple[float, float] | None) -> GapReport:
    """The report with a setting for each interval of the asymmetry; None: no pair."""
    settings = tuple(
        replace(
            report.settings[0],
            setting={"group_size": place},
            asymmetry=Asymmetry(None, None, "no mirror pair")
            if ci is None
            else Asymmetry(sum(ci) / 2, ci, "t over 3 seeds"),
        )
        for place, ci in enumerate(cis)
    )
    return replace(report, settings=settings, asymmetry=settings[0].asymmetry)


@pytest.mark.parametrize(
    ("cis", "answer"),
    [
        (((-0.04, -0.02),), "False positives."),
        (((0.02, 0.04),), "False negatives."),
        (((-0.02, 0.04),), "Undetermined."),
        (
            ((-0.04, -0.02), (0.02, 0.04), None),
            "It depends on the setting: false positives in 1 and false negatives in 1 of 2.",
        ),
    ],
)
def test_the_worse_error_is_told_by_setting(
    report: GapReport, cis: tuple[tuple[float, float] | None, ...], answer: str
) -> None:
    """A mean over settings in which it turns round would say one of the two for both."""
    assert three_answers(asymmetric(report, *cis))[2].answer == answer


def test_a_difference_below_delta_is_called_that(report: GapReport) -> None:
    said = three_answers(asymmetric(report, (-0.004, -0.002)))[2].because
    assert any("less than 0.01" in line for line in said)
    said = three_answers(asymmetric(report, (-0.014, -0.002)))[2].because
    assert not any("less than 0.01" in line for line in said)


def test_without_a_clean_arm_every_answer_says_why() -> None:
    answers = no_answers("there is no column fpr.")
    assert [one.question for one in answers] == list(QUESTIONS)
    assert {one.because for one in answers} == {("there is no column fpr.",)}


def test_the_measured_end_is_behind_where_its_interval_says_so(report: GapReport) -> None:
    def arm(ci: tuple[float, float] | None) -> ArmGap:
        return replace(report.arms[0], end_ci=ci)

    assert still_behind(arm((0.1, 0.15)), 0.01)
    assert not still_behind(arm((0.005, 0.2)), 0.01)
    assert not still_behind(arm(None), 0.01)
