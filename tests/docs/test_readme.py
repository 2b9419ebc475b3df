"""The README shows what the commands print today."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.builders import ROOT
from tests.commands.command import verigap

README = (ROOT / "README.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"```console\n\$ verigap ([^\n]+)\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize(("arguments", "output"), SHOWN, ids=[shown[0][:20] for shown in SHOWN])
def test_a_command_prints_what_the_readme_shows(
    arguments: str, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Word for word, from the first line on: the README may leave out the rest."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "80")
    done = verigap(*shlex.split(arguments))
    assert done.code == 0, done.err
    printed = [line.rstrip() for line in done.out.splitlines()]
    shown = [line.rstrip() for line in output.splitlines()]
    assert printed[: len(shown)] == shown


def test_the_readme_shows_commands() -> None:
    assert len(SHOWN) >= 2


def test_links_and_named_files_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
