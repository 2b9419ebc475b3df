"""What every figure is drawn with: style, canvas, strokes, the looks of verdicts and intervals, and saving.

A figure is a function of a result and returns a `Drawing`: the figure, its axes, the data it shows. Nothing here
touches pyplot: no window opens and no global style changes. Nothing is told apart by hue alone, so that a figure can be
read in grey and by the colour-blind: curves have a dash of their own beside the colour, verdicts a marker, and what is
ordered (group sizes) grows lighter.
"""

from __future__ import annotations

import functools
import io
import textwrap
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, ParamSpec, TypeVar, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fits.errors import InputError
from fits.files import check_target, replacing, write_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

__all__ = [
    "BLACK",
    "DASHED",
    "VERDICTS",
    "WIDTH",
    "Colour",
    "Drawing",
    "Look",
    "Row",
    "Stroke",
    "blank",
    "check_figure",
    "count_along",
    "draw_band",
    "draw_interval",
    "in_place_of",
    "in_style",
    "key_above",
    "key_beside",
    "literal",
    "mark_gap",
    "mark_level",
    "panels",
    "sample",
    "save",
    "say",
    "set_title",
    "shades",
    "strokes",
    "svg_of",
    "write_figure",
]

Given = ParamSpec("Given")
Drawn = TypeVar("Drawn")
Row = dict[str, Any]
Colour = Any  # whatever matplotlib takes for one

SUFFIXES: Final = (".pdf", ".svg", ".png")
WIDTH: Final = 7.0  # inches: two columns of a paper
BLACK: Final = (0.1, 0.1, 0.1)
DASHED: Final = (0, (4, 3))
DASHES: Final = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))
# Seaborn's "colorblind", and below its "ticks" for "paper": it takes longer to import than most figures to draw.
COLOURS: Final = (
    "#0173b2",
    "#de8f05",
    "#029e73",
    "#d55e00",
    "#cc78bc",
    "#ca9161",
    "#fbafe4",
    "#949494",
    "#ece133",
    "#56b4e9",
)
SANS: Final = ("Arial", "DejaVu Sans", "Liberation Sans", "Bitstream Vera Sans", "sans-serif")
STYLE: Final[dict[Any, Any]] = {
    "font.family": "sans-serif",
    "font.sans-serif": SANS,
    "font.size": 0.8 * 12,
    "text.color": ".15",
    "axes.axisbelow": True,
    "axes.edgecolor": ".15",
    "axes.labelcolor": ".15",
    "axes.labelsize": 0.8 * 12,
    "axes.linewidth": 1.0,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 0.8 * 12,
    "grid.color": ".8",
    "legend.fontsize": 0.8 * 11,
    "legend.title_fontsize": 0.8 * 12,
    "lines.linewidth": 0.8 * 1.5,
    "lines.markersize": 0.8 * 6,
    "lines.solid_capstyle": "round",
    "patch.edgecolor": "w",
    "patch.force_edgecolor": True,
    "patch.linewidth": 0.8,
    **{
        f"{axis}tick.{what}": value
        for axis in "xy"
        for what, value in {
            "color": ".15",
            "labelsize": 0.8 * 11,
            "major.size": 0.8 * 6,
            "major.width": 1.0,
            "minor.size": 3.2,
            "minor.width": 0.8,
        }.items()
    },
}


class Stroke(NamedTuple):
    """How a curve is drawn."""

    colour: Colour
    dash: Any


class Look(NamedTuple):
    """How an estimate is drawn."""

    colour: Colour
    marker: str


# Dark, middle and light, so that they differ in grey.
VERDICTS: Final[Mapping[str, Look]] = {
    "closes": Look("#0173b2", "o"),
    "persists": Look("#8c2d04", "s"),
    "undetermined": Look("#a0a0a0", "D"),
}


@dataclass(frozen=True)
class Drawing:
    """A matplotlib figure and the data it shows, one row per point, line vertex or interval."""

    figure: Figure
    data: pd.DataFrame

    @property
    def axes(self) -> tuple[Axes, ...]:
        """All axes, those of subfigures too, in the order in which they were made."""
        return _axes(self.figure)

    def _repr_svg_(self) -> str:
        """What a notebook shows."""
        return svg_of(self, salt=self.data.to_csv(index=False))


def _axes(part: Figure | SubFigure) -> tuple[Axes, ...]:
    own = part.axes if not part.subfigs else ()
    return (*own, *(axis for below in part.subfigs for axis in _axes(below)))


def in_style(draw: Callable[Given, Drawn]) -> Callable[Given, Drawn]:
    """`draw`, in the style of the library while it runs."""

    @functools.wraps(draw)
    def styled(*given: Given.args, **named: Given.kwargs) -> Drawn:
        import matplotlib as mpl

        with mpl.rc_context(STYLE):
            return draw(*given, **named)

    return styled


_PLACE: ContextVar[SubFigure | None] = ContextVar("_PLACE", default=None)


@contextmanager
def in_place_of(axis: Axes | None) -> Generator[None]:
    """What is drawn in the block takes the place of `axis` in its figure; None: a figure of its own.

    Raises InputError where `axis` is not one of a grid (`plt.subplots`), so that its place is not known.
    """
    if axis is None:
        yield
        return
    place = axis.get_subplotspec()
    if place is None:
        raise InputError("ax must be an axes of a grid, as plt.subplots makes them")
    axis.set_axis_off()
    token = _PLACE.set(axis.figure.add_subfigure(place))
    try:
        yield
    finally:
        _PLACE.reset(token)


def blank(height: float) -> Figure:
    """An empty figure as wide as two columns of a paper, or the place that `in_place_of` gives. height: inches."""
    from matplotlib.figure import Figure

    # A part of a figure is drawn on as a whole one is; only saving is the owner's.
    return cast("Figure", _PLACE.get()) or Figure(figsize=(WIDTH, height), layout="constrained")


def panels(
    height: float,
    widths: Sequence[float] = (1.0,),
    heights: Sequence[float] = (1.0,),
    *,
    share_x: bool = False,
    share_y: bool | Literal["row"] = False,
) -> tuple[Figure, NDArray[Any]]:
    """A figure and its axes, (len(heights), len(widths)), in those proportions; see `blank`."""
    figure = blank(height)
    axes: NDArray[Any] = figure.subplots(
        len(heights),
        len(widths),
        width_ratios=list(widths),
        height_ratios=list(heights),
        sharex=share_x,
        sharey=share_y,
        squeeze=False,
    )
    return figure, axes


def strokes(names: Iterable[str]) -> dict[str, Stroke]:
    """A colour and a dash per curve; black and whole for one called clean."""
    drawn: dict[str, Stroke] = {}
    turn = 0
    for name in names:
        if name == "clean":
            drawn[name] = Stroke(BLACK, "-")
            continue
        drawn[name] = Stroke(COLOURS[turn % len(COLOURS)], DASHES[turn % len(DASHES)])
        turn += 1
    return drawn


def shades(values: Sequence[Any]) -> dict[Any, Colour]:
    """A colour per value, lighter from the first to the last: for what is ordered."""
    import matplotlib as mpl

    # The lightest yellow would be lost on paper.
    steps = np.linspace(0.0, 1.0, len(values) + 3)[1:-2]
    return {
        value: tuple(colour[:3])
        for value, colour in zip(values, mpl.colormaps["viridis"](steps), strict=True)
    }


def literal(text: str) -> str:
    """`text` for matplotlib to draw as it stands: a `$` in a name must not start mathematics."""
    return text.replace("$", r"\$")


def set_title(axis: Axes, text: str, *, width: int = 80) -> None:
    """`text` as it stands over the left edge of the axes, shortened to `width` characters."""
    axis.set_title(literal(textwrap.shorten(text, width)), fontsize="small", loc="left", pad=3)


def count_along(axis: Axes) -> None:
    """Numbers of an x axis of compute in the one style that all figures share: 500, 10k, 2.5M."""
    from matplotlib.ticker import EngFormatter, FuncFormatter

    engineering = EngFormatter(sep="")
    # Below a thousand as they are: half an accelerator hour is 0.5, not 500m.
    axis.xaxis.set_major_formatter(
        FuncFormatter(lambda x, _: engineering(x) if abs(x) >= 1000.0 else f"{x:g}")
    )


def say(axis: Axes, place: float, text: str, *, right: bool | None = None) -> None:
    """Words in a row of intervals where there is none: in the middle, or at the right or left edge."""
    x, side = {None: (0.5, "center"), True: (0.97, "right"), False: (0.03, "left")}[right]
    axis.text(
        x,
        place,
        text,
        ha=side,
        va="center",
        fontsize="small",
        style="italic",
        color="0.35",
        transform=axis.get_yaxis_transform(),
    )


def draw_interval(
    axis: Axes,
    place: float,
    value: float,
    ci: tuple[float, float] | None,
    look: Look,
    *,
    hollow: bool = False,
) -> None:
    """An estimate in row `place`, with its interval where it has one."""
    if ci is not None:
        axis.plot(ci, [place, place], color=look.colour, linewidth=1.6, solid_capstyle="butt")
    face = "white" if hollow else look.colour
    axis.plot(
        [value], [place], look.marker, color=look.colour, markersize=4.5, markerfacecolor=face
    )


def draw_band(axis: Axes, x: Any, low: Any, high: Any, colour: Colour) -> None:
    """The region between two curves; nothing where a limit is missing everywhere."""
    if np.isfinite(np.asarray(low, dtype=np.float64)).any():
        axis.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)


def mark_gap(axis: Axes, delta: float, *, upright: bool = False) -> None:
    """Lines at a gap of 0 and, dashed, at the smallest gap of interest; upright: gaps run along x."""
    line = axis.axvline if upright else axis.axhline
    line(0.0, color="0.2", linewidth=0.7, zorder=0)
    line(delta, color="0.4", linewidth=0.8, linestyle=DASHED, zorder=0)


def mark_level(axis: Axes, x: float, name: str) -> None:
    """A dashed vertical line at x, its name above the axes."""
    axis.axvline(x, color="0.4", linewidth=0.8, linestyle=DASHED)
    axis.annotate(
        name,
        (x, 1.0),
        xycoords=axis.get_xaxis_transform(),
        ha="center",
        va="bottom",
        fontsize="small",
        color="0.3",
        annotation_clip=False,
    )


def sample(
    label: str, colour: Colour, *, dash: Any = "-", marker: str = "", hollow: bool = False
) -> Line2D:
    """An entry of a key. dash: "" for a marker alone."""
    from matplotlib.lines import Line2D

    return Line2D(
        [],
        [],
        label=literal(label),
        color=colour,
        linestyle=dash,
        linewidth=1.3,
        marker=marker,
        markersize=4,
        markerfacecolor="none" if hollow else colour,
    )


def key_above(part: Figure | SubFigure, entries: Sequence[Any], *, across: int = 0) -> None:
    """The key of a whole figure, above it. across: entries side by side, all of them where 0."""
    part.legend(
        handles=list(entries),
        loc="outside upper center",
        ncols=across or len(entries),
        frameon=False,
        fontsize="small",
        columnspacing=1.2,
    )


def key_beside(part: Figure | SubFigure, axis: Axes, title: str = "") -> None:
    """The key of a whole figure, to its right: what the curves of one axes are called."""
    handles, labels = axis.get_legend_handles_labels()
    part.legend(
        handles,
        labels,
        title=title or None,
        fontsize="small",
        title_fontsize="small",
        handlelength=3.0,
        frameon=False,
        loc="outside right center",
    )


def check_figure(path: Path) -> None:
    """Raise InputError where no figure could be written to `path`: by its suffix, or by its folder."""
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: draw to a file ending in {', '.join(SUFFIXES)}")
    check_target(path)
    check_target(path.with_suffix(".csv"))


def save(drawing: Drawing, path: Path) -> Path:
    """Write the figure to `path` and its data to the same name with .csv; returns the latter.

    Raises InputError for a suffix that is no figure's, and where the file system refuses.
    """
    check_figure(path)
    beside = path.with_suffix(".csv")
    with replacing(path) as part, replacing(beside) as data:
        _write(drawing.figure, part, path.suffix, salt="verigap")
        write_csv(drawing.data, data)
    return beside


def write_figure(drawing: Drawing, path: Path) -> None:
    """Write the figure alone, for where its data stand beside it already. Raises as `save` does."""
    check_figure(path)
    with replacing(path) as part:
        _write(drawing.figure, part, path.suffix, salt="verigap")


def svg_of(drawing: Drawing, *, salt: str) -> str:
    """The figure as an SVG element. salt: keeps its ids apart from those of others on the same page."""
    text = io.StringIO()
    _write(drawing.figure, text, ".svg", salt=salt)
    return text.getvalue()[text.getvalue().index("<svg") :]


def _write(figure: Figure, target: Path | io.StringIO, suffix: str, *, salt: str) -> None:
    """The same bytes for the same figure: ids that are not drawn by lot, no date, letters as outlines."""
    import matplotlib as mpl

    stamp = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(suffix)
    with mpl.rc_context({"svg.hashsalt": salt, "svg.fonttype": "path"}):
        if suffix == ".svg":
            _write_svg(figure, target, stamp)
        else:
            figure.savefig(target, format=suffix[1:], dpi=200, metadata=stamp)


def _write_svg(figure: Figure, target: Path | io.StringIO, stamp: dict[str, None] | None) -> None:
    """What `savefig` writes; that draws a figure with a layout twice, the first time only to lay it out."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    canvas, dpi = figure.canvas, figure.dpi
    try:
        FigureCanvasSVG(figure).print_svg(target, metadata=stamp)
    finally:
        figure.set_canvas(canvas)
        figure.dpi = dpi
