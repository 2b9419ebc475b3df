"""A run watched while it trains: one look at it, or look after look."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from empirical.watch.alarms import declared_of
from empirical.watch.completions import Reference
from empirical.watch.labels import Unit
from empirical.watch.monitor import Monitor, Settings, Watched, summary_line
from empirical.watch.steps import read_labels, read_run, refuse_impossible
from verigap.errors import UserError
from verigap.face.base import Shown, as_shown, frame_of, verb

__all__ = ["WatchedRun", "Watcher", "watch"]


class WatchedRun(Shown, Watched):
    """A run as it stands."""

    def to_frame(self) -> pd.DataFrame:
        """A row per part of the run so far."""
        return frame_of(self.course)

    def headline(self) -> str:  # noqa: D102
        return summary_line(self)

    def remarks(self) -> list[str]:  # noqa: D102
        said = [
            f"{alarm.says}: {'ALARM since step ' + str(alarm.step) if alarm.on else 'no alarm'}, evidence"
            f" {alarm.evidence:.3g} of {alarm.needed:.3g}"
            if alarm.can
            else f"{alarm.says}: cannot go off: {alarm.reason}"
            for alarm in self.alarms
        ]
        return [*said, *(f"Not known: {line}" for line in self.unknown), *self.notes]


@dataclass
class Watcher:
    """Looks at one run again and again; evidence is kept between looks.

    path, run, labels, reference, gold, reward, labels_per_step, seed: as for `watch`.
    """

    path: Path
    settings: Settings
    run: str | None = None
    labels: Path | None = None
    reference: str | None = None
    gold: str = "gold"
    reward: str | None = None
    labels_per_step: int = 8
    seed: int = 0
    seen: WatchedRun | None = field(init=False, default=None)
    folder: Path | None = field(init=False, default=None)  # where STOP would stop the run
    _monitor: Monitor = field(init=False)
    _reference: Reference | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.labels_per_step < 0:
            raise UserError(f"labels_per_step must be at least 0, got {self.labels_per_step}")
        self._monitor = Monitor(self.settings)
        if self.reference is None:
            return
        if self.labels is not None:
            raise UserError("--reference and --labels both say what is right: not both")
        if self.labels_per_step < 1:
            raise UserError("--reference needs at least 1 label a step (--labels-per-step)")
        self._reference = Reference(
            self.reference, self.gold, self.reward, self.labels_per_step, self.seed
        )

    def look(self) -> WatchedRun:
        """The run as it stands now. Raises InputError or UserError where its log or the labels cannot be read."""
        run = read_run(
            self.path,
            run=self.run,
            labels=self.labels_per_step,
            seed=self.seed,
            reward=self.reward,
            gold=self.gold,
        )
        theirs: dict[int, tuple[Unit, ...]] | None = None
        said = None
        if self.labels is not None:
            theirs, repaired = read_labels(self.labels)
            # While the run goes on a last line cut short is being written, and read at the next look.
            run = dataclasses.replace(run, notes=(*run.notes, *(repaired if run.done else ())))
            said = f"{self.labels}" if theirs else ""
            none = {step.step for step in run.steps}
            if theirs and run.steps and not none & set(theirs):
                raise UserError(
                    f"{self.labels}: its steps {min(theirs)} to {max(theirs)} are none of the run's,"
                    f" {run.steps[0].step} to {run.steps[-1].step}"
                )
            refuse_impossible(theirs, run, source=self.labels)
        if self._reference is not None:
            theirs = self._reference.label(run.saved or self.path)
            said = f"{self.reference}, {self.labels_per_step} a step"
        self._monitor.follow(run, theirs)
        self.folder = run.folder
        self.seen = as_shown(WatchedRun, self._monitor.status(run, labels_by=said))
        return self.seen

    def silent(self) -> WatchedRun | None:
        """What was seen last, of a run that says nothing any more."""
        return None if self.seen is None else dataclasses.replace(self.seen, state="silent")


@verb
def watch(
    path: str | Path,
    *,
    run: str | None = None,
    labels: str | Path | None = None,
    reference: str | None = None,
    gold: str = "gold",
    reward: str | None = None,
    labels_per_step: int = 8,
    fpr: float | None = None,
    fnr: float | None = None,
    audit: str | Path | None = None,
    calibration: str | Path | None = None,
    steps: int | None = None,
    group_size: int | None = None,
    false_alarm: float = 0.01,
    tolerance: float = 0.01,
    seed: int = 0,
) -> WatchedRun:
    """Look once at a run that trains: its rates, what they are worth, forecast, alarms, and what cannot be known.

    path: a run folder of ours, one that VerigapCallback writes to, an offline run of W&B, a database of trackio's,
    completions that TRL saved, a trainer_state.json; or a folder that holds one of them. run: which, by name, where
    there are several. labels: a person's file, a row a rollout (step, paid, right, and prompt where several are of
    one). reference: a verifier, by its name or module:function, that labels completions that TRL saved; gold, reward:
    their columns of the right answer and of what the verifier that trains paid. labels_per_step: how many it labels, or
    are drawn where the log holds counts of right and paid. fpr, fnr: the declared rates (default: as the log declares);
    audit: what `verigap audit --out` wrote, in their place. calibration: what `verigap validate --out` wrote, for the
    forecast. steps, group_size: where the log does not say. false_alarm: the promise, over the whole run and all
    alarms. tolerance: by how much a rate must exceed. seed: of the draw of labels.
    Returns what stands now; evidence is that of all steps so far. Raises UserError naming what is missing or wrong.
    Source: docs/contract.md#verigap-watch.
    """
    return Watcher(
        Path(path),
        settings(
            fpr=fpr,
            fnr=fnr,
            audit=audit,
            calibration=calibration,
            steps=steps,
            group_size=group_size,
            false_alarm=false_alarm,
            tolerance=tolerance,
        ),
        run=run,
        labels=None if labels is None else Path(labels),
        reference=reference,
        gold=gold,
        reward=reward,
        labels_per_step=labels_per_step,
        seed=seed,
    ).look()


def settings(
    *,
    fpr: float | None,
    fnr: float | None,
    audit: str | Path | None,
    calibration: str | Path | None,
    steps: int | None,
    group_size: int | None,
    false_alarm: float,
    tolerance: float,
) -> Settings:
    """Settings of the words of `watch`. Raises InputError naming what is out of range."""
    for name, value, least in (("steps", steps, 1), ("group_size", group_size, 2)):
        if value is not None and value < least:
            raise UserError(f"{name} must be at least {least}, got {value}")
    if calibration is not None and not os.path.isfile(calibration):
        raise UserError(f"{calibration}: no such file")
    return Settings(
        declared=declared_of(fpr, fnr, audit),
        false_alarm=false_alarm,
        tolerance=tolerance,
        calibration=None if calibration is None else Path(calibration),
        steps=steps,
        group_size=group_size,
    )
