"""The dry run against sums done by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

import empirical
from empirical.studies import read_study
from empirical.training.accounting import estimate

STUDIES = Path(empirical.__file__).parent / "studies" / "trained"


def test_the_papers_grid_by_hand():
    """108 cells at 1.5B plus the diagonals: 1.5B at rollouts 4 and 64, 0.5B at all five."""
    study = read_study(STUDIES / "qwen2.5-gsm8k-paper.yaml")
    cost = estimate(study, study.runs())
    assert cost.runs == 36 * 3 + 6 * 2 + 6 * 5
    batch = 233 * 32
    big, small = (
        36 * batch * (8 + 16 + 32) + 6 * batch * (4 + 64),
        6 * batch * (4 + 8 + 16 + 32 + 64),
    )
    assert cost.total_rollouts == big + small
    samples = 13 * 256
    assert cost.total_evaluation_samples == samples * cost.runs
    length = 128 + 220
    assert cost.total_tokens == length * (big + small + samples * cost.runs)
    # 2N to generate, 6N to learn, 2N for the KL reference; 2N per evaluation token.
    by_hand = 1.544e9 * length * (10 * big + 2 * samples * 120)
    by_hand += 4.94e8 * length * (10 * small + 2 * samples * 30)
    assert cost.total_flops == pytest.approx(by_hand, rel=1e-12)
    assert cost.gpu_hours == pytest.approx(by_hand / 6e13 / 3600, rel=1e-12)
    assert cost.differences


def test_a_study_without_gpus_needs_no_gpu_hours():
    study = read_study(STUDIES / "cpu-smoke.yaml")
    cost = estimate(study, study.runs())
    assert (cost.runs, cost.total_rollouts) == (6, 6 * 200 * 64)
    assert cost.gpu_hours == 0.0
    assert cost.device_hours > 0.0


def test_the_campaign_is_the_grid_that_was_asked_for():
    runs = read_study(STUDIES / "cpu-campaign.yaml").runs()
    assert len(runs) == 15 * 4 * 5
    assert {run.group_size for run in runs} == {4, 8, 16, 32}
    assert all(run.evaluation.samples >= 2000 for run in runs)
