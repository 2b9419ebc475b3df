"""What is asked of the campaign: predictions of docs/theory.md and published claims, as hypotheses about contrasts.

Law. All contrasts are paired: runs of one seed share prompts, sampling and the uniforms behind the flips, so that a
seed gives one number and the rest (warm start, task, model) cancels. Arms are compared at equal steps and at
one group size; group sizes are compared within seeds.
Fails first beyond this model and task: seeds share one warm start, so no interval here speaks of another one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd

from fits.hypotheses import (
    LEAST_UNITS,
    Estimate,
    Finding,
    Hypothesis,
    Part,
    estimate,
    judge,
)
from fits.laws import FloatArray
from paper.public_data import Derived

__all__ = [
    "DELTA",
    "JUST_CLOCK",
    "Curves",
    "Gap",
    "Question",
    "Steps",
    "ask",
    "ask_real_groups",
    "by_condition",
    "gaps",
    "over_training",
    "steps_between",
]

DELTA: Final = 0.01  # smallest difference of interest, accuracy
PATH: Final = 0.05  # the same of a path, relative
RATES: Final = ("0.2", "0.4", "0.6")
FP: Final = tuple(f"fpr{rate}" for rate in RATES)
FN: Final = tuple(f"fnr{rate}" for rate in RATES)
# Arms whose errors are independent of everything and J > 0, trained by grpo.
BOTH: Final = ("both0.2", "both0.4")
JUST_CLOCK: Final = (*FP, *FN, *BOTH)
KINDS: Final = {"a": ("false positives", FP), "b": ("false negatives", FN), "c": ("both", BOTH)}
# Climbs, from accuracy (None: the start) to accuracy: below all crossovers docs/theory.md names but one, and above all.
EARLY: Final = (None, 0.45)
LATE: Final = (0.60, 0.75)
PATH_AT: Final = (0.45, 0.55, 0.65)
MIDDLE: Final = 100  # step from which a gap is asked whether it shrinks

DR_GRPO: Final = (("drgrpo-fpr0.4",), ("drgrpo-fnr0.4",))
EQUAL_J: Final = (
    ("fpr0.2", "fnr0.2"),
    ("fpr0.4", "fnr0.4"),
    ("both0.2", "fpr0.4"),
    ("both0.2", "fnr0.4"),
    ("fpr0.6", "fnr0.6"),
)
CORRECTIONS: Final = ("backward, J > 0", "backward, J < 0, against the sign turned", "forward")

Series = Mapping[str, float]


@dataclass(frozen=True)
class Curves:
    """Accuracy of every arm and group size: {(arm, group size): seeds x steps}."""

    accuracy: Mapping[tuple[str, int], pd.DataFrame]

    @staticmethod
    def of(frame: pd.DataFrame) -> Curves:
        """From a run table with arm, group_size, seed, step and accuracy."""
        return Curves(by_condition(frame, "accuracy"))

    @property
    def group_sizes(self) -> list[int]:
        """Ascending."""
        return sorted({size for _, size in self.accuracy})

    def difference(self, plus: Sequence[str], minus: Sequence[str], size: int) -> pd.DataFrame:
        """Mean over pairs of arms of accuracy(plus) - accuracy(minus), seeds x steps.

        Only seeds that every arm has; empty where an arm is missing.
        """
        pairs = [(self.accuracy.get((p, size)), self.accuracy.get((m, size)))
                 for p, m in zip(plus, minus, strict=True)]  # fmt: skip
        total = pd.DataFrame()
        for place, (first, second) in enumerate(pairs):
            if first is None or second is None:
                return pd.DataFrame()
            one = (first - second).dropna(how="all").dropna(axis=1)
            total = one if place == 0 else (total + one).dropna(how="all").dropna(axis=1)
        return total / len(pairs)


@dataclass(frozen=True)
class Steps:
    """Per-step logs: entropy of the policy (nats a token), {(arm, group size): seeds x steps}."""

    entropy: Mapping[tuple[str, int], pd.DataFrame]


@dataclass(frozen=True)
class Question:
    """One prediction or claim, what was compared, the verdict, and what it cannot show.

    unit: of the estimates.
    """

    key: str
    title: str
    source: str
    claim: str
    compared: str
    unit: str
    limits: str
    finding: Finding


@dataclass(frozen=True)
class Gap:
    """Accuracy lost by an arm against its clean arm: over training and at the last step."""

    arm: str
    group_size: int
    over_training: Estimate
    end: Estimate


def by_condition(frame: pd.DataFrame, column: str) -> dict[tuple[str, int], pd.DataFrame]:
    """A column of runs with arm, group_size, seed and step: {(arm, group size): seeds x steps}."""
    frame = frame.assign(seed=frame["seed"].astype(str))
    return {
        (str(arm), int(str(size))): rows.pivot_table(index="seed", columns="step", values=column)
        for (arm, size), rows in frame.groupby(["arm", "group_size"])
    }


def over_training(curve: pd.DataFrame) -> Series:
    """Time average from the first to the last step, trapezoidal; {seed: value}."""
    steps = curve.columns.to_numpy(np.float64)
    means = np.trapezoid(curve.to_numpy(np.float64), steps, axis=1) / (steps[-1] - steps[0])
    return dict(zip(curve.index.tolist(), means.tolist(), strict=True))


def at_end(curve: pd.DataFrame) -> Series:
    """The last step; {seed: value}."""
    return dict(zip(curve.index.tolist(), curve.iloc[:, -1].tolist(), strict=True))


WINDOWS: Final = {"over training": over_training, "end": at_end}


def since(curve: pd.DataFrame, step: int) -> Series:
    """Last step minus `step`; {seed: value}."""
    change = curve.iloc[:, -1] - curve[step]
    return dict(zip(curve.index.tolist(), change.tolist(), strict=True))


def steps_between(curve: pd.DataFrame, low: float | None, high: float) -> Series:
    """Steps a seed takes from accuracy `low` (None: from the start) to `high`; seeds that arrive only.

    Curves are made monotone by their running maximum and are straight between evaluations.
    """
    steps = curve.columns.to_numpy(np.float64)
    found: dict[str, float] = {}
    for seed, row in zip(curve.index.tolist(), curve.to_numpy(np.float64), strict=True):
        rising = np.maximum.accumulate(row)
        if rising[-1] < high or (low is not None and rising[0] > low):
            continue
        begin = float(steps[0]) if low is None else _arrival(steps, rising, low)
        found[seed] = _arrival(steps, rising, high) - begin
    return found


def _arrival(steps: FloatArray, rising: FloatArray, level: float) -> float:
    """The step at which a curve that never falls first reaches a level that it does reach."""
    k = int((rising >= level).argmax())
    if k == 0:
        return float(steps[0])
    share = (level - rising[k - 1]) / (rising[k] - rising[k - 1])
    return float(steps[k - 1] + share * (steps[k] - steps[k - 1]))


def _log_ratio(first: Series, second: Series) -> Series:
    return {
        seed: float(np.log(first[seed] / second[seed]))
        for seed in first
        if seed in second and first[seed] > 0.0 and second[seed] > 0.0
    }


def _mean_of(series: Sequence[Series]) -> Series:
    """Mean over the series, of the units that all of them have."""
    shared = set.intersection(*(set(one) for one in series)) if series else set()
    return {unit: float(np.mean([one[unit] for one in series])) for unit in sorted(shared)}


def _part(
    curves: Curves, values: Callable[[int], Series], claim: Hypothesis, name: str = ""
) -> list[Part]:
    """One hypothesis: each group size with any seed, and their average; none where there are no such runs.

    The average is over the group sizes with seeds enough, within the seeds that they share: a seed gives
    one number, as everywhere.
    """
    series = {size: found for size in curves.group_sizes if (found := values(size))}
    head = f"{name}: " if name else ""
    each = [estimate(f"{head}{size} rollouts", found) for size, found in series.items()]
    if len(each) < 2:
        return [Part(claim, one) for one in each]
    enough = {s: found for s, found in series.items() if len(found) >= LEAST_UNITS}
    pooled = _mean_of(list((enough or series).values()))
    if not pooled:
        return []
    sizes = ", ".join(str(size) for size in enough or series)
    return [Part(claim, estimate(f"{head}mean of {sizes} rollouts", pooled), tuple(each))]


def _every(*parts: Sequence[Part]) -> Finding:
    """The verdict on a claim with several parts, of which none may be missing."""
    return judge([part for own in parts for part in own] if all(parts) else [])


def _reduced(
    curves: Curves,
    plus: Sequence[str],
    minus: Sequence[str],
    reduce: Callable[[pd.DataFrame], Series],
) -> Callable[[int], Series]:
    """The contrast of two sets of arms at a group size, reduced to a number a seed."""

    def values(size: int) -> Series:
        curve = curves.difference(plus, minus, size)
        return {} if curve.empty else reduce(curve)

    return values


def gaps(curves: Curves) -> tuple[Gap, ...]:
    """Every noisy arm against the clean arm of its estimator."""
    found: list[Gap] = []
    for size in curves.group_sizes:
        for arm in [arm for arm, own in curves.accuracy if own == size and "clean" not in arm]:
            clean = "drgrpo-clean" if arm.startswith("drgrpo-") else "clean"
            curve = curves.difference([clean], [arm], size)
            if not curve.empty:
                label = f"{arm}, {size} rollouts"
                found.append(
                    Gap(
                        arm,
                        size,
                        estimate(label, over_training(curve)),
                        estimate(label, at_end(curve)),
                    )
                )
    return tuple(found)


def _growth(curves: Curves, arm: str, begin: int | None) -> Callable[[int], Series]:
    """Accuracy gained by an arm from step `begin` (None: the first) to the last."""

    def values(size: int) -> Series:
        curve = curves.accuracy.get((arm, size))
        if curve is None:
            return {}
        whole = curve.dropna(axis=1)
        return since(whole, int(whole.columns[0]) if begin is None else begin)

    return values


def ask(curves: Curves, steps: Steps) -> tuple[Question, ...]:
    """Every question that the campaign can be asked; those it cannot answer say so."""
    return (*_predictions(curves, steps), *_claims(curves))


def _untestable(question: Question, why: str) -> Question:
    """A question the campaign does not answer, whatever its estimates: `why` leads its limits."""
    finding = Finding("not testable here", None, question.finding.rows)
    return replace(question, finding=finding, limits=f"{why} {question.limits}".strip())


def _predictions(curves: Curves, steps: Steps) -> tuple[Question, ...]:
    ahead = Hypothesis("above")
    behind = Hypothesis("below")

    def clock(
        fp: Sequence[str], fn: Sequence[str], low: float | None, high: float
    ) -> Callable[[int], Series]:
        def values(size: int) -> Series:
            one = [
                _log_ratio(
                    steps_between(curves.accuracy[p, size], low, high),
                    steps_between(curves.accuracy[n, size], low, high),
                )
                for p, n in zip(fp, fn, strict=True)
                if (p, size) in curves.accuracy and (n, size) in curves.accuracy
            ]
            return _mean_of(one) if len(one) == len(fp) else {}

        return values

    asymmetry = _every(
        _part(curves, clock(FP, FN, *EARLY), ahead, f"start to {EARLY[1]:g}"),
        _part(curves, clock(FP, FN, *LATE), behind, f"{LATE[0]:g} to {LATE[1]:g}"),
    )
    under_adam = _every(_part(curves, clock(*DR_GRPO, *EARLY), ahead))
    path = _every(
        *(
            _part(
                curves,
                lambda size, arm=arm: _path(curves, steps, arm, size),
                Hypothesis("within", PATH),
                arm,
            )
            for arm in ("fpr0.4", "fnr0.4", "both0.4")
        )
    )
    control = _part(
        curves,
        lambda size: _path(curves, steps, "trigger0.2", size),
        Hypothesis("within", PATH),
        "trigger0.2",
    )
    fate = _every(
        *(
            _part(
                curves,
                _reduced(curves, ["fpr0.2"], ["trigger0.2"], reduce),
                Hypothesis("above", DELTA),
                name,
            )
            for name, reduce in WINDOWS.items()
        )
    )
    return (
        _untestable(
            Question(
                key="P1b",
                title="So under plain SGD extra rollouts favour clean verifiers",
                source="prediction 1",
                claim="Under SGD the gap at equal steps grows with the group size.",
                compared="What can be measured is the same under Adam: accuracy lost over training, mean of the eight arms with J > 0, largest minus smallest group size, by seed.",
                unit="accuracy",
                limits="The estimates say what happens under Adam.",
                finding=judge(_between_sizes(curves, JUST_CLOCK, Hypothesis("above"))),
            ),
            "The campaign is trained by Adam, which cancels the size of a step.",
        ),
        Question(
            key="P2",
            title="Which error costs more depends on accuracy: false positives below ½, false negatives above",
            source="prediction 2, for groups of 4 or more",
            claim="Under FP the climb below the crossover takes longer than under FN, the climb above it less long.",
            compared=f"log(steps under FP / steps under FN), mean of the rates {', '.join(RATES)}, from the start to accuracy {EARLY[1]:g} (claim: above 0) and from {LATE[0]:g} to {LATE[1]:g} (claim: below 0).",
            unit="log ratio",
            limits="The crossover of a population lies at .42 to .59 in the theory's examples, the spread of difficulties deciding; between .45 and .60 nothing is asked. Adam's memory of larger gradients makes a clock depend on the past.",
            finding=asymmetry,
        ),
        Question(
            key="P3",
            title="Under Adam `dr_grpo` does not remove the asymmetry",
            source="prediction 3",
            claim="Below the crossover FP .4 is slower than FN .4 under dr_grpo too.",
            compared=f"log(steps under FP / steps under FN) of the dr_grpo arms, from the start to accuracy {EARLY[1]:g}.",
            unit="log ratio",
            limits="One rate. No arm is trained by SGD, so that the other half of the prediction (under SGD it does) is not tested.",
            finding=under_adam,
        ),
        Question(
            key="P4",
            title="Independent noise with J > 0 changes only the clock",
            source="prediction 4",
            claim=f"At equal accuracy the policy's entropy is that of the clean arm within {100 * PATH:g} %.",
            compared=f"log(entropy / clean entropy) at accuracies {', '.join(f'{a:g}' for a in PATH_AT)} (mean), entropy being a running mean over 21 steps.",
            unit="log ratio",
            limits="The theorem is about the modes of one prompt; entropy is one number of many prompts, and says nothing of what happens past the accuracies compared. Control: "
            + (
                "; ".join(f"{p.average.label} {p.average.value:+.3f}" for p in control)
                or "no arm with systematic errors here"
            )
            + ". Systematic errors should leave the path; where they do not, this comparison would not see others leave it either.",
            finding=path,
        ),
        Question(
            key="P5",
            title="Errors tied to something the policy can learn are another matter at the same rates",
            source="prediction 5",
            claim=f"The arm whose errors hang on the answer loses at least {DELTA:g} more than the one with random errors of the same marginal rate, over training and at its end.",
            compared="accuracy(fpr0.2) − accuracy(trigger0.2), over training and at the last step.",
            unit="accuracy",
            limits="One trigger, at a marginal fpr of .2 at the start; the rate moves as the policy learns. Plateau and collapse: C5.",
            finding=fate,
        ),
    )


def _between_sizes(curves: Curves, arms: Sequence[str], claim: Hypothesis) -> list[Part]:
    """Accuracy lost over training, mean of `arms`: largest minus smallest group size with seeds enough, and
    each group size minus the one before."""
    lost = {
        size: _reduced(curves, ["clean"] * len(arms), arms, over_training)(size)
        for size in curves.group_sizes
    }
    sizes = [size for size, values in lost.items() if values]
    enough = [size for size in sizes if len(lost[size]) >= LEAST_UNITS]

    def between(large: int, small: int) -> Estimate:
        values = {s: lost[large][s] - lost[small][s] for s in lost[large] if s in lost[small]}
        return estimate(f"{large} against {small} rollouts", values)

    if len(enough) < 2:
        return []
    whole = (enough[0], enough[-1])
    each = [
        between(large, small)
        for small, large in itertools.pairwise(sizes)
        if (small, large) != whole
    ]
    return [Part(claim, between(whole[1], whole[0]), tuple(each))]


def _lost_at_end(curves: Curves, arms: Sequence[str]) -> Callable[[int], Series]:
    """Accuracy lost at the last step, mean of `arms`."""
    return _reduced(curves, ["clean"] * len(arms), arms, at_end)


def _at_largest(curves: Curves, values: Callable[[int], Series], claim: Hypothesis) -> list[Part]:
    """One hypothesis at the largest group size with seeds enough; none where only one size has them."""
    enough = {s: v for s in curves.group_sizes if len(v := values(s)) >= LEAST_UNITS}
    if len(enough) < 2:
        return []
    size = max(enough)
    return [Part(claim, estimate(f"{size} rollouts", enough[size]))]


def _path(curves: Curves, steps: Steps, arm: str, size: int) -> Series:
    """log(entropy / clean entropy) at equal accuracy, mean over PATH_AT; {seed: value}."""
    levels: dict[str, list[Series]] = {"clean": [], arm: []}
    for name, found in levels.items():
        if (name, size) not in curves.accuracy or (name, size) not in steps.entropy:
            return {}
        smooth = steps.entropy[name, size].T.rolling(21, center=True, min_periods=5).mean().T
        at = smooth.columns.to_numpy(np.float64)
        for level in PATH_AT:
            reached = steps_between(curves.accuracy[name, size], None, level)
            found.append(
                {
                    seed: float(np.interp(step, at, smooth.loc[seed].to_numpy(np.float64)))
                    for seed, step in reached.items()
                    if seed in smooth.index
                }
            )
    ratios = [
        _log_ratio(noisy, clean) for noisy, clean in zip(levels[arm], levels["clean"], strict=True)
    ]
    return _mean_of(ratios)


def _claims(curves: Curves) -> tuple[Question, ...]:
    small = Hypothesis("within", DELTA)
    lasting = Hypothesis("above", DELTA)
    return (
        *(
            Question(
                key=f"C1{letter}",
                title=f"The gap does not shrink as training goes on: {kind}",
                source="2605.25252 says so; 2601.04411 says it closes where J > 0",
                claim=f"From step {MIDDLE} to the last the accuracy lost does not shrink.",
                compared=f"change of the gap, mean of {', '.join(arms)}.",
                unit="accuracy",
                limits="A gap that shrinks may still persist: that is asked next.",
                finding=judge(
                    _part(
                        curves,
                        _reduced(
                            curves, ["clean"] * len(arms), arms, lambda curve: since(curve, MIDDLE)
                        ),
                        Hypothesis("above"),
                    )
                ),
            )
            for letter, (kind, arms) in KINDS.items()
        ),
        *(
            Question(
                key=f"C1{letter}",
                title=f"The gap persists at the end of training: {kind}",
                source="2605.25252 says so; 2601.04411 says it closes where J > 0",
                claim=f"At the last step more than {DELTA:g} of accuracy is lost.",
                compared=f"accuracy lost at the last step, mean of {', '.join(arms)}.",
                unit="accuracy",
                limits="300 steps of one small model are no large compute: what `gap` makes of the curves' asymptotes is in the table of arms.",
                finding=judge(_part(curves, _lost_at_end(curves, arms), lasting)),
            )
            for letter, (kind, arms) in zip("def", KINDS.values(), strict=True)
        ),
        *(
            Question(
                key=f"C2{letter}",
                title=f"The gap does not shrink as rollouts per prompt are scaled: {kind}",
                source="2605.25252, whose compute axis this is",
                claim="At equal steps a larger group does not shrink the accuracy lost.",
                compared=f"accuracy lost over training, mean of {', '.join(arms)}: the largest minus the smallest group size, and each minus the one before it.",
                unit="accuracy",
                limits="At equal steps a larger group costs proportionally more rollouts; the figure has rollouts on its axis.",
                finding=judge(_between_sizes(curves, arms, Hypothesis("above"))),
            )
            for letter, (kind, arms) in KINDS.items()
        ),
        *(
            Question(
                key=f"C2{letter}",
                title=f"The gap persists at the most rollouts per prompt: {kind}",
                source="2605.25252, whose compute axis this is",
                claim=f"At the last step of the largest group size that has {LEAST_UNITS} seeds more than {DELTA:g} of accuracy is lost.",
                compared=f"accuracy lost at the last step, mean of {', '.join(arms)}, at that group size.",
                unit="accuracy",
                limits="Says nothing of larger groups, and is not asked where only one size has the seeds. All sizes: C1d to C1f.",
                finding=judge(_at_largest(curves, _lost_at_end(curves, arms), lasting)),
            )
            for letter, (kind, arms) in zip("def", KINDS.values(), strict=True)
        ),
        Question(
            key="C3",
            title="Rate or fate: J > 0 learns, J = 0 stands still, J < 0 unlearns",
            source="2601.04411",
            claim=f"From first to last step J = .2 (both0.4) gains accuracy, J = 0 (coin) stays within ±{DELTA:g}, J = −.2 (inverted) loses.",
            compared="accuracy at the last step minus at the first.",
            unit="accuracy",
            limits="Neutral drift at J = 0 is a statement about the mean over runs; a single run may wander. The coin is also the control that 2506.10947 asks for.",
            finding=_every(
                _part(curves, _growth(curves, "both0.4", None), Hypothesis("above"), "J = .2"),
                _part(curves, _growth(curves, "coin", None), small, "J = 0"),
                _part(curves, _growth(curves, "inverted", None), Hypothesis("below"), "J = −.2"),
            ),
        ),
        *(
            Question(
                key=f"C4{letter}",
                title=f"False {worse} cost more than false {better}",
                source=source,
                claim=f"At equal rates the {ahead} arm is ahead of the {behind} arm, over training and at its end.",
                compared=f"accuracy(FP) − accuracy(FN), mean of the rates {', '.join(RATES)}.",
                unit="accuracy",
                limits="Where C4a and C4b are both contradicted, the group size decides. 2605.25252 trains with leave-one-out advantages, a 1.5B model and 32 prompts a step.",
                finding=_every(
                    *(
                        _part(curves, _reduced(curves, FP, FN, reduce), claim, name)
                        for name, reduce in WINDOWS.items()
                    )
                ),
            )
            for letter, worse, better, ahead, behind, source, claim in (
                ("a", "negatives", "positives", "FP", "FN", "2605.25252", Hypothesis("above")),
                (
                    "b",
                    "positives",
                    "negatives",
                    "FN",
                    "FP",
                    "2604.07666: precision before recall",
                    Hypothesis("below"),
                ),
            )
        ),
        Question(
            key="C5",
            title="Systematic false positives end in a plateau or collapse, random errors only delay",
            source="2605.02909",
            claim=f"From step {MIDDLE} on the trigger arm gains at most {DELTA:g}.",
            compared=f"accuracy(trigger0.2) at the last step minus at step {MIDDLE}.",
            unit="accuracy",
            limits="The trigger (wrong answers that begin with a 2) is easy to find but pays only where the answer is wrong anyway; no arm has systematic false negatives, of which 2605.02909 says that they are like random ones.",
            finding=judge(
                _part(curves, _growth(curves, "trigger0.2", MIDDLE), Hypothesis("below", DELTA))
            ),
        ),
        Question(
            key="C6",
            title="Only J matters",
            source="2601.04411, read as: arms of equal J lose the same",
            claim=f"Arms of equal J differ by at most {DELTA:g} over training.",
            compared="accuracy over training, first arm minus second.",
            unit="accuracy",
            limits="2601.04411's own rate is J/σ, which depends on fpr and fnr beyond J; it claims that the sign of J alone decides the fate (C3).",
            finding=_every(
                *(
                    _part(
                        curves,
                        _reduced(curves, [first], [second], over_training),
                        small,
                        f"{first} − {second}",
                    )
                    for first, second in EQUAL_J
                )
            ),
        ),
        Question(
            key="C7",
            title="`dr_grpo` removes the asymmetry",
            source="prediction 3's first half, about SGD",
            claim=f"Under dr_grpo FP .4 and FN .4 differ by at most {DELTA:g}, over training and at its end.",
            compared="accuracy(drgrpo-fpr0.4) − accuracy(drgrpo-fnr0.4); beside it, not judged with it, P3.",
            unit="accuracy",
            limits="Under Adam only. One rate.",
            finding=_every(
                *(
                    _part(curves, _reduced(curves, *DR_GRPO, reduce), small, name)
                    for name, reduce in WINDOWS.items()
                )
            ),
        ),
        Question(
            key="C8",
            title="Up to 15 % symmetric noise costs less than 2 points (tested at 20 %)",
            source="2604.07666",
            claim="20 % symmetric noise (both0.2), more than the claim is about, costs less than .02 at the end.",
            compared="accuracy(clean) − accuracy(both0.2) at the last step.",
            unit="accuracy",
            limits="No arm has 15 %: where 20 % costs less than 2 points, 15 % does too if cost rises with noise; where it costs more, nothing follows. During training the loss is larger (table of arms).",
            finding=judge(
                _part(
                    curves,
                    _reduced(curves, ["clean"], ["both0.2"], at_end),
                    Hypothesis("below", 0.02),
                )
            ),
        ),
    )


def ask_real_groups(derived: Mapping[str, Derived]) -> tuple[Question, ...]:
    """What is asked of real groups of rollouts into which noise is injected; see `paper.public_data`."""
    found = derived.get("real groups")
    numbers = {} if found is None else found.numbers

    def parts(*names: tuple[str, Hypothesis]) -> list[Part]:
        return [] if found is None else [Part(claim, found.estimates[n]) for n, claim in names]

    ratios = ", ".join(
        f"{value:.3f} {name[6:]}" for name, value in numbers.items() if name.startswith("ratio ")
    )
    changes = "; ".join(f"{name} {numbers[name]:.1g}" for name in CORRECTIONS if name in numbers)
    no_op = Finding("not testable here", None, ())
    if found is not None:
        exact = numbers["forward"] <= 1e-9
        small = all(numbers[n] <= PATH / 50 * numbers["largest advantage"] for n in CORRECTIONS[:2])
        no_op = Finding("supported" if exact and small else "contradicted", None, ())
    ours = "The noise is ours, exact in its mean; real are the rollouts of a 7B model, most of them wrong. No model is trained."
    return (
        Question(
            key="P1",
            title="The expected step saturates in the group size at 1/q, so that noise takes a larger share of it in larger groups",
            source="prediction 1",
            claim="On hard prompts the ratio of the noisy to the clean expected step falls as the group grows (fpr .1, grpo).",
            compared=f"that ratio on groups whose first half has at most one right rollout, measured on the second half; by group size: {ratios or 'no data'}.",
            unit="ratio",
            limits=ours + " Where the step stops growing is not measured.",
            finding=judge(parts(("saturation", Hypothesis("below")))),
        ),
        Question(
            key="P6",
            title="Errors correlated within a group raise the expected step of grpo on hard prompts and leave that of linear estimators",
            source="prediction 6",
            claim="On prompts that are mostly hard, against independent errors of the same rate (.2, correlation .3), the step of grpo is larger, that of rloo the same to .1 %.",
            compared="expected step with correlated errors over that with independent ones, minus 1.",
            unit="ratio − 1",
            limits=ours
            + " On easy prompts errors of a whole group lower the step (tests/theory/test_predictions.py). What training makes of it is not tested.",
            finding=judge(
                parts(
                    ("correlated grpo", Hypothesis("above")),
                    ("correlated rloo", Hypothesis("within", 0.001)),
                )
            ),
        ),
        Question(
            key="P7",
            title="Corrections of the reward do nothing under grpo",
            source="prediction 7; the corrections are those of 2510.00915",
            claim="Forward weights change no advantage at all, the backward correction none by more than .1 % of the largest, but for the sign where J < 0.",
            compared=f"largest change of any advantage: {changes or 'no data'}; largest advantage {numbers.get('largest advantage', float('nan')):.2f}.",
            unit="",
            limits=ours + " A matter of arithmetic: it holds or not, without an interval.",
            finding=no_op,
        ),
    )
