"""Audit a verifier from labelled verdicts: its error rates, what its rollouts are worth, and where it errs.

Law. fpr and fnr are rates among labelled wrong and right rollouts; J = 1 - fpr - fnr; phi is Matthews'
correlation of being right and being paid at the audited pass rate, and G rollouts are worth 1 + phi^2(G - 1)
clean ones. Intervals treat prompts as clusters (`empirical.audit.clusters`). Unlabelled verdicts help the
pass rate: a control variate (prediction-powered, with the weight that the labelled part says is best), never
used where it would lengthen the interval. They do not help fpr and fnr, since P(paid) = fpr + J a is one
equation whatever their number; where labelling depended on the verdict, they say how to weigh the labels.
Fails first where labels are wrong (a label's own error counts as the verifier's), where the labelled prompts
are not like those trained on, and with fewer than about 30 labelled prompts.
Source: docs/theory.md, effective rollouts; Angelopoulos, Duchi & Zrnic 2023 (PPI++); Begg & Greenes 1983;
Rogan & Gladen 1978.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats

from empirical.audit.clusters import (
    ASSUMED_ICC,
    FEW,
    ClusteredRate,
    Interval,
    clustered_rate,
    combined,
    intraclass_correlation,
)
from empirical.audit.features import features
from empirical.audit.labels import Labels
from empirical.audit.segments import ErrorKind, Segment, find_segments
from fits.errors import InputError
from fits.plain import counted

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

__all__ = ["Audit", "Halving", "Unscorable", "audit_labels"]

FEW_CLUSTERS: Final = 30
SELECTED: Final = 1e-3  # p below which labelling is taken to depend on the verdict


@dataclass(frozen=True)
class Unscorable:
    """Rollouts the verifier could not judge. share: of all; the rates are those if such rollouts go unpaid."""

    n: int
    share: float
    fpr_if_unpaid: float | None
    fnr_if_unpaid: float | None


@dataclass(frozen=True)
class Halving:
    """How many more labels would halve an interval: of new prompts as labelled so far, or one a prompt."""

    interval: str
    labels: int
    prompts: int
    labels_one_per_prompt: int


@dataclass(frozen=True)
class Audit:
    """What an audit found; 95 % intervals; None where `reasons` says why.

    fpr: P(paid | wrong), fnr: P(unpaid | right), youden: 1 - fpr - fnr; p_youden: of J <= 0, one-sided.
    phi2: squared Matthews correlation at `pass_rate`; effective_rollouts: 1 + phi2 (G - 1), G = group_size.
    phi2_within: the same correlation within prompts, which is what an advantage sees. n: labelled and judged
    rollouts; wrong, right: of those; clusters: their prompts. icc: of errors within a prompt, both errors
    together. n_effective_fpr, n_effective_fnr: independent rollouts worth as much as the labelled ones.
    pass_rate_from: labels, or labels and unlabelled verdicts.
    """

    fpr: float | None
    fpr_ci: Interval | None
    fnr: float | None
    fnr_ci: Interval | None
    youden: float | None
    youden_ci: Interval | None
    p_youden: float | None
    pass_rate: float | None
    pass_rate_ci: Interval | None
    pass_rate_from: str
    paid_rate: float | None
    phi2: float | None
    phi2_ci: Interval | None
    phi2_within: float | None
    phi2_within_ci: Interval | None
    group_size: int
    effective_rollouts: float | None
    effective_rollouts_ci: Interval | None
    n: int
    right: int
    wrong: int
    clusters: int
    clustered_by: str | None
    unlabelled: int
    icc: float | None
    icc_fpr: float | None
    icc_fnr: float | None
    n_effective_fpr: float | None
    n_effective_fnr: float | None
    correlation_fpr_fnr: float
    unscorable: int
    unscorable_share: float
    unscorable_detail: Unscorable
    segments: tuple[Segment, ...]
    segments_tested: int
    labels_to_halve: tuple[Halving, ...]
    reasons: dict[str, str]
    warnings: tuple[str, ...]
    assumptions: tuple[str, ...]
    source: str

    def plain(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def to_frame(self) -> pd.DataFrame:
        """One row a quantity: value, low, high."""
        names = ("fpr", "fnr", "youden", "pass_rate", "phi2", "phi2_within", "effective_rollouts")
        rows = [
            (name, getattr(self, name), *(getattr(self, f"{name}_ci") or (None, None)))
            for name in names
        ]
        return pd.DataFrame(rows, columns=["quantity", "value", "low", "high"])


def audit_labels(labels: Labels, *, group_size: int = 8, segments: tuple[str, ...] = ()) -> Audit:
    """Audit labelled verdicts already read. Raises fits.InputError for a group_size below 2."""
    if group_size < 2:
        raise InputError(f"--group-size must be at least 2, got {group_size}")
    for name in segments:
        if name not in labels.others.columns:
            raise InputError(f"{labels.source}: --segment: no column {name!r} is left to look into")
    warnings = list(labels.notes)
    reasons: dict[str, str] = {}
    known = np.isfinite(labels.truth_N)
    judged = np.isfinite(labels.verdict_N)
    paid = labels.verdict_N == 1.0
    used = known & judged
    right, wrong = used & (labels.truth_N == 1.0), used & (labels.truth_N == 0.0)
    _, cluster_N = np.unique(labels.cluster_N, return_inverse=True)
    count = int(cluster_N.max()) + 1

    def per_cluster(mask: BoolArray, weight_N: FloatArray | None = None) -> FloatArray:
        values = mask.astype(np.float64) if weight_N is None else mask * weight_N
        return np.bincount(cluster_N, values, minlength=count).astype(np.float64)

    weight_N = _selection_weights(used, judged, paid, known, cluster_N, count, warnings)
    x = clustered_rate(per_cluster(wrong & paid, weight_N), per_cluster(wrong, weight_N))
    d = clustered_rate(per_cluster(right & ~paid, weight_N), per_cluster(right, weight_N))
    hidden = known & ~judged
    by_labels = clustered_rate(per_cluster(right, weight_N), per_cluster(used, weight_N))
    x, d = _identified(x, d, known, judged, paid, used, by_labels, reasons)
    a, origin = by_labels, "labels"
    if by_labels is not None and (~known).any() and weight_N is None:
        a, origin = _with_verdicts(by_labels, labels, used, known, cluster_N, count)
    youden = phi2 = effective = None
    p_youden: float | None = None
    if x is not None and d is not None:
        youden = _youden(x, d)
        p_youden = _p_of_youden(x, d)
        assert a is not None
        assert by_labels is not None
        phi2 = _phi2(x, d, a)
        if origin != "labels":
            alone = _phi2(x, d, by_labels)
            # More data that lengthen the interval of phi^2 (through a) are left out of it.
            if _length(alone) < _length(phi2):
                phi2 = alone
        effective = tuple(1.0 + value * (group_size - 1) for value in (phi2[0], *phi2[1]))
    else:
        why = "; ".join(dict.fromkeys(reasons[n] for n in ("fpr", "fnr") if n in reasons))
        reasons |= dict.fromkeys(("youden", "phi2", "effective_rollouts"), why)
    within, within_ci = _within(used, right, paid, cluster_N, count)
    if within is None:
        reasons["phi2_within"] = (
            "no prompt has labelled rollouts that differ both in truth and in verdict"
        )
    if x is not None and not paid[used].any():
        reasons["phi2"] = reasons["effective_rollouts"] = (
            "no labelled rollout is paid: nothing is learnt"
        )
    _warn(labels, x, d, youden, used, cluster_N, warnings)
    found, tested = _segments(labels, right, wrong, paid, cluster_N, segments)
    if not found and not tested:
        reasons["segments"] = "no feature has enough rollouts and errors to be tested"
    unscorable = int((~judged).sum())
    share = unscorable / len(judged)
    return Audit(
        fpr=None if x is None else x.value,
        fpr_ci=None if x is None else x.ci,
        fnr=None if d is None else d.value,
        fnr_ci=None if d is None else d.ci,
        youden=None if youden is None else youden[0],
        youden_ci=None if youden is None else youden[1],
        p_youden=p_youden,
        pass_rate=None if a is None else a.value,
        pass_rate_ci=None if a is None else a.ci,
        pass_rate_from=origin,
        paid_rate=float(paid[judged].mean()) if judged.any() else None,
        phi2=None if phi2 is None else phi2[0],
        phi2_ci=None if phi2 is None else phi2[1],
        phi2_within=within,
        phi2_within_ci=within_ci,
        group_size=group_size,
        effective_rollouts=None if effective is None else effective[0],
        effective_rollouts_ci=None if effective is None else (effective[1], effective[2]),
        n=int(used.sum()),
        right=int(right.sum()),
        wrong=int(wrong.sum()),
        clusters=len(np.unique(cluster_N[used])),
        clustered_by=labels.clustered_by,
        unlabelled=int((~known).sum()),
        icc=_both_icc(used, right, paid, cluster_N, count),
        icc_fpr=None if x is None else x.icc,
        icc_fnr=None if d is None else d.icc,
        n_effective_fpr=None if x is None else x.n_effective,
        n_effective_fnr=None if d is None else d.n_effective,
        correlation_fpr_fnr=_correlation(x, d),
        unscorable=unscorable,
        unscorable_share=share,
        unscorable_detail=Unscorable(
            unscorable,
            share,
            _share(paid & known & (labels.truth_N == 0.0), known & (labels.truth_N == 0.0)),
            _share(known & (labels.truth_N == 1.0) & ~paid, known & (labels.truth_N == 1.0)),
        ),
        segments=found,
        segments_tested=tested,
        labels_to_halve=_halving(x, d, used, int(right.sum()), int(wrong.sum()), cluster_N),
        reasons=reasons,
        warnings=tuple(warnings),
        assumptions=_assumptions(labels, hidden, origin, unscorable),
        source=labels.source,
    )


def _share(part: BoolArray, whole: BoolArray) -> float | None:
    return float(part.sum() / whole.sum()) if whole.any() else None


def _correlation(x: ClusteredRate | None, d: ClusteredRate | None) -> float:
    from empirical.audit.clusters import correlation

    return 0.0 if x is None or d is None else correlation(x, d)


def phi(fpr: float, fnr: float, pass_rate: float) -> float:
    """J sqrt(a(1 - a)/(q(1 - q))), in [-1, 1]; 0 where being right, or being paid, does not vary."""
    j = 1.0 - fpr - fnr
    q = fpr + j * pass_rate
    below = q * (1.0 - q)
    if below <= 0.0 or not 0.0 < pass_rate < 1.0:
        return 0.0
    return max(-1.0, min(1.0, j * math.sqrt(pass_rate * (1.0 - pass_rate) / below)))


def _youden(x: ClusteredRate, d: ClusteredRate) -> tuple[float, Interval]:
    value, (low, high) = combined(lambda fpr, fnr: 1.0 - fpr - fnr, (x, d))
    return value, (max(low, -1.0), min(high, 1.0))


def _phi2(x: ClusteredRate, d: ClusteredRate, a: ClusteredRate) -> tuple[float, Interval]:
    value, (low, high) = combined(phi, (x, d, a))
    low, high = max(low, -1.0), min(high, 1.0)
    least = 0.0 if low < 0.0 < high else min(low * low, high * high)
    return value * value, (least, max(low * low, high * high))


def _length(estimate: tuple[float, Interval]) -> float:
    return estimate[1][1] - estimate[1][0]


def _p_of_youden(x: ClusteredRate, d: ClusteredRate) -> float:
    """P of an estimate of J this large were J 0, one-sided, by t; where nothing varies, by its interval."""
    value = 1.0 - x.value - d.value
    both = x.influence_K + d.influence_K
    se = math.sqrt(float(both @ both))
    # A rate of 0 or 1 shows no scatter: its interval says what it may hide.
    for rate in (x, d):
        if not rate.influence_K.any():
            se = math.hypot(se, (rate.ci[1] - rate.ci[0]) / 2.0)
    return float(stats.t.sf(value / se, min(x.degrees, d.degrees))) if se > 0.0 else 0.5


def _identified(
    x: ClusteredRate | None,
    d: ClusteredRate | None,
    known: BoolArray,
    judged: BoolArray,
    paid: BoolArray,
    used: BoolArray,
    a: ClusteredRate | None,
    reasons: dict[str, str],
) -> tuple[ClusteredRate | None, ClusteredRate | None]:
    """The rates that the labels identify; `reasons` says what is missing of the others."""
    if not judged.any():
        why = f"unidentified: all {len(judged)} rollouts are unscorable"
        reasons |= {"fpr": why, "fnr": why, "pass_rate": why}
        return None, None
    if not used.any():
        why = "unidentified: no judged rollout is labelled; label one rollout of each of at least 60 prompts"
        reasons |= {"fpr": why, "fnr": why, "pass_rate": why}
        return None, None
    hidden = ~known & judged
    for verdict, name in ((paid, "paid"), (~paid & judged, "unpaid")):
        if (hidden & verdict).any() and not (used & verdict).any():
            more = min(int((hidden & verdict).sum()), 60)
            why = f"unidentified: no {name} rollout is labelled; label {more} more of these"
            reasons |= {"fpr": why, "fnr": why, "pass_rate": why}
            return None, None
    share = 0.5 if a is None else a.value
    for rate, name, kind, rest in (
        (x, "fpr", "wrong", 1.0 - share),
        (d, "fnr", "right", share),
    ):
        if rate is None:
            # Laplace's rule, where not one was seen.
            likely = max(rest, 1.0 / (int(used.sum()) + 2))
            reasons[name] = (
                f"unidentified: no labelled rollout is {kind}; label about"
                f" {math.ceil(FEW / likely)} more rollouts of new prompts"
            )
    return x, d


def _selection_weights(
    used: BoolArray,
    judged: BoolArray,
    paid: BoolArray,
    known: BoolArray,
    cluster_N: NDArray[np.intp],
    count: int,
    warnings: list[str],
) -> FloatArray | None:
    """Weights of labelled rollouts where whether one was labelled depends on its verdict; else None."""
    if not (judged & ~known).any() or not used.any():
        return None
    shares = [
        float(known[judged & side].mean()) if (judged & side).any() else 0.0
        for side in (paid, ~paid)
    ]
    if min(shares) == 0.0:
        return None
    # Does the paid share differ between labelled and unlabelled rollouts, prompts as clusters?
    score = np.zeros(count)
    for part, sign in ((used, 1.0), (judged & ~known, -1.0)):
        residual = (paid[part] - paid[part].mean()) / part.sum()
        score += sign * np.bincount(cluster_N[part], residual, minlength=count)
    se = math.sqrt(float(score @ score))
    difference = float(paid[used].mean() - paid[judged & ~known].mean())
    if se == 0.0 or 2.0 * stats.norm.sf(abs(difference) / se) > SELECTED:
        return None
    weight = np.where(paid, 1.0 / shares[0], 1.0 / shares[1])
    warnings.append(
        f"labelling depends on the verdict ({shares[0]:.0%} of the paid, {shares[1]:.0%} of the unpaid"
        " rollouts are labelled): labels are weighted by the inverse of these shares"
    )
    return weight / weight[used].mean()


def _with_verdicts(
    alone: ClusteredRate,
    labels: Labels,
    used: BoolArray,
    known: BoolArray,
    cluster_N: NDArray[np.intp],
    count: int,
) -> tuple[ClusteredRate, str]:
    """The pass rate by labels and unlabelled verdicts together, if its interval is the shorter one."""
    rows = [labels.verdict_N, *labels.auxiliary_VN]
    free = ~known & np.isfinite(labels.verdict_N)
    if not free.any():
        return alone, "labels"
    controls: list[FloatArray] = []
    differences: list[float] = []
    for verdicts in rows:
        # Any function of what both parts have will do: what cannot be judged counts as unpaid here.
        value = np.where(np.isfinite(verdicts), verdicts, 0.0)
        parts = [
            np.bincount(
                cluster_N[part], (value[part] - value[part].mean()) / part.sum(), minlength=count
            )
            for part in (used, free)
        ]
        controls.append(np.asarray(parts[0] - parts[1], dtype=np.float64))
        differences.append(float(value[used].mean() - value[free].mean()))
    control_KV = np.array(controls).T
    weights, *_ = np.linalg.lstsq(control_KV, alone.influence_K, rcond=None)
    influence = alone.influence_K - control_KV @ weights
    degrees = alone.degrees - len(rows)
    value = alone.value - float(np.dot(weights, differences))
    if degrees < 2.0 or not 0.0 < value < 1.0 or not 0.0 < alone.value < 1.0:
        return alone, "labels"
    se = math.sqrt(float(influence @ influence) * alone.degrees / degrees)
    middle = float(special.logit(value))
    half = float(stats.t.ppf(0.975, degrees)) * se / (value * (1.0 - value))
    low, high = (float(special.expit(middle + side * half)) for side in (-1.0, 1.0))
    if high - low >= alone.ci[1] - alone.ci[0]:
        return alone, "labels"
    better = replace(
        alone,
        value=value,
        ci=(low, high),
        n_effective=value * (1.0 - value) / se**2,
        degrees=degrees,
        influence_K=influence,
    )
    return better, "labels and unlabelled verdicts"


def _within(
    used: BoolArray, right: BoolArray, paid: BoolArray, cluster_N: NDArray[np.intp], count: int
) -> tuple[float | None, Interval | None]:
    """Squared correlation of right and paid within prompts, and its interval (Fisher's z, t)."""
    n = np.bincount(cluster_N, used.astype(float), minlength=count)
    r = np.bincount(cluster_N, right.astype(float), minlength=count)
    q = np.bincount(cluster_N, (used & paid).astype(float), minlength=count)
    b = np.bincount(cluster_N, (right & paid).astype(float), minlength=count)
    kept = n > 1
    n, r, q, b = n[kept], r[kept], q[kept], b[kept]
    both, rights, paids = b - r * q / n, r - r * r / n, q - q * q / n
    if kept.sum() < 3 or rights.sum() <= 0.0 or paids.sum() <= 0.0:
        return None, None
    value = float(both.sum() / math.sqrt(rights.sum() * paids.sum()))
    moved = (
        both / math.sqrt(rights.sum() * paids.sum())
        - value * rights / (2.0 * rights.sum())
        - value * paids / (2.0 * paids.sum())
    )
    informative = int(np.count_nonzero((rights > 0) | (paids > 0)))
    if informative < 3:
        return value * value, None
    if abs(value) >= 1.0:
        # No error within a prompt: what one error would have done bounds it.
        return 1.0, (max(1.0 - 3.0 / informative, 0.0), 1.0)
    scale = math.sqrt(informative / (informative - 1.0))
    half = float(stats.t.ppf(0.975, informative - 1)) * scale * math.sqrt(float(moved @ moved))
    middle = math.atanh(value)
    low, high = (math.tanh(middle + side * half / (1.0 - value * value)) for side in (-1.0, 1.0))
    least = 0.0 if low < 0.0 < high else min(low * low, high * high)
    return value * value, (least, max(low * low, high * high))


def _both_icc(
    used: BoolArray, right: BoolArray, paid: BoolArray, cluster_N: NDArray[np.intp], count: int
) -> float | None:
    """Intraclass correlation of errors within (prompt, right or wrong), both errors together."""
    found: list[tuple[float, float]] = []
    for part in (right, used & ~right):
        errors = part & (right != paid)
        sizes = np.bincount(cluster_N[part], minlength=count).astype(np.float64)
        rho = intraclass_correlation(
            np.bincount(cluster_N[errors], minlength=count).astype(np.float64), sizes
        )
        if rho is not None:
            share = float(errors.sum() / part.sum())
            found.append((rho, share * (1.0 - share) * float(part.sum())))
    if not found:
        return None
    return sum(rho * weight for rho, weight in found) / sum(weight for _, weight in found)


def _warn(
    labels: Labels,
    x: ClusteredRate | None,
    d: ClusteredRate | None,
    youden: tuple[float, Interval] | None,
    used: BoolArray,
    cluster_N: NDArray[np.intp],
    warnings: list[str],
) -> None:
    if labels.clustered_by is None:
        warnings.append(
            "no --cluster: every row is taken for a prompt of its own; if rows share prompts, the"
            " intervals are too short"
        )
    clusters = len(np.unique(cluster_N[used]))
    if 0 < clusters < FEW_CLUSTERS:
        warnings.append(
            f"only {counted(clusters, 'labelled prompt')}: intervals are rough below {FEW_CLUSTERS}"
        )
    for rate, name, kind in ((x, "fpr", "wrong"), (d, "fnr", "right")):
        if rate is None:
            continue
        if rate.errors == 0:
            warnings.append(
                f"{name}: no error among {counted(rate.n, f'{kind} rollout')} of {counted(rate.clusters, 'prompt')}; its upper"
                f" limit assumes an intraclass correlation of {ASSUMED_ICC:g}"
            )
        elif rate.few:
            warnings.append(
                f"{name}: only {counted(rate.clusters_with, 'prompt')} with"
                f" {'an error' if rate.value <= 0.5 else 'a rollout judged well'}: its interval is rough"
            )
    if youden is not None and youden[1][1] < 0.0:
        warnings.append(
            "J < 0 beyond doubt: this verifier pays wrong rollouts more often than right ones"
        )
    elif youden is not None and youden[1][0] <= 0.0:
        warnings.append(
            "J > 0 is not established: the labels do not tell this verifier from a coin"
        )


def _segments(
    labels: Labels,
    right: BoolArray,
    wrong: BoolArray,
    paid: BoolArray,
    cluster_N: NDArray[np.intp],
    segments: tuple[str, ...],
) -> tuple[tuple[Segment, ...], int]:
    kinds: list[ErrorKind] = []
    for name, part, error in (("fpr", wrong, wrong & paid), ("fnr", right, right & ~paid)):
        rows = np.flatnonzero(part)
        if len(rows):
            kinds.append(ErrorKind(name, rows, error[rows], cluster_N[rows]))
    if not any(kind.error_n.any() for kind in kinds):
        return (), 0
    return find_segments(kinds, features(labels, segments=segments))


def _halving(
    x: ClusteredRate | None,
    d: ClusteredRate | None,
    used: BoolArray,
    right: int,
    wrong: int,
    cluster_N: NDArray[np.intp],
) -> tuple[Halving, ...]:
    found: list[Halving] = []
    clusters = len(np.unique(cluster_N[used]))
    for rate, name, part in ((x, "fpr", wrong), (d, "fnr", right)):
        if rate is None or part == 0:
            continue
        alone = math.ceil(3.0 * min(rate.n_effective, part) * used.sum() / part)
        found.append(Halving(name, 3 * int(used.sum()), 3 * clusters, alone))
    return tuple(found)


def _assumptions(
    labels: Labels, hidden: BoolArray, origin: str, unscorable: int
) -> tuple[str, ...]:
    said = [*labels.assumptions]
    said.append("labels are right, and the labelled rollouts are like those trained on")
    if origin != "labels":
        said.append("unlabelled rollouts are like the labelled ones")
    if unscorable:
        said.append(
            "rates are among rollouts the verifier could judge; unscorable ones are kept apart"
            f" ({int(hidden.sum())} of them labelled)"
        )
    said.append(
        "effective rollouts are those of dr_grpo and rloo at the mean pass rate, score noise of equal size"
        " (grpo: within 6 %); errors the policy can learn to exploit cost more"
    )
    return tuple(said)
