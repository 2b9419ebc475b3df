"""From run folders to tables, and the committed tables that count as done.

A run is complete when its table holds its last evaluation; whether its folder still exists does not
matter, so a campaign goes on from the committed table alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from empirical.errors import StudyError
from empirical.runs import RunFolder, eval_rows
from empirical.studies import RunSpec, Study

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TABLE", "Committed", "merged", "read_committed", "run_table", "write_table"]

TABLE = "runs.parquet"


@dataclass(frozen=True)
class Committed:
    """What a study's `results` folder holds.

    table: the committed run table, None where there is none yet. models: folder of initial weights.
    """

    table: Path | None = None
    models: Path | None = None

    def complete(self, runs: Sequence[RunSpec]) -> frozenset[str]:
        """Ids of those of `runs` whose last evaluation is in the table."""
        if self.table is None:
            return frozenset()
        import pandas as pd

        frame = pd.read_parquet(self.table, columns=["run_id", "step"])
        reached = frame.groupby("run_id")["step"].max()
        return frozenset(
            run.run_id for run in runs if reached.get(run.run_id, -1) >= run.evaluation.steps[-1]
        )


def read_committed(study: Study, study_file: Path) -> Committed:
    """The committed results of a study; empty where it names none or they are not there yet."""
    if study.results is None:
        return Committed()
    folder = study_file.parent / study.results
    table, models = folder / TABLE, folder / "models"
    return Committed(table if table.exists() else None, models if models.exists() else None)


def run_table(out: Path, *, complete_only: bool = False) -> pd.DataFrame:
    """The run table of all run folders below `out`, sorted by run and step; one row per evaluation."""
    import pandas as pd

    rows = [
        row
        for path in sorted(out.glob("*/spec.json"))
        if (folder := RunFolder(path.parent)).done or not complete_only
        for row in eval_rows(folder.rows())
    ]
    return pd.DataFrame(rows)


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a run table as Parquet or CSV, by suffix, whole or not at all.

    Raises StudyError for another suffix.
    """
    part = path.with_name(f".{path.name}.part")
    if path.suffix == ".parquet":
        frame.to_parquet(part, compression="zstd", index=False)
    elif path.suffix == ".csv":
        frame.to_csv(part, index=False)
    else:
        raise StudyError(f"{path}: a run table is .parquet or .csv")
    part.replace(path)


def merged(committed: pd.DataFrame | None, fresh: pd.DataFrame) -> pd.DataFrame:
    """Both tables, a run's fresh rows taking the place of its committed ones."""
    import pandas as pd

    if committed is None or committed.empty:
        return fresh
    if fresh.empty:
        return committed
    kept = committed[~committed["run_id"].isin(fresh["run_id"].unique())]
    return pd.concat([kept, fresh], ignore_index=True) if len(kept) else fresh
