"""The page of a study's fields is what the models say."""

from __future__ import annotations

from pathlib import Path

from empirical.studies import Study, Training
from empirical.study_reference import page

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "study-fields.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_field_is_on_it() -> None:
    for name in (*Study.model_fields, *Training.model_fields):
        assert f"| `{name}` |" in page()
