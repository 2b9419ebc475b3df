"""What to decide before spending: what a verifier is worth, what to fix first, what a study can settle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from empirical.audit import Audit, Source, audit_labels, read_labels
from empirical.audit.gate import Gate, check_gate
from empirical.audit.logged import LoggedAudit, audit_runs
from empirical.plan import Plan, Rates, rates_in, read_audit, read_prices
from empirical.plan import plan as make_plan
from empirical.power import Power, read_pilot
from empirical.power import power as chances
from empirical.probe import read_probe
from empirical.studies import read_study
from empirical.validate.predict import read_calibration
from fits.fit import named_columns
from fits.plain import counted, plain
from fits.selection import parse_assignments
from verigap.errors import UserError
from verigap.face.base import (
    RunsLike,
    Shown,
    Words,
    as_shown,
    frame_of,
    grid,
    listed,
    table_of,
    verb,
)

if TYPE_CHECKING:
    from fits.drawing import Axes, Drawing


@dataclass(frozen=True, repr=False)
class Audited(Shown, Audit):
    """What an audit of labelled verdicts found; see `empirical.audit.Audit`. gates: of `fail_on`."""

    gates: tuple[Gate, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """One row a quantity: value, low, high."""
        return Audit.to_frame(self)

    def headline(self) -> str:  # noqa: D102
        return (
            f"{self.source}: {counted(self.n, 'labelled and judged rollout')} of {counted(self.clusters, 'prompt')};"
            f" {self.unlabelled} unlabelled, {self.unscorable} unscorable"
        )

    def remarks(self) -> Sequence[str]:  # noqa: D102
        return [
            *(f"{name}: {why}." for name, why in self.reasons.items()),
            *(f"Systematic {one.error} where {one.segment}." for one in self.segments),
            *(f"Warning: {line}." for line in self.warnings),
            *(f"Assumed: {line}." for line in self.assumptions),
        ]

    def plot(self, ax: Axes | None = None) -> Drawing:
        """Rates and systematic errors; `empirical.figures.draw_audit`. ax: an axes whose place it takes."""
        from empirical.figures import draw_audit
        from fits.drawing import in_place_of

        with in_place_of(ax):
            return draw_audit(self)


# What only labels can say.
NOT_LOGGED: Final = ("clusters", "icc", "unscorable", "segments")
LOGS_ASSUME: Final = (
    "Assumed: training and evaluation prompts are equally hard; worth: of group_size rollouts at the mean accuracy"
    " of the runs."
)


@dataclass(frozen=True, repr=False)
class AuditedRuns(Shown):
    """What logged runs say of their verifiers; see `empirical.audit.logged.LoggedAudit`."""

    cells: tuple[LoggedAudit, ...]
    source: str

    def plain(self) -> dict[str, Any]:
        """The one kind of run there is, or of several none, and every kind under `cells`."""
        alone = len(self.cells) == 1
        first = plain(self.cells[0])
        told: dict[str, Any] = first if alone else dict.fromkeys(first)
        told |= dict.fromkeys(NOT_LOGGED) | {"cells": plain(self.cells)}
        told["reasons"] = dict.fromkeys(NOT_LOGGED, "logs do not say; labels do")
        if not alone:
            told["reason"] = f"{len(self.cells)} kinds of run: see cells"
            told["warnings"] = [f"{one.group}: {w}" for one in self.cells for w in one.warnings]
        return told

    def to_frame(self) -> pd.DataFrame:
        """A row per kind of run; intervals as two columns."""
        return frame_of(self.cells)

    def headline(self) -> str:  # noqa: D102
        return f"{self.source}: reward against accuracy, by kind of run"

    def remarks(self) -> Sequence[str]:  # noqa: D102
        reasons = [f"{one.group}: {one.reason}." for one in self.cells if one.reason]
        return [*reasons, LOGS_ASSUME]

    def plot(self, ax: Axes | None = None) -> Drawing:
        """Rates by kind of run; `empirical.figures.draw_logged`. ax: an axes whose place it takes."""
        from empirical.figures import draw_logged
        from fits.drawing import in_place_of

        with in_place_of(ax):
            return draw_logged(self.cells)


@verb
def audit(
    labels: str | Path | pd.DataFrame | None = None,
    *,
    truth: str | None = None,
    verdict: str | None = None,
    threshold: float | None = None,
    cluster: str | None = None,
    completion: str | None = None,
    gold: str | None = None,
    answer: str | None = None,
    gold_after: str | None = None,
    verifier: str | None = None,
    verifier_regex: str | None = None,
    reference: str | None = None,
    auxiliary: Words = None,
    segment: Words = None,
    where: Words = None,
    runs: RunsLike | None = None,
    group: str | None = None,
    group_size: int = 8,
    fail_on: Words = None,
) -> Audited | AuditedRuns:
    """Error rates of a verifier, from labelled verdicts or logged runs, and what its rollouts are worth.

    labels: a row a rollout, as a data frame or a path (CSV, Parquet, JSONL). truth, verdict: columns of 0 and 1,
    empty where not known; threshold: of a graded verdict. cluster: columns that make a prompt, comma-separated.
    completion, gold, answer, gold_after, verifier, verifier_regex, reference: what is judged here instead, by what;
    see `empirical.audit.Source`. auxiliary: columns of other verifiers' verdicts. segment: columns to look into.
    where: rows to keep. runs: instead of labels, a run table, a data frame of one, or a path, whose reward is held
    against its accuracy; group: columns of it that make a verifier, comma-separated. group_size: rollouts a prompt, at
    least 2; of runs, where their table does not say. fail_on: rules such as "youden<.8", of labels alone.
    Returns rates in [0, 1], J in [-1, 1] and effective rollouts, with 95 % intervals that respect prompts, and what
    cannot be known with the reason.
    Raises UserError naming file, row, column and value.
    Source: docs/theory.md#effective-rollouts.
    """
    if (labels is None) == (runs is None):
        raise UserError("name a file of labelled verdicts, or --runs and logged runs")
    if runs is not None:
        if listed(fail_on):
            raise UserError("--fail-on needs labelled verdicts, not --runs")
        table = table_of(runs, where)
        names = None if group is None else named_columns(table.frame, group, source=table.source)
        cells = audit_runs(table.frame, group=names, group_size=group_size, source=table.source)
        return AuditedRuns(cells, table.source)
    assert labels is not None
    source = Source(
        truth=truth,
        verdict=verdict,
        threshold=threshold,
        cluster=cluster,
        completion=completion,
        gold=gold,
        answer=answer,
        gold_after=gold_after,
        verifier=verifier,
        verifier_regex=verifier_regex,
        reference=reference,
        auxiliary=tuple(listed(auxiliary)),
        where=tuple(listed(where)),
    )
    read = read_labels(Path(labels) if isinstance(labels, str) else labels, source)
    found = audit_labels(read, group_size=group_size, segments=tuple(listed(segment)))
    return as_shown(Audited, found, gates=check_gate(found, listed(fail_on)))


@dataclass(frozen=True, repr=False)
class Planned(Shown, Plan):
    """What each lever buys, the best first; see `empirical.plan.Plan`."""

    def to_frame(self) -> pd.DataFrame:
        """A row per lever; intervals as two columns."""
        return frame_of(self.levers)

    def headline(self) -> str:  # noqa: D102
        low, high = self.effective_rollouts_ci
        return (
            f"{self.advice}\n{self.group_size} rollouts are worth {self.effective_rollouts:.2f}"
            f" [{low:.2f}, {high:.2f}] of a clean verifier's"
        )

    def remarks(self) -> Sequence[str]:  # noqa: D102
        narrowing = [
            f"Would narrow the first line most: {what} ({share:.0%} of its variance)."
            for what, share in self.would_narrow[:1]
        ]
        return [*narrowing, *(f"Assumed: {line}." for line in self.assumptions)]


@verb
def plan(
    *,
    fpr: float | None = None,
    fnr: float | None = None,
    audit: str | Path | Audited | AuditedRuns | None = None,
    pass_rate: str | float | Sequence[float] | None = None,
    group_size: int = 8,
    steps: int = 250,
    prompts_per_step: int = 32,
    estimator: str = "grpo",
    calibration: str | Path | None = None,
    probe: str | Path | None = None,
    prices: str | Path | None = None,
) -> Planned:
    """What each lever buys: more rollouts or steps, a better verifier, several judgements.

    fpr, fnr: in [0, 1], taken as exact; or audit: what `audit` found or `verigap audit --out` wrote. pass_rate: of
    one's prompts, one or several, inside (0, 1) (default: the audit's mean). group_size: rollouts a prompt, at least
    2. steps, prompts_per_step: of the run, at least 1. calibration: what `verigap validate --out` wrote, of runs at
    least a tenth as long; without it no gain in accuracy is named. probe: what `verigap probe --out` wrote; with it
    levers are priced in learning too. prices: a YAML file, rollouts_1000, judgements_1000, label.
    Returns gains in effective rollouts, learning and accuracy with 95 % intervals, and the pairs of levers told apart.
    Raises UserError naming what is missing or out of range.
    Source: docs/theory.md#effective-rollouts.
    """
    if audit is not None and (fpr is not None or fnr is not None):
        raise UserError("give --fpr and --fnr, or --audit, not both")
    if isinstance(audit, str | Path):
        rates = read_audit(Path(audit))
    elif audit is not None:
        rates = rates_in(plain(audit.plain()), source="the audit")
    elif fpr is None or fnr is None:
        raise UserError("give --audit, or --fpr and --fnr")
    else:
        rates = Rates(fpr, fnr)
    found = make_plan(
        rates,
        group_size=group_size,
        steps=steps,
        pass_rates=() if pass_rate is None else grid("--pass-rate", pass_rate),
        prompts_per_step=prompts_per_step,
        estimator=estimator,
        calibration=None
        if calibration is None
        else read_calibration(Path(calibration)).calibration,
        probe=None if probe is None else read_probe(Path(probe)),
        prices=None if prices is None else read_prices(Path(prices)),
    )
    return as_shown(Planned, found)


@dataclass(frozen=True, repr=False)
class Chances(Shown, Power):
    """The chance of a verdict for every arm of a study; see `empirical.power.Power`."""

    def to_frame(self) -> pd.DataFrame:
        """A row per arm and group size."""
        return frame_of(self.arms)

    def headline(self) -> str:  # noqa: D102
        return f"{self.study}: chance of a verdict, smallest gap of interest {self.delta:g}"

    def remarks(self) -> Sequence[str]:  # noqa: D102
        reasons = dict.fromkeys([*(one.reason for one in self.arms), self.reason])
        return [
            *(f"{line}." for line in reasons if line),
            *(f"Assumed: {line}." for line in self.assumptions),
        ]


@verb
def power(
    study: str | Path,
    *,
    gap: float = 0.01,
    pilot: RunsLike | None = None,
    scatter: float | None = None,
    true_gap: Words | Mapping[str, float] = None,
    accuracy: float | None = None,
) -> Chances:
    """The chance that a study settles its verdicts, and the seeds and evaluation samples it takes.

    study: path of a study file. gap: smallest gap of interest, accuracy in [0, 1). pilot: a run table of a pilot.
    scatter: standard deviation of runs of one arm at the end, in [0, 1). true_gap: "arm=0.02" (a list: several),
    taken as known. accuracy: of the clean arm at the end, inside (0, 1).
    Returns chances in [0, 1] by arm and group size, and what they assume.
    Raises UserError naming an arm that is none of the study's, or a number out of range.
    Source: docs/contract.md#verigap-power.
    """
    gaps: dict[str, float] = {}
    given = (
        true_gap.items()
        if isinstance(true_gap, Mapping)
        else parse_assignments(listed(true_gap), option="--true-gap").items()
    )
    for name, value in given:
        try:
            gaps[name] = float(value)
        except (TypeError, ValueError):
            raise UserError(f"--true-gap {name}={value}: {value!r} is not a number") from None
    if accuracy is not None and not 0.0 < accuracy < 1.0:
        raise UserError(f"--accuracy must lie between 0 and 1, got {accuracy:g}")
    table = None if pilot is None else table_of(pilot, None)
    found = chances(
        read_study(Path(study)),
        delta=gap,
        pilot=None if table is None else read_pilot(table.frame, source=table.source),
        scatter=scatter,
        gaps=gaps or None,
        accuracy=accuracy,
    )
    return as_shown(Chances, found)
