"""Systematic errors: the features whose rollouts a verifier misjudges more often than it should by chance.

Law. Of the wrong (for false positives) or right (false negatives) rollouts, those that show a feature are
held against the rest by Fisher's exact test, one-sided, on a table shrunk by the feature's own design effect
(1 - rho) + rho sum_c W_c^2/sum_i w_i^2, w the centred feature and W its sums over prompts: a feature that all
rollouts of a prompt share has as many observations as prompts. Holm's method keeps the chance of naming any
feature of a verifier without systematic errors below 5 %, over all features and both errors together. Named
features are taken greedily: the one that explains most, then, among the rollouts it does not cover, the next;
a feature that is only another name for one taken is listed with it.
Fails first where an error has fewer than about five clusters (it is then not found), and where a cause is no
feature here (it then shows as an intraclass correlation that nothing explains).
Source: Rao & Scott 1981; Holm 1979.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from empirical.audit.clusters import (
    ASSUMED_ICC,
    FEW,
    Interval,
    clustered_rate,
    intraclass_correlation,
)

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

__all__ = ["ErrorKind", "Segment", "find_segments"]

LEAST: Final = 4  # rollouts in a segment, and outside it
MOST: Final = 6  # segments named of one error
ALPHA: Final = 0.05
MOST_NAMES: Final = 6


@dataclass(frozen=True)
class ErrorKind:
    """One error's rollouts. name: fpr or fnr. rows_n: places of the wrong (right) rollouts in the table;
    error_n: which of them are misjudged; cluster_n: their prompts."""

    name: str
    rows_n: IntArray
    error_n: BoolArray
    cluster_n: IntArray


@dataclass(frozen=True)
class Segment:
    """A feature that goes with errors.

    error: fpr or fnr. rate, ci: of that error within the segment; rate_elsewhere: outside it. share: of all
    such errors, how many lie in it. rate_without: what the error's rate would be if the segment's were mended.
    p: one-sided; p_adjusted: by Holm, over everything looked at. also: features that are other names for it.
    """

    error: str
    segment: str
    n: int
    errors: int
    clusters: int
    rate: float
    ci: Interval
    rate_elsewhere: float | None
    share: float
    rate_without: float
    p: float
    p_adjusted: float
    also: tuple[str, ...]


def find_segments(
    kinds: list[ErrorKind], features: Mapping[str, BoolArray]
) -> tuple[tuple[Segment, ...], int]:
    """The systematic errors found, and how many tests were made. features: masks over the whole table."""
    names = list(features)
    if not names:
        return (), 0
    tests = [_Test.of(kind, names, features) for kind in kinds]
    first = [test.run(np.ones(len(test.kind.error_n), dtype=np.bool_)) for test in tests]
    tried = np.concatenate([found.p for found in first])
    used = np.isfinite(tried)
    if not used.any():
        return (), 0
    adjusted = np.ones_like(tried)
    adjusted[used] = _holm(tried[used])
    # Later rounds look at what earlier ones leave: no more tests than the first, and at its level.
    count = int(used.sum())
    segments: list[Segment] = []
    start = 0
    for test, found in zip(tests, first, strict=True):
        p_adjusted = adjusted[start : start + len(names)]
        start += len(names)
        segments += _greedy(test, found, p_adjusted, count)
    return tuple(segments), count


def _holm(p: FloatArray) -> FloatArray:
    """P-values adjusted by Holm's step-down method; statsmodels' collects garbage at every call, .2 s."""
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


@dataclass(frozen=True)
class _Found:
    """Per feature: one-sided p (NaN: not tested), how much it explains, [features]."""

    p: FloatArray
    explains: FloatArray


@dataclass(frozen=True)
class _Test:
    kind: ErrorKind
    names: list[str]
    shows_nF: BoolArray

    @classmethod
    def of(cls, kind: ErrorKind, names: list[str], features: Mapping[str, BoolArray]) -> _Test:
        order = np.argsort(kind.cluster_n, kind="stable")
        sorted_kind = ErrorKind(
            kind.name, kind.rows_n[order], kind.error_n[order], kind.cluster_n[order]
        )
        shows = np.array([features[name][sorted_kind.rows_n] for name in names]).T
        return cls(sorted_kind, names, shows.reshape(len(order), len(names)))

    def run(self, rows: BoolArray) -> _Found:
        """Test every feature among `rows`, a mask over this error's rollouts."""
        count = len(self.names)
        p, explains = np.full(count, np.nan), np.zeros(count)
        error = self.kind.error_n[rows]
        n, errors = len(error), int(error.sum())
        if errors == 0 or errors == n:
            return _Found(p, explains)
        shows = self.shows_nF[rows]
        clusters, starts = np.unique(self.kind.cluster_n[rows], return_index=True)
        sizes = np.diff(np.append(starts, n)).astype(np.float64)
        by_cluster = np.add.reduceat(error.astype(np.float64), starts)
        rho = intraclass_correlation(by_cluster, sizes)
        if rho is None:
            rho = 0.0 if len(clusters) == n else ASSUMED_ICC
        elif np.count_nonzero(by_cluster) < FEW:
            rho = max(rho, ASSUMED_ICC)
        inside = shows.sum(axis=0).astype(np.float64)
        paired = (shows & error[:, None]).sum(axis=0).astype(np.float64)
        share = inside / n
        sums = np.add.reduceat(shows.astype(np.float64), starts, axis=0) - np.outer(sizes, share)
        spread = n * share * (1.0 - share)
        effect = np.divide((sums**2).sum(axis=0), spread, out=np.ones(count), where=spread > 0.0)
        effect = np.maximum(1.0 - rho + rho * effect, 1.0)
        worth = (inside >= LEAST) & (n - inside >= LEAST)
        worth &= paired * n > inside * errors
        total, wrong = np.ceil(n / effect), np.ceil(errors / effect)
        drawn, hits = np.ceil(inside / effect), np.floor(paired / effect + 1e-9)
        found = _upper_tail(hits, total, np.minimum(wrong, total), np.minimum(drawn, total))
        p[:] = np.where(
            worth, found, np.where((inside >= LEAST) & (n - inside >= LEAST), 1.0, np.nan)
        )
        explains[:] = np.where(worth, _deviance(paired, inside, errors, n) / effect, 0.0)
        return _Found(p, explains)


def _upper_tail(
    hits: FloatArray, total: FloatArray, wrong: FloatArray, drawn: FloatArray
) -> FloatArray:
    """P(at least `hits` of `wrong` among `drawn` of `total`), [features]; scipy's loops over features."""

    def choose(n: FloatArray, k: FloatArray) -> FloatArray:
        return special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)

    most = np.minimum(wrong, drawn)
    p = np.zeros_like(hits)
    for more in range(int(max((most - hits).max(), 0.0)) + 1):
        k = hits + more
        there = (k <= most) & (drawn - k <= total - wrong)
        k = np.where(there, k, most)
        rest = np.minimum(drawn - k, total - wrong)
        log_p = choose(wrong, k) + choose(total - wrong, rest) - choose(total, drawn)
        p += np.where(there, np.exp(log_p), 0.0)
    return np.minimum(p, 1.0)


def _deviance(paired: FloatArray, inside: FloatArray, errors: int, n: int) -> FloatArray:
    """Likelihood ratio of two rates against one, [features]."""

    def log_likelihood(k: Any, m: Any) -> Any:
        k, m = np.asarray(k, dtype=np.float64), np.asarray(m, dtype=np.float64)
        share = np.divide(k, m, out=np.zeros_like(k), where=m > 0)
        return np.where(k > 0, k * np.log(np.where(k > 0, share, 1.0)), 0.0) + np.where(
            k < m, (m - k) * np.log1p(-np.where(k < m, share, 0.0)), 0.0
        )

    return 2.0 * (
        log_likelihood(paired, inside)
        + log_likelihood(errors - paired, n - inside)
        - log_likelihood(float(errors), float(n))
    )


def _greedy(test: _Test, found: _Found, p_adjusted: FloatArray, count: int) -> list[Segment]:
    segments: list[Segment] = []
    error = test.kind.error_n
    left = np.ones(len(error), dtype=np.bool_)
    significant = np.isfinite(found.p) & (p_adjusted < ALPHA)
    adjusted_now, now = p_adjusted, found
    unclaimed = set(np.flatnonzero(significant).tolist())
    while len(segments) < MOST:
        candidates = np.isfinite(now.p) & (adjusted_now < ALPHA)
        if not candidates.any():
            break
        best = int(np.argmax(np.where(candidates, now.explains, -1.0)))
        shows = test.shows_nF[:, best]
        unclaimed.discard(best)
        covered = shows & error
        # Another name: most of the errors that feature explains lie here too.
        also = [
            k
            for k in sorted(unclaimed, key=lambda k: -found.explains[k])
            if (test.shows_nF[:, k] & covered).sum() > 0.5 * (test.shows_nF[:, k] & error).sum()
        ]
        unclaimed -= set(also)
        segments.append(
            _segment(
                test,
                best,
                float(now.p[best]),
                float(adjusted_now[best]),
                tuple(test.names[k] for k in also[:MOST_NAMES]),
            )
        )
        left &= ~shows
        if not (error & left).any():
            break
        now = test.run(left)
        adjusted_now = np.minimum(np.where(np.isfinite(now.p), now.p * count, np.nan), 1.0)
    return segments


def _segment(test: _Test, k: int, p: float, p_adjusted: float, also: tuple[str, ...]) -> Segment:
    error, shows = test.kind.error_n, test.shows_nF[:, k]
    _, places = np.unique(test.kind.cluster_n, return_inverse=True)
    sizes, errors_K = (
        np.bincount(places, mask.astype(np.float64)).astype(np.float64)
        for mask in (shows, shows & error)
    )
    rate = clustered_rate(errors_K, sizes)
    assert rate is not None
    inside, errors, total = int(shows.sum()), int((shows & error).sum()), int(error.sum())
    outside = len(error) - inside
    return Segment(
        error=test.kind.name,
        segment=test.names[k],
        n=inside,
        errors=errors,
        clusters=rate.clusters,
        rate=rate.value,
        ci=rate.ci,
        rate_elsewhere=(total - errors) / outside if outside else None,
        share=errors / total,
        rate_without=(total - errors) / len(error),
        p=p,
        p_adjusted=p_adjusted,
        also=also,
    )
