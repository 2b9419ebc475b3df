"""Numbers of the theory, each by the function of `theory` that states it."""

from __future__ import annotations

from typing import Final

import numpy as np

from paper.argument.texts import Numbers, count, number, percent
from theory import DR_GRPO, GRPO, VerifierChannel, drift, effective_rollouts, phi2
from theory.corrections import majority
from theory.effective_rollouts import (
    matching_rollouts,
    population_phi2,
    population_snr2_weight,
    snr2_weight,
)
from theory.flow import PopulationFlow
from theory.mean_field import mode_path, time_between, time_to
from theory.rest_points import rest_points

__all__ = ["theory_numbers"]

CLEAN: Final = VerifierChannel(0.0, 0.0)
SATURATION: Final = (0.01, VerifierChannel(0.1, 0.0))
SIZES: Final = (2, 8, 32, 256)
CROSSING: Final = (0.1, 0.3)  # where a prompt starts, and the rate of either error
ADAM_AT: Final = (0.2, 0.3, 8)  # pass rate, rate of either error, rollouts and prompts
CLOCK_MODES: Final = ((0.05, 0.04, 0.03), (0.4, 0.28, 0.2))
REST: Final = (0.1, 0.001)  # KL weight, reference pass rate
WORTH: Final = (0.05, 0.1, 16)  # pass rate, rate of either error, rollouts
FIXED: Final = (0.35, 0.2, 8, 3)  # pass rate, rate of both errors, rollouts, judgements
CORRELATED: Final = (0.3, VerifierChannel(0.2, 0.0), 8, 0.53)
POPULATION: Final = (0.1, 0.7, VerifierChannel(0.3, 0.0))
SYMMETRIC: Final = (0.15, 0.15)
UNEQUAL: Final = (0.1, 0.3, 8, 2.0)  # pass rate, rate of either error, rollouts, v0/v1


def _either(rate: float) -> dict[str, VerifierChannel]:
    return {"fpr": VerifierChannel(rate, 0.0), "fnr": VerifierChannel(0.0, rate)}


def saturation() -> Numbers:
    """Noisy over clean expected step on a hard prompt, by group size; its limits are J and phi."""
    a, channel = SATURATION
    found = {
        f"saturation.ratio.{size}": number(
            float(drift(a, channel, size).drift / drift(a, CLEAN, size).drift)
        )
        for size in SIZES
    }
    return found | {
        "saturation.a": number(a),
        "saturation.fpr": number(channel.fpr, 1),
        "saturation.limit": number(float(np.sqrt(phi2(a, channel)))),
        "saturation.step-ends": count(1.0 / float(channel.observed_rate(a))),
        "saturation.clean-ends": count(1.0 / a),
    }


def crossing() -> Numbers:
    """When one prompt's accuracy is one half, and the mirror of its start, under either error."""
    start, rate = CROSSING
    found: Numbers = {
        "crossing.start": number(start, 1),
        "crossing.rate": number(rate, 1),
        "crossing.mirror": number(1.0 - start, 1),
    }
    for name, channel in _either(rate).items():
        found[f"crossing.{name}.half"] = number(time_between(start, 0.5, channel), 2)
        found[f"crossing.{name}.mirror"] = number(time_between(start, 1.0 - start, channel), 2)
    return found


def adam_steps() -> Numbers:
    """Share of a full step that a coordinate with score noise takes under Adam, with either error."""
    a, rate, size = ADAM_AT
    found: Numbers = {
        "adam.a": number(a, 1),
        "adam.rate": number(rate, 1),
        "adam.G": count(size),
        "adam.signal": number(0.3, 1),
    }
    for estimator, word in ((GRPO, "grpo"), (DR_GRPO, "drgrpo")):
        for name, channel in _either(rate).items():
            flow = PopulationFlow(
                np.array([0.0]),
                group_size=size,
                prompts_per_step=size,
                optimiser="adam",
                rate=1.0,
                signal=0.3,
                estimator=estimator,
            )
            theta = float(np.log(a / (1.0 - a)))
            found[f"adam.{word}.{name}"] = number(float(flow.velocity(theta, channel)))
            step = drift(a, channel, size, estimator=estimator).drift
            found[f"adam.sgd.{word}.{name}"] = number(float(step), 3)
    return found


def clock() -> Numbers:
    """Times at which verifiers bring one prompt's modes to the same point."""
    path = mode_path(*CLOCK_MODES, until=0.9)
    rate = 0.3
    found = {"clock.clean": number(time_to(path, CLEAN))}
    found |= {f"clock.{name}": number(time_to(path, one)) for name, one in _either(rate).items()}
    right, wrong = (", ".join(f"{share:g}" for share in part) for part in CLOCK_MODES)
    return found | {
        "clock.rate": number(rate, 1),
        "clock.until": number(0.9, 1),
        "clock.right": right,
        "clock.wrong": wrong,
    }


def worth() -> Numbers:
    """What either error makes of a group's rollouts on a hard prompt, and the rollouts that buy it back."""
    a, rate, size = WORTH
    found: Numbers = {
        "worth.a": number(a),
        "worth.rate": number(rate, 1),
        "worth.G": count(size),
        "worth.easy": number(1.0 - a),
    }
    for name, channel in _either(rate).items():
        found[f"worth.{name}"] = number(float(effective_rollouts(a, channel, size)), 1)
        found[f"worth.phi2.{name}"] = number(float(phi2(a, channel)))
        found[f"worth.match.{name}"] = count(float(matching_rollouts(a, channel, size)))
        found[f"worth.easy.{name}"] = number(float(effective_rollouts(1.0 - a, channel, size)), 1)
    return found


def unequal_noise() -> Numbers:
    """Squared signal-to-noise over a clean verifier's where wrong completions are twice as noisy."""
    a, rate, size, ratio = UNEQUAL
    found: Numbers = {
        "unequal.a": number(a, 1),
        "unequal.rate": number(rate, 1),
        "unequal.G": count(size),
        "unequal.ratio": count(ratio),
    }
    for name, channel in _either(rate).items():
        found[f"unequal.phi2.{name}"] = number(float(phi2(a, channel)))
        noisy, clean = (
            float(snr2_weight(a, one, size, estimator=DR_GRPO, wrong_over_right=ratio))
            for one in (channel, CLEAN)
        )
        found[f"unequal.{name}"] = number(noisy / clean)
    # How far the scaled estimator falls below the law, over pass rates and rates, at eight rollouts.
    worst = max(
        1.0
        - float(
            snr2_weight(a, VerifierChannel(x, d), UNEQUAL[2])
            / snr2_weight(a, VerifierChannel(x, d), UNEQUAL[2], estimator=DR_GRPO)
        )
        for a in np.linspace(0.02, 0.98, 49)
        for x in (0.0, 0.2, 0.4)
        for d in (0.0, 0.2, 0.4)
    )
    return found | {"unequal.grpo-below": percent(worst, 1)}


def rest() -> Numbers:
    """The rest points of the published flow with a KL penalty, at a setting where there are three."""
    beta, reference = REST
    found = rest_points(CLEAN, beta=beta, reference_pass_rate=reference, form="rlver")
    low, middle, high = found.points
    if not (low.stable and high.stable) or middle.stable:
        raise ValueError("the counterexample has no two stable rest points any more")
    return {
        "rest.beta": number(beta, 1),
        "rest.reference": number(reference, 3),
        "rest.low": number(low.pass_rate, 4),
        "rest.middle": number(middle.pass_rate, 3),
        "rest.high": number(high.pass_rate, 3),
        "rest.F": count(2),
    }


def fixes() -> Numbers:
    """What three independent judgements, or three times the rollouts, make of a verifier with both errors."""
    a, rate, size, votes = FIXED
    once, voted = VerifierChannel(rate, rate), majority(VerifierChannel(rate, rate), votes)
    return {
        "fixes.a": number(a),
        "fixes.rate": number(rate, 1),
        "fixes.G": count(size),
        "fixes.votes": count(votes),
        "fixes.voted-rate": number(voted.fpr, 3),
        "fixes.once": number(float(effective_rollouts(a, once, size)), 1),
        "fixes.voted": number(float(effective_rollouts(a, voted, size)), 1),
        "fixes.more": number(float(effective_rollouts(a, once, votes * size)), 1),
        "fixes.more-G": count(votes * size),
        "fixes.phi2.once": number(float(phi2(a, once))),
        "fixes.phi2.voted": number(float(phi2(a, voted))),
    }


def correlated() -> Numbers:
    """What errors in common within a group make of its worth, at a correlation that others reported."""
    a, channel, size, correlation = CORRELATED
    return {
        "correlated.a": number(a, 1),
        "correlated.fpr": number(channel.fpr, 1),
        "correlated.G": count(size),
        "correlated.without": number(float(effective_rollouts(a, channel, size)), 1),
        "correlated.with": number(
            float(effective_rollouts(a, channel, size, correlation=correlation)), 1
        ),
        "correlated.flips": number(size / (1.0 + (size - 1.0) * correlation), 1),
    }


def population() -> Numbers:
    """Two prompts under false positives: the law's number, and what grpo makes of two directions."""
    low, high, channel = POPULATION
    rates = np.array([low, high])
    found = {
        "population.low": number(low, 1),
        "population.high": number(high, 1),
        "population.fpr": number(channel.fpr, 1),
        "population.phi2": number(population_phi2(rates, channel)),
    }
    for word, direction in (("shared", (1.0, 1.0)), ("opposed", (1.0, -1.0))):
        noisy, clean = (
            population_snr2_weight(rates, one, 8, direction=direction) for one in (channel, CLEAN)
        )
        found[f"population.{word}"] = number(noisy / clean)
    noisy, clean = (
        population_snr2_weight(rates, one, 32, direction=(1.0, -1.0)) for one in (channel, CLEAN)
    )
    found |= {"population.opposed-large": number(noisy / clean, 1), "population.large": count(32)}
    return found


def symmetric() -> Numbers:
    """The worth of a rollout at one half under both errors at a rate that others reported."""
    return {
        "symmetric.phi2": number(float(phi2(0.5, VerifierChannel(*SYMMETRIC)))),
        "symmetric.tested": percent(0.2),
    }


def theory_numbers() -> dict[str, Numbers]:
    """Everything, by the name of the function that made it."""
    makers = (
        saturation,
        crossing,
        adam_steps,
        clock,
        worth,
        unequal_noise,
        correlated,
        population,
        symmetric,
        rest,
        fixes,
    )
    return {f"{__name__}.{make.__name__}": make() for make in makers}
