"""The phase diagram over (fpr, fnr): which way training goes, how fast, and by how much noise slows it.

Law. The sign of J decides the direction and D_G the pace: from `start` to `target` one prompt's ability
takes the time integral of d logit/(J A D_G(q)) (`theory.mean_field`), here for every cell at once.
Fails first when errors are not independent: the plane of two rates then has a third axis.
Source: docs/theory.md#gains and docs/theory.md#mean-field.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from theory.channel import FloatArray, check_rate, check_rates, youden_index
from theory.errors import ArgumentError
from theory.estimators import GRPO, Estimator, check_group_size, gain

__all__ = ["Phase", "phase_diagram"]

_TABLE = 4097  # points of the table of D_G; linear in between, relative error below 1e-5
_NODES = 48  # Gauss-Legendre nodes in logit between start and target


@dataclass(frozen=True)
class Phase:
    """A phase diagram; arrays of shape [group sizes, fpr grid, fnr grid] unless said otherwise.

    fpr, fnr: the grids. group_size: [group sizes].
    youden: J, shape [fpr grid, fnr grid]. Its sign is the fate: learning, nothing, unlearning.
    drift: of one group's gradient at `pass_rate`; relative_drift: over the clean verifier's.
    time: from `start` to `target`, in steps over the learning rate; inf where J <= 0.
    slowdown: time over the clean verifier's at the same group size.
    """

    fpr: FloatArray
    fnr: FloatArray
    group_size: NDArray[np.int64]
    pass_rate: float
    start: float
    target: float
    youden: FloatArray
    drift: FloatArray
    relative_drift: FloatArray
    time: FloatArray
    slowdown: FloatArray


def phase_diagram(
    fpr: ArrayLike,
    fnr: ArrayLike,
    group_size: ArrayLike,
    *,
    pass_rate: float = 0.2,
    start: float = 0.05,
    target: float = 0.8,
    estimator: Estimator = GRPO,
) -> Phase:
    """Solve the grid of verifiers for each group size.

    fpr, fnr: rates in [0, 1], shapes [X] and [D]. group_size: integers of at least 2, shape [S].
    pass_rate: where the drift is taken. start < target: both strictly inside (0, 1).
    Raises ArgumentError naming the argument and the value.
    """
    x, d = (np.atleast_1d(check_rates(n, v)) for n, v in (("fpr", fpr), ("fnr", fnr)))
    sizes = np.atleast_1d(np.asarray(group_size))
    for size in sizes.tolist():
        check_group_size(size)
    for name, value in (("pass_rate", pass_rate), ("start", start), ("target", target)):
        if check_rate(name, value) in (0.0, 1.0):
            raise ArgumentError(f"{name} must lie strictly inside (0, 1), got {value:g}")
    if start >= target:
        raise ArgumentError(f"start must be below target, got {start:g} and {target:g}")

    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    low, high = special.logit([start, target])
    logits = low + (high - low) * (nodes + 1.0) / 2.0
    a = special.expit(np.append(logits, special.logit(pass_rate)))
    pace = a * (1.0 - a)
    # The clean verifier is one more cell, so that ratios come from the same quadrature.
    fprs = np.append(np.repeat(x, d.size), 0.0)[:, np.newaxis]
    fnrs = np.append(np.tile(d, x.size), 0.0)[:, np.newaxis]
    j = youden_index(fprs, fnrs)[:, 0]
    q = np.clip(a * (1.0 - fnrs) + (1.0 - a) * fprs, 0.0, 1.0)
    # D_G bends fastest at the ends of [0, 1]: even in arcsin sqrt q, its table is dense there.
    angle = np.arcsin(np.sqrt(q))
    table_angle = np.linspace(0.0, math.pi / 2.0, _TABLE)
    shape = (sizes.size, x.size, d.size)
    drift, time = np.empty((2, sizes.size, j.size))
    for i, size in enumerate(sizes.tolist()):
        table = gain(np.sin(table_angle) ** 2, size, estimator=estimator)
        push = pace * np.interp(angle, table_angle, table)
        drift[i] = j * push[:, -1]
        slowness = (1.0 / push[:, :-1]) @ weights * (high - low) / 2.0
        time[i] = np.divide(slowness, j, out=np.full_like(j, np.inf), where=j > 0.0)
    return Phase(
        fpr=x,
        fnr=d,
        group_size=sizes.astype(np.int64),
        pass_rate=pass_rate,
        start=start,
        target=target,
        youden=j[:-1].reshape(shape[1:]),
        drift=drift[:, :-1].reshape(shape),
        relative_drift=(drift[:, :-1] / drift[:, -1:]).reshape(shape),
        time=time[:, :-1].reshape(shape),
        slowdown=(time[:, :-1] / time[:, -1:]).reshape(shape),
    )
