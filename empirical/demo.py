"""What the demo shows: the committed campaign, real runs of TRL's GRPO on a tiny model. Needs no torch."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from empirical.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd

    from fits import GapReport, RunTable

__all__ = ["CALIBRATE_ON", "GROUP_SIZE", "LOGGED", "gap_table", "logged_probe", "logged_runs"]

LOGGED: Final = "cpu-campaign"
GROUP_SIZE: Final = 8  # rollouts a prompt: of the table on the terminal, and of the calibration
CALIBRATE_ON: Final = f"arm=clean,group_size={GROUP_SIZE}"


def logged_runs() -> RunTable:
    """The packaged run table. Raises StudyError where the package was built without it."""
    import dataclasses

    from fits import read_runs

    folder = resources.files("empirical") / "results" / LOGGED
    with resources.as_file(folder / "runs.parquet") as path:
        if not path.is_file():
            raise StudyError(
                f"the logged runs are missing from this installation: no {folder / 'runs.parquet'}"
            )
        table = read_runs(path)
    return dataclasses.replace(table, source=f"empirical/results/{LOGGED}")


def logged_probe() -> dict[str, Any]:
    """What a probe measured at the weights that the campaign began with."""
    path = resources.files("empirical") / "results" / LOGGED / "probe.json"
    return json.loads(path.read_text(encoding="utf-8"))


def gap_table(report: GapReport) -> pd.DataFrame:
    """Every gap, one row per arm and evaluation, with the arm's setting and verdict."""
    import pandas as pd

    rows = [
        {
            "arm": arm.arm,
            **arm.setting,
            report.x: point.x,
            "gap": point.gap,
            "low": np.nan if point.ci is None else point.ci[0],
            "high": np.nan if point.ci is None else point.ci[1],
            "seeds": point.seeds,
            "verdict": arm.verdict,
            "floor": arm.floor,
            "floor_low": np.nan if arm.floor_ci is None else arm.floor_ci[0],
            "floor_high": np.nan if arm.floor_ci is None else arm.floor_ci[1],
            "basis": arm.basis,
        }
        for arm in report.arms
        for point in arm.curve
    ]
    return pd.DataFrame(rows)
