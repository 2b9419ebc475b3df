"""Prose wraps at 120 columns, everywhere but on pages that a command writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.builders import ROOT
from tests.docs.prose import WIDTH, long_markdown, long_python, wrap_markdown

# Written by a command: `make results`, `make bench`, `python -m paper.blind`, tests.benchmarks.coverage and watch,
# tests.faults.theory_mutations, `make faults`.
GENERATED: Final = (
    "paper/generated",
    "paper/forecasts/README.md",
    "tests/benchmarks/COVERAGE.md",
    "tests/benchmarks/RESULTS.md",
    "tests/benchmarks/WATCH.md",
    "tests/faults/RESULTS.md",
    "tests/faults/THEORY-MUTATIONS.md",
)
ROOMS: Final = ("theory", "fits", "empirical", "verigap", "paper", "tests", "docs")


def files(*suffixes: str) -> list[str]:
    """The repository's files of these suffixes, runs left out, as paths from its root."""
    found = [path for path in ROOT.iterdir() if path.suffix in suffixes]
    for room in ROOMS:
        found += [path for path in (ROOT / room).rglob("*") if path.suffix in suffixes]
    names = (path.relative_to(ROOT).as_posix() for path in found)
    return sorted(
        name
        for name in names
        if not name.startswith((*GENERATED, "docs/site", "empirical/results/"))
    )


def test_markdown_wraps() -> None:
    """`python -m tests.docs.prose FILE` wraps a file."""
    assert too_long(files(".md"), long_markdown) == {}


def test_comments_and_docstrings_wrap() -> None:
    assert too_long(files(".py"), long_python) == {}


def test_comments_of_other_files_wrap() -> None:
    def long_comments(text: str) -> list[int]:
        lines = enumerate(text.split("\n"), start=1)
        return [n for n, line in lines if line.lstrip().startswith("#") and len(line) > WIDTH]

    assert too_long(["Makefile", *files(".toml", ".yaml", ".yml", ".cff")], long_comments) == {}


def too_long(names: list[str], lines_of: Callable[[str], list[int]]) -> dict[str, list[int]]:
    """The lines that are too long, by file."""
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in names}
    return {name: lines for name, text in texts.items() if (lines := lines_of(text))}


LONG = "word " * 30


def test_what_is_prose_is_seen() -> None:
    """In paragraphs, lists, quotes, comments and docstrings; not in tables, code, headings or long words."""
    assert long_markdown(f"{LONG}\n\n- {LONG}\n\n> {LONG}\n") == [1, 3, 5]
    table = f"| a |\n|---|\n| {LONG} |\n"
    link = f"[a](https://{'x' * 130})"
    assert long_markdown(f"# {LONG}\n\n```\n{LONG}\n```\n\n    {LONG}\n\n{table}\n{link}\n") == []
    assert long_python(f'"""One.\n\n{LONG}\n"""\n# {LONG}\nx = "{LONG}"  # noqa\n') == [3, 5]


def test_wrapping_changes_line_ends_only() -> None:
    """No line becomes a list item, and code stays whole."""
    text = f"1. {'word ' * 23}- 2 `a b c d e f g h` {LONG}\n   {LONG}\n\n{'word ' * 10}\nshort\n"
    wrapped = wrap_markdown(text)
    assert long_markdown(wrapped) == []
    assert wrapped.split() == text.split()
    assert "`a b c d e f g h`" in wrapped
    assert not [line for line in wrapped.split("\n") if line.lstrip().startswith("- ")]
    assert wrapped.endswith("\nshort\n")
