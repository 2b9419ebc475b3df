"""The forecasting model of `verigap validate`: a population flow calibrated to some rows of a run table.

Law. `theory.flow` under Adam with the exact noise along the ability; start, rate and ceiling are fitted
to the calibration rows by least squares, the spread of difficulties is given. The 90 % interval is the
spread of the calibration residuals about the forecast.
Fails first where a real model's optimiser is neither of the two that the flow knows (THEORY section 5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from theory import VerifierChannel, estimator_named
from theory.calibration import Curve, fit_flow
from theory.flow import PopulationFlow, accuracy, normal_difficulties

FloatArray = NDArray[np.float64]

__all__ = ["Calibration", "Forecast", "Parameter", "calibrate"]

VERSION: Final = 1
SPREAD: Final = 2.0  # standard deviation of difficulties, logits: given, not fitted
QUADRATURE: Final = 32
Z90: Final = 1.6448536269514722


@dataclass(frozen=True)
class Parameter:
    """One fitted parameter: value and 95 % interval, None where it has none; status "identified" or "unidentified"."""

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

    parameters: by name. status, message: whether to trust the solve. flow: theta, rate, ceiling.
    group_size, prompts_per_step: of rows that do not say. spread: of the calibration residuals.
    step: of rows without one.
    """

    parameters: Mapping[str, Parameter]
    status: str
    message: str
    flow: Mapping[str, float]
    prompts_per_step: int
    step: float
    spread: float

    def forecast(self, rows: pd.DataFrame) -> Forecast:
        """Forecast rows: fpr, fnr, group_size, and step, prompts_per_step, estimator where they have them."""
        full = _completed(rows, step=self.step, prompts_per_step=self.prompts_per_step)
        forecast_N = np.empty(len(rows))
        place_N = np.arange(len(rows))
        keys = ["fpr", "fnr", "group_size", "prompts_per_step", "estimator"]
        for values, some in full.assign(_place=place_N).groupby(keys, sort=False):
            condition: Any = values
            fpr, fnr, size, prompts, estimator = condition
            flow = PopulationFlow(
                difficulties=normal_difficulties(QUADRATURE, spread=SPREAD),
                group_size=int(size),
                prompts_per_step=int(prompts),
                optimiser="adam",
                noise="along",
                estimator=estimator_named(str(estimator)),
                theta=self.flow["theta"],
                rate=self.flow["rate"],
                ceiling=self.flow["ceiling"],
            )
            forecast_N[some["_place"]] = accuracy(flow, VerifierChannel(fpr, fnr), some["step"])
        half = Z90 * self.spread
        return Forecast(
            forecast_N, np.clip(forecast_N - half, 0.0, 1.0), np.clip(forecast_N + half, 0.0, 1.0)
        )

    def to_json(self) -> dict[str, Any]:
        """The calibration as plain JSON values; `from_json` reads it back."""
        return {"version": VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Calibration:
        """The calibration that `to_json` wrote; KeyError, TypeError or ValueError where it did not."""
        if document["version"] != VERSION:
            raise ValueError(f"version {document['version']}, but this verigap reads {VERSION}")
        fields = {name: value for name, value in document.items() if name != "version"}
        parameters = {
            name: Parameter(
                one["value"], one["ci95"] and tuple(one["ci95"]), one["status"], one["reason"]
            )
            for name, one in fields.pop("parameters").items()
        }
        return cls(parameters=parameters, **fields)


def _completed(rows: pd.DataFrame, *, step: float, prompts_per_step: int) -> pd.DataFrame:
    """The columns the flow reads, with what the rows do not say filled in."""
    given: dict[str, Any] = {
        "step": step,
        "prompts_per_step": prompts_per_step,
        "estimator": "grpo",
    }
    columns = {name: rows[name].to_numpy() for name in ("fpr", "fnr", "group_size")}
    for name, value in given.items():
        columns[name] = rows[name].to_numpy() if name in rows.columns else np.full(len(rows), value)
    return pd.DataFrame(columns)


def calibrate(rows: pd.DataFrame) -> Calibration:
    """Fit the model to run-table rows: fpr, fnr, group_size, step, accuracy, and optional columns.

    Raises theory.ArgumentError where there are no more rows than parameters.
    """
    full = _completed(rows, step=1.0, prompts_per_step=32)
    measured = rows["accuracy"].to_numpy(np.float64)
    last = float(full["step"].max())
    template = PopulationFlow(
        difficulties=normal_difficulties(QUADRATURE, spread=SPREAD),
        theta=-3.0,
        ceiling=float(np.clip(measured.max(), 0.1, 0.95)),
        prompts_per_step=int(full["prompts_per_step"].iloc[0]),
        optimiser="adam",
        noise="along",
        rate=5.0 / max(last, 1.0),
        estimator=estimator_named(str(full["estimator"].iloc[0])),
    )
    by_condition: Any = full.assign(_accuracy=measured).groupby(["fpr", "fnr", "group_size"])
    curves = [
        Curve(some["step"], some["_accuracy"], VerifierChannel(fpr, fnr), int(size))
        for (fpr, fnr, size), some in by_condition
    ]
    # One step says nothing of the start.
    one_step = full["step"].nunique() == 1
    fit = fit_flow(
        template, curves, free=("rate", "ceiling") if one_step else ("theta", "rate", "ceiling")
    )
    flow = fit.flow
    values = {"theta": flow.theta, "rate": flow.rate, "ceiling": flow.ceiling}
    parameters = {
        name: Parameter(value, (value - 1.96 * error, value + 1.96 * error), "identified")
        if (error := fit.errors.get(name)) is not None
        else Parameter(None, None, "unidentified", fit.message)
        for name, value in values.items()
    }
    return Calibration(
        parameters=parameters,
        status=fit.status,
        message=fit.message,
        flow=values,
        prompts_per_step=template.prompts_per_step,
        step=last,
        spread=fit.rmse * float(np.sqrt(fit.rows / (fit.rows - len(values)))),
    )
