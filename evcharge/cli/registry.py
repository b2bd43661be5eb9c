"""`evcharge registry`: the stations that exist, from AFDC's downloads and its API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evcharge.cli.options import AsJson, Wait, WaitTimeout
from evcharge.cli.output import log_to_stderr, say, show

if TYPE_CHECKING:
    from evcharge.registry.feed import LoadReport, PollReport
    from evcharge.registry.snapshot import Problem

#: Rows shown for each reason; --json has them all.
_ROWS_SHOWN = 5

app = typer.Typer(
    no_args_is_help=True,
    help="Load the station registry: which charging stations exist, from AFDC (US Department of Energy).",
)

Confirm = Annotated[
    bool,
    typer.Option(
        "--confirm-removals",
        help="Mark all missing stations as gone, even if they are more than 20 %, or if the list has rows that cannot be read.",
    ),
]


@app.callback()
def _before_each_command() -> None:
    log_to_stderr()


@app.command()
def load(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="An AFDC download: CSV, spreadsheet or JSON, gzipped or not. By default our own synthetic example."
        ),
    ] = None,
    scope: Annotated[
        str | None,
        typer.Option(
            help="What FILE covers: all, source, or a state such as NY. A known station of the scope that is missing "
            "from FILE is marked gone. Without a scope, none is."
        ),
    ] = None,
    confirm_removals: Confirm = False,
    wait: Wait = False,
    timeout_s: WaitTimeout = 600,
    as_json: AsJson = False,
) -> None:
    """Publish what a download of AFDC's station list changes. Loading it again changes nothing.

    Downloads of any year are read, with a row for each station or for each charging unit (docs/formats.md). Rows that cannot
    be read, and rows outside the scope, are left out and reported by row and reason. While there are rows that cannot be read,
    no station is marked gone.

    Try it: evcharge registry load examples/registry-synthetic.csv --scope source
    """
    from evcharge.registry.feed import EXAMPLE, load_file
    from evcharge.settings import load_settings

    settings = load_settings()
    report = load_file(settings, file or EXAMPLE, scope=scope, confirm_removals=confirm_removals)
    show(report.to_json(), as_json, lambda: _print_load(report), indent=None)
    if wait:
        from evcharge.cli.progress import wait_for_warehouse

        wait_for_warehouse(settings, report.topic_offsets, set(), timeout_s, report.sent)


@app.command()
def poll(confirm_removals: Confirm = False, as_json: AsJson = False) -> None:
    """Ask AFDC's API whether stations have changed, and publish those that have. Dagster does it hourly.

    It needs EVCHARGE_AFDC_API_KEY. If AFDC does not answer, or answers nonsense, nothing is published and the command says
    how old the last good copy is.
    """
    from evcharge.registry import feed
    from evcharge.settings import load_settings

    report = feed.poll(load_settings(), confirm_removals=confirm_removals)
    show(report.to_json(), as_json, lambda: _print_poll(report), indent=None)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show the stations by source and scope, the age of the last good copy, and how the last poll ended."""
    from evcharge.registry import feed
    from evcharge.settings import load_settings

    found = feed.status(load_settings())
    show(found, as_json, lambda: _print_status(found), indent=None)


def _print_status(found: dict[str, Any]) -> None:
    from datetime import timedelta

    from evcharge.registry.feed import describe_age

    for source, counts in found["sources"].items():
        say(f"{source}: {counts['current']:,} stations, {counts['gone']:,} gone")
    if not found["sources"]:
        say("no station of AFDC was loaded yet; those of simulations and recorded files are not counted here")
    for snapshot in found["snapshots"]:
        as_of = f", as of {snapshot['as_of'][:10]}" if snapshot["as_of"] else ""
        say(
            f"scope {snapshot['scope']} of {'+'.join(snapshot['sources'])}: {snapshot['current']:,} stations, "
            f"{snapshot['gone']:,} gone; from {snapshot['origin']}{as_of}"
        )
    if found["pending"]:
        say(f"{found['pending']:,} rows of a load that was killed wait for the next load")
    copy: dict[str, Any] | None = found["last_good_copy"]
    age = describe_age(timedelta(seconds=copy["age_s"])) if copy else None
    say(f"last good copy: {age} old, {copy['file']}" if copy else "last good copy of the API: none")
    last = found["last_poll"]
    say(f"last poll: {last['outcome']} at {last['at']}: {last['detail']}" if last else "last poll: none")


def _print_poll(report: PollReport) -> None:
    if report.load is None:
        say(f"unchanged since {report.last_updated}")
    else:
        _print_load(report.load)


def _print_load(report: LoadReport) -> None:
    as_of = f", as of {report.as_of:%Y-%m-%d}" if report.as_of else ""
    say(f"{report.origin}: {report.stations:,} electric stations{as_of}, scope {report.scope}")
    changes = ", ".join(f"{count:,} {kind}" for kind, count in report.changes.items())
    say(f"published {report.published:,} messages: {changes}")
    if report.completed:
        say(f"completed an earlier load that had been killed: {report.completed:,} messages")
    if report.not_electric:
        say(f"skipped {report.not_electric:,} rows of other fuels")
    for verb, problems in (("rejected", report.rejected), ("corrected", report.corrected)):
        _print_problems(verb, problems)
    for note in report.notes:
        say(f"note: {note}")


def _print_problems(verb: str, problems: list[Problem]) -> None:
    from evcharge.registry.snapshot import by_reason

    for reason, rows in by_reason(problems).items():
        shown = ", ".join(map(str, rows[:_ROWS_SHOWN])) + (", …" if len(rows) > _ROWS_SHOWN else "")
        say(f"{verb} {len(rows):,} rows: {reason} (rows {shown})")
        details = [problem for problem in problems if problem.reason == reason]
        for problem in details[:_ROWS_SHOWN]:
            say(f"  row {problem.row}: {problem.detail}")
