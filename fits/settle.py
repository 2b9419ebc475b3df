"""What data would settle a verdict: seeds, evaluation samples or compute, for 80 % power.

Law. With paired seed differences of spread s, the fewest seeds n with (t(n-1, .975) + t(n-1, .8)) s/sqrt(n) within
the distance from the estimate to delta. Samples shrink only the part of s that binomial evaluations explain.
Fails first where the estimate is itself mostly noise: the answer is then as uncertain as the estimate.
Source: the power of a t test, with the t quantile of the power in place of the noncentral one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from fits.arms import Arm, Difference, usable
from fits.fit import MIDPOINTS_NEEDED

__all__ = [
    "Settle",
    "seeds_needed",
    "settle",
]

POWER: Final = 0.8
MOST_SEEDS: Final = 1000
MOST_SAMPLES_FACTOR: Final = 100.0


@dataclass(frozen=True)
class Settle:
    """What data would settle a verdict that is undetermined, or that is about the largest budget only.

    seeds: matched seeds in all, for 80 % power if the floor is as estimated; n_eval: samples per
    evaluation, with the seeds there are; both None where the verdict stands. budget: x that both arms
    must reach to show their asymptotes; None where those are known. Any is None too where no number
    helps, and `text` says so.
    """

    text: str
    seeds: int | None = None
    n_eval: int | None = None
    budget: float | None = None


def settle(
    floor: Difference,
    delta: float,
    clean: Arm,
    noisy: Arm,
    *,
    at: float,
    undetermined: bool,
    asymptote: bool,
    unlearned: bool,
) -> Settle | None:
    """What to buy: seeds or samples for an open verdict, compute for one not about the asymptote."""
    text: list[str] = []
    seeds = n_eval = budget = None
    if unlearned:
        text.append("a clean arm that learns: more steps, or a setting in which accuracy moves")
    elif undetermined:
        seeds, spoken = _seeds_to_settle(floor, delta)
        text.append(spoken)
        if np.isfinite(floor.spread):
            margin = abs(floor.estimate - delta)
            n_eval = _samples_needed(floor, margin, clean, noisy, at=at, asymptote=asymptote)
        if n_eval is not None:
            text.append(f"or about {n_eval:,} samples an evaluation with the seeds there are")
    x = clean.axis
    has_curve = clean.rows[x].nunique() > 1 and noisy.rows[x].nunique() > 1
    if has_curve and not asymptote and not unlearned:
        budget, spoken = _budget_to_settle(clean, noisy)
        text.append(spoken)
    return Settle("; ".join(text), seeds=seeds, n_eval=n_eval, budget=budget) if text else None


def seeds_needed(spread: float, margin: float, *, power: float = POWER) -> int | None:
    """Fewest seeds whose 95 % t interval excludes a value `margin` away with probability `power`.

    spread: standard deviation of the paired differences over seeds. None above 1,000 seeds.
    """
    from scipy.special import stdtrit

    counts = np.arange(2, MOST_SEEDS + 1)
    reach = (stdtrit(counts - 1, 0.975) + stdtrit(counts - 1, power)) * spread / np.sqrt(counts)
    enough = reach <= margin
    return int(counts[enough.argmax()]) if enough.any() else None


def _seeds_to_settle(floor: Difference, delta: float) -> tuple[int | None, str]:
    """Matched seeds in all that would decide the verdict, and the same in words."""
    if not np.isfinite(floor.spread):
        return 3, "at least 3 matched seeds, since one shows nothing of how far seeds differ"
    margin = abs(floor.estimate - delta)
    needed = seeds_needed(floor.spread, margin)
    if needed is None:
        return None, (
            f"no feasible number of seeds: the estimate {floor.estimate:+.4f} lies within {margin:.4f} of delta ="
            f" {delta:g} and paired seeds differ by {floor.spread:.4f}; choose another delta"
        )
    needed = max(needed, floor.count + 1)
    return needed, (
        f"{needed} matched seeds (now {floor.count}), if the gap is {floor.estimate:+.4f} and"
        f" paired seeds differ by {floor.spread:.4f}"
    )


def _budget_to_settle(clean: Arm, noisy: Arm) -> tuple[float | None, str]:
    """The x at which the asymptotes would be identified, None where none helps; and in words."""
    x = clean.axis
    for arm, which in ((clean, "clean"), (noisy, "noisy")):
        if arm.own.turn is not None:
            return None, (
                f"no budget: the {which} arm rises and then falls, so that it has no asymptote; compare"
                " the arms at the budget you mean to stop at"
            )
    x_max = max(clean.fit.x_max, noisy.fit.x_max)
    far = 10.0 * x_max
    # Only an arm whose asymptote is open needs more compute.
    wanted: list[float] = []
    for fit in (arm.own for arm in (clean, noisy) if not arm.own.identified):
        midpoint = fit.law.midpoint
        if midpoint is not None and np.isfinite(fit.theta_P).all():
            wanted.append(MIDPOINTS_NEEDED * midpoint(fit.theta_P))
    budget = max(wanted, default=2.0 * x_max)
    if budget > far:
        return far, (
            f"for the asymptote, runs to {x} of {far:.3g} or more: the curves have not bent yet, so"
            " where they will is a guess"
        )
    if budget > 1.01 * x_max:
        return budget, f"for the asymptote, runs to {x} of about {budget:.3g} (3 midpoints)"
    return 2.0 * x_max, (
        f"for the asymptote, runs to {x} of about {2.0 * x_max:.3g}, twice as far, or more evaluations:"
        " the curves bend, but not enough rows show where they end"
    )


def _samples_needed(
    floor: Difference, margin: float, clean: Arm, noisy: Arm, *, at: float, asymptote: bool
) -> int | None:
    """Samples an evaluation that would settle it with the seeds there are; None where they would not.

    The spread of paired differences is part evaluation noise, which samples shrink, and part seeds,
    which they do not. Evaluations on the same samples in both arms share noise: then this overstates.
    """
    from scipy.special import stdtrit

    if floor.count < 2:
        return None
    noise = [_evaluation_variance(arm, at=at, asymptote=asymptote) for arm in (clean, noisy)]
    if noise[0] is None or noise[1] is None:
        return None
    evaluation = min(noise[0] + noise[1], floor.spread**2)
    between = floor.spread**2 - evaluation
    reach = float(stdtrit(floor.count - 1, 0.975) + stdtrit(floor.count - 1, POWER))
    allowed = (margin / reach) ** 2 * floor.count - between
    if allowed <= 0.0 or evaluation <= 0.0:
        return None
    factor = evaluation / allowed
    now = float(min(clean.rows["n_eval"].median(), noisy.rows["n_eval"].median()))
    return int(np.ceil(factor * now)) if 1.0 < factor <= MOST_SAMPLES_FACTOR else None


def _evaluation_variance(arm: Arm, *, at: float, asymptote: bool) -> float | None:
    """Variance of one run's pseudo-value that binomial evaluations alone explain; None if unknown."""
    if "n_eval" not in arm.rows.columns or arm.rows["n_eval"].isna().any() or not usable(arm.fit):
        return None
    fit = arm.fit
    x_N = arm.rows[arm.axis].to_numpy(np.float64)
    samples_N = arm.rows["n_eval"].to_numpy(np.float64)
    jacobian_PN = fit.law.jacobian(x_N[None], fit.theta_P[None])[0]
    y_N = arm.rows["accuracy"].to_numpy(np.float64)
    weighted_PN = jacobian_PN * arm.loss.expected(y_N[None], fit.predict(x_N)[None], samples_N)[0]
    wanted_P = (
        np.eye(len(fit.theta_P))[fit.law.index("asymptote")]
        if asymptote
        else fit.law.jacobian(np.array([[at]]), fit.theta_P[None])[0, :, 0]
    )
    pull_N = wanted_P @ np.linalg.pinv(weighted_PN @ jacobian_PN.T, rcond=1e-13) @ weighted_PN
    a_N = np.clip(fit.predict(x_N), 0.0, 1.0)
    # All runs together estimate with this variance; a run's pseudo-value with as many times more.
    return float(np.sum(pull_N**2 * a_N * (1.0 - a_N) / samples_N)) * len(fit.runs)
