"""The top-level commands that ask the whole platform: reconcile, trace, credentials."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="for programs")]


def register(app: typer.Typer) -> None:
    """Adds the commands to the evcharge command."""
    app.command()(reconcile)
    app.command()(trace)
    app.command()(credentials)


def reconcile(as_json: AsJson = False) -> None:
    """Compare every store: producers' ledgers, Kafka, lake, ClickHouse, Elasticsearch, Cassandra.

    Exit code 0: equal, 1: differences, 2: nothing there. Counts, energy sums and hashes are compared by station and hour
    at one cut, the lake's ledger. Of Elasticsearch the events are station documents, of Cassandra final hours.
    """
    from rich.console import Console
    from rich.table import Table

    from evcharge.audit.reconcile import reconcile as compare
    from evcharge.settings import load_settings

    console = Console(stderr=True)
    with console.status("reading") as status:
        verdict = compare(load_settings(), on_step=lambda store: status.update(f"reading {store}"))
    code = 2 if verdict.empty else 0 if verdict.equal else 1
    if as_json:
        typer.echo(json.dumps(verdict.to_json(), indent=2, default=str))
        raise typer.Exit(code)
    table = Table("store", "events", "sessions", "energy kWh", "hash", box=None, pad_edge=False)
    for name, figures in verdict.stores.items():
        table.add_row(
            name, f"{figures.events:,}", f"{figures.sessions:,}", f"{figures.energy_wh / 1000:,.3f}", figures.hash
        )
    Console().print(table)
    typer.echo(f"{verdict.quarantined} records in quarantine; cut at offsets {verdict.cut}")
    if verdict.days_behind:
        typer.echo(f"not loaded yet, compared as of their last load: {', '.join(verdict.days_behind)}")
    if verdict.stations_ahead:
        typer.echo(f"{verdict.stations_ahead} stations in Elasticsearch are ahead of the lake and not compared")
    for difference in verdict.differences:
        typer.echo(
            f"{difference.store} against {difference.against}: station {difference.station_id}, hour {difference.hour}: "
            f"expected {difference.expected}, found {difference.found}"
        )
    if verdict.difference_count > len(verdict.differences):
        typer.echo(f"… {verdict.difference_count} differences in all")
    typer.echo({0: "equal", 1: "NOT EQUAL", 2: "nothing to compare"}[code])
    raise typer.Exit(code)


def trace(
    session_id: Annotated[str, typer.Argument(help="e.g. from v_charging_sessions")], as_json: AsJson = False
) -> None:
    """Follow one session: its events and their Kafka offsets, branch, lake commit, Dagster run, fact row."""
    from evcharge.audit.trace import trace as follow
    from evcharge.dagster_api import run_url
    from evcharge.errors import UserError
    from evcharge.settings import load_settings

    settings = load_settings()
    found = follow(settings, session_id)
    if found is None:
        raise UserError(f"no store knows session {session_id}")
    if as_json:
        content = {name: getattr(found, name) for name in ("session_id", "events", "publications", "fact")}
        typer.echo(json.dumps(content, indent=2, default=str))
        return
    typer.echo(f"session {session_id}")
    for event in found.events:
        typer.echo(
            f"  {event['occurred_at']:%Y-%m-%d %H:%M:%S} {event['event_type']:9} "
            f"{_kwh(event['energy_delivered_kwh'])}  kafka partition {event['kafka_partition']} offset {event['kafka_offset']}"
            f"  {event['publication_id']}"
        )
    for publication in found.publications:
        typer.echo(f"  published {publication['publication_id']}: branch {publication['branch']}")
        typer.echo(f"    commit {publication['lake_commit']} at {publication['merged_at']}")
        typer.echo(f"    Dagster run {run_url(settings, publication['run_id'])}")
    if found.fact is None:
        typer.echo("  no fact row: the session has not ended, or its day is not loaded yet")
        return
    for name, value in found.fact.items():
        typer.echo(f"  {name:22} {value}")


def credentials(
    who: Annotated[str, typer.Argument(help="analyst: the read-only user of the warehouse")],
    as_json: AsJson = False,
) -> None:
    """Print how to log in to the warehouse as the read-only analyst, from DBeaver, clickhouse-client or a browser."""
    from evcharge.errors import UserError
    from evcharge.settings import load_settings

    if who != "analyst":
        raise UserError(f"there are no credentials for {who!r} to hand out; try `evcharge credentials analyst`")
    settings = load_settings()
    password = settings.analyst_password.get_secret_value()
    if not password:
        raise UserError("no credentials yet: `make up` generates them")
    login: dict[str, Any] = {
        "host": settings.clickhouse_host,
        "port": settings.clickhouse_port,
        "http_port": settings.clickhouse_http_port,
        "user": settings.analyst_user,
        "password": password,
        "database": settings.clickhouse_database,
    }
    if as_json:
        typer.echo(json.dumps(login, indent=2))
        return
    for name, value in login.items():
        typer.echo(f"{name:10} {value}")
    typer.echo(
        f"""
Browser            http://{login["host"]}:{login["http_port"]}/play (user and password at the top right)
DBeaver            new connection, ClickHouse: host, port {login["http_port"]} (HTTP), database, user, password as above
clickhouse-client  clickhouse-client --host {login["host"]} --port {login["port"]} --user {login["user"]} \\
                     --password '{password}' --database {login["database"]}
Start with         SELECT * FROM v_charging_sessions LIMIT 10; more in docs/questions.md"""
    )


def _kwh(energy_kwh: float | None) -> str:
    return " " * 11 if energy_kwh is None else f"{energy_kwh:7.3f} kWh"
