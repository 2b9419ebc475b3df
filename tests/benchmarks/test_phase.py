"""The phase diagram over (fpr, fnr) as one vectorised solve, beside scipy's quadrature cell by cell."""

from __future__ import annotations

import numpy as np

import theory
from tests.benchmarks.conftest import Record, peak_memory
from theory.mean_field import time_between
from theory.phase import phase_diagram

CELLS, SIZES, SOME = 101, (2, 4, 8, 16, 64), 4


def test_phase_diagram(record: Record) -> None:
    rates = np.linspace(0.0, 1.0, CELLS)
    few = np.linspace(0.0, 0.45, SOME)

    def by_quadrature() -> None:
        for size in SIZES:
            for x in few:
                for d in few:
                    time_between(0.05, 0.8, theory.VerifierChannel(x, d), group_size=size)

    def ours() -> None:
        phase_diagram(rates, rates, SIZES)

    took = record.compare(ours, {"quadrature": by_quadrature})
    scale = CELLS**2 / SOME**2
    record.row(
        "Phase diagram",
        {
            "cells": CELLS**2 * len(SIZES),
            "ours, s": took.median(),
            "quadrature, s": took.median("quadrature") * scale,
            "quadrature over ours": took.ratio("quadrature") * scale,
            "peak memory, MB": peak_memory(ours),
        },
        note=f"{CELLS} x {CELLS} verifiers at G = {', '.join(map(str, SIZES))}. Beside it `scipy.integrate.quad` of each cell's"
        f" clock, {SOME**2} cells a group size, scaled (half of the plane never learns and needs none: it would take half).",
    )
    record.need(
        f"phase diagram {CELLS} x {CELLS}, {len(SIZES)} group sizes: s", took.median(), at_most=2.0
    )
