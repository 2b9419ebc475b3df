"""Completions of an initial policy, as an audit before training reads them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from empirical.static_rates import INITIAL
from empirical.studies import read_study
from empirical.training.initial import sample_initial
from empirical.verifiers import verifier_named

STUDY = Path(__file__).parents[3] / "empirical/studies/trained/learnable-errors.yaml"


def test_completions_are_of_the_training_problems_in_order_and_judged(tmp_path: Path) -> None:
    study = read_study(STUDY)
    sample_initial(study, STUDY, tmp_path / "kept" / INITIAL, samples=64)
    assert study.results is not None
    committed = pd.read_parquet(STUDY.parent / study.results / INITIAL).head(64)
    fresh = pd.read_parquet(tmp_path / "kept" / INITIAL)
    same = ["problem_id", "prompt", "gold"]
    pd.testing.assert_frame_equal(fresh[same], committed[same])
    judge = verifier_named(study.verifier)
    judged = [
        judge(text, gold).verdict.value
        for text, gold in zip(fresh["completion"], fresh["gold"], strict=True)
    ]
    assert judged == fresh["verdict"].tolist()
    assert 0.1 < (fresh["verdict"] == "right").mean() < 0.6  # .35, standard error .06
