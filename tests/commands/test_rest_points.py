"""`verigap rest-points` as a shell sees it."""

from __future__ import annotations

import pytest

from tests.commands.command import refused, verigap


def test_rest_points_lists_the_three_of_the_contract() -> None:
    command = (
        "rest-points --fpr 0 --fnr 0 --beta 0.1 --reference-pass-rate 0.001 --form rlver --json"
    )
    document = verigap(*command.split()).document
    rates = [point["pass_rate"] for point in document["rest_points"]]
    assert rates == [pytest.approx(v, rel=2e-6) for v in (0.00295585, 0.0309100, 0.785738)]
    assert [point["stable"] for point in document["rest_points"]] == [True, False, True]
    assert document["attracting_boundaries"] == []


def test_rest_points_has_a_human_view_and_names_mistakes() -> None:
    command = "rest-points --beta 1 --reference-pass-rate 0.2"
    assert "an attracting boundary" in verigap(*command.split()).out
    assert "inside (0, 1), got 1" in refused(*command.replace("0.2", "1").split())
    assert "beta must be finite" in refused(*command.replace("1 ", "-1 ").split())
