"""The one mistake class of the Python face and of the command line."""

from __future__ import annotations

__all__ = ["UserError"]


class UserError(ValueError):
    """A mistake of the user's, in the sentence that the command line prints."""
