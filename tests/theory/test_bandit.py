"""The compiled population against a plain one with the same draws, and against the exact moments."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

import theory
from theory import bandit, flow
from theory.bandit import Population, Training, population, simulate
from theory.bandit_kernel import COUNTED_GROUP, LANES
from theory.estimators import PRESETS
from theory.rng import Purpose, philox_words
from theory.structures import (
    Drifting,
    GroupCorrelated,
    Independent,
    PerAnswer,
    PerPrompt,
    Structure,
    Triggered,
)

CHANNEL = theory.VerifierChannel(0.1, 0.2)
RATES = np.linspace(0.05, 0.9, 40)


def same(a: object, b: object) -> bool:
    return all(
        np.array_equal(getattr(a, f.name), getattr(b, f.name), equal_nan=True)
        for f in dataclasses.fields(a)  # pyright: ignore[reportArgumentType]
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    policy = np.exp(logits - logits.max(-1, keepdims=True))
    return policy / policy.sum(-1, keepdims=True)


def drawn(chance: np.ndarray, group: int, *, step: int, prompt: int, seed: int) -> np.ndarray:
    """The category of each rollout of a group, by the random scheme as `theory.bandit` states it."""

    def words(count: int, block: int) -> np.ndarray:
        index = np.arange(-(-count // 4))
        key = (seed, int(Purpose.ROLLOUT))
        return np.stack(philox_words(key, (step, prompt, index, block)), axis=1).ravel()

    owned = np.floor(65535 * chance)
    halves = words(-(-group // 2), 0)
    halves = np.stack([halves & 0xFFFF, halves >> 16], axis=1).ravel()[:group]
    category = np.searchsorted(np.cumsum(owned), halves, side="right")
    nobody = category == len(chance)
    spare = np.cumsum(65536 * chance - owned)
    second = (words(nobody.sum(), 1)[: nobody.sum()] + 0.5) / 2.0**32
    category[nobody] = np.searchsorted(spare / spare[-1], second, side="right")
    return category


def kernel_counts(policy: np.ndarray, paid: np.ndarray, *, group: int, count: int) -> np.ndarray:
    """Rollouts by (arm 0 paid, arm 0 unpaid, …) that the kernel draws for `count` prompts alike."""
    logits = np.log(np.maximum(policy, 1e-300))
    start = Population(np.tile(logits, (count, 1)), paid, np.zeros(len(policy), dtype=bool))
    training, truth = Training(1, group_size=group), theory.VerifierChannel(0.0, 0.0)
    state = bandit.State(start, training, Independent(truth), per_step=count, seed=7)
    state.advance(np.arange(count, dtype=np.uint32)[None], 0, 0, 1)
    return np.moveaxis(state.blocks.counts, 1, 2).reshape(-1, 2 * len(policy))[:count]


def follows(drawn: np.ndarray, group: int, chance: float) -> bool:
    """Chi-squared against Binomial(group, chance), over bins that each expect at least 50 draws."""
    law = stats.binom(group, chance)
    edges = np.unique(law.ppf(np.linspace(0, 1, 60)[1:-1])).astype(int)
    expected = np.diff(np.concatenate([[0.0], law.cdf(edges), [1.0]])) * drawn.size
    observed = np.histogram(drawn, np.concatenate([[-np.inf], edges + 0.5, [np.inf]]))[0]
    keep = expected >= 50
    statistic = ((observed - expected)[keep] ** 2 / expected[keep]).sum()
    return stats.chi2.sf(statistic, max(keep.sum() - 1, 1)) > 1e-5


def plain(start: Population, training: Training, accept: np.ndarray, *, seed: int) -> np.ndarray:
    """Final policies of the same training, written as anyone would: one rollout at a time."""
    prompts, arms = start.logits.shape
    group = training.group_size
    own, shared = start.logits.copy(), np.zeros(arms)
    reference = softmax(start.logits)
    moments = np.zeros((2, prompts + 1, arms))
    inner, lift = np.sqrt(1 - training.coupling), np.sqrt(training.coupling)
    for step in range(training.steps):
        old = softmax(own + lift * shared)
        groups = []
        for p in range(prompts):
            joint = np.stack([old[p] * accept[p], old[p] * (1 - accept[p])], axis=1)
            category = drawn(joint.ravel(), group, step=step, prompt=p, seed=seed)
            paid = (category % 2 == 0).astype(float)
            groups.append((category // 2, theory.advantages(paid, training.estimator)))
        heard = sum(np.ptp(advantage) > 0 for _, advantage in groups)
        for epoch in range(training.inner_epochs):
            policy = softmax(own + lift * shared)
            gradients = np.zeros((prompts, arms))
            for p, (arm, advantages) in enumerate(groups):
                for a, value in zip(arm, advantages, strict=True):
                    ratio = policy[p, a] / old[p, a]
                    low, high = 1 - training.clip, 1 + training.clip
                    clipped = (value > 0 and ratio > high) or (value < 0 and ratio < low)
                    weight = 0.0 if clipped else value * ratio
                    if training.kl == "k3":
                        weight -= training.beta * (1 - reference[p, a] / policy[p, a])
                    gradients[p] += weight * ((np.arange(arms) == a) - policy[p]) / group
                if training.kl == "objective":
                    apart = np.log(policy[p] / reference[p])
                    gradients[p] -= training.beta * policy[p] * (apart - policy[p] @ apart)
            rate = training.learning_rates()[step]
            divisor = max(heard, 1) if training.drop_silent else prompts
            rows = np.concatenate([inner * gradients, lift * gradients.sum(0)[None] / divisor])
            if training.optimiser == "adam":
                b1, b2 = training.beta1, training.beta2
                count = step * training.inner_epochs + epoch + 1
                moments[0] = b1 * moments[0] + (1 - b1) * rows
                moments[1] = b2 * moments[1] + (1 - b2) * rows**2
                fixed = moments[0] / (1 - b1**count), moments[1] / (1 - b2**count)
                moves = rate * fixed[0] / (np.sqrt(fixed[1]) + training.adam_eps)
            else:
                moments[0] = training.momentum * moments[0] + rows
                moves = rate * moments[0]
            own += inner * moves[:-1]
            shared += moves[-1]
    return softmax(own + lift * shared)


@pytest.mark.parametrize("coupling", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(
    "options",
    [
        {"optimiser": "sgd"},
        {"optimiser": "sgd", "momentum": 0.9, "estimator": theory.RLOO},
        {"optimiser": "adam", "learning_rate": 0.02, "warmup_steps": 5, "decay": "linear"},
        {"optimiser": "sgd", "group_size": 7, "estimator": theory.NEMO_LOO},
        {"optimiser": "sgd", "group_size": 2, "estimator": theory.REINFORCE},
        {"inner_epochs": 4, "learning_rate": 1.0, "clip": 0.1},
        # A group on one arm has no gradient but rounding, which Adam at 1e-8 and KL blow up to a step.
        {"inner_epochs": 3, "optimiser": "adam", "learning_rate": 0.1, "beta": 0.3, "clip": 0.05}
        | {"adam_eps": 1e-4},
        {"beta": 0.5, "kl": "objective", "learning_rate": 0.5, "inner_epochs": 2},
        {"drop_silent": True, "group_size": 3, "learning_rate": 0.5},
    ],
)
def test_the_kernel_is_the_plain_simulation(coupling: float, options: dict[str, object]) -> None:
    start = population(RATES, right_modes=2, wrong_modes=2, mode_spread=0.7, ceiling=0.95)
    training = Training(**({"steps": 12, "coupling": coupling} | options))  # pyright: ignore[reportArgumentType]
    path = simulate(start, training, Independent(CHANNEL), seed=5)
    paid = start.correct * (1 - CHANNEL.fnr) + (1 - start.correct) * CHANNEL.fpr
    policy = plain(start, training, np.broadcast_to(paid, start.logits.shape), seed=5)
    np.testing.assert_allclose(path.pass_rates, policy @ start.correct, rtol=1e-9)


@pytest.mark.parametrize("structure", [Independent(CHANNEL), GroupCorrelated(CHANNEL, 0.3)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prompts_per_step": 400, "group_size": COUNTED_GROUP + 44},
        {"optimiser": "adam", "inner_epochs": 2},
        {"coupling": 0.5},
        {"coupling": 0.5, "optimiser": "adam", "prompts_per_step": 400},
    ],
)
def test_results_do_not_depend_on_threads(
    structure: Structure, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bandit, "_PARALLEL_WORK", 0)
    start = population(np.linspace(0.02, 0.98, 900), right_modes=2, wrong_modes=3, mode_spread=1)
    training = Training(**({"steps": 6, "group_size": 16} | options))  # pyright: ignore[reportArgumentType]
    alone = simulate(start, training, structure, seed=1, threads=1)
    for threads in (2, 3, 40):
        assert same(alone, simulate(start, training, structure, seed=1, threads=threads))


def test_a_prompt_does_not_notice_the_others() -> None:
    start = population(RATES)
    few = dataclasses.replace(start, logits=start.logits[: LANES + 3])
    training = Training(steps=20)
    whole, part = (simulate(s, training, Independent(CHANNEL), seed=2) for s in (start, few))
    np.testing.assert_array_equal(whole.pass_rates[: LANES + 3], part.pass_rates)


def test_every_prompt_is_visited_once_an_epoch() -> None:
    start = population(np.full(30, 0.4))
    training = Training(steps=3, prompts_per_step=10, group_size=64, learning_rate=1.0)
    path = simulate(start, training, Independent(CHANNEL), seed=4)
    assert np.all(path.pass_rates != 0.4)
    np.testing.assert_array_equal(path.rollouts, [0, 3 * 10 * 64])


@pytest.mark.parametrize("name", list(PRESETS))
@pytest.mark.parametrize("group", [4, 9, COUNTED_GROUP, COUNTED_GROUP + 1])
def test_one_step_has_the_exact_moments(name: str, group: int) -> None:
    """Both ways of drawing, against theorem 1: mean, variance, reward and silent groups."""
    count, a = 40_000, 0.3
    start = population(np.full(count, a))
    training = Training(steps=1, group_size=group, estimator=PRESETS[name])
    path = simulate(start, training, Independent(CHANNEL), seed=6)
    exact = theory.drift(a, CHANNEL, group, estimator=PRESETS[name])
    assert path.snr[-1] == pytest.approx(exact.snr, rel=5 / np.sqrt(count))
    error = np.sqrt(exact.observed_rate * (1 - exact.observed_rate) / (count * group))
    assert abs(path.observed_reward[-1] - exact.observed_rate) < 4 * error
    silent = exact.zero_advantage_fraction
    assert abs(path.zero_advantage_fraction[-1] - silent) < 4 * np.sqrt(silent / count) + 1e-12
    # d logit a = learning rate * 2 X for two arms, so the final pass rates carry X itself.
    step = (np.log(path.pass_rates / (1 - path.pass_rates)) - np.log(a / (1 - a))) / 0.2
    assert abs(step.mean() - exact.drift) < 4 * np.sqrt(exact.variance / count)
    assert step.var() == pytest.approx(exact.variance, rel=0.05)


@pytest.mark.parametrize("share", [0.0, 1e-4, 0.02, 0.3, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("group", [2, 5, 16, COUNTED_GROUP, COUNTED_GROUP + 1, 1024, 50_000])
def test_counts_are_multinomial(group: int, share: float) -> None:
    """Every category is binomial, sums of categories are, and nothing is drawn that cannot be."""
    paid = np.array([0.25, 0.9, 0.6])
    policy = np.array([share, (1.0 - share) * 0.7, (1.0 - share) * 0.3])
    chances = (policy[:, None] * np.stack([paid, 1.0 - paid], axis=1)).ravel()
    counts = kernel_counts(policy, paid, group=group, count=40_000)
    np.testing.assert_array_equal(counts.sum(axis=1), group)
    for members in ([0], [1], [2], [3], [4], [5], [0, 1], [0, 2, 4], [1, 2, 5], [0, 3, 4]):
        drawn, chance = counts[:, members].sum(axis=1), chances[members].sum()
        assert follows(drawn, group, chance), members
    assert not counts[:, chances == 0.0].any()


@pytest.mark.parametrize("group", [COUNTED_GROUP, COUNTED_GROUP + 1, 1024])
def test_prompts_with_no_doubt_left_do_not_disturb_their_neighbours(group: int) -> None:
    """A lane whose mass is all on one arm beside lanes that draw by rejection."""
    logits = np.zeros((5, 4))
    logits[0, 0] = 60.0
    start = Population(logits, np.array([1.0, 0, 0, 0]), np.zeros(4, dtype=bool))
    training = Training(steps=1, group_size=group)
    path = simulate(start, training, Independent(CHANNEL), seed=1)
    assert path.pass_rates[0] == 1.0
    others = simulate(
        dataclasses.replace(start, logits=np.zeros((5, 4))), training, Independent(CHANNEL), seed=1
    )
    np.testing.assert_array_equal(path.pass_rates[1:], others.pass_rates[1:])


@pytest.mark.parametrize(("name", "silent"), [("reinforce", 0.2025), ("rloo", 0.505)])
def test_a_group_is_silent_by_its_advantages(name: str, silent: float) -> None:
    """G = 2, a = .3, fpr .4, fnr .1: q = .55. Without a baseline an all-paid group is not silent."""
    count, channel = 40_000, theory.VerifierChannel(0.4, 0.1)
    training = Training(steps=1, group_size=2, estimator=PRESETS[name])
    start = population(np.full(count, 0.3))
    path = simulate(start, training, Independent(channel), seed=6)
    exact = theory.drift(0.3, channel, 2, estimator=PRESETS[name])
    assert exact.zero_advantage_fraction == pytest.approx(silent, abs=1e-12)
    assert abs(path.zero_advantage_fraction[-1] - silent) < 4 * np.sqrt(silent / count)


@pytest.mark.parametrize("channel", [CHANNEL, theory.VerifierChannel(0.7, 0.6)])
def test_small_steps_follow_the_population_flow(channel: theory.VerifierChannel) -> None:
    """coupling 1, two arms: theta = z_right - z_wrong moves by learning rate * 2 mean_p X_p."""
    rates = 0.9 / (1 + np.exp(-(flow.normal_difficulties(2000, spread=1.5) - 0.5)))
    start = population(rates, ceiling=0.9)
    training = Training(steps=400, coupling=1.0, learning_rate=0.02)
    path = simulate(start, training, Independent(channel), seed=8, evaluate_every=100)
    model = flow.PopulationFlow(
        flow.difficulties_of(rates, ceiling=0.9), ceiling=0.9, rate=0.04, prompts_per_step=2000
    )
    np.testing.assert_allclose(path.accuracy, flow.accuracy(model, channel, path.step), atol=2e-3)


def test_adam_follows_the_population_flow_with_noise_along_the_ability() -> None:
    """Minibatches of 8 prompts: the mean over seeds, in which the noise is what Adam divides by."""
    rates = 0.85 / (1 + np.exp(-(flow.normal_difficulties(512, spread=2.0) - 1.0)))
    start = population(rates, ceiling=0.85)
    training = Training(
        steps=300, coupling=1.0, learning_rate=0.005, prompts_per_step=8, optimiser="adam"
    )
    paths = [
        simulate(start, training, Independent(CHANNEL), seed=seed, evaluate_every=25)
        for seed in range(16)
    ]
    model = flow.PopulationFlow(
        flow.difficulties_of(rates, ceiling=0.85),
        ceiling=0.85,
        rate=0.01,
        prompts_per_step=8,
        optimiser="adam",
        noise="along",
    )
    found = np.stack([path.accuracy for path in paths])
    expected = flow.accuracy(model, CHANNEL, paths[0].step)
    np.testing.assert_allclose(found.mean(axis=0), expected, atol=0.01)
    # Not for want of movement: the curve rises by many times that.
    assert expected[-1] - expected[0] > 0.1


def test_a_verifier_that_says_nothing_teaches_nothing() -> None:
    start = population(np.full(4000, 0.3))
    fair_coin = Independent(theory.VerifierChannel(0.5, 0.5))
    path = simulate(start, Training(steps=50), fair_coin, seed=3)
    spread = path.pass_rates.std() / np.sqrt(4000)
    # Zero drift in the logit; the mean pass rate moves by curvature only, downhill to one half.
    logit = np.log(path.pass_rates / (1 - path.pass_rates))
    assert abs(logit.mean() - np.log(0.3 / 0.7)) < 4 * logit.std() / np.sqrt(4000)
    assert abs(path.accuracy[-1] - 0.3) < 0.02 + 4 * spread


@pytest.mark.parametrize(
    "structure",
    [
        Independent(CHANNEL),
        PerPrompt(CHANNEL),
        PerAnswer(CHANNEL),
        GroupCorrelated(CHANNEL, 0.5),
        Drifting(CHANNEL, theory.VerifierChannel(0.9, 0.9), 10),
        Triggered(theory.VerifierChannel(0.4, 0.2), theory.VerifierChannel(0.1, 0.2)),
    ],
)
def test_every_structure_starts_at_its_marginal_rates(structure: Structure) -> None:
    start = population(np.full(6000, 0.3), wrong_modes=2, feature_share=0.25)
    path = simulate(start, Training(steps=1, group_size=16), structure, seed=9)
    fpr = 0.25 * 0.4 + 0.75 * 0.1 if isinstance(structure, Triggered) else 0.1
    expected = 0.3 * 0.8 + 0.7 * fpr
    # 6,000 prompts at least are independent, whatever happens inside one.
    assert abs(path.observed_reward[-1] - expected) < 4 * 0.5 / np.sqrt(6000)


def test_drifting_rates_are_those_of_their_step() -> None:
    end = theory.VerifierChannel(0.5, 0.0)
    start = population(np.full(20_000, 0.3))
    training = Training(steps=9, learning_rate=1e-9)
    path = simulate(start, training, Drifting(CHANNEL, end, 4), seed=9, evaluate_every=1)
    for step, reward in zip(path.step[1:], path.observed_reward[1:], strict=True):
        channel = Drifting(CHANNEL, end, 4).at(int(step) - 1)  # evaluation t follows step t - 1
        assert abs(reward - channel.observed_rate(0.3)) < 4 * 0.5 / np.sqrt(160_000)
    np.testing.assert_allclose(path.marginal_fpr[[0, 2, 4, 9]], [0.1, 0.3, 0.5, 0.5], atol=1e-12)


@pytest.mark.parametrize("structure", [PerPrompt(CHANNEL), PerAnswer(CHANNEL)])
def test_persistent_errors_repeat_at_every_visit(structure: Structure) -> None:
    """Each arm of each prompt is paid always or never, so a policy on one arm is paid 0 or G times."""
    start = population(np.full(3000, 0.3), wrong_modes=3)
    certain = dataclasses.replace(start, logits=50.0 * (np.arange(4) == 2) + 0.0 * start.logits)
    path = simulate(certain, Training(steps=1), structure, seed=9)
    assert path.zero_advantage_fraction[-1] == 1.0
    assert abs(path.observed_reward[-1] - CHANNEL.fpr) < 4 * np.sqrt(0.1 * 0.9 / 3000)


def test_correlated_errors_raise_the_drift_of_grpo_only() -> None:
    """Prediction 6, at its printed values: a=.1, x=.2, G=8."""
    count, channel = 60_000, theory.VerifierChannel(0.2, 0.0)
    start = population(np.full(count, 0.1))

    def drift(correlation: float, name: str) -> tuple[float, float, float]:
        training = Training(steps=1, estimator=PRESETS[name])
        path = simulate(start, training, GroupCorrelated(channel, correlation), seed=10)
        step = (np.log(path.pass_rates / (1 - path.pass_rates)) - np.log(0.1 / 0.9)) / 0.2
        return float(step.mean()), float(step.var()), float(step.std() / np.sqrt(count))

    for correlation, expected in [(0.0, 0.133736), (0.3, 0.143853), (1.0, 0.156730)]:
        mean, _, error = drift(correlation, "grpo")
        assert abs(mean - expected) < 4 * error
    linear = [drift(correlation, "rloo") for correlation in (0.0, 1.0)]
    for mean, _, error in linear:
        assert abs(mean - 0.8 * 0.09) < 4 * error
    assert drift(0.0, "grpo")[1] == pytest.approx(0.0181, rel=0.03)
    assert drift(1.0, "grpo")[1] == pytest.approx(0.0305, rel=0.03)


def test_clipping_dropping_and_kl_each_change_the_outcome() -> None:
    start = population(RATES, wrong_modes=2)
    base = Training(steps=15, coupling=0.5, learning_rate=1.0, inner_epochs=3)

    def end(**options: object) -> float:
        training = dataclasses.replace(base, **options)  # pyright: ignore[reportArgumentType]
        return float(simulate(start, training, Independent(CHANNEL), seed=5).accuracy[-1])

    outcomes = [end(), end(clip=10.0), end(inner_epochs=1), end(beta=0.5), end(drop_silent=True)]
    outcomes.append(end(beta=0.5, kl="objective"))
    assert len(set(outcomes)) == len(outcomes)
    assert end(beta=0.5) < end()  # KL holds the policy back
    assert end(clip=10.0) > end()  # so does clipping


def test_pass_at_k_and_entropy_of_a_known_policy() -> None:
    start = population(np.array([0.2, 0.5]), right_modes=2)
    path = simulate(start, Training(steps=1), Independent(CHANNEL), seed=1, k=3)
    assert path.pass_at_k[0] == pytest.approx(np.mean([1 - 0.8**3, 1 - 0.5**3]), abs=1e-12)
    shares = np.array([[0.1, 0.1, 0.8], [0.25, 0.25, 0.5]])
    assert path.entropy[0] == pytest.approx(-(shares * np.log(shares)).sum(1).mean(), abs=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: population([0.0, 0.5]), "pass_rates must lie strictly"),
        (lambda: population([0.5], ceiling=0.4), "pass_rates must lie strictly"),
        (lambda: population([0.5], right_modes=0), "right_modes"),
        (lambda: Training(steps=0), "steps must be at least 1, got 0"),
        (lambda: Training(steps=1, coupling=1.5), "coupling must lie in"),
        (
            lambda: simulate(
                population([0.5]), Training(1, prompts_per_step=2), Independent(CHANNEL), seed=0
            ),
            "prompts_per_step must be at most the 1 prompts there are, got 2",
        ),
        (
            lambda: simulate(
                population([0.5]), Training(1), Independent(CHANNEL), seed=0, threads=0
            ),
            "threads must be at least 1, got 0",
        ),
        (
            lambda: simulate(population([0.5]), Training(1), Independent(CHANNEL), seed=-1),
            "seed must be an integer",
        ),
    ],
)
def test_bad_arguments_are_named(call: object, message: str) -> None:
    with pytest.raises(theory.ArgumentError, match=message):
        call()  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize("option", [{"beta1": 1.0}, {"beta2": 1.0}, {"adam_eps": 0.0}])
def test_what_adam_would_divide_by_zero_with_is_refused(option: dict[str, float]) -> None:
    with pytest.raises(theory.ArgumentError, match=next(iter(option))):
        Training(steps=1, optimiser="adam", **option)  # pyright: ignore[reportArgumentType]


def test_a_group_beyond_any_memory_is_refused() -> None:
    with pytest.raises(theory.ArgumentError, match="at most 1,000,000"):
        Training(steps=1, group_size=10**9)
