"""`evcharge up`: from a fresh clone to a platform that runs."""

from __future__ import annotations

import time

from rich.console import Console
from rich.table import Table

from evcharge.cli.progress import Progress
from evcharge.cli.stack import print_checks, print_left_out
from evcharge.main_job import Outcome, run_main_job
from evcharge.settings import Settings, load_settings
from evcharge.stack.preflight import preflight, require
from evcharge.stack.stack import Stack


def bring_up(*, main_job: bool = True) -> Settings:
    """Preflight, provisioning, servers, bootstrap, Dagster, the main job, the live simulation; returns the settings.

    Raises SettingsError, StackError, UserError. Every step can be repeated: what is done is left alone.
    """
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
    console = Console()
    if outcome is not None:
        _print_outcome(console, outcome)
    console.print(f"\nservers healthy after {healthy_s:.0f} s, all done after {time.monotonic() - began:.0f} s")
    _print_links(console, settings)
    print_left_out(stack)
    return settings


def _print_outcome(console: Console, outcome: Outcome) -> None:
    table = Table("store", "events", "sessions", "energy kWh", box=None, pad_edge=False, title="What each store holds")
    for name, figures in outcome.reconciliation.stores.items():
        table.add_row(name, f"{figures.events:,}", f"{figures.sessions:,}", f"{figures.energy_wh / 1000:,.3f}")
    console.print(table)
    console.print(
        f"first day: {outcome.ledger_sessions:,} sessions, {outcome.ledger_energy_kwh:,.3f} kWh in the simulation's ledger, "
        f"{outcome.warehouse_sessions:,} sessions, {outcome.warehouse_energy_kwh:,.3f} kWh in ClickHouse"
    )
    console.print(f"{outcome.stations:,} stations in dim_station, {outcome.publications:,} publications in the lake")
    verdict = outcome.reconciliation
    console.print(
        "reconcile: "
        + ("equal" if verdict.equal else f"{verdict.difference_count} differences, see `evcharge reconcile`")
    )
    console.print("stages: " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in outcome.stage_s.items()))


def _print_links(console: Console, settings: Settings) -> None:
    dagster = f"http://127.0.0.1:{settings.dagster_port}"
    rows = (
        ("Dagster", f"{dagster}/asset-groups", "lineage, runs, backfills, checks"),
        ("ClickHouse", f"http://127.0.0.1:{settings.clickhouse_http_port}/play", "SQL in the browser"),
        ("its login", "evcharge credentials analyst", "also for DBeaver and clickhouse-client"),
        ("lake", "evcharge lake log", "publications, newest first"),
        ("MinIO", f"http://127.0.0.1:{settings.port('minio_console')}", "the objects below the lake"),
        ("proof", "evcharge reconcile", "compares every store"),
    )
    table = Table(box=None, pad_edge=False, show_header=False)
    for row in rows:
        table.add_row(*row)
    console.print(table)
