"""An HTML report: one self-contained file (figures inline as SVG), no script, no network.

The builders that decide what to say live with the commands; this module only lays it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fits.drawing import Drawing, svg_of
from fits.files import write_text

__all__ = ["Picture", "Report", "Section", "Table", "picture", "write_report"]


@dataclass(frozen=True)
class Table:
    """Cells as they are to be read; columns named in `text_columns` are set flush left."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: frozenset[str] = frozenset()
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure as inline SVG, with the caption that says how to read it."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it, in the order of the fields.

    terms: what is explained or answered, by name. commands: lines to type that give the same.
    """

    heading: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    terms: Mapping[str, str] = field(default_factory=dict[str, str])
    figures: tuple[Picture, ...] = ()
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """A title, the answer in a sentence or two, the sections, and where every number came from."""

    title: str
    lead: str
    sections: tuple[Section, ...]
    provenance: Mapping[str, str] = field(default_factory=dict[str, str])


def picture(drawing: Drawing, caption: str) -> Picture:
    """The figure inline: the same bytes for the same figure, its ids apart from those of other captions."""
    return Picture(svg=svg_of(drawing, salt=caption), caption=caption)


def write_report(report: Report, path: Path) -> None:
    """Write `report` to `path` as one HTML file, atomically."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("verigap.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("report.html.j2").render(report=report)
    write_text(path, text + "\n")
