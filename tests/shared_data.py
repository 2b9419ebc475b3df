"""Where the field's data and the reported cases lie in our workplace: beside the checkout, never inside it."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared_data(name: str) -> Path:
    """The path of `name` below ../shared/data, or a visible skip where the folder is absent."""
    return _shared(f"data/{name}")


def shared_case(name: str) -> Path:
    """The path of `name` below ../shared/cases, or a visible skip where the folder is absent."""
    return _shared(f"cases/{name}")


def _shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs ../shared/{name}, which is not part of the project")
    return path
