"""The results' README: verdicts on data whose truth is known, and the committed page against the committed data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fits import InputError
from fits.hypotheses import (
    Estimate,
    Finding,
    Hypothesis,
    Part,
    after_holm,
    contradiction,
    estimate,
    is_small,
    jackknife,
    judge,
    rests_on,
    support,
)
from fits.plain import json_text
from paper.__main__ import DERIVED, GENERATED, main, outside
from paper.claims import ask
from paper.contrasts import Curves, Evidence, over_training, steps_between
from paper.numbers import collect, digests, read_findings
from paper.pages.results import render
from paper.public_data import Derived, _correlated_step, real_groups, remake
from tests.builders import ROOT
from theory import GRPO, RLOO

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


def test_a_verdict_is_small_where_what_it_rests_on_is() -> None:
    big, tiny = seeds(0.02, 0.021, 0.022), seeds(0.004, 0.0041, 0.0042)
    unbig, untiny = seeds(-0.02, -0.021, -0.022), seeds(-0.004, -0.0041, -0.0042)

    def small(*parts: Part) -> bool:
        return is_small(judge(parts), 0.01)

    # Support rests on all averages, and on nothing but averages.
    assert small(Part(ABOVE, big), Part(ABOVE, tiny))
    assert not small(Part(ABOVE, big, (tiny, big)))
    # One contradiction is enough, so that a large one makes up for small ones.
    assert small(Part(ABOVE, untiny, (untiny, untiny)))
    assert not small(Part(ABOVE, untiny, (unbig, untiny)))
    assert not small(Part(ABOVE, untiny), Part(ABOVE, unbig))
    # What is large and does not contradict once all were looked at is nothing to rest on.
    vague = seeds(-0.01, -0.03, -0.02, -0.03, -0.002)
    assert judge([Part(ABOVE, vague)]).verdict == "contradicted"
    assert small(Part(ABOVE, untiny, (vague, *[big] * 7)))
    # Claims of a size are not about a direction alone, and open ones rest on nothing.
    assert not small(Part(Hypothesis("above", 0.001), tiny))
    assert not small(Part(WITHIN, tiny))
    assert not small(Part(ABOVE, seeds(-0.1, 0.1, 0.0)))


def test_a_verdict_rests_on_what_decides_it() -> None:
    big, unbig, open_ = (
        seeds(0.02, 0.021, 0.022),
        seeds(-0.02, -0.021, -0.022),
        seeds(-0.1, 0.1, 0.0),
    )

    def resting(*parts: Part) -> list[Estimate]:
        return [row.estimate for row in rests_on(judge(parts))]

    # Support on all averages and on no single group size; contradiction on what contradicts, wherever it stands.
    assert resting(Part(ABOVE, big, (big, open_))) == [big]
    assert resting(Part(ABOVE, big, (unbig, big))) == [unbig]
    # What contradicts by itself and not after Holm's correction keeps from supporting, and decides nothing more.
    faint = seeds(-0.01, -0.03, -0.02, -0.03, -0.002)
    assert resting(Part(ABOVE, big, (faint, *[big] * 7))) == [faint]
    assert judge([Part(ABOVE, big, (faint, *[big] * 7))]).verdict == "undetermined"
    # An open claim hangs on the averages that do not support it, and what cannot be asked on nothing.
    assert resting(Part(ABOVE, big), Part(ABOVE, open_, (open_,))) == [open_]
    assert rests_on(judge([])) == ()


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
    return {q.key: q.finding.verdict for q in ask(Evidence(Curves.of(frame)))}


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


NOISY = (*SLOW_FP, *SLOW_FN, "both0.2", "both0.4")


def of(found: Mapping[str, str], letters: str, claim: str = "C1") -> set[str]:
    return {found[f"{claim}{letter}"] for letter in letters}


def test_a_delay_shrinks_and_is_gone_a_floor_stays() -> None:
    delay = verdicts(campaign(SLOW_FP | SLOW_FN | {"both0.2": 1.5, "both0.4": 1.5}))
    assert of(delay, "abc") == of(delay, "def") == {"contradicted"}
    kept = verdicts(campaign({}, lost=dict.fromkeys(NOISY, 0.05)))
    assert of(kept, "abc") == of(kept, "def") == {"supported"}


def test_a_gap_may_shrink_and_persist() -> None:
    """A delay with a floor under it; as both0.4 of our campaign does."""
    slow = campaign(dict.fromkeys(NOISY, 3.0), lost=dict.fromkeys(NOISY, 0.03))
    found = verdicts(slow)
    assert of(found, "abc") == {"contradicted"}
    assert of(found, "def") == {"supported"}


def test_whether_rollouts_shrink_a_gap_and_whether_they_close_it_are_two_questions() -> None:
    def at(size: int, lost: float) -> pd.DataFrame:
        return campaign({}, sizes=(size,), lost=dict.fromkeys(NOISY, lost))

    def of_sizes(*frames: pd.DataFrame) -> dict[str, str]:
        return verdicts(pd.concat(frames, ignore_index=True))

    shrinks = of_sizes(at(4, 0.08), at(16, 0.04))
    assert of(shrinks, "abc", "C2") == {"contradicted"}
    assert of(shrinks, "def", "C2") == {"supported"}
    closes = of_sizes(at(4, 0.04), at(16, 0.002))
    assert of(closes, "abc", "C2") == of(closes, "def", "C2") == {"contradicted"}
    grows = of_sizes(at(4, 0.002), at(16, 0.04))
    assert of(grows, "abc", "C2") == of(grows, "def", "C2") == {"supported"}
    # Two seeds at the largest size: the largest with seeds enough answers, if a smaller one has them too.
    few = at(32, 0.0)[lambda frame: frame["seed"] < 2]
    assert of(of_sizes(at(4, 0.08), at(16, 0.04), few), "def", "C2") == {"supported"}
    assert of(of_sizes(at(16, 0.04), few), "def", "C2") == {"not testable here"}


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
    assert (alike["P5"], alike["C5"]) == ("contradicted", "contradicted")
    # Surely behind, and by less than matters.
    behind = verdicts(campaign({"trigger0.2": 1.1}, noise=0.0002))
    assert behind["P5"] == "contradicted"
    assert verdicts(campaign({"trigger0.2": 1.1}, noise=0.02))["P5"] == "undetermined"


def test_what_was_not_trained_is_not_testable() -> None:
    frame = campaign({})
    found = verdicts(frame[frame["arm"].isin(["clean", "fpr0.2"])])
    assert set(found.values()) <= {"not testable here"}


def test_averages_are_taken_within_seeds_that_all_group_sizes_share() -> None:
    frame = campaign(SLOW_FP)
    frame = frame[(frame["group_size"] == 8) | (frame["seed"] < 3)]
    rows = {q.key: q for q in ask(Evidence(Curves.of(frame)))}["C8"].finding.rows
    assert [(row.estimate.label, row.estimate.units) for row in rows] == [
        ("mean of 4, 8 rollouts", 3),
        ("4 rollouts", 3),
        ("8 rollouts", 4),
    ]


# ---- real groups


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
    found = {q.key: q.finding.verdict for q in ask(Evidence(Curves({}), derived=derived))}
    answered = {key for key, verdict in found.items() if verdict == "supported"}
    assert answered == {"P1", "P6", "P7"}
    assert {verdict for key, verdict in found.items() if key not in answered} == {
        "not testable here"
    }
    # A pair has a constant gain: the ratio is 1 - fpr at any pass rate.
    assert numbers["ratio at 2"] == pytest.approx(0.9, abs=1e-12)
    nothing = ask(Evidence(Curves({})))
    assert {q.finding.verdict for q in nothing} == {"not testable here"}
    assert not any("{" in q.compared + q.limits for q in nothing)


# ---- the committed page


def test_the_page_is_that_of_the_committed_numbers() -> None:
    findings = read_findings(GENERATED / "findings.json")
    assert findings is not None
    assert render(findings) == (GENERATED / "results.md").read_text(encoding="utf-8"), (
        "make results"
    )


def test_the_committed_numbers_are_of_the_committed_tables() -> None:
    findings = read_findings(GENERATED / "findings.json")
    assert findings is not None
    assert digests(RESULTS, outside(GENERATED) / DERIVED) == dict(findings.inputs), (
        "the tables have changed: make results"
    )


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
    from empirical.step_law.logged import gradient_level

    kept = json.loads((GENERATED / "findings.json").read_text(encoding="utf-8"))
    before = read_findings(GENERATED / "findings.json")
    assert before is not None
    made, _ = collect(
        RESULTS, tmp_path / "absent", before.shared, gradient_level(), outside(GENERATED) / DERIVED
    )
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


def test_another_folder_s_page_holds_nothing_of_this_repository(tmp_path: Path) -> None:
    """Two seeds of the campaign without what lies beside it: no further runs, no real groups."""
    theirs, ours = RESULTS / "cpu-campaign", tmp_path / "cpu-campaign"
    (ours / "steps").mkdir(parents=True)
    (tmp_path / "cpu-smoke").mkdir()
    shutil.copy(RESULTS / "cpu-smoke" / "runs.parquet", tmp_path / "cpu-smoke")
    logs = [
        shutil.copy(theirs / "steps" / f"g8-s{seed}.parquet", ours / "steps") for seed in (0, 1)
    ]
    logged = pd.concat([pd.read_parquet(log, columns=["run_id"]) for log in logs])[
        "run_id"
    ].unique()
    runs = pd.read_parquet(theirs / "runs.parquet")
    runs[runs["run_id"].isin(logged)].to_parquet(ours / "runs.parquet")
    old = {"shared": {"seed grid": Derived("f", "0" * 64, "c", {}, {"cells": 1.0})}}
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "shared.json").write_text(json_text(old))
    out = tmp_path / "generated"

    told = {"--results": tmp_path, "--shared": tmp_path / "none", "--out": out}
    assert main(["results", *(str(word) for pair in told.items() for word in pair)]) == 0
    found = read_findings(out / "findings.json")
    assert found is not None
    assert found.gradient is not None
    assert (found.gradient.runs, found.gradient.check_runs) == (len(logged), 0)
    assert set(found.inputs) == {
        "cpu-campaign/runs.parquet",
        "cpu-smoke/runs.parquet",
        *(f"cpu-campaign/steps/g8-s{seed}.parquet" for seed in (0, 1)),
    }
    assert list(found.shared) == ["seed grid"]
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["shared.json"]


def test_a_broken_findings_file_is_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "findings.json"
    broken.write_text('{"inputs": 3}')
    with pytest.raises(InputError, match=r"findings.json: \d+ entries are not findings"):
        read_findings(broken)
    assert read_findings(tmp_path / "none.json") is None
