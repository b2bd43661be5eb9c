"""The `evcharge` command: assembles the commands of each area.

A command module imports only typer and the standard library at its top, and everything else inside its functions, so that
`evcharge --help` is quick.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from evcharge.cli import (
    audit,
    configuration,
    dashboard,
    dictionary,
    forecast,
    lake,
    live,
    queries,
    recorded,
    reference,
    registry,
    simulate,
    stack,
    stream,
    trip,
    up,
)
from evcharge.cli.output import say
from evcharge.cli.plain_text import plain

_HELP = """
The open EV-charging data platform. Charging stations, sessions and cars go through Kafka into live state, a versioned lake
and a warehouse.

- **Platform:** `up` starts everything, `stack` handles single servers, `settings` and `credentials` say how to reach them,
  `dashboard` runs the web pages on their own.

- **Data in:** `simulate` makes charging up, `replay` sends recorded sessions, `registry` and `reference` load stations and
  EV models, `stream` runs the live state outside Dagster.

- **Drivers' questions:** `nearby`, `station`, `traffic`, `forecast`, `trip`. `live` says how current the answers are,
  and what was refused.

- **Demand:** `fit` learns a site's demand from its sessions, `realism` says how near the simulation comes.

- **Proof:** `reconcile` compares every store, `trace` follows one session, `lake` shows the archive's history, `dictionary`
  describes every column.

Try it without any server: `evcharge simulate --stations 100 --days 2 --report simulation.html`

Start the platform and ask it: `evcharge up`, then `evcharge nearby --lat 34.05 --lon -118.24 --radius-km 25 --free`

Every command explains itself: `evcharge replay --help`
"""


@contextmanager
def _plain_messages() -> Iterator[None]:
    try:
        yield
    except TyperException as error:
        error.message = plain(error.message)
        raise


class _Commands(TyperGroup):
    """The commands. An error about what was typed shows it as it is."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        with _plain_messages():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        with _plain_messages():
            return super().invoke(ctx)


app = typer.Typer(
    name="evcharge",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help=_HELP,
)
for command in (
    recorded.replay,
    recorded.fit,
    recorded.realism,
    stream.stream,
    queries.nearby,
    queries.station,
    queries.traffic,
    trip.trip,
    audit.reconcile,
    audit.trace,
    configuration.credentials,
    dashboard.dashboard,
    dictionary.dictionary,
    up.up,
    configuration.settings,
):
    app.command()(command)
app.add_typer(stack.app, name="stack")
app.add_typer(simulate.app, name="simulate")
app.add_typer(forecast.app, name="forecast")
app.add_typer(lake.app, name="lake")
app.add_typer(live.app, name="live")
app.add_typer(reference.app, name="reference")
app.add_typer(registry.app, name="registry")


def main() -> None:
    """Runs the command. An error that the user can put right ends in one clear message and exit code 1, without a traceback."""
    from evcharge.connections import ServerDownError
    from evcharge.errors import UserError

    try:
        app()
    except (ServerDownError, UserError) as error:
        say(*f"evcharge: {error}".split("\n"), err=True)
        sys.exit(1)
    except UnicodeEncodeError:
        # a shell hands bytes over that are no text; nothing that we keep is called so
        say("evcharge: an argument is no UTF-8 text", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        say("evcharge: interrupted", err=True)
        sys.exit(130)
