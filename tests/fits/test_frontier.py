"""The frontier against a direct computation on the campaign, and on a table with a known best."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fits import InputError, gap_report, parse_selection
from tests.builders import ROOT, matched_runs

CAMPAIGN = ROOT / "empirical/results/cpu-campaign/runs.parquet"
IS_CLEAN = parse_selection(["fpr=0,fnr=0"])


def test_the_frontier_of_the_campaign_is_that_of_its_raw_table() -> None:
    table = pd.read_parquet(Path(CAMPAIGN))
    table = table[(table["estimator"] == "grpo") & table["arm"].isin(["clean", "fpr0.6"])]
    report = gap_report(table, clean=IS_CLEAN, law="exponential", frontier=True)
    (arm,) = report.frontier
    assert len(arm.points) > 5

    def levels(name: str, size: int, at: float) -> dict[int, float]:
        rows = table[(table["arm"] == name) & (table["group_size"] == size)]
        return {
            int(str(seed)): float(np.interp(at, run["rollouts"], run["accuracy"]))
            for seed, run in rows.sort_values("rollouts").groupby("seed")
            if run["rollouts"].max() >= at
        }

    for point in arm.points:
        best: dict[str, int] = {}
        for name in ("clean", "fpr0.6"):
            means = {
                size: np.mean(list(at.values()))
                for size in (4, 8, 16, 32)
                if (at := levels(name, size, point.x))
            }
            best[name] = max(means, key=lambda size: means[size])
        assert (point.clean_group_size, point.group_size) == (best["clean"], best["fpr0.6"])
        ours, theirs = (
            levels("clean", best["clean"], point.x),
            levels("fpr0.6", best["fpr0.6"], point.x),
        )
        gaps = np.array([ours[seed] - theirs[seed] for seed in ours if seed in theirs])
        assert point.gap == pytest.approx(gaps.mean())
        assert point.differs == (best["clean"] != best["fpr0.6"])
        least = np.mean(np.maximum(np.abs(gaps), 1 / 2048) * (1 - np.abs(gaps)) / 2048)
        if gaps.var(ddof=1) > 1.01 * least:
            assert point.gap_ci is not None
            plain = stats.ttest_1samp(gaps, 0.0).confidence_interval()
            assert point.gap_ci == pytest.approx((plain.low, plain.high), abs=1e-9)


def test_one_group_size_has_no_frontier() -> None:
    with pytest.raises(InputError, match="two values of group_size or more"):
        gap_report(matched_runs(seeds=2), clean=IS_CLEAN, law="exponential", frontier=True)
