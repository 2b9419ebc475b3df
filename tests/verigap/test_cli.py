"""The shell of the command line: help, version, usage errors, bugs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.commands.command import refused, verigap
from verigap import __version__


def test_version() -> None:
    done = verigap("--version")
    assert (done.code, done.out) == (0, f"verigap {__version__}\n")


def test_no_arguments_shows_the_help() -> None:
    assert verigap().out == verigap("--help").out
    assert verigap().code == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("nosuch",), "nosuch"),
        (("drift",), "--pass-rate"),
        (("drift", "--pass-rate", "x"), "--pass-rate"),
        (("drift", "--pass-rate", "0.3", "--bogus", "1"), "--bogus"),
        (("drift", "--pass-rate", "0.3", "--fpr", "1.2"), "fpr must lie in [0, 1], got 1.2"),
        (("drift", "--pass-rate", "nan"), "pass_rate"),
        (("drift", "--pass-rate", "0.3", "--group-size", "1"), "group_size"),
        (("drift", "--pass-rate", "0.3", "--estimator", "ppo"), "ppo"),
    ],
)
def test_a_mistake_gets_one_line_that_names_it(arguments: tuple[str, ...], named: str) -> None:
    assert named in refused(*arguments)


def test_a_bug_keeps_its_traceback() -> None:
    """Only our own exception classes are messages for the user: a plain ValueError is a defect."""
    code = (
        "import sys, theory, verigap.cli\n"
        "def broken(*a, **k): raise ValueError('a defect')\n"
        "theory.drift = broken\n"
        "sys.argv = ['verigap', 'drift', '--pass-rate', '.3']\n"
        "verigap.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "a defect" in done.stderr


def test_a_closed_pipe_is_no_error() -> None:
    """`verigap --help | head -0` must not end in a traceback."""
    done = subprocess.run(
        f"{sys.executable} -m verigap drift --pass-rate .3 --json | true",
        shell=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
