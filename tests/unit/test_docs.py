"""What the documents say exists: links, commands, targets, settings, codes; and what is generated is up to date."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from evcharge import dictionary
from evcharge.cli.app import app
from evcharge.contracts import CONTRACTS
from evcharge.lake.schemas import ARCHIVE_FIELDS, QUARANTINE_SCHEMA
from evcharge.settings import PROJECT, Settings

DOCUMENTS = [
    *(PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md")),
    *sorted((PROJECT / "docs").glob("*.md")),
    *sorted((PROJECT / "docs" / "decisions").glob("*.md")),
]
COMMAND = typer.main.get_command(app)

each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)


def code(path: Path) -> str:
    """What stands in code spans and blocks, where commands and names are meant literally."""
    text = path.read_text()
    blocks = re.findall(r"^```\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))])


def headings(path: Path) -> set[str]:
    """A page's headings as links name them: lower case, hyphens between the words."""
    found = re.findall(r"^#+ (.*)$", path.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_the_dictionary_is_up_to_date() -> None:
    found = (PROJECT / "docs" / "data-dictionary.md").read_text()
    assert found == dictionary.render(), "run `evcharge dictionary`"


def test_the_dictionary_knows_every_column_of_the_archive() -> None:
    assert [field.name for field in ARCHIVE_FIELDS] == list(dictionary.ARCHIVE_COLUMNS)
    assert QUARANTINE_SCHEMA.names == list(dictionary.QUARANTINE_COLUMNS)


def test_the_dictionary_knows_every_rule_of_the_candidate() -> None:
    source = (PROJECT / "evcharge" / "lake" / "judge.py").read_text()
    codes = set(re.findall(r'Rule\(\s*"([A-Z_0-9]+)"', source))
    named = {*dictionary.RULES_BEFORE, *dictionary.RULES_AFTER}
    assert named <= codes
    assert codes - named <= {rule.code for contract in CONTRACTS.values() for rule in contract.rules}


@each_document
def test_links_lead_somewhere(path: Path) -> None:
    for target, heading in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", path.read_text()):
        if not target.startswith("https://"):
            linked = path.parent / target if target else path
            assert linked.exists(), target
            assert not heading or heading in headings(linked), f"{target}#{heading}"


@each_document
def test_commands_exist(path: Path) -> None:
    for line in re.findall(r"\bevcharge ([a-z][a-z-]*(?: [a-z][a-z-]*)*)", code(path)):
        command = COMMAND
        for word in line.split():
            if not isinstance(command, TyperGroup):
                break
            assert word in command.commands, f"evcharge {line}"
            command = command.commands[word]


@each_document
def test_options_exist(path: Path) -> None:
    # typer has its own copy of click, whose classes have no public names
    def options(command: Any) -> set[str]:
        own = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
        return own.union(*(options(sub) for sub in getattr(command, "commands", {}).values()))

    for line in re.findall(r"\bevcharge [a-z].*", code(path)):
        assert set(re.findall(r"(?<= )--[a-z][a-z-]+", line)) <= options(COMMAND), line


@each_document
def test_make_targets_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)(?![a-z0-9])", code(path))) <= targets


@each_document
def test_settings_exist(path: Path) -> None:
    known = {f"EVCHARGE_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"\bEVCHARGE_[A-Z_]+\b", path.read_text())) <= known


@each_document
def test_paths_exist(path: Path) -> None:
    """Files and folders of the project that a document names."""
    named = re.findall(r"(?<![\w/.<-])((?:evcharge|evcharge_assets|tests|docs|deploy|examples)/[\w./-]+)", code(path))
    for name in named:
        assert (PROJECT / name).exists(), name


def test_the_readme_is_short() -> None:
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 150


def test_contributing_names_every_package_of_the_library() -> None:
    rows = re.findall(r"^\| `(\w+)` \| \d+ \|", (PROJECT / "CONTRIBUTING.md").read_text(), flags=re.MULTILINE)
    library = PROJECT / "evcharge"
    packages = {path.parent.name for path in library.glob("*/__init__.py")}
    assert set(rows) == packages | {path.stem for path in library.glob("[!_]*.py")}
