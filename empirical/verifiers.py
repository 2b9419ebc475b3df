"""Verifiers of a short numeric answer: right, wrong and could-not-tell kept apart.

A verifier reads a completion and the gold answer and returns a `Judgement`. Numbers are compared as
numbers (18, 18.0, 18.00 and $18 are one answer, 1,800 is 1800), signs count, and the last marker in the
text is the answer given. "Unscorable" means that the verifier found no answer to judge; it is never
counted as wrong silently.
Fails first on answers that are not a single number; give math-verify those.
Source: the hard cases of `empirical.cases`, each with every verifier's verdict in docs/how-to/verifiers.md.
"""

from __future__ import annotations

import enum
import functools
import itertools
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from empirical import extras
from empirical.errors import StudyError

__all__ = [
    "Judgement",
    "Verdict",
    "Verifier",
    "VerifierName",
    "flexible",
    "math_verify",
    "number",
    "strict",
    "verifier_named",
]


class Verdict(enum.Enum):
    """What a verifier says of one completion."""

    RIGHT = "right"
    WRONG = "wrong"
    UNSCORABLE = "unscorable"


@dataclass(frozen=True)
class Judgement:
    """A verdict and the answer it is about.

    answer: the answer found, normalised (a number as an exact fraction); None if unscorable.
    """

    verdict: Verdict
    answer: str | None


Verifier = Callable[[str, str], Judgement]  # (completion, gold) -> Judgement

# A number as people write it: sign, currency, thousands commas or spaces, decimals or an exponent or a
# fraction, a trailing full stop. Whatever else touches it makes it something else (18k, 18:30, 18x3).
_NUMBER: Final = (
    r"[-+\u2212]?\s*(?:\\?[$\u20ac\u00a3]\s*)?[-+\u2212]?"
    r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?!\d)|\d+)?(?:\.\d+|(?<=\d)\.(?!\d))?"
    r"(?:[eE][-+]?\d+|(?<=\d)/\d+)?"
)
# What may stand before it, and says nothing: emphasis, an opening bracket, the name of an unknown.
_ANSWER: Final = re.compile(
    rf"(?:[\s*_(\[{{]|\\[(\[]|[A-Za-z]\s*=)*(?P<number>{_NUMBER})(?P<rest>[^\n]*)"
)
# What makes the number before it no answer: a letter that touches it (18k), an operator and its operand,
# a power of ten in words, a second number (18 or 19, 18:30) or a retraction. A unit or a gloss does not
# ("18 dollars", "18, since 9 + 9 = 18").
_SPOILT: Final = re.compile(
    r"[A-Za-z]"
    r"|\s*[-+\u2212*/x\u00d7\u00f7^]\s*[({]?\d"
    r"|\s*(?:hundred|thousand|million|billion|trillion|dozen)\b"
    r"|\W*(?:(?:or|and|to|but|maybe|perhaps|possibly|not|rather|then)\b\W*)*[-+\u2212$\u20ac\u00a3]?\d"
    r"|\W*is\s+(?:wrong|not|incorrect|false)\b",
    re.IGNORECASE,
)
_HASHES: Final = re.compile(r"####")
_MARKERS: Final = re.compile(
    r"####|\\boxed\s*\{|(?:final\s+)?answer\s*(?:is|:|=)\s*:?\s*(?:\\boxed\s*\{)?", re.IGNORECASE
)


def number(text: str) -> Fraction | None:
    """The exact value of a number as people write it, or None if `text` is not one number."""
    plain = text.strip().replace("\u2212", "-")
    plain = re.sub(r"[\s,]|\\?[$\u20ac\u00a3]", "", plain).rstrip(".")
    try:
        return Fraction(plain)
    except (ValueError, ZeroDivisionError):
        return None


def _judge(completion: str, gold: str, marker: re.Pattern[str]) -> Judgement:
    """Judge what follows the last `marker`."""
    expected = number(gold)
    if expected is None:
        raise StudyError(f"gold answer {gold!r} is not a number; use the math verifier")
    last = None
    for last in marker.finditer(completion):  # noqa: B007 - the last match is what is wanted
        pass
    if last is None:
        return Judgement(Verdict.UNSCORABLE, None)
    found = _ANSWER.match(completion, last.end())
    given = number(found["number"]) if found else None
    if found is None or given is None:
        return Judgement(Verdict.UNSCORABLE, None)
    if _SPOILT.match(found["rest"]):
        return Judgement(Verdict.WRONG, f"{given} or another")
    return Judgement(Verdict.RIGHT if given == expected else Verdict.WRONG, str(given))


def strict(completion: str, gold: str) -> Judgement:
    """Judge the number after the last `####`; unscorable without one.

    Raises StudyError if `gold` is not a number.
    """
    return _judge(completion, gold, _HASHES)


def flexible(completion: str, gold: str) -> Judgement:
    """Judge the number after the last `####`, `\\boxed{` or "answer is"; unscorable without any.

    Raises StudyError if `gold` is not a number.
    """
    return _judge(completion, gold, _MARKERS)


def math_verify(completion: str, gold: str) -> Judgement:
    """Judge by the math-verify package: any expression, LaTeX included, by symbolic equality.

    Unscorable where it finds no expression or takes longer than its time limit. Slow (milliseconds)
    beside the others. The limit uses SIGALRM, so there is none outside the main thread.
    """
    from math_verify import parse, verify
    from math_verify.errors import TimeoutException

    limit = _seconds_allowed()
    found = parse(completion, parsing_timeout=limit)
    if not found:
        return Judgement(Verdict.UNSCORABLE, None)
    verdict = Verdict.WRONG
    # One pair at a time, as `verify` does, but a comparison that ran out of time is told from a
    # false one; any other failure to compare is a difference, as it is there.
    for expected, given in itertools.product(_parsed_gold(gold), found):
        try:
            if verify(expected, given, timeout_seconds=limit, raise_on_error=True):
                return Judgement(Verdict.RIGHT, str(found[0]))
        except TimeoutException:
            verdict = Verdict.UNSCORABLE
        except Exception:  # sympy has a zoo of its own
            continue
    return Judgement(verdict, None if verdict is Verdict.UNSCORABLE else str(found[0]))


def _seconds_allowed() -> int:
    """The time limit of a parse or a comparison; 0 is none."""
    return 5 if threading.current_thread() is threading.main_thread() else 0


@functools.lru_cache(maxsize=65536)
def _parsed_gold(gold: str) -> Any:
    from math_verify import parse

    return parse(f"${gold}$", parsing_timeout=_seconds_allowed())


class VerifierName(enum.StrEnum):
    """The verifiers a study may name."""

    STRICT = "strict"
    FLEXIBLE = "flexible"
    MATH_VERIFY = "math_verify"


def verifier_named(name: VerifierName) -> Verifier:
    """Return the verifier called `name`.

    Raises StudyError if it needs a package that is absent.
    """
    match name:
        case VerifierName.STRICT:
            return strict
        case VerifierName.FLEXIBLE:
            return flexible
        case VerifierName.MATH_VERIFY:
            extras.require("math_verify")
            return math_verify
