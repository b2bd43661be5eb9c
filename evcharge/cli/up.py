"""`evcharge up`: from a fresh clone to a running platform."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from evcharge.cli.output import plain_table, print_table, say
from evcharge.cli.stack import print_checks, print_left_out

if TYPE_CHECKING:
    from concurrent.futures import Future
    from types import FrameType

    from evcharge.coming import Coming
    from evcharge.main_job import Outcome
    from evcharge.settings import Settings
    from evcharge.stack.provision import Provisioner
    from evcharge.stack.stack import Stack

#: What is still to come after the servers, by the names that the main job reports.
_STAGES = {
    "publish": "the first day in the lake",
    "load": "the first day in the warehouse",
    "reconcile": "the comparison of all stores",
}


def up(
    main_job: Annotated[bool, typer.Option(help="Simulate the first day and take it to ClickHouse.")] = True,
) -> None:
    """Bring the platform up: check the machine, fetch and start the servers, run the main job, start the live feed.

    The live map comes first: its stores, the stream, the simulated feed and the dashboard. Its link is shown as soon as it
    lives. Meanwhile the rest is fetched and built behind everything else. The main job takes one simulated day from Kafka to
    ClickHouse. A second `up` adds no day. Every step can be repeated, and Ctrl-C at any time: what is done already is left
    alone.
    """
    from evcharge.cli.progress import Progress
    from evcharge.coming import coming
    from evcharge.settings import load_settings, require_clone
    from evcharge.stack.first_look import start_what_is_fetched
    from evcharge.stack.preflight import preflight, require
    from evcharge.stack.provision import Provisioner
    from evcharge.stack.stack import Stack

    require_clone("`evcharge up`")
    for name in (signal.SIGTERM, signal.SIGHUP):
        # so that no build goes on without this command
        signal.signal(name, _interrupt)
    began = time.monotonic()
    settings = load_settings()
    checks = preflight(settings)
    print_checks(checks)
    require(checks)
    with coming(settings, Progress()) as report, Provisioner(settings, report) as provisioner:
        stack = Stack(settings, report)
        downloads = _first_look(stack, report, provisioner, main_job, began)
        with _progress(report):
            _require_running(stack)
            start_what_is_fetched(stack, provisioner, downloads)
            provisioner.wait()
            _require_running(stack)
            settings = stack.up()
            report.arrived(*stack.services)
            healthy_s = time.monotonic() - began
            outcome = _main_job(settings, report) if main_job else None
            stack.start("simulation")
    if outcome is not None:
        _print_outcome(outcome)
    say("", f"servers healthy after {healthy_s:.0f} s, all done after {time.monotonic() - began:.0f} s")
    _print_links(settings)
    print_left_out(stack)


def _first_look(
    stack: Stack, report: Coming, provisioner: Provisioner, simulate: bool, began: float
) -> list[Future[None]]:
    """Fetches what the live map needs and brings it up, with everything else behind it; says so as soon as the map lives.

    Returns the downloads that still go on.
    """
    from evcharge.stack.first_look import (
        PARTS,
        first_look_servers,
        provision_in_order,
        start_first_look,
        wait_until_it_lives,
    )
    from evcharge.stack.servers import in_profile

    expected = [name for name, server in in_profile(stack.settings).items() if not server.on_demand]
    with _progress(report):
        report.expect({name: (PARTS.get(name, name), "waits") for name in expected})
        downloads = provision_in_order(stack.settings, provisioner)
        if not first_look_servers(stack.settings):
            return downloads
        waits = start_first_look(stack, simulate)
    has_pages = "dashboard" in expected
    if has_pages:
        say("", f"The dashboard: {_dashboard(stack.settings)} (after {time.monotonic() - began:.0f} s)")
    if waits:
        with _progress(report):
            lives = wait_until_it_lives(stack)
        if lives:
            where = _dashboard(stack.settings) if has_pages else "see `evcharge nearby`"
            say("", f"The map lives: {where} (after {time.monotonic() - began:.0f} s)")
    if still := report.parts():
        say("The rest is still coming: " + ", ".join(part.what for part in still), "")
    return downloads


def _main_job(settings: Settings, report: Coming) -> Outcome:
    """Takes the first day to ClickHouse. If this is interrupted, Dagster goes on with it: nothing is to come from here."""
    from evcharge.coming import forget_coming
    from evcharge.main_job import run_main_job

    report.expect({name: (what, "loading") for name, what in _STAGES.items()})
    try:
        return run_main_job(settings, report)
    finally:
        forget_coming(settings)


def _require_running(stack: Stack) -> None:
    """Raises StackError if somebody stopped the platform during the first look or the builds."""
    from evcharge.stack.errors import StackError
    from evcharge.stack.first_look import first_look_servers
    from evcharge.stack.supervisor import Supervisor

    if first_look_servers(stack.settings) and not Supervisor(stack.settings).is_running():
        raise StackError("the platform was stopped meanwhile; `make up` continues")


@contextmanager
def _progress(report: Coming) -> Iterator[None]:
    """Meanwhile what is reported is shown."""
    from evcharge.cli.progress import Progress

    with Progress() as progress:
        report.report = progress
        yield


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _dashboard(settings: Settings) -> str:
    return f"http://127.0.0.1:{settings.dashboard_port}/"


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
    from evcharge.stack.servers import in_profile

    rows = [
        ("Dagster", f"http://127.0.0.1:{settings.dagster_port}/asset-groups", "lineage, runs, backfills, checks"),
        ("ClickHouse", f"http://127.0.0.1:{settings.clickhouse_http_port}/play", "SQL in the browser"),
        ("its login", "evcharge credentials analyst", "also for DBeaver and clickhouse-client"),
        ("lake", "evcharge lake log", "publications, newest first"),
        ("MinIO", f"http://127.0.0.1:{settings.port('minio_console')}", "the objects below the lake"),
        ("proof", "evcharge reconcile", "compares every store"),
    ]
    if "dashboard" in in_profile(settings):
        rows.insert(0, ("dashboard", _dashboard(settings), "live map, trips, forecast, network, status"))
    table = plain_table(show_header=False)
    for row in rows:
        table.add_row(*row)
    print_table(table)
