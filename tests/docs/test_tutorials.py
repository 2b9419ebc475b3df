"""The tutorials run: every command and every block of Python, page by page, in an empty folder beside the results.

Blocks marked `sh` take hours or a GPU: of these only the words are checked.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.builders import ROOT
from tests.commands.command import verigap

PAGES = sorted((ROOT / "docs/tutorials").glob("*.md"))
BLOCK = re.compile(r"```(console|python|sh)\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empirical").symlink_to(ROOT / "empirical", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    names: dict[str, object] = {}
    ran = 0
    for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "python":
            exec(compile(text, str(page), "exec"), names)
            continue
        for line in text.splitlines():
            command = line.removeprefix("$ ")
            verb, *words = shlex.split(command)[1:]
            if kind == "sh":
                shown = verigap(verb, "--help").out
                assert all(word in shown for word in words if word.startswith("--")), command
                continue
            done = verigap(verb, *words)
            assert done.code == 0, (command, done.err)
            assert done.out, command
            ran += 1
    assert ran >= 4


def test_there_is_a_page_for_each_reader() -> None:
    assert {page.stem for page in PAGES} >= {"engineer", "researcher", "scientist"}
