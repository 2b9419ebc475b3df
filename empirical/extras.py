"""Whether an extra's packages are there, asked before anything that needs them is imported."""

from __future__ import annotations

from importlib.util import find_spec

from empirical.errors import StudyError

__all__ = ["TRAIN", "require"]

TRAIN = ("torch", "transformers", "trl", "datasets", "accelerate")


def require(*modules: str, extra: str | None = "train") -> None:
    """Raise StudyError naming the modules that are absent and how to get them.

    extra: the extra that brings them; None: each is a package of its own name.
    """
    absent = [name for name in modules if find_spec(name) is None]
    if absent:
        how = (
            f"pip install {' '.join(absent)}"
            if extra is None
            else f"install the '{extra}' extra (from a checkout: pip install -e '.[{extra}]')"
        )
        raise StudyError(f"this needs {', '.join(absent)}, absent here: {how}")
