"""A collapse is called one wherever it happens, and noise about a rising curve is not."""

from __future__ import annotations

import numpy as np
import pytest

from fits import find_turn
from fits.collapse import ALONE, LENGTHS, OF_SEVERAL, fall_statistic, may_have_turned
from tests.benchmarks.collapses import FALLS, alarms, found, turned


def rising(T: int, *, pace: float = 8.0) -> np.ndarray:
    return 0.1 + 0.6 * (1.0 - 0.5 ** (pace * np.linspace(0.0, 1.0, T)))


def test_the_run_that_was_lost_at_its_third_evaluation() -> None:
    for length in (5, 8, 20):
        y = np.r_[0.156, 0.408, np.zeros(length - 2)]
        turn = find_turn(10.0 * np.arange(length), y)
        assert turn is not None
        assert (turn.x, turn.low) == (10.0, 0.0)
        assert turn.peak == pytest.approx(0.408)


@pytest.mark.parametrize("T", [10, 20, 60])
def test_early_late_sudden_and_gradual_falls_are_found_where_they_start(T: int) -> None:
    rng = np.random.default_rng(0)
    x = np.linspace(0.0, 1.0, T)
    made = {
        "early": (np.where(x > 0.25, 0.02, rising(T)), 0.25),
        "late": (np.where(x > 0.85, 0.1, rising(T)), 0.85),
        "gradual": (rising(T) - 0.9 * np.maximum(x - 0.5, 0.0), 0.5),
    }
    for y, begins in made.values():
        turns = [find_turn(x, y + rng.normal(0.0, 0.01, T)) for _ in range(20)]
        assert sum(turn is not None for turn in turns) >= 19
        at = np.median([turn.x for turn in turns if turn is not None])
        assert begins - 0.25 < at < begins + 0.15


def test_a_fall_with_a_recovery_and_one_in_some_seeds_are_found() -> None:
    rng = np.random.default_rng(1)
    x = np.linspace(0.0, 1.0, 20)
    dip = np.where((x > 0.3) & (x < 0.6), 0.05, rising(20)) + rng.normal(0.0, 0.02, 20)
    turn = find_turn(x, dip)
    assert turn is not None
    assert turn.end > turn.low + 0.3
    runs = np.stack([rising(20) + rng.normal(0.0, 0.01, 20) for _ in range(5)])
    runs[3, 16:] = 0.3
    turned = find_turn(np.tile(x, 5), runs.ravel(), run=np.repeat(list("abcde"), 20))
    assert turned is not None
    assert turned.runs in {("d",), ()}  # its own, or large enough to move the mean


def test_a_fall_without_a_rise_is_a_monotone_curve() -> None:
    rng = np.random.default_rng(2)
    x = np.linspace(0.0, 1.0, 20)
    assert find_turn(x, 0.8 - rising(20) + rng.normal(0.0, 0.01, 20)) is None


@pytest.mark.parametrize("T", [6, 8, 12, 30, 60])
def test_noise_about_a_monotone_curve_is_rarely_called_a_collapse(T: int) -> None:
    """At most 1 % by design; 800 curves allow for the error of counting."""
    rng = np.random.default_rng(T)
    x = np.linspace(0.0, 1.0, T)
    called = 0
    for noise in (0.005, 0.05):
        for base in (np.full(T, 0.3), rising(T), rising(T, pace=30.0), 0.1 + 0.5 * x):
            for _ in range(100):
                called += (
                    find_turn(x, np.clip(base + rng.normal(0.0, noise, T), 0.0, 1.0)) is not None
                )
    assert called <= 16


@pytest.mark.parametrize("n_eval", [2048, 20_000])
@pytest.mark.parametrize("T", [6, 12, 60])
def test_many_samples_an_evaluation_do_not_make_noise_of_training_a_collapse(
    T: int, n_eval: int
) -> None:
    """Falls were held against evaluation noise alone: of plateaued curves at 20,000 samples 54 % fell back."""
    rates = [
        alarms(course, T, 0.03, 200, seeds=1, n_eval=n_eval)
        for course in ("plateau, rise 0.6", "plateau, rise 0.15")
    ]
    assert np.mean(rates) <= 0.02


@pytest.mark.parametrize("n_eval", [None, 2048])
def test_what_is_passed_over_unasked_would_not_have_been_called(n_eval: int | None) -> None:
    """Benchmarks ask only about the curves that may have turned."""
    rng = np.random.default_rng(4)
    called = 0
    for T in (6, 12, 20):
        x = np.linspace(0.0, 1.0, T)
        for fall in FALLS.values():
            y_RST = np.clip(fall(x) + rng.normal(0.0, 0.08, (20, 2, T)), 0.0, 1.0)
            for y_ST in y_RST:
                if turned(x, y_ST, n_eval):
                    called += 1
                    either = np.vstack([y_ST, y_ST.mean(axis=0)])
                    assert may_have_turned(either, n_eval).any()
    assert called > 100


@pytest.mark.parametrize("fall", [name for name in FALLS if "gradual" not in name])
@pytest.mark.parametrize("T", [6, 8, 20])
def test_sudden_falls_are_found_even_among_six_evaluations(fall: str, T: int) -> None:
    assert found(fall, T, 0.01, 20, of_five=False) >= 0.9


@pytest.mark.parametrize(
    ("T", "alone", "several"), list(zip(LENGTHS, ALONE, OF_SEVERAL, strict=True))[1::3]
)
def test_the_quantiles_are_those_of_white_noise(T: int, alone: float, several: float) -> None:
    statistic = fall_statistic(np.random.default_rng(3).normal(size=(20_000, T)))
    assert 0.003 < np.mean(statistic > alone) < 0.007
    assert 0.0002 < np.mean(statistic > several) < 0.0015
