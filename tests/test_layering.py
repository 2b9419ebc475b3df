"""No module imports itself by a detour, imports inside functions counted, those for type checkers alone not."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.builders import ROOT

PACKAGES = ("theory", "fits", "empirical", "verigap", "paper")


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {
    dotted(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))
}


def run_time(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements of `tree`, without those under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for other in node.orelse:
                yield from run_time(other)
        else:
            yield from run_time(node)


def imported(text: str) -> set[str]:
    """Our modules that `text` imports: a name in a package is that module where there is one."""
    found: set[str] = set()
    for node in run_time(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif node.module is not None:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = names & MODULES.keys()
            found |= modules | ({node.module} if names - modules else set())
    return found & MODULES.keys()


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """One cycle of `graph`, or nothing."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return path[path.index(module) :]
        if module in done:
            return []
        for other in sorted(graph[module]):
            if found := visit(other, [*path, module]):
                return found
        done.add(module)
        return []

    return next((found for module in graph if (found := visit(module, []))), [])


def test_no_cycle_among_modules() -> None:
    graph = {
        name: imported(path.read_text(encoding="utf-8")) - {name} for name, path in MODULES.items()
    }
    assert sum(map(len, graph.values())) > 100
    assert cycle(graph) == []


def test_a_cycle_would_be_found() -> None:
    a = imported("def f():\n    from fits.gap import gap_report\n")
    assert a == {"fits.gap"}
    assert imported("if TYPE_CHECKING:\n    from fits.gap import ArmGap\n") == set()
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
