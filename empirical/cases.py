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
    # The whole box.
    Case(r"\boxed{18\pi}", "18", False, "a factor of pi in the box"),
    Case(r"\boxed{18\frac12}", "18", False, "a mixed number in the box"),
    Case(r"\boxed{18 \text{ or } 19}", "18", False, "hedges in the box"),
    Case(r"\boxed{18, 19}", "18", False, "lists in the box"),
    Case(r"\boxed{18\sqrt{2}}", "18", False, "a root in the box"),
    Case(r"\boxed{18x}", "18", False, "an unknown in the box"),
    Case(r"\boxed{18 \cdot 2}", "18", False, "a product in the box"),
    Case(r"\boxed{18^2}", "18", False, "a power in the box"),
    Case(r"\boxed{18} or 19", "18", False, "hedges behind the box"),
    Case(r"\boxed{18} or \boxed{19}", "18", False, "two boxes"),
    Case(r"\boxed{18}, so \boxed{19", "18", False, "the last box does not end"),
    Case("\\boxed{18", "18", False, "a box that does not end"),
    Case(r"\boxed{10{,}080}", "10080", True, "a comma in braces"),
    Case(r"\boxed{1\,800}", "1800", True, "a thin space"),
    Case(r"\boxed{2\frac12}", "2.5", True, "a mixed number"),
    Case(r"\boxed{2\frac{1}{2}}", "5/2", True, "a mixed number in braces"),
    Case(r"\boxed{\frac{36}{2}}", "18", True, "a fraction that is whole"),
    Case(r"\boxed{\$18}", "18", True, "currency in the box"),
    Case(r"\boxed{18\text{ dollars}}", "18", True, "a unit in the box"),
    Case(r"\boxed{18 \text{ cm}^2}", "18", True, "a unit with an exponent"),
    Case(r"\boxed{18\%}", "18", True, "per cent in the box"),
    Case(r"\boxed{18^\circ}", "18", True, "degrees in the box"),
    Case(r"\boxed{x = 18}", "18", True, "the unknown in the box"),
    Case(r"\boxed{-18}", "-18", True, "a sign in the box"),
    # Hedges behind a unit.
    Case("#### 18 dollars or 19 dollars", "18", False, "hedges behind a unit"),
    Case("#### 18 eggs, 19 eggs", "18", False, "lists with units"),
    Case("#### 18 cats (or 19 cats)", "18", False, "hedges in brackets behind a unit"),
    Case("#### 18 hours and 20 minutes", "18", False, "a sum of two units"),
    Case("#### 18 dollars and 50 cents", "18", False, "dollars and cents"),
    Case("#### 18 dollars, maybe 20", "18", False, "hedges softly behind a unit"),
    Case("#### 18% or 19%", "18", False, "hedges behind per cent"),
    Case(
        "#### 18 square feet to 20 square feet", "18", False, "a range behind a unit of two words"
    ),
    Case("#### 18. No, 20", "18", False, "takes it back behind a full stop"),
    Case("#### 18 apples, not 20", "18", True, "rules another out"),
    Case("#### 18, or $18.00", "18", True, "says it again"),
    Case("#### 18 dollars (18.00)", "18", True, "says it again in brackets"),
    Case("#### 18 dollars for 3 apples", "18", True, "a gloss with a number"),
    Case("#### 18 miles at 3 mph", "18", True, "a gloss with a rate"),
    Case("The answer is 18 dollars or 19 dollars.", "18", False, "hedges in words behind a unit"),
    # What touches the number.
    Case("#### 18\u03c0", "18", False, "pi"),
    Case("#### 18 \u03c0", "18", False, "pi after a space"),
    Case("#### 18M", "18", False, "a letter for a million"),
    Case("#### 18 mil", "18", False, "a million cut short"),
    Case("#### 18x", "18", False, "an unknown"),
    Case("#### 18\u4e07", "18", False, "ten thousand in Chinese"),
    Case("#### 18kg", "18", True, "kilograms that touch"),
    Case("#### 18cm", "18", True, "centimetres that touch"),
    Case("#### 18mph", "18", True, "a speed that touches"),
    Case("#### 18%", "18", True, "per cent"),
    Case("#### 18apples", "18", True, "a word that touches"),
    # Sums that end in the answer.
    Case("#### 12 + 6 = 18", "18", True, "a sum"),
    Case("#### 9*2=18", "18", True, "a product"),
    Case("#### 36 / 2 = $18", "18", True, "a quotient of currency"),
    Case("#### 18 = 9 + 9", "18", True, "the sum behind the answer"),
    Case("#### 18 + 2 = 20", "18", False, "a sum that begins with it"),
    Case("#### 9 + 9 = 18 = 20 - 1 = 19", "18", False, "a chain that goes on"),
    # Markers.
    Case("##### 18", "18", True, "five marks"),
    Case("###### 18", "18", True, "six marks"),
    Case("### 18", "18", False, "three marks: a heading"),
    Case("The answer is not 18", "18", False, "denies it"),
    Case("The answer is not 18.\n#### 20", "18", False, "denies it, then answers"),
    Case("#### 2 1/2", "2.5", True, "a mixed number in plain text"),
    Case("#### ???", "18", False, "no number at all"),
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
