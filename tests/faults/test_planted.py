"""Every planted fault still takes away a line that is there, once."""

from __future__ import annotations

import pytest

from tests.builders import ROOT
from tests.faults.planted import PLANTED, Planted


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.safeguard)
def test_the_safeguard_is_there(planted: Planted) -> None:
    text = (ROOT / planted.file).read_text(encoding="utf-8")
    assert text.count(planted.old) == 1
    assert (ROOT / planted.tests.split("::")[0].split(" ")[0]).is_file()
