"""The manuscript's statements, one test each, by the label it has there (tests/paper/test_manuscript.py).

Each holds the function that implements a statement against the statement itself, by enumeration or by quadrature.
Flipping a sign or an exponent in that function makes its test fail: `python -m tests.faults.theory_mutations`.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.special import logit

import theory
from theory import DR_GRPO, GRPO, GRPO_LOO, RLOO, Estimator, VerifierChannel
from theory.corrections import backward, forward
from theory.effective_rollouts import phi2, population_phi2, snr2_weight
from theory.flow import PopulationFlow, accuracy
from theory.mean_field import mode_path, time_to
from theory.rest_points import rest_points

CLEAN = VerifierChannel(0.0, 0.0)
CHANNELS = [VerifierChannel(0.1, 0.2), VerifierChannel(0.3, 0.0), VerifierChannel(0.0, 0.4)]
EXACT_GRPO = Estimator("group", "group", eps=0.0)


def cells(a: float, channel: VerifierChannel) -> list[tuple[int, int, float]]:
    """(right, paid, probability) of a rollout."""
    x, d = channel.fpr, channel.fnr
    return [
        (1, 1, a * (1 - d)), (1, 0, a * d), (0, 1, (1 - a) * x), (0, 0, (1 - a) * (1 - x))
    ]  # fmt: skip


def test_finite_group_gradient() -> None:
    """Four answers, each paid with a chance of its own: every group of three enumerated, in softmax logits."""
    policy, pays = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.9, 0.2, 0.6, 0.05])
    scores = np.eye(4) - policy
    q = float(policy @ pays)
    slope = policy * (pays - q)
    for estimator in (EXACT_GRPO, GRPO, DR_GRPO, RLOO, GRPO_LOO):
        for size in (2, 3):
            total = np.zeros(4)
            for answers in itertools.product(range(4), repeat=size):
                for paid in itertools.product((0, 1), repeat=size):
                    chance = np.prod(
                        [policy[o] * (pays[o] if r else 1 - pays[o]) for o, r in zip(answers, paid, strict=True)]
                    )  # fmt: skip
                    worth = theory.advantages(np.array(paid, dtype=float), estimator)
                    total += chance * (worth[:, np.newaxis] * scores[list(answers)]).mean(axis=0)
            gain = float(theory.gain(q, size, estimator=estimator))
            assert total == pytest.approx(gain * slope, abs=1e-13)
    # The closed form of grpo's gain, at larger groups.
    for size in (2, 3, 5, 8, 16):
        k = np.arange(size - 1)
        mass = np.array([math.comb(size - 2, i) * q**i * (1 - q) ** (size - 2 - i) for i in k])
        closed = (
            (size - 1) ** 1.5 / math.sqrt(size) * (mass / np.sqrt((k + 1) * (size - 1 - k))).sum()
        )
        assert float(theory.gain(q, size, estimator=EXACT_GRPO)) == pytest.approx(closed, rel=1e-12)


def test_saturation() -> None:
    """The ratio of the expected steps is J at two and three rollouts and nears phi; the gain has its bound."""
    for channel in CHANNELS:
        for a in (0.05, 0.3, 0.8):
            ratios = {
                size: float(
                    theory.drift(a, channel, size, estimator=EXACT_GRPO).drift
                    / theory.drift(a, CLEAN, size, estimator=EXACT_GRPO).drift
                )
                for size in (2, 3, 4096)
            }
            assert ratios[2] == pytest.approx(channel.youden, rel=1e-12)
            assert ratios[3] == pytest.approx(channel.youden, rel=1e-12)
            assert ratios[4096] == pytest.approx(math.sqrt(float(phi2(a, channel))), rel=0.01)
            q = float(channel.observed_rate(a))
            for size in (2, 8, 64):
                bound = (size - 1) / (size * math.sqrt(q * (1 - q)))
                assert float(theory.gain(q, size, estimator=EXACT_GRPO)) <= bound * (1 + 1e-12)


def test_symmetry() -> None:
    """Mirrored prompts and verifiers have one law; the order of the errors turns at one half, from four rollouts on."""
    for channel in CHANNELS:
        mirrored = VerifierChannel(channel.fnr, channel.fpr)
        for estimator in (EXACT_GRPO, DR_GRPO, RLOO):
            for a in (0.05, 0.3, 0.8):
                one = theory.drift(a, channel, 8, estimator=estimator)
                other = theory.drift(1 - a, mirrored, 8, estimator=estimator)
                assert float(one.drift) == pytest.approx(float(other.drift), rel=1e-12)
                assert float(one.variance) == pytest.approx(float(other.variance), rel=1e-12)

    def drifts(a: float, rate: float, size: int, estimator: Estimator) -> tuple[float, float]:
        fp, fn = VerifierChannel(rate, 0.0), VerifierChannel(0.0, rate)
        return tuple(float(theory.drift(a, c, size, estimator=estimator).drift) for c in (fp, fn))  # type: ignore[return-value]

    for rate in (0.1, 0.5):
        for a in (0.02, 0.2, 0.49, 0.51, 0.8, 0.98):
            for size in (4, 5, 8, 32):
                fp, fn = drifts(a, rate, size, EXACT_GRPO)
                assert (fp < fn) == (a < 0.5)
            for size in (2, 3):
                fp, fn = drifts(a, rate, size, EXACT_GRPO)
                assert fp == pytest.approx(fn, rel=1e-12)
            for estimator in (DR_GRPO, RLOO):
                fp, fn = drifts(a, rate, 8, estimator)
                assert fp == pytest.approx(fn, rel=1e-12)
                # Not only alike: both are J A times the constant gain.
                assert fp == pytest.approx(
                    (1 - rate) * a * (1 - a) * (7 / 8 if estimator is DR_GRPO else 1.0)
                )


def test_clock() -> None:
    """Time under a verifier is clean time over J D_G(q)/D_G(a); a population's flow without scaling is clean at J t."""
    path = mode_path((0.05, 0.04, 0.03), (0.4, 0.28, 0.2), until=0.9)
    for channel in CHANNELS:
        for size in (None, 4, 8):
            clean = path.clock(CLEAN, group_size=size)
            a = path.pass_rate
            q = channel.observed_rate(a)
            if size is None:
                gains = [1 / np.sqrt(rate * (1 - rate)) for rate in (a, q)]
            else:
                gains = [theory.gain(rate, size) for rate in (a, q)]
            factor = channel.youden * gains[1] / gains[0]
            expected = np.trapezoid(1 / factor, clean)
            assert time_to(path, channel, group_size=size) == pytest.approx(expected, rel=1e-5)
        flow = PopulationFlow(
            np.array([-2.0, 0.0, 1.5, 3.0]), rate=0.3, optimiser="sgd", estimator=DR_GRPO
        )
        steps = np.array([5.0, 40.0, 200.0])
        slowed = accuracy(flow, CLEAN, channel.youden * steps)
        assert accuracy(flow, channel, steps) == pytest.approx(slowed, abs=1e-6)


def test_corrections() -> None:
    """Affine rewards leave scaled advantages alone, multiply the others, and change no signal-to-noise ratio."""
    rng = np.random.default_rng(0)
    rewards = (rng.random((200, 8)) < 0.4).astype(float)
    for channel in (*CHANNELS, VerifierChannel(0.7, 0.5)):
        for unpaid, paid in (backward(channel), forward(channel)):
            corrected = unpaid + (paid - unpaid) * rewards
            slope = paid - unpaid
            assert theory.advantages(corrected, EXACT_GRPO) == pytest.approx(
                math.copysign(1.0, slope) * theory.advantages(rewards, EXACT_GRPO), abs=1e-9
            )
            for estimator in (DR_GRPO, RLOO):
                assert theory.advantages(corrected, estimator) == pytest.approx(
                    slope * theory.advantages(rewards, estimator), abs=1e-12
                )
                for a in (0.1, 0.6):
                    plain = snr2_weight(a, channel, 8, estimator=estimator)
                    given = snr2_weight(a, channel, 8, estimator=estimator, rewards=(unpaid, paid))
                    # Pull and noise are of one scale: D_G of the corrected reward has the slope in it.
                    assert float(given) == pytest.approx(float(plain), rel=1e-12)
        unpaid, paid = forward(channel)
        assert (unpaid, paid) == pytest.approx(
            (-(1 - channel.fnr), 1 - (1 - channel.fnr)), abs=1e-15
        )
        unpaid, paid = backward(channel)
        # Unbiased for being right: a wrong rollout is worth 0 on average and a right one 1.
        assert channel.fpr * paid + (1 - channel.fpr) * unpaid == pytest.approx(0.0, abs=1e-12)
        assert channel.fnr * unpaid + (1 - channel.fnr) * paid == pytest.approx(1.0, abs=1e-12)


def enumerated(
    a: float, channel: VerifierChannel, size: int, v0: float, v1: float
) -> tuple[float, float]:
    """Squared pull along ability and score-noise variance of a dr_grpo group, over all 4^G outcomes."""
    pull = noise = 0.0
    for outcome in itertools.product(cells(a, channel), repeat=size):
        right, paid, chance = (np.array(part) for part in zip(*outcome, strict=True))
        mass, worth = float(chance.prod()), theory.advantages(paid.astype(float), DR_GRPO)
        pull += mass * float((worth * (right - a)).mean())
        noise += mass * float((worth**2 * np.where(right == 1, v1, v0)).sum()) / size**2
    return pull**2, noise


def test_effective_rollouts() -> None:
    """The enumerated ratio of a noisy group is a clean one's of 1 + phi^2 (G - 1) rollouts."""
    for channel in CHANNELS:
        for a in (0.1, 0.5, 0.8):
            for size in (2, 3, 4):
                signal, noise = enumerated(a, channel, size, 1.0, 1.0)
                worth = float(theory.effective_rollouts(a, channel, size))
                # A clean group of G' has A (G' - 1), by its own enumeration at two and three rollouts.
                for known in (2, 3):
                    one, other = enumerated(a, CLEAN, known, 1.0, 1.0)
                    assert one / other == pytest.approx(a * (1 - a) * (known - 1), rel=1e-12)
                assert signal / noise == pytest.approx(a * (1 - a) * (worth - 1.0), rel=1e-12)
                assert worth == pytest.approx(1.0 + float(phi2(a, channel)) * (size - 1), rel=1e-12)


def test_adam() -> None:
    """The flow's step is rho/sqrt(1 + rho^2) with rho^2 = u^2 A phi^2 (G - 1) B, under dr_grpo."""
    for channel in (*CHANNELS, CLEAN):
        for a in (0.1, 0.5, 0.8):
            for size, prompts, pull in ((4, 8, 0.3), (16, 2, 1.0)):
                flow = PopulationFlow(
                    np.array([0.0]),
                    group_size=size,
                    prompts_per_step=prompts,
                    optimiser="adam",
                    rate=1.0,
                    signal=pull,
                    estimator=DR_GRPO,
                )
                rho2 = pull**2 * a * (1 - a) * float(phi2(a, channel)) * (size - 1) * prompts
                step = float(flow.velocity(float(logit(a)), channel))
                assert step == pytest.approx(math.sqrt(rho2 / (1 + rho2)), rel=1e-9)


def test_between_prompts() -> None:
    """Of a batch's 1/SNR^2 only the score noise knows the verifier, by the population's phi^2."""
    a, pulls, prompts, v = np.array([0.1, 0.4, 0.7]), np.array([0.5, 1.0, -0.2]), 8, 3.0
    for channel in (*CHANNELS, CLEAN):
        for size in (2, 3):
            each = np.array([enumerated(rate, channel, size, v, v) for rate in a])
            means = pulls * np.sqrt(each[:, 0])
            inverse = (means.var() + each[:, 1].mean()) / prompts / means.mean() ** 2
            ua = pulls * a * (1 - a)
            c = ua.var() / ua.mean() ** 2 / prompts
            n = v * (a * (1 - a)).mean() / (prompts * ua.mean() ** 2)
            worth = population_phi2(a, channel)
            assert inverse == pytest.approx(c + n / (worth * (size - 1)), rel=1e-10)


def test_unequal_score_noise() -> None:
    """E[A^2 v] by the printed M is the enumerated one, and what `snr2_weight` divides by."""
    for channel in CHANNELS:
        x, d = channel.fpr, channel.fnr
        for a in (0.1, 0.6):
            q = float(channel.observed_rate(a))
            for size, v0 in ((2, 2.0), (4, 3.5)):
                m = a * ((1 - d) * (1 - q) ** 2 + d * q**2) + (1 - a) * v0 * (
                    x * (1 - q) ** 2 + (1 - x) * q**2
                )
                mean = a + (1 - a) * v0
                square = ((size - 1) / size) ** 2 * (m + mean * q * (1 - q) / (size - 1))
                signal, noise = enumerated(a, channel, size, v0, 1.0)
                assert noise == pytest.approx(square / size, rel=1e-12)
                found = snr2_weight(a, channel, size, estimator=DR_GRPO, wrong_over_right=v0)
                assert float(found) == pytest.approx(signal / noise, rel=1e-12)


def test_rest_points() -> None:
    """The published flow has three, two of them stable, each a root of the printed equation."""
    found = rest_points(CLEAN, beta=0.1, reference_pass_rate=0.001, form="rlver")
    assert [point.stable for point in found.points] == [True, False, True]

    def flow(a: float) -> float:
        return math.sqrt(a * (1 - a)) * 2.0 - 0.1 * float(logit(a) - logit(0.001))

    for point in found.points:
        a = point.pass_rate
        assert flow(a) == pytest.approx(0.0, abs=1e-9)
        assert (flow(a * 1.001) < 0.0) == point.stable
