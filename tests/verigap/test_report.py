"""The report is one file that needs nothing else, and says what it was given."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from fits import InputError
from fits.drawing import Drawing
from verigap.report.model import Report, Section, Table, picture, write_report


def report_with(cell: str) -> Report:
    table = Table(columns=("arm", "gap"), rows=((cell, "+0.1"),), text_columns=frozenset({"arm"}))
    return Report(
        "A title", "A lead", (Section("A heading", ("Words",), (table,)),), {"made by": "us"}
    )


def test_says_what_it_was_given_and_loads_nothing(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "report.html"
    write_report(report_with("fpr0.4"), path)
    text = path.read_text(encoding="utf-8")
    for said in ("A title", "A lead", "A heading", "Words", "fpr0.4", "+0.1", "made by"):
        assert said in text
    assert not re.search(r"<script|<link|src=|@import|url\(", text)
    HTMLParser().feed(text)


def test_text_is_escaped(tmp_path: Path) -> None:
    """An arm may be called anything; it must not become markup."""
    path = tmp_path / "report.html"
    write_report(report_with("<b>&"), path)
    assert "&lt;b&gt;&amp;" in path.read_text(encoding="utf-8")


def test_equal_figures_give_equal_bytes_and_different_ones_share_no_id() -> None:
    from matplotlib.figure import Figure

    def drawn(caption: str) -> str:
        figure = Figure()
        figure.subplots().plot([0, 1], [0, 1])
        return picture(Drawing(figure, pd.DataFrame()), caption).svg

    assert drawn("one") == drawn("one")
    clips = [
        set(re.findall(r'clipPath id="([^"]+)"', drawn(caption))) for caption in ("one", "two")
    ]
    assert clips[0]
    assert not clips[0] & clips[1]


def test_a_failed_write_leaves_the_old_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    write_report(report_with("old"), path)

    def broken(self: Path, target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(InputError, match="disk full"):
        write_report(report_with("new"), path)
    assert "old" in path.read_text(encoding="utf-8")
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
