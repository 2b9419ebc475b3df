"""Do the verdicts of `verigap gap` hold against truths that no law contains? Measured through the code users call.

    python -m tests.benchmarks.verdicts --replications 2000 --sums sums.json          the four truths and the power
    python -m tests.benchmarks.verdicts --wide --replications 200 --sums sums.json    the other truths
    python -m tests.benchmarks.verdicts --collapse --replications 1000 --sums sums.json   falls, false and true

Each goes on from the sums it finds and then writes its half of COVERAGE.md, of all that the sums hold.

World, with the campaign's noise: ten evaluations at the campaign's share of its steps, 2,048 samples each;
evaluations of one seed err alike in all arms (spread .006), its accuracy late in training too (.004), and a paired gap
g has variance .003^2 + |g| (1 - |g|)/4096 of its own (the campaign's spreads over the last evaluations at 8 rollouts:
.003 at .009, .004 at .019 and .034). Accuracy rises from .3 by .6. The clean arm's course solves d share/dt =
v(share); the noisy arm's is the same at a pace that moves with the share, up to a rise smaller by the floor. Wrong is
"closes" with a floor above delta; "persists" for ever with a floor of at most delta; "persists" at a budget where the
true gap there is at most delta.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fits.arms import fit_arms
from fits.asymmetry import asymmetry_of
from fits.files import write_text
from fits.gap import arm_gap
from fits.inference import student_interval
from fits.laws import CURVE_LAWS
from tests.benchmarks.collapses import FALLS, LENGTHS, counted, found

FloatArray = NDArray[np.float64]

DELTA = 0.01
START, RISE, SAMPLES = 0.3, 0.6, 2048
SHARED, SEED, OWN = 0.006, 0.004, 0.003
CAMPAIGN = np.array([0, 10, 20, 40, 60, 80, 100, 150, 200, 300]) / 300.0


@dataclass(frozen=True)
class Truth:
    """A noisy arm: its floor, and what became of it. pace: from the start of the rise to its end.

    course: of the clean arm. slow: share of the prompts that learn at a tenth of the pace, in the noisy arm only.
    fall: share of the budget after which the noisy arm loses all. never: it does not learn.
    """

    name: str
    floor: float = 0.0
    pace: tuple[float, float] = (0.7, 0.7)
    midpoints: float = 4.5
    seeds: int = 5
    course: str = "exponential"
    slow: float = 0.0
    fall: float = 1.0
    never: bool = False


FOUR = (
    Truth("paced as by false positives, floor .02", 0.02, (0.7, 1.0)),
    Truth("paced as by false positives, floor .015", 0.015, (0.7, 1.0)),
    Truth("paced as by false negatives, floor 0", 0.0, (1.0, 0.7)),
    Truth("constant .7, floor 0"),
)
POWER = (
    Truth("constant .7, floor 0, ten midpoints", midpoints=10.0),
    Truth("constant .7, floor .03, ten midpoints", 0.03, midpoints=10.0),
)


def wide() -> list[Truth]:
    """Truths of the same kinds and of others: what is cured, and what is not."""
    found: list[Truth] = []
    for course in ("exponential", "sigmoid"):
        for last in (0.75, 0.8, 0.85, 0.95):
            for pace in dict.fromkeys(((0.75, last), (last, 0.75))):
                name = f"{course}, pace {pace[0]:g} to {pace[1]:g}"
                found += [Truth(name, pace=pace, course=course)]
        found += [
            Truth(f"{course}, pace 1 to .4", pace=(1.0, 0.4), course=course),
            Truth(f"{course}, pace .4 to 1, floor .02", 0.02, (0.4, 1.0), course=course),
            Truth(f"{course}, a tenth of the prompts slow", course=course, slow=0.1),
            Truth(f"{course}, never learned", 0.6, course=course, never=True),
            Truth(f"{course}, lost at .8 of the budget", 0.6, course=course, fall=0.8),
        ]
    found += [
        Truth("two phases", course="two phases"),
        Truth("log-linear growth", course="log-linear"),
    ]
    base = FOUR[2]
    found += [
        replace(base, name=f"{base.name}, {mid:g} midpoints", midpoints=mid)
        for mid in (1.0, 2.0, 7.0, 10.0)
    ]
    found += [
        replace(truth, name=f"{truth.name}, {seeds} seeds", seeds=seeds)
        for truth in (FOUR[0], base)
        for seeds in (3, 8)
    ]
    return found


def _share(course: str, clock: FloatArray) -> FloatArray:
    """Share of the rise done at this many midpoints."""
    if course == "sigmoid":
        return clock**1.5 / (1.0 + clock**1.5)
    if course == "two phases":
        return 0.6 * (1.0 - 0.5**clock) + 0.4 / (1.0 + np.exp(-4.0 * (clock - 4.0)))
    if course == "log-linear":
        return np.log1p(clock) / np.log1p(20.0)
    return 1.0 - 0.5**clock


def curves(truth: Truth, share_T: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean accuracies of the clean and the noisy arm at these shares of the budget, (T,) each."""
    clock = np.concatenate([[0.0], np.geomspace(1e-4, 1.0, 4000)]) * 3.0 * truth.midpoints
    done = _share(truth.course, clock)
    first, last = truth.pace
    middle = 0.5 * (done[1:] + done[:-1])
    time = np.concatenate([[0.0], np.cumsum(np.diff(clock) / (first + (last - first) * middle))])
    at_T = share_T * truth.midpoints
    clean_T = _share(truth.course, at_T)
    noisy_T = np.interp(at_T, time, done)
    if truth.slow:
        noisy_T = (1.0 - truth.slow) * noisy_T + truth.slow * _share(truth.course, 0.1 * at_T)
    if truth.never:
        noisy_T = np.zeros_like(at_T)
    if truth.fall < 1.0:
        noisy_T = np.where(share_T > truth.fall, 0.0, noisy_T)
    rise = RISE if truth.never or truth.fall < 1.0 else RISE - truth.floor
    return START + RISE * clean_T, START + rise * noisy_T


def ends_of(truth: Truth) -> tuple[float, float]:
    """The true gap at the largest budget, and its change over the last doubling of compute."""
    clean_T, noisy_T = curves(truth, CAMPAIGN)
    gap_T = clean_T - noisy_T
    return float(gap_T[-1]), float(gap_T[-1] - gap_T[7])


def draw(
    rng: np.random.Generator, means_AT: FloatArray, seeds: int, *, alike: bool = False
) -> FloatArray:
    """Accuracies (A, seeds, T) of matched arms; alike: their pairs spread by .004 whatever the gap."""
    A, T = means_AT.shape
    shared = rng.normal(0.0, SHARED, (seeds, T)) + rng.normal(0.0, SEED, (seeds, 1)) * np.linspace(
        0.0, 1.0, T
    )
    # Every arm bears its part of the paired gap's variance, gaps being counted from the first arm.
    gap_AT = np.abs(means_AT[0] - means_AT)
    variance_AT = 0.5 * OWN**2 + 0.5 * gap_AT * (1.0 - gap_AT) / SAMPLES
    variance_AT[0] = 0.5 * OWN**2
    if alike:
        variance_AT[:] = 0.5 * 0.004**2
    own = rng.normal(0.0, 1.0, (A, seeds, T)) * np.sqrt(variance_AT)[:, None, :]
    return np.clip(means_AT[:, None, :] + shared + own, 0.0, 1.0)


def frame_of(accuracy_AST: FloatArray, names: tuple[str, ...], x_T: FloatArray) -> pd.DataFrame:
    """The run table of these arms."""
    A, S, T = accuracy_AST.shape
    arm, seed, at = np.meshgrid(np.arange(A), np.arange(S), np.arange(T), indexing="ij")
    labels = np.array(names)[arm.ravel()]
    return pd.DataFrame(
        {
            "arm": labels,
            "run_id": [f"{a}-{s}" for a, s in zip(labels, seed.ravel(), strict=True)],
            "seed": seed.ravel(),
            "rollouts": x_T[at.ravel()],
            "accuracy": accuracy_AST.ravel(),
            "n_eval": SAMPLES,
        }
    )


def tally(truth: Truth, replications: int, chunk: int = 0) -> Counter[str]:
    """Sums over replications of what is counted of one truth; chunks are independent of each other."""
    rng = np.random.default_rng([13, chunk, *truth.name.encode()])
    means = np.stack(curves(truth, CAMPAIGN))
    end, trend = ends_of(truth)
    x_T = np.round(CAMPAIGN * 19_200)
    sums: Counter[str] = Counter()
    for _ in range(replications):
        accuracy_AST = draw(rng, means, truth.seeds)
        frame = frame_of(accuracy_AST, ("clean", "noisy"), x_T)
        frame = frame.assign(_unit=frame["seed"].astype(str))
        noisy = frame["arm"] == "noisy"
        held = [("clean", frame[~noisy], False), ("noisy", frame[noisy], False)]
        ours, theirs = fit_arms(held, "rollouts", CURVE_LAWS, "least-squares")
        arm = arm_gap(ours, theirs, {}, delta=DELTA, paired=True)
        for_ever = arm.horizon == "asymptote"
        sums[f"{arm.verdict} {'for ever' if for_ever else 'there'}"] += 1
        true = truth.floor if for_ever else end
        sums["false closes"] += arm.verdict == "closes" and truth.floor > DELTA
        sums["false persists"] += arm.verdict == "persists" and true <= DELTA
        assert arm.end_ci is not None
        assert arm.trend_ci is not None
        sums["end covered"] += arm.end_ci[0] <= end <= arm.end_ci[1]
        sums["trend covered"] += arm.trend_ci[0] <= trend <= arm.trend_ci[1]
        sums["trend narrows"] += arm.trend_ci[1] < 0.0
        sums["trend widens"] += arm.trend_ci[0] > 0.0
        _, ci = student_interval(accuracy_AST[0, :, -1] - accuracy_AST[1, :, -1])
        assert ci is not None
        # In millionths: sums of counters are whole.
        sums["width"] += round(1e6 * (arm.end_ci[1] - arm.end_ci[0]))
        sums["plain width"] += round(1e6 * (ci[1] - ci[0]))
    sums["replications"] = replications
    return sums


def rates_of(sums: Mapping[str, int]) -> dict[str, float]:
    """Shares of the replications, and the mean width of the end's interval over that of the plain t."""
    rates = {
        name: count / sums["replications"]
        for name, count in sorted(sums.items())
        if name not in ("replications", "width", "plain width")
    }
    return {**rates, "end width over plain t": sums["width"] / sums["plain width"]}


def verdicts(truth: Truth, replications: int) -> dict[str, float]:
    """Rates of the verdicts, of the wrong ones, and coverage and width of the measured end and trend."""
    return rates_of(tally(truth, replications))


def false_alarms(seeds: int, replications: int, chunk: int = 0) -> float:
    """How often two mirror arms of one accuracy at the end, that came there at different paces, are told apart.

    Asymmetry is judged by the measured end alone, so that is all the arms are given.
    """
    rng = np.random.default_rng([14, seeds, chunk])
    fp, fn = Truth("fp", pace=(0.7, 1.0)), Truth("fn", pace=(1.0, 0.7))
    means = np.stack([curves(fp, CAMPAIGN)[1], curves(fn, CAMPAIGN)[1]])
    means[1] += (means[0, -1] - means[1, -1]) * CAMPAIGN
    hit = 0
    for _ in range(replications):
        end_AS1 = draw(rng, means, seeds, alike=True)[:, :, -1:]
        frame = frame_of(end_AS1, ("fp", "fn"), np.array([19_200.0]))
        fp_rows = frame["arm"] == "fp"
        frame = frame.assign(
            _unit=frame["seed"].astype(str),
            fpr=np.where(fp_rows, 0.4, 0.0),
            fnr=np.where(fp_rows, 0.0, 0.4),
        )
        held = [("fp", frame[fp_rows], False), ("fn", frame[~fp_rows], False)]
        ci = asymmetry_of(
            fit_arms(held, "rollouts", (CURVE_LAWS[2],), "least-squares"), paired=True
        ).ci
        hit += ci is not None and not ci[0] <= 0.0 <= ci[1]
    return hit / replications


CHUNK = 50
TABLE = Path(__file__).with_name("COVERAGE.md")
MARKER = "<!-- by tests.benchmarks.verdicts -->"


def alone(page: str) -> str:
    """The half of COVERAGE.md that tests.benchmarks.coverage writes."""
    return page.partition(MARKER)[0].rstrip("\n") + "\n"


def page_of(sums: Mapping[str, Mapping[str, int]], other: Mapping[str, float]) -> Iterator[str]:
    """The lines of the half of COVERAGE.md about verdicts; other: alarms and finds by name."""
    yield MARKER
    yield "\n## Verdicts of `gap`\n"
    yield (
        "Generated by `python -m tests.benchmarks.verdicts` (its docstring describes the world): through `gap`'s own"
        " code, delta .01, 4.5 midpoints and 5 seeds unless said. Wrong is closes with a floor above delta, persists for"
        " ever with a floor of at most delta, persists at a budget where the gap there is at most delta. Trend: of the"
        " gap over the last doubling of compute, said to narrow or to widen where its interval excludes 0. Not cured:"
        " silence about sigmoid courses at 4.5 midpoints, mostly undetermined; and a gap that closes by what no"
        " evaluation has shown yet (a tenth of the prompts that learns ten times slower, a second phase): persists is"
        " right for the budget, which it names, and would be wrong for ever. Log-linear growth has no end; its floor is"
        " called 0.\n"
    )
    yield (
        "| truth | floor | gap at the end | its trend | replications | closes | persists for ever | persists there |"
        " undetermined | false closes | false persists | end covered | width over plain t | trend covered | narrows |"
        " widens |"
    )
    yield "|" + "---|" * 16
    truths = {truth.name: truth for truth in (*FOUR, *POWER, *wide())}
    for name, sums_of in sums.items():
        truth, rate = truths[name], Counter(rates_of(sums_of))
        end, trend = ends_of(truth)
        shares = (
            rate["closes for ever"] + rate["closes there"],
            rate["persists for ever"],
            rate["persists there"],
            rate["undetermined for ever"] + rate["undetermined there"],
            rate["false closes"],
            rate["false persists"],
            rate["end covered"],
            rate["end width over plain t"],
            rate["trend covered"],
            rate["trend narrows"],
            rate["trend widens"],
        )
        said = " | ".join(f"{share:.3f}" for share in shares)
        yield f"| {name} | {truth.floor:g} | {end:.3f} | {trend:+.3f} | {sums_of['replications']} | {said} |"
    for kind, title in (
        ("asymmetry", "Asymmetry of arms that end alike, called one (nominal .05)"),
        ("alarm", "Monotone curves called a collapse, by length, over noises and courses"),
        ("found", "Collapses found, noise .01"),
    ):
        lines = {name: share for name, share in other.items() if name.startswith(f"{kind}: ")}
        if lines:
            yield f"\n{title}:\n"
            yield "| | share |"
            yield "|---|---|"
            for name, share in lines.items():
                yield f"| {name.partition(': ')[2]} | {share:.4f} |"


def falls(replications: int) -> Iterator[tuple[str, float]]:
    """The worst and the mean cell of false alarms, and the share of true falls found, by name."""
    for seeds, n_eval in ((1, None), (1, 2048), (1, 20_000), (5, None), (5, 2048)):
        for T in LENGTHS:
            cell = counted(T, replications, seeds=seeds, n_eval=n_eval)
            runs = "one run" if seeds == 1 else f"{seeds} runs"
            where = f"{T} evaluations, {runs}, n_eval {n_eval or 'unknown'}"
            which = f"{cell.course}, noise {cell.noise:g}" if cell.worst else "any"
            yield f"alarm: {where}, worst ({which}; {cell.curves} curves)", cell.worst
            yield f"alarm: {where}, mean", cell.mean
    for fall in FALLS:
        for length in (6, 8, 10, 20, 60):
            for of_five in (False, True):
                share = found(fall, length, 0.01, 50, of_five=of_five)
                yield f"found: {fall}, {length} evaluations{', one seed of five' * of_five}", share


def main() -> None:
    """Add to --sums until every truth has its replications, all truths in turn, and write COVERAGE.md's half."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--replications", type=int, default=2000)
    parser.add_argument("--wide", action="store_true")
    parser.add_argument("--collapse", action="store_true")
    parser.add_argument("--sums", type=Path, required=True)
    arguments = parser.parse_args()
    sums: dict[str, dict[str, int]] = {}
    other: dict[str, float] = {}
    if arguments.sums.exists():
        held = json.loads(arguments.sums.read_text())
        sums, other = held["sums"], held["other"]

    def keep() -> None:
        write_text(arguments.sums, json.dumps({"sums": sums, "other": other}, indent=1) + "\n")
        lines = "\n".join(page_of(sums, other))
        write_text(TABLE, f"{alone(TABLE.read_text())}\n{lines}\n")

    if arguments.collapse:
        for name, share in falls(arguments.replications):
            other[name] = share
            keep()
        return
    for chunk in range(-(-arguments.replications // CHUNK)):
        for truth in wide() if arguments.wide else (*FOUR, *POWER):
            have = Counter(sums.get(truth.name, {}))
            if have["replications"] <= chunk * CHUNK:
                sums[truth.name] = dict(have + tally(truth, CHUNK, chunk))
                keep()
    if not arguments.wide:
        for seeds in (3, 5):
            other[f"asymmetry: {seeds} seeds"] = false_alarms(seeds, arguments.replications)
    keep()


if __name__ == "__main__":
    main()
