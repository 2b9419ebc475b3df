"""Measured effective rollouts beside the predicted ones: what `gap` reads off runs, and what theory and a probe say.

Law. Measured: the clean rollouts that reach an arm's accuracy at equal steps (`fits.rollouts`). Predicted:
1 + phi^2 (G - 1) at the arm's mean accuracy over its steps past 0, as if that were every prompt's pass rate. Probed: at
the initial weights, along the clean gradient. Only arms of independent errors with 0 < J < 1 have a prediction.
Fails first where pass rates differ much between prompts or over the run: one phi^2 then stands for many.
Source: docs/theory.md#effective-rollouts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fits.gap import ArmGap
from fits.inference import Interval
from theory import VerifierChannel
from theory.effective_rollouts import effective_rollouts

if TYPE_CHECKING:
    from empirical.probe import Probe

__all__ = ["RolloutsWorth", "log_error", "rollouts_worth"]


@dataclass(frozen=True)
class RolloutsWorth:
    """Effective rollouts of one arm at one group size, in rollouts a prompt.

    measured, measured_ci (95 %): None where `reason` says why. predicted: at pass rate `pass_rate`, in [0, 1].
    probed, probed_ci: None where there is no probe of the arm.
    """

    arm: str
    group_size: int
    pass_rate: float
    predicted: float
    measured: float | None
    measured_ci: Interval | None
    reason: str
    probed: float | None
    probed_ci: Interval | None

    @property
    def inside(self) -> bool | None:
        """Whether the prediction lies in the measurement's interval; None where there is none."""
        if self.measured_ci is None:
            return None
        return self.measured_ci[0] <= self.predicted <= self.measured_ci[1]


def rollouts_worth(
    arm: ArmGap, group_size: int, *, name: str = "", probe: Probe | None = None
) -> RolloutsWorth | None:
    """One arm of `gap` with its prediction joined; None where theory has none for its errors.

    group_size: at least 2. name: of the arm (default: as `gap` calls it). probe: of the initial weights.
    """
    if arm.fpr is None or arm.fnr is None or not 0.0 < 1.0 - arm.fpr - arm.fnr < 1.0:
        return None
    if arm.noise not in {None, "independent"} or not arm.curve:
        return None
    trained = [point for point in arm.curve if point.x > 0.0] or arm.curve
    pass_rate = float(np.mean([point.accuracy for point in trained]))
    if not 0.0 < pass_rate < 1.0:
        return None
    name = name or arm.arm
    probed = None if probe is None else _probed(probe, name, group_size)
    return RolloutsWorth(
        arm=name,
        group_size=group_size,
        pass_rate=pass_rate,
        predicted=float(
            effective_rollouts(pass_rate, VerifierChannel(arm.fpr, arm.fnr), group_size)
        ),
        measured=arm.effective_rollouts,
        measured_ci=arm.effective_rollouts_ci,
        reason=arm.effective_rollouts_reason,
        probed=None if probed is None else probed.effective_rollouts,
        probed_ci=None if probed is None else probed.effective_rollouts_ci,
    )


def _probed(probe: Probe, name: str, group_size: int) -> Any:
    """The probe of an arm, None where it has none."""
    for one in probe.by_group_size:
        if one.group_size == group_size:
            return next((arm for arm in one.arms if arm.arm == name), None)
    return None


def log_error(pairs: list[tuple[float, float]]) -> float:
    """Root mean square of log((one - 1)/(other - 1)): the error of what is beyond the first rollout; NaN of none."""
    if not pairs:
        return float("nan")
    one, other = np.array(pairs).T
    return float(np.sqrt(np.mean(np.log((one - 1.0) / (other - 1.0)) ** 2)))
