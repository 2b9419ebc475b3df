"""Runs to watch, made up: folders of ours, what VerigapCallback writes, and a model and problems for TRL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fits.readers.run_folder import sealed


def training_row(step: int, *, paid_wrong: int = 8, wrong: int = 40) -> dict[str, Any]:
    """A step's row: 64 rollouts, of which 32 are paid where paid_wrong is 8."""
    right = 64 - wrong
    return {
        "kind": "train",
        "step": step,
        "observed_reward": (right + paid_wrong) / 64,
        "true_accuracy": right / 64,
        "wrong": wrong,
        "right": right,
        "paid_wrong": paid_wrong,
        "unpaid_right": 0,
        "groups_by_paid": [1, 1, 1, 1, 1, 1, 1, 0, 1],
        "zero_advantage_fraction": 0.25,
        "step_seconds": 1.5,
    }


def ours(
    folder: Path,
    *,
    steps: int,
    fpr: float = 0.2,
    done: bool = False,
    rises: bool = False,
    total: int = 9,
) -> Path:
    """A run folder of ours. rises: from step 20 on most of what is wrong is paid."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = {"run_id": folder.name, "fpr": fpr, "fnr": 0.0, "group_size": 8, "steps": total}
    (folder / "spec.json").write_text(json.dumps(sealed(spec)))
    rows = [{"kind": "eval", "step": 0, "accuracy": 0.25}]
    rows += [
        training_row(step, paid_wrong=32 if rises and step >= 20 else 8)
        for step in range(1, steps + 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if done:
        (folder / "DONE").write_text(json.dumps(sealed({"step": steps})))
    return folder


def callback_lines(
    steps: int, *, run: str = "r", resumed: bool = False, first: int = 1, end: bool = False
) -> str:
    """What VerigapCallback writes of steps `first` to `steps`."""
    begin = {"kind": "begin", "run": run, "resumed": resumed, "steps": 30, "group_size": 8}
    rows: list[dict[str, Any]] = [{**begin, "declared": {"fpr": 0.1}, "labels_by": "x"}]
    rows += [
        {
            "kind": "step",
            "step": step,
            "rollouts": 64,
            "reward": 0.5,
            "groups": [0.0, 1.0, 0.0],
            "zero_advantage": 0.0,
            "labels": [[0, 1, 0], [1, 1, 1]],
            "seconds": 1.0,
        }
        for step in range(first, steps + 1)
    ]
    rows += [{"kind": "end", "step": steps}] if end else []
    return "".join(json.dumps(row) + "\n" for row in rows)


def sums(folder: Path, *, width: int = 8, layers: int = 1) -> Path:
    """The folder, with a random model of letters in `model` and sums of two digits in problems.jsonl."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    vocabulary = {"<pad>": 0, "<eos>": 1, **{c: i + 2 for i, c in enumerate("0123456789+=")}}
    letters = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    letters.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(
        tokenizer_object=letters, pad_token="<pad>", eos_token="<eos>"
    ).save_pretrained(folder / "model")
    config = GPT2Config(
        vocab_size=len(vocabulary),
        n_embd=width,
        n_layer=layers,
        n_head=1,
        n_positions=32,
        bos_token_id=1,
        eos_token_id=1,
        pad_token_id=0,
    )
    GPT2LMHeadModel(config).save_pretrained(folder / "model")
    problems = [{"prompt": f"{a}+{b}=", "gold": a + b} for a in range(10) for b in range(10)]
    (folder / "problems.jsonl").write_text("".join(json.dumps(one) + "\n" for one in problems))
    return folder
