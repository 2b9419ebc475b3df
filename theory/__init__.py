"""How false-positive and false-negative verifier noise biases group-relative policy gradients.

Exact at finite group size, fast on a CPU, and free of torch and pandas.
"""

from __future__ import annotations

from theory.channel import VerifierChannel
from theory.errors import ArgumentError

__all__ = ["ArgumentError", "VerifierChannel"]
