"""The gap: signs, pairing, verdicts, and honest answers where the data cannot tell."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fits import InputError, gap_report, parse_selection
from fits.gap import chance_in_words, seeds_needed, verdict_of
from tests.builders import ARMS, CLEAN, matched_runs

IS_CLEAN = parse_selection(["fpr=0,fnr=0"])


def by_arm(frame: pd.DataFrame, **options: object):
    report = gap_report(frame, clean=IS_CLEAN, **options)  # pyright: ignore[reportArgumentType]
    return {arm.arm: arm for arm in report.arms}, report


def test_a_large_floor_persists_and_a_delay_closes() -> None:
    arms, report = by_arm(matched_runs(seeds=8, n_eval=20000, spread=0.004))
    assert arms["fn"].verdict == "persists"
    assert arms["fp"].verdict == "closes"
    assert arms["fn"].basis == arms["fp"].basis == "asymptote"
    assert abs(arms["fn"].floor - 0.1) < 0.01
    assert arms["fn"].would_settle_it is None
    assert report.law == "sigmoid"
    assert report.asymmetry.difference is not None
    assert report.asymmetry.difference > 0.05


def test_two_seeds_are_usually_undetermined_and_say_what_would_settle_it() -> None:
    fps = [by_arm(matched_runs(seeds=2, n_eval=500, seed=seed))[0]["fp"] for seed in range(10)]
    undetermined = [fp for fp in fps if fp.verdict == "undetermined"]
    assert len(undetermined) >= 8
    for fp in undetermined:
        assert fp.floor_ci is not None
        assert fp.would_settle_it is not None
        assert fp.would_settle_it.text


def test_one_seed_has_no_interval_and_a_reason() -> None:
    arms, report = by_arm(matched_runs(seeds=1))
    for arm in arms.values():
        assert arm.floor_ci is None
        assert arm.verdict == "undetermined"
        assert "one matched seed" in arm.reason
        assert arm.would_settle_it is not None
        assert arm.would_settle_it.seeds == 3
    assert report.asymmetry.ci is None
    assert report.exchange_rate.fpr.ci is None


def test_one_seed_still_says_what_evaluation_noise_leaves_open() -> None:
    frame = matched_runs(seeds=1, n_eval=256, spread=0.0)
    arms, _ = by_arm(frame)
    assert "evaluation noise alone leaves the gap there in [" in arms["fn"].reason
    without, _ = by_arm(frame.drop(columns="n_eval"))
    assert "evaluation noise" not in without["fn"].reason


def test_pairing_cancels_what_a_seed_shares() -> None:
    frame = matched_runs(seeds=8, spread=0.04, n_eval=50000)
    paired, _ = by_arm(frame)
    loose, _ = by_arm(frame.drop(columns="seed"))
    assert paired["fn"].floor_ci is not None
    assert loose["fn"].floor_ci is not None
    assert np.ptp(paired["fn"].floor_ci) < 0.5 * np.ptp(loose["fn"].floor_ci)
    assert "unpaired" in loose["fn"].reason


def test_an_unbent_curve_is_judged_at_its_largest_budget_only() -> None:
    arms, _ = by_arm(matched_runs(seeds=3, midpoints=1.2, spread=0.0, n_eval=50000))
    fn = arms["fn"]
    assert fn.basis == "largest budget"
    assert "only" in fn.reason
    assert (fn.floor, fn.floor_ci) == (fn.end, fn.end_ci)
    assert fn.horizon == fn.x_max
    assert fn.laws == ()


def test_a_final_accuracy_table_is_judged_at_its_budget() -> None:
    frame = matched_runs(seeds=3, n_eval=50000, spread=0.0)
    last = frame.loc[frame.groupby("run_id")["step"].idxmax()].drop(columns=["step", "rollouts"])
    arms, report = by_arm(last)
    assert arms["fn"].verdict == "persists"
    assert arms["fn"].basis == "largest budget"
    truth = (0.8 - 0.1) / (1 + 0.1**1.5) - (0.7 - 0.1) / (1 + 0.13**1.5)
    assert abs(arms["fn"].floor - truth) < 0.01
    assert report.exchange_rate.fpr.multiplier is None
    assert report.exchange_rate.fpr.reason


def test_a_collapsing_arm_is_compared_where_it_ended() -> None:
    frame = matched_runs(seeds=3, n_eval=5000)
    late = (frame["arm"] == "fn") & (frame["step"] > 800)
    frame.loc[late, "accuracy"] *= np.maximum(1.6 - frame.loc[late, "step"] / 1333, 0.3)
    arms, _ = by_arm(frame)
    assert "not monotone" in arms["fn"].reason
    assert arms["fn"].floor > 0.3
    assert arms["fn"].verdict == "persists"


def test_exchanging_clean_and_noisy_changes_the_sign() -> None:
    frame = matched_runs(seeds=3, arms=(CLEAN, ("fn", 0.0, 0.3, 0.7, 1.3)))
    forward, _ = by_arm(frame)
    swapped = gap_report(frame, clean=parse_selection(["arm=fn"])).arms[0]
    assert swapped.floor == pytest.approx(-forward["fn"].floor, abs=1e-12)
    assert swapped.floor_ci == pytest.approx([-v for v in forward["fn"].floor_ci[::-1]])


def test_the_curve_is_zero_before_training_and_paired() -> None:
    arms, _ = by_arm(matched_runs(seeds=3, n_eval=100000))
    curve = arms["fn"].curve
    assert len(curve) == 21
    assert abs(curve[0].gap) < 0.01
    assert all(point.seeds == 3 and point.ci is not None for point in curve)


def test_each_arm_is_held_against_the_clean_runs_of_its_own_configuration() -> None:
    small = matched_runs(seeds=2, arms=(CLEAN, ("fn", 0.0, 0.3, 0.7, 1.3)))
    large = matched_runs(seeds=2, arms=(("clean", 0.0, 0.0, 0.9, 1.0), ("fn", 0.0, 0.3, 0.5, 1.3)))
    large = large.assign(
        group_size=32, run_id=large["run_id"] + "-32", rollouts=large["rollouts"] * 4
    )
    arms, _ = by_arm(pd.concat([small, large], ignore_index=True))
    assert arms["fn,group_size=8"].floor == pytest.approx(0.1, abs=0.04)
    assert arms["fn,group_size=32"].floor == pytest.approx(0.4, abs=0.04)


# A setting of its own: how far its clean runs get, and what its noisy arm loses there.
SETTINGS = {
    "model": ("m1", "m2"),
    "parameters": (1e6, 2e6),
    "estimator": ("grpo", "dr_grpo"),
    "group_size": (8, 32),
    "prompts_per_step": (8, 64),
}


def two_settings(column: str, *, seeds: int = 3) -> pd.DataFrame:
    """Runs of two values of `column`: a floor of .1 below .8 at the first, of .4 below .9 at the second."""
    parts: list[pd.DataFrame] = []
    for value, clean, noisy in zip(
        SETTINGS.get(column, (0, 1)), (0.8, 0.9), (0.7, 0.5), strict=True
    ):
        arms = (("clean", 0.0, 0.0, clean, 1.0), ("fn", 0.0, 0.3, noisy, 1.3))
        part = matched_runs(seeds=seeds, arms=arms)
        part[column] = value
        part["run_id"] = part["run_id"] + f"-{value}"
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("column", SETTINGS)
def test_arms_meet_clean_runs_of_everything_but_the_verifier(column: str) -> None:
    frame = two_settings(column)
    _, report = by_arm(frame)
    floors = {arm.setting[column]: arm.floor for arm in report.arms}
    for value, floor in zip(SETTINGS[column], (0.1, 0.4), strict=True):
        assert floors[value] == pytest.approx(floor, abs=0.04)
        # As if the table held this setting alone: nothing of the other reaches it.
        alone, _ = by_arm(frame[frame[column] == value])
        assert floors[value] == pytest.approx(alone["fn"].floor, abs=1e-12)
    assert [dict(one.setting) for one in report.settings] == [
        {column: value} for value in sorted(SETTINGS[column])
    ]
    assert all(f"fn,{column}=" in arm.arm for arm in report.arms)


def test_an_arm_name_that_says_the_estimator_is_held_against_its_own_clean_arm() -> None:
    frame = two_settings("estimator")
    second = frame["estimator"] == "dr_grpo"
    frame["arm"] = np.where(second, "drgrpo-" + frame["arm"], frame["arm"])
    arms, report = by_arm(frame)
    assert arms["fn"].floor == pytest.approx(0.1, abs=0.04)
    assert arms["drgrpo-fn"].floor == pytest.approx(0.4, abs=0.04)
    assert not report.notes
    # Nothing tells the two clean arms apart but their names: pooled, and said.
    bare, pooled = by_arm(frame.drop(columns="estimator"))
    assert bare["fn"].floor > 0.12
    assert "several arms, pooled (clean, drgrpo-clean)" in pooled.notes[0]


def test_a_setting_without_clean_runs_is_left_out_and_said() -> None:
    frame = two_settings("estimator")
    lost = (frame["estimator"] == "dr_grpo") & (frame["arm"] == "clean")
    arms, report = by_arm(frame[~lost])
    assert list(arms) == ["fn,estimator=grpo"]
    assert "fn,estimator=dr_grpo: no clean run with estimator=dr_grpo" in report.notes[0]


def test_the_reference_that_clean_names_is_that_of_every_setting() -> None:
    frame = two_settings("group_size")
    frame["rollouts"] = frame["step"] * 64
    report = gap_report(frame, clean=parse_selection(["fpr=0,fnr=0,group_size=8"]))
    floors = {arm.arm: arm.floor for arm in report.arms}
    assert floors["fn,group_size=8"] == pytest.approx(0.1, abs=0.04)
    assert floors["fn,group_size=32"] == pytest.approx(0.3, abs=0.04)
    assert floors["clean,group_size=32"] == pytest.approx(-0.1, abs=0.04)
    # Chosen at every value, the references are matched again.
    both = ["fpr=0,fnr=0,group_size=8", "fpr=0,fnr=0,group_size=32"]
    again = gap_report(frame, clean=parse_selection(both))
    assert again.arms == by_arm(frame)[1].arms


def test_a_column_of_the_users_is_matched_where_group_names_it() -> None:
    frame = two_settings("learning_rate").assign(label=lambda f: f["arm"] + "!")
    arms, report = by_arm(frame, group="label,learning_rate")
    assert arms["label=fn!,learning_rate=0"].floor == pytest.approx(0.1, abs=0.04)
    assert arms["label=fn!,learning_rate=1"].floor == pytest.approx(0.4, abs=0.04)
    assert [dict(one.setting) for one in report.settings] == [
        {"learning_rate": 0},
        {"learning_rate": 1},
    ]


def test_each_setting_has_its_own_asymmetry_and_exchange_rate() -> None:
    first = matched_runs(seeds=5, n_eval=50000, spread=0.0).assign(estimator="grpo")
    mirrored = (CLEAN, ("fp", 0.3, 0.0, 0.7, 1.3), ("fn", 0.0, 0.3, 0.8, 1.4))
    second = matched_runs(seeds=3, n_eval=50000, spread=0.0, arms=mirrored)
    second = second.assign(estimator="rloo", run_id="rloo-" + second["run_id"])
    _, report = by_arm(pd.concat([first, second], ignore_index=True))
    ours = {str(one.setting["estimator"]): one for one in report.settings}
    differences = {name: one.asymmetry.difference for name, one in ours.items()}
    assert differences["grpo"] == pytest.approx(0.1, abs=0.02)
    assert differences["rloo"] == pytest.approx(-0.1, abs=0.02)
    assert ours["grpo"].asymmetry.reason == "t over 5 seeds of the mean of 1 mirror pair"
    assert ours["grpo"].exchange_rate.fpr.multiplier is not None
    assert ours["rloo"].exchange_rate.fpr.multiplier is None
    _, alone = by_arm(first)
    assert ours["grpo"].exchange_rate.fpr == alone.exchange_rate.fpr


def test_no_clean_arm_is_refused_with_what_can_still_be_done() -> None:
    frame = matched_runs(seeds=1)
    with pytest.raises(
        InputError, match=r"--clean fpr=0,fnr=0.*verigap fit.*--clean fpr=0.3,fnr=0"
    ):
        gap_report(frame[frame["arm"] != "clean"], clean=IS_CLEAN)
    with pytest.raises(InputError, match=r"fpr is 0 or 0\.3; fnr is 0 or 0\.3.*verigap fit"):
        gap_report(frame[frame["arm"] != "clean"].iloc[::-1], clean=IS_CLEAN)
    bare = frame.drop(columns=["fpr", "fnr"])
    with pytest.raises(InputError, match=r"no column fnr, fpr.*--clean arm=clean .*clean, fp, fn"):
        gap_report(bare, clean=IS_CLEAN)
    with pytest.raises(InputError, match=r"--manifest, --set fpr=0,fnr=0 or --clean run_id="):
        gap_report(bare.drop(columns="arm"), clean=IS_CLEAN)
    with pytest.raises(InputError, match="no noisy arm"):
        gap_report(frame[frame["arm"] == "clean"], clean=IS_CLEAN)
    with pytest.raises(InputError, match="delta"):
        gap_report(frame, clean=IS_CLEAN, delta=0.0)


def test_a_delay_costs_its_clock_and_a_floor_has_no_price() -> None:
    _, report = by_arm(matched_runs(seeds=5, n_eval=50000, spread=0.0))
    rate = report.exchange_rate
    # Halfway up, an arm that is 1.4 times slower needs 1.4 times the compute: 1.4^(1/30) a point.
    halfway = {m.arm: m for m in rate.halfway.arms}
    assert halfway["fp"].multiplier == pytest.approx(1.4, rel=0.03)
    # As a power of 1 - rate, so that the first point costs less than a thirtieth of it.
    exponent = -np.log(1.4) / np.log(0.7)
    assert rate.halfway.fpr.exponent == pytest.approx(exponent, rel=0.05)
    assert rate.halfway.fpr.multiplier == pytest.approx(0.99**-exponent, rel=0.002)
    ci = rate.halfway.fpr.ci
    assert ci is not None
    assert ci[1] is not None
    assert ci[0] < 0.99**-exponent < ci[1]
    assert rate.halfway.fpr.p_no_finite_amount == 0.0
    # At the clean arm's last level the arm with a floor never arrives.
    assert rate.fnr.multiplier is None
    assert "no finite amount" in rate.fnr.reason
    assert rate.fnr.p_no_finite_amount == pytest.approx(1.0, abs=0.01)


def test_noisy_evaluations_are_to_be_settled_by_samples() -> None:
    arms = (CLEAN, ("fp", 0.3, 0.0, 0.8, 1.0))
    asked = [
        by_arm(matched_runs(seeds=5, n_eval=100, spread=0.0, arms=arms, seed=seed))[0]["fp"]
        for seed in range(6)
    ]
    settle = [arm.would_settle_it for arm in asked if arm.would_settle_it is not None]
    assert any(one.n_eval is not None and one.n_eval > 100 for one in settle)
    # Where seeds themselves differ, samples do not help.
    spread, _ = by_arm(matched_runs(seeds=5, n_eval=10**6, spread=0.05, arms=arms))
    one = spread["fp"].would_settle_it
    assert one is None or one.n_eval is None


@pytest.mark.parametrize(
    ("ci", "verdict"),
    [
        ((-0.02, 0.009), "closes"),
        ((0.011, 0.05), "persists"),
        ((0.0, 0.02), "undetermined"),
        ((-0.5, -0.1), "closes"),
        (None, "undetermined"),
    ],
)
def test_verdicts(ci: tuple[float, float] | None, verdict: str) -> None:
    assert verdict_of(ci, 0.01) == verdict


def test_the_seeds_asked_for_have_the_power_promised() -> None:
    rng = np.random.default_rng(0)
    needed = seeds_needed(0.01, 0.01)
    assert needed is not None
    draws = rng.normal(0.01, 0.01, (20000, needed))
    from scipy.special import stdtrit

    half = stdtrit(needed - 1, 0.975) * draws.std(axis=1, ddof=1) / needed**0.5
    power = np.mean(draws.mean(axis=1) - half > 0.0)
    assert 0.77 < power < 0.9
    assert seeds_needed(1.0, 1e-6) is None


def two_models() -> pd.DataFrame:
    first = matched_runs(seeds=3).assign(model="m1")
    second = first.assign(
        model="m2", run_id=first["run_id"] + "-m2", accuracy=first["accuracy"] / 2
    )
    return pd.concat([first, second], ignore_index=True)


@pytest.mark.parametrize("group", ["arm,model", "arm", "model_family"])
def test_no_grouping_holds_a_model_against_another_models_clean_runs(group: str) -> None:
    frame = two_models().assign(model_family=lambda f: f["arm"])
    default, _ = by_arm(frame)
    grouped, _ = by_arm(frame, group=group)
    assert sorted(arm.floor for arm in grouped.values()) == pytest.approx(
        sorted(arm.floor for arm in default.values()), abs=1e-12
    )
    assert default["fn,model=m2"].end == pytest.approx(default["fn,model=m1"].end / 2, abs=1e-3)


def test_models_without_a_name_are_one_model() -> None:
    frame = two_models()
    frame["model"] = frame["model"].where(frame["model"] == "m1", None)
    arms, report = by_arm(frame)
    assert len(arms) == 4
    assert not report.notes


@pytest.mark.parametrize("group", ["", " , "])
def test_a_group_of_no_columns_is_refused(group: str) -> None:
    with pytest.raises(InputError, match="names no column"):
        by_arm(matched_runs(seeds=1), group=group)


def test_what_would_identify_the_asymptote_is_said_whatever_the_verdict() -> None:
    delay = (CLEAN, ("fp", 0.3, 0.0, 0.8, 1.6))
    early, _ = by_arm(matched_runs(seeds=5, arms=delay, midpoints=1.5, spread=0.0, n_eval=50000))
    fp = early["fp"]
    assert (fp.verdict, fp.basis) == ("persists", "largest budget")
    assert fp.would_settle_it is not None
    assert fp.would_settle_it.seeds is None
    assert fp.would_settle_it.budget == pytest.approx(3 * 1.6 * 10240, rel=0.35)
    late, _ = by_arm(matched_runs(seeds=5, arms=delay, midpoints=9.0, spread=0.0, n_eval=50000))
    assert late["fp"].basis == "asymptote"
    assert late["fp"].floor_ci is not None
    assert late["fp"].floor_ci[1] < 0.01


def test_where_the_clean_arm_learns_nothing_no_gap_closes() -> None:
    flat = tuple((name, fpr, fnr, 0.1, clock) for name, fpr, fnr, _, clock in ARMS)
    for n_eval in (200, 10**9):
        arms, report = by_arm(matched_runs(seeds=5, arms=flat, n_eval=n_eval, spread=0.0))
        for arm in arms.values():
            assert arm.verdict == "undetermined"
            assert "nothing was learned" in arm.reason
            assert arm.would_settle_it is not None
    # A curve that is at its target before training has no compute to make up for.
    assert all(m.multiplier is None and m.reason for m in report.exchange_rate.arms)


@pytest.mark.parametrize("midpoints", [0.3, 2.0, 300.0])
def test_a_clean_arm_that_learns_early_or_late_counts_as_learning(midpoints: float) -> None:
    arms, _ = by_arm(matched_runs(seeds=3, midpoints=midpoints, n_eval=2000))
    assert all("nothing was learned" not in arm.reason for arm in arms.values())


def test_a_short_arm_has_no_say_in_the_law() -> None:
    frame = matched_runs(seeds=3, n_eval=20000)
    short = frame[(frame["arm"] != "fp") | (frame["step"] <= 160)]
    assert short[short["arm"] == "fp"]["step"].nunique() == 3
    assert by_arm(short)[1].law == by_arm(frame)[1].law == "sigmoid"


def test_a_gap_that_only_the_law_closes_is_said_to_be_open_still() -> None:
    slow = (CLEAN, ("fp", 0.3, 0.0, 0.8, 2.5))
    early, _ = by_arm(matched_runs(seeds=5, arms=slow, midpoints=8.0, spread=0.0, n_eval=100000))
    fp = early["fp"]
    assert (fp.verdict, fp.horizon) == ("undetermined", "asymptote")
    assert fp.floor_ci is not None
    assert fp.floor_ci[1] < 0.01
    assert fp.end_ci is not None
    assert fp.end_ci[0] > 0.01
    assert "the measurement does not show it" in fp.reason
    assert fp.trend is not None
    assert fp.trend < 0.0
    late, _ = by_arm(matched_runs(seeds=5, arms=slow, midpoints=200.0, spread=0.0, n_eval=100000))
    assert late["fp"].verdict == "closes"


def test_seeds_that_do_not_match_are_said() -> None:
    frame = matched_runs(seeds=3)
    moved = frame["arm"] == "fp"
    some = frame.assign(seed=frame["seed"] + np.where(moved, 1, 0))
    none = frame.assign(seed=frame["seed"] + np.where(moved, 10, 0))
    assert "2 of 3 clean and 3 noisy" in by_arm(some)[0]["fp"].reason
    assert "share no seed" in by_arm(none)[0]["fp"].reason
    assert "seed" not in by_arm(frame)[0]["fp"].reason


def test_a_cell_without_compute_is_named_by_run_and_step() -> None:
    frame = matched_runs(seeds=1)
    frame.loc[30, "rollouts"] = np.nan
    step = int(frame.loc[30, "step"])
    with pytest.raises(InputError, match=f"run 'fp-0', step {step}, column rollouts: empty"):
        by_arm(frame.iloc[::-1])


def test_a_probability_is_spoken_of_only_where_there_is_one() -> None:
    assert chance_in_words(None) == chance_in_words(0.0) == ""
    assert chance_in_words(0.0005) == "a probability below .01"
    assert chance_in_words(0.126) == "probability 0.13"


@pytest.mark.parametrize("on_a_line", [True, False])
def test_a_price_a_point_is_given_only_where_the_arms_prices_lie_on_one_line(
    on_a_line: bool,
) -> None:
    """Clocks (1 - rate)^-.6 have one price; a first fifth that costs what two fifths more do not add has none."""
    clocks = {0.2: 0.8**-0.6, 0.4: 0.6**-0.6, 0.6: 0.4**-0.6}
    if not on_a_line:
        clocks = {0.2: 1.7, 0.4: 1.75, 0.6: 1.8}
    noisy = [(f"fpr{rate}", rate, 0.0, 0.8, clock) for rate, clock in clocks.items()]
    frame = matched_runs(
        seeds=5, arms=[("clean", 0.0, 0.0, 0.8, 1.0), *noisy], n_eval=20_000, spread=0.004
    )
    halfway = gap_report(frame, clean=IS_CLEAN, law="sigmoid").exchange_rate.halfway
    point = halfway.fpr
    assert point.p_lack_of_fit is not None
    for one, clock in zip(halfway.arms, clocks.values(), strict=True):
        assert one.multiplier == pytest.approx(clock, rel=0.1)
    if on_a_line:
        assert point.p_lack_of_fit > 0.05
        assert point.exponent == pytest.approx(0.6, abs=0.1)
        assert point.multiplier == pytest.approx(0.99**-0.6, abs=0.001)
    else:
        assert point.p_lack_of_fit < 0.05
        assert point.multiplier is None
        assert point.exponent is None
        assert "lack of fit" in point.reason


def test_prices_beside_the_same_clean_runs_err_together() -> None:
    """Of clocks (1 - rate)^-.6, three prices rest on one clean arm: their line is as sure as the errors of it allow.

    Drawn apart, 51 of 60 intervals hold the exponent, 26 of these 30, and no line is refused at 5 %.
    """
    rates = (0.2, 0.4, 0.6)
    noisy = [(f"fpr{rate}", rate, 0.0, 0.8, (1.0 - rate) ** -0.6) for rate in rates]
    held = refused = 0
    for k in range(30):
        frame = matched_runs(
            seeds=5, arms=[("clean", 0.0, 0.0, 0.8, 1.0), *noisy], spread=0.02, seed=k
        )
        report = gap_report(frame, clean=IS_CLEAN, law="sigmoid")
        point = report.exchange_rate.halfway.fpr
        if point.ci is None:
            refused += 1
            continue
        assert point.ci[1] is not None
        held += point.ci[0] < 0.99**-0.6 < point.ci[1]
    assert refused <= 4
    assert held >= 0.9 * (30 - refused)
