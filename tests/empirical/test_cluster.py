"""Tasks on Ray: what comes back, what is made again, what is refused."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from empirical import cluster, extras
from empirical.cluster import completed, connected
from empirical.errors import StudyError


def square(number: int) -> int:
    return number * number


def of_process(number: int) -> tuple[int, str]:
    """The item, and the task that it came in."""
    import ray

    return number, ray.get_runtime_context().get_task_id()


def threads(_: int) -> list[str | None]:
    import numba

    assert numba.get_num_threads() == 1
    return [os.environ.get(name) for name in sorted(cluster.PINNED)]


def fails_once(marker: Path) -> str:
    """As a shared file system that was away for a moment."""
    if not marker.exists():
        marker.touch()
        raise OSError("stale file handle")
    return "done"


def dies_once(marker: Path) -> str:
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def is_wrong(_: int) -> None:
    raise StudyError("the item is wrong")


def until_told(folder: Path) -> str:
    """Ends on SIGINT, as a launched run does, and leaves by the front door."""
    told: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: told.append(number))
    (folder / f"began-{os.getpid()}").touch()
    limit = time.monotonic() + 60.0
    while not told and time.monotonic() < limit:
        time.sleep(0.05)
    (folder / f"ended-{os.getpid()}").touch()
    return "told" if told else "never told"


pytestmark = pytest.mark.usefixtures("ray_of_two")


def test_every_item_comes_back_at_its_place() -> None:
    assert dict(completed(square, range(20))) == {n: n * n for n in range(20)}
    assert dict(completed(square, range(5), workers=1)) == {n: n * n for n in range(5)}
    assert list(completed(square, [])) == []


def test_short_items_share_tasks_and_come_back_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "TASKS_PER_CORE", 3)
    here = dict(
        completed(of_process, range(20), short=True)
    )  # six tasks of three items, one of two
    assert {place: number for place, (number, _) in here.items()} == {n: n for n in range(20)}
    assert len({task for _, task in here.values()}) == 7
    assert len({task for _, task in dict(completed(of_process, range(20))).values()}) == 20


def test_a_worker_has_one_thread_of_each_kind() -> None:
    assert next(completed(threads, [0])) == (0, ["1"] * len(cluster.PINNED))


@pytest.mark.parametrize("task", [fails_once, dies_once])
def test_a_task_that_is_lost_is_made_again(task: Any, tmp_path: Path) -> None:
    assert list(completed(task, [tmp_path / "marker"])) == [(0, "done")]


def test_what_a_task_raises_is_raised_here() -> None:
    with pytest.raises(StudyError, match="the item is wrong") as caught:
        list(completed(is_wrong, [0]))
    assert type(caught.value) is StudyError  # by its class the command line knows it


def test_a_stop_is_a_signal_to_what_runs_and_the_end_of_what_waits(tmp_path: Path) -> None:
    def both_began() -> bool:
        return len(list(tmp_path.glob("began-*"))) == 2

    done = dict(completed(until_told, [tmp_path] * 5, stop=both_began))
    assert set(done.values()) <= {"told"}
    assert len(list(tmp_path.glob("ended-*"))) == len(list(tmp_path.glob("began-*"))) == 2


def test_gpus_that_no_node_has_are_refused() -> None:
    with pytest.raises(
        StudyError, match="a task needs 64 GPUs on one node; the cluster's best has"
    ):
        next(completed(square, [1], gpus=64))


def test_another_release_on_a_node_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = cluster._releases() | {"numpy": "1.0"}
    monkeypatch.setattr(cluster, "_releases", lambda: mine)
    with pytest.raises(StudyError, match=r"has numpy .*, this machine 1\.0: results could differ"):
        next(completed(square, [1]))


@pytest.fixture
def unconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process of its own, where no Ray is held."""
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.usefixtures("unconnected")
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_that_does_not_answer_is_refused_at_once(scheme: str) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can answer there
        address = f"{scheme}127.0.0.1:{held.getsockname()[1]}"
        began = time.monotonic()
        with (
            pytest.raises(StudyError, match=rf"Ray at {address}: does not answer"),
            connected(address),
        ):
            pass
        assert time.monotonic() - began < 10.0


@pytest.mark.usefixtures("unconnected")
def test_an_address_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    with pytest.raises(StudyError, match="Ray at nonsense: Invalid address"), connected():
        pass


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with (
        pytest.raises(StudyError, match=r"needs ray, absent here: install the 'cluster' extra"),
        connected(),
    ):
        pass
