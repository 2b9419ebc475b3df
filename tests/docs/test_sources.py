"""What docs and docstrings cite is in the house: anchors, files, papers, modules, commands and their options.

LOG.md and CHANGELOG.md are history: only their links are looked at.
"""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

import typer

from tests.builders import ROOT
from verigap.cli import app

PACKAGES: Final = ("theory", "fits", "empirical", "verigap", "paper")
SOURCES: Final = sorted(
    path for package in PACKAGES for path in (ROOT / package).rglob("*.py")
) + sorted((ROOT / "empirical/studies").rglob("*.yaml"))
GUIDES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES: Final = [
    *GUIDES,
    ROOT / "LOG.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "paper/generated").rglob("*.md")),
    *sorted((ROOT / "tests").rglob("*.md")),
]
SECTIONED: Final = ("docs/theory.md", "docs/contract.md", "docs/references.md")
# Documents that are not in the repository.
ELSEWHERE: Final = re.compile(r"\b(?:THEORY|DESIGN|LITERATURE|CPU-TRAINING)\b(?!-MUTATIONS)")
DOCUMENT: Final = re.compile(r"docs/[\w/-]+\.md(?:#[\w-]+)?(?:, [^.;)\n]+)?")
PAPER: Final = re.compile(r"(?<![\d.])[12]\d{3}\.\d{5}(?!\d)")
WRITER: Final = r"[A-Z][A-Za-zéöüç-]+"
AUTHORED: Final = re.compile(rf"(?:{WRITER}(?:, | & ))*{WRITER} (?:1[89]|20)\d\d\b(?!-)")
MODULE: Final = re.compile(r"`((?:theory|fits|empirical|verigap|paper)(?:\.\w+)+)(?:\(\))?`")
FILE: Final = re.compile(
    r"(?<![\w/.<-])(?:tests|docs|paper|empirical|theory|fits)/[\w.-]+(?:/[\w.-]+)*"
)
CALLED: Final = re.compile(r"(?<!import )\bverigap ([a-z][a-z-]*)((?:[^`\n\\]|\\\n)*)")
OPTION: Final = re.compile(r"(?<![\w-])--[a-z][a-z-]*")

COMMANDS: Final = typer.main.get_command(app).commands  # type: ignore[attr-defined]
OPTIONS: Final = {
    name: {option for parameter in command.params for option in parameter.opts} | {"--help"}
    for name, command in COMMANDS.items()
}


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def headings(text: str) -> list[str]:
    """Headings of a Markdown file, code left out."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [found.replace("`", "") for found in re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE)]


def slug(heading: str) -> str:
    """The anchor that MkDocs gives a heading."""
    plain = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def anchors(path: Path) -> set[str]:
    text = text_of(path)
    return {slug(heading) for heading in headings(text)} | set(re.findall(r'id="([^"]+)"', text))


def unaccented(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def sources_said(text: str) -> Iterator[str]:
    """What follows "Source:" in the docstrings of a module, to the end of the paragraph."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            said = ast.get_docstring(node) or ""
            for found in re.findall(r"\bSources?:\s+(.+?)(?:\n\n|$)", said, re.DOTALL):
                yield " ".join(found.split())


def spans(text: str) -> Iterator[str]:
    """Code of a Markdown page: spans, fenced blocks and indented ones."""
    yield from re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))
    yield from re.findall(r"^```\w*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    yield "\n".join(re.findall(r"^ {4,}(.*)$", text, flags=re.MULTILINE))


def wrong_calls(text: str) -> list[str]:
    """Commands and options that do not exist, among those that a piece of code calls."""
    wrong: list[str] = []
    for verb, rest in CALLED.findall(text):
        known = OPTIONS.get(verb)
        if known is None:
            wrong.append(f"verigap {verb}")
        else:
            wrong += [f"verigap {verb} {o}" for o in OPTION.findall(rest) if o not in known]
    return wrong


def resolves(dotted: str) -> bool:
    """Whether a dotted name is a module, or a name in one."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:count])
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if file.is_file():
            return all(re.search(rf"\b{part}\b", text_of(file)) for part in parts[count:])
    return False


Faults = dict[str, list[str]]


def faults(paths: Iterable[Path], of: Callable[[Path], Iterable[str]]) -> Faults:
    """What `of` finds wrong, by file."""
    return {named(path): found for path in paths if (found := list(of(path)))}


def test_no_document_is_cited_that_is_not_here() -> None:
    assert faults([*SOURCES, *GUIDES], lambda path: ELSEWHERE.findall(text_of(path))) == {}


def test_documents_and_their_sections_exist() -> None:
    """`docs/theory.md#gains`, or in words, `docs/theory.md, theorem 1`: the beginning of a heading."""

    def missing(path: Path) -> Iterator[str]:
        for cited in DOCUMENT.findall(text_of(path)):
            document, _, words = cited.partition(", ")
            file, _, anchor = document.partition("#")
            if not (ROOT / file).is_file() or (anchor and anchor not in anchors(ROOT / file)):
                yield cited
            elif words and file in SECTIONED:
                begun = slug(words.removeprefix("the "))
                if not any(found.startswith(begun) for found in anchors(ROOT / file)):
                    yield cited

    tests = [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)]
    assert faults([*SOURCES, *tests], missing) == {}


def test_papers_are_among_the_references() -> None:
    references = unaccented(text_of(ROOT / "docs/references.md"))

    def missing(path: Path) -> Iterator[str]:
        text = text_of(path)
        yield from (paper for paper in PAPER.findall(text) if paper not in references)
        if path.suffix == ".py":
            works = (work for said in sources_said(text) for work in AUTHORED.findall(said))
            yield from (work for work in works if unaccented(work) not in references)

    assert faults([*SOURCES, *GUIDES], missing) == {}


def test_modules_that_are_named_exist() -> None:
    def missing(path: Path) -> Iterator[str]:
        yield from (dotted for dotted in MODULE.findall(text_of(path)) if not resolves(dotted))

    assert faults([*SOURCES, *GUIDES], missing) == {}


def test_files_that_pages_name_exist() -> None:
    def missing(path: Path) -> Iterator[str]:
        text = re.sub(r"\]\([^)]*\)", "]", text_of(path))
        for name in (found.rstrip(".") for found in FILE.findall(text)):
            if not ((ROOT / name).exists() or (ROOT / f"{name}.py").exists()):
                yield name

    assert faults(GUIDES, missing) == {}


def test_links_and_their_anchors_exist() -> None:
    def missing(path: Path) -> Iterator[str]:
        text = re.sub(r"^```.*?^```", "", text_of(path), flags=re.DOTALL | re.MULTILINE)
        for target in re.findall(r"(?<!`)\]\(([^)\s]+)\)", text):
            file, _, anchor = target.partition("#")
            there = path if not file else (path.parent / file).resolve()
            if "://" in target or (there.is_file() and (not anchor or anchor in anchors(there))):
                continue
            if not there.is_dir():
                yield target

    assert faults(PAGES, missing) == {}


def test_commands_and_options_that_pages_name_exist() -> None:
    everywhere = set().union(*OPTIONS.values())

    def missing(path: Path) -> Iterator[str]:
        for code in spans(text_of(path)):
            yield from wrong_calls(code)
            if code.startswith("--") and (option := OPTION.findall(code)[0]) not in everywhere:
                yield option

    assert faults(GUIDES, missing) == {}


def test_commands_and_options_that_modules_name_exist() -> None:
    def missing(path: Path) -> Iterator[str]:
        for code in re.findall(r"`(verigap [^`\n]+)`", text_of(path)):
            yield from wrong_calls(code)

    assert faults(SOURCES, missing) == {}


def test_every_command_has_its_place_in_the_contract() -> None:
    """A new one is a section of docs/contract.md, with its keys."""
    missing = {f"verigap-{name}" for name in COMMANDS} - anchors(ROOT / "docs/contract.md")
    assert missing == set()


def test_the_log_s_index_names_every_section() -> None:
    index, *sections = re.split(r"^## ", text_of(ROOT / "LOG.md"), flags=re.MULTILINE)
    heads = [section.split("\n")[0] for section in sections]
    assert [head for head in heads if f"](#{slug(head)})" not in index] == []


def test_anchors_are_the_same_on_github_and_on_the_site() -> None:
    for name in SECTIONED:
        for heading in headings(text_of(ROOT / name)):
            github = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            assert github == slug(heading)


def test_what_is_missing_is_seen() -> None:
    assert wrong_calls("verigap drift --pass-rate .3 --colour") == ["verigap drift --colour"]
    assert wrong_calls("verigap divine runs/") == ["verigap divine"]
    assert not resolves("theory.channel.VerifierCanal")
    assert not resolves("theory.chanel")
    assert resolves("fits.table.COLUMNS")
    assert AUTHORED.findall("Robbins & Monro 1951, Mandt, Hoffman & Blei 2017; and so on") == [
        "Robbins & Monro 1951",
        "Mandt, Hoffman & Blei 2017",
    ]
