"""`evcharge registry`: the stations that exist, from AFDC's downloads and its API."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from evcharge.registry.feed import LoadReport
    from evcharge.registry.snapshot import Problem
    from evcharge.settings import Settings

#: Row numbers shown for each reason; --json has them all.
ROWS_SHOWN = 5

app = typer.Typer(
    no_args_is_help=True,
    help="The station registry: which charging stations exist, from AFDC (US Department of Energy).",
)

Confirm = Annotated[
    bool, typer.Option("--confirm-removals", help="Believe it even if more than 20 % of the stations are missing.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]


@app.callback()
def _logs_beside_reports() -> None:
    """Logs go to stderr: stdout is for the report, which may be JSON."""
    import structlog

    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))


@app.command()
def load(
    file: Annotated[
        Path | None,
        typer.Argument(help="AFDC download, .csv or .json, gzipped or not; without it our own synthetic example."),
    ] = None,
    scope: Annotated[
        str | None,
        typer.Option(
            help="What FILE covers: all, source, or a state such as NY. A known station of the scope that is missing "
            "from FILE is marked gone; without a scope none is."
        ),
    ] = None,
    confirm_removals: Confirm = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the warehouse has the stations.")] = False,
    timeout_s: Annotated[int, typer.Option("--timeout", help="With --wait: seconds to wait at most.")] = 600,
    as_json: AsJson = False,
) -> None:
    """Publish what a download of AFDC's station list changes; loading it again changes nothing.

    Downloads of any year are read (docs/formats.md). Rows that can not be read, and rows outside the scope, are left
    out and reported by row and reason.

    Try it: evcharge registry load examples/registry-synthetic.csv --scope source
    """
    from evcharge.registry.feed import EXAMPLE, load_file
    from evcharge.settings import load_settings

    settings = load_settings()
    report = load_file(settings, file or EXAMPLE, scope=scope, confirm_removals=confirm_removals)
    if as_json:
        typer.echo(json.dumps(report.as_json()))
    else:
        _print_load(report)
    if wait:
        _wait(settings, report, timeout_s)


@app.command()
def poll(confirm_removals: Confirm = False, as_json: AsJson = False) -> None:
    """Ask AFDC's API whether stations have changed, and publish those that have. Dagster does it hourly.

    Needs EVCHARGE_AFDC_API_KEY. If AFDC can not be asked or answers nonsense, nothing is published and the command
    says how old the last good copy is.
    """
    from evcharge.registry import feed
    from evcharge.settings import load_settings

    report = feed.poll(load_settings(), confirm_removals=confirm_removals)
    if as_json:
        typer.echo(json.dumps(report.as_json()))
    elif report.load is None:
        typer.echo(f"unchanged since {report.last_updated}")
    else:
        _print_load(report.load)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Stations current and gone by source and scope, the age of the last good copy, how the last poll ended."""
    from datetime import timedelta

    from evcharge.registry import feed
    from evcharge.settings import load_settings

    told = feed.status(load_settings())
    if as_json:
        typer.echo(json.dumps(told))
        return
    for source, counts in told["sources"].items():
        typer.echo(f"{source}: {counts['current']:,} stations, {counts['gone']:,} gone")
    if not told["sources"]:
        typer.echo("no station was loaded yet")
    for snapshot in told["snapshots"]:
        as_of = f", as of {snapshot['as_of'][:10]}" if snapshot["as_of"] else ""
        typer.echo(
            f"scope {snapshot['scope']} of {'+'.join(snapshot['sources'])}: {snapshot['current']:,} stations, "
            f"{snapshot['gone']:,} gone; from {snapshot['origin']}{as_of}"
        )
    if told["pending"]:
        typer.echo(f"{told['pending']:,} rows of a load that was killed wait for the next load")
    copy: dict[str, Any] | None = told["last_good_copy"]
    age = feed.describe_age(timedelta(seconds=copy["age_s"])) if copy else None
    typer.echo(f"last good copy: {age} old, {copy['file']}" if copy else "last good copy of the API: none")
    last = told["last_poll"]
    typer.echo(f"last poll: {last['outcome']} at {last['at']}: {last['detail']}" if last else "last poll: none")


def _print_load(report: LoadReport) -> None:
    as_of = f", as of {report.as_of:%Y-%m-%d}" if report.as_of else ""
    typer.echo(f"{report.origin}: {report.stations:,} electric stations{as_of}, scope {report.scope}")
    changes = ", ".join(f"{count:,} {kind}" for kind, count in report.changes.items())
    typer.echo(f"published {report.published:,} messages: {changes}")
    if report.completed:
        typer.echo(f"completed an earlier load that had been killed: {report.completed:,} messages")
    if report.not_electric:
        typer.echo(f"skipped {report.not_electric:,} rows of other fuels")
    for verb, problems in (("rejected", report.rejected), ("corrected", report.corrected)):
        _print_problems(verb, problems)
    for note in report.notes:
        typer.echo(f"note: {note}")


def _print_problems(verb: str, problems: list[Problem]) -> None:
    from evcharge.registry.snapshot import by_reason

    for reason, rows in by_reason(problems).items():
        shown = ", ".join(map(str, rows[:ROWS_SHOWN])) + (", …" if len(rows) > ROWS_SHOWN else "")
        typer.echo(f"{verb} {len(rows):,} rows: {reason} (rows {shown})")


def _wait(settings: Settings, report: LoadReport, timeout_s: int) -> None:
    from rich.console import Console

    from evcharge.warehouse.wait import wait_until_loaded

    with Console(stderr=True).status("waiting for the lake and the warehouse"):
        wait_until_loaded(settings, report.topic_offsets, set(), timeout_s)
    typer.echo("the warehouse has them", err=True)
