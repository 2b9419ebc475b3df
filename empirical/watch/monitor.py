"""What is known of a run while it trains, from its steps and a few labels, and what is not.

Law. Rates are those of the newest WINDOW steps with labels, with Wilson's 95 % interval, which holds for one look; what
holds at all steps at once are the alarms and `fpr_reached`. Effective rollouts and signal-to-noise are theory's, for
independent errors of these rates at this pass rate. The forecast is that of a stored calibration at the declared rates,
else at the audited ones.
Fails first where errors are tied to what the policy learns: rates of the newest steps are then of the past, and that is
what the alarms are for.
Source: docs/theory.md#evidence-while-a-run-goes-on.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from empirical.validate.predict import predict_rows
from empirical.watch.alarms import Alarm, Alarms, Declared
from empirical.watch.labels import Unit
from empirical.watch.steps import Run, Step
from fits.inference import Interval, wilson
from fits.plain import counted
from theory import VerifierChannel, drift, effective_rollouts

__all__ = ["WINDOW", "Block", "Forecast", "Monitor", "Settings", "Watched", "summary_line"]

WINDOW: Final = 20  # steps
BLOCKS: Final = 24


@dataclass(frozen=True)
class Settings:
    """How a run is watched. declared: None takes what the run's log declares. calibration: for the forecast.

    steps, group_size: where the log does not say. false_alarm: the promise, over the whole run and all alarms.
    """

    declared: Declared | None = None
    false_alarm: float = 0.01
    tolerance: float = 0.01
    calibration: Path | None = None
    steps: int | None = None
    group_size: int | None = None


@dataclass(frozen=True)
class Forecast:
    """Accuracy forecast at a step, its 90 % interval, and what was measured there; all in [0, 1]."""

    step: int
    accuracy: float
    ci90: Interval
    measured: float | None


@dataclass(frozen=True)
class Block:
    """Some steps of a run together: means of what their rollouts got, and rates of their labels; None of none."""

    first: int
    last: int
    reward: float | None
    accuracy: float | None
    fpr: float | None
    fnr: float | None
    zero_advantage_fraction: float | None
    labels: int


@dataclass(frozen=True)
class Watched:
    """A run as it stands. Shares in [0, 1]; a number that is not known is None, and `unknown` says why.

    steps: asked for. reward, accuracy, rates, groups, zero_advantage_fraction: of the newest `window` steps that tell
    them. accuracy: share of audited rollouts that are right; evaluated: the last evaluation that was logged, at
    `evaluated_step`. fpr_reached: the largest fpr so far is above it, at all steps at once. effective_rollouts: of a
    group; its interval is between the worst and the best ends of the two rates. snr: of one prompt's gradient along its
    ability; snr2_logged: squared, of a whole step's gradient, where it is logged. forecast: at the run's end;
    forecast_now: at the last evaluation. seconds_left, accuracy_left: to the end. course: the run so far in
    BLOCKS parts.
    """

    run: str
    format: str
    state: str
    step: int
    steps: int | None
    rollouts: int | None
    labels: int
    labels_by: str
    window: int
    reward: float | None
    reward_at_start: float | None
    accuracy: float | None
    accuracy_ci: Interval | None
    accuracy_at_start: float | None
    evaluated: float | None
    evaluated_step: int | None
    fpr: float | None
    fpr_ci: Interval | None
    fnr: float | None
    fnr_ci: Interval | None
    fpr_reached: float | None
    declared: Declared
    groups: Mapping[str, float] | None
    zero_advantage_fraction: float | None
    group_size: int | None
    effective_rollouts: float | None
    effective_rollouts_ci: Interval | None
    snr: float | None
    snr2_logged: float | None
    forecast: Forecast | None
    forecast_now: Forecast | None
    seconds_a_step: float | None
    seconds_left: float | None
    accuracy_left: float | None
    alarm: bool
    alarms: tuple[Alarm, ...]
    false_alarm: float
    course: tuple[Block, ...]
    unknown: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass
class _Rates:
    """Counts over the newest steps."""

    paid_wrong: int = 0
    wrong: int = 0
    unpaid_right: int = 0
    labels: int = 0

    def add(self, unit: Unit) -> None:
        self.paid_wrong += unit.paid_wrong
        self.wrong += unit.wrong
        self.unpaid_right += unit.unpaid_right
        self.labels += unit.labels

    @property
    def right(self) -> int:
        return self.labels - self.wrong


def _rates(steps: Sequence[Step]) -> _Rates:
    counts = _Rates()
    for step in steps:
        for unit in step.units:
            counts.add(unit)
    return counts


@dataclass
class Monitor:
    """Watches one run: takes steps as they come, each once, and says where it stands.

    Raises InputError where a setting is out of range, or a calibration cannot be read.
    """

    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        self._begin(Declared())

    def _begin(self, declared: Declared) -> None:
        wanted = self.settings
        self.alarms = Alarms(
            declared=wanted.declared if wanted.declared is not None else declared,
            false_alarm=wanted.false_alarm,
            tolerance=wanted.tolerance,
        )
        self._last = -1
        self._labels = self._late = 0
        self._absent: dict[int, int] = {}
        self._rollouts: int | None = 0
        self._all: list[Step] = []
        self._labelled: list[Step] = []
        self._identity = ""
        self._begun = False
        self._forecasts: dict[tuple[float, float, int, float], tuple[float, Interval]] = {}
        self._notes: list[str] = []

    def take(self, step: Step) -> None:
        """Take one step; one that was taken, or an earlier one, counts no second time."""
        if step.step <= self._last:
            return
        self._last = step.step
        self._rollouts = (
            None
            if self._rollouts is None or step.rollouts is None
            else self._rollouts + step.rollouts
        )
        self._all.append(step)
        if step.units:
            self._labels += sum(unit.labels for unit in step.units)
            self._labelled.append(step)
            self.alarms.observe(step.step, step.units, reward=step.reward)

    def follow(self, run: Run, labels: Mapping[int, tuple[Unit, ...]] | None = None) -> None:
        """Take what a log holds beyond what was taken. labels: a person's, by step, in the place of the log's.

        With a person's labels, steps after the last labelled one wait. A log of another run begins anew.
        """
        if not self._begun or run.identity != self._identity:
            again = self._begun
            self._begin(run.declared)
            self._begun, self._identity = True, run.identity
            if again:
                self._notes.append("another run began in this place: evidence begins anew")
        until = None if labels is None else max(labels, default=-1)
        before = self._last
        if labels is not None:
            counts = {step: sum(unit.labels for unit in units) for step, units in labels.items()}
            logged = {step.step for step in run.steps}
            self._absent = {step: n for step, n in counts.items() if step not in logged}
            held = sum(n for step, n in counts.items() if step <= before and step in logged)
            self._late = held - self._labels
        for step in run.steps:
            if until is not None and step.step > until:
                break
            own = step if labels is None else replace(step, units=labels.get(step.step, ()))
            self.take(own)

    def status(self, run: Run, *, labels_by: str | None = None) -> Watched:
        """Where the run stands. labels_by: who judged, in words; None: what the log says."""
        wanted = self.settings
        newest = self._all[-WINDOW:]
        said = labels_by if labels_by is not None else run.labels_by
        counts = _rates(self._labelled[-WINDOW:])
        fpr, fpr_ci = _share(counts.paid_wrong, counts.wrong)
        fnr, fnr_ci = _share(counts.unpaid_right, counts.right)
        accuracy, accuracy_ci = _share(counts.right, counts.labels)
        first = _rates(self._labelled[:WINDOW])
        declared = self.alarms.declared
        size = wanted.group_size or run.group_size
        total = wanted.steps or run.total
        reward = _mean([step.reward for step in newest])
        worth, worth_ci, snr = _worth(accuracy, fpr, fpr_ci, fnr, fnr_ci, size)
        evaluated = run.evaluations[-1] if run.evaluations else (None, None)
        rates = (
            declared.fpr if declared.fpr is not None else fpr,
            declared.fnr if declared.fnr is not None else fnr,
        )
        forecast, now, why = self._forecast(rates, size, total, evaluated)
        taken = [step.seconds for step in newest if step.seconds is not None]
        pace = statistics.median(taken) if taken else None
        left = None if total is None else max(total - max(self._last, 0), 0)
        alarms = self.alarms.status()
        unknown = [*_unknown(self._labels, counts, newest, run), *why]
        if total is None and not run.done:
            unknown.append(
                "time left: the log does not say how many steps were asked for (--steps)"
            )
        notes = [*run.notes, *self._notes]
        if self._late > 0:
            notes.append(
                f"{self._late} labels of steps already passed are left out: evidence takes steps in order"
            )
        ended = run.done or (total is not None and self._last >= total)
        # Of a run that goes on, steps after the newest may come.
        logged_to = run.steps[-1].step if run.steps else -1
        absent = {step: n for step, n in self._absent.items() if ended or step < logged_to}
        if absent:
            ends = " to ".join(str(step) for step in sorted({min(absent), max(absent)}))
            notes.append(
                f"{counted(sum(absent.values()), 'label')} left out: of {counted(len(absent), 'step')} that the run's"
                f" log does not have ({ends})"
            )
        return Watched(
            run=run.name,
            format=run.format,
            state="ended" if ended else "running",
            step=max(self._last, 0),
            steps=total,
            rollouts=self._rollouts,
            labels=self._labels,
            labels_by=said,
            window=WINDOW,
            reward=reward,
            reward_at_start=_mean([step.reward for step in self._all[:WINDOW]]),
            accuracy=accuracy,
            accuracy_ci=accuracy_ci,
            accuracy_at_start=_share(first.labels - first.wrong, first.labels)[0],
            evaluated=evaluated[1],
            evaluated_step=evaluated[0],
            fpr=fpr,
            fpr_ci=fpr_ci,
            fnr=fnr,
            fnr_ci=fnr_ci,
            fpr_reached=float(self.alarms.reached()) if self._labels else None,
            declared=declared,
            groups=_groups(newest),
            zero_advantage_fraction=_mean([step.zero_advantage for step in newest]),
            group_size=size,
            effective_rollouts=worth,
            effective_rollouts_ci=worth_ci,
            snr=snr,
            snr2_logged=_snr2(newest),
            forecast=forecast,
            forecast_now=now,
            seconds_a_step=pace,
            seconds_left=None if pace is None or left is None else pace * left,
            accuracy_left=None
            if forecast is None or evaluated[1] is None
            else forecast.accuracy - evaluated[1],
            alarm=any(alarm.on for alarm in alarms),
            alarms=alarms,
            false_alarm=wanted.false_alarm,
            course=_course(self._all),
            unknown=tuple(unknown),
            notes=tuple(notes),
        )

    def _forecast(
        self,
        rates: tuple[float | None, float | None],
        size: int | None,
        total: int | None,
        evaluated: tuple[int | None, float | None],
    ) -> tuple[Forecast | None, Forecast | None, list[str]]:
        """At the end and at the last evaluation, and what is lacking."""
        what = "the forecast and the accuracy left"
        if self.settings.calibration is None:
            return (
                None,
                None,
                [f"{what}: no calibration (--calibration, from `verigap validate --out`)"],
            )
        fpr, fnr = rates
        lacking = [
            name
            for name, value in {
                "rates (declare them, or audit)": None if fpr is None or fnr is None else 1,
                "the group size (--group-size)": size,
                "the steps asked for (--steps)": total,
            }.items()
            if value is None
        ]
        if lacking or fpr is None or fnr is None or size is None or total is None:
            return None, None, [f"{what}: not without {', '.join(lacking)}"]
        made: list[Forecast | None] = []
        for step, measured in ((total, None), evaluated):
            if step is None:
                made.append(None)
                continue
            key = (round(fpr, 3), round(fnr, 3), size, float(step))
            if key not in self._forecasts:
                found = predict_rows(
                    self.settings.calibration,
                    fpr=[key[0]],
                    fnr=[key[1]],
                    group_size=[size],
                    steps=[key[3]],
                )[0]
                self._forecasts[key] = found.accuracy, found.ci90
            made.append(Forecast(step, *self._forecasts[key], measured))
        return made[0], made[1], []


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _share(count: int, of: int) -> tuple[float | None, Interval | None]:
    return (count / of, _wilson(count, of)) if of else (None, None)


@functools.cache
def _wilson(count: int, of: int) -> Interval:
    return wilson(count, of)


def _course(steps: Sequence[Step]) -> tuple[Block, ...]:
    size = max(1, -(-len(steps) // BLOCKS))
    blocks: list[Block] = []
    for start in range(0, len(steps), size):
        own = steps[start : start + size]
        counts = _rates(own)
        blocks.append(
            Block(
                first=own[0].step,
                last=own[-1].step,
                reward=_mean([step.reward for step in own]),
                accuracy=_share(counts.right, counts.labels)[0],
                fpr=_share(counts.paid_wrong, counts.wrong)[0],
                fnr=_share(counts.unpaid_right, counts.right)[0],
                zero_advantage_fraction=_mean([step.zero_advantage for step in own]),
                labels=counts.labels,
            )
        )
    return tuple(blocks)


def _groups(steps: Sequence[Step]) -> dict[str, float] | None:
    known = [step.groups for step in steps if step.groups is not None]
    if not known:
        return None
    none, some, every = (statistics.fmean(part) for part in zip(*known, strict=True))
    return {"none_paid": none, "some_paid": some, "all_paid": every}


def _snr2(steps: Sequence[Step]) -> float | None:
    known = [(s.signal, s.noise) for s in steps if s.signal is not None and s.noise is not None]
    noise = sum(pair[1] for pair in known)
    return sum(pair[0] for pair in known) / noise if noise > 0.0 else None


def _worth(
    accuracy: float | None,
    fpr: float | None,
    fpr_ci: Interval | None,
    fnr: float | None,
    fnr_ci: Interval | None,
    size: int | None,
) -> tuple[float | None, Interval | None, float | None]:
    """Effective rollouts, between the worst and the best ends of the rates, and signal-to-noise."""
    known = (accuracy, fpr, fpr_ci, fnr, fnr_ci)
    if size is None or size < 2 or any(one is None for one in known):
        return None, None, None
    assert accuracy is not None
    assert fpr is not None
    assert fnr is not None
    assert fpr_ci is not None
    assert fnr_ci is not None
    here, best, worst = (
        float(effective_rollouts(accuracy, VerifierChannel(x, min(d, 1.0)), size))
        if 1.0 - x - d > 0.0
        else 1.0
        for x, d in ((fpr, fnr), (fpr_ci[0], fnr_ci[0]), (fpr_ci[1], fnr_ci[1]))
    )
    snr = float(drift(accuracy, VerifierChannel(fpr, fnr), size).snr)
    return here, (min(worst, here), max(best, here)), snr


def _unknown(labels: int, counts: _Rates, newest: Sequence[Step], run: Run) -> list[str]:
    """What cannot be known from what there is."""
    said: list[str] = []
    if not newest:
        said.append("everything: no step is logged yet")
    if not labels:
        said.append(
            "fpr, fnr, accuracy, effective rollouts and every alarm: there are no labels (--labels, or"
            " --reference for completions that TRL saved). The share paid is"
            " fpr + J a, one number for three unknowns: reward that rises may be right answers or wrong ones that"
            " are paid, and verdicts alone never tell which"
        )
    elif not counts.wrong:
        said.append(f"fpr: no audited rollout of the newest {WINDOW} steps was wrong")
    elif not counts.right:
        said.append(f"fnr: no audited rollout of the newest {WINDOW} steps was right")
    if newest and all(step.reward is None for step in newest):
        said.append("observed reward: the log holds none that is a share of rollouts paid")
    if newest and all(step.groups is None for step in newest):
        said.append(
            "group composition: the log holds only the zero-advantage fraction, or not even that"
        )
    if not run.evaluations:
        said.append("accuracy by evaluation: none is logged")
    return said


def summary_line(seen: Watched) -> str:
    """A run in one line, for a job's log."""
    parts = [f"{seen.run}: step {seen.step}" + (f"/{seen.steps}" if seen.steps else "")]
    for name, value in (
        ("reward", seen.reward),
        ("audited accuracy", seen.accuracy),
        ("fpr", seen.fpr),
        ("zero-advantage", seen.zero_advantage_fraction),
    ):
        parts.append(f"{name} {'–' if value is None else format(value, '.3f')}")
    parts.append(counted(seen.labels, "label"))
    on = [f"{alarm.says} (step {alarm.step})" for alarm in seen.alarms if alarm.on]
    parts.append(
        "ALARM: " + "; ".join(on) if on else "no alarm" if seen.labels else "no labels, no alarms"
    )
    return ", ".join(parts)
