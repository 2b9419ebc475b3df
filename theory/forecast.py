"""Calibrate `theory.adam_flow` on the runs one has, forecast the accuracy of those one has not.

Law. A forecast is an average over what the rows leave open. Its members are flows of three laws:
    adam     the flow under Adam, at `signal` on a grid of NODES and a prompt's `own` share 0 or 1
    sgd      the flow under plain SGD, where that is what trained
    clock    the clean curve at J times the clock: noise as a brake and nothing else
Within a law and node the other coordinates are fitted to the rows with a Gaussian prior on each, in log or
logit coordinates, drawn from the Gaussian about the fit and weighed by how well they do; nodes are weighed by
their evidence (Laplace). A clean curve's shape does not tell laws of noise apart: unless some calibration row
is noisier than another, laws keep their prior mass.
    theta    -4 +- 1.5                 an untrained model that scores a few per cent
    rate     7 logits in the run, times e^(+-1), at the node's ratio of signal to noise
    signal   .4, times e^(+-1.2)       gradient of ability per unit of score noise, the same at every G
    ceiling  logit 1.2 +- .7
    spread   1.75, times e^(+-.3)      logits
    jitter   .1, times e^(+-.7)
    between  2, times e^(+-.7)         squared scatter of prompts' pulls over their squared mean
`signal` is where tasks differ most (.1 to 1.5 on five of them, LOG.md) and what no clean curve shows: a probe
measures it (`Measured`), noisy arms do, and where neither is there the forecast is as wide as tasks differ.
What no flow follows is a discrepancy: a smooth random function of time, one for each calibration condition, so
that more rows of one condition do not count as more conditions. It is carried to other verifiers at the
time when the clean curve has come as far, and read off the calibration rows (kriging).
The forecast is the interquartile mean of the members. Its variance holds, beside their scatter: the discrepancy,
runs of one condition about their mean, the noise of measuring, and HARM of what noise is said to cost. Outside the
calibrated range intervals widen and never narrow.
Fails first where an accuracy falls for other reasons than the gradient (collapse after a peak), and
where noise depends on what the policy can learn: the law then knows the rates and not the structure.
Source: docs/theory.md#adam-with-a-stationary-signal; docs/theory.md#effective-rollouts; Kennedy & O'Hagan 2001
(discrepancy); Tierney & Kadane 1986 (Laplace); the priors and every form tried and dropped are in LOG.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from theory.adam_flow import AdamFlow, Condition, FlowOptimiser, accuracy_curves
from theory.channel import FloatArray, VerifierChannel, check_rates
from theory.errors import ArgumentError
from theory.estimators import REINFORCE

Law = Literal["adam", "sgd", "clock"]
IntArray = NDArray[np.intp]

__all__ = [
    "LAWS",
    "NAMES",
    "Fit",
    "Forecast",
    "Law",
    "Measured",
    "Path",
    "Spread",
    "calibrate",
    "difference",
    "forecast",
    "spread",
]

NAMES: Final = ("theta", "rate", "signal", "ceiling", "spread", "jitter", "between")
LAWS: Final = get_args(Law)
_FREE: Final[Mapping[Law, tuple[int, ...]]] = {
    "adam": (0, 1, 3, 4, 5, 6),
    "sgd": (0, 1, 3, 4),
    "clock": (0, 1, 3, 4),
}
# The mass of each law before a row is read, by what is known of the optimiser.
_MASS: Final[Mapping[FlowOptimiser, Mapping[Law, float]]] = {
    "adam": {"adam": 0.8, "clock": 0.2},
    "sgd": {"sgd": 0.6, "clock": 0.4},
}
_OWN: Final = ((0.0, 0.5), (1.0, 0.5))  # a prompt's own share of its pull, and the mass of each
NODES: Final = (-2.0, -1.0, 0.0, 1.0, 2.0)  # of log signal, in its prior's standard deviations
# Mean and standard deviation of their logarithms, before anything is measured.
SIGNAL_PRIOR: Final = (math.log(0.4), 1.2)
BETWEEN_PRIOR: Final = (math.log(2.0), 0.7)
DISCREPANCY: Final = 0.01  # accuracy; no curve of the model is believed closer than this
_MEMORY: Final = 0.2  # of the calibrated time: how far a discrepancy remembers
SCATTER: Final = 0.015  # between runs of one condition, where no two show it
HARM: Final = 0.15  # of the forecast harm: what its size is not believed closer than
_HARM_PROBED: Final = 0.1  # the same where a probe has measured the arm's speed
_PROBED: Final = 0.95  # mass of the probe's clock beside the flow's own, where there is one
_DRAWS: Final = 24  # of a node
_MOST_WEIGHT: Final = 3.0  # of a draw, over the mean of its node: few draws must not be one
_KEPT: Final = 192  # members, at most
_LADDER: Final = (
    2.0**0.5
)  # between the lengths at which an interval past the calibrated one is checked
_IDENTIFIED: Final = 0.5  # of its prior's standard deviation: what the rows have to leave of it
_ALIASED: Final = 0.7  # correlation
Z90: Final = 1.6448536269514722


@dataclass(frozen=True)
class Measured:
    """What a probe at the initial weights says of the task, for `calibrate`.

    signal, between: as in `AdamFlow`, above 0. signal_sd, between_sd: of their logarithms, above 0.
    """

    signal: float
    between: float
    signal_sd: float = 0.3
    between_sd: float = 0.5

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value > 0.0):
                raise ArgumentError(f"{name} must be above 0, got {value!r}")


@dataclass(frozen=True)
class Fit:
    """A calibrated average over flows.

    members: coordinates by NAMES (theta, log rate, log signal, logit ceiling, log spread, log jitter, log
    between), [members, 7]. own, weight: [members]; weights sum to 1. law: each member's index in LAWS.
    prior_mean, prior_sd: of the coordinates under `adam`, [7]; rate at the central node.
    conditions: those calibrated on. cells: the calibration rows by condition and step, [4, cells]: condition,
    step, mean accuracy, rows. discrepancy: its standard deviation. white: variance of a row about it, evaluation noise
    included. scatter: standard deviation of a run about its condition. samples: the n_eval that has the
    calibration rows' mean evaluation noise; None where n_eval was not known. rmse: of the calibration
    cells about the mean forecast. status: of the solves; message says how many failed.
    """

    members: FloatArray
    own: FloatArray
    weight: FloatArray
    law: IntArray
    prior_mean: FloatArray
    prior_sd: FloatArray
    conditions: tuple[Condition, ...]
    cells: FloatArray
    discrepancy: float
    white: float
    scatter: float
    samples: float | None
    rmse: float
    status: Literal["converged", "not converged"]
    message: str

    @property
    def horizon(self) -> float:
        """The last calibrated step."""
        return float(self.cells[1].max())

    def mass(self) -> Mapping[Law, float]:
        """The share of the forecast that each law has."""
        return {name: float(self.weight[self.law == i].sum()) for i, name in enumerate(LAWS)}

    def _of(self, name: str) -> tuple[FloatArray, FloatArray]:
        """A coordinate's values and weights, over the members whose law has it."""
        at = NAMES.index(name)
        has = np.array([at in _FREE[law] or (name == "signal" and law == "adam") for law in LAWS])
        rows = has[self.law]
        if np.any(rows & (self.law == 0)):
            rows &= self.law == 0  # rates of different laws are in different units
        elif not rows.any():
            rows = np.ones_like(rows)
        weight = self.weight[rows]
        return self.members[rows, at], weight / weight.sum()

    def value(self, name: str) -> float:
        """A parameter's median over the members, in its own units."""
        return self._natural(name, 0.5)

    def interval(self, name: str, *, level: float = 0.95) -> tuple[float, float]:
        """A parameter's central interval over the members, in its own units."""
        tail = (1.0 - level) / 2.0
        return self._natural(name, tail), self._natural(name, 1.0 - tail)

    def _natural(self, name: str, share: float) -> float:
        values, weight = self._of(name)
        order = np.argsort(values)
        level = np.cumsum(weight[order]) - 0.5 * weight[order]
        point = float(np.interp(share, level, values[order]))
        if name == "theta":
            return point
        return float(special.expit(point)) if name == "ceiling" else math.exp(point)

    def aliased(self) -> Mapping[str, tuple[str, ...]]:
        """The parameters whose values the rows leave to the prior, each with those it trades off against."""
        rows = self.law == 0 if np.any(self.law == 0) else np.ones(self.law.size, dtype=np.bool_)
        weight = self.weight[rows] / self.weight[rows].sum()
        values = self.members[rows] - weight @ self.members[rows]
        covariance = (values * weight[:, np.newaxis]).T @ values
        sd = np.sqrt(np.diag(covariance))
        tied = np.abs(covariance) > _ALIASED * np.outer(sd, sd)
        return {
            name: tuple(
                other for k, other in enumerate(NAMES) if k != i and tied[i, k] and sd[k] > 0
            )
            for i, name in enumerate(NAMES)
            if sd[i] > _IDENTIFIED * self.prior_sd[i] or sd[i] == 0.0
        }


@dataclass(frozen=True)
class Forecast:
    """Forecast accuracies, shapes [rows], in [0, 1].

    low, high: the central 90 % interval of a measured accuracy. clean: the accuracy under a clean verifier,
    all else equal; gap: clean minus accuracy; gap_low, gap_high: its 90 % interval, in [-1, 1], of the two
    conditions' means, evaluation noise left out.
    """

    accuracy: FloatArray
    low: FloatArray
    high: FloatArray
    clean: FloatArray
    gap: FloatArray
    gap_low: FloatArray
    gap_high: FloatArray


@dataclass(frozen=True)
class Spread:
    """What every member says of rows, so that what they share drops out where rows are compared.

    accuracy, clean: [members, rows], the latter under a clean verifier, all else equal. start: at step 0, [members].
    weight: [members]; sums to 1. discrepancy: standard deviation of what no member follows, [rows].
    """

    accuracy: FloatArray
    clean: FloatArray
    start: FloatArray
    weight: FloatArray
    discrepancy: FloatArray


@dataclass(frozen=True)
class Path:
    """One condition by equally likely draws of what is not known: fields as in `Spread`, [draws]."""

    accuracy: FloatArray
    clean: FloatArray
    start: FloatArray
    discrepancy: float


@dataclass(frozen=True)
class _World:
    """One node: a law, its fixed coordinates, and its mass before a row is read.

    signal_free: whether `signal` is fitted like the others, where rows identify it.
    """

    law: Law
    own: float
    mass: float
    mean: FloatArray
    sd: FloatArray
    signal_free: bool = False

    @property
    def free(self) -> list[int]:
        return sorted((*_FREE[self.law], 2)) if self.signal_free else list(_FREE[self.law])

    def full(self, points: FloatArray) -> FloatArray:
        """Coordinates from free ones, [..., 7]."""
        whole = np.tile(self.mean, (*points.shape[:-1], 1))
        whole[..., self.free] = points
        return whole


@dataclass(frozen=True)
class _Cells:
    """Calibration rows of one condition and step each, [cells]."""

    condition: IntArray
    step: FloatArray
    mean: FloatArray
    count: FloatArray

    def kernel(self) -> FloatArray:
        """Correlation of the discrepancy between cells: none between conditions."""
        alike = self.condition[:, np.newaxis] == self.condition
        return alike * _remembered(self.step[:, np.newaxis], self.step, float(self.step.max()))


def calibrate(
    conditions: Sequence[Condition],
    condition: ArrayLike,
    step: ArrayLike,
    accuracy: ArrayLike,
    *,
    n_eval: ArrayLike | None = None,
    optimiser: FlowOptimiser = "adam",
    measured: Measured | None = None,
) -> Fit:
    """Fit to rows: accuracy at `step` under conditions[condition]; arrays of shape [rows].

    n_eval: samples behind each accuracy, where known. optimiser: what trained the runs. measured: what a
    probe found, where there is one.
    Raises ArgumentError if there are no rows, or an index, a step or an n_eval is out of range.
    """
    place, at = np.asarray(condition), np.asarray(step, dtype=np.float64)
    values = check_rates("accuracy", accuracy)
    if values.size == 0 or not values.shape == at.shape == place.shape:
        raise ArgumentError("condition, step and accuracy must be rows of one length, at least 1")
    if place.min() < 0 or place.max() >= len(conditions):
        raise ArgumentError(f"condition must be below {len(conditions)}, got {place.max()}")
    if optimiser not in get_args(FlowOptimiser):
        raise ArgumentError(f"optimiser must be adam or sgd, got {optimiser!r}")
    noise, samples = 0.0, None
    if n_eval is not None:
        share = values * (1.0 - values)
        n = _checked_samples(n_eval)
        noise = float(np.mean(share / n))
        # Of accuracies 0 and 1 alone nothing is known but how many samples they had.
        samples = float(share.mean()) / noise if noise > 0.0 else float(1.0 / np.mean(1.0 / n))
    cells, within = _cells(place, at, values)
    worlds = _worlds(conditions, cells.step, optimiser, measured)
    solver = _Solver(tuple(conditions), cells)

    # The weight of the rows against the prior is what they scatter about the fit: found in rounds.
    white = max(within, noise) if within is not None else noise + SCATTER**2
    discrepancy = DISCREPANCY
    central = worlds[0]
    point = min(
        (solver.solve(central, start, white, discrepancy) for start in _starts(central, cells)),
        key=lambda one: one.cost,
    )
    for _ in range(3):
        left = solver.modelled(central, point.at)[0] - cells.mean
        # Of the parameters the rows have fitted only the share that the prior left them.
        fitted = point.at.size - float(
            np.trace(np.linalg.inv(point.information) / central.sd[central.free] ** 2)
        )
        total = float(left @ left) / max(left.size - fitted, 1.0)
        if within is None:
            # Nothing tells a run's scatter from the model's misfit: half each, evaluation noise at least.
            white = max(noise, total / 2.0, 1e-5)
            discrepancy = math.sqrt(max(total - white, DISCREPANCY**2))
        else:
            white = max(within, noise, 1e-6)
            discrepancy = math.sqrt(
                max(total - float(np.mean(white / cells.count)), DISCREPANCY**2)
            )
        point = solver.solve(central, point.at, white, discrepancy)

    found: list[tuple[_World, _Solved]] = []
    for world in worlds:
        known = [(w, s) for w, s in found if w.law == world.law]
        if world is central:
            starts = [point.at]
        elif known:
            near, solved = min(known, key=lambda one: _apart(one[0], world))
            starts = [(near.full(solved.at) - near.mean + world.mean)[world.free]]
        else:
            starts = _starts(world, cells)
        tries = (solver.solve(world, start, white, discrepancy) for start in starts)
        found.append((world, min(tries, key=lambda one: one.cost)))
    youdens = [c.channel.youden for c in conditions]
    told = max(youdens) - min(youdens) > 1e-9
    if told:
        found = _with_identified_signal(found, solver, white, discrepancy, optimiser, measured)
    mass = _posterior_mass(found, told)
    members, weight, law, own = [], [], [], []
    for (world, solved), share in zip(found, mass, strict=True):
        points, relative = solver.draw(world, solved, white, discrepancy)
        members.append(points)
        weight.append(share * relative)
        law.append(np.full(len(points), LAWS.index(world.law)))
        own.append(np.full(len(points), world.own))
    keep, kept_weight = _resampled(np.concatenate(weight))
    failed = sum(not solved.success for _, solved in found)
    fit = Fit(
        members=np.concatenate(members)[keep],
        own=np.concatenate(own)[keep],
        weight=kept_weight,
        law=np.concatenate(law)[keep],
        prior_mean=central.mean,
        prior_sd=central.sd,
        conditions=tuple(conditions),
        cells=np.stack([cells.condition.astype(np.float64), cells.step, cells.mean, cells.count]),
        discrepancy=discrepancy,
        white=white,
        scatter=_scatter(white - noise, discrepancy, known=within is not None),
        samples=samples,
        rmse=math.nan,
        status="converged" if failed == 0 else "not converged",
        message=f"{len(found)} nodes solved" + (f", {failed} without converging" if failed else ""),
    )
    paths = _Paths(fit, conditions, cells.condition, cells.step, None)
    error = _middle(paths.accuracy, fit.weight) - cells.mean
    return replace(fit, rmse=float(np.sqrt(np.mean(error**2))))


def forecast(
    fit: Fit,
    conditions: Sequence[Condition],
    condition: ArrayLike,
    step: ArrayLike,
    *,
    n_eval: ArrayLike | None = None,
    pace: ArrayLike | None = None,
    pace_se: ArrayLike = 0.0,
) -> Forecast:
    """Forecast rows: the accuracy at `step` under conditions[condition]; arrays of shape [rows].

    n_eval: samples behind the measured accuracy; None: as the calibration's. Counted only where the
    calibration knew its own, whose scatter holds them otherwise. pace: each condition's clock over that of the
    clean calibration arm, as a probe measured it, [conditions]; NaN where it did not. pace_se: its standard error.
    Raises ArgumentError if a step or an n_eval is out of range.
    """
    place, at = np.asarray(condition), np.asarray(step, dtype=np.float64)
    if at.size and not (np.all(np.isfinite(at)) and at.min() >= 0.0):
        raise ArgumentError("steps must be finite and at least 0")
    samples = np.full(at.shape, np.nan)
    if fit.samples is not None:
        samples = np.full(at.shape, fit.samples) if n_eval is None else _checked_samples(n_eval)
    paces = None
    if pace is not None:
        paces = np.stack(np.broadcast_arrays(np.asarray(pace, dtype=np.float64), pace_se))
    asked, further = list(conditions), _Further()
    # Intervals may not narrow on the way out of what was calibrated: rows on that way are asked too.
    rows_place, rows_step, owner = [place], [at], [np.arange(at.size)]
    for other_place, other_step, rows in further.rows(fit, asked, place, at):
        rows_place.append(other_place)
        rows_step.append(other_step)
        owner.append(rows)
    every_place, every_step = np.concatenate(rows_place), np.concatenate(rows_step)
    every_owner = np.concatenate(owner)
    if paces is not None:
        paces = paces[:, further.origin(len(conditions), len(asked))]
    paths = _Paths(fit, asked, every_place, every_step, paces)
    mean, low, high = paths.interval(samples[every_owner])
    gap, gap_low, gap_high = paths.gap()
    width = np.zeros(at.size)
    np.maximum.at(width, every_owner, high - low)
    gap_width = np.zeros(at.size)
    np.maximum.at(gap_width, every_owner, gap_high - gap_low)
    first = slice(0, at.size)
    low_N, high_N = _widened(low[first], high[first], width, 0.0)
    gap_low_N, gap_high_N = _widened(gap_low[first], gap_high[first], gap_width, -1.0)
    return Forecast(
        mean[first], low_N, high_N, paths.clean_mean()[first], gap[first], gap_low_N, gap_high_N
    )


def spread(
    fit: Fit,
    conditions: Sequence[Condition],
    condition: ArrayLike,
    step: ArrayLike,
    *,
    most: int = _KEPT,
) -> Spread:
    """The members' accuracies at `step` under conditions[condition], without measured paces; arrays of shape [rows].

    most: members that are asked, a systematic sample by weight.
    Raises ArgumentError if a step is out of range.
    """
    place, at = np.asarray(condition), np.asarray(step, dtype=np.float64)
    if at.size and not (np.all(np.isfinite(at)) and at.min() >= 0.0):
        raise ArgumentError("steps must be finite and at least 0")
    kept, weight = _resampled(fit.weight, most)
    few = replace(
        fit, members=fit.members[kept], own=fit.own[kept], weight=weight, law=fit.law[kept]
    )
    paths = _Paths(few, conditions, place, at, None)
    return Spread(
        paths.accuracy, paths.clean, paths.start, paths.weight, np.sqrt(paths.discrepancy2)
    )


def difference(one: Path, other: Path, *, level: float = 0.95) -> tuple[float, float, float]:
    """Accuracy of one less that of other: mean and central interval, of the two conditions' means.

    Draws are compared one by one. Half of the discrepancy is taken to differ, and harms, not believed closer than
    HARM, to err half alike: against a clean verifier this is `Forecast.gap`.
    """
    apart = one.accuracy - other.accuracy
    own, others = (_harm_sd(p.accuracy, p.clean, p.start) for p in (one, other))
    variance = own**2 + others**2 - own * others
    if np.any(np.abs(apart) >= 1e-12):
        variance = variance + 0.5 * max(one.discrepancy, other.discrepancy) ** 2
    else:
        variance = np.zeros_like(apart)
    weight = np.full(apart.size, 1.0 / apart.size)
    low, high = _central(apart[:, None], np.sqrt(variance)[:, None], weight, level=level)
    mean = float(_middle(apart[:, None], weight)[0])
    ends = np.clip([low[0], high[0]], -1.0, 1.0)
    return mean, min(float(ends[0]), mean), max(float(ends[1]), mean)


def _harm_sd(
    accuracy: FloatArray, clean: FloatArray, start: FloatArray, share: FloatArray | float = HARM
) -> FloatArray:
    """What a harm is not believed closer than: none where nothing is lost, or all that can be learnt is."""
    harm = clean - accuracy
    learnt = np.maximum(clean - start, 1e-3)
    return np.asarray(share * harm * np.abs(1.0 - harm / learnt).clip(0.0, 1.0), dtype=np.float64)


def _widened(
    low: FloatArray, high: FloatArray, width: FloatArray, floor: float
) -> tuple[FloatArray, FloatArray]:
    """The intervals at `width` at least, inside [floor, 1]: first downwards, since ceilings bind first."""
    lower = np.minimum(low, np.maximum(high - width, floor))
    return lower, np.maximum(high, np.minimum(lower + width, 1.0))


class _Further:
    """Rows between those asked for and what was calibrated, whose intervals must not be the wider ones."""

    def __init__(self) -> None:
        self._origin: list[int] = []

    def origin(self, given: int, total: int) -> IntArray:
        """For each condition, the given one it came from."""
        return np.array([*range(given), *self._origin[: total - given]], dtype=np.intp)

    def rows(
        self, fit: Fit, conditions: list[Condition], place: IntArray, at: FloatArray
    ) -> list[tuple[IntArray, FloatArray, IntArray]]:
        """(condition, step, row it belongs to), by way; appends the conditions it needs."""
        found: list[tuple[IntArray, FloatArray, IntArray]] = []
        horizon = fit.horizon
        beyond = np.flatnonzero(at > horizon)
        length = horizon
        while beyond.size and length < at.max():
            rows = beyond[at[beyond] > length]
            found.append((place[rows], np.full(rows.size, length), rows))
            length = max(length, 1.0) * _LADDER
        sizes = [c.group_size for c in fit.conditions]
        for i in range(len(conditions)):
            size = conditions[i].group_size
            nearest = min(max(size, min(sizes)), max(sizes))
            if nearest == size:
                continue
            rows = np.flatnonzero(place == i)
            conditions.append(replace(conditions[i], group_size=nearest))
            self._origin.append(i)
            found.append(
                (np.full(rows.size, len(conditions) - 1), np.minimum(at[rows], horizon), rows)
            )
        return found


class _Paths:
    """Every member's forecast of rows, [members, rows]: mean accuracy, and that under a clean verifier."""

    def __init__(
        self,
        fit: Fit,
        conditions: Sequence[Condition],
        place: IntArray,
        at: FloatArray,
        paces: FloatArray | None,
    ) -> None:
        """paces: pace and its standard error by condition, [2, conditions]."""
        self._fit, self._place, self._at = fit, place, at
        # Each row's condition and its clean twin; what several rows ask is integrated once.
        asked = [*conditions, *(replace(c, channel=VerifierChannel(0.0, 0.0)) for c in conditions)]
        both = list(dict.fromkeys(asked))
        slot = {condition: i for i, condition in enumerate(both)}
        slots = np.array([slot[condition] for condition in asked], dtype=np.intp)
        where = slots[np.concatenate([place, len(conditions) + place])]
        when = np.concatenate([at, at])
        raw = np.empty((len(fit.weight), where.size))
        self.accuracy = np.empty((len(fit.weight), at.size))
        self.clean = np.empty_like(self.accuracy)
        reference = _Reference(fit)
        self.start = np.empty(len(fit.weight))
        sizes = np.array([c.group_size for c in both])
        for i, law in enumerate(LAWS):
            rows = np.flatnonzero(fit.law == i)
            if rows.size == 0:
                continue
            raw[rows] = _curves(fit, rows, law, both, where, when)
            self.start[rows] = reference.start(rows, law)
            raw[rows] += reference.residual_at(rows, law, raw[rows], sizes[where])
        self.clean[:] = raw[:, at.size :]
        self.accuracy[:] = raw[:, : at.size]
        self.weight = fit.weight
        self.probed = np.zeros(at.size, dtype=np.bool_)
        if paces is not None:
            self._add_paced(fit, reference, paces)
        sizes_known = [math.log2(c.group_size) for c in fit.conditions]
        size_N = np.log2(sizes[where[: at.size]])
        outside = np.maximum(size_N - max(sizes_known), min(sizes_known) - size_N).clip(0.0)
        outside[self.probed] = 0.0  # the probe has measured that group size
        longer = np.log2(np.maximum(at / max(fit.horizon, 1.0), 1.0))
        # Half the discrepancy a doubling of rollouts, all of it a doubling of time.
        self.discrepancy2 = fit.discrepancy**2 * (1.0 + (0.5 * outside) ** 2 + longer**2)

    def _add_paced(self, fit: Fit, reference: _Reference, paces: FloatArray) -> None:
        """Members once more, at the probe's pace along their clean curve: rows without one keep the flow."""
        pace_N, se_N = paces[0, self._place], paces[1, self._place]
        # A clock cannot be read backwards: an arm that unlearns is left to the flow.
        self.probed = np.isfinite(pace_N) & (pace_N > -2.0 * se_N)
        if not self.probed.any():
            return
        members = np.flatnonzero(fit.law != LAWS.index("clock"))
        # Members take quantiles of the pace's error in turn.
        quantile = special.ndtri((np.arange(members.size) * 0.618034 + 0.5) % 1.0 * 0.998 + 0.001)
        rows = np.flatnonzero(self.probed)
        pace = np.maximum(pace_N[rows] + quantile[:, np.newaxis] * se_N[rows], 0.0)
        moved = self.accuracy[members].copy()
        moved[:, rows] = reference.clean_at(members, pace * self._at[rows])
        self.accuracy = np.concatenate([self.accuracy, moved])
        self.clean = np.concatenate([self.clean, self.clean[members]])
        self.start = np.concatenate([self.start, self.start[members]])
        weight = fit.weight[members] / fit.weight[members].sum()
        self.weight = np.concatenate([(1.0 - _PROBED) * self.weight, _PROBED * weight])

    def clean_mean(self) -> FloatArray:
        """The accuracy under a clean verifier, averaged over members."""
        return np.clip(_middle(self.clean, self.weight), 0.0, 1.0)

    def interval(self, samples: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Mean, and central 90 % interval, of a measured accuracy. samples: NaN where unknown."""
        inside = np.clip(self.accuracy, 1e-3, 1.0 - 1e-3)
        measuring = np.where(np.isnan(samples), 0.0, inside * (1.0 - inside) / samples)
        variance = self.discrepancy2 + self._fit.scatter**2 + measuring + self._harm2()
        low, high = _central(self.accuracy, np.sqrt(variance), self.weight)
        mean = np.clip(_middle(self.accuracy, self.weight), 0.0, 1.0)
        return (
            mean,
            np.minimum(np.clip(low, 0.0, 1.0), mean),
            np.maximum(np.clip(high, 0.0, 1.0), mean),
        )

    def gap(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Clean minus noisy: mean, and central 90 % interval, of the conditions' means."""
        apart = self.clean - self.accuracy
        # Two conditions share their discrepancy as far as they share their path: half is taken to differ.
        same = np.all(np.abs(apart) < 1e-12, axis=0)
        variance = np.where(same, 0.0, 0.5 * self.discrepancy2) + self._harm2()
        low, high = _central(apart, np.sqrt(variance), self.weight)
        mean = self.clean_mean() - np.clip(_middle(self.accuracy, self.weight), 0.0, 1.0)
        return (
            mean,
            np.minimum(np.clip(low, -1.0, 1.0), mean),
            np.maximum(np.clip(high, -1.0, 1.0), mean),
        )

    def _harm2(self) -> FloatArray:
        """Variance of the harm."""
        share = np.where(self.probed, _HARM_PROBED, HARM)
        return _harm_sd(self.accuracy, self.clean, self.start[:, np.newaxis], share) ** 2


class _Reference:
    """The clean arms that were calibrated on, by member: their curves, and what the members miss of them."""

    _POINTS = 257

    def __init__(self, fit: Fit) -> None:
        self._fit = fit
        most = max(c.channel.youden for c in fit.conditions)
        self._arms = [i for i, c in enumerate(fit.conditions) if c.channel.youden > most - 1e-9]
        self._sizes = np.log2([fit.conditions[i].group_size for i in self._arms])
        self._cells = _Cells(fit.cells[0].astype(np.intp), *fit.cells[1:])
        covariance = fit.discrepancy**2 * self._cells.kernel() + np.diag(
            fit.white / self._cells.count
        )
        self._precision = np.linalg.inv(covariance)
        self._grid = np.linspace(0.0, fit.horizon, self._POINTS)
        self._left: dict[Law, tuple[FloatArray, FloatArray]] = {}

    def _of(self, law: Law, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        """Clean curves on the grid, [members, arms, points], and what each member misses of every cell."""
        if law not in self._left:
            fit = self._fit
            arms = [fit.conditions[i] for i in self._arms]
            points = len(self._grid)
            curves = _curves(
                fit,
                rows,
                law,
                arms,
                np.repeat(np.arange(len(arms)), points),
                np.tile(self._grid, len(arms)),
            ).reshape(rows.size, len(arms), points)
            cells = self._cells
            modelled = _curves(fit, rows, law, fit.conditions, cells.condition, cells.step)
            self._left[law] = curves, (cells.mean - modelled) @ self._precision
        return self._left[law]

    def start(self, rows: IntArray, law: Law) -> FloatArray:
        """The accuracy at step 0 by member."""
        return self._of(law, rows)[0][:, 0, 0]

    def _missed(self, arm: int, missed: FloatArray, tau: FloatArray) -> FloatArray:
        """The discrepancy of a calibrated arm at times tau, [members, rows], given what was missed."""
        mine = self._cells.condition == self._arms[arm]
        near = _remembered(tau[..., np.newaxis], self._cells.step[mine], self._fit.horizon)
        return self._fit.discrepancy**2 * np.einsum("mrc,mc->mr", near, missed[:, mine])

    def residual_at(
        self, rows: IntArray, law: Law, accuracy: FloatArray, sizes: NDArray[np.int64]
    ) -> FloatArray:
        """What members miss where the clean arm of the nearest group size has come as far, [members, rows]."""
        curves, missed = self._of(law, rows)
        nearest = np.abs(self._sizes[:, np.newaxis] - np.log2(sizes)).argmin(axis=0)
        left = np.zeros_like(accuracy)
        for arm in range(len(self._arms)):
            here = np.flatnonzero(nearest == arm)
            if here.size == 0 or self._fit.horizon == 0.0:
                continue
            tau = np.stack(
                [
                    # Plateaus are made to rise by nothing much, so that a time can be read off them.
                    np.interp(now, curve + 1e-9 * np.arange(curve.size), self._grid)
                    for now, curve in zip(accuracy[:, here], curves[:, arm], strict=True)
                ]
            )
            left[:, here] = self._missed(arm, missed, tau)
        return left

    def clean_at(self, rows: IntArray, times: FloatArray) -> FloatArray:
        """The clean arm's accuracy at each member's own times, [members, rows]; arm of the middle group size."""
        arm = int(np.abs(self._sizes - np.median(self._sizes)).argmin())
        found = np.empty_like(times)
        for i, law in enumerate(LAWS):
            mine = np.flatnonzero(self._fit.law[rows] == i)
            if mine.size == 0:
                continue
            whole = np.flatnonzero(self._fit.law == i)
            curves, missed = self._of(law, whole)
            place = np.searchsorted(whole, rows[mine])
            last = max(float(times[mine].max()), self._fit.horizon)
            grid, known = self._grid, curves[place, arm]
            if last > self._fit.horizon:
                grid = np.concatenate(
                    [self._grid, np.geomspace(self._grid[-1], 2.0 * last, self._POINTS)[1:]]
                )
                arms = [self._fit.conditions[self._arms[arm]]]
                zeros = np.zeros(grid.size, dtype=np.intp)
                known = _curves(self._fit, rows[mine], law, arms, zeros, grid)
            read = [np.interp(t, grid, c) for t, c in zip(times[mine], known, strict=True)]
            found[mine] = np.stack(read) + self._missed(arm, missed[place], times[mine])
        return found


def _curves(
    fit: Fit,
    rows: IntArray,
    law: Law,
    conditions: Sequence[Condition],
    place: IntArray,
    at: FloatArray,
) -> FloatArray:
    """Members `rows`, all of one law, at (condition, step) pairs: [members, pairs]."""
    flows = [_flow(fit.members[i], float(fit.own[i])) for i in rows]
    times, column = np.unique(at, return_inverse=True)
    used, slot = np.unique(place, return_inverse=True)
    some = [_under(law, conditions[i]) for i in used]
    return accuracy_curves(flows, some, times)[:, slot, column]


def _middle(values: FloatArray, weight: FloatArray) -> FloatArray:
    """Interquartile mean over members, [members, rows] to [rows]: an average that a few far ones do not carry.

    It rises where every member does.
    """
    order = np.argsort(values, axis=0)
    end = np.cumsum(weight[order], axis=0) / weight.sum()
    start = np.concatenate([np.zeros((1, end.shape[1])), end[:-1]])
    share = np.clip(np.minimum(end, 0.75) - np.maximum(start, 0.25), 0.0, None)
    return np.asarray(
        (share * np.take_along_axis(values, order, axis=0)).sum(axis=0) / share.sum(axis=0),
        dtype=np.float64,
    )


def _central(
    means: FloatArray, sds: FloatArray, weight: FloatArray, *, level: float = 0.9
) -> tuple[FloatArray, FloatArray]:
    """The central interval of mixtures of normals, members along the first axis."""
    sds = np.maximum(sds, 1e-9)
    ends: list[FloatArray] = []
    for share in ((1.0 - level) / 2.0, (1.0 + level) / 2.0):
        low, high = (means - 6.0 * sds).min(axis=0), (means + 6.0 * sds).max(axis=0)
        for _ in range(24):
            middle = 0.5 * (low + high)
            below = weight @ special.ndtr((middle - means) / sds) < share
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        ends.append(0.5 * (low + high))
    return ends[0], ends[1]


def _remembered(one: FloatArray, other: FloatArray, horizon: float) -> FloatArray:
    """Correlation of a discrepancy at two times."""
    return np.exp(-np.abs(one - other) / max(_MEMORY * horizon, 1e-9))


def _under(law: Law, condition: Condition) -> Condition:
    """The condition as a law sees it."""
    if law == "adam":
        return replace(condition, optimiser="adam")
    if law == "sgd":
        return replace(condition, optimiser="sgd")
    # SGD without a scale: J is the clock, whatever the group; below 0 it stands still.
    youden = max(condition.channel.youden, 0.0)
    return replace(
        condition,
        optimiser="sgd",
        estimator=REINFORCE,
        group_size=2,
        channel=VerifierChannel(1.0 - youden, 0.0),
    )


def _checked_samples(n_eval: ArrayLike) -> FloatArray:
    samples = np.asarray(n_eval, dtype=np.float64)
    if not np.all(samples >= 1.0):
        raise ArgumentError("n_eval must be at least 1")
    return samples


def _flow(point: FloatArray, own: float) -> AdamFlow:
    theta, rate, signal, ceiling, spread, jitter, between = (float(v) for v in point)
    return AdamFlow(
        theta=theta,
        rate=math.exp(rate),
        signal=math.exp(signal),
        ceiling=float(special.expit(ceiling)),
        spread=math.exp(spread),
        jitter=math.exp(jitter),
        between=math.exp(between),
        own=own,
    )


def _cells(place: IntArray, at: FloatArray, values: FloatArray) -> tuple[_Cells, float | None]:
    """Rows by condition and step, and their variance within those; None where too few share one."""
    keys, where = np.unique(np.stack([place, at]), axis=1, return_inverse=True)
    where = where.ravel()
    count = np.bincount(where).astype(np.float64)
    mean = np.bincount(where, weights=values) / count
    freedom = values.size - count.size
    within = float(np.sum((values - mean[where]) ** 2)) / freedom if freedom >= 4 else None
    return _Cells(keys[0].astype(np.intp), keys[1], mean, count), within


def _scatter(seen: float, discrepancy: float, *, known: bool) -> float:
    """Standard deviation of runs about their condition. seen: their variance, evaluation noise taken off."""
    if known:
        return math.sqrt(max(seen, 0.0))
    # Runs that nobody repeated: what the discrepancy has beyond its least may be theirs already.
    beyond = discrepancy**2 - DISCREPANCY**2
    return math.sqrt(max(seen, SCATTER**2 - beyond, 0.0))


def _worlds(
    conditions: Sequence[Condition],
    steps: FloatArray,
    optimiser: FlowOptimiser,
    measured: Measured | None,
) -> list[_World]:
    """Every node, the most central first."""
    size = float(np.median([c.group_size for c in conditions]))
    prompts = float(np.median([c.prompts_per_step for c in conditions]))
    last = float(steps.max())
    lost = max(c.warmup_steps * (1.0 - c.warmup_from) / 2.0 for c in conditions)
    speed = 7.0 / max(last - lost, 0.5 * last, 1.0)  # logits a step
    pull = 0.25  # of a prompt midway, grpo
    middle, width = SIGNAL_PRIOR
    between, between_sd = BETWEEN_PRIOR
    if measured is not None:
        middle, width = math.log(measured.signal), measured.signal_sd
        between, between_sd = math.log(measured.between), measured.between_sd
    sd = np.array([1.5, 1.0, width, 0.7, 0.3, 0.7, between_sd])

    def mean(signal: float, pace: float, jitter: float) -> FloatArray:
        rate = math.log(speed / pace)
        return np.array([-4.0, rate, signal, 1.2, math.log(1.75), jitter, between])

    laws = _MASS[optimiser]
    if measured is not None and optimiser == "adam":
        laws = {"adam": 1.0}  # the clock slowed by J stands for what is now measured
    owns = _OWN if measured is None else ((0.0, 1.0),)
    density = np.exp(-0.5 * np.square(NODES))
    found: list[_World] = []
    for law, mass in laws.items():
        for own, part in owns:
            if law == "adam":
                for node, share in zip(NODES, density / density.sum(), strict=True):
                    log_signal = middle + width * node
                    rho2 = (math.exp(log_signal) * pull) ** 2 * size * prompts
                    rho2 /= 1.0 + math.exp(between) * rho2 / prompts
                    pace = math.sqrt(rho2 / (1.0 + rho2))
                    at = mean(log_signal, pace, math.log(0.1))
                    found.append(_World(law, own, mass * part * float(share), at, sd))
            elif law == "sgd":
                found.append(_World(law, own, mass * part, mean(middle, pull, -40.0), sd))
        if law == "clock":
            found.append(_World(law, 0.0, mass, mean(middle, 0.15, -40.0), sd))
    found.sort(key=lambda one: (LAWS.index(one.law), one.own, abs(one.mean[2] - middle)))
    return found


def _apart(one: _World, other: _World) -> float:
    return abs(float(one.mean[2] - other.mean[2])) + abs(one.own - other.own)


def _starts(world: _World, cells: _Cells) -> list[FloatArray]:
    """Slow, middling and fast, from where the first rows are."""
    found: list[FloatArray] = []
    for speed in (0.0, -1.5, 1.5):
        start = world.mean.copy()
        start[1] += speed
        if np.ptp(cells.step) > 0.0:
            first = float(cells.mean[np.argmin(cells.step)])
            start[0] = special.logit(np.clip(first, 1e-3, 0.99)) - 0.5
        found.append(start[world.free])
    return found


@dataclass(frozen=True)
class _Solved:
    """at: free coordinates. information: of the posterior. evidence: its logarithm, up to a constant."""

    at: FloatArray
    cost: float
    information: FloatArray
    evidence: float
    success: bool


class _Solver:
    """Least squares of a node's free coordinates against the cells."""

    def __init__(self, conditions: tuple[Condition, ...], cells: _Cells) -> None:
        self._conditions, self._cells = conditions, cells
        self._times, self._column = np.unique(cells.step, return_inverse=True)
        self._kernel = cells.kernel()

    def modelled(self, world: _World, points: FloatArray) -> FloatArray:
        """Accuracies of the cells, [points, cells], at free coordinates [points, free] or [free]."""
        flows = [_flow(p, world.own) for p in np.atleast_2d(world.full(points))]
        conditions = [_under(world.law, c) for c in self._conditions]
        curves = accuracy_curves(flows, conditions, self._times)
        return curves[:, self._cells.condition, self._column]

    def _whitener(self, white: float, discrepancy: float) -> FloatArray:
        covariance = discrepancy**2 * self._kernel + np.diag(white / self._cells.count)
        return np.asarray(np.linalg.inv(np.linalg.cholesky(covariance)), dtype=np.float64)

    def solve(self, world: _World, start: FloatArray, white: float, discrepancy: float) -> _Solved:
        from scipy.optimize import least_squares

        whitener = self._whitener(white, discrepancy)
        mean, sd = world.mean[world.free], world.sd[world.free]

        def residuals(x: FloatArray) -> FloatArray:
            missed = whitener @ (self.modelled(world, x)[0] - self._cells.mean)
            return np.concatenate([missed, (x - mean) / sd])

        def jacobian(x: FloatArray) -> FloatArray:
            h = 1e-3 * sd
            curves = self.modelled(world, np.concatenate([x[np.newaxis], x + np.diag(h)]))
            slopes = (curves[1:] - curves[0]) / h[:, np.newaxis]
            return np.concatenate([whitener @ slopes.T, np.diag(1.0 / sd)])

        solved = least_squares(
            residuals, start, jac=jacobian, x_scale=sd, max_nfev=40, ftol=1e-4, xtol=1e-4
        )
        slope = np.asarray(solved.jac, dtype=np.float64)
        information = slope.T @ slope
        evidence = (
            -float(solved.cost)
            - 0.5 * float(np.linalg.slogdet(information)[1])
            - float(np.log(sd).sum())
        )
        return _Solved(
            np.asarray(solved.x, dtype=np.float64),
            float(solved.cost),
            information,
            evidence,
            bool(solved.success),
        )

    def draw(
        self, world: _World, solved: _Solved, white: float, discrepancy: float
    ) -> tuple[FloatArray, FloatArray]:
        """Coordinates from the node's posterior, [draws, 7], and their weights, which sum to 1."""
        from scipy.stats import qmc

        free = solved.at.size
        # The same low-discrepancy points each time: two calibrations on the same rows are one.
        count = 2 * _DRAWS if world.signal_free else _DRAWS
        sobol = qmc.Sobol(free, scramble=True, rng=np.random.default_rng(0)).random(64)[:count]
        normal = special.ndtri(sobol)
        root = np.linalg.cholesky(np.linalg.inv(solved.information))
        points = solved.at + normal @ root.T
        whitener = self._whitener(white, discrepancy)
        missed = (self.modelled(world, points) - self._cells.mean) @ whitener.T
        mean, sd = world.mean[world.free], world.sd[world.free]
        log_posterior = -0.5 * (missed**2).sum(axis=1) - 0.5 * (((points - mean) / sd) ** 2).sum(
            axis=1
        )
        log_weight = log_posterior + 0.5 * (normal**2).sum(axis=1)
        weight = np.exp(log_weight - log_weight.max())
        weight = np.minimum(weight / weight.mean(), _MOST_WEIGHT)
        return world.full(points), weight / weight.sum()


def _with_identified_signal(
    found: list[tuple[_World, _Solved]],
    solver: _Solver,
    white: float,
    discrepancy: float,
    optimiser: FlowOptimiser,
    measured: Measured | None,
) -> list[tuple[_World, _Solved]]:
    """The nodes, those of Adam that differ by their signal made one wherever the rows tell it between nodes.

    Nodes lie a prior deviation apart: rows that know better would be left with one, and a false certainty.
    """
    if optimiser != "adam":
        return found
    middle, width = SIGNAL_PRIOR
    if measured is not None:
        middle, width = math.log(measured.signal), measured.signal_sd
    kept = [one for one in found if one[0].law != "adam"]
    for own in sorted({world.own for world, _ in found if world.law == "adam"}):
        nodes = [one for one in found if one[0].law == "adam" and one[0].own == own]
        near, start = max(nodes, key=lambda one: one[1].evidence + math.log(one[0].mass))
        mean = near.mean.copy()
        mean[2] = middle
        world = replace(near, mass=sum(node.mass for node, _ in nodes), mean=mean, signal_free=True)
        solved = solver.solve(world, near.full(start.at)[world.free], white, discrepancy)
        spread = math.sqrt(float(np.linalg.inv(solved.information)[2, 2]))
        kept += [(world, solved)] if spread < 0.5 * width else nodes
    return kept


def _posterior_mass(found: Sequence[tuple[_World, _Solved]], told: bool) -> FloatArray:
    """The weight of each node. told: whether the rows have verifiers of different quality."""
    prior = np.array([world.mass for world, _ in found])
    evidence = np.array([solved.evidence for _, solved in found])
    mass = prior * np.exp(evidence - evidence.max())
    if not told:
        laws = np.array([LAWS.index(world.law) for world, _ in found])
        for i in np.unique(laws):
            mass[laws == i] *= prior[laws == i].sum() / mass[laws == i].sum()
    return mass / mass.sum()


def _resampled(weight: FloatArray, most: int = _KEPT) -> tuple[IntArray, FloatArray]:
    """Which draws to keep, and their weights: systematic resampling to at most `most`."""
    ladder = np.cumsum(weight) / weight.sum()
    picked = np.searchsorted(ladder, (np.arange(most) + 0.5) / most)
    keep, count = np.unique(np.minimum(picked, weight.size - 1), return_counts=True)
    return keep, count / most
