"""What a benchmark says for RESULTS.md: rows of a table, and what was needed of a number.

A benchmark takes the fixture `record`, times what is ours beside what a user would use instead
(`compare`, interleaved in one run) or calls what times itself (`once`), and adds rows and needs. They
travel in pytest-benchmark's JSON as `extra_info`; `tests.benchmarks.results` makes the file of them.
A need that is missed fails the test, after every row of it has been recorded.

    def test_one_kernel(record):
        took = record.compare(ours, {"numpy": theirs})
        ratio = took.ratio("numpy")
        record.row("Kernel", {"G": 4, "ours, s": took.median("ours"), "numpy over ours": ratio})
        record.need("kernel, G = 4: times NumPy", ratio, at_least=7.0)
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

Work = Callable[[], Any]
ROUNDS = 5  # the least that a median is taken of


@dataclass(frozen=True)
class Took:
    """Seconds of wall-clock of every round, by what was timed; ours is called "ours"."""

    seconds: Mapping[str, list[float]]

    def median(self, what: str = "ours") -> float:
        return float(np.median(self.seconds[what]))

    def ratio(self, what: str, to: str = "ours") -> float:
        """How many times longer `what` takes than `to`: the ratio of medians."""
        return self.median(what) / self.median(to)


@dataclass
class Record:
    """Collects what one benchmark has to say; see the module."""

    benchmark: Any
    tables: list[dict[str, Any]] = field(default_factory=list)
    needs: list[dict[str, Any]] = field(default_factory=list)

    def compare(
        self, ours: Work, others: Mapping[str, Work], *, rounds: int = ROUNDS, warm: bool = False
    ) -> Took:
        """Time `ours` and each of `others` `rounds` times in turn, after one round that is not kept.

        warm: all has run before, so that no round is thrown away.
        """
        assert rounds >= ROUNDS
        seconds: dict[str, list[float]] = {what: [] for what in others}

        def time_others() -> None:
            for what, work in others.items():
                began = time.perf_counter()
                work()
                seconds[what].append(time.perf_counter() - began)

        self.benchmark.pedantic(
            ours, setup=time_others, rounds=rounds, warmup_rounds=0 if warm else 1
        )
        kept = {what: all_rounds[-rounds:] for what, all_rounds in seconds.items()}
        return Took({"ours": list(self.benchmark.stats.stats.data), **kept})

    def once(self, work: Callable[[], Any]) -> Any:
        """What `work` returns; for measures that do their own timing."""
        return self.benchmark.pedantic(work, rounds=1)

    def row(self, table: str, cells: Mapping[str, str | float | None], *, note: str = "") -> None:
        """A row of the table with this heading: column to value, units in the column's name.

        note: a sentence below the heading; the first one given stands.
        """
        plain = {
            column: value.item() if isinstance(value, np.generic) else value
            for column, value in cells.items()
        }
        self.tables.append({"table": table, "cells": plain, "note": note})

    def need(
        self,
        what: str,
        value: float,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> None:
        """State what `value` must be; missing it fails the test when it ends."""
        met = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
        bounds = (("at least", at_least), ("at most", at_most))
        needed = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
        assert needed
        self.needs.append(
            {"what": what, "needed": needed, "measured": float(value), "met": bool(met)}
        )


@pytest.fixture
def record(benchmark: Any) -> Iterator[Record]:
    """A `Record` whose rows and needs go into the benchmark's JSON."""
    found = Record(benchmark)
    yield found
    benchmark.extra_info["tables"] = found.tables
    benchmark.extra_info["needs"] = found.needs
    missed = [
        f"{n['what']}: {n['measured']:.4g}, needed {n['needed']}"
        for n in found.needs
        if not n["met"]
    ]
    assert not missed, "; ".join(missed)


def peak_memory(work: Work) -> float:
    """MB that `work` holds at most beyond what was there before, in what Python and NumPy allocate."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def on_one_thread(work: Work) -> Work:
    """`work` with numba on one thread."""
    import numba

    def alone() -> Any:
        before = numba.get_num_threads()
        numba.set_num_threads(1)
        try:
            return work()
        finally:
            numba.set_num_threads(before)

    return alone
