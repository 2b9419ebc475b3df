"""`verigap drift` as a shell sees it."""

from __future__ import annotations

import pytest

from tests.commands.command import refused, verigap


def test_drift_prints_the_contract() -> None:
    command = "drift --pass-rate 0.3 --fpr 0.1 --fnr 0.2 --group-size 8 --json"
    document = verigap(*command.split()).document
    expected = {
        "gain": 1.825509,
        "drift": 0.268350,
        "variance": 0.0201980,
        "snr": 1.888196,
        "zero_advantage_fraction": 0.0514651,
        "mean_field_drift": 0.317842,
        "youden": 0.7,
        "observed_rate": 0.31,
        "phi2": 0.481066,
        "effective_rollouts": 4.367461,
        "snr2_weight": 0.694416,
    }
    assert document == {key: pytest.approx(value, rel=2e-6) for key, value in expected.items()}


def test_drift_says_why_a_value_is_missing() -> None:
    document = verigap("drift", "--pass-rate", 0.3, "--fpr", 0.4, "--fnr", 0.6, "--json").document
    assert document["gain"] is None
    assert "J a(1 - a) = 0" in document["gain_reason"]
    document = verigap("drift", "--pass-rate", 1, "--json").document
    assert document["snr"] is None
    assert "0 in every group" in document["snr_reason"]


def test_drift_has_a_human_view() -> None:
    assert "0.26835" in verigap("drift", "--pass-rate", 0.3, "--fpr", 0.1, "--fnr", 0.2).out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--fpr", "1.2"), "fpr must lie in [0, 1], got 1.2"),
        (("--group-size", "1"), "group_size must be at least 2, got 1"),
        (("--estimator", "gpro"), "got 'gpro'"),
    ],
)
def test_drift_names_a_bad_argument(arguments: tuple[str, ...], named: str) -> None:
    assert named in refused("drift", "--pass-rate", "0.3", *arguments)
