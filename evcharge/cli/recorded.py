"""`evcharge replay`, `evcharge fit` and `evcharge realism`: recorded charging, demand fitted to it, and how near that comes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evcharge.cli.options import (
    AsJson,
    SiteId,
    SiteLatitude,
    SiteLongitude,
    SiteName,
    SiteTimeZone,
    Strict,
    Wait,
    WaitTimeout,
)
from evcharge.cli.output import show

if TYPE_CHECKING:
    from evcharge.recorded.fitting import Score
    from evcharge.recorded.readers import Recording, Site, Table
    from evcharge.recorded.replay import ReplayReport
    from evcharge.settings import Settings


def replay(
    file: Annotated[Path, typer.Argument(help="Sessions as .csv or .csv.gz: ACN-Data, EPFL style or generic CSV.")],
    wait: Wait = False,
    timeout_s: WaitTimeout = 900,
    strict: Strict = False,
    site_id: SiteId = None,
    site_name: SiteName = None,
    site_latitude: SiteLatitude = None,
    site_longitude: SiteLongitude = None,
    site_time_zone: SiteTimeZone = None,
    as_json: AsJson = False,
) -> None:
    """Publish recorded charging sessions to Kafka: their stations first, then a started and a stopped event for each.

    The file's header shows its format (docs/formats.md). Impossible rows are dropped and counted by reason. Replaying a file
    again sends the same event ids, so nothing is counted twice. Dagster then takes the events from Kafka into the lake and
    the warehouse by itself.

    Try it: evcharge replay --wait examples/sessions-generic.csv
    """
    from rich.progress import MofNCompleteColumn

    from evcharge.cli.progress import progress_bar, wait_for_warehouse
    from evcharge.recorded import replay as replaying
    from evcharge.settings import load_settings

    settings = load_settings()
    site = _site(site_id, site_name, site_latitude, site_longitude, site_time_zone)
    recording = _read(settings, file, site, strict)
    with progress_bar("publishing sessions", recording.session_count, MofNCompleteColumn()) as advance:
        report = replaying.replay(settings, recording, on_progress=advance)
    show(report.to_json(), as_json, lambda: _print_report(report), indent=None)
    if wait:
        wait_for_warehouse(settings, report.topic_offsets, report.ended_on, timeout_s)


def fit(
    file: Annotated[
        Path,
        typer.Argument(
            help="Sessions: ACN-Data, EPFL style, generic CSV, or any table with --columns. .csv or .json, also .gz."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The file to write the profile to, as JSON.")],
    days: Annotated[
        str, typer.Option(help="Fit the odd or even days of the month and compare with the others, or fit all.")
    ] = "all",
    columns: Annotated[
        str | None,
        typer.Option(help="The names of a table's columns: started_at=plug_in,ended_at=plug_out,energy_kwh=kWh."),
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="The IANA time zone of a table's site, and of its times without a UTC offset.")
    ] = None,
    station: Annotated[
        str | None, typer.Option("--site", help="The station id to fit, where the file has several sites.")
    ] = None,
    evses: Annotated[
        int | None, typer.Option(min=1, help="The site's number of EVSEs, if the file does not show all.")
    ] = None,
    power_kw: Annotated[float | None, typer.Option(min=0.1, help="The power of one EVSE, kW.")] = None,
    site_power_kw: Annotated[float | None, typer.Option(min=0.1, help="The power that all EVSEs share, kW.")] = None,
    source: Annotated[str | None, typer.Option(help="Where the sessions come from, as the profile says it.")] = None,
    strict: Strict = False,
    site_id: SiteId = None,
    site_name: SiteName = None,
    site_latitude: SiteLatitude = None,
    site_longitude: SiteLongitude = None,
    site_time_zone: SiteTimeZone = None,
    as_json: AsJson = False,
) -> None:
    """Fit a site's demand to its recorded sessions: when cars come, how long they stay, how much they charge.

    The profile holds distributions, no sessions. With --days odd or even, sessions drawn from the profile are compared with
    the days that it has not seen. The fitted days are compared with these too: a profile can hardly come nearer than they do.

    With --columns, any table works that has a start, an end (or a duration) and an energy. docs/formats.md has the names.
    Four profiles need no fit: campus, dc_fast, public and residential.

    Try it: evcharge fit my-sessions.csv --days odd --out profile.json
    """
    from evcharge.errors import UserError
    from evcharge.recorded import fitting

    try:
        fitted = fitting.Days(days)
    except ValueError:
        raise typer.BadParameter(f"{days!r} is not one of {', '.join(fitting.Days)}", param_hint="--days") from None
    site = _site(site_id, site_name, site_latitude, site_longitude, site_time_zone)
    recording = _read_any(file, site, strict, _table(columns, time_zone), station)
    profile = fitting.fit(recording, fitted, source=source, evses=evses, power_kw=power_kw, site_power_kw=site_power_kw)
    score = fitting.score(profile, recording, fitted)
    try:
        out.write_text(json.dumps(profile.to_json()) + "\n")
    except OSError as error:
        raise UserError(f"{out}: {error.strerror or error}") from error
    report = {"profile": str(out), "sessions": profile.sessions, "dropped": dict(recording.rejected), **score.to_json()}

    def print_text() -> None:
        typer.echo(
            f"{file}: {recording.source} format, {profile.sessions:,} sessions of {profile.evses} EVSEs fitted: {out}"
        )
        _print_dropped(recording.rejected, recording.rejected_rows)
        _print_score(score)

    show(report, as_json, print_text, indent=None)


def realism(
    files: Annotated[
        list[Path], typer.Argument(help="Recorded sessions as `evcharge fit` reads them, one file for each site.")
    ],
    write: Annotated[Path | None, typer.Option(help="A document; the table goes between its two markers.")] = None,
) -> None:
    """Fit sites to half of their days, simulate them, and compare with the other half, as in docs/realism.md.

    The visits go through the simulated site, its cars, plugs and queue, before they are compared.

    Try it: evcharge realism sessions-of-a-site.csv --write docs/realism.md
    """
    from evcharge.cli.progress import spinner
    from evcharge.recorded.realism import markdown, realism_table, write_table
    from evcharge.simulated.offline_run import simulated_visits

    recordings = [_read_any(file, None, False, None, None) for file in files]
    with spinner("fitting, simulating and comparing: about half a minute for each site"):
        rows = realism_table(recordings, simulated_visits)
    if write is not None:
        write_table(write, rows)
    typer.echo(markdown(rows), nl=False)


def _read(settings: Settings, file: Path, site: Site | None, strict: bool) -> Recording:
    from datetime import date

    from evcharge.recorded.readers import read_sessions

    return read_sessions(file, site=site, strict=strict, first_day=date.fromisoformat(settings.event_days_from))


def _read_any(file: Path, site: Site | None, strict: bool, table: Table | None, station: str | None) -> Recording:
    """Reads sessions of any year for a fit, because no partition has to hold them."""
    from evcharge.recorded.readers import ANY_YEAR, read_sessions

    return read_sessions(file, site=site, strict=strict, first_day=ANY_YEAR, table=table, only=station)


def _table(columns: str | None, time_zone: str | None) -> Table | None:
    from evcharge.recorded.readers import Table

    if columns is None and time_zone is None:
        return None
    if time_zone is None:
        raise typer.BadParameter(
            "--columns needs --time-zone, because demand follows the local day", param_hint="--columns"
        )
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
