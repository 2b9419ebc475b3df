"""Results as the plain data that JSON holds, and their text."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any, Final

__all__ = ["counted", "json_text", "plain", "visible"]

# What a terminal obeys, what turns the direction of a line, and halves of characters.
_UNSEEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def counted(count: int, thing: str) -> str:
    """A number of things in words: "1 run", "2 runs"."""
    return f"{count} {thing}" + "s" * (count != 1)


def plain(value: Any) -> Any:
    """`value` as JSON holds it: dataclasses as objects, arrays as lists, non-finite numbers as null.

    A field whose metadata say `plain: False` (data behind a figure) is left out.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: plain(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if f.metadata.get("plain", True)
        }
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    listed = getattr(value, "tolist", None)  # NumPy arrays and scalars
    return value if listed is None else plain(listed())


def visible(text: str) -> str:
    """`text` with control characters as escapes, so that a name from a file commands no terminal."""
    return _UNSEEN.sub(lambda found: ascii(found.group())[1:-1], text)


def json_text(document: Any) -> str:
    """`document` as every command prints it."""
    return json.dumps(plain(document), indent=2, allow_nan=False) + "\n"
