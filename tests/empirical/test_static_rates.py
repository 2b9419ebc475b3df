"""Static rates: exact on completions made by hand, and those that learnable-errors was designed to have."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from empirical.errors import StudyError
from empirical.noise import TriggeredNoise
from empirical.static_rates import INITIAL, static_rates
from empirical.studies import Study, read_study

STUDIES = Path(__file__).parents[2] / "empirical" / "studies" / "trained"


def study(name: str) -> tuple[Study, Path]:
    path = STUDIES / f"{name}.yaml"
    read = read_study(path)
    assert read.results is not None
    return read, path.parent / read.results


def completions(*texts: str) -> pd.DataFrame:
    """Each of a problem whose answer is -10."""
    return pd.DataFrame({"completion": texts, "gold": "-10", "prompt": "1+1+1\n"})


def test_rates_are_means_over_wrong_and_over_right_completions() -> None:
    learnable, _ = study("learnable-errors")
    found = static_rates(
        learnable, completions("#### 20", "#### 3", "#### 4", "#### 7", "#### -10", "nothing")
    )
    by_arm = {one.arm: one for one in found}
    assert by_arm["coin"].fpr == pytest.approx(0.115)
    assert by_arm["coin"].fpr_ci == (0.115, 0.115)
    zero = by_arm["zero"]
    assert (zero.fpr, zero.fnr, zero.shown_wrong, zero.shown_right) == (
        pytest.approx(0.208),
        0.0,
        0.2,
        1.0,
    )
    assert zero.fpr_ci[0] < 0.2 < zero.fpr_ci[1]
    assert by_arm["fnr-minus"].fnr == 1.0
    assert by_arm["fnr-coin"].youden == pytest.approx(0.72)
    with pytest.raises(StudyError, match="all right or all wrong"):
        static_rates(learnable, completions("#### -10"))


def test_learnable_errors_have_their_coins_rate_on_the_initial_policy() -> None:
    learnable, results = study("learnable-errors")
    found = {one.arm: one for one in static_rates(learnable, pd.read_parquet(results / INITIAL))}
    tied = {
        arm: errors
        for arm, errors in learnable.arms.items()
        if isinstance(errors.noise, TriggeredNoise)
    }
    assert len(tied) >= 10
    for arm, errors in tied.items():
        coin = learnable.arms["coin" if errors.fpr else "fnr-coin"]
        for meant in (coin, errors):
            assert found[arm].fpr == pytest.approx(meant.fpr, abs=0.01), arm
            assert found[arm].fnr == pytest.approx(meant.fnr, abs=0.01), arm
