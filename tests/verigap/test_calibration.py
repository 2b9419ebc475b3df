"""Calibration recovers a population it was made from, and the two simulators agree on what it means."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from theory import VerifierChannel
from theory.flow import FlowOptimiser, PopulationFlow, accuracy, normal_difficulties
from verigap.calibration import SPREAD, calibrate, forecast
from verigap.console import UserError
from verigap.demo import simulation_of
from verigap.simulation import run_spec

CLEAN = VerifierChannel(0.0, 0.0)
STEPS = np.arange(0, 301, 25)


def flow(optimiser: FlowOptimiser) -> PopulationFlow:
    return PopulationFlow(
        normal_difficulties(64, spread=SPREAD),
        theta=-1.0,
        rate={"sgd": 0.08, "adam": 0.01}[optimiser],
        ceiling=0.85,
        group_size=8,
        prompts_per_step=8,
        optimiser=optimiser,
        noise="along",
    )


def logged(truth: PopulationFlow, channel: VerifierChannel = CLEAN) -> pd.DataFrame:
    """The run table of noiseless evaluations of `truth`."""
    return pd.DataFrame(
        {
            "run_id": "r",
            "arm": "clean",
            "fpr": channel.fpr,
            "fnr": channel.fnr,
            "seed": 0,
            "group_size": 8,
            "prompts_per_step": 8,
            "step": STEPS,
            "rollouts": STEPS * 64,
            "n_eval": 1000,
            "accuracy": accuracy(truth, channel, STEPS),
        }
    )


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_recovers_the_population_and_forecasts_the_other_arms(optimiser: FlowOptimiser) -> None:
    truth = flow(optimiser)
    found = calibrate(logged(truth), optimiser=optimiser)
    assert found.rmse < 1e-6
    assert found.flow.theta == pytest.approx(truth.theta, abs=1e-4)
    assert found.flow.rate == pytest.approx(truth.rate, rel=1e-4)
    assert found.flow.ceiling == pytest.approx(truth.ceiling, abs=1e-4)
    noisy = VerifierChannel(0.4, 0.0)
    assert forecast(found, noisy, STEPS) == pytest.approx(accuracy(truth, noisy, STEPS), abs=1e-5)


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_the_bandit_of_the_demo_is_the_flow_with_sampling_noise(optimiser: FlowOptimiser) -> None:
    """Same parameters, two simulators: over many seeds the bandit's mean curve is the flow's."""
    truth = flow(optimiser)
    runs = pd.concat([logged(truth).assign(seed=seed) for seed in range(16)])
    spec = simulation_of(runs, calibrate(runs, optimiser=optimiser))
    exact = spec.model_copy(update={"n_eval": None})
    table = run_spec(exact).table
    mean = table.groupby("step")["accuracy"].mean()
    spread = table.groupby("step")["accuracy"].std()
    assert mean.loc[STEPS].to_numpy() == pytest.approx(accuracy(truth, CLEAN, STEPS), abs=0.01)
    assert float(spread.iloc[-1]) > 0.0


def test_too_few_steps_and_mixed_group_sizes_are_refused() -> None:
    rows = logged(flow("sgd"))
    with pytest.raises(UserError, match="at least 4 evaluated steps, got 3"):
        calibrate(rows.head(3))
    with pytest.raises(UserError, match="one group_size, got 8, 16"):
        calibrate(pd.concat([rows, rows.assign(group_size=16)]))
