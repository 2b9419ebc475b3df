"""Forecasts for any verifier, rollouts and length, as tables that a page can read off: no theory is written twice.

Law. One calibration for each optimiser forecasts accuracy at every node: RATES, Chebyshev's points of the second kind
on [0, 1/2], for fpr and fnr each; group sizes SIZES, between which nothing is asked; and steps that lie evenly in their
root, up to BEYOND of the calibrated ones. Between the nodes of the rates the page takes their polynomial (barycentric),
between steps the cubic through four nodes.
Fails first in large groups near J = 0, where harm sets in most steeply (LOG.md has what was measured).
Source: Berrut & Trefethen 2004 (barycentric interpolation); docs/how-to/validate.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from empirical.validate.calibrate import Calibration, calibrate
from empirical.validate.forecast import split_rows
from fits.selection import Selection
from fits.table import need_columns
from theory.adam_flow import FlowOptimiser
from theory.channel import FloatArray

__all__ = ["BEYOND", "RATES", "SIZES", "Explorer", "Surface", "explorer_of"]

SIZES: Final = (4, 8, 16, 32, 64)
NODES: Final = 8  # six miss by up to .007 where groups are large
RATES: Final = tuple(float(0.25 * (1.0 - np.cos(np.pi * k / (NODES - 1)))) for k in range(NODES))
STEPS: Final = 21
BEYOND: Final = 1.5  # of the longest calibrated run
OPTIMISERS: Final[tuple[FlowOptimiser, ...]] = ("adam", "sgd")


@dataclass(frozen=True)
class Surface:
    """Forecasts under one optimiser at every node, [sizes, fpr, fnr, steps], in [0, 1].

    low, high: the 90 % interval of a measured accuracy.
    """

    accuracy: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True)
class Explorer:
    """What a page explores. steps: [STEPS], ascending from 0. optimiser: what trained the runs.

    pass_rate: the forecast accuracy at step 0. calibrated_on, rows: the calibration's. calibrations: by optimiser.
    """

    rates: tuple[float, ...]
    sizes: tuple[int, ...]
    steps: FloatArray
    surfaces: Mapping[str, Surface]
    optimiser: str
    pass_rate: float
    calibrated_on: str
    rows: int
    calibrations: Mapping[str, Calibration]


def explorer_of(
    frame: pd.DataFrame, *, calibrate_on: Selection, source: str = "the table"
) -> Explorer:
    """Calibrate on the selected rows of a run table, once for each optimiser, and forecast every node.

    Raises InputError for missing columns, a selection of nothing or of everything.
    """
    need_columns(frame, "fpr", "fnr", "group_size", "step", purpose="an explorer", source=source)
    shown, _ = split_rows(frame, calibrate_on, source=source)
    known = calibrate(shown)
    models = {
        name: known if name == known.optimiser else calibrate(shown.assign(optimiser=name))
        for name in OPTIMISERS
    }
    steps = BEYOND * known.fit.horizon * (np.arange(STEPS) / (STEPS - 1)) ** 2
    surfaces = {name: _surface(model, steps) for name, model in models.items()}
    return Explorer(
        rates=RATES,
        sizes=SIZES,
        steps=steps,
        surfaces=surfaces,
        optimiser=known.optimiser,
        pass_rate=float(surfaces[known.optimiser].accuracy[0, 0, 0, 0]),
        calibrated_on=calibrate_on.text,
        rows=len(shown),
        calibrations=models,
    )


def _surface(model: Calibration, steps: FloatArray) -> Surface:
    size, fpr, fnr, step = (
        part.ravel() for part in np.meshgrid(SIZES, RATES, RATES, steps, indexing="ij")
    )
    shape = len(SIZES), NODES, NODES, len(steps)
    found = model.forecast(pd.DataFrame({"fpr": fpr, "fnr": fnr, "group_size": size, "step": step}))
    accuracy, low, high = (
        part.reshape(shape) for part in (found.accuracy, found.low90, found.high90)
    )
    return Surface(accuracy, low, high)
