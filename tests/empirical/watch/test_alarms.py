"""The three alarms: what sets each off, what does not, and how the promise is shared."""

from __future__ import annotations

import math

import numpy as np
import pytest

from empirical.watch.alarms import OF_RATES, SHARES, Alarms, Declared, declared_of
from empirical.watch.labels import Label, Unit, choose, units_of
from fits.errors import InputError

PW, UW, RP, RU = Unit(1, 1, 0, 1), Unit(0, 1, 0, 1), Unit(0, 0, 0, 1), Unit(0, 0, 1, 1)
KINDS = np.array([unit.shares for unit in (PW, UW, RP, RU)])


def on(alarms: Alarms) -> set[str]:
    return {alarm.name for alarm in alarms.status() if alarm.on}


def run(alarms: Alarms, rng: np.random.Generator, course: list[tuple[float, float, float]]) -> None:
    """Steps of 16 labels under (pass rate, fpr, fnr)."""
    for step, (a, x, d) in enumerate(course, start=1):
        of = [(1 - a) * x, (1 - a) * (1 - x), a * (1 - d), a * d]
        reward = rng.binomial(64, of[0] + of[2]) / 64
        alarms.observe(step, KINDS, reward=reward, times=rng.multinomial(16, of).astype(float))


def test_shares_are_the_promise() -> None:
    assert sum(SHARES.values()) == pytest.approx(1.0)
    assert sum(OF_RATES.values()) == pytest.approx(1.0)
    assert sum(Alarms(declared=Declared(0.1, 0.0)).shares.values()) == pytest.approx(0.01)
    without = Alarms()
    assert sum(without.shares.values()) == pytest.approx(0.01)
    assert without.shares["declared"] == 0.0
    none = {alarm.name: alarm for alarm in without.status()}["declared"]
    assert not none.can
    assert "declared" in none.reason


def test_a_channel_that_stays_sets_nothing_off_while_accuracy_rises_and_falls() -> None:
    rng = np.random.default_rng(0)
    runs = 300
    alarms = Alarms(declared=Declared(0.15, 0.1), false_alarm=0.05, runs=(runs,))
    for t in range(120):
        a = 0.2 + 0.6 * t / 60 if t < 60 else 0.8 - 0.4 * (t - 60) / 60
        of = [(1 - a) * 0.15, (1 - a) * 0.85, a * 0.9, a * 0.1]
        times = rng.multinomial(8, of, size=runs).astype(float)
        alarms.observe(t + 1, KINDS, reward=rng.binomial(64, of[0] + of[2], runs) / 64, times=times)
    off = np.stack([np.isfinite(since) for since in alarms.since.values()])
    assert off.any(axis=0).mean() <= 0.05


def test_an_exploit_sets_all_three_off() -> None:
    alarms = Alarms(declared=Declared(0.1, 0.0))
    rise = [(0.5, 0.1, 0.0)] * 40 + [(0.5, 0.7, 0.0)] * 80
    run(alarms, np.random.default_rng(1), rise)
    assert on(alarms) == {"rising", "declared", "unfollowed"}
    found = {alarm.name: alarm for alarm in alarms.status()}
    assert 40 < found["declared"].step < 60
    assert all(alarm.evidence >= alarm.needed for alarm in found.values())
    assert 0.4 < alarms.reached() < 0.7


def test_false_negatives_that_grow_are_the_declared_alarm_alone() -> None:
    alarms = Alarms(declared=Declared(0.1, 0.05))
    run(alarms, np.random.default_rng(2), [(0.5, 0.1, 0.05)] * 30 + [(0.5, 0.1, 0.4)] * 60)
    assert on(alarms) == {"declared"}


def test_reward_that_stands_is_no_alarm_however_accuracy_falls() -> None:
    """At J = 0 accuracy may fall, and what is paid beyond what is right grows, while reward stands."""
    alarms = Alarms()
    falls = [(0.8 - 0.6 * t / 100, 0.5, 0.5) for t in range(100)]
    run(alarms, np.random.default_rng(3), falls)
    assert on(alarms) == set()


def test_one_run_is_as_the_same_run_among_many() -> None:
    rng = np.random.default_rng(4)
    one, many = Alarms(declared=Declared(0.1)), Alarms(declared=Declared(0.1), runs=(2,))
    for step in range(1, 40):
        times = rng.multinomial(8, [0.2, 0.3, 0.4, 0.1], size=2).astype(float)
        reward = rng.random(2)
        many.observe(step, KINDS, reward=reward, times=times)
        kinds = (PW, UW, RP, RU)
        units = [u for u, n in zip(kinds, times[1], strict=True) for _ in range(int(n))]
        one.observe(step, units, reward=float(reward[1]))
    for name, evidence in one.evidence.items():
        assert many.evidence[name][1] == pytest.approx(float(evidence)), name


def test_steps_without_labels_or_reward_are_taken() -> None:
    alarms = Alarms()
    assert not any(alarm.can for alarm in alarms.status())
    alarms.observe(1, [], reward=0.5)
    assert alarms.labels == 0
    alarms.observe(2, [PW], reward=None)
    assert alarms.labels == 1
    assert all(math.isfinite(alarm.evidence) for alarm in alarms.status())


def test_labels_of_one_prompt_are_one_unit() -> None:
    labels = [Label(True, False, 3), Label(False, False, 3), Label(True, True), Label(True, True)]
    units = units_of(labels)
    assert units[0] == Unit(1, 2, 0, 2)
    assert units[0].shares == (0.5, 1.0, 0.0)
    assert len(units) == 3


def test_labels_are_spread_over_prompts() -> None:
    prompts = [p for p in range(8) for _ in range(8)]
    for count in (4, 8, 12, 64, 100):
        chosen = choose(prompts, count, np.random.default_rng(count))
        assert len(chosen) == len(set(chosen)) == min(count, 64)
        each = np.bincount([prompts[i] for i in chosen], minlength=8)
        assert each.max() - each.min() <= 1
    many = [choose(prompts, 8, np.random.default_rng(seed)) for seed in range(400)]
    hits = np.bincount(np.concatenate(many), minlength=64)
    assert hits.min() > 20  # 50 expected, standard deviation 6.6
    assert hits.max() < 85


def test_rates_out_of_range_are_refused() -> None:
    for wrong in (Declared, lambda x: Declared(0.1, x)):
        with pytest.raises(InputError, match="must lie in"):
            wrong(1.5)
    with pytest.raises(InputError, match="false_alarm"):
        Alarms(false_alarm=1.0)
    with pytest.raises(InputError, match="tolerance"):
        Alarms(tolerance=0.7)
    with pytest.raises(InputError, match="not both"):
        declared_of(0.1, None, "audit.json")
    assert declared_of(None, None, None) is None
