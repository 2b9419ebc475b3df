"""What to fix first: what each lever on a noisy verifier, or on the budget, is worth, and whether that is known.

Law. A verifier's rollouts are worth 1 + phi^2 (G - 1) clean ones (`theory.effective_rollouts`), phi^2 over the
pass rates of one's prompts; a lever changes fpr, fnr, G or the steps. Rates are drawn from their audited
intervals (logit-normal, correlated as the audit found them), every lever is judged on the same draws, and two
levers are ranked only where the interval of their paired difference excludes 0. With a calibration each lever
is also forecast: its gain is the difference of two runs, one with and one without it, whose forecast errors
are taken as independent. That is wide, and errs on the side of not ranking.
Without a calibration nothing says what a rollout buys in accuracy, and no accuracy is named.
Fails first where errors depend on what the policy can learn: then removing the segment is worth more than any
rate says; and where returns to rollouts have ended, so that a lever on rollouts buys nothing.
Source: docs/theory.md, effective rollouts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from empirical.audit.clusters import Interval
from empirical.validate.calibrate import Calibration
from fits.errors import InputError
from fits.readers.jsonl import parse_json
from fits.readers.text import read_text
from theory import VerifierChannel, estimator_named
from theory.channel import check_rate, check_rates
from theory.effective_rollouts import population_phi2
from theory.estimators import check_group_size

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

DRAWS: Final = 1000
FORECAST_DRAWS: Final = 16
Z90: Final = 1.6448536269514722
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
    cost: float
    cost_money: float | None
    effort: str
    reason: str


@dataclass(frozen=True)
class Ranked:
    """Two levers that the evidence tells apart. by: accuracy or effective rollouts. ci: of the difference, 95 %."""

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
    """The rates in an audit's document. Raises InputError, naming `source`, where it is none or identifies none."""
    if not isinstance(document, dict) or "fpr_ci" not in document or "fnr_ci" not in document:
        raise InputError(f"{source}: is no audit; `verigap audit --out` writes one")
    if document["fpr"] is None or document["fnr"] is None:
        why = (document.get("reasons") or {}).get("youden") or document.get("reason") or ""
        raise InputError(f"{source}: this audit identifies no rates to plan with: {why}")

    def ends(name: str) -> Interval | None:
        found = document.get(name)
        return None if not found else (float(found[0]), float(found[1]))

    return Rates(
        fpr=float(document["fpr"]),
        fnr=float(document["fnr"]),
        fpr_ci=ends("fpr_ci"),
        fnr_ci=ends("fnr_ci"),
        pass_rate=document.get("pass_rate"),
        pass_rate_ci=ends("pass_rate_ci"),
        correlation=float(document.get("correlation_fpr_fnr") or 0.0),
        segments=tuple(
            (str(one["error"]), str(one["segment"]), float(one["rate_without"]))
            for one in document.get("segments") or []
        ),
    )


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
            or not 0 <= value < math.inf
        ):
            raise InputError(f"{path}: {name} must be a price, got {value!r}")
    return Prices(**{name: float(value) for name, value in data.items()})


@dataclass(frozen=True)
class _Option:
    """A lever as it acts on drawn rates: channels of each draw, and the budget it takes."""

    name: str
    fpr_D: FloatArray
    fnr_D: FloatArray
    group_size: int
    steps: int
    judgements: int
    estimator: str
    effort: str
    reason: str = ""


def plan(
    rates: Rates,
    *,
    group_size: int,
    steps: int,
    pass_rates: Sequence[float] = (),
    prompts_per_step: int = 32,
    estimator: str = "grpo",
    calibration: Calibration | None = None,
    prices: Prices | None = None,
    seed: int = 0,
) -> Plan:
    """What each lever buys. pass_rates: of one's prompts; default: the audit's mean pass rate for all.

    Raises InputError or theory.ArgumentError naming what is out of range or missing.
    """
    check_group_size(group_size)
    for name in ("fpr", "fnr"):
        check_rate(name, getattr(rates, name))
    if steps < 1 or prompts_per_step < 1:
        raise InputError(
            f"steps and prompts per step must be at least 1, got {steps}, {prompts_per_step}"
        )
    estimator_named(estimator)
    assumptions: list[str] = []
    rng = np.random.default_rng(seed)
    fpr_D, fnr_D, rate_DP = _draws(rates, pass_rates, rng, assumptions)
    options = _options(rates, fpr_D, fnr_D, group_size, steps, estimator, rng, assumptions)
    worth = [_worth(option, rate_DP) for option in options]
    gains = [one - worth[0] for one in worth]
    now = worth[0]
    centre = 1.0 + population_phi2(rate_DP.mean(axis=0), VerifierChannel(rates.fpr, rates.fnr)) * (
        group_size - 1
    )
    accuracy = None
    if calibration is not None:
        accuracy = _forecasts(calibration, options, prompts_per_step)
        assumptions.append(
            "accuracy gains are of two runs, one with and one without the lever; their forecast errors are"
            " taken as independent"
        )
    else:
        assumptions.append(
            "no calibration: what a rollout buys in accuracy is not known, and not said"
        )
    phi2_D = (now - 1.0) / (group_size - 1)
    levers = [
        _lever(option, worth[i], gains[i], phi2_D, None if accuracy is None else accuracy[i],
               group_size, steps, prompts_per_step, prices)
        for i, option in enumerate(options)
        if i
    ]  # fmt: skip
    ranked = _ranked(options, gains, accuracy)
    order = sorted(
        levers,
        key=lambda lever: (
            -(
                (lever.accuracy_gain if accuracy is not None else lever.effective_rollouts_gain)
                or (-math.inf if lever.effective_rollouts_gain is None else 0.0)
            )
        ),
    )
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
        "effective rollouts: dr_grpo's and rloo's law (grpo within 6 %), score noise of equal size for right and"
        " wrong rollouts; a probe measures their ratio, and false positives cost more where it is above 1",
        "errors are independent given right or wrong: errors the policy can learn to exploit cost more",
        f"steps are {steps}, prompts per step {prompts_per_step}, estimator {estimator}",
    ]
    return Plan(
        advice=_advice(order, ranked, accuracy is not None, reason),
        levers=tuple(order),
        ranked=ranked,
        assumptions=tuple(assumptions),
        would_narrow=_narrowing(rates, pass_rates, options, order, group_size, accuracy, seed),
        group_size=group_size,
        steps=steps,
        effective_rollouts=centre,
        effective_rollouts_ci=_around(now, centre),
        matching_rollouts=matching,
        matching_rollouts_ci=matching_ci,
        reason=reason,
    )


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
    rates: Rates, pass_rates: Sequence[float], rng: np.random.Generator, assumptions: list[str]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """fpr, fnr [draws] and the prompts' pass rates [draws, prompts]."""
    first, second, third = rng.standard_normal((3, DRAWS))
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
    rng: np.random.Generator,
    assumptions: list[str],
) -> list[_Option]:
    def option(name: str, effort: str = "", **changed: Any) -> _Option:
        now = _Option(name, fpr_D, fnr_D, group_size, steps, 1, estimator, effort)
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
        alike_D = rng.random(DRAWS)

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


def _worth(option: _Option, rate_DP: FloatArray) -> FloatArray:
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
    option: _Option,
    worth_D: FloatArray,
    gain_D: FloatArray,
    phi2_D: FloatArray,
    accuracy: tuple[float, float, FloatArray] | None,
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
    low, high = (float(q) for q in np.quantile(factor_D, (0.025, 0.975), method="nearest"))
    cost = option.group_size * option.steps / (group_size * steps)
    money = None
    if prices is not None and prices.rollouts_1000 is not None:
        rollouts = cost * group_size * steps * prompts_per_step / 1000.0
        money = rollouts * (
            prices.rollouts_1000 + option.judgements * (prices.judgements_1000 or 0.0)
        )
    return Lever(
        name=option.name,
        accuracy_gain=None if accuracy is None else accuracy[0],
        ci=None if accuracy is None else (
            max(accuracy[0] - Z95 * accuracy[1], -1.0), min(accuracy[0] + Z95 * accuracy[1], 1.0)
        ),
        effective_rollouts=None if none else float(np.median(worth_D)),
        effective_rollouts_gain=None if none else gain,
        effective_rollouts_gain_ci=None if none else _around(gain_D, gain),
        rollouts_factor=None if none else float(np.median(factor_D)),
        rollouts_factor_ci=None if none else (low, high if math.isfinite(high) else None),
        cost=cost,
        cost_money=money,
        effort=option.effort,
        reason=option.reason
        or ("the estimator's effect on signal-to-noise is within 6 % of none" if setting else ""),
    )  # fmt: skip


def _forecasts(
    calibration: Calibration, options: Sequence[_Option], prompts_per_step: int
) -> list[tuple[float, float, FloatArray]]:
    """Of each option: accuracy gain over the first, its standard deviation, and the gains by draw."""
    places = np.linspace(0, DRAWS - 1, FORECAST_DRAWS).astype(int)
    rows = pd.DataFrame(
        [
            {
                "fpr": float(np.median(o.fpr_D) if place is None else o.fpr_D[place]),
                "fnr": float(np.median(o.fnr_D) if place is None else o.fnr_D[place]),
                "group_size": o.group_size,
                "step": float(o.steps),
                "prompts_per_step": prompts_per_step,
                "estimator": o.estimator,
                "n_eval": 10**9,
            }
            for o in options
            for place in (None, *places)
        ]
    )
    found = calibration.forecast(rows)
    shape = (len(options), FORECAST_DRAWS + 1)
    accuracy, low, high = (
        np.asarray(values, dtype=np.float64).reshape(shape)
        for values in (found.accuracy, found.low90, found.high90)
    )
    sd = (high - low)[:, 0] / (2.0 * Z90)
    gains: list[tuple[float, float, FloatArray]] = []
    for i in range(len(options)):
        by_draw = accuracy[i, 1:] - accuracy[0, 1:]
        spread = float(by_draw.std(ddof=1))
        own = 0.0 if i == 0 else math.hypot(sd[0], sd[i])
        gains.append((float(accuracy[i, 0] - accuracy[0, 0]), math.hypot(spread, own), by_draw))
    return gains


def _ranked(
    options: Sequence[_Option],
    gains: Sequence[FloatArray],
    accuracy: Sequence[tuple[float, float, FloatArray]] | None,
) -> tuple[Ranked, ...]:
    found: list[Ranked] = []
    steps = options[0].steps
    for i, k in itertools.combinations(range(len(options)), 2):
        if accuracy is not None:
            difference = accuracy[i][0] - accuracy[k][0]
            spread = float((accuracy[i][2] - accuracy[k][2]).std(ddof=1))
            sd = math.hypot(spread, math.hypot(accuracy[i][1], accuracy[k][1]) / math.sqrt(2.0))
            ends = (difference - Z95 * sd, difference + Z95 * sd)
            by = "accuracy"
        else:
            if any(o.steps != steps or "instead of" in o.name for o in (options[i], options[k])):
                continue
            difference = float(np.median(gains[i] - gains[k]))
            ends = _interval(gains[i] - gains[k])
            by = "effective rollouts"
        if ends[0] > 0.0:
            found.append(Ranked(options[i].name, options[k].name, difference, ends, by))
        elif ends[1] < 0.0:
            found.append(
                Ranked(options[k].name, options[i].name, -difference, (-ends[1], -ends[0]), by)
            )
    return tuple(found)


def _advice(levers: Sequence[Lever], ranked: Sequence[Ranked], forecast: bool, reason: str) -> str:
    if reason:
        return f"Mend the verifier before anything else: {reason}."
    by = "accuracy" if forecast else "effective rollouts"
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
    options: Sequence[_Option],
    levers: Sequence[Lever],
    group_size: int,
    accuracy: Sequence[tuple[float, float, FloatArray]] | None,
    seed: int,
) -> tuple[tuple[str, float], ...]:
    """By how much the best lever's variance falls where one thing is known exactly."""
    names = [option.name for option in options]
    best = names.index(levers[0].name)
    found: list[tuple[str, float]] = []
    if accuracy is not None:
        total = accuracy[best][1] ** 2
        by_rates = float(accuracy[best][2].var(ddof=1))
        if total > 0.0:
            found.append(("a probe, or one noisy pilot arm", max(1.0 - by_rates / total, 0.0)))
            found.append(("more labels", min(by_rates / total, 1.0)))
    else:

        def variance(known: dict[str, Any]) -> float:
            fixed = replace(rates, **known)
            rng = np.random.default_rng(seed)
            x, d, a = _draws(fixed, pass_rates, rng, [])
            made = _options(fixed, x, d, group_size, 1, options[0].estimator, rng, [])
            again = {option.name: option for option in made}
            option = again.get(names[best], made[0])
            return float((_worth(option, a) - _worth(made[0], a)).var())

        total = variance({})
        if total > 1e-12:
            for what, known in (
                ("labels of wrong rollouts (fpr)", {"fpr_ci": None}),
                ("labels of right rollouts (fnr)", {"fnr_ci": None}),
                ("the pass rate: labels, or unlabelled verdicts", {"pass_rate_ci": None}),
            ):
                found.append((what, max(1.0 - variance(known) / total, 0.0)))
    return tuple(sorted(found, key=lambda one: -one[1]))
