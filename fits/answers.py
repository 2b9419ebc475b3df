"""The three questions that a run table with a clean arm answers, in sentences that rest on a gap report alone.

Law. Does more compute close the gap: the verdicts of `fits.gap`, counted and named. Is the verifier the lever: what a
clean verifier adds at the end of the runs (the gap) against what the last doubling of compute added to the same arm,
within seeds. Which error hurts more: arms of equal J with false positives against false negatives, within seeds, else
the compute that a point of either costs. An interval that holds both answers gives neither: undetermined.
Fails first where runs stop while curves are still steep: the last doubling then flatters compute, and what the next one
brings is less.
Source: docs/contract.md#verdicts; docs/theory.md#rate-or-fate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fits.advice import compounding, dearer, interval_in_words, listed, per_ten_points, still_behind
from fits.gap import ArmGap, GapReport, Lever, SettingGap, setting_in_words

__all__ = ["QUESTIONS", "Answer", "no_answers", "three_answers"]

QUESTIONS: Final = (
    "Does more compute close the gap?",
    "Is the verifier the lever, or compute?",
    "Which error hurts more?",
)
_CLOSING: Final = {"closes": "yes", "persists": "no", "undetermined": "undetermined"}
_LEVERS: Final = {
    "verifier": "the verifier",
    "compute": "compute",
    "undetermined": "undetermined",
}
MOST_NAMED: Final = 5  # arms of a sentence: the table has the others


@dataclass(frozen=True)
class Answer:
    """A question, its answer in a few words, the sentences behind it, and what they take for granted."""

    question: str
    answer: str
    because: tuple[str, ...]
    assumes: tuple[str, ...]


def three_answers(report: GapReport) -> tuple[Answer, Answer, Answer]:
    """The answers to QUESTIONS by a gap report."""
    return _closes(report), _lever(report), _error(report)


def no_answers(reason: str, *, lacking: str = "clean") -> tuple[Answer, ...]:
    """The same where there is no clean arm to hold the others against, or no noisy one to hold, with the reason."""
    return tuple(
        Answer(one, f"No {lacking} arm here.", (f"{reason.strip().rstrip('.')}.",), ())
        for one in QUESTIONS
    )


def _closes(report: GapReport) -> Answer:
    delta = f"{report.delta:g}"
    kinds = (
        ("closes", "asymptote", f"To within {delta} under every law not ruled out"),
        ("closes", "largest budget", f"To within {delta} within these runs"),
        ("persists", "asymptote", f"By more than {delta} under every law not ruled out"),
        ("persists", "largest budget", f"By more than {delta} when the runs stop"),
    )
    counts: dict[str, int] = {}
    sentences: list[str] = []
    for arm in report.arms:
        counts[arm.verdict] = counts.get(arm.verdict, 0) + 1
    for verdict, basis, words in kinds:
        own = [a for a in report.arms if (a.verdict, a.basis) == (verdict, basis)]
        if own:
            does = "it closes for" if verdict == "closes" else "it persists for"
            sentences.append(f"{words}, {does} {_named(own, _floor, lambda arm: arm.floor)}.")
    unsettled = [arm for arm in report.arms if arm.verdict == "undetermined"]
    if unsettled:
        behind = [arm for arm in unsettled if still_behind(arm, report.delta)]
        sentences.append(f"Undetermined for {_named(unsettled, _end)}, as measured at the end.")
        if behind:
            sentences.append(
                f"Of these, {_count(behind)} still more than {delta} behind when the runs stop."
            )
        settle = [arm for arm in unsettled if arm.would_settle_it is not None]
        if settle:
            first = min(settle, key=lambda arm: abs(arm.end - report.delta))
            assert first.would_settle_it is not None
            sentences.append(f"What would settle {first.arm}: {first.would_settle_it.text}.")
    total = len(report.arms)
    said = {"closes": "Yes.", "persists": "No.", "undetermined": "Undetermined."}
    answer = (
        said[next(iter(counts))]
        if len(counts) == 1
        else f"It depends on the verifier: {_shares(counts, _CLOSING, total)}."
    )
    seeds = sorted({arm.seeds for arm in report.arms})
    over = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    paired = "seed" if over == "1" else "seeds"
    return Answer(
        QUESTIONS[0],
        answer,
        tuple(sentences),
        (
            f"arms are held against clean runs of their own setting, over {over} matched {paired}; intervals are 95 %,"
            " Student's t over seeds",
            f"a gap below {delta} of accuracy counts as none; what lies beyond the runs is said under every law of accuracy"
            f" against {report.x} that they do not rule out",
        ),
    )


def _shares(counts: Mapping[str, int], words: Mapping[str, str], total: int) -> str:
    """How many arms have each answer, in the order and the words of `words`."""
    parts = [f"{said} for {counts[name]}" for name, said in words.items() if name in counts]
    return f"{listed(parts)} of {total} arms"


def _lever(report: GapReport) -> Answer:
    seen = [arm for arm in report.arms if arm.lever is not None]
    assumes = (
        "a clean verifier adds the gap at the end of the runs; compute adds what its last doubling added to the same arm,"
        " and the next one less where a curve bends",
    )
    if not seen:
        reason = "the runs have no evaluation at half of their compute to say what a doubling adds"
        return Answer(QUESTIONS[1], "Cannot be said here.", (f"{reason.capitalize()}.",), assumes)
    groups: dict[Lever, list[ArmGap]] = {}
    for arm in seen:
        assert arm.lever is not None
        groups.setdefault(arm.lever, []).append(arm)
    sentences: list[str] = []
    told: tuple[tuple[Lever, str], ...] = (
        ("verifier", "A clean verifier adds more than the last doubling of compute did to"),
        ("compute", "The last doubling of compute added more than a clean verifier would to"),
        ("undetermined", "The runs do not tell the two apart for"),
    )
    for lever, words in told:
        own = groups.get(lever, [])
        if own:
            sentences.append(f"{words} {_named(own, _both)}.")
    answers: dict[Lever, str] = {
        "verifier": "The verifier.",
        "compute": "Compute.",
        "undetermined": "Undetermined.",
    }
    counts = {str(name): len(own) for name, own in groups.items()}
    answer = (
        answers[next(iter(groups))]
        if len(groups) == 1
        else f"It depends: {_shares(counts, _LEVERS, len(seen))}."
    )
    return Answer(QUESTIONS[1], answer, tuple(sentences), assumes)


def _error(report: GapReport) -> Answer:
    """By setting: a difference that turns round between settings has no mean worth telling."""
    told = [one for one in report.settings if one.asymmetry.difference is not None]
    assumes = ("rates are those of the table; an injected rate is what the verifier erred at",)
    if not told:
        return Answer(QUESTIONS[2], *_by_price(report), assumes)
    worse: dict[str, list[SettingGap]] = {}
    for one in told:
        ci = one.asymmetry.ci
        name = "undetermined"
        if ci is not None and ci[1] < 0.0:
            name = "false positives"
        elif ci is not None and ci[0] > 0.0:
            name = "false negatives"
        worse.setdefault(name, []).append(one)
    sentences: list[str] = []
    if len(worse) == 1:
        answer = f"{next(iter(worse)).capitalize()}."
    else:
        order = ("false positives", "false negatives", "undetermined")
        counts = [f"{name} in {len(worse[name])}" for name in order if name in worse]
        answer = f"It depends on the setting: {listed(counts)} of {len(told)}."
    for name in ("false positives", "false negatives", "undetermined"):
        if name not in worse:
            continue
        what = "the runs do not tell" if name == "undetermined" else f"{name} cost more"
        where = listed(_difference(one, several=len(told) > 1) for one in worse[name])
        sentences.append(
            f"At equal J and at the end of the runs {what}: accuracy of arms with false positives less that of arms with"
            f" false negatives {where}."
        )
    ends = [abs(end) for one in told for end in one.asymmetry.ci or (1.0,)]
    if max(ends) < report.delta:
        sentences.append(f"That is less than {report.delta:g}, the smallest gap of interest.")
    if len(report.settings) == 1:
        sentences += _prices(report)
    together = compounding(report) if len(report.settings) == 1 else None
    if together is not None:
        arm, joint, product = together
        sentences.append(
            f"Errors of both kinds compound: halfway up {arm} needs {joint:.2f} times the compute, where the two alone would"
            f" multiply to {product:.2f}."
        )
    return Answer(QUESTIONS[2], answer, tuple(sentences), assumes)


def _difference(one: SettingGap, *, several: bool) -> str:
    asymmetry = one.asymmetry
    assert asymmetry.difference is not None
    value = _value(asymmetry.difference, asymmetry.ci)
    place = f" ({setting_in_words(one.setting)})" if several and one.setting else ""
    return f"{value}{place}" if several else f"{value} ({asymmetry.reason})"


def _prices(report: GapReport) -> list[str]:
    """What ten points of either error cost in compute, halfway up; nothing where neither has a price."""
    half = report.exchange_rate.halfway
    prices = [
        f"{name} {per_ten_points(one)}"
        for name, one in (("of fpr", half.fpr), ("of fnr", half.fnr))
        if one.multiplier is not None
    ]
    if not prices:
        return []
    order = dearer(half.fpr, half.fnr)
    return [f"Compute for ten percentage points, halfway up: {', '.join(prices)}; {order}."]


def _by_price(report: GapReport) -> tuple[str, tuple[str, ...]]:
    """The answer where no two arms have equal J: by the compute that a point of either costs."""
    half = report.exchange_rate.halfway
    order = dearer(half.fpr, half.fnr)
    sentences = (f"At equal J: {report.asymmetry.reason}.", *_prices(report))
    if order != "no clear order":
        return f"{order.removesuffix(' first').capitalize()}, by the compute they cost.", sentences
    known = half.fpr.ci is not None and half.fnr.ci is not None
    return "Undetermined." if known else "Cannot be said here.", sentences


def _named(
    arms: Sequence[ArmGap],
    told: Callable[[ArmGap], str],
    by: Callable[[ArmGap], float] = lambda arm: arm.end,
) -> str:
    """Arms with what is told of each; of many their number, and the least and the most `by`."""
    if len(arms) <= MOST_NAMED:
        return listed(f"{arm.arm} ({told(arm)})" for arm in arms)
    least, most = min(arms, key=by), max(arms, key=by)
    return f"{len(arms)} arms, from {least.arm} ({told(least)}) to {most.arm} ({told(most)})"


def _count(arms: Iterable[ArmGap]) -> str:
    names = [arm.arm for arm in arms]
    if len(names) <= MOST_NAMED:
        return f"{listed(names)} {'is' if len(names) == 1 else 'are'}"
    return f"{len(names)} are"


def _floor(arm: ArmGap) -> str:
    return _value(arm.floor, arm.floor_ci)


def _end(arm: ArmGap) -> str:
    return _value(arm.end, arm.end_ci)


def _both(arm: ArmGap) -> str:
    assert arm.doubling is not None
    return f"{_end(arm)} against {_value(arm.doubling, arm.doubling_ci)}"


def _value(value: float, ci: tuple[float, float] | None) -> str:
    return f"{value:+.3f}" if ci is None else f"{value:+.3f} {interval_in_words(ci)}"
