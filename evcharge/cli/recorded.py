"""`evcharge replay`, `evcharge fit` and `evcharge realism`: recorded charging, demand fitted to it, and how near that comes."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evcharge.cli.options import (
    AsJson,
    Columns,
    DateFormat,
    DayFirst,
    DecimalComma,
    SiteId,
    SiteLatitude,
    SiteLongitude,
    SiteName,
    SiteTimeZone,
    Strict,
    TableTimeZone,
    Wait,
    WaitTimeout,
)
from evcharge.cli.output import print_table, say, show

#: Unknown connector names that are printed.
_EXAMPLES = 5

if TYPE_CHECKING:
    from evcharge.recorded.fitting import Score
    from evcharge.recorded.readers import Recording, Site, Table
    from evcharge.recorded.replay import ReplayReport
    from evcharge.recorded.taken_ids import TakenIds
    from evcharge.settings import Settings


def replay(
    file: Annotated[
        Path,
        typer.Argument(help="Sessions: ACN-Data, EPFL style, generic, or any table with --columns; text or .xlsx."),
    ],
    wait: Wait = False,
    timeout_s: WaitTimeout = 900,
    columns: Columns = None,
    time_zone: TableTimeZone = None,
    day_first: DayFirst = None,
    decimal_comma: DecimalComma = None,
    date_format: DateFormat = None,
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
    the warehouse by itself. With --wait the command fails if rows went to quarantine.

    With --columns, any table works that has a start, an end (or a duration) and an energy. It needs --site-… for the place of
    its sessions, or a column of stations. Where the file does not show how to read a column, an option says it.

    Try it: evcharge replay --wait examples/sessions-generic.csv
    """
    from rich.progress import MofNCompleteColumn

    from evcharge.cli.progress import progress_bar, wait_for_sessions
    from evcharge.recorded import replay as replaying
    from evcharge.settings import load_settings

    settings = load_settings()
    site = _site(site_id, site_name, site_latitude, site_longitude, site_time_zone)
    table = _table(columns, time_zone, day_first, decimal_comma, date_format)
    if table.columns and site is None and "station_id" not in table.columns:
        raise typer.BadParameter(
            "a replay needs the sessions' place: --site-id, --site-latitude, --site-longitude and --site-time-zone, "
            "or station_id=COLUMN",
            param_hint="--columns",
        )
    recording = _read(settings, file, site, strict, table)
    with progress_bar("publishing sessions", recording.session_count, MofNCompleteColumn()) as advance:
        report = replaying.replay(settings, recording, on_progress=advance)
    found = {"rejected_details": recording.rejected_details, "unknown_connectors": dict(recording.unknown_connectors)}
    show({**report.to_json(), **found}, as_json, lambda: _print_report(report, recording), indent=None)
    if wait:
        wait_for_sessions(settings, report, timeout_s)


def fit(
    file: Annotated[
        Path,
        typer.Argument(help="Sessions: ACN-Data, EPFL style, generic, or any table with --columns; text or .xlsx."),
    ],
    out: Annotated[Path, typer.Option(help="The file to write the profile to, as JSON.")],
    days: Annotated[
        str, typer.Option(help="Fit the odd or even days of the month and compare with the others, or fit all.")
    ] = "all",
    columns: Columns = None,
    time_zone: TableTimeZone = None,
    day_first: DayFirst = None,
    decimal_comma: DecimalComma = None,
    date_format: DateFormat = None,
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
    table = _table(columns, time_zone, day_first, decimal_comma, date_format)
    if table.columns and not (time_zone or site or "time_zone" in table.columns):
        raise typer.BadParameter(
            "--columns needs --time-zone, because demand follows the local day", param_hint="--columns"
        )
    recording = _read_any(file, site, strict, table, station)
    profile = fitting.fit(recording, fitted, source=source, evses=evses, power_kw=power_kw, site_power_kw=site_power_kw)
    score = fitting.score(profile, recording, fitted)
    try:
        out.write_text(json.dumps(profile.to_json()) + "\n")
    except OSError as error:
        raise UserError(f"{out}: {error.strerror or error}") from error
    report = {"profile": str(out), "sessions": profile.sessions, "dropped": dict(recording.rejected), **score.to_json()}

    def print_text() -> None:
        say(f"{file}: {recording.source} format, {profile.sessions:,} sessions of {profile.evses} EVSEs fitted: {out}")
        print_dropped(recording)
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
    say(*markdown(rows).splitlines())


def _read(settings: Settings, file: Path, site: Site | None, strict: bool, table: Table) -> Recording:
    from datetime import date

    from evcharge.recorded.readers import RecordingError, read_sessions

    first_day = date.fromisoformat(settings.event_days_from)
    recording = read_sessions(file, site=site, strict=strict, first_day=first_day, table=table)
    if not recording.session_count:
        raise RecordingError(f"{file}: {recording.first_rejected}; no session is left")
    return recording


def _read_any(file: Path, site: Site | None, strict: bool, table: Table | None, station: str | None) -> Recording:
    """Reads sessions of any year for a fit, because no partition has to hold them."""
    from evcharge.recorded.readers import ANY_YEAR, read_sessions

    return read_sessions(file, site=site, strict=strict, first_day=ANY_YEAR, table=table, only=station)


def _table(
    columns: str | None,
    time_zone: str | None,
    day_first: bool | None,
    decimal_comma: bool | None,
    date_format: str | None,
) -> Table:
    from evcharge.recorded.readers import Table

    if time_zone is not None:
        _check_zone(time_zone, "--time-zone")
    if date_format and "%Z" in date_format:
        # strptime takes the name of a zone and forgets it
        raise typer.BadParameter("%Z has no offset: use %z, or leave the option out", param_hint="--date-format")
    decimal = None if decimal_comma is None else "," if decimal_comma else "."
    return Table(time_zone, None if columns is None else _mapping(columns), day_first, decimal, date_format)


def _mapping(columns: str) -> dict[str, str]:
    """Pairs of a name and a column, as a line of a CSV: a column with a comma stands in quotes."""
    pairs = [pair.partition("=") for pair in next(csv.reader([columns], skipinitialspace=True), [])]
    for name, equals, column in pairs:
        if not (name.strip() and equals and column.strip()):
            raise typer.BadParameter(f"{name + equals + column!r} is not name=column", param_hint="--columns")
    mapping = {name.strip(): column.strip() for name, _, column in pairs}
    if len(mapping) < len(pairs):
        raise typer.BadParameter("a name is there twice", param_hint="--columns")
    return mapping


def _check_zone(time_zone: str, option: str) -> None:
    from evcharge.contracts.time_zones import is_known_time_zone

    if not is_known_time_zone(time_zone):
        raise typer.BadParameter(f"{time_zone!r} is not an IANA time zone", param_hint=option)


def _site(
    site_id: str | None, name: str | None, latitude: float | None, longitude: float | None, time_zone: str | None
) -> Site | None:
    from evcharge.recorded.readers import Site
    from evcharge.recorded.readers.fields import check_text
    from evcharge.recorded.readers.model import RowError

    if site_id is None and name is None and latitude is None and longitude is None and time_zone is None:
        return None
    if site_id is None or latitude is None or longitude is None or time_zone is None:
        raise typer.BadParameter("a site needs --site-id, --site-latitude, --site-longitude and --site-time-zone")
    _check_zone(time_zone, "--site-time-zone")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", site_id):
        raise typer.BadParameter("only letters, digits, - and _", param_hint="--site-id")
    name = (name or "").strip() or site_id
    try:
        check_text(site_id, "station_id", "--site-id")
        check_text(name, "station_name", "--site-name")
    except RowError as error:
        raise typer.BadParameter(str(error), param_hint=error.column) from None
    return Site(site_id, name, latitude, longitude, time_zone)


def _print_report(report: ReplayReport, recording: Recording) -> None:
    days = sorted(report.ended_on)
    between = f", ended {days[0]} to {days[-1]} UTC" if days else ""
    say(f"{report.file}: {report.source} format")
    say(f"published {report.sessions:,} sessions of {report.stations} stations as {report.events:,} events{between}")
    say(f"energy {report.energy_delivered_kwh:,.3f} kWh")
    print_dropped(recording)
    _print_taken(report.taken)
    say(f"ledger {report.ledger}")


def _print_taken(taken: TakenIds) -> None:
    if taken.at_other_stations:
        ids = taken.at_other_stations
        say(f"{ids:,} session ids are used at other stations too: they count, a session is its station and its id")
    if taken.with_other_values:
        ids = taken.with_other_values
        say(f"{ids:,} sessions were sent before with another end or energy: the first ones count, these do not")


def print_dropped(recording: Recording) -> None:
    """Prints why rows were dropped, and which connectors no vocabulary has."""
    for reason, count in sorted(recording.rejected.items()):
        kept = recording.rejected_rows[reason]
        say(f"dropped {count} rows: {reason} (rows {', '.join(map(str, kept))}{', …' if count > len(kept) else ''})")
        say(f"  {recording.rejected_details[reason]}")
    unknown = recording.unknown_connectors
    if unknown:
        named = ", ".join(f"{name!r} ({count})" for name, count in unknown.most_common(_EXAMPLES))
        more = ", …" if len(unknown) > _EXAMPLES else ""
        say(f"{unknown.total()} EVSEs have a connector that is not known: {named}{more}")


def _print_score(score: Score) -> None:
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
    print_table(printed, width=None if sys.stdout.isatty() else 100)
