"""The signal read from logged gradients: recovered where it was made, free of scale, absent where it is not told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from empirical.validate.forecast import validate_forecast
from empirical.validate.logged import NOISE, SIGNAL, logged_signal
from fits import parse_selection
from theory import estimator_named, gain
from theory.flow import mean_square_advantage

GIVEN = {"prompts_per_step": 8, "estimator": "grpo", "beta2": 0.999}
STEPS = np.arange(0, 301, 20)


def logged(
    signal: float, *, between: float = 2.0, fpr: float = 0.0, scatter: float = 0.3, seed: int = 0
) -> pd.DataFrame:
    """Runs whose gradients obey the law, prompts exponential and not normal in difficulty; null at step 0."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for run, size in enumerate((4, 8, 16)):
        for step in STEPS:
            solved = 1.0 / (1.0 + np.exp(rng.exponential(1.5, 400) - step / 100.0 + 0.5))
            paid = fpr + (1.0 - fpr) * solved
            estimator = estimator_named("grpo")
            pull = (1 - fpr) * solved * (1 - solved) * gain(paid, size, estimator=estimator)
            noise = mean_square_advantage(paid, size, estimator=estimator).mean() / (size * 8)
            noise += between * signal**2 * (pull**2).mean() / 8
            row = {"run_id": f"r{run}", "fpr": fpr, "fnr": 0.0, "group_size": size}
            row |= {"step": int(step), "accuracy": solved.mean()}
            row[SIGNAL] = (signal * pull.mean()) ** 2 + scatter * noise * rng.normal() / 4
            row[NOISE] = noise * (1.0 + scatter * rng.normal() / 4)
            rows.append(row if step else row | {SIGNAL: np.nan, NOISE: np.nan})
    return pd.DataFrame(rows)


@pytest.mark.parametrize("signal", [0.15, 0.5, 1.5])
@pytest.mark.parametrize("fpr", [0.0, 0.3])
def test_a_signal_is_recovered_within_its_error(signal: float, fpr: float) -> None:
    found, told = logged_signal(logged(signal, fpr=fpr), GIVEN)
    assert found is not None
    assert abs(np.log(found.signal / signal)) < 2.0 * found.signal_sd
    assert found.signal_sd < 1.2  # the prior's
    assert "logged in 45 calibration rows" in told


def test_the_scale_of_gradients_says_nothing() -> None:
    rows = logged(0.5)
    one, _ = logged_signal(rows, GIVEN)
    other, _ = logged_signal(rows.assign(**{n: 1e-6 * rows[n] for n in (SIGNAL, NOISE)}), GIVEN)
    assert one is not None
    assert other is not None
    assert other.signal == pytest.approx(one.signal, rel=1e-9)


def test_where_it_is_not_told_the_prior_stays_and_why() -> None:
    rows = logged(0.5)
    for changed, said in (
        (rows.drop(columns=SIGNAL), "no columns"),
        (rows.assign(**{SIGNAL: np.nan}), "0 calibration rows"),
        (rows.assign(**{SIGNAL: -rows[SIGNAL].abs()}), "not told from 0"),
    ):
        found, told = logged_signal(changed, GIVEN)
        assert found is None
        assert said in told


def test_validate_reads_it_and_is_surer_for_it() -> None:
    rows = logged(0.5).assign(arm="clean", n_eval=2000, prompts_per_step=8)
    noisy = rows[rows["group_size"] == 8].assign(arm="both", run_id="b", fpr=0.3, fnr=0.3)
    chosen = parse_selection(["arm=clean"])
    both = pd.concat([rows, noisy], ignore_index=True)
    told = validate_forecast(both, calibrate_on=chosen).report
    untold = validate_forecast(both.drop(columns=SIGNAL), calibrate_on=chosen).report
    assert "logged" in told.signal_basis
    assert "its prior" in untold.signal_basis
    assert told.width90 < untold.width90
