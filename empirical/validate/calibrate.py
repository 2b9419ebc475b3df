"""The forecasting model of `verigap validate`: `theory.forecast` over the rows of a run table.

A run's condition is its fpr, fnr and group_size and, where the table has them, prompts_per_step (else
32), estimator (else grpo) and beta2 (else Adam's .999). Noise structures are forecast by their rates, as
if errors were independent. warmup_steps is not read: real curves rise from the first steps as if there
were no warm-up, and a model told of it fits and forecasts them worse (LOG.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from theory import VerifierChannel, estimator_named
from theory.adam_flow import Condition
from theory.forecast import NAMES, Fit
from theory.forecast import calibrate as calibrate_flow
from theory.forecast import forecast as forecast_flow

FloatArray = NDArray[np.float64]

__all__ = ["Calibration", "Forecast", "Parameter", "calibrate"]

VERSION: Final = 4
Z90: Final = 1.6448536269514722
# The length of runs whose table does not say: `rate` is relative to it, and averages over steps need one.
STEPS: Final = 250.0
DEFAULTS: Final[Mapping[str, Any]] = {
    "prompts_per_step": 32,
    "estimator": "grpo",
    "beta2": 0.999,
}


@dataclass(frozen=True)
class Parameter:
    """One fitted parameter: value and 95 % interval; status "identified", or "unidentified" where the prior decides."""

    value: float | None
    ci95: tuple[float, float] | None
    status: str
    reason: str = ""


@dataclass(frozen=True)
class Forecast:
    """Forecast accuracies and the 90 % intervals of the measured ones, (N,) each, in [0, 1]."""

    accuracy: FloatArray
    low90: FloatArray
    high90: FloatArray


@dataclass(frozen=True)
class Calibration:
    """A calibrated model: what it takes to forecast any row of a run table.

    fit: theory.forecast's. given: the condition of rows that do not say, as the calibration rows had it;
    `step` likewise.
    """

    fit: Fit
    given: Mapping[str, Any]
    step: float

    @property
    def status(self) -> str:
        """Of the solve."""
        return self.fit.status

    @property
    def message(self) -> str:
        """Of the solver."""
        return self.fit.message

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """By name, in natural units."""
        flow, aliased = self.fit.flow, self.fit.aliased()
        return {
            name: Parameter(
                float(getattr(flow, name)),
                self.fit.interval(name),
                "unidentified" if name in aliased else "identified",
                _reason(aliased[name]) if name in aliased else "",
            )
            for name in NAMES
        }

    def forecast(self, rows: pd.DataFrame) -> Forecast:
        """Forecast rows: fpr, fnr, group_size, and step and DEFAULTS' columns where they have them.

        n_eval widens the intervals by the noise of measuring.
        """
        conditions, place_N, step_N = _conditions(rows, self.given, self.step)
        accuracy_N, sd_N = forecast_flow(
            self.fit, conditions, place_N, step_N, n_eval=_samples(rows)
        )
        half_N = Z90 * sd_N
        return Forecast(
            accuracy_N,
            np.clip(accuracy_N - half_N, 0.0, 1.0),
            np.clip(accuracy_N + half_N, 0.0, 1.0),
        )

    def to_json(self) -> dict[str, Any]:
        """The calibration as plain JSON values, for people its parameters too; `from_json` reads it back."""
        fit = {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self.fit).items()
        }
        return {
            "version": VERSION,
            "parameters": {name: asdict(one) for name, one in self.parameters.items()},
            "status": self.status,
            "message": self.message,
            "fit": fit,
            "given": dict(self.given),
            "step": self.step,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Calibration:
        """The calibration that `to_json` wrote; KeyError, TypeError or ValueError where it did not."""
        if document["version"] != VERSION:
            raise ValueError(f"version {document['version']}, but this verigap reads {VERSION}")
        fit: dict[str, Any] = {
            name: np.array(value, dtype=np.float64) if isinstance(value, list) else value
            for name, value in document["fit"].items()
        }
        count = len(NAMES)
        for name, shape in (("location", (count,)), ("covariance", (count, count))):
            if np.shape(fit[name]) != shape:
                raise ValueError(f"fit.{name} must have shape {shape}")
        if set(document["given"]) != set(DEFAULTS):
            raise ValueError(f"given must hold {', '.join(DEFAULTS)}")
        return cls(Fit(**fit), document["given"], float(document["step"]))


def calibrate(rows: pd.DataFrame) -> Calibration:
    """Fit the model to run-table rows: fpr, fnr, group_size, step, accuracy, and optional columns.

    Raises theory.ArgumentError where a row is out of range.
    """
    # Rows that do not say are taken to be like these.
    given = {
        name: rows[name].iloc[0] if name in rows.columns else default
        for name, default in DEFAULTS.items()
    }
    given = {k: v.item() if isinstance(v, np.generic) else v for k, v in given.items()}
    last = float(rows["step"].max()) if "step" in rows.columns else STEPS
    conditions, place_N, step_N = _conditions(rows, given, last)
    fit = calibrate_flow(
        conditions,
        place_N,
        step_N,
        rows["accuracy"].to_numpy(np.float64),
        n_eval=_samples(rows),
    )
    return Calibration(fit, given, last)


def _reason(others: tuple[str, ...]) -> str:
    if others:
        return f"the rows leave it to the prior: aliased with {' and '.join(others)}"
    return "the rows leave it to the prior"


def _samples(rows: pd.DataFrame) -> FloatArray | None:
    if "n_eval" not in rows.columns or rows["n_eval"].isna().any():
        return None
    return rows["n_eval"].to_numpy(np.float64)


def _conditions(
    rows: pd.DataFrame, given: Mapping[str, Any], step: float
) -> tuple[list[Condition], NDArray[np.intp], FloatArray]:
    """The distinct conditions of the rows, which one each row has, and its step."""
    columns = {name: rows[name].to_numpy() for name in ("fpr", "fnr", "group_size")}
    for name, value in given.items():
        columns[name] = rows[name].to_numpy() if name in rows.columns else np.full(len(rows), value)
    table = pd.DataFrame(columns)
    group_of: Any = table.groupby(list(columns), sort=False, dropna=False).ngroup()
    place_N = group_of.to_numpy(np.intp)
    distinct: Any = table.drop_duplicates().itertuples(index=False)
    conditions = [
        Condition(
            VerifierChannel(float(one.fpr), float(one.fnr)),
            group_size=int(one.group_size),
            prompts_per_step=int(one.prompts_per_step),
            estimator=estimator_named(str(one.estimator)),
            beta2=float(one.beta2),
        )
        for one in distinct
    ]
    step_N = (
        rows["step"].to_numpy(np.float64) if "step" in rows.columns else np.full(len(rows), step)
    )
    return conditions, place_N, step_N
