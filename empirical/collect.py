"""From run folders to tables, and the committed tables that count as done.

A run is complete when its table holds its last evaluation; whether its folder still exists does not
matter, so a campaign goes on from the committed table alone.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empirical.errors import StudyError
from empirical.studies import RunSpec, Study, read_study
from empirical.training.folder import COMPLETIONS, TIMINGS, RunFolder
from fits.errors import InputError
from fits.files import write_text
from fits.readers.jsonl import read_json
from fits.table import write_runs

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "TABLE",
    "Collected",
    "Committed",
    "Rerun",
    "code_note",
    "collect",
    "compare",
    "merged",
    "read_committed",
    "run_table",
]

TABLE = "runs.parquet"
NOTE = "environments.md"


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


def run_table(
    out: Path, *, complete_only: bool = False, say: Callable[[str], None] = lambda _: None
) -> pd.DataFrame:
    """The run table of all run folders below `out`, sorted by run and step; one row per evaluation.

    say: is told of each damaged folder, which is left out.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for path in sorted(out.glob("*/spec.json")):
        folder = RunFolder(path.parent)
        try:
            log = folder.refuse_damaged()
            if log.done or not complete_only:
                rows += folder.evaluations()
        except StudyError as error:
            say(f"left out: {error}")
    return pd.DataFrame(rows)


def merged(committed: pd.DataFrame | None, fresh: pd.DataFrame) -> pd.DataFrame:
    """Both tables, a run's fresh rows taking the place of its committed ones."""
    import pandas as pd

    if committed is None or committed.empty:
        return fresh
    if fresh.empty:
        return committed
    kept = committed[~committed["run_id"].isin(fresh["run_id"].unique())]
    return pd.concat([kept, fresh], ignore_index=True) if len(kept) else fresh


@dataclass(frozen=True)
class Collected:
    """What a study's results folder holds: runs, rows, and the note on their code (`code_note`)."""

    runs: int
    rows: int
    note: str | None


def code_note(environments: Iterable[Mapping[str, Any]]) -> str | None:
    """What is to be said of the code runs come from; None where it is one commit, nothing changed.

    environments: the runs' env.json.
    """
    states = Counter(
        (git.get("sha"), git.get("dirty"))
        for git in (environment.get("git", {}) for environment in environments)
    )
    if all(sha is not None and dirty is False for sha, dirty in states) and len(states) <= 1:
        return None

    def told(sha: str | None, dirty: bool | None) -> str:
        if sha is None:
            return "not known"
        return f"commit {sha}" + (", with our modules modified" if dirty else "")

    lines = [f"- {told(*state)}: {count} runs" for state, count in states.most_common()]
    return "The runs of this table were not all made by one clean commit.\n\n" + "\n".join(lines)


def collect(study: Study, study_file: Path, out: Path) -> Collected:
    """Bring the complete runs below `out` into the study's committed results; say how much is there.

    Writes `runs.parquet`, the per-step logs as `steps/g<group size>-s<seed>.parquet`, the evaluations' completions
    likewise where runs kept them (`running.save_completions`), each run's environment as a line of
    `environments.jsonl`, `environments.md` where the runs come from several commits or a modified tree, and the
    initial weights. What earlier collections wrote stays, so a campaign may move from machine to machine.
    Raises StudyError if the study names no results folder, or has none yet and no run below `out` is complete.
    """
    if study.results is None:
        raise StudyError(f"{study_file}: names no results folder")
    import pandas as pd

    folder = study_file.parent / study.results
    known = folder / TABLE
    fresh = run_table(out, complete_only=True)
    if fresh.empty and not known.exists():
        raise StudyError(f"{out}: holds no complete run")
    folder.mkdir(parents=True, exist_ok=True)
    table = merged(pd.read_parquet(known) if known.exists() else None, fresh)
    table = _with_columns(table, study.runs())
    table = table.sort_values(["group_size", "seed", "arm", "run_id", "step"], ignore_index=True)
    write_runs(table, known)
    environments_file = folder / "environments.jsonl"
    environments: dict[str, str] = {}
    if environments_file.exists():
        for line in environments_file.read_text(encoding="utf-8").splitlines():
            environments[json.loads(line)["run_id"]] = line
    parts: dict[Path, list[pd.DataFrame]] = {}
    for path in sorted(out.glob("*/DONE")):
        run = RunFolder(path.parent)
        if not run.done:
            continue
        spec = run.spec()
        environment = read_json(run.path / "env.json")
        environments[spec.run_id] = json.dumps({"run_id": spec.run_id, **environment})
        log = pd.DataFrame([row for row in run.rows() if row["kind"] == "train"])
        log = log.drop(columns="kind")
        log.insert(0, "run_id", spec.run_id)
        name = f"g{spec.group_size}-s{spec.seed}.parquet"
        parts.setdefault(folder / "steps" / name, []).append(_small(log))
        for kept in sorted((run.path / COMPLETIONS).glob("step-*.parquet")):
            said = pd.read_parquet(kept)
            said.insert(0, "step", int(kept.stem.removeprefix("step-")))
            said.insert(0, "run_id", spec.run_id)
            parts.setdefault(folder / COMPLETIONS / name, []).append(said)
    for path, frames in parts.items():
        path.parent.mkdir(exist_ok=True)
        old = pd.read_parquet(path) if path.exists() else None
        both = merged(old, pd.concat(frames, ignore_index=True))
        # Stable: samples of a problem stay in the order they were drawn in.
        write_runs(both.sort_values(["run_id", "step"], ignore_index=True, kind="stable"), path)
    write_text(environments_file, "".join(environments[key] + "\n" for key in sorted(environments)))
    note = code_note(json.loads(line) for line in environments.values())
    if note is None:
        (folder / NOTE).unlink(missing_ok=True)
    else:
        write_text(folder / NOTE, f"{note}\n")
    for weights in (out / "models").glob("*"):
        kept = folder / "models" / weights.name
        if not kept.exists() and not weights.name.startswith("."):
            shutil.copytree(weights, kept)
    return Collected(int(table["run_id"].nunique()), len(table), note)


@dataclass(frozen=True)
class Rerun:
    """A run made again, beside its committed rows: evaluations and steps that both have, and columns that differ."""

    run_id: str
    evaluations: int
    steps: int
    differ: tuple[str, ...]


def compare(study: Study, study_file: Path, out: Path) -> tuple[Rerun, ...]:
    """Hold runs below `out`, done or not, against the committed ones: every column but timings, to the bit.

    Step logs are compared at the precision they are committed at. A column that the older log lacks is not compared.
    Raises StudyError if the study names no results, or none of the runs is committed.
    """
    if study.results is None:
        raise StudyError(f"{study_file}: names no results folder")
    import pandas as pd

    folder = study_file.parent / study.results
    table = pd.read_parquet(folder / TABLE)
    found: list[Rerun] = []
    for path in sorted(out.glob("*/spec.json")):
        run = RunFolder(path.parent)
        spec = run.spec()
        old = table[table["run_id"] == spec.run_id]
        if old.empty:
            continue
        rows = run.rows()
        log = pd.read_parquet(folder / "steps" / f"g{spec.group_size}-s{spec.seed}.parquet")
        steps = _small(pd.DataFrame([row for row in rows if row["kind"] == "train"]))
        evaluations, differ = _differing(pd.DataFrame(run.evaluations()), old)
        common, also = _differing(steps, log[log["run_id"] == spec.run_id])
        found.append(Rerun(spec.run_id, evaluations, common, (*differ, *also)))
    if not found:
        raise StudyError(f"{out}: holds no run that is committed in {folder}")
    return tuple(found)


def _differing(fresh: pd.DataFrame, old: pd.DataFrame) -> tuple[int, tuple[str, ...]]:
    """Rows that both have, by step, and columns in which these differ."""
    if fresh.empty:
        return 0, ()
    steps = sorted(set(fresh["step"]) & set(old["step"]))
    new, was = (frame.set_index("step").loc[steps] for frame in (fresh, old))
    # Lists are arrays when they come from Parquet, and NaN is not equal to itself: as text both are.
    differ = [
        str(column)
        for column in new.columns
        if column in was.columns
        and column not in TIMINGS
        and [_plain(one) for one in new[column]] != [_plain(one) for one in was[column]]
    ]
    return len(steps), tuple(differ)


def _plain(cell: Any) -> str:
    """A cell as text, whatever a table's other rows made of its type: 8, 8.0 and NumPy's are one number."""
    listed: Any = cell.tolist() if hasattr(cell, "tolist") else cell
    if isinstance(listed, list):
        return str([_plain(one) for one in listed])
    if isinstance(listed, int | float):
        return repr(float(listed))
    return "nan" if listed is None else repr(listed)


def _with_columns(table: pd.DataFrame, runs: Iterable[RunSpec]) -> pd.DataFrame:
    """The table, with the columns of a run that rows written before these columns were do not have."""
    by_run = {run.run_id: run.columns for run in runs}
    for name in next(iter(by_run.values())):
        known = table["run_id"].map({run: columns[name] for run, columns in by_run.items()})
        filled = table[name].fillna(known) if name in table else known
        table[name] = filled.astype(known.dtype) if filled.notna().all() else filled
    return table


def _small(log: pd.DataFrame) -> pd.DataFrame:
    """Per-step logs at the precision they deserve; counts and ratios of at most 256 are exact still."""
    floats = log.select_dtypes("float64").columns
    return log.astype(dict.fromkeys(floats, "float32"))


def main(arguments: Sequence[str]) -> int:
    """Collect a study's complete runs into its committed results; 1 where --compare finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m empirical.collect", description=main.__doc__)
    parser.add_argument("study", type=Path, metavar="STUDY.yaml")
    parser.add_argument("out", type=Path, metavar="OUT", help="where `verigap train` put the runs")
    parser.add_argument(
        "--compare", action="store_true", help="with what is committed; write nothing"
    )
    given = parser.parse_args(arguments)
    try:
        return _carried_out(given.study, given.out, only_compare=given.compare)
    except (InputError, StudyError) as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _carried_out(study_file: Path, out: Path, *, only_compare: bool) -> int:
    if only_compare:
        reruns = compare(read_study(study_file), study_file, out)
        for one in reruns:
            said = f"differs in {', '.join(one.differ)}" if one.differ else "equal but for timings"
            sys.stdout.write(
                f"{one.run_id}: {one.evaluations} evaluations, {one.steps} steps: {said}\n"
            )
        return int(any(one.differ for one in reruns))
    found = collect(read_study(study_file), study_file, out)
    sys.stderr.write(f"{found.runs} runs, {found.rows} rows\n")
    if found.note is not None:
        sys.stderr.write(f"{found.note}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
