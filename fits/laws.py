"""Scaling laws of accuracy against compute, as objects with analytic Jacobians.

Law. Each is a map from compute x >= 0 to accuracy with parameters theta; scales and exponents enter as
logarithms, so that steps are relative and positivity needs no guard:
    sigmoid      y = R0 + (A - R0) / (1 + (m/x)^b)               (in log compute; ScaleRL)
    power        y = A - (A - R0) (1 + x/c)^(-k)                 (power law to an asymptote)
    exponential  y = A - (A - R0) exp(-x/c)
    log          y = y1 + s log(x/x1)                            (no asymptote; x > 0 only)
R0 is the accuracy before training, A the asymptote. All but `log` hold at x = 0 and are monotone.
Fails first when training collapses: a monotone law then fits the turn with nonsense, which
`fits.fit_curve` detects. Source: arXiv 2510.13786 (sigmoid); 2404.10102 (log-parametrisation).

A law of one's own (the theory's, say) is another `Law`: nothing here knows the four by name. Made of module-level
functions, as these are, a law and the fits of it can be sent to another process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fits.errors import InputError

FloatArray = NDArray[np.float64]

__all__ = [
    "CURVE_LAWS",
    "EXPONENTIAL",
    "LOG",
    "POWER",
    "SIGMOID",
    "FloatArray",
    "Law",
    "Parameter",
    "curve_law",
]

START_COUNT: Final = 2
_TINY: Final = 1e-300  # log of this stands for log 0: every law above is at its limit there


@dataclass(frozen=True)
class Parameter:
    """One parameter: its name, its unit, and whether the solver sees its logarithm.

    reads: in a linear law, the term it multiplies, as a person would write it. proper_edges: which ends
    of its range are values like any other (a start of 0) or limits of the law (a power without end), so
    that an estimate there leaves the asymptote as well known as elsewhere.
    """

    name: str
    unit: str
    log: bool = False
    reads: str = ""
    proper_edges: tuple[Literal["low", "high"], ...] = ()


@dataclass(frozen=True)
class Law:
    """A law y = f(inputs; theta), vectorised over rows of theta (replicates R) and points N.

    predict(inputs_KN, theta_RP) -> y_RN; jacobian(...) -> dy/dtheta, shape (R, P, N), in the solver's
    coordinates (log where Parameter.log). starts(inputs_KN, y_N) -> (S, P), a few rows.
    bounds(inputs_KN) -> (low_P, high_P). midpoint(theta_P): the compute at which half the rise is
    done, None for laws without an asymptote. reach(level_R, theta_RP): the logarithm of the compute at
    which each curve reaches its level, (R,), -inf where it starts there or above, inf where it never
    does; None for laws of several inputs. inputs: what the K rows of the inputs are.
    """

    name: str
    formula: str
    parameters: tuple[Parameter, ...]
    predict: Callable[[FloatArray, FloatArray], FloatArray]
    jacobian: Callable[[FloatArray, FloatArray], FloatArray]
    starts: Callable[[FloatArray, FloatArray], FloatArray]
    bounds: Callable[[FloatArray], tuple[FloatArray, FloatArray]]
    midpoint: Callable[[FloatArray], float] | None = None
    reach: Callable[[FloatArray, FloatArray], FloatArray] | None = None
    inputs: tuple[str, ...] = ("x",)
    needs_positive_x: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in order."""
        return tuple(parameter.name for parameter in self.parameters)

    def index(self, name: str) -> int:
        """The place of parameter `name`."""
        return self.names.index(name)

    @property
    def has_asymptote(self) -> bool:
        """Whether one parameter is the accuracy at infinite compute."""
        return "asymptote" in self.names

    def natural(self, theta_P: FloatArray) -> FloatArray:
        """theta with logarithms undone, same shape; the last axis runs over parameters."""
        logs = np.array([parameter.log for parameter in self.parameters])
        return np.where(logs, np.exp(np.where(logs, theta_P, 0.0)), theta_P)


def _scale_range(x_N: FloatArray) -> tuple[float, float]:
    """Logarithms between which a compute scale may lie: what the data could conceivably show."""
    positive = x_N[x_N > 0.0]
    if not positive.size:
        raise InputError("a curve against compute needs a positive x")
    return float(np.log(positive.min()) - 3.0), float(np.log(positive.max()) + 5.0)


def _starts(
    law: Law, inputs_KN: FloatArray, y_N: FloatArray, *, exponents: tuple[float, ...]
) -> FloatArray:
    """The best START_COUNT shapes of a coarse grid over (log scale, log exponent), (S, P).

    A law of this module is linear in its two levels, so each shape has its best levels in closed form
    (cut to [0, 1]); ranking the grid by the loss that is left costs less than one step of the solver
    and starts it in the right basin, next to the bottom.
    """
    low, high = _scale_range(inputs_KN[0])
    theta_MP = np.empty((8 * len(exponents), len(law.parameters)))
    theta_MP[:, :2] = 0.0, 1.0
    theta_MP[:, 2] = np.tile(np.linspace(low + 2.5, high - 3.5, 8), len(exponents))
    theta_MP[:, 3:] = np.repeat(np.log(exponents), 8)[:, None]
    done_MN = law.predict(inputs_KN, theta_MP)  # the share of the rise that is done
    left_MN = 1.0 - done_MN
    aa_M, bb_M = np.square(left_MN).sum(axis=1), np.square(done_MN).sum(axis=1)
    ab_M = (left_MN * done_MN).sum(axis=1)
    ay_M, by_M = left_MN @ y_N, done_MN @ y_N
    # Where the data see one level only, the other is anything: any will do to start from.
    first_M = (ay_M * bb_M - by_M * ab_M) / np.maximum(aa_M * bb_M - ab_M**2, 1e-9)
    first_M = np.minimum(np.maximum(first_M, 0.0), 1.0)
    last_M = (by_M - ab_M * first_M) / np.maximum(bb_M, 1e-9)
    last_M = np.minimum(np.maximum(last_M, 0.0), 1.0)
    theta_MP[:, 0], theta_MP[:, 1] = first_M, last_M
    residual_MN = y_N - left_MN * first_M[:, None] - done_MN * last_M[:, None]
    best = np.argsort(np.square(residual_MN).sum(axis=1), kind="stable")[:START_COUNT]
    return theta_MP[best]


def _bounds(
    inputs_KN: FloatArray, low_exponent: float, high_exponent: float
) -> tuple[FloatArray, FloatArray]:
    low, high = _scale_range(inputs_KN[0])
    return (
        np.array([0.0, 0.0, low, np.log(low_exponent)]),
        np.array([1.0, 1.0, high, np.log(high_exponent)]),
    )


def _done(level_R: FloatArray, theta_RP: FloatArray) -> FloatArray:
    """The share of the rise that is done at each level, (R,); of a curve that falls, 0 or, above its end, 1."""
    start_R, end_R = theta_RP[:, 0], theta_RP[:, 1]
    rises = end_R > start_R
    share_R = (level_R - start_R) / np.where(rises, end_R - start_R, 1.0)
    return np.where(rises, np.clip(share_R, 0.0, 1.0), level_R > end_R)


# --- sigmoid in log compute --------------------------------------------------------------------


def _sigmoid_parts(inputs_KN: FloatArray, theta_RP: FloatArray) -> tuple[FloatArray, ...]:
    from scipy.special import expit

    slope_R1 = np.exp(theta_RP[:, 3:4])
    distance_RN = np.log(np.maximum(inputs_KN[0], _TINY)) - theta_RP[:, 2:3]
    return slope_R1, distance_RN, expit(slope_R1 * distance_RN)


def _sigmoid(inputs_KN: FloatArray, theta_RP: FloatArray) -> FloatArray:
    _, _, share_RN = _sigmoid_parts(inputs_KN, theta_RP)
    return theta_RP[:, 0:1] + (theta_RP[:, 1:2] - theta_RP[:, 0:1]) * share_RN


def _sigmoid_jacobian(inputs_KN: FloatArray, theta_RP: FloatArray) -> FloatArray:
    slope_R1, distance_RN, share_RN = _sigmoid_parts(inputs_KN, theta_RP)
    jacobian_RPN = np.empty((len(theta_RP), 4, inputs_KN.shape[1]))
    steep_RN = (theta_RP[:, 1:2] - theta_RP[:, 0:1]) * share_RN * (1.0 - share_RN) * slope_R1
    jacobian_RPN[:, 0] = 1.0 - share_RN
    jacobian_RPN[:, 1] = share_RN
    jacobian_RPN[:, 2] = -steep_RN
    jacobian_RPN[:, 3] = steep_RN * distance_RN
    return jacobian_RPN


def _sigmoid_starts(inputs_KN: FloatArray, y_N: FloatArray) -> FloatArray:
    return _starts(SIGMOID, inputs_KN, y_N, exponents=(0.5, 1.0, 2.0, 4.0))


def _sigmoid_bounds(inputs_KN: FloatArray) -> tuple[FloatArray, FloatArray]:
    return _bounds(inputs_KN, 0.2, 12.0)


def _sigmoid_midpoint(theta_P: FloatArray) -> float:
    return float(np.exp(theta_P[2]))


def _sigmoid_reach(level_R: FloatArray, theta_RP: FloatArray) -> FloatArray:
    from scipy.special import logit

    return theta_RP[:, 2] + logit(_done(level_R, theta_RP)) * np.exp(-theta_RP[:, 3])


SIGMOID: Final = Law(
    name="sigmoid",
    formula="start + (asymptote - start) / (1 + (midpoint/x)^slope)",
    parameters=(
        Parameter("start", "accuracy", proper_edges=("low", "high")),
        Parameter("asymptote", "accuracy"),
        Parameter("midpoint", "x", log=True),
        Parameter("slope", "1", log=True, proper_edges=("high",)),  # a step
    ),
    predict=_sigmoid,
    jacobian=_sigmoid_jacobian,
    starts=_sigmoid_starts,
    bounds=_sigmoid_bounds,
    midpoint=_sigmoid_midpoint,
    reach=_sigmoid_reach,
)

# --- power law to an asymptote -----------------------------------------------------------------


def _power_parts(inputs_KN: FloatArray, theta_RP: FloatArray) -> tuple[FloatArray, ...]:
    power_R1 = np.exp(theta_RP[:, 3:4])
    ratio_RN = inputs_KN[0] * np.exp(-theta_RP[:, 2:3])
    log_RN = np.log1p(ratio_RN)
    return power_R1, ratio_RN, log_RN, np.exp(-power_R1 * log_RN)


def _power(inputs_KN: FloatArray, theta_RP: FloatArray) -> FloatArray:
    *_, left_RN = _power_parts(inputs_KN, theta_RP)
    return theta_RP[:, 1:2] - (theta_RP[:, 1:2] - theta_RP[:, 0:1]) * left_RN


def _power_jacobian(inputs_KN: FloatArray, theta_RP: FloatArray) -> FloatArray:
    power_R1, ratio_RN, log_RN, left_RN = _power_parts(inputs_KN, theta_RP)
    jacobian_RPN = np.empty((len(theta_RP), 4, inputs_KN.shape[1]))
    rest_RN = (theta_RP[:, 1:2] - theta_RP[:, 0:1]) * left_RN * power_R1
    jacobian_RPN[:, 0] = left_RN
    jacobian_RPN[:, 1] = 1.0 - left_RN
    jacobian_RPN[:, 2] = -rest_RN * ratio_RN / (1.0 + ratio_RN)
    jacobian_RPN[:, 3] = rest_RN * log_RN
    return jacobian_RPN


def _power_midpoint(theta_P: FloatArray) -> float:
    return float(np.exp(theta_P[2]) * np.expm1(np.log(2.0) * np.exp(-theta_P[3])))


def _power_reach(level_R: FloatArray, theta_RP: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", over="ignore"):
        folds_R = -np.log1p(-_done(level_R, theta_RP)) * np.exp(-theta_RP[:, 3])
        return theta_RP[:, 2] + np.log(np.expm1(folds_R))


def _power_starts(inputs_KN: FloatArray, y_N: FloatArray) -> FloatArray:
    return _starts(POWER, inputs_KN, y_N, exponents=(0.5, 1.0, 3.0))


def _power_bounds(inputs_KN: FloatArray) -> tuple[FloatArray, FloatArray]:
    return _bounds(inputs_KN, 0.1, 20.0)


POWER: Final = Law(
    name="power",
    formula="asymptote - (asymptote - start) (1 + x/scale)^(-power)",
    parameters=(
        Parameter("start", "accuracy", proper_edges=("low", "high")),
        Parameter("asymptote", "accuracy"),
        Parameter("scale", "x", log=True),
        Parameter("power", "1", log=True, proper_edges=("high",)),  # the exponential
    ),
    predict=_power,
    jacobian=_power_jacobian,
    starts=_power_starts,
    bounds=_power_bounds,
    midpoint=_power_midpoint,
    reach=_power_reach,
)

# --- exponential saturation --------------------------------------------------------------------


def _exponential(inputs_KN: FloatArray, theta_RP: FloatArray) -> FloatArray:
    left_RN = np.exp(-inputs_KN[0] * np.exp(-theta_RP[:, 2:3]))
    return theta_RP[:, 1:2] - (theta_RP[:, 1:2] - theta_RP[:, 0:1]) * left_RN


def _exponential_jacobian(inputs_KN: FloatArray, theta_RP: FloatArray) -> FloatArray:
    ratio_RN = inputs_KN[0] * np.exp(-theta_RP[:, 2:3])
    left_RN = np.exp(-ratio_RN)
    rise_R1 = theta_RP[:, 1:2] - theta_RP[:, 0:1]
    return np.stack([left_RN, 1.0 - left_RN, -rise_R1 * left_RN * ratio_RN], axis=1)


def _exponential_starts(inputs_KN: FloatArray, y_N: FloatArray) -> FloatArray:
    return _starts(EXPONENTIAL, inputs_KN, y_N, exponents=(1.0,))


def _exponential_bounds(inputs_KN: FloatArray) -> tuple[FloatArray, FloatArray]:
    low_P, high_P = _bounds(inputs_KN, 0.1, 1.0)
    return low_P[:3], high_P[:3]


def _exponential_midpoint(theta_P: FloatArray) -> float:
    return float(np.exp(theta_P[2]) * np.log(2.0))


def _exponential_reach(level_R: FloatArray, theta_RP: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore"):
        return theta_RP[:, 2] + np.log(-np.log1p(-_done(level_R, theta_RP)))


EXPONENTIAL: Final = Law(
    name="exponential",
    formula="asymptote - (asymptote - start) exp(-x/scale)",
    parameters=(
        Parameter("start", "accuracy", proper_edges=("low", "high")),
        Parameter("asymptote", "accuracy"),
        Parameter("scale", "x", log=True),
    ),
    predict=_exponential,
    jacobian=_exponential_jacobian,
    starts=_exponential_starts,
    bounds=_exponential_bounds,
    midpoint=_exponential_midpoint,
    reach=_exponential_reach,
)

# --- log-linear --------------------------------------------------------------------------------


def _log_linear(inputs_KN: FloatArray, theta_RP: FloatArray) -> FloatArray:
    return theta_RP[:, 0:1] + theta_RP[:, 1:2] * np.log(inputs_KN[0])


def _log_linear_jacobian(inputs_KN: FloatArray, theta_RP: FloatArray) -> FloatArray:
    log_N = np.log(inputs_KN[0])
    return np.broadcast_to(np.stack([np.ones_like(log_N), log_N]), (len(theta_RP), 2, log_N.size))


def _log_linear_starts(inputs_KN: FloatArray, y_N: FloatArray) -> FloatArray:
    log_N = np.log(inputs_KN[0])
    spread = float(log_N.var())
    slope = float(((log_N - log_N.mean()) * y_N).mean() / spread) if spread > 0.0 else 0.0
    return np.array([[float(y_N.mean()) - slope * float(log_N.mean()), slope]])


def _log_linear_bounds(_inputs_KN: FloatArray) -> tuple[FloatArray, FloatArray]:
    return np.array([-50.0, -5.0]), np.array([50.0, 5.0])


def _log_linear_reach(level_R: FloatArray, theta_RP: FloatArray) -> FloatArray:
    left_R, slope_R = level_R - theta_RP[:, 0], theta_RP[:, 1]
    rises = slope_R > 0.0
    return np.where(rises, left_R / np.where(rises, slope_R, 1.0), np.inf)


LOG: Final = Law(
    name="log",
    formula="intercept + slope log(x)",
    parameters=(Parameter("intercept", "accuracy"), Parameter("slope", "accuracy per e-fold")),
    predict=_log_linear,
    jacobian=_log_linear_jacobian,
    starts=_log_linear_starts,
    bounds=_log_linear_bounds,
    reach=_log_linear_reach,
    needs_positive_x=True,
)

CURVE_LAWS: Final = (SIGMOID, POWER, EXPONENTIAL, LOG)


def curve_law(name: str) -> Law:
    """The law called `name`. Raises InputError listing the laws where there is none."""
    for law in CURVE_LAWS:
        if law.name == name:
            return law
    raise InputError(f"law {name!r} is none of: auto, {', '.join(law.name for law in CURVE_LAWS)}")
