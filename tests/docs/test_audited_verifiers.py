"""The page of audited verifiers is of the data that it names; two of its rows are made anew, all by its command."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.benchmarks.audits import COMMAND, audited, rewrite, row
from tests.builders import ROOT
from tests.shared_data import shared_data

PAGE = (ROOT / "docs/how-to/audited-verifiers.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("ending", ["A: n", "#### n"])
def test_the_page_says_what_an_audit_of_its_data_finds(ending: str, tmp_path: Path) -> None:
    path = shared_data("gsm8k/example_model_solutions.jsonl")
    assert hashlib.sha256(path.read_bytes()).hexdigest() in PAGE
    assert COMMAND in PAGE
    rewritten = ending != "A: n"
    source = rewrite(path, tmp_path) if rewritten else path
    assert row("strict", ending, audited(source, "strict", rewritten=rewritten)) in PAGE
