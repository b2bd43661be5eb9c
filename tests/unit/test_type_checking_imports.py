"""A name that is imported for type checkers alone is not used when the code runs: that would be a NameError there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from evcharge.settings import PROJECT

PACKAGES = ("evcharge", "evcharge_assets", "evcharge_sensors", "simulation", "dashboard", "benchmarks")
MODULES = sorted(
    path for package in PACKAGES for path in (PROJECT / package).rglob("*.py") if "node_modules" not in path.parts
)


def imported(node: ast.AST) -> set[str]:
    """The names that import statements directly in `node` bind, nested blocks included but not nested functions."""
    names: set[str] = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in child.names}
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            names |= imported(child)
    return names


def is_for_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def used(node: ast.AST, missing: set[str]) -> Iterator[ast.Name]:
    """Where a name of `missing` is used at run time: not in an annotation, and not below an import that binds it."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        bound = imported(node) | {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
        for default in [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]:
            yield from used(default, missing)
        for statement in node.body:
            yield from used(statement, missing - bound)
        return
    if isinstance(node, ast.AnnAssign):
        if node.value is not None:
            yield from used(node.value, missing)
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in missing:
        yield node
    for child in ast.iter_child_nodes(node):
        if not is_for_checkers(child):
            yield from used(child, missing)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_no_name_for_type_checkers_is_used_at_run_time(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for_checkers: set[str] = set().union(*(imported(node) for node in tree.body if is_for_checkers(node)))
    at_run_time: set[str] = set().union(
        *(imported(ast.Module([node], [])) for node in tree.body if not is_for_checkers(node))
    )
    found = [f"{path.name}:{name.lineno}: {name.id}" for name in used(tree, for_checkers - at_run_time)]
    assert not found
