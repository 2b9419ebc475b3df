"""Do the alarms of `verigap watch` keep their promise, and what do they see in time? Measured, not assumed.

    python -m tests.benchmarks.watch            writes WATCH.md beside this file (half an hour on one idle core)
    python -m tests.benchmarks.watch --only Cost    makes one section anew
    python -m tests.benchmarks.watch --tune     prints power on the simulated runs of seed 0, which stakes were tuned on

False alarms: 1,000 simulated runs whose channel never changes, in four structures, and the campaign's runs. Detection:
the exploit arms of learnable-errors. Of logged steps the labels are drawn from the step's counts, without replacement,
several times over; of simulated ones from the rollouts themselves, as the callback does, and two of one prompt are one
unit. Nothing of what is scored here was tuned on: the stakes were, on other simulated runs (--tune).
Oracle: no test sees more than the one that knows at every step what the true fpr is, and weighs the same labels by
their likelihood under it against the declared one; what it misses by a step, at the same false-alarm rate, cannot be
seen by anybody.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

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


def logged(study: str) -> Logged:
    """The committed steps of a study."""
    table = pd.read_parquet(RESULTS / study / "runs.parquet")
    table["noise"] = table["noise"].astype(str)
    runs = table.drop_duplicates("run_id").set_index("run_id")
    rows, counts, rewards = [], [], []
    for file in sorted((RESULTS / study / "steps").glob("*.parquet")):
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


def worlds(count: int, rng: np.random.Generator, *, exploit: bool) -> Iterator[World]:
    """Runs that learn, stand still or unlearn, under channels that stay as they are or rise."""
    structures = ("independent", "per_prompt", "group", "independent")
    for number in range(count):
        start, end = rng.uniform(0.1, 0.6), rng.uniform(0.3, 0.95)
        if number % 5 == 4:  # unlearns, or stands still
            start, end = max(start, end), rng.uniform(0.05, max(start, end))
        yield World(
            structure=structures[number % 4],
            fpr=float(rng.choice([0.0, rng.uniform(0.01, 0.4)], p=[0.1, 0.9])),
            fnr=float(rng.choice([0.0, rng.uniform(0.01, 0.3)], p=[0.3, 0.7])),
            start=start,
            end=end,
            pace=rng.uniform(10.0, 100.0),
            exploit=rng.uniform(0.2, 0.6) if exploit else 0.0,
            onset=rng.uniform(10.0, 200.0),
            speed=rng.uniform(3.0, 30.0),
        )


def simulated(
    world: World, seed: int, sizes: Sequence[int]
) -> tuple[dict[int, FloatArray], FloatArray]:
    """Audited units (T, PROMPTS, 3) by labels a step, NaN where a prompt has none, and the share paid (T,)."""
    rng = np.random.default_rng([seed, 7])
    units = {n: np.full((STEPS, PROMPTS, 3), np.nan) for n in sizes}
    reward = np.empty(STEPS)
    prompt = np.repeat(np.arange(PROMPTS), GROUP)
    for t in range(STEPS):
        mean = world.end + (world.start - world.end) * 0.5 ** (t / world.pace)
        pass_P = rng.beta(2.0 * mean, 2.0 * (1.0 - mean), PROMPTS)
        right = rng.random(PROMPTS * GROUP) < np.repeat(pass_P, GROUP)
        fpr = world.fpr + world.exploit / (1.0 + np.exp(-(t - world.onset) / world.speed))
        channel = VerifierChannel(min(fpr, 0.95), world.fnr)
        structure = {
            "independent": Independent,
            "per_prompt": PerPrompt,
            "group": lambda c: GroupCorrelated(c, 0.3),
        }[world.structure](channel)
        seen = Rollouts(
            right=right,
            prompt=(t * PROMPTS + prompt).astype(np.int64),
            index=np.arange(PROMPTS * GROUP, dtype=np.int64),
            group=prompt.astype(np.int64),
        )
        paid = structure.judge(seen, seed=seed, step=t)
        reward[t] = paid.mean()
        paid_PG, right_PG = paid.reshape(PROMPTS, GROUP), right.reshape(PROMPTS, GROUP)
        order, places = (
            rng.permutation(PROMPTS),
            rng.permuted(np.tile(np.arange(GROUP), (PROMPTS, 1)), axis=1),
        )
        for n in sizes:
            each, extra = divmod(n, PROMPTS)
            for rank, p in enumerate(order):
                own = places[p, : each + (rank < extra)]
                if len(own):
                    x, y = paid_PG[p, own], right_PG[p, own]
                    units[n][t, rank] = (x & ~y).mean(), (~y).mean(), (y & ~x).mean()
    return units, reward


def fired_simulated(
    units_RTU3: FloatArray, reward_RT: FloatArray, worlds_R: Sequence[World]
) -> dict[str, FloatArray]:
    """As `fired`, of simulated runs, each with its own channel declared."""
    since = {name: np.full(len(worlds_R), np.inf) for name in NAMES}
    for r, world in enumerate(worlds_R):
        alarms = Alarms(declared=Declared(world.fpr, world.fnr), false_alarm=PROMISE)
        for t in range(STEPS):
            own = units_RTU3[r, t]
            alarms.observe(t + 1, own[np.isfinite(own[:, 0])], reward=reward_RT[r, t])
        for name in NAMES:
            since[name][r] = alarms.since[name]
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
    runs = [simulated(world, 1000 + i, LABELS) for i, world in enumerate(made)]
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
    runs = [simulated(world, 5000 + 100 * seed + i, LABELS) for i, world in enumerate(made)]
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


def campaign(draws: int) -> tuple[str, str]:
    """False alarms on the campaign, and what went off where something was wrong."""
    data = logged("cpu-campaign")
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
    """When a run's accuracy had fallen by HARM: behind its clean run of the same seed, and below its own best."""

    harm: float
    behind: float
    below: float


def falls(study: str) -> dict[str, Fall]:
    """By run; steps are interpolated between evaluations, infinity where it never fell."""
    table_ = pd.read_parquet(RESULTS / study / "runs.parquet")
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
                float(lost[lost.index >= LATE].mean()), _crossing(lost), _crossing(below)
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
    true_T = np.clip(own[:, 0] / np.maximum(wrong_T, 1), 1e-3, 1.0 - 1e-3)
    p = max(fpr, 1e-3)
    paid, unpaid = np.log(true_T / p), np.log((1.0 - true_T) / (1.0 - p))
    size = np.minimum(labels, own.sum(axis=1))
    seen_ST = rng.hypergeometric(wrong_T, own.sum(axis=1) - wrong_T, size, size=(4000, stop))
    weights = []
    for rate_T in (np.full(stop, fpr), true_T):
        hits = rng.binomial(seen_ST, rate_T)
        weights.append((hits * paid + (seen_ST - hits) * unpaid).sum(axis=1))
    return float((weights[1] > np.quantile(weights[0], 1.0 - PROMISE)).mean())


def learnable(draws: int) -> tuple[str, str, str]:
    """Detection of exploit arms, and what was missed."""
    data = logged("learnable-errors")
    fallen = falls("learnable-errors")
    fpr, fnr = data.runs["fpr"].to_numpy(float), data.runs["fnr"].to_numpy(float)
    since = {
        n: [
            fired(
                drawn(data.counts_RTK, n, np.random.default_rng([3, n, d])),
                data.reward_RT,
                fpr,
                fnr,
            )
            for d in range(draws)
        ]
        for n in LABELS
    }
    rows, totals = (
        [],
        {
            (n, kind, least): [0, 0]
            for n in LABELS
            for kind in ("behind", "below")
            for least in (0.05, 0.2)
        },
    )
    quiet: dict[int, list[int]] = {n: [0, 0] for n in LABELS}
    for r, run in data.runs.iterrows():
        fall = fallen.get(run["run_id"])
        if fall is None or run["noise"] in ("independent",) or fall.harm < HARM:
            if (fall is not None and run["noise"] == "independent") or run["arm"] == "clean":
                for n in LABELS:
                    for one in since[n]:
                        quiet[n][0] += any(np.isfinite(one[name][r]) for name in NAMES)
                        quiet[n][1] += 1
            continue
        for n in LABELS:
            first = np.array([min(one[name][r] for name in NAMES) for one in since[n]])
            which = [
                min(NAMES, key=lambda name: one[name][r])
                for one in since[n]
                if np.isfinite(min(one[name][r] for name in NAMES))
            ]
            most = max(set(which), key=which.count) if which else "–"
            in_time = {
                kind: float((first <= getattr(fall, kind)).mean()) for kind in ("behind", "below")
            }
            for kind, part in in_time.items():
                for least in (0.05, 0.2):
                    if fall.harm > least:
                        totals[n, kind, least][0] += part
                        totals[n, kind, least][1] += 1
            best = oracle(
                data.counts_RTK[r], n, fpr[r], fall.behind, np.random.default_rng([4, r, n])
            )
            rows.append(
                (
                    run["arm"],
                    run["seed"],
                    f"{fall.harm:+.3f}",
                    n,
                    f"{np.median(first):.0f}" if np.isfinite(np.median(first)) else "–",
                    most,
                    f"{fall.behind:.0f}",
                    f"{in_time['behind']:.0%}",
                    f"{best:.0%}",
                    f"{np.median(first) - fall.behind:+.0f}"
                    if np.isfinite(np.median(first))
                    else "–",
                    f"{fall.below:.0f}" if np.isfinite(fall.below) else "never",
                    f"{in_time['below']:.0%}",
                )
            )
    detail = table(
        (
            "arm",
            "seed",
            "harm",
            "labels",
            "median step of the first alarm",
            "mostly",
            "behind clean by .05 at",
            "flagged before",
            "the oracle",
            "delay",
            "below its best by .05 at",
            "flagged before it",
        ),
        rows,
    )
    summary = table(
        (
            "labels a step",
            "arms",
            "runs",
            "flagged before .05 behind clean",
            "flagged before .05 below their best",
        ),
        [
            (
                n,
                f"harm above {least:g}",
                totals[n, "behind", least][1],
                *(
                    f"{totals[n, kind, least][0] / totals[n, kind, least][1]:.0%}"
                    if totals[n, kind, least][1]
                    else "–"
                    for kind in ("behind", "below")
                ),
            )
            for n in LABELS
            for least in (0.05, 0.2)
        ],
    )
    still = table(
        ("labels a step", "watched clean and coin runs with an alarm"),
        [(n, share(*quiet[n])) for n in LABELS if quiet[n][1]],
    )
    return summary, detail, still


def overhead() -> str:
    """What watching costs a step, beyond judging the labels."""
    files = sorted((RESULTS / "cpu-campaign/steps").glob("g8-*.parquet"))
    of = min(
        float(pd.read_parquet(f, columns=["step_seconds"])["step_seconds"].median()) for f in files
    )
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
    return table(("labels a step", "ms a step", "the smallest model's step, ms", "% of it"), rows)


HEAD: Final = f"""# What `verigap watch` sees, and what it cries over

Generated by `python -m tests.benchmarks.watch`; do not edit. Promise: at most {PROMISE:.0%} of runs have any false
alarm, over the whole run. How it is measured: the head of [watch.py](watch.py).
"""


def quiet_section(given: argparse.Namespace) -> str:
    """False alarms."""
    constant, others = campaign(given.draws)
    return f"""{given.simulated:,} simulated runs of {STEPS} steps, {PROMPTS} prompts of {GROUP} rollouts, whose channel never
changes (independent errors, errors that stay with a prompt, errors shared in a group), while accuracy rises, stands or
falls; the true channel is declared:

{false_alarms_simulated(given.simulated)}

The campaign's arms with independent errors, the true channel declared, labels drawn {given.draws} times over:

{constant}

There not every alarm is false. Where J < 0 reward rises while accuracy falls, which is what `unfollowed` says; where
errors are tied to the answer, the realised fpr is what the policy makes of it:

{others}
"""


def exploit_section(given: argparse.Namespace) -> str:
    """Detection on learnable-errors."""
    summary, detail, still = learnable(given.many)
    return f"""An arm whose errors follow a rule and that costs more than {HARM:g} of accuracy at the end (mean from step {LATE} on,
beside the clean run of its seed). Its accuracy has fallen by {HARM:g} where it is that far behind the clean run, or,
which comes later and is what a run alone can show, below its own best; steps are interpolated between evaluations.
Labels are drawn {given.many} times over. The shares of the promise and the tolerance were chosen with the three
`unfinished` arms of seed 0 in view; every other run was scored unseen.

{summary}

{missed(detail)}

Run by run. The oracle knows the true fpr of every step and has no other alarm to share its {PROMISE:.0%} with:

{detail}

Runs of the same study whose errors are a coin's, or that have none (the true channel declared):

{still}
"""


def power_section(given: argparse.Namespace) -> str:
    """Detection on simulated runs."""
    return f"""200 runs like those above, whose fpr rises by .2 to .6, half of it by step 10 to 200:

{detection_simulated(200, 1)}
"""


def cost_section(given: argparse.Namespace) -> str:
    """What it costs."""
    return f"""Of a step of the smallest model that this project trains (139 k parameters, 8 x 8, one core), beyond judging labels:

{overhead()}
"""


SECTIONS: Final = {
    "False alarms": quiet_section,
    "Detection: exploit arms of learnable-errors": exploit_section,
    "Detection: simulated runs whose fpr rises": power_section,
    "Cost": cost_section,
}


def missed(detail: str) -> str:
    """What was missed at 16 labels, in words."""
    rows = [line.strip("| ").split(" | ") for line in detail.splitlines()[2:]]
    late = [row for row in rows if row[3] == "16" and int(row[7].rstrip("%")) < 80]
    if not late:
        return "At 16 labels a step every one of these runs is flagged in at least 80 % of draws before it is .05 behind clean."
    parts = [
        f"{row[0]} (seed {row[1]}: {row[7]}, the oracle {row[8]}, a median of {row[9]} steps)"
        for row in late
    ]
    return (
        "Missed at 16 labels a step, flagged in under 80 % of draws before being .05 behind clean: "
        + "; ".join(parts)
        + "."
    )


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
    parser.add_argument("--only", help="the section that begins so; the others stay")
    parser.add_argument("--simulated", type=int, default=SIMULATED)
    parser.add_argument("--draws", type=int, default=2, help="of the campaign's labels")
    parser.add_argument("--many", type=int, default=20, help="of learnable-errors' labels")
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
