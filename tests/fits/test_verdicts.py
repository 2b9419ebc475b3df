"""Verdicts that can be believed: measured ends, floors over laws, ranges, and truths that no law contains."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fits import CURVE_LAWS, fit_groups, gap_report, parse_selection
from fits.fit import allow_for_laws, fit_laws, least_aic
from fits.inference import least_gap_variance, student_interval
from tests.benchmarks.verdicts import FOUR, POWER, Truth, false_alarms, verdicts
from tests.builders import ROOT, matched_runs

IS_CLEAN = parse_selection(["fpr=0,fnr=0"])


CAMPAIGN = ROOT / "empirical/results/cpu-campaign/runs.parquet"
# Arms whose seeds agree more closely than 2,048 samples allow: by group size, estimator and arm.
BOUND: dict[int, set[tuple[str, str]]] = {
    4: {("dr_grpo", "drgrpo-fpr0.4"), ("grpo", "fpr0.4")},
    8: set(),
    16: {("grpo", "inverted"), ("grpo", "fpr0.2")},
    32: set(),
}


@pytest.mark.parametrize("size", list(BOUND))
def test_every_end_of_the_campaign_is_the_paired_t_of_the_raw_table(size: int) -> None:
    """Where evaluation noise does not bind, which is where BOUND says; there the interval is wider, never narrower."""
    table = pd.read_parquet(CAMPAIGN)
    table = table[table["group_size"] == size]
    last = table[table["step"] == 300].set_index(["estimator", "arm", "seed"])["accuracy"]
    report = gap_report(table, clean=IS_CLEAN, law="exponential")
    bound: set[tuple[str, str]] = set()
    for arm in report.arms:
        estimator = str(arm.setting["estimator"])
        name, clean = arm.arm.split(",")[0], {"grpo": "clean", "dr_grpo": "drgrpo-clean"}[estimator]
        gaps = (last[estimator][clean] - last[estimator][name]).dropna().to_numpy()
        plain = stats.ttest_1samp(gaps, 0.0).confidence_interval()
        least = float(least_gap_variance(gaps, np.full(len(gaps), 2048.0)).mean())
        known = float(stats.norm.ppf(0.975)) * (least / len(gaps)) ** 0.5
        assert arm.seeds == len(gaps)
        assert arm.end == pytest.approx(gaps.mean())
        assert arm.end_ci is not None
        if plain.high - gaps.mean() < known:
            bound.add((estimator, name))
        half = max(float(plain.high - gaps.mean()), known)
        assert arm.end_ci == pytest.approx((gaps.mean() - half, gaps.mean() + half), abs=1e-9)
    assert bound == BOUND[size]


def test_fpr_of_six_tenths_at_eight_rollouts_does_not_close() -> None:
    table = pd.read_parquet(CAMPAIGN)
    one = (table["estimator"] == "grpo") & (table["group_size"] == 8)
    table = table[one & table["arm"].isin(["clean", "fpr0.6"])]
    (arm,) = gap_report(table, clean=IS_CLEAN).arms
    assert arm.verdict != "closes"
    assert arm.end_ci is not None
    assert arm.end_ci[0] > 0.01


@pytest.mark.parametrize("truth", FOUR, ids=lambda truth: truth.name)
def test_truths_that_no_law_contains_are_rarely_judged_wrongly(truth: Truth) -> None:
    """The rates are in COVERAGE.md; here 12 replications hold the machinery to them."""
    rates = verdicts(truth, 12)
    assert rates["false closes"] <= 0.2
    assert rates["false persists"] <= 0.2
    assert rates["end covered"] >= 0.7


def test_what_can_be_known_is_said() -> None:
    closes, persists = (verdicts(truth, 16) for truth in POWER)
    assert closes["closes for ever"] >= 0.6
    assert persists["persists for ever"] >= 0.6


@pytest.mark.parametrize("seeds", [3, 5])
def test_arms_that_end_alike_are_told_apart_as_rarely_as_a_test_says(seeds: int) -> None:
    """Nominal 5 %: a floor on the spread that takes rejections away from three seeds is no test of 5 %."""
    assert 0.02 <= false_alarms(seeds, 400) <= 0.08


def test_noise_that_is_known_needs_no_t_quantile() -> None:
    """The floor widens intervals by what evaluation leaves open, not by what few seeds do not know of it."""
    rng = np.random.default_rng(5)
    gaps = rng.normal(0.03, 0.004, (4000, 5))
    widths = np.array([np.diff(student_interval(g, least=0.004**2)[1] or (0, 0)) for g in gaps])
    plain = np.array([np.diff(student_interval(g)[1] or (0, 0)) for g in gaps])
    assert (widths >= plain).all()
    assert widths.mean() < 1.1 * plain.mean()
    inside = [abs(g.mean() - 0.03) <= w / 2 for g, w in zip(gaps, widths[:, 0], strict=True)]
    assert np.mean(inside) >= 0.94


def test_seeds_that_differ_by_one_question_of_thirty_are_not_certain() -> None:
    gaps = np.full(3, 1 / 30)
    mean, ci = student_interval(
        gaps, least=float(least_gap_variance(gaps, np.full(3, 30.0)).mean())
    )
    assert ci is not None
    assert ci[0] < 0.0 < mean < ci[1]


@pytest.mark.parametrize(("evaluations", "least"), [(6, 0.0), (7, 0.0), (8, 0.2)])
def test_few_evaluations_identify_nothing_and_eight_something(
    evaluations: int, least: float
) -> None:
    rng = np.random.default_rng(evaluations)
    x = np.linspace(0.0, 6e4, evaluations)
    truth = 0.1 + 0.7 * np.where(x > 0, 1.0 / (1.0 + (1e4 / np.maximum(x, 1.0)) ** 1.5), 0.0)
    known = covered = 0
    for _ in range(30):
        tried, _ = fit_laws(
            x,
            np.clip(truth + rng.normal(0.0, 0.01, evaluations), 0.0, 1.0),
            run=np.zeros(evaluations),
            n_eval=None,
            laws=CURVE_LAWS,
            loss="least-squares",
        )
        best = least_aic(tried)
        fit = allow_for_laws(best, [one for one in tried if one is not best])
        ci = fit.ci["asymptote"]
        known += fit.identified
        covered += fit.identified and ci is not None and ci[0] <= 0.8 <= ci[1]
    assert known >= least * 30
    assert known == 0 or least > 0.0
    assert covered >= 0.8 * known


TABLES = st.builds(
    matched_runs,
    seeds=st.integers(2, 4),
    evaluations=st.sampled_from([1, 4, 9]),
    midpoints=st.sampled_from([0.5, 4.0, 12.0]),
    n_eval=st.sampled_from([30, 400]),
    spread=st.sampled_from([0.0, 0.03]),
    seed=st.integers(0, 10_000),
)


@settings(max_examples=12, deadline=None)
@given(frame=TABLES)
def test_of_any_table_estimates_lie_in_intervals_and_intervals_in_their_ranges(
    frame: pd.DataFrame,
) -> None:
    report = gap_report(frame, clean=IS_CLEAN)
    again = gap_report(frame.sample(frac=1.0, random_state=1), clean=IS_CLEAN)
    for arm, other in zip(
        report.arms, sorted(again.arms, key=lambda a: a.arm != report.arms[0].arm), strict=True
    ):
        assert (arm.arm, arm.verdict, arm.laws) == (other.arm, other.verdict, other.laws)
        assert arm.floor == pytest.approx(other.floor, abs=1e-6)
        for value, ci in (
            (arm.end, arm.end_ci),
            (arm.trend, arm.trend_ci),
            (arm.floor, arm.floor_ci),
        ):
            if ci is not None:
                assert value is not None
                assert ci[0] <= value <= ci[1]
                assert ci[0] < ci[1]
                assert ci[0] >= -1.0
                assert ci[1] <= 1.0
    for one in report.exchange_rate.arms + report.exchange_rate.halfway.arms:
        if one.ci is not None and one.multiplier is not None:
            assert one.ci[0] <= one.multiplier
            assert one.ci[1] is None or one.multiplier <= one.ci[1]


@pytest.mark.parametrize("law", ["sigmoid", "auto"])
def test_gap_and_fit_give_one_asymptote(law: str) -> None:
    frame = matched_runs(seeds=4, n_eval=20_000, spread=0.004)
    fits = {one.group: one.fit for one in fit_groups(frame, law=law)}
    for arm in gap_report(frame, clean=IS_CLEAN, law=law).arms:
        assert arm.horizon == "asymptote"
        lost = fits["clean"].params["asymptote"] - fits[arm.arm].params["asymptote"]
        assert arm.floor == pytest.approx(lost, abs=1e-9)
