"""Do the alarms of `verigap watch` keep their promise, and what do they see in time? Measured, not assumed.

    python -m tests.benchmarks.watch            writes WATCH.md beside this file (half an hour on one idle core)
    OMP_NUM_THREADS=1 python -m tests.benchmarks.watch --only Cost    makes one section anew, that one by one thread
    python -m tests.benchmarks.watch --tune     prints power on the simulated runs of another seed, to tune on

False alarms: 1,000 simulated runs whose channel never changes, in four structures, and the campaign's runs. Detection:
the exploit arms of learnable-errors and rare-mode. Of logged steps the labels are drawn from the step's counts, without
replacement, several times over; of simulated ones from the rollouts themselves, as the callback does, and two of one
prompt are one prompt are one unit. Settings were chosen with three of the exploit runs in view (LOG.md, 2026-11-29).
Oracle: no test sees more than the one that knows at every step what the policy's fpr is, and weighs the same labels by
their likelihood under it against the declared one; what it misses by a step, at the same false-alarm rate, cannot be
seen by anybody.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from empirical.watch.alarms import NAMES, Alarms, Declared
from empirical.watch.labels import Unit
from empirical.watch.monitor import Monitor, Settings
from empirical.watch.steps import Step
from fits.files import write_text
from fits.inference import wilson
from theory import VerifierChannel
from theory.structures import GroupCorrelated, Independent, PerPrompt, Rollouts

FloatArray = NDArray[np.float64]

ROOT: Final = Path(__file__).resolve().parents[2]
RESULTS: Final = ROOT / "empirical/results"
OUT: Final = Path(__file__).with_name("WATCH.md")
LABELS: Final = (4, 8, 16)
PROMISE: Final = 0.01
HARM: Final = 0.05
LATE: Final = 200  # steps from which harm is a mean, as in paper.learnable
SMOOTH: Final = 11  # steps, for the fpr that the oracle knows
PROMPTS, GROUP, STEPS = 8, 8, 300
SIMULATED: Final = 1000
KINDS: Final = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


# --- logged runs --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Logged:
    """Steps of many runs of one length. counts_RTK: rollouts wrong paid, wrong unpaid, right paid, right unpaid."""

    runs: pd.DataFrame  # one row each: arm, seed, group_size, fpr, fnr
    counts_RTK: NDArray[np.int64]
    reward_RT: FloatArray


def logged(study: str, results: Path) -> Logged:
    """The committed steps of a study."""
    table = pd.read_parquet(results / study / "runs.parquet")
    table["noise"] = table["noise"].astype(str)
    runs = table.drop_duplicates("run_id").set_index("run_id")
    rows, counts, rewards = [], [], []
    for file in sorted((results / study / "steps").glob("*.parquet")):
        for run, own in pd.read_parquet(file).groupby("run_id"):
            own = own.sort_values("step")
            pw, w, ur, r = (
                own[name].to_numpy(np.float64).round().astype(np.int64)
                for name in ("paid_wrong", "wrong", "unpaid_right", "right")
            )
            counts.append(np.stack([pw, w - pw, r - ur, ur], axis=-1))
            rewards.append(own["observed_reward"].to_numpy(np.float64))
            rows.append(runs.loc[run, ["arm", "seed", "group_size", "fpr", "fnr", "noise"]])
    longest = max(map(len, counts))
    whole = [i for i, one in enumerate(counts) if len(one) == longest]
    return Logged(
        pd.DataFrame([rows[i] for i in whole]).reset_index(names="run_id"),
        np.stack([counts[i] for i in whole]),
        np.stack([rewards[i] for i in whole]),
    )


def drawn(counts_RTK: NDArray[np.int64], labels: int, rng: np.random.Generator) -> FloatArray:
    """Labels of every step, by kind, shape (R, T, K)."""
    flat = counts_RTK.reshape(-1, 4)
    short = np.minimum(labels, flat.sum(axis=1))
    return (
        rng.multivariate_hypergeometric(flat[0], short[0], size=1).astype(float)
        if len(flat) == 1
        else np.array(
            [
                rng.multivariate_hypergeometric(c, n, method="marginals")
                for c, n in zip(flat, short, strict=True)
            ],
            dtype=np.float64,
        ).reshape(counts_RTK.shape)
    )


def fired(
    times_RTK: FloatArray, reward_RT: FloatArray, fpr: FloatArray, fnr: FloatArray
) -> dict[str, FloatArray]:
    """Step at which each alarm of each run went off, infinity where none did."""
    since = {name: np.full(len(times_RTK), np.inf) for name in NAMES}
    for channel in sorted(set(zip(fpr.tolist(), fnr.tolist(), strict=True))):
        own = np.flatnonzero((fpr == channel[0]) & (fnr == channel[1]))
        for part in np.array_split(own, max(1, len(own) // 150)):
            alarms = Alarms(declared=Declared(*channel), false_alarm=PROMISE, runs=(len(part),))
            for t in range(times_RTK.shape[1]):
                alarms.observe(t + 1, KINDS, reward=reward_RT[part, t], times=times_RTK[part, t])
            for name in NAMES:
                since[name][part] = alarms.since[name]
    return since


# --- simulated runs --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """A simulated run: its structure and channel, and how its pass rate goes from start to end."""

    structure: str
    fpr: float
    fnr: float
    start: float
    end: float
    pace: float  # steps to half way
    exploit: float = 0.0  # fpr that is added in the end
    onset: float = 0.0  # step at which half of it is there
    speed: float = 10.0


CHANNELS: Final = ((0.0, 0.0), (0.05, 0.1), (0.1, 0.0), (0.2, 0.1), (0.35, 0.25))


def worlds(count: int, rng: np.random.Generator, *, exploit: bool) -> Iterator[World]:
    """Runs that learn, stand still or unlearn, under channels that stay as they are or rise."""
    structures = ("independent", "per_prompt", "group", "independent")
    for number in range(count):
        start, end = rng.uniform(0.1, 0.6), rng.uniform(0.3, 0.95)
        if number % 5 == 4:  # unlearns, or stands still
            start, end = max(start, end), rng.uniform(0.05, max(start, end))
        fpr, fnr = CHANNELS[int(rng.integers(len(CHANNELS)))]
        yield World(
            structure=structures[number % 4],
            fpr=fpr,
            fnr=fnr,
            start=start,
            end=end,
            pace=rng.uniform(10.0, 100.0),
            exploit=rng.uniform(0.2, 0.6) if exploit else 0.0,
            onset=rng.uniform(10.0, 200.0),
            speed=rng.uniform(3.0, 30.0),
        )


def simulated(world: World, seed: int) -> tuple[dict[int, FloatArray], FloatArray]:
    """Audited units (T, U, 3) by labels a step, and the share paid (T,). Prompts come once."""
    rng = np.random.default_rng([seed, 7])
    shape = STEPS, PROMPTS, GROUP
    t = np.arange(STEPS)
    mean_T = world.end + (world.start - world.end) * 0.5 ** (t / world.pace)
    pass_TP = rng.beta(2.0 * mean_T[:, None], 2.0 * (1.0 - mean_T[:, None]), shape[:2])
    right = rng.random(shape) < pass_TP[..., None]
    channel = VerifierChannel(world.fpr, world.fnr)
    structure = {
        "independent": Independent,
        "per_prompt": PerPrompt,
        "group": lambda c: GroupCorrelated(c, 0.3),
    }[world.structure](channel)
    prompt = np.repeat(np.arange(STEPS * PROMPTS), GROUP)
    paid = structure.judge(
        Rollouts(right=right.ravel(), prompt=prompt, index=np.arange(right.size), group=prompt),
        seed=seed,
        step=0,
    ).reshape(shape)
    if world.exploit:
        # Of wrong rollouts that are not paid, so many more are, fresh at every step.
        more_T = world.exploit / (1.0 + np.exp(-(t - world.onset) / world.speed))
        paid |= ~right & (rng.random(shape) < (more_T / (1.0 - world.fpr))[:, None, None])
    # Prompts and places in an order by lot: the first are audited.
    order = rng.permuted(np.tile(np.arange(PROMPTS), (STEPS, 1)), axis=1)
    places = rng.permuted(np.tile(np.arange(GROUP), (STEPS, PROMPTS, 1)), axis=2)
    kinds = np.stack([paid & ~right, ~right, right & ~paid], axis=-1).astype(np.float64)
    kinds = np.take_along_axis(kinds, places[..., None], axis=2)
    kinds = np.take_along_axis(kinds, order[..., None, None], axis=1)
    units = {n: kinds[:, : min(n, PROMPTS), : max(1, n // PROMPTS)].mean(axis=2) for n in LABELS}
    return units, paid.mean(axis=(1, 2))


def fired_simulated(
    units_RTU3: FloatArray, reward_RT: FloatArray, worlds_R: Sequence[World]
) -> dict[str, FloatArray]:
    """As `fired`, of simulated runs."""
    since = {name: np.full(len(worlds_R), np.inf) for name in NAMES}
    for channel in CHANNELS:
        own = np.flatnonzero([(world.fpr, world.fnr) == channel for world in worlds_R])
        for part in np.array_split(own, max(1, len(own) // 100)):
            alarms = Alarms(declared=Declared(*channel), false_alarm=PROMISE, runs=(len(part),))
            each = np.ones((len(part), units_RTU3.shape[2]))
            for t in range(STEPS):
                alarms.observe(t + 1, units_RTU3[part, t], reward=reward_RT[part, t], times=each)
            for name in NAMES:
                since[name][part] = alarms.since[name]
    return since


# --- what came out -------------------------------------------------------------------------------------------


def share(count: int, of: int) -> str:
    """A share with Wilson's interval, in per cent."""
    low, high = wilson(count, of)
    return f"{count}/{of} = {100 * count / of:.2f} % [{100 * low:.2f}, {100 * high:.2f}]"


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def false_alarms_simulated(count: int) -> str:
    """Simulated runs whose channel never changes."""
    rng = np.random.default_rng(1)
    made = list(worlds(count, rng, exploit=False))
    runs = [simulated(world, 1000 + i) for i, world in enumerate(made)]
    reward = np.stack([paid for _, paid in runs])
    rows = []
    for n in LABELS:
        since = fired_simulated(np.stack([units[n] for units, _ in runs]), reward, made)
        any_ = np.isfinite(np.stack(list(since.values()))).any(axis=0)
        rows.append(
            (
                n,
                share(int(any_.sum()), count),
                *(int(np.isfinite(since[name]).sum()) for name in NAMES),
            )
        )
    return table(("labels a step", "runs with any alarm", *NAMES), rows)


def detection_simulated(count: int, seed: int) -> str:
    """Simulated runs whose fpr rises by .2 to .6."""
    made = list(worlds(count, np.random.default_rng(seed), exploit=True))
    runs = [simulated(world, 5000 + 1000 * seed + i) for i, world in enumerate(made)]
    reward = np.stack([paid for _, paid in runs])
    onset = np.array([world.onset for world in made])
    rows = []
    for n in LABELS:
        since = fired_simulated(np.stack([units[n] for units, _ in runs]), reward, made)
        first = np.min(np.stack(list(since.values())), axis=0)
        seen = np.isfinite(first)
        delay = np.median((first - onset)[seen]) if seen.any() else np.nan
        rows.append(
            (
                n,
                share(int(seen.sum()), count),
                f"{delay:+.0f}",
                *(
                    share(int(np.isfinite(since[name]).sum()), count).split(" [")[0]
                    for name in NAMES
                ),
            )
        )
    return table(
        (
            "labels a step",
            "runs with any alarm",
            "median delay, steps after half of the rise",
            *NAMES,
        ),
        rows,
    )


def campaign(draws: int, results: Path) -> tuple[str, str]:
    """False alarms on the campaign, and what went off where something was wrong."""
    data = logged("cpu-campaign", results)
    arms = data.runs["arm"].to_numpy()
    fpr, fnr = data.runs["fpr"].to_numpy(float), data.runs["fnr"].to_numpy(float)
    constant = (data.runs["noise"] == "independent").to_numpy()
    rows, others = [], []
    for n in LABELS:
        rng = np.random.default_rng([2, n])
        hits = {name: np.zeros((draws, len(arms)), dtype=bool) for name in NAMES}
        for d in range(draws):
            since = fired(drawn(data.counts_RTK, n, rng), data.reward_RT, fpr, fnr)
            for name in NAMES:
                hits[name][d] = np.isfinite(since[name])
        # Inverted arms: reward rises and accuracy falls, so that `unfollowed` is no false alarm there.
        inverted = arms == "inverted"
        false = hits["rising"] | hits["declared"] | (hits["unfollowed"] & ~inverted)
        quiet = constant
        rows.append(
            (
                n,
                share(int(false[:, quiet].sum()), draws * int(quiet.sum())),
                *(
                    int(
                        (
                            hits[name] & (quiet & ~(inverted if name == "unfollowed" else False))
                        ).sum()
                    )
                    for name in NAMES
                ),
            )
        )
        for label, who in (
            ("inverted (J < 0)", inverted),
            ("tied to the answer (trigger0.2)", ~constant),
        ):
            others.append(
                (
                    label,
                    n,
                    *(
                        share(int(hits[name][:, who].sum()), draws * int(who.sum())).split(" [")[0]
                        for name in NAMES
                    ),
                )
            )
    return (
        table(("labels a step", "watched runs with a false alarm", *NAMES), rows),
        table(("arms", "labels a step", *NAMES), others),
    )


@dataclass(frozen=True)
class Fall:
    """When a run's accuracy had fallen by HARM: behind its clean run of the same seed, and below its own best.

    shown: the evaluation that is the first to show it. behind, below: on a line between evaluations.
    """

    harm: float
    shown: float
    behind: float
    below: float


def falls(study: str, results: Path) -> dict[str, Fall]:
    """By run; steps are interpolated between evaluations, infinity where it never fell."""
    table_ = pd.read_parquet(results / study / "runs.parquet")
    found: dict[str, Fall] = {}
    for (seed, size), own in table_.groupby(["seed", "group_size"]):
        clean = own[own["arm"] == "clean"].set_index("step")["accuracy"]
        if clean.empty:
            continue
        for run, rows in own[own["arm"] != "clean"].groupby("run_id"):
            curve = rows.set_index("step")["accuracy"].sort_index()
            both = curve.index.intersection(clean.index)
            lost = (clean[both] - curve[both]).sort_index()
            below = curve.cummax() - curve
            found[str(run)] = Fall(
                float(lost[lost.index >= LATE].mean()),
                float(min(lost.index[lost >= HARM], default=np.inf)),
                _crossing(lost),
                _crossing(below),
            )
        del seed, size
    return found


def _crossing(lost: pd.Series) -> float:
    """The first step at which what is lost is HARM, between evaluations on a line."""
    steps, values = lost.index.to_numpy(float), lost.to_numpy(float)
    for i in np.flatnonzero(values >= HARM):
        if i == 0:
            return float(steps[0])
        before, now = values[i - 1], values[i]
        return float(steps[i - 1] + (steps[i] - steps[i - 1]) * (HARM - before) / (now - before))
    return float("inf")


def oracle(
    counts_TK: NDArray[np.int64], labels: int, fpr: float, until: float, rng: np.random.Generator
) -> float:
    """Power, at the whole promise, of the most powerful test of the declared fpr by step `until`."""
    stop = int(min(until, len(counts_TK)))
    if stop < 1:
        return 0.0
    own = counts_TK[:stop]
    wrong_T = own[:, :2].sum(axis=1)
    # The policy's fpr, not the luck of a step: over SMOOTH steps.
    around = np.ones(SMOOTH)
    paid_S, wrong_S = (
        np.convolve(counts, around, "same")[:stop]
        for counts in (counts_TK[:, 0], counts_TK[:, :2].sum(axis=1))
    )
    true_T = np.clip(paid_S / np.maximum(wrong_S, 1), 1e-3, 1.0 - 1e-3)
    p = max(fpr, 1e-3)
    paid, unpaid = np.log(true_T / p), np.log((1.0 - true_T) / (1.0 - p))
    size = np.minimum(labels, own.sum(axis=1))
    seen_ST = rng.hypergeometric(wrong_T, own.sum(axis=1) - wrong_T, size, size=(4000, stop))
    weights = []
    for rate_T in (np.full(stop, fpr), true_T):
        hits = rng.binomial(seen_ST, rate_T)
        weights.append((hits * paid + (seen_ST - hits) * unpaid).sum(axis=1))
    return float((weights[1] > np.quantile(weights[0], 1.0 - PROMISE)).mean())


EXPLOITS: Final = ("learnable-errors", "rare-mode")
DEADLINES: Final = ("shown", "behind", "below")
LATER: Final = DEADLINES[1:]
LEAST: Final = (HARM, 0.2)


def learnable(draws: int, results: Path) -> tuple[str, str, str]:
    """Detection of exploit arms: a summary, run by run, and alarms where nothing was to be seen."""
    rows: list[tuple[object, ...]] = []
    totals = {(n, kind, least): [0.0, 0] for n in LABELS for kind in DEADLINES for least in LEAST}
    quiet = {n: [0, 0] for n in LABELS}
    for study in EXPLOITS:
        data, fallen = logged(study, results), falls(study, results)
        runs = len(data.runs)
        fpr, fnr = (np.tile(data.runs[name].to_numpy(float), draws) for name in ("fpr", "fnr"))
        reward = np.tile(data.reward_RT, (draws, 1))
        for n in LABELS:
            rng = np.random.default_rng([3, n])
            times = np.concatenate([drawn(data.counts_RTK, n, rng) for _ in range(draws)])
            since = fired(times, reward, fpr, fnr)
            by_alarm = {name: steps.reshape(draws, runs) for name, steps in since.items()}
            first_DR = np.min(np.stack(list(by_alarm.values())), axis=0)
            for r, run in data.runs.iterrows():
                fall, first = fallen.get(run["run_id"]), first_DR[:, r]
                if run["arm"] == "clean" or run["noise"] == "independent":
                    quiet[n][0] += int(np.isfinite(first).sum())
                    quiet[n][1] += draws
                if fall is None or run["noise"] == "independent" or not fall.harm >= HARM:
                    continue
                counts = {
                    name: int((steps[:, r] == first).sum()) for name, steps in by_alarm.items()
                }
                seen = np.isfinite(first).any()
                in_time = {kind: float((first < getattr(fall, kind)).mean()) for kind in DEADLINES}
                for kind, least in ((kind, least) for kind in DEADLINES for least in LEAST):
                    if fall.harm > least:
                        totals[n, kind, least][0] += in_time[kind]
                        totals[n, kind, least][1] += 1
                middle = float(np.median(first))
                best = oracle(
                    data.counts_RTK[r],
                    n,
                    float(run["fpr"]),
                    fall.behind,
                    np.random.default_rng([4, r, n]),
                )
                rows.append(
                    (
                        run["arm"],
                        run["seed"],
                        f"{fall.harm:+.3f}",
                        n,
                        f"{middle:.0f}" if np.isfinite(middle) else "–",
                        max(counts, key=counts.__getitem__) if seen else "–",
                        f"{fall.shown:.0f}",
                        f"{in_time['shown']:.0%}",
                        f"{fall.behind:.0f}",
                        f"{in_time['behind']:.0%}",
                        f"{best:.0%}",
                        f"{middle - fall.behind:+.0f}" if np.isfinite(middle) else "–",
                        f"{fall.below:.0f}" if np.isfinite(fall.below) else "never",
                        f"{in_time['below']:.0%}",
                    )
                )
    rows.sort(key=lambda row: (str(row[0]), int(str(row[1])), int(str(row[3]))))
    detail = table(
        (
            *("arm", "seed", "harm", "labels", "median step of the first alarm", "mostly"),
            *("shown behind clean by .05 at", "flagged before it"),
            *("behind on a line at", "flagged before that", "the oracle by then", "delay"),
            *("below its best by .05 at", "flagged before this"),
        ),
        rows,
    )
    summary = table(
        (
            *("labels a step", "arms", "runs"),
            *("flagged before an evaluation shows .05 behind clean", "before that on a line"),
            "before .05 below their best",
        ),
        [
            (
                n,
                f"harm above {least:g}",
                totals[n, "shown", least][1],
                *(
                    f"{totals[n, kind, least][0] / totals[n, kind, least][1]:.0%}"
                    if totals[n, kind, least][1]
                    else "–"
                    for kind in DEADLINES
                ),
            )
            for n in LABELS
            for least in LEAST
        ],
    )
    still = table(
        ("labels a step", "watched runs with an alarm"), [(n, share(*quiet[n])) for n in LABELS]
    )
    return summary, detail, still


def possible(results: Path) -> str:
    """The oracle's power by two of the deadlines, over the runs with harm above .2; their mean bounds any test's."""
    power: dict[tuple[int, str], list[float]] = {(n, kind): [] for n in LABELS for kind in LATER}
    for study in EXPLOITS:
        data, fallen = logged(study, results), falls(study, results)
        for r, run in data.runs.iterrows():
            fall = fallen.get(run["run_id"])
            if fall is None or run["noise"] == "independent" or not fall.harm > LEAST[1]:
                continue
            for (n, kind), found in power.items():
                rng = np.random.default_rng([4, r, n])
                until = getattr(fall, kind)
                found.append(oracle(data.counts_RTK[r], n, float(run["fpr"]), until, rng))
    rows = [
        (n, len(power[n, "below"]), *(f"{np.mean(power[n, kind]):.0%}" for kind in LATER))
        for n in LABELS
    ]
    heads = ("labels a step", "runs", "behind on a line by .05", "below its own best by .05")
    return table(heads, rows)


def shortest_step(size: int) -> float:
    """Median seconds of a step, of the campaign's quickest run at this group size, whatever machine made it."""
    files = sorted((RESULTS / "cpu-campaign/steps").glob(f"g{size}-*.parquet"))
    logs = pd.concat([pd.read_parquet(f, columns=["run_id", "step_seconds"]) for f in files])
    return float(logs.groupby("run_id")["step_seconds"].median().min())


def overhead() -> str:
    """What watching costs a step, beyond judging the labels."""
    of = shortest_step(GROUP)
    rows = []
    for n in LABELS:
        monitor = Monitor(Settings(declared=Declared(0.1, 0.0)))
        units = [Unit(1, 1, 0, 1), Unit(0, 1, 0, 1), *(Unit(0, 0, 0, 1) for _ in range(n - 2))]
        spent = []
        for step in range(1, STEPS + 1):
            own = Step(step=step, rollouts=64, reward=0.5, units=tuple(units))
            began = time.perf_counter()
            monitor.take(own)
            spent.append(time.perf_counter() - began)
        took = float(np.median(spent[-100:]))
        rows.append((n, f"{1e3 * took:.2f}", f"{1e3 * of:.0f}", f"{100 * took / of:.2f}"))
    return table(
        ("labels a step", "ms a step", "the campaign's shortest step, ms", "% of it"), rows
    )


def callback(steps: int) -> str:
    """What VerigapCallback costs TRL's training, beyond the labels, by group size."""
    return table(
        (
            *(
                "rollouts a prompt",
                "parameters",
                "steps",
                "ms a step without",
                "with",
                "median with",
            ),
            *(
                "of which the callback",
                "% of the rest",
                "the campaign's shortest step, ms",
                "% of it",
            ),
        ),
        [_callback(steps, size) for size in (4, GROUP)],
    )


def _callback(steps: int, group: int) -> tuple[object, ...]:
    """CPU seconds of TRL's training with and without it: the reference says yes."""
    from datasets import load_dataset
    from trl import GRPOConfig, GRPOTrainer

    from empirical.training.callbacks import VerigapCallback
    from tests.watched import sums

    own: list[float] = []  # CPU seconds of each step
    ends: list[float] = []

    class Counted(VerigapCallback):
        def on_step_begin(self, *given: Any, **named: Any) -> None:
            began = time.process_time()
            super().on_step_begin(*given, **named)
            own.append(time.process_time() - began)

        def on_step_end(self, *given: Any, **named: Any) -> None:
            began = time.process_time()
            super().on_step_end(*given, **named)
            ends.append(time.process_time())
            own[-1] += ends[-1] - began

        def _look(self, *given: Any) -> None:
            began = time.process_time()
            super()._look(*given)
            own[-1] += time.process_time() - began

    def pays(completions: list[str], gold: list[int], **_: Any) -> list[float]:
        return [float(str(g)[0] in text) for text, g in zip(completions, gold, strict=True)]

    def spent(folder: Path, watched: bool) -> tuple[float, int]:
        args = GRPOConfig(
            str(folder / "run"),
            max_steps=steps,
            max_completion_length=8,
            per_device_train_batch_size=PROMPTS * group,
            num_generations=group,
            use_cpu=True,
            bf16=False,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        )
        problems = load_dataset("json", data_files=str(folder / "problems.jsonl"), split="train")
        watch = [Counted(lambda _completion, _gold: True, labels=8)] if watched else []
        trainer = GRPOTrainer(
            str(folder / "model"), pays, args, train_dataset=problems, callbacks=watch
        )
        began = time.process_time()
        trainer.train()
        return time.process_time() - began, sum(p.numel() for p in trainer.model.parameters())

    with tempfile.TemporaryDirectory() as name:
        folder = sums(Path(name), width=64, layers=2)
        (without, size), (watched, _) = (spent(folder, each) for each in (False, True))
    spent_own, step = 1e3 * float(np.median(own)), 1e3 * float(np.median(np.diff(ends)))
    whole = (f"{1e3 * each / steps:.1f}" for each in (without, watched))
    rest, campaign = 100.0 * spent_own / (step - spent_own), 1e3 * shortest_step(group)
    shares = (f"{rest:.2f}", f"{campaign:.0f}", f"{100.0 * spent_own / campaign:.2f}")
    return (group, f"{size:,}", steps, *whole, f"{step:.1f}", f"{spent_own:.2f}", *shares)


HEAD: Final = f"""# What `verigap watch` sees, and what it cries over

Generated by `python -m tests.benchmarks.watch`; do not edit. Promise: at most {PROMISE:.0%} of runs have any false
alarm, over the whole run. How it is measured: the head of [watch.py](watch.py).
"""


def quiet_section(given: argparse.Namespace) -> str:
    """False alarms."""
    constant, others = campaign(given.draws, given.results)
    return f"""{given.simulated:,} simulated runs of {STEPS} steps, {PROMPTS} prompts of {GROUP} rollouts, whose channel never
changes (independent errors, errors that stay with a prompt, errors shared in a group), while accuracy rises, stands or
falls; the true channel is declared:

{false_alarms_simulated(given.simulated)}

The campaign's arms with independent errors, the true channel declared, labels drawn {given.draws} times over:

{constant}

Where J < 0 reward rises while accuracy falls, which is what `unfollowed` says: no false alarm there, and one that it
misses, since reward rises by little and its bets are on a step's mean. Where errors are tied to the answer, the realised
fpr is what the policy makes of it, which in that arm hardly moved:

{others}
"""


def exploit_section(given: argparse.Namespace) -> str:
    """Detection on learnable-errors."""
    summary, detail, still = learnable(given.many, given.results)
    return f"""Of the studies learnable-errors and rare-mode: arms whose errors follow a rule and that cost more than {HARM:g} of
accuracy at the end (mean from step {LATE} on, beside the clean run of the seed). Accuracy has fallen by {HARM:g} where the
first evaluation shows it that far behind the clean run (by 1,024 samples, at 20, 45, 100, … steps); or, stricter, where
a line between evaluations crosses {HARM:g}; or, later and all that a run alone can show, where it is that far below its
own best. Labels are drawn {given.many} times over. Weights of stakes, shares and tolerance were chosen with the three
`unfinished` arms of seed 0 in view; every other run was scored unseen.

{summary}

{missed(detail)}

Run by run. The oracle knows the policy's fpr at every step (over {SMOOTH} steps) and has no other alarm to share its
{PROMISE:.0%} with; its power is that by the step on the line:

{detail}

Runs of the same studies whose errors are a coin's, or that have none (the true channel declared):

{still}
"""


def oracle_section(given: argparse.Namespace) -> str:
    """What no test could see."""
    return f"""How many of the runs with harm above {LEAST[1]:g} the oracle flags by the deadlines of the table above, where it weighs
the labels once, at the deadline, with the whole {PROMISE:.0%}: no test of the declared fpr on
these labels flags more.

{possible(given.results)}
"""


def power_section(given: argparse.Namespace) -> str:
    """Detection on simulated runs."""
    return f"""200 runs like those above, whose fpr rises by .2 to .6, half of it by step 10 to 200:

{detection_simulated(200, 1)}
"""


def cost_section(given: argparse.Namespace) -> str:
    """What it costs."""
    return f"""The monitor's, of a step of the campaign's quickest run (139 k parameters, {PROMPTS} x {GROUP}, one core), beyond judging
labels:

{overhead()}

VerigapCallback's in TRL's trainer, {PROMPTS} prompts, at most 8 tokens, 8 labels a step, CPU time of one thread: of whole runs
without and with it, and step by step, counted in its own methods; beside the shortest step that the campaign took:

{callback(given.steps)}
"""


SECTIONS: Final = {
    "False alarms": quiet_section,
    "Detection: exploit arms": exploit_section,
    "Detection: the most that any test could see": oracle_section,
    "Detection: simulated runs whose fpr rises": power_section,
    "Cost": cost_section,
}


def missed(detail: str) -> str:
    """What was missed at 16 labels, in words."""
    rows = [line.strip("| ").split(" | ") for line in detail.splitlines()[2:]]
    told: list[str] = []
    for place, words in ((7, "before an evaluation shows it"), (9, "before that on a line")):
        late = [row for row in rows if row[3] == "16" and int(row[place].rstrip("%")) < 80]
        parts = [f"{row[0]} of seed {row[1]} ({row[place]}, the oracle {row[10]})" for row in late]
        said = "; ".join(parts) or "none"
        told.append(f"Missed at 16 labels a step, flagged {words} in under 80 % of draws: {said}.")
    return "\n\n".join(told)


def kept() -> dict[str, str]:
    """The sections that the file holds."""
    if not OUT.exists():
        return {}
    parts = OUT.read_text(encoding="utf-8").split("\n## ")[1:]
    return {name: text.strip() for name, _, text in (part.partition("\n") for part in parts)}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tune", action="store_true")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder of the studies' results"
    )
    parser.add_argument("--only", help="the section that begins so; the others stay")
    parser.add_argument("--simulated", type=int, default=SIMULATED)
    parser.add_argument("--draws", type=int, default=2, help="of the campaign's labels")
    parser.add_argument("--many", type=int, default=20, help="of learnable-errors' labels")
    parser.add_argument("--steps", type=int, default=150, help="of TRL's runs")
    given = parser.parse_args()
    if given.tune:
        print(detection_simulated(200, 0))  # noqa: T201
        return
    for name, made in SECTIONS.items():
        if given.only is None or name.startswith(given.only):
            text = made(given).strip()
            all_ = {**kept(), name: text}
            ordered = [f"## {one}\n\n{all_[one]}\n" for one in SECTIONS if one in all_]
            write_text(OUT, "\n".join([HEAD, *ordered]))


if __name__ == "__main__":
    main()
