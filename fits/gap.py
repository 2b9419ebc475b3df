"""The accuracy gap of a noisy verifier: how wide it is, does it close, at what floor, and what would settle it.

Law. An arm is held against the clean runs of its own setting: those that share everything but the
verifier (model, estimator, group size, prompts per step). Arms are matched: runs of one seed see the same
prompts, so the gap g_s = accuracy(clean) - accuracy(noisy) is taken within seeds and its interval is
Student's t over seeds. What is measured comes first: the gap at the largest common budget, and its change over the
last doubling of compute. The floor is that of the asymptotes where both are identified and some law fits the
measured gap (`fits.floors`), else the gap at that budget, and then the verdict is about that budget only. With delta
the smallest gap of interest: closes when the upper 95 % limit of the floor is below delta and the measured end
does not say otherwise, persists when the lower is above, else undetermined.
Fails first when seeds do not match arms (another prompt order): pairing then costs power, not truth.
Source: docs/contract.md#verdicts; t over seeds rather than a bootstrap, which over 3 seeds covers 76 %.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fits.arms import (
    Arm,
    Difference,
    Matched,
    common_end,
    difference,
    difference_at,
    fit_arms,
    floor_between,
    inside,
    level_at,
    matched,
    usable,
)
from fits.asymmetry import Asymmetry, MirrorPair, asymmetry_of
from fits.errors import InputError
from fits.exchange import (
    ExchangeAt,
    ExchangeRate,
    Multiplier,
    PerPoint,
    Priced,
    exchange_rate_of,
    price,
)
from fits.fit import check_loss, group_rows, named_columns, refuse_same_axis, turn_in_words
from fits.floors import floor_under_laws
from fits.frontier import FrontierArm, frontier_of
from fits.inference import Interval, least_gap_variance, student_interval
from fits.laws import CURVE_LAWS, FloatArray, curve_law
from fits.selection import Selection, select, values_there
from fits.settle import Settle, seeds_needed, settle
from fits.table import SETTING, VERIFIER, alike, check_numbers, need_columns, varying

__all__ = [
    "ArmGap",
    "Asymmetry",
    "Difference",
    "ExchangeAt",
    "ExchangeRate",
    "GapPoint",
    "GapReport",
    "Lever",
    "MirrorPair",
    "Multiplier",
    "PerPoint",
    "SettingGap",
    "Settle",
    "Verdict",
    "arm_gap",
    "chance_in_words",
    "floor_between",
    "gap_report",
    "seeds_needed",
    "setting_in_words",
    "verdict_in_words",
    "verdict_of",
    "with_interval",
]

Verdict = Literal["closes", "persists", "undetermined"]
Lever = Literal["verifier", "compute", "undetermined"]
Setting = Mapping[str, str | int | float | None]


@dataclass(frozen=True)
class GapPoint:
    """The paired gap at one budget: mean over seeds, and its 95 % t interval (None with one seed).

    accuracy: of the noisy arm, mean over the seeds compared; the clean arm's is gap above it.
    """

    x: float
    gap: float
    ci: Interval | None
    seeds: int
    accuracy: float


@dataclass(frozen=True)
class ArmGap:
    """One noisy arm against its clean arm.

    setting: what the arm shares with its clean runs and not with every other arm, by column.
    end: accuracy lost (clean minus noisy) at x_max, the largest budget that both reached: measured, but where `reason`
    says that a law stands in for evaluations. trend: its change over the last doubling of compute, below 0 where it
    narrows. doubling: what that doubling added to the arm's own accuracy. lever_ci: of `end` less `doubling`. lever:
    "verifier" where a clean verifier adds more than that doubling did, "compute" where it adds less, else undetermined;
    None where no doubling was seen. horizon: what verdict and floor speak of, "asymptote" or that budget. floor: the
    gap there. laws: which took part in it, none where it is measured. All intervals are 95 % t intervals over seeds (of
    the floor: their hull over laws), None where `reason` says why.
    """

    arm: str
    setting: Setting
    verdict: Verdict
    horizon: Literal["asymptote"] | float
    end: float
    end_ci: Interval | None
    trend: float | None
    trend_ci: Interval | None
    floor: float
    floor_ci: Interval | None
    laws: tuple[str, ...]
    reason: str
    would_settle_it: Settle | None
    seeds: int
    x_max: float
    fpr: float | None
    fnr: float | None
    noise: str | None = None  # the kind of its errors, where the table says and it is one
    effective_rollouts: float | None = None  # measured; see `fits.rollouts`
    effective_rollouts_ci: Interval | None = None
    effective_rollouts_reason: str = ""  # why there is none, or no interval
    doubling: float | None = None
    doubling_ci: Interval | None = None
    lever: Lever | None = None
    lever_ci: Interval | None = None
    curve: tuple[GapPoint, ...] = ()

    @property
    def basis(self) -> Literal["asymptote", "largest budget"]:
        """The horizon in words."""
        return "asymptote" if self.horizon == "asymptote" else "largest budget"


@dataclass(frozen=True)
class SettingGap:
    """The asymmetry test and the exchange rate among the arms of one setting (see ArmGap)."""

    setting: Setting
    asymmetry: Asymmetry
    exchange_rate: ExchangeRate


@dataclass(frozen=True)
class GapReport:
    """Every arm's gap, the asymmetry test and the exchange rate; `law` and `loss` are those used throughout.

    asymmetry, exchange_rate: over the arms of all settings together. settings: within each, ascending. frontier: the
    best group size at each budget, where it was asked for. provenance: what is to be said of runs that are compared
    and were not made alike (`fits.table.alike`).
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
    frontier: tuple[FrontierArm, ...] = ()
    provenance: tuple[str, ...] = ()


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


def with_interval(value: float | None, ci: Interval | None) -> str:
    """A gap and its interval for people."""
    if value is None:
        return "–"
    return f"{value:+.4f}" if ci is None else f"{value:+.4f} [{ci[0]:+.4f}, {ci[1]:+.4f}]"


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
    frontier: bool = False,
    source: str = "the table",
) -> GapReport:
    """The gap of every noisy arm of a run table against its clean arm.

    clean: which rows are the clean arm; a column of the setting (`fits.table.SETTING`) that it names,
    and holds at one value, is the reference for arms of every value of it. delta: smallest gap of
    interest, accuracy. x: compute column. group: columns that make an arm (default: see
    `fits.fit.group_rows`); one that the clean runs vary in, though it is none of the verifier's, is part
    of the setting. law: one law for all arms, or "auto" for any that its curve does not rule out
    (`fits.floors`). loss: see `fits.fit.check_loss`. seed: of the draws behind the exchange rate's intervals.
    frontier: also compare arms at the best group size of either, at each budget.
    Raises InputError naming a missing column, a delta outside (0, 1), or the lack of a clean arm.
    """
    if not 0.0 < delta < 1.0:
        raise InputError(f"delta must lie in (0, 1), got {delta:g}")
    provenance = alike(frame)
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
    matched_by = _matched(frame, is_clean, clean, group, source)
    references: dict[tuple[str, ...], pd.DataFrame] = (
        dict(_by_configuration(frame[is_clean], matched_by))
        if matched_by
        else {(): frame[is_clean]}
    )
    if "group_size" in varying(frame, ["group_size"]) and "group_size" not in named:
        notes.append(
            "equal rollouts at another group size is another number of steps, no comparison of verifiers: arms are"
            " held against clean runs of their own group size; --frontier compares the best group size at each budget"
        )
    notes += _pooled_clean_arms(references.values(), matched_by)
    held: list[tuple[str, pd.DataFrame, tuple[str, ...]]] = []
    # Whatever --group says: an arm is of one setting.
    apart = list(dict.fromkeys([*varying(frame, SETTING), *matched_by]))
    for label, rows in group_rows(frame[~is_clean], group, apart=apart, source=source):
        config = tuple(str(rows[name].iloc[0]) for name in matched_by)
        if config in references:
            held.append((label, rows, config))
            continue
        spoken = setting_in_words(_setting(rows, matched_by))
        notes.append(f"{label}: no clean run with {spoken} to hold it against: left out")
    # Arms of one setting stand together, in the order of the settings.
    order = list(references)
    held.sort(key=lambda one: order.index(one[2]))
    if not held:
        raise InputError(
            f"{source}: no noisy arm has a clean run of the same {', '.join(matched_by)}"
        )
    used = list(dict.fromkeys(config for _, _, config in held))
    laws = CURVE_LAWS if law == "auto" else (curve_law(law),)

    def alone(rows: pd.DataFrame) -> bool:
        return not paired and rows["run_id"].nunique() == 1

    single = {
        config: alone(references[config]) and all(alone(rows) for _, rows, c in held if c == config)
        for config in used
    }
    fitted = fit_arms(
        [
            *(("clean", references[config], single[config]) for config in used),
            *((label, rows, single[config]) for label, rows, config in held),
        ],
        x,
        laws,
        loss,
    )
    clean_arms = dict(zip(used, fitted, strict=False))
    arms: list[ArmGap] = []
    prices: dict[tuple[str, ...], list[Priced]] = {}
    for noisy, (_, rows, config) in zip(fitted[len(used) :], held, strict=True):
        pair = (clean_arms[config], noisy)
        prices.setdefault(config, []).append(price(*pair, seed))
        setting = _setting(rows, matched_by)
        arms.append(arm_gap(*pair, setting, delta=delta, paired=paired or single[config]))

    arms = [
        _with_rollouts(arm, rows, frame[is_clean], matched_by)
        for arm, (_, rows, _) in zip(arms, held, strict=True)
    ]

    def compared(among: Sequence[Priced]) -> tuple[Asymmetry, ExchangeRate]:
        return (
            asymmetry_of([one.noisy for one in among], paired=paired),
            exchange_rate_of(among),
        )

    settings = tuple(
        SettingGap(_setting(among[0].noisy.rows, matched_by), *compared(among))
        for among in prices.values()
    )
    asymmetry, exchange_rate = (
        (settings[0].asymmetry, settings[0].exchange_rate)
        if len(settings) == 1
        else compared([one for among in prices.values() for one in among])
    )
    return GapReport(
        arms=tuple(arms),
        asymmetry=asymmetry,
        exchange_rate=exchange_rate,
        settings=settings,
        delta=delta,
        x=x,
        law=fitted[0].fit.law.name,
        loss=loss,
        notes=tuple(notes),
        frontier=frontier_of(frame[is_clean], frame[~is_clean], x, source=source)
        if frontier
        else (),
        provenance=provenance,
    )


def _with_rollouts(
    arm: ArmGap, rows: pd.DataFrame, clean: pd.DataFrame, matched: Sequence[str]
) -> ArmGap:
    """The arm with its measured effective rollouts, or why it has none."""
    from fits.rollouts import clean_alike, measured_rollouts

    missing = [name for name in ("step", "group_size") if name not in rows.columns]
    if missing:
        return dataclasses.replace(arm, effective_rollouts_reason=f"no column {', '.join(missing)}")
    found = measured_rollouts(rows, clean_alike(rows, clean, matched))
    return dataclasses.replace(
        arm,
        effective_rollouts=found.value,
        effective_rollouts_ci=found.ci,
        effective_rollouts_reason=found.reason,
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


def arm_gap(clean: Arm, noisy: Arm, setting: Setting, *, delta: float, paired: bool) -> ArmGap:
    """One noisy arm against its clean arm, all but what compares arms with each other."""
    x = clean.axis
    x_max = common_end(clean, noisy, paired=paired)
    end, _, by_law = difference_at(clean, noisy, x_max, paired=paired)
    last = _last_doubling(clean, noisy, x_max, paired=paired)
    trend = trend_ci = own = own_ci = lever = lever_ci = None
    if isinstance(last, _Doubling):
        trend, trend_ci = _trend(last)
        own, own_ci, lever, lever_ci = _lever(last, end)
    reasons = _collapses(clean, noisy)
    identified = clean.own.identified and noisy.own.identified
    has_asymptote = clean.own.law.has_asymptote and noisy.own.law.has_asymptote
    under = (
        floor_under_laws(clean, noisy, end, at=x_max, delta=delta, paired=paired)
        if identified and has_asymptote
        else None
    )
    floor = end if under is None or under.gap is None else under.gap
    asymptote = floor is not end
    if not asymptote:
        why = (
            "no law that both curves allow fits the gap"
            if under is not None
            else _unidentified(clean, noisy)
        )
        reasons.append(f"about {x} = {x_max:.4g} only: {why}")
    if by_law:
        reasons.append(f"not measured at {x} = {x_max:.4g}: {by_law}")
    if under is not None:
        reasons += under.said
    reasons += _replication(clean, noisy, end, paired=paired)
    if end.ci is None:
        reasons += _evaluation_noise(clean, noisy, x_max)
    if isinstance(last, str):
        reasons.append(f"no trend: {last}")
    unlearned = _nothing_learned(clean, x)
    verdict = "undetermined" if unlearned else verdict_of(floor.ci, delta)
    if unlearned:
        reasons.append(
            "the clean arm neither rises nor falls by more than its noise: nothing was learned that"
            " noise could cost"
        )
    elif verdict == "closes" and (doubt := _not_closed(clean, noisy, end, delta, x_max, asymptote)):
        verdict = "undetermined"
        reasons.append(doubt)
    return ArmGap(
        arm=noisy.label,
        setting=setting,
        verdict=verdict,
        horizon="asymptote" if asymptote else x_max,
        end=end.estimate,
        end_ci=end.ci,
        trend=trend,
        trend_ci=trend_ci,
        doubling=own,
        doubling_ci=own_ci,
        lever=lever,
        lever_ci=lever_ci,
        floor=floor.estimate,
        floor_ci=floor.ci,
        laws=under.laws if under is not None and asymptote else (),
        reason="; ".join(reasons),
        would_settle_it=settle(
            floor,
            delta,
            clean,
            noisy,
            at=x_max,
            undetermined=verdict == "undetermined",
            asymptote=asymptote,
            unlearned=unlearned,
        ),
        seeds=end.count,
        x_max=x_max,
        fpr=noisy.rate("fpr"),
        fnr=noisy.rate("fnr"),
        noise=noisy.noise,
        curve=_paired_curve(clean, noisy, paired=paired),
    )


def _collapses(clean: Arm, noisy: Arm) -> list[str]:
    """What is said before anything else: which arm fell back, and where."""
    return [
        f"the {which} arm is {turn_in_words(arm.own.turn, len(arm.own.runs))}"
        for which, arm in (("clean", clean), ("noisy", noisy))
        if arm.own.turn is not None
    ]


def _unidentified(clean: Arm, noisy: Arm) -> str:
    """Why there is no asymptote to speak of."""
    if clean.rows[clean.axis].nunique() == 1 and noisy.rows[noisy.axis].nunique() == 1:
        return "one evaluation per run shows no curve"
    which, fit = ("clean", clean.own) if not clean.own.identified else ("noisy", noisy.own)
    if fit.turn is not None:
        return f"the {which} arm has no asymptote"
    return f"the {which} arm's asymptote is not identified ({fit.reason or 'the law has none'})"


@dataclass(frozen=True)
class _Doubling:
    """What two arms share, and the last doubling of compute: half of the end lies between `before` and `after`."""

    shared: Matched
    before: int
    after: int
    share: float

    def change(self, level_ST: FloatArray) -> FloatArray:
        """Accuracy at the end less that at half of it, (S,): the line between the evaluations on both sides."""
        then_S = (1.0 - self.share) * level_ST[:, self.before]
        return level_ST[:, -1] - then_S - self.share * level_ST[:, self.after]


def _last_doubling(clean: Arm, noisy: Arm, end: float, *, paired: bool) -> _Doubling | str:
    """The last doubling of compute before `end`, or why none was seen."""
    shared = matched(clean, noisy, paired=paired, end=end)
    if shared is None or len(shared.x_T) < 2 or shared.x_T[-1] != end:
        return "the arms share no two budgets"
    half = 0.5 * end
    if shared.x_T[0] > half:
        return f"no evaluation of both arms at or before {clean.axis} = {half:.4g}"
    after = int(np.searchsorted(shared.x_T, half))
    before = max(after - (shared.x_T[after] > half), 0)
    span = float(shared.x_T[after] - shared.x_T[before])
    share = 0.0 if span == 0.0 else float(half - shared.x_T[before]) / span
    return _Doubling(shared, before, after, share)


def _trend(last: _Doubling) -> tuple[float, Interval | None]:
    """The gap at the end less the gap at half of it, with its interval."""
    shared = last.shared
    if shared.paired:
        least = 0.0
        if shared.samples_ST is not None:
            both = (shared.first_ST - shared.second_ST)[:, [last.before, -1]]
            samples = shared.samples_ST[:, [last.before, -1]]
            least = float(least_gap_variance(both, samples).sum(axis=1).mean())
        change = last.change(shared.first_ST) - last.change(shared.second_ST)
        mean, ci = student_interval(change, least=least)
        return mean, inside(ci)
    first, second = (
        dict(zip(units, last.change(level_ST).tolist(), strict=True))
        for units, level_ST in (
            (shared.units, shared.first_ST),
            (shared.second_units, shared.second_ST),
        )
    )
    moved = difference(first, second, paired=False)
    return moved.estimate, moved.ci


def _lever(
    last: _Doubling, end: Difference
) -> tuple[float, Interval | None, Lever, Interval | None]:
    """What the last doubling added to the noisy arm, with its interval; and whether a clean verifier adds more.

    More or less is shown only where the interval of the difference lies to one side of 0 and the lever itself adds.
    """
    shared = last.shared
    own_S = last.change(shared.second_ST)
    own, own_ci = student_interval(own_S)
    own_ci = inside(own_ci)
    if shared.paired:
        clean_S, noisy_S = shared.first_ST[:, -1], shared.second_ST[:, -1]
        _, ci = student_interval(clean_S - noisy_S - own_S, least=end.least)
        ci = inside(ci)
    else:
        ours = dict(zip(shared.units, shared.first_ST[:, -1].tolist(), strict=True))
        moved = (shared.second_ST[:, -1] + own_S).tolist()
        theirs = dict(zip(shared.second_units, moved, strict=True))
        ci = difference(ours, theirs, paired=False).ci
    lever: Lever = "undetermined"
    if ci is not None and ci[0] > 0.0 and end.ci is not None and end.ci[0] > 0.0:
        lever = "verifier"
    elif ci is not None and ci[1] < 0.0 and own_ci is not None and own_ci[0] > 0.0:
        lever = "compute"
    return own, own_ci, lever, ci


# A clean arm that made less than this share of its rise over the last doubling has done with rising.
LEVELLED: Final = 0.1


def _not_closed(
    clean: Arm, noisy: Arm, end: Difference, delta: float, at: float, asymptote: bool
) -> str:
    """Why a floor whose interval lies below delta is no gap closed; "" where it is."""
    x = clean.axis
    if asymptote:
        if end.ci is None or end.ci[0] <= delta:
            return ""
        return (
            f"the laws let the gap close, the measurement does not show it: at {x} = {at:.4g} it is"
            f" {end.estimate:+.4f}, its whole interval above {delta:g}"
        )
    if clean.own.turn is not None or noisy.own.turn is not None:
        return f"below {delta:g} at {x} = {at:.4g}, of arms of which one fell back"
    x_T, level_T = clean.evaluations.x_T, clean.evaluations.mean()
    if len(x_T) == 1:
        return ""
    half, last = (float(np.interp(place, x_T, level_T)) for place in (0.5 * at, at))
    first = float(level_T[0])
    if abs(last - half) < LEVELLED * abs(last - first):
        return ""
    return (
        f"below {delta:g} at {x} = {at:.4g}, but the clean arm still rises: by {last - half:+.4f} over"
        " the last doubling, so the gap may open yet"
    )


def _replication(clean: Arm, noisy: Arm, floor: Difference, *, paired: bool) -> list[str]:
    """How the interval came about, wherever that is not one pair for every seed of both arms."""
    ours, theirs = set(clean.fit.runs), set(noisy.fit.runs)
    shared = len(ours & theirs)
    used = floor.count
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
    elif used < shared:
        said.append(f"{shared - used} of {shared} matched seeds stopped earlier and are left out")
    if floor.ci is None and floor.count < 2:
        said.append("no interval: one matched seed shows no spread between seeds")
    elif floor.ci is None:
        said.append(
            "no interval: the seeds differ by exactly the same, and no n_eval says how finely they were measured"
        )
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


def _paired_curve(clean: Arm, noisy: Arm, *, paired: bool) -> tuple[GapPoint, ...]:
    """The gap at every budget that both arms were evaluated at."""
    points: list[GapPoint] = []
    for at in np.intersect1d(clean.evaluations.x_T, noisy.evaluations.x_T).tolist():
        here, per_unit, _ = difference_at(clean, noisy, at, paired=paired)
        levels, _ = level_at(noisy, at)
        accuracy = float(np.mean([levels[unit] for unit in per_unit or levels]))
        points.append(GapPoint(at, here.estimate, here.ci, here.count, accuracy))
    return tuple(points)
