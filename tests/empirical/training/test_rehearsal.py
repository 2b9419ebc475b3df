"""A GPU study's rehearsal: its own file with a small model in its place, and a runbook that names real commands."""

from __future__ import annotations

import base64
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from empirical.errors import StudyError
from empirical.studies import PretrainedSpec, read_study
from empirical.training.rehearsal import main, rehearsed, stand_in
from tests.builders import ROOT

STUDY = ROOT / "empirical" / "studies" / "trained" / "qwen2.5-gsm8k-powered.yaml"
needs_train = pytest.mark.skipif(find_spec("trl") is None, reason="needs the train extra")


def vocabulary(path: Path) -> Path:
    """Every byte and two pairs, in tiktoken's format."""
    tokens = [*(bytes([i]) for i in range(256)), b"ab", b"abc"]
    lines = (f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens))
    path.write_text("".join(lines))
    return path


def test_a_rehearsal_keeps_what_the_study_trains_with() -> None:
    study = read_study(STUDY)
    small = rehearsed(study, Path("model"), parameters=1000, source=Path("data"))
    kept = ("loss", "learning_rate", "schedule", "weight_decay", "beta", "gradient_accumulation")
    for name in kept:
        assert getattr(small.training, name) == getattr(study.training, name)
    assert small.verifier == study.verifier
    assert small.arms == {name: study.arms[name] for name in ("clean", "fpr0.2", "fnr0.2")}
    assert (len(small.runs()), small.training.steps, small.results) == (3, 2, "results")
    model = small.models[0]
    assert isinstance(model, PretrainedSpec)
    assert (model.layers, model.dtype, model.lora) == (24, "float32", None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.train
@needs_train
def test_the_stand_in_reads_its_vocabulary(tmp_path: Path) -> None:
    from empirical.training.models import load_policy

    spec = PretrainedSpec(kind="pretrained", name="m", path="x", parameters=1.0, layers=3)
    made = stand_in(tmp_path / "model", spec, vocabulary(tmp_path / "v.tiktoken"))
    own = spec.model_copy(update={"path": str(tmp_path / "model")})
    policy = load_policy(own, tiny=None)
    assert sum(p.numel() for p in policy.model.parameters()) == made
    assert policy.model.config.num_hidden_layers == 3
    text = "abc 1,027\n"
    ids = policy.tokenizer.encode(text)
    assert ids[0] == 257  # both pairs were merged
    assert policy.tokenizer.decode(ids) == text
    assert policy.tokenizer.eos_token_id is not None


@pytest.mark.train
@needs_train
def test_what_is_no_vocabulary_is_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad = tmp_path / "bad.tiktoken"
    bad.write_text("{}")
    arguments = ["--source", str(tmp_path), "--out", str(tmp_path), "--vocabulary", str(bad)]
    assert main([str(STUDY), *arguments]) == 2
    assert capsys.readouterr().err == f"{bad}: is no byte-pair vocabulary in tiktoken's format\n"
    assert main([str(tmp_path / "none.yaml"), *arguments]) == 2


def test_a_study_of_tiny_models_needs_no_rehearsal() -> None:
    study = read_study(STUDY.parent / "cpu-smoke.yaml")
    with pytest.raises(StudyError, match="no pretrained model"):
        rehearsed(study, Path("m"), parameters=1, source=Path("d"))


def test_every_option_of_the_runbook_exists() -> None:
    from typer.main import get_command

    from verigap.cli import app

    text = (ROOT / "docs" / "how-to" / "gpu-runbook.md").read_text(encoding="utf-8")
    commands = re.findall(r"`verigap (\w+)([^`|]*)`", text)
    known = get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
    assert {name for name, _ in commands} >= {"doctor", "train", "probe", "validate", "gap"}
    for name, rest in commands:
        options = {option for parameter in known[name].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= options, name
