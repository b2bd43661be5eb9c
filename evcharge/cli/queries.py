"""`evcharge nearby`, `evcharge station` and `evcharge traffic`: what drivers ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from evcharge.cli.options import AsJson
from evcharge.cli.output import plain_table, print_table, say, show

if TYPE_CHECKING:
    from datetime import datetime

    from rich.text import Text

    from evcharge.queries.availability import Station
    from evcharge.queries.freshness import Freshness
    from evcharge.queries.nearby import NearbyAnswer
    from evcharge.queries.station import StationAnswer
    from evcharge.queries.traffic import TrafficAnswer
    from evcharge.queries.typical import DayComparison

Radius = Annotated[float, typer.Option("--radius-km", help="The straight distance, up to 500 km.")]

#: Width of a bar in the day's picture, in characters.
_BAR = 20
#: More cars than these are only counted; --json has them all.
_CARS_SHOWN = 20


def nearby(
    lat: Annotated[float, typer.Option(help="Latitude, degrees (WGS 84).")],
    lon: Annotated[float, typer.Option(help="Longitude, degrees (WGS 84); west is negative.")],
    radius_km: Radius,
    connector: Annotated[
        str | None, typer.Option(help="A connector type, e.g. CCS, NACS, CHAdeMO, Type 1, J1772COMBO.")
    ] = None,
    min_power_kw: Annotated[
        float | None, typer.Option("--min-power-kw", help="The least power of an outlet, kW.")
    ] = None,
    free: Annotated[
        bool, typer.Option("--free", help="Only stations with such an outlet that is known to be free.")
    ] = False,
    limit: Annotated[int, typer.Option(help="How many stations are shown, nearest first.")] = 10,
    as_json: AsJson = False,
) -> None:
    """List the charging stations near a point, and count how many in the radius are free, busy or unknown.

    A station that has sent nothing for a day is unknown, never free. The exit code is 0 even if nothing is free, because that
    is an answer.

    Try it: evcharge nearby --lat 34.05 --lon -118.24 --radius-km 25 --connector CCS --free
    """
    from evcharge.queries.client import Queries
    from evcharge.queries.nearby import NearbyQuestion
    from evcharge.settings import load_settings

    question = NearbyQuestion(lat, lon, radius_km, connector, min_power_kw, free, limit)
    with Queries(load_settings()) as queries:
        answer = queries.nearby(question)
    show(answer.to_json(), as_json, lambda: _print_nearby(answer))


def station(
    station_id: Annotated[str, typer.Argument(help="A station's id, as `evcharge nearby` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Show what a station is doing now, and how busy its day is compared with a typical one.

    The typical day is the mean of the weekdays, or of the weekend days, of the four weeks before, by the station's own clock.

    Try it: evcharge station syn-90000227
    """
    from evcharge.queries.client import Queries
    from evcharge.settings import load_settings

    with Queries(load_settings()) as queries:
        answer = queries.station(station_id)
    show(answer.to_json(), as_json, lambda: _print_station(answer))


def traffic(
    station_id: Annotated[
        str, typer.Argument(metavar="STATION", help="A station's id, as `evcharge nearby` shows it.")
    ],
    radius_km: Radius,
    as_json: AsJson = False,
) -> None:
    """Count the cars near a station, and list those that are heading for it.

    A car is inbound if it navigates to the station, wherever it is. A car in the radius that sends no destination is inbound
    if it drives towards the station (within 30 degrees) and can reach it.

    Try it: evcharge traffic syn-90000227 --radius-km 10
    """
    from evcharge.queries.client import Queries
    from evcharge.queries.traffic import TrafficQuestion
    from evcharge.settings import load_settings

    question = TrafficQuestion(station_id, radius_km)
    with Queries(load_settings()) as queries:
        answer = queries.traffic(question)
    show(answer.to_json(), as_json, lambda: _print_traffic(answer))


def _print_nearby(answer: NearbyAnswer) -> None:
    if answer.stations:
        table = plain_table("km", "station", "name", "free", "outlets", "now", "last event")
        for column in (*table.columns[:2], table.columns[3]):
            column.no_wrap = True
        for found in answer.stations:
            one = found.station
            table.add_row(
                f"{found.distance_km:.2f}",
                one.station_id,
                ", ".join(part for part in (one.station_name, one.city) if part),
                _free(one),
                _outlets(one),
                _availability(one),
                _ago(one.last_event_at, answer.fresh.now),
            )
        print_table(table)
    counts = ", ".join(f"{count:,} {kind.value.replace('_', ' ')}" for kind, count in answer.counts.items())
    say(f"{sum(answer.counts.values()):,} stations within {answer.question.radius_km:g} km: {counts}")
    _print_end(answer.note, answer.fresh)


def _print_station(answer: StationAnswer) -> None:
    from zoneinfo import ZoneInfo

    zone, one = ZoneInfo(answer.time_zone), answer.station
    _print_heading(one, answer.fresh.now)
    if answer.evses:
        table = plain_table("EVSE", "connector", "kW", "status", "since", "session")
        for evse in answer.evses:
            session = ""
            if evse.session is not None:
                charge = "" if evse.session.state_of_charge is None else f", {evse.session.state_of_charge:.0f} %"
                ends = evse.session.expected_end_at
                end = f", ends about {_clock(ends, zone)}" if ends else ""
                session = f"{evse.session.energy_delivered_kwh:.1f} kWh{charge}{end}"
            power = "" if evse.power_kw is None else f"{evse.power_kw:g}"
            since = _ago(evse.since_at, answer.fresh.now) if evse.since_at else ""
            table.add_row(evse.evse_id, evse.connector_type or "", power, evse.status, since, session)
        print_table(table)
    if answer.today is not None:
        _print_day(answer.today)
    _print_end(answer.note, answer.fresh)


def _print_day(day: DayComparison) -> None:
    """Draws the plugged-in minutes of each hour, today beside the typical day, on one scale."""
    from evcharge.cli.terminal import styled

    minutes = [u.occupied_minutes for hour in day.hours for u in (hour.today, hour.typical) if u is not None]
    most = max(minutes, default=0.0)
    say("", f"{day.date:%A %d %B %Y}, {day.time_zone}; bars: minutes plugged in, {most:.0f} at most")
    table = plain_table("hour", "today", "typical", "sessions", "kWh", "typical kWh")
    for column in table.columns[3:]:
        column.justify = "right"
    for hour in day.hours:
        now, usual = hour.today, hour.typical
        table.add_row(
            f"{hour.hour:02}",
            "" if now is None else styled(_bar(now.occupied_minutes, most), "cyan"),
            "" if usual is None else styled(_bar(usual.occupied_minutes, most), "dim"),
            "" if now is None else f"{now.sessions:g}",
            "" if now is None else f"{now.energy_kwh:.1f}",
            "" if usual is None else f"{usual.energy_kwh:.1f}",
        )
    print_table(table)
    if day.note:
        say(day.note)


def _print_traffic(answer: TrafficAnswer) -> None:
    _print_heading(answer.station, answer.fresh.now)
    if answer.cars_near is not None:
        say(
            f"{answer.cars_near:,} cars within {answer.question.radius_km:g} km, {answer.cars_near_driving:,} of them "
            f"driving; {len(answer.inbound):,} inbound"
        )
    if answer.inbound:
        table = plain_table("car", "model", "by", "km", "minutes", "km/h", "charge %", "range km")
        for column in table.columns[3:]:
            column.justify = "right"
        for car in answer.inbound[:_CARS_SHOWN]:
            table.add_row(
                car.vehicle_id,
                car.ev_model_id or "",
                car.by,
                f"{car.distance_km:.2f}",
                f"{car.eta_minutes:.0f}",
                f"{car.speed_kmh:.0f}",
                f"{car.state_of_charge:.0f}",
                "" if car.range_km is None else f"{car.range_km:.0f}",
            )
        print_table(table)
        if len(answer.inbound) > _CARS_SHOWN:
            say(f"… {len(answer.inbound) - _CARS_SHOWN:,} more")
    _print_end(answer.note, answer.fresh)
    if not answer.cars_fresh.stale:
        say(f"cars' positions: {_age(answer.cars_fresh)}")


def _print_heading(one: Station, now: datetime) -> None:
    where = ", ".join(part for part in (one.station_name, one.city, one.state_code, one.network) if part)
    say(f"{one.station_id}  {where}")
    queue = f", {one.queue_length} waiting" if one.queue_length else ""
    say(f"{_availability_text(one)}: {_free(one)} outlets free{queue}; last event {_ago(one.last_event_at, now)}")


def _print_end(note: str | None, fresh: Freshness) -> None:
    if note:
        say(note)
    if not fresh.stale:
        say(f"state: {_age(fresh)}")


def _free(one: Station) -> str:
    from evcharge.queries.availability import Availability

    unknown = one.count(Availability.UNKNOWN)
    if unknown and unknown == one.total:
        return f"? of {one.total}"
    return f"{one.count(Availability.FREE)} of {one.total}" + (f" ({unknown} unknown)" if unknown else "")


def _outlets(one: Station) -> str:
    return ", ".join(
        f"{outlets.total} x {outlets.connector_type or '?'}"
        + ("" if outlets.power_kw is None else f" {outlets.power_kw:g} kW")
        for outlets in one.outlets
    )


def _availability_text(one: Station) -> str:
    availability = one.availability.value.replace("_", " ")
    return f"{availability} ({one.remark})" if one.remark else availability


def _availability(one: Station) -> Text:
    from evcharge.cli.terminal import styled

    colors = {"free": "green", "busy": "yellow", "unknown": "dim", "out_of_service": "red"}
    return styled(_availability_text(one), colors[one.availability.value])


def _bar(value: float, most: float) -> str:
    """A bar in eighths of a character. A value above zero shows at least one eighth."""
    eighths = 0 if most <= 0 else round(value / most * _BAR * 8)
    eighths = max(eighths, 1) if value > 0 else eighths
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _age(fresh: Freshness) -> str:
    return f"{fresh.age_s:.1f} s old" if fresh.age_s is not None else "of unknown age"


def _ago(at: str | None, now: datetime) -> str:
    from datetime import datetime

    from evcharge.queries.freshness import duration_text

    return f"{duration_text(now - datetime.fromisoformat(at))} ago" if at else "never"


def _clock(at: str, zone: Any) -> str:
    from datetime import datetime

    return f"{datetime.fromisoformat(at).astimezone(zone):%H:%M}"
