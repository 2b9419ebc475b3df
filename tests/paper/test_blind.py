"""Committed forecasts say what they rest on, and are whole."""

from __future__ import annotations

import hashlib
import json
from datetime import date

import pytest

from paper.blind import COMMAND, OUT, RESULTS, STUDIES
from tests.shared_data import shared_data

FILES = sorted(OUT.glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_committed_set_says_when_and_from_what_it_was_made(path) -> None:  # type: ignore[no-untyped-def]
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["command"] == COMMAND
    assert date.fromisoformat(document["made"]) >= date(2026, 11, 28)
    for name, digest in document["sources"].items():
        folder, file = name.split("/", 1)
        ours = STUDIES / file if folder == STUDIES.name else RESULTS / name
        source = ours if ours.is_file() else shared_data(name)
        assert hashlib.sha256(source.read_bytes()).hexdigest() == digest
    for row in document["forecasts"]:
        assert 0.0 <= row["low90"] <= row["accuracy"] <= row["high90"] <= 1.0
        assert -1.0 <= row["gap_low90"] <= row["gap"] <= row["gap_high90"] <= 1.0


def test_what_was_asked_for_is_there() -> None:
    rows = {path.stem: json.loads(path.read_text())["forecasts"] for path in FILES}
    flips = {row["fpr"] for row in rows["olmo_gsm8k"]}
    assert flips == {0.1, 0.3}
    assert {row["group_size"] for row in rows["seed_grid"]} == {4, 16, 32, 64}
    assert len({(row["fpr"], row["fnr"]) for row in rows["seed_grid"]}) == 36
    assert {row["arm"] for row in rows["qwen2.5-gsm8k-powered"]} >= {"clean", "coin", "both0.2"}
    assert max(row["step"] for row in rows["qwen2.5-gsm8k-powered"]) == 932
    assert len({row["arm"] for row in rows["qwen2.5-gsm8k-paper"]}) == 36
