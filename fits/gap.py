"""The accuracy gap of a noisy verifier: does it close, at what floor, and what would settle it.

Law. Arms are matched: runs of one seed see the same prompts, so the gap g_s = accuracy(clean) -
accuracy(noisy) is taken within seeds and its interval is Student's t over seeds. The floor is the
difference of the two asymptotes where both are identified, else the gap at the largest budget both
arms reached, and then the verdict is about that budget only. With delta the smallest gap of interest:
closes when the upper 95 % limit is below delta, persists when the lower is above, else undetermined.
Fails first when seeds do not match arms (another prompt order): pairing then costs power, not truth.
Source: DESIGN section 2; t over seeds rather than a bootstrap, which over 3 seeds covers 76 %.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd

from fits.errors import InputError
from fits.fit import MIDPOINTS_NEEDED, CurveFit, fit_curve, group_rows
from fits.inference import Interval, student_interval
from fits.laws import CURVE_LAWS, FloatArray, Law, curve_law
from fits.selection import Selection, select
from fits.table import check_numbers, need_columns, varying

__all__ = [
    "ArmGap",
    "Asymmetry",
    "Difference",
    "ExchangeAt",
    "ExchangeRate",
    "GapPoint",
    "GapReport",
    "MirrorPair",
    "Multiplier",
    "PerPoint",
    "Settle",
    "Verdict",
    "floor_between",
    "gap_report",
    "seeds_needed",
    "verdict_in_words",
    "verdict_of",
]

Verdict = Literal["closes", "persists", "undetermined"]

# What must agree between a noisy run and the clean run it is held against.
MATCHED: Final = ("model", "group_size", "prompts_per_step")
POWER: Final = 0.8
MOST_SEEDS: Final = 1000
MOST_SAMPLES_FACTOR: Final = 100.0
DRAWS: Final = 2000


@dataclass(frozen=True)
class GapPoint:
    """The paired gap at one budget: mean over seeds, and its 95 % t interval (None with one seed)."""

    x: float
    gap: float
    ci: Interval | None
    seeds: int


@dataclass(frozen=True)
class Settle:
    """What data would settle a verdict that is undetermined, or that is about the largest budget only.

    seeds: matched seeds in all, for 80 % power if the floor is as estimated; n_eval: samples per
    evaluation, with the seeds there are; both None where the verdict stands. budget: x that both arms
    must reach to show their asymptotes; None where those are known. Any is None too where no number
    helps, and `text` says so.
    """

    text: str
    seeds: int | None = None
    n_eval: int | None = None
    budget: float | None = None


@dataclass(frozen=True)
class ArmGap:
    """One noisy arm against its clean arm.

    floor: accuracy lost, clean minus noisy. basis: "asymptote" or "largest budget".
    floor_ci: 95 % t interval over seeds, None where `reason` says why.
    """

    arm: str
    verdict: Verdict
    floor: float
    floor_ci: Interval | None
    basis: Literal["asymptote", "largest budget"]
    reason: str
    would_settle_it: Settle | None
    seeds: int
    x_max: float
    gap_at_x_max: float
    fpr: float | None
    fnr: float | None
    curve: tuple[GapPoint, ...] = ()


@dataclass(frozen=True)
class MirrorPair:
    """Two arms of equal J: rates (fpr, fnr) = (high, low) and (low, high), matched in all else.

    difference: accuracy of the arm with more false positives minus that with more false negatives.
    """

    fp_arm: str
    fn_arm: str
    fpr: float
    fnr: float
    difference: float
    ci: Interval | None
    p_value: float | None
    p_holm: float | None


@dataclass(frozen=True)
class Asymmetry:
    """False positives against false negatives at equal J, over all mirror pairs.

    At the largest budget both arms of a pair reached."""

    difference: float | None
    ci: Interval | None
    reason: str
    pairs: tuple[MirrorPair, ...] = ()


@dataclass(frozen=True)
class Multiplier:
    """Compute a noisy arm needs, over what the clean arm needs, to reach one accuracy.

    target: that accuracy, None where a curve is missing. multiplier: None where no finite amount does. ci: 95 %, an upper end of None is unbounded.
    p_no_finite_amount: probability, over seeds, that no amount of compute reaches it.
    """

    arm: str
    target: float | None
    multiplier: float | None
    ci: tuple[float, float | None] | None
    p_no_finite_amount: float | None
    reason: str


@dataclass(frozen=True)
class PerPoint:
    """Compute multiplier per percentage point of one error rate, from the arms with that error only."""

    rate: Literal["fpr", "fnr"]
    multiplier: float | None
    ci: tuple[float, float | None] | None
    p_no_finite_amount: float | None
    reason: str


@dataclass(frozen=True)
class ExchangeAt:
    """What a point of fpr or fnr costs in compute, at one level of accuracy."""

    fpr: PerPoint
    fnr: PerPoint
    arms: tuple[Multiplier, ...]


@dataclass(frozen=True)
class ExchangeRate:
    """What a point of fpr or fnr costs in compute, at the accuracy the clean arm ends with.

    halfway: the same where the clean arm has done half of the rise it shows, which no arm need
    extrapolate to.
    """

    fpr: PerPoint
    fnr: PerPoint
    arms: tuple[Multiplier, ...]
    halfway: ExchangeAt


@dataclass(frozen=True)
class GapReport:
    """Every arm's gap, the asymmetry test and the exchange rate; `law` is the one used throughout."""

    arms: tuple[ArmGap, ...]
    asymmetry: Asymmetry
    exchange_rate: ExchangeRate
    delta: float
    x: str
    law: str
    notes: tuple[str, ...] = ()


def verdict_of(ci: Interval | None, delta: float) -> Verdict:
    """closes, persists or undetermined, from the 95 % interval of the floor."""
    if ci is None:
        return "undetermined"
    if ci[1] < delta:
        return "closes"
    if ci[0] > delta:
        return "persists"
    return "undetermined"


def verdict_in_words(verdict: str, basis: str) -> str:
    """The verdict for people: one that is not about the asymptote never stands without saying so."""
    about = basis == "largest budget" and verdict != "undetermined"
    return f"{verdict} (at the {basis})" if about else verdict


def seeds_needed(spread: float, margin: float, *, power: float = POWER) -> int | None:
    """Fewest seeds whose 95 % t interval excludes a value `margin` away with probability `power`.

    spread: standard deviation of the paired differences over seeds. None above 1,000 seeds.
    """
    from scipy.special import stdtrit

    counts = np.arange(2, MOST_SEEDS + 1)
    reach = (stdtrit(counts - 1, 0.975) + stdtrit(counts - 1, power)) * spread / np.sqrt(counts)
    enough = reach <= margin
    return int(counts[enough.argmax()]) if enough.any() else None


@dataclass(frozen=True)
class _Arm:
    """One condition with its fit, which may be unusable; rows carry `_unit`, what is replicated."""

    label: str
    rows: pd.DataFrame
    fit: CurveFit
    axis: str

    def rate(self, name: str) -> float | None:
        if name not in self.rows.columns:
            return None
        value = float(self.rows[name].iloc[0])
        return value if np.isfinite(value) else None


def gap_report(
    frame: pd.DataFrame,
    *,
    clean: Selection,
    delta: float = 0.01,
    x: str = "rollouts",
    group: str | None = None,
    law: str = "auto",
    seed: int = 0,
    source: str = "the table",
) -> GapReport:
    """The gap of every noisy arm of a run table against its clean arm.

    clean: which rows are the clean arm. delta: smallest gap of interest, accuracy. x: compute column.
    group: columns that make an arm (default: see `fits.fit.group_rows`). law: one law for all arms, or
    "auto" for the least total AICc. seed: of the draws behind the exchange rate's intervals.
    Raises InputError naming a missing column, a delta outside (0, 1), or the lack of a clean arm.
    """
    if not 0.0 < delta < 1.0:
        raise InputError(f"delta must lie in (0, 1), got {delta:g}")
    frame, x, notes = _with_axis(frame, x, source)
    is_clean = select(frame, clean, source=source)
    if not is_clean.any():
        raise InputError(_no_clean(frame, clean, source))
    if is_clean.all():
        raise InputError(
            f"{source}: every row satisfies --clean {clean.text}: no noisy arm to compare"
        )
    if "seed" in frame.columns and frame["seed"].notna().all():
        unit = frame["seed"].astype(str)
        paired = True
    else:
        unit = frame["run_id"].astype(str)
        paired = False
    frame = frame.assign(_unit=unit)
    # Whatever --group says: an arm is one configuration, held against clean runs of the same.
    matched = varying(frame, MATCHED)
    references: dict[tuple[str, ...], pd.DataFrame] = (
        dict(_by_configuration(frame[is_clean], matched)) if matched else {(): frame[is_clean]}
    )
    held: list[tuple[str, pd.DataFrame, tuple[str, ...]]] = []
    for label, rows in group_rows(frame[~is_clean], group, apart=matched, source=source):
        config = tuple(str(rows[name].iloc[0]) for name in matched)
        if config in references:
            held.append((label, rows, config))
            continue
        spoken = ", ".join(f"{n}={v}" for n, v in zip(matched, config, strict=True))
        notes.append(f"{label}: no clean run with {spoken} to hold it against: left out")
    used = dict.fromkeys(config for _, _, config in held)
    chosen = _choose_law(
        law, [*(references[config] for config in used), *(rows for _, rows, _ in held)], x
    )
    clean_arms: dict[tuple[str, ...], _Arm] = {}
    arms: list[ArmGap] = []
    pairs: list[tuple[_Arm, _Arm]] = []
    for label, rows, config in held:
        reference = references[config]
        single = not paired and reference["run_id"].nunique() == 1 and rows["run_id"].nunique() == 1
        if config not in clean_arms:
            clean_arms[config] = _arm("clean", reference, x, chosen, single=single)
        pair = (clean_arms[config], _arm(label, rows, x, chosen, single=single))
        pairs.append(pair)
        arms.append(_arm_gap(*pair, x=x, delta=delta, chosen=chosen, paired=paired or single))
    if not arms:
        raise InputError(f"{source}: no noisy arm has a clean run of the same {', '.join(matched)}")
    rng = np.random.default_rng(seed)
    return GapReport(
        arms=tuple(arms),
        asymmetry=_asymmetry([arm for _, arm in pairs], x, paired=paired),
        exchange_rate=_exchange_rate(pairs, rng),
        delta=delta,
        x=x,
        law=chosen.name,
        notes=tuple(notes),
    )


def _with_axis(frame: pd.DataFrame, x: str, source: str) -> tuple[pd.DataFrame, str, list[str]]:
    """The compute column, and a stand-in where every run has one row and none was logged."""
    if x not in frame.columns and not frame["run_id"].duplicated().any():
        note = f"no column {x}, and one row per run: every run counts as one budget"
        return frame.assign(**{x: 1.0}), x, [note]
    need_columns(frame, x, purpose="the gap against compute", source=source)
    return frame.assign(**{x: check_numbers(frame, x, source=source)}), x, []


def _by_configuration(
    frame: pd.DataFrame, matched: Sequence[str]
) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """Rows by the values of `matched`, as text so that an empty cell equals an empty cell."""
    for _, rows in frame.groupby(list(matched), sort=False, dropna=False):
        yield tuple(str(rows[name].iloc[0]) for name in matched), rows


def _no_clean(frame: pd.DataFrame, clean: Selection, source: str) -> str:
    message = f"{source}: no row satisfies --clean {clean.text}, so there is no gap to measure;"
    if {"fpr", "fnr"} <= set(frame.columns):
        total = frame["fpr"] + frame["fnr"]
        least = frame.iloc[int(total.to_numpy().argmin())]
        message += (
            " still possible: `verigap fit` for each arm, or the gap relative to the least noisy arm"
            f" with --clean fpr={least['fpr']:g},fnr={least['fnr']:g}"
        )
    elif "arm" in frame.columns:
        names = ", ".join(str(name) for name in frame["arm"].unique()[:8])
        message += (
            " still possible: `verigap fit` for each arm, or name the reference with --clean arm=…"
            f" ({names})"
        )
    return message


def _arm(label: str, rows: pd.DataFrame, x: str, law: Law, *, single: bool) -> _Arm:
    unit = np.full(len(rows), "only") if single else rows["_unit"].to_numpy()
    fit = fit_curve(
        rows[x].to_numpy(np.float64),
        rows["accuracy"].to_numpy(np.float64),
        law=law,
        run=unit,
        forecast=False,
    )
    return _Arm(label, rows.assign(_unit=unit), fit, x)


def _choose_law(name: str, curves: Sequence[pd.DataFrame], x: str) -> Law:
    """One law for every arm, so that what a law gets wrong about asymptotes cancels in the gap."""
    if name != "auto":
        return curve_law(name)
    laws = [law for law in CURVE_LAWS if law.has_asymptote]
    totals = dict.fromkeys((law.name for law in laws), 0.0)
    compared = False
    for rows in curves:
        x_N, y_N = rows[x].to_numpy(np.float64), rows["accuracy"].to_numpy(np.float64)
        scores = {law.name: fit_curve(x_N, y_N, law=law, forecast=False).aicc for law in laws}
        known = {name: score for name, score in scores.items() if score is not None}
        # A curve too short for one of the laws has no say between them.
        if len(known) == len(laws):
            compared = True
            totals = {name: totals[name] + score for name, score in known.items()}
    return curve_law(min(totals, key=lambda key: totals[key])) if compared else laws[0]


def _usable(fit: CurveFit) -> bool:
    """Whether the fitted curve describes the data where they are."""
    return fit.status in ("converged", "at bound") and fit.n > len(fit.law.parameters)


def _level_at(arm: _Arm, x: str, at: float) -> dict[str, float]:
    """Accuracy of every unit at compute `at`: the fit's pseudo-values, or the evaluations themselves."""
    if _usable(arm.fit):
        return dict(zip(arm.fit.runs, arm.fit.pseudo_predict(at).tolist(), strict=True))
    levels: dict[str, float] = {}
    for unit, rows in arm.rows.groupby("_unit"):
        mean = rows.groupby(x)["accuracy"].mean()
        levels[str(unit)] = float(
            np.interp(at, mean.index.to_numpy(np.float64), mean.to_numpy(np.float64))
        )
    return levels


@dataclass(frozen=True)
class Difference:
    """A difference over replicates: estimate, 95 % interval, spread of one difference, their number."""

    estimate: float
    ci: Interval | None
    spread: float
    count: int


def floor_between(clean: CurveFit, noisy: CurveFit, *, paired: bool = True) -> Difference:
    """The difference of two curves' asymptotes, clean minus noisy, over their runs.

    paired: runs of the same name are one seed; else the two sets of runs are independent.
    """
    first, second = (
        dict(zip(fit.runs, fit.pseudo("asymptote").tolist(), strict=True)) for fit in (clean, noisy)
    )
    return _difference(first, second, paired=paired)


def _difference(
    first: Mapping[str, float], second: Mapping[str, float], *, paired: bool
) -> Difference:
    """first - second, each a value per replicate.

    Paired by unit where units are shared, else Welch's interval for independent runs.
    """
    shared = [unit for unit in first if unit in second]
    if paired and shared:
        values = np.array([first[unit] - second[unit] for unit in shared])
        mean, ci = student_interval(values)
        spread = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
        return Difference(mean, ci, spread, len(values))
    from scipy.special import stdtrit

    a, b = np.array(list(first.values())), np.array(list(second.values()))
    mean = float(a.mean() - b.mean())
    fewer = min(len(a), len(b))
    if fewer < 2:
        return Difference(mean, None, float("nan"), fewer)
    va, vb = float(a.var(ddof=1)) / len(a), float(b.var(ddof=1)) / len(b)
    if va + vb == 0.0:
        return Difference(mean, (mean, mean), 0.0, fewer)
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    half = float(stdtrit(freedom, 0.975)) * (va + vb) ** 0.5
    return Difference(mean, (mean - half, mean + half), ((va + vb) * fewer) ** 0.5, fewer)


def _arm_gap(
    clean: _Arm, noisy: _Arm, *, x: str, delta: float, chosen: Law, paired: bool
) -> ArmGap:
    x_max = min(float(clean.rows[x].max()), float(noisy.rows[x].max()))
    at_x_max = _difference(_level_at(clean, x, x_max), _level_at(noisy, x, x_max), paired=paired)
    both = clean.fit.identified and noisy.fit.identified and chosen.has_asymptote
    floor = floor_between(clean.fit, noisy.fit, paired=paired) if both else at_x_max
    reasons: list[str] = []
    if not both:
        which, fit = ("clean", clean.fit) if not clean.fit.identified else ("noisy", noisy.fit)
        single = clean.rows[x].nunique() == 1 and noisy.rows[x].nunique() == 1
        why = (
            "one evaluation per run shows no curve"
            if single
            else f"the {which} arm's asymptote is not identified ({fit.reason})"
        )
        reasons.append(f"about {x} = {x_max:.4g} only: {why}")
    reasons += _replication(clean, noisy, floor, paired=paired)
    if floor.ci is None:
        reasons += _evaluation_noise(clean, noisy, x_max)
    unlearned = _nothing_learned(clean, x)
    if unlearned:
        reasons.append(
            "the clean arm neither rises nor falls by more than its noise: nothing was learned that"
            " noise could cost"
        )
    verdict = "undetermined" if unlearned else verdict_of(floor.ci, delta)
    return ArmGap(
        arm=noisy.label,
        verdict=verdict,
        floor=floor.estimate,
        floor_ci=floor.ci,
        basis="asymptote" if both else "largest budget",
        reason="; ".join(reasons),
        would_settle_it=_settle(
            floor,
            delta,
            clean,
            noisy,
            x=x,
            at=x_max,
            verdict=verdict,
            asymptote=both,
            unlearned=unlearned,
        ),
        seeds=floor.count,
        x_max=x_max,
        gap_at_x_max=at_x_max.estimate,
        fpr=noisy.rate("fpr"),
        fnr=noisy.rate("fnr"),
        curve=_paired_curve(clean, noisy, x, paired=paired),
    )


def _replication(clean: _Arm, noisy: _Arm, floor: Difference, *, paired: bool) -> list[str]:
    """How the interval came about, wherever that is not one pair for every seed of both arms."""
    ours, theirs = set(clean.fit.runs), set(noisy.fit.runs)
    shared = len(ours & theirs)
    said: list[str] = []
    if not paired:
        said.append("no column seed: runs are compared unpaired (Welch)")
    elif not shared:
        said.append("the arms share no seed: runs are compared unpaired (Welch)")
    elif ours != theirs:
        said.append(
            f"paired over the seeds that both arms have, {shared} of {len(ours)} clean and"
            f" {len(theirs)} noisy: the others are left out"
        )
    if floor.ci is None:
        said.append("no interval: one matched seed shows no spread between seeds")
    elif floor.count == 2:
        said.append("two seeds leave one degree of freedom: a third may move the interval far")
    return said


def _nothing_learned(arm: _Arm, x: str) -> bool:
    """Whether the arm was evaluated along a curve that neither rises nor falls by more than its noise.

    Within runs: no slope of accuracy against the order of evaluations beyond two standard errors, no
    peak, and a fitted curve that leaves the spread as it was.
    """
    unit = arm.rows["_unit"]
    order_N = arm.rows.groupby("_unit")[x].rank().to_numpy(np.float64)
    y_N = arm.rows["accuracy"].to_numpy(np.float64)
    left = len(y_N) - unit.nunique() - 1
    dx_N, dy_N = _within(order_N, unit), _within(y_N, unit)
    if left < 1 or not dx_N.any():
        return False
    slope = float(dx_N @ dy_N / (dx_N @ dx_N))
    rest_N = dy_N - slope * dx_N
    error = float(rest_N @ rest_N / left / (dx_N @ dx_N)) ** 0.5
    if abs(slope) * float(np.ptp(order_N)) > 1e-9 and abs(slope) > 2.0 * error:
        return False
    if arm.fit.turn is not None:
        return False
    if not _usable(arm.fit):
        return True
    residual_N = _within(y_N - arm.fit.predict(arm.rows[x].to_numpy(np.float64)), unit)
    return float(dy_N.std()) <= 1.2 * float(residual_N.std()) + 1e-9


def _within(values_N: FloatArray, unit: pd.Series[str]) -> FloatArray:
    """Values less the mean of their unit, (N,)."""
    values = pd.Series(values_N, index=unit.index)
    return (values - values.groupby(unit).transform("mean")).to_numpy(np.float64)


def _evaluation_noise(clean: _Arm, noisy: _Arm, x_max: float) -> list[str]:
    """What evaluation noise alone leaves open at the largest budget: Newcombe's interval, in words.

    From the Wilson intervals of both proportions; it says nothing of other seeds, so no verdict uses it.
    """
    from statsmodels.stats.proportion import confint_proportions_2indep

    last = [arm.rows[arm.rows[arm.axis] == x_max] for arm in (clean, noisy)]
    if any(
        "n_eval" not in rows.columns or rows.empty or rows["n_eval"].isna().any() for rows in last
    ):
        return []
    samples = [float(rows["n_eval"].sum()) for rows in last]
    right = [float((rows["accuracy"] * rows["n_eval"]).sum()) for rows in last]
    low, high = confint_proportions_2indep(
        right[0], samples[0], right[1], samples[1], method="newcomb", compare="diff"
    )
    return [f"evaluation noise alone leaves the gap there in [{low:+.4f}, {high:+.4f}]"]


def _settle(
    floor: Difference,
    delta: float,
    clean: _Arm,
    noisy: _Arm,
    *,
    x: str,
    at: float,
    verdict: Verdict,
    asymptote: bool,
    unlearned: bool,
) -> Settle | None:
    """What to buy: seeds or samples for an open verdict, compute for one not about the asymptote."""
    text: list[str] = []
    seeds = n_eval = budget = None
    if unlearned:
        text.append("a clean arm that learns: more steps, or a setting in which accuracy moves")
    elif verdict == "undetermined":
        seeds, spoken = _seeds_to_settle(floor, delta)
        text.append(spoken)
        if np.isfinite(floor.spread):
            margin = abs(floor.estimate - delta)
            n_eval = _samples_needed(floor, margin, clean, noisy, at=at, asymptote=asymptote)
        if n_eval is not None:
            text.append(f"or about {n_eval:,} samples an evaluation with the seeds there are")
    has_curve = clean.rows[x].nunique() > 1 and noisy.rows[x].nunique() > 1
    if has_curve and not asymptote and not unlearned:
        budget, spoken = _budget_to_settle(clean, noisy, x)
        text.append(spoken)
    return Settle("; ".join(text), seeds=seeds, n_eval=n_eval, budget=budget) if text else None


def _seeds_to_settle(floor: Difference, delta: float) -> tuple[int | None, str]:
    """Matched seeds in all that would decide the verdict, and the same in words."""
    if not np.isfinite(floor.spread):
        return 3, "at least 3 matched seeds, since one shows nothing of how far seeds differ"
    margin = abs(floor.estimate - delta)
    needed = seeds_needed(floor.spread, margin)
    if needed is None:
        return None, (
            f"no feasible number of seeds: the estimate {floor.estimate:+.4f} lies within {margin:.4f} of delta ="
            f" {delta:g} and paired seeds differ by {floor.spread:.4f}; choose another delta"
        )
    needed = max(needed, floor.count + 1)
    return needed, (
        f"{needed} matched seeds (now {floor.count}), if the gap is {floor.estimate:+.4f} and"
        f" paired seeds differ by {floor.spread:.4f}"
    )


def _budget_to_settle(clean: _Arm, noisy: _Arm, x: str) -> tuple[float | None, str]:
    """The x at which the asymptotes would be identified, None where none helps; and in words."""
    for arm, which in ((clean, "clean"), (noisy, "noisy")):
        if arm.fit.turn is not None:
            return None, (
                f"no budget: the {which} arm rises and then falls, so that it has no asymptote; compare"
                " the arms at the budget you mean to stop at"
            )
    x_max = max(clean.fit.x_max, noisy.fit.x_max)
    far = 10.0 * x_max
    # Only an arm whose asymptote is open needs more compute.
    wanted: list[float] = []
    for fit in (arm.fit for arm in (clean, noisy) if not arm.fit.identified):
        midpoint = fit.law.midpoint
        if midpoint is not None and np.isfinite(fit.theta_P).all():
            wanted.append(MIDPOINTS_NEEDED * midpoint(fit.theta_P))
    budget = max(wanted, default=2.0 * x_max)
    if budget > far:
        return far, (
            f"for the asymptote, runs to {x} of {far:.3g} or more: the curves have not bent yet, so"
            " where they will is a guess"
        )
    if budget > 1.01 * x_max:
        return budget, f"for the asymptote, runs to {x} of about {budget:.3g} (3 midpoints)"
    return 2.0 * x_max, (
        f"for the asymptote, runs to {x} of about {2.0 * x_max:.3g}, twice as far, or more evaluations:"
        " the curves bend, but not enough rows show where they end"
    )


def _samples_needed(
    floor: Difference, margin: float, clean: _Arm, noisy: _Arm, *, at: float, asymptote: bool
) -> int | None:
    """Samples an evaluation that would settle it with the seeds there are; None where they would not.

    The spread of paired differences is part evaluation noise, which samples shrink, and part seeds,
    which they do not. Evaluations on the same samples in both arms share noise: then this overstates.
    """
    from scipy.special import stdtrit

    if floor.count < 2:
        return None
    noise = [_evaluation_variance(arm, at=at, asymptote=asymptote) for arm in (clean, noisy)]
    if noise[0] is None or noise[1] is None:
        return None
    evaluation = min(noise[0] + noise[1], floor.spread**2)
    between = floor.spread**2 - evaluation
    reach = float(stdtrit(floor.count - 1, 0.975) + stdtrit(floor.count - 1, POWER))
    allowed = (margin / reach) ** 2 * floor.count - between
    if allowed <= 0.0 or evaluation <= 0.0:
        return None
    factor = evaluation / allowed
    now = float(min(clean.rows["n_eval"].median(), noisy.rows["n_eval"].median()))
    return int(np.ceil(factor * now)) if 1.0 < factor <= MOST_SAMPLES_FACTOR else None


def _evaluation_variance(arm: _Arm, *, at: float, asymptote: bool) -> float | None:
    """Variance of one run's pseudo-value that binomial evaluations alone explain; None if unknown."""
    if "n_eval" not in arm.rows.columns or arm.rows["n_eval"].isna().any() or not _usable(arm.fit):
        return None
    fit = arm.fit
    x_N = arm.rows[arm.axis].to_numpy(np.float64)
    jacobian_PN = fit.law.jacobian(x_N[None], fit.theta_P[None])[0]
    wanted_P = (
        np.eye(len(fit.theta_P))[fit.law.index("asymptote")]
        if asymptote
        else fit.law.jacobian(np.array([[at]]), fit.theta_P[None])[0, :, 0]
    )
    pull_N = wanted_P @ np.linalg.pinv(jacobian_PN @ jacobian_PN.T, rcond=1e-13) @ jacobian_PN
    a_N = np.clip(fit.predict(x_N), 0.0, 1.0)
    samples_N = arm.rows["n_eval"].to_numpy(np.float64)
    # All runs together estimate with this variance; a run's pseudo-value with as many times more.
    return float(np.sum(pull_N**2 * a_N * (1.0 - a_N) / samples_N)) * len(fit.runs)


def _paired_curve(clean: _Arm, noisy: _Arm, x: str, *, paired: bool) -> tuple[GapPoint, ...]:
    """The gap at every budget that both arms were evaluated at."""
    points: list[GapPoint] = []
    ours, theirs = _by_budget(clean, x), _by_budget(noisy, x)
    for at, first in ours.items():
        if at in theirs:
            at_x = _difference(first, theirs[at], paired=paired)
            points.append(GapPoint(at, at_x.estimate, at_x.ci, at_x.count))
    return tuple(points)


def _by_budget(arm: _Arm, x: str) -> dict[float, dict[str, float]]:
    """Accuracy of every unit at every x, ascending: {x: {unit: accuracy}}."""
    at: dict[float, dict[str, float]] = {}
    means = arm.rows.groupby([x, "_unit"])["accuracy"].mean()
    for (budget, unit), value in zip(means.index.tolist(), means.tolist(), strict=True):
        at.setdefault(float(budget), {})[str(unit)] = float(value)
    return at


# --- asymmetry ---------------------------------------------------------------------------------


def _asymmetry(arms: Sequence[_Arm], x: str, *, paired: bool) -> Asymmetry:
    """Mirror pairs (high, low) and (low, high) of (fpr, fnr), alike in everything else."""
    if any(arm.rate("fpr") is None or arm.rate("fnr") is None for arm in arms):
        return Asymmetry(None, None, "no columns fpr and fnr to find mirror pairs by")
    found: list[tuple[_Arm, _Arm]] = []
    for fp in arms:
        for fn in arms:
            mirrored = fp.rate("fpr") == fn.rate("fnr") and fp.rate("fnr") == fn.rate("fpr")
            alike = all(
                fp.rows[name].iloc[0] == fn.rows[name].iloc[0]
                for name in (*MATCHED, "noise")
                if name in fp.rows.columns and (name != "noise" or paired)
            )
            if mirrored and alike and (fp.rate("fpr") or 0.0) > (fp.rate("fnr") or 0.0):
                found.append((fp, fn))
    if not found:
        return Asymmetry(None, None, "no mirror pair: two arms with fpr and fnr exchanged")
    results: list[tuple[MirrorPair, dict[str, float]]] = []
    for fp, fn in found:
        at = min(float(fp.rows[x].max()), float(fn.rows[x].max()))
        first, second = _level_at(fp, x, at), _level_at(fn, x, at)
        between = _difference(first, second, paired=paired)
        p_value = _p_value(between)
        differences = {unit: first[unit] - second[unit] for unit in first if unit in second}
        results.append(
            (
                MirrorPair(
                    fp.label,
                    fn.label,
                    fp.rate("fpr") or 0.0,
                    fp.rate("fnr") or 0.0,
                    between.estimate,
                    between.ci,
                    p_value,
                    None,
                ),
                differences,
            )
        )
    adjusted = _holm([pair.p_value for pair, _ in results])
    pairs = tuple(
        MirrorPair(p.fp_arm, p.fn_arm, p.fpr, p.fnr, p.difference, p.ci, p.p_value, holm)
        for (p, _), holm in zip(results, adjusted, strict=True)
    )
    units = set.intersection(*(set(differences) for _, differences in results))
    if paired and len(units) >= 2:
        per_unit = np.array(
            [float(np.mean([d[unit] for _, d in results])) for unit in sorted(units)]
        )
        mean, ci = student_interval(per_unit)
        return Asymmetry(
            mean, ci, f"t over {len(units)} seeds of the mean of {len(pairs)} mirror pairs", pairs
        )
    values = np.array([pair.difference for pair in pairs])
    if len(values) >= 3:
        mean, ci = student_interval(values)
        return Asymmetry(
            mean, ci, f"one seed: t over {len(values)} mirror pairs, taken as replicates", pairs
        )
    return Asymmetry(
        float(values.mean()),
        None,
        f"one seed and {len(values)} mirror pairs: no spread to judge by",
        pairs,
    )


def _p_value(between: Difference) -> float | None:
    """Two-sided t test of zero; None where there is no spread to judge by."""
    if between.count < 2 or not np.isfinite(between.spread):
        return None
    from scipy.special import stdtr

    if between.spread == 0.0:
        return 1.0 if between.estimate == 0.0 else 0.0
    t = abs(between.estimate) / between.spread * between.count**0.5
    return float(2.0 * stdtr(between.count - 1, -t))


def _holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment; tests that could not be made do not count."""
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, i) in enumerate(known):
        running = max(running, min(1.0, (len(known) - rank) * p))
        adjusted[i] = running
    return adjusted


# --- exchange rate -----------------------------------------------------------------------------


def _exchange_rate(pairs: Sequence[tuple[_Arm, _Arm]], rng: np.random.Generator) -> ExchangeRate:
    """Iso-accuracy contours: compute of the noisy over the clean arm, at two levels of accuracy."""
    final = _at_level(pairs, 1.0, rng)
    return ExchangeRate(*final, halfway=ExchangeAt(*_at_level(pairs, 0.5, rng)))


def _at_level(
    pairs: Sequence[tuple[_Arm, _Arm]], share: float, rng: np.random.Generator
) -> tuple[PerPoint, PerPoint, tuple[Multiplier, ...]]:
    """Multipliers where the clean arm has done `share` of the rise it shows, per arm and per point."""
    multipliers: list[Multiplier] = []
    draws: dict[str, list[tuple[float, float, FloatArray | None]]] = {"fpr": [], "fnr": []}
    for clean, noisy in pairs:
        multiplier, drawn, log_multiplier = _multiplier(clean, noisy, share, rng)
        multipliers.append(multiplier)
        fpr, fnr = noisy.rate("fpr"), noisy.rate("fnr")
        if fpr is None or fnr is None or log_multiplier is None:
            continue
        if fpr > 0.0 and fnr == 0.0:
            draws["fpr"].append((100.0 * fpr, log_multiplier, drawn))
        if fnr > 0.0 and fpr == 0.0:
            draws["fnr"].append((100.0 * fnr, log_multiplier, drawn))
    return (
        _per_point("fpr", draws["fpr"]),
        _per_point("fnr", draws["fnr"]),
        tuple(multipliers),
    )


def _multiplier(
    clean: _Arm, noisy: _Arm, share: float, rng: np.random.Generator
) -> tuple[Multiplier, FloatArray | None, float | None]:
    """The multiplier at one level, draws of its logarithm over seeds, and its logarithm."""
    for arm in (clean, noisy):
        if not _usable(arm.fit):
            which = "clean" if arm is clean else "noisy"
            why = f"the {which} arm has no fitted curve ({arm.fit.reason or arm.fit.status})"
            return Multiplier(noisy.label, None, None, None, None, why), None, None
    at = min(clean.fit.x_max, noisy.fit.x_max)
    target_1, point_1 = _log_multiplier(
        clean.fit, clean.fit.theta_P[None], noisy.fit, noisy.fit.theta_P[None], at, share
    )
    target, point = float(target_1[0]), float(point_1[0])
    if float(noisy.fit.predict(1e-6 * at)) >= target - 1e-9:
        reason = f"the arm is at {target:.4f} before any compute is spent: nothing to make up for"
        return Multiplier(noisy.label, target, None, None, None, reason), None, None
    finite = bool(np.isfinite(point))
    reasons: list[str] = []
    if not finite:
        reasons.append(
            f"no finite amount of compute takes the arm to {target:.4f}: its limit is below"
        )
    elif point > np.log(3.0) and share == 1.0:
        reasons.append("extrapolated past three times the largest budget")
    estimate = float(np.exp(point)) if finite else None
    shared = [unit for unit in clean.fit.runs if unit in noisy.fit.runs]
    if len(shared) < 2:
        reasons.append("no interval: one matched seed")
        return (
            Multiplier(noisy.label, target, estimate, None, None, "; ".join(reasons)),
            None,
            point,
        )
    picked = [
        fit.influence_SP[[fit.runs.index(unit) for unit in shared]]
        for fit in (clean.fit, noisy.fit)
    ]
    errors = _student_draws(np.concatenate(picked, axis=1), rng)
    P = len(clean.fit.theta_P)
    low, high = clean.fit.law.bounds(np.array([[at]]))
    ours = np.clip(clean.fit.theta_P + errors[:, :P], low, high)
    theirs = np.clip(noisy.fit.theta_P + errors[:, P:], low, high)
    _, drawn = _log_multiplier(clean.fit, ours, noisy.fit, theirs, at, share)
    return (
        Multiplier(
            noisy.label,
            target,
            estimate,
            _quantiles(drawn),
            float(np.mean(~np.isfinite(drawn))),
            "; ".join(reasons),
        ),
        drawn,
        point,
    )


def _log_multiplier(
    clean: CurveFit,
    ours_RP: FloatArray,
    noisy: CurveFit,
    theirs_RP: FloatArray,
    at: float,
    share: float,
) -> tuple[FloatArray, FloatArray]:
    """Targets and log multipliers, (R,): +inf where the noisy curve never gets there."""
    ends = clean.law.predict(np.array([[1e-6 * at, at]]), ours_RP)
    target_R = ends[:, 0] + share * (ends[:, 1] - ends[:, 0])
    log_theirs = _log_reach(noisy, theirs_RP, target_R, at)
    if share == 1.0:
        return target_R, log_theirs - np.log(at)
    log_ours = _log_reach(clean, ours_RP, target_R, at)
    # A clean curve that falls (a draw may) has no halfway up: no amount of compute compares with it.
    rises = np.isfinite(log_ours)
    return target_R, np.where(rises, log_theirs - np.where(rises, log_ours, 0.0), np.inf)


def _student_draws(influence_SQ: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Draws of the estimate's error, (DRAWS, Q): multivariate t over S seeds, from their influences."""
    S = len(influence_SQ)
    centred = influence_SQ - influence_SQ.mean(axis=0)
    normal = rng.standard_normal((DRAWS, S)) @ centred / (S * (S - 1)) ** 0.5
    return normal * np.sqrt((S - 1) / rng.chisquare(S - 1, size=(DRAWS, 1)))


def _log_reach(fit: CurveFit, theta_RP: FloatArray, target_R: FloatArray, at: float) -> FloatArray:
    """log x at which each curve reaches its target, +inf where it never does; (R,), by bisection."""
    low = np.full(len(theta_RP), np.log(at) - 30.0)
    high = np.full(len(theta_RP), np.log(at) + 30.0)

    def level(log_x: FloatArray) -> FloatArray:
        return _diagonal(fit.law, np.exp(log_x), theta_RP)

    never = level(high) < target_R
    for _ in range(60):
        middle = 0.5 * (low + high)
        above = level(middle) >= target_R
        high, low = np.where(above, middle, high), np.where(above, low, middle)
    return np.where(never, np.inf, high)


def _diagonal(law: Law, x_R: FloatArray, theta_RP: FloatArray) -> FloatArray:
    """f(x_r; theta_r), (R,): laws broadcast an (R, 1) row of x against (R, P) parameters."""
    return law.predict(x_R[None, :, None], theta_RP)[:, 0]


def _quantiles(log_multiplier_R: FloatArray) -> tuple[float, float | None]:
    ordered = np.sort(log_multiplier_R)
    low, high = ordered[int(0.025 * len(ordered))], ordered[int(0.975 * len(ordered))]
    return float(np.exp(low)), float(np.exp(high)) if np.isfinite(high) else None


def _per_point(
    rate: Literal["fpr", "fnr"], arms: Sequence[tuple[float, float, FloatArray | None]]
) -> PerPoint:
    """Slope of log multiplier against points of the rate, through the origin: no noise, no cost."""
    if not arms:
        return PerPoint(rate, None, None, None, f"no arm with {rate} alone has a multiplier")
    points = np.array([p for p, _, _ in arms])
    logs = np.array([value for _, value, _ in arms])
    point = float((points * logs).sum() / (points**2).sum()) if np.isfinite(logs).all() else np.inf
    finite = bool(np.isfinite(point))
    reason = "" if finite else "no finite amount of compute makes up for it"
    drawn = [d for _, _, d in arms if d is not None]
    if len(drawn) < len(arms):
        text = "; ".join(part for part in (reason, "no interval: one matched seed") if part)
        return PerPoint(rate, float(np.exp(point)) if finite else None, None, None, text)
    slope_R = (points[:, None] * np.stack(drawn)).sum(axis=0) / (points**2).sum()
    return PerPoint(
        rate,
        float(np.exp(point)) if finite else None,
        _quantiles(slope_R),
        float(np.mean(~np.isfinite(slope_R))),
        reason,
    )
