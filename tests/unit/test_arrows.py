"""Imports go one way: evcharge_sensors -> evcharge_assets -> evcharge -> simulation. Read from the source, nothing runs."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from evcharge.settings import PROJECT

#: What each package may import of ours.
ARROWS = {
    "simulation": {"simulation"},
    "evcharge": {"evcharge", "simulation"},
    "evcharge_assets": {"evcharge_assets", "evcharge", "simulation"},
    "evcharge_sensors": {"evcharge_sensors", "evcharge_assets", "evcharge", "simulation"},
}
#: The one module that assembles everything.
ASSEMBLER = "evcharge_assets.definitions"

#: Modules that must stay usable without any server's client: what a message is, what a recorded file holds, what an error
#: says. Whatever they import of ours when they are loaded counts too.
CLIENT_FREE = (
    "evcharge.contracts",
    "evcharge.contracts.dictionary",
    "evcharge.contracts.model",
    "evcharge.contracts.session_events",
    "evcharge.contracts.spark",
    "evcharge.contracts.station_registry",
    "evcharge.errors",
    "evcharge.lake.layout",
    "evcharge.sessions.messages",
    "evcharge.sessions.readers",
    "evcharge.settings",
    "evcharge.warehouse.quality",
    "evcharge.warehouse.schema",
)
CLIENTS = {"boto3", "botocore", "clickhouse_driver", "dagster", "grpc", "kafka", "lakefs", "lakefs_sdk", "pyspark"}


def module_name(path: Path) -> str:
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def sources() -> dict[str, Path]:
    return {module_name(path): path for package in ARROWS for path in sorted((PROJECT / package).rglob("*.py"))}


def imports(name: str, *, when_loaded: bool = False) -> Iterator[str]:
    """Modules that `name` imports; `when_loaded`: not those inside functions or under TYPE_CHECKING."""
    path = sources()[name]
    todo: list[ast.AST] = [ast.parse(path.read_text())]
    while todo:
        node = todo.pop()
        if when_loaded and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if when_loaded and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            for alias in node.names:
                yield f"{module}.{alias.name}" if f"{module}.{alias.name}" in sources() else module
        todo.extend(ast.iter_child_nodes(node))


def loaded_with(name: str) -> set[str]:
    """Third-party and standard modules, by top-level name, that loading `name` imports through modules of ours."""
    seen, todo, foreign = {name}, [name], set()
    while todo:
        for imported in imports(todo.pop(), when_loaded=True):
            if imported.partition(".")[0] not in ARROWS:
                foreign.add(imported.partition(".")[0])
                continue
            parts = imported.split(".")
            # a module's packages are loaded with it
            for module in (".".join(parts[: n + 1]) for n in range(len(parts))):
                if module in sources() and module not in seen:
                    seen.add(module)
                    todo.append(module)
    return foreign


@pytest.mark.parametrize("name", sorted(sources()))
def test_a_module_imports_only_along_the_arrows(name: str) -> None:
    package = name.partition(".")[0]
    allowed = ARROWS[package] | ({"evcharge_sensors"} if name == ASSEMBLER else set())
    ours = {imported.partition(".")[0] for imported in imports(name)} & ARROWS.keys()
    assert ours <= allowed
    if package == "evcharge":
        assert not {i for i in imports(name) if i.partition(".")[0].startswith("dagster")}, (
            "the library knows no Dagster"
        )
    if package == "simulation":
        third_party = {i.partition(".")[0] for i in imports(name)} - sys.stdlib_module_names - ARROWS.keys()
        assert third_party <= {"numpy", "simpy"}


def test_the_sources_are_found() -> None:
    assert {name.partition(".")[0] for name in sources()} == ARROWS.keys()
    assert "evcharge_sensors.plan" in set(imports(ASSEMBLER))


@pytest.mark.parametrize("name", CLIENT_FREE)
def test_a_domain_module_loads_no_client(name: str) -> None:
    assert not loaded_with(name) & CLIENTS


def test_the_command_starts_with_typer_alone() -> None:
    """`evcharge --help` is quick because nothing heavier is loaded."""
    assert loaded_with("evcharge.cli") - sys.stdlib_module_names == {"typer"}
