"""Noise injected into groups of a real model, held against the exact law given each group's right rollouts.

Law. As in `empirical.step_law.logged`, at one R at a time: `theory.conditional` gives mean and variance of a
group's zero advantage, reward variance and gradient. Replicates are seeds; no two noises share one, so cells
(channel, R) are independent.
Fails first where errors hang together within a group; three such structures are injected to show it.
Source: `empirical.step_law.groups`. Derived numbers are kept with the source's sha256 and the command, for readers
without the source.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from empirical.step_law.groups import RealGroups, inject, read_groups
from fits.errors import InputError
from fits.files import write_text
from theory import VerifierChannel, advantages
from theory.conditional import given_right
from theory.structures import GroupCorrelated, Independent, PerAnswer, Structure, Triggered

__all__ = [
    "GRADIENT",
    "WITHIN",
    "ZERO",
    "RealAgreement",
    "RealLevel",
    "RealRow",
    "nearly_normal",
    "read_derived",
    "real_level",
    "write_derived",
]

ZERO: Final = "zero_advantage"
WITHIN: Final = "reward_variance"
GRADIENT: Final = "gradient"
REPLICATES: Final = 20
CHANNELS: Final = ((0.1, 0.0), (0.3, 0.0), (0.0, 0.3), (0.2, 0.2), (0.5, 0.5), (0.7, 0.5))
DEPENDENT: Final = 0.3  # marginal fpr of the structures whose errors hang together
CORRELATION: Final = 0.3


def nearly_normal(quantity: str, variance: float, groups: float) -> bool:
    """Whether a mean over `groups` groups with this variance leaves enough to chance for a z.

    A count of groups without advantage needs a standard deviation of at least 3 groups.
    """
    return variance > 0.0 and (quantity != ZERO or variance * groups**2 >= 9.0)


@dataclass(frozen=True)
class RealRow:
    """One quantity of the groups with R right rollouts under one noise, mean over groups and replicates.

    noise: its name; independent: as theory assumes. fpr, fnr: marginal rates. right: R, None for all groups.
    groups: injected ones. sd: of the mean, under theory.
    """

    noise: str
    independent: bool
    fpr: float
    fnr: float
    quantity: str
    right: int | None
    groups: int
    measured: float
    theory: float
    sd: float

    @property
    def z(self) -> float | None:
        """(measured - theory)/sd; None where too little is left to chance."""
        if not nearly_normal(self.quantity, self.sd**2, self.groups):
            return None
        return (self.measured - self.theory) / self.sd


@dataclass(frozen=True)
class RealAgreement:
    """Cells compared, mean square of their z (1 if mean and variance are right), two-sided p of their sum."""

    cells: int
    mean_square: float
    p_value: float


@dataclass(frozen=True)
class RealLevel:
    """What is kept of the comparison.

    command: what made it. pass_rate: share of right rollouts. replicates: seeds per noise.
    advantage_error: largest difference between the trainer's advantages and ours on the true rewards.
    """

    source: str
    sha256: str
    command: str
    groups: int
    group_size: int
    pass_rate: float
    replicates: int
    advantage_error: float
    rows: tuple[RealRow, ...]

    def agreement(self, quantity: str) -> RealAgreement:
        """How the cells (channel, R) of independent noise agree with theory."""
        from scipy import stats

        square = [
            row.z**2
            for row in self.rows
            if row.independent and row.quantity == quantity and row.right is not None
            if row.z is not None
        ]
        tail = float(stats.chi2.sf(sum(square), len(square)))
        return RealAgreement(len(square), float(np.mean(square)), 2.0 * min(tail, 1.0 - tail))


def read_derived(path: Path) -> RealLevel | None:
    """What `write_derived` kept, None where there is no such file. Raises InputError where it is another."""
    from pydantic import TypeAdapter, ValidationError

    if not path.exists():
        return None
    try:
        return TypeAdapter(RealLevel).validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise InputError(f"{path}: not numbers derived from real groups") from error


def write_derived(level: RealLevel, path: Path) -> None:
    """Keep `level` at `path`, a row a line, so that a change can be read."""
    values = asdict(level)
    rows = ",\n".join(json.dumps(row) for row in values.pop("rows"))
    head = json.dumps(values, indent=0).removesuffix("\n}")
    write_text(path, f'{head},\n"rows": [\n{rows}\n]\n}}\n')


def real_level(rollouts: Path, *, command: str) -> RealLevel:
    """Noise injected into the groups of `rollouts`, by structure, quantity and number of right ones.

    rollouts: a CSV for `empirical.step_law.groups`. command: to be kept with the numbers.
    Raises InputError where there is no such file, StudyError where it is another.
    """
    if not rollouts.is_file():
        raise InputError(f"{rollouts}: no such file")
    groups = read_groups(rollouts)
    right_NG = groups.right_NG
    right_N = right_NG.sum(axis=1)
    rows: list[RealRow] = []
    for place, (noise, independent, channel, structure) in enumerate(_structures(groups)):
        # Seeds of their own: flips at a lower rate would be a subset of those at a higher one.
        seeds = range(place * REPLICATES, (place + 1) * REPLICATES)
        met = inject(groups, structure, seeds=seeds)
        law = given_right(right_N, channel, groups.group_size)
        alike_N = law.zero_advantage
        for quantity, measured_RN, mean_N, variance_N in (
            (ZERO, met.zero_advantage, alike_N, alike_N * (1.0 - alike_N)),
            (WITHIN, met.reward_variance, law.reward_variance, law.reward_variance_variance),
            (GRADIENT, met.gradient, law.gradient, law.gradient_variance),
        ):
            for right in (None, *np.unique(right_N).tolist()):
                chosen = np.full(right_N.shape, True) if right is None else right_N == right
                count = int(chosen.sum()) * REPLICATES
                rows.append(
                    RealRow(
                        noise=noise,
                        independent=independent,
                        fpr=channel.fpr,
                        fnr=channel.fnr,
                        quantity=quantity,
                        right=right,
                        groups=count,
                        measured=_digits(measured_RN[:, chosen].mean()),
                        theory=_digits(mean_N[chosen].mean()),
                        sd=_digits(math.sqrt(variance_N[chosen].sum() * REPLICATES) / count),
                    )
                )
    return RealLevel(
        source="/".join(rollouts.parts[-2:]),
        sha256=hashlib.sha256(rollouts.read_bytes()).hexdigest(),
        command=command,
        groups=len(right_N),
        group_size=groups.group_size,
        pass_rate=float(right_NG.mean()),
        replicates=REPLICATES,
        advantage_error=_digits(np.abs(advantages(right_NG) - groups.advantages_NG).max()),
        rows=tuple(rows),
    )


def _digits(value: float) -> float:
    """Six of them, so that another machine's last bits change nothing that is kept."""
    return float(f"{value:.6g}")


def _structures(groups: RealGroups) -> list[tuple[str, bool, VerifierChannel, Structure]]:
    """What is injected: name, whether errors are independent given who is right, marginal rates, noise."""
    channels = [VerifierChannel(*rates) for rates in CHANNELS]
    one_sided = VerifierChannel(DEPENDENT, 0.0)
    boxed = VerifierChannel(DEPENDENT / groups.selected_share, 0.0)
    return [
        *(("independent", True, channel, Independent(channel)) for channel in channels),
        (
            f"group-correlated {CORRELATION:g}",
            False,
            one_sided,
            GroupCorrelated(one_sided, CORRELATION),
        ),
        ("triggered by a box", False, one_sided, Triggered(boxed, VerifierChannel(0.0, 0.0))),
        ("per answer", False, one_sided, PerAnswer(one_sided)),
    ]
