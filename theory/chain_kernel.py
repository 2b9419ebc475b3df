"""The compiled loops of `theory.training_chain`: rows of banded operators, and steps of distributions.

LANES verifiers are worked on at a time, in arrays laid out [..., lane], so that the compiler vectorises
over verifiers; blocks of them go to threads. Lanes and blocks do not mix, so no result depends on either
count. Only rows of the operator that hold mass are made, and one block's operator fits in a core's cache.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numba as nb
import numpy as np

__all__ = ["LANES", "Scheme", "band", "evolve", "evolve_on_all_cores", "shares"]

LANES: Final = 8  # doubles of a vector register; any value gives the same results
# Where a distribution holds less it is set to 0: what is lost in 10^5 steps is below rounding, only places that
# hold mass are worked on, and denormal numbers, a hundred times slower than others, never come up.
NEGLIGIBLE: Final = 1e-30


class Scheme(NamedTuple):
    """What the operators of all verifiers share."""

    pass_rates: Any  # [points], of the grid
    unpaid: Any  # [G + 1], advantages by the number paid
    paid: Any
    stride: Any  # steps of the grid that a gradient of 1 moves a chain
    reach: Any  # steps of the grid beyond which no step leads


@nb.njit(inline="always", cache=True)
def shares(place: Any, last: Any) -> Any:
    """(near, below, at, above): the grid point nearest to a place in [0, last], never an end, and the
    shares of it and its neighbours by quadratic interpolation, which keeps moments 0, 1 and 2.
    """
    near = int(min(max(math.floor(place + 0.5), 1), last - 1))
    f = place - near
    return near, (f * f - f) / 2.0, 1.0 - f * f, (f * f + f) / 2.0


@nb.njit(cache=True)
def _binomials(chance: Any, table: Any) -> None:
    """table[n, k, lane] = P(Binomial(n, chance) = k), by Pascal's rule: sums of products, so no overflow."""
    table[0, 0, :] = 1.0
    for n in range(1, table.shape[0]):
        for b in range(LANES):
            table[n, 0, b] = table[n - 1, 0, b] * (1.0 - chance[b])
            table[n, n, b] = table[n - 1, n - 1, b] * chance[b]
        for k in range(1, n):
            for b in range(LANES):
                table[n, k, b] = (
                    table[n - 1, k, b] * (1.0 - chance[b]) + table[n - 1, k - 1, b] * chance[b]
                )


@nb.njit(cache=True)
def _row(i: Any, fpr: Any, fnr: Any, scheme: Any, room: Any, row: Any) -> None:
    """row[offset + reach, lane] = P(step from i to i + offset), i not an end; the law of `step_law`."""
    observed, right_if_paid, right_if_unpaid, chance, mass = room
    a, stride, reach = scheme.pass_rates[i], scheme.stride, scheme.reach
    size, last = observed.shape[0] - 1, scheme.pass_rates.size - 1
    for b in range(LANES):
        chance[0, b] = a * (1.0 - fnr[b]) + (1.0 - a) * fpr[b]
        unpaid = a * fnr[b] + (1.0 - a) * (1.0 - fpr[b])
        # Where one of the two never happens, any value does.
        chance[1, b] = a * (1.0 - fnr[b]) / chance[0, b] if chance[0, b] > 0.0 else 0.0
        chance[2, b] = a * fnr[b] / unpaid if unpaid > 0.0 else 0.0
    _binomials(chance[0], observed)
    _binomials(chance[1], right_if_paid)
    _binomials(chance[2], right_if_unpaid)
    row[:] = 0.0
    for s in range(size + 1):
        up, down = scheme.paid[s], scheme.unpaid[s]
        for k in range(s + 1):
            for b in range(LANES):
                mass[b] = observed[size, s, b] * right_if_paid[s, k, b]
            for u in range(size - s + 1):
                push = (up * (k - a * s) + down * (u - a * (size - s))) / size
                # An atom beyond an end lands on it.
                place = min(max(i + stride * push, 0.0), float(last))
                near, below, at, above = shares(place, last)
                o = near - i + reach
                for b in range(LANES):
                    m = mass[b] * right_if_unpaid[size - s, u, b]
                    row[o - 1, b] += below * m
                    row[o, b] += at * m
                    row[o + 1, b] += above * m
    # Sums of products leave rows a few ulp off one; 10^5 steps would show it.
    for b in range(LANES):
        total = 0.0
        for o in range(row.shape[0]):
            total += row[o, b]
        for o in range(row.shape[0]):
            row[o, b] /= total


@nb.njit(cache=True)
def _room(size: Any) -> Any:
    shape = (size + 1, size + 1, LANES)
    return (
        np.zeros(shape),
        np.zeros(shape),
        np.zeros(shape),
        np.empty((3, LANES)),
        np.empty(LANES),
    )


@nb.njit(nogil=True, cache=True)
def band(fpr: Any, fnr: Any, scheme: Any, out: Any) -> None:
    """Fill out[point, offset + reach, lane] for the rates of LANES verifiers; the ends keep their mass."""
    room = _room(scheme.paid.size - 1)
    last = scheme.pass_rates.size - 1
    for i in range(1, last):
        _row(i, fpr, fnr, scheme, room, out[i])
    for i in (0, last):
        out[i] = 0.0
        out[i, scheme.reach] = 1.0


@nb.njit(cache=True)
def _empty(column: Any) -> Any:
    most = 0.0
    for b in range(LANES):
        most = max(most, abs(column[b]))
    return most == 0.0


@nb.njit(cache=True)
def _step(low: Any, high: Any, operator: Any, kept: Any, now: Any, after: Any) -> Any:
    """The distribution after a step, in `after`, and the columns (low, high) that hold it."""
    last, width = now.shape[0] - 1, operator.shape[1]
    reach = width // 2
    to_low, to_high = max(low - reach, 0), min(high + reach, last)
    after[to_low : to_high + 1] = 0.0
    for i in range(low, high + 1):
        if i == 0 or i == last:
            for b in range(LANES):
                after[i, b] += now[i, b]
            continue
        shift = i - reach
        for o in range(max(-shift, 0), min(width, last + 1 - shift)):
            for b in range(LANES):
                after[shift + o, b] += operator[i, o, b] * now[i, b]
    for i in range(to_low, to_high + 1):
        for b in range(LANES):
            held = after[i, b] * kept[i]
            after[i, b] = held if abs(held) >= NEGLIGIBLE else 0.0
    while to_low <= to_high and _empty(after[to_low]):
        to_low += 1
    while to_high >= to_low and _empty(after[to_high]):
        to_high -= 1
    return to_low, to_high


@nb.njit(nogil=True, cache=True)
def evolve(
    fpr: Any, fnr: Any, scheme: Any, start: Any, kept: Any, weights: Any, seen: Any, final: Any
) -> None:
    """Distributions after 0 … steps steps, for the rates of LANES verifiers.

    start: [points], 0 but for the points next to one place. kept: [points], what a step's arrivals are
    multiplied by (0: they leave). weights: [points, quantities]; seen[t, quantity, lane] is their sum
    under the distribution. final: [point, lane], the distribution at the last step.
    """
    points, last = scheme.pass_rates.size, scheme.pass_rates.size - 1
    room = _room(scheme.paid.size - 1)
    operator = np.empty((points, 2 * scheme.reach + 1, LANES))
    now, after = np.zeros((points, LANES)), np.zeros((points, LANES))
    low, high = points, -1  # the columns that hold mass
    for i in range(points):
        if start[i] != 0.0:
            now[i, :] = start[i]
            low, high = min(low, i), i
    made_low, made_high = low, low - 1  # the rows of the operator that are made
    for t in range(seen.shape[0]):
        seen[t] = 0.0
        for i in range(low, high + 1):
            for q in range(weights.shape[1]):
                for b in range(LANES):
                    seen[t, q, b] += weights[i, q] * now[i, b]
        if low > high or t == seen.shape[0] - 1:
            continue
        while made_high < high:
            made_high += 1
            if 0 < made_high < last:
                _row(made_high, fpr, fnr, scheme, room, operator[made_high])
        while made_low > low:
            made_low -= 1
            if 0 < made_low < last:
                _row(made_low, fpr, fnr, scheme, room, operator[made_low])
        low, high = _step(low, high, operator, kept, now, after)
        now, after = after, now
    final[:] = 0.0
    for i in range(low, high + 1):
        final[i] = now[i]


@nb.njit(parallel=True, cache=True)
def evolve_on_all_cores(
    fpr: Any, fnr: Any, scheme: Any, start: Any, kept: Any, weights: Any, seen: Any, final: Any
) -> None:
    """`evolve` for blocks of LANES verifiers, [blocks, ...] each, on numba's threads."""
    for block in nb.prange(fpr.shape[0]):
        evolve(fpr[block], fnr[block], scheme, start, kept, weights, seen[block], final[block])
