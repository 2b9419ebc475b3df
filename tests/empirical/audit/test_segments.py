from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

import numpy as np
import pandas as pd
import pytest

from empirical.audit import Source, read_labels
from empirical.audit.features import features
from empirical.audit.segments import ErrorKind, find_segments
from tests.builders import audited
from tests.empirical.audit.clustered import beta_rates
from tests.empirical.audit.planted import FAULTS, Fault, judged, rollouts
from tests.shared_data import shared_data

SOURCE = Source(
    truth="truth", verdict="verdict", cluster="prompt", completion="completion", gold="gold"
)
# 80 prompts of 8 rollouts: 640 labels.
MADE = rollouts(np.random.default_rng(0), prompts=80, each=8)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_planted_fault_is_named(fault: Fault) -> None:
    """From 640 labels: one of the segments names the fault, and none is of the error it does not make."""
    found = audited(
        judged(MADE, fault),
        truth="truth",
        verdict="verdict",
        cluster="prompt",
        completion="completion",
        gold="gold",
    )
    assert any(re.search(fault.found, segment.segment) for segment in found.segments), [
        segment.segment for segment in found.segments
    ]
    assert {segment.error for segment in found.segments} == {fault.error}
    for segment in found.segments:
        assert segment.ci[0] <= segment.rate <= segment.ci[1]
        assert segment.rate_without < (found.fpr if fault.error == "fpr" else found.fnr or 0.0)


def test_there_are_twenty_faults_and_a_clean_verifier_is_silent() -> None:
    assert len(FAULTS) >= 20
    labels = read_labels(judged(MADE, None), SOURCE)
    found = audited(
        judged(MADE, None), truth="truth", verdict="verdict", cluster="prompt", gold="gold"
    )
    assert found.segments == ()
    assert len(features(labels)) > 100


@pytest.mark.parametrize("icc", [0.0, 0.5])
def test_errors_that_go_with_nothing_are_called_systematic_in_under_5_percent(icc: float) -> None:
    rng = np.random.default_rng(11)
    labels = read_labels(judged(MADE, None), SOURCE)
    looked_at = features(labels)
    named = 0
    for _ in range(100):
        kinds: list[ErrorKind] = []
        for truth, name in ((0.0, "fpr"), (1.0, "fnr")):
            rows = np.flatnonzero(labels.truth_N == truth)
            rate = beta_rates(rng, 0.15, icc, 80)[labels.cluster_N[rows]]
            kinds.append(
                ErrorKind(name, rows, rng.random(len(rows)) < rate, labels.cluster_N[rows])
            )
        named += bool(find_segments(kinds, looked_at)[0])
    assert named <= 8  # of 100 at 5 %: more would happen once in fifty


def test_a_column_that_tells_the_verdict_explains_nothing() -> None:
    frame = judged(MADE, FAULTS[0])
    frame["my_reward"] = frame["verdict"]
    found = audited(
        frame, truth="truth", verdict="verdict", cluster="prompt", completion="completion"
    )
    assert not any("my_reward" in segment.segment for segment in found.segments)


def test_the_comma_of_the_real_oracle_is_found_untold() -> None:
    """640 real groups of 16; truth is exact decimal equality once separators are gone."""
    path = shared_data("ethsri_rollouts/olmo3_7b_base_rollouts_slim.csv")
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)

    def right(answer: str, gold: str) -> str:
        if not gold:
            return ""
        try:
            return str(int(Decimal(answer.replace(",", "")) == Decimal(gold)))
        except InvalidOperation:
            return "0"

    frame["truth"] = [
        right(*pair) for pair in zip(frame["extracted_answer"], frame["gt_answer"], strict=True)
    ]
    found = audited(
        frame, truth="truth", verdict="oracle_reward", cluster="step,prompt_id", group_size=16
    )
    assert (found.right, round(found.right * (found.fnr or 0.0)), found.fpr) == (1071, 14, 0.0)
    first = found.segments[0]
    assert (first.error, first.segment) == ("fnr", "the answer has a thousands comma")
    assert (first.errors, first.n, first.rate_without) == (14, 14, 0.0)
