"""A stored calibration, and the forecast of one verifier and budget by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from empirical.fields import first_complaint
from empirical.validate.calibrate import Calibration
from empirical.validate.clock import PACE
from empirical.validate.forecast import Validation
from fits.errors import InputError
from fits.inference import Interval
from fits.readers.jsonl import parse_json
from fits.readers.text import read_text
from theory import VerifierChannel
from theory.estimators import check_group_size

__all__ = [
    "Found",
    "Prediction",
    "Stored",
    "predict_rows",
    "read_calibration",
    "stored",
]

FORMAT: Final = "verigap calibration"
VERSION: Final = 3
LEAST_COVERAGE: Final = (
    0.8  # of 90 % intervals, below which a forecast says that they were too narrow
)


@dataclass(frozen=True)
class Found:
    """What `validate` found on the rows that the calibration was not shown.

    not_beaten: the identified baselines whose RMSE was no larger than the model's. noisy_calibrated: whether the
    calibration rows had verifiers of different quality.
    """

    rows: int
    rmse: float
    coverage90: float
    width90: float
    best_baseline: str | None
    best_baseline_rmse: float | None
    not_beaten: tuple[str, ...]
    noisy_calibrated: bool


@dataclass(frozen=True)
class Stored:
    """What `validate --out` writes and `predict` reads.

    calibrated_on, source, rows: which rows, of what. calibrated: see Validation. found: on all other rows.
    """

    calibration: Calibration
    calibrated: Mapping[str, Interval]
    calibrated_on: str
    source: str
    rows: int
    found: Found


def stored(validation: Validation, *, source: str) -> dict[str, Any]:
    """The JSON document of a calibration; `read_calibration` reads it back."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "source": source,
        "calibrated_on": validation.report.calibrated_on,
        "rows": validation.report.calibration_rows,
        "calibrated": dict(validation.calibrated),
        "found": asdict(_found(validation)),
        "model": validation.calibration.to_json(),
    }


def _found(validation: Validation) -> Found:
    report = validation.report
    best = report.best_baseline
    scores = {name: one.rmse for name, one in report.baselines.items() if one.rmse is not None}
    return Found(
        rows=report.forecast_rows,
        rmse=report.rmse,
        coverage90=report.coverage90,
        width90=report.width90,
        best_baseline=best,
        best_baseline_rmse=None if best is None else scores[best],
        not_beaten=tuple(name for name, rmse in scores.items() if rmse <= report.rmse),
        noisy_calibrated=report.noisy_calibrated,
    )


def _read_found(document: Any) -> Found:
    """What validation found, of a stored calibration. Raises ValueError where a field is of another kind."""
    from pydantic import TypeAdapter, ValidationError

    try:
        found = TypeAdapter(Found).validate_python(document)
    except ValidationError as error:
        raise ValueError(f"found.{first_complaint(error)}") from None
    for name in ("rmse", "coverage90", "width90", "best_baseline_rmse"):
        value = getattr(found, name)
        if value is not None and not 0.0 <= value <= 1.0:
            raise ValueError(f"found.{name} must lie in [0, 1], got {value:g}")
    return found


def read_calibration(path: Path) -> Stored:
    """Read what `validate --out` wrote.

    Raises InputError where `path` cannot be read, or holds something else or another version.
    """
    document = parse_json(read_text(path), source=str(path))
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"{path}: is no calibration; `verigap validate --out` writes one")
    if document.get("version") != VERSION:
        raise InputError(
            f"{path}: a calibration of version {document.get('version')!r}, but this verigap reads"
            f" version {VERSION}; calibrate anew with `verigap validate --out`"
        )
    try:
        return Stored(
            calibration=Calibration.from_json(document["model"]),
            calibrated={
                name: (float(low), float(high))
                for name, (low, high) in document["calibrated"].items()
            },
            calibrated_on=str(document["calibrated_on"]),
            source=str(document["source"]),
            rows=int(document["rows"]),
            found=_read_found(document["found"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: a damaged calibration ({error!r})") from None


@dataclass(frozen=True)
class Prediction:
    """The forecast of one verifier and budget, and what it rests on.

    accuracy, ci90: in [0, 1]; the interval is for the measured accuracy. gap, gap_ci90: what a clean verifier
    would reach beyond it, all else equal, in [-1, 1]; between the two conditions' means. estimator, prompts_per_step,
    optimiser: what was assumed, that of the first calibration row. found: by `validate` on other rows. probed: whether
    a probe measured this arm's speed. warnings: what the forecast is unsure of beyond its interval. steps: None where
    the calibrated table knows no time. The rest: the inputs, and the rows that were calibrated on.
    """

    accuracy: float
    ci90: Interval
    gap: float
    gap_ci90: Interval
    fpr: float
    fnr: float
    group_size: int
    steps: float | None
    n_eval: int | None
    estimator: str
    prompts_per_step: int
    optimiser: str
    probed: bool
    warnings: tuple[str, ...]
    found: Found
    calibrated_on: str
    source: str
    calibration_rows: int


def predict_rows(
    path: Path,
    *,
    fpr: Sequence[float],
    fnr: Sequence[float],
    group_size: Sequence[int],
    steps: Sequence[float] | None = None,
    n_eval: int | None = None,
) -> tuple[Prediction, ...]:
    """Forecast accuracies from the calibration in `path`: every verifier, at every group size and length.

    fpr, fnr: in [0, 1], of one length, or one of them of length 1. group_size: at least 2. steps: at least 0, and at
    most FURTHEST times the longest calibrated run; None: as long as that; refused where the calibrated table had
    no step. n_eval: samples of the evaluation, at least 1; None: the interval is that of evaluations like the
    calibrated ones.
    Raises theory.ArgumentError or InputError naming what is out of range, or a file that is no calibration.
    """
    if 0 in (len(fpr), len(fnr), len(group_size)) or (steps is not None and len(steps) == 0):
        raise InputError("fpr, fnr, group_size and steps must hold a value each")
    if len(fpr) != len(fnr) and 1 not in (len(fpr), len(fnr)):
        raise InputError(
            f"fpr and fnr must be as many ({len(fpr)} and {len(fnr)}), or one of them a single rate"
        )
    count = max(len(fpr), len(fnr))
    channels = [VerifierChannel(fpr[i % len(fpr)], fnr[i % len(fnr)]) for i in range(count)]
    sizes = [check_group_size(size) for size in group_size]
    if n_eval is not None and n_eval < 1:
        raise InputError(f"n_eval must be at least 1, got {n_eval}")
    kept = read_calibration(path)
    lengths = _lengths(kept, steps, path)
    asked = [(c, size, length) for c in channels for size in sizes for length in lengths]
    rows = pd.DataFrame(
        {
            "fpr": [c.fpr for c, _, _ in asked],
            "fnr": [c.fnr for c, _, _ in asked],
            "group_size": [size for _, size, _ in asked],
        }
    )
    if lengths != [None]:
        rows["step"] = [length for _, _, length in asked]
    if n_eval is not None:
        rows["n_eval"] = n_eval
    model = kept.calibration
    paced_N = np.zeros(len(rows), dtype=np.bool_)
    if model.clock is not None:
        rows = model.paced(rows)
        paced_N = rows[PACE].notna().to_numpy()
    forecast = model.forecast(rows)
    return tuple(
        Prediction(
            accuracy=float(forecast.accuracy[i]),
            ci90=(float(forecast.low90[i]), float(forecast.high90[i])),
            gap=float(forecast.gap[i]),
            gap_ci90=(float(forecast.gap_low90[i]), float(forecast.gap_high90[i])),
            fpr=channel.fpr,
            fnr=channel.fnr,
            group_size=size,
            steps=length,
            n_eval=n_eval,
            estimator=str(model.given["estimator"]),
            prompts_per_step=int(model.given["prompts_per_step"]),
            optimiser=model.optimiser,
            probed=bool(paced_N[i]),
            warnings=_warnings(kept, channel, size, length, probed=bool(paced_N[i])),
            found=kept.found,
            calibrated_on=kept.calibrated_on,
            source=kept.source,
            calibration_rows=kept.rows,
        )
        for i, (channel, size, length) in enumerate(asked)
    )


def _lengths(kept: Stored, steps: Sequence[float] | None, path: Path) -> list[float | None]:
    """The lengths to forecast; [None] where the calibrated table knows no time."""
    if steps is None:
        return [kept.calibration.step if kept.calibration.timed else None]
    for length in steps:
        if not 0.0 <= length < np.inf:
            raise InputError(f"steps must be at least 0, got {length:g}")
    if not kept.calibration.timed:
        raise InputError(
            f"{path}: its table had no step, so that nothing is known of other lengths of run: leave out"
            " the steps"
        )
    for length in steps:
        kept.calibration.check_steps(length)
    return list(steps)


def _warnings(
    kept: Stored, channel: VerifierChannel, size: int, length: float | None, *, probed: bool
) -> tuple[str, ...]:
    """What a reader must know beside the interval."""
    said: list[str] = []
    inputs = {"fpr": channel.fpr, "fnr": channel.fnr, "group_size": float(size)}
    if length is not None:
        inputs["step"] = length
    for name, value in inputs.items():
        low, high = kept.calibrated.get(name, (-np.inf, np.inf))
        if not low <= value <= high:
            known = f"at {low:g} only" if low == high else f"in [{low:g}, {high:g}]"
            said.append(f"{name} {value:g} was not calibrated ({known}): the model extrapolates")
    found = kept.found
    if not found.noisy_calibrated and not probed and channel.youden < 1.0:
        said.append(
            "no noisy arm was calibrated and no probe measured this one: how noisy the task's gradient is was"
            " averaged over; `verigap probe`, or one noisy arm, would narrow the interval"
        )
    if found.coverage90 < LEAST_COVERAGE:
        said.append(
            f"on {found.rows} other rows of {kept.source} the 90 % intervals of this calibration held"
            f" {found.coverage90:.0%}: they are too narrow there"
        )
    if found.not_beaten:
        said.append(
            f"on the same rows it forecast no better (RMSE {found.rmse:.4f}) than {', '.join(found.not_beaten)}"
        )
    return tuple(said)
