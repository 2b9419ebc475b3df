"""Hard cases for verifiers of a numeric answer, and the table of who errs on which.

What is right here is what a careful human would pay: the last marked answer, read as a number. `python -m
empirical.cases` prints the table of docs/how-to/verifiers.md; a test compares the two.
A list of traps, not a sample: it is no source of error *rates*.
Source: docs/references.md#clean-verifiers-are-not-clean; seven public GSM8K verifiers make
3 to 13 false negatives on 15 right answers of this kind and 0 to 3 false positives on 6 wrong ones.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final

from empirical.verifiers import Verdict, VerifierName, verifier_named

__all__ = ["CASES", "Case", "table"]


@dataclass(frozen=True)
class Case:
    """A completion, the gold answer, whether the completion is right, and what makes it hard."""

    completion: str
    gold: str
    right: bool
    trap: str


_TAIL: Final = " because every step above was checked twice and nothing else was left to add;" * 5

CASES: Final = (
    Case("She sells 16 - 7 = 9 eggs for $18.\n#### 18", "18", True, "the plain format"),
    Case("#### 18.", "18", True, "full stop"),
    Case("#### 18.00", "18", True, "decimals"),
    Case("#### $18", "18", True, "currency sign"),
    Case("####18", "18", True, "no space"),
    Case("####    18   ", "18", True, "spaces"),
    Case(r"\boxed{18}.", "18", True, "boxed"),
    Case(r"The answer is $\boxed{18}$", "18", True, "boxed, in mathematics"),
    Case("#### 18\n" + _TAIL[:400], "18", True, "400 characters after it"),
    Case("#### 7 at first. No:\n#### 18", "18", True, "a correction"),
    Case("#### 1,800", "1800", True, "thousands comma"),
    Case("#### 1800", "1,800", True, "thousands comma in the gold answer"),
    Case("#### 18 dollars", "18", True, "unit"),
    Case("#### +18", "18", True, "plus sign"),
    Case("#### -18", "-18", True, "negative"),
    Case("#### \u221218", "-18", True, "a typographic minus"),
    Case("#### .5", "0.5", True, "no leading zero"),
    Case("The final answer is 18.", "18", True, "said in words"),
    Case("#### **18**", "18", True, "emphasis"),
    Case("#### (18)", "18", True, "brackets"),
    Case("#### x = 18", "18", True, "names the unknown"),
    Case(r"#### \$18", "18", True, "escaped currency sign"),
    Case("#### 1 800", "1800", True, "thousands space"),
    Case("#### 1/2", ".5", True, "a fraction"),
    Case("#### 1e5", "100000", True, "an exponent"),
    Case("#### 18, since 9 + 9 = 18", "18", True, "a gloss"),
    Case("#### 18\n#### 20", "18", False, "changes its mind for the worse"),
    Case("#### 18 or 19", "18", False, "hedges"),
    Case("#### 18, 19", "18", False, "lists"),
    Case("#### 18-19", "18", False, "a range"),
    Case("#### 18 to 19", "18", False, "a range in words"),
    Case("#### 18 or maybe 19", "18", False, "hedges softly"),
    Case("#### 18 (or 19)", "18", False, "hedges in brackets"),
    Case("#### 18 & 19", "18", False, "two answers"),
    Case("#### 18 19", "18", False, "two answers, no comma"),
    Case("#### 18 but 20", "18", False, "takes it back"),
    Case("#### 18 is wrong, 20", "18", False, "calls it wrong"),
    Case("#### 18*2", "18", False, "a product"),
    Case("#### 18+2", "18", False, "a sum"),
    Case("#### 18^2", "18", False, "a power"),
    Case("#### 18x3", "18", False, "a product with x"),
    Case("#### 18e3", "18", False, "an exponent after it"),
    Case("#### 18 1/2", "18", False, "a mixed number"),
    Case("#### 18 million", "18", False, "a power of ten in words"),
    Case("#### 18k", "18", False, "a letter for a thousand"),
    Case("#### 18:30", "18", False, "a time"),
    Case(r"#### 18, that is \boxed{20}", "18", False, "two markers that disagree"),
    Case("I cannot solve this. 18", "18", False, "gives up, mentions the number"),
    Case("#### -18", "18", False, "wrong sign"),
    Case("#### 180", "18", False, "the gold answer is a prefix"),
    Case("#### 118", "18", False, "the gold answer is a suffix"),
    Case("#### 18.5", "18", False, "right up to the decimals"),
    Case("####", "18", False, "marker without an answer"),
    Case("", "18", False, "nothing"),
    Case("18 18 18 18", "18", False, "the number without a claim"),
)


def table() -> str:
    """The verdict of every verifier on every case, as Markdown, errors in bold."""
    names = list(VerifierName)
    lines = [
        "| completion (end) | gold | truth | " + " | ".join(names) + " | trap |",
        "|---|---|---|" + "---|" * (len(names) + 1),
    ]
    errors = {name: {True: 0, False: 0} for name in names}
    for case in CASES:
        cells: list[str] = []
        for name in names:
            verdict = verifier_named(name)(case.completion, case.gold).verdict
            wrongly = (verdict is Verdict.RIGHT) != case.right
            errors[name][case.right] += wrongly
            cells.append(f"**{verdict.value}**" if wrongly else verdict.value)
        shown = case.completion.replace("\n", "\u23ce").replace("|", "\\|")
        shown = shown if len(shown) <= 40 else shown[:37] + "..."
        truth = "right" if case.right else "wrong"
        row = [f"`{shown or ' '}`", f"`{case.gold}`", truth, *cells, case.trap]
        lines.append("| " + " | ".join(row) + " |")
    right = sum(case.right for case in CASES)
    for label, of, paid in (
        ("right answers not paid", right, True),
        ("wrong answers paid", len(CASES) - right, False),
    ):
        counts = " | ".join(f"{errors[name][paid]} of {of}" for name in names)
        lines.append(f"| {label} | | | {counts} | |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
