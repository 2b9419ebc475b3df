"""The demo calibrates one simulator and runs another: they must agree on what the parameters mean."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from theory import VerifierChannel
from theory.flow import FlowOptimiser, PopulationFlow, accuracy, normal_difficulties
from verigap.demo import CLEAN, SPREAD, calibrate, simulation_of
from verigap.simulation import run_spec

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
