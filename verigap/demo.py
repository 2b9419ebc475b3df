"""The main job, end to end: logged runs, the same arms simulated, both fitted, a verdict per arm.

The logged runs are real (TRL's GRPO on a tiny model, `empirical/results`); the simulator is calibrated
to their clean arm alone and forecasts the others. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import resources
from math import gcd
from typing import TYPE_CHECKING, Final

import numpy as np

from theory import VerifierChannel
from verigap.console import fail

if TYPE_CHECKING:
    import pandas as pd

    from fits import GapReport, GroupFit
    from theory.calibration import FlowFit
    from theory.flow import FlowOptimiser
    from verigap.simulation import Simulated, Spec

__all__ = ["LOGGED", "Demo", "DemoArm", "calibrate", "logged_runs", "run_demo", "simulation_of"]

LOGGED: Final = "cpu-smoke"
POPULATION: Final = 512  # prompts of the simulated population
SPREAD: Final = 2.0  # standard deviation of its difficulties, logits: given, not fitted
QUADRATURE: Final = 64  # prompts of the deterministic one
DELTA: Final = 0.01
CLEAN: Final = VerifierChannel(0.0, 0.0)


@dataclass(frozen=True)
class DemoArm:
    """One noisy arm: what was measured, what the simulator says, and how well it forecast the curve.

    verdict, floor, floor_ci, basis, would_settle_it: see `fits.gap_report`, on the logged runs.
    simulated_verdict, _floor, _floor_ci, _basis: the same on the simulated ones.
    forecast_rmse: of the calibrated simulator on this arm's evaluations, none of which it was shown.
    """

    arm: str
    fpr: float
    fnr: float
    verdict: str
    floor: float
    floor_ci: tuple[float, float] | None
    basis: str
    reason: str
    would_settle_it: str | None
    simulated_verdict: str
    simulated_floor: float
    simulated_floor_ci: tuple[float, float] | None
    simulated_basis: str
    forecast_rmse: float


@dataclass(frozen=True)
class Demo:
    """Everything the report shows."""

    runs: pd.DataFrame
    simulated: Simulated
    spec: Spec
    calibration: FlowFit
    measured_fits: list[GroupFit]
    simulated_fits: list[GroupFit]
    measured_gap: GapReport
    simulated_gap: GapReport
    comparison: pd.DataFrame
    evaluation_noise: float
    arms: tuple[DemoArm, ...]


def logged_runs() -> pd.DataFrame:
    """The packaged run table. Raises UserError where the package was built without it."""
    from fits import read_runs

    folder = resources.files("empirical") / "results" / LOGGED
    with resources.as_file(folder / "runs.parquet") as path:
        if not path.is_file():
            fail(
                f"the logged runs are missing from this installation: no {folder / 'runs.parquet'}"
            )
        return read_runs(path).frame


def calibrate(rows: pd.DataFrame, *, optimiser: FlowOptimiser = "adam") -> FlowFit:
    """Fit start, speed and ceiling of a population to `rows`, the evaluations of one clean arm.

    optimiser: of the logged runs. Adam's noise is the exact one along the ability, so that no noise
    scale is left to fit; fails first where a real model's other weights add gradient noise of their own.
    """
    from theory.calibration import Curve, fit_flow
    from theory.flow import PopulationFlow, normal_difficulties

    steps = rows["step"].to_numpy(np.float64)
    template = PopulationFlow(
        difficulties=normal_difficulties(QUADRATURE, spread=SPREAD),
        ceiling=0.9,
        group_size=int(rows["group_size"].iloc[0]),
        prompts_per_step=int(rows["prompts_per_step"].iloc[0]),
        optimiser=optimiser,
        noise="along",
        rate=5.0 / steps.max(),
    )
    return fit_flow(template, [Curve(steps, rows["accuracy"].to_numpy(np.float64), CLEAN)])


def simulation_of(runs: pd.DataFrame, calibration: FlowFit) -> Spec:
    """The simulated study that matches `runs`: same arms, seeds, group size, steps and evaluation."""
    from verigap.simulation import Spec

    flow = calibration.flow
    steps = np.unique(runs["step"].to_numpy(np.int64))
    arms = runs.drop_duplicates("arm")
    return Spec.model_validate(
        {
            "population": {
                "prompts": POPULATION,
                "difficulty": {
                    "family": "normal",
                    "location": flow.theta,
                    "scale": SPREAD,
                },
                "ceiling": flow.ceiling,
            },
            "training": {
                "steps": int(steps[-1]),
                "group_size": flow.group_size,
                "prompts_per_step": flow.prompts_per_step,
                # A step moves the right and the wrong logit, each by the rate, in opposite directions.
                "optimiser": flow.optimiser,
                "learning_rate": flow.rate / 2.0,
                "coupling": 1.0,
            },
            "arms": [
                {"name": arm["arm"], "fpr": arm["fpr"], "fnr": arm["fnr"]}
                for arm in arms.to_dict("records")
            ],
            "seeds": sorted(int(seed) for seed in runs["seed"].unique()),
            "evaluate_every": gcd(*(int(step) for step in steps)),
            "n_eval": int(runs["n_eval"].min()),
        }
    )


def _compare(runs: pd.DataFrame, calibration: FlowFit) -> pd.DataFrame:
    """Predicted against measured, one row per arm and step; `half` is 95 % of the sampling noise."""
    from theory.flow import accuracy

    cells = (
        runs.groupby(["arm", "step"], sort=False)
        .agg(
            fpr=("fpr", "first"),
            fnr=("fnr", "first"),
            rollouts=("rollouts", "first"),
            measured=("accuracy", "mean"),
            samples=("n_eval", "sum"),
        )
        .reset_index()
    )
    predicted = np.empty(len(cells))
    for place, (fpr, fnr, step) in enumerate(cells[["fpr", "fnr", "step"]].to_numpy(np.float64)):
        predicted[place] = accuracy(calibration.flow, VerifierChannel(fpr, fnr), step)
    measured = cells["measured"]
    return cells.assign(
        predicted=predicted, half=1.96 * (measured * (1.0 - measured) / cells["samples"]) ** 0.5
    )


def run_demo(*, report: Callable[[int, int], None] | None = None) -> Demo:
    """Load, calibrate, simulate, fit, compare.

    report: called with (steps simulated, steps in all).
    """
    from fits import fit_groups, gap_report, parse_selection
    from verigap.simulation import run_spec

    runs = logged_runs()
    clean = (runs["fpr"] == 0.0) & (runs["fnr"] == 0.0)
    calibration = calibrate(runs[clean])
    spec = simulation_of(runs, calibration)
    simulated = run_spec(spec, report=report)
    logged_steps = simulated.table["step"].isin(runs["step"].unique())
    simulated = replace(simulated, table=simulated.table[logged_steps].reset_index(drop=True))

    selection = parse_selection(["fpr=0,fnr=0"])
    measured_fits = fit_groups(runs, source=LOGGED)
    simulated_fits = fit_groups(simulated.table, source="the simulation")
    measured_gap = gap_report(runs, clean=selection, delta=DELTA, source=LOGGED)
    simulated_gap = gap_report(
        simulated.table, clean=selection, delta=DELTA, source="the simulation"
    )

    comparison = _compare(runs, calibration)
    error = (comparison["predicted"] - comparison["measured"]) ** 2
    rmse = error.groupby(comparison["arm"]).mean() ** 0.5
    arms = tuple(
        DemoArm(
            arm=gap.arm,
            fpr=gap.fpr or 0.0,
            fnr=gap.fnr or 0.0,
            verdict=gap.verdict,
            floor=gap.floor,
            floor_ci=gap.floor_ci,
            basis=gap.basis,
            reason=gap.reason,
            would_settle_it=None if gap.would_settle_it is None else gap.would_settle_it.text,
            simulated_verdict=twin.verdict,
            simulated_floor=twin.floor,
            simulated_floor_ci=twin.floor_ci,
            simulated_basis=twin.basis,
            forecast_rmse=float(rmse[gap.arm]),
        )
        for gap, twin in zip(measured_gap.arms, simulated_gap.arms, strict=True)
    )
    return Demo(
        runs=runs,
        simulated=simulated,
        spec=spec,
        calibration=calibration,
        measured_fits=measured_fits,
        simulated_fits=simulated_fits,
        measured_gap=measured_gap,
        simulated_gap=simulated_gap,
        comparison=comparison,
        evaluation_noise=float(np.sqrt(np.mean((comparison["half"] / 1.96) ** 2))),
        arms=arms,
    )
