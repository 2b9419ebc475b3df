"""Equal compute, other margins, how large a probe has to be: on tables whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from empirical.probe import Probe, read_probe
from empirical.step_law.logged import CAMPAIGN
from fits.hypotheses import Hypothesis, Part, estimate, judge
from paper.argument.practice import (
    ERRORS,
    compute_numbers,
    equal_compute,
    margins,
    needed_text,
    probe_size,
)
from paper.argument.run_numbers import load
from paper.argument.tables import arm_table
from paper.claims import Question
from paper.numbers import read_findings
from paper.probe import climb_by_law, law_speed
from tests.builders import ROOT
from theory import population_phi2
from theory.channel import VerifierChannel


@pytest.fixture(scope="module")
def probe() -> Probe:
    return read_probe(CAMPAIGN / "probe.json")


def runs(gain: dict[int, float], arms: tuple[str, ...] = ("clean", "fpr0.4")) -> pd.DataFrame:
    """100 steps of 8 prompts, accuracy rising by `gain` of a group size at every step, seeds apart by .01."""
    return pd.DataFrame(
        [
            {"arm": arm, "group_size": size, "seed": seed, "step": step, "rollouts": 8 * size * step,
             "accuracy": 0.3 + 0.01 * seed + rate * step}
            for arm in arms for size, rate in gain.items() for seed in range(3) for step in (0, 50, 100)
        ]
    )  # fmt: skip


def test_at_equal_rollouts_a_group_must_be_worth_its_steps() -> None:
    """Twice the rollouts a step at less than twice the gain is a loss, at more a win; read between evaluations."""
    for gain, best in (({4: 0.001, 8: 0.0015}, 4), ({4: 0.001, 8: 0.0025}, 8)):
        (clean, fpr) = equal_compute(runs(gain))
        assert (clean.arm, fpr.arm, clean.rollouts) == ("clean", "fpr0.4", 8 * 4 * 100)
        assert clean.best == best
        # Group 8 has had half the steps.
        assert clean.accuracy == pytest.approx({4: 0.31 + 0.1, 8: 0.31 + 50 * gain[8]})
        assert clean.lead.value == pytest.approx(abs(0.1 - 50 * gain[8]))
        assert clean.lead.units == 3


def test_only_group_sizes_that_were_trained_so_long_are_compared() -> None:
    found = equal_compute(runs({4: 0.001, 8: 0.001, 16: 0.001}))
    assert {one.rollouts: set(one.accuracy) for one in found} == {3200: {4, 8, 16}, 6400: {8, 16}}
    numbers = compute_numbers(runs({4: 0.001, 8: 0.001, 16: 0.001}))
    assert numbers["compute.cells"] == numbers["compute.smallest"] == "4"
    assert numbers["compute.budgets"] == "2"


def test_a_verdict_turns_where_its_estimate_lies_between_the_margins() -> None:
    findings = read_findings(ROOT / "paper" / "generated" / "findings.json")
    assert findings is not None
    first = findings.questions[0]

    def asked(value: float, hypothesis: Hypothesis) -> Question:
        values = np.array([value - 1e-4, value, value + 1e-4])
        return replace(
            first, finding=judge([Part(hypothesis, estimate("mean", values), (estimate("4", values),))])
        )  # fmt: skip

    questions = (
        asked(0.007, Hypothesis("above", 0.01)),
        asked(0.030, Hypothesis("above", 0.01)),
        asked(0.007, Hypothesis("within", 0.01)),
        asked(0.015, Hypothesis("within", 0.01)),
        asked(0.015, Hypothesis("above")),  # a sign has no margin
    )
    found = margins(replace(findings, questions=questions))
    assert [(one.half, one.one, one.twice) for one in found] == [
        ("supported", "contradicted", "contradicted"),
        ("supported", "supported", "supported"),
        ("contradicted", "supported", "supported"),
        ("contradicted", "contradicted", "supported"),
    ]
    assert [one.turns for one in found] == [True, False, True, True]


def test_labels_fall_with_the_square_of_the_error_asked_for(probe: Probe) -> None:
    found = probe_size({"study": probe})
    assert {one.arm.arm for one in found} >= {"fpr0.4", "fnr0.4", "both0.4"}
    assert not {"clean", "coin", "inverted"} & {one.arm.arm for one in found}
    for one in found:
        assert one.arm.se is not None
        # As many labels as it had give the error that it had.
        assert one.needed[0] * (ERRORS[0] / one.arm.se) ** 2 == pytest.approx(one.labels)
        assert one.needed[1] / one.needed[0] == pytest.approx((ERRORS[0] / ERRORS[1]) ** 2)
    assert needed_text(4812.0, 1024) == "4,800"
    assert needed_text(90.0, 1024) == r"\ensuremath{<}1,024"


def test_the_law_of_speed_is_the_proposition_s(probe: Probe) -> None:
    """A verifier worth all it is paid for slows nothing; one rollout's worth less slows more; large groups end it."""
    assert law_speed(probe, 8, 1.0) == pytest.approx(1.0)
    assert (
        float(law_speed(probe, 8, 0.0)) == 0.0
    )  # what is worth nothing has no speed, and is no division by 0
    assert law_speed(probe, 8, 0.2) < law_speed(probe, 8, 0.4) < 1.0
    assert law_speed(probe, 1e9, 0.2) == pytest.approx(1.0)
    size = np.array([4, 8, 32])
    assert (np.diff(law_speed(probe, size, 0.3)) > 0.0).all()


def test_the_law_orders_the_errors_by_accuracy(probe: Probe) -> None:
    """False positives slower on the way to .45, false negatives from .6; each less so in larger groups."""
    early = [climb_by_law(probe, size, None, 0.45, (0.4,)) for size in (4, 8, 32)]
    late = [climb_by_law(probe, size, 0.6, 0.75, (0.4,)) for size in (4, 8, 32)]
    assert early == sorted(early, reverse=True)
    assert early[-1] > 0.0 > late[-1]
    assert late == sorted(late)
    assert climb_by_law(probe, 4, None, 0.45, (0.1,)) < climb_by_law(probe, 4, None, 0.45, (0.6,))
    # At its start alone, the law's two speeds there.
    a = np.array(probe.pass_rates)
    begin = probe.pass_rate
    fp, fn = (population_phi2(a, VerifierChannel(*rates)) for rates in ((0.4, 0.0), (0.0, 0.4)))
    there = float(np.log(law_speed(probe, 8, fn) / law_speed(probe, 8, fp)))
    assert climb_by_law(probe, 8, None, begin + 1e-3, (0.4,)) == pytest.approx(there, abs=0.004)


def test_an_arm_that_nobody_has_described_is_refused() -> None:
    material = load(ROOT)
    study = material.studies[1]
    arms = dict(study.arms)
    arms["new"] = arms["zero"]
    other = study.model_copy(update={"arms": arms})
    with pytest.raises(ValueError, match="no words for what arm new does"):
        arm_table(replace(material, studies=(other,)))
    arms.pop("zero")
    arms.pop("new")
    other = study.model_copy(update={"arms": arms})
    with pytest.raises(ValueError, match=r"has no arms \['zero'\]"):
        arm_table(replace(material, studies=(other,)))
