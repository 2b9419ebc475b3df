"""Simulated studies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from empirical.simulate import run_spec, write_study
from empirical.simulated_studies import SimulatedStudy, load_spec, preset_spec
from fits.plain import counted
from verigap.face.base import (
    Shown,
    verb,
)


@dataclass(frozen=True, repr=False)
class Sweep(Shown):
    """A simulated study. table, figure: the files written, None where none was asked for."""

    runs: int
    rows: int
    out: Path | None
    table: Path | None
    figure: Path | None
    seconds: float
    rollouts: int
    notes: tuple[str, ...]
    frame: pd.DataFrame = field(metadata={"plain": False})
    spec: SimulatedStudy = field(metadata={"plain": False})

    def to_frame(self) -> pd.DataFrame:
        """The run table, as real runs give."""
        return self.frame

    def headline(self) -> str:  # noqa: D102
        return f"{counted(self.runs, 'run')}, {self.rollouts:,} rollouts, {self.seconds:.1f} s"

    def remarks(self) -> Sequence[str]:  # noqa: D102
        return [line for line in (self.spec.about, *self.notes) if line]


@verb
def simulate(
    spec: str | Path | SimulatedStudy,
    *,
    out: str | Path | None = None,
    on_ray: bool = False,
    workers: int | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Sweep:
    """Simulate a population of prompts under noisy verifiers: a run table, as real runs give.

    spec: a preset's name, a path of a study file, or a `SimulatedStudy`. out: folder for runs.csv, spec.yaml and
    figure.png (where the spec has panels); None writes nothing. on_ray, workers, report: see
    `empirical.simulate.run_spec`; results depend on none of them.
    Raises UserError, one line naming the field; if a run diverges; if `out` cannot be written.
    Source: docs/theory.md#the-bandit.
    """
    from fits.files import check_target

    if isinstance(spec, SimulatedStudy):
        study = spec
    elif isinstance(spec, str) and not Path(spec).suffix and not Path(spec).exists():
        study = preset_spec(spec)
    else:
        study = load_spec(Path(spec))
    folder = None if out is None else Path(out)
    if folder is not None:
        check_target(folder / "runs.csv")  # before the work, not after it
    done = run_spec(study, on_ray=on_ray, workers=workers, report=report)
    table = figure = None
    if folder is not None:
        table = write_study(study, done, folder)
        if study.panels:
            from empirical.figures import draw_study
            from fits.drawing import save

            figure = folder / "figure.png"
            save(draw_study(done.table, study.panels, arms=study.arms, about=study.about), figure)
    return Sweep(
        runs=done.runs,
        rows=len(done.table),
        out=folder,
        table=table,
        figure=figure,
        seconds=done.seconds,
        rollouts=done.rollouts,
        notes=tuple(study.notes()),
        frame=done.table,
        spec=study,
    )
