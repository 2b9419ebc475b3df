"""From sums over blocks of prompts to speeds, signals and noise, with jackknife intervals.

Law. Let m_j and s_j^2 be mean and variance, over prompts and their groups, of weight j's group gradient, B
the prompts a step averages, rho_j = m_j sqrt(B)/s_j and c the gradient of clean accuracy. To first order an
optimiser step raises clean accuracy by
    lr * sum_j c_j f(rho_j),  f = rho/sqrt(1 + rho^2)      Adam with a long memory and stationary gradients,
                              f = 2 Phi(rho) - 1           Adam's first step, which is a sign,
                              f = h(rho)                   bias-corrected Adam averaged over its first steps,
                              m_j instead of f             SGD.
A verifier's relative speed is that sum over the clean verifier's.
Cross-fitting: c comes from a block, f from all others, and every block takes its turn, so that the noise c
and m share within a prompt does not count as signal. m_j^2 is corrected for the variance of m_j.
Fails first where gradients are sparse or heavy-tailed (f takes them for Gaussian), where they change faster
than Adam forgets, and where eps is not small beside a weight's gradient.
Source: docs/theory.md, Adam with a stationary signal; noise scale after arXiv 1812.06162.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fits.hypotheses import jackknife_error
from theory.channel import FloatArray

__all__ = ["FORMS", "Chunk", "Signals", "Speeds", "signals", "speeds", "start_step"]

FORMS: Final = ("adam", "adam_sign", "adam_start", "sgd")
START_STEPS: Final = 20
_CHUNK: Final = 4096


@dataclass(frozen=True)
class Chunk:
    """Sums over the prompts of each of K blocks, of V verifiers at G group sizes, of some weights P.

    accuracy_KP: of the gradient of clean accuracy. exploit_KVP: of the gradient of P(wrong and paid).
    mean_KVGP, square_KVGP: of a prompt's mean group gradient, and of its mean squared one.
    """

    accuracy_KP: NDArray[np.floating]
    exploit_KVP: NDArray[np.floating]
    mean_KVGP: NDArray[np.floating]
    square_KVGP: NDArray[np.floating]


@functools.cache
def start_step(
    beta1: float, beta2: float, steps: int = START_STEPS
) -> tuple[FloatArray, FloatArray]:
    """(rho, mean step over the first `steps`, in units of lr) of bias-corrected Adam on N(rho, 1) gradients.

    From 4,000 fixed paths taken with both signs, so odd in rho to the last digit; standard error below .004.
    """
    rho = np.concatenate([np.linspace(0.0, 1.0, 21), np.geomspace(1.1, 100.0, 40)])
    noise = np.random.Generator(np.random.Philox(20261128)).standard_normal((steps, 4000))
    noise = np.concatenate([noise, -noise], axis=1)
    mean = np.zeros((rho.size, noise.shape[1]))
    square = np.zeros_like(mean)
    taken = np.zeros(rho.size)
    for step in range(steps):
        gradient = rho[:, np.newaxis] + noise[step]
        mean = beta1 * mean + (1.0 - beta1) * gradient
        square = beta2 * square + (1.0 - beta2) * gradient**2
        first = mean / (1.0 - beta1 ** (step + 1))
        second = square / (1.0 - beta2 ** (step + 1))
        taken += (first / np.sqrt(second)).mean(axis=1)
    return rho, taken / steps


def _steps(
    mean: FloatArray, signal2: FloatArray, noise2: FloatArray, betas: tuple[float, float]
) -> FloatArray:
    """Each form's step, forms along a new first axis; 0 where a weight never had a gradient.

    mean: m. signal2: m^2 less its sampling variance, at least 0. noise2: s^2/B.
    """
    from scipy.special import erf

    scale = np.sqrt(signal2 + noise2)
    adam = np.divide(mean, scale, out=np.zeros_like(mean), where=scale > 0.0)
    noise = np.sqrt(noise2)
    # Where the gradient never varies its sign is all there is.
    rho = np.divide(mean, noise, out=100.0 * np.sign(mean), where=noise > 0.0)
    grid, value = start_step(*betas)
    start = np.sign(rho) * np.interp(np.abs(rho), grid, value)
    return np.stack([adam, erf(rho / np.sqrt(2.0)), start, mean])


@dataclass(frozen=True)
class Speeds:
    """First-order growth per step, at a learning rate of 1, over the chosen weights alone.

    Arrays are [form, verifier, group size] (FORMS); K blocks come first in `deleted`, where each leaves one out.
    relative: over the baseline verifier's at the same group size; relative_se by the jackknife over blocks
    and by the choice of weights. between_sizes: the same of speed over its own at the reference size.
    right: growth of accuracy. certainty: the baseline's growth over its standard error.
    exploit, exploit_se: growth of P(wrong and paid) under Adam, [verifier, group size].
    """

    right: FloatArray
    right_se: FloatArray
    relative: FloatArray
    relative_se: FloatArray
    between_sizes: FloatArray
    between_sizes_se: FloatArray
    certainty: FloatArray
    exploit: FloatArray
    exploit_se: FloatArray


def speeds(
    read: Callable[[int, int], Chunk],
    *,
    prompts_K: NDArray[np.int64],
    size: int,
    total: int,
    prompts_per_step: int,
    baseline_V: NDArray[np.int64],
    reference_size: int,
    betas: tuple[float, float],
) -> Speeds:
    """Speeds of all verifiers.

    read: the chunk of weights [start, stop). prompts_K: prompts of each block. size: weights chosen, of
    total. prompts_per_step: B. baseline_V: each verifier's clean counterpart. reference_size: place of the
    group size that others are compared with. betas: Adam's.
    """
    n, blocks = int(prompts_K.sum()), len(prompts_K)
    crossed: FloatArray = np.zeros(0)
    deleted = exploit = exploit_deleted = product = between = square = crossed
    for start in range(0, size, _CHUNK):
        chunk = read(start, min(start + _CHUNK, size))
        c_KP = chunk.accuracy_KP.astype(np.float64)
        e_KVP = chunk.exploit_KVP.astype(np.float64)
        mean_sum = chunk.mean_KVGP.sum(axis=0, dtype=np.float64)
        square_sum = chunk.square_KVGP.sum(axis=0, dtype=np.float64)
        c_sum, e_sum = c_KP.sum(axis=0), e_KVP.sum(axis=0)
        # Variance of the mean over all prompts, from the scatter of blocks.
        n_K111 = prompts_K.astype(np.float64).reshape(-1, 1, 1, 1)
        apart = chunk.mean_KVGP - n_K111 * (mean_sum / n)
        variance = np.asarray((apart**2).sum(axis=0) / n**2 * blocks / (blocks - 1))

        def step(
            mean: FloatArray,
            mean_square: FloatArray,
            kept: int,
            variance: FloatArray = variance,
        ) -> FloatArray:
            signal2 = mean**2 - variance * (n / kept)
            noise2 = np.maximum(mean_square - signal2, 0.0) / prompts_per_step
            return _steps(mean, np.maximum(signal2, 0.0), noise2, betas)

        f = step(mean_sum / n, square_sum / n, n)  # [form, V, G, P]
        if not crossed.size:
            shape = f.shape[:3]
            crossed, deleted = np.zeros(shape), np.zeros((blocks, *shape))
            exploit, exploit_deleted = np.zeros(shape[1:]), np.zeros((blocks, *shape[1:]))
            square, product, between = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        x = f * (c_sum / n)
        square += (x**2).sum(axis=-1)
        product += (x * x[:, baseline_V]).sum(axis=-1)
        between += (x * x[:, :, [reference_size]]).sum(axis=-1)
        for k in range(blocks):
            kept = n - int(prompts_K[k])
            mean = (mean_sum - chunk.mean_KVGP[k]) / kept
            f = step(mean, (square_sum - chunk.square_KVGP[k]) / kept, kept)
            crossed += f @ (c_KP[k] / n)
            deleted[k] += f @ ((c_sum - c_KP[k]) / kept)
            exploit += np.einsum("vgp,vp->vg", f[0], e_KVP[k] / n)
            exploit_deleted[k] += np.einsum("vgp,vp->vg", f[0], (e_sum - e_KVP[k]) / kept)

    def ratio(
        base: Callable[[FloatArray], FloatArray], shared: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        below = base(crossed)
        value = _quotient(crossed, below)
        deleted_below = np.stack([base(deleted[k]) for k in range(blocks)])  # pyright: ignore[reportArgumentType]
        by_blocks = jackknife_error(_quotient(deleted, deleted_below))
        # Of a ratio of sums over weights drawn without replacement.
        residual = np.maximum(square - 2.0 * value * shared + value**2 * base(square), 0.0)
        by_weights = _quotient(np.sqrt(residual * (1.0 - size / total)), np.abs(below))
        return value, np.sqrt(by_blocks**2 + by_weights**2)

    relative, relative_se = ratio(lambda a: a[:, baseline_V], product)
    between_sizes, between_se = ratio(lambda a: a[:, :, [reference_size]], between)
    right_se = np.sqrt(jackknife_error(deleted) ** 2 + square * (1.0 - size / total))
    return Speeds(
        right=crossed,
        right_se=right_se,
        relative=relative,
        relative_se=relative_se,
        between_sizes=between_sizes,
        between_sizes_se=between_se,
        certainty=_quotient(crossed, right_se)[:, baseline_V],
        exploit=exploit,
        exploit_se=jackknife_error(exploit_deleted),
    )


def _quotient(above: FloatArray, below: FloatArray) -> FloatArray:
    """above / below, NaN where below is 0."""
    below = np.broadcast_to(below, above.shape)
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below != 0.0)


@dataclass(frozen=True)
class Signals:
    """Signal and noise of group gradients, sums over the chosen weights; arrays [verifier, group size].

    Each with the K estimates that leave a block out, [block, verifier, group size].
    signal: |mean|^2, unbiased, so possibly below 0. along: mean times the baseline verifier's mean.
    noise: trace of the variance of one prompt's gradient. between: the part of it between prompts.
    """

    signal: FloatArray
    along: FloatArray
    noise: FloatArray
    between: FloatArray
    signal_K: FloatArray
    along_K: FloatArray
    noise_K: FloatArray
    between_K: FloatArray


def signals(
    read: Callable[[int, int], Chunk],
    *,
    prompts_K: NDArray[np.int64],
    size: int,
    baseline_V: NDArray[np.int64],
    square_KVG: FloatArray,
    pair_KVG: FloatArray,
) -> Signals:
    """Signal and noise of all verifiers.

    square_KVG, pair_KVG: sums over a block's prompts of the mean |g|^2 of a prompt's groups, and of the mean
    g . g' of its pairs of groups, over all chosen weights.
    """
    own = shared = np.zeros(0)
    for start in range(0, size, _CHUNK):
        mean = read(start, min(start + _CHUNK, size)).mean_KVGP.astype(np.float64)
        mean = np.moveaxis(mean, 0, 2)  # [V, G, K, P]
        one = mean @ np.swapaxes(mean, -1, -2)
        two = mean @ np.swapaxes(mean[baseline_V], -1, -2)
        own, shared = (own + one, shared + two) if own.size else (one, two)
    n_K = prompts_K.astype(np.float64)

    def unbiased(gram: FloatArray, kept_K: NDArray[np.bool_]) -> FloatArray:
        """Mean product of two different blocks' means, weighted by their prompts."""
        part = gram[..., kept_K, :][..., :, kept_K]
        n = n_K[kept_K]
        diagonal = np.trace(part, axis1=-2, axis2=-1)
        return (part.sum(axis=(-2, -1)) - diagonal) / (n.sum() ** 2 - (n**2).sum())

    def all_of(kept_K: NDArray[np.bool_]) -> tuple[FloatArray, ...]:
        n = n_K[kept_K].sum()
        signal = unbiased(own, kept_K)
        return (
            signal,
            unbiased(shared, kept_K),
            square_KVG[kept_K].sum(axis=0) / n - signal,
            pair_KVG[kept_K].sum(axis=0) / n - signal,
        )

    every = np.ones(len(n_K), dtype=np.bool_)
    without = [all_of(every & (np.arange(len(n_K)) != k)) for k in range(len(n_K))]
    deleted = [np.stack(values) for values in zip(*without, strict=True)]
    return Signals(*all_of(every), *deleted)
