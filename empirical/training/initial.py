"""Completions of a study's initial policy: what an audit before training has to go by."""

from __future__ import annotations

from pathlib import Path

import torch

from empirical.collect import read_committed
from empirical.studies import Study
from empirical.training.evaluation import completions_table, evaluate
from empirical.training.launch import initial_weights
from empirical.training.models import load_policy
from empirical.training.tasks import load_task, prompts_of
from fits.files import replacing

__all__ = ["sample_initial"]


def sample_initial(study: Study, study_file: Path, path: Path, *, samples: int) -> None:
    """Write `samples` completions of the first model's initial policy to `path`, as Parquet.

    One to a training problem, in order, again from the first when short.
    """
    torch.set_num_threads(1)
    reference = study.reference_verifier or study.verifier
    task = load_task(study.task, verifier=study.verifier, reference=reference)
    models = read_committed(study, study_file).models
    spec = study.models[0]
    policy = load_policy(
        spec, tiny=initial_weights(study, spec, path.parent, models), stop=task.stop
    )
    samples_N = evaluate(
        policy.model,
        policy.tokenizer,
        task.train,
        prompts_of(spec, task.train),
        verifier=task.reference,
        samples=samples,
        seed=0,
        step=0,
        max_new_tokens=study.training.max_completion_length,
        batch_size=study.evaluation.batch_size,
        temperature=study.training.temperature,
        share=study.training.share_prompts,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        completions_table(samples_N).to_parquet(part, compression="zstd", index=False)
