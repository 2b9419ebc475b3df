"""The digits of docs/theory.md: its console blocks print what they show."""

from __future__ import annotations

import doctest

from tests.builders import ROOT


def test_console_blocks_print_what_they_show() -> None:
    done = doctest.testfile(str(ROOT / "docs/theory.md"), module_relative=False)
    assert done.attempted > 10
    assert done.failed == 0
