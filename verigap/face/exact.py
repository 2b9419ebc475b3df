"""Exact theory: one prompt's gradient, its rest points, the phase diagram."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

import theory
from theory.phase import Phase, phase_diagram
from theory.rest_points import RestPoints
from theory.rest_points import rest_points as all_rest_points
from verigap.errors import UserError
from verigap.face.base import (
    Shown,
    as_shown,
    estimator_in_words,
    estimator_of,
    grid,
    verb,
)

if TYPE_CHECKING:
    from fits.drawing import Axes, Drawing


@dataclass(frozen=True, repr=False)
class RestingPlaces(Shown):
    """All rest points, ascending, and the ends of [0, 1] that attract."""

    rest_points: tuple[Any, ...]
    attracting_boundaries: tuple[float, ...]
    asked: str = field(default="", metadata={"plain": False})

    def headline(self) -> str:  # noqa: D102
        return self.asked

    def to_frame(self) -> pd.DataFrame:
        """A row per place where training rests."""
        rows = [
            {"pass_rate": one.pass_rate, "is": "stable" if one.stable else "unstable"}
            for one in self.rest_points
        ]
        rows += [
            {"pass_rate": end, "is": "an attracting boundary"} for end in self.attracting_boundaries
        ]
        return pd.DataFrame(rows, columns=["pass_rate", "is"]).sort_values("pass_rate")


@verb
def rest_points(
    *,
    fpr: float = 0.0,
    fnr: float = 0.0,
    beta: float,
    reference_pass_rate: float,
    form: str = "objective",
    group_size: int | None = None,
    estimator: str | theory.Estimator = "grpo",
) -> RestingPlaces:
    """All rest points of one prompt's pass rate under a KL penalty, and which of them attract.

    fpr, fnr: in [0, 1]. beta: weight of the KL, at least 0. reference_pass_rate: P(right) of the reference policy,
    inside (0, 1). form: objective, rlver or k3. group_size: rollouts a prompt; None: an infinite group.
    Raises UserError naming what is out of range.
    Source: docs/theory.md#rest-points.
    """
    found: RestPoints = all_rest_points(
        theory.VerifierChannel(fpr, fnr),
        beta=beta,
        reference_pass_rate=reference_pass_rate,
        form=form,  # pyright: ignore[reportArgumentType]
        group_size=group_size,
        estimator=estimator_of(estimator),
    )
    group = "infinite group" if group_size is None else f"{group_size} rollouts"
    asked = (
        f"{estimator_in_words(estimator)}, {form}, beta {beta:g}, fpr {fpr:g}, fnr {fnr:g}, {group}"
    )
    return RestingPlaces(found.points, found.attracting_boundaries, asked)


MEANING = {
    "youden": "J = 1 - fpr - fnr",
    "observed_rate": "P(a rollout is paid), q",
    "gain": "advantage of a paid over an unpaid rollout",
    "drift": "expected gradient along ability, per group",
    "variance": "its variance, per group",
    "mean_field_drift": "the drift of an infinite group",
    "snr": "drift / sqrt(variance), per group",
    "zero_advantage_fraction": "P(a group teaches nothing)",
    "phi2": "squared correlation of right and paid",
    "effective_rollouts": "clean rollouts of the same signal-to-noise, 1 + phi2 (G - 1)",
    "snr2_weight": "squared signal-to-noise of one weight, per unit of signal",
}


@dataclass(frozen=True, repr=False)
class Moments(Shown, theory.Drift):
    """The moments of one prompt's gradient; see `theory.Drift`, whose arrays are single numbers here."""

    asked: str = field(default="", metadata={"plain": False})

    def plain(self) -> dict[str, Any]:
        """Every moment by name; one that does not exist is None, with a reason beside it."""
        document: dict[str, Any] = {}
        for name, value in super().plain().items():
            document[name] = value
            if name == "gain" and self.drift == 0.0:
                why = "J a(1 - a) = 0: no gradient to be a multiple of"
                document |= {name: None, "gain_reason": why}
            if name == "snr" and self.variance == 0.0:
                document |= {name: None, "snr_reason": "the gradient is 0 in every group"}
        return document

    def to_frame(self) -> pd.DataFrame:
        """A row per moment, and what it is, or why it does not exist."""
        told = self.plain()
        rows = [
            {"quantity": name, "value": told[name], "meaning": told.get(f"{name}_reason", meaning)}
            for name, meaning in MEANING.items()
        ]
        return pd.DataFrame(rows)

    def headline(self) -> str:  # noqa: D102
        return self.asked


@verb
def drift(
    pass_rate: float,
    *,
    fpr: float = 0.0,
    fnr: float = 0.0,
    group_size: int = 8,
    estimator: str | theory.Estimator = "grpo",
) -> Moments:
    """Exact drift, variance and signal-to-noise of one prompt's policy gradient, per group.

    pass_rate: P(right) on the prompt, in [0, 1]. fpr, fnr: P(reward 1 | wrong), P(reward 0 | right), in [0, 1].
    group_size: rollouts a prompt, at least 2. estimator: grpo, dr_grpo, rloo, grpo_loo, nemo_loo or reinforce.
    Raises UserError naming what is out of range.
    Source: docs/theory.md#theorem-1-the-finite-group-gradient.
    """
    chosen = estimator_of(estimator)
    channel = theory.VerifierChannel(fpr, fnr)
    rate = pass_rate
    moments = theory.drift(rate, channel, group_size, estimator=chosen)
    asked = (
        f"{estimator_in_words(estimator)}, pass rate {rate:g}, fpr {channel.fpr:g}, fnr {channel.fnr:g},"
        f" {group_size} rollouts"
    )
    return as_shown(Moments, moments, asked=asked)


FATE = {1: "learns", 0: "drifts", -1: "unlearns"}


@dataclass(frozen=True, repr=False)
class Diagram(Shown, Phase):
    """A phase diagram over (fpr, fnr); see `theory.phase.Phase`."""

    def to_frame(self) -> pd.DataFrame:
        """A row per cell: fate, drift, time and slowdown (empty where the target is never reached)."""
        axes = {"group_size": self.group_size, "fpr": self.fpr, "fnr": self.fnr}
        cells = pd.MultiIndex.from_product(list(axes.values()), names=list(axes)).to_frame(
            index=False
        )
        youden = pd.Series(self.youden.ravel().tolist() * len(self.group_size))
        never = float("inf")
        return cells.assign(
            youden=youden,
            fate=[FATE[(j > 0) - (j < 0)] for j in youden],
            drift=self.drift.ravel(),
            relative_drift=self.relative_drift.ravel(),
            time=pd.Series(self.time.ravel()).replace(never, float("nan")),
            slowdown=pd.Series(self.slowdown.ravel()).replace(never, float("nan")),
        )

    def headline(self) -> str:  # noqa: D102
        return f"Slowdown from {self.start:g} to {self.target:g} (clean verifier: 1)"

    def plot(self, ax: Axes | None = None) -> Drawing:
        """The diagram; `empirical.figures.draw_phase`. ax: an axes whose place it takes."""
        from empirical.figures import draw_phase
        from fits.drawing import in_place_of

        with in_place_of(ax):
            return draw_phase(self)


@verb
def phase(
    *,
    fpr_grid: str | Sequence[float] = "0:0.9:46",
    fnr_grid: str | Sequence[float] = "0:0.9:46",
    group_size: str | Sequence[float] | int = "4,16,64",
    pass_rate: float = 0.2,
    start: float = 0.05,
    target: float = 0.8,
    estimator: str | theory.Estimator = "grpo",
) -> Diagram:
    """Which way training goes, and by how much noise slows it, over all pairs of error rates.

    fpr_grid, fnr_grid: rates in [0, 1], or "0,0.1,0.4" or "low:high:count". group_size: rollouts a prompt, "8" or
    "4,16,64". pass_rate: where the drift is taken; start < target: pass rates where the clock starts and stops, all
    strictly inside (0, 1).
    Returns arrays [group sizes, fpr, fnr]; `to_frame()` has a row a cell.
    Raises UserError naming what is out of range.
    Source: docs/theory.md#mean-field.
    """
    sizes = grid("--group-size", group_size)
    if any(
        size != size or size in (float("inf"), -float("inf")) or size != int(size) for size in sizes
    ):
        raise UserError(f"--group-size {group_size}: must be whole numbers")
    found = phase_diagram(
        grid("--fpr-grid", fpr_grid),
        grid("--fnr-grid", fnr_grid),
        [int(size) for size in sizes],
        pass_rate=pass_rate,
        start=start,
        target=target,
        estimator=estimator_of(estimator),
    )
    return as_shown(Diagram, found)
