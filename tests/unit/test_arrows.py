"""Imports go one way: evcharge_sensors -> evcharge_assets -> evcharge -> simulation, and dashboard -> evcharge.

Read from the source, nothing runs.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from evcharge.settings import PROJECT

#: What each package may import of ours.
ARROWS = {
    "simulation": {"simulation"},
    "evcharge": {"evcharge", "simulation"},
    "dashboard": {"dashboard", "evcharge"},
    "evcharge_assets": {"evcharge_assets", "evcharge", "simulation"},
    "evcharge_sensors": {"evcharge_sensors", "evcharge_assets", "evcharge", "simulation"},
}
#: The one module that assembles everything.
ASSEMBLER = "evcharge_assets.definitions"

#: The floors of `evcharge/`, from the ground up. A module imports from the floors below its own, from its own package, and
#: from nothing else: packages that share a floor do not know each other. A module at the top of `evcharge/` is a package of
#: its own here.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "clock", "priority", "log", "gathering", "record_batches", "class_archive", "memory", "spark_daemon"),
    ("settings", "lock", "places", "table_files", "passes"),
    ("connections", "components", "coming"),
    ("spark_configuration", "kafka_log", "dagster_api", "disk"),
    ("contracts",),
    ("feeds", "lake"),
    ("registry", "recorded", "live"),
    ("reference", "forecast", "trips"),
    ("queries",),
    ("warehouse", "simulated"),
    ("stack", "audit", "dictionary"),
    ("main_job",),
    ("cli",),
)
FLOOR_OF = {package: floor for floor, packages in enumerate(FLOORS) for package in packages}

#: Modules that must stay usable without any server's client: what a message is, what a recorded file holds, what an error
#: says. Whatever they import of ours when they are loaded counts too.
CLIENT_FREE = (
    "evcharge.contracts",
    "evcharge.dictionary",
    "evcharge.contracts.model",
    "evcharge.contracts.session_events",
    "evcharge.clock",
    "evcharge.contracts.spark",
    "evcharge.contracts.station_registry",
    "evcharge.dictionary",
    "evcharge.errors",
    "evcharge.lake.layout",
    "evcharge.feeds.messages",
    "evcharge.recorded.readers",
    "evcharge.settings",
    "evcharge.warehouse.day_rules",
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
    if package == "dashboard":
        assert {package_of(imported) for imported in imports(name)} - {""} <= {"queries", "audit"}
    if package == "simulation":
        third_party = {i.partition(".")[0] for i in imports(name)} - sys.stdlib_module_names - ARROWS.keys()
        assert third_party <= {"numpy", "simpy"}


def upward_imports(name: str, imported: Iterable[str]) -> list[str]:
    """Those of a module's imports that break the floors of `evcharge/`."""
    package = package_of(name)
    broken = []
    for other in imported:
        target = package_of(other)
        if not target or target == package:
            continue
        if target not in FLOOR_OF or FLOOR_OF[target] >= FLOOR_OF[package]:
            broken.append(f"{package} imports {other}")
    return broken


def package_of(name: str) -> str:
    """The package or module directly inside `evcharge/` that a module belongs to; empty for others."""
    parts = name.split(".")
    return parts[1] if parts[0] == "evcharge" and len(parts) > 1 else ""


@pytest.mark.parametrize("name", sorted(name for name in sources() if package_of(name)))
def test_a_module_of_the_library_imports_only_from_the_floors_below(name: str) -> None:
    assert package_of(name) in FLOOR_OF, "give the new package a floor"
    assert not upward_imports(name, imports(name))


def test_a_planted_upward_import_is_found() -> None:
    assert upward_imports("evcharge.lake.planner", ["evcharge.warehouse.wait"]) == [
        "lake imports evcharge.warehouse.wait"
    ]
    assert upward_imports("evcharge.lake.planner", ["evcharge.feeds.producer"])
    assert upward_imports("evcharge.lake.planner", ["evcharge.nowhere"])
    assert not upward_imports(
        "evcharge.lake.planner", ["evcharge.lake.ledger", "evcharge.contracts", "simulation.clock"]
    )


def circles(imports_of: Mapping[str, Iterable[str]]) -> list[tuple[str, ...]]:
    """Modules that import each other, directly or by way of others."""
    try:
        TopologicalSorter(imports_of).prepare()
    except CycleError as error:
        return [tuple(error.args[1])]
    return []


def test_no_modules_import_each_other() -> None:
    assert not circles({name: {i for i in imports(name) if i in sources()} - {name} for name in sources()})


def test_a_planted_circle_is_found() -> None:
    assert circles({"a": ["b"], "b": ["c"], "c": ["a"]})


def test_every_floor_has_its_packages() -> None:
    assert {package_of(name) for name in sources()} - {""} == FLOOR_OF.keys()


def test_the_forecast_knows_the_stores_only() -> None:
    """What it predicts the simulation must not tell it."""
    for name in sources():
        if package_of(name) == "forecast":
            seen, todo = set(), [name]
            while todo:
                for imported in imports(todo.pop()):
                    assert imported.partition(".")[0] != "simulation", f"{name} reaches {imported}"
                    if imported in sources() and imported not in seen:
                        seen.add(imported)
                        todo.append(imported)


def test_the_sources_are_found() -> None:
    assert {name.partition(".")[0] for name in sources()} == ARROWS.keys()
    assert "evcharge_sensors.plan" in set(imports(ASSEMBLER))


@pytest.mark.parametrize("name", CLIENT_FREE)
def test_a_domain_module_loads_no_client(name: str) -> None:
    assert not loaded_with(name) & CLIENTS


def test_the_command_starts_with_typer_alone() -> None:
    """`evcharge --help` is quick because nothing heavier is loaded."""
    assert loaded_with("evcharge.cli.app") - sys.stdlib_module_names == {"typer"}
