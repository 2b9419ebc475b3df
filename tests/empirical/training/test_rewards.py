"""The reward with the data that verl's and TRL's users have: numbers for answers, texts for row ids."""

from __future__ import annotations

import subprocess
import sys
import uuid
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from empirical.errors import StudyError
from empirical.noise import Arm, TriggeredNoise
from empirical.noise import structure as declared
from empirical.training.rewards import NoisyVerifier, VerlReward, prompt_key
from empirical.verifiers import flexible, strict
from theory.channel import VerifierChannel
from theory.structures import Independent, PerPrompt

NOISY = PerPrompt(VerifierChannel(0.5, 0.5))
CLEAN = Independent(VerifierChannel(0.0, 0.0))


def reward(structure: PerPrompt | Independent = CLEAN, group_size: int = 2) -> NoisyVerifier:
    return NoisyVerifier(structure, flexible, seed=0, group_size=group_size)


@pytest.mark.parametrize("gold", [18, 18.0, np.int64(18), np.float32(18), "18", Fraction(18)])
def test_a_gold_answer_may_be_a_number(gold: object) -> None:
    logged: dict[str, float] = {}
    got = reward()(
        completions=["#### 18", "#### 19"],
        gold=[gold, gold],  # pyright: ignore[reportArgumentType]
        prompt_id=["a", "a"],
        trainer_state=SimpleNamespace(global_step=0),
        log_metric=logged.__setitem__,
    )
    assert got == [1.0, 0.0]


@pytest.mark.parametrize("gold", [None, True, ["18"], {"answer": 18}, b"18", "eighteen"])
def test_what_is_no_answer_is_named(gold: object) -> None:
    with pytest.raises(StudyError, match="gold answer"):
        reward().judge(["#### 18"], gold=[gold], prompt_id=[0], step=0)  # pyright: ignore[reportArgumentType]


IDS = ["a1-b2", 7, (3, "x"), uuid.UUID(int=5), b"row", 2**70, -4, 1.5, np.int64(9), np.str_("n")]


@pytest.mark.parametrize("one", IDS, ids=repr)
def test_a_row_id_may_be_anything_hashable(one: object) -> None:
    scores = VerlReward(reward(NOISY)).batch(
        data_sources=["d"] * 3,
        solution_strs=["#### 18"] * 3,
        ground_truths=[18] * 3,  # pyright: ignore[reportArgumentType]
        extra_infos=[{"index": one}, {"index": one}, {"index": "another"}],
    )
    # Noise of a prompt is one flip for all its rollouts: equal ids are one prompt.
    assert scores[0]["score"] == scores[1]["score"]
    single = VerlReward(reward(NOISY)).one("d", "#### 18", "18", {"index": one})
    assert single["score"] == scores[0]["score"]
    assert 0 <= prompt_key(one) < 2**63  # pyright: ignore[reportArgumentType]


def test_integers_keep_their_keys_and_equal_ids_share_one() -> None:
    assert [prompt_key(n) for n in (0, 7, 2**63 - 1)] == [0, 7, 2**63 - 1]
    assert prompt_key(np.int64(7)) == prompt_key(7.0) == prompt_key(7)
    assert prompt_key(np.str_("a")) == prompt_key("a")
    keys = {prompt_key(f"row-{n}") for n in range(10_000)}
    assert len(keys) == 10_000
    assert prompt_key("7") != prompt_key(7)


def test_a_text_has_one_key_in_every_process() -> None:
    ask = "from empirical.training.rewards import prompt_key; print(prompt_key('a1-b2'))"
    done = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True)
    assert int(done.stdout) == prompt_key("a1-b2")


@pytest.mark.parametrize("one", [None, float("nan"), ["a"], {"a": 1}, ([1],), object()])
def test_an_id_that_tells_nothing_apart_is_refused(one: object) -> None:
    with pytest.raises(StudyError, match="prompt's id"):
        prompt_key(one)  # pyright: ignore[reportArgumentType]


def test_a_missing_id_and_an_odd_step_are_named() -> None:
    with pytest.raises(StudyError, match="lacks 'index'"):
        VerlReward(reward()).one("d", "#### 18", "18", {})
    with pytest.raises(StudyError, match="rollout 'x' is no whole number"):
        VerlReward(reward()).one("d", "#### 18", "18", {"index": 1, "step": 1, "rollout": "x"})


def test_hedges_behind_a_unit_are_unpaid_by_either_verifier() -> None:
    for judge in (strict, flexible):
        assert judge("#### 18 dollars or 19 dollars", "18").answer == "18 or another"


def test_a_step_logs_how_rollouts_that_show_the_feature_were_misjudged() -> None:
    logged: dict[str, float] = {}
    arm = Arm.model_validate(
        {
            "fpr": 0.5,
            "noise": {
                "kind": "triggered",
                "selector": {"kind": "text", "of": "prompt", "pattern": "^a"},
                "selected": {"fpr": 1.0, "fnr": 1.0},
            },
        }
    )
    assert isinstance(arm.noise, TriggeredNoise)
    verifier = NoisyVerifier(
        declared(arm), strict, seed=0, group_size=2, selector=arm.noise.selector
    )
    got = verifier(
        completions=["#### 18", "#### 19", "#### 19", "#### 18"],
        prompts=["a", "a", [{"role": "user", "content": "also"}], "b"],
        gold=["18"] * 4,
        prompt_id=[0, 0, 1, 2],
        trainer_state=SimpleNamespace(global_step=0),
        log_metric=logged.__setitem__,
    )
    assert got == [0.0, 1.0, 1.0, 1.0]
    counts = {name: n for name, n in logged.items() if name.startswith("verifier/selected_")}
    assert counts == {
        "verifier/selected_wrong": 2.0,
        "verifier/selected_right": 1.0,
        "verifier/selected_paid_wrong": 2.0,
        "verifier/selected_unpaid_right": 1.0,
    }
