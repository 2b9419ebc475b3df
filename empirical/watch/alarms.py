"""Three alarms over audited rollouts, whose false alarms are a promise over the whole run.

    rising      fpr is above what it was at an earlier step, by more than `tolerance`
    declared    fpr or fnr is above the declared rate, by more than `tolerance`
    unfollowed  observed reward is above what it was at an earlier step, and accuracy gained less: the share paid less
                the share right is above what it was then, by more than `tolerance`

Law. Each alarm's null is its negation at every step so far. `false_alarm` is split over the alarms by SHARES, evenly
over the other two where no rates are declared, and within `declared` over its rates by OF_RATES; an alarm goes off
where the evidence of `fits.betting` against its null reaches one over its share, and stays on. So P(any
alarm whose null holds ever goes off) is at most `false_alarm`, however often one looks. `unfollowed` needs both of its
parts, each at the whole share.
Fails first where labels are no random sample of a step's rollouts, or the reference verifier errs: both rates are
then those beside the reference.
Source: docs/theory.md#evidence-while-a-run-goes-on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from empirical.plan import read_audit
from empirical.watch.labels import Unit
from fits.betting import DIFFERENCES, RATES, Bets, risen
from fits.errors import InputError

__all__ = ["NAMES", "OF_RATES", "SHARES", "Alarm", "Alarms", "Declared", "declared_of"]

FloatArray = NDArray[np.float64]
Name = Literal["rising", "declared", "unfollowed"]

NAMES: Final[dict[Name, str]] = {
    "rising": "fpr is rising",
    "declared": "the channel left its declared rates",
    "unfollowed": "observed reward rises and audited accuracy does not follow",
}

# Of the promise. An audited start tells most, so what is held against it has most.
SHARES: Final[dict[Name, float]] = {"rising": 0.2, "declared": 0.6, "unfollowed": 0.2}
_COARSE: Final = 6  # of the grid, every so many points for a bound
OF_RATES: Final = {"fpr": 2.0 / 3.0, "fnr": 1.0 / 3.0}


@dataclass(frozen=True)
class Declared:
    """The rates a run was planned with, in [0, 1]; None of a rate that nobody declared.

    Raises InputError naming a rate out of range.
    """

    fpr: float | None = None
    fnr: float | None = None

    def __post_init__(self) -> None:
        for name in ("fpr", "fnr"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value <= 1.0:
                raise InputError(f"declared {name} must lie in [0, 1], got {value:g}")

    def __bool__(self) -> bool:
        return self.fpr is not None or self.fnr is not None


@dataclass(frozen=True)
class Alarm:
    """Where an alarm stands.

    evidence: the largest factor by which its bets ever multiplied; it goes off at `needed`, one over its share of the
    promise. step: at which it went off, None while it has not. can: whether it could go off at all; `reason` why not.
    """

    name: Name
    says: str
    on: bool
    step: int | None
    evidence: float
    needed: float
    can: bool
    reason: str = ""


class Alarms:
    """The state of the alarms of one run, or of many side by side (`runs`, their leading shape).

    tolerance: by how much a rate must exceed. false_alarm: the promise, in (0, 1). Raises InputError naming what is out
    of range.
    """

    def __init__(
        self,
        *,
        declared: Declared | None = None,
        false_alarm: float = 0.01,
        tolerance: float = 0.01,
        runs: tuple[int, ...] = (),
    ) -> None:
        if not 0.0 < false_alarm < 1.0:
            raise InputError(f"false_alarm must lie in (0, 1), got {false_alarm:g}")
        if not 0.0 <= tolerance < 0.5:
            raise InputError(f"tolerance must lie in [0, .5), got {tolerance:g}")
        self.declared = declared or Declared()
        self.false_alarm, self.tolerance = false_alarm, tolerance
        self._fpr = Bets(RATES, margin=tolerance, runs=runs)
        self._over = Bets(DIFFERENCES, margin=tolerance / 2.0, runs=runs)
        self._reward = Bets(RATES, runs=runs)
        self._beyond: dict[str, Bets] = {}
        for name in OF_RATES:
            rate = getattr(self.declared, name)
            if rate is not None and rate + tolerance < 1.0:
                self._beyond[name] = Bets(np.array([rate + tolerance]), runs=runs)
        among: list[Name] = [name for name in SHARES if name != "declared" or self._beyond]
        whole = sum(SHARES[name] for name in among)
        self.shares: dict[Name, float] = {
            name: false_alarm * SHARES[name] / whole if name in among else 0.0 for name in SHARES
        }
        zero = np.zeros(runs)
        self.evidence: dict[Name, FloatArray] = dict.fromkeys(
            NAMES, zero
        )  # log, the largest so far
        self.since: dict[Name, FloatArray] = dict.fromkeys(NAMES, zero + math.inf)
        self.labels = np.zeros(runs)  # units seen

    def observe(
        self,
        step: int,
        units: FloatArray | Sequence[Unit],
        *,
        reward: FloatArray | float | None,
        times: FloatArray | None = None,
    ) -> None:
        """Take the audited units of one step, and the share of all its rollouts that was paid.

        units: shape (U, 3), or (*runs, U, 3) where every run has its own; of each unit the shares of labels that are
        wrong and paid, wrong, and right and unpaid. times: how often each was seen, (*runs, U), None: once.
        reward: in [0, 1], runs' shape, None where unknown.
        """
        if not isinstance(units, np.ndarray):
            alike = Counter(unit.shares for unit in units)  # of equal units one is weighed
            units, times = np.array(list(alike)), np.array(list(alike.values()), dtype=np.float64)
        if not units.size:
            return
        paid_wrong, wrong, unpaid_right = units[..., 0], units[..., 1], units[..., 2]
        self.labels = self.labels + (wrong.shape[-1] if times is None else times.sum(axis=-1))
        self._fpr.observe(paid_wrong, wrong, times)
        self._over.observe((1.0 + paid_wrong - unpaid_right) / 2.0, np.ones_like(wrong), times)
        shown = {"fpr": (paid_wrong, wrong), "fnr": (unpaid_right, 1.0 - wrong)}
        for name, bets in self._beyond.items():
            bets.observe(*shown[name], times)
        # The same splits for both parts, so reward is watched at the steps that have labels; unknown, it tells nothing.
        paid = np.asarray(math.nan if reward is None else reward, dtype=np.float64)[..., None]
        known = np.isfinite(paid)
        self._reward.observe(np.where(known, paid, 0.0), known.astype(np.float64))
        self._weigh(step)

    def _weigh(self, step: int) -> None:
        whole = sum(OF_RATES[name] for name in self._beyond)
        beyond = [
            bets.above()[..., 0] + math.log(OF_RATES[name] / whole)
            for name, bets in self._beyond.items()
        ]
        self._raise("rising", step, lambda **how: risen(self._fpr.rising(**how)))
        if beyond:
            # The larger part of a weighted mean of the two.
            self._raise("declared", step, lambda **_: np.max(beyond, axis=0))
        self._raise(
            "unfollowed",
            step,
            lambda **how: risen(np.minimum(self._over.rising(**how), self._reward.rising(**how))),
        )

    def _raise(self, name: Name, step: int, found: Callable[..., FloatArray]) -> None:
        """Keep the largest evidence; of many runs a bound that costs less tells where there can be no larger one."""
        before = self.evidence[name]
        if before.ndim and name != "declared":
            among = np.flatnonzero(found(every=_COARSE) > before)
            now = before.copy()
            now[among] = np.maximum(before[among], found(among=among))
        else:
            now = np.maximum(before, found())
        if not (now > before).any():
            return
        self.evidence[name] = now
        needed = -math.log(self.shares[name]) if self.shares[name] else math.inf
        on = (now >= needed) & np.isinf(self.since[name])
        self.since[name] = np.where(on, step, self.since[name])

    def reached(self) -> FloatArray:
        """A lower confidence bound on the largest fpr so far, at all steps at once, at `rising`'s level."""
        return self._fpr.reached(self.shares["rising"])

    @property
    def on(self) -> list[Name]:
        """The alarms of one run that went off."""
        return [name for name, since in self.since.items() if math.isfinite(since)]

    def status(self) -> tuple[Alarm, ...]:
        """Where the alarms of one run stand."""
        audited = bool(self.labels > 0)
        found: list[Alarm] = []
        for name, says in NAMES.items():
            reason = "" if audited else "no labels: what is right cannot be known from verdicts"
            if name == "declared" and not self._beyond:
                reason = "no rates are declared (--fpr, --fnr, or an audit's: --audit)"
            since = float(self.since[name])
            found.append(
                Alarm(
                    name=name,
                    says=says,
                    on=math.isfinite(since),
                    step=int(since) if math.isfinite(since) else None,
                    evidence=math.exp(min(float(self.evidence[name]), 600.0)),
                    needed=1.0 / self.shares[name] if self.shares[name] else math.inf,
                    can=not reason,
                    reason=reason,
                )
            )
        return tuple(found)


def declared_of(fpr: float | None, fnr: float | None, audit: str | Path | None) -> Declared | None:
    """The declared rates: as given, or the upper ends of an audit's; None of none.

    Raises InputError where both are given, or a rate is out of range.
    """
    if audit is None:
        return None if fpr is None and fnr is None else Declared(fpr, fnr)
    if fpr is not None or fnr is not None:
        raise InputError("declare rates or give an audit, not both")
    rates = read_audit(Path(audit))
    return Declared(
        rates.fpr if rates.fpr_ci is None else rates.fpr_ci[1],
        rates.fnr if rates.fnr_ci is None else rates.fnr_ci[1],
    )
