"""The committed table of mutations names lines that are there, and none that went unnoticed."""

from __future__ import annotations

import pytest

from tests.faults.theory_mutations import MUTATIONS, ROOT, TABLE, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.law)
def test_a_mutation_names_a_line_that_is_there(mutation: Mutation) -> None:
    source = (ROOT / "theory" / mutation.file).read_text(encoding="utf-8")
    assert mutation.old in source
    assert mutation.old != mutation.new


def test_the_table_holds_every_mutation_and_all_were_noticed() -> None:
    table = TABLE.read_text(encoding="utf-8")
    for mutation in MUTATIONS:
        assert f"| {mutation.law} |" in table
    assert f"{len(MUTATIONS)} of {len(MUTATIONS)} noticed." in table
