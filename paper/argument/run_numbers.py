"""Numbers of our own runs, of data outside the repository and of the benchmarks, each from what is committed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import spearmanr

from empirical.collect import TABLE
from empirical.probe import Probe, SizeProbe, read_probe
from empirical.studies import Study, read_study
from fits import InputError
from fits.hypotheses import Estimate
from paper.argument.foretold import foretold_numbers
from paper.argument.practice import ERROR_ARMS, compute_numbers, margin_numbers, probe_numbers
from paper.argument.texts import Numbers, count, escaped, interval, number, percent, signed
from paper.claims import EARLY as CLIMB_EARLY
from paper.claims import LATE, RATES
from paper.learnable import EARLY, HARM, Learnable, learnable
from paper.numbers import Findings, read_findings
from paper.probe import ProbeCheck, check, climb_by_law, rms, speeds_said
from paper.trained import CAMPAIGN, SIZES, SMOLLM2, Beside, read_beside
from theory import DR_GRPO, VerifierChannel, population_phi2, snr2_weight

__all__ = ["Material", "Record", "coverage", "evidence", "load"]

JUDGED: Final = ("supported", "contradicted", "undetermined")
# What is said of a speed besides the probe, by its name in keys.
RIVALS: Final = {"no slowing": "one", "J": "j", "φ": "phi", "noise scales": "law"}
OF_GROUPS: Final = ("P1", "P6")  # asked of real groups of others, with noise injected
SHOWN_LEVELS: Final = ("over_training", "end")
LEARNABLE: Final = "learnable-errors"
RARE: Final = "rare-mode"
RULE: Final = "unfinished"


@dataclass(frozen=True)
class Record:
    """A row of a table of tests/benchmarks/COVERAGE.md, its cells as they stand there."""

    cells: tuple[str, ...]

    def at(self, column: int) -> float:
        """A cell as a number."""
        return float(self.cells[column])


@dataclass(frozen=True)
class Material:
    """What the numbers, tables and figures of the manuscript are made of.

    learnable, rare: the studies learnable-errors and rare-mode. probes: of initial weights, by study. beside: the
    studies beside the campaign, foretold: their numbers. blind: sets of forecasts committed before their answers;
    answered: names of those whose runs are there.
    """

    findings: Findings
    runs: pd.DataFrame
    probe: ProbeCheck
    learnable: Learnable
    rare: Learnable
    learnable_runs: pd.DataFrame
    learnable_steps: pd.DataFrame
    verdict_tables: dict[str, tuple[Record, ...]]
    studies: tuple[Study, ...]
    probes: dict[str, Probe]
    beside: Beside
    foretold: dict[str, Numbers]
    blind: tuple[dict[str, Any], ...]
    answered: frozenset[str]
    reported: dict[str, dict[str, str]]


def load(root: Path) -> Material:
    """Read everything below the repository's `root`.

    Raises InputError where findings.json is not there or a table is not what it was, StudyError as readers do.
    """
    results = root / "empirical" / "results"
    findings = read_findings(root / "paper" / "generated" / "findings.json")
    if findings is None:
        raise InputError(
            "paper/generated/findings.json: not there; `python -m paper results` makes it"
        )
    runs = pd.read_parquet(results / CAMPAIGN / TABLE)
    folder = results / LEARNABLE
    columns = ["run_id", "step", "wrong", "paid_wrong"]
    logs = sorted((folder / "steps").glob("*.parquet"))
    beside = read_beside(results, root / "paper" / "forecasts")
    return Material(
        findings=findings,
        runs=runs,
        probe=check(read_probe(results / CAMPAIGN / "probe.json"), runs),
        learnable=_learnable(root, LEARNABLE),
        rare=_learnable(root, RARE),
        learnable_runs=pd.read_parquet(folder / TABLE),
        learnable_steps=pd.concat([pd.read_parquet(file, columns=columns) for file in logs]),
        studies=tuple(
            read_study(root / "empirical/studies/trained" / f"{name}.yaml")
            for name in (CAMPAIGN, LEARNABLE, RARE, SMOLLM2, "corrections", "corrections-learnable")
        ),
        probes={
            _probed(file): read_probe(file)
            for pattern in ("*/probe.json", f"{SIZES}/probe-*.json")
            for file in sorted(results.glob(pattern))
        },
        beside=beside,
        foretold=foretold_numbers(beside, results),
        verdict_tables=coverage(root / "tests" / "benchmarks" / "COVERAGE.md"),
        blind=tuple(
            json.loads(file.read_text(encoding="utf-8"))
            for file in sorted((root / "paper" / "forecasts").glob("*.json"))
        ),
        answered=frozenset(
            file.stem
            for file in (root / "paper" / "forecasts").glob("*.json")
            if (results / file.stem / TABLE).is_file()
        ),
        reported=json.loads(
            (root / "paper" / "outside" / "reported.json").read_text(encoding="utf-8")
        ),
    )


def _probed(file: Path) -> str:
    """What a probe is called: its study, and its model where the study has several."""
    return " ".join((file.parent.name, file.stem.removeprefix("probe").strip("-"))).strip()


def _learnable(root: Path, study: str) -> Learnable:
    """The study held against what told it."""
    folder = root / "empirical" / "results" / study
    return learnable(read_study(root / "empirical/studies/trained" / f"{study}.yaml"), folder)


def coverage(path: Path) -> dict[str, tuple[Record, ...]]:
    """The tables of COVERAGE.md by the first cell of their head. Raises InputError where there are none."""
    tables: dict[str, tuple[Record, ...]] = {}
    head: str = ""
    rows: list[Record] = []
    for line in [*path.read_text(encoding="utf-8").splitlines(), ""]:
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not rows and not head:
                head = cells[0] if cells[0] != "truth" or len(cells) < 12 else "verdicts"
            elif not set("".join(cells)) <= set("-: "):
                rows.append(Record(tuple(cells)))
        elif head:
            tables.setdefault(head, tuple(rows))
            head, rows = "", []
    if "truth" not in tables or "verdicts" not in tables:
        raise InputError(f"{path}: holds no table of laws and none of verdicts")
    return tables


def evidence(material: Material) -> dict[str, Numbers]:
    """Everything, by the name of the function that made it."""
    makers = (
        campaign,
        verdicts,
        estimates,
        climbs,
        gaps,
        floors,
        equal_compute,
        margins,
        labels,
        probed_speeds,
        returns,
        rollouts_worth,
        forecasts,
        blind,
        step_law,
        errors_learned,
        rare_mode,
        one_law,
        verdict_errors,
        outside,
        reported,
    )
    found = {f"{__name__}.{make.__name__}": make(material) for make in makers}
    return found | material.foretold


def campaign(material: Material) -> Numbers:
    """What was trained."""
    found, frame, probe = material.findings.campaign, material.runs, material.probe.probe
    seeds = [int(n) for n in found.seeds.values()]
    return {
        "campaign.runs": count(found.runs),
        "campaign.planned": "--" if found.planned is None else count(found.planned),
        "campaign.rows": count(found.rows),
        "campaign.samples": count(found.samples),
        "campaign.steps": count(found.steps),
        "campaign.seeds": count(min(seeds))
        if min(seeds) == max(seeds)
        else f"{min(seeds)} to {max(seeds)}",
        "campaign.arms": count(frame["arm"].nunique()),
        "campaign.sizes": ", ".join(str(size) for size in sorted(frame["group_size"].unique())),
        "campaign.prompts": count(frame["prompts_per_step"].iloc[0]),
        "campaign.weights": f"{probe.weights_total / 1000:.0f}\\,k",
        "campaign.pass-rate": number(probe.pass_rate),
        "climb.low": number(CLIMB_EARLY[1]),
        "climb.from": number(LATE[0] or 0.0, 1),
        "climb.to": number(LATE[1]),
        "size.largest": count(frame["group_size"].max()),
        "rate.high": number(0.4, 1),
        "rate.weak": number(0.2, 1),
        "campaign.rollouts": f"{frame.groupby('run_id')['rollouts'].max().sum() / 1e6:.0f} million",
    }


def verdicts(material: Material) -> Numbers:
    """The verdict on each claim, and how many were decided."""
    asked = {one.key: one.finding.verdict for one in material.findings.questions}
    judged = {
        one.key: one.finding.verdict
        for one in material.findings.questions
        if one.finding.rows and one.finding.verdict in JUDGED
    }
    of_runs = [verdict for key, verdict in judged.items() if key not in OF_GROUPS]
    return {f"verdict.{key}": escaped(verdict) for key, verdict in asked.items()} | {
        "verdict.C2": _by_kind({key: asked[key] for key in ("C2a", "C2b", "C2c")}),
        "verdict.C2end": _by_kind({key: asked[key] for key in ("C2d", "C2e", "C2f")}),
        "verdicts.judged": count(len(judged)),
        "verdicts.decided": count(sum(verdict != "undetermined" for verdict in judged.values())),
        "verdicts.of-runs": count(len(of_runs)),
        "verdicts.of-groups": count(len(judged) - len(of_runs)),
        "verdicts.delta": number(0.01),
    }


def _by_kind(verdicts: Mapping[str, str]) -> str:
    """Verdicts on one claim about false positives, false negatives and both, in this order, in words."""
    kinds: dict[str, list[str]] = {}
    words = ("false positives", "false negatives", "both errors")
    for word, verdict in zip(words, verdicts.values(), strict=True):
        kinds.setdefault(verdict, []).append(word)
    if len(kinds) == 1:
        return f"{next(iter(kinds))} for each of false positives, false negatives and both"
    return ", ".join(f"{verdict} for {' and '.join(of)}" for verdict, of in kinds.items())


def _slug(label: str) -> str:
    """An estimate's label as a key: "end: 4 rollouts" is end.4, an average "mean"."""
    label = re.sub(r"mean of [\d, ]+ rollouts", "mean", label)
    label = re.sub(r"(\d+) against (\d+) rollouts", r"\1-\2", label)
    label = re.sub(r"(\d+) rollouts", r"\1", label)
    return re.sub(r"[^A-Za-z0-9.]+", "-", label.replace(": ", ".")).strip("-")


def estimates(material: Material) -> Numbers:
    """Every estimate of every claim that is about accuracy or the log of a ratio: value and 95 % interval."""
    found: Numbers = {}
    for one in material.findings.questions:
        for row in one.finding.rows:
            key = f"est.{one.key}.{_slug(row.estimate.label)}"
            found[key] = _spanned(row.estimate)
    return found


def _spanned(estimate: Estimate, digits: int = 3) -> str:
    return f"{signed(estimate.value, digits)} {interval(estimate.ci, digits)}"


def climbs(material: Material) -> Numbers:
    """The order of the errors on the way to the lower crossover, over what the law with one score noise says of it."""
    asked = next(one for one in material.findings.questions if one.key == "P2")
    times: list[float] = []
    for size in material.probe.probe.group_sizes:
        label = f"start to {CLIMB_EARLY[1]:g}: {size} rollouts"
        for row in asked.finding.rows:
            if row.estimate.label == label:
                said = climb_by_law(
                    material.probe.probe, size, *CLIMB_EARLY, [float(r) for r in RATES]
                )
                times.append(row.estimate.value / said)
    if not times:
        return {}
    return {"climb.times-least": count(min(times)), "climb.times-most": count(max(times))}


def gaps(material: Material) -> Numbers:
    """Accuracy lost by each arm with independent errors and J > 0, over training and at the end."""
    found: Numbers = {}
    for gap in material.findings.gaps:
        if gap.arm.removeprefix("drgrpo-") in ERROR_ARMS:
            for level in SHOWN_LEVELS:
                one: Estimate = getattr(gap, level)
                word = "over" if level == "over_training" else "end"
                key = f"gap.{gap.arm}.{gap.group_size}.{word}"
                found |= {key: number(one.value, 3), f"{key}.ci": interval(one.ci)}
    return found


def floors(material: Material) -> Numbers:
    """How many arms close, persist or are undetermined by `gap`, of independent errors with J > 0."""
    own = [
        floor
        for floor in material.findings.floors
        if floor.arm.removeprefix("drgrpo-") in ERROR_ARMS
    ]
    tally = Counter(floor.verdict for floor in own)
    forever = sum(1 for floor in own if floor.verdict == "persists" and floor.basis == "asymptote")
    return {
        f"floors.{word}": count(tally[word]) for word in ("closes", "persists", "undetermined")
    } | {
        "floors.all": count(len(own)),
        "floors.forever": count(forever),
        "floors.delta": number(0.01),
    }


def equal_compute(material: Material) -> Numbers:
    """Which group size is best at equal rollouts."""
    return compute_numbers(material.runs)


def margins(material: Material) -> Numbers:
    """What half and twice the margin make of the verdicts."""
    return margin_numbers(material.findings, ERROR_ARMS)


def labels(material: Material) -> Numbers:
    """How many labelled rollouts a probe takes."""
    return probe_numbers(material.probes)


def probed_speeds(material: Material) -> Numbers:
    """The probe of the initial weights against the first steps and the whole of training."""
    found, probe = material.probe, material.probe.probe
    forms = {(one.form, one.until): one for one in found.forms}
    last = max(until for _, until in forms)
    checked = found.checked
    coin = {one.group_size: one for one in found.others if one.arm == "coin" and one.step == 20}
    numbers = {
        "probe.rows": count(checked.rows),
        "probe.rmse": number(checked.rmse, 3),
        "probe.bias": number(checked.bias, 3),
        "probe.rank": number(checked.rank_correlation),
        "probe.within": percent(checked.within),
        "probe.measured-se": number(checked.measured_se, 3),
        "probe.clock": number(found.clock_rmse, 3),
        "probe.clock-runs": number(found.clock_rmse_of_runs, 3),
        "probe.clock-rows": count(found.clock_rows),
        "probe.adam": number(forms["adam", last].rmse, 3),
        "probe.sgd": number(forms["sgd", last].rmse, 3),
        "probe.signs": number(forms["adam_sign", last].rmse, 3),
        "probe.prompts": count(probe.prompts),
        "probe.rollouts": count(probe.rollouts),
        "probe.weights": count(probe.weights),
        "probe.v-ratio": number(probe.v0_over_v1 or 1.0, 1),
        "probe.v-ratio-ci": interval(probe.v0_over_v1_ci, 1),
        "probe.coin-8": number(coin[8].probe, 2),
        "probe.coin-8-measured": number(coin[8].measured, 2),
    }
    numbers |= _baselines(material)
    for size in probe.group_sizes:
        numbers[f"unequal.turn.{size}"] = number(_turn(size, probe.v0_over_v1 or 1.0))
    for one in probe.by_group_size:
        both = next(arm for arm in one.arms if arm.arm == "both0.4")
        if both.relative_speed is not None:
            numbers[f"probe.both.{one.group_size}"] = number(both.relative_speed)
    for size, one in found.by_size.items():
        numbers[f"probe.rmse.{size}"] = number(one.rmse, 3)
        numbers[f"probe.bias.{size}"] = number(one.bias, 3)
    phi = [np.log((one.measured - 1.0) / (one.phi2 - 1.0)) for one in found.worth]
    norms = [np.log((one.measured - 1.0) / (one.with_norms - 1.0)) for one in found.worth]
    numbers["probe.phi2-error"] = percent(float(np.sqrt(np.mean(np.square(phi)))))
    numbers["probe.norms-error"] = percent(float(np.sqrt(np.mean(np.square(norms)))))
    return numbers


def _baselines(material: Material) -> Numbers:
    """What the probe has to beat, on its own comparisons and as clocks."""
    probe, found = material.probe.probe, material.probe
    arms = {(one.group_size, arm.arm): arm for one in probe.by_group_size for arm in one.arms}
    errors: dict[str, list[float]] = {name: [] for name in RIVALS}
    for one in found.compared:
        said = speeds_said(probe, one.group_size, arms[one.group_size, one.arm])
        for name, own in errors.items():
            own.append(said[name] - one.measured)
    numbers = {f"probe.base.{RIVALS[name]}": number(rms(own), 3) for name, own in errors.items()}
    numbers["probe.settings"] = count(len({(one.arm, one.group_size) for one in found.compared}))
    numbers["probe.clock.both0.4"] = number(found.clock_by_arm["both0.4"], 3)
    # The same clock at other speeds: clean at eight rollouts, at what is said times clean's speed at this size.
    mean = material.runs.groupby(["group_size", "arm", "step"])["accuracy"].mean()
    clean: Any = mean.loc[8, "clean"]
    missed: dict[str, list[float]] = {name: [] for name in RIVALS}
    for (size, name), arm in arms.items():
        speed = probe.at(size).clean_speed
        if arm.noise != "independent" or arm.youden < 0.0 or speed is None:
            continue
        if size == 8 and arm.youden == 1.0:
            continue
        own: Any = mean.loc[size, name]
        steps = own.index.to_numpy(dtype=np.float64)
        said = speeds_said(probe, size, arm)
        for name, errors_of in missed.items():
            at = np.minimum(said[name] * speed * steps, clean.index.max())
            error = np.interp(at, clean.index, clean) - own.to_numpy()
            errors_of += error[steps > 0].tolist()
    return numbers | {
        f"probe.clock-{RIVALS[name]}": number(rms(own), 3) for name, own in missed.items()
    }


def _turn(size: int, ratio: float, rate: float = 0.4) -> float:
    """The pass rate at which both errors of one rate leave one weight the same signal-to-noise ratio, under dr_grpo."""

    def ahead(a: float) -> float:
        fp, fn = (
            float(snr2_weight(a, one, size, estimator=DR_GRPO, wrong_over_right=ratio))
            for one in (VerifierChannel(rate, 0.0), VerifierChannel(0.0, rate))
        )
        return fp - fn

    return float(brentq(ahead, 0.05, 0.95))


def returns(material: Material) -> Numbers:
    """The noise scale's parts by group size; the best group at a fixed number of rollouts; what steps buy back."""
    probe = material.probe.probe
    sizes = probe.by_group_size
    eight, four, most = probe.at(8), sizes[0], sizes[-1]
    both = next(arm for arm in eight.arms if arm.arm == "both0.4")
    worth = population_phi2(np.array(probe.pass_rates), VerifierChannel(both.fpr, both.fnr))
    ratio = np.sqrt(7.0 * (eight.noise_within or 0.0) / (eight.noise_between or 1.0))

    def speed(one: SizeProbe) -> float:
        own = next(arm for arm in one.arms if arm.arm == "both0.4").relative_speed
        return (own or 0.0) * (one.clean_speed or 1.0)

    clean_at_four = four.clean_speed or 1.0
    found: Numbers = {
        "currency.clean": f"{1.0 + ratio:.1f}",
        "currency.both": f"{1.0 + ratio / np.sqrt(worth):.1f}",
        "currency.steps": number(clean_at_four / speed(four), 1),
        "currency.left": number(speed(most) / clean_at_four),
    }
    for one in sizes:
        found[f"returns.snr2.{one.group_size}"] = number(one.snr2, 1)
        if one.noise_within is not None and one.noise_between is not None:
            found[f"returns.within.{one.group_size}"] = number(one.noise_within, 1)
            found[f"returns.between.{one.group_size}"] = number(one.noise_between, 1)
        if one.clean_speed is not None:
            found[f"returns.speed.{one.group_size}"] = number(one.clean_speed, 2)
    return found


def rollouts_worth(material: Material) -> Numbers:
    """Effective rollouts over whole runs: measured beside the law and the probe."""
    measured = [one for one in material.findings.rollouts if one.measured is not None]

    def missed(pairs: Sequence[tuple[float, float]]) -> str:
        logs = [np.log((said - 1.0) / (was - 1.0)) for said, was in pairs if was > 1.0]
        return percent(float(np.sqrt(np.mean(np.square(logs)))))

    held = [one for one in measured if one.measured_ci is not None]
    inside = [
        one
        for one in held
        if one.measured_ci is not None and one.measured_ci[0] <= one.predicted <= one.measured_ci[1]
    ]
    found = {
        "worthruns.measured": count(len(measured)),
        "worthruns.all": count(len(material.findings.rollouts)),
        "worthruns.below": count(
            sum(
                "fewer" in (one.reason or "")
                for one in material.findings.rollouts
                if one.measured is None
            )
        ),
        "worthruns.above": count(
            sum("more" in (one.reason or "") for one in material.findings.rollouts)
        ),
        "worthruns.phi2-error": missed([(one.predicted, one.measured or 1.0) for one in measured]),
        "worthruns.probe-error": missed(
            [(one.probed, one.measured or 1.0) for one in measured if one.probed is not None]
        ),
        "worthruns.with-interval": count(len(held)),
        "worthruns.inside": count(len(inside)),
    }
    if len(measured) > 2:
        ranked: Any = spearmanr(
            [(one.predicted - 1.0) / (one.group_size - 1) for one in measured],
            [((one.measured or 1.0) - 1.0) / (one.group_size - 1) for one in measured],
        )
        found["worthruns.rank"] = number(float(ranked.statistic))
    for one in measured:
        found[f"worthruns.{one.arm}.{one.group_size}"] = f"{one.measured:.1f}"
        found[f"worthruns.{one.arm}.{one.group_size}.law"] = f"{one.predicted:.1f}"
    return found


def forecasts(material: Material) -> Numbers:
    """Scores of `validate` on the three data sets, with the clock slowed by J beside them."""
    shared = material.findings.shared
    scores = {
        "campaign": material.findings.forecast,
        "grid": shared["seed grid"].score if "seed grid" in shared else None,
        "math": shared["MATH curves"].score if "MATH curves" in shared else None,
    }
    found: Numbers = {}
    for name, score in scores.items():
        if score is None:
            continue
        found |= {
            f"forecast.{name}.rows": count(score.rows),
            f"forecast.{name}.rmse": number(score.rmse, 3),
            f"forecast.{name}.held": percent(score.coverage90),
        }
        if score.noise_floor is not None:
            found[f"forecast.{name}.floor"] = number(score.noise_floor, 3)
        for baseline, one in score.baselines.items():
            if one.rmse is not None:
                found[f"forecast.{name}.{baseline}"] = number(one.rmse, 3)
                found[f"forecast.{name}.{baseline}.ci"] = (
                    f"{signed(one.difference or 0.0, 3)} {interval(one.ci, 3)}"
                )
    return found


def blind(material: Material) -> Numbers:
    """Forecasts committed before their answers: how many wait, and when the last was made."""
    waiting = [one for one in material.blind if one["name"] not in material.answered]
    found: Numbers = {
        "blind.sets": count(len(waiting)),
        "blind.rows": count(sum(len(one["forecasts"]) for one in waiting)),
        "blind.made": max(one["made"] for one in material.blind),
    }
    return found | {
        f"blind.{one['name']}.rows": count(len(one["forecasts"])) for one in material.blind
    }


def step_law(material: Material) -> Numbers:
    """The exact law at every training step."""
    one = material.findings.gradient
    if one is None:
        return {}
    return {
        "steps.runs": count(one.runs),
        "steps.steps": count(one.steps),
        "steps.groups": count(one.groups),
        "steps.clean": count(one.clean_steps),
        "steps.exact": count(one.clean_exact),
        "steps.rmse": number(one.rmse_given_right, 4),
        "steps.chance": number(one.rmse_expected, 4),
        "steps.one-rate": number(one.rmse_one_rate, 3),
        "steps.z2": number(one.zero_mean_square),
        "steps.p": number(one.zero_p),
    }


def errors_learned(material: Material) -> Numbers:
    """The study of errors that a policy can learn."""
    found = material.learnable
    total = found.runs + found.missing
    ordered = sorted(found.arms, key=lambda one: one.harm.value)
    # Errors of the coin's static rate, and no other.
    alike = [
        one
        for one in ordered
        if abs(one.static.fpr - found.coin_fpr) <= 0.015 and one.static.fnr == 0.0
    ]
    least, most = alike[0], alike[-1]
    numbers = {
        "learnable.runs": count(found.runs),
        "learnable.planned": count(total),
        "learnable.missing": count(found.missing),
        "learnable.steps": count(found.steps),
        "learnable.arms": count(len(found.arms)),
        "learnable.seeds": f"{min(a.harm.units for a in found.arms)} to {max(a.harm.units for a in found.arms)}"
        if len({a.harm.units for a in found.arms}) > 1
        else str(found.arms[0].harm.units),
        "learnable.coin-fpr": number(found.coin_fpr),
        "learnable.harmful": number(HARM),
        "learnable.early": percent(EARLY),
        "learnable.least": _harm(least.harm),
        "learnable.least-arm": escaped(least.static.arm),
        "learnable.most": _harm(most.harm),
        "learnable.most-arm": escaped(most.static.arm),
        "learnable.rules": count(len(alike)),
    }
    harmful = [one for one in ordered if one.harm.value > HARM]
    harmless = [one for one in ordered if one.harm.value <= HARM]
    numbers |= {
        "learnable.harmful-arms": count(len(harmful)),
        "learnable.harmless-arms": count(len(harmless)),
    }
    if harmful:
        numbers["learnable.harmful-least"] = _harm(harmful[0].harm)
        numbers["learnable.harmful-most"] = _harm(harmful[-1].harm)
    if harmless:
        numbers["learnable.harmless-most"] = _harm(harmless[-1].harm)
    for one in found.arms:
        arm = one.static.arm
        numbers[f"learnable.{arm}.harm"] = _harm(one.harm)
        numbers[f"learnable.{arm}.fpr"] = number(one.static.fpr)
        numbers[f"learnable.{arm}.early"] = signed(one.early_rise, 2)
        numbers[f"learnable.{arm}.growth"] = signed(1e3 * one.fpr_growth, 1)
    zero = [one for one in found.arms if (one.exploit_rate_ci[0] or 0.0) > 0.0]
    numbers |= {
        "told.above-zero": count(len(zero)),
        "told.above-zero.hits": count(sum(one.harm.value > HARM for one in zero)),
    }
    for one in found.told:
        key = re.sub(r"[^a-z]+", "-", one.name.replace("1 − J", "youden").lower()).strip("-")
        numbers[f"told.{key}.rank"] = "--" if one.rank is None else number(one.rank)
        numbers[f"told.{key}.ci"] = interval(one.rank_ci, 2)
        numbers[f"told.{key}.hits"] = count(one.confusion.hits)
        numbers[f"told.{key}.misses"] = count(one.confusion.misses)
        numbers[f"told.{key}.false"] = count(one.confusion.false_alarms)
        numbers[f"told.{key}.quiet"] = count(one.confusion.quiet)
    return numbers


def rare_mode(material: Material) -> Numbers:
    """The rule that pays a rare mode on every prompt, beside a coin of its rate."""
    found = material.rare
    arms = {one.static.arm: one for one in found.arms}
    numbers = {
        "rare.runs": count(found.runs),
        "rare.planned": count(found.runs + found.missing),
        "rare.fpr": number(found.coin_fpr),
    }
    for arm, word in ((RULE, "rule"), ("coin", "coin")):
        if arm in arms:
            one = arms[arm]
            numbers |= {
                f"rare.{word}.harm": _harm(one.harm),
                f"rare.{word}.seeds": count(one.harm.units),
                f"rare.{word}.early": signed(one.early_rise, 2),
                f"rare.{word}.late": number(one.late_fpr),
                f"rare.{word}.exploit": signed(1e3 * one.exploit_rate, 1),
            }
    return numbers


def _harm(estimate: Estimate) -> str:
    return f"{number(estimate.value, 3)} {interval(estimate.ci)}"


def one_law(material: Material) -> Numbers:
    """How often an asymptote's interval covers where the law is not the one believed, and by the hull over laws."""
    rows = material.verdict_tables["truth"]
    numbers: Numbers = {}
    for row in rows:
        truth = re.sub(r"[^a-z0-9]+", "-", row.cells[0].lower())
        key = f"law.{truth}.{row.cells[1]}.{row.cells[2]}"
        numbers[f"{key}.sigmoid"] = number(row.at(4))
        numbers[f"{key}.aic"] = number(row.at(6))
        numbers[f"{key}.hull"] = number(row.at(8))
        numbers[f"{key}.hull-identified"] = number(row.at(7))
    believed = [row.at(6) for row in rows]
    five = [row for row in rows if row.cells[2] == "5"]
    return numbers | {
        "law5.aic.least": number(min(row.at(6) for row in five)),
        "law5.aic.most": number(max(row.at(6) for row in five)),
        "law5.hull.least": number(min(row.at(8) for row in five)),
        "law.aic.least": number(min(believed)),
        "law.aic.most": number(max(believed)),
        "law.hull.least": number(min(row.at(8) for row in rows if row.at(7) >= 0.5)),
    }


def verdict_errors(material: Material) -> Numbers:
    """Rates of wrong verdicts of `gap` in worlds whose truth is known."""
    rows = material.verdict_tables["verdicts"]
    trials = sum(int(row.cells[4]) for row in rows)
    wrong = sum(round(int(row.cells[4]) * (row.at(9) + row.at(10))) for row in rows)
    by_name = {row.cells[0]: row for row in rows}
    ten = by_name["constant .7, floor 0, ten midpoints"]
    floor = by_name["constant .7, floor .03, ten midpoints"]
    return {
        "verdicts.worlds": count(len(rows)),
        "verdicts.trials": count(trials),
        "verdicts.wrong": count(wrong),
        "verdicts.end-least": number(min(row.at(11) for row in rows)),
        "verdicts.end-most": number(max(row.at(11) for row in rows)),
        "verdicts.closes": percent(ten.at(5)),
        "verdicts.persists": percent(floor.at(6)),
        "verdicts.decided-share": percent(
            sum(int(row.cells[4]) * (1.0 - row.at(8)) for row in rows) / trials
        ),
        "verdicts.decided-worlds": percent(float(np.mean([1.0 - row.at(8) for row in rows]))),
        "verdicts.closes-short": percent(
            max(
                row.at(5)
                for row in rows
                if re.search(r"(ten|7|10) midpoints", row.cells[0]) is None
            )
        ),
        "verdicts.floor": number(0.03),
        "verdicts.midpoints": count(10),
    }


def outside(material: Material) -> Numbers:
    """Numbers of data outside the repository, as they are kept."""
    shared, found = material.findings.shared, {}
    if "real groups" in shared:
        groups = shared["real groups"]
        found |= {
            "groups.all": count(groups.numbers["groups"]),
            "groups.hard": count(groups.numbers["hard prompts"]),
            "groups.saturation": _spanned(groups.estimates["saturation"]),
            "groups.ratio.2": number(groups.numbers["ratio at 2"]),
            "groups.ratio.8": number(groups.numbers["ratio at 8"]),
            "groups.correlated": _spanned(groups.estimates["correlated grpo"], 2),
            "groups.correction": number(groups.numbers["backward, J > 0"], 4),
            "groups.largest": number(groups.numbers["largest advantage"], 1),
        }
    if "seed grid" in shared:
        found["grid.mirrored"] = _spanned(shared["seed grid"].estimates["mirrored"])
        found["grid.cells"] = count(shared["seed grid"].numbers["cells"])
    return found


def reported(material: Material) -> Numbers:
    """Numbers that others reported, or that we cannot make again; sources in outside/reported.json."""
    return {f"reported.{key}": escaped(one["text"]) for key, one in material.reported.items()}
