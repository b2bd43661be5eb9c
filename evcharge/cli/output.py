"""What commands print: an answer as text or as JSON, tables, and logs beside them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.table import Table


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
    """An empty table without lines between its cells."""
    from rich.table import Table

    return Table(*headings, show_header=show_header, box=None, pad_edge=False)


def print_table(table: Table) -> None:
    """Prints a table to stdout, as wide as the terminal."""
    from rich.console import Console

    Console().print(table)


def log_to_stderr() -> None:
    """Sends logs to stderr, because a report on stdout may be JSON."""
    import structlog

    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
