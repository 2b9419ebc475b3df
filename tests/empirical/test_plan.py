from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from empirical.audit.clusters import clustered_rate, correlation
from empirical.plan import Rates, plan
from fits.errors import InputError
from tests.commands.command import refused, verigap
from tests.empirical.audit.clustered import beta_rates
from theory import VerifierChannel
from theory.effective_rollouts import effective_rollouts, matching_rollouts


def audited(rng: np.random.Generator, fpr: float, fnr: float, pass_rate: float) -> Rates:
    """Rates as an audit of 60 prompts x 8 rollouts with clustered errors would find them."""
    right = rng.binomial(8, beta_rates(rng, pass_rate, 0.2, 60)).astype(float)
    wrong = 8.0 - right
    x = clustered_rate(
        rng.binomial(wrong.astype(int), beta_rates(rng, fpr, 0.2, 60)).astype(float), wrong
    )
    d = clustered_rate(
        rng.binomial(right.astype(int), beta_rates(rng, fnr, 0.2, 60)).astype(float), right
    )
    a = clustered_rate(right, np.full(60, 8.0))
    assert x is not None
    assert d is not None
    assert a is not None
    return Rates(x.value, d.value, x.ci, d.ci, a.value, a.ci, correlation(x, d))


def test_known_rates_give_the_theorys_numbers() -> None:
    found = plan(Rates(0.1, 0.2), group_size=8, steps=100, pass_rates=[0.3])
    channel = VerifierChannel(0.1, 0.2)
    assert found.effective_rollouts == pytest.approx(float(effective_rollouts(0.3, channel, 8)))
    assert found.matching_rollouts == pytest.approx(float(matching_rollouts(0.3, channel, 8)))
    halved = next(lever for lever in found.levers if lever.name == "halve fpr")
    assert halved.effective_rollouts == pytest.approx(
        float(effective_rollouts(0.3, VerifierChannel(0.05, 0.2), 8))
    )
    twice = next(lever for lever in found.levers if lever.name == "twice the rollouts")
    assert twice.rollouts_factor == pytest.approx(2.0)
    assert twice.cost == 2.0
    assert all(lever.accuracy_gain is None for lever in found.levers)
    assert "not said" in " ".join(found.assumptions)


def test_false_positives_are_mended_first_on_hard_prompts_and_false_negatives_on_easy_ones() -> (
    None
):
    """Theory section 8: which error hurts more is a matter of the pass rate; and the two mirror."""
    hard = plan(Rates(0.2, 0.2), group_size=8, steps=100, pass_rates=[0.1])
    easy = plan(Rates(0.2, 0.2), group_size=8, steps=100, pass_rates=[0.9])
    assert hard.advice.startswith("Fix first: halve fpr")
    assert easy.advice.startswith("Fix first: halve fnr")
    assert hard.effective_rollouts == pytest.approx(easy.effective_rollouts)


def test_a_verifier_worse_than_a_coin_is_never_bought_back() -> None:
    found = plan(Rates(0.6, 0.5), group_size=8, steps=100, pass_rates=[0.3])
    assert found.matching_rollouts is None
    assert "no finite compute" in found.advice
    doubtful = plan(
        Rates(0.45, 0.45, (0.3, 0.6), (0.3, 0.6)), group_size=8, steps=100, pass_rates=[0.3]
    )
    assert doubtful.matching_rollouts_ci[1] is None


def test_levers_are_ranked_right_or_left_open_and_intervals_hold() -> None:
    """200 simulated truths: the ranked pair wrong in at most 5 %, 95 % intervals in at least 90 %."""
    rng = np.random.default_rng(0)
    wrong = ranked = 0
    held: list[bool] = []
    trials = 200
    for _ in range(trials):
        fpr, fnr, rate = (float(v) for v in rng.uniform((0.05, 0.05, 0.2), (0.35, 0.35, 0.8)))
        found = plan(audited(rng, fpr, fnr, rate), group_size=8, steps=100)

        def worth(x: float, d: float, rate: float = rate) -> float:
            return float(effective_rollouts(rate, VerifierChannel(x, d), 8))

        truth = {"halve fpr": worth(fpr / 2, fnr), "halve fnr": worth(fpr, fnr / 2)}
        now = worth(fpr, fnr)
        held.append(found.effective_rollouts_ci[0] <= now <= found.effective_rollouts_ci[1])
        for lever in found.levers:
            if lever.name in truth:
                assert lever.effective_rollouts_gain_ci is not None
                low, high = lever.effective_rollouts_gain_ci
                held.append(low <= truth[lever.name] - now <= high)
        for pair in found.ranked:
            if {pair.better, pair.worse} == set(truth):
                ranked += 1
                wrong += truth[pair.better] < truth[pair.worse]
    assert ranked > 20
    assert wrong / trials <= 0.05
    assert np.mean(held) >= 0.9


def test_the_command_joins_the_audit(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    labels, out = tmp_path / "labels.csv", tmp_path / "audit.json"
    rows = ["prompt,human,grader"]
    for prompt in range(60):
        for _ in range(5):
            right = rng.random() < 0.4
            paid = right ^ (rng.random() < (0.2 if right else 0.08))
            rows.append(f"{prompt},{int(right)},{int(paid)}")
    labels.write_text("\n".join(rows) + "\n")
    verigap(
        "audit",
        labels,
        "--truth",
        "human",
        "--verdict",
        "grader",
        "--cluster",
        "prompt",
        "--out",
        out,
    )
    prices = tmp_path / "prices.yaml"
    prices.write_text("rollouts_1000: 0.5\njudgements_1000: 0.1\n")
    done = verigap(
        "plan", "--audit", out, "--group-size", 16, "--steps", 400, "--prices", prices, "--json"
    )
    document = done.document
    assert {"advice", "levers", "assumptions"} <= set(document)
    assert {"name", "accuracy_gain", "ci", "cost"} <= set(document["levers"][0])
    for lever in document["levers"]:
        if lever["effective_rollouts_gain"] is not None:
            low, high = lever["effective_rollouts_gain_ci"]
            assert low <= lever["effective_rollouts_gain"] <= high
        assert math.isfinite(lever["cost_money"])
    assert "Assumed:" in verigap("plan", "--audit", out, "--group-size", 16, "--steps", 400).out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--fpr", "0.1"), "give --audit, or --fpr and --fnr"),
        (("--fpr", "0.1", "--fnr", "0.2"), "give --pass-rate"),
        (("--fpr", "1.1", "--fnr", "0.2", "--pass-rate", ".3"), "fpr must lie in [0, 1]"),
        (("--fpr", "0.1", "--fnr", "0.2", "--pass-rate", "3"), "pass_rate must lie in [0, 1]"),
        (("--fpr", "0.1", "--fnr", "0.2", "--pass-rate", ".3", "--steps", "0"), "at least 1"),
        (("--fpr", "0.1", "--fnr", "0.2", "--pass-rate", ".3", "--estimator", "ppo"), "ppo"),
    ],
)
def test_mistakes_are_one_line(arguments: tuple[str, ...], said: str) -> None:
    assert said in refused("plan", *arguments)


def test_an_audit_that_identifies_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "audit.json"
    path.write_text(
        '{"fpr": null, "fpr_ci": null, "fnr": null, "fnr_ci": null, "reason": "a coin"}'
    )
    assert "a coin" in refused("plan", "--audit", path)
    path.write_text("{}")
    assert "is no audit" in refused("plan", "--audit", path)
    with pytest.raises(InputError, match="at least 1"):
        plan(Rates(0.1, 0.1), group_size=8, steps=0, pass_rates=[0.5])
