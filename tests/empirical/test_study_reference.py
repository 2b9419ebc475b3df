"""The pages of a study's fields are what the models say."""

from __future__ import annotations

from pathlib import Path

from empirical.simulated_studies import Difficulty, PopulationSpec, SimulatedStudy, TrainingSpec
from empirical.studies import Study, Training
from empirical.study_reference import page, simulated_page

PAGES = Path(__file__).parents[2] / "docs" / "how-to"


def test_the_pages_are_current() -> None:
    assert (PAGES / "study-fields.md").read_text(encoding="utf-8") == page()
    told = (PAGES / "simulated-study-fields.md").read_text(encoding="utf-8")
    assert told == simulated_page()


def test_every_field_of_a_simulated_study_is_on_its_page() -> None:
    for model in (SimulatedStudy, PopulationSpec, Difficulty, TrainingSpec):
        for name in model.model_fields:
            assert f"| `{name}` |" in simulated_page()


def test_every_field_is_on_it() -> None:
    for name in (*Study.model_fields, *Training.model_fields):
        assert f"| `{name}` |" in page()
