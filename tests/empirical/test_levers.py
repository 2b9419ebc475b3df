from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from empirical.levers import Option, accuracies, speeds
from empirical.plan import Rates, plan
from empirical.probe import Probe, read_probe
from empirical.validate.calibrate import Calibration, calibrate
from fits.errors import InputError
from tests.benchmarks.worlds import measured, truth
from tests.commands.command import refused, verigap
from theory import VerifierChannel
from theory.effective_rollouts import population_phi2
from theory.forecast import Path as Draws
from theory.forecast import difference

PROBE = Path(__file__).parents[2] / "empirical" / "results" / "cpu-campaign" / "probe.json"


@pytest.fixture(scope="module")
def probe() -> Probe:
    return read_probe(PROBE)


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    rng = np.random.default_rng(3)
    return calibrate(measured(truth("adam, shared", rng), "clean", rng))


def option(fpr: float, fnr: float, *, group_size: int = 8, steps: int = 200) -> Option:
    draws = np.ones(256)
    return Option("", fpr * draws, fnr * draws, group_size, steps, 1, "grpo", "")


def test_members_are_compared_with_themselves() -> None:
    """A condition less itself is 0 and sure; swapping the two changes the sign; a shared shift drops out."""
    rng = np.random.default_rng(0)
    start, clean = np.full(400, 0.1), rng.uniform(0.6, 0.8, 400)
    one = Draws(clean - 0.05, clean, start, 0.01)
    other = Draws(clean - 0.08, clean, start, 0.01)
    assert difference(one, one) == pytest.approx((0.0, 0.0, 0.0), abs=1e-6)
    value, low, high = difference(one, other)
    assert value == pytest.approx(0.03)
    assert difference(other, one) == pytest.approx((-value, -high, -low), abs=1e-6)
    assert high - low < 0.06 < np.quantile(clean, 0.975) - np.quantile(clean, 0.025)


def test_against_a_clean_verifier_the_difference_is_the_forecast_s_gap(
    calibration: Calibration,
) -> None:
    options = [option(0.0, 0.0, group_size=4), option(0.2, 0.1, group_size=4)]
    size = calibration.fit.conditions[0].group_size
    options = [replace(one, group_size=size) for one in options]
    found = accuracies(calibration, options, prompts_per_step=8, rng=np.random.default_rng(0))
    value, low, high = difference(found.asked[0], found.asked[1], level=0.9)
    rows = pd.DataFrame(
        {"fpr": [0.2], "fnr": [0.1], "group_size": size, "step": 200.0, "prompts_per_step": 8}
    )
    told = calibration.forecast(rows)
    assert value == pytest.approx(told.gap[0], abs=0.005)
    assert (low, high) == pytest.approx((told.gap_low90[0], told.gap_high90[0]), abs=0.01)


def test_between_the_solved_rates_members_are_as_if_solved(calibration: Calibration) -> None:
    spread = np.linspace(0.02, 0.4, 256)
    size = calibration.fit.conditions[0].group_size
    wide = replace(option(0.0, 0.0, group_size=size), fpr_D=spread, fnr_D=spread[::-1].copy())
    found = accuracies(calibration, [wide], prompts_per_step=8, rng=np.random.default_rng(0))
    for place in (3, 100, 200):
        alone = option(float(wide.fpr_D[place]), float(wide.fnr_D[place]), group_size=size)
        exact = accuracies(calibration, [alone], prompts_per_step=8, rng=np.random.default_rng(0))
        assert found.asked[0].accuracy[place] == pytest.approx(
            exact.asked[0].accuracy[place], abs=0.003
        )


def test_a_forecast_is_no_surer_outside_what_was_calibrated(calibration: Calibration) -> None:
    size = calibration.fit.conditions[0].group_size
    widths: list[float] = []
    for budget in ((size, 200), (4 * size, 200), (size, 2000)):
        pair = [option(0.2, 0.2, group_size=budget[0], steps=budget[1]),
                option(0.1, 0.2, group_size=budget[0], steps=budget[1])]  # fmt: skip
        found = accuracies(calibration, pair, prompts_per_step=8, rng=np.random.default_rng(0))
        _, low, high = found.compare(1, 0)
        widths.append(high - low)
    assert widths[1] >= widths[0] - 1e-6
    assert widths[2] >= widths[0] - 1e-6


def test_a_probe_of_equal_score_noise_gives_the_theory_s_rollouts(probe: Probe) -> None:
    """w = 1 and no arm measured: phi^2 of the population at the median; the interval holds it."""
    sizes = tuple(replace(one, arms=()) for one in probe.by_group_size)
    plain = replace(probe, v0_over_v1=1.0, by_group_size=sizes)
    options = [option(0.2, 0.1)]
    found = speeds(plain, options, prompts_per_step=8, rng=np.random.default_rng(0))
    expected = 1.0 + 7.0 * population_phi2(probe.pass_rates, VerifierChannel(0.2, 0.1))
    assert np.median(found.worth[0]) == pytest.approx(expected, rel=0.03)
    assert found.arms == 0


def test_what_a_probe_measured_is_what_it_says_of_that_arm(probe: Probe) -> None:
    """Of every arm of independent errors: speed over clean and effective rollouts inside the interval."""
    for arm in probe.at(8).arms:
        if arm.noise != "independent" or arm.estimator != "grpo" or arm.youden <= 0.05:
            continue
        options = [option(0.0, 0.0), option(arm.fpr, arm.fnr)]
        found = speeds(
            probe, options, prompts_per_step=probe.prompts_per_step, rng=np.random.default_rng(0)
        )
        assert arm.relative_speed is not None
        assert arm.effective_rollouts is not None
        low, high = np.quantile(found.progress[1], (0.005, 0.995))
        assert low - 0.01 <= arm.relative_speed <= high + 0.01, arm.arm
        low, high = np.quantile(found.worth[1], (0.005, 0.995))
        assert low - 0.05 <= arm.effective_rollouts <= high + 0.05, arm.arm


def test_a_plan_with_a_probe_prices_learning_and_names_no_accuracy(probe: Probe) -> None:
    found = plan(Rates(0.2, 0.2), group_size=8, steps=100, prompts_per_step=8, probe=probe)
    levers = {lever.name: lever for lever in found.levers}
    assert all(lever.accuracy_gain is None for lever in found.levers)
    assert levers["twice the steps"].progress == pytest.approx(2.0)
    halved = levers["halve fpr"].progress
    assert halved is not None
    assert 1.0 < halved < 1.2
    # Wrong completions are the noisier here: false positives cost more.
    assert found.advice.startswith("Fix first: halve fpr")
    assert {one.by for one in found.ranked} == {"learning"}
    coin = plan(Rates(0.5, 0.5), group_size=8, steps=100, prompts_per_step=8, probe=probe)
    assert all(lever.progress is None for lever in coin.levers)


def test_a_probe_without_signal_is_refused(probe: Probe) -> None:
    sizes = tuple(replace(one, noise_within=None) for one in probe.by_group_size)
    with pytest.raises(InputError, match="no noise scale"):
        plan(Rates(0.1, 0.1), group_size=8, steps=9, probe=replace(probe, by_group_size=sizes))


def test_the_command_reads_a_probe(tmp_path: Path) -> None:
    rates = ("--fpr", 0.2, "--fnr", 0.2, "--prompts-per-step", 8)
    document = verigap("plan", *rates, "--probe", PROBE, "--json").document
    for lever in document["levers"]:
        if lever["progress"] is not None:
            low, high = lever["progress_ci"]
            assert low <= lever["progress"] <= high
    assert "as far a run" in verigap("plan", *rates, "--probe", PROBE).out
    path = tmp_path / "x.json"
    path.write_text("{}")
    assert "is not a probe" in refused("plan", *rates, "--probe", path)
