"""VerigapCallback: watches a run of TRL's GRPOTrainer from within, and may stop it.

Law. The reward function that verifies is called as before; what it was given and what it paid is seen on the way. Of
every batch `labels` rollouts, spread over prompts, are judged by the reference verifier; which ones is drawn from
(seed, step), by no generator that training uses, so that training is what it was. Rows go to LOG in the output folder,
which `verigap watch` reads; a resumed run goes on from them.
Fails first where a reward function is a model or asynchronous: refused, since its rewards are not seen.
Source: TRL 1.16 (`GRPOTrainer._calculate_rewards`); docs/how-to/watch.md.
"""

from __future__ import annotations

import inspect
import logging
import time
import uuid
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from empirical.audit.judged import judge_of
from empirical.errors import StudyError
from empirical.training.rewards import Text, gold_text, last_text
from empirical.watch.alarms import declared_of
from empirical.watch.labels import Label, choose, groups_paid, right_of, units_of
from empirical.watch.monitor import Monitor, Settings, Watched, summary_line
from empirical.watch.steps import LOG, STOP, Run, Step, line_of, read_run

__all__ = ["VerigapCallback"]

_LOG: Final = logging.getLogger("verigap")

Reference = str | Callable[[str, Any], Any]


class VerigapCallback(TrainerCallback):
    """Watch a GRPO run: `GRPOTrainer(…, callbacks=[VerigapCallback("math_verify", gold="answer")])`.

    reference: says what is right: a name of ours (strict, flexible, first_number, math_verify, number, contains),
    "module:function", or a function of (completion, gold) that returns True, False or None (cannot tell: no label).
    None: nothing is labelled, and no alarm can go off. gold: the column of the data set with the right answer.
    labels: audited rollouts a step. fpr, fnr, audit: the declared rates, or what `verigap audit --out` wrote, of which
    the upper ends are taken. reward: which reward function verifies, by its name, where there are several.
    paid_above: a rollout is paid where its reward is above this. false_alarm: the promise over the whole run.
    tolerance: see `empirical.watch.Alarms`. stop: stop training where an alarm goes off. seed: of the labels' draw.
    Raises StudyError or InputError naming what is out of range or missing.
    """

    def __init__(
        self,
        reference: Reference | None = None,
        *,
        gold: str = "gold",
        labels: int = 8,
        fpr: float | None = None,
        fnr: float | None = None,
        audit: str | Path | None = None,
        reward: str | None = None,
        paid_above: float = 0.5,
        false_alarm: float = 0.01,
        tolerance: float = 0.01,
        stop: bool = False,
        seed: int = 0,
    ) -> None:
        if labels < 1:
            raise StudyError(f"labels must be at least 1 a step, got {labels}")
        self.reference: Callable[[str, Any], Any] | None = None
        if isinstance(reference, str):
            judge = judge_of(reference)
            self.reference = lambda completion, gold: judge(completion, gold_text(gold))
            self.reference.__name__ = reference
        else:
            self.reference = reference
        self.gold, self.labels, self.reward, self.paid_above = gold, labels, reward, paid_above
        self.stop, self.seed = stop, seed
        self.settings = Settings(
            declared=declared_of(fpr, fnr, audit), false_alarm=false_alarm, tolerance=tolerance
        )
        self.monitor = Monitor(self.settings)
        self.overhead = 0.0  # seconds spent on watching, beyond the reference verifier
        self._seen: list[tuple[bool, Hashable]] = []  # paid, prompt
        self._labels: list[tuple[Hashable, bool, bool]] = []
        self._offered = 0  # rollouts of this step so far, of this process
        self._trainer: Any = None
        self._run = Run("", "", "callback", ())
        self._path = self._stop = Path()
        self._said: set[str] = set()
        self._began = 0.0

    # transformers calls these with (args, state, control) and more by name, wanted or not.

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Find the trainer, look over its verifier's shoulder, begin or go on with the log."""
        if self._trainer is None:
            self._trainer = _trainer_above()
            self._look_on(self._trainer)
        self._path = Path(str(args.output_dir)) / LOG
        self._stop = self._path.with_name(STOP)
        main = state.is_world_process_zero
        size = int(getattr(args, "num_generations", 0)) or None
        resumed = state.global_step > 0 and self._path.is_file()
        said = getattr(self.reference, "__name__", "a reference verifier")
        begin = {
            "kind": "begin",
            "run": uuid.uuid4().hex,
            "resumed": resumed,
            "steps": int(state.max_steps),
            "group_size": size,
            "declared": {
                "fpr": self.monitor.alarms.declared.fpr,
                "fnr": self.monitor.alarms.declared.fnr,
            },
            "labels_by": "" if self.reference is None else f"{said}, {self.labels} a step",
        }
        if not main:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if resumed:
            begin["run"] = read_run(self._path).identity
        with self._path.open("ab") as file:
            file.write(line_of(begin))
        self._run = read_run(self._path)
        self.monitor = Monitor(self.settings)
        self.monitor.follow(self._run)
        if self.reference is None:
            _LOG.warning("no reference verifier: nothing is labelled, and no alarm can go off")

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Note the time."""
        self._began = time.perf_counter()

    def on_step_end(
        self,
        args: Any,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        """Weigh what was seen since the last step; stop where told to."""
        now = time.perf_counter()
        taken, seen, labels = now - self._began, self._seen, self._labels
        self._seen, self._labels = [], []
        self._offered = 0
        several = self._trainer.accelerator.num_processes > 1
        if several:
            from accelerate.utils import gather_object

            seen, labels = gather_object(seen), gather_object(labels)
        stop = False
        if state.is_world_process_zero:
            if seen:
                row = _row(state.global_step, seen, labels, taken)
                with self._path.open("ab", buffering=0) as file:
                    file.write(line_of(row))
                stop = self._weigh(row) and self.stop
            stop = stop or self._stop.exists()
        if several:
            from accelerate.utils import broadcast_object_list

            # A process that trained on alone would wait for the others for ever.
            (stop,) = broadcast_object_list([stop])
        if stop:
            control.should_training_stop = True
        self.overhead += time.perf_counter() - now

    def on_train_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Say in the log that the run ended, and in words where it stands."""
        if not state.is_world_process_zero:
            return
        with self._path.open("ab") as file:
            file.write(line_of({"kind": "end", "step": state.global_step}))
        _LOG.info("%s", summary_line(self.watched))

    @property
    def watched(self) -> Watched:
        """Where the run stands."""
        return self.monitor.status(self._run)

    def _weigh(self, row: dict[str, Any]) -> bool:
        """Take a row as a step, tell of an alarm that went off; whether one is on."""
        self.monitor.take(
            Step(
                step=row["step"],
                rollouts=row["rollouts"],
                reward=row["reward"],
                groups=tuple(row["groups"]),
                zero_advantage=row["zero_advantage"],
                units=tuple(units_of(Label(paid, right, p) for p, paid, right in row["labels"])),
                seconds=row["seconds"],
            )
        )
        on = self.monitor.alarms.on
        for alarm in self.monitor.alarms.status() if len(on) > len(self._said) else ():
            if alarm.on and alarm.name not in self._said:
                self._said.add(alarm.name)
                _LOG.warning(
                    "ALARM at step %s: %s (evidence %.3g, needed %.3g; at most %g of runs have a false alarm)",
                    alarm.step,
                    alarm.says,
                    alarm.evidence,
                    alarm.needed,
                    self.settings.false_alarm,
                )
        return bool(on)

    def _look_on(self, trainer: Any) -> None:
        """Put the verifying reward function behind one that looks on."""
        names = list(trainer.reward_func_names)
        if self.reward is None and len(names) > 1:
            raise StudyError(
                f"there are several reward functions: name the one that verifies, reward= one of: {', '.join(names)}"
            )
        if self.reward is not None and self.reward not in names:
            raise StudyError(f"no reward function is called {self.reward!r}: {', '.join(names)}")
        place = 0 if self.reward is None else names.index(self.reward)
        function = trainer.reward_funcs[place]
        called = function if inspect.isroutine(function) else type(function).__call__
        if hasattr(function, "forward") or inspect.iscoroutinefunction(called):
            raise StudyError(f"{names[place]} is a model or asynchronous: its rewards are not seen")

        def looked_on(**given: Any) -> Any:
            rewards = function(**given)
            if trainer.model.training:
                self._look(rewards, given)
            return rewards

        looked_on.__name__ = names[place]
        trainer.reward_funcs[place] = looked_on

    def _look(self, rewards: Sequence[float | None], given: dict[str, Any]) -> None:
        """What one call of the reward function paid; of some of it, what is right."""
        began = time.perf_counter()
        trainer = self._trainer
        size = trainer.num_generations
        world = trainer.accelerator.num_processes
        rank = trainer.accelerator.process_index
        # A batch is dealt out to processes in order: one prompt's rollouts may be of several.
        first = self._offered * world + rank * len(rewards)
        self._offered += len(rewards)
        known = [i for i, reward in enumerate(rewards) if reward is not None]
        prompts = [(first + i) // size for i in range(len(rewards))]
        paid = [reward is not None and float(reward) > self.paid_above for reward in rewards]
        self._seen += [(paid[i], prompts[i]) for i in known]
        judging = 0.0
        if self.reference is not None and known:
            if self.gold not in given:
                columns = sorted(set(given) - _OF_TRL)
                raise StudyError(
                    f"the data set has no column {self.gold!r} with the right answer (gold=); it has:"
                    f" {', '.join(columns) or 'none'}"
                )
            own = self.labels // world + (rank < self.labels % world)
            rng = np.random.Generator(
                np.random.Philox(key=[self.seed, trainer.state.global_step * world + rank])
            )
            chosen = choose([prompts[i] for i in known], own, rng)
            started = time.perf_counter()
            for i in (known[place] for place in chosen):
                completion: Text = given["completions"][i]
                right = right_of(self.reference(last_text(completion), given[self.gold][i]))
                if right is not None:
                    self._labels.append((prompts[i], paid[i], right))
            judging = time.perf_counter() - started
        self.overhead += time.perf_counter() - began - judging


_OF_TRL: Final = frozenset(
    {"prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric"}
)


def _trainer_above() -> Any:
    """The trainer whose method called the callback: callbacks are handed everything of it but itself."""
    frame = inspect.currentframe()
    while frame is not None:
        found = frame.f_locals.get("self")
        if hasattr(found, "reward_funcs") and hasattr(found, "reward_func_names"):
            return found
        frame = frame.f_back
    raise StudyError("VerigapCallback watches TRL's GRPOTrainer, and was called by another trainer")


def _row(
    step: int,
    seen: Sequence[tuple[bool, Hashable]],
    labels: Sequence[tuple[Hashable, bool, bool]],
    seconds: float,
) -> dict[str, Any]:
    groups = groups_paid([prompt for _, prompt in seen], [paid for paid, _ in seen])
    assert groups is not None
    return {
        "kind": "step",
        "step": step,
        "rollouts": len(seen),
        "reward": sum(paid for paid, _ in seen) / len(seen),
        "groups": list(groups),
        "zero_advantage": groups[0] + groups[2],
        "labels": [[prompt, int(paid), int(right)] for prompt, paid, right in labels],
        "seconds": seconds,
    }
