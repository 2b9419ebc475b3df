"""What a report holds: sections of sentences, tables, figures and commands, before anyone lays them out.

`verigap.pages.contents` decides what to say; `verigap.pages.layout` writes a report as a page, Markdown or PDF.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fits.answers import Answer
from fits.drawing import Drawing, svg_of

__all__ = [
    "Chart",
    "Explored",
    "Fold",
    "Line",
    "Panel",
    "Picture",
    "Quantity",
    "Report",
    "Section",
    "Span",
    "Table",
    "picture",
]

Values = tuple[float | None, ...]


@dataclass(frozen=True)
class Span:
    """An estimate with its interval as a cell that is also drawn; hollow: it speaks of the largest budget only.

    kind: "closes", "persists" or "undetermined", a verdict's look, or "".
    """

    text: str
    value: float | None
    ci: tuple[float, float] | None = None
    kind: str = ""
    hollow: bool = False


@dataclass(frozen=True)
class Table:
    """Cells as they are to be read; columns named in `text_columns` are set flush left.

    scales: (low, high) of the columns whose spans are drawn. levels: where their lines stand, beside 0.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str | Span, ...], ...]
    text_columns: frozenset[str] = frozenset()
    note: str = ""
    caption: str = ""
    scales: Mapping[str, tuple[float, float]] = field(
        default_factory=dict[str, tuple[float, float]]
    )
    level: float | None = None


@dataclass(frozen=True)
class Picture:
    """A figure as inline SVG, with the caption that says how to read it."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Line:
    """One curve: values along the panel's x, None where there is none; low, high: its band, () where it has none.

    colour: "#rrggbb", or "ink" for the page's own. dash: lengths drawn and left out, () for a whole line.
    dots: points alone, no line between them.
    """

    name: str
    y: Values
    low: Values = ()
    high: Values = ()
    colour: str = "ink"
    dash: tuple[float, ...] = ()
    dots: bool = False


@dataclass(frozen=True)
class Quantity:
    """What is along y, and its lines. level: a dashed line, where there is one, beside that at 0 if `zero`.

    reach: what of y is seen at first, all of it where None.
    """

    name: str
    lines: tuple[Line, ...]
    level: float | None = None
    zero: bool = False
    reach: tuple[float, float] | None = None


@dataclass(frozen=True)
class Panel:
    """What one choice of the reader shows: x, ascending, and the quantities against it."""

    name: str
    x: tuple[float, ...]
    quantities: tuple[Quantity, ...]


@dataclass(frozen=True)
class Chart:
    """An interactive figure, and the pictures that stand for it in print and without scripts.

    chooses: what the panels differ in, in words ("setting").
    """

    title: str
    caption: str
    x: str
    panels: tuple[Panel, ...]
    pictures: tuple[Picture, ...]
    chooses: str = ""


@dataclass(frozen=True)
class Fold:
    """What a reader opens: a line, and terms behind it."""

    summary: str
    terms: Mapping[str, str]


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it, in the order of the fields.

    terms: what is explained, by name. commands: lines to type, and what they give. seen: sentences about what only a
    page shows.
    """

    heading: str
    paragraphs: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    terms: Mapping[str, str] = field(default_factory=dict[str, str])
    figures: tuple[Picture, ...] = ()
    folded: tuple[Fold, ...] = ()
    commands: tuple[str, ...] = ()
    gives: str = "The same numbers:"
    seen: tuple[str, ...] = ()


@dataclass(frozen=True)
class Explored:
    """The tables of `empirical.explorer` as its script reads them; calibration: on what, in words."""

    calibration: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Report:
    """A title, a lead, the answers, the sections, and where every number came from; explorer: sliders, if asked for."""

    title: str
    lead: str
    answers: tuple[Answer, ...]
    sections: tuple[Section, ...]
    provenance: Mapping[str, str] = field(default_factory=dict[str, str])
    explorer: Explored | None = None


def picture(drawing: Drawing, caption: str) -> Picture:
    """The figure inline: the same bytes for the same figure, its ids apart from those of other captions."""
    return Picture(svg=svg_of(drawing, salt=caption), caption=caption)
