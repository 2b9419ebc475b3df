"""learnable-errors: the threshold rule on scores made by hand, and the page from runs made by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from empirical.static_rates import INITIAL
from empirical.studies import Study, read_study
from paper.__main__ import GENERATED, write_learnable
from paper.learnable import HARM, learnable, told
from paper.pages.learnable import document

STUDY = Path(__file__).parents[2] / "empirical/studies/trained/learnable-errors.yaml"
RESULTS = STUDY.parent / "../../results/learnable-errors"


def test_a_score_that_orders_harm_makes_no_mistake_where_it_can_be_learnt() -> None:
    harm = np.array([0.0, 0.01, 0.02, 0.2, 0.25, 0.3])
    found = told("score", "before", 10 * harm, harm, list("abcdef"))
    assert found.rank == pytest.approx(1.0)
    assert found.confusion.wrong == ()
    assert (found.confusion.hits, found.confusion.quiet) == (3, 3)
    assert 0.2 < found.confusion.threshold < 2.0


def test_an_arm_is_judged_by_a_threshold_it_had_no_part_in() -> None:
    """One harmful arm alone: left out, no other arm says that there is a threshold at all."""
    harm = np.array([0.0, 0.0, 0.0, 0.3])
    found = told("score", "before", np.array([0.1, 0.2, 0.3, 0.9]), harm, list("abcd"))
    assert (found.confusion.misses, found.confusion.wrong) == (1, ("d",))


def test_a_score_that_says_nothing_errs_and_has_zero_in_its_interval() -> None:
    rng = np.random.default_rng(0)
    harm = rng.permutation(np.linspace(-0.1, 0.2, 16))
    found = told("score", "before", rng.random(16), harm, [str(i) for i in range(16)])
    assert found.rank_ci is not None
    assert found.rank_ci[0] < 0.0 < found.rank_ci[1]
    table = found.confusion
    assert table.hits + table.misses == (harm > HARM).sum()
    assert table.hits + table.misses + table.false_alarms + table.quiet == 16
    assert len(table.wrong) == table.misses + table.false_alarms > 0


def synthetic(study: Study, folder: Path, lost: dict[str, float]) -> None:
    """Runs that lose what `lost` says at every step after the start, their fpr rising to 1 with it."""
    (folder / "steps").mkdir(parents=True)
    shutil.copy(RESULTS / "probe.json", folder / "probe.json")
    pd.read_parquet(RESULTS / INITIAL).head(512).to_parquet(folder / INITIAL)
    evaluations, logs = [], []
    for run in study.runs():
        ids = {"run_id": run.run_id, "arm": run.arm, "seed": run.seed}
        harm = lost.get(run.arm, 0.0)
        evaluations += [
            {
                **ids,
                "step": step,
                "accuracy": 0.9 - 0.01 * run.seed - harm * (step > 0),
                "n_eval": 1024,
            }
            for step in study.evaluation.steps
        ]
        logs += [
            {
                "run_id": run.run_id,
                "step": step,
                "wrong": 50.0,
                "paid_wrong": 50.0 if harm else 50.0 * run.noise.fpr,
            }
            for step in range(1, study.training.steps + 1)
        ]
    pd.DataFrame(evaluations).to_parquet(folder / "runs.parquet")
    pd.DataFrame(logs).to_parquet(folder / "steps" / "g8-s0.parquet")


def test_harm_and_rise_are_those_of_the_runs(tmp_path: Path) -> None:
    study = read_study(STUDY)
    lost = {"unfinished-below": 0.3, "zero": 0.1}
    synthetic(study, tmp_path, lost)
    found = learnable(study, tmp_path)
    assert (found.missing, found.runs) == (0, len(study.runs()))
    for arm in found.arms:
        assert arm.harm.value == pytest.approx(lost.get(arm.static.arm, 0.0), abs=1e-9)
        assert arm.harm.units == 3
        expected = 1.0 if arm.static.arm in lost else study.arms[arm.static.arm].fpr
        assert arm.early_fpr == pytest.approx(expected)
        assert arm.early_rise == pytest.approx(expected - arm.static.fpr)
    assert found.large is not None
    assert found.large < 0.025
    by_name = {one.name: one for one in found.told}
    assert by_name["early rise"].confusion.wrong == ()
    assert by_name["1 − J"].confusion.misses == 2
    page = document(found, command="c", figure="f.png")
    assert "unfinished-below with +0.300" in page
    assert "supported" in page


def test_a_run_that_is_not_done_does_not_count(tmp_path: Path) -> None:
    study = read_study(STUDY)
    synthetic(study, tmp_path, {})
    table = pd.read_parquet(tmp_path / "runs.parquet")
    cut = table[(table["arm"] != "coin") | (table["step"] < study.training.steps)]
    cut.to_parquet(tmp_path / "runs.parquet")
    found = learnable(study, tmp_path)
    assert found.missing == len(study.seeds)
    assert "coin" not in {arm.static.arm for arm in found.arms}
    assert found.told == ()  # no arm is harmful: nothing to tell
    assert "Not asked yet" in document(found, command="c", figure="f.png")


def test_equal_scores_have_no_order() -> None:
    found = told("score", "before", np.zeros(4), np.array([0.0, 0.0, 0.1, 0.3]), list("abcd"))
    assert (found.rank, found.rank_ci) == (None, None)


def test_the_page_is_that_of_the_committed_runs(tmp_path: Path) -> None:
    page = write_learnable(STUDY, tmp_path)
    assert page == (GENERATED / "learnable-errors.md").read_text(encoding="utf-8")
    assert (tmp_path / "figures" / "learnable-errors.png").stat().st_size > 1000
