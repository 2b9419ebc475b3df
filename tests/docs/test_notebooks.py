"""The tutorials as notebooks: they are what the pages say, ran without an error, and results render in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.docs.notebooks import PAGES, cells_of, executed


def outputs(made: Any) -> list[Any]:
    return [output for cell in made.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_notebook_is_its_page_and_was_executed(page: Path) -> None:
    made = nbformat.read(page.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(made)
    assert [(cell.cell_type, cell.source) for cell in made.cells] == cells_of(page), (
        f"python -m tests.docs.notebooks {page.stem}"
    )
    counts = [cell.execution_count for cell in made.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert not [one for one in outputs(made) if one.output_type == "error"]
    said = "".join(one.get("text", "") for one in outputs(made))
    assert "Traceback" not in said
    assert "verigap: " not in said  # what a refused command says
    assert any("<table" in one.get("data", {}).get("text/html", "") for one in outputs(made))
    assert "/tmp/" not in nbformat.writes(made)


def test_pictures_are_in_a_notebook() -> None:
    made = nbformat.read(
        next(page for page in PAGES if page.stem == "researcher").with_suffix(".ipynb"),
        as_version=4,
    )
    assert any("image/svg+xml" in one.get("data", {}) for one in outputs(made))


@pytest.mark.filterwarnings("ignore")  # of the kernel's machinery
def test_the_engineers_python_runs_in_a_kernel() -> None:
    page = next(page for page in PAGES if page.stem == "engineer")
    python = [cell for cell in cells_of(page) if cell[0] == "code" and cell[1][0] != "%"]
    made = executed(python)
    html = [one.data["text/html"] for one in outputs(made) if "text/html" in one.get("data", {})]
    assert len(html) >= 2
    assert "youden" in html[0]
