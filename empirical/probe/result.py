"""The probe: what each verifier of a study would do to the speed of learning, measured without training.

Law. At a model's weights, sample groups and take each rollout's score (`empirical.training.scores`); judge the same
rollouts under every verifier with the same uniforms; the means and variances of the group gradients give,
weight by weight, the step an optimiser would take, and with the gradient of clean accuracy what that step is
worth (`empirical.probe.statistics`). Nothing is fitted.
Fails first where the policy has moved away from these weights: it is the speed here and now.
Source: docs/theory.md, the probe; checked against the campaign in LOG.md.

Prompts come in blocks, whose sums are written to `<out>.parts/` as they are ready: an interrupted probe goes
on from there, one process or several give equal bytes, and the jackknife leaves out a block at a time.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from empirical import extras
from empirical.errors import StudyError
from empirical.fields import Spec
from empirical.machine import gpus
from empirical.noise import Arm, Shown, TriggeredNoise, structure
from empirical.probe.statistics import (
    FORMS,
    Chunk,
    Signals,
    Speeds,
    signals,
    speeds,
)
from empirical.studies import ModelSpec, PretrainedSpec, Seed, Study, TaskSpec, Training
from empirical.studies import Verifier as VerifierField
from empirical.training.rewards import answer_id
from empirical.verifiers import Judgement, Verdict, Verifier
from fits.errors import InputError
from fits.files import file_bytes, replacing, write_text
from fits.hypotheses import jackknife_error
from fits.inference import wilson
from fits.readers.jsonl import TornJsonError, parse_json
from theory.channel import BoolArray, FloatArray
from theory.estimators import Estimator, advantages, estimator_named
from theory.rng import check_seed
from theory.structures import IntArray, Rollouts, Structure

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from empirical.training.scores import Subset
    from empirical.training.tasks import Problem

__all__ = [
    "ArmProbe",
    "Form",
    "Probe",
    "ProbeSpec",
    "SizeProbe",
    "discard_parts",
    "initial_weights",
    "probe",
    "probe_spec",
    "read_probe",
]

VERSION: Final = 1
HEADLINE: Final = "adam"
# A random subset of this many weights errs by less than the groups do (LOG.md), and its sums over 32
# blocks of 15 arms at 4 group sizes stay at half a GB of disk.
WEIGHTS: Final = 32_768
GROUPS: Final = 512
BLOCKS: Final = 32
GROUPS_PER_PROMPT: Final = 2  # the least that tells noise within prompts from noise between them
NOISE_DRAWS: Final = 4
# Below so many standard errors the clean gradient is lost in noise, and ratios to it say nothing.
LEAST_CERTAINTY: Final = 3.0

Interval = tuple[float | None, float | None]


class ProbeSpec(Spec):
    """Everything that can change a probe's numbers but the weights themselves, whose hash is recorded.

    prompts: probed, in `blocks` equal parts; each has groups_per_prompt groups of the largest size, of
    which smaller groups are parts. weights: chosen at random. noise_draws: verdicts per rollout.
    """

    study: str
    arms: dict[str, Arm]
    group_sizes: list[int]
    group_size: int
    model: ModelSpec
    task: TaskSpec
    verifier: VerifierField
    reference_verifier: VerifierField
    training: Training
    batch_size: int
    prompts: int
    blocks: int
    weights: int
    seed: Seed
    groups_per_prompt: int = GROUPS_PER_PROMPT
    noise_draws: int = NOISE_DRAWS
    version: int = VERSION

    @property
    def rollouts_per_prompt(self) -> int:
        """Of which every group size takes a whole number of groups."""
        return self.groups_per_prompt * max(self.group_sizes)

    @property
    def judges(self) -> list[tuple[str, Arm]]:
        """The arms, then a clean one for each estimator that has none."""
        judges = list(self.arms.items())
        for arm in self.arms.values():
            if not any(_clean(other) and other.estimator == arm.estimator for _, other in judges):
                judges.append((f"clean, {arm.estimator}", Arm(estimator=arm.estimator)))
        return judges


def _clean(arm: Arm) -> bool:
    return arm.fpr == 0.0 and arm.fnr == 0.0 and arm.noise.kind != "triggered"


def probe_spec(
    study: Study,
    *,
    model: str | None = None,
    groups: int = GROUPS,
    group_size: int | None = None,
    weights: int = WEIGHTS,
    seed: int = 0,
) -> ProbeSpec:
    """What to measure of `study`.

    model: one of the study's, by name, or a folder with weights of its first; its first if None. groups: of the
    largest group size, in all. group_size: what the answer is mainly about; that of the study's first run if None.
    Raises StudyError if a name or a number does not fit the study.
    """
    named = {one.name: one for one in study.models}
    folder = Path(model) if model is not None and model not in named else None
    if folder is not None and folder.is_dir():
        if not (folder / "config.json").exists():
            raise StudyError(f"--model {folder}: holds no config.json, so no model's weights")
        model = None
    elif folder is not None:
        raise StudyError(f"--model {model}: no such model in study {study.name}, and no folder")
    runs = [run for run in study.runs() if run.model.name == (model or study.models[0].name)]
    if not runs:
        raise StudyError(f"--model {model}: no run of study {study.name} trains it")
    sizes = sorted({run.group_size for run in runs})
    headline = runs[0].group_size if group_size is None else group_size
    if headline < 2:
        raise StudyError(f"--group-size {headline}: must be at least 2")
    if headline not in sizes:
        sizes = [headline]
    largest = max(sizes)
    if any(largest % size for size in sizes):
        raise StudyError(
            f"group sizes {sizes} do not divide {largest}: name one of them with --group-size"
            if group_size is None
            else f"--group-size {group_size}: of the study's sizes {sizes}, {largest} is no multiple of all"
        )
    chosen = runs[0].model
    if folder is not None and isinstance(chosen, PretrainedSpec):
        chosen = chosen.model_copy(update={"path": str(folder), "revision": None})
    blocks = min(BLOCKS, groups // GROUPS_PER_PROMPT // 2)
    if blocks < 4:
        raise StudyError(f"--groups {groups}: at least 16 are needed for an interval")
    prompts = groups // GROUPS_PER_PROMPT // blocks * blocks
    return ProbeSpec(
        study=study.name,
        arms={arm: spec for arm, spec in study.arms.items() if any(r.arm == arm for r in runs)},
        group_sizes=sizes,
        group_size=headline,
        model=chosen,
        task=study.task,
        verifier=study.verifier,
        reference_verifier=study.reference_verifier or study.verifier,
        training=study.training,
        batch_size=study.evaluation.batch_size,
        prompts=prompts,
        blocks=blocks,
        weights=weights,
        seed=check_seed(seed),
    )


# --- measuring one block


@dataclass(frozen=True)
class _Read:
    """What verifiers read of a prompt's rollouts; arrays of shape (R,)."""

    right: BoolArray
    base: BoolArray
    unscorable: BoolArray
    answer: IntArray
    selected: dict[str, BoolArray]  # by the arm whose selector it is


class BlockSums:
    """Sums over the prompts of one block.

    sums: rows of one number per chosen weight: the accuracy's gradient, then for each verifier that of
    P(wrong and paid), then for each verifier and group size the prompt's mean group gradient, then its mean
    squared one.
    """

    def __init__(self, spec: ProbeSpec, weights: int) -> None:
        self.spec = spec
        v, g = len(spec.judges), len(spec.group_sizes)
        self.sums = np.zeros((1 + v + 2 * v * g, weights), dtype=np.float32)
        self.square, self.pair = np.zeros((v, g)), np.zeros((v, g))
        self.paid, self.paid_wrong, self.norms = np.zeros(v), np.zeros(v), np.zeros(2)
        self.right: list[int] = []
        self.tokens = 0

    def add(
        self,
        score_UP: torch.Tensor,
        which_R: IntArray,
        *,
        lengths_U: FloatArray,
        right_R: BoolArray,
        dropped_R: BoolArray | None,
        paid_VGDR: BoolArray,
    ) -> None:
        """Add one prompt: R rollouts that said U things, judged by V verifiers in groups of G sizes, D times.

        which_R: what each rollout said. lengths_U: in tokens. dropped_R: left out of their groups.
        """
        from empirical.training.scores import combined, gram, squared

        products = gram(score_UP)
        # TRL's "grpo" loss divides each rollout by its length; the others by one number for all.
        by_length = self.spec.training.loss == "grpo"
        share_U = 1.0 / lengths_U if by_length else np.ones_like(lengths_U)
        norm_R = products.diagonal()[which_R]
        self.norms += [norm_R[~right_R].sum(), norm_R[right_R].sum()]
        self.right.append(int(right_R.sum()))
        self.tokens += int(lengths_U[which_R].sum())

        n = len(which_R)
        to_U = np.zeros((n, len(lengths_U)))
        to_U[np.arange(n), which_R] = 1.0
        rows = [_centred(right_R.astype(np.float64)) @ to_U / n]
        means: list[FloatArray] = []
        forms: list[FloatArray] = []
        for v, (_, arm) in enumerate(self.spec.judges):
            paid_R = paid_VGDR[v, -1].mean(axis=0)
            wrong_R = paid_R * ~right_R
            self.paid[v] += paid_R.sum()
            self.paid_wrong[v] += wrong_R.sum()
            rows.append(_centred(wrong_R) @ to_U / n)
            for g, size in enumerate(self.spec.group_sizes):
                weight_DNU = group_weights(
                    paid_VGDR[v, g],
                    size,
                    estimator_named(arm.estimator),
                    dropped_R,
                    which_R,
                    share_U,
                )
                flat = weight_DNU.reshape(-1, len(lengths_U))
                form = flat.T @ flat / len(flat)
                means.append(flat.mean(axis=0))
                forms.append(form)
                self.square[v, g] += (form * products).sum()
                self.pair[v, g] += _mean_pair(weight_DNU.mean(axis=0), products)
        one, two = len(rows), len(rows) + len(means)
        self.sums[:one] += combined(score_UP, np.stack(rows))
        self.sums[one:two] += combined(score_UP, np.stack(means))
        self.sums[two:] += squared(score_UP, np.stack(forms))

    def facts(self) -> dict[str, Any]:
        """What is not one number per weight."""
        return {
            "right": self.right,
            "paid": self.paid.tolist(),
            "paid_wrong": self.paid_wrong.tolist(),
            "norms": self.norms.tolist(),
            "square": self.square.tolist(),
            "pair": self.pair.tolist(),
            "tokens": self.tokens,
        }


@dataclass
class _Prober:
    """One process's model and task, ready to measure blocks."""

    spec: ProbeSpec
    weights: Path | None
    problems: list[Problem] = field(init=False)
    prompts: list[Any] = field(init=False)
    verifier: Verifier = field(init=False)
    reference: Verifier = field(init=False)
    model: Any = field(init=False)
    tokenizer: Any = field(init=False)
    chosen: Subset = field(init=False)
    weights_sha256: str = field(init=False)

    def __post_init__(self) -> None:
        import torch

        from empirical.training.models import load_policy, with_adapters
        from empirical.training.scores import subset
        from empirical.training.tasks import load_task, prompts_of

        spec = self.spec
        task = load_task(spec.task, verifier=spec.verifier, reference=spec.reference_verifier)
        order = np.random.Generator(np.random.Philox(spec.seed)).permutation(len(task.train))
        # More prompts than problems: problems are visited again.
        self.problems = [task.train[int(order[i % len(order)])] for i in range(spec.prompts)]
        self.prompts = prompts_of(spec.model, self.problems)
        self.verifier, self.reference = task.verifier, task.reference
        policy = load_policy(spec.model, tiny=self.weights, stop=task.stop)
        self.weights_sha256 = policy.weights_sha256
        self.tokenizer = policy.tokenizer
        model: Any = policy.model
        if isinstance(spec.model, PretrainedSpec) and spec.model.lora is not None:
            model = with_adapters(model, spec.model.lora, seed=spec.seed)
        self.model = model.to("cuda" if torch.cuda.is_available() else "cpu")
        self.chosen = subset(self.model, spec.weights, seed=spec.seed)

    def measure(self, block: int, folder: Path) -> None:
        """Write the sums of a block to `folder`."""
        from empirical.training.scores import sample_ids, scores

        spec = self.spec
        each, per_prompt = spec.prompts // spec.blocks, spec.rollouts_per_prompt
        places = range(block * each, (block + 1) * each)
        sampled = sample_ids(
            self.model,
            self.tokenizer,
            [self.prompts[p] for p in places for _ in range(per_prompt)],
            max_new_tokens=spec.training.max_completion_length,
            temperature=spec.training.temperature,
            batch_size=spec.batch_size,
            seed=spec.seed,
            part=block,
            share=spec.training.share_prompts,
        )
        noises = [structure(arm) for _, arm in spec.judges]
        sums = BlockSums(spec, self.chosen.size)
        for i, place in enumerate(places):
            rollouts = sampled[i * per_prompt : (i + 1) * per_prompt]
            said = list(dict.fromkeys(ids for _, ids in rollouts))
            which = np.array([said.index(ids) for _, ids in rollouts])
            texts = [self.tokenizer.decode(ids, skip_special_tokens=True) for ids in said]
            read = self._read(texts, which, self.problems[place])
            sums.add(
                scores(
                    self.model,
                    self.chosen,
                    rollouts[0][0],
                    said,
                    temperature=spec.training.temperature,
                ),
                which,
                lengths_U=np.array([len(ids) for ids in said], dtype=np.float64),
                right_R=read.right,
                dropped_R=read.unscorable if spec.training.unscorable == "drop" else None,
                paid_VGDR=np.stack(
                    [
                        self._paid(read, name, noise, place)
                        for (name, _), noise in zip(spec.judges, noises, strict=True)
                    ]
                ),
            )
        with replacing(folder / f"block-{block:03d}.npy") as part:
            np.save(part, sums.sums)
        facts = {
            "weights_sha256": self.weights_sha256,
            "weights": self.chosen.size,
            "weights_total": self.chosen.total,
            **sums.facts(),
        }
        # Last, so that a block with facts is whole.
        write_text(folder / f"block-{block:03d}.json", json.dumps(facts) + "\n")

    def _read(self, texts: Sequence[str], which: IntArray, problem: Problem) -> _Read:
        gold = problem.gold
        base = [self.verifier(text, gold) for text in texts]
        right = base
        if self.reference is not self.verifier:
            right = [self.reference(text, gold) for text in texts]
        selected: dict[str, BoolArray] = {}
        for name, arm in self.spec.judges:
            if isinstance(arm.noise, TriggeredNoise) and arm.noise.selector is not None:
                shown = [
                    arm.noise.selector.selects(Shown(text, judged.answer, gold, problem.prompt))
                    for text, judged in zip(texts, base, strict=True)
                ]
                selected[name] = np.array(shown, dtype=np.bool_)[which]

        def where(judgements: Sequence[Judgement], verdict: Verdict) -> BoolArray:
            return np.array([j.verdict is verdict for j in judgements], dtype=np.bool_)[which]

        answers = np.array([answer_id(j) for j in base], dtype=np.int64)
        return _Read(
            right=where(right, Verdict.RIGHT),
            base=where(base, Verdict.RIGHT),
            unscorable=where(base, Verdict.UNSCORABLE),
            answer=answers[which],
            selected=selected,
        )

    def _paid(self, read: _Read, name: str, noise: Structure, place: int) -> BoolArray:
        """Verdicts by group size and draw, shape (sizes, draws, R).

        Draws differ in the noise's seed, since persistent noise knows no step; uniforms are the same for
        every verifier and group size.
        """
        n = self.spec.rollouts_per_prompt
        index = place * n + np.arange(n, dtype=np.int64)
        prompt = np.full(n, self.problems[place].id, dtype=np.int64)
        return np.stack(
            [
                np.stack(
                    [
                        noise.judge(
                            Rollouts(
                                right=read.base,
                                prompt=prompt,
                                index=index,
                                group=index // size,
                                answer=read.answer,
                                selected=read.selected.get(name),
                            ),
                            seed=(self.spec.seed + draw) % 2**32,
                            step=0,
                        )
                        for draw in range(self.spec.noise_draws)
                    ]
                )
                for size in self.spec.group_sizes
            ]
        )


def _centred(values_R: FloatArray) -> FloatArray:
    """Each value minus the mean of the others: what makes sum_i v_i score_i / R an unbiased gradient."""
    n = len(values_R)
    return values_R - (values_R.sum() - values_R) / (n - 1)


def group_weights(
    paid_DR: BoolArray,
    size: int,
    estimator: Estimator,
    dropped_R: BoolArray | None,
    which: IntArray,
    share_U: FloatArray,
) -> FloatArray:
    """Weight of each thing said in each group's gradient, shape (draws, groups, U).

    dropped_R: rollouts left out of their group, as TRL does with a reward of None.
    """
    paid = paid_DR.reshape(len(paid_DR), -1, size).astype(np.float64)
    if dropped_R is None or not dropped_R.any():
        advantage = advantages(paid, estimator)
    else:
        advantage = np.zeros_like(paid)
        for group, kept in enumerate(~dropped_R.reshape(-1, size)):
            if kept.sum() >= 2:
                advantage[:, group, kept] = advantages(paid[:, group, kept], estimator)
    weights = np.zeros((*advantage.shape[:2], len(share_U)))
    said = which.reshape(-1, size)
    group = np.arange(len(said))[:, np.newaxis]
    for draw in range(len(weights)):
        np.add.at(weights[draw], (group, said), advantage[draw])
    return weights * share_U / size


def _mean_pair(group_NU: FloatArray, products_UU: FloatArray) -> float:
    """Mean inner product of the gradients of two different groups of a prompt."""
    total = group_NU.sum(axis=0)
    own = ((group_NU @ products_UU) * group_NU).sum()
    n = len(group_NU)
    return float((total @ products_UU @ total - own) / (n * (n - 1)))


# --- carrying it out


def probe(
    spec: ProbeSpec,
    out: Path,
    *,
    weights: Path | None,
    processes: int = 1,
    report: Callable[[int, int], None] = lambda *_: None,
) -> Probe:
    """Measure `spec`, going on from the blocks in `<out>.parts`; the caller writes the result.

    weights: folder of a tiny model's weights. processes: at a time. report: blocks done, and of how many.
    Raises StudyError if the train extra is absent, or the parts are another probe's.
    """
    extras.require(*extras.TRAIN)
    if isinstance(spec.model, PretrainedSpec):
        if spec.model.lora is not None:
            extras.require("peft")
        if spec.model.dtype == "bfloat16" and not gpus():
            raise StudyError(
                f"model {spec.model.name}: bfloat16 needs a GPU, and none is here;"
                " dtype: float32 works on a CPU"
            )
    started = time.monotonic()
    folder = out.with_name(out.name + ".parts")
    _claim(folder, spec)
    missing = [k for k in range(spec.blocks) if not (folder / f"block-{k:03d}.json").exists()]
    report(spec.blocks - len(missing), spec.blocks)
    for done, _ in enumerate(_measured(spec, weights, folder, missing, processes), start=1):
        report(spec.blocks - len(missing) + done, spec.blocks)
    return result_of(spec, folder, seconds=time.monotonic() - started)


def initial_weights(study: Study, study_file: Path, spec: ProbeSpec, out: Path) -> Path | None:
    """Folder of a tiny model's weights: committed ones, else made below `out`; None for other models."""
    from empirical.collect import read_committed
    from empirical.training import launch

    extras.require(*extras.TRAIN)
    models = read_committed(study, study_file).models
    return launch.initial_weights(study, spec.model, out, models)


def discard_parts(out: Path) -> None:
    """Remove the blocks of a probe whose result is written."""
    shutil.rmtree(out.with_name(out.name + ".parts"), ignore_errors=True)


def _claim(folder: Path, spec: ProbeSpec) -> None:
    path = folder / "spec.json"
    text = spec.model_dump_json(indent=1) + "\n"
    if path.exists():
        if path.read_text(encoding="utf-8") != text:
            raise StudyError(
                f"{folder}: holds the blocks of another probe; remove it, or name another --out"
            )
        return
    write_text(path, text)


def _measured(
    spec: ProbeSpec, weights: Path | None, folder: Path, blocks: Sequence[int], processes: int
) -> Iterator[int]:
    if not blocks:
        return
    if min(processes, len(blocks)) == 1:
        with _one_thread():
            prober = _Prober(spec, weights)
            for block in blocks:
                prober.measure(block, folder)
                yield block
        return
    pool = ProcessPoolExecutor(
        min(processes, len(blocks)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_enter,
        initargs=(spec.model_dump_json(), weights),
    )
    try:
        waiting: dict[Future[None], int] = {
            pool.submit(_measure, block, folder): block for block in blocks
        }
        for future in as_completed(waiting):
            future.result()
            yield waiting[future]
    except BrokenProcessPool:
        raise StudyError(
            "a process of the probe was killed, perhaps for want of memory; the same command goes on,"
            " --processes 1 takes less"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _one_thread:
    """torch on one thread while the block runs, so that sums do not depend on how many there are."""

    def __enter__(self) -> None:
        import torch

        self.threads = torch.get_num_threads()
        torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        import torch

        torch.set_num_threads(self.threads)


_prober: _Prober | None = None  # of a worker process


def _enter(spec: str, weights: Path | None) -> None:
    global _prober
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    torch.set_num_threads(1)
    _prober = _Prober(ProbeSpec.model_validate_json(spec), weights)


def _leave_with(parent: int) -> None:
    """End this process when its parent is gone: nobody else would."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _measure(block: int, folder: Path) -> None:
    assert _prober is not None
    _prober.measure(block, folder)


# --- the result


@dataclass(frozen=True)
class Form:
    """Relative speed under one form of the optimiser, 95 % interval and standard error; None with a reason."""

    relative_speed: float | None
    ci: Interval | None
    se: float | None
    relative_speed_reason: str | None = None


@dataclass(frozen=True)
class ArmProbe:
    """One verifier at one group size.

    relative_speed, ci, se: under the headline form, over the clean verifier's at this group size.
    effective_rollouts: the clean rollouts per prompt of the same signal-to-noise along the clean gradient.
    right_rate, exploit_rate: first-order growth of P(right) and of P(wrong and paid) by one step.
    snr2: of a batch, total, so that errors the policy can learn count as signal.
    noise_scale: in prompts; noise_within and noise_between are its parts.
    """

    arm: str
    fpr: float
    fnr: float
    relative_speed: float | None
    ci: Interval | None
    se: float | None
    relative_speed_reason: str | None
    effective_rollouts: float | None
    effective_rollouts_ci: Interval | None
    effective_rollouts_reason: str | None
    exploit_rate: float
    exploit_rate_ci: Interval
    right_rate: float
    right_rate_ci: Interval
    snr2: float
    snr2_ci: Interval
    noise_scale: float | None
    noise_scale_reason: str | None
    noise_within: float | None
    noise_between: float | None
    youden: float
    noise: str
    estimator: str
    observed_rate: float
    paid_wrong_rate: float
    group_size: int
    forms: dict[str, Form]


@dataclass(frozen=True)
class SizeProbe:
    """All verifiers at one group size; clean_speed over clean's at the headline size."""

    group_size: int
    clean_speed: float | None
    clean_speed_ci: Interval | None
    clean_speed_se: float | None
    snr2: float
    snr2_ci: Interval
    noise_scale: float | None
    noise_within: float | None
    noise_between: float | None
    arms: tuple[ArmProbe, ...]


@dataclass(frozen=True)
class Probe:
    """What a probe measured: the document that `verigap probe` prints and writes.

    pass_rates: of each probed prompt, ascending. v0, v1: mean squared norm of a wrong and of a right
    rollout's score, over all weights. weights: the random subset's, of weights_total. snr2 and what follows
    it are the clean verifier's at `group_size`.
    """

    arms: tuple[ArmProbe, ...]
    pass_rate: float
    pass_rate_ci: Interval
    snr2: float
    snr2_ci: Interval
    noise_scale: float | None
    noise_scale_ci: Interval
    noise_within: float | None
    noise_between: float | None
    group_size: int
    group_sizes: tuple[int, ...]
    by_group_size: tuple[SizeProbe, ...]
    prompts_per_step: int
    learning_rate: float
    estimator: str
    optimiser: str
    optimiser_settings: dict[str, float]
    loss: str
    temperature: float
    pass_rates: tuple[float, ...]
    rollouts_per_prompt: int
    prompts: int
    groups: int
    rollouts: int
    blocks: int
    v0: float | None
    v1: float | None
    v0_over_v1: float | None
    v0_over_v1_ci: Interval | None
    completion_tokens: float
    weights: int
    weights_total: int
    model: str
    weights_sha256: str
    study: str
    task: str
    noise_draws: int
    seed: int
    assumptions: tuple[str, ...]
    seconds: float
    kind: Literal["probe"]
    version: int
    verigap: str

    def to_frame(self) -> pd.DataFrame:
        """One row per verifier and group size, forms left out."""
        import pandas as pd

        rows = [arm for one in self.by_group_size for arm in one.arms]
        names = [f.name for f in fields(ArmProbe) if f.name != "forms"]
        return pd.DataFrame([{name: getattr(arm, name) for name in names} for arm in rows])

    def at(self, group_size: int) -> SizeProbe:
        """What was measured at one group size. Raises StudyError if it was not."""
        for one in self.by_group_size:
            if one.group_size == group_size:
                return one
        raise StudyError(f"the probe has no group size {group_size}; it has {self.group_sizes}")


def _refuse_impossible(probe: Probe, *, source: str) -> None:
    """Raise StudyError where a stored probe holds what no probe measures: it would forecast all the same."""

    def walk(value: Any, where: str) -> None:
        if isinstance(value, float) and not math.isfinite(value):
            raise StudyError(f"{source}: {where} is {value}, not a finite number")
        for name, inner in value.items() if isinstance(value, dict) else ():
            walk(inner, f"{where}.{name}" if where else str(name))
        for place, inner in enumerate(value) if isinstance(value, list | tuple) else ():
            walk(inner, f"{where}[{place}]")

    walk(asdict(probe), "")
    rates = {"pass_rate": probe.pass_rate}
    rates |= {f"pass_rates[{i}]": rate for i, rate in enumerate(probe.pass_rates)}
    for i, arm in enumerate(probe.arms):
        rates |= {f"arms[{i}].fpr": arm.fpr, f"arms[{i}].fnr": arm.fnr}
    for name, rate in rates.items():
        if rate is not None and not 0.0 <= rate <= 1.0:
            raise StudyError(f"{source}: {name} is {rate:g}, outside [0, 1]")
    for name in ("v0", "v1", "completion_tokens"):
        value = getattr(probe, name)
        if value is not None and value < 0.0:
            raise StudyError(f"{source}: {name} is {value:g}, below 0")
    for name in ("group_size", "prompts_per_step", "rollouts", "weights", "weights_total"):
        if getattr(probe, name) < 1:
            raise StudyError(f"{source}: {name} is {getattr(probe, name)}, below 1")


def read_probe(path: Path) -> Probe:
    """The probe in the JSON file at `path`.

    Raises StudyError naming the file if it is absent, no probe, or another version's.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        data: Any = parse_json(file_bytes(path).decode("utf-8"), source=str(path))
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror})") from None
    except TornJsonError:
        raise StudyError(f"{path}: is not JSON, so not a probe") from None
    except InputError as error:
        raise StudyError(str(error)) from None
    except UnicodeDecodeError:
        raise StudyError(f"{path}: is not text, so not a probe") from None
    if not isinstance(data, dict) or data.get("kind") != "probe":
        raise StudyError(f"{path}: is not a probe; `verigap probe STUDY.yaml --out FILE` makes one")
    if data.get("version") != VERSION:
        raise StudyError(
            f"{path}: is a probe of version {data.get('version')!r}, and this reads {VERSION}: probe again"
        )
    try:
        found = TypeAdapter(Probe).validate_python(data)
        _refuse_impossible(found, source=str(path))
        return found
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StudyError(f"{path}: {where}: {first['msg']}") from None


@dataclass(frozen=True)
class _Facts:
    """The blocks' scalars, blocks first."""

    weights_sha256: str
    weights: int
    weights_total: int
    right: NDArray[np.int64]  # [block, prompt]
    paid: FloatArray
    paid_wrong: FloatArray
    norms: FloatArray
    square: FloatArray
    pair: FloatArray
    tokens: FloatArray


def _facts(folder: Path, blocks: int) -> _Facts:
    each = [
        json.loads((folder / f"block-{k:03d}.json").read_text(encoding="utf-8"))
        for k in range(blocks)
    ]
    for name in ("weights_sha256", "weights_total"):
        if len({one[name] for one in each}) > 1:
            raise StudyError(
                f"{folder}: its blocks are of different weights; remove it and probe again"
            )
    arrays = {
        name: np.array([one[name] for one in each])
        for name in ("right", "paid", "paid_wrong", "norms", "square", "pair", "tokens")
    }
    first = each[0]
    return _Facts(first["weights_sha256"], first["weights"], first["weights_total"], **arrays)


def result_of(spec: ProbeSpec, folder: Path, *, seconds: float) -> Probe:
    facts = _facts(folder, spec.blocks)
    judges = spec.judges
    v, g = len(judges), len(spec.group_sizes)
    blocks = [np.load(folder / f"block-{k:03d}.npy", mmap_mode="r") for k in range(spec.blocks)]

    def read(start: int, stop: int) -> Chunk:
        rows = np.stack([block[:, start:stop] for block in blocks])
        shape = (spec.blocks, v, g, stop - start)
        return Chunk(
            accuracy_KP=rows[:, 0],
            exploit_KVP=rows[:, 1 : 1 + v],
            mean_KVGP=rows[:, 1 + v : 1 + v + v * g].reshape(shape),
            square_KVGP=rows[:, 1 + v + v * g :].reshape(shape),
        )

    prompts_K = np.full(spec.blocks, spec.prompts // spec.blocks, dtype=np.int64)
    baseline_V = np.array(
        [
            next(
                i
                for i, (_, other) in enumerate(judges)
                if _clean(other) and other.estimator == arm.estimator
            )
            for _, arm in judges
        ]
    )
    t = spec.training
    speed = speeds(
        read,
        prompts_K=prompts_K,
        size=facts.weights,
        total=facts.weights_total,
        prompts_per_step=t.prompts_per_step,
        baseline_V=baseline_V,
        reference_size=spec.group_sizes.index(spec.group_size),
        betas=(t.adam_beta1, t.adam_beta2),
    )
    signal = signals(
        read,
        prompts_K=prompts_K,
        size=facts.weights,
        baseline_V=baseline_V,
        square_KVG=facts.square,
        pair_KVG=facts.pair,
    )
    return _Writer(spec, facts, speed, signal, baseline_V).document(seconds)


def phi2_measured(
    along: FloatArray, noise: FloatArray, signal: FloatArray, clean: FloatArray, between: FloatArray
) -> FloatArray:
    """What a rollout under a verifier is worth in clean ones: the fall of noise beyond that between prompts.

    along: its mean gradient times the clean one. noise: its noise. signal, clean, between: the clean
    verifier's signal and noise, and the part between prompts. 0 where it does not point along the clean one.
    """
    left = np.divide(noise * signal, along**2, out=np.full_like(noise, np.inf), where=along > 0.0)
    left = left - between / signal
    return np.divide(
        clean - between, signal * left, out=np.full_like(left, np.nan), where=left > 0.0
    )


@dataclass(frozen=True)
class _Writer:
    """Puts the numbers into the document."""

    spec: ProbeSpec
    facts: _Facts
    speed: Speeds
    signal: Signals
    baseline_V: NDArray[np.int64]

    def interval(
        self, value: float, se: float, low: float = -np.inf, high: float = np.inf
    ) -> Interval:
        """At 95 %, by Student's t of the blocks; an end outside [low, high] is that bound."""
        from scipy.special import stdtrit

        half = float(stdtrit(self.spec.blocks - 1, 0.975)) * se
        return max(low, value - half), min(high, value + half)

    def document(self, seconds: float) -> Probe:
        spec, facts, t = self.spec, self.facts, self.spec.training
        rollouts = spec.prompts * spec.rollouts_per_prompt
        sizes = tuple(self.size(s) for s in range(len(spec.group_sizes)))
        main = sizes[spec.group_sizes.index(spec.group_size)]
        first = self.first_clean
        clean = self.arm(first, spec.group_sizes.index(spec.group_size))
        right_K = facts.right.sum(axis=1) / (facts.right.shape[1] * spec.rollouts_per_prompt)
        pass_rate = float(right_K.mean())
        deleted = (right_K.sum() - right_K) / (spec.blocks - 1)
        low, high = clean.snr2_ci
        v0, v1, ratio, ratio_ci = self.score_noise()
        return Probe(
            arms=main.arms,
            pass_rate=pass_rate,
            pass_rate_ci=(
                self.interval(pass_rate, float(jackknife_error(deleted)), 0.0, 1.0)
                if 0.0 < pass_rate < 1.0
                # Every prompt alike: as if each told no more than one rollout.
                else wilson(round(pass_rate * spec.prompts), spec.prompts)
            ),
            snr2=clean.snr2,
            snr2_ci=clean.snr2_ci,
            noise_scale=clean.noise_scale,
            noise_scale_ci=tuple(  # pyright: ignore[reportArgumentType]
                t.prompts_per_step / end if end else None for end in (high, low)
            ),
            noise_within=clean.noise_within,
            noise_between=clean.noise_between,
            group_size=spec.group_size,
            group_sizes=tuple(spec.group_sizes),
            by_group_size=sizes,
            prompts_per_step=t.prompts_per_step,
            learning_rate=t.learning_rate,
            estimator=spec.judges[first][1].estimator,
            optimiser=HEADLINE,
            optimiser_settings={"adam_beta1": t.adam_beta1, "adam_beta2": t.adam_beta2},
            loss=t.loss,
            temperature=t.temperature,
            pass_rates=tuple(sorted((facts.right.ravel() / spec.rollouts_per_prompt).tolist())),
            rollouts_per_prompt=spec.rollouts_per_prompt,
            prompts=spec.prompts,
            groups=spec.prompts * spec.groups_per_prompt,
            rollouts=rollouts,
            blocks=spec.blocks,
            v0=v0,
            v1=v1,
            v0_over_v1=ratio,
            v0_over_v1_ci=ratio_ci,
            completion_tokens=float(facts.tokens.sum() / rollouts),
            weights=facts.weights,
            weights_total=facts.weights_total,
            model=spec.model.name,
            weights_sha256=facts.weights_sha256,
            study=spec.study,
            task=spec.task.kind,
            noise_draws=spec.noise_draws,
            seed=spec.seed,
            assumptions=self.assumptions(),
            seconds=seconds,
            kind="probe",
            version=VERSION,
            verigap=metadata.version("verigap"),
        )

    @property
    def first_clean(self) -> int:
        """The clean verifier of the first arm's estimator."""
        return int(self.baseline_V[0])

    def size(self, s: int) -> SizeProbe:
        """Everything at one group size."""
        clean = self.arm(self.first_clean, s)
        value = float(self.speed.between_sizes[0, self.first_clean, s])
        se = float(self.speed.between_sizes_se[0, self.first_clean, s])
        lost = self.lost(0, self.first_clean, self.spec.group_sizes.index(self.spec.group_size))
        return SizeProbe(
            group_size=self.spec.group_sizes[s],
            clean_speed=None if lost else value,
            clean_speed_ci=None if lost else self.interval(value, se),
            clean_speed_se=None if lost else se,
            snr2=clean.snr2,
            snr2_ci=clean.snr2_ci,
            noise_scale=clean.noise_scale,
            noise_within=clean.noise_within,
            noise_between=clean.noise_between,
            arms=tuple(self.arm(a, s) for a in range(len(self.spec.arms))),
        )

    def lost(self, form: int, a: int, s: int) -> str | None:
        """Why a ratio to the clean speed says nothing, or None."""
        if not self.signal.noise[self.baseline_V[a], s] > 0.0:
            return (
                "no group held right and wrong answers alike, so a clean verifier teaches nothing here:"
                " probe where some answers are right"
            )
        certainty = float(self.speed.certainty[form, a, s])
        if certainty >= LEAST_CERTAINTY:
            return None
        return (
            f"the clean gradient is {certainty:.1f} standard errors from 0, and"
            f" {LEAST_CERTAINTY:g} are needed: probe more groups"
        )

    def form(self, f: int, a: int, s: int) -> Form:
        """Relative speed under a form."""
        if a == self.baseline_V[a]:
            return Form(1.0, (1.0, 1.0), 0.0)
        if reason := self.lost(f, a, s):
            return Form(None, None, None, reason)
        value, se = float(self.speed.relative[f, a, s]), float(self.speed.relative_se[f, a, s])
        return Form(value, self.interval(value, se), se)

    def arm(self, a: int, s: int) -> ArmProbe:
        """One verifier at one group size."""
        spec, facts, signal = self.spec, self.facts, self.signal
        name, arm = spec.judges[a]
        forms = {label: self.form(f, a, s) for f, label in enumerate(FORMS)}
        headline = forms[HEADLINE]
        batch = spec.training.prompts_per_step
        signal2, noise = float(signal.signal[a, s]), float(signal.noise[a, s])
        snr2 = batch * signal2 / noise if noise > 0.0 else 0.0
        noise_K = signal.noise_K[:, a, s]
        snr2_se = np.inf  # where a block saw no gradient at all
        if (noise_K > 0.0).all():
            snr2_se = float(jackknife_error(batch * signal.signal_K[:, a, s] / noise_K))
        scale = spec.training.learning_rate * facts.weights_total / facts.weights
        right = scale * float(self.speed.right[0, a, s])
        exploit = scale * float(self.speed.exploit[a, s])
        known = signal2 > 0.0
        effective, effective_ci, effective_reason = self.effective(a, s)
        rollouts = spec.prompts * spec.rollouts_per_prompt
        return ArmProbe(
            arm=name,
            fpr=arm.fpr,
            fnr=arm.fnr,
            relative_speed=headline.relative_speed,
            ci=headline.ci,
            se=headline.se,
            relative_speed_reason=headline.relative_speed_reason,
            effective_rollouts=effective,
            effective_rollouts_ci=effective_ci,
            effective_rollouts_reason=effective_reason,
            exploit_rate=exploit,
            exploit_rate_ci=self.interval(exploit, scale * float(self.speed.exploit_se[a, s])),
            right_rate=right,
            right_rate_ci=self.interval(right, scale * float(self.speed.right_se[0, a, s])),
            snr2=snr2,
            snr2_ci=self.interval(snr2, snr2_se, low=min(0.0, snr2)),
            noise_scale=noise / signal2 if known else None,
            noise_scale_reason=None
            if known
            else "no signal found: |mean|² is at most 0 once noise is taken off",
            noise_within=(noise - float(signal.between[a, s])) / signal2 if known else None,
            noise_between=float(signal.between[a, s]) / signal2 if known else None,
            youden=1.0 - arm.fpr - arm.fnr,
            noise=arm.noise.kind,
            estimator=arm.estimator,
            observed_rate=float(facts.paid[:, a].sum() / rollouts),
            paid_wrong_rate=float(facts.paid_wrong[:, a].sum() / rollouts),
            group_size=spec.group_sizes[s],
            forms=forms,
        )

    def effective(self, a: int, s: int) -> tuple[float | None, Interval | None, str | None]:
        """Clean rollouts whose signal-to-noise along the clean gradient is this verifier's.

        Of clean rollouts n, 1/SNR^2 = between + within (G - 1)/(n - 1), the parts measured at G.
        """
        size, c = self.spec.group_sizes[s], int(self.baseline_V[a])
        if a == c:
            return float(size), (float(size), float(size)), None
        arm = self.spec.judges[a][1]
        if arm.fpr + arm.fnr >= 1.0:
            return None, None, "J is not above 0: no number of clean rollouts learns as it does"
        if reason := self.lost(0, a, s):
            return None, None, reason
        one = self.signal
        # 1/SNR^2 along the clean gradient, less what no rollout removes, of this verifier and of clean.
        phi2 = phi2_measured(
            one.along[a, s], one.noise[a, s], one.signal[c, s], one.noise[c, s], one.between[c, s]
        )
        deleted = phi2_measured(
            one.along_K[:, a, s],
            one.noise_K[:, a, s],
            one.signal_K[:, c, s],
            one.noise_K[:, c, s],
            one.between_K[:, c, s],
        )
        value = float(phi2)
        if not (np.isfinite(deleted).all() and 0.0 <= value < np.inf):
            return (
                None,
                None,
                "the noise that rollouts remove was not told from that between prompts",
            )
        low, high = self.interval(value, float(jackknife_error(deleted)), low=0.0)
        assert low is not None
        assert high is not None
        return 1.0 + value * (size - 1), (1.0 + low * (size - 1), 1.0 + high * (size - 1)), None

    def score_noise(self) -> tuple[float | None, float | None, float | None, Interval | None]:
        """Mean squared norm of wrong and of right completions' scores over all weights, and their ratio."""
        facts, spec = self.facts, self.spec
        right_K = facts.right.sum(axis=1).astype(np.float64)
        wrong_K = facts.right.shape[1] * spec.rollouts_per_prompt - right_K
        counts_K = np.stack([wrong_K, right_K], axis=1)
        if not (counts_K.sum(axis=0) > 0).all():
            return None, None, None, None
        scale = facts.weights_total / facts.weights
        v0, v1 = scale * facts.norms.sum(axis=0) / counts_K.sum(axis=0)
        left = (facts.norms.sum(axis=0) - facts.norms) / (counts_K.sum(axis=0) - counts_K)
        ratio = float(v0 / v1)
        return (
            float(v0),
            float(v1),
            ratio,
            self.interval(ratio, float(jackknife_error(left[:, 0] / left[:, 1])), low=0.0),
        )

    def assumptions(self) -> tuple[str, ...]:
        """What the numbers rest on, one line each."""
        t = self.spec.training
        per_group = {
            "dr_grpo": "a sum over tokens divided by a constant",
            "grpo": "a mean over rollouts of their mean over tokens",
            "bnpo": "a mean over the batch's tokens, whose number is taken for constant",
            "dapo": "a mean over the batch's tokens, whose number is taken for constant",
        }[t.loss]
        said = [
            "first order, at these weights: speeds hold while the policy stays near them",
            "optimiser: Adam with stationary Gaussian gradients and a long memory; eps, weight decay and"
            " clipping leave ratios alone where gradients' norms vary alike",
            f"loss {t.loss}: {per_group}, one step per batch of {t.prompts_per_step} prompts",
        ]
        if t.beta > 0.0:
            said.append("KL term: its gradient is 0 at the reference, so these are initial weights")
        if t.warmup_steps or t.schedule != "constant":
            said.append("rates of growth are at the full learning rate")
        kinds = {arm.noise.kind for arm in self.spec.arms.values()}
        if "drifting" in kinds:
            said.append("drifting noise: at its start")
        if kinds & {"per_prompt", "per_answer"}:
            said.append(
                "persistent noise: growth on prompts other than those the step was made on, so without"
                " what is learnt of a prompt's own errors when it comes again"
            )
        return tuple(said)
