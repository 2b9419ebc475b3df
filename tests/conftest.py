"""What several packages' tests share."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from empirical import cluster
from tests.builders import independent, logged_campaign


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where pytest-xdist spreads tests, a file stays together for its fixtures, and all that use Ray for its one.

    Not by `--dist loadgroup`: under pytest 9.2, xdist 3.8 overlooks its groups and spreads a file's tests.
    """
    from xdist.scheduler import LoadFileScheduling

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            text = (config.rootpath / file).read_text(encoding="utf-8")
            return "ray" if "ray_of_two" in text else file

    return Together(config, log)


@pytest.fixture(scope="session")
def ray_of_two() -> Iterator[None]:
    """Ray with two workers on this machine, started once for all tests that need it."""
    if find_spec("ray") is None:
        pytest.skip("needs the cluster extra")
    with cluster.connected("local", workers=2):
        yield


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four arms of twelve seeds whose flips are what the table says."""
    runs = [
        independent(arm, seed, fpr, fnr, estimator=estimator)
        for seed in range(12)
        for arm, fpr, fnr, estimator in (
            ("clean", 0.0, 0.0, "grpo"),
            ("fpr0.4", 0.4, 0.0, "grpo"),
            ("both0.2", 0.2, 0.2, "dr_grpo"),
            ("inverted", 0.7, 0.5, "grpo"),
        )
    ]
    return logged_campaign(tmp_path_factory.mktemp("honest") / "results", runs)
