"""False positives against false negatives at equal J, from mirror pairs of arms.

Law. Arms with (fpr, fnr) = (high, low) and (low, high) have the same J; the difference of their accuracies at the
largest common budget, measured, is taken within seeds, tested by t and adjusted by Holm over the pairs.
Fails first with one seed: pairs are then the only replicates, and share their clean runs.
Source: Holm 1979.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fits.arms import Arm, Difference, common_end, difference_at, inside
from fits.hypotheses import holm
from fits.inference import Interval, student_interval
from fits.plain import counted
from fits.table import SETTING

__all__ = [
    "Asymmetry",
    "MirrorPair",
    "asymmetry_of",
]


@dataclass(frozen=True)
class MirrorPair:
    """Two arms of equal J: rates (fpr, fnr) = (high, low) and (low, high), matched in all else.

    difference: accuracy of the arm with more false positives minus that with more false negatives.
    """

    fp_arm: str
    fn_arm: str
    fpr: float
    fnr: float
    difference: float
    ci: Interval | None
    p_value: float | None
    p_holm: float | None


@dataclass(frozen=True)
class Asymmetry:
    """False positives against false negatives at equal J, over all mirror pairs.

    At the largest budget both arms of a pair reached."""

    difference: float | None
    ci: Interval | None
    reason: str
    pairs: tuple[MirrorPair, ...] = ()


def asymmetry_of(arms: Sequence[Arm], *, paired: bool) -> Asymmetry:
    """Mirror pairs (high, low) and (low, high) of (fpr, fnr), alike in everything else."""
    if any(arm.rate("fpr") is None or arm.rate("fnr") is None for arm in arms):
        return Asymmetry(None, None, "no columns fpr and fnr to find mirror pairs by")
    found: list[tuple[Arm, Arm]] = []
    alike = ("noise", *SETTING) if paired else SETTING
    # The columns of an arm are read once, not once a pair.
    rates = [(arm.rate("fpr") or 0.0, arm.rate("fnr") or 0.0) for arm in arms]
    shared = [
        tuple(str(arm.rows[n].iloc[0]) if n in arm.rows.columns else None for n in alike)
        for arm in arms
    ]
    for fp, (fpr, fnr), own in zip(arms, rates, shared, strict=True):
        for fn, mirrored, other in zip(arms, rates, shared, strict=True):
            if fpr > fnr and mirrored == (fnr, fpr) and own == other:
                found.append((fp, fn))
    if not found:
        return Asymmetry(None, None, "no mirror pair: two arms with fpr and fnr exchanged")
    unmeasured: list[str] = []
    results: list[tuple[MirrorPair, dict[str, float], float]] = []
    for fp, fn in found:
        at = common_end(fp, fn, paired=paired)
        between, differences, by_law = difference_at(fp, fn, at, paired=paired)
        p_value = _p_value(between)
        if by_law:
            unmeasured.append(by_law)
        results.append(
            (
                MirrorPair(
                    fp.label,
                    fn.label,
                    fp.rate("fpr") or 0.0,
                    fp.rate("fnr") or 0.0,
                    between.estimate,
                    between.ci,
                    p_value,
                    None,
                ),
                differences,
                between.least,
            )
        )
    adjusted = holm([pair.p_value for pair, *_ in results])
    pairs = tuple(
        MirrorPair(p.fp_arm, p.fn_arm, p.fpr, p.fnr, p.difference, p.ci, p.p_value, holm)
        for (p, *_), holm in zip(results, adjusted, strict=True)
    )
    units = set.intersection(*(set(differences) for _, differences, _ in results))
    if paired and len(units) >= 2:
        per_unit = np.array(
            [float(np.mean([d[unit] for _, d, _ in results])) for unit in sorted(units)]
        )
        # Evaluations of different arms are noisy apart: of their mean less is certain to be left.
        least = float(np.mean([one for *_, one in results])) / len(results)
        mean, ci = student_interval(per_unit, least=least)
        said = f"t over {len(units)} seeds of the mean of {counted(len(pairs), 'mirror pair')}"
        return Asymmetry(mean, inside(ci), "; ".join([said, *unmeasured]), pairs)
    values = np.array([pair.difference for pair in pairs])
    if len(values) >= 3:
        mean, ci = student_interval(values)
        return Asymmetry(
            mean, ci, f"one seed: t over {len(values)} mirror pairs, taken as replicates", pairs
        )
    return Asymmetry(
        float(values.mean()),
        None,
        f"one seed and {counted(len(values), 'mirror pair')}: no spread to judge by",
        pairs,
    )


def _p_value(between: Difference) -> float | None:
    """Two-sided t test of zero; None where there is no spread to judge by."""
    if between.count < 2 or not between.spread > 1e-12:
        return None
    from scipy.special import stdtr

    t = abs(between.estimate) / between.spread * between.count**0.5
    return float(2.0 * stdtr(between.count - 1, -t))
