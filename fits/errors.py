"""The one exception `fits` raises for input it cannot use."""

from __future__ import annotations


class InputError(ValueError):
    """A file, a table or an argument is unusable; the message names it, with the row or column."""
