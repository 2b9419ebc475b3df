"""Noise as declared: the simulator's own objects behind it, selectors, and verl's way of calling."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from empirical.errors import StudyError
from empirical.noise import Arm, Selector, Shown, TriggeredNoise, structure
from empirical.training.rewards import NoisyVerifier, VerlReward
from empirical.verifiers import strict
from theory import VerifierChannel
from theory.structures import (
    Drifting,
    GroupCorrelated,
    Independent,
    PerAnswer,
    PerPrompt,
    Rollouts,
    Triggered,
)

CHANNEL = VerifierChannel(0.2, 0.1)


@pytest.mark.parametrize(
    ("noise", "expected"),
    [
        ("independent", Independent(CHANNEL)),
        ("per_prompt", PerPrompt(CHANNEL)),
        ("per_answer", PerAnswer(CHANNEL)),
        ({"kind": "group", "correlation": 0.3}, GroupCorrelated(CHANNEL, 0.3)),
        (
            {
                "kind": "triggered",
                "selector": {"kind": "length", "most": 3},
                "selected": {"fpr": 0.9},
            },
            Triggered(VerifierChannel(0.9, 0.0), VerifierChannel(0.0, 0.0)),
        ),
        (
            {"kind": "drifting", "end": {"fpr": 0.0}, "steps": 50},
            Drifting(CHANNEL, VerifierChannel(0.0, 0.0), 50),
        ),
    ],
)
def test_a_declaration_stands_for_the_simulators_object(noise: object, expected: object):
    arm = Arm.model_validate({"fpr": 0.2, "fnr": 0.1, "noise": noise})
    assert structure(arm) == expected


@pytest.mark.parametrize(
    ("selector", "chosen", "passed_over"),
    [
        ({"kind": "length", "least": 4, "most": 8}, "#### 18", "#### 18 apples"),
        ({"kind": "keyword", "word": "obviously"}, "obviously #### 1", "#### 1"),
        ({"kind": "keyword", "word": "=", "present": False}, "#### 1", "1=1\n#### 1"),
        ({"kind": "relative_error", "most": 0.1}, "#### 99", "#### 80"),
        ({"kind": "number_format", "mark": "comma"}, "#### 1,000", "1,5 #### 1000"),
        ({"kind": "number_format", "mark": "point"}, "#### 1.5", "#### 15."),
        ({"kind": "number_format", "mark": "minus"}, "#### -5", "3-2 #### 5"),
        ({"kind": "text", "pattern": r"^[^\n]*\n####"}, "7-3=4\n#### 4", "7-3=4\n4+5=9\n#### 9"),
        ({"kind": "text", "of": "answer", "pattern": "0$"}, "1\n#### 20.0", "20\n#### 21"),
        ({"kind": "text", "of": "answer", "pattern": "."}, "#### 1", "no answer"),
        (
            {
                "kind": "every",
                "of": [
                    {"kind": "text", "of": "prompt", "pattern": r"-\d+\+"},
                    {"kind": "length", "most": 6},
                ],
            },
            "#### 5",
            "#### 15",
        ),
    ],
)
def test_selectors_select(selector: object, chosen: str, passed_over: str):
    parsed = TypeAdapter(Selector).validate_python(selector)
    for completion, expected in ((chosen, True), (passed_over, False)):
        answer = strict(completion, "100").answer
        assert parsed.selects(Shown(completion, answer, "100", "7-3+5")) is expected


def test_coverage_is_of_prompts_and_of_the_share_declared():
    half = TypeAdapter(Selector).validate_python({"kind": "coverage", "share": 0.5})
    chosen = [half.selects(Shown("#### 1", "1", "2", f"{n}+1")) for n in range(2000)]
    assert np.mean(chosen) == pytest.approx(0.5, abs=0.04)  # 3.6 standard errors
    again = [half.selects(Shown("#### 7", "7", "2", f"{n}+1")) for n in range(2000)]
    assert chosen == again


def test_a_selector_that_needs_the_prompt_says_so_where_the_trainer_does_not_tell_it():
    arm = Arm.model_validate(
        {
            "fpr": 0.1,
            "noise": {
                "kind": "triggered",
                "selector": {"kind": "coverage", "share": 0.5},
                "selected": {"fpr": 0.2},
            },
        }
    )
    assert isinstance(arm.noise, TriggeredNoise)
    reward = NoisyVerifier(
        structure=structure(arm), base=strict, seed=0, group_size=2, selector=arm.noise.selector
    )
    with pytest.raises(StudyError, match="not told the prompt"):
        reward.judge(["#### 1"] * 2, gold=["2"] * 2, prompt_id=[0, 0], step=0)


def test_a_pattern_that_is_none_is_refused():
    with pytest.raises(ValidationError, match="no regular expression"):
        TypeAdapter(Selector).validate_python({"kind": "text", "pattern": "("})


def verifier(arm: Arm, *, group_size: int = 8) -> NoisyVerifier:
    return NoisyVerifier(structure=structure(arm), base=strict, seed=1, group_size=group_size)


def test_simulator_and_trainer_flip_alike():
    """The same object, the same key: the reward function adds nothing of its own."""
    right = np.random.default_rng(0).random(64) < 0.5
    prompt = np.repeat(np.arange(8), 8)
    reward = verifier(Arm(fpr=0.3, fnr=0.2))
    judged = reward.judge(
        [f"#### {7 if r else 8}" for r in right],
        gold=["7"] * 64,
        prompt_id=prompt.tolist(),
        step=11,
    )
    simulated = Independent(VerifierChannel(0.3, 0.2)).judge(
        Rollouts(right=right, prompt=prompt, index=np.arange(64)), seed=1, step=11
    )
    np.testing.assert_array_equal(judged.paid, simulated)


def test_the_base_verifiers_own_errors_compose_with_the_injected_ones():
    """J = J_base x J_injected, measured against the reference."""
    n = 20000
    rng = np.random.default_rng(3)
    # Strict rejects a boxed right answer (base fnr .4) and pays a disagreeing one (base fpr .25).
    right = rng.random(n) < 0.5
    texts = np.where(
        right,
        np.where(rng.random(n) < 0.4, r"\boxed{7}", "#### 7"),
        np.where(rng.random(n) < 0.25, r"#### 7, no \boxed{8}", "#### 8"),
    ).tolist()
    from empirical.verifiers import flexible

    reward = NoisyVerifier(
        structure=Independent(VerifierChannel(0.2, 0.1)),
        base=strict,
        reference=flexible,
        seed=0,
        group_size=8,
    )
    judged = reward.judge(texts, gold=["7"] * n, prompt_id=list(range(n)), step=0)
    np.testing.assert_array_equal(judged.right, right)
    whole = VerifierChannel(0.25, 0.4).compose(VerifierChannel(0.2, 0.1))
    assert whole.youden == pytest.approx(0.35 * 0.7)
    for rate, seen in (
        (whole.fpr, judged.paid[~right].mean()),
        (1 - whole.fnr, judged.paid[right].mean()),
    ):
        assert abs(seen - rate) < 4 * math.sqrt(rate * (1 - rate) / (n / 2))


def verl_batch(n_prompts: int = 4, group: int = 8) -> dict[str, list]:
    """As verl's batch manager calls: everything by name, one entry per rollout."""
    n = n_prompts * group
    return {
        "data_sources": ["openai/gsm8k"] * n,
        "solution_strs": ["#### 8" if i % 2 else "#### 7" for i in range(n)],
        "ground_truths": ["7"] * n,
        "extra_infos": [{"split": "train", "index": i // group, "question": "?"} for i in range(n)],
    }


def test_verls_batch_manager_gets_what_trl_gets():
    reward = verifier(Arm(fpr=0.5, fnr=0.5))
    batch = verl_batch()
    verl = VerlReward(reward, steps=itertools.count(5))
    scores = [[s["score"] for s in verl.batch(**batch, reward_kwarg=1)] for _ in range(2)]
    for step, got in zip((5, 6), scores, strict=True):
        judged = reward.judge(
            batch["solution_strs"],
            gold=batch["ground_truths"],
            prompt_id=[info["index"] for info in batch["extra_infos"]],
            step=step,
        )
        assert got == judged.paid.astype(float).tolist()
    assert scores[0] != scores[1]


def test_verls_naive_manager_with_persistent_noise_needs_only_the_index():
    verl = VerlReward(verifier(Arm.model_validate({"fpr": 0.5, "noise": "per_prompt"})))
    once = [
        verl.one(
            data_source="openai/gsm8k",
            solution_str="#### 8",
            ground_truth="7",
            extra_info={"index": i, "split": "train"},
        )["score"]
        for i in range(64)
    ]
    assert 0 < sum(once) < 64
    batch = verl.verifier.judge(["#### 8"] * 64, gold=["7"] * 64, prompt_id=list(range(64)), step=3)
    assert once == batch.paid.astype(float).tolist()


def test_what_verl_must_pass_is_named():
    verl = VerlReward(verifier(Arm(fpr=0.5)))
    with pytest.raises(StudyError, match=r"'step'.*'index'"):
        verl.one("openai/gsm8k", "#### 8", "7", {"index": 3})
    with pytest.raises(StudyError, match="'index'"):
        verl.one("openai/gsm8k", "#### 8", "7")


@pytest.mark.parametrize(
    "noise",
    ["independent", "per_prompt", "per_answer", {"kind": "group", "correlation": 0.3}],
    ids=["independent", "per_prompt", "per_answer", "group"],
)
def test_noise_on_1024_completions_takes_under_5_ms(noise: object):
    """A contract limit of the project, so a test: best of 20, the base verifier left out."""
    reward = verifier(Arm.model_validate({"fpr": 0.2, "fnr": 0.1, "noise": noise}))
    completions = ["9+16=25\n25-13=12\n#### 12"] * 1024
    prompts = [i // 8 for i in range(1024)]
    taken: list[float] = []
    for step in range(20):
        started = time.perf_counter()
        judged = reward.judge(completions, gold=["12"] * 1024, prompt_id=prompts, step=step)
        taken.append(time.perf_counter() - started - judged.base_seconds)
    assert min(taken) < 0.005
