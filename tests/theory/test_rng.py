"""The random scheme: known answers, one set of words in NumPy and compiled, elementary functions."""

from __future__ import annotations

import numba as nb
import numpy as np
import pytest
from scipy import stats

from theory.errors import ArgumentError
from theory.kernels import exp, log, philox, unit
from theory.rng import Purpose, philox_words, uniforms

ONES = 0xFFFFFFFF
KNOWN = [
    ((0, 0), (0, 0, 0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((ONES, ONES), (ONES, ONES, ONES, ONES), "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        (0xA4093822, 0x299F31D0),
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


@nb.njit
def compiled_words(key, counters, out):
    for i in range(counters.shape[0]):
        c0, c1, c2, c3 = counters[i]
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = philox(key[0], key[1], c0, c1, c2, c3)


@nb.njit
def compiled_units(words, out):
    for i in range(words.size):
        out[i] = unit(words[i])


@nb.njit
def compiled_exponentials(values, out):
    for i in range(values.size):
        out[i] = exp(values[i])


@nb.njit
def compiled_logarithms(values, out):
    for i in range(values.size):
        out[i] = log(values[i])


@pytest.mark.parametrize(("key", "counter", "words"), KNOWN)
def test_known_answers_of_random123(
    key: tuple[int, int], counter: tuple[int, int, int, int], words: str
) -> None:
    assert " ".join(f"{int(word):08x}" for word in philox_words(key, counter)) == words


def test_compiled_words_are_the_same_words() -> None:
    rng = np.random.default_rng(3)
    key = rng.integers(0, 2**32, 2, dtype=np.uint64)
    counters = rng.integers(0, 2**32, (1000, 4), dtype=np.uint64)
    out = np.empty((1000, 4), dtype=np.uint64)
    compiled_words(key, counters, out)
    expected = philox_words((int(key[0]), int(key[1])), tuple(counters.T))  # pyright: ignore[reportArgumentType]
    np.testing.assert_array_equal(out, np.stack(expected, axis=1))


def test_units_are_the_middles_of_their_words() -> None:
    words = np.array([0, 1, 2**31, ONES], dtype=np.uint64)
    out = np.empty(4)
    compiled_units(words, out)
    np.testing.assert_array_equal(out * 2.0**33, [1.0, 3.0, 2.0**32 + 1.0, 2.0**33 - 1.0])


def test_exponentials_are_right_to_two_units_in_the_last_place() -> None:
    values = np.concatenate([-np.geomspace(1e-300, 699.0, 20_000), [0.0]])
    out = np.empty_like(values)
    compiled_exponentials(values, out)
    exact = np.exp(values)
    assert (np.abs(out - exact) <= 2 * np.spacing(exact)).all()
    assert out[-1] == 1.0


def test_uniforms_are_uniform_and_never_one() -> None:
    u = uniforms(1, Purpose.VERIFIER, step=np.arange(200_000), prompt=0, index=0)
    assert u.min() >= 0.0
    assert u.max() < 1.0
    assert stats.kstest(u, "uniform").pvalue > 1e-3


def test_no_two_counters_share_a_draw() -> None:
    steps, prompts, indices = np.meshgrid(np.arange(20), np.arange(50), np.arange(64))
    draws = [
        uniforms(seed, purpose, step=steps, prompt=prompts, index=indices).ravel()
        for seed in (0, 1)
        for purpose in (Purpose.VERIFIER, Purpose.ROLLOUT)
    ]
    every = np.concatenate(draws)
    assert np.unique(every).size == every.size
    # Streams of neighbouring keys are uncorrelated to within five standard errors.
    correlations = np.corrcoef(np.stack(draws))[np.triu_indices(4, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(draws[0].size)


def test_a_draw_does_not_depend_on_the_others_asked_for() -> None:
    together = uniforms(7, Purpose.VERIFIER, step=3, prompt=np.arange(10), index=4)
    alone = [float(uniforms(7, Purpose.VERIFIER, step=3, prompt=p, index=4)) for p in range(10)]
    np.testing.assert_array_equal(together, alone)


def test_logarithms_are_right_to_eleven_digits() -> None:
    values = np.concatenate(
        [np.geomspace(1e-300, 1e300, 20_000), 1.0 + np.linspace(-0.5, 1.0, 20_001)]
    )
    out = np.empty_like(values)
    compiled_logarithms(values, out)
    np.testing.assert_allclose(out, np.log(values), rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, True])
def test_bad_seeds_are_named(seed: int) -> None:
    with pytest.raises(ArgumentError, match="seed must be an integer"):
        uniforms(seed, Purpose.VERIFIER, step=0, prompt=0, index=0)


def test_bad_counters_are_named() -> None:
    with pytest.raises(ArgumentError, match="prompt must lie in"):
        uniforms(0, Purpose.VERIFIER, step=0, prompt=-1, index=0)
    with pytest.raises(ArgumentError, match="step must be integer"):
        uniforms(0, Purpose.VERIFIER, step=0.5, prompt=0, index=0)
