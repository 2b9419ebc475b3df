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
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from empirical import extras
from empirical.errors import StudyError

__all__ = [
    "Judgement",
    "Verdict",
    "Verifier",
    "VerifierName",
    "first_number",
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
    timed_out: unscorable because judging it would take, or took, too long.
    """

    verdict: Verdict
    answer: str | None
    timed_out: bool = False


Verifier = Callable[[str, str], Judgement]  # (completion, gold) -> Judgement

LONGEST_NUMBER: Final = 400  # characters of one number
MOST_EXPONENT: Final = 300  # of ten, either way
_EXPONENT: Final = re.compile(r"[eE]([-+]?\d+)")
_VAST: Final = 10**308
MOST_READ: Final = 1000  # characters after an answer, on its line, in which another may stand
# A number as people write it: sign, currency, thousands commas or spaces, decimals or an exponent or a
# fraction, a whole and a fraction, a trailing full stop.
_UNSIGNED: Final = (
    r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?!\d)|\d+)?(?:\.\d+|(?<=\d)\.(?!\d))?"
    r"(?:[eE][-+]?\d+|(?<=\d)/\d+|(?<=\d)[ ]+\d+/\d+(?!\d))?"
)
_NUMBER: Final = rf"[-+\u2212]?\s*(?:\\?[$\u20ac\u00a3]\s*)?[-+\u2212]?{_UNSIGNED}"
# What may stand before it, and says nothing: emphasis, an opening bracket, the name of an unknown.
_ANSWER: Final = re.compile(
    rf"(?:[\s*_(\[{{$]|\\[(\[]|[A-Za-z]\s*=)*(?P<number>{_NUMBER})(?P<rest>[^\n]*)"
)
# What makes the number before it another one: letters that touch it and are no unit (18k, 18x), a symbol
# of its own (18 pi), an operator and its operand, a power of ten in words, a command of LaTeX.
_UNIT: Final = (
    r"(?:[kcm]?m|[kmc]?g|[mc]?l|L|lbs?|oz|t|ft|in|mi|yd|h|hrs?|mins?|s|secs?|ms|mph|k[mp]h|am|pm|k?W|kWh|V"
    r"|Hz|C|F|cal|kcal|USD|EUR|GBP|AUD|CAD|c|p)"
)
_OTHER_NUMBER: Final = re.compile(
    rf"(?!(?-i:{_UNIT})(?![A-Za-z])|(?!hundred|thousand|mil|billion|trillion|dozen|bn|or|and)[A-Za-z]{{3,}})[A-Za-z]"
    r"|\s*[\u0370-\u03ff\u4e07\u5343\u767e\u5104\u4ebf\u5146\u221a]"
    r"|\s*\\(?![%$\s()\[\]])"
    r"|\s*[-+\u2212*/x\u00d7\u00f7^]\s*[({]?\d"
    r"|\s*(?:hundreds?|thousands?|millions?|billions?|trillions?|dozens?|mil|bn|mn)\b"
    r"|\W*is\s+(?:wrong|not|incorrect|false)\b",
    re.IGNORECASE,
)
# A second number after it, and after its unit: "18 or 19", "18 dollars or 19 dollars", "18, 19", "18:30". A gloss
# is none ("18, since 9 + 9 = 18"), and neither is what is ruled out ("18 apples, not 20"). A word is taken whole
# (`++`): split in every way, a thousand letters would take for ever.
_WORD: Final = (
    r"(?!(?:since|because|as|so|which|that|for|if|when|after|before|with|at|per|from|by|each|every|where|or|and|to"
    r"|but|not|then|rather|maybe|perhaps|possibly|actually|instead|no|wait|sorry|correction)\b)"
    r"[A-Za-z\u00b0%\u00a2\u00e0-\u00ff']++[.]?"
)
_JOIN: Final = r"(?:or|and|to|but|maybe|perhaps|possibly|not|rather|then|actually|instead|no|wait|sorry|correction)"
_SECOND: Final = re.compile(
    rf"(?:[\s*_/^-]*(?:{_WORD}|\^[23])){{0,4}}"
    rf"(?P<join>\W*?(?:{_JOIN}\b\W*?)*)(?P<number>(?<![\d.^])(?:[-+\u2212]\s?)?[$\u20ac\u00a3]?{_UNSIGNED})(?<=\d)",
    re.IGNORECASE,
)
_ONLY_UNITS: Final = re.compile(r"[^\d\\=+<>]*[23]?[^\d\\=+<>]*")
_SUM: Final = re.compile(r"[\s\d.,$()+\-\u2212*/x\u00d7\u00f7^\\]+(?:[A-Za-z%\u00b0]+\s*)?")
_FIRST: Final = re.compile(
    rf"(?:(?<![\w.])[-+\u2212]\s?)?(?:\\?[$\u20ac\u00a3]\s*)?(?=[.\d]){_UNSIGNED}(?<=[\d.])"
)
_HASHES: Final = re.compile(r"#{4,}")
_MARKERS: Final = re.compile(
    r"#{4,}|(?P<box>\\boxed\s*\{)"
    r"|(?:final\s+)?answer\s*(?:is|:|=)\s*:?\s*[$*(]*\s*(?P<also>\\boxed\s*\{)?",
    re.IGNORECASE,
)
_LATEX: Final = (
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\(?:left|right|bigl?|bigr)(?![A-Za-z])"), ""),
    (re.compile(r"(?<=\d)(?:\\[,;:! ]|~)(?=\d{3}(?!\d))"), " "),
    (re.compile(r"\\[,;:!]|~|\\q?quad(?![A-Za-z])"), " "),
    (re.compile(r"\\(?:text|mathrm|textbf|mathbf|textit|mbox|textrm)\s*\{([^{}]*)\}"), r" \1"),
    (re.compile(r"(?<=\d)\s*\\[dt]?frac\s*\{(\d+)\}\s*\{(\d+)\}"), r" \1/\2"),
    (re.compile(r"(?<=\d)\s*\\[dt]?frac\s*(\d)\s*(\d)(?!\d)"), r" \1/\2"),
    (re.compile(r"\\[dt]?frac\s*\{([-+]?\d+)\}\s*\{(\d+)\}"), r"\1/\2"),
    (re.compile(r"\\[dt]?frac\s*(\d)\s*(\d)(?!\d)"), r"\1/\2"),
    (re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ)"), "\u00b0"),
    (re.compile(r"\\(?:times|cdot)(?![A-Za-z])"), "*"),
    (re.compile(r"\\([%$])"), r"\1"),
)


def number(text: str) -> Fraction | None:
    """The exact value of a number as people write it, or None if `text` is not one number.

    None as well where it is longer than LONGEST_NUMBER or above every float (1e400): `1e10000000` is a few
    characters and ten million digits.
    """
    plain = text.strip().replace("\u2212", "-")
    if len(plain) > LONGEST_NUMBER or any(
        len(power.lstrip("+-0")) > 3 or abs(int(power)) > MOST_EXPONENT
        for power in _EXPONENT.findall(plain)
    ):
        return None
    mixed = re.fullmatch(r"([-+]?)\s*[$\u20ac\u00a3]?\s*(\d+)\s+(\d+/\d+)", plain)
    try:
        if mixed:
            size = int(mixed[2]) + Fraction(mixed[3])
            value = -size if mixed[1] == "-" else size
        else:
            value = Fraction(re.sub(r"[\s,]|\\?[$\u20ac\u00a3]", "", plain).rstrip("."))
    except (ValueError, ZeroDivisionError):
        return None
    return value if abs(value) < _VAST else None


def _without_latex(text: str) -> str:
    """A number's LaTeX as plain text: thin spaces, braces, units in text, fractions; the rest as it is."""
    if "\\" in text or "{,}" in text or "~" in text:
        for pattern, plain in _LATEX:
            text = pattern.sub(plain, text)
    return text


def _in_braces(text: str, start: int) -> tuple[str, int] | None:
    """What stands in the brace opened before `start`, and where it ends; None where it never does."""
    depth = 1
    for at in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[start:at], at + 1
    return None


def _after_equals(text: str) -> str:
    """A chain of equations from its answer on: its last side, or its first where the others are sums."""
    line, newline, more = text.partition("\n")
    sides = line.split("=")
    if len(sides) < 2:
        return text
    if all(_SUM.fullmatch(side) and re.search(r"\d", side) for side in sides[:-1]):
        last = _ANSWER.match(sides[-1])
        value = number(last["number"]) if last else None
        if last and value is not None and not _OTHER_NUMBER.match(last["rest"]):
            return sides[-1] + newline + more
        if number(sides[0]) is not None and _SUM.fullmatch(sides[-1]):
            return sides[0] + newline + more
    return text


def _another(rest: str, given: Fraction) -> bool:
    """Whether the text after a number makes it another, or one of several."""
    if _OTHER_NUMBER.match(rest):
        return True
    while found := _SECOND.match(rest):
        second = number(found["number"])
        ruled_out = re.search(r"\bnot\b", found["join"], re.IGNORECASE) is not None
        rest = rest[found.end() :]
        if not ruled_out and (second != given or _OTHER_NUMBER.match(rest)):
            return True
    return False


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
    boxed = any(last.groupdict().values())
    after = ""
    if boxed:
        box = _in_braces(completion, last.end())
        if box is None:
            return Judgement(Verdict.UNSCORABLE, None)
        answer, end = box
        after = completion[end:].partition("\n")[0]
    else:
        answer = completion[last.end() :]
    found = _ANSWER.match(_after_equals(_without_latex(answer)))
    given = number(found["number"]) if found else None
    if found is None or given is None:
        return Judgement(Verdict.UNSCORABLE, None)
    rest = found["rest"][:MOST_READ]
    if _another(rest, given) or _another(_without_latex(after[:MOST_READ]).lstrip("$ ."), given):
        return Judgement(Verdict.WRONG, f"{given} or another")
    if boxed and not _ONLY_UNITS.fullmatch(rest):
        return Judgement(Verdict.UNSCORABLE, None)
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


def first_number(completion: str, gold: str) -> Judgement:
    """Judge the first number of the completion, whatever follows it; unscorable without one.

    For prompts that the answer continues (`8+6=`). Raises StudyError if `gold` is not a number.
    """
    expected = number(gold)
    if expected is None:
        raise StudyError(f"gold answer {gold!r} is not a number; use the math verifier")
    found = _FIRST.search(completion[:MOST_READ])
    given = number(found[0]) if found else None
    if given is None:
        return Judgement(Verdict.UNSCORABLE, None)
    return Judgement(Verdict.RIGHT if given == expected else Verdict.WRONG, str(given))


def math_verify(completion: str, gold: str) -> Judgement:
    """Judge by the math-verify package: any expression, LaTeX included, by symbolic equality.

    Unscorable where it finds no expression; unscorable and `timed_out` where the text asks for more than is
    parsed, or takes longer than `empirical.math_worker` allows. Of a long completion its end is read. Slow
    (milliseconds) beside the others; in any thread.
    """
    from empirical.math_worker import LONGEST, this_worker, too_much

    text = completion[-LONGEST:]
    if too_much(text) or too_much(gold) or len(gold) > LONGEST:
        return Judgement(Verdict.UNSCORABLE, None, timed_out=True)
    verdict, answer = this_worker().ask(text, gold)
    if verdict == "timed out":
        return Judgement(Verdict.UNSCORABLE, None, timed_out=True)
    return Judgement(Verdict(verdict), answer)


class VerifierName(enum.StrEnum):
    """The verifiers a study may name."""

    STRICT = "strict"
    FLEXIBLE = "flexible"
    FIRST_NUMBER = "first_number"
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
        case VerifierName.FIRST_NUMBER:
            return first_number
        case VerifierName.MATH_VERIFY:
            extras.require("math_verify")
            return math_verify
