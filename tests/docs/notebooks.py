"""The tutorials as executed notebooks, beside their pages.

    python -m tests.docs.notebooks           executes each anew and writes docs/tutorials/NAME.ipynb
    python -m tests.docs.notebooks engineer  that one alone

A block of Python is a cell, commands of a console are a cell of `%%sh`, which runs them without a terminal; blocks
marked `sh`, which take hours or a GPU, stay text. Executed in an empty folder beside the results, as
tests/docs/test_tutorials.py runs the pages.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from unittest import mock

import nbformat
from nbclient import NotebookClient

from fits.files import write_text
from tests.builders import ROOT

PAGES: Final = sorted((ROOT / "docs/tutorials").glob("*.md"))
COLOUR: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
BLOCK: Final = re.compile(r"```(console|python)\n(.*?)```", re.DOTALL)


def cells_of(page: Path) -> list[tuple[str, str]]:
    """The cells of a page: markdown or code, and their text."""
    text = page.read_text(encoding="utf-8")
    cells: list[tuple[str, str]] = []
    at = 0
    for found in BLOCK.finditer(text):
        cells.append(("markdown", text[at : found.start()].strip()))
        at = found.end()
        code = found.group(2).strip()
        if found.group(1) == "console":
            code = "\n".join(["%%sh", *(line.removeprefix("$ ") for line in code.splitlines())])
        cells.append(("code", code))
    cells.append(("markdown", text[at:].strip()))
    return [cell for cell in cells if cell[1]]


def notebook_of(cells: Sequence[tuple[str, str]]) -> Any:
    """A notebook of cells, not executed."""
    made = nbformat.v4.new_notebook()
    make = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    # An id that is not drawn by lot, so that the file changes where the page does.
    made.cells = [make[kind](text, id=f"cell-{n}") for n, (kind, text) in enumerate(cells)]
    made.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
    }
    return made


def executed(cells: Sequence[tuple[str, str]]) -> Any:
    """The notebook, executed in an empty folder beside the results. Raises CellExecutionError where a cell fails."""
    made = notebook_of(cells)
    here = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "100",
        "PYTHONPATH": str(ROOT),
    }
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, here):
        (Path(folder) / "empirical").symlink_to(ROOT / "empirical", target_is_directory=True)
        client = NotebookClient(
            made, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        client.execute()
    for cell in made.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = _whole(cell.outputs)
    made.metadata = notebook_of([]).metadata
    return made


def _whole(outputs: Sequence[Any]) -> list[Any]:
    """Outputs without colours; of a stream, which comes in pieces by chance, one a cell."""
    kept: dict[str, Any] = {}
    for number, output in enumerate(outputs):
        if output.output_type != "stream":
            kept[str(number)] = output
        elif output.name in kept:
            kept[output.name].text += output.text
        else:
            kept[output.name] = output
    for output in kept.values():
        if output.output_type == "stream":
            output.text = COLOUR.sub("", output.text)
    return list(kept.values())


def main(names: Sequence[str]) -> None:
    """Execute and write the named ones, or all."""
    for page in PAGES:
        if not names or page.stem in names:
            made = executed(cells_of(page))
            write_text(page.with_suffix(".ipynb"), nbformat.writes(made) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
