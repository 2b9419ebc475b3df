"""The suite on several cores."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("part", range(8))
def test_one_worker_has_all_of_a_file(
    part: int, tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> None:
    """Or else what a file makes once is made by every worker."""
    own = tmp_path_factory.getbasetemp()
    of_all = (own if worker_id == "master" else own.parent) / "file"
    of_all.mkdir(exist_ok=True)
    (of_all / worker_id).write_text(str(part), encoding="utf-8")
    assert [one.name for one in of_all.iterdir()] == [worker_id]
