"""`--help` teaches: it names every command, and says everything in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from evcharge.cli.app import app

COMMAND: Any = typer.main.get_command(app)


def commands(command: Any, path: str = "evcharge") -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, sub in getattr(command, "commands", {}).items():
        yield from commands(sub, f"{path} {name}")


def test_the_help_names_every_command() -> None:
    assert len(COMMAND.commands) > 10
    assert not [name for name in COMMAND.commands if f"`{name}`" not in COMMAND.help]


@pytest.mark.parametrize("command", [pytest.param(command, id=path) for path, command in commands(COMMAND)])
def test_help_is_said_in_sentences(command: Any) -> None:
    # the two options for completion are typer's own
    helps = [p.help for p in command.params if getattr(p, "help", None) and "completion" not in p.name]
    for text in (command.help.strip().partition("\n\n")[0], *helps):
        assert text.endswith("."), text
        assert not text[0].islower(), text
