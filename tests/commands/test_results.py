"""The committed results answer to the contract: one JSON document with the promised keys."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.builders import ROOT
from tests.commands.command import verigap

RESULTS = ROOT / "empirical" / "results" / "cpu-smoke"
TABLE = RESULTS / "runs.parquet"
CAMPAIGN = ROOT / "empirical" / "results" / "cpu-campaign"


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


def test_gap_on_the_campaign_holds_every_arm_against_its_own_clean_runs() -> None:
    """Of the same estimator and group size, seed by seed; comparisons come setting by setting."""
    done = verigap("gap", CAMPAIGN, "--where", "group_size=8", "--where", "group_size=4", "--json")
    assert done.code == 0, done.err
    frame = pd.read_parquet(CAMPAIGN / "runs.parquet")
    settings = [one["setting"] for one in done.document["settings"]]
    assert settings == [
        {"estimator": estimator, "group_size": size}
        for estimator in ("dr_grpo", "grpo")
        for size in (4, 8)
    ]
    for arm in done.document["arms"]:
        assert arm["setting"] in settings
        size, dr_grpo = arm["setting"]["group_size"], arm["setting"]["estimator"] == "dr_grpo"
        own = frame[(frame["group_size"] == size) & (frame["step"] == 300)]
        accuracy = own.set_index(["arm", "seed"])["accuracy"]
        name = arm["arm"].split(",")[0]
        assert dr_grpo == name.startswith("drgrpo-")
        lost = accuracy["drgrpo-clean" if dr_grpo else "clean"] - accuracy[name]
        assert arm["curve"][-1]["gap"] == pytest.approx(lost.mean(), abs=1e-12)
        assert arm["curve"][-1]["seeds"] == lost.notna().sum()
    shown = verigap("gap", CAMPAIGN, "--where", "group_size=8", "--where", "group_size=4")
    assert "estimator=dr_grpo, group_size=4:" in shown.out
