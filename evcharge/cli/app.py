"""The `evcharge` command: assembles the commands of each area.

A command module imports only typer and the standard library at its top, everything else inside its functions, so
that `evcharge --help` is quick.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from evcharge import dictionary
from evcharge.cli import audit as platform
from evcharge.cli import lake, queries, reference, registry, stack
from evcharge.cli import recorded as sessions
from evcharge.cli import stream as live

app = typer.Typer(
    name="evcharge",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="The open EV-charging data platform: servers, recorded and simulated charging, the lake, the warehouse.",
)
app.add_typer(stack.app, name="stack")
sessions.register(app)
app.add_typer(lake.app, name="lake")
app.add_typer(reference.app, name="reference")
app.add_typer(registry.app, name="registry")
live.register(app)
queries.register(app)
platform.register(app)
dictionary.register(app)


@app.command()
def up(
    main_job: Annotated[bool, typer.Option(help="simulate the first day and take it to ClickHouse")] = True,
) -> None:
    """Bring the platform up: check the machine, fetch and start the servers, run the main job, feed on.

    The main job is one simulated day through Dagster, from Kafka to ClickHouse. A second `up` adds no day.
    """
    from evcharge.cli.up import bring_up

    bring_up(main_job=main_job)


@app.command()
def settings() -> None:
    """List every setting with its present value. Each is set by the environment variable of its name."""
    from pydantic import SecretStr
    from rich.console import Console
    from rich.table import Table

    from evcharge.settings import Settings, load_settings

    current = load_settings()
    table = Table("variable", "value", "meaning", box=None, pad_edge=False)
    for name, field in Settings.model_fields.items():
        value = getattr(current, name)
        shown = ("(set)" if value else "(not set)") if isinstance(value, SecretStr) else str(value)
        table.add_row(f"EVCHARGE_{name.upper()}", shown, field.description or "")
    Console().print(table)


def main() -> None:
    """Runs the command. What a user can put right ends in one clear message and exit code 1, never in a traceback."""
    from evcharge.connections import ServerDownError
    from evcharge.errors import UserError

    try:
        app()
    except (ServerDownError, UserError) as error:
        print(f"evcharge: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("evcharge: interrupted", file=sys.stderr)
        sys.exit(130)
