"""Clock, tails, crossings, modes and rest points, at their printed digits and in their limits."""

from __future__ import annotations

import numpy as np
import pytest

import theory
from theory import mean_field
from theory.mean_field import mode_path, share_noise, time_between, time_to
from theory.rest_points import Form, mroueh_iteration, rest_points

CLEAN, FP, FN = (theory.VerifierChannel(*r) for r in [(0.0, 0.0), (0.3, 0.0), (0.0, 0.3)])


def test_false_positives_and_negatives_cross_at_the_mirrored_accuracy() -> None:
    for channel in (FP, FN):
        assert time_between(0.1, 0.9, channel) == pytest.approx(16.055368, abs=5e-7)
    assert time_between(0.1, 0.5, FP) == pytest.approx(9.339448, abs=5e-7)
    assert time_between(0.1, 0.5, FN) == pytest.approx(6.715920, abs=5e-7)


@pytest.mark.parametrize(
    ("channel", "group", "power", "limit"),
    [
        (FN, None, 1, 0.654654),
        (FP, None, 2, 5.714286),
        (CLEAN, None, 2, 4.0),
        (CLEAN, 8, 1, 0.404175),
        (FP, 8, 1, 0.577393),
        (FN, 8, 1, 0.778273),
    ],
)
def test_tails(
    channel: theory.VerifierChannel, group: int | None, power: int, limit: float
) -> None:
    # The approach to the tail is measured at two depths; the deeper one must be nearer.
    errors = [
        abs(p * time_between(0.5, 1 - p, channel, group_size=group) ** power / limit - 1)
        for p in (1e-6, 1e-10)
    ]
    assert errors[1] < errors[0]
    assert errors[1] < 1e-4


def test_the_tail_of_an_inverted_verifier() -> None:
    inverted = theory.VerifierChannel(0.7, 0.6)
    assert 1e-9 * time_between(0.5, 1e-9, inverted) == pytest.approx(1.527525, rel=1e-5)


def test_clean_accuracy_is_a_line_in_the_right_coordinate() -> None:
    def phi(a: float) -> float:
        p = 1 - a
        return (2 * p - 1) / np.sqrt(p * (1 - p))

    for end in (0.3, 0.6, 0.99):
        assert phi(end) - phi(0.1) == pytest.approx(-0.5 * time_between(0.1, end, CLEAN), rel=1e-9)


def test_independent_noise_changes_the_clock_and_not_the_path() -> None:
    path = mode_path([0.05, 0.04, 0.03], [0.4, 0.28, 0.2], until=0.9)
    np.testing.assert_allclose(path.right[-1], [0.815433, 0.130288, 0.054279], atol=6e-7)
    for channel, expected in [(CLEAN, 12.639628), (FP, 18.748703), (FN, 18.799300)]:
        assert time_to(path, channel) == pytest.approx(expected, abs=1e-6)


def test_shares_stay_shares_ties_stay_tied_and_wrong_modes_even_out() -> None:
    path = mode_path([0.02, 0.02, 0.01], [0.6, 0.25, 0.1], until=0.9999)
    np.testing.assert_allclose(path.right.sum(axis=1), 1.0, atol=1e-9)
    np.testing.assert_allclose(path.wrong.sum(axis=1), 1.0, atol=1e-9)
    np.testing.assert_allclose(path.right[:, 0], path.right[:, 1], atol=1e-9)
    assert path.right[-1, 2] < 0.5 * path.right[0, 2]
    assert np.ptp(path.wrong[-1]) < 0.2 * np.ptp(path.wrong[0])


def test_modes_multiply_the_speed_by_their_concentration() -> None:
    """One right and one wrong mode: F = 2, so tails and times are those of the ability over 2."""
    path = mode_path([0.1], [0.9], until=0.9)
    for channel in (FP, FN):
        assert time_to(path, channel) == pytest.approx(16.055368 / 2, rel=1e-7)


def test_noise_of_a_share_is_not_wright_fishers() -> None:
    assert share_noise(0.5, 0.5, 8) == pytest.approx(3.391e-3, rel=2e-4)
    assert share_noise(0.05, 0.5, 8) == pytest.approx(2.891e-5, rel=2e-4)


def test_noise_of_a_share_equals_simulated_gradients() -> None:
    rng = np.random.default_rng(4)
    y, a, group, count = 0.2, 0.5, 8, 200_000
    arms = rng.choice(3, size=(count, group), p=[a * y, a * (1 - y), 1 - a])
    advantage = theory.advantages(arms < 2, theory.Estimator("group", "group", eps=0.0))
    policy = np.array([a * y, a * (1 - y), 1 - a])
    onto = [(advantage * ((arms == k) - policy[k])).mean(axis=1) for k in (0, 1)]
    moves = y * (1 - y) * (onto[0] - onto[1])  # of y, to first order in the learning rate
    assert moves.var() == pytest.approx(float(share_noise(y, a, group)), rel=0.02)


def roots(form: Form, channel: theory.VerifierChannel, **options: float | int):
    found = rest_points(channel, form=form, **options)  # pyright: ignore[reportArgumentType]
    return [(point.pass_rate, point.stable) for point in found.points], found.attracting_boundaries


@pytest.mark.parametrize(
    ("form", "channel", "options", "expected", "ends"),
    [
        ("objective", CLEAN, (1.0, 0.2, None), [(0.681300, True), (0.934687, False)], (1.0,)),
        ("objective", CLEAN, (2.0, 0.2, None), [(0.408733, True), (0.994059, False)], (1.0,)),
        ("objective", CLEAN, (0.8957, 0.2, None), [], (1.0,)),
        ("objective", CLEAN, (1.0, 0.2, 8), [(0.591336, True)], ()),
        ("objective", FP, (1.0, 0.2, 8), [(0.463867, True)], ()),
        (
            "rlver",
            CLEAN,
            (0.1, 0.001, None),
            [(0.00295585, True), (0.0309100, False), (0.785738, True)],
            (),
        ),
        ("k3", CLEAN, (1.0, 0.2, 8), [(0.617803, True)], ()),
        ("k3", FP, (0.1, 0.2, 8), [(0.952247, True)], ()),
    ],
)
def test_rest_points_at_their_printed_digits(
    form: Form,
    channel: theory.VerifierChannel,
    options: tuple[float, float, int | None],
    expected: list[tuple[float, bool]],
    ends: tuple[float, ...],
) -> None:
    beta, reference, group = options
    found, boundary = roots(
        form,
        channel,
        beta=beta,
        reference_pass_rate=reference,
        group_size=group,  # pyright: ignore[reportArgumentType]
    )
    assert boundary == ends
    assert [stable for _, stable in found] == [stable for _, stable in expected]
    for (rate, _), (digits, _) in zip(found, expected, strict=True):
        assert rate == pytest.approx(digits, rel=2e-6)


def test_the_pair_of_roots_is_born_at_the_printed_beta() -> None:
    assert len(roots("objective", CLEAN, beta=0.895702, reference_pass_rate=0.2)[0]) == 2
    assert roots("objective", CLEAN, beta=0.895700, reference_pass_rate=0.2)[0] == []


@pytest.mark.parametrize("form", ["objective", "rlver", "k3"])
@pytest.mark.parametrize("channel", [CLEAN, FP, FN, theory.VerifierChannel(0.7, 0.6)])
@pytest.mark.parametrize("beta", [1e-3, 0.1, 3.0])
def test_finite_groups_have_an_odd_number_of_alternating_rest_points(
    form: Form, channel: theory.VerifierChannel, beta: float
) -> None:
    found, ends = roots(form, channel, beta=beta, reference_pass_rate=0.2, group_size=8)
    assert ends == ()
    assert [stable for _, stable in found] == [i % 2 == 0 for i in range(len(found))]
    assert len(found) % 2 == 1
    assert all((rate > 0.2) == (channel.youden > 0) for rate, _ in found)


@pytest.mark.parametrize(("fnr", "beta"), [(0.3, 1e-3), (1e-4, 0.1)])
def test_false_negatives_alone_hold_the_far_rest_point(fnr: float, beta: float) -> None:
    """docs/theory.md#rest-points: d > 0 keeps 1/sigma finite at a = 1, so the boundary does not attract."""
    channel = theory.VerifierChannel(0.0, fnr)
    found = rest_points(channel, beta=beta, reference_pass_rate=0.2)
    (point,) = found.points
    assert point.stable
    assert found.attracting_boundaries == ()
    far = np.log(0.25) + channel.youden / (beta * np.sqrt(fnr * (1.0 - fnr)))
    assert point.logit == pytest.approx(far, rel=1e-9)


def test_swapping_right_and_wrong_mirrors_the_rest_points() -> None:
    here, _ = roots(
        "k3", theory.VerifierChannel(0.3, 0.1), beta=0.2, reference_pass_rate=0.3, group_size=4
    )
    there, _ = roots(
        "k3", theory.VerifierChannel(0.9, 0.7), beta=0.2, reference_pass_rate=0.7, group_size=4
    )
    # (a, fpr, fnr) -> (1 - a, fnr, fpr), and (fpr, fnr) -> (1 - fpr, 1 - fnr), together.
    np.testing.assert_allclose(
        [rate for rate, _ in there], [1 - rate for rate, _ in reversed(here)]
    )


def test_nothing_to_learn_rests_at_the_reference_and_no_kl_at_the_boundary() -> None:
    coin = theory.VerifierChannel(0.4, 0.6)
    for form in ("objective", "rlver", "k3"):
        found, ends = roots(form, coin, beta=0.5, reference_pass_rate=0.2)
        assert [rate for rate, _ in found] == [pytest.approx(0.2, abs=1e-12)]
        assert ends == ()
        assert roots(form, FP, beta=0.0, reference_pass_rate=0.2) == ([], (1.0,))
    with pytest.raises(theory.ArgumentError, match="every pass rate is a rest point"):
        rest_points(coin, beta=0.0, reference_pass_rate=0.2)


def test_mroueh_s_iteration_has_the_same_roots_and_its_own_stability() -> None:
    (attracting, _), _ = roots("objective", CLEAN, beta=1.0, reference_pass_rate=0.2)
    path = mroueh_iteration(0.5, CLEAN, beta=1.0, reference_pass_rate=0.2, steps=400)
    assert path[-1] == pytest.approx(attracting[0], abs=1e-12)
    # A rare reference: the flow comes to rest where the iteration overshoots to and fro.
    point = rest_points(CLEAN, beta=6.0, reference_pass_rate=1e-4).points[0]
    assert point.stable
    path = mroueh_iteration(
        point.pass_rate * 1.001, CLEAN, beta=6.0, reference_pass_rate=1e-4, steps=61
    )
    distance = np.log(path / point.pass_rate)
    assert np.all(np.sign(distance[1:]) != np.sign(distance[:-1]))
    assert abs(distance[-1]) > 100 * abs(distance[0])


def test_bad_arguments_are_named() -> None:
    with pytest.raises(theory.ArgumentError, match="beta must be finite"):
        rest_points(CLEAN, beta=-1.0, reference_pass_rate=0.2)
    with pytest.raises(theory.ArgumentError, match="reference_pass_rate must lie strictly"):
        rest_points(CLEAN, beta=1.0, reference_pass_rate=1.0)
    with pytest.raises(theory.ArgumentError, match="start must lie strictly"):
        time_between(0.0, 0.5, CLEAN)
    with pytest.raises(theory.ArgumentError, match="J > 0 only"):
        mean_field.mode_path([0.1], [0.9]).clock(theory.VerifierChannel(0.6, 0.6))
