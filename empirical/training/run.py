"""One matched run, trained by TRL's own GRPOTrainer.

Law. Before every optimiser step torch is reseeded from (seed, step, process), and the prompts of all steps
are laid out beforehand, so that a run's sampling depends on nothing that happened before but the weights:
evaluating, resuming, logging change no number,
and two arms with one seed agree until the first verdict that differs.
Fails first inside a `steps_per_generation` cycle, whose buffered rollouts a checkpoint does not hold;
here a cycle is one optimiser step, and checkpoints fall between steps.
Source: TRL 1.16 (`GRPOTrainer`), every default that matters pinned; scale_rewards "group" divides by the
Bessel-corrected standard deviation plus 1e-4.

Run it as `python -m empirical.training.run RUN_FOLDER --model MODEL_FOLDER`; `empirical.training.launch` does.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import set_seed
from trl.trainer.grpo_config import GRPOConfig

from empirical.errors import StudyError
from empirical.machine import describe
from empirical.noise import TriggeredNoise, structure
from empirical.studies import PretrainedSpec, Running, RunSpec
from empirical.training.accounting import training_flops_per_token
from empirical.training.evaluation import Sample, completions_table, evaluate, torch_seed
from empirical.training.folder import (
    BUSY,
    CHECKPOINTS,
    COMPLETIONS,
    RESUMABLE,
    WEIGHTS,
    Row,
    RunFolder,
)
from empirical.training.gradient_noise import (
    GradientNoise,
    PartNorms,
    WholeGroups,
    gradient_noise,
)
from empirical.training.models import Policy, load_policy, lora_config, weights_hash
from empirical.training.rewards import METRIC_PREFIX, NoisyVerifier
from empirical.training.shared_prompts import SharedPrompts
from empirical.training.tasks import Task, load_task, prompts_of
from empirical.verifiers import Verdict
from empirical.watch.steps import STOP
from fits.errors import InputError
from fits.files import replacing, write_text
from fits.readers.jsonl import read_json
from theory.estimators import estimator_named
from theory.rng import Purpose

__all__ = ["train"]


def reward_function(spec: RunSpec, task: Task) -> NoisyVerifier:
    """The noisy verifier a run trains against."""
    noise = spec.noise.noise
    return NoisyVerifier(
        structure=structure(spec.noise),
        base=task.verifier,
        reference=task.reference,
        seed=spec.seed,
        group_size=spec.group_size,
        selector=noise.selector if isinstance(noise, TriggeredNoise) else None,
        drop_unscorable=spec.training.unscorable == "drop",
        correction=spec.noise.correction,
        estimator=estimator_named(spec.noise.estimator),
    )


def trainer_config(spec: RunSpec, folder: RunFolder, running: Running) -> GRPOConfig:
    """TRL's configuration of a run."""
    t = spec.training
    world = int(os.environ.get("WORLD_SIZE", "1"))
    batch = t.prompts_per_step * spec.group_size
    per_device, rest = divmod(batch, world * t.gradient_accumulation)
    if rest or (per_device * t.gradient_accumulation) % spec.group_size:
        raise StudyError(
            f"a batch of {batch} rollouts in groups of {spec.group_size} does not split over {world}"
            f" processes with gradient_accumulation {t.gradient_accumulation}"
        )
    bf16 = isinstance(spec.model, PretrainedSpec) and spec.model.dtype == "bfloat16"
    vllm: dict[str, Any] = {}
    if t.vllm is not None:
        vllm = {
            "use_vllm": True,
            "vllm_mode": t.vllm.mode,
            "vllm_gpu_memory_utilization": t.vllm.gpu_memory_utilization,
            "vllm_server_base_url": t.vllm.server_base_url,
        }
    return GRPOConfig(
        output_dir=str(folder.path / CHECKPOINTS),
        max_steps=t.steps,
        per_device_train_batch_size=per_device,
        gradient_accumulation_steps=t.gradient_accumulation,
        steps_per_generation=t.gradient_accumulation,
        num_generations=spec.group_size,
        max_completion_length=t.max_completion_length,
        temperature=t.temperature,
        top_p=1.0,
        top_k=0,
        repetition_penalty=1.0,
        learning_rate=t.learning_rate,
        lr_scheduler_type=t.schedule,
        warmup_steps=t.warmup_steps,
        optim="adamw_torch",
        adam_beta1=t.adam_beta1,
        adam_beta2=t.adam_beta2,
        weight_decay=t.weight_decay,
        max_grad_norm=t.max_grad_norm,
        loss_type=t.loss,
        scale_rewards="group" if spec.noise.estimator == "grpo" else "none",
        beta=t.beta,
        epsilon=t.epsilon,
        seed=spec.seed,
        data_seed=spec.seed,
        shuffle_dataset=False,  # prompt_order has
        disable_dropout=True,
        bf16=bf16,
        gradient_checkpointing=bf16 and not t.share_prompts,  # it keeps no cache to share
        use_cpu=not torch.cuda.is_available(),
        logging_strategy="steps",
        logging_steps=1,
        save_strategy="steps",
        save_steps=running.checkpoint_every,
        save_total_limit=None,  # the trainer's rotation goes by modification times: the Recorder's by steps
        report_to=running.report_to or "none",
        run_name=spec.run_id,
        disable_tqdm=True,
        dataloader_num_workers=0,
        remove_unused_columns=False,
        **vllm,
    )


def prompt_order(problems: int, *, steps: int, prompts_per_step: int, seed: int) -> list[int]:
    """Places of the run's prompts among the training problems, shape (steps * prompts_per_step,).

    Each pass through the problems has its own permutation, whose incomplete last step is dropped: the
    order in which TRL's shuffling RepeatSampler draws them. Laid out beforehand because that sampler
    begins its first permutation anew after a resume, whatever the pass (TRL 1.16).
    Raises StudyError if the problems do not fill one step.
    """
    whole = problems - problems % prompts_per_step
    if not whole:
        raise StudyError(
            f"training.prompts_per_step: {prompts_per_step} is more than the {problems} training"
            " problems"
        )
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    while len(order) < steps * prompts_per_step:
        order += torch.randperm(problems, generator=generator).tolist()[:whole]
    return order[: steps * prompts_per_step]


@dataclass
class Recorder(TrainerCallback):
    """Reseeds before every step, writes a row after it, evaluates when due, stops when told to."""

    spec: RunSpec
    running: Running
    folder: RunFolder
    task: Task
    policy: Policy
    rewards: list[float]  # mean reward of each step since the last evaluation
    gradients: list[GradientNoise]  # of those steps, where they have any
    seconds: float  # spent training so far, evaluation left out
    trainer: WholeGroups | None = None
    norms: PartNorms | None = None  # where a step has several parts, of whole groups
    stop: bool = False
    started: float = field(default=0.0)

    @property
    def _main(self) -> bool:
        assert self.trainer is not None
        return self.trainer.accelerator.is_main_process

    # transformers calls these with (args, state, control) and more by name, wanted or not.

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Evaluate the initial policy."""
        if state.global_step == 0 and 0 in self.spec.evaluation.steps:
            self._evaluate(state)

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: Any,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Reseed torch from (seed, step, process)."""
        torch.manual_seed(
            torch_seed(
                self.spec.seed, Purpose.ROLLOUT, step=state.global_step, part=args.process_index
            )
        )
        self.started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> None:  # noqa: ARG002
        """Save and stop if a signal asked for it, or a file STOP in the run's folder (`verigap watch --stop`)."""
        if self.stop or (self.folder.path / STOP).exists():
            control.should_save = True
            control.should_training_stop = True

    def on_log(self, args: Any, state: TrainerState, control: Any, **given: Any) -> None:  # noqa: ARG002
        """Write the step's row, then evaluate if it is time; checkpoints are saved after this."""
        logs: dict[str, Any] = given["logs"]
        if "entropy" not in logs:  # the summary at the end of training
            return
        taken = time.perf_counter() - self.started
        self.seconds += taken
        assert self.trainer is not None
        counts = step_counts(logs, processes=self.trainer.accelerator.num_processes)
        gradient = self._gradient(logs)
        row = _train_row(state, logs, counts, self.spec, gradient)
        self.rewards.append(row["observed_reward"])
        if gradient is not None:
            self.gradients.append(gradient)
        if self._main:
            self.folder.append({**row, "step_seconds": taken, "seconds": self.seconds})
        if state.global_step in self.running.save_weights:
            # On every process: where weights are split, all have a part.
            self.trainer.save_model(
                str(self.folder.path / WEIGHTS / f"step-{state.global_step:06d}")
            )
        if state.global_step in self.spec.evaluation.steps:
            self._evaluate(state)

    def on_save(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Mark the checkpoint as whole, then let go of older ones."""
        assert self.trainer is not None
        self.trainer.accelerator.wait_for_everyone()  # each process writes files of its own
        if self._main:
            self.folder.mark_checkpoint(state.global_step)
            self.folder.keep_checkpoints(up_to=state.global_step, newest=2)

    def _gradient(self, logs: Mapping[str, Any]) -> GradientNoise | None:
        """Signal and noise of the step's gradient, where its parts tell; for all processes at once."""
        assert self.trainer is not None
        norm, accelerator = _finite(logs.get("grad_norm")), self.trainer.accelerator
        total: Any = None if self.norms is None else self.norms.take()
        if total is None or norm is None:
            return None
        if accelerator.num_processes > 1:
            total = accelerator.reduce(total, reduction="mean")
        return gradient_noise(
            norm,
            float(total),
            accumulation=self.spec.training.gradient_accumulation,
            processes=accelerator.num_processes,
        )

    def _evaluate(self, state: TrainerState) -> None:
        assert self.trainer is not None
        wanted, step = self.spec.evaluation, state.global_step
        accelerator = self.trainer.accelerator
        problems = self.task.evaluation
        prompts = prompts_of(self.spec.model, problems)
        kinds = {"sampled": (wanted.samples, wanted.temperature)}
        if wanted.greedy:
            kinds["greedy"] = (min(wanted.samples, len(problems)), 0.0)
        results: dict[str, list[Sample]] = {}
        model = accelerator.unwrap_model(self.trainer.model)
        for kind, (samples, temperature) in kinds.items():
            part = evaluate(
                model,
                self.policy.tokenizer,
                problems,
                prompts,
                verifier=self.task.reference,
                samples=samples,
                seed=self.spec.seed,
                step=step,
                max_new_tokens=self.spec.training.max_completion_length,
                batch_size=wanted.batch_size,
                temperature=temperature,
                share=self.spec.training.share_prompts,
                part=accelerator.process_index,
                parts=accelerator.num_processes,
            )
            results[kind] = part if accelerator.num_processes == 1 else _gathered(part)
        if self._main:
            row = _eval_row(self.spec, state, results, self.rewards, self.gradients, self.seconds)
            if self.running.save_completions == "all" or (
                self.running.save_completions == "last" and step == wanted.steps[-1]
            ):
                _save_completions(self.folder, step, results["sampled"])
            self.folder.append(row)
        self.rewards.clear()
        self.gradients.clear()


def _gathered(part: list[Sample]) -> list[Sample]:
    from accelerate.utils import gather_object

    return gather_object(part)


def _ratio(count: float, of: float) -> float | None:
    return count / of if of else None


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _finite(value: Any) -> float | None:
    """A logged number, None where TRL logged none or not a finite one."""
    if value is None:
        return None
    number = float(value)
    return number if number - number == 0.0 else None


def step_counts(logs: Mapping[str, float], *, processes: int) -> dict[str, float]:
    """The counts of a step over all processes; seconds stay the mean of a process.

    TRL logs the mean over processes of what each of them counted.
    """
    return {
        key.removeprefix(METRIC_PREFIX): value if key.endswith("_seconds") else value * processes
        for key, value in logs.items()
        if key.startswith(METRIC_PREFIX)
    }


def _train_row(
    state: TrainerState,
    logs: dict[str, Any],
    counts: dict[str, float],
    spec: RunSpec,
    gradient: GradientNoise | None,
) -> Row:
    n = counts["rollouts"]
    wrong, base_wrong = n - counts["right"], n - counts["base_paid"]
    groups, by_paid = (
        [counts[f"groups_{name}_{k}"] for k in range(spec.group_size + 1)]
        for name in ("right", "paid")
    )
    return {
        "kind": "train",
        "step": state.global_step,
        "true_accuracy": counts["right"] / n,
        "observed_reward": counts["paid"] / n,
        # What the optimiser met: base and injected errors together; null without such a rollout.
        "realised_fpr": _ratio(counts["paid_wrong"], wrong),
        "realised_fnr": _ratio(counts["unpaid_right"], counts["right"]),
        "wrong": wrong,
        "right": counts["right"],
        "paid_wrong": counts["paid_wrong"],
        "unpaid_right": counts["unpaid_right"],
        "injected_fpr": _ratio(counts["injected_false_positives"], base_wrong),
        "injected_fnr": _ratio(counts["injected_false_negatives"], counts["base_paid"]),
        "base_fpr": _ratio(counts["base_false_positives"], wrong),
        "base_fnr": _ratio(counts["base_false_negatives"], counts["right"]),
        **{name: count for name, count in counts.items() if name.startswith("selected_")},
        "unscorable": counts["unscorable"],
        "timed_out": counts["timed_out"],
        "groups_by_right": groups,
        "groups_by_paid": by_paid,
        "zero_advantage_fraction": (by_paid[0] + by_paid[-1]) / sum(groups),
        "zero_advantage_fraction_clean": (groups[0] + groups[-1]) / sum(groups),
        "ability_gradient": counts["ability_gradient"] / sum(groups),
        "entropy": _finite(logs.get("entropy")),
        "kl": _finite(logs.get("kl")),  # TRL computes it only where beta > 0
        "grad_norm": _finite(logs.get("grad_norm")),
        # Null of a step in one part, or in parts that groups are spread over.
        "gradient_signal": None if gradient is None else gradient.signal,
        "gradient_noise": None if gradient is None else gradient.noise,
        "learning_rate": _finite(logs.get("learning_rate")),
        "completion_tokens": _finite(logs.get("completions/mean_length")),
        "clipped_fraction": _finite(logs.get("completions/clipped_ratio")),
        "tokens": int(state.num_input_tokens_seen),
        "base_seconds": counts["base_seconds"],
        "noise_seconds": counts["noise_seconds"],
    }


def _eval_row(
    spec: RunSpec,
    state: TrainerState,
    results: dict[str, list[Sample]],
    rewards: Sequence[float],
    gradients: Sequence[GradientNoise],
    seconds: float,
) -> Row:
    sampled, greedy = results["sampled"], results.get("greedy")
    n = len(sampled)
    tokens = int(state.num_input_tokens_seen)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    return {
        "kind": "eval",
        **spec.columns,
        "step": state.global_step,
        "rollouts": state.global_step * spec.training.prompts_per_step * spec.group_size,
        "tokens": tokens,
        "flops": training_flops_per_token(spec) * tokens,
        "gpu_hours": seconds / 3600.0 * world if torch.cuda.is_available() else 0.0,
        "seconds": seconds,
        "accuracy": sum(sample.right for sample in sampled) / n,
        "n_eval": n,
        "accuracy_greedy": None if greedy is None else sum(s.right for s in greedy) / len(greedy),
        "n_eval_greedy": None if greedy is None else len(greedy),
        "unscorable_fraction": sum(s.judgement.verdict is Verdict.UNSCORABLE for s in sampled) / n,
        "timed_out_fraction": sum(s.judgement.timed_out for s in sampled) / n,
        "eval_completion_tokens": sum(s.tokens for s in sampled) / n,
        # Mean over the steps since the last evaluation; null before the first.
        "observed_reward": _mean(rewards),
        "gradient_signal": _mean([gradient.signal for gradient in gradients]),
        "gradient_noise": _mean([gradient.noise for gradient in gradients]),
    }


def _save_completions(folder: RunFolder, step: int, samples: Sequence[Sample]) -> None:
    with replacing(folder.path / COMPLETIONS / f"step-{step:06d}.parquet") as part:
        completions_table(samples).to_parquet(part, compression="zstd", index=False)


def train(folder: RunFolder, *, tiny: Path | None, running: Running) -> bool:
    """Train the run whose spec.json lies in `folder`, from its newest checkpoint if it has one.

    tiny: folder of the warm-started weights, for a tiny model.
    Returns whether the run is done; False if a signal stopped it, resumable.
    Raises StudyError if this machine lacks what the run asks for.
    """
    spec = folder.spec()
    set_seed(spec.seed)
    task = load_task(spec.task, verifier=spec.verifier, reference=spec.reference_verifier)
    task.validate()
    policy = load_policy(spec.model, tiny=tiny, stop=task.stop)
    checkpoint = folder.checkpoint(say=logging.warning)
    made_of = {"initial_weights_sha256": policy.weights_sha256, "data_sha256": task.sha256()}
    if checkpoint is not None:
        _refuse_another(folder, made_of)
    main_process = os.environ.get("RANK", "0") == "0"
    if main_process:
        # Later ones are damaged, or of a branch that ends here.
        folder.keep_checkpoints(up_to=None if checkpoint is None else checkpoint[0], newest=2)
    kept = folder.rewind(None if checkpoint is None else checkpoint[0])
    trained = [row for row in kept if row["kind"] == "train"]
    last_eval = max((row["step"] for row in kept if row["kind"] == "eval"), default=0)
    recorder = Recorder(
        spec=spec,
        running=running,
        folder=folder,
        task=task,
        policy=policy,
        rewards=[row["observed_reward"] for row in trained if row["step"] > last_eval],
        gradients=[
            GradientNoise(row["gradient_signal"], row["gradient_noise"])
            for row in trained
            if row["step"] > last_eval and row.get("gradient_signal") is not None
        ],
        seconds=trained[-1]["seconds"] if trained else 0.0,
    )
    peft_config = None
    if isinstance(spec.model, PretrainedSpec) and spec.model.lora is not None:
        peft_config = lora_config(spec.model.lora)
    order = prompt_order(
        len(task.train),
        steps=spec.training.steps,
        prompts_per_step=spec.training.prompts_per_step,
        seed=spec.seed,
    )
    trainer = (SharedPrompts if spec.training.share_prompts else WholeGroups)(
        model=policy.model,
        reward_funcs=reward_function(spec, task),
        args=trainer_config(spec, folder, running),
        train_dataset=Dataset.from_dict(
            {
                "prompt": prompts_of(spec.model, task.train),
                "prompt_id": [problem.id for problem in task.train],
                "gold": [problem.gold for problem in task.train],
            }
        ).select(order),
        processing_class=policy.tokenizer,
        callbacks=[recorder],
        peft_config=peft_config,
    )
    recorder.trainer = trainer
    parts = spec.training.gradient_accumulation * trainer.accelerator.num_processes
    if parts > 1 and trainer.args.per_device_train_batch_size % spec.group_size == 0:
        model: Any = trainer.model  # policy.model, or what peft made of it
        recorder.norms = PartNorms(model)
    if trainer.accelerator.is_main_process:
        env = {
            **describe(),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            "processes": trainer.accelerator.num_processes,
            "torch_threads": torch.get_num_threads(),
            **made_of,
            "model_revision": policy.revision,
            "data_revision": task.revision,
            "resumed_from_step": None if checkpoint is None else checkpoint[0],
        }
        write_text(folder.path / "env.json", json.dumps(env, indent=1) + "\n")

    def stop(signal_number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        recorder.stop = True

    for name in ("SIGTERM", "SIGUSR1", "SIGINT"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), stop)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint[1]))
    if trainer.state.global_step < spec.training.steps:
        return False
    if trainer.accelerator.is_main_process:
        folder.finish(
            {
                "step": trainer.state.global_step,
                "final_weights_sha256": weights_hash(
                    trainer.accelerator.unwrap_model(trainer.model)
                ),
                "seconds": recorder.seconds,
            }
        )
        if not running.keep_checkpoints:
            shutil.rmtree(folder.path / CHECKPOINTS, ignore_errors=True)
    return True


def _refuse_another(folder: RunFolder, made_of: Mapping[str, str]) -> None:
    """Raise StudyError where a run would go on with another model or data set than it began with.

    A Hub's name without a revision may mean another one by then. What env.json does not say is not held against it.
    """
    path = folder.path / "env.json"
    try:
        began = read_json(path)
    except (InputError, OSError):
        return
    for name, now in made_of.items():
        if began.get(name, now) != now:
            what = "model" if name.startswith("initial") else "data set"
            raise StudyError(
                f"{path}: the run began with another {what} ({name} {str(began[name])[:12]}, now {now[:12]}): name its"
                " revision in the study, or remove the folder to make the run anew"
            )


def main(arguments: Sequence[str]) -> int:
    """Train one run: RUN_FOLDER [--model FOLDER] [--running JSON]."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="python -m empirical.training.run", description=main.__doc__
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--running", default="{}")
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        # One thread: two are five times slower when the machine is busy, and equal bits need one.
        torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    folder = RunFolder(given.folder)
    main_process = os.environ.get("RANK", "0") == "0"
    with folder.lock() if main_process else contextlib.nullcontext(True) as held:
        if not held:
            sys.stderr.write(f"{folder.path}: another process is at this run\n")
            return BUSY
        try:
            # Another launcher may have finished it between its own launcher's look and the lock.
            if folder.done:
                return 0
            done = train(
                folder, tiny=given.model, running=Running.model_validate_json(given.running)
            )
        except StudyError as error:
            sys.stderr.write(f"{error}\n")
            return 2
    return 0 if done else RESUMABLE


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
