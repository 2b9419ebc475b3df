"""The signal-to-noise of the gradient, from what runs logged of it: `gradient_signal` and `gradient_noise`.

Law. Of a step of B prompts, up to one unknown scale, |mean gradient|^2 is (s mean_i g_i)^2 and the batch gradient's
variance mean_i E[A^2]/(G B) + between s^2 mean_i g_i^2/B, with g_i = J A_i D_G(q_i) the pull of a prompt and s the
`signal` of `theory.adam_flow`. Both are summed over the logged rows before they are divided, as single steps' are
noisy; s solves the ratio. Pass rates are logit-normal about the accuracy at the row and at the one before. `between`
is its prior's. The error holds that of the ratio (jackknife over runs, or over rows of one or two) and of `between`.
Fails first where noise is all between prompts: it then says little of s, and the interval says so.
Source: McCandlish et al., arXiv 1812.06162; docs/theory.md#adam-with-a-stationary-signal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy import special

from theory import estimator_named, gain
from theory.channel import FloatArray
from theory.flow import mean_square_advantage, normal_difficulties
from theory.forecast import BETWEEN_PRIOR, SIGNAL_PRIOR, Measured

__all__ = ["logged_signal"]

SIGNAL, NOISE = "gradient_signal", "gradient_noise"
LEAST_ROWS: Final = 3
WORST: Final = (
    1.0  # standard error of log(signal/noise) beyond which logs say no more than the prior
)
MODEL: Final = 0.3  # of log s, that one spread of pass rates stands for all and s for the whole run
MOST_BETWEEN: Final = 0.9  # of the noise
_SPREAD: Final = 1.75


def logged_signal(rows: pd.DataFrame, given: Mapping[str, Any]) -> tuple[Measured | None, str]:
    """What the logs say of the task's signal, or None, and in words where it is from or why there is none.

    rows: of a run table. given: prompts_per_step and estimator of rows that do not say.
    """
    if not {SIGNAL, NOISE} <= set(rows.columns):
        return None, f"its prior: no columns {SIGNAL} and {NOISE}, and no probe"
    numbers = rows.assign(
        **{name: pd.to_numeric(rows[name], errors="coerce") for name in (SIGNAL, NOISE)}
    )
    if "step" in rows.columns and "run_id" in rows.columns:
        before = numbers.sort_values("step").groupby("run_id")["accuracy"].shift()
        numbers["accuracy"] = (numbers["accuracy"] + before.fillna(numbers["accuracy"])) / 2.0
    known = numbers[np.isfinite(numbers[SIGNAL]) & np.isfinite(numbers[NOISE])]
    if len(known) < LEAST_ROWS:
        return None, f"its prior: {len(known)} calibration rows have {SIGNAL} and {NOISE}"
    laws = np.array([_law(row, given) for row in known.to_dict("records")])
    logged = known[[SIGNAL, NOISE]].to_numpy(np.float64)
    units = known["run_id"].to_numpy() if "run_id" in known.columns else np.arange(len(known))
    if len(np.unique(units)) < LEAST_ROWS:
        units = np.arange(len(known))
    ratio = _ratio(logged)
    left_out = np.array([_ratio(logged[units != one]) for one in np.unique(units)])
    if not (ratio > 0.0 and np.all(left_out > 0.0)):
        return None, "its prior: the logged gradient's signal is not told from 0"
    logs, count = np.log(left_out), len(left_out)
    se = math.sqrt((count - 1) * float(logs.var()))
    if se > WORST:
        return None, "its prior: the logged gradient's signal is within its error of 0"
    pull2, noise, apart = laws.sum(axis=0)
    middle, middle_sd = BETWEEN_PRIOR
    between = math.exp(middle)
    share = min(ratio * between * apart / pull2, MOST_BETWEEN)
    signal = math.sqrt(ratio * noise / (pull2 * (1.0 - share)))
    sd = math.hypot(se / 2.0, 0.5 * share / (1.0 - share) * middle_sd, MODEL)
    # Where noise is between prompts it says little of the signal, and the prior more.
    prior, prior_sd = SIGNAL_PRIOR
    weight = sd**-2 / (sd**-2 + prior_sd**-2)
    measured = Measured(
        math.exp(weight * math.log(signal) + (1.0 - weight) * prior),
        between,
        signal_sd=math.sqrt(weight) * sd,
        between_sd=middle_sd,
    )
    return measured, f"the gradient's signal and noise, logged in {len(known)} calibration rows"


def _ratio(logged: FloatArray) -> float:
    """Signal over noise, [rows, 2], summed first; 0 where there is no noise left to divide by."""
    signal, noise = logged.sum(axis=0)
    return float(signal / noise) if noise > 0.0 else 0.0


def _law(row: Mapping[Any, Any], given: Mapping[str, Any]) -> tuple[float, float, float]:
    """(mean pull)^2, the noise that falls with G, and the mean squared pull over B, at signal and between 1."""
    size, prompts = int(row["group_size"]), row.get("prompts_per_step", given["prompts_per_step"])
    estimator = estimator_named(str(row.get("estimator", given["estimator"])))
    solved = _pass_rates(float(row["accuracy"]))
    youden = 1.0 - row["fpr"] - row["fnr"]
    paid = np.clip(row["fpr"] + youden * solved, 0.0, 1.0)
    pull = youden * solved * (1.0 - solved) * gain(paid, size, estimator=estimator)
    square = mean_square_advantage(paid, size, estimator=estimator)
    return (
        float(pull.mean()) ** 2,
        float(square.mean()) / (size * prompts),
        float((pull**2).mean()) / prompts,
    )


def _pass_rates(accuracy: float) -> FloatArray:
    """Of prompts whose mean is `accuracy`."""
    hard = normal_difficulties(32, spread=_SPREAD)
    wanted = min(max(accuracy, 1e-3), 1.0 - 1e-3)
    low, high = -20.0, 20.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        below = float(special.expit(middle - hard).mean()) < wanted
        low, high = (middle, high) if below else (low, middle)
    return np.asarray(special.expit(low - hard), dtype=np.float64)
