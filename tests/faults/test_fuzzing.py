"""What the fuzzing harms is sound, and a few harmed files of each kind; `make faults PART=fuzz` reads 100,000 each."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.fuzzing import EACH, FILE, READERS, files_of, problem, reader


@pytest.mark.parametrize("name", READERS)
def test_what_is_harmed_is_read_when_sound_and_a_little_harm_is_read_or_refused(
    name: str, tmp_path: Path
) -> None:
    for file, raw in reader(name).sound:
        assert problem(name, file, raw, tmp_path) == (False, None), file
    drawn = random.Random(name).randbytes(EACH * FILE)
    met = [problem(name, file, raw, tmp_path) for file, raw in files_of(name, drawn)]
    assert {wrong for _, wrong in met} == {None}
    assert any(refused for refused, _ in met)
