"""A GPU study rehearsed on a CPU: the same file, arms and machinery, a small random model, a few steps.

Everything a study does on the GPU is done: dry run, probe, training, resuming, collecting, validating. What
cannot be rehearsed is what the GPU alone has: bf16, vLLM, its memory, and a model that is ever right.
Source of the vocabulary: `qwen.tiktoken` of the PyPI package dashscope (Apache-2.0), Qwen's 151,643 byte
pairs; transformers' Qwen2 tokenizer with its own pre-tokenisation on top.

Run it as `python -m empirical.training.rehearsal STUDY.yaml --source GSM8K --out FOLDER`;
docs/how-to/gpu-runbook.md goes on from there.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import yaml

from empirical import extras
from empirical.errors import StudyError
from empirical.noise import Arm
from empirical.studies import PretrainedSpec, Study, read_study
from fits.errors import InputError
from fits.files import file_bytes, write_text

__all__ = ["rehearsed", "stand_in"]

_WIDTH: Final = 64
_HEADS: Final = 4
_STEPS: Final = 2
_ARMS: Final = 3


def vocabulary_file() -> Path:
    """Where dashscope keeps Qwen's vocabulary. Raises StudyError where the package is absent."""
    extras.require("dashscope", extra=None)
    found = find_spec("dashscope")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "resources" / "qwen.tiktoken"


def stand_in(folder: Path, spec: PretrainedSpec, vocabulary: Path) -> int:
    """Save a random model of Qwen2's architecture, as deep as `spec` and 64 wide, and its tokenizer.

    vocabulary: a byte-pair file in tiktoken's format. Returns how many weights it has.
    Raises StudyError if the vocabulary cannot be read.
    """
    extras.require(*extras.TRAIN)
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM
    from transformers.convert_slow_tokenizer import TikTokenConverter
    from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer

    try:
        pairs = {
            base64.b64decode(token, validate=True): int(rank)
            for token, rank in (line.split() for line in file_bytes(vocabulary).splitlines())
        }
    except (InputError, OSError, ValueError):
        raise StudyError(f"{vocabulary}: is no byte-pair vocabulary in tiktoken's format") from None
    converter: Any = TikTokenConverter(vocab_file=str(vocabulary))
    converter.load_tiktoken_bpe = lambda _: pairs  # its own needs the tiktoken package
    vocab, merges = converter.extract_vocab_merges_from_model(str(vocabulary))
    tokenizer: Any = Qwen2Tokenizer(vocab=vocab, merges=merges)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=len(tokenizer),
                hidden_size=_WIDTH,
                intermediate_size=4 * _WIDTH,
                num_hidden_layers=spec.layers or 2,
                num_attention_heads=_HEADS,
                num_key_value_heads=_HEADS // 2,
                tie_word_embeddings=True,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sum(weights.numel() for weights in model.parameters())


def rehearsed(study: Study, model: Path, *, parameters: int, source: Path) -> Study:
    """`study` as it is rehearsed: three arms, one group size and seed, two steps, short completions.

    model: folder of the stand-in. source: a folder or file of GSM8K. Everything else stays: verifier,
    optimiser, loss, schedule, accumulation.
    """
    spec = _pretrained(study)
    training = study.training
    accumulation = training.gradient_accumulation
    changed = study.model_dump(mode="json", exclude_defaults=True) | {
        "name": f"{study.name}-rehearsal",
        "task": {
            **study.task.model_dump(mode="json", exclude_defaults=True),
            "source": str(source),
            "train_problems": 64,
            "eval_problems": 16,
        },
        "models": [
            {
                "kind": "pretrained",
                "name": f"{spec.name}-stand-in",
                "path": str(model),
                "parameters": float(parameters),
                "layers": spec.layers or 2,
                "hidden_size": _WIDTH,
                "lora": None if spec.lora is None else spec.lora.model_dump(mode="json"),
                "chat": spec.chat,
            }
        ],
        "arms": {
            name: arm.model_dump(mode="json", exclude_defaults=True)
            for name, arm in _kinds_of_arms(study).items()
        },
        "group_sizes": study.group_sizes[:1],
        "seeds": study.seeds[:1],
        "blocks": [],
        "training": training.model_dump(mode="json", exclude_defaults=True)
        | {
            "steps": _STEPS,
            "prompts_per_step": max(4, accumulation),
            "max_completion_length": 16,
            "warmup_steps": min(training.warmup_steps, 1),
            "vllm": None,
        },
        "evaluation": {"steps": [0, 1, _STEPS], "samples": 16},
        "hardware": {
            "name": "one core of a CPU",
            "flops_per_second": 4e9,
            "prompt_tokens": study.hardware.prompt_tokens,
            "completion_tokens": 16,
            "source": "assumed: a rehearsal",
        },
        "running": {"checkpoint_every": 1, "save_completions": "all"},
        "results": "results",
    }
    return Study.model_validate(changed)


def _kinds_of_arms(study: Study) -> dict[str, Arm]:
    """The first arms that differ in which errors they make."""
    kinds: dict[tuple[bool, bool], str] = {}
    for name, arm in study.arms.items():
        kinds.setdefault((arm.fpr > 0.0, arm.fnr > 0.0), name)
    return {name: study.arms[name] for name in list(kinds.values())[:_ARMS]}


def _pretrained(study: Study) -> PretrainedSpec:
    for model in study.models:
        if isinstance(model, PretrainedSpec):
            return model
    raise StudyError(
        f"study {study.name}: has no pretrained model; what is tiny needs no rehearsal"
    )


def main(arguments: Sequence[str]) -> int:
    """Write a rehearsal of a study: its stand-in model and its file."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="python -m empirical.training.rehearsal", description=main.__doc__
    )
    parser.add_argument("study", type=Path, help="the study that is to run on a GPU")
    parser.add_argument("--source", type=Path, required=True, help="folder or file of GSM8K")
    parser.add_argument("--out", type=Path, required=True, help="where the rehearsal is written")
    parser.add_argument("--vocabulary", type=Path, help="byte pairs; default: dashscope's")
    given = parser.parse_args(arguments)
    try:
        study = read_study(given.study)
        folder = given.out / "model"
        vocabulary = given.vocabulary or vocabulary_file()
        parameters = stand_in(folder, _pretrained(study), vocabulary)
        rehearsal = rehearsed(study, folder, parameters=parameters, source=given.source)
    except StudyError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    fields = rehearsal.model_dump(mode="json", exclude_defaults=True)
    file = given.out / "study.yaml"
    write_text(file, yaml.safe_dump(fields, sort_keys=False))
    sys.stdout.write(
        f"{folder}: {parameters:,} random weights\n{file}: {len(rehearsal.runs())} runs\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
