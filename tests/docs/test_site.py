"""The site's sources, without building it (`make docs` does): every page has a place, every public name is on one."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests.builders import ROOT

NAV = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    """docs/pages.py, which MkDocs loads by its path; it needs the docs extra."""
    pytest.importorskip("mkdocs", reason="needs the docs extra (make docs)")
    spec = importlib.util.spec_from_file_location("verigap_pages", ROOT / "docs/pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def entries(nav: object) -> Iterator[str]:
    """The pages and folders of a navigation."""
    if isinstance(nav, str):
        yield nav
    for inner in nav if isinstance(nav, list) else nav.values() if isinstance(nav, dict) else ():
        yield from entries(inner)


def test_every_page_is_in_the_navigation() -> None:
    places = set(entries(NAV))
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").as_posix()
        assert name in places or f"{name.rpartition('/')[0]}/" in places, name


def test_every_public_name_is_on_its_package_s_page(pages: ModuleType) -> None:
    """Found anew here, module by module, from what `__all__` says."""
    for package in pages.PACKAGES:
        page = pages.api_page(package)
        sections = dict(
            re.findall(r"^::: (\S+)\n(.*?)(?=^::: |\Z)", page, re.DOTALL | re.MULTILINE)
        )
        for path in (ROOT / package).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in tree.body:
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                    parts = path.relative_to(ROOT).with_suffix("").parts
                    module = ".".join(parts).removesuffix(".__init__")
                    for name in ast.literal_eval(node.value):
                        assert f"'{name}'" in sections[module] or f"`{name}`" in sections[module]


def test_pages_that_stand_elsewhere_exist(pages: ModuleType) -> None:
    generated = {*pages.ELSEWHERE.values(), *(f"api/{package}.md" for package in pages.PACKAGES)}
    for source in pages.ELSEWHERE:
        assert (ROOT / source).is_file(), source
    for entry in entries(NAV):
        assert entry in generated or entry.endswith("/") or (ROOT / "docs" / entry).is_file(), entry


def test_docstrings_become_markdown_with_the_same_words(pages: ModuleType) -> None:
    said = "One.\n\nLaw. With\n    a = b\nand so\non: more.\nrate: in [0, 1].\nSource: docs/theory.md#gains."
    laid = pages.laid_out(said)
    assert laid == (
        "One.\n\nLaw. With\n\n    a = b\n\nand so\non: more.\n\nrate: in [0, 1].\n\n"
        "Source: [docs/theory.md#gains](../theory.html#gains)."
    )


def test_names_without_all_are_what_a_module_defines_for_others(
    pages: ModuleType, tmp_path: Path
) -> None:
    file = tmp_path / "module.py"
    file.write_text("import os\ndef shown(): ...\ndef _hidden(): ...\nclass Kept: ...\n")
    assert pages.public_names(file) == ["shown", "Kept"]
