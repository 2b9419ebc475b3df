"""Verdicts made here: a user's verifier, a pattern, or a reference, asked about completions and gold answers.

A verifier answers right (paid), wrong or "cannot tell"; the last is kept apart. Named ones are those of
`empirical.verifiers` and two references that need no answer format: `number` (the whole text is the gold
number, exactly, once separators are gone) and `contains` (the gold number appears anywhere: no verifier
that anyone should train against, and a common one).
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from empirical import extras
from empirical.verifiers import Judgement, Verdict, VerifierName, number, verifier_named
from fits.errors import InputError
from fits.plain import counted

FloatArray = NDArray[np.float64]

__all__ = [
    "NAMES",
    "Judged",
    "gold_answer",
    "judge_all",
    "judge_named",
    "judge_of",
    "judge_regex",
]

_NUMBERS: Final = re.compile(
    r"(?<![\w.,])[-+\u2212]?[$\u20ac\u00a3]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w]|[.,]\d)"
)


def _contains(completion: str, gold: str) -> Judgement:
    """Right iff a number that equals the gold answer appears anywhere in the completion."""
    wanted = number(gold)
    found = [number(text) for text in _NUMBERS.findall(completion)]
    if wanted is None:
        return Judgement(Verdict.RIGHT if gold.strip() in completion else Verdict.WRONG, None)
    return Judgement(Verdict.RIGHT if wanted in found else Verdict.WRONG, None)


def _number(completion: str, gold: str) -> Judgement:
    """Right iff the whole text is one number, equal to the gold answer."""
    wanted, given = number(gold), number(completion)
    if wanted is None:
        raise InputError(f"gold answer {gold!r} is not a number; name another reference")
    return Judgement(Verdict.RIGHT if given == wanted else Verdict.WRONG, completion.strip())


NAMES: Final = (*(str(name) for name in VerifierName), "number", "contains")


@dataclass(frozen=True)
class Judged:
    """Verdicts on N completions: 1 paid, 0 not, NaN where the verifier could not tell.

    notes: what went wrong on the way, in words.
    """

    verdict_N: FloatArray
    notes: tuple[str, ...] = ()


def gold_answer(text: str, after: str | None = None) -> str:
    """The gold answer in `text`: what follows the last `after` (default ####), or all of it."""
    return text.rpartition("####" if after is None else after)[2].strip()


def judge_named(name: str, completions: Sequence[str], golds: Sequence[str]) -> Judged:
    """Judge by a verifier of ours.

    Raises InputError for a name that is none, StudyError where its package is absent or a gold answer is
    nothing it can compare with.
    """
    return _one_by_one(judge_of(name), completions, golds)


def judge_of(target: str) -> Callable[[str, str], Any]:
    """The function of (completion, gold) that `target` names: a verifier of ours, or a user's module:function.

    Raises as `judge_named`, and InputError where it cannot be imported.
    """
    match target:
        case "contains":
            return _contains
        case "number":
            return _number
        case _ if target in NAMES:
            if target == VerifierName.MATH_VERIFY:
                extras.require("math_verify", extra="audit")
            return verifier_named(VerifierName(target))
        case _ if ":" in target:
            return _imported(target)
        case _:
            raise InputError(
                f"no verifier {target!r}: name one of {', '.join(NAMES)}, or module:function"
            )


def judge_regex(pattern: str, completions: Sequence[str], golds: Sequence[str]) -> Judged:
    """Judge what `pattern` finds last (its first group, if it has one); unscorable where it finds nothing.

    Numbers compare as numbers, anything else as text without surrounding space.
    Raises InputError where `pattern` is no regular expression.
    """
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise InputError(f"--verifier-regex {pattern!r}: {error}") from None

    def one(completion: str, gold: str) -> Judgement:
        found = list(compiled.finditer(completion))
        if not found:
            return Judgement(Verdict.UNSCORABLE, None)
        given = (found[-1][1] if compiled.groups else found[-1][0]) or ""
        wanted = number(gold)
        same = given.strip() == gold.strip() if wanted is None else number(given) == wanted
        return Judgement(Verdict.RIGHT if same else Verdict.WRONG, given)

    return _one_by_one(one, completions, golds)


def judge_all(
    target: str,
    completions: Sequence[str],
    golds: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
) -> Judged:
    """Judge by `target`, a name of ours or a user's module:function.

    A function of (completion, gold) returns True or False, a reward of 0 or 1, None where it cannot tell,
    or our Verdict or Judgement. A function with a parameter `completions` is called as TRL calls a reward
    function: once, with all completions and the table's columns as keywords.
    Raises InputError where it cannot be imported or returns something else.
    """
    function = judge_of(target)
    if ":" not in target:
        return _one_by_one(function, completions, golds)
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        parameters = {}
    if "completions" in parameters:
        return _as_reward_function(function, target, completions, columns)
    return _one_by_one(function, completions, golds, theirs=target)


def _imported(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    # A verifier in the folder one stands in is found, as `python -m` would find it.
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # a user's module may raise whatever it likes
        raise InputError(
            f"--verifier {target}: cannot be imported ({type(error).__name__}: {error})"
        ) from None
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise InputError(f"--verifier {target}: is no function")
    return found


def _value(answer: Any, spoken: str) -> float:
    """What one verdict means: 1, 0 or NaN."""
    if isinstance(answer, Judgement):
        answer = answer.verdict
    if isinstance(answer, Verdict):
        return {Verdict.RIGHT: 1.0, Verdict.WRONG: 0.0}.get(answer, np.nan)
    if answer is None:
        return np.nan
    try:
        value = float(answer)
    except (TypeError, ValueError):
        value = np.nan
    if value not in (0.0, 1.0):
        raise InputError(f"{spoken} returned {answer!r}: want True or False, 0 or 1, or None")
    return value


def _one_by_one(
    function: Callable[[str, str], Any],
    completions: Sequence[str],
    golds: Sequence[str],
    *,
    theirs: str | None = None,
) -> Judged:
    verdicts: dict[tuple[str, str], float] = {}
    raised: list[str] = []
    for row, pair in enumerate(zip(completions, golds, strict=True)):
        if pair in verdicts:
            continue
        if not pair[1]:
            verdicts[pair] = np.nan  # no gold answer, nothing to compare with
            continue
        try:
            verdicts[pair] = _value(function(*pair), f"--verifier {theirs}: row {row + 1}")
        except Exception as error:
            if theirs is None or isinstance(error, InputError):
                raise
            raised.append(f"row {row + 1}: {type(error).__name__}: {error}")
            verdicts[pair] = np.nan
    notes = (
        (
            f"the verifier raised on {counted(len(raised), 'completion')}, first {raised[0]}; kept as unscorable",
        )
        if raised
        else ()
    )
    return Judged(
        np.array([verdicts[pair] for pair in zip(completions, golds, strict=True)]), notes
    )


def _as_reward_function(
    function: Callable[..., Any],
    target: str,
    completions: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
) -> Judged:
    others = {name: list(cells) for name, cells in columns.items() if name != "completions"}
    others.setdefault("prompts", [""] * len(completions))
    try:
        rewards = list(function(completions=list(completions), **others))
    except Exception as error:
        raise InputError(f"--verifier {target}: {type(error).__name__}: {error}") from None
    if len(rewards) != len(completions):
        raise InputError(
            f"--verifier {target}: {len(rewards)} rewards for {len(completions)} completions"
        )
    return Judged(
        np.array([_value(r, f"--verifier {target}: row {i + 1}") for i, r in enumerate(rewards)])
    )
