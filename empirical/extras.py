"""Whether the train extra is there, asked before anything that needs it is imported."""

from __future__ import annotations

from importlib.util import find_spec

from empirical.errors import StudyError

__all__ = ["TRAIN", "require"]

TRAIN = ("torch", "transformers", "trl", "datasets", "accelerate")


def require(*modules: str, extra: str = "train") -> None:
    """Raise StudyError naming the modules that are absent and the extra that brings them."""
    absent = [name for name in modules if find_spec(name) is None]
    if absent:
        raise StudyError(
            f"this needs {', '.join(absent)}, absent here: install the {extra!r} extra"
            f" (from a checkout: pip install -e '.[{extra}]')"
        )
