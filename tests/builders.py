"""Builders that several tests share: run tables with a known truth, studies, specs, where the project lies."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from empirical.audit import Audit, Source, audit_labels, read_labels
from empirical.studies import Study
from theory import DR_GRPO, GRPO, VerifierChannel, advantages
from theory.adam_flow import AdamFlow, Condition, accuracy_curves
from theory.structures import Independent, Rollouts, Structure

ROOT = Path(__file__).resolve().parents[1]

CLEAN = ("clean", 0.0, 0.0, 0.8, 1.0)
ARMS = (CLEAN, ("fp", 0.3, 0.0, 0.8, 1.4), ("fn", 0.0, 0.3, 0.7, 1.3))


def matched_runs(
    *,
    seeds: int = 3,
    arms: Sequence[tuple[str, float, float, float, float]] = ARMS,
    evaluations: int = 20,
    midpoints: float = 10.0,
    n_eval: int = 2000,
    spread: float = 0.01,
    slope: float = 1.5,
    seed: int = 0,
) -> pd.DataFrame:
    """Arms (name, fpr, fnr, asymptote, midpoint over the clean one's 10,240 rollouts)."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for s in range(seeds):
        shared = rng.normal(0.0, spread)
        for arm, fpr, fnr, asymptote, clock in arms:
            top = asymptote + shared + rng.normal(0.0, spread / 4)
            for t in range(evaluations + 1):
                step = round(midpoints * 160 * t / evaluations)
                share = 0.0 if step == 0 else 1.0 / (1.0 + (clock * 160 / step) ** slope)
                rows.append(
                    {
                        "run_id": f"{arm}-{s}",
                        "arm": arm,
                        "fpr": fpr,
                        "fnr": fnr,
                        "seed": s,
                        "group_size": 8,
                        "prompts_per_step": 8,
                        "step": step,
                        "rollouts": step * 64,
                        "accuracy": rng.binomial(n_eval, 0.1 + (top - 0.1) * share) / n_eval,
                        "n_eval": n_eval,
                    }
                )
    return pd.DataFrame(rows)


def minimal(**changes: object) -> dict[str, object]:
    """The fields of a small study, with changes."""
    study: dict[str, object] = {
        "name": "s",
        "task": {"kind": "two_step_arithmetic"},
        "models": [{"kind": "tiny_qwen2", "name": "tiny"}],
        "arms": {"clean": None, "noisy": {"fpr": 0.2}},
        "group_sizes": [4, 8],
        "seeds": [0, 1, 2],
        "training": {"steps": 10, "learning_rate": 1e-5},
        "evaluation": {"steps": [0, 10], "samples": 100},
        "hardware": {
            "flops_per_second": 1e9,
            "prompt_tokens": 6,
            "completion_tokens": 12,
            "source": "x",
        },
    }
    return study | changes


SWEEP_SPEC = """
population: {prompts: 40, difficulty: {family: exponential, location: 0.5, scale: 1.0}, wrong_modes: 2}
training: {steps: 12, group_size: 4, prompts_per_step: 16, coupling: 0.5}
arms:
  clean:
  fp: {fpr: 0.3, training: {group_size: 6}}
  word: {noise: {kind: triggered, selected: {fpr: 1.0}}, population: {feature_share: 0.2}}
  lot: {fnr: 0.2, noise: {kind: group, correlation: 0.4}}
  drift: {noise: {kind: drifting, end: {fnr: 0.4}, steps: 10}}
  grader: {fpr: 0.2, noise: per_answer, base: {fpr: 0.05, fnr: 0.1}}
seeds: [0, 3]
evaluate_every: 5
"""


def spec_file(folder: Path, text: str) -> Path:
    """`text` as a spec file in `folder`."""
    path = folder / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    return path


RATES = {"clean": (0.0, 0.0), "fp": (0.3, 0.0), "fn": (0.0, 0.3), "both": (0.3, 0.3)}
FLOW_STEPS = np.array([0, 10, 20, 40, 60, 80, 100, 150, 200, 300])
FLOW_SAMPLES = 2000


def flow_runs(*, seeds: int = 2) -> pd.DataFrame:
    """Curves of a known population, with binomial evaluations."""
    truth = AdamFlow(theta=-1.0, rate=0.03, signal=1.5, ceiling=0.85, spread=2.0, jitter=0.1)
    conditions = [
        Condition(VerifierChannel(*rates), group_size=8, prompts_per_step=8)
        for rates in RATES.values()
    ]
    curves = dict(zip(RATES, accuracy_curves([truth], conditions, FLOW_STEPS)[0], strict=True))
    rng = np.random.default_rng(11)
    parts = [
        pd.DataFrame(
            {
                "run_id": f"{arm}-{seed}",
                "arm": arm,
                "fpr": fpr,
                "fnr": fnr,
                "group_size": 8,
                "prompts_per_step": 8,
                "seed": seed,
                "step": FLOW_STEPS,
                "n_eval": FLOW_SAMPLES,
                "accuracy": rng.binomial(FLOW_SAMPLES, curves[arm]) / FLOW_SAMPLES,
            }
        )
        for arm, (fpr, fnr) in RATES.items()
        for seed in range(seeds)
    ]
    return pd.concat(parts, ignore_index=True)


def kill_one_worker(killed: list[int], over: threading.Event) -> None:
    """SIGKILL the first worker seen in the middle of a run."""
    import psutil

    while not over.wait(0.1):
        for process in psutil.Process().children(recursive=True):
            try:
                if process.cmdline()[:1] == ["ray::_cell"]:  # Ray's title for a worker at a task
                    process.send_signal(signal.SIGKILL)
                    killed.append(process.pid)
                    return
            except psutil.Error:  # gone in the meantime
                continue


TINY_STEPS = 8


def tiny_study(**changes: object) -> Study:
    """A study that TRL trains in seconds, with changes."""
    content: dict[str, object] = {
        "name": "test",
        "task": {"kind": "two_step_arithmetic", "train_problems": 256, "eval_problems": 64},
        "models": [
            {
                "kind": "tiny_qwen2",
                "name": "tiny",
                "hidden_size": 32,
                "warm_start": {"steps": 60, "mixture_steps": 20, "batch_size": 32},
            }
        ],
        "arms": {
            "clean": {},
            "zero": {"noise": "per_prompt"},
            "noisy": {"fpr": 0.02, "fnr": 0.02},
        },
        "group_sizes": [4],
        "seeds": [0],
        # A small model hardly warm is nearly always wrong; noise still reaches it.
        "training": {"steps": TINY_STEPS, "prompts_per_step": 4, "learning_rate": 1e-3},
        "evaluation": {"steps": [0, 3, TINY_STEPS], "samples": 64, "greedy": True},
        "hardware": {
            "flops_per_second": 1e9,
            "prompt_tokens": 6,
            "completion_tokens": 12,
            "source": "x",
        },
        "running": {
            "processes": 2,
            "checkpoint_every": 2,
            "save_completions": "all",
            "save_weights": [2, TINY_STEPS],
        },
    }
    return Study.model_validate(content | changes)


GROUP, PROMPTS, LOGGED_STEPS = 8, 8, 100


@dataclass(frozen=True)
class Made:
    """A run to be made up: its arm, its noise and what the table says of it."""

    arm: str
    seed: int
    structure: Structure
    fpr: float
    fnr: float
    estimator: str = "grpo"
    noise: str = "independent"
    rollout_seed: int | None = None


def steps_of(made: Made, *, within: bool) -> list[dict[str, Any]]:
    """Unequal prompts that get easier, judged by `theory.structures` itself and counted as a step is."""
    rng = np.random.default_rng(made.seed if made.rollout_seed is None else made.rollout_seed)
    rows: list[dict[str, Any]] = []
    for step in range(1, LOGGED_STEPS + 1):
        pass_rate_P = rng.beta(1.0, 2.0 - step / LOGGED_STEPS, PROMPTS)
        right_PG = rng.random((PROMPTS, GROUP)) < pass_rate_P[:, np.newaxis]
        right, place = right_PG.ravel(), np.arange(PROMPTS * GROUP)
        prompt = step * PROMPTS + place // GROUP
        rollouts = Rollouts(right=right, prompt=prompt, index=place, group=place // GROUP)
        paid = made.structure.judge(rollouts, seed=made.seed, step=step)
        paid_PG = paid.reshape(PROMPTS, GROUP)
        by_right = np.bincount(right_PG.sum(axis=1), minlength=GROUP + 1).astype(float)
        by_paid = np.bincount(paid_PG.sum(axis=1), minlength=GROUP + 1).astype(float)
        row: dict[str, Any] = {
            "run_id": f"{made.arm}-{made.seed}",
            "step": step,
            "right": float(right.sum()),
            "wrong": float((~right).sum()),
            "paid_wrong": float((paid & ~right).sum()),
            "unpaid_right": float((~paid & right).sum()),
            "observed_reward": paid.mean(),
            "groups_by_right": by_right.tolist(),
            "zero_advantage_fraction": (by_paid[0] + by_paid[-1]) / PROMPTS,
        }
        if within:
            estimator = GRPO if made.estimator == "grpo" else DR_GRPO
            centred_PG = right_PG - right_PG.mean(axis=1, keepdims=True)
            row["groups_by_paid"] = by_paid.tolist()
            row["ability_gradient"] = (advantages(paid_PG, estimator) * centred_PG).mean()
        rows.append(row)
    return rows


def logged_campaign(folder: Path, runs: list[Made], *, within: bool = True) -> Path:
    """A results folder of these runs."""
    (folder / "steps").mkdir(parents=True)
    described = [
        {"run_id": f"{made.arm}-{made.seed}", "group_size": GROUP, "step": step, "accuracy": 0.5}
        | {k: v for k, v in asdict(made).items() if k not in {"structure", "rollout_seed"}}
        for made in runs
        for step in (0, LOGGED_STEPS)
    ]
    pd.DataFrame(described).to_parquet(folder / "runs.parquet")
    for seed in {made.seed for made in runs}:
        rows = [r for made in runs if made.seed == seed for r in steps_of(made, within=within)]
        pd.DataFrame(rows).to_parquet(folder / "steps" / f"g{GROUP}-s{seed}.parquet")
    return folder


def independent(arm: str, seed: int, fpr: float, fnr: float, **other: Any) -> Made:
    """A run whose errors are independent."""
    return Made(arm, seed, Independent(VerifierChannel(fpr, fnr)), fpr, fnr, **other)


def rollouts_csv(path: Path, groups: int = 60, size: int = 6) -> Path:
    """Made-up groups of rollouts in the form of the field's own."""
    rng = np.random.default_rng(5)
    right = (rng.random((groups, size)) < rng.random((groups, 1)) * 0.9).astype(float)
    number = np.arange(groups * size)
    pd.DataFrame(
        {
            "step": number // (20 * size) + 1,
            "prompt_id": number // size % 20,
            "reward": right.ravel(),
            "advantage": advantages(right).ravel(),
            "extracted_answer": ["7" if r else "8" for r in right.ravel()],
            "has_boxed": (rng.random(number.size) < 0.6).astype(int),
        }
    ).to_csv(path, index=False)
    return path


def audited(
    labels: pd.DataFrame | Path,
    *,
    group_size: int = 8,
    segments: tuple[str, ...] = (),
    **columns: Any,
) -> Audit:
    """The audit of labels whose columns, or judges, a `Source` names."""
    read = read_labels(labels, Source(**columns))
    return audit_labels(read, group_size=group_size, segments=segments)
