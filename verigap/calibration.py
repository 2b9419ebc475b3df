"""The simulator's free parameters from one arm's logged curve, and its forecast of the others.

Law. `theory.flow` under the optimiser of the logged runs: start, speed and ceiling are fitted by least
squares to the clean arm alone; the spread of difficulties is given, and Adam's noise is the exact one
along the ability, so that no noise scale is left to fit. Nothing of the noisy arms is used.
Fails first where a real model's other weights add gradient noise of their own: under Adam that slows a
noisy arm more than this law says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import ArrayLike

from verigap.console import fail

if TYPE_CHECKING:
    import pandas as pd

    from theory.channel import FloatArray, VerifierChannel
    from theory.flow import FlowOptimiser, PopulationFlow

__all__ = ["Calibration", "calibrate", "forecast"]

SPREAD: Final = 2.0
PROMPTS: Final = 64


@dataclass(frozen=True)
class Calibration:
    """A population fitted to one arm.

    flow: the population, its parameters filled in. rmse: of the fit, over the rows it used.
    rows: how many those were. spread: standard deviation of difficulties, logits; given, not fitted.
    """

    flow: PopulationFlow
    rmse: float
    rows: int
    spread: float


def calibrate(
    rows: pd.DataFrame, *, optimiser: FlowOptimiser = "adam", spread: float = SPREAD
) -> Calibration:
    """Fit start, speed and ceiling to `rows`, the evaluations of one clean arm.

    rows: a run table with step, accuracy, group_size and prompts_per_step, the latter two constant.
    optimiser: of the logged runs. spread: standard deviation of prompt difficulties, logits.
    Raises UserError where the rows do not hold at least four steps, or mix group sizes.
    """
    from scipy.optimize import least_squares
    from scipy.special import expit

    from theory.flow import PopulationFlow, accuracy, normal_difficulties

    steps = rows["step"].to_numpy(np.float64)
    measured = rows["accuracy"].to_numpy(np.float64)
    if len(np.unique(steps)) < 4:
        fail(f"calibration needs at least 4 evaluated steps, got {len(np.unique(steps))}")
    sizes = {name: rows[name].unique() for name in ("group_size", "prompts_per_step")}
    for name, values in sizes.items():
        if len(values) > 1:
            fail(f"calibration needs one {name}, got {', '.join(map(str, values))}")
    clean = _clean()
    template = PopulationFlow(
        difficulties=normal_difficulties(PROMPTS, spread=spread),
        group_size=int(sizes["group_size"][0]),
        prompts_per_step=int(sizes["prompts_per_step"][0]),
        optimiser=optimiser,
        noise="along",
    )
    unique_steps = np.unique(steps)
    where = np.searchsorted(unique_steps, steps)

    def filled(parameters: FloatArray) -> PopulationFlow:
        theta, log_rate, ceiling = parameters
        return replace(
            template,
            theta=float(theta),
            rate=float(np.exp(log_rate)),
            ceiling=float(expit(ceiling)),
        )

    def residuals(parameters: FloatArray) -> FloatArray:
        return accuracy(filled(parameters), clean, unique_steps)[where] - measured

    solution = least_squares(
        residuals,
        np.array([-1.0, np.log(5.0 / max(unique_steps[-1], 1.0)), 2.0]),
        bounds=([-12.0, -16.0, -2.0], [12.0, 8.0, 8.0]),
    )
    return Calibration(
        flow=filled(solution.x),
        rmse=float(np.sqrt(np.mean(solution.fun**2))),
        rows=len(rows),
        spread=spread,
    )


def forecast(calibration: Calibration, channel: VerifierChannel, steps: ArrayLike) -> FloatArray:
    """Expected accuracy after `steps` under `channel`, same shape."""
    from theory.flow import accuracy

    return accuracy(calibration.flow, channel, steps)


def _clean() -> VerifierChannel:
    from theory.channel import VerifierChannel

    return VerifierChannel(0.0, 0.0)
