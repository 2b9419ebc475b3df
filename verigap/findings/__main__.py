"""Remake findings.json, README.md and the figures of the committed results; see `verigap.findings`.

python -m verigap.findings [--results FOLDER] [--shared FOLDER]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from empirical.errors import StudyError
from fits import InputError
from fits.figures import save
from fits.files import write_text
from verigap.console import json_text
from verigap.findings.document import collect, read_kept
from verigap.findings.figures import draw_forecast, draw_gaps
from verigap.findings.page import FIGURES, render
from verigap.findings.shared import SOURCES
from verigap.gradient_level import DERIVED, beside, gradient_level, write_gradient_level

ROOT: Final = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str]) -> int:
    """Remake everything; what needs data below --shared that are not there is kept as it is."""
    parser = argparse.ArgumentParser(
        prog="python -m verigap.findings", description="Remake the results' README and figures."
    )
    parser.add_argument("--results", type=Path, default=ROOT / "empirical" / "results")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared" / "data")
    given = parser.parse_args(arguments)
    try:
        write(given.results, given.shared)
    except (InputError, StudyError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def write(results: Path, shared: Path) -> None:
    """Write findings.json, README.md, gradient-level.md and the figures below `results`.

    From nothing but what lies there and in `shared`.
    """
    kept = read_kept(results / "findings.json")
    rollouts, campaign = shared / SOURCES["real groups"], results / "cpu-campaign"
    level = gradient_level(
        campaign,
        check=beside(campaign),
        rollouts=rollouts if rollouts.is_file() else None,
        derived=results / DERIVED,
    )
    write_gradient_level(level, results)
    findings, material = collect(results, shared, kept, level)
    save(draw_gaps(material.curves, material.prompts_per_step), results / FIGURES["gap"])
    save(draw_forecast(material.forecasts.forecasts), results / FIGURES["forecast"])
    write_text(results / "findings.json", json_text(findings))
    write_text(results / "README.md", render(findings))
    absent = sorted(set(SOURCES) - {n for n in SOURCES if (shared / SOURCES[n]).exists()})
    if absent:
        sys.stderr.write(f"not in {shared}: {', '.join(absent)}: their numbers are kept\n")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
