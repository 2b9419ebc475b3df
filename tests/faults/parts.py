"""What the long checks of faults have found so far: one JSON file a part, so that each goes on where it was."""

from __future__ import annotations

import json
from typing import Any, Final

from fits.files import write_text
from tests.builders import ROOT

PARTS: Final = ROOT / "build" / "faults"
Part = dict[str, Any]


def kept(name: str) -> Part:
    """What a part has found; empty where it has not begun."""
    path = PARTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def keep(name: str, part: Part) -> None:
    """Put down what a part has found."""
    write_text(PARTS / f"{name}.json", json.dumps(part, indent=1, sort_keys=True) + "\n")
