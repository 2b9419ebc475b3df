"""What a lever does to a run: its accuracy by a calibration, the speed of its learning by a probe.

Law, calibration. A lever is a verifier and a budget; every member of the calibration's average says where a run with it
ends. Levers are compared member by member and by the same drawn rates, so that what is not known of the task drops out
(`theory.forecast.difference`). Members are solved on few rates and read between them (Lagrange), since accuracies are
smooth in the rates.

Law, probe. Its noise scale in prompts is N = within/phi^2 + between, of which a verifier changes phi^2 only:
    phi^2 = J^2 mean(n(0, 0)) / mean(n(x, d)),
    n = (1 - a) w (x (1 - q)^2 + (1 - x) q^2) + a ((1 - d) (1 - q)^2 + d q^2),  q = x + J a,  w = v0/v1
over the probed prompts, at w = 1 the law of `theory.effective_rollouts`. Under Adam with a long memory a step goes
rho/sqrt(1 + rho^2), rho^2 = prompts/N; under plain SGD, J mean(A gain). Both are held against the arms that the probe
measured, -log of phi^2 and of speed being harms: what the law misses of these is mended by its mean over arms, false
positives and false negatives apart, and its scatter is carried into the intervals.
Fails first where errors are not independent; and with the policy: a probe is of the weights it was made at.
Source: docs/theory.md#effective-rollouts; docs/theory.md#adam-with-a-stationary-signal; docs/theory.md#probe.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from empirical.validate.calibrate import Calibration
from fits.errors import InputError
from theory import estimator_named, gain
from theory.forecast import Path, Spread, difference

if TYPE_CHECKING:
    from empirical.probe import Probe, SizeProbe

FloatArray = NDArray[np.float64]
Compared = tuple[float, float, float]  # value, and its 95 % interval

__all__ = ["Accuracies", "Option", "Speeds", "accuracies", "speeds"]

MEMBERS: Final = 96  # of the calibration's average: each is solved on every rate
FINE: Final = 0.1  # range of a rate, beyond which four of its values are solved and not three
UNMEASURED: Final = 0.25  # relative error of a harm's law where no arm of the probe says
LEAST_ERROR: Final = 0.05  # and where arms do, at least


@dataclass(frozen=True)
class Option:
    """A lever as it acts on drawn rates: verifier of each draw, and the budget it takes."""

    name: str
    fpr_D: FloatArray
    fnr_D: FloatArray
    group_size: int
    steps: int
    judgements: int
    estimator: str
    effort: str
    reason: str = ""


@dataclass(frozen=True)
class Accuracies:
    """Where runs with each option end, by draws of rates and members; inside: brought back to what was calibrated.

    fixed: with every draw's rates at their median.
    """

    asked: tuple[Path, ...]
    inside: tuple[Path, ...]
    fixed: tuple[Path, ...]

    def compare(self, i: int, k: int) -> Compared:
        """Accuracy gained by option i over k; no surer outside the calibrated budgets than inside."""
        value, low, high = difference(self.asked[i], self.asked[k])
        _, near, far = difference(self.inside[i], self.inside[k])
        lacking = max((far - near) - (high - low), 0.0) / 2.0
        return value, max(low - lacking, -1.0), min(high + lacking, 1.0)

    def shares(self, i: int, k: int) -> tuple[float, float]:
        """Of the variance of i over k: what exact rates would remove, and what a task without unknowns would."""
        _, low, high = self.compare(i, k)
        total = ((high - low) / 2.0) ** 2
        if total <= 0.0:
            return 0.0, 0.0
        _, low, high = difference(self.fixed[i], self.fixed[k])
        known = ((high - low) / 2.0) ** 2
        members = 1.96**2 * float((self.fixed[i].accuracy - self.fixed[k].accuracy).var())
        return max(1.0 - known / total, 0.0), min(members / total, 1.0)


def accuracies(
    calibration: Calibration,
    options: Sequence[Option],
    *,
    prompts_per_step: int,
    rng: np.random.Generator,
) -> Accuracies:
    """Forecast every option. Raises what `Calibration.forecast` does."""
    known = [c.group_size for c in calibration.fit.conditions]
    horizon = calibration.fit.horizon

    def budget(option: Option, *, inside: bool) -> _Budget:
        # Runs whose table knows no time are as long as the calibrated ones.
        steps = float(option.steps) if calibration.timed else calibration.step
        size = option.group_size
        if inside:
            size, steps = min(max(size, min(known)), max(known)), min(steps, horizon)
        return size, option.estimator, steps

    budgets = [(budget(o, inside=False), budget(o, inside=True)) for o in options]
    grids: dict[tuple[int, str], _Grid] = {}
    for key in dict.fromkeys(b[:2] for both in budgets for b in both):
        mine = [
            o for o, both in zip(options, budgets, strict=True) if any(b[:2] == key for b in both)
        ]
        grids[key] = _Grid(
            _nodes(np.concatenate([o.fpr_D for o in mine])),
            _nodes(np.concatenate([o.fnr_D for o in mine])),
            tuple(sorted({b[2] for both in budgets for b in both if b[:2] == key})),
        )  # fmt: skip
    spread = calibration.spread(_rows(grids, prompts_per_step), members=MEMBERS)
    draws = options[0].fpr_D.size
    at_D = np.searchsorted(np.cumsum(spread.weight), (np.arange(draws) + 0.5) / draws)
    member_D = rng.permutation(np.minimum(at_D, spread.weight.size - 1))

    def path(option: Option, where: _Budget, *, fixed: bool = False) -> Path:
        fpr_D, fnr_D = (
            np.full_like(rates, np.median(rates)) if fixed else rates
            for rates in (option.fpr_D, option.fnr_D)
        )
        return _path(grids, spread, where, fpr_D, fnr_D, member_D)

    pairs = list(zip(options, budgets, strict=True))
    return Accuracies(
        tuple(path(o, asked) for o, (asked, _) in pairs),
        tuple(path(o, inside) for o, (_, inside) in pairs),
        tuple(path(o, asked, fixed=True) for o, (asked, _) in pairs),
    )


_Budget = tuple[int, str, float]


@dataclass(frozen=True)
class _Grid:
    """Rates and steps that the members are solved at, for one group size and estimator."""

    fpr: FloatArray
    fnr: FloatArray
    steps: tuple[float, ...]

    @property
    def count(self) -> int:
        return self.fpr.size * self.fnr.size * len(self.steps)


def _nodes(values: FloatArray) -> FloatArray:
    """Chebyshev's points of the range."""
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-6:
        return np.array([0.5 * (low + high)])
    n = 4 if high - low > FINE else 3
    at = np.cos((2.0 * np.arange(n) + 1.0) * np.pi / (2.0 * n)) / math.cos(np.pi / (2.0 * n))
    return np.clip(0.5 * (low + high) + 0.5 * (high - low) * at, 0.0, 1.0)


def _lagrange(nodes: FloatArray, values: FloatArray) -> FloatArray:
    """Weights of the nodes at each value, [values, nodes]."""
    found = np.ones((values.size, nodes.size))
    for j, own in enumerate(nodes):
        for other in np.delete(nodes, j):
            found[:, j] *= (values - other) / (own - other)
    return found


def _rows(grids: dict[tuple[int, str], _Grid], prompts_per_step: int) -> pd.DataFrame:
    """Steps vary fastest, then fnr, then fpr."""
    return pd.DataFrame(
        [
            {
                "fpr": float(x),
                "fnr": float(d),
                "group_size": size,
                "estimator": estimator,
                "prompts_per_step": prompts_per_step,
                "step": step,
            }
            for (size, estimator), grid in grids.items()
            for x in grid.fpr
            for d in grid.fnr
            for step in grid.steps
        ]
    )


def _path(
    grids: dict[tuple[int, str], _Grid],
    spread: Spread,
    where: _Budget,
    fpr_D: FloatArray,
    fnr_D: FloatArray,
    member_D: NDArray[np.intp],
) -> Path:
    start = 0
    for key, grid in grids.items():
        if key == where[:2]:
            break
        start += grid.count
    grid = grids[where[:2]]
    rows = (
        start
        + grid.steps.index(where[2])
        + len(grid.steps) * np.arange(grid.fpr.size * grid.fnr.size)
    )
    weight_DN = _lagrange(grid.fpr, fpr_D)[:, :, None] * _lagrange(grid.fnr, fnr_D)[:, None, :]
    weight_DN = weight_DN.reshape(fpr_D.size, -1)
    accuracy = (weight_DN * spread.accuracy[member_D][:, rows]).sum(axis=1)
    return Path(
        np.clip(accuracy, 0.0, 1.0),
        spread.clean[member_D, rows[0]],
        spread.start[member_D],
        float(spread.discrepancy[rows].max()),
    )


@dataclass(frozen=True)
class Speeds:
    """What a probe says of options, by draws. worth: effective rollouts; progress: speed times steps, of today's.

    missed: relative error of the law's harms on the probe's own arms; arms: how many those were.
    """

    worth: tuple[FloatArray, ...]
    progress: tuple[FloatArray, ...]
    missed: float
    arms: int
    source_size: int


def speeds(
    probe: Probe,
    options: Sequence[Option],
    *,
    prompts_per_step: int,
    pass_rates: Sequence[float] = (),
    rng: np.random.Generator,
) -> Speeds:
    """Of every option, the first as it is. pass_rates: default the probed prompts'.

    Raises InputError where the probe measured no noise scale, or saw no signal.
    """
    rates_P = np.asarray(pass_rates or probe.pass_rates, dtype=np.float64)
    now = options[0]
    near = _nearest(probe, now.group_size)
    if near.noise_within is None or near.noise_between is None or near.noise_within <= 0.0:
        raise InputError(f"the probe of {probe.study} measured no noise scale: it saw no signal")
    draws = now.fpr_D.size
    law = _Law(probe, rates_P)
    known_P = np.asarray(probe.pass_rates, dtype=np.float64)
    mend = _mended(_Law(probe, known_P), near, probe.prompts_per_step)
    factor_2D, speed_D = mend.draw(rng, draws)
    worth: list[FloatArray] = []
    speed: list[FloatArray] = []
    for option in options:
        phi2_D = law.phi2(option.fpr_D, option.fnr_D, factor_2D)
        worth.append(1.0 + phi2_D * (option.group_size - 1))
        clean, own = (
            law.speed(
                _nearest(probe, option.group_size), option, phi2, prompts_per_step, clean=is_clean
            )
            for phi2, is_clean in ((np.ones(draws), True), (phi2_D, False))
        )
        with np.errstate(divide="ignore"):
            harm = -np.log(np.divide(own, clean, out=np.zeros_like(own), where=clean > 0.0))
        speed.append(clean * np.exp(-harm * speed_D))
    base = speed[0]
    progress = [
        np.divide(one * option.steps, base * now.steps, out=np.full_like(one, np.inf), where=base > 0)
        for one, option in zip(speed, options, strict=True)
    ]  # fmt: skip
    return Speeds(tuple(worth), tuple(progress), mend.missed, mend.arms, near.group_size)


def _nearest(probe: Probe, size: int) -> SizeProbe:
    return min(probe.by_group_size, key=lambda one: abs(math.log2(one.group_size / size)))


@dataclass(frozen=True)
class _Law:
    probe: Probe
    rates_P: FloatArray

    def _noise(self, x: FloatArray, d: FloatArray) -> FloatArray:
        """n of the module's head, averaged over prompts, [draws]; v1 is 1."""
        w = 1.0 if self.probe.v0_over_v1 is None else self.probe.v0_over_v1
        a, x, d = self.rates_P, x[:, None], d[:, None]
        q = x + (1.0 - x - d) * a
        paid, unpaid = (1.0 - q) ** 2, q**2
        wrong = (1.0 - a) * w * (x * paid + (1.0 - x) * unpaid)
        return (wrong + a * ((1.0 - d) * paid + d * unpaid)).mean(axis=1)

    def plain_phi2(self, x: FloatArray, d: FloatArray) -> FloatArray:
        """By the law alone; 0 where J is not above 0."""
        zero = np.zeros_like(x)
        noise = self._noise(x, d)
        youden = np.maximum(1.0 - x - d, 0.0)
        ratio = np.divide(
            self._noise(zero, zero), noise, out=np.ones_like(noise), where=noise > 0.0
        )
        return np.minimum(youden**2 * ratio, 1.0)  # fmt: skip

    def phi2(self, x: FloatArray, d: FloatArray, factor_2D: FloatArray) -> FloatArray:
        """Mended: the harm of either error times its factor."""
        zero = np.zeros_like(x)
        with np.errstate(divide="ignore"):
            whole, by_x, by_d = (
                -np.log(self.plain_phi2(*pair)) for pair in ((x, d), (x, zero), (zero, d))
            )
        some = (by_x + by_d > 0.0) & np.isfinite(by_x + by_d)
        mixed = factor_2D[0] * by_x + factor_2D[1] * by_d
        factor = np.divide(mixed, by_x + by_d, out=np.ones_like(mixed), where=some)
        return np.exp(-whole * factor)

    def speed(
        self,
        size: SizeProbe,
        option: Option,
        phi2: FloatArray,
        prompts_per_step: int,
        *,
        clean: bool,
    ) -> FloatArray:
        """Of learning a step, in units that a probe's options share; `clean`: under a clean verifier."""
        if self.probe.optimiser == "sgd":
            x, d = (np.zeros_like(phi2) if clean else r for r in (option.fpr_D, option.fnr_D))
            a = self.rates_P
            youden = (1.0 - x - d)[:, None]
            pull = gain(x[:, None] + youden * a, option.group_size,
                        estimator=estimator_named(option.estimator))  # fmt: skip
            return np.maximum((youden * a * (1.0 - a) * pull).mean(axis=1), 0.0)
        within, between = size.noise_within or 0.0, max(size.noise_between or 0.0, 0.0)
        # Noise within groups falls as 1/(G - 1) between the probed sizes.
        within *= (size.group_size - 1) / (option.group_size - 1)
        with np.errstate(divide="ignore"):
            scale = within / phi2 + between
        rho2 = prompts_per_step / scale
        return np.sqrt(rho2 / (1.0 + rho2))


@dataclass(frozen=True)
class _Mended:
    """Means and standard deviations of the factors of harms: of fpr, of fnr, and of speed given phi^2."""

    mean: tuple[float, float, float]
    sd: tuple[float, float, float]
    arms: int

    @property
    def missed(self) -> float:
        return max(self.sd)

    def draw(self, rng: np.random.Generator, draws: int) -> tuple[FloatArray, FloatArray]:
        normal = rng.standard_normal((3, draws))
        found = np.maximum(np.array(self.mean)[:, None] + np.array(self.sd)[:, None] * normal, 0.0)
        return found[:2], found[2]


def _mended(law: _Law, size: SizeProbe, prompts_per_step: int) -> _Mended:
    """The law held against the arms that were measured at one group size."""
    harm: dict[str, list[float]] = {"fpr": [], "fnr": [], "speed": []}
    arms = [
        arm
        for arm in size.arms
        if arm.noise == "independent" and arm.youden > 0.05 and arm.fpr + arm.fnr > 0.0
        and arm.estimator == law.probe.estimator
    ]  # fmt: skip
    for arm in arms:
        x, d = np.array([arm.fpr]), np.array([arm.fnr])
        said = -math.log(max(float(law.plain_phi2(x, d)[0]), 1e-12))
        worth = arm.effective_rollouts
        if worth is None or said <= 0.0 or worth <= 1.0:
            continue
        found = -math.log(min((worth - 1.0) / (size.group_size - 1), 1.0))
        if 0.0 in (arm.fpr, arm.fnr):
            harm["fpr" if arm.fpr > 0.0 else "fnr"].append(found / said)
        if arm.relative_speed is None or not 0.0 < arm.relative_speed < 1.0:
            continue
        option = Option(arm.arm, x, d, size.group_size, 1, 1, arm.estimator, "")
        clean, own = (
            float(law.speed(size, option, np.array([p]), prompts_per_step, clean=c)[0])
            for p, c in ((1.0, True), (math.exp(-found), False))
        )
        if 0.0 < own < clean:
            harm["speed"].append(math.log(arm.relative_speed) / math.log(own / clean))
    means, sds = zip(*(_centre(values) for values in harm.values()), strict=True)
    return _Mended(means, sds, len(arms))


def _centre(ratios: Sequence[float]) -> tuple[float, float]:
    """The mean of measured over said, and the scatter to carry; 1 and UNMEASURED where no arm says."""
    if not ratios:
        return 1.0, UNMEASURED
    mean = float(np.mean(ratios))
    if len(ratios) == 1:
        return mean, UNMEASURED
    return mean, max(float(np.std(ratios, ddof=1)), LEAST_ERROR)
