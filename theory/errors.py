"""The one exception `theory` raises for an argument it cannot use."""

from __future__ import annotations


class ArgumentError(ValueError):
    """An argument is out of its range; the message names the argument and the value."""
