"""A stored calibration, and the forecast of one verifier and budget by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from empirical.validate.calibrate import Calibration
from empirical.validate.forecast import Validation
from fits.errors import InputError
from fits.inference import Interval
from fits.readers.jsonl import parse_json
from fits.readers.text import read_text
from theory import VerifierChannel
from theory.estimators import check_group_size

__all__ = ["Prediction", "Stored", "predict_row", "read_calibration", "stored"]

FORMAT: Final = "verigap calibration"
VERSION: Final = 1


@dataclass(frozen=True)
class Stored:
    """What `validate --out` writes and `predict` reads.

    calibrated_on, source, rows: which rows, of what. calibrated: see Validation.
    """

    calibration: Calibration
    calibrated: Mapping[str, Interval]
    calibrated_on: str
    source: str
    rows: int


def stored(validation: Validation, *, source: str) -> dict[str, Any]:
    """The JSON document of a calibration; `read_calibration` reads it back."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "source": source,
        "calibrated_on": validation.report.calibrated_on,
        "rows": validation.report.calibration_rows,
        "calibrated": dict(validation.calibrated),
        "model": validation.calibration.to_json(),
    }


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
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: a damaged calibration ({error!r})") from None


@dataclass(frozen=True)
class Prediction:
    """The forecast of one verifier and budget, and what it rests on.

    accuracy, ci90: in [0, 1]; the interval is for the measured accuracy. estimator, prompts_per_step: what was
    assumed, that of the first calibration row. warnings: which inputs lie
    outside what was calibrated. steps: None where the calibrated table knows no time. The rest: the
    inputs, and the rows that were calibrated on.
    """

    accuracy: float
    ci90: Interval
    fpr: float
    fnr: float
    group_size: int
    steps: float | None
    n_eval: int | None
    estimator: str
    prompts_per_step: int
    warnings: tuple[str, ...]
    calibrated_on: str
    source: str
    calibration_rows: int


def predict_row(
    path: Path,
    *,
    fpr: float,
    fnr: float,
    group_size: int,
    steps: float | None = None,
    n_eval: int | None = None,
) -> Prediction:
    """Forecast one run's accuracy from the calibration in `path`.

    fpr, fnr: in [0, 1]. group_size: at least 2. steps: at least 0; None: as long as the longest calibrated
    run; refused where the calibrated table had no step. n_eval: samples of the evaluation, at least 1;
    None: the interval is that of evaluations like the calibrated ones.
    Raises theory.ArgumentError or InputError naming what is out of range, or a file that is no calibration.
    """
    channel = VerifierChannel(fpr, fnr)
    check_group_size(group_size)
    if steps is not None and not 0.0 <= steps < np.inf:
        raise InputError(f"steps must be at least 0, got {steps:g}")
    if n_eval is not None and n_eval < 1:
        raise InputError(f"n_eval must be at least 1, got {n_eval}")
    kept = read_calibration(path)
    timed = "step" in kept.calibrated
    if steps is not None and not timed:
        raise InputError(
            f"{path}: its table had no step, so that nothing is known of other lengths of run: leave out"
            " the steps"
        )
    if steps is None and timed:
        steps = kept.calibration.step
    inputs = {"fpr": channel.fpr, "fnr": channel.fnr, "group_size": float(group_size)}
    if steps is not None:
        inputs["step"] = steps
    row = {**inputs, **({} if n_eval is None else {"n_eval": n_eval})}
    forecast = kept.calibration.forecast(pd.DataFrame([row]))
    warnings: list[str] = []
    for name, value in inputs.items():
        low, high = kept.calibrated.get(name, (-np.inf, np.inf))
        if not low <= value <= high:
            known = f"at {low:g} only" if low == high else f"in [{low:g}, {high:g}]"
            warnings.append(
                f"{name} {value:g} was not calibrated ({known}): the model extrapolates"
            )
    return Prediction(
        accuracy=float(forecast.accuracy[0]),
        ci90=(float(forecast.low90[0]), float(forecast.high90[0])),
        fpr=channel.fpr,
        fnr=channel.fnr,
        group_size=group_size,
        steps=steps,
        n_eval=n_eval,
        estimator=str(kept.calibration.given["estimator"]),
        prompts_per_step=int(kept.calibration.given["prompts_per_step"]),
        warnings=tuple(warnings),
        calibrated_on=kept.calibrated_on,
        source=kept.source,
        calibration_rows=kept.rows,
    )
