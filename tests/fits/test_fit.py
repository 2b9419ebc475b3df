"""One curve: recovery, identifiability in words, intervals that know what they are about."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fits import EXPONENTIAL, LOG, POWER, SIGMOID, InputError, find_turn, fit_curve, fit_groups
from fits.fit import allow_for_laws
from fits.inference import student_interval, wilson
from tests.benchmarks.coverage import COURSES, experiments
from tests.builders import matched_runs


def sigmoid_runs(
    *, midpoints: float, seeds: int = 5, evaluations: int = 40, n: int = 4000, seed: int = 0
):
    rng = np.random.default_rng(seed)
    x = np.tile(np.linspace(midpoints * 1e4 / evaluations, midpoints * 1e4, evaluations), seeds)
    p = SIGMOID.predict(x[None], np.array([[0.1, 0.8, np.log(1e4), np.log(1.5)]]))[0]
    return x, rng.binomial(n, p) / n, np.repeat(np.arange(seeds), evaluations)


def test_ten_midpoints_give_the_asymptote_within_a_point() -> None:
    for seed in range(5):
        x, y, run = sigmoid_runs(midpoints=10, seed=seed)
        fit = fit_curve(x, y, run=run, law=SIGMOID)
        assert fit.identified, fit.reason
        assert abs(fit.params["asymptote"] - 0.8) < 0.01
        interval = fit.ci["asymptote"]
        assert interval is not None
        assert interval[0] < fit.params["asymptote"] < interval[1]


@pytest.mark.parametrize("start", [0.0, 0.2, 0.45])
def test_published_sigmoid_parameters_are_recovered(start: float) -> None:
    """A .61, B 1.92, C_mid 2542 GPU hours (arXiv 2510.13786), to six midpoints, noise .005, three runs."""
    rng = np.random.default_rng(round(100 * start))
    x = np.tile(np.linspace(250.0, 6 * 2542.0, 60), 3)
    share = x**1.92 / (x**1.92 + 2542.0**1.92)
    y = np.clip(start + (0.61 - start) * share + rng.normal(0.0, 0.005, len(x)), 0.0, 1.0)
    fit = fit_curve(x, y, run=np.repeat(np.arange(3), 60), law=SIGMOID)
    assert fit.identified, fit.reason
    assert fit.params["asymptote"] == pytest.approx(0.61, abs=0.01)
    assert fit.params["midpoint"] == pytest.approx(2542.0, rel=0.1)
    assert fit.params["slope"] == pytest.approx(1.92, rel=0.1)


def test_a_sigmoid_stopped_at_its_midpoint_is_not_identified_and_says_why() -> None:
    x, y, run = sigmoid_runs(midpoints=1)
    fit = fit_curve(x, y, run=run, law=SIGMOID)
    assert not fit.identified
    assert "midpoints" in fit.reason or "asymptote" in fit.reason


def test_a_collapse_is_not_monotone_and_is_placed() -> None:
    rng = np.random.default_rng(0)
    x = np.linspace(0, 100, 41)
    y = np.where(x < 50, 0.1 + 0.01 * x, 0.6 - 0.008 * (x - 50)) + rng.normal(0, 0.01, 41)
    fit = fit_curve(x, y, law=SIGMOID)
    assert fit.status == "not monotone"
    assert not fit.identified
    assert "not monotone" in fit.reason
    assert fit.turn is not None
    assert abs(fit.turn.x - 50) < 8


def test_noise_alone_is_no_turn() -> None:
    rng = np.random.default_rng(1)
    x = np.linspace(0, 1e5, 40)
    truth = SIGMOID.predict(x[None], np.array([[0.1, 0.8, np.log(1e4), 0.4]]))[0]
    turns = [find_turn(x, truth + rng.normal(0, 0.03, 40)) for _ in range(300)]
    assert sum(turn is not None for turn in turns) <= 3
    assert find_turn(x, 0.8 - truth) is None  # a fall without a rise is monotone


def test_too_few_points_a_flat_curve_and_one_point_are_results_not_errors() -> None:
    few = fit_curve([1.0, 2.0], [0.1, 0.2], law=SIGMOID)
    assert (few.status, few.identified) == ("too few points", False)
    rng = np.random.default_rng(0)
    flat = fit_curve(np.arange(1.0, 31.0), 0.3 + rng.normal(0, 0.02, 30), law=SIGMOID)
    assert not flat.identified
    assert flat.reason


def test_unusable_arrays_are_refused() -> None:
    with pytest.raises(InputError, match="row 2"):
        fit_curve([1.0, 2.0], [0.1, float("nan")], law=SIGMOID)
    with pytest.raises(InputError, match="x must be at least 0"):
        fit_curve([-1.0, 2.0], [0.1, 0.2], law=SIGMOID)
    with pytest.raises(InputError, match="equally long"):
        fit_curve([1.0], [0.1, 0.2], law=SIGMOID)


def test_pseudo_values_of_a_linear_law_are_the_runs_own_estimates() -> None:
    # In a balanced linear model influence is exact: estimate + influence = the run's own estimate.
    rng = np.random.default_rng(4)
    x = np.tile(np.arange(1.0, 13.0), 3)
    run = np.repeat([0, 1, 2], 12)
    y = 0.2 + 0.1 * np.log(x) + 0.05 * run + rng.normal(0, 0.01, 36)
    fit = fit_curve(x, y, run=run, law=LOG)
    own = [np.polyfit(np.log(x[run == r]), y[run == r], 1)[::-1] for r in range(3)]
    np.testing.assert_allclose(fit.theta_P + fit.influence_SP, own, rtol=1e-6)
    mean, interval = student_interval(np.array(own)[:, 1])
    np.testing.assert_allclose(fit.params["slope"], mean, rtol=1e-6)
    np.testing.assert_allclose(fit.ci["slope"], interval, rtol=1e-5)


def test_the_profile_interval_of_a_linear_law_is_the_t_interval() -> None:
    rng = np.random.default_rng(5)
    x = np.arange(1.0, 2001.0)
    y = 0.2 + 0.05 * np.log(x) + rng.normal(0, 0.02, 2000)
    fit = fit_curve(x, y, law=LOG)
    design = np.stack([np.ones(2000), np.log(x)], axis=1)
    beta, rss, *_ = np.linalg.lstsq(design, y)
    half = 1.961 * np.sqrt(rss[0] / 1998 * np.linalg.inv(design.T @ design)[1, 1])
    interval = fit.ci["slope"]
    assert interval is not None
    np.testing.assert_allclose(interval, [beta[1] - half, beta[1] + half], rtol=0.03)


def test_units_of_compute_do_not_matter() -> None:
    x, y, run = sigmoid_runs(midpoints=8)
    one = fit_curve(x, y, run=run, law=SIGMOID)
    other = fit_curve(x * 1e-3, y, run=run, law=SIGMOID)
    np.testing.assert_allclose(one.params["asymptote"], other.params["asymptote"], rtol=1e-6)
    np.testing.assert_allclose(one.params["midpoint"], other.params["midpoint"] * 1e3, rtol=1e-5)
    np.testing.assert_allclose(one.x_max_over_midpoint, other.x_max_over_midpoint, rtol=1e-5)


def test_aicc_prefers_the_law_that_made_the_data() -> None:
    rng = np.random.default_rng(6)
    frame = matched_runs(seeds=2, spread=0.0)
    x = frame["rollouts"].to_numpy(float)
    for law, theta in (
        (SIGMOID, [0.1, 0.8, np.log(2e4), 1.0]),
        (EXPONENTIAL, [0.1, 0.8, np.log(2e4)]),
    ):
        frame["accuracy"] = law.predict(x[None], np.array([theta]))[0] + rng.normal(
            0, 0.005, len(x)
        )
        for one in fit_groups(frame):
            assert one.fit.law is law
            assert one.compared[law.name] == one.fit.aicc


def test_an_asymptote_that_the_laws_disagree_about_is_not_believed() -> None:
    """Two speeds, four midpoints: the law of least AIC covers 20 %, the hull of those in support 85 %."""
    rng = np.random.default_rng(0)
    alone = joint = claimed = 0
    for _ in range(25):
        x, y = experiments(
            rng, rng.normal(0.8, 0.02, (1, 5)), reach=4.0, course=COURSES["two speeds"]
        )
        run = np.repeat(np.arange(5), len(x))
        tried = [
            fit_curve(np.tile(x, 5), y[0].ravel(), run=run, law=law, forecast=False)
            for law in (SIGMOID, POWER, EXPONENTIAL)
        ]
        best = min(tried, key=lambda fit: fit.aic or 0.0)
        both = allow_for_laws(best, [fit for fit in tried if fit is not best])
        for fit, counts in ((best, False), (both, True)):
            ci = fit.ci["asymptote"]
            if fit.identified and ci is not None and ci[0] <= 0.8 <= ci[1]:
                joint += counts
                alone += not counts
        claimed += both.identified
        if best.identified and not both.identified:
            assert "law is not ruled out (AIC +" in both.reason
    assert claimed < 25
    assert joint / claimed > 0.7 > 0.5 > alone / 25


def test_a_law_named_is_believed_and_one_without_an_asymptote_is_a_doubt() -> None:
    rng = np.random.default_rng(2)
    x = np.geomspace(1e3, 1e5, 12)
    y = 0.1 + 0.08 * np.log(x / 1e3) + rng.normal(0, 0.004, 12)
    frame = pd.DataFrame({"run_id": "a", "step": range(12), "rollouts": x, "accuracy": y})
    fit = fit_groups(frame)[0].fit
    assert not (fit.identified and fit.law.has_asymptote)
    one = fit_groups(matched_runs(seeds=3), law="sigmoid")[0].fit
    assert one.ci_reason == "t over 3 runs"


def test_a_start_of_zero_leaves_the_asymptote_identified() -> None:
    rng = np.random.default_rng(3)
    x = np.tile(np.linspace(0.0, 1e5, 41), 3)
    p = SIGMOID.predict(x[None], np.array([[0.0, 0.7, np.log(1e4), np.log(2.0)]]))[0]
    y = rng.binomial(2000, p) / 2000
    fit = fit_curve(x, y, run=np.repeat(range(3), 41), law=SIGMOID, forecast=False)
    assert fit.identified, fit.reason


def test_forecasts_of_a_well_bent_curve_are_good_and_of_an_early_one_absent() -> None:
    x, y, run = sigmoid_runs(midpoints=10)
    fit = fit_curve(x, y, run=run, law=SIGMOID)
    assert fit.forecast_rmse is not None
    assert fit.forecast_rmse < 0.02
    short = fit_curve(x[:6], y[:6], law=SIGMOID)
    assert short.forecast["0.25"] is None


def test_default_groups_never_mix_conditions() -> None:
    frame = matched_runs(seeds=2)
    other = frame.assign(group_size=32, run_id=frame["run_id"] + "-32")
    labels = [one.group for one in fit_groups(pd.concat([frame, other]), law="sigmoid")]
    assert labels == [f"{arm},group_size={g}" for g in (8, 32) for arm in ("clean", "fp", "fn")]
    unnamed = fit_groups(frame[frame["fnr"] == 0].drop(columns="arm"), law="sigmoid")
    assert [one.group for one in unnamed] == ["fpr=0", "fpr=0.3"]


def test_missing_columns_are_named() -> None:
    frame = matched_runs(seeds=1).drop(columns=["rollouts", "group_size"])
    with pytest.raises(InputError, match=r"column rollouts .*group_size"):
        fit_groups(frame)
    with pytest.raises(InputError, match="needs the column armm"):
        fit_groups(frame, x="step", group="armm")


@pytest.mark.parametrize(("x", "y"), [("rollouts", "step"), ("step", "rollouts")])
def test_what_is_fitted_is_a_fraction(x: str, y: str) -> None:
    with pytest.raises(InputError, match=rf"column {y}: \d+ lies outside \[0, 1\]"):
        fit_groups(matched_runs(seeds=1), x=x, y=y)


def test_a_share_of_none_may_be_0_and_of_all_1() -> None:
    """Rounding leaves 2.8e-17 of 0 of 7, and 1 - 1.1e-16 of 7 of 7."""
    assert all(wilson(0, n)[0] == 0.0 and wilson(n, n)[1] == 1.0 for n in range(1, 60))
    assert 0.0 < wilson(1, 7)[0] < wilson(6, 7)[1] < 1.0
