"""The policies: a tiny Qwen2-architecture model with its own vocabulary, and pretrained ones.

The tiny model's warm start is supervised training on a mixture of modes, some right and some wrong, so
that RL has something to select between: worked solutions, solutions that stop after the first step, and
answers given at once. It is deterministic on one machine, made once per study and shared by all seeds.
Fails first where a folder that says `qwen2` is opened with AutoTokenizer: transformers then swaps in
Qwen2's own vocabulary without a word. `load_policy` never does that.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from transformers.utils.hub import cached_file

from empirical.errors import StudyError
from empirical.studies import Lora, ModelSpec, PretrainedSpec, Study, TinyQwen2Spec
from empirical.training.tasks import Problem, Task, load_task

__all__ = [
    "Policy",
    "demonstration",
    "load_policy",
    "lora_config",
    "prepare_tiny",
    "tiny_tokenizer",
    "weights_hash",
    "with_adapters",
]

_SPECIAL: Final = ("<pad>", "<eos>", "<unk>")
_SYMBOLS: Final = ("####", "\n", " ", "=", "+", "-", *(str(n) for n in range(100)))
_TOKENIZER_FILE: Final = "vocabulary.json"


@dataclass(frozen=True)
class Policy:
    """A model, its tokenizer, the hash of its weights; revision: the commit that the Hub served, if it did."""

    model: PreTrainedModel
    tokenizer: Any  # PreTrainedTokenizerBase, whose published types are too loose to help
    weights_sha256: str
    revision: str | None = None


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token per number below 100, per `####` and per other character; 109 in all."""
    vocabulary = {token: i for i, token in enumerate((*_SPECIAL, *_SYMBOLS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"####|\d{1,2}|[\s\S]"), "isolated")  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.Fuse()  # pyright: ignore[reportAttributeAccessIssue]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def weights_hash(model: torch.nn.Module) -> str:
    """SHA-256 of all parameters and buffers, names and bits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def prepare_tiny(folder: Path, spec: TinyQwen2Spec, task: Task) -> None:
    """Make the warm-started model in `folder`, whole or not at all; do nothing if it is there."""
    if folder.exists():
        return
    tokenizer: Any = tiny_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.warm_start.seed)
        model = Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=len(tokenizer),
                hidden_size=spec.hidden_size,
                intermediate_size=spec.intermediate_size,
                num_hidden_layers=spec.layers,
                num_attention_heads=spec.heads,
                num_key_value_heads=spec.kv_heads,
                max_position_embeddings=256,
                tie_word_embeddings=True,
                # At 64 dimensions the defaults (.02, 10,000) never learn to copy the third operand.
                initializer_range=0.1,
                rope_parameters={"rope_type": "default", "rope_theta": 100.0},
                bos_token_id=None,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        _warm_start(model, tokenizer, spec, task)
    part = folder.with_name(f".{folder.name}.{os.getpid()}")
    model.save_pretrained(part)
    tokenizer.backend_tokenizer.save(str(part / _TOKENIZER_FILE))
    try:
        part.rename(folder)
    except OSError:  # another process was faster; its weights are the same
        shutil.rmtree(part)


def _warm_start(model: Qwen2ForCausalLM, tokenizer: Any, spec: TinyQwen2Spec, task: Task) -> None:
    """Train on worked solutions, then on the mixture of modes; the loss is on completions only."""
    settings = spec.warm_start
    rng = np.random.Generator(np.random.Philox(settings.seed))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.0
    )
    pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
    model.train()
    for step in range(settings.steps):
        rows: list[tuple[list[int], list[int]]] = []
        for i in rng.integers(len(task.train), size=settings.batch_size):
            problem = task.train[int(i)]
            mixed = step >= settings.steps - settings.mixture_steps
            right = settings.right if mixed else 1.0
            completion = demonstration(problem, right, settings.unfinished, rng)
            prompt_ids: list[int] = tokenizer.encode(problem.prompt)
            rows.append((prompt_ids, [*tokenizer.encode(completion), eos]))
        width = max(len(p) + len(c) for p, c in rows)
        ids = torch.tensor([[*p, *c] + [pad] * (width - len(p) - len(c)) for p, c in rows])
        labels = torch.tensor(
            [[-100] * len(p) + c + [-100] * (width - len(p) - len(c)) for p, c in rows]
        )
        # Linear warm-up over a twentieth of the run, then linear decay to nothing.
        done = (step + 1) / settings.steps
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * min(20 * done, (1 - done) / 0.95)
        loss = model(input_ids=ids, attention_mask=ids.ne(pad).long(), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()


def demonstration(
    problem: Problem, right: float, unfinished: float, rng: np.random.Generator
) -> str:
    """A worked solution with probability `right`, else one of the two wrong modes: unfinished, or at once."""
    if problem.solution is None:
        raise StudyError("a warm start needs a task with worked solutions (two_step_arithmetic)")
    draw = rng.random()
    if draw < right:
        return problem.solution
    if draw < right + (1.0 - right) * unfinished:
        first = problem.solution.split("\n")[0]
        return f"{first}\n#### {first.partition('=')[2]}"
    miss = int(rng.integers(1, 10)) * int(rng.choice((-1, 1)))
    return f"#### {int(problem.gold) + miss}"


def load_policy(spec: ModelSpec, *, tiny: Path | None, stop: str | None = None) -> Policy:
    """The model of a study, on the CPU, and its tokenizer.

    tiny: folder of the warm-started weights, or of a checkpoint, for a tiny model. stop: text that ends a
    completion in place of the tokenizer's end of sequence.
    Raises StudyError if a pretrained model or its tokenizer cannot be loaded, or `stop` is not one token.
    """
    revision = None
    match spec:
        case TinyQwen2Spec():
            assert tiny is not None
            model = Qwen2ForCausalLM.from_pretrained(tiny, dtype=torch.float32)
            tokenizer = tiny_tokenizer()
            kept = tiny / _TOKENIZER_FILE  # which a trainer's checkpoint lacks
            if kept.exists() and (
                json.loads(kept.read_text(encoding="utf-8"))["model"]["vocab"]
                != tokenizer.get_vocab()
            ):
                raise StudyError(f"{tiny}: its vocabulary is not this version's")
        case PretrainedSpec():
            model, tokenizer, revision = _pretrained(spec)
    if stop is not None:
        _end_at(stop, model, tokenizer, name=spec.name)
    return Policy(model, tokenizer, weights_hash(model), revision)


_SNAPSHOT: Final = re.compile(r"/snapshots/([0-9a-f]{40})/")


def _commit(spec: PretrainedSpec) -> str | None:
    """The commit that a Hub's name and revision (a branch, a tag, nothing) mean now; None of a local folder.

    Transformers keeps none since its version 5; in the Hub's cache a file lies in its commit's folder.
    """
    if Path(spec.path).is_dir():
        return None
    file = cached_file(spec.path, spec.gguf_file or "config.json", revision=spec.revision)
    found = None if file is None else _SNAPSHOT.search(Path(file).as_posix())
    return None if found is None else found[1]


def _pretrained(spec: PretrainedSpec) -> tuple[Any, Any, str | None]:
    extra = {} if spec.gguf_file is None else {"gguf_file": spec.gguf_file}
    try:
        # Weights and tokenizer of one commit, should the Hub's branch move in between.
        commit = _commit(spec)
        revision = commit or spec.revision
        model: Any = AutoModelForCausalLM.from_pretrained(
            spec.path, revision=revision, dtype=getattr(torch, spec.dtype), **extra
        )
        tokenizer = AutoTokenizer.from_pretrained(
            spec.path, revision=revision, padding_side="left", **extra
        )
        kept = Path(spec.path) / "tokenizer.json"
        if kept.exists():
            # In a folder that says `qwen2`, AutoTokenizer may have put Qwen2's rules in its place.
            own = PreTrainedTokenizerFast.from_pretrained(spec.path, padding_side="left")
            probe = "Total: 3*(4+5) = 27 dollars.\n#### 1,027"
            if own.encode(probe) != tokenizer.encode(probe):
                tokenizer = own
    except (OSError, ValueError) as error:
        raise StudyError(f"model {spec.path!r} cannot be loaded: {error}") from None
    if spec.gguf_file is not None:
        # A model read from GGUF counts as quantised, and would refuse to be saved or trained.
        model.hf_quantizer = None
        model.is_quantized = False
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer, commit


def _end_at(stop: str, model: Any, tokenizer: Any, *, name: str) -> None:
    """Let `stop` be the only end of sequence, for this library's sampling and for TRL's."""
    ids = tokenizer.encode(stop, add_special_tokens=False)
    if len(ids) != 1:
        raise StudyError(f"model {name}: {stop!r}, which ends a completion, is {len(ids)} tokens")
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(ids[0])
    model.generation_config.eos_token_id = ids[0]


def lora_config(lora: Lora) -> Any:
    """peft's configuration of a study's adapters."""
    from peft import LoraConfig

    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        task_type="CAUSAL_LM",
    )


def with_adapters(model: PreTrainedModel, lora: Lora, *, seed: int) -> Any:
    """`model` with fresh adapters, the only weights it trains from here on; torch's generator is left alone."""
    from peft import get_peft_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return get_peft_model(model, lora_config(lora))


def main(arguments: Sequence[str]) -> int:
    """Make the warm-started weights of a tiny model: FOLDER MODEL_JSON STUDY_JSON."""
    folder, model, study_text = arguments
    torch.set_num_threads(1)
    study = Study.model_validate_json(study_text)
    task = load_task(study.task, verifier=study.verifier, reference=study.verifier)
    prepare_tiny(Path(folder), TinyQwen2Spec.model_validate_json(model), task)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
