"""Counter-based random numbers: every draw is a pure function of what it is for.

Law. A draw is Philox4x32-10 of the counter (step, prompt, index, block) under the key (seed, purpose),
so it depends on neither the number of threads, nor the order of evaluation, nor what other draws were
made. Changing anything here changes every committed number; the known answers in the tests pin it.
Fails first when a caller uses one (seed, purpose, step, prompt, index, block) for two things.
Source: Salmon, Moraes, Dror, Shaw 2011 (Random123); constants of Philox4x32.

Two implementations give the same words: `philox_words` on whole NumPy arrays (no compiler, no import
of numba; what the noisy verifier uses), and `theory.kernels.philox` inside compiled loops.
"""

from __future__ import annotations

import enum
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.channel import FloatArray
from theory.errors import ArgumentError

Words = NDArray[np.uint32]

MULTIPLIERS: Final = (0xD2511F53, 0xCD9E8D57)
WEYL: Final = (0x9E3779B9, 0xBB67AE85)
ROUNDS: Final = 10
_LOW32: Final = np.uint64(0xFFFFFFFF)
_SHIFT32: Final = np.uint64(32)

__all__ = ["MULTIPLIERS", "ROUNDS", "WEYL", "Purpose", "check_seed", "philox_words", "uniforms"]


class Purpose(enum.IntEnum):
    """What a draw is for: the second half of the key. Values are part of the scheme; never renumber."""

    VERIFIER = 1  # is this rollout's verdict flipped
    ROLLOUT = 2  # which arm a simulated rollout takes
    PROMPT = 3  # which prompts a step visits, and how hard they are
    PERSISTENT = 4  # verdicts that repeat whenever a prompt (or a prompt and answer) does
    GROUP = 5  # error rates shared by one group
    EVALUATION = 6  # simulated evaluation samples
    PARAMETERS = 7  # initial parameters
    PROBE = 8  # rollouts sampled at a checkpoint, without training


def check_seed(seed: int) -> int:
    """Return `seed` if it is an integer in [0, 2**32); raise ArgumentError naming it otherwise."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ArgumentError(f"seed must be an integer in [0, 2**32), got {seed!r}")
    return int(seed)


def _counter_word(name: str, value: ArrayLike) -> NDArray[np.uint64]:
    words = np.asarray(value)
    if words.dtype.kind not in "iu":
        raise ArgumentError(f"{name} must be integer, got {words.dtype}")
    if words.size and (words.min() < 0 or words.max() >= 2**32):
        raise ArgumentError(f"{name} must lie in [0, 2**32)")
    return words.astype(np.uint64)


def philox_words(
    key: tuple[int, int], counter: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]
) -> tuple[Words, Words, Words, Words]:
    """Philox4x32-10 of one key and broadcastable counters, each word in [0, 2**32).

    Returns four uint32 arrays of the broadcast shape: 128 random bits per counter.
    """
    names = ("step", "prompt", "index", "block")
    c0, c1, c2, c3 = np.broadcast_arrays(
        *(_counter_word(name, word) for name, word in zip(names, counter, strict=True))
    )
    k0, k1 = key
    m0, m1 = (np.uint64(m) for m in MULTIPLIERS)
    for _ in range(ROUNDS):
        product0 = m0 * c0
        product1 = m1 * c2
        c0, c1, c2, c3 = (
            (product1 >> _SHIFT32) ^ c1 ^ np.uint64(k0),
            product1 & _LOW32,
            (product0 >> _SHIFT32) ^ c3 ^ np.uint64(k1),
            product0 & _LOW32,
        )
        k0 = (k0 + WEYL[0]) & 0xFFFFFFFF
        k1 = (k1 + WEYL[1]) & 0xFFFFFFFF
    return tuple(word.astype(np.uint32) for word in (c0, c1, c2, c3))  # pyright: ignore[reportReturnType]


def uniforms(
    seed: int,
    purpose: Purpose,
    *,
    step: ArrayLike,
    prompt: ArrayLike,
    index: ArrayLike,
    block: ArrayLike = 0,
) -> FloatArray:
    """Uniform draws in [0, 1), one per counter, from 53 of its 128 bits; the counters broadcast.

    seed: integer in [0, 2**32). step, prompt, index, block: integers in [0, 2**32). For the verdict
    on a rollout, `prompt` is the prompt's id and `index` the rollout's place in the global batch.
    Raises ArgumentError naming the argument that is out of range.
    """
    high, low, _, _ = philox_words((check_seed(seed), int(purpose)), (step, prompt, index, block))
    high53 = (high >> np.uint32(5)).astype(np.float64)
    return (high53 * 67108864.0 + (low >> np.uint32(6))) / 9007199254740992.0
