"""What a rollout looks like: the features by which an audit looks for systematic errors.

Every feature is a plain sentence and a mask over rollouts: how an answer is written, what number it is, how
it relates to the gold answer, what the completion around it looks like, how hard its prompt is, and whatever
categories and numbers the table's other columns hold. None is made for one verifier's fault; that a fault
shows in some feature is what tests/empirical/audit measures.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from empirical.audit.labels import Labels
from empirical.verifiers import number

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

__all__ = ["LEFT_OUT", "features"]

MOST_CATEGORIES: Final = 20
MOST_WORDS: Final = 60
LEFT_OUT: Final = re.compile(
    r"reward|advantage|score|verdict|truth|label|correct|grade|judg|^_|(^|_)id$|uuid|hash|seed|index",
    re.IGNORECASE,
)
_MARKERS: Final = re.compile(
    r"####|\\boxed\s*\{|(?:final\s+)?answer\s*(?:is|:|=)\s*:?|^A:", re.IGNORECASE | re.MULTILINE
)
_NUMBER: Final = re.compile(
    r"[-+\u2212]?\s*[$\u20ac\u00a3]?\s*(?:\d{1,3}(?:[, \u00a0\u202f]\d{3})+(?!\d)|\d+)?(?:\.\d+|(?<=\d))"
    r"(?:[eE][-+]?\d+|\s*/\s*\d+)?"
)
_WORD: Final = re.compile(r"[a-z][a-z']{2,}", re.IGNORECASE)

# How an answer is written. The sentence completes "the answer …" or "the gold answer …".
_WRITTEN: Final[dict[str, Callable[[str], bool]]] = {
    "is empty": lambda t: not t,
    "has a thousands comma": re.compile(r"\d,\d{3}").search,  # pyright: ignore[reportAssignmentType]
    "has a thousands space": re.compile(r"\d[ \u00a0\u202f]\d{3}(?!\d)").search,  # pyright: ignore[reportAssignmentType]
    "has decimals": re.compile(r"\d?\.\d").search,  # pyright: ignore[reportAssignmentType]
    "ends in .0": re.compile(r"\d\.0+(?!\d)").search,  # pyright: ignore[reportAssignmentType]
    "has no digit before its point": re.compile(r"(?<!\d)\.\d").search,  # pyright: ignore[reportAssignmentType]
    "has a minus sign": re.compile(r"(?<![\w)])\s*[-\u2212]\s*[$\u20ac\u00a3]?\s*\.?\d").search,  # pyright: ignore[reportAssignmentType]
    "has a typographic minus": lambda t: "\u2212" in t,
    "has a plus sign": re.compile(r"(?<![\w)])\s*\+\s*\d").search,  # pyright: ignore[reportAssignmentType]
    "has a currency sign": re.compile(r"[$\u20ac\u00a3]\s*[-\u2212]?\d").search,  # pyright: ignore[reportAssignmentType]
    "has a percent sign": lambda t: "%" in t,
    "is a fraction": re.compile(r"\d\s*/\s*\d|\\d?frac").search,  # pyright: ignore[reportAssignmentType]
    "has an exponent": re.compile(r"\d[eE][-+]?\d|10\s*\^|\\times").search,  # pyright: ignore[reportAssignmentType]
    "has a word or unit after its number": re.compile(r"\d\s*\}?\**\s*[^\W\d_]{1,}").search,  # pyright: ignore[reportAssignmentType]
    "has a word before its number": re.compile(r"^[^\d\\]*[^\W\d_]{1,}[^\d]*\d").search,  # pyright: ignore[reportAssignmentType]
    "has LaTeX": lambda t: "\\" in t,
    "has emphasis": lambda t: "**" in t or "__" in t,
    "has brackets": re.compile(r"[(\[{]").search,  # pyright: ignore[reportAssignmentType]
    "has quotes": re.compile(r"[\"'`\u2018\u201c]").search,  # pyright: ignore[reportAssignmentType]
    "ends in a full stop": re.compile(r"\.\s*$").search,  # pyright: ignore[reportAssignmentType]
    "has a leading zero": re.compile(r"(?<![\d.,])0\d").search,  # pyright: ignore[reportAssignmentType]
    "has an equals sign": lambda t: "=" in t,
    "gives an alternative": re.compile(r"\d\W*\b(?:or|and|to)\b\W*\d").search,  # pyright: ignore[reportAssignmentType]
    "has capital letters": re.compile(r"[A-Z]").search,  # pyright: ignore[reportAssignmentType]
    "has characters beyond ASCII": lambda t: not t.isascii(),
    "has space at its ends": lambda t: t != t.strip(),
}
_ABOUT_COMPLETION: Final[dict[str, Callable[[str], bool]]] = {
    "has \\boxed": lambda t: "\\boxed" in t,
    "has ####": lambda t: "####" in t,
    "has emphasis": lambda t: "**" in t,
    "has LaTeX": re.compile(r"\\[a-zA-Z(\[]|\$[^$]+\$").search,  # pyright: ignore[reportAssignmentType]
    "has code": lambda t: "```" in t or "def " in t,
    "has tags": re.compile(r"<\w+>").search,  # pyright: ignore[reportAssignmentType]
    "marks an answer more than once": lambda t: len(_MARKERS.findall(t)) > 1,
    "marks no answer": lambda t: _MARKERS.search(t) is None,
    "goes on after the line of its answer": lambda t: bool(_after_answer(t).strip()),
    "has numbers after its answer": lambda t: bool(re.search(r"\d", _after_answer(t))),
    "is empty": lambda t: not t.strip(),
    "ends in a full stop": lambda t: t.rstrip().endswith("."),
    "is one line": lambda t: "\n" not in t.strip(),
    "has a question mark": lambda t: "?" in t,
    "has an exclamation mark": lambda t: "!" in t,
    "has characters beyond ASCII": lambda t: not t.isascii(),
}


def _after_answer(text: str) -> str:
    """What stands below the line of the last marked answer; nothing where none is marked."""
    last = None
    for last in _MARKERS.finditer(text):  # noqa: B007 - the last match is what is wanted
        pass
    return "" if last is None else text[last.end() :].partition("\n")[2]


def _marked(text: str) -> str:
    """The answer a completion marks last, to the end of its line; its last line where it marks none."""
    last = None
    for last in _MARKERS.finditer(text):  # noqa: B007
        pass
    if last is None:
        return text.rstrip().rpartition("\n")[2]
    found = text[last.end() :].partition("\n")[0].strip()
    if text[last.start() : last.end()].startswith("\\boxed"):
        depth = 1
        for place, letter in enumerate(found):
            depth += {"{": 1, "}": -1}.get(letter, 0)
            if depth == 0:
                return found[:place]
    return found


def _value(text: str) -> float:
    """The first number in a text; NaN where there is none."""
    for found in _NUMBER.finditer(text):
        exact = number(found[0].replace(" ", ""))
        if exact is not None:
            try:
                return float(exact)
            except OverflowError:
                return math.nan
    return math.nan


def features(labels: Labels, *, segments: Sequence[str] = ()) -> dict[str, BoolArray]:
    """Sentence to mask, each of shape [N]; a mask that another sentence already has is left out.

    segments: other columns to take in whatever their name; by default those that look like verdicts,
    rewards or identifiers are left out (`LEFT_OUT`), for they would explain an error by itself.
    """
    count = len(labels.truth_N)
    found: dict[str, BoolArray] = {}

    def add(sentence: str, mask: Any) -> None:
        found[sentence] = np.asarray(mask, dtype=np.bool_)

    texts = dict(labels.texts)
    if "completion" in texts and "answer" not in texts:
        texts["answer"] = [_marked(text) for text in texts["completion"]]
    for role, spoken in (("answer", "the answer"), ("gold", "the gold answer")):
        if role in texts:
            _written(texts[role], spoken, add)
    if "answer" in texts and "gold" in texts:
        _beside(texts["answer"], texts["gold"], texts.get("completion"), add)
    if "completion" in texts:
        _around(texts["completion"], add)
    _difficulty(labels, add)
    for name in map(str, labels.others.columns):
        if name in segments or not LEFT_OUT.search(name):
            _column(labels.others[name], name, add, count)
    both: dict[bytes, str] = {}
    kept: dict[str, BoolArray] = {}
    for sentence, mask in found.items():
        for name, side in ((sentence, mask), (f"not: {sentence}", ~mask)):
            key = np.packbits(side).tobytes()
            if side.any() and not side.all() and key not in both:
                both[key] = name
                kept[name] = side
    return kept


_Add = Callable[[str, Any], None]


def _written(texts: Sequence[str], spoken: str, add: _Add) -> None:
    for sentence, test in _WRITTEN.items():
        add(f"{spoken} {sentence}", [bool(test(text)) for text in texts])
    values = np.array([_value(text) for text in texts])
    sizes = np.abs(values)
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        add(f"{spoken} is no number", ~known)
        add(f"{spoken} is not a whole number", known & (values != np.floor(values)))
        add(f"{spoken} is 0", values == 0.0)
        add(f"{spoken} is negative", values < 0.0)
        for size, name in ((1, "1"), (10, "10"), (100, "100"), (1000, "1,000"), (1e6, "a million")):
            add(f"{spoken} is at least {name} in size", sizes >= size)
        whole = known & (values == np.floor(values)) & (sizes < 2**53)
        digits = np.where(whole, sizes, 0.0).astype(np.int64)
        for digit in range(10):
            add(f"{spoken} ends in the digit {digit}", whole & (digits % 10 == digit))
        add(f"{spoken} is odd", whole & (digits % 2 == 1))
        add(f"{spoken} ends in two zeros", whole & (digits % 100 == 0) & (digits > 0))
    _extremes(
        np.array([len(text) for text in texts], dtype=float), f"{spoken} is", "long", "short", add
    )


def _beside(
    answers: Sequence[str], golds: Sequence[str], completions: Sequence[str] | None, add: _Add
) -> None:
    """How the number answered relates to the gold one."""
    v, g = (np.array([_value(text) for text in texts]) for texts in (answers, golds))
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.abs(v - g)
        differ = off > 1e-9 * np.maximum(np.abs(g), 1.0)
        ratio = np.where((v != 0) & (g != 0), v / g, np.nan)
        powers = np.log10(np.abs(ratio))
        add(
            "the answer is the gold one with the other sign",
            differ & (np.abs(v + g) < 1e-9 * np.maximum(np.abs(g), 1.0)),
        )
        add("the answer misses by at most 1", differ & (off <= 1.0))
        for share, name in ((0.01, "1 %"), (0.05, "5 %"), (0.1, "10 %"), (0.5, "50 %")):
            add(f"the answer misses by at most {name}", differ & (off <= share * np.abs(g)))
        add("the answer is the gold one, rounded", differ & (v == np.round(g)))
        add(
            "the answer and the gold one agree before the point",
            differ & (np.trunc(v) == np.trunc(g)),
        )
        add(
            "the answer is a power of ten times the gold one",
            differ & (np.abs(powers - np.round(powers)) < 1e-9),
        )
        add("the answer is above the gold one", differ & (v > g))
        add(
            "the answer is a multiple of the gold one",
            differ & (np.abs(ratio - np.round(ratio)) < 1e-9),
        )
    digits = [
        tuple(re.sub(r"\D", "", text) for text in pair) for pair in zip(answers, golds, strict=True)
    ]
    add(
        "the answer begins with the gold one's digits",
        differ & [bool(h) and a.startswith(h) and a != h for a, h in digits],
    )
    add(
        "the answer ends with the gold one's digits",
        differ & [bool(h) and a.endswith(h) and a != h for a, h in digits],
    )
    add(
        "the gold one begins with the answer's digits",
        differ & [bool(a) and h.startswith(a) and a != h for a, h in digits],
    )
    add("the answer has the gold one's number of digits", [len(a) == len(h) for a, h in digits])
    add(
        "the answer and the gold one begin with the same digit",
        differ & [a[:1] == h[:1] != "" for a, h in digits],
    )
    add(
        "the answer and the gold one end in the same digit",
        differ & [a[-1:] == h[-1:] != "" for a, h in digits],
    )
    plain = [(a.strip(), h.strip()) for a, h in zip(answers, golds, strict=True)]
    add("the answer is written as the gold one", [a == h for a, h in plain])
    add(
        "the answer differs from the gold one in case",
        [a != h and a.lower() == h.lower() for a, h in plain],
    )
    add("the answer contains the gold one", [a != h and bool(h) and h in a for a, h in plain])
    if completions is None:
        return
    all_numbers = [
        [value for found in _NUMBER.finditer(text) if math.isfinite(value := _value(found[0]))]
        for text in completions
    ]
    same = [
        [abs(value - gold) <= 1e-9 * max(abs(gold), 1.0) for value in values]
        for values, gold in zip(all_numbers, g, strict=True)
    ]
    add("the gold number appears in the completion", [any(s) for s in same])
    add("the last number of the completion is the gold one", [bool(s) and s[-1] for s in same])
    add("the first number of the completion is the gold one", [bool(s) and s[0] for s in same])
    add(
        "the last number of the completion is not its answer",
        [
            bool(values) and not (abs(values[-1] - a) <= 1e-9 * max(abs(a), 1.0))
            for values, a in zip(all_numbers, v, strict=True)
        ],
    )


def _around(completions: Sequence[str], add: _Add) -> None:
    for sentence, test in _ABOUT_COMPLETION.items():
        add(f"the completion {sentence}", [bool(test(text)) for text in completions])
    lengths = np.array([len(text) for text in completions], dtype=float)
    _extremes(lengths, "the completion is", "long", "short", add)
    lines = np.array([text.count("\n") for text in completions], dtype=float)
    _extremes(lines, "the completion has", "many lines", "few lines", add)
    bags = [{word.lower() for word in _WORD.findall(text)} for text in completions]
    seen = Counter(word for bag in bags for word in bag)
    least, most = max(0.02 * len(bags), 5.0), 0.98 * len(bags)
    # Words whose presence varies most are those that can tell errors apart best.
    common = [word for word, times in seen.items() if least <= times <= most]
    common.sort(key=lambda word: (abs(2 * seen[word] - len(bags)), word))
    for word in common[:MOST_WORDS]:
        add(f"the completion says {word!r}", [word in bag for bag in bags])


def _extremes(values: FloatArray, spoken: str, high: str, low: str, add: _Add) -> None:
    """Top and bottom quarter, and top tenth."""
    if len(np.unique(values)) < 4:
        return
    for share, side in ((0.9, "top tenth"), (0.75, "top quarter")):
        add(f"{spoken} {high} ({side})", values > np.quantile(values, share))
    add(f"{spoken} {low} (bottom quarter)", values < np.quantile(values, 0.25))


def _difficulty(labels: Labels, add: _Add) -> None:
    """Prompts by the share of their other labelled rollouts that are right."""
    known = np.isfinite(labels.truth_N)
    right = np.where(known, labels.truth_N, 0.0)
    totals = np.bincount(labels.cluster_N, right)[labels.cluster_N] - right
    counts = np.bincount(labels.cluster_N, known.astype(float))[labels.cluster_N] - known
    if np.median(counts) < 2:
        return
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = np.where(counts > 0, totals / counts, np.nan)
        add("the prompt is hard (under a quarter of its other rollouts right)", rate < 0.25)
        add("the prompt is easy (over three quarters of its other rollouts right)", rate > 0.75)


def _column(cells: pd.Series[Any], name: str, add: _Add, count: int) -> None:
    text = cells.map(lambda cell: "" if cell is None else str(cell).strip())
    distinct = text.value_counts()
    if 2 <= len(distinct) <= MOST_CATEGORIES:
        for value, times in distinct.items():
            if times >= 5:
                add(f"{name} = {value}", (text == value).to_numpy())
        return
    values = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    if np.isfinite(values).mean() > 0.9 and count > 20:
        for share, spoken in ((0.9, "top tenth"), (0.75, "top quarter")):
            cut = float(np.nanquantile(values, share))
            with np.errstate(invalid="ignore"):
                add(f"{name} above {cut:g} ({spoken})", values > cut)
        cut = float(np.nanquantile(values, 0.25))
        with np.errstate(invalid="ignore"):
            add(f"{name} below {cut:g} (bottom quarter)", values < cut)
    elif len(distinct) > MOST_CATEGORIES:
        lengths = np.array([len(one) for one in text], dtype=float)
        _extremes(lengths, f"{name} is", "long", "short", add)
