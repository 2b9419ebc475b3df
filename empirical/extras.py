"""Whether the train extra is there, asked before anything that needs it is imported."""

from __future__ import annotations

from importlib.util import find_spec

from empirical.errors import StudyError

__all__ = ["TRAIN", "require"]

TRAIN = ("torch", "transformers", "trl", "datasets", "accelerate")


def require(*modules: str, extra: bool = True) -> None:
    """Raise StudyError naming the modules that are absent and how to get them.

    extra: whether the train extra brings them; else each is a package of its own name.
    """
    absent = [name for name in modules if find_spec(name) is None]
    if absent:
        how = (
            "install the 'train' extra (from a checkout: pip install -e '.[train]')"
            if extra
            else f"pip install {' '.join(absent)}"
        )
        raise StudyError(f"this needs {', '.join(absent)}, absent here: {how}")
