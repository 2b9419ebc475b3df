"""What a probe measures of a study: everything that can change its numbers but the weights themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from empirical.errors import StudyError
from empirical.fields import Spec
from empirical.noise import Arm
from empirical.studies import ModelSpec, PretrainedSpec, Seed, Study, TaskSpec, Training
from empirical.studies import Verifier as VerifierField
from theory.rng import check_seed

__all__ = ["GROUPS", "VERSION", "WEIGHTS", "ProbeSpec", "is_clean", "probe_spec"]

VERSION: Final = 1
# A random subset of this many weights errs by less than the groups do (LOG.md), and its sums over 32
# blocks of 15 arms at 4 group sizes stay at half a GB of disk.
WEIGHTS: Final = 32_768
GROUPS: Final = 512
BLOCKS: Final = 32
GROUPS_PER_PROMPT: Final = 2  # the least that tells noise within prompts from noise between them
NOISE_DRAWS: Final = 4


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
            if not any(is_clean(other) and other.estimator == arm.estimator for _, other in judges):
                judges.append((f"clean, {arm.estimator}", Arm(estimator=arm.estimator)))
        return judges


def is_clean(arm: Arm) -> bool:
    """Whether an arm is what others are held against."""
    return (
        arm.fpr == 0.0
        and arm.fnr == 0.0
        and arm.noise.kind != "triggered"
        and arm.correction is None
    )


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
    Runs of blocks with prompts a step of their own are left out: their batches have another noise.
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
    asked = model or study.models[0].name
    runs = [
        run for run in study.runs() if run.model.name == asked and run.training == study.training
    ]
    if not runs:
        raise StudyError(
            f"--model {asked}: no run of study {study.name} trains it with its own prompts_per_step"
        )
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
