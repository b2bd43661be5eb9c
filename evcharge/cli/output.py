"""What commands print: an answer as text or as JSON, tables, and logs beside them.

Nothing that is printed can style or steer the terminal (`evcharge.cli.plain_text`; `evcharge.cli.terminal` for rich).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any

import typer

from evcharge.cli.plain_text import plain

if TYPE_CHECKING:
    from rich.table import Table


def say(*lines: str, err: bool = False) -> None:
    """Prints lines to stdout, or to stderr."""
    for line in lines:
        typer.echo(plain(line), err=err)


def confirm(question: str) -> None:
    """Asks, and aborts the command unless the answer is yes."""
    typer.confirm(plain(question), abort=True)


def show(payload: object, as_json: bool, print_text: Callable[[], None], *, indent: int | None = 2) -> None:
    """Prints `payload` as JSON, or calls `print_text`.

    JSON gets times as `str` shows them. Without an `indent` it is one line. Raises ValueError for a NaN, which no JSON parser
    has to accept.
    """
    if as_json:
        typer.echo(json.dumps(payload, indent=indent, default=str, allow_nan=False))
    else:
        print_text()


def plain_table(*headings: str, show_header: bool = True) -> Table:
    """An empty table without lines between its cells. A cell is a string, shown as it is, or a `Text` of ours.

    A word that is wider than its column goes on in the next line: a path or an id that is cut off is of no use.
    """
    from rich.table import Column, Table

    columns = [Column(heading, overflow="fold") for heading in headings]
    return Table(*columns, show_header=show_header, box=None, pad_edge=False)


def print_table(table: Table, *, width: int | None = None) -> None:
    """Prints a table to stdout, as wide as the terminal or as `width`."""
    from evcharge.cli.terminal import PlainConsole

    PlainConsole(width=width).print(table)


def log_to_stderr() -> None:
    """Sends logs to stderr, because a report on stdout may be JSON."""
    import structlog

    plain_logs()
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))


def plain_logs() -> None:
    """Lets logs show their values as they are."""
    import structlog

    processors = structlog.get_config()["processors"]
    if _plain_values not in processors:
        structlog.configure(processors=[_plain_values, *processors])


def _plain_values(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: plain(value) if isinstance(value, str) else value for name, value in event.items()}
