"""Independent tasks on a Ray cluster, or on Ray processes of this machine alone.

Law. What a task returns depends on its item alone, so where it runs, when it ends and how often a lost
worker made it begin again change no bit of the result. Every worker computes on one thread.
Fails first where nodes differ: another processor, or another release of what computes, may round
differently. Releases are compared before a task runs, processors are not.
Source: Ray's tasks (`ray.remote`, `max_retries`) and non-forced `ray.cancel`, which is a SIGINT to the task.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Final, TypeVar

from empirical import extras
from empirical.errors import StudyError
from empirical.machine import releases

__all__ = ["completed", "connected"]

Item = TypeVar("Item")
Result = TypeVar("Result")

POLL_SECONDS: Final = 0.5
ANSWER_SECONDS: Final = 5.0  # for an address to answer at all; Ray itself would try for minutes
# Lost workers are forgiven this often per task: one that takes its worker down every time must end.
RETRIES: Final = 8
QUEUED: Final = 10_000  # tasks handed to Ray at a time, so that a million are no burden to it
# Where short items share tasks, a core still gets this many: enough to even out what lasts longer.
TASKS_PER_CORE: Final = 32
PINNED: Final = dict.fromkeys(
    ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
SAME_EVERYWHERE: Final = ("verigap", "numpy", "numba")


@contextlib.contextmanager
def connected(address: str | None = None, *, workers: int | None = None) -> Generator[None]:
    """Ray, while the block runs; where this process is connected already, that connection, kept.

    address: host:port of a cluster's head, "auto" for the one that runs on this machine, or "local" for
        processes of this machine started for the block; None: RAY_ADDRESS, and "local" without that.
    workers: processes at a time of "local"; all cores if None.
    Raises StudyError if Ray is absent or the address does not answer.
    """
    extras.require("ray", extra="cluster")
    import ray

    if ray.is_initialized():
        yield
        return
    where = address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {}
    if where == "local":
        # Nobody asked for statistics to be sent, nor for a web page.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options = {"num_cpus": workers or os.cpu_count(), "include_dashboard": False}
    else:
        _refuse_silence(where)
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what fails is said below, once
    try:
        # Workers' output stays in Ray's logs: stdout is for the result alone.
        ray.init(address=where, log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # Ray raises the bare class where a node starts too slowly
        raise StudyError(
            f"Ray at {where}: {_one_line(error)} (a cluster that asks for a token needs"
            " RAY_AUTH_MODE=token here too)"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _refuse_silence(address: str) -> None:
    """Raise StudyError if nothing listens at host:port; leave other forms of address to Ray."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise StudyError(f"Ray at {address}: does not answer ({error})") from None


def completed(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int | None = None,
    gpus: int = 0,
    short: bool = False,
    poll: Callable[[], None] = lambda: None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, Result]]:
    """Call `function` on every item, each on one CPU, and yield (place, result) as they end.

    function, items: what pickle takes; the function's module must be installed on every node.
    workers: tasks at a time; as many as the cluster has room for if None.
    gpus: that each task needs, on one node.
    short: items may share a task where there are many, since a task costs about a millisecond of this
        process whatever it does; a lost worker then costs the items of its task again.
    poll: called twice a second, or more often. stop: once it is true nothing more is started, and running
        tasks get a SIGINT; those that end on it without a result are not yielded.
    A task whose worker or node is lost, or that meets an OSError, is made again, up to `RETRIES` times.
    Raises what `function` raises; StudyError if no node has the GPUs, the nodes' installations differ
    from this one, or a task is lost once too often.
    """
    import ray
    from ray import exceptions

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = max((node.get("GPU", 0) for node in nodes), default=0)
    if gpus > room:
        raise StudyError(f"a task needs {gpus} GPUs on one node; the cluster's best has {room:g}")
    remote: Any = ray.remote  # its types know retry_exceptions as a bool only
    task = remote(
        name=function.__name__,
        num_cpus=1,
        num_gpus=gpus,
        max_retries=RETRIES,
        retry_exceptions=[OSError],
        runtime_env={"env_vars": PINNED},
    )(_alike)
    expected = _releases()
    cores = workers or round(sum(node.get("CPU", 0) for node in nodes)) or 1
    share = max(1, len(items) // (TASKS_PER_CORE * cores)) if short else 1
    waiting = (range(i, min(i + share, len(items))) for i in range(0, len(items), share))
    running: dict[Any, range] = {}
    stopping = False

    def cancel() -> None:
        for reference in running:
            ray.cancel(reference, force=False)

    try:
        while True:
            if not stopping and stop():
                stopping = True
                cancel()
            while not stopping and len(running) < (workers or QUEUED):
                following = next(waiting, None)
                if following is None:
                    break
                given = [items[place] for place in following]
                running[task.remote(expected, function, given)] = following
            if not running:
                return
            # One wakes us; whatever else has ended is taken along.
            ray.wait(list(running), num_returns=1, timeout=POLL_SECONDS)
            ended, _ = ray.wait(list(running), num_returns=len(running), timeout=0)
            for reference in ended:
                places = running.pop(reference)
                try:
                    results = ray.get(reference)
                except exceptions.TaskCancelledError:
                    continue
                except exceptions.RayTaskError as error:
                    raise _cause(error) from error
                except exceptions.RayError as error:
                    raise StudyError(f"Ray lost a task for good: {_one_line(error)}") from None
                yield from zip(places, results, strict=True)
            poll()
    finally:
        cancel()


def _alike(
    expected: dict[str, str | None], function: Callable[[Item], Result], items: Sequence[Item]
) -> list[Result]:
    """`function` of each item, on a worker, unless the worker would compute with other releases."""
    # A shell's background ignores SIGINT, workers inherit that, and Ray cancels by calling what handles it.
    if not callable(signal.getsignal(signal.SIGINT)):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name, here in _releases().items():
        if here != expected[name]:
            raise StudyError(
                f"node {socket.gethostname()} has {name} {here}, this machine {expected[name]}:"
                " results could differ; install the same everywhere"
            )
    return [function(item) for item in items]


@functools.cache
def _releases() -> dict[str, str | None]:
    return releases(SAME_EVERYWHERE)


def _cause(error: Any) -> Exception:
    """What the task raised; a line for the user where a node could not even begin it."""
    from ray.exceptions import RayError

    cause: Exception = error.cause
    if isinstance(cause, ImportError | RayError):
        return StudyError(
            f"a node cannot begin a task ({_one_line(cause)}): install the same on every node"
        )
    return cause


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
