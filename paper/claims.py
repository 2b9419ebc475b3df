"""What is asked of the campaign: the theory's predictions and published claims, as a table, and the verdict on each.

A claim is data: what is compared, the hypotheses about it, whose it is, what the answer cannot show. `ask` evaluates
them all. The contrasts, and what they assume, are those of `paper.contrasts`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fits.hypotheses import LEAST_UNITS, Finding, Hypothesis, Part, judge
from paper.contrasts import (
    PATH_AT,
    Asked,
    Evidence,
    ahead,
    at_end,
    at_largest,
    between_sizes,
    by_size,
    climb,
    gained,
    lost,
    over_training,
    path,
    since,
    with_noise_injected,
)

__all__ = ["CLAIMS", "DELTA", "JUST_CLOCK", "Claim", "Question", "ask"]

DELTA: Final = 0.01  # smallest difference of interest, accuracy
PATH: Final = 0.05  # the same of a path, relative
RATES: Final = ("0.2", "0.4", "0.6")
FP: Final = tuple(f"fpr{rate}" for rate in RATES)
FN: Final = tuple(f"fnr{rate}" for rate in RATES)
# Arms whose errors are independent of everything and J > 0, trained by grpo.
BOTH: Final = ("both0.2", "both0.4")
JUST_CLOCK: Final = (*FP, *FN, *BOTH)
KINDS: Final = (("false positives", FP), ("false negatives", FN), ("both", BOTH))
# Climbs, from accuracy (None: the start) to accuracy: below all crossovers the theory names but one, and above all.
EARLY: Final = (None, 0.45)
LATE: Final = (0.60, 0.75)
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
WINDOWS: Final = {"over training": over_training, "end": at_end}

ABOVE: Final = Hypothesis("above")
BELOW: Final = Hypothesis("below")
LASTING: Final = Hypothesis("above", DELTA)
SMALL: Final = Hypothesis("within", DELTA)
SAME_PATH: Final = Hypothesis("within", PATH)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One prediction or claim.

    compared, limits: may hold {control}, {ratios}, {changes} and {largest}; see `_generated`. unit: of the estimates.
    asked: the claim holds if all of these do. control: shown in the limits, not judged. arithmetic: what decides
    instead where there is nothing to estimate; None where there are no data. untestable: why these runs do not
    answer, whatever their estimates.
    """

    key: str
    title: str
    source: str
    claim: str
    compared: str
    unit: str
    limits: str
    asked: tuple[Asked, ...] = ()
    control: tuple[Asked, ...] = ()
    arithmetic: Callable[[Evidence], bool | None] | None = None
    untestable: str = ""


@dataclass(frozen=True)
class Question:
    """A claim with the verdict on it; see `Claim`."""

    key: str
    title: str
    source: str
    claim: str
    compared: str
    unit: str
    limits: str
    finding: Finding


def ask(evidence: Evidence) -> tuple[Question, ...]:
    """Every claim and its verdict; those that this evidence cannot be asked say so."""
    return tuple(_asked(claim, evidence) for claim in CLAIMS)


def _asked(claim: Claim, evidence: Evidence) -> Question:
    parts = [asked(evidence) for asked in claim.asked]
    # Of several hypotheses none may be missing.
    finding = judge([part for own in parts for part in own] if all(parts) else [])
    held = None if claim.arithmetic is None else claim.arithmetic(evidence)
    if held is not None:
        finding = Finding("supported" if held else "contradicted", None, ())
    if claim.untestable:
        finding = Finding("not testable here", None, finding.rows)
    generated = _generated(evidence, [part for one in claim.control for part in one(evidence)])
    return Question(
        key=claim.key,
        title=claim.title,
        source=claim.source,
        claim=claim.claim,
        compared=claim.compared.format(**generated),
        unit=claim.unit,
        limits=f"{claim.untestable} {claim.limits}".strip().format(**generated),
        finding=finding,
    )


def _generated(evidence: Evidence, control: list[Part]) -> dict[str, str]:
    """The numbers that texts of claims hold."""
    real = evidence.real_groups
    ratios = (
        f"{value:.3f} {name[6:]}" for name, value in real.items() if name.startswith("ratio ")
    )
    changes = (f"{name} {real[name]:.1g}" for name in CORRECTIONS if name in real)
    shown = (f"{part.average.label} {part.average.value:+.3f}" for part in control)
    return {
        "ratios": ", ".join(ratios) or "no data",
        "changes": "; ".join(changes) or "no data",
        "largest": f"{real.get('largest advantage', float('nan')):.2f}",
        "control": "; ".join(shown) or "no arm with systematic errors here",
    }


def _no_change(evidence: Evidence) -> bool | None:
    """Whether forward weights change no advantage at all, and the backward correction none that matters."""
    real = evidence.real_groups
    if not real:
        return None
    least = PATH / 50 * real["largest advantage"]
    return real["forward"] <= 1e-9 and all(real[name] <= least for name in CORRECTIONS[:2])


_RATES = ", ".join(RATES)
_OURS = "The noise is ours, exact in its mean; real are the rollouts of a 7B model, most of them wrong. No model is trained."

CLAIMS: Final = (
    Claim(
        key="P1b",
        title="So under plain SGD extra rollouts favour clean verifiers",
        source="prediction 1",
        claim="Under SGD the gap at equal steps grows with the group size.",
        compared="What can be measured is the same under Adam: accuracy lost over training, mean of the eight arms with J > 0, largest minus smallest group size, by seed.",
        unit="accuracy",
        limits="The estimates say what happens under Adam.",
        asked=(between_sizes(lost(JUST_CLOCK, over_training), ABOVE),),
        untestable="The campaign is trained by Adam, which cancels the size of a step.",
    ),
    Claim(
        key="P2",
        title="Which error costs more depends on accuracy: false positives below ½, false negatives above",
        source="prediction 2, for groups of 4 or more",
        claim="Under FP the climb below the crossover takes longer than under FN, the climb above it less long.",
        compared=f"log(steps under FP / steps under FN), mean of the rates {_RATES}, from the start to accuracy {EARLY[1]:g} (claim: above 0) and from {LATE[0]:g} to {LATE[1]:g} (claim: below 0).",
        unit="log ratio",
        limits="The crossover of a population lies at .42 to .59 in the theory's examples, the spread of difficulties deciding; between .45 and .60 nothing is asked. Adam's memory of larger gradients makes a clock depend on the past.",
        asked=(
            by_size(climb(FP, FN, *EARLY), ABOVE, f"start to {EARLY[1]:g}"),
            by_size(climb(FP, FN, *LATE), BELOW, f"{LATE[0]:g} to {LATE[1]:g}"),
        ),
    ),
    Claim(
        key="P3",
        title="Under Adam `dr_grpo` does not remove the asymmetry",
        source="prediction 3",
        claim="Below the crossover FP .4 is slower than FN .4 under dr_grpo too.",
        compared=f"log(steps under FP / steps under FN) of the dr_grpo arms, from the start to accuracy {EARLY[1]:g}.",
        unit="log ratio",
        limits="One rate. No arm is trained by SGD, so that the other half of the prediction (under SGD it does) is not tested.",
        asked=(by_size(climb(*DR_GRPO, *EARLY), ABOVE),),
    ),
    Claim(
        key="P4",
        title="Independent noise with J > 0 changes only the clock",
        source="prediction 4",
        claim=f"At equal accuracy the policy's entropy is that of the clean arm within {100 * PATH:g} %.",
        compared=f"log(entropy / clean entropy) at accuracies {', '.join(f'{a:g}' for a in PATH_AT)} (mean), entropy being a running mean over 21 steps.",
        unit="log ratio",
        limits="The theorem is about the modes of one prompt; entropy is one number of many prompts, and says nothing of what happens past the accuracies compared. Control: {control}. Systematic errors should leave the path; where they do not, this comparison would not see others leave it either.",
        asked=(*(by_size(path(arm), SAME_PATH, arm) for arm in ("fpr0.4", "fnr0.4", "both0.4")),),
        control=(by_size(path("trigger0.2"), SAME_PATH, "trigger0.2"),),
    ),
    Claim(
        key="P5",
        title="Errors tied to something the policy can learn are another matter at the same rates: one trigger",
        source="prediction 5",
        claim=f"The arm whose errors hang on the answer loses at least {DELTA:g} more than the one with random errors of the same marginal rate, over training and at its end.",
        compared="accuracy(fpr0.2) − accuracy(trigger0.2), over training and at the last step.",
        unit="accuracy",
        limits="One trigger, at a marginal fpr of .2 at the start; the rate moves as the policy learns. Other rules of a lower static rate cost far more: [errors that a policy can learn](learnable-errors.md). Plateau and collapse: C5.",
        asked=(
            *(
                by_size(ahead(["fpr0.2"], ["trigger0.2"], reduce), LASTING, name)
                for name, reduce in WINDOWS.items()
            ),
        ),
    ),
    *(
        Claim(
            key=f"C1{letter}",
            title=f"The gap does not shrink as training goes on: {kind}",
            source="2605.25252 says so; 2601.04411 says it closes where J > 0",
            claim=f"From step {MIDDLE} to the last the accuracy lost does not shrink.",
            compared=f"change of the gap, mean of {', '.join(arms)}.",
            unit="accuracy",
            limits="A gap that shrinks may still persist: that is asked next.",
            asked=(by_size(lost(arms, since(MIDDLE)), ABOVE),),
        )
        for letter, (kind, arms) in zip("abc", KINDS, strict=True)
    ),
    *(
        Claim(
            key=f"C1{letter}",
            title=f"The gap persists at the end of training: {kind}",
            source="2605.25252 says so; 2601.04411 says it closes where J > 0",
            claim=f"At the last step more than {DELTA:g} of accuracy is lost.",
            compared=f"accuracy lost at the last step, mean of {', '.join(arms)}.",
            unit="accuracy",
            limits="300 steps of one small model are no large compute: what `gap` makes of the curves' asymptotes is in the table of arms.",
            asked=(by_size(lost(arms, at_end), LASTING),),
        )
        for letter, (kind, arms) in zip("def", KINDS, strict=True)
    ),
    *(
        Claim(
            key=f"C2{letter}",
            title=f"The gap does not shrink as rollouts per prompt are scaled: {kind}",
            source="2605.25252, whose compute axis this is",
            claim="At equal steps a larger group does not shrink the accuracy lost.",
            compared=f"accuracy lost over training, mean of {', '.join(arms)}: the largest minus the smallest group size, and each minus the one before it.",
            unit="accuracy",
            limits="At equal steps a larger group costs proportionally more rollouts; the figure has rollouts on its axis.",
            asked=(between_sizes(lost(arms, over_training), ABOVE),),
        )
        for letter, (kind, arms) in zip("abc", KINDS, strict=True)
    ),
    *(
        Claim(
            key=f"C2{letter}",
            title=f"The gap persists at the most rollouts per prompt: {kind}",
            source="2605.25252, whose compute axis this is",
            claim=f"At the last step of the largest group size that has {LEAST_UNITS} seeds more than {DELTA:g} of accuracy is lost.",
            compared=f"accuracy lost at the last step, mean of {', '.join(arms)}, at that group size.",
            unit="accuracy",
            limits="Says nothing of larger groups, and is not asked where only one size has the seeds. All sizes: C1d to C1f.",
            asked=(at_largest(lost(arms, at_end), LASTING),),
        )
        for letter, (kind, arms) in zip("def", KINDS, strict=True)
    ),
    Claim(
        key="C3",
        title="Rate or fate: J > 0 learns, J = 0 stands still, J < 0 unlearns",
        source="2601.04411",
        claim=f"From first to last step J = .2 (both0.4) gains accuracy, J = 0 (coin) stays within ±{DELTA:g}, J = −.2 (inverted) loses.",
        compared="accuracy at the last step minus at the first.",
        unit="accuracy",
        limits="Neutral drift at J = 0 is a statement about the mean over runs; a single run may wander. The coin is also the control that 2506.10947 asks for.",
        asked=(
            by_size(gained("both0.4"), ABOVE, "J = .2"),
            by_size(gained("coin"), SMALL, "J = 0"),
            by_size(gained("inverted"), BELOW, "J = −.2"),
        ),
    ),
    *(
        Claim(
            key=f"C4{letter}",
            title=f"False {worse} cost more than false {better}",
            source=source,
            claim=f"At equal rates the {first} arm is ahead of the {second} arm, over training and at its end.",
            compared=f"accuracy(FP) − accuracy(FN), mean of the rates {_RATES}.",
            unit="accuracy",
            limits="Where C4a and C4b are both contradicted, the group size decides. 2605.25252 trains with leave-one-out advantages, a 1.5B model and 32 prompts a step.",
            asked=tuple(
                by_size(ahead(FP, FN, reduce), hypothesis, name) for name, reduce in WINDOWS.items()
            ),
        )
        for letter, worse, better, first, second, source, hypothesis in (
            ("a", "negatives", "positives", "FP", "FN", "2605.25252", ABOVE),
            (
                "b",
                "positives",
                "negatives",
                "FN",
                "FP",
                "2604.07666: precision before recall",
                BELOW,
            ),
        )
    ),
    Claim(
        key="C5",
        title="Systematic false positives end in a plateau or collapse, random errors only delay",
        source="2605.02909",
        claim=f"From step {MIDDLE} on the trigger arm gains at most {DELTA:g}.",
        compared=f"accuracy(trigger0.2) at the last step minus at step {MIDDLE}.",
        unit="accuracy",
        limits="The trigger (wrong answers that begin with a 2) is easy to find but pays only where the answer is wrong anyway; no arm has systematic false negatives, of which 2605.02909 says that they are like random ones.",
        asked=(by_size(gained("trigger0.2", MIDDLE), Hypothesis("below", DELTA)),),
    ),
    Claim(
        key="C6",
        title="Only J matters",
        source="2601.04411, read as: arms of equal J lose the same",
        claim=f"Arms of equal J differ by at most {DELTA:g} over training.",
        compared="accuracy over training, first arm minus second.",
        unit="accuracy",
        limits="2601.04411's own rate is J/σ, which depends on fpr and fnr beyond J; it claims that the sign of J alone decides the fate (C3).",
        asked=(
            *(
                by_size(ahead([first], [second], over_training), SMALL, f"{first} − {second}")
                for first, second in EQUAL_J
            ),
        ),
    ),
    Claim(
        key="C7",
        title="`dr_grpo` removes the asymmetry",
        source="prediction 3's first half, about SGD",
        claim=f"Under dr_grpo FP .4 and FN .4 differ by at most {DELTA:g}, over training and at its end.",
        compared="accuracy(drgrpo-fpr0.4) − accuracy(drgrpo-fnr0.4); beside it, not judged with it, P3.",
        unit="accuracy",
        limits="Under Adam only. One rate.",
        asked=(
            *(by_size(ahead(*DR_GRPO, reduce), SMALL, name) for name, reduce in WINDOWS.items()),
        ),
    ),
    Claim(
        key="C8",
        title="Up to 15 % symmetric noise costs less than 2 points (tested at 20 %)",
        source="2604.07666",
        claim="20 % symmetric noise (both0.2), more than the claim is about, costs less than .02 at the end.",
        compared="accuracy(clean) − accuracy(both0.2) at the last step.",
        unit="accuracy",
        limits="No arm has 15 %: where 20 % costs less than 2 points, 15 % does too if cost rises with noise; where it costs more, nothing follows. During training the loss is larger (table of arms).",
        asked=(by_size(lost(["both0.2"], at_end), Hypothesis("below", 0.02)),),
    ),
    Claim(
        key="P1",
        title="The expected step saturates at group sizes of about 1/q, so that noise takes a larger share of it in larger groups",
        source="prediction 1",
        claim="On hard prompts the ratio of the noisy to the clean expected step falls as the group grows (fpr .1, grpo).",
        compared="that ratio on groups whose first half has at most one right rollout, measured on the second half; by group size: {ratios}.",
        unit="ratio",
        limits=_OURS + " Where the step stops growing is not measured.",
        asked=(with_noise_injected("saturation", BELOW),),
    ),
    Claim(
        key="P6",
        title="Errors correlated within a group raise the expected step of grpo on hard prompts and leave that of linear estimators",
        source="prediction 6",
        claim="On prompts that are mostly hard, against independent errors of the same rate (.2, correlation .3), the step of grpo is larger, that of rloo the same to .1 %.",
        compared="expected step with correlated errors over that with independent ones, minus 1.",
        unit="ratio − 1",
        limits=_OURS
        + " On easy prompts errors of a whole group lower the step (tests/theory/test_predictions.py). What training makes of it is not tested.",
        asked=(
            with_noise_injected("correlated grpo", ABOVE),
            with_noise_injected("correlated rloo", Hypothesis("within", 0.001)),
        ),
    ),
    Claim(
        key="P7",
        title="Corrections of the reward do nothing under grpo",
        source="prediction 7; the corrections are those of 2510.00915",
        claim="Forward weights change no advantage at all, the backward correction none by more than .1 % of the largest, but for the sign where J < 0.",
        compared="largest change of any advantage: {changes}; largest advantage {largest}.",
        unit="",
        limits=_OURS + " A matter of arithmetic: it holds or not, without an interval.",
        asked=(),
        arithmetic=_no_change,
    ),
)
