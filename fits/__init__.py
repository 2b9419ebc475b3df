"""Scaling laws of the accuracy gap against compute, fitted to logged runs, with honest uncertainty."""

from __future__ import annotations

from fits.errors import InputError

__all__ = ["InputError"]
