"""Remake what the repository says of its own runs, below paper/generated.

python -m paper results [--results FOLDER] [--shared FOLDER] [--out FOLDER]
python -m paper steps [--campaign FOLDER] [--check FOLDER] [--rollouts CSV] [--out FOLDER]
python -m paper probe [--campaign FOLDER] [--out FOLDER]
python -m paper learnable [--study FILE] [--out FOLDER]
python -m paper smollm2 [--results FOLDER] [--out FOLDER]
python -m paper sizes [--results FOLDER] [--out FOLDER]
python -m paper corrections [--results FOLDER] [--out FOLDER]
python -m paper training [--results FOLDER] [--out FOLDER]
python -m paper manuscript [--out FOLDER]

`results` remakes everything: numbers (findings.json), pages and figures; `steps` the step logs alone, `probe` the
probe of the campaign's initial weights beside its runs, `learnable` the study learnable-errors, `smollm2` a pretrained
model foretold and trained, `sizes` the campaign's task at other sizes, `corrections` what buys noise back,
`training` probes made in mid-run.
`manuscript` makes, from findings.json and the committed tables, the numbers, tables and figures of paper/manuscript, as
`results` does at its end; `make paper` the PDF as well.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import pandas as pd

from empirical.collect import TABLE
from empirical.errors import StudyError
from empirical.probe import read_probe
from empirical.step_law.logged import CAMPAIGN, COMMAND, GradientLevel, beside, gradient_level
from empirical.step_law.real import write_derived
from empirical.studies import read_study
from fits import InputError
from fits.answers import three_answers
from fits.drawing import Drawing, save
from fits.files import write_text
from fits.plain import json_text
from paper.argument.write import write_manuscript
from paper.figures.answers import draw_answers
from paper.figures.corrections import draw_corrections
from paper.figures.gradient_level import draw_gradient_level
from paper.figures.in_training import draw_in_training
from paper.figures.learnable import draw_learnable
from paper.figures.paces import draw_pretrained, draw_sizes
from paper.figures.probe import draw_probe
from paper.figures.results import draw_forecast, draw_gaps
from paper.learnable import learnable
from paper.numbers import collect, floors, read_kept
from paper.paces import moved
from paper.pages import corrections as corrections_page
from paper.pages import gradient_level as step_page
from paper.pages import home as home_page
from paper.pages import in_training as in_training_page
from paper.pages import learnable as learnable_page
from paper.pages import paces as paces_page
from paper.pages import probe as probe_page
from paper.pages.results import FIGURES, render
from paper.probe import check
from paper.public_data import SOURCES
from paper.trained import (
    SIZES,
    SMOLLM2,
    complete,
    read_corrections,
    read_held,
    read_in_training,
    read_pretrained,
    read_sizes,
    sized_runs,
)

ROOT: Final = Path(__file__).resolve().parents[1]
GENERATED: Final = ROOT / "paper" / "generated"
SHARED: Final = ROOT.parent / "shared" / "data"
DERIVED: Final = "real-groups.json"
KEPT: Final = "shared.json"
STEPS: Final = Path("gradient-level.md")
PROBED: Final = "verigap probe empirical/studies/trained/cpu-campaign.yaml"
LEARNABLE_STUDY: Final = Path("studies/trained/learnable-errors.yaml")
CORRECTIONS: Final = "corrections"
IN_TRAINING: Final = "in-training"
STUDIES: Final = {
    "smollm2": (SMOLLM2, "a pretrained model, foretold by a probe and trained"),
    "sizes": (SIZES, "other sizes of the model, foretold by a probe and trained"),
    "corrections": (CORRECTIONS, "what buys back a verifier's errors"),
    "training": (IN_TRAINING, "probes made in mid-run"),
}
FORECASTS: Final = ROOT / "paper" / "forecasts"
STEPS_FIGURE: Final = Path("figures/gradient-level.png")


def main(arguments: Sequence[str]) -> int:
    """Remake; what needs data below --shared that are not there is kept as it is."""
    parser = argparse.ArgumentParser(prog="python -m paper", description=main.__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    results = parts.add_parser("results", help="numbers, pages and figures")
    results.add_argument("--results", type=Path, default=ROOT / "empirical" / "results")
    results.add_argument("--shared", type=Path, default=SHARED)
    results.add_argument("--out", type=Path, default=GENERATED)
    steps = parts.add_parser("steps", help="step logs and real groups against exact theory")
    steps.add_argument("--campaign", type=Path, default=CAMPAIGN)
    steps.add_argument("--check", type=Path, help="default: gradient-check beside the campaign")
    steps.add_argument("--rollouts", type=Path, default=_present(SHARED / SOURCES["real groups"]))
    steps.add_argument("--out", type=Path, default=GENERATED)
    probe = parts.add_parser("probe", help="the probe against the runs")
    probe.add_argument("--campaign", type=Path, default=CAMPAIGN)
    probe.add_argument("--out", type=Path, default=GENERATED)
    errors = parts.add_parser("learnable", help="errors that a policy can learn")
    errors.add_argument("--study", type=Path, default=ROOT / "empirical" / LEARNABLE_STUDY)
    errors.add_argument("--out", type=Path, default=GENERATED)
    manuscript = parts.add_parser(
        "manuscript", help="numbers, tables and figures of the manuscript"
    )
    manuscript.add_argument("--out", type=Path, default=GENERATED)
    for name, (_, what) in STUDIES.items():
        part = parts.add_parser(name, help=what)
        part.add_argument("--results", type=Path, default=ROOT / "empirical" / "results")
        part.add_argument("--out", type=Path, default=GENERATED)
    given = parser.parse_args(arguments)
    try:
        if given.part == "results":
            write(given.results, given.shared, given.out)
            if given.out == GENERATED:
                write_manuscript(ROOT, given.out)
        elif given.part == "probe":
            sys.stdout.write(write_probe(given.campaign, given.out))
        elif given.part == "manuscript":
            write_manuscript(ROOT, given.out)
        elif given.part == "learnable":
            sys.stdout.write(write_learnable(given.study, given.out))
        elif given.part in STUDIES:
            sys.stdout.write(WRITERS[given.part](given.results, given.out))
        else:
            level = gradient_level(
                given.campaign,
                check=given.check or beside(given.campaign),
                rollouts=given.rollouts,
                derived=outside(given.out) / DERIVED,
            )
            write_steps(level, given.out)
    except (InputError, StudyError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def outside(out: Path) -> Path:
    """Where numbers of data that are not part of the project stand: beside `out`, which may be deleted."""
    return out.parent / "outside"


def _present(path: Path) -> Path | None:
    return path if path.is_file() else None


def write(results: Path, shared: Path, out: Path = GENERATED) -> None:
    """Write findings.json, results.md, gradient-level.md and the figures below `out`.

    From nothing but the tables below `results`, what lies in `shared`, and what is kept of data that do not.
    """
    kept = read_kept(outside(out) / KEPT)
    campaign = results / "cpu-campaign"
    level = gradient_level(
        campaign,
        check=beside(campaign),
        rollouts=_present(shared / SOURCES["real groups"]),
        derived=outside(out) / DERIVED,
    )
    write_steps(level, out)
    if _present(campaign / "probe.json"):
        write_probe(campaign, out)
    if _present(results / "learnable-errors" / TABLE):
        write_learnable(results.parent / LEARNABLE_STUDY, out)
    for name, (study, _) in STUDIES.items():
        if _present(results / study / TABLE):
            WRITERS[name](results, out)
    findings, material = collect(results, shared, kept, level, outside(out) / DERIVED)
    save(draw_gaps(material.curves, material.prompts_per_step), out / FIGURES["gap"])
    save(draw_forecast(material.forecasts.forecasts), out / FIGURES["forecast"])
    save(draw_answers(material.report), out / home_page.FIGURES["answers"])
    write_text(out / "home.md", home_page.document(three_answers(material.report), findings))
    write_text(out / "findings.json", json_text(findings))
    write_text(outside(out) / KEPT, json_text({"shared": findings.shared}))
    write_text(out / "results.md", render(findings))
    absent = sorted(set(SOURCES) - {n for n in SOURCES if (shared / SOURCES[n]).exists()})
    if absent:
        sys.stderr.write(f"not in {shared}: {', '.join(absent)}: their numbers are kept\n")


def write_steps(level: GradientLevel, out: Path = GENERATED) -> None:
    """Write gradient-level.md, figures/gradient-level.png (and .csv) and outside/real-groups.json beside `out`.

    Raises InputError where the file system refuses.
    """
    if level.real is not None:
        write_derived(level.real, outside(out) / DERIVED)
    save(draw_gradient_level(level), out / STEPS_FIGURE)
    write_text(
        out / STEPS,
        step_page.document(level, command=COMMAND, figure=STEPS_FIGURE.as_posix()),
    )


def _page(name: str, drawing: Drawing, document: Callable[..., str], out: Path) -> str:
    """Write NAME.md and figures/NAME.png (and .csv) below `out`; the page, which `document` makes given `figure`."""
    figure = f"figures/{name}.png"
    save(drawing, out / figure)
    page = document(figure=figure)
    write_text(out / f"{name}.md", page)
    return page


def write_probe(campaign: Path, out: Path = GENERATED) -> str:
    """Write probe.md and figures/probe.png (and .csv) below `out`, from `campaign`'s table and probe; the page.

    Raises StudyError where the probe is absent or the table lacks what it is held against.
    """
    found = check(read_probe(campaign / "probe.json"), pd.read_parquet(campaign / TABLE))
    document = partial(probe_page.document, found, command="python -m paper probe", probed=PROBED)
    return _page("probe", draw_probe(found), document, out)


def write_learnable(study_file: Path, out: Path = GENERATED) -> str:
    """Write learnable-errors.md and figures/learnable-errors.png (and .csv) below `out`; the page.

    Raises StudyError where the study names no results, or these lack what is asked of them.
    """
    study = read_study(study_file)
    if study.results is None:
        raise StudyError(f"{study_file}: names no results folder")
    found = learnable(study, study_file.parent / study.results)
    rare_file = study_file.with_name("rare-mode.yaml")
    rare_results = study_file.parent / "../../results/rare-mode"
    rare = None
    if _present(rare_results / TABLE):
        rare = learnable(read_study(rare_file), rare_results)
    document = partial(learnable_page.document, found, rare, command="python -m paper learnable")
    return _page("learnable-errors", draw_learnable(found, rare), document, out)


def write_smollm2(results: Path, out: Path = GENERATED) -> str:
    """Write smollm2.md and figures/smollm2.png (and .csv) below `out`; the page.

    Raises StudyError where probe, forecast or clean runs are absent.
    """
    found, runs = read_pretrained(results), complete(results, SMOLLM2)
    document = partial(
        paces_page.pretrained,
        found,
        read_held(results, FORECASTS),
        command="python -m paper smollm2",
        hours=float(runs.groupby("run_id")["seconds"].max().sum()) / 3600.0,
    )
    return _page("smollm2", draw_pretrained(found), document, out)


def write_sizes(results: Path, out: Path = GENERATED) -> str:
    """Write sizes.md and figures/sizes.png (and .csv) below `out`, of the sizes that are there; the page.

    Raises StudyError where a size has runs and no probe.
    """
    reference, others = read_sizes(results)
    found = sorted([reference, *others], key=lambda one: one.parameters)
    document = partial(
        paces_page.sizes,
        found,
        moved(reference, others),
        {model: floors(runs) for model, runs in sized_runs(results, alike=True).items()},
        command="python -m paper sizes",
    )
    return _page("sizes", draw_sizes(found), document, out)


def write_corrections(results: Path, out: Path = GENERATED) -> str:
    """Write corrections.md and figures/corrections.png (and .csv) below `out`; the page.

    Raises StudyError where the probe, or the campaign's or learnable-errors' runs are absent.
    """
    found = read_corrections(results)
    document = partial(corrections_page.document, found, command="python -m paper corrections")
    return _page("corrections", draw_corrections(found), document, out)


def write_in_training(results: Path, out: Path = GENERATED) -> str:
    """Write in-training.md and figures/in-training.png (and .csv) below `out`; the page.

    Raises StudyError where no probe is there that the campaign's runs can be held against.
    """
    found = read_in_training(results)
    document = partial(in_training_page.document, found, command="python -m paper training")
    return _page("in-training", draw_in_training(found), document, out)


WRITERS: Final[dict[str, Callable[[Path, Path], str]]] = {
    "smollm2": write_smollm2,
    "sizes": write_sizes,
    "corrections": write_corrections,
    "training": write_in_training,
}

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
