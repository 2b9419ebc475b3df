"""Tasks: what the model is asked, what counts as right, what is refused before training."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from empirical.errors import StudyError
from empirical.studies import (
    FewShotArithmeticSpec,
    Gsm8kSpec,
    ReasoningGymSpec,
    TwoStepArithmeticSpec,
)
from empirical.training.tasks import Task, load_task
from empirical.verifiers import Judgement, Verdict, VerifierName
from tests.shared_data import shared_data

STRICT = VerifierName.STRICT


def load(spec: TwoStepArithmeticSpec | Gsm8kSpec | ReasoningGymSpec) -> Task:
    return load_task(spec, verifier=STRICT, reference=STRICT)


def test_two_step_arithmetic_is_right_and_splits_apart():
    task = load(TwoStepArithmeticSpec(kind="two_step_arithmetic"))
    task.validate()
    assert not {p.id for p in task.train} & {p.id for p in task.evaluation}
    for problem in (*task.train[:200], *task.evaluation[:200]):
        assert eval(problem.prompt) == int(problem.gold)
        assert task.verifier(problem.solution or "", problem.gold).verdict is Verdict.RIGHT


def test_few_shot_sums_are_right_distinct_and_held_out():
    spec = FewShotArithmeticSpec(kind="few_shot_arithmetic", low=1, high=10, eval_problems=40)
    first = VerifierName.FIRST_NUMBER
    task = load_task(spec, verifier=first, reference=first)
    task.validate()
    assert spec.problems == len(task.train) + len(task.evaluation) == 155
    assert len({p.prompt for p in (*task.train, *task.evaluation)}) == 155
    assert task.stop == "\n"
    for problem in (*task.train, *task.evaluation):
        *shots, sum_ = problem.prompt.split("\n")
        assert all(eval(left) == int(right) for left, right in (s.split("=") for s in shots))
        assert eval(sum_.removesuffix("=")) == int(problem.gold) >= 0


def test_few_shot_sums_leave_some_to_train_on():
    with pytest.raises(ValidationError, match="155 problems, which leave none"):
        FewShotArithmeticSpec(kind="few_shot_arithmetic", high=10, eval_problems=155)


def test_more_training_problems_leave_the_evaluation_where_it_is():
    few, many = (
        load(TwoStepArithmeticSpec(kind="two_step_arithmetic", train_problems=n))
        for n in (100, 1000)
    )
    assert few.evaluation == many.evaluation
    assert few.train == many.train[:100]


def test_gsm8k_from_a_folder():
    folder = shared_data("gsm8k/train.jsonl").parent
    task = load(Gsm8kSpec(kind="gsm8k", source=str(folder)))
    assert (len(task.train), len(task.evaluation)) == (7473, 1319)
    task.validate()
    assert all("<<" not in (p.solution or "") for p in task.train)
    assert all(
        task.verifier(p.solution or "", p.gold).verdict is Verdict.RIGHT for p in task.evaluation
    )


def jsonl(tmp_path: Path, *lines: str) -> Gsm8kSpec:
    path = tmp_path / "problems.jsonl"
    path.write_text("\n".join(lines))
    return Gsm8kSpec(kind="gsm8k", source=str(path))


GOOD = '{"question": "q", "answer": "a\\n#### 1,800"}'


def test_gsm8k_from_one_file_is_split(tmp_path: Path):
    task = load(jsonl(tmp_path, *[GOOD] * 10))
    assert (len(task.train), len(task.evaluation)) == (8, 2)
    assert task.train[0].gold == "1800"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"question": "q"}', "line 2: lacks the text field 'answer'"),
        ('{"question": 3, "answer": "#### 1"}', "line 2: lacks the text field 'question'"),
        ('{"question": "q", "answer": "18"}', "line 2: its answer has no ####"),
        ("not json", "line 2: not JSON"),
    ],
)
def test_a_bad_record_is_named_by_line(tmp_path: Path, line: str, expected: str):
    with pytest.raises(StudyError, match=expected):
        load(jsonl(tmp_path, GOOD, line))


def test_a_gold_answer_the_verifier_cannot_read_stops_the_study(tmp_path: Path):
    spec = jsonl(tmp_path, GOOD, '{"question": "q", "answer": "#### none"}', *[GOOD] * 3)
    with pytest.raises(StudyError, match="none"):
        load(spec).validate()


def test_a_verifier_that_accepts_anything_is_refused():
    task = load(
        TwoStepArithmeticSpec(kind="two_step_arithmetic", train_problems=5, eval_problems=5)
    )
    generous = replace(task, verifier=lambda completion, gold: Judgement(Verdict.RIGHT, gold))
    with pytest.raises(StudyError, match="verifier fails on 10 gold answers"):
        generous.validate()


@pytest.mark.parametrize(("same", "judgements"), [(True, 1), (False, 2)])
def test_a_reference_that_is_the_verifier_judges_once(same: bool, judgements: int):
    task = load(
        TwoStepArithmeticSpec(kind="two_step_arithmetic", train_problems=5, eval_problems=5)
    )
    judged: list[str] = []

    def counting(completion: str, gold: str) -> Judgement:
        judged.append(completion)
        return task.verifier(completion, gold)

    def another(completion: str, gold: str) -> Judgement:
        return counting(completion, gold)

    replace(task, verifier=counting, reference=counting if same else another).validate()
    assert len(judged) == judgements * 2 * 10  # each gold answer, and the one beside it


@pytest.mark.skipif(find_spec("reasoning_gym") is None, reason="needs reasoning-gym")
@pytest.mark.parametrize("dataset", ["chain_sum", "gsm_symbolic"])
def test_reasoning_gym_is_deterministic_and_readable(dataset: str):
    spec = ReasoningGymSpec.model_validate(
        {"kind": "reasoning_gym", "dataset": dataset, "train_problems": 30, "eval_problems": 10}
    )
    task = load(spec)
    task.validate()
    assert load(spec) == task
    assert not {p.prompt for p in task.train} & {p.prompt for p in task.evaluation}


@pytest.mark.skipif(find_spec("reasoning_gym") is None, reason="needs reasoning-gym")
def test_an_unknown_option_is_the_users_mistake():
    spec = ReasoningGymSpec(kind="reasoning_gym", dataset="chain_sum", options={"min_trems": 2})
    with pytest.raises(StudyError, match="min_trems"):
        load(spec)


def test_a_warm_start_shows_the_wrong_modes_it_was_told_to():
    from empirical.training.models import demonstration

    task = load(TwoStepArithmeticSpec(kind="two_step_arithmetic"))
    rng = np.random.Generator(np.random.Philox(0))
    shown = [demonstration(problem, 0.4, 0.25, rng) for problem in task.train]
    lines = np.array([text.count("\n") for text in shown])  # worked, unfinished, at once
    assert [(lines == n).mean() for n in (2, 1, 0)] == pytest.approx([0.4, 0.15, 0.45], abs=0.03)
