"""The report is one file that needs nothing else, and says what it was given."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

import verigap as vg
from fits import InputError
from fits.answers import Answer
from fits.drawing import Drawing
from tests.builders import ROOT, matched_runs
from verigap.pages.beside import document_of, section_of
from verigap.pages.layout import html_of, markdown_of, write_report
from verigap.pages.model import (
    Chart,
    Line,
    Panel,
    Picture,
    Quantity,
    Report,
    Section,
    Span,
    Table,
    picture,
)

VENDORED = ROOT / "verigap" / "pages" / "page" / "vendored"


def report_with(cell: str) -> Report:
    table = Table(
        columns=("arm", "gap"),
        rows=((cell, Span("+0.1 [+0.0, +0.2]", 0.1, (0.0, 0.2), "persists")),),
        text_columns=frozenset({"arm"}),
        scales={"gap": (-0.1, 0.3)},
        level=0.05,
    )
    lines = (Line(cell, (0.0, 0.1), (0.0, 0.05), (0.0, 0.15), "#112233"),)
    chart = Chart(
        "Gaps", "A caption", "rollouts", (Panel(cell, (0.0, 8.0), (Quantity("gap", lines),)),),
        (Picture("<svg></svg>", "drawn"),),
    )  # fmt: skip
    return Report(
        "A title",
        "A lead",
        (Answer("A question?", "An answer.", ("Because",), ("an assumption",)),),
        (Section("A heading", ("Words",), charts=(chart,), tables=(table,)),),
        {"made by": "us"},
    )


def test_says_what_it_was_given_and_loads_nothing(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "report.html"
    write_report(report_with("fpr0.4"), path)
    text = path.read_text(encoding="utf-8")
    said = (
        "A title",
        "A lead",
        "A question?",
        "An answer.",
        "Because",
        "an assumption",
        "A heading",
    )
    for one in (*said, "Words", "fpr0.4", "+0.1", "made by", "A caption"):
        assert one in text
    # Addresses stand in comments; tests/browser sees that nothing is asked for.
    assert not re.search(r"<link|\bsrc=|@import|url\(|href=.?http", text)
    HTMLParser().feed(text)


NASTY = "</script><script>alert(1)</script><b>&\"'"


def test_a_data_frame_is_no_file() -> None:
    page = vg.report(matched_runs(seeds=2, evaluations=4), law="exponential").page
    assert page.provenance["remade by"] == "vg.report(frame).write('report.html')"
    text = html_of(page)
    assert "verigap gap RUNS" in text
    assert "CSV table" not in text
    assert "<dt>read as</dt><dd>a data frame</dd>" in text


def test_whatever_a_run_is_called_is_text() -> None:
    """In cells, in attributes and in the data for the script."""
    text = html_of(report_with(NASTY))
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert "</script><script>alert" not in text
    (data,) = re.findall(r'<script type="application/json" id="charts">(.*?)</script>', text)
    assert json.loads(data)[0][0]["name"] == NASTY
    told = markdown_of(report_with(NASTY))
    assert "<script>" not in told.replace("\\<", "")


def test_what_is_drawn_lies_where_its_numbers_are() -> None:
    """A scale from -0.1 to 0.3: 0 at a quarter, 0.1 at half, 0.2 at three quarters."""
    text = html_of(report_with("a"))
    assert '<line class="zero" x1="25.0"' in text
    assert '<line class="reach" x1="25.0" x2="75.0"' in text
    assert '<line class="point" x1="50.0"' in text
    assert '<line class="level" x1="37.5"' in text


def test_a_table_in_markdown_reads_as_in_the_page() -> None:
    told = markdown_of(report_with("a|b"))
    assert "| arm | gap |\n| :-- | --: |\n| a\\|b | +0.1 \\[+0.0, +0.2\\] |" in told


def test_markdown_says_nothing_of_what_only_a_page_shows() -> None:
    both = [matched_runs(seeds=3).assign(model=model) for model in ("a b", "c")]
    runs = pd.concat(both, ignore_index=True)
    runs["run_id"] += runs["model"]
    made = vg.report(runs, law="exponential")
    page, told = html_of(made.page), markdown_of(made.page)
    for words in ("Lines in the cells", "uPlot"):
        assert words in page
        assert words not in told
    assert "; bands are 95 % over seeds, against" in page  # of the picture, which has them
    # What is suggested runs: a forecast is calibrated on one model, and is not the numbers above it.
    assert "To ask for it:" in page
    assert "--where 'model=a b' --calibrate-on" in unescape(page)


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
    old = report_with("old")
    write_report(old, path)

    def broken(self: Path, target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(InputError, match="disk full"):
        write_report(report_with("new"), path)
    assert unescape(path.read_text(encoding="utf-8")).count("old") >= 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_what_is_vendored_is_what_its_note_says() -> None:
    note = (VENDORED / "README.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `([^`]+)` \| `([0-9a-f]{64})` \|", note, flags=re.MULTILINE))
    there = {path.name for path in VENDORED.iterdir()} - {"README.md"}
    assert set(told) == there
    for name, digest in told.items():
        assert hashlib.sha256((VENDORED / name).read_bytes()).hexdigest() == digest
    assert b"</script" not in (VENDORED / "uPlot.iife.min.js").read_bytes().lower()


@pytest.mark.parametrize("odd", [None, "x", {}, [1], 10**30, True])
@pytest.mark.parametrize("place", ["arms", "group_size", "pass_rates", "by_group_size"])
def test_a_damaged_result_beside_is_refused_or_shown_and_never_raises(
    place: str, odd: object, tmp_path: Path
) -> None:
    sound = json.loads((ROOT / "empirical/results/cpu-campaign/probe.json").read_text("utf-8"))
    path = tmp_path / "probe.json"
    section_of(document_of(sound, path))
    with contextlib.suppress(InputError):
        section_of(document_of(sound | {place: odd}, path))
    with pytest.raises(InputError, match=r"probe\.json: is not as verigap probe printed it"):
        section_of(document_of(sound | {"arms": 3}, path))
