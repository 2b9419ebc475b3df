"""What several packages' tests share."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from empirical import cluster


@pytest.fixture(scope="session")
def ray_of_two() -> Iterator[None]:
    """Ray with two workers on this machine, started once for all tests that need it."""
    if find_spec("ray") is None:
        pytest.skip("needs the cluster extra")
    with cluster.connected("local", workers=2):
        yield
