"""The forecasting model of `verigap validate`: `theory.forecast` over the rows of a run table.

A run's condition is its fpr, fnr and group_size and, where the table has them, prompts_per_step (else
32), estimator (else grpo), beta2 (else Adam's .999) and optimiser (else Adam, and the forecast says so).
Noise structures are forecast by their rates, as if errors were independent, unless a probe has measured their pace.
warmup_steps is not read: real curves rise from the first steps as if there were no warm-up, and a model told of it
fits and forecasts them worse (LOG.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from empirical.validate.clock import PACE, PACE_SE, Clock
from empirical.validate.logged import logged_signal
from fits.errors import InputError
from theory import VerifierChannel, estimator_named
from theory.adam_flow import Condition, FlowOptimiser
from theory.estimators import Estimator
from theory.forecast import LAWS, NAMES, Fit, Spread
from theory.forecast import calibrate as calibrate_flow
from theory.forecast import forecast as forecast_flow
from theory.forecast import spread as spread_flow

FloatArray = NDArray[np.float64]

__all__ = ["Calibration", "Forecast", "Parameter", "calibrate"]

VERSION: Final = 6
FURTHEST: Final = 10.0  # times the longest calibrated run, beyond which nothing is forecast
# The length of runs whose table does not say: `rate` is relative to it, and averages over steps need one.
STEPS: Final = 250.0
DEFAULTS: Final[Mapping[str, Any]] = {
    "prompts_per_step": 32,
    "estimator": "grpo",
    "beta2": 0.999,
}
# Names that logs use, by the law they follow.
OPTIMISERS: Final[Mapping[str, str]] = {
    "adam": "adam",
    "adamw": "adam",
    "adamw_torch": "adam",
    "adamw_torch_fused": "adam",
    "sgd": "sgd",
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
    """Forecast accuracies and the 90 % intervals of the measured ones, (N,) each, in [0, 1].

    gap, gap_low90, gap_high90: accuracy lost to a clean verifier, all else equal, in [-1, 1].
    """

    accuracy: FloatArray
    low90: FloatArray
    high90: FloatArray
    gap: FloatArray
    gap_low90: FloatArray
    gap_high90: FloatArray


@dataclass(frozen=True)
class Calibration:
    """A calibrated model: what it takes to forecast any row of a run table.

    fit: theory.forecast's. given: the condition of rows that do not say, as the calibration rows had it;
    `step` likewise. timed: whether those rows had steps; else nothing is known of other lengths of run.
    optimiser: what the runs were trained with, from optimiser_basis. signal_basis: where the signal of the
    gradient is from. clock: a probe's, or None; reference: the group size that its pace is relative to.
    """

    fit: Fit
    given: Mapping[str, Any]
    step: float
    timed: bool = True
    optimiser: FlowOptimiser = "adam"
    optimiser_basis: str = ""
    clock: Clock | None = None
    reference: int = 0
    signal_basis: str = ""

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
        aliased = self.fit.aliased()
        return {
            name: Parameter(
                self.fit.value(name),
                self.fit.interval(name),
                "unidentified" if name in aliased else "identified",
                _reason(aliased[name]) if name in aliased else "",
            )
            for name in NAMES
        }

    @property
    def furthest(self) -> float:
        """Steps of the longest run that may be forecast."""
        return FURTHEST * self.fit.horizon

    def check_steps(self, steps: float) -> None:
        """Raise InputError where a run of this many steps is longer than `furthest`."""
        if self.timed and steps > self.furthest:
            raise InputError(
                f"steps {steps:g} is more than {FURTHEST:g} times the longest calibrated run"
                f" ({self.fit.horizon:g} steps): nothing calibrated says what happens there; calibrate on longer runs"
            )

    def forecast(self, rows: pd.DataFrame) -> Forecast:
        """Forecast rows: fpr, fnr, group_size, and step and DEFAULTS' columns where they have them.

        n_eval widens the intervals by the noise of measuring.
        """
        if self.clock is not None and PACE not in rows.columns:
            rows = self.paced(rows)
        conditions, place_N, step_N, paces = _conditions(rows, self.given, self.step)
        found = forecast_flow(
            self.fit,
            conditions,
            place_N,
            step_N,
            n_eval=_samples(rows),
            pace=None if self.clock is None else paces[0],
            pace_se=paces[1],
        )
        return Forecast(
            found.accuracy, found.low, found.high, found.gap, found.gap_low, found.gap_high
        )

    def spread(self, rows: pd.DataFrame, *, members: int) -> Spread:
        """What that many members say of rows, as `forecast` takes them; no arm's probed pace is used."""
        conditions, place_N, step_N, _ = _conditions(rows, self.given, self.step)
        return spread_flow(self.fit, conditions, place_N, step_N, most=members)

    def paced(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows with the paces that the probe measured of their arms; as they are where there is no probe."""
        if self.clock is None:
            return rows
        if "estimator" not in rows.columns:
            rows = rows.assign(estimator=self.given["estimator"])
        return self.clock.paced(rows, reference=self.reference)

    def to_json(self) -> dict[str, Any]:
        """The calibration as plain JSON values, for people its parameters too; `from_json` reads it back."""
        fit = {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self.fit).items()
        }
        fit["conditions"] = [asdict(one) for one in self.fit.conditions]
        clock = None if self.clock is None else asdict(self.clock)
        return {
            "version": VERSION,
            "parameters": {name: asdict(one) for name, one in self.parameters.items()},
            "status": self.status,
            "message": self.message,
            "fit": fit,
            "given": dict(self.given),
            "step": self.step,
            "timed": self.timed,
            "optimiser": self.optimiser,
            "optimiser_basis": self.optimiser_basis,
            "signal_basis": self.signal_basis,
            "clock": clock,
            "reference": self.reference,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Calibration:
        """The calibration that `to_json` wrote; KeyError, TypeError or ValueError where it did not."""
        if document["version"] != VERSION:
            raise ValueError(f"version {document['version']}, but this verigap reads {VERSION}")
        fit: dict[str, Any] = {
            name: np.array(value, dtype=np.float64) if isinstance(value, list) else value
            for name, value in document["fit"].items()
            if name != "conditions"
        }
        fit["conditions"] = tuple(_condition(one) for one in document["fit"]["conditions"])
        law = fit["law"]
        if np.any((law != np.round(law)) | (law < 0.0) | (law >= len(LAWS))):
            raise ValueError(f"fit.law must index {', '.join(LAWS)}")
        fit["law"] = law.astype(np.intp)
        if fit["members"].shape != (fit["weight"].size, len(NAMES)):
            raise ValueError(
                f"fit.members must have {len(NAMES)} columns and a row for each weight"
            )
        _refuse_impossible(fit)
        if not 0.0 < float(document["step"]) < np.inf:
            raise ValueError(f"step must be above 0, got {document['step']!r}")
        if not isinstance(document["timed"], bool):
            raise ValueError(f"timed must be true or false, got {document['timed']!r}")
        if set(document["given"]) != set(DEFAULTS):
            raise ValueError(f"given must hold {', '.join(DEFAULTS)}")
        given = dict(document["given"])
        # On trial: what a forecast would be of.
        Condition(
            VerifierChannel(0.0, 0.0),
            prompts_per_step=given["prompts_per_step"],
            estimator=estimator_named(given["estimator"]),
            beta2=given["beta2"],
        )
        return cls(
            Fit(**fit),
            given,
            float(document["step"]),
            document["timed"],
            document["optimiser"],
            str(document["optimiser_basis"]),
            None if document["clock"] is None else Clock.from_json(document["clock"]),
            int(document["reference"]),
            str(document.get("signal_basis", "")),
        )


MOST_COORDINATE: Final = (
    200.0  # of a stored member: logarithms and logits, beyond which exp overflows
)


def _refuse_impossible(fit: Mapping[str, Any]) -> None:
    """Raise ValueError where a stored fit holds what no calibration makes: it would forecast all the same."""
    members, count = fit["weight"].size, len(NAMES)
    shapes = {"own": (members,), "law": (members,), "weight": (members,)}
    shapes |= {"prior_mean": (count,), "prior_sd": (count,)}
    for name, shape in shapes.items():
        if fit[name].shape != shape:
            raise ValueError(f"fit.{name} must have shape {shape}")
    if fit["cells"].ndim != 2 or len(fit["cells"]) != 4 or not fit["cells"].size:
        raise ValueError("fit.cells must have 4 rows and a column for each cell")
    for name, value in fit.items():
        numbers = np.asarray(value) if isinstance(value, np.ndarray | float | int) else np.zeros(1)
        if not np.isfinite(numbers).all():
            raise ValueError(f"fit.{name} must be finite")
    if np.any(fit["weight"] < 0.0) or abs(float(fit["weight"].sum()) - 1.0) > 1e-6:
        raise ValueError("fit.weight must be weights, at least 0 and 1 in all")
    if np.any((fit["own"] < 0.0) | (fit["own"] > 1.0)):
        raise ValueError("fit.own must lie in [0, 1]")
    if np.any(fit["prior_sd"] <= 0.0):
        raise ValueError("fit.prior_sd must be above 0")
    if np.any(np.abs(fit["members"]) > MOST_COORDINATE):
        raise ValueError(f"fit.members must be at most {MOST_COORDINATE:g} in size")
    for name in ("discrepancy", "white", "scatter", "rmse"):
        if not 0.0 <= fit[name] <= 1.0:
            raise ValueError(f"fit.{name} must lie in [0, 1]")
    place, step, mean, rows = fit["cells"]
    if np.any(step < 0.0) or np.any((mean < 0.0) | (mean > 1.0)) or np.any(rows < 1.0):
        raise ValueError(
            "fit.cells must hold steps of at least 0, accuracies and rows of at least 1"
        )
    if np.any((place < 0) | (place >= len(fit["conditions"])) | (place != np.round(place))):
        raise ValueError("fit.cells must point at fit.conditions")


def _condition(document: Mapping[str, Any]) -> Condition:
    """What `asdict` made of a condition, again one."""
    own = dict(document)
    own["channel"] = VerifierChannel(**document["channel"])
    own["estimator"] = Estimator(**document["estimator"])
    return Condition(**own)


def calibrate(rows: pd.DataFrame, *, clock: Clock | None = None) -> Calibration:
    """Fit the model to run-table rows: fpr, fnr, group_size, step, accuracy, and optional columns.

    clock: a probe's of the initial weights, where there is one; else the gradient's logged signal and noise are read.
    Raises theory.ArgumentError where a row is out of range, InputError for an optimiser that is no known one or
    a probe of other group sizes.
    """
    # Rows that do not say are taken to be like these.
    given = {
        name: rows[name].iloc[0] if name in rows.columns else default
        for name, default in DEFAULTS.items()
    }
    given = {k: v.item() if isinstance(v, np.generic) else v for k, v in given.items()}
    timed = "step" in rows.columns
    last = float(rows["step"].max()) if timed else STEPS
    optimiser, basis = _optimiser(rows)
    conditions, place_N, step_N, _ = _conditions(rows, given, last)
    if clock is not None and clock.measured is not None:
        measured, told = clock.measured, f"the probe {clock.source}"
    else:
        measured, told = logged_signal(rows, given)
    fit = calibrate_flow(
        conditions,
        place_N,
        step_N,
        rows["accuracy"].to_numpy(np.float64),
        n_eval=_samples(rows),
        optimiser=optimiser,
        measured=measured,
    )
    reference = 0
    if clock is not None:
        best = max(c.channel.youden for c in conditions)
        sizes = sorted(c.group_size for c in conditions if c.channel.youden > best - 1e-9)
        reference = sizes[(len(sizes) - 1) // 2]
        clock.check(reference)
    return Calibration(fit, given, last, timed, optimiser, basis, clock, reference, told)


def _optimiser(rows: pd.DataFrame) -> tuple[FlowOptimiser, str]:
    """What trained the runs, and how we know."""
    if "optimiser" not in rows.columns:
        return "adam", "assumed, since the run table does not say; --optimiser does"
    names = {str(name).strip().lower() for name in rows["optimiser"].unique()}
    kinds = {OPTIMISERS.get(name, name) for name in names}
    if len(kinds) > 1 or not kinds <= set(OPTIMISERS.values()):
        raise InputError(
            f"optimiser must be one of {', '.join(sorted(OPTIMISERS))}, the same in every calibration row, got"
            f" {', '.join(sorted(names))}"
        )
    return ("sgd" if kinds == {"sgd"} else "adam"), "as the run table or --optimiser says"


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
) -> tuple[list[Condition], NDArray[np.intp], FloatArray, FloatArray]:
    """The distinct conditions of the rows, which one each row has, its step, and paces [2, conditions].

    A pace is the probe's, with its standard error; NaN where the rows have none.
    """
    columns = {name: rows[name].to_numpy() for name in ("fpr", "fnr", "group_size")}
    for name in (PACE, PACE_SE):
        columns[name] = (
            rows[name].to_numpy() if name in rows.columns else np.full(len(rows), np.nan)
        )
    for name, value in given.items():
        columns[name] = rows[name].to_numpy() if name in rows.columns else np.full(len(rows), value)
    table = pd.DataFrame(columns)
    group_of: Any = table.groupby(list(columns), sort=False, dropna=False).ngroup()
    place_N = group_of.to_numpy(np.intp)
    unique = table.drop_duplicates()
    distinct: Any = unique.itertuples(index=False)
    paces = np.stack([unique[name].to_numpy(np.float64) for name in (PACE, PACE_SE)])
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
    return conditions, place_N, step_N, paces
