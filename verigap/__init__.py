"""The command line and the report: assembles `theory`, `fits` and `empirical`."""

from __future__ import annotations

__all__ = ["__version__"]
__version__ = "0.1.0"
