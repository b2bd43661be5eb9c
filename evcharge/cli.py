"""The `evcharge` command: assembles the commands of each area.

A command module imports only typer and the standard library at its top, everything else inside its functions, so
that `evcharge --help` is quick.
"""

from __future__ import annotations

import sys

import typer

from evcharge.stack import commands as stack

app = typer.Typer(
    name="evcharge",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="The open EV-charging data platform: servers, recorded and simulated charging, the lake, the warehouse.",
)
app.add_typer(stack.app, name="stack")


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
    from evcharge.settings import SettingsError
    from evcharge.stack.errors import StackError

    try:
        app()
    except (SettingsError, ServerDownError, StackError) as error:
        print(f"evcharge: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("evcharge: interrupted", file=sys.stderr)
        sys.exit(130)
