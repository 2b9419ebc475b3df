"""Noise is matched: what two arms, two steps and two workers share, and what they must not."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from empirical.training.rewards import METRIC_PREFIX, NoisyVerifier
from empirical.verifiers import strict
from theory import DR_GRPO, GRPO, Estimator, VerifierChannel
from theory.conditional import given_right
from theory.structures import Independent

PROMPTS, GROUP = 64, 8
N = PROMPTS * GROUP


def verifier(fpr: float, fnr: float, *, seed: int = 3) -> NoisyVerifier:
    return NoisyVerifier(
        structure=Independent(VerifierChannel(fpr, fnr)), base=strict, seed=seed, group_size=GROUP
    )


def batch(share_right: float = 0.5) -> dict[str, list[str] | list[int]]:
    right = np.random.default_rng(0).random(N) < share_right
    return {
        "completions": [f"#### {7 if r else 8}" for r in right],
        "gold": ["7"] * N,
        "prompt_id": [p for p in range(PROMPTS) for _ in range(GROUP)],
    }


def flips(reward: NoisyVerifier, step: int, *, part: slice = slice(None), offset: int = 0):
    rollouts = {key: value[part] for key, value in batch().items()}
    judged = reward.judge(
        rollouts["completions"],
        gold=rollouts["gold"],
        prompt_id=rollouts["prompt_id"],
        step=step,
        offset=offset,
    )
    return judged.paid ^ judged.right, judged.right


def test_the_same_key_flips_alike_in_two_arms():
    one_sided, right = flips(verifier(0.3, 0.0), step=5)
    two_sided, _ = flips(verifier(0.3, 0.2), step=5)
    assert one_sided.any()
    np.testing.assert_array_equal(one_sided[~right], two_sided[~right])


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.2), (0.2, 0.6), (0.6, 1.0)])
def test_flips_at_a_lower_rate_are_a_subset_of_those_at_a_higher_one(low: float, high: float):
    few, _ = flips(verifier(low, low), step=5)
    many, _ = flips(verifier(high, high), step=5)
    assert few.sum() < many.sum()
    assert not (few & ~many).any()


def test_a_repeated_prompt_gets_fresh_flips_in_a_later_step():
    first, _ = flips(verifier(0.5, 0.5), step=5)
    later, _ = flips(verifier(0.5, 0.5), step=6)
    # Independent fair coins agree on half the rollouts, give or take five standard errors.
    assert abs((first == later).mean() - 0.5) < 5 * 0.5 / math.sqrt(N)


def test_seeds_share_no_flips():
    one, _ = flips(verifier(0.5, 0.5, seed=0), step=5)
    other, _ = flips(verifier(0.5, 0.5, seed=1), step=5)
    assert abs((one == other).mean() - 0.5) < 5 * 0.5 / math.sqrt(N)


def test_workers_split_one_stream_and_share_none_of_it():
    whole, _ = flips(verifier(0.4, 0.3), step=2)
    half = N // 2
    first, _ = flips(verifier(0.4, 0.3), step=2, part=slice(0, half))
    second, _ = flips(verifier(0.4, 0.3), step=2, part=slice(half, N), offset=half)
    np.testing.assert_array_equal(np.concatenate([first, second]), whole)


def test_two_workers_given_one_prompt_do_not_flip_alike(monkeypatch: pytest.MonkeyPatch):
    """The seed paper's trap: eight verifier workers drew from one stream with one seed."""
    rollouts = {key: value[:GROUP] * 32 for key, value in batch().items()}
    verdicts = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        verdicts.append(
            verifier(0.5, 0.5)(
                **rollouts,
                trainer_state=SimpleNamespace(global_step=1),
                log_metric=lambda name, value: None,
            )
        )
    agreement = np.mean(np.equal(*verdicts))
    assert abs(agreement - 0.5) < 5 * 0.5 / math.sqrt(GROUP * 32)


@pytest.mark.parametrize(("fpr", "fnr"), [(0.1, 0.0), (0.4, 0.2), (0.0, 0.6)])
def test_realised_rates_are_within_binomial_error_of_nominal(fpr: float, fnr: float):
    reward = verifier(fpr, fnr)
    drawn = [flips(reward, step=step) for step in range(100)]
    flipped = np.concatenate([f for f, _ in drawn])
    right = np.concatenate([r for _, r in drawn])
    for rate, chosen in ((fpr, ~right), (fnr, right)):
        n = chosen.sum()
        assert abs(flipped[chosen].mean() - rate) <= 4 * math.sqrt(rate * (1 - rate) / n)


def test_what_trl_is_told_adds_up():
    logged: dict[str, float] = {}
    rewards = verifier(0.4, 0.2)(
        **batch(),
        trainer_state=SimpleNamespace(global_step=3),
        log_metric=logged.__setitem__,
        prompts=["?"] * N,  # TRL passes more than is needed
        completion_ids=[[1]] * N,
    )
    counts = {name.removeprefix(METRIC_PREFIX): value for name, value in logged.items()}
    assert sum(rewards) == counts["paid"]
    assert counts["paid"] == counts["right"] + counts["paid_wrong"] - counts["unpaid_right"]
    for name in ("right", "paid"):
        groups = [counts[f"groups_{name}_{k}"] for k in range(GROUP + 1)]
        assert sum(groups) == PROMPTS
        assert sum(k * n for k, n in enumerate(groups)) == counts[name]
    assert counts["base_false_positives"] == counts["base_false_negatives"] == 0


@pytest.mark.parametrize("estimator", [GRPO, DR_GRPO])
def test_what_is_logged_of_the_gradient_has_its_exact_law(estimator: Estimator):
    """Zero advantages and the gradient along the ability, given each group's right rollouts."""
    channel, steps = VerifierChannel(0.4, 0.2), 400
    reward = replace(verifier(channel.fpr, channel.fnr), estimator=estimator)
    logs: list[dict[str, float]] = [{} for _ in range(steps)]
    for step, logged in enumerate(logs):
        reward(
            **batch(),
            trainer_state=SimpleNamespace(global_step=step),
            log_metric=logged.__setitem__,
        )
    by_right = [logs[0][f"{METRIC_PREFIX}groups_right_{k}"] for k in range(GROUP + 1)]
    exact = given_right(np.arange(GROUP + 1), channel, GROUP, estimator=estimator)
    alike = [log[METRIC_PREFIX + f"groups_paid_{k}"] for log in logs for k in (0, GROUP)]
    gradient = [log[METRIC_PREFIX + "ability_gradient"] for log in logs]
    p = exact.zero_advantage
    for total, mean, variance in (
        (sum(alike), p, p * (1.0 - p)),
        (sum(gradient), exact.gradient, exact.gradient_variance),
    ):
        expected, spread = steps * (by_right @ mean), math.sqrt(steps * (by_right @ variance))
        assert abs(total - expected) < 4 * spread
        assert abs(expected) > 10 * spread  # so that a wrong law would not pass


def test_the_reward_is_what_trl_and_its_workers_need():
    reward = verifier(0.4, 0.2)
    assert reward.__name__ == "noisy_verifier"
    assert pickle.loads(pickle.dumps(reward)) == reward


def test_unscorable_may_be_left_out_of_the_group():
    reward = NoisyVerifier(
        structure=Independent(VerifierChannel(1.0, 0.0)),
        base=strict,
        seed=0,
        group_size=2,
        drop_unscorable=True,
    )
    rewards = reward(
        completions=[
            "#### 3",
            "I cannot say",
            [{"role": "assistant", "content": "#### 7"}],
            "#### 8",
        ],
        gold=["7"] * 4,
        prompt_id=[0, 0, 1, 1],
        trainer_state=SimpleNamespace(global_step=0),
        log_metric=lambda name, value: None,
    )
    assert rewards == [1.0, None, 1.0, 1.0]
