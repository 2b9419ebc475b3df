"""Extreme legal values: every rate at and beside its ends, groups of two and of a million; finite, and no warning."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable
from typing import Final

import numpy as np
import pytest

import theory
from tests.extremes import LARGE, RATES, Cases, check, uncovered
from theory import (
    ArgumentError,
    VerifierChannel,
    adam_flow,
    bandit,
    conditional,
    corrections,
    difficulties,
    estimators,
    flow,
    forecast,
    mean_field,
    moments,
    phase,
    reasoning_chain,
    rest_points,
    rng,
    structures,
    training_chain,
)
from theory.channel import check_rate, check_rates, youden_index

# In `theory` this name is the function.
effective_rollouts = importlib.import_module("theory.effective_rollouts")
ESTIMATORS: Final = (
    *(theory.GRPO, theory.DR_GRPO, theory.RLOO),
    *(theory.GRPO_LOO, theory.NEMO_LOO, theory.REINFORCE),
)
CHANNELS: Final = [VerifierChannel(*rates) for rates in itertools.product(RATES, RATES)]
FEW: Final = CHANNELS[::4]
INSIDE: Final = tuple(rate for rate in RATES if 0.0 < rate < 1.0)
SIZES: Final = (2, 3, 64, LARGE)
rates = np.array(RATES)


def _told(channel: VerifierChannel, *others: object) -> str:
    return f"fpr {channel.fpr:g}, fnr {channel.fnr:g}, {others}"


def each_channel(
    call: Callable[[VerifierChannel], object], channels: list[VerifierChannel] = CHANNELS
) -> Cases:
    """The call, of every channel."""
    for channel in channels:
        yield _told(channel), lambda channel=channel: call(channel)


def each_group(
    call: Callable[[VerifierChannel, int, theory.Estimator], object],
    *,
    sizes: tuple[int, ...] = SIZES,
    channels: list[VerifierChannel] = FEW,
) -> Cases:
    """The call, of channels, group sizes and estimators; a million rollouts with a few channels only."""
    for size, estimator in itertools.product(sizes, ESTIMATORS):
        for channel in channels[::5] if size == LARGE else channels:
            yield (
                _told(channel, size, estimator),
                lambda c=channel, g=size, e=estimator: call(c, g, e),
            )


def each_rate(call: Callable[[float], object], of: tuple[float, ...] = RATES) -> Cases:
    """The call, of every rate."""
    for rate in of:
        yield f"{rate:g}", lambda rate=rate: call(rate)


def _flows() -> Cases:
    start = {"theta": (-700.0, 0.0, 700.0), "rate": (1e-300, 1.0), "spread": (0.0, 50.0)}
    for channel, size, (theta, rate, spread) in itertools.product(
        FEW[::3], (2, LARGE), itertools.product(*start.values())
    ):
        one = adam_flow.AdamFlow(theta, rate, 1.0, 1.0 - 1e-16, spread, 0.1)
        yield (
            _told(channel, size, theta, rate, spread),
            lambda o=one, c=channel, g=size: adam_flow.accuracy_curves(
                [o], [adam_flow.Condition(c, g)], np.array([0.0, 1.0, 1e4])
            ),
        )


def _population_flows(
    call: Callable[[flow.PopulationFlow, VerifierChannel], object],
) -> Cases:
    for channel, theta, optimiser in itertools.product(FEW[::3], (-50.0, 50.0), ("sgd", "adam")):
        # A million rollouts once: the clock asks for the gain at hundreds of abilities.
        large = LARGE if channel is FEW[3] and theta > 0.0 else 2
        for size, rate in ((2, 1e-300), (large, 1.0)):
            one = flow.PopulationFlow(
                np.array([-700.0, 0.0, 700.0]),
                theta,
                group_size=size,
                rate=rate,
                optimiser=optimiser,
            )
            yield (
                _told(channel, size, theta, rate, optimiser),
                lambda o=one, c=channel: call(o, c),
            )


def _simulated() -> Cases:
    start = bandit.population(np.array(INSIDE), wrong_modes=2, feature_share=0.5)
    for channel, size in itertools.product(FEW[::3], (2, 1024)):
        for learning_rate, estimator in ((1e-300, theory.GRPO), (1.0, theory.DR_GRPO)):
            wanted = bandit.Training(3, size, learning_rate=learning_rate, estimator=estimator)
            yield (
                _told(channel, size, learning_rate),
                lambda c=channel, w=wanted: bandit.simulate(
                    start, w, structures.Independent(c), seed=0, evaluate_every=1
                ),
            )


def _chains(call: Callable[[training_chain.TrainingChain], object]) -> Cases:
    for channel, size, estimator in itertools.product(FEW[::3], (2, 64), ESTIMATORS[:2]):
        for rate in (1e-300, 0.1):
            yield (
                _told(channel, size, estimator, rate),
                lambda c=channel, g=size, e=estimator, r=rate: call(
                    training_chain.training_chain(
                        c.fpr, c.fnr, g, learning_rate=r, estimator=e, points=61
                    )
                ),
            )


def _reasoning(
    call: Callable[[reasoning_chain.ReasoningChain, VerifierChannel, int], object],
) -> Cases:
    for channel, stay, recover in itertools.product(FEW[::3], RATES, RATES):
        chain = reasoning_chain.ReasoningChain(5, stay, recover)
        for size in (2, 1000):
            yield (
                _told(channel, stay, recover, size),
                lambda a=chain, c=channel, g=size: call(a, c, g),
            )


def _fit() -> forecast.Fit:
    condition = adam_flow.Condition(VerifierChannel(0.1, 0.2))
    step = np.array([0.0, 10.0, 50.0, 100.0])
    accuracy = np.array([0.2, 0.3, 0.5, 0.6])
    return forecast.calibrate(
        [condition], np.zeros(4, int), step, accuracy, n_eval=np.full(4, 1000.0)
    )


def _forecasts(
    call: Callable[[forecast.Fit, list[adam_flow.Condition], np.ndarray], object],
) -> Cases:
    fit = _fit()
    for channel, size in itertools.product(FEW[::4], (2, LARGE)):
        wanted = [adam_flow.Condition(channel, size)]
        yield _told(channel, size), lambda w=wanted: call(fit, w, np.array([0.0, 1.0, 1e5]))


def _calibrations() -> Cases:
    condition = [adam_flow.Condition(VerifierChannel(0.1, 0.2))]
    ends = ((0.0, 0.0), (1e-300, 1.0 - 1e-16), (0.0, 1.0), (1.0, 1.0))
    for (low, high), n_eval in zip(ends, (1.0, 1e9, 1e9, 1.0), strict=True):
        accuracy = np.linspace(low, high, 4)
        yield (
            f"{low:g} to {high:g} of {n_eval:g}",
            lambda a=accuracy, n=n_eval: forecast.calibrate(
                condition,
                np.zeros(4, int),
                np.array([0.0, 1.0, 100.0, 1e5]),
                a,
                n_eval=np.full(4, n),
            ),
        )


def _paths() -> Cases:
    path = mean_field.mode_path([1e-300, 0.1], [0.4, 0.5])
    yield from each_group(
        lambda c, g, e: mean_field.time_to(path, c, group_size=g, estimator=e), sizes=(2, 64)
    )


def _rest_points() -> Cases:
    for channel, beta, reference in itertools.product(FEW, (1e-300, 1e-3, 1.0, 1e300), INSIDE):
        for form, size in itertools.product(("objective", "rlver", "k3"), (None, 8)):
            yield (
                _told(channel, beta, reference, form, size),
                lambda c=channel, b=beta, r=reference, f=form, g=size: rest_points.rest_points(
                    c, beta=b, reference_pass_rate=r, form=f, group_size=g
                ),
            )


def _uniforms() -> Cases:
    for seed, step in itertools.product((0, 2**63 - 1), (0, 2**31)):
        yield (
            f"seed {seed}, step {step}",
            lambda s=seed, t=step: rng.uniforms(
                s,
                next(iter(rng.Purpose)),
                step=t,
                prompt=np.array([0, 2**32 - 1]),
                index=np.array([0, 2**31]),
            ),
        )


def _rates_and_groups(call: Callable[[int, theory.Estimator], object], most: int = LARGE) -> Cases:
    for size, estimator in itertools.product((2, 3, 64, most), ESTIMATORS):
        yield f"{size}, {estimator}", lambda g=size, e=estimator: call(g, e)


GENERATOR: Final = np.random.default_rng(0)
CASES: Final[dict[str, Callable[[], Cases]]] = {
    "adam_flow.accuracy_curves": _flows,
    "bandit.population": lambda: each_rate(lambda r: bandit.population([r, 0.5], wrong_modes=3)),
    "bandit.simulate": _simulated,
    "channel.check_rate": lambda: each_rate(lambda r: check_rate("a", r)),
    "channel.check_rates": lambda: each_rate(lambda r: check_rates("a", [r])),
    "channel.youden_index": lambda: each_rate(lambda r: youden_index(r, rates)),
    "conditional.given_right": lambda: each_group(
        lambda c, g, e: conditional.given_right([0, 1, g // 2, g], c, g, estimator=e), sizes=(2, 64, 1000)
    ),
    "corrections.backward": lambda: each_channel(corrections.backward),
    "corrections.explain": lambda: each_channel(
        lambda c: [corrections.explain(name, c, theory.GRPO) for name in ("backward", "forward")]
    ),
    "corrections.forward": lambda: each_channel(corrections.forward),
    "corrections.majority": lambda: each_channel(
        lambda c: [corrections.majority(c, votes) for votes in (1, 3, 999, 99_999)]
    ),
    "difficulties.fit_difficulties": lambda: (
        (f"{passes} of {trials}", lambda p=passes, t=trials: difficulties.fit_difficulties(p, t))
        for passes, trials in (
            ([0, 0], [1, 1]), ([1, 1], [1, 1]), ([0, 1], [1, 1]), ([0, 10**6], [10**6, 10**6]),
            ([1, 2, 3], [10**9, 10**9, 10**9]), ([5], [10]),
        )
    ),
    "effective_rollouts.effective_rollouts": lambda: each_group(
        lambda c, g, _: effective_rollouts.effective_rollouts(rates, c, g), channels=CHANNELS
    ),
    "effective_rollouts.matching_rollouts": lambda: each_group(
        lambda c, g, _: effective_rollouts.matching_rollouts(rates, c, g), channels=CHANNELS
    ),
    "effective_rollouts.phi2": lambda: each_channel(lambda c: effective_rollouts.phi2(rates, c)),
    "effective_rollouts.population_phi2": lambda: each_channel(
        lambda c: [effective_rollouts.population_phi2([r], c) for r in RATES]
    ),
    "effective_rollouts.population_snr2_weight": lambda: each_group(
        lambda c, g, e: effective_rollouts.population_snr2_weight(rates, c, g, estimator=e), sizes=(2, 64, 4096)
    ),
    "effective_rollouts.snr2_weight": lambda: each_group(
        lambda c, g, e: effective_rollouts.snr2_weight(rates, c, g, estimator=e)
    ),
    "estimators.advantage_table": lambda: _rates_and_groups(
        lambda g, e: [
            estimators.advantage_table(g, e, rewards=rewards) for rewards in ((0.0, 1.0), (-1e300, 1e300), (0.0, 1e-300))
        ]
    ),
    "estimators.advantages": lambda: _rates_and_groups(
        lambda g, e: [
            estimators.advantages(np.array([1.0] + [0.0] * (g - 1)) * scale, e) for scale in (1.0, 1e-300, 1e300)
        ],
        most=1000,
    ),
    "estimators.binomial_means": lambda: (
        (f"{n}", lambda n=n: estimators.binomial_means(n, rates, np.arange(n + 1.0)))
        for n in (1, 64, LARGE)
    ),
    "estimators.binomial_pmf": lambda: (
        (f"{n}", lambda n=n: estimators.binomial_pmf(n, rates)) for n in (0, 1, 64, LARGE)
    ),
    "estimators.check_group_size": lambda: (
        (f"{g}", lambda g=g: estimators.check_group_size(g)) for g in (0, 1, 2, LARGE)
    ),
    "estimators.gain": lambda: _rates_and_groups(lambda g, e: estimators.gain(rates, g, estimator=e)),
    "estimators.mean_field_gain": lambda: _rates_and_groups(
        lambda _, e: estimators.mean_field_gain(rates, estimator=e), most=2
    ),
    "estimators.quotient": lambda: each_rate(lambda r: estimators.quotient(np.array([r]), np.array([r]))),
    "estimators.zero_advantage_probability": lambda: _rates_and_groups(
        lambda g, e: estimators.zero_advantage_probability(rates, g, estimator=e)
    ),
    "flow.ability": lambda: _population_flows(lambda f, c: flow.ability(f, c, [0.0, 1.0, 1e4])),
    "flow.accuracy": lambda: _population_flows(lambda f, c: flow.accuracy(f, c, [0.0, 1.0, 1e4])),
    "flow.difficulties_of": lambda: each_rate(lambda r: flow.difficulties_of([r, 0.5])),
    "flow.exponential_difficulties": lambda: (
        (f"{scale:g}", lambda s=scale: flow.exponential_difficulties(64, scale=s)) for scale in (1e-300, 1.0, 1e300)
    ),
    "flow.mean_square_advantage": lambda: _rates_and_groups(
        lambda g, e: flow.mean_square_advantage(rates, g, estimator=e)
    ),
    "flow.normal_difficulties": lambda: (
        (f"{spread:g}", lambda s=spread: flow.normal_difficulties(64, spread=s)) for spread in (0.0, 1e-300, 1e300)
    ),
    "forecast.calibrate": _calibrations,
    "forecast.difference": lambda: _forecasts(_differences),
    "forecast.forecast": lambda: _forecasts(
        lambda fit, wanted, step: forecast.forecast(fit, wanted, np.zeros(3, int), step, n_eval=np.array([1.0, 9.0, 1e9]))
    ),
    "forecast.spread": lambda: _forecasts(
        lambda fit, wanted, step: forecast.spread(fit, wanted, np.zeros(3, int), step, most=16)
    ),
    "mean_field.gain_at_logit": lambda: each_group(
        lambda c, g, e: mean_field.gain_at_logit(np.array([-700.0, 0.0, 700.0]), c, group_size=g, estimator=e)
    ),
    "mean_field.mode_path": lambda: (
        (f"{right}, {wrong}", lambda r=right, w=wrong: mean_field.mode_path([r], [w, 1.0 - r - w]))
        for right, wrong in ((1e-300, 0.5), (1e-16, 1e-300), (0.5, 1e-300), (0.5, 0.25))
    ),
    "mean_field.share_noise": lambda: each_rate(lambda r: mean_field.share_noise(rates, r, LARGE)),
    "mean_field.time_between": lambda: each_group(
        lambda c, g, e: [
            mean_field.time_between(start, end, c, group_size=g, estimator=e)
            for start, end in ((1e-300, 1.0 - 1e-16), (1e-16, 0.5), (0.5, 1e-300))
        ],
        sizes=(2, 64),
    ),
    "mean_field.time_to": _paths,
    "moments.drift": lambda: each_group(lambda c, g, e: moments.drift(rates, c, g, estimator=e)),
    "phase.phase_diagram": lambda: (
        (f"{a:g}, {start:g} to {target:g}", lambda a=a, s=start, t=target: phase.phase_diagram(
            rates, rates, [2, 64], pass_rate=a, start=s, target=t))
        for a, (start, target) in itertools.product((1e-300, 0.5, 1.0 - 1e-16), ((1e-300, 1.0 - 1e-16), (0.05, 0.8)))
    ),
    "reasoning_chain.reasoning_gradient": lambda: _reasoning(reasoning_chain.reasoning_gradient),
    "reasoning_chain.sample_gradients": lambda: _reasoning(
        lambda chain, c, g: reasoning_chain.sample_gradients(chain, c, min(g, 64), 2, rng=GENERATOR)
    ),
    "rest_points.mroueh_iteration": lambda: each_channel(
        lambda c: [
            rest_points.mroueh_iteration(a, c, beta=beta, reference_pass_rate=r, steps=50)
            for a, r, beta in itertools.product(INSIDE, INSIDE, (1e-300, 1.0, 1e300))
        ],
        FEW,
    ),
    "rest_points.rest_points": _rest_points,
    "rng.check_seed": lambda: ((f"{s}", lambda s=s: rng.check_seed(s)) for s in (0, 2**63 - 1, 2**64, -1)),
    "rng.philox_words": lambda: (
        (f"{key}", lambda k=key: rng.philox_words((k, k), (k, k, k, k))) for key in (0, 2**32 - 1)
    ),
    "rng.uniforms": _uniforms,
    "training_chain.evolve": lambda: _chains(lambda chain: training_chain.evolve(chain, 0.5, 3)),
    "training_chain.hitting_time": lambda: _chains(lambda chain: training_chain.hitting_time(chain, 0.5, 0.9, 3)),
    "training_chain.operators": lambda: _chains(training_chain.operators),
    "training_chain.step_law": lambda: each_group(
        lambda c, g, e: training_chain.step_law(rates, c, g, estimator=e), sizes=(2, 64)
    ),
    "training_chain.training_chain": lambda: _chains(lambda chain: chain),
}  # fmt: skip
EXEMPT: Final = {
    "bandit_kernel": "compiled; called by bandit.simulate alone",
    "chain_kernel": "compiled; called by training_chain alone",
    "kernels": "compiled; called by bandit.simulate alone",
    "estimators.estimator_named": "takes a name",
}
# What may be infinite, by what it means: a verifier that tells nothing is matched by no number of rollouts, a rest
# point at the end lies at an infinite logit, and what is never reached takes for ever.
INFINITE: Final = {
    "effective_rollouts.matching_rollouts": frozenset({""}),
    "estimators.mean_field_gain": frozenset({""}),
    "mean_field.time_between": frozenset({""}),
    "mean_field.time_to": frozenset({""}),
    "phase.phase_diagram": frozenset({".time", ".slowdown"}),
    "training_chain.hitting_time": frozenset({".mean"}),
}
# What is NaN for being absent: no step was taken before the first row.
ABSENT: Final = {
    "bandit.simulate": frozenset({".observed_reward", ".zero_advantage_fraction", ".snr"}),
}


def _differences(fit: forecast.Fit, wanted: list[adam_flow.Condition], step: np.ndarray) -> object:
    spread = forecast.spread(fit, wanted, np.zeros(3, int), np.asarray(step), most=16)
    paths = [
        forecast.Path(spread.accuracy[:, at], spread.clean[:, at], spread.start, 0.01)
        for at in (0, 2)
    ]
    return forecast.difference(*paths)


def test_every_public_function_has_its_extreme_values_or_a_reason() -> None:
    assert not uncovered(theory, CASES, EXEMPT)


@pytest.mark.parametrize("name", CASES)
def test_what_it_gives_is_finite_or_it_is_refused(name: str) -> None:
    check(
        CASES[name](),
        refused=ArgumentError,
        infinite=INFINITE.get(name, frozenset()),
        absent=ABSENT.get(name, frozenset()),
    )
