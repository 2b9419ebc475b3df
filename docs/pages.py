"""What the site has beside the files of this folder: a hook of MkDocs and an extension of Griffe (see mkdocs.yml).

The home page, the README, the log, the changelog and other generated pages are shown where they stand in the
repository. API pages are made from the sources alone, one a package, each public name of each module by name; nothing
is imported. A link to a file of the repository that is no page of the site becomes its text.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from posixpath import dirname, normpath, relpath
from typing import Any, Final

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = ("theory", "fits", "empirical", "verigap")
# Pages that stand outside this folder: by their path in the repository, their path in the site.
ELSEWHERE: Final = {
    "paper/generated/home.md": "index.md",
    "README.md": "readme.md",
    "LOG.md": "log.md",
    "CHANGELOG.md": "changelog.md",
    "paper/generated/five-results.md": "results/five-results.md",
    "paper/generated/results.md": "results/results.md",
    "paper/generated/gradient-level.md": "results/gradient-level.md",
    "paper/generated/learnable-errors.md": "results/learnable-errors.md",
    "paper/generated/probe.md": "results/probe.md",
    "paper/generated/smollm2.md": "results/smollm2.md",
    "paper/generated/sizes.md": "results/sizes.md",
    "paper/generated/in-training.md": "results/in-training.md",
    "paper/generated/corrections.md": "results/corrections.md",
    "tests/benchmarks/RESULTS.md": "results/speed.md",
    "tests/benchmarks/COVERAGE.md": "results/coverage.md",
    "tests/benchmarks/WATCH.md": "results/watch.md",
    "empirical/results/cpu-campaign/environments.md": "results/environments.md",
}
PICTURES: Final = "paper/generated/figures"
LINK: Final = re.compile(
    r"(?P<picture>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^)\s]+)\)"
)
# Lines of a docstring that begin a paragraph of their own, after the end of a sentence.
OPENS: Final = re.compile(
    r"(?:(?:Law|Proof|Fails first|Sources?|Raises|Returns|Yields)\b|[a-z_0-9A-Z]+(?:, [a-z_0-9A-Z]+)*: )"
)
SECTION: Final = re.compile(r"\bdocs/(theory|contract|references)\.md(#[\w-]+)?")


def modules(package: str) -> Iterator[tuple[str, Path]]:
    """Name and file of every module of a package that is not private, the package itself first."""
    for path in sorted((ROOT / package).rglob("*.py"), key=lambda path: path.with_suffix("").parts):
        parts = path.relative_to(ROOT).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(part.startswith("_") for part in parts) and "results" not in parts:
            yield ".".join(parts), path


def public_names(path: Path) -> list[str]:
    """What a module's `__all__` names; without one, the functions and classes that it defines for others."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return [str(name) for name in ast.literal_eval(node.value)]  # type: ignore[attr-defined]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node.name for node in tree.body if isinstance(node, kinds) and node.name[0] != "_"]


def api_page(package: str) -> str:
    """The Markdown of a package's page: its modules in order, each with its public names."""
    lines = [f"# {package}", ""]
    for module, path in modules(package):
        names, here = public_names(path), _defined(path)
        own = [name for name in names if name in here]
        lines += [f"::: {module}", "    options:", f"      members: {own}", ""]
        passed_on = [f"`{name}`" for name in names if name not in here]
        if passed_on:
            lines += [f"Also importable from `{module}`: {', '.join(passed_on)}.", ""]
    return "\n".join(lines)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """In the navigation, a folder stands for its pages; an empty or missing one for nothing."""
    nav = []
    for entry in config.nav or []:
        ((title, target),) = entry.items()
        if isinstance(target, str) and target.endswith("/"):
            here = Path(config.docs_dir)
            pages = sorted(
                path.relative_to(here).as_posix() for path in (here / target).glob("*.md")
            )
            if target == "api/":
                pages = [f"api/{package}.md" for package in PACKAGES]
            if pages:
                nav.append({title: pages})
        else:
            nav.append(entry)
    config.nav = nav
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages and pictures that stand elsewhere, and the API's."""
    for source, target in ELSEWHERE.items():
        content = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, target, content=content))
    for picture in sorted((ROOT / PICTURES).glob("*.png")):
        target = f"results/figures/{picture.name}"
        files.append(File.generated(config, target, abs_src_path=str(picture)))
    for package in PACKAGES:
        files.append(File.generated(config, f"api/{package}.md", content=api_page(package)))
    return files


def on_page_markdown(markdown: str, *, page: Page, files: Files, **_: Any) -> str:
    """Links by paths of the repository become links of the site, or text where it has no such page."""
    here = page.file.src_uri
    if here.startswith("api/"):
        return markdown
    known = set(files.src_uris)
    by_target = {target: source for source, target in ELSEWHERE.items()}
    source = by_target.get(here, f"docs/{here}")

    def anew(found: re.Match[str]) -> str:
        target, _, anchor = found["target"].partition("#")
        if not target or "://" in target:
            return found.group()
        path = normpath(f"{dirname(source)}/{target}".lstrip("/"))
        site = ELSEWHERE.get(path, path.removeprefix("docs/") if path.startswith("docs/") else "")
        if path.startswith(PICTURES):
            site = path.replace(PICTURES, "results/figures")
        if site not in known:
            return found["text"]
        to = relpath(site, dirname(here) or ".") + (f"#{anchor}" if anchor else "")
        return f"{found['picture']}[{found['text']}]({to})"

    pieces = re.split(r"(^```.*?^```$|`[^`\n]+`(?!\]))", markdown, flags=re.DOTALL | re.MULTILINE)
    return "".join(piece if i % 2 else LINK.sub(anew, piece) for i, piece in enumerate(pieces))


class Laid(griffe.Extension):
    """Lays docstrings out as Markdown: indented equations as code, one paragraph for each thing said."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Lay out the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = laid_out(obj.docstring.value)


def laid_out(docstring: str) -> str:
    """The same words as Markdown."""
    lines: list[str] = []
    for line in docstring.split("\n"):
        code, before = line.startswith("    "), lines[-1] if lines else ""
        ended = before.endswith((".", ":", ";")) and OPENS.match(line)
        if line and before and (code != before.startswith("    ") or (not code and ended)):
            lines.append("")
        lines.append(line if code else SECTION.sub(r"[\g<0>](../\1.html\2)", line))
    return "\n".join(lines)


def _defined(path: Path) -> set[str]:
    """Names that a module defines itself."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                found.add(node.name)
            case ast.Assign():
                found |= {t.id for t in node.targets if isinstance(t, ast.Name)}
            case ast.AnnAssign(target=ast.Name() as target):
                found.add(target.id)
            case _:
                pass
    return found
