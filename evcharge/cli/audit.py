"""`evcharge reconcile` and `evcharge trace`: whether every store holds the same, and where one session is in each of them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from evcharge.cli.options import AsJson
from evcharge.cli.output import plain_table, print_table, say, show

if TYPE_CHECKING:
    from evcharge.audit.reconcile import Reconciliation
    from evcharge.audit.trace import Trace
    from evcharge.settings import Settings


def reconcile(
    as_json: AsJson = False,
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="Compare events of this UTC day and later. Elasticsearch is left out: its documents need the whole history.",
        ),
    ] = None,
    sample: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="Compare this share of the stations, always the same ones: 0.1 is a tenth."
        ),
    ] = None,
) -> None:
    """Compare every store: producers' ledgers, Kafka, lake, ClickHouse, Elasticsearch, Cassandra.

    Counts, energy sums and hashes are compared by station and hour, as of the offsets that the lake's ledger has reached.
    For Elasticsearch, the column events counts station documents. For Cassandra, it counts final hours.

    Exit code 0: equal. 1: differences. 2: there is nothing to compare.
    """
    from evcharge.audit.reconcile import Part
    from evcharge.audit.reconcile import reconcile as compare
    from evcharge.cli.progress import spinner
    from evcharge.settings import load_settings

    part = Part(since.date() if since else None, sample)
    with spinner("reading") as status:
        verdict = compare(load_settings(), on_step=lambda store: status.say(f"reading {store}"), part=part)
    code = 2 if verdict.empty else 0 if verdict.equal else 1
    show(verdict.to_json(), as_json, lambda: _print_verdict(verdict, code))
    raise typer.Exit(code)


def trace(
    session_id: Annotated[str, typer.Argument(help="A session's id, e.g. from v_charging_sessions.")],
    station: Annotated[str | None, typer.Option(help="Its station, where several have a session of this id.")] = None,
    as_json: AsJson = False,
) -> None:
    """Follow one session: its events and their Kafka offsets, branch, lake commit, Dagster run, fact row."""
    from evcharge.audit.trace import trace as follow
    from evcharge.errors import UserError
    from evcharge.settings import load_settings

    settings = load_settings()
    found = follow(settings, session_id, station)
    if found is None:
        raise UserError(f"no store knows session {session_id}")
    content = {name: getattr(found, name) for name in ("session_id", "station_id", "events", "publications", "fact")}
    show(content, as_json, lambda: _print_trace(settings, found))


def _print_verdict(verdict: Reconciliation, code: int) -> None:
    table = plain_table("store", "events", "sessions", "energy kWh", "hash")
    for name, figures in verdict.stores.items():
        table.add_row(
            name, f"{figures.events:,}", f"{figures.sessions:,}", f"{figures.energy_wh / 1000:,.3f}", figures.hash
        )
    print_table(table)
    if verdict.sample is not None:
        say(f"only a sample of the stations: {verdict.sample:.3%} of all")
    if verdict.since is not None:
        say(f"only events since {verdict.since}; Elasticsearch is not compared")
    say(f"{verdict.quarantined} records in quarantine; cut at offsets {verdict.cut}")
    if verdict.lost:
        say(f"{verdict.lost} events were lost in accepted gaps of Kafka's log, and are not compared")
    if verdict.other_producers:
        say(f"not ours: {verdict.other_producers:,} events of other producers, which no sent ledger here has")
    if verdict.days_behind:
        say(f"not loaded yet, compared as of their last load: {', '.join(verdict.days_behind)}")
    if verdict.stations_ahead:
        say(f"{verdict.stations_ahead} stations in Elasticsearch are ahead of the lake and not compared")
    if verdict.stations_unordered:
        say(
            f"{verdict.stations_unordered} stations have events in several partitions of Kafka, so their order is not known: "
            "their documents in Elasticsearch are not compared"
        )
    for difference in verdict.differences:
        say(
            f"{difference.store} against {difference.against}: station {difference.station_id}, hour {difference.hour}: "
            f"expected {difference.expected}, found {difference.found}"
        )
    if verdict.difference_count > len(verdict.differences):
        say(f"… {verdict.difference_count} differences in all")
    say({0: "equal", 1: "NOT EQUAL", 2: "nothing to compare"}[code])


def _print_trace(settings: Settings, found: Trace) -> None:
    from evcharge.dagster_api import run_url

    say(f"session {found.session_id} at station {found.station_id}")
    for event in found.events:
        say(
            f"  {event['occurred_at']:%Y-%m-%d %H:%M:%S} {event['event_type']:9} "
            f"{_kwh(event['energy_delivered_kwh'])}  kafka partition {event['kafka_partition']} offset {event['kafka_offset']}"
            f"  {event['publication_id']}"
        )
    for publication in found.publications:
        say(f"  published {publication['publication_id']}: branch {publication['branch']}")
        say(f"    commit {publication['lake_commit']} at {publication['merged_at']}")
        say(f"    Dagster run {run_url(settings, publication['run_id'])}")
    if found.fact is None:
        say("  no fact row: the session has not ended, or its day is not loaded yet")
        return
    for name, value in found.fact.items():
        say(f"  {name:22} {value}")


def _kwh(energy_kwh: float | None) -> str:
    return " " * 11 if energy_kwh is None else f"{energy_kwh:7.3f} kWh"
