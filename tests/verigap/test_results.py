"""The committed results answer to the contract: one JSON document with the promised keys."""

from __future__ import annotations

import pytest

from tests.verigap.command import verigap
from tests.verigap.test_packaging import ROOT

RESULTS = ROOT / "empirical" / "results" / "cpu-smoke"
TABLE = RESULTS / "runs.parquet"


@pytest.mark.parametrize("runs", [TABLE, RESULTS])
def test_fit_on_the_committed_runs(runs: object) -> None:
    done = verigap("fit", runs, "--json")
    assert done.code == 0, done.err
    curves = done.document["curves"]
    assert {curve["group"] for curve in curves} == {"clean", "fpr0.4", "fnr0.4"}
    keys = {"group", "law", "params", "ci", "status", "identified", "reason", "x_max_over_midpoint"}
    for curve in curves:
        assert keys | {"aicc", "forecast_rmse"} <= set(curve)
        assert curve["identified"] or curve["reason"]


@pytest.mark.parametrize("runs", [TABLE, RESULTS])
def test_gap_on_the_committed_runs(runs: object) -> None:
    done = verigap("gap", runs, "--json")
    assert done.code == 0, done.err
    assert {"arms", "asymmetry", "exchange_rate"} <= set(done.document)
    arms = done.document["arms"]
    assert {arm["arm"] for arm in arms} == {"fpr0.4", "fnr0.4"}
    for arm in arms:
        assert {"verdict", "floor", "floor_ci", "would_settle_it"} <= set(arm)
        assert arm["verdict"] in {"closes", "persists", "undetermined"}
        assert (arm["verdict"] != "undetermined") or arm["would_settle_it"]
