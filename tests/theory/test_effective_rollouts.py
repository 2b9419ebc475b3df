"""Effective rollouts against enumeration of every outcome, known digits, limits and symmetries."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import theory
from theory.effective_rollouts import population_snr2_weight
from theory.estimators import PRESETS

POINTS = [(0.3, 0.1, 0.2), (0.6, 0.25, 0.05), (0.2, 0.7, 0.6), (0.05, 0.0, 0.3), (0.9, 0.4, 0.0)]
CLEAN = theory.VerifierChannel(0.0, 0.0)


def enumerated(
    a: float, x: float, d: float, group: int, name: str, *, wrong_over_right: float = 1.0
) -> float:
    """Squared mean pull over score-noise variance, by every table of (right, paid) of an actual group."""
    cells = [(1, 1, a * (1 - d)), (1, 0, a * d), (0, 1, (1 - a) * x), (0, 0, (1 - a) * (1 - x))]
    outcomes = np.array(list(itertools.product(cells, repeat=group)))
    right, paid, weight = outcomes[..., 0], outcomes[..., 1], outcomes[..., 2].prod(axis=1)
    push = theory.advantages(paid, PRESETS[name])
    pull = weight @ (push * (right - a)).mean(axis=1)
    score_noise = np.where(right == 1, 1.0, wrong_over_right)
    return float(pull**2 / (weight @ (push**2 * score_noise).sum(axis=1) / group**2))


@pytest.mark.parametrize("name", ["dr_grpo", "rloo"])
@pytest.mark.parametrize("group", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("point", POINTS)
def test_signal_to_noise_is_exactly_that_of_the_effective_clean_rollouts(
    name: str, group: int, point: tuple[float, float, float]
) -> None:
    a, x, d = point
    noisy = enumerated(a, x, d, group, name)
    worth = float(theory.effective_rollouts(a, theory.VerifierChannel(x, d), group))
    # A clean verifier's is proportional to G' - 1, also as enumerated: so it is read off between integers.
    clean = [enumerated(a, 0.0, 0.0, size, name) for size in range(2, 7)]
    np.testing.assert_allclose(clean, clean[0] * np.arange(1.0, 6.0), rtol=1e-12)
    assert noisy == pytest.approx(clean[0] * (worth - 1.0), rel=1e-11)


@pytest.mark.parametrize("name", list(PRESETS))
@pytest.mark.parametrize("group", [2, 3, 5])
@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.5])
@pytest.mark.parametrize("point", POINTS)
def test_the_formula_equals_the_enumeration_for_every_estimator_and_score_noise(
    name: str, group: int, ratio: float, point: tuple[float, float, float]
) -> None:
    a, x, d = point
    found = theory.snr2_weight(
        a,
        theory.VerifierChannel(x, d),
        group,
        estimator=PRESETS[name],
        wrong_over_right=ratio,
    )
    expected = enumerated(a, x, d, group, name, wrong_over_right=ratio)
    assert float(found) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize(
    ("group", "share"), [(2, 1e-3), (3, 1e-3), (4, 0.006), (8, 0.026), (16, 0.046)]
)
def test_grpo_is_below_by_a_share_that_grows_with_the_group(group: int, share: float) -> None:
    a = np.linspace(0.02, 0.98, 97)
    for x, d in ((0.0, 0.0), (0.1, 0.2), (0.4, 0.0), (0.0, 0.4)):
        channel = theory.VerifierChannel(x, d)
        grpo = theory.snr2_weight(a, channel, group)
        exact = theory.snr2_weight(a, channel, group, estimator=theory.DR_GRPO)
        kept = grpo / exact
        assert kept.max() <= 1.0 + 1e-12
        assert kept.min() >= 1.0 - share


@pytest.mark.parametrize(
    ("a", "x", "d", "digits"),
    [
        (0.3, 0.1, 0.2, 0.481066),
        (0.5, 0.4, 0.0, 0.428571),
        (0.5, 0.0, 0.4, 0.428571),
        (0.8, 0.4, 0.0, 0.545455),
        (0.8, 0.0, 0.4, 0.230769),
        (0.05, 0.1, 0.0, 0.310345),
        (0.05, 0.0, 0.1, 0.895288),
        (0.35, 0.3, 0.3, 0.147727),
    ],
)
def test_phi2_by_known_digits(a: float, x: float, d: float, digits: float) -> None:
    moments = theory.drift(a, theory.VerifierChannel(x, d), 16)
    assert float(moments.phi2) == pytest.approx(digits, abs=6e-7)
    assert float(moments.effective_rollouts) == pytest.approx(1 + 15 * digits, abs=1e-5)


def test_signal_to_noise_by_known_digits() -> None:
    def over_clean(a: float, x: float, d: float, name: str = "grpo", ratio: float = 1.0) -> float:
        noisy, clean = (
            theory.snr2_weight(a, c, 8, estimator=PRESETS[name], wrong_over_right=ratio)
            for c in (theory.VerifierChannel(x, d), CLEAN)
        )
        return float(noisy / clean)

    assert over_clean(0.3, 0.1, 0.2) == pytest.approx(0.481452, abs=6e-7)
    assert over_clean(0.1, 0.3, 0.0) == pytest.approx(0.190743, abs=6e-7)
    assert over_clean(0.3, 0.1, 0.2, "dr_grpo", 2.0) == pytest.approx(0.441347, abs=6e-7)
    assert over_clean(0.1, 0.3, 0.0, "dr_grpo", 2.0) == pytest.approx(0.123484, abs=6e-7)


def test_populations_by_known_digits_and_directions() -> None:
    rates = [0.1, 0.7]
    noisy = theory.VerifierChannel(0.3, 0.0)
    both = theory.VerifierChannel(0.1, 0.2)
    assert theory.population_phi2(rates, both) == pytest.approx(0.383812, abs=6e-7)
    assert theory.population_phi2(rates, noisy) == pytest.approx(0.368421, abs=6e-7)

    def over_clean(group: int, direction: list[float], estimator: theory.Estimator) -> float:
        return population_snr2_weight(
            rates, noisy, group, estimator=estimator, direction=direction
        ) / population_snr2_weight(rates, CLEAN, group, estimator=estimator, direction=direction)

    assert over_clean(8, [1.0, 1.0], theory.GRPO) == pytest.approx(0.390865, abs=6e-7)
    assert over_clean(16, [1.0, 1.0], theory.GRPO) == pytest.approx(0.410689, abs=6e-7)
    assert over_clean(8, [1.0, -1.0], theory.GRPO) == pytest.approx(0.709, abs=5e-4)
    for direction in ([1.0, 1.0], [1.0, -1.0], [0.3, 2.0]):
        assert over_clean(8, direction, theory.DR_GRPO) == pytest.approx(7 / 19, rel=1e-12)


def test_errors_shared_in_a_group_by_simulated_groups() -> None:
    a, x, shared, group = 0.3, 0.3, 0.3, 6
    rng = np.random.default_rng(5)
    size = 400_000
    k = 1.0 / shared - 1.0
    rates = rng.beta(x * k, (1 - x) * k, size=(size, 1))
    right = rng.random((size, group)) < a
    paid = right | (rng.random((size, group)) < rates)
    push = theory.advantages(paid, theory.DR_GRPO)
    truth = theory.advantages(right, theory.DR_GRPO)

    def weighed(step: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
        return float((step * (right - a)).mean() ** 2 / (step**2).mean())

    expected = float(theory.phi2(a, theory.VerifierChannel(x, 0.0), correlation=shared))
    # By hand: J^2 A over q(1 - q) - c (1 - a)^2 x (1 - x). (THEORY prints .469000.)
    assert expected == pytest.approx(0.469799, abs=6e-7)
    assert weighed(push) / weighed(truth) == pytest.approx(expected, abs=0.004)
    assert expected > float(theory.phi2(a, theory.VerifierChannel(x, 0.0)))


RATES = st.floats(0.0, 1.0)
INSIDE = st.floats(0.001, 0.999)


@settings(max_examples=200, deadline=None)
@given(INSIDE, RATES, RATES, st.integers(2, 64))
def test_worth_lies_between_one_and_all_and_mirrors(
    a: float, x: float, d: float, group: int
) -> None:
    channel = theory.VerifierChannel(x, d)
    worth = float(theory.effective_rollouts(a, channel, group))
    assert 1.0 <= worth <= group
    mirrored = theory.effective_rollouts(1.0 - a, theory.VerifierChannel(d, x), group)
    assert worth == pytest.approx(float(mirrored), rel=1e-9)
    inverted = theory.effective_rollouts(a, theory.VerifierChannel(1.0 - x, 1.0 - d), group)
    assert worth == pytest.approx(float(inverted), rel=1e-9)
    squared = float(theory.phi2(a, channel))
    if squared > 0.0:
        needed = float(theory.matching_rollouts(a, channel, group))
        assert (needed - 1.0) * squared == pytest.approx(group - 1.0)


@settings(max_examples=200, deadline=None)
@given(INSIDE, st.floats(0.0, 0.5), st.floats(0.0, 0.49), st.floats(0.0, 0.5), st.floats(0.0, 0.5))
def test_more_errors_are_worth_fewer_rollouts_while_the_verifier_tells(
    a: float, x: float, d: float, more_x: float, more_d: float
) -> None:
    better = theory.VerifierChannel(x, d)
    j = better.youden
    # Towards the coin and not past it.
    worse = theory.VerifierChannel(x + more_x * j, d + more_d * j)
    assert theory.phi2(a, worse) <= theory.phi2(a, better) + 1e-12


def test_ends_are_limits() -> None:
    for channel in (
        theory.VerifierChannel(0.0, 0.2),
        theory.VerifierChannel(0.1, 0.0),
        theory.VerifierChannel(0.1, 0.2),
        CLEAN,
        theory.VerifierChannel(0.5, 0.5),
        theory.VerifierChannel(1.0, 0.4),
    ):
        ends = theory.phi2([0.0, 1.0], channel)
        near = theory.phi2([1e-12, 1.0 - 1e-12], channel)
        np.testing.assert_allclose(ends, near, atol=1e-4)
    assert theory.matching_rollouts(0.3, theory.VerifierChannel(0.5, 0.5), 8) == np.inf
    assert theory.population_phi2([0.0, 1.0], CLEAN) == 0.0


def test_what_is_out_of_range_is_named() -> None:
    with pytest.raises(theory.ArgumentError, match="pass_rate"):
        theory.phi2(1.2, CLEAN)
    with pytest.raises(theory.ArgumentError, match="correlation"):
        theory.phi2(0.2, CLEAN, correlation=-0.1)
    with pytest.raises(theory.ArgumentError, match="group_size"):
        theory.effective_rollouts(0.2, CLEAN, 1)
    with pytest.raises(theory.ArgumentError, match="wrong_over_right"):
        theory.snr2_weight(0.2, CLEAN, 8, wrong_over_right=0.0)
    with pytest.raises(theory.ArgumentError, match="pass_rates"):
        theory.population_phi2([], CLEAN)


@given(
    pass_rate=st.floats(0.01, 0.99),
    fpr=st.floats(0.0, 0.9),
    fnr=st.floats(0.0, 0.9),
    share=st.floats(0.0, 1.0),
    group_size=st.integers(2, 64),
)
def test_more_errors_of_either_kind_are_worth_fewer_rollouts(
    pass_rate: float, fpr: float, fnr: float, share: float, group_size: int
) -> None:
    left = 1.0 - fpr - fnr
    assume(left > 0.0)
    worth, more_fpr, more_fnr = (
        float(theory.effective_rollouts(pass_rate, theory.VerifierChannel(x, d), group_size))
        for x, d in ((fpr, fnr), (fpr + share * left, fnr), (fpr, fnr + share * left))
    )
    assert 1.0 - 1e-9 <= more_fpr <= worth + 1e-9
    assert 1.0 - 1e-9 <= more_fnr <= worth + 1e-9
    assert worth <= group_size + 1e-9
