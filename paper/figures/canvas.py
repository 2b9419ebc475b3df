"""A canvas as wide as one column of the manuscript; `fits.drawing.blank` is as wide as two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLUMN", "column"]

COLUMN: Final = 3.4  # inches


def column(height: float) -> Figure:
    """An empty figure. height: inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(COLUMN, height), layout="constrained")
