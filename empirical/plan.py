"""What to fix first: what each lever on a noisy verifier, or on the budget, is worth, and whether that is known.

Law. A verifier's rollouts are worth 1 + phi^2 (G - 1) clean ones (`theory.effective_rollouts`), phi^2 over the
pass rates of one's prompts; a lever changes fpr, fnr, G or the steps. Rates are drawn from their audited
intervals (logit-normal, correlated as the audit found them), every lever is judged on the same draws, and two
levers are ranked only where the interval of their paired difference excludes 0. With a calibration each lever is
also forecast, its gain taken world by world of what the calibration leaves open; with a probe it is priced in learning:
how far a run gets with it, to first order, at the speed the probe measured (`empirical.levers`).
Without a calibration nothing says what a rollout buys in accuracy, and no accuracy is named.
Fails first where errors depend on what the policy can learn: then removing the segment is worth more than any
rate says; and where returns to rollouts have ended, so that a lever on rollouts buys nothing.
Source: docs/theory.md#effective-rollouts; docs/theory.md#probe.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.stats import qmc

from empirical.audit.clusters import Interval
from empirical.levers import Accuracies, Compared, Option, Speeds, accuracies, speeds
from empirical.validate.calibrate import Calibration
from fits.errors import InputError
from fits.readers.jsonl import parse_json
from fits.readers.text import read_text
from theory import VerifierChannel, estimator_named
from theory.channel import check_rate, check_rates
from theory.effective_rollouts import population_phi2
from theory.estimators import check_group_size

if TYPE_CHECKING:
    from empirical.probe import Probe

FloatArray = NDArray[np.float64]

__all__ = [
    "Lever",
    "Plan",
    "Prices",
    "Ranked",
    "Rates",
    "plan",
    "rates_in",
    "read_audit",
    "read_prices",
]

DRAWS: Final = 1024
Z95: Final = 1.959963984540054


@dataclass(frozen=True)
class Rates:
    """fpr, fnr, pass_rate and their 95 % intervals (None: taken as exact). correlation: of the two estimates.

    segments: (error, description, what that error's rate would be without the segment).
    """

    fpr: float
    fnr: float
    fpr_ci: Interval | None = None
    fnr_ci: Interval | None = None
    pass_rate: float | None = None
    pass_rate_ci: Interval | None = None
    correlation: float = 0.0
    segments: tuple[tuple[str, str, float], ...] = ()


@dataclass(frozen=True)
class Prices:
    """Money: a thousand rollouts, a thousand judgements, a label; None where not said."""

    rollouts_1000: float | None = None
    judgements_1000: float | None = None
    label: float | None = None


@dataclass(frozen=True)
class Lever:
    """One thing to do. accuracy_gain: None without a calibration; ci: 95 %, of two runs' difference.

    progress: None without a probe; how many times as far as today's run this one gets, to first order; 95 % interval.
    effective_rollouts: what the group would be worth; _gain over now. rollouts_factor: how many times the
    rollouts, with today's verifier, would be worth as much. cost: in multiples of today's rollouts, and in money
    where priced. effort: what the lever asks beside compute.
    """

    name: str
    accuracy_gain: float | None
    ci: Interval | None
    effective_rollouts: float | None
    effective_rollouts_gain: float | None
    effective_rollouts_gain_ci: Interval | None
    rollouts_factor: float | None
    rollouts_factor_ci: tuple[float, float | None] | None
    progress: float | None
    progress_ci: Interval | None
    cost: float
    cost_money: float | None
    effort: str
    reason: str


@dataclass(frozen=True)
class Ranked:
    """Two levers that are told apart. by: accuracy, learning or effective rollouts. ci: of the difference, 95 %."""

    better: str
    worse: str
    difference: float
    ci: Interval
    by: str


@dataclass(frozen=True)
class Plan:
    """Advice in words, the levers best first, the pairs that are told apart, and what it all rests on.

    effective_rollouts: of today's group. matching_rollouts: what a clean verifier's group of this size takes of
    this one's; None: no finite number. would_narrow: measurements, the most useful first, each with the
    share of the best lever's variance that it would remove.
    """

    advice: str
    levers: tuple[Lever, ...]
    ranked: tuple[Ranked, ...]
    assumptions: tuple[str, ...]
    would_narrow: tuple[tuple[str, float], ...]
    group_size: int
    steps: int
    effective_rollouts: float
    effective_rollouts_ci: Interval
    matching_rollouts: float | None
    matching_rollouts_ci: tuple[float, float | None]
    reason: str


def read_audit(path: Path) -> Rates:
    """The rates in what `verigap audit --out` wrote. Raises InputError where it is none, or identifies none."""
    return rates_in(parse_json(read_text(path), source=str(path)), source=str(path))


def rates_in(document: Any, *, source: str) -> Rates:
    """The rates in an audit's document.

    Raises InputError, naming `source`, where it is none, identifies none, or holds what no audit finds.
    """
    if not isinstance(document, dict) or not {"fpr", "fnr", "fpr_ci", "fnr_ci"} <= set(document):
        raise InputError(f"{source}: is no audit; `verigap audit --out` writes one")
    if document["fpr"] is None or document["fnr"] is None:
        reasons = document.get("reasons")
        told = reasons.get("youden") if isinstance(reasons, dict) else None
        why = told or document.get("reason") or ""
        raise InputError(f"{source}: this audit identifies no rates to plan with: {why}")

    def number(value: object, name: str, low: float = 0.0) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= 1.0:
            raise InputError(f"{source}: {name} must lie in [{low:g}, 1], got {str(value)[:40]}")
        return float(value)

    def ends(name: str) -> Interval | None:
        found = document.get(name)
        if found is None:
            return None
        if not isinstance(found, list | tuple) or len(found) != 2:
            raise InputError(f"{source}: {name} must be [low, high], got {str(found)[:40]}")
        low, high = number(found[0], name), number(found[1], name)
        if low > high:
            raise InputError(f"{source}: {name} must be [low, high], got {found}")
        return low, high

    rate, segments = document.get("pass_rate"), document.get("segments") or []
    if not isinstance(segments, list | tuple):
        raise InputError(f"{source}: segments must be a list")
    return Rates(
        fpr=number(document["fpr"], "fpr"),
        fnr=number(document["fnr"], "fnr"),
        fpr_ci=ends("fpr_ci"),
        fnr_ci=ends("fnr_ci"),
        pass_rate=None if rate is None else number(rate, "pass_rate"),
        pass_rate_ci=ends("pass_rate_ci"),
        correlation=number(document.get("correlation_fpr_fnr") or 0.0, "correlation_fpr_fnr", -1.0),
        segments=tuple(_segment(one, number, source) for one in segments),
    )


def _segment(
    one: object, number: Callable[[object, str], float], source: str
) -> tuple[str, str, float]:
    """A segment of an audit's document, as `Rates` holds it."""
    if not isinstance(one, dict) or not {"error", "segment", "rate_without"} <= set(one):
        raise InputError(f"{source}: a segment has error, segment and rate_without")
    rate = number(one["rate_without"], "rate_without of a segment")
    return str(one["error"]), str(one["segment"]), rate


def read_prices(path: Path) -> Prices:
    """Prices in YAML: rollouts_1000, judgements_1000, label. Raises InputError for any other field."""
    from fits.files import load_yaml

    data = load_yaml(read_text(path), source=str(path))
    known = set(Prices.__dataclass_fields__)
    if not isinstance(data, dict) or set(data) - known:
        raise InputError(f"{path}: prices are {', '.join(sorted(known))}")
    for name, value in data.items():
        if (
            not isinstance(value, int | float)
            or isinstance(value, bool)
            or not 0 <= value <= sys.float_info.max  # a whole number may be larger than any float
        ):
            raise InputError(f"{path}: {name} must be a price, got {str(value)[:40]}")
    return Prices(**{name: float(value) for name, value in data.items()})


def plan(
    rates: Rates,
    *,
    group_size: int,
    steps: int,
    pass_rates: Sequence[float] = (),
    prompts_per_step: int = 32,
    estimator: str = "grpo",
    calibration: Calibration | None = None,
    probe: Probe | None = None,
    prices: Prices | None = None,
    seed: int = 0,
) -> Plan:
    """What each lever buys.

    pass_rates: of one's prompts; default: the probed prompts', else the audit's mean pass rate for all.
    Raises InputError or theory.ArgumentError naming what is out of range or missing, and where runs of so many steps
    are longer than the calibration forecasts.
    """
    check_group_size(group_size)
    for name in ("fpr", "fnr"):
        check_rate(name, getattr(rates, name))
    if steps < 1 or prompts_per_step < 1:
        raise InputError(
            f"steps and prompts per step must be at least 1, got {steps}, {prompts_per_step}"
        )
    estimator_named(estimator)
    if calibration is not None:
        calibration.check_steps(steps)
    assumptions: list[str] = []
    rng = np.random.default_rng(seed)
    if probe is not None and not pass_rates:
        pass_rates = probe.pass_rates
        assumptions.append(
            f"one's prompts have the pass rates of the probe's {probe.prompts}; --pass-rate takes others"
        )
    normal_4D = _normals(seed)
    fpr_D, fnr_D, rate_DP = _draws(rates, pass_rates, normal_4D, assumptions)
    options = _options(
        rates, fpr_D, fnr_D, group_size, steps, estimator, special.ndtr(normal_4D[3]), assumptions
    )
    if calibration is not None and not (calibration.timed and 2.0 * steps <= calibration.furthest):
        options = [option for option in options if option.steps == steps]
        assumptions.append(
            "twice the steps is left out: nothing calibrated says what happens in runs that long"
            if calibration.timed
            else "the calibrated table had no step: its runs are taken to be as long as this one, and twice the steps is"
            " left out"
        )
    priced = None
    if probe is None:
        worth = [_worth(option, rate_DP) for option in options]
        channel = VerifierChannel(rates.fpr, rates.fnr)
        centre = 1.0 + population_phi2(rate_DP.mean(axis=0), channel) * (group_size - 1)
        assumptions.append(
            "effective rollouts: dr_grpo's and rloo's law (grpo within 6 %), score noise of equal size for right and"
            " wrong rollouts; a probe measures their ratio, and false positives cost more where it is above 1"
        )
    else:
        priced = speeds(
            probe, options, prompts_per_step=prompts_per_step, pass_rates=pass_rates, rng=rng
        )
        worth = list(priced.worth)
        centre = float(np.median(worth[0]))
        assumptions += _of_probe(probe, priced)
    gains = [one - worth[0] for one in worth]
    now = worth[0]
    forecast = None
    if calibration is not None:
        forecast = accuracies(calibration, options, prompts_per_step=prompts_per_step, rng=rng)
        assumptions.append(
            "accuracy gains are of two runs in the same world, with the same rates; how much of what the calibration"
            " leaves open they share is averaged over, and half of the model's own error is taken to differ"
        )
        if calibration.clock is not None:
            assumptions.append(
                "of the calibration's probe its signal is used; not the pace of its arms, which levers are not"
            )
    else:
        assumptions.append(
            "no calibration: what a rollout buys in accuracy is not known, and not said"
        )
    phi2_D = (now - 1.0) / (group_size - 1)
    levers = [
        _lever(option, worth[i], gains[i], phi2_D,
               None if forecast is None else forecast.compare(i, 0),
               None if priced is None else priced.progress[i],
               group_size, steps, prompts_per_step, prices)
        for i, option in enumerate(options)
        if i
    ]  # fmt: skip
    by, compare = _comparison(options, gains, forecast, priced)
    ranked = _ranked(options, by, compare)
    order = sorted(levers, key=lambda lever: _place(lever, by))
    positive = VerifierChannel(rates.fpr, rates.fnr).youden > 0.0
    squared = (centre - 1.0) / (group_size - 1)
    low, high = _interval(phi2_D)
    doubtful = float(np.mean(1.0 - fpr_D - fnr_D <= 0.0)) > 0.025
    matching = 1.0 + (group_size - 1) / squared if positive and squared > 0.0 else None
    matching_ci = (
        1.0 + (group_size - 1) / high if high > 0.0 else math.inf,
        None if doubtful or low <= 0.0 else 1.0 + (group_size - 1) / low,
    )
    reason = "" if matching is not None else "J <= 0: no finite compute buys the gap back"
    assumptions += [
        "errors are independent given right or wrong: errors the policy can learn to exploit cost more",
        f"steps are {steps}, prompts per step {prompts_per_step}, estimator {estimator}",
    ]
    return Plan(
        advice=_advice(order, ranked, by, reason),
        levers=tuple(order),
        ranked=ranked,
        assumptions=tuple(assumptions),
        would_narrow=_narrowing(
            rates, pass_rates, options, order, by, forecast, normal_4D, worth, probe is not None
        ),
        group_size=group_size,
        steps=steps,
        effective_rollouts=centre,
        effective_rollouts_ci=_around(now, centre),
        matching_rollouts=matching,
        matching_rollouts_ci=matching_ci,
        reason=reason,
    )


def _of_probe(probe: Probe, priced: Speeds) -> list[str]:
    ratio = "not measured, taken as 1" if probe.v0_over_v1 is None else f"{probe.v0_over_v1:.2f}"
    said = [
        f"effective rollouts and learning are as the probe of {probe.study} found them at its weights: score noise of"
        f" wrong over right rollouts {ratio}, optimiser {probe.optimiser}",
        "a probe is of the weights it was made at: learning is to first order, and says no accuracy",
    ]
    if priced.arms:
        said.append(
            f"between the {priced.arms} verifiers probed at {priced.source_size} rollouts the law of harms is off by"
            f" up to {priced.missed:.0%}, which the intervals hold"
        )
    else:
        said.append("the probe measured no noisy verifier: the law of harms is trusted to 25 %")
    return said


def _comparison(
    options: Sequence[Option],
    gains: Sequence[FloatArray],
    forecast: Accuracies | None,
    priced: Speeds | None,
) -> tuple[str, Callable[[int, int], Compared | None]]:
    """What options are ranked by, and the difference of two of them; None where that is not said."""
    if forecast is not None:
        return "accuracy", forecast.compare
    if priced is not None:

        def further(i: int, k: int) -> Compared | None:
            if any("instead of" in o.name for o in (options[i], options[k])):
                return None
            one, other = priced.progress[i], priced.progress[k]
            if not (np.isfinite(one).all() and np.isfinite(other).all()):
                return None
            return _paired(one - other)

        return "learning", further

    def compare(i: int, k: int) -> Compared | None:
        both = (options[i], options[k])
        if any(o.steps != options[0].steps or "instead of" in o.name for o in both):
            return None
        return _paired(gains[i] - gains[k])

    return "effective rollouts", compare


def _paired(values: FloatArray) -> Compared:
    return float(np.median(values)), *_interval(values)


def _place(lever: Lever, by: str) -> tuple[float, float]:
    """What levers are ordered by: what they are ranked by, then effective rollouts; what is not said comes last."""
    value = {
        "accuracy": lever.accuracy_gain,
        "learning": lever.progress,
        "effective rollouts": lever.effective_rollouts_gain,
    }[by]
    worth = lever.effective_rollouts_gain
    first, second = (math.inf if one is None else -one for one in (value, worth))
    return first, second


def _normals(seed: int) -> FloatArray:
    """Standard normal draws, [4, draws], spread evenly (Sobol's): fpr, fnr, pass rate, likeness of judgements."""
    uniform = qmc.Sobol(4, rng=np.random.default_rng(seed)).random(DRAWS)
    return special.ndtri(np.clip(uniform, 1e-9, 1.0 - 1e-9)).T


def _interval(values: FloatArray) -> Interval:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def _around(values: FloatArray, centre: float) -> Interval:
    low, high = _interval(values)
    return min(low, centre), max(high, centre)


def _logit_draws(value: float, ci: Interval | None, normal_D: FloatArray) -> FloatArray:
    """Draws whose quantiles at 2.5 and 97.5 % are the interval's, on the logit scale, each side its own."""
    if ci is None:
        return np.full_like(normal_D, value)
    tiny = 1e-6
    middle = float(special.logit(np.clip(value, tiny, 1 - tiny)))
    low, high = (float(special.logit(np.clip(end, tiny, 1 - tiny))) for end in ci)
    if value <= 0.0 or value >= 1.0:
        # At an end of the range nothing is known but the far limit: uniform up to it, and a little beyond.
        share = special.ndtr(normal_D)
        return np.clip(share * ci[1] if value <= 0.0 else 1.0 - share * (1.0 - ci[0]), 0.0, 1.0)
    side = np.where(normal_D < 0.0, (middle - low) / Z95, (high - middle) / Z95)
    return special.expit(middle + normal_D * side)


def _draws(
    rates: Rates, pass_rates: Sequence[float], normal_4D: FloatArray, assumptions: list[str]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """fpr, fnr [draws] and the prompts' pass rates [draws, prompts]."""
    first, second, third, _ = normal_4D
    c = float(np.clip(rates.correlation, -0.99, 0.99))
    fpr_D = _logit_draws(rates.fpr, rates.fpr_ci, first)
    fnr_D = _logit_draws(rates.fnr, rates.fnr_ci, c * first + math.sqrt(1.0 - c * c) * second)
    if rates.fpr_ci is None and rates.fnr_ci is None:
        assumptions.append(
            "fpr and fnr are taken as exact; an audit (--audit) gives their intervals"
        )
    if pass_rates:
        known = check_rates("pass_rate", list(pass_rates))
        return fpr_D, fnr_D, np.tile(known, (DRAWS, 1))
    if rates.pass_rate is None:
        raise InputError(
            "give --pass-rate: what a verifier is worth depends on how often it is right"
        )
    assumptions.append("all prompts have the audited mean pass rate; --pass-rate takes their own")
    return fpr_D, fnr_D, _logit_draws(rates.pass_rate, rates.pass_rate_ci, third)[:, None]


def _options(
    rates: Rates,
    fpr_D: FloatArray,
    fnr_D: FloatArray,
    group_size: int,
    steps: int,
    estimator: str,
    alike_D: FloatArray,
    assumptions: list[str],
) -> list[Option]:
    def option(name: str, effort: str = "", **changed: Any) -> Option:
        now = Option(name, fpr_D, fnr_D, group_size, steps, 1, estimator, effort)
        return replace(now, **changed)

    options = [
        option("as it is"),
        option("twice the rollouts", group_size=2 * group_size),
        option(
            "twice the steps",
            steps=2 * steps,
            reason="more steps do not change what a rollout is worth",
        ),
    ]
    if rates.fpr > 0.0:
        options.append(option("halve fpr", "a better verifier", fpr_D=fpr_D / 2.0))
    if rates.fnr > 0.0:
        options.append(option("halve fnr", "a better verifier", fnr_D=fnr_D / 2.0))
    for error, what, without in rates.segments:
        now = rates.fpr if error == "fpr" else rates.fnr
        share = without / now if now > 0.0 else 1.0
        changed = {"fpr_D": fpr_D * share} if error == "fpr" else {"fnr_D": fnr_D * share}
        options.append(option(f"mend {error} where {what}", "one fix in the verifier", **changed))
    if rates.fpr > 0.0 or rates.fnr > 0.0:
        # Nobody has said how alike two judgements of one rollout err: anything from not at all to wholly.

        def majority(p: FloatArray) -> FloatArray:
            return alike_D * p + (1.0 - alike_D) * (3.0 * p**2 - 2.0 * p**3)

        assumptions.append(
            "majority of 3: how alike repeated judgements err is not known and averaged over; judge 100"
            " rollouts three times to know it"
        )
        options.append(
            option("majority of 3 judgements", "three judgements a rollout",
                   fpr_D=majority(fpr_D), fnr_D=majority(fnr_D), judgements=3)
        )  # fmt: skip
    other = "dr_grpo" if estimator != "dr_grpo" else "grpo"
    options.append(option(f"{other} instead of {estimator}", "a setting", estimator=other))
    return options


def _worth(option: Option, rate_DP: FloatArray) -> FloatArray:
    """Effective rollouts of each draw, [draws]."""
    x, d = option.fpr_D[:, None], option.fnr_D[:, None]
    j = 1.0 - x - d
    variance = rate_DP * (1.0 - rate_DP)
    paid = x + j * rate_DP
    below = (paid * (1.0 - paid)).mean(axis=1)
    above = (j[:, 0] ** 2) * variance.mean(axis=1)
    phi2 = np.divide(above, below, out=np.zeros_like(above), where=below > 0.0)
    # A verifier that pays wrong rollouts teaches the wrong thing: its rollouts are worth no clean one.
    phi2 = np.where(j[:, 0] > 0.0, phi2, 0.0)
    return 1.0 + np.minimum(phi2, 1.0) * (option.group_size - 1)


def _lever(
    option: Option,
    worth_D: FloatArray,
    gain_D: FloatArray,
    phi2_D: FloatArray,
    accuracy: Compared | None,
    progress_D: FloatArray | None,
    group_size: int,
    steps: int,
    prompts_per_step: int,
    prices: Prices | None,
) -> Lever:
    still = option.steps != steps
    setting = "instead of" in option.name
    gain = float(np.median(gain_D))
    with np.errstate(divide="ignore", invalid="ignore"):
        factor_D = np.where(phi2_D > 0.0, (1.0 + (worth_D - 1.0) / phi2_D) / group_size, math.inf)
    none = still or setting
    # A verifier that may teach nothing has no speed to compare with.
    far = None
    if progress_D is not None and not setting and np.isfinite(progress_D).all():
        middle = float(np.median(progress_D))
        far = (middle, *_around(progress_D, middle))
    low, high = (float(q) for q in np.quantile(factor_D, (0.025, 0.975), method="nearest"))
    cost = option.group_size * option.steps / (group_size * steps)
    money = None
    if prices is not None and prices.rollouts_1000 is not None:
        rollouts = cost * group_size * steps * prompts_per_step / 1000.0
        money = rollouts * (
            prices.rollouts_1000 + option.judgements * (prices.judgements_1000 or 0.0)
        )
    reason = option.reason
    if setting:
        reason = "the estimator's effect on signal-to-noise is within 6 % of none"
    elif progress_D is not None and far is None:
        reason = "today's verifier may teach nothing: its run has no speed to compare with"
    return Lever(
        name=option.name,
        accuracy_gain=None if accuracy is None else accuracy[0],
        ci=None if accuracy is None else accuracy[1:],
        effective_rollouts=None if none else float(np.median(worth_D)),
        effective_rollouts_gain=None if none else gain,
        effective_rollouts_gain_ci=None if none else _around(gain_D, gain),
        rollouts_factor=None if none else float(np.median(factor_D)),
        rollouts_factor_ci=None if none else (low, high if math.isfinite(high) else None),
        progress=None if far is None else far[0],
        progress_ci=None if far is None else far[1:],
        cost=cost,
        cost_money=money,
        effort=option.effort,
        reason=reason,
    )  # fmt: skip


def _ranked(
    options: Sequence[Option], by: str, compare: Callable[[int, int], Compared | None]
) -> tuple[Ranked, ...]:
    found: list[Ranked] = []
    for i, k in itertools.combinations(range(len(options)), 2):
        compared = compare(i, k)
        if compared is None:
            continue
        value, low, high = compared
        if low > 0.0:
            found.append(Ranked(options[i].name, options[k].name, value, (low, high), by))
        elif high < 0.0:
            found.append(Ranked(options[k].name, options[i].name, -value, (-high, -low), by))
    return tuple(found)


def _advice(levers: Sequence[Lever], ranked: Sequence[Ranked], by: str, reason: str) -> str:
    if reason:
        return f"Mend the verifier before anything else: {reason}."
    mending = [lever for lever in levers if lever.cost == 1.0 and "verifier" in lever.effort]
    if not mending:
        return "There is no error to mend: this verifier's rollouts are worth a clean one's."
    best = mending[0]
    beaten = {one.worse for one in ranked if one.better == best.name}
    if "as it is" not in beaten:
        return f"No mending of the verifier is known to gain {by}: every interval holds 0."
    open_still = [lever.name for lever in mending[1:] if lever.name not in beaten]
    said = f"Fix first: {best.name}"
    if len(mending) > 1:
        said += (
            f", by what is known; in {by} it is not told apart from {', '.join(open_still)}"
            if open_still
            else f"; it gains more {by} than {', '.join(lever.name for lever in mending[1:])}"
        )
    if best.rollouts_factor is not None:
        said += (
            f". It is worth {best.rollouts_factor:.2f} times the rollouts, at none of their cost"
        )
    return said + "."


def _narrowing(
    rates: Rates,
    pass_rates: Sequence[float],
    options: Sequence[Option],
    levers: Sequence[Lever],
    by: str,
    forecast: Accuracies | None,
    normal_4D: FloatArray,
    worth: Sequence[FloatArray],
    probed: bool,
) -> tuple[tuple[str, float], ...]:
    """By how much the best lever's variance falls where one thing is known exactly."""
    names = [option.name for option in options]
    best = names.index(levers[0].name)
    found: list[tuple[str, float]] = []
    if forecast is not None:
        labels, task = forecast.shares(best, 0)
        found = [("more labels", labels), ("a probe, or one noisy pilot arm", task)]
    elif by == "effective rollouts" and not probed:
        total = float((worth[best] - worth[0]).var())
        if total <= 1e-12:
            return ()
        now, alike_D = options[0], special.ndtr(normal_4D[3])
        for what, known in (
            ("labels of wrong rollouts (fpr)", {"fpr_ci": None}),
            ("labels of right rollouts (fnr)", {"fnr_ci": None}),
            ("the pass rate: labels, or unlabelled verdicts", {"pass_rate_ci": None}),
        ):
            fixed = replace(rates, **known)
            x, d, a = _draws(fixed, pass_rates, normal_4D, [])
            made = _options(fixed, x, d, now.group_size, now.steps, now.estimator, alike_D, [])
            left = _worth(made[best], a) - _worth(made[0], a)
            found.append((what, max(1.0 - float(left.var()) / total, 0.0)))
    return tuple(sorted(found, key=lambda one: -one[1]))
