"""Tasks: problems, how they are put to the model, and how an answer is read and checked.

Prompt format, extractor and gold normaliser are one object, because a change in one silently breaks the
others; `validate` judges every gold answer, and a wrong one, before anything is trained on them.
Fails first when a gold answer is not what the verifier reads: that is an error here, not a reward of 0.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from empirical import extras
from empirical.errors import StudyError
from empirical.studies import (
    FewShotArithmeticSpec,
    Gsm8kSpec,
    ModelSpec,
    PretrainedSpec,
    ReasoningGymSpec,
    TaskSpec,
    TwoStepArithmeticSpec,
)
from empirical.verifiers import Verdict, Verifier, VerifierName, number, verifier_named
from fits.errors import InputError
from fits.files import file_bytes
from fits.readers.jsonl import TornJsonError, parse_json
from fits.readers.text import lines_of

__all__ = ["Problem", "Task", "load_task", "prompts_of"]

Record = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """One problem.

    id: in [0, 2**32), unique within the task; the prompt's part of every noise key.
    prompt: the text the model continues.
    gold: the right answer, as the verifier reads it.
    solution: a worked solution, or None where the task has none.
    """

    id: int
    prompt: str
    gold: str
    solution: str | None = None


@dataclass(frozen=True)
class Task:
    """Problems and the verifier that judges them.

    train, evaluation: disjoint problems.
    verifier: judges rollouts before noise is injected.
    reference: what counts as the truth; the verifier's own error rates are measured against it.
    stop: text that ends a completion; None: the tokenizer's end of sequence.
    revision: commit of the data set that the Hub served; None where it served none.
    """

    name: str
    train: tuple[Problem, ...]
    evaluation: tuple[Problem, ...]
    verifier: Verifier
    reference: Verifier
    stop: str | None = None
    revision: str | None = None

    def sha256(self) -> str:
        """A hash of what is asked and answered, whatever it was read from: which revision the Hub served."""
        content = [
            [[problem.id, problem.prompt, problem.gold] for problem in part]
            for part in (self.train, self.evaluation)
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def validate(self) -> None:
        """Judge every gold answer: right as it stands, not right when it is off by one.

        Raises StudyError naming the first problem whose gold answer fails, and how many do.
        """
        judges = {"verifier": self.verifier}
        if self.reference is not self.verifier:
            judges["reference"] = self.reference
        for label, verifier in judges.items():
            failures: list[str] = []
            for problem in (*self.train, *self.evaluation):
                value = number(problem.gold)
                said = verifier(f"#### {problem.gold}", problem.gold).verdict
                if said is not Verdict.RIGHT:
                    failures.append(f"problem {problem.id}: gold {problem.gold!r} is {said.value}")
                elif value is not None:
                    off = verifier(f"#### {float(value + 1):.10g}", problem.gold).verdict
                    if off is Verdict.RIGHT:
                        failures.append(f"problem {problem.id}: accepts gold {problem.gold!r} + 1")
            if failures:
                raise StudyError(
                    f"task {self.name}: {label} fails on {len(failures)} gold answers; {failures[0]}"
                )
        ids = [problem.id for problem in (*self.train, *self.evaluation)]
        if len(set(ids)) != len(ids):
            raise StudyError(f"task {self.name}: problem ids repeat")


def load_task(spec: TaskSpec, *, verifier: VerifierName, reference: VerifierName) -> Task:
    """The task a study declares, its data read or generated; deterministic.

    Raises StudyError if the data or a package is absent, or a record lacks a field.
    """
    revision = None
    match spec:
        case TwoStepArithmeticSpec():
            train, evaluation = _two_step_arithmetic(spec)
        case FewShotArithmeticSpec():
            train, evaluation = _few_shot_arithmetic(spec)
        case Gsm8kSpec():
            train, evaluation, revision = _gsm8k(spec)
        case ReasoningGymSpec():
            train, evaluation = _reasoning_gym(spec)
    return Task(
        name=spec.kind,
        train=train,
        evaluation=evaluation,
        verifier=verifier_named(verifier),
        reference=verifier_named(reference),
        stop="\n" if isinstance(spec, FewShotArithmeticSpec) else None,
        revision=revision,
    )


def prompts_of(model: ModelSpec, problems: Sequence[Problem]) -> list[Any]:
    """What the model is given: text, or one user message where the model is told to chat."""
    if isinstance(model, PretrainedSpec) and model.chat:
        return [[{"role": "user", "content": problem.prompt}] for problem in problems]
    return [problem.prompt for problem in problems]


def _two_step_arithmetic(
    spec: TwoStepArithmeticSpec,
) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    width = spec.high - spec.low + 1
    # A fixed permutation of all problems: evaluation first, so that its size leaves it where it is.
    order = np.random.Generator(np.random.Philox(20250525)).permutation(4 * width**3)
    chosen = [_arithmetic_problem(int(i), spec.low, width) for i in order[: spec.eval_problems]]
    train = [
        _arithmetic_problem(int(i), spec.low, width) for i in order[::-1][: spec.train_problems]
    ]
    return tuple(train), tuple(chosen)


def _arithmetic_problem(index: int, low: int, width: int) -> Problem:
    rest, signs = divmod(index, 4)
    rest, c = divmod(rest, width)
    a, b = divmod(rest, width)
    a, b, c = a + low, b + low, c + low
    first, second = ("+-"[signs & 1], "+-"[signs >> 1])
    middle = a + b if first == "+" else a - b
    end = middle + c if second == "+" else middle - c
    return Problem(
        id=index,
        prompt=f"{a}{first}{b}{second}{c}\n",
        gold=str(end),
        solution=f"{a}{first}{b}={middle}\n{middle}{second}{c}={end}\n#### {end}",
    )


def _few_shot_arithmetic(
    spec: FewShotArithmeticSpec,
) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    operands = range(spec.low, spec.high + 1)
    every = [(a, sign, b) for a in operands for b in operands for sign in "+-"[: 1 + (a >= b)]]
    # A fixed permutation: evaluation first, so that its size leaves it where it is.
    order = np.random.Generator(np.random.Philox(20250525)).permutation(len(every)).tolist()
    problems = [
        Problem(
            id=i,
            prompt=f"12+7=19\n15-9=6\n{a}{sign}{b}=",
            gold=str(a + b if sign == "+" else a - b),
        )
        for i in order
        for a, sign, b in [every[i]]
    ]
    return tuple(problems[spec.eval_problems :]), tuple(problems[: spec.eval_problems])


def _gsm8k(spec: Gsm8kSpec) -> tuple[tuple[Problem, ...], tuple[Problem, ...], str | None]:
    path, revision = Path(spec.source), None
    if path.is_dir():
        train, test = (_jsonl(path / f"{name}.jsonl") for name in ("train", "test"))
    elif path.suffix in (".jsonl", ".json") or path.is_file():
        records = _jsonl(path)
        held_out = spec.eval_problems or max(1, len(records) // 5)
        if held_out >= len(records):
            raise StudyError(
                f"{path}: {len(records)} problems leave none to train on beside"
                f" eval_problems = {held_out}"
            )
        train, test = records[:-held_out], records[-held_out:]
    else:
        train, test, revision = _gsm8k_from_hub(spec.source, spec.revision)
    first_test = len(train)
    return (
        tuple(_gsm8k_problem(r, i, spec) for i, r in enumerate(train[: spec.train_problems])),
        tuple(
            _gsm8k_problem(r, first_test + i, spec)
            for i, r in enumerate(test[: spec.eval_problems])
        ),
        revision,
    )


# The commit in what `datasets` says of its sources: hf://datasets/openai/gsm8k@COMMIT/main/train.parquet
_COMMIT: Final = re.compile(r"@([0-9a-f]{40})(?:/|$)")


def _gsm8k_from_hub(
    name: str, revision: str | None
) -> tuple[list[Record], list[Record], str | None]:
    """Both splits, and the commit they are of, whatever `revision` (a branch, a tag, nothing) meant by then."""
    extras.require("datasets")
    from datasets import load_dataset

    try:
        both = load_dataset(name, "main", revision=revision)
        splits = [[dict(row) for row in both[split]] for split in ("train", "test")]
    except Exception as error:
        # The hub client raises its own zoo of exceptions; offline it is mostly ConnectionError.
        raise StudyError(
            f"task source {name!r}: neither a local folder or file nor a data set that could be"
            f" loaded from the Hub ({type(error).__name__}: {error})"
        ) from None
    for split, records in zip(("train", "test"), splits, strict=True):
        for line, record in enumerate(records, start=1):
            _check_record(record, f"{name}, {split} row {line}")
    sources = both["train"].info.download_checksums or {}
    commits = {found[1] for source in sources if (found := _COMMIT.search(source))}
    return splits[0], splits[1], commits.pop() if len(commits) == 1 else None


def _jsonl(path: Path) -> list[Record]:
    """Records of a JSONL file, each with text fields `question` and `answer`."""
    try:
        # A line separator (U+2028) within a problem ends no line.
        lines = lines_of(file_bytes(path).decode("utf-8"))
    except FileNotFoundError:
        raise StudyError(f"task source {path}: no such file") from None
    except (UnicodeDecodeError, OSError):
        raise StudyError(f"task source {path}: cannot be read as text") from None
    records: list[Record] = []
    for number_, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = parse_json(line, source=f"task source {path}, line {number_}")
        except TornJsonError:
            raise StudyError(f"task source {path}, line {number_}: not JSON") from None
        except InputError as error:
            raise StudyError(str(error)) from None
        _check_record(record, f"{path}, line {number_}")
        records.append(record)
    if not records:
        raise StudyError(f"task source {path}: is empty")
    return records


def _check_record(record: Any, where: str) -> None:
    for name in ("question", "answer"):
        if not isinstance(record, dict) or not isinstance(record.get(name), str):
            raise StudyError(f"task source {where}: lacks the text field {name!r}")
    if "####" not in record["answer"]:
        raise StudyError(f"task source {where}: its answer has no ####")


def _gsm8k_problem(record: Record, index: int, spec: Gsm8kSpec) -> Problem:
    solution, _, gold = record["answer"].rpartition("####")
    # <<48/2=24>> are calculator annotations, which no model is asked to write.
    solution = re.sub(r"<<[^>]*>>", "", solution).rstrip()
    gold = gold.strip().replace(",", "")
    return Problem(
        id=index,
        prompt=f"{spec.instruction}{record['question'].strip()}\n",
        gold=gold,
        solution=f"{solution}\n#### {gold}",
    )


def _reasoning_gym(spec: ReasoningGymSpec) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    extras.require("reasoning_gym")
    import reasoning_gym

    size = spec.train_problems + spec.eval_problems
    try:
        data: Any = reasoning_gym.create_dataset(
            spec.dataset, size=size, seed=spec.seed, **spec.options
        )
    except (TypeError, AssertionError, ValueError) as error:
        raise StudyError(f"task {spec.dataset}: options {spec.options}: {error}") from None
    problems = [
        Problem(
            id=i,
            prompt=f"{spec.instruction}{data[i]['question'].strip()}\n",
            gold=str(data[i]["answer"]).strip().replace(",", ""),
        )
        for i in range(size)
    ]
    # A generator may repeat itself; a problem seen in training is no evaluation.
    seen = {problem.prompt for problem in problems[: spec.train_problems]}
    evaluation = tuple(p for p in problems[spec.train_problems :] if p.prompt not in seen)
    if not evaluation:
        raise StudyError(f"task {spec.dataset}: options {spec.options} give too few problems")
    return tuple(problems[: spec.train_problems]), evaluation
