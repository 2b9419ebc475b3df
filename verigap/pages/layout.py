"""A report written down: one HTML file that loads nothing, Markdown, or a PDF that a browser prints.

Law. The page holds its style, its script, the chart library and every number; text is escaped wherever it came from,
and data for the script is JSON in which no `<` is left. What is drawn by script is there as SVG too, for print and for
readers without scripts. Every file appears whole or not at all.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from fits.files import replacing, write_text
from fits.plain import plain
from verigap.errors import UserError
from verigap.pages.model import Report, Section, Span, Table

if TYPE_CHECKING:
    import jinja2

__all__ = [
    "FORMATS",
    "SUFFIXES",
    "Format",
    "browser",
    "html_of",
    "markdown_of",
    "refuse_unless_able",
    "write_report",
]

Format = Literal["html", "md", "pdf"]
FORMATS: Final[tuple[str, ...]] = get_args(Format)
SUFFIXES: Final[Mapping[str, Format]] = {
    ".html": "html",
    ".htm": "html",
    ".md": "md",
    ".markdown": "md",
    ".pdf": "pdf",
}
# What a headless Chromium is called.
_BROWSERS: Final = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
)
QUIET: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SECONDS: Final = 120


def write_report(report: Report, path: Path, format: Format = "html") -> None:
    """Write `report` to `path`, atomically. Raises UserError for a PDF where there is no Chromium to print it."""
    if format == "md":
        write_text(path, markdown_of(report))
    elif format == "html":
        write_text(path, html_of(report))
    else:
        _print(html_of(report), path)


def browser() -> str | None:
    """A Chromium on this machine, or None."""
    return next((found for name in _BROWSERS if (found := shutil.which(name))), None)


def refuse_unless_able(format: str) -> None:
    """Refuse a PDF, before the work, where there is no Chromium to print it. Raises UserError."""
    if format == "pdf" and browser() is None:
        raise UserError(
            "--format pdf needs Chromium to print the page, and there is none on the PATH; the HTML page prints from"
            " any browser"
        )


def _print(page: str, path: Path) -> None:
    refuse_unless_able("pdf")
    program = str(browser())
    with tempfile.TemporaryDirectory() as folder, replacing(path) as part:
        source = Path(folder) / "report.html"
        source.write_text(page, encoding="utf-8")
        try:
            done = subprocess.run(
                [
                    program,
                    *QUIET,
                    f"--user-data-dir={folder}/profile",
                    "--no-pdf-header-footer",
                    f"--print-to-pdf={part.absolute()}",
                    source.as_uri(),
                ],
                capture_output=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise UserError(f"{path}: {program} did not print it in {SECONDS} s") from None
        if not part.is_file():
            raise UserError(f"{path}: {program} printed nothing (exit code {done.returncode})")


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("verigap.pages", "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def asset(name: str) -> str:
    """A file of the page, as text."""
    return (resources.files("verigap.pages") / "page" / name).read_text(encoding="utf-8")


def html_of(report: Report) -> str:
    """The page."""
    template = _environment().get_template("report.html.j2")
    text = template.render(
        report=report,
        charts=[plain(chart.panels) for section in report.sections for chart in section.charts],
        style=asset("report.css"),
        script=asset("report.js"),
        explorer_script=asset("explorer.js"),
        chart_style=asset("vendored/uPlot.min.css"),
        chart_library=asset("vendored/uPlot.iife.min.js"),
        licence=asset("vendored/uPlot.LICENSE").strip(),
        is_span=lambda cell: isinstance(cell, Span),
        place=_place,
        widths=_widths,
    )
    return text + "\n"


def _widths(table: Table, section: Section) -> list[float]:
    """The share of the width of each column, in per cent: alike for all tables of a section with these columns."""
    alike = [one for one in section.tables if one.columns == table.columns]
    wanted: list[float] = []
    for at, name in enumerate(table.columns):
        texts = [_text(row[at]) for one in alike for row in one.rows]
        # Words may wrap, a number and its interval should not, nor a word of the heading.
        most = min(max(map(len, texts), default=0), 18 if name in table.text_columns else 26)
        wanted.append(max(most, 1.3 * max(map(len, name.split())), 4.0) + 2.0)
    return [round(100.0 * one / sum(wanted), 2) for one in wanted]


def _text(cell: str | Span) -> str:
    return cell.text if isinstance(cell, Span) else cell


def _place(span: Span, scale: tuple[float, float], level: float | None) -> dict[str, Any]:
    """Where a span is drawn along its cell, in per cent of the scale; beyond: it lies off the end."""
    low, high = scale

    def at(value: float) -> float:
        return round(100.0 * (min(max(value, low), high) - low) / (high - low), 2)

    value = span.value
    placed: dict[str, Any] = {"zero": at(0.0) if low <= 0.0 <= high else None}
    placed["level"] = None if level is None or not low <= level <= high else at(level)
    placed["value"] = None if value is None or not low <= value <= high else at(value)
    placed["beyond"] = (
        None if value is None else "right" if value > high else "left" if value < low else None
    )
    placed["ends"] = None if span.ci is None else (at(span.ci[0]), at(span.ci[1]))
    return placed


def markdown_of(report: Report) -> str:
    """The report in Markdown: sentences and tables; figures are the page's."""
    parts = [f"# {_md(report.title)}", _md(report.lead)]
    for one in report.answers:
        parts += [f"## {_md(one.question)}", f"**{_md(one.answer)}**"]
        parts += [_md(line) for line in one.because]
        if one.assumes:
            parts.append(f"*Assumed: {_md('; '.join(one.assumes))}.*")
    for section in report.sections:
        parts += _md_section(section)
    parts.append("## How this was made")
    parts.append(_md_terms({k: v for k, v in report.provenance.items() if k != "figures"}))
    return "\n\n".join(part for part in parts if part) + "\n"


def _md_section(section: Section) -> list[str]:
    parts = [f"## {_md(section.heading)}", *(_md(line) for line in section.paragraphs)]
    for table in section.tables:
        parts += [f"**{_md(table.caption)}**"] if table.caption else []
        parts += [_md_table(table), f"*{_md(table.note)}*" if table.note else ""]
    parts.append(_md_terms(section.terms))
    for fold in section.folded:
        parts += [f"**{_md(fold.summary)}**", _md_terms(fold.terms)]
    if section.commands:
        parts.append("\n".join(f"    {line}" for line in section.commands))
    return parts


def _md_terms(terms: Any) -> str:
    return "\n".join(f"- **{_md(name)}**: {_md(value)}" for name, value in terms.items())


def _md_table(table: Table) -> str:
    flush = [":--" if name in table.text_columns else "--:" for name in table.columns]
    lines = [[_md(name) for name in table.columns], flush]
    lines += [[_md(_text(cell)) for cell in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _md(text: str) -> str:
    """Text that Markdown leaves as it is: on one line, nothing in it markup."""
    for mark in "\\`*_[]<>|#":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
