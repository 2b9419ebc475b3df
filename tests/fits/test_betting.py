"""Evidence that may be looked at after every step: martingales by enumeration, false alarms by simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fits.betting import RATES, Bets, risen
from fits.errors import InputError

# Of one label: wrong and paid, wrong and not paid, right.
KINDS = np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
STEPS, UNITS = 6, 1  # beyond the fourth, where bets begin anew


def every_run(rates: list[float], wrong: float) -> tuple[np.ndarray, np.ndarray]:
    """Chance of every course of labels, and the courses, shape (runs, STEPS), of kinds."""
    courses = np.array(list(itertools.product(range(3), repeat=STEPS)))
    chance = np.ones(len(courses))
    for t, rate in enumerate(rates):
        of = np.array([wrong * rate, wrong * (1.0 - rate), 1.0 - wrong])
        chance *= of[courses[:, t]]
    return chance, courses


def watched(bets: Bets, courses: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    above, rise = [], []
    for t in range(STEPS):
        times = (courses[:, t, None] == np.arange(3)).astype(float)
        bets.observe(KINDS[:, 0], KINDS[:, 1], times)
        above.append(np.exp(bets.above()))
        if len(bets.nulls_P) > 1:
            rise.append(np.exp(risen(bets.rising())))
    return above, rise


@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_wealth_is_a_martingale_at_the_null(rate: float) -> None:
    chance, courses = every_run([rate] * STEPS, 0.6)
    above, _ = watched(Bets(np.array([rate]), runs=(len(courses),)), courses)
    for wealth in above:
        assert chance @ wealth[:, 0] == pytest.approx(1.0, abs=1e-12)


def test_wealth_falls_below_the_null_and_grows_above_it() -> None:
    null = Bets(np.array([0.3]), runs=(3**STEPS,))
    chance, courses = every_run([0.2] * STEPS, 0.6)
    below, _ = watched(null, courses)
    assert chance @ below[-1][:, 0] < 1.0
    chance, courses = every_run([0.5] * STEPS, 0.6)
    beyond, _ = watched(Bets(np.array([0.3]), runs=(3**STEPS,)), courses)
    assert chance @ beyond[-1][:, 0] > 1.0


@pytest.mark.parametrize(
    "rates", [[0.3] * 6, [0.05] * 6, [0.5, 0.5, 0.4, 0.3, 0.3, 0.1], [0.3] * 4 + [0.35] * 2]
)
def test_a_rate_that_does_not_rise_by_the_margin_makes_no_evidence(rates: list[float]) -> None:
    chance, courses = every_run(rates, 0.7)
    _, rise = watched(Bets(RATES, margin=0.05, runs=(len(courses),)), courses)
    for wealth in rise:
        assert chance @ wealth <= 1.0 + 1e-12


def test_the_least_over_the_grid_is_below_that_over_all_rates() -> None:
    """Between two points of the grid the bound is no larger than the evidence itself."""
    rng = np.random.default_rng(0)
    coarse = Bets(np.linspace(0.0, 1.0, 6), margin=0.02)
    fine = Bets(np.linspace(0.0, 1.0, 501), margin=0.02)
    for t in range(40):
        times = rng.multinomial(8, [0.05, 0.45, 0.5] if t < 16 else [0.35, 0.15, 0.5]).astype(float)
        for bets in (coarse, fine):
            bets.observe(KINDS[:, 0], KINDS[:, 1], times)
    assert (coarse.rising() <= fine.rising() + 1e-9).all()
    assert fine.rising().max() > 5.0


def test_a_unit_of_two_labels_is_their_mean() -> None:
    """Two labels of one prompt that always agree are worth one label, not two."""
    one, pair, twice = (Bets(np.array([0.1])) for _ in range(3))
    one.observe(np.array([1.0]), np.array([1.0]))
    pair.observe(np.array([(1.0 + 1.0) / 2]), np.array([1.0]))
    twice.observe(np.array([1.0, 1.0]), np.array([1.0, 1.0]))
    assert pair.above() == pytest.approx(one.above())
    assert twice.above() > one.above()


def test_false_alarms_and_power_by_simulation() -> None:
    rng = np.random.default_rng(3)
    runs, steps = 400, 80
    held = Bets(np.array([0.2]), runs=(runs,))
    left = Bets(np.array([0.2]), runs=(runs,))
    false, seen = np.zeros(runs, bool), np.zeros(runs, bool)
    for t in range(steps):
        for bets, rate, hit in ((held, 0.2, false), (left, 0.2 if t < 20 else 0.5, seen)):
            wrong = rng.binomial(8, 0.4, runs)
            paid = rng.binomial(wrong, rate)
            bets.observe(
                KINDS[:, 0], KINDS[:, 1], np.stack([paid, wrong - paid, 8 - wrong], -1) * 1.0
            )
            hit |= bets.above()[:, 0] >= np.log(20.0)
    assert false.mean() <= 0.05  # 400 runs: the promise is 5 %, and is kept with room
    assert seen.mean() > 0.95


def test_the_bound_on_the_largest_rate_holds() -> None:
    rng = np.random.default_rng(5)
    runs = 200
    bets = Bets(RATES, runs=(runs,))
    wrong_at_some_step = np.zeros(runs, bool)
    for _ in range(60):
        paid = rng.binomial(6, 0.3, runs)
        bets.observe(KINDS[:, 0], KINDS[:, 1], np.stack([paid, 6 - paid, 0 * paid], -1) * 1.0)
        wrong_at_some_step |= bets.reached(0.05) > 0.3
    assert wrong_at_some_step.mean() <= 0.05
    assert np.median(bets.reached(0.05)) > 0.15


@pytest.mark.parametrize(
    ("nulls", "margin"), [([0.5, 0.2], 0.0), ([-0.1], 0.0), ([1.1], 0.0), ([0.2], 1.0), ([], 0.0)]
)
def test_nulls_that_are_none(nulls: list[float], margin: float) -> None:
    with pytest.raises(InputError):
        Bets(np.array(nulls), margin=margin)
