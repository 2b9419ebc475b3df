"""The accuracy gap of a noisy verifier: does it close, at what floor, and what would settle it.

Law. An arm is held against the clean runs of its own setting: those that share everything but the
verifier (model, estimator, group size, prompts per step). Arms are matched: runs of one seed see the same
prompts, so the gap g_s = accuracy(clean) - accuracy(noisy) is taken within seeds and its interval is
Student's t over seeds. The floor is the difference of the two asymptotes where both are identified, else
the gap at the largest budget both arms reached, and then the verdict is about that budget only. With delta
the smallest gap of interest: closes when the upper 95 % limit is below delta, persists when the lower is
above, else undetermined.
Fails first when seeds do not match arms (another prompt order): pairing then costs power, not truth.
Source: docs/contract.md#verdicts; t over seeds rather than a bootstrap, which over 3 seeds covers 76 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fits.arms import (
    Arm,
    Difference,
    by_budget,
    difference,
    fit_arm,
    floor_between,
    level_at,
    usable,
)
from fits.asymmetry import Asymmetry, MirrorPair, asymmetry_of
from fits.errors import InputError
from fits.exchange import ExchangeAt, ExchangeRate, Multiplier, PerPoint, exchange_rate_of
from fits.fit import (
    check_loss,
    curve_of,
    fit_curve,
    group_rows,
    loss_for,
    named_columns,
    refuse_same_axis,
)
from fits.inference import Interval
from fits.laws import CURVE_LAWS, FloatArray, Law, curve_law
from fits.selection import Selection, select, values_there
from fits.settle import Settle, seeds_needed, settle
from fits.table import SETTING, VERIFIER, check_numbers, need_columns, varying

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
    "SettingGap",
    "Settle",
    "Verdict",
    "chance_in_words",
    "floor_between",
    "gap_report",
    "seeds_needed",
    "setting_in_words",
    "verdict_in_words",
    "verdict_of",
]

Verdict = Literal["closes", "persists", "undetermined"]
Setting = Mapping[str, str | int | float | None]


@dataclass(frozen=True)
class GapPoint:
    """The paired gap at one budget: mean over seeds, and its 95 % t interval (None with one seed)."""

    x: float
    gap: float
    ci: Interval | None
    seeds: int


@dataclass(frozen=True)
class ArmGap:
    """One noisy arm against its clean arm.

    setting: what the arm shares with its clean runs and not with every other arm, by column.
    floor: accuracy lost, clean minus noisy. basis: "asymptote" or "largest budget".
    floor_ci: 95 % t interval over seeds, None where `reason` says why. gap_at_x_max: the gap at x_max,
    the largest budget both reached, with its interval.
    """

    arm: str
    setting: Setting
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
    gap_at_x_max_ci: Interval | None = None


@dataclass(frozen=True)
class SettingGap:
    """The asymmetry test and the exchange rate among the arms of one setting (see ArmGap)."""

    setting: Setting
    asymmetry: Asymmetry
    exchange_rate: ExchangeRate


@dataclass(frozen=True)
class GapReport:
    """Every arm's gap, the asymmetry test and the exchange rate; `law` and `loss` are those used throughout.

    asymmetry, exchange_rate: over the arms of all settings together. settings: within each, ascending.
    """

    arms: tuple[ArmGap, ...]
    asymmetry: Asymmetry
    exchange_rate: ExchangeRate
    settings: tuple[SettingGap, ...]
    delta: float
    x: str
    law: str
    loss: str
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


def chance_in_words(probability: float | None) -> str:
    """A probability for people, "" where it is 0 or not known: one that rounds to 0.00 is not 0."""
    if not probability:
        return ""
    return f"probability {probability:.2f}" if probability >= 0.005 else "a probability below .01"


def gap_report(
    frame: pd.DataFrame,
    *,
    clean: Selection,
    delta: float = 0.01,
    x: str = "rollouts",
    group: str | None = None,
    law: str = "auto",
    loss: str = "auto",
    seed: int = 0,
    source: str = "the table",
) -> GapReport:
    """The gap of every noisy arm of a run table against its clean arm.

    clean: which rows are the clean arm; a column of the setting (`fits.table.SETTING`) that it names,
    and holds at one value, is the reference for arms of every value of it. delta: smallest gap of
    interest, accuracy. x: compute column. group: columns that make an arm (default: see
    `fits.fit.group_rows`); one that the clean runs vary in, though it is none of the verifier's, is part
    of the setting. law: one law for all arms, or "auto" for the least total AICc. loss: see
    `fits.fit.check_loss`. seed: of the draws behind the exchange rate's intervals.
    Raises InputError naming a missing column, a delta outside (0, 1), or the lack of a clean arm.
    """
    if not 0.0 < delta < 1.0:
        raise InputError(f"delta must lie in (0, 1), got {delta:g}")
    frame, x, notes = _with_axis(frame, x, source)
    loss = check_loss(frame, loss, source=source)
    named = {c.column for conjunction in clean.alternatives for c in conjunction}
    if not named <= set(frame.columns):
        raise InputError(_no_clean(frame, clean, source))
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
    matched = _matched(frame, is_clean, clean, group, source)
    references: dict[tuple[str, ...], pd.DataFrame] = (
        dict(_by_configuration(frame[is_clean], matched)) if matched else {(): frame[is_clean]}
    )
    notes += _pooled_clean_arms(references.values(), matched)
    held: list[tuple[str, pd.DataFrame, tuple[str, ...]]] = []
    # Whatever --group says: an arm is of one setting.
    apart = list(dict.fromkeys([*varying(frame, SETTING), *matched]))
    for label, rows in group_rows(frame[~is_clean], group, apart=apart, source=source):
        config = tuple(str(rows[name].iloc[0]) for name in matched)
        if config in references:
            held.append((label, rows, config))
            continue
        spoken = setting_in_words(_setting(rows, matched))
        notes.append(f"{label}: no clean run with {spoken} to hold it against: left out")
    # Arms of one setting stand together, in the order of the settings.
    order = list(references)
    held.sort(key=lambda one: order.index(one[2]))
    used = dict.fromkeys(config for _, _, config in held)
    chosen = _choose_law(
        law, [*(references[config] for config in used), *(rows for _, rows, _ in held)], x, loss
    )
    clean_arms: dict[tuple[str, ...], Arm] = {}
    arms: list[ArmGap] = []
    pairs: dict[tuple[str, ...], list[tuple[Arm, Arm]]] = {}
    for label, rows, config in held:
        reference = references[config]
        single = not paired and reference["run_id"].nunique() == 1 and rows["run_id"].nunique() == 1
        if config not in clean_arms:
            clean_arms[config] = fit_arm("clean", reference, x, chosen, loss, single=single)
        pair = (clean_arms[config], fit_arm(label, rows, x, chosen, loss, single=single))
        pairs.setdefault(config, []).append(pair)
        setting = _setting(rows, matched)
        matching = paired or single
        arms.append(_arm_gap(*pair, setting, x=x, delta=delta, chosen=chosen, paired=matching))
    if not arms:
        raise InputError(f"{source}: no noisy arm has a clean run of the same {', '.join(matched)}")

    def compared(among: Sequence[tuple[Arm, Arm]]) -> tuple[Asymmetry, ExchangeRate]:
        return (
            asymmetry_of([arm for _, arm in among], x, paired=paired),
            exchange_rate_of(among, np.random.default_rng(seed)),
        )

    settings = tuple(
        SettingGap(_setting(among[0][1].rows, matched), *compared(among))
        for among in pairs.values()
    )
    asymmetry, exchange_rate = (
        (settings[0].asymmetry, settings[0].exchange_rate)
        if len(settings) == 1
        else compared([pair for among in pairs.values() for pair in among])
    )
    return GapReport(
        arms=tuple(arms),
        asymmetry=asymmetry,
        exchange_rate=exchange_rate,
        settings=settings,
        delta=delta,
        x=x,
        law=chosen.name,
        loss=loss,
        notes=tuple(notes),
    )


def _with_axis(frame: pd.DataFrame, x: str, source: str) -> tuple[pd.DataFrame, str, list[str]]:
    """The compute column, and a stand-in where every run has one row and none was logged."""
    if x not in frame.columns and not frame["run_id"].duplicated().any():
        note = f"no column {x}, and one row per run: every run counts as one budget"
        return frame.assign(**{x: 1.0}), x, [note]
    need_columns(frame, x, purpose="the gap against compute", source=source)
    refuse_same_axis(x, "accuracy", source=source)
    return frame.assign(**{x: check_numbers(frame, x, source=source)}), x, []


def _matched(
    frame: pd.DataFrame,
    is_clean: NDArray[np.bool_],
    clean: Selection,
    group: str | None,
    source: str,
) -> list[str]:
    """The columns in which an arm and its clean runs must agree, of those that vary.

    The setting's, but for those at which --clean itself holds the reference; and those that --group names,
    where the clean runs vary in them (in a column that only the noisy runs have values of, none would agree).
    """
    chosen = {c.column for conjunction in clean.alternatives for c in conjunction}
    named = [] if group is None else named_columns(frame, group, source=source)
    differs = varying(frame[is_clean], [*SETTING, *named])
    apart = [n for n in named if n in differs and n not in ("arm", "run_id", "seed", *VERIFIER)]
    setting = [n for n in varying(frame, SETTING) if n in differs or n not in chosen]
    return list(dict.fromkeys([*setting, *apart]))


def _setting(rows: pd.DataFrame, matched: Sequence[str]) -> Setting:
    """The values that all `rows` have in the columns `matched`."""
    values = {name: rows[name].iloc[0] for name in matched}
    return {
        name: None if pd.isna(value) else value.item() if isinstance(value, np.generic) else value
        for name, value in values.items()
    }


def setting_in_words(setting: Setting) -> str:
    """A setting for people, "" where nothing varies."""
    return ", ".join(
        f"{name}={'(empty)' if value is None else value}" for name, value in setting.items()
    )


def _pooled_clean_arms(references: Iterable[pd.DataFrame], matched: Sequence[str]) -> list[str]:
    """What to say where one reference is made of several clean arms."""
    said: list[str] = []
    for rows in references:
        if not varying(rows, ["arm"]):
            continue
        names = ", ".join(str(name) for name in rows["arm"].unique())
        spoken = setting_in_words(_setting(rows, matched))
        said.append(
            f"the clean runs{' with ' + spoken if spoken else ''} are of several arms, pooled ({names}): a"
            " column that tells them apart, named in --group, or --clean arm=… holds them apart"
        )
    return said


def _by_configuration(
    frame: pd.DataFrame, matched: Sequence[str]
) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """Rows by the values of `matched`, ascending; as text so that an empty cell equals an empty cell."""
    for _, rows in frame.groupby(list(matched), dropna=False):
        yield tuple(str(rows[name].iloc[0]) for name in matched), rows


def _no_clean(frame: pd.DataFrame, clean: Selection, source: str) -> str:
    missing = {c.column for conjunction in clean.alternatives for c in conjunction} - set(
        frame.columns
    )
    why = (
        f"there is no column {', '.join(sorted(missing))}"
        if missing
        else f"no row satisfies it ({values_there(frame, clean)})"
    )
    message = (
        f"{source}: no clean arm by --clean {clean.text}, since {why}: without one there is no gap to"
        " measure; still possible: `verigap fit` for each arm"
    )
    if {"fpr", "fnr"} <= set(frame.columns) and frame[["fpr", "fnr"]].notna().all(axis=None):
        total = frame["fpr"] + frame["fnr"]
        least = frame.iloc[int(total.to_numpy().argmin())]
        message += (
            ", or the gap relative to the least noisy arm with"
            f" --clean fpr={least['fpr']:g},fnr={least['fnr']:g}"
        )
    elif "arm" in frame.columns:
        names = [str(name) for name in frame["arm"].unique()]
        first = next((name for name in names if "clean" in name.lower()), names[0])
        message += f", or a gap relative to an arm named by --clean arm={first} (there are: {', '.join(names[:8])})"
    else:
        message += ", or name the clean runs with --manifest, --set fpr=0,fnr=0 or --clean run_id=…"
    return message


def _choose_law(name: str, curves: Sequence[pd.DataFrame], x: str, loss: str) -> Law:
    """One law for every arm, so that what a law gets wrong about asymptotes cancels in the gap."""
    if name != "auto":
        return curve_law(name)
    laws = [law for law in CURVE_LAWS if law.has_asymptote]
    totals = dict.fromkeys((law.name for law in laws), 0.0)
    compared = False
    for rows in curves:
        curve = curve_of(rows, x)
        one_loss = loss_for(loss, *curve, law=laws[0])
        x_N, y_N, n_eval = curve
        scores = {
            law.name: fit_curve(
                x_N, y_N, n_eval=n_eval, law=law, loss=one_loss, forecast=False
            ).aicc
            for law in laws
        }
        known = {name: score for name, score in scores.items() if score is not None}
        # A curve too short for one of the laws has no say between them.
        if len(known) == len(laws):
            compared = True
            totals = {name: totals[name] + score for name, score in known.items()}
    return curve_law(min(totals, key=lambda key: totals[key])) if compared else laws[0]


def _arm_gap(
    clean: Arm, noisy: Arm, setting: Setting, *, x: str, delta: float, chosen: Law, paired: bool
) -> ArmGap:
    x_max = min(float(clean.rows[x].max()), float(noisy.rows[x].max()))
    at_x_max = difference(level_at(clean, x, x_max), level_at(noisy, x, x_max), paired=paired)
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
    if both and verdict == "closes" and verdict_of(at_x_max.ci, delta) == "persists":
        reasons.append(
            f"closes if the curves go on as the {chosen.name} law does: at {x} = {x_max:.4g}, the largest"
            f" budget, the gap is {at_x_max.estimate:+.4f}, and its interval still above {delta:g}"
        )
    return ArmGap(
        arm=noisy.label,
        setting=setting,
        verdict=verdict,
        floor=floor.estimate,
        floor_ci=floor.ci,
        basis="asymptote" if both else "largest budget",
        reason="; ".join(reasons),
        would_settle_it=settle(
            floor,
            delta,
            clean,
            noisy,
            x=x,
            at=x_max,
            undetermined=verdict == "undetermined",
            asymptote=both,
            unlearned=unlearned,
        ),
        seeds=floor.count,
        x_max=x_max,
        gap_at_x_max=at_x_max.estimate,
        fpr=noisy.rate("fpr"),
        fnr=noisy.rate("fnr"),
        curve=_paired_curve(clean, noisy, x, paired=paired),
        gap_at_x_max_ci=at_x_max.ci,
    )


def _replication(clean: Arm, noisy: Arm, floor: Difference, *, paired: bool) -> list[str]:
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


def _nothing_learned(arm: Arm, x: str) -> bool:
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
    if not usable(arm.fit):
        return True
    residual_N = _within(y_N - arm.fit.predict(arm.rows[x].to_numpy(np.float64)), unit)
    return float(dy_N.std()) <= 1.2 * float(residual_N.std()) + 1e-9


def _within(values_N: FloatArray, unit: pd.Series[str]) -> FloatArray:
    """Values less the mean of their unit, (N,)."""
    values = pd.Series(values_N, index=unit.index)
    return (values - values.groupby(unit).transform("mean")).to_numpy(np.float64)


def _evaluation_noise(clean: Arm, noisy: Arm, x_max: float) -> list[str]:
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


def _paired_curve(clean: Arm, noisy: Arm, x: str, *, paired: bool) -> tuple[GapPoint, ...]:
    """The gap at every budget that both arms were evaluated at."""
    points: list[GapPoint] = []
    ours, theirs = by_budget(clean, x), by_budget(noisy, x)
    for at, first in ours.items():
        if at in theirs:
            at_x = difference(first, theirs[at], paired=paired)
            points.append(GapPoint(at, at_x.estimate, at_x.ci, at_x.count))
    return tuple(points)
