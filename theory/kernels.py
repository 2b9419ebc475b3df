"""Compiled pieces the simulators share: Philox words inside loops, and exact binomial draws.

Law. `philox` gives the words of `theory.rng.philox_words`, so a compiled loop and a NumPy expression
agree on every draw. `binomial` is exact in distribution: inversion where the mean is small, Hormann's
transformed rejection (BTRS) where it is large.
Fails first when one counter serves two draws: every caller states which counters it consumes.
When changing this file, delete the __pycache__ beside it: numba's cache of a caller does not notice.
Source: Salmon, Moraes, Dror, Shaw 2011; Hormann 1993, "The generation of binomial random variates".
"""

from __future__ import annotations

import math
from typing import Any, Final

import numba as nb
import numpy as np

from theory.rng import MULTIPLIERS, ROUNDS, WEYL

__all__ = ["binomial", "philox", "unit"]

_M0: Final = np.uint64(MULTIPLIERS[0])
_M1: Final = np.uint64(MULTIPLIERS[1])
_W0: Final = np.uint64(WEYL[0])
_W1: Final = np.uint64(WEYL[1])
_LOW: Final = np.uint64(0xFFFFFFFF)
_HALF: Final = np.uint64(32)
_ROUNDS: Final = ROUNDS
_HALF_LOG_2PI: Final = 0.9189385332046727


@nb.njit(inline="always", cache=True)
def philox(k0: Any, k1: Any, c0: Any, c1: Any, c2: Any, c3: Any) -> Any:
    """Philox4x32-10: four words in [0, 2**32) held in uint64, of a key and a counter held likewise.

    uint64 lanes, because a 32 x 32 -> 64 product is what the vector units have.
    """
    for _ in range(_ROUNDS):
        product0 = _M0 * c0
        product1 = _M1 * c2
        c0 = (product1 >> _HALF) ^ c1 ^ k0
        c1 = product1 & _LOW
        c2 = (product0 >> _HALF) ^ c3 ^ k1
        c3 = product0 & _LOW
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@nb.njit(inline="always", cache=True)
def unit(high: Any, low: Any) -> Any:
    """A double in [0, 1) from two 32-bit words; the one of `theory.rng.uniforms`."""
    return ((high >> np.uint64(5)) * 67108864.0 + (low >> np.uint64(6))) / 9007199254740992.0


@nb.njit(inline="always", cache=True)
def binomial(
    trials: Any, rate: Any, words: Any, k0: Any, k1: Any, c0: Any, c1: Any, c2: Any
) -> Any:
    """One Binomial(trials, rate) draw; consumes blocks 0, 1, … of the counter (c0, c1, c2).

    trials: int >= 0. rate: in [0, 1]. Key and counter words: uint64.
    words: the four words of block 0, which a caller draws for many counters at once.
    """
    if trials == 0 or rate <= 0.0:
        return 0
    if rate >= 1.0:
        return trials
    p = min(rate, 1.0 - rate)
    if trials * p < 10.0:
        draw = _by_inversion(trials, p, unit(words[0], words[1]))
    else:
        draw = _by_rejection(trials, p, words, k0, k1, c0, c1, c2)
    return draw if rate <= 0.5 else trials - draw


@nb.njit(inline="always", cache=True)
def _by_inversion(n: Any, p: Any, u: Any) -> Any:
    odds = p / (1.0 - p)
    mass = math.exp(n * math.log1p(-p))
    draw = 0
    # The rounding of the sum of masses may fall short of u in the last ulps: stop at n.
    while u > mass and draw < n:
        u -= mass
        draw += 1
        mass *= odds * (n - draw + 1) / draw
    return draw


@nb.njit(inline="always", cache=True)
def _stirling_tail(k: Any) -> Any:
    """log k! minus Stirling's approximation, for k >= 0."""
    if k < 10.0:
        return math.lgamma(k + 1.0) - ((k + 0.5) * math.log(k + 1.0) - (k + 1.0) + _HALF_LOG_2PI)
    square = 1.0 / ((k + 1.0) * (k + 1.0))
    return (1.0 / 12.0 - (1.0 / 360.0 - square / 1260.0) * square) / (k + 1.0)


@nb.njit(inline="always", cache=True)
def _by_rejection(n: Any, p: Any, words: Any, k0: Any, k1: Any, c0: Any, c1: Any, c2: Any) -> Any:
    spread = math.sqrt(n * p * (1.0 - p))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * p
    centre = n * p + 0.5
    v_quick = 0.92 - 4.2 / b
    block = np.uint64(0)
    w0, w1, w2, w3 = words
    while True:
        if block > 0:
            w0, w1, w2, w3 = philox(k0, k1, c0, c1, c2, block)
        block += np.uint64(1)
        u = unit(w0, w1) - 0.5
        v = 1.0 - unit(w2, w3)
        us = 0.5 - abs(u)
        k = math.floor((2.0 * a / us + b) * u + centre) if us > 0.0 else -1.0
        if us >= 0.07 and v <= v_quick:
            return int(k)
        if k < 0.0 or k > n:
            continue
        alpha = (2.83 + 5.1 / b) * spread
        odds = p / (1.0 - p)
        mode = math.floor((n + 1.0) * p)
        v = v * alpha / (a / (us * us) + b)
        bound = (
            (mode + 0.5) * math.log((mode + 1.0) / (odds * (n - mode + 1.0)))
            + (n + 1.0) * math.log((n - mode + 1.0) / (n - k + 1.0))
            + (k + 0.5) * math.log(odds * (n - k + 1.0) / (k + 1.0))
            + _stirling_tail(mode)
            + _stirling_tail(n - mode)
            - _stirling_tail(k)
            - _stirling_tail(n - k)
        )
        if math.log(v) <= bound:
            return int(k)
