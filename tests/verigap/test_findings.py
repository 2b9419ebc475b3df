"""The results' README: verdicts on data whose truth is known, and the committed page against the committed data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fits import InputError
from tests.verigap.test_packaging import ROOT
from theory import GRPO, RLOO, VerifierChannel, advantages
from verigap.findings.document import collect, digests, read_findings
from verigap.findings.estimates import (
    Estimate,
    Finding,
    Hypothesis,
    Part,
    after_holm,
    contradiction,
    estimate,
    jackknife,
    judge,
    support,
)
from verigap.findings.page import render
from verigap.findings.questions import (
    Curves,
    Steps,
    ask,
    ask_real_groups,
    over_training,
    steps_between,
)
from verigap.findings.shared import Derived, _correlated_step, _step_given, real_groups, remake

RESULTS = ROOT / "empirical" / "results"
ABOVE = Hypothesis("above")
WITHIN = Hypothesis("within", 0.01)


def seeds(*values: float) -> Estimate:
    return estimate("x", np.array(values))


# ---- statistics


def test_a_single_estimate_is_judged_as_by_its_interval() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        found = seeds(*rng.normal(rng.uniform(-0.03, 0.03), 0.01, rng.integers(3, 7)))
        assert found.ci is not None
        low, high = found.ci
        by_interval = {
            ABOVE: (low > 0.0, high < 0.0),
            Hypothesis("below", 0.01): (high < 0.01, low > 0.01),
            WITHIN: (low > -0.01 and high < 0.01, low > 0.01 or high < -0.01),
        }
        for claim, (for_it, against) in by_interval.items():
            assert (support(found, claim) < 0.025) == for_it
            assert (contradiction(found, claim) < 0.025) == against
            verdict = judge([Part(claim, found)]).verdict
            assert verdict == (
                "supported" if for_it else "contradicted" if against else "undetermined"
            )


def test_support_needs_every_average_and_one_contradiction_is_enough() -> None:
    yes, no, open_ = seeds(0.02, 0.021, 0.022), seeds(-0.02, -0.021, -0.022), seeds(-0.1, 0.1, 0.0)

    def verdict(*parts: Part) -> str:
        return judge(parts).verdict

    assert verdict(Part(ABOVE, yes), Part(ABOVE, yes, (open_, yes))) == "supported"
    assert verdict(Part(ABOVE, yes), Part(ABOVE, open_, (yes, yes))) == "undetermined"
    assert verdict(Part(ABOVE, yes), Part(ABOVE, yes, (open_, no))) == "contradicted"
    assert verdict() == "not testable here"
    # Against by itself, and not once eight were looked at: that neither supports nor contradicts.
    mild = seeds(-0.01, -0.03, -0.02, -0.03, -0.002)
    assert verdict(Part(ABOVE, mild)) == "contradicted"
    assert verdict(Part(ABOVE, yes, (mild, *[yes] * 7))) == "undetermined"


def test_two_seeds_are_shown_and_not_judged() -> None:
    found = judge([Part(ABOVE, seeds(0.02, 0.02000001))])
    assert (found.verdict, found.p, found.rows[0].counts) == ("undetermined", None, False)
    assert seeds(0.02).ci is None
    # Beside three seeds, two neither help nor harm.
    three, two = seeds(0.02, 0.021, 0.022), seeds(-0.02, -0.02000001)
    assert judge([Part(ABOVE, three, (three, two))]).verdict == "supported"


def test_true_claims_about_many_group_sizes_are_rarely_contradicted() -> None:
    """At the edge of the claim, where each of eight estimates errs at 2.5 %: all together must not exceed it."""
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(2000):
        each = [estimate("x", rng.normal(0.0, 1.0, 5)) for _ in range(8)]
        wrong += judge([Part(ABOVE, each[0], tuple(each[1:]))]).verdict == "contradicted"
    assert wrong / 2000 < 0.025 + 3 * (0.025 * 0.975 / 2000) ** 0.5


def test_holm_over_the_page_keeps_what_is_strong() -> None:
    strong, weak = Finding("supported", 1e-6, ()), Finding("contradicted", 0.02, ())
    silent = Finding("not testable here", None, ())
    assert after_holm([strong, weak, silent, weak]) == [True, False, False, False]
    assert after_holm([weak, silent]) == [True, False]


def test_the_jackknife_of_a_mean_is_the_interval_of_the_mean() -> None:
    values = np.random.default_rng(2).normal(0.0, 1.0, 12)
    without = (values.sum() - values) / 11
    found, plain = jackknife("x", float(values.mean()), without, "units"), estimate("x", values)
    assert found.ci == pytest.approx(plain.ci)
    assert found.error == pytest.approx(plain.error)


# ---- reductions of curves


def test_time_averages_and_climbing_times_of_straight_lines() -> None:
    steps = [0, 10, 50, 100]
    curve = pd.DataFrame([[0.3 + 0.005 * s for s in steps]], index=["0"], columns=steps)
    assert over_training(curve) == pytest.approx({"0": 0.55})
    assert steps_between(curve, None, 0.45) == pytest.approx({"0": 30.0})
    assert steps_between(curve, 0.6, 0.75) == pytest.approx({"0": 30.0})
    assert steps_between(curve, 0.6, 0.9) == {}  # never there
    assert steps_between(curve, 0.2, 0.75) == {}  # was never below


def test_a_dip_does_not_make_a_climb_longer_than_its_first_arrival() -> None:
    curve = pd.DataFrame([[0.3, 0.5, 0.4, 0.7]], index=["0"], columns=[0, 10, 20, 40])
    assert steps_between(curve, None, 0.5) == pytest.approx({"0": 10.0})
    assert steps_between(curve, 0.4, 0.6) == pytest.approx({"0": 25.0})


# ---- questions on campaigns whose truth is known

EVALUATED = (0, 10, 20, 40, 60, 80, 100, 150, 200, 300)


def campaign(
    slowed: Mapping[str, float | Callable[[float], float]],
    *,
    sizes: tuple[int, ...] = (4, 8),
    count: int = 4,
    noise: float = 0.001,
    spread: float = 0.01,
    lost: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Runs from .35 to .9 whose speed is divided by `slowed` (a number, or a function of accuracy), by arm.

    spread: of what a seed's arms share. lost: accuracy taken off from step 150 on.
    """
    arms = [
        "clean",
        "drgrpo-clean",
        "drgrpo-fpr0.4",
        "drgrpo-fnr0.4",
        "trigger0.2",
        "coin",
        "inverted",
    ]
    arms += [f"{kind}{rate}" for kind in ("fpr", "fnr") for rate in ("0.2", "0.4", "0.6")]
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for size in sizes:
        for seed in range(count):
            shared = rng.normal(0.0, spread)
            for arm in [*arms, "both0.2", "both0.4"]:
                slow = slowed.get(arm, 1.0)
                a, path = 0.35, []
                for _ in range(301):
                    path.append(a)
                    a += 0.02 * (0.9 - a) / (slow(a) if callable(slow) else slow)
                for step in EVALUATED:
                    off = (lost or {}).get(arm, 0.0) if step >= 150 else 0.0
                    jitter = shared + rng.normal(0.0, noise) if step else 0.0
                    rows.append(
                        {
                            "run_id": f"{arm}-{size}-{seed}",
                            "arm": arm,
                            "fpr": 0.0,
                            "fnr": 0.0,
                            "seed": seed,
                            "group_size": size,
                            "prompts_per_step": 8,
                            "step": step,
                            "rollouts": step * 8 * size,
                            "accuracy": float(np.clip(path[step] - off + jitter, 0.0, 1.0)),
                            "n_eval": 2048,
                        }
                    )
    return pd.DataFrame(rows)


def verdicts(frame: pd.DataFrame) -> dict[str, str]:
    return {q.key: q.finding.verdict for q in ask(Curves.of(frame), Steps({}))}


RATES = ("0.2", "0.4", "0.6")
SLOW_FP = {f"fpr{rate}": 1.5 for rate in RATES}
SLOW_FN = {f"fnr{rate}": 1.5 for rate in RATES}


def test_which_error_costs_more_is_told_from_what_was_made() -> None:
    worse_fn, worse_fp = verdicts(campaign(SLOW_FN)), verdicts(campaign(SLOW_FP))
    assert (worse_fn["C4a"], worse_fn["C4b"]) == ("supported", "contradicted")
    assert (worse_fp["C4a"], worse_fp["C4b"]) == ("contradicted", "supported")
    both = verdicts(campaign(SLOW_FP | SLOW_FN, noise=0.02))
    assert (both["C4a"], both["C4b"]) == ("undetermined", "undetermined")


def test_where_the_group_size_decides_neither_error_is_the_worse() -> None:
    small = campaign(SLOW_FP, sizes=(4,))
    large = campaign(SLOW_FN, sizes=(32,))
    found = verdicts(pd.concat([small, large], ignore_index=True))
    assert (found["C4a"], found["C4b"]) == ("contradicted", "contradicted")


def test_the_crossover_is_found_where_it_was_made_and_not_elsewhere() -> None:
    crossing = {f"fpr{rate}": (lambda a: 1.5 if a < 0.5 else 1.0) for rate in RATES}
    crossing |= {f"fnr{rate}": (lambda a: 1.5 if a >= 0.5 else 1.0) for rate in RATES}
    assert verdicts(campaign(crossing))["P2"] == "supported"
    assert verdicts(campaign(SLOW_FP))["P2"] == "contradicted"


def test_equal_arms_are_equal_only_where_the_interval_says_so() -> None:
    alike = verdicts(campaign({}))
    assert (alike["C6"], alike["C7"]) == ("supported", "supported")
    noisy = verdicts(campaign({}, noise=0.03))
    assert (noisy["C6"], noisy["C7"]) == ("undetermined", "undetermined")
    slow = verdicts(campaign({"drgrpo-fpr0.4": 1.5, "fpr0.4": 1.5}))
    assert (slow["C6"], slow["C7"], slow["P3"]) == ("contradicted", "contradicted", "supported")


def test_a_floor_persists_and_a_delay_does_not() -> None:
    delay = verdicts(campaign(SLOW_FP | SLOW_FN | {"both0.2": 2.0, "both0.4": 3.0}))
    assert {delay[f"C1{letter}"] for letter in "abc"} == {"contradicted"}
    floor = dict.fromkeys((*SLOW_FP, *SLOW_FN, "both0.2", "both0.4"), 0.05)
    kept = verdicts(campaign({}, lost=floor))
    assert {kept[f"C1{letter}"] for letter in "abc"} == {"supported"}


def test_rate_or_fate_needs_all_three_signs() -> None:
    fate = {"coin": np.inf, "inverted": -10.0, "both0.4": 3.0}
    still = campaign(fate, spread=1e-3)
    assert verdicts(still)["C3"] == "supported"
    assert verdicts(campaign(fate, spread=0.05))["C3"] == "undetermined"  # seeds wander
    assert verdicts(campaign(fate | {"coin": 1.0}, spread=1e-3))["C3"] == "contradicted"
    assert verdicts(still[still["arm"] != "coin"])["C3"] == "not testable here"


def test_systematic_errors_are_another_matter_where_they_were_made_one() -> None:
    stuck = {"trigger0.2": lambda a: 1.5 if a < 0.6 else 1e9}
    found = verdicts(campaign(stuck))
    assert (found["P5"], found["C5"]) == ("supported", "supported")
    alike = verdicts(campaign({}))
    assert alike["P5"] == "undetermined"
    assert alike["C5"] == "contradicted"


def test_what_was_not_trained_is_not_testable() -> None:
    frame = campaign({})
    found = verdicts(frame[frame["arm"].isin(["clean", "fpr0.2"])])
    assert set(found.values()) <= {"not testable here"}


def test_averages_are_taken_within_seeds_that_all_group_sizes_share() -> None:
    frame = campaign(SLOW_FP)
    frame = frame[(frame["group_size"] == 8) | (frame["seed"] < 3)]
    rows = {q.key: q for q in ask(Curves.of(frame), Steps({}))}["C8"].finding.rows
    assert [(row.estimate.label, row.estimate.units) for row in rows] == [
        ("mean of 4, 8 rollouts", 3),
        ("4 rollouts", 3),
        ("8 rollouts", 4),
    ]


# ---- real groups


def test_the_expected_step_is_that_of_many_noisy_groups() -> None:
    rng = np.random.default_rng(3)
    channel = VerifierChannel(0.2, 0.3)
    exact = _step_given(6, channel)
    for right in (0, 2, 6):
        truth = np.arange(6) < right
        paid = rng.random((200_000, 6)) < np.where(truth, 0.7, 0.2)
        steps = (advantages(paid.astype(float), GRPO) * truth).mean(axis=1)
        error = float(steps.std()) / 200_000**0.5
        assert abs(float(steps.mean()) - exact[right]) < 4.5 * error + 1e-12


def test_correlated_errors_keep_their_mean_and_reach_linear_estimators_not_at_all() -> None:
    alike, together = (_correlated_step(8, 0.2, c, RLOO) for c in (0.0, 0.3))
    np.testing.assert_allclose(together, alike, atol=1e-12)
    raised = _correlated_step(8, 0.2, 0.3, GRPO) > _correlated_step(8, 0.2, 0.0, GRPO)
    # Few right rollouts, as on hard prompts; with most of them right the step falls.
    assert raised[1:4].all()


def test_real_groups_answer_what_simulated_groups_have_for_truth() -> None:
    rng = np.random.default_rng(4)
    right = rng.random((600, 16)) < rng.beta(0.3, 2.0, (600, 1))
    estimates, numbers, _ = real_groups(right)
    derived = {"real groups": Derived("f", "0" * 64, "c", estimates, numbers)}
    assert {q.key: q.finding.verdict for q in ask_real_groups(derived)} == {
        "P1": "supported",
        "P6": "supported",
        "P7": "supported",
    }
    # A pair has a constant gain: the ratio is 1 - fpr at any pass rate.
    assert numbers["ratio at 2"] == pytest.approx(0.9, abs=1e-12)
    assert {q.finding.verdict for q in ask_real_groups({})} == {"not testable here"}


# ---- the committed page


def test_the_page_is_that_of_the_committed_numbers() -> None:
    findings = read_findings(RESULTS / "findings.json")
    assert findings is not None
    assert render(findings) == (RESULTS / "README.md").read_text(encoding="utf-8"), "make results"


def test_the_committed_numbers_are_of_the_committed_tables() -> None:
    findings = read_findings(RESULTS / "findings.json")
    assert findings is not None
    assert digests(RESULTS) == dict(findings.inputs), "the tables have changed: make results"


def same(ours: Any, theirs: Any, place: str = "") -> None:
    """Equal but for what optimisers on other machines do to the last digits."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys(), place
        for key, value in theirs.items():
            same(ours[key], value, f"{place}.{key}")
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), place
        for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            same(one, other, f"{place}[{i}]")
    elif isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=0.02, abs=2e-4), place
    else:
        assert ours == theirs, place


def test_the_committed_numbers_are_what_the_code_makes_of_the_tables(tmp_path: Path) -> None:
    """About 15 s of CPU. Sources that are not in the project stand as they were kept."""
    from verigap.console import json_text
    from verigap.gradient_level import gradient_level

    kept = json.loads((RESULTS / "findings.json").read_text(encoding="utf-8"))
    before = read_findings(RESULTS / "findings.json")
    assert before is not None
    made, _ = collect(RESULTS, tmp_path / "absent", before.shared, gradient_level())
    ours = json.loads(json_text(made))
    assert ours["shared"] == kept["shared"]
    same(ours, kept)


def test_numbers_of_absent_sources_are_kept_and_of_present_ones_remade(tmp_path: Path) -> None:
    old = Derived("elsewhere.csv", "0" * 64, "make results", {}, {"cells": 1.0})
    assert remake(tmp_path, {"seed grid": old}) == {"seed grid": old}
    rng = np.random.default_rng(5)
    rows = [
        {"step": 1, "prompt_id": p, "reward": float(r)}
        for p in range(40)
        for r in rng.random(16) < rng.uniform(0.05, 0.9)
    ]
    folder = tmp_path / "ethsri_rollouts"
    folder.mkdir()
    pd.DataFrame(rows).to_csv(folder / "olmo3_7b_base_rollouts_slim.csv", index=False)
    found = remake(tmp_path, {"real groups": old, "seed grid": old})
    assert found["seed grid"] == old
    assert found["real groups"].sha256 != old.sha256
    assert found["real groups"].numbers["groups"] == 40


def test_a_small_table_makes_a_page(tmp_path: Path) -> None:
    """Two arms, two seeds, one group size, no step logs, no shared data: a page that says so."""
    frame = campaign(SLOW_FP, sizes=(8,), count=2)
    frame = frame[frame["arm"].isin(["clean", "fpr0.2"])]
    frame["fpr"] = np.where(frame["arm"] == "clean", 0.0, 0.2)
    for name in ("cpu-campaign", "cpu-smoke"):
        (tmp_path / name).mkdir()
        frame.to_parquet(tmp_path / name / "runs.parquet")
    made, material = collect(tmp_path, tmp_path / "none", {}, None)
    page = render(made)
    assert made.campaign.seeds == {"8": 2}
    assert "4 runs of 300 steps" in page
    assert page.count("not testable here") >= 15
    assert "| fpr0.2 | 8 | 2 |" in page
    assert "not judged" in page
    assert material.curves.group_sizes == [8]


def test_a_broken_findings_file_is_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "findings.json"
    broken.write_text('{"inputs": 3}')
    with pytest.raises(InputError, match=r"findings.json: \d+ entries are not findings"):
        read_findings(broken)
    assert read_findings(tmp_path / "none.json") is None
