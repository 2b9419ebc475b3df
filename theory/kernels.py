"""Compiled pieces the simulators share: Philox words, exponential and logarithm, binomial proposals.

Law. `philox` gives the words of `theory.rng.philox_words`, so a compiled loop and a NumPy expression
agree on every draw. All pieces are plain arithmetic, so that loops over them vectorise and give the same
bits on every platform. A `proposed_binomial` that stands is exact in distribution (Hormann's transformed
rejection, BTRS), up to the 2**-32 of its two words.
Fails first when one counter serves two draws: every caller states which counters it consumes.
When changing this file, delete the __pycache__ beside it (`make test` does): numba's cache of a caller does not notice.
Source: Salmon, Moraes, Dror, Shaw 2011; Hormann 1993, "The generation of binomial random variates".
"""

from __future__ import annotations

import math
from typing import Any, Final

import numba as nb
import numpy as np
from numba.extending import intrinsic

from theory.rng import MULTIPLIERS, ROUNDS, WEYL

__all__ = ["exp", "log", "log_relative_mass", "philox", "proposed_binomial", "unit"]

_M0: Final = np.uint64(MULTIPLIERS[0])
_M1: Final = np.uint64(MULTIPLIERS[1])
_W0: Final = np.uint64(WEYL[0])
_W1: Final = np.uint64(WEYL[1])
_LOW: Final = np.uint64(0xFFFFFFFF)
_HALF: Final = np.uint64(32)
_ROUNDS: Final = ROUNDS
_LOG2E: Final = 1.4426950408889634
_LN2_HIGH: Final = 0.6931471803691238  # its last 32 bits are 0, so n * _LN2_HIGH is exact
_LN2_LOW: Final = 1.9082149292705877e-10
_MAGIC: Final = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to an integer, in the low bits
_ONE: Final = 4607182418800017408  # the bits of 1.0
_ROOT_HALF: Final = 4604544271217802189  # the bits of sqrt(1/2)
_LN2: Final = 0.6931471805599453


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
def unit(word: Any) -> Any:
    """A double in (0, 1) from a word in [0, 2**32): the middle of its 2**-32."""
    return (word + 0.5) * 2.0**-32


# Its stubs want callers to pass the typing context, which the compiler does.
_intrinsic: Any = intrinsic


def _reinterpret(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))


@_intrinsic
def _bits_of(typing: Any, number: Any) -> Any:
    """The bits of a double, as an integer."""
    del typing, number
    return nb.int64(nb.float64), _reinterpret


@_intrinsic
def _of_bits(typing: Any, bits: Any) -> Any:
    """The double of these bits."""
    del typing, bits
    return nb.float64(nb.int64), _reinterpret


@_intrinsic
def _fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once."""
    del typing, a, b, c

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.fma(*arguments)

    return nb.float64(nb.float64, nb.float64, nb.float64), generate


@nb.njit(inline="always", cache=True)
def exp(z: Any) -> Any:
    """e**z, e**-700 below that: 2**n times a Taylor polynomial of degree 12 on |r| <= log(2)/2, error 2 ulp.

    Written out, because it vectorises, and gives the same bits on every platform, which libm does not.
    """
    z = max(z, -700.0)
    shifted = _fma(z, _LOG2E, _MAGIC)
    n = shifted - _MAGIC
    r = _fma(n, -_LN2_LOW, _fma(n, -_LN2_HIGH, z))
    e = 1.0 / 479001600.0
    e = _fma(e, r, 1.0 / 39916800.0)
    e = _fma(e, r, 1.0 / 3628800.0)
    e = _fma(e, r, 1.0 / 362880.0)
    e = _fma(e, r, 1.0 / 40320.0)
    e = _fma(e, r, 1.0 / 5040.0)
    e = _fma(e, r, 1.0 / 720.0)
    e = _fma(e, r, 1.0 / 120.0)
    e = _fma(e, r, 1.0 / 24.0)
    e = _fma(e, r, 1.0 / 6.0)
    e = _fma(e, r, 0.5)
    e = _fma(e, r, 1.0)
    e = _fma(e, r, 1.0)
    return e * _of_bits((_bits_of(shifted) << 52) + _ONE)  # 2**n, by its exponent field


@nb.njit(inline="always", cache=True, error_model="numpy")
def log(x: Any) -> Any:
    """The natural logarithm of a normal double x > 0, to 1e-11 of itself, or absolutely; it vectorises."""
    bits = _bits_of(x)
    # The exponent that leaves a mantissa of sqrt(1/2) to sqrt(2), moved to the low bits of a double.
    n = (bits - _ROOT_HALF) >> 52
    m = _of_bits(bits - (n << 52))
    s = (m - 1.0) / (m + 1.0)
    s2 = s * s
    series = 1.0 / 13.0
    series = _fma(series, s2, 1.0 / 11.0)
    series = _fma(series, s2, 1.0 / 9.0)
    series = _fma(series, s2, 1.0 / 7.0)
    series = _fma(series, s2, 1.0 / 5.0)
    series = _fma(series, s2, 1.0 / 3.0)
    series = _fma(series, s2, 1.0)
    return 2.0 * s * series + n * _LN2


@nb.njit(inline="always", cache=True, error_model="numpy")
def proposed_binomial(trials: Any, rate: Any, u: Any, v: Any) -> Any:
    """A Binomial(trials, rate) draw from u and v, its mode, and how high it lies; it vectorises.

    The draw stands if it is no higher than `log_relative_mass` of it, else take another u and v.
    trials: a whole number, as a double. rate: in (0, 1/2], trials * rate at least 10. u, v: in (0, 1).
    """
    mean = trials * rate
    spread = math.sqrt(mean * (1.0 - rate))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * rate
    alpha = (2.83 + 5.1 / b) * spread
    distance = 0.5 - abs(u - 0.5)
    proposed = np.floor((2.0 * a / distance + b) * (u - 0.5) + mean + 0.5)
    draw = min(max(proposed, 0.0), trials)
    mode = np.floor((trials + 1.0) * rate)
    height = log(v * alpha / (a / (distance * distance) + b)) - (draw - mode) * log(
        rate / (1.0 - rate)
    )
    return draw, mode, height if draw == proposed else np.inf


@nb.njit(inline="always", cache=True)
def log_relative_mass(trials: Any, draw: Any, mode: Any, log_factorials: Any) -> Any:
    """Logarithm of the number of ways to `draw` out of `trials`, over that of their mode."""
    return (
        log_factorials[np.uint32(mode)]
        - log_factorials[np.uint32(draw)]
        + log_factorials[np.uint32(trials - mode)]
        - log_factorials[np.uint32(trials - draw)]
    )
