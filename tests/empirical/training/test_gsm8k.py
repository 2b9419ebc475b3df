"""The path a Qwen on GSM8K takes, on a CPU, with nothing mocked but the model's size.

A locally saved Qwen2-architecture checkpoint with a byte tokenizer of its own, real GSM8K problems, three
arms, five steps, evaluations, through the launcher and TRL.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from empirical.studies import Study
from empirical.training.folder import RunFolder
from empirical.training.launch import launch
from tests.shared_data import shared_data

pytestmark = [
    pytest.mark.train,
    pytest.mark.skipif(find_spec("trl") is None, reason="needs the train extra"),
]

STEPS = 5


def save_checkpoint(folder: Path) -> None:
    """A tiny random Qwen2 with a byte-level tokenizer, saved as any checkpoint is."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    symbols = ["<pad>", "<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={s: i for i, s in enumerate(symbols)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    )
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(symbols),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            eos_token_id=1,
            pad_token_id=0,
        )
    )
    model.save_pretrained(folder)
    fast.save_pretrained(folder)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_qwen_on_gsm8k_end_to_end(tmp_path: Path):
    source = shared_data("gsm8k/train.jsonl").parent
    save_checkpoint(tmp_path / "model")
    study = Study.model_validate(
        {
            "name": "gsm8k-tiny",
            "task": {
                "kind": "gsm8k",
                "source": str(source),
                "train_problems": 64,
                "eval_problems": 16,
            },
            "verifier": "strict",
            "reference_verifier": "math_verify" if find_spec("math_verify") else "flexible",
            "models": [
                {
                    "kind": "pretrained",
                    "name": "qwen2-tiny",
                    "path": str(tmp_path / "model"),
                    "parameters": 30000,
                }
            ],
            # An untrained model is never right, so only false positives can be seen here.
            "arms": {
                "clean": {},
                "fpr0.4": {"fpr": 0.4},
                "both0.4": {"fpr": 0.4, "fnr": 0.4, "estimator": "dr_grpo"},
            },
            "group_sizes": [4],
            "seeds": [0],
            "training": {
                "steps": STEPS,
                "prompts_per_step": 4,
                "learning_rate": 1e-4,
                "loss": "dapo",
                "beta": 0.01,
                "schedule": "constant_with_warmup",
                "warmup_steps": 2,
                "max_completion_length": 24,
                "gradient_accumulation": 2,
            },
            "evaluation": {"steps": [0, STEPS], "samples": 16, "greedy": True},
            "hardware": {
                "flops_per_second": 1e9,
                "prompt_tokens": 300,
                "completion_tokens": 24,
                "source": "x",
            },
            "running": {"processes": 2, "save_completions": "all"},
        }
    )
    outcome = launch(study, study.runs(), tmp_path / "out")
    assert outcome.failed == {}
    logs = {run.arm: RunFolder(tmp_path / "out" / run.run_id).rows() for run in study.runs()}
    for rows in logs.values():
        assert [row["step"] for row in rows if row["kind"] == "eval"] == [0, STEPS]
        trained = [row for row in rows if row["kind"] == "train"]
        assert len(trained) == STEPS
        assert all(row["kl"] is not None for row in trained)
    paid = {
        arm: sum(row["paid_wrong"] for row in rows if row["kind"] == "train")
        for arm, rows in logs.items()
    }
    assert paid["clean"] == 0
    # 80 rollouts at rate .4: 32 give or take four standard errors; the same uniforms in both arms.
    assert abs(paid["fpr0.4"] - 32) < 18
    first = [next(r for r in logs[a] if r["kind"] == "train") for a in ("fpr0.4", "both0.4")]
    assert first[0]["paid_wrong"] == first[1]["paid_wrong"]


def test_the_commit_that_the_hub_served_is_known_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import huggingface_hub.constants as hub

    from empirical.studies import PretrainedSpec
    from empirical.training.models import load_policy

    commit, newer = "0123456789abcdef" * 2 + "01234567", "f" * 40
    cached = tmp_path / "models--org--tiny"
    save_checkpoint(cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    asked: list[object] = []
    from transformers import AutoTokenizer

    whole = AutoTokenizer.from_pretrained

    def moved(path: str, **options: object) -> object:
        (cached / "refs" / "main").write_text(
            newer
        )  # the branch moves between weights and tokenizer
        asked.append(options["revision"])
        return whole(path, **options)

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", moved)
    spec = PretrainedSpec(kind="pretrained", name="tiny", path="org/tiny", parameters=3e4)
    policy = load_policy(spec, tiny=None, stop=None)
    assert policy.revision == commit
    assert asked == [commit]


def test_the_commit_that_the_hub_served_is_known_of_the_data(monkeypatch: pytest.MonkeyPatch):
    import datasets

    from empirical.studies import Gsm8kSpec
    from empirical.training.tasks import load_task
    from empirical.verifiers import VerifierName

    commit = "e" * 40
    row = {"question": "1+1?", "answer": "1+1=2\n#### 2"}
    served = f"hf://datasets/openai/gsm8k@{commit}/main/"
    info = datasets.DatasetInfo(
        download_checksums={f"{served}{name}.parquet": {} for name in ("train", "test")}
    )
    both = {
        name: datasets.Dataset.from_list([row | {"question": name}], info=info)
        for name in ("train", "test")
    }
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: both)
    task = load_task(
        Gsm8kSpec(kind="gsm8k"), verifier=VerifierName.STRICT, reference=VerifierName.STRICT
    )
    assert task.revision == commit
