"""Verifiers on the hard cases; right, wrong and could-not-tell kept apart."""

from __future__ import annotations

import contextlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import pytest

from empirical import math_worker, verifiers
from empirical.cases import CASES, Case, table
from empirical.errors import StudyError
from empirical.verifiers import (
    Verdict,
    Verifier,
    VerifierName,
    first_number,
    flexible,
    number,
    strict,
    verifier_named,
)
from tests.shared_data import shared_case

DOCS = Path(__file__).parents[2] / "docs" / "how-to" / "verifiers.md"


def test_there_are_enough_cases_of_both_kinds():
    assert len({(case.completion, case.gold) for case in CASES}) == len(CASES) >= 80
    assert sum(case.right for case in CASES) >= 40
    assert sum(not case.right for case in CASES) >= 40


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.trap)
def test_the_flexible_verifier_errs_on_none(case: Case):
    assert (flexible(case.completion, case.gold).verdict is Verdict.RIGHT) == case.right


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("#### 18", Verdict.RIGHT),
        ("#### 19", Verdict.WRONG),
        ("#### 18 or 19", Verdict.WRONG),
        (r"\boxed{18}", Verdict.UNSCORABLE),
        ("18", Verdict.UNSCORABLE),
        ("#### eighteen", Verdict.UNSCORABLE),
        ("####\n18", Verdict.RIGHT),
    ],
)
def test_the_strict_verifier_reads_only_hashes(completion: str, expected: Verdict):
    assert strict(completion, "18").verdict is expected


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("18\n", Verdict.RIGHT),
        (" 18.0", Verdict.RIGHT),
        ("$18 or 19", Verdict.RIGHT),
        ("1,8", Verdict.WRONG),
        ("-18", Verdict.WRONG),
        ("\u221218", Verdict.WRONG),
        ("= 19, no, 18", Verdict.WRONG),
        ("19-1=18", Verdict.WRONG),
        ("18-1=17", Verdict.RIGHT),
        ("x-18", Verdict.RIGHT),  # a hyphen, or an operator: no sign of the number's own
        (".5", Verdict.WRONG),
        ("none", Verdict.UNSCORABLE),
        ("", Verdict.UNSCORABLE),
        ("9" * 500, Verdict.UNSCORABLE),
    ],
)
def test_the_first_number_is_the_answer_whatever_follows(
    completion: str, expected: Verdict
) -> None:
    assert first_number(completion, "18").verdict is expected


def test_the_first_number_needs_a_gold_number() -> None:
    with pytest.raises(StudyError, match="x"):
        first_number("3", "x")


def test_the_reported_hedges_behind_units() -> None:
    lines = shared_case("08-hedge-behind-a-unit/cases.jsonl").read_text(encoding="utf-8")
    for case in map(json.loads, lines.splitlines()):
        for judge in (strict, flexible):
            verdict = judge(case["completion"], case["gold"]).verdict
            assert (verdict is Verdict.RIGHT) == (case["truth"] == "right"), case


@pytest.mark.parametrize("unit", ["dollars", "kg", "cm", "%", "square feet", "hours", "\u20ac", ""])
@pytest.mark.parametrize("gap", [" ", ""])
def test_a_second_number_behind_any_unit_is_a_hedge(unit: str, gap: str) -> None:
    one, other = f"18{gap}{unit}", f"19{gap}{unit}"
    assert flexible(f"#### {one}", "18").verdict is Verdict.RIGHT
    for join in (" or ", ", ", " to ", " and ", " (or ", "; ", " / ", " maybe ", ". No, "):
        assert flexible(f"#### {one}{join}{other}", "18").verdict is Verdict.WRONG, join
        if join != " / ":  # a quotient, where there is no unit
            assert flexible(f"#### {one}{join}{one}", "18").verdict is Verdict.RIGHT, join
    assert flexible(f"#### {one}, not {other}", "18").verdict is Verdict.RIGHT


@pytest.mark.parametrize(
    "body", [r"18\pi", r"18\sqrt2", "18y", r"18\mu", r"18\alpha", "18+x", r"18\binom{2}{1}"]
)
def test_a_box_is_judged_whole_or_not_at_all(body: str) -> None:
    for text in (rf"\boxed{{{body}}}", rf"The answer is $\boxed{{{body}}}$."):
        assert flexible(text, "18").verdict is not Verdict.RIGHT


@pytest.mark.parametrize(
    ("left", "value"), [("12 + 6", 18), ("20 - 2", 18), ("9*2", 18), ("9 x 2", 18), ("36/2", 18)]
)
def test_a_sum_is_read_to_its_end_or_from_its_beginning(left: str, value: int) -> None:
    for text in (f"#### {left} = {value}", f"#### {left}={value}", f"#### {value} = {left}"):
        assert flexible(text, str(value)).verdict is Verdict.RIGHT
        assert flexible(text, "9").verdict is Verdict.WRONG


def test_a_long_line_is_read_in_no_time() -> None:
    for filler in (" a", ",", " or", "(", "= 1 ", " -", "^", r"\text{a}"):
        began = time.perf_counter()
        flexible("#### 18" + filler * 20_000, "18")
        first_number(filler * 20_000 + "18", "18")
        flexible(r"\boxed{18" + filler * 20_000, "18")
        assert time.perf_counter() - began < 2.0


def test_equal_numbers_are_one_answer():
    """Persistent noise is keyed by the answer: 18, 18.0 and $18 must share their flips."""
    answers = {strict(f"#### {text}", "7").answer for text in ("18", "18.0", "$18", "18.", "+18")}
    assert answers == {"18"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234.50", Fraction(2469, 2)),
        ("-3", Fraction(-3)),
        ("\u22123", Fraction(-3)),
        ("$ 5", Fraction(5)),
        ("five", None),
        ("", None),
        ("3/0", None),
    ],
)
def test_numbers_as_people_write_them(text: str, value: Fraction | None):
    assert number(text) == value


def test_a_gold_answer_that_is_no_number_is_an_error():
    with pytest.raises(StudyError, match="x\\^2"):
        strict("#### 3", "x^2")


@pytest.mark.skipif(find_spec("math_verify") is None, reason="needs math-verify")
def test_the_documented_table_is_current():
    assert DOCS.read_text(encoding="utf-8").endswith(table())


@pytest.mark.skipif(find_spec("math_verify") is None, reason="needs math-verify")
def test_math_verify_reads_expressions():
    judge = verifier_named("math_verify")  # pyright: ignore[reportArgumentType]
    assert judge(r"so $\frac{36}{2}$", "18").verdict is Verdict.RIGHT
    assert judge("nothing here", "18").verdict is Verdict.UNSCORABLE


@pytest.mark.skipif(find_spec("math_verify") is None, reason="needs math-verify")
def test_math_verify_judges_outside_the_main_thread():
    """As verl's reward workers do; its time limits know only the main thread."""
    judge = verifier_named(VerifierName.MATH_VERIFY)
    with ThreadPoolExecutor(1) as pool:
        # A gold answer no other test has had parsed.
        assert pool.submit(judge, "so $4321$", "4321").result().verdict is Verdict.RIGHT


@pytest.mark.skipif(find_spec("math_verify") is None, reason="needs math-verify")
def test_hostile_answers_are_unscorable_in_time_and_the_next_is_judged():
    worker = math_worker.MathWorker(seconds_each=1.0)
    try:
        assert worker.ask("so $5$", "5") == ("right", "5")  # started
        began = time.monotonic()
        assert worker.ask("so $9^{9^{9^{9}}}$", "6")[0] in ("timed out", "unscorable")
        assert worker.ask("so $(x+1)^{999}(x-1)^{999}(x+2)^{999}$", "x")[0] != "right"
        assert time.monotonic() - began < 2.0 + 2.0 * math_worker.SECONDS_EACH
        assert worker.ask("so $5$", "5") == ("right", "5")
    finally:
        worker.stop()


@pytest.mark.skipif(find_spec("math_verify") is None, reason="needs math-verify")
def test_a_batch_has_a_budget_and_what_is_over_it_is_unscorable_and_said():
    judge = verifier_named(VerifierName.MATH_VERIFY)
    assert judge("so $5$", "5").verdict is Verdict.RIGHT
    with math_worker.batch(0.0):
        left = judge("so $5$", "5")
    assert (left.verdict, left.timed_out) == (Verdict.UNSCORABLE, True)
    assert judge("so $5$", "5").verdict is Verdict.RIGHT


@pytest.mark.parametrize(
    "text", ["$10^{10000}$", "1e10000000", "$" + "{" * 60 + "1" + "}" * 60 + "$", "1" * 5000]
)
def test_what_asks_for_too_much_is_not_parsed(text: str):
    assert math_worker.too_much(text)
    judged = verifiers.math_verify(text, "1")
    assert (judged.verdict, judged.timed_out) == (Verdict.UNSCORABLE, True)


HOSTILE = (
    *("1e4300", "1e10000000", "1e-10000000", "9" * 5000, "1/" + "0" * 5000, "1/3e9999"),
    *("18 " + "a" * 1000, "18 " + "ab " * 300, "18" + " " * 5000 + "x", "18 " + "or/" * 400),
    *("18 " + "not 18 " * 140, "1=" * 20_000, "1,111" * 5000, "(" * 20_000, "\\boxed{" * 5000),
)


@pytest.mark.parametrize("judge", [strict, flexible])
@pytest.mark.parametrize("answer", HOSTILE)
def test_no_answer_takes_long_or_raises(judge: Verifier, answer: str):
    began = time.process_time()
    judged = judge("#### " + answer, "18")
    assert time.process_time() - began < 0.5
    assert judged.answer is None or len(judged.answer) < 1000
    with contextlib.suppress(StudyError):  # said, not raised from within Python's numbers
        judge("#### 18", answer)


def test_a_gold_answer_above_every_float_is_refused_by_name():
    with pytest.raises(StudyError, match="1e400"):
        strict("#### 3", "1e400")
