"""Noise structures: realised rates with errors for each structure's own clusters, and what they share.

The standard error of a realised rate is that of a mean over clusters (a prompt, a prompt and answer, a
group), since rollouts of one cluster are judged alike.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from theory import ArgumentError, VerifierChannel
from theory.structures import (
    Drifting,
    GroupCorrelated,
    Independent,
    PerAnswer,
    PerPrompt,
    Rollouts,
    Structure,
    Triggered,
)

GROUP, GROUPS, ANSWERS = 8, 4000, 3
SIZE = GROUP * GROUPS
CHANNEL = VerifierChannel(0.2, 0.3)

PROMPT = np.repeat(np.arange(GROUPS), GROUP)
ANSWER = np.random.default_rng(1).integers(ANSWERS, size=SIZE)
RIGHT = ANSWER == 0
SELECTED = np.random.default_rng(2).random(SIZE) < 0.3


def rollouts() -> Rollouts:
    return Rollouts(
        right=RIGHT,
        prompt=PROMPT,
        index=np.arange(SIZE),
        group=np.arange(SIZE) // GROUP,
        answer=ANSWER,
        selected=SELECTED,
    )


def flips(structure: Structure, *, seed: int = 0, step: int = 7) -> NDArray[np.bool_]:
    return structure.judge(rollouts(), seed=seed, step=step) ^ RIGHT


CLUSTERS = {
    "independent": (Independent(CHANNEL), np.arange(SIZE)),
    "per prompt": (PerPrompt(CHANNEL), PROMPT),
    "per answer": (PerAnswer(CHANNEL), PROMPT * ANSWERS + ANSWER),
    "group .5": (GroupCorrelated(CHANNEL, 0.5), PROMPT),
    "group 1": (GroupCorrelated(CHANNEL, 1.0), PROMPT),
}


@pytest.mark.parametrize("name", CLUSTERS)
@pytest.mark.parametrize("seed", range(5))
def test_realised_rates_are_nominal_within_three_clustered_standard_errors(name: str, seed: int):
    structure, cluster = CLUSTERS[name]
    flipped = flips(structure, seed=seed)
    for rate, chosen in ((CHANNEL.fpr, ~RIGHT), (CHANNEL.fnr, RIGHT)):
        sizes = np.bincount(cluster[chosen])
        residuals = np.bincount(cluster[chosen], weights=flipped[chosen] - rate)
        error = math.sqrt((residuals**2).sum()) / sizes.sum()
        assert abs(residuals.sum() / sizes.sum()) < 3.0 * error


@pytest.mark.parametrize("correlation", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_the_correlated_structure_shows_its_intraclass_correlation(correlation: float):
    """The mean product of two flips' deviations in one group, over the variance of one."""
    rate = 0.2
    structure = GroupCorrelated(VerifierChannel(rate, 0.0), correlation)
    wrong = Rollouts(
        right=np.zeros(SIZE, dtype=np.bool_),
        prompt=PROMPT,
        index=np.arange(SIZE),
        group=PROMPT,
    )
    deviation = structure.judge(wrong, seed=0, step=0).reshape(GROUPS, GROUP) - rate
    pairs = (deviation.sum(axis=1) ** 2 - (deviation**2).sum(axis=1)) / (GROUP * (GROUP - 1))
    estimate = pairs.mean() / (rate * (1 - rate))
    error = pairs.std() / math.sqrt(GROUPS) / (rate * (1 - rate))
    assert abs(estimate - correlation) < 3.5 * error


def test_zero_correlation_is_independent_noise():
    np.testing.assert_array_equal(flips(GroupCorrelated(CHANNEL, 0.0)), flips(Independent(CHANNEL)))


@pytest.mark.parametrize("persistent", [PerPrompt(CHANNEL), PerAnswer(CHANNEL)])
def test_persistent_verdicts_outlast_the_step_and_no_others_do(persistent: Structure):
    np.testing.assert_array_equal(flips(persistent, step=1), flips(persistent, step=99))
    fresh = Independent(CHANNEL)
    assert (flips(fresh, step=1) != flips(fresh, step=99)).any()


def test_a_prompt_or_an_answer_is_judged_one_way():
    for name in ("per prompt", "per answer"):
        structure, cluster = CLUSTERS[name]
        flipped = flips(structure)
        for chosen in (RIGHT, ~RIGHT):
            seen = np.bincount(cluster[chosen])
            hit = np.bincount(cluster[chosen], weights=flipped[chosen])
            assert ((hit == 0) | (hit == seen)).all()


@pytest.mark.parametrize(
    "make",
    [
        Independent,
        PerPrompt,
        PerAnswer,
        lambda channel: GroupCorrelated(channel, 0.4),
        lambda channel: Triggered(channel, VerifierChannel(0.05, 0.05)),
        lambda channel: Drifting(channel, channel, 10),
    ],
)
def test_in_every_structure_fewer_flips_are_a_subset_of_more(make):
    few = flips(make(VerifierChannel(0.1, 0.2)))
    many = flips(make(VerifierChannel(0.3, 0.5)))
    assert few.sum() < many.sum()
    assert not (few & ~many).any()


def test_a_trigger_decides_which_channel_applies():
    flipped = flips(Triggered(VerifierChannel(1.0, 0.0), VerifierChannel(0.0, 0.0)))
    np.testing.assert_array_equal(flipped, SELECTED & ~RIGHT)


def test_drifting_rates_move_from_start_to_end():
    drifting = Drifting(VerifierChannel(0.0, 0.4), VerifierChannel(0.2, 0.0), 10)
    assert drifting.at(0) == VerifierChannel(0.0, 0.4)
    assert drifting.at(5).fpr == pytest.approx(0.1)
    assert drifting.at(5).fnr == pytest.approx(0.2)
    assert drifting.at(10) == drifting.at(1000) == VerifierChannel(0.2, 0.0)


@pytest.mark.parametrize(
    ("structure", "missing"),
    [
        (PerAnswer(CHANNEL), "answer"),
        (GroupCorrelated(CHANNEL, 0.5), "group"),
        (Triggered(CHANNEL, CHANNEL), "selected"),
    ],
)
def test_what_a_structure_needs_to_know_is_named(structure: Structure, missing: str):
    bare = Rollouts(right=RIGHT, prompt=PROMPT, index=np.arange(SIZE))
    with pytest.raises(ArgumentError, match=missing):
        structure.judge(bare, seed=0, step=0)


def test_impossible_parameters_are_named():
    with pytest.raises(ArgumentError, match=r"correlation.*1\.5"):
        GroupCorrelated(CHANNEL, 1.5)
    with pytest.raises(ArgumentError, match=r"steps.*0"):
        Drifting(CHANNEL, CHANNEL, 0)


@pytest.mark.parametrize("correlation", [1e-15, 1e-13, 1e-300])
def test_a_correlation_that_floats_cannot_tell_from_none_is_none(correlation: float) -> None:
    np.testing.assert_array_equal(
        flips(GroupCorrelated(CHANNEL, correlation)), flips(Independent(CHANNEL))
    )
