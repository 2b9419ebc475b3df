"""The base of every figure: told apart in grey, drawn the same twice, at home in any text."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fits import InputError
from fits.drawing import (
    VERDICTS,
    Drawing,
    blank,
    count_along,
    in_style,
    panels,
    save,
    set_title,
    shades,
    strokes,
    svg_of,
    write_figure,
)


def grey(colour: object) -> float:
    """Relative luminance, Rec. 709."""
    from matplotlib.colors import to_rgb

    rgb = np.array(to_rgb(colour))  # pyright: ignore[reportArgumentType]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def drawn() -> Drawing:
    @in_style
    def draw() -> Drawing:
        figure, axes = panels(2.0, [1.0, 1.0])
        for axis in axes.flat:
            axis.plot([0, 1], [0, 1])
            set_title(axis, "$x_{")
        return Drawing(figure, pd.DataFrame({"x": [0, 1]}))

    return draw()


def test_nothing_is_told_apart_by_hue_alone() -> None:
    lines = strokes(f"arm {i}" for i in range(20))
    assert len({(stroke.colour, str(stroke.dash)) for stroke in lines.values()}) == 20
    assert all(one.dash != other.dash for one, other in pairwise(lines.values()))
    assert len({look.marker for look in VERDICTS.values()}) == len(VERDICTS)
    levels = sorted(grey(look.colour) for look in VERDICTS.values())
    assert min(np.diff(levels)) > 0.05
    ordered = [grey(colour) for colour in shades(range(6)).values()]
    assert min(np.diff(ordered)) > 0.02


def test_clean_is_black_and_only_there_if_named() -> None:
    assert list(strokes(["a", "clean"])) == ["a", "clean"]
    assert strokes(["a", "clean"])["clean"].dash == "-"
    assert strokes(["a", "clean"])["a"] == strokes(["a"])["a"]


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
def test_one_figure_is_one_file_whatever_its_name(tmp_path: Path, suffix: str) -> None:
    first, second = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    save(drawn(), first)
    save(drawn(), second)
    assert first.read_bytes() == second.read_bytes()
    assert first.with_suffix(".csv").read_text() == "x\n0\n1\n"


def test_a_picture_is_what_savefig_writes_and_leaves_the_figure_as_it_was() -> None:
    import matplotlib as mpl

    drawing, text = drawn(), io.StringIO()
    canvas, dpi = drawing.figure.canvas, drawing.figure.dpi
    ours = svg_of(drawing, salt="a")
    assert (drawing.figure.canvas, drawing.figure.dpi) == (canvas, dpi)
    with mpl.rc_context({"svg.hashsalt": "a", "svg.fonttype": "path"}):
        drawn().figure.savefig(text, format="svg", metadata={"Date": None})
    assert text.getvalue().endswith(ours)


def test_a_drawing_knows_all_of_its_axes() -> None:
    assert len(drawn().axes) == 2
    figure = blank(2.0)
    left, right = figure.subfigures(1, 2)  # pyright: ignore[reportGeneralTypeIssues]
    made = [left.subplots(), *right.subplots(2, 1)]
    assert list(Drawing(figure, pd.DataFrame()).axes) == made


def test_no_style_is_left_behind() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    drawn()
    assert dict(mpl.rcParams) == before


def test_a_figure_alone_leaves_the_table_beside_it(tmp_path: Path) -> None:
    (tmp_path / "phase.csv").write_text("mine")
    write_figure(drawn(), tmp_path / "phase.png")
    assert (tmp_path / "phase.csv").read_text() == "mine"
    with pytest.raises(InputError, match=r"\.pdf, \.svg, \.png"):
        write_figure(drawn(), tmp_path / "phase.gif")


@pytest.mark.parametrize(
    ("most", "spoken"),
    [(2.0, "0.5"), (800.0, "200"), (40_000.0, "10k"), (4e6, "1M"), (2e9, "500M")],
)
def test_compute_is_numbered_in_one_style(most: float, spoken: str) -> None:
    figure = blank(2.0)
    axis = figure.subplots()
    axis.plot([0.0, most], [0.0, 1.0])
    count_along(axis)
    figure.draw_without_rendering()
    labels = [label.get_text() for label in axis.get_xticklabels()]
    assert spoken in labels
    # Neither an exponent set apart nor thousandths of an hour.
    assert axis.xaxis.get_offset_text().get_text() == ""
    assert not any(label.endswith(("m", "µ")) for label in labels)
