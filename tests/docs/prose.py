"""Prose wraps at 120 columns: what is too long in Markdown and in Python, and Markdown wrapped anew.

    python -m tests.docs.prose README.md LOG.md     wraps the paragraphs of these files that have a line too long

Only prose is looked at: tables, code, HTML and headings are left alone, and so is a line that is one word, such as a
long link. In Python, comments and the lines of docstrings.
"""

from __future__ import annotations

import ast
import io
import itertools
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt

WIDTH: Final = 120
# What must stay on one line: code, the target of a link, and a word.
WORD: Final = re.compile(r"(?:`+[^`]+`+|\]\([^)]*\)|\S)+")
# What would start a block if a line began with it.
BLOCK: Final = re.compile(r"(?:[-+*]|\d{1,9}[.)]|#{1,6}|>.*|=+|-+|\|.*|:{3,}.*)$")
DIRECTIVE: Final = re.compile(r"#\s*(?:type:|pyright:|noqa|ruff:|pragma:)")


def paragraphs(text: str) -> Iterator[tuple[int, int]]:
    """First line and the line after the last, counted from 0, of every paragraph (also of lists and quotes)."""
    tokens = MarkdownIt("commonmark").enable("table").parse(_without_front_matter(text))
    for before, token in itertools.pairwise(tokens):
        if before.type == "paragraph_open" and token.map is not None:
            yield token.map[0], token.map[1]


def long_markdown(text: str) -> list[int]:
    """Numbers of the prose lines that are too long, counted from 1."""
    lines = text.split("\n")
    return [
        place + 1
        for first, after in paragraphs(text)
        for place in range(first, after)
        if len(lines[place]) > WIDTH and len(WORD.findall(lines[place].strip("-*+> "))) > 1
    ]


def wrap_markdown(text: str) -> str:
    """The same text, each paragraph that had a line too long filled anew."""
    lines = text.split("\n")
    bad = set(long_markdown(text))
    for first, after in reversed(list(paragraphs(text))):
        if bad.isdisjoint(range(first + 1, after + 1)) or lines[first].lstrip().startswith(">"):
            continue
        marker = re.match(r"\s*(?:(?:[-+*]|\d+[.)])\s+)*", lines[first])
        assert marker is not None
        start = marker.group()
        words = WORD.findall(" ".join(lines[first:after])[len(start) :])
        lines[first:after] = _filled(words, start, " " * len(start))
    return "\n".join(lines)


def long_python(text: str) -> list[int]:
    """Numbers of the lines of comments and docstrings that are too long, counted from 1."""
    lines = text.split("\n")
    if all(len(line) <= WIDTH for line in lines):
        return []
    bad = {
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
        and token.end[1] > WIDTH
        and not DIRECTIVE.match(token.string)
    }
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            said = node.body[0]
            assert said.end_lineno is not None
            places = range(said.lineno, said.end_lineno + 1)
            bad |= {place for place in places if len(lines[place - 1]) > WIDTH}
    return sorted(bad)


def _filled(words: list[str], start: str, indent: str) -> list[str]:
    lines: list[str] = []
    line = start
    for word in words:
        joined = word if line in (start, indent) else " " + word
        if len(line + joined) > WIDTH and line not in (start, indent) and not BLOCK.match(word):
            lines.append(line)
            line, joined = indent, word
        line += joined
    return [*lines, line]


def _without_front_matter(text: str) -> str:
    """As many lines, those of YAML front matter empty."""
    found = re.match(r"---\n.*?\n---\n", text, flags=re.DOTALL)
    return text if found is None else "\n" * found.group().count("\n") + text[found.end() :]


if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = Path(name)
        if path.suffix != ".md":
            sys.exit(f"{path}: only Markdown is wrapped")
        path.write_text(wrap_markdown(path.read_text(encoding="utf-8")), encoding="utf-8")
