"""What a study costs: before it is run (estimate) and after (spent).

Law. One trained-on token costs 2N FLOPs to generate and 6N to learn from, 2N for every further forward
pass (a reference policy, log-probabilities of the sampling policy); an evaluation token costs 2N. N
counts all weights; attention's quadratic part is left out, as is usual. Prompts are read once per
rollout. Device time is FLOPs over the throughput the study states, with its source.
Fails first where generation is bound by memory, not arithmetic: then the stated throughput must be low.
Needs neither torch nor the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from empirical.studies import PretrainedSpec, RunSpec, Study, TinyQwen2Spec

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Cost", "RunCost", "estimate", "evaluation_flops_per_token", "training_flops_per_token"]

_TINY_VOCABULARY = 109
_BYTES_PER_ROW = 700.0  # of metrics.jsonl, measured on cpu-smoke
_BYTES_PER_COMPLETION_TOKEN = 4.0


def training_flops_per_token(spec: RunSpec) -> float:
    """FLOPs of one prompt or completion token of a training rollout."""
    t = spec.training
    further = (t.beta > 0.0) + (t.vllm is not None)
    return spec.model.parameters * (2.0 + 6.0 + 2.0 * further)


def evaluation_flops_per_token(spec: RunSpec) -> float:
    """FLOPs of one prompt or completion token of an evaluation sample."""
    return 2.0 * spec.model.parameters


@dataclass(frozen=True)
class RunCost:
    """Cost of one run; rollouts are training rollouts, tokens those of training and evaluation."""

    run_id: str
    rollouts: int
    evaluation_samples: int
    tokens: int
    flops: float
    device_hours: float
    gpu_hours: float
    disk_gb: float


@dataclass(frozen=True)
class Cost:
    """Cost of a study. gpu_hours is 0 on a machine without GPUs; device_hours counts its processor.

    memory_gb: of one run's process: weights, gradients, optimiser state, activations and logits.
    """

    study: str
    runs: int
    total_rollouts: int
    total_evaluation_samples: int
    total_tokens: int
    total_flops: float
    device_hours: float
    gpu_hours: float
    wall_hours: float
    memory_gb: float
    disk_gb: float
    hardware: str
    throughput_flops_per_second: float
    throughput_source: str
    differences: tuple[str, ...]
    cells: tuple[RunCost, ...]

    def table(self) -> Table:
        """The totals as a table for people."""
        from rich.table import Table

        table = Table(title=f"{self.study}: what it would cost", show_header=False)
        for label, value in (
            ("runs", f"{self.runs:,}"),
            ("training rollouts", f"{self.total_rollouts:,}"),
            ("evaluation samples", f"{self.total_evaluation_samples:,}"),
            ("tokens", f"{self.total_tokens:.3g}"),
            ("FLOPs", f"{self.total_flops:.3g}"),
            ("GPU-hours", f"{self.gpu_hours:,.1f}"),
            ("device-hours", f"{self.device_hours:,.1f} on {self.hardware}"),
            ("wall-clock hours", f"{self.wall_hours:,.1f}"),
            ("memory of a run", f"{self.memory_gb:,.2f} GB"),
            ("disk", f"{self.disk_gb:,.2f} GB"),
            (
                "throughput",
                f"{self.throughput_flops_per_second:.3g} FLOP/s ({self.throughput_source})",
            ),
        ):
            table.add_row(label, value)
        for difference in self.differences:
            table.add_row("differs", difference)
        return table


def estimate(study: Study, runs: Sequence[RunSpec]) -> Cost:
    """What `runs` of `study` would cost, from the lengths and the throughput the study states."""
    cells = tuple(_run_cost(study, run) for run in runs)
    hardware = study.hardware
    device_hours = sum(cell.device_hours for cell in cells)
    return Cost(
        study=study.name,
        runs=len(cells),
        total_rollouts=sum(cell.rollouts for cell in cells),
        total_evaluation_samples=sum(cell.evaluation_samples for cell in cells),
        total_tokens=sum(cell.tokens for cell in cells),
        total_flops=sum(cell.flops for cell in cells),
        device_hours=device_hours,
        gpu_hours=sum(cell.gpu_hours for cell in cells),
        wall_hours=device_hours / (max(1, hardware.gpus) * study.running.processes),
        memory_gb=max((_memory_gb(study, run) for run in runs), default=0.0),
        disk_gb=sum(cell.disk_gb for cell in cells),
        hardware=hardware.name,
        throughput_flops_per_second=hardware.flops_per_second,
        throughput_source=hardware.source,
        differences=tuple(study.differences),
        cells=cells,
    )


def _run_cost(study: Study, run: RunSpec) -> RunCost:
    hardware, training = study.hardware, run.training
    length = hardware.prompt_tokens + hardware.completion_tokens
    rollouts = training.steps * training.prompts_per_step * run.group_size
    samples = run.evaluation.samples * len(run.evaluation.steps) * (1 + run.evaluation.greedy)
    flops = length * (
        rollouts * training_flops_per_token(run) + samples * evaluation_flops_per_token(run)
    )
    hours = flops / hardware.flops_per_second / 3600.0
    kept = {"none": 0, "last": 1, "all": len(run.evaluation.steps)}[study.running.save_completions]
    disk = (
        training.steps * _BYTES_PER_ROW
        + kept * run.evaluation.samples * hardware.completion_tokens * _BYTES_PER_COMPLETION_TOKEN
        + (2 * 12.0 * run.model.parameters if study.running.keep_checkpoints else 0.0)
        + len(study.running.save_weights) * 4.0 * run.model.parameters
    )
    return RunCost(
        run_id=run.run_id,
        rollouts=rollouts,
        evaluation_samples=samples,
        tokens=length * (rollouts + samples),
        flops=flops,
        device_hours=hours,
        gpu_hours=hours if hardware.gpus else 0.0,
        disk_gb=disk / 1e9,
    )


def _memory_gb(study: Study, run: RunSpec) -> float:
    """Weights, gradients and Adam's moments, a reference policy, a micro-batch's activations and logits."""
    model = run.model
    half = isinstance(model, PretrainedSpec) and model.dtype == "bfloat16"
    adapters = isinstance(model, PretrainedSpec) and model.lora is not None
    weight = 2.0 if half else 4.0
    trained = model.parameters * (0.01 if adapters else 1.0)
    states = model.parameters * weight + trained * (weight + 2 * weight)
    if run.training.beta > 0.0 and not adapters:
        states += model.parameters * weight
    hidden = model.hidden_size or round((model.parameters / 12.0 / (model.layers or 24)) ** 0.5)
    micro = run.training.prompts_per_step * run.group_size / run.training.gradient_accumulation
    length = study.hardware.prompt_tokens + run.training.max_completion_length
    # About 16 numbers per token, layer and dimension without checkpointing, 2 with it.
    per_token = (2.0 if half else 16.0) * (model.layers or 24) * hidden * weight
    # The logits of the completions and what the softmax makes of them, in float32 whatever the weights are.
    vocabulary = _TINY_VOCABULARY if isinstance(model, TinyQwen2Spec) else model.vocabulary
    logits = micro * run.training.max_completion_length * vocabulary * 4.0 * 2.0
    return (states + micro * length * per_token + logits) / 1e9
