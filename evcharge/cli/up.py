"""`evcharge up`: from a fresh clone to a running platform."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from evcharge.cli.output import plain_table, print_table, say
from evcharge.cli.stack import print_checks, print_left_out

if TYPE_CHECKING:
    from evcharge.main_job import Outcome
    from evcharge.settings import Settings


def up(
    main_job: Annotated[bool, typer.Option(help="Simulate the first day and take it to ClickHouse.")] = True,
) -> None:
    """Bring the platform up: check the machine, fetch and start the servers, run the main job, start the live feed.

    The main job takes one simulated day through Dagster, from Kafka to ClickHouse. A second `up` adds no day. Every step can
    be repeated: what is done already is left alone.
    """
    from evcharge.cli.progress import Progress
    from evcharge.main_job import run_main_job
    from evcharge.settings import load_settings, require_clone
    from evcharge.stack.preflight import preflight, require
    from evcharge.stack.stack import Stack

    require_clone("`evcharge up`")
    began = time.monotonic()
    settings = load_settings()
    checks = preflight(settings)
    print_checks(checks)
    require(checks)
    with Progress() as progress:
        stack = Stack(settings, progress)
        settings = stack.up()
        healthy_s = time.monotonic() - began
        outcome = run_main_job(settings, progress) if main_job else None
        stack.start("simulation")
    if outcome is not None:
        _print_outcome(outcome)
    say("", f"servers healthy after {healthy_s:.0f} s, all done after {time.monotonic() - began:.0f} s")
    _print_links(settings)
    print_left_out(stack)


def _print_outcome(outcome: Outcome) -> None:
    verdict = outcome.reconciliation
    table = plain_table("store", "events", "sessions", "energy kWh")
    table.title = "What each store holds"
    for name, figures in verdict.stores.items():
        table.add_row(name, f"{figures.events:,}", f"{figures.sessions:,}", f"{figures.energy_wh / 1000:,.3f}")
    print_table(table)
    say(
        f"first day: {outcome.ledger_sessions:,} sessions, {outcome.ledger_energy_kwh:,.3f} kWh in the simulation's ledger, "
        f"{outcome.warehouse_sessions:,} sessions, {outcome.warehouse_energy_kwh:,.3f} kWh in ClickHouse"
    )
    say(f"{outcome.stations:,} stations in dim_station, {outcome.publications:,} publications in the lake")
    differences = f"{verdict.difference_count} differences, see `evcharge reconcile`"
    say(f"reconcile: {'equal' if verdict.equal else differences}")
    say("stages: " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in outcome.stage_s.items()))


def _print_links(settings: Settings) -> None:
    rows = (
        ("Dagster", f"http://127.0.0.1:{settings.dagster_port}/asset-groups", "lineage, runs, backfills, checks"),
        ("ClickHouse", f"http://127.0.0.1:{settings.clickhouse_http_port}/play", "SQL in the browser"),
        ("its login", "evcharge credentials analyst", "also for DBeaver and clickhouse-client"),
        ("lake", "evcharge lake log", "publications, newest first"),
        ("MinIO", f"http://127.0.0.1:{settings.port('minio_console')}", "the objects below the lake"),
        ("proof", "evcharge reconcile", "compares every store"),
    )
    table = plain_table(show_header=False)
    for row in rows:
        table.add_row(*row)
    print_table(table)
