"""Run `verigap` in this process, as a shell would see it."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any
from unittest import mock

from verigap.cli import main


@dataclass(frozen=True)
class Done:
    """What a command left behind: its exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout; NaN and Infinity, which are no JSON, are refused."""

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is no JSON")

        return json.loads(self.out, parse_constant=refuse)


def verigap(*arguments: object) -> Done:
    """Run `verigap ARGUMENTS…` and return its exit code, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["verigap", *map(str, arguments)]
    with mock.patch("sys.argv", argv), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        else:
            raise AssertionError("main() returned without an exit code")
    return Done(code, out.getvalue(), err.getvalue())


def refused(*arguments: object) -> str:
    """Run a command that must be refused; return its one line, having checked that it is one."""
    done = verigap(*arguments)
    assert done.code == 2, (done.code, done.out, done.err)
    assert done.out == ""
    assert done.err.count("\n") == 1, done.err
    assert done.err.startswith("verigap: ")
    assert "Traceback" not in done.err
    return done.err


def document(*arguments: object) -> Any:
    """The JSON document of a command that must succeed."""
    done = verigap(*arguments, "--json")
    assert done.code == 0, done.err
    return done.document
