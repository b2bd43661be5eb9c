"""`evcharge replay`, `evcharge fit` and `evcharge realism`: recorded charging, demand fitted to it, how near that comes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evcharge.cli import simulate as simulate_cli

if TYPE_CHECKING:
    from evcharge.recorded.fitting import Score
    from evcharge.recorded.readers import Recording, Site, Table
    from evcharge.recorded.replay import ReplayReport
    from evcharge.settings import Settings

# Twice what the planning sensor lets pass before it publishes a few rows, by default.
NOBODY_PUBLISHES_S = 120

Strict = Annotated[bool, typer.Option("--strict", help="An impossible row is an error, not a dropped row.")]
SiteId = Annotated[str | None, typer.Option(help="ACN and EPFL style: station id of another site.")]
SiteName = Annotated[str | None, typer.Option(help="Its name; the station id by default.")]
SiteLatitude = Annotated[float | None, typer.Option(min=-90, max=90, help="Its latitude, degrees north.")]
SiteLongitude = Annotated[float | None, typer.Option(min=-180, max=180, help="Its longitude, degrees east.")]
SiteTimeZone = Annotated[str | None, typer.Option(help="Its IANA time zone, e.g. Europe/Zurich.")]


def register(app: typer.Typer) -> None:
    """Adds `replay`, `fit`, `realism` and `simulate` to the evcharge command."""
    app.command()(replay)
    app.command()(fit)
    app.command()(realism)
    app.add_typer(simulate_cli.app, name="simulate")


def replay(
    file: Annotated[Path, typer.Argument(help="Sessions as .csv or .csv.gz: ACN-Data, EPFL style, or generic CSV.")],
    wait: Annotated[bool, typer.Option("--wait", help="Return when the warehouse has the sessions.")] = False,
    timeout_s: Annotated[int, typer.Option("--timeout", help="With --wait: seconds to wait at most.")] = 900,
    strict: Strict = False,
    site_id: SiteId = None,
    site_name: SiteName = None,
    site_latitude: SiteLatitude = None,
    site_longitude: SiteLongitude = None,
    site_time_zone: SiteTimeZone = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Publish recorded charging sessions to Kafka: their stations first, then a started and a stopped event for each.

    The file's header tells its format (docs/formats.md). Impossible rows are dropped and counted by reason. Replaying
    a file again sends the same event ids, so that nothing is counted twice. Dagster then takes the events from Kafka
    into the lake and the warehouse by itself.

    Try it: evcharge replay --wait examples/sessions-generic.csv
    """
    from rich.progress import MofNCompleteColumn

    from evcharge.cli.progress_bar import progress_bar
    from evcharge.recorded import replay as replaying
    from evcharge.settings import load_settings

    settings = load_settings()
    site = _site(site_id, site_name, site_latitude, site_longitude, site_time_zone)
    recording = _read(settings, file, site, strict)
    with progress_bar("publishing sessions", recording.session_count, MofNCompleteColumn()) as advance:
        report = replaying.replay(settings, recording, on_progress=advance)
    if as_json:
        typer.echo(json.dumps(report.as_json()))
    else:
        _print_report(report)
    if wait:
        _wait(settings, report, timeout_s)


def fit(
    file: Annotated[
        Path,
        typer.Argument(help="Sessions: ACN-Data, EPFL style, generic, or any table with --columns; .csv, .json, .gz."),
    ],
    out: Annotated[Path, typer.Option(help="Where the profile is written, as JSON.")],
    days: Annotated[
        str, typer.Option(help="Fit odd or even days of the month and compare with the others, or fit all.")
    ] = "all",
    columns: Annotated[
        str | None,
        typer.Option(help="What a table calls its columns: started_at=plug_in,ended_at=plug_out,energy_kwh=kWh."),
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="IANA zone of a table's site and of its times without UTC offset.")
    ] = None,
    station: Annotated[str | None, typer.Option("--site", help="Station id, where the file has several sites.")] = None,
    evses: Annotated[int | None, typer.Option(min=1, help="EVSEs of the site, if the file does not show all.")] = None,
    power_kw: Annotated[float | None, typer.Option(min=0.1, help="Power of an EVSE, kW.")] = None,
    site_power_kw: Annotated[float | None, typer.Option(min=0.1, help="Power that all EVSEs share, kW.")] = None,
    source: Annotated[str | None, typer.Option(help="Whose sessions they are, for the profile to say.")] = None,
    strict: Strict = False,
    site_id: SiteId = None,
    site_name: SiteName = None,
    site_latitude: SiteLatitude = None,
    site_longitude: SiteLongitude = None,
    site_time_zone: SiteTimeZone = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Fit a site's demand to its recorded sessions: when cars come, how long they stay, what they take.

    The profile holds distributions, no sessions. With --days odd or even, what it draws is compared with the days that it
    has not seen, and those with the days that it was fitted to: a profile can hardly be nearer to them than these are.

    With --columns any table will do that has a start, an end (or a duration) and an energy; docs/formats.md has the names.
    Profiles that need no fit are shipped: campus, dc_fast, public and residential.

    Try it: evcharge fit my-sessions.csv --days odd --out profile.json
    """
    from evcharge.errors import UserError
    from evcharge.recorded import fitting

    try:
        fitted = fitting.Days(days)
    except ValueError:
        raise typer.BadParameter(f"{days!r} is none of {', '.join(fitting.Days)}", param_hint="--days") from None
    site = _site(site_id, site_name, site_latitude, site_longitude, site_time_zone)
    recording = _read_any(file, site, strict, _table(columns, time_zone), station)
    profile = fitting.fit(recording, fitted, source=source, evses=evses, power_kw=power_kw, site_power_kw=site_power_kw)
    score = fitting.score(profile, recording, fitted)
    try:
        out.write_text(json.dumps(profile.to_json()) + "\n")
    except OSError as error:
        raise UserError(f"{out}: {error.strerror or error}") from error
    if as_json:
        told = {"profile": str(out), "sessions": profile.sessions, "dropped": dict(recording.rejected)}
        typer.echo(json.dumps({**told, **score.to_json()}, allow_nan=False))
        return
    typer.echo(
        f"{file}: {recording.source} format, {profile.sessions:,} sessions of {profile.evses} EVSEs fitted: {out}"
    )
    _print_dropped(recording.rejected, recording.rejected_rows)
    _print_score(score)


def realism(
    files: Annotated[
        list[Path], typer.Argument(help="Recorded sessions, a file for each site, as `evcharge fit` reads.")
    ],
    write: Annotated[Path | None, typer.Option(help="A document: the table goes between its two markers.")] = None,
) -> None:
    """Fit sites to half of their days, simulate them, and compare with the other half: the table of docs/realism.md.

    The visits go through the simulated site, its cars, plugs and queue, before they are compared.

    Try it: evcharge realism sessions-of-a-site.csv --write docs/realism.md
    """
    from rich.console import Console

    from evcharge.recorded.realism import markdown, realism_table, write_table
    from evcharge.simulated.offline_run import simulated_visits

    recordings = [_read_any(file, None, False, None, None) for file in files]
    with Console(stderr=True).status("fitting, simulating and comparing: about half a minute for each site"):
        rows = realism_table(recordings, simulated_visits)
    if write is not None:
        write_table(write, rows)
    typer.echo(markdown(rows), nl=False)


def _read(settings: Settings, file: Path, site: Site | None, strict: bool) -> Recording:
    from datetime import date

    from evcharge.recorded.readers import read_sessions

    return read_sessions(file, site=site, strict=strict, first_day=date.fromisoformat(settings.event_days_from))


def _read_any(file: Path, site: Site | None, strict: bool, table: Table | None, station: str | None) -> Recording:
    """For a fit: sessions of any year, which no partition has to hold."""
    from evcharge.recorded.readers import ANY_YEAR, read_sessions

    return read_sessions(file, site=site, strict=strict, first_day=ANY_YEAR, table=table, only=station)


def _table(columns: str | None, time_zone: str | None) -> Table | None:
    from evcharge.recorded.readers import Table

    if columns is None and time_zone is None:
        return None
    if time_zone is None:
        raise typer.BadParameter("--columns needs --time-zone: demand follows the local day", param_hint="--columns")
    _check_zone(time_zone, "--time-zone")
    if columns is None:
        return Table(time_zone)
    pairs = [pair.partition("=") for pair in columns.split(",")]
    for name, equals, column in pairs:
        if not (name and equals and column):
            raise typer.BadParameter(f"{name + equals + column!r} is not name=column", param_hint="--columns")
    return Table(time_zone, {name.strip(): column.strip() for name, _, column in pairs})


def _check_zone(time_zone: str, option: str) -> None:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError):
        raise typer.BadParameter(f"{time_zone!r} is not an IANA time zone", param_hint=option) from None


def _site(
    site_id: str | None, name: str | None, latitude: float | None, longitude: float | None, time_zone: str | None
) -> Site | None:
    from evcharge.recorded.readers import Site

    if site_id is None and name is None and latitude is None and longitude is None and time_zone is None:
        return None
    if site_id is None or latitude is None or longitude is None or time_zone is None:
        raise typer.BadParameter("a site needs --site-id, --site-latitude, --site-longitude and --site-time-zone")
    _check_zone(time_zone, "--site-time-zone")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", site_id):
        raise typer.BadParameter("only letters, digits, - and _", param_hint="--site-id")
    return Site(site_id, name or site_id, latitude, longitude, time_zone)


def _print_report(report: ReplayReport) -> None:
    days = sorted(report.ended_on)
    between = f", ended {days[0]} to {days[-1]} UTC" if days else ""
    typer.echo(f"{report.file}: {report.source} format")
    typer.echo(
        f"published {report.sessions:,} sessions of {report.stations} stations as {report.events:,} events{between}"
    )
    typer.echo(f"energy {report.energy_delivered_kwh:,.3f} kWh")
    _print_dropped(report.rejected, report.rejected_rows)
    typer.echo(f"ledger {report.ledger}")


def _print_dropped(rejected: Mapping[str, int], rejected_rows: Mapping[str, list[int]]) -> None:
    for reason, count in sorted(rejected.items()):
        rows = ", ".join(map(str, rejected_rows[reason]))
        typer.echo(f"dropped {count} rows: {reason} (rows {rows}{', …' if count > len(rejected_rows[reason]) else ''})")


def _print_score(score: Score) -> None:
    from rich.console import Console
    from rich.table import Table as Printed

    printed = Printed(
        title=f"compared with {score.sessions:,} sessions of {score.days.value} days", title_justify="left"
    )
    for heading in ("", "profile", "fitted days", "real, 95 %", ""):
        printed.add_column(heading, justify="left" if not heading else "right")
    for name, (ours, real) in score.distances.items():
        printed.add_row(f"KS distance of {name.replace('_', ' ')}", f"{ours:.3f}", f"{real:.3f}", "", "")
    for name, one in score.intervals.items():
        row = [f"{one.simulated:.2f}", f"{score.fitted[name]:.2f}", f"{one.low:.2f} to {one.high:.2f}"]
        row = [figure.replace("nan to nan", "does not exist").replace("nan", "-") for figure in row]
        printed.add_row(name.replace("_", " "), *row, "" if one.inside else "outside")
    Console(width=None if sys.stdout.isatty() else 100).print(printed)


def _wait(settings: Settings, report: ReplayReport, timeout_s: int) -> None:
    from rich.console import Console

    from evcharge.errors import UserError
    from evcharge.warehouse.wait import Progress, WaitTimeoutError, wait_until_loaded

    with Console(stderr=True).status("waiting for the lake and the warehouse") as status:

        def show(progress: Progress) -> None:
            idle = progress.waited_s > NOBODY_PUBLISHES_S and progress.unpublished_rows
            hint = "; is the Dagster daemon running? See `evcharge stack status`" if idle else ""
            status.update(
                f"waiting {progress.waited_s:.0f} s: {progress.unpublished_rows:,} rows to publish, "
                f"{progress.unloaded_days} days to load{hint}"
            )

        try:
            wait_until_loaded(settings, report.topic_offsets, report.ended_on, timeout_s, show)
        except WaitTimeoutError as error:
            raise UserError(str(error)) from None
    typer.echo("the warehouse has them", err=True)
