"""What figures of the manuscript share: a canvas one column wide (`fits.drawing.blank` is two), the arms shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ARMS", "COLUMN", "MARKS", "column"]

COLUMN: Final = 3.4  # inches
# Arms whose curves are drawn, and the marker of each.
ARMS: Final = ("fpr0.4", "fnr0.4", "both0.2", "both0.4")
MARKS: Final = "os^D"


def column(height: float) -> Figure:
    """An empty figure. height: inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(COLUMN, height), layout="constrained")
