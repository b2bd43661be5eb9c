"""`evcharge trip`: where an electric car charges on its way, and how long it waits there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from evcharge.cli.options import AsJson
from evcharge.cli.output import plain_table, print_table, say, show

if TYPE_CHECKING:
    from evcharge.queries.trip import TripAnswer, Visit

#: Minutes, seconds, and either with a time zone.
_AT_FORMATS = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M%z", "%Y-%m-%dT%H:%M:%S%z"]


def trip(
    start: Annotated[
        str, typer.Option("--from", help='Coordinates ("34.05,-118.24"), a ZIP, a US place name, or a station\'s id.')
    ],
    to: Annotated[str, typer.Option("--to", help="The destination, named in the same ways.")],
    model: Annotated[str, typer.Option(help='An EV model: its id or its name, e.g. "Hyundai Ioniq 5".')],
    soc: Annotated[float, typer.Option(help="Charge at departure, percent.")],
    arrive_with: Annotated[float, typer.Option(help="Least charge at the destination, percent.")] = 10.0,
    stop_with: Annotated[float, typer.Option(help="Least charge on arrival at a charging stop, percent.")] = 10.0,
    reference_consumption: Annotated[
        float | None,
        typer.Option(help="Consumption at a steady 110 km/h (68 mph), kWh per 100 km; else the model's own."),
    ] = None,
    temperature_c: Annotated[
        float | None, typer.Option("--temperature-c", help="Outside temperature, °C; else a mild 20 °C.")
    ] = None,
    depart_at: Annotated[
        datetime | None,
        typer.Option(
            formats=_AT_FORMATS,
            metavar="TIME",
            help="Departure, e.g. 2026-05-20T18:30, in UTC unless it says its zone; else now.",
        ),
    ] = None,
    avoid: Annotated[
        list[str] | None, typer.Option(help="A station's id that the plan must leave out; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Plan a trip by electric car: its charging stops, with the expected wait at each and the best other station.

    The plan is the quickest of driving, charging and waiting, with five minutes for each stop. If the car cannot make it, the
    plan names the leg that fails, and why. The exit code is 0 then too, because that is an answer. Distances are estimates
    from the US freeways unless EVCHARGE_ROUTING_URL names a routing engine.

    Try it: evcharge trip --from "Seattle, WA" --to "Portland, OR" --model "Hyundai Ioniq 5" --soc 30
    """
    from evcharge.queries.client import Queries
    from evcharge.queries.trip import TripQuestion
    from evcharge.settings import load_settings

    question = TripQuestion(
        start,
        to,
        model,
        soc,
        arrive_with,
        stop_with,
        reference_consumption,
        temperature_c,
        None if depart_at is None else depart_at.replace(tzinfo=depart_at.tzinfo or UTC),
        avoid=tuple(avoid or ()),
    )
    with Queries(load_settings()) as queries:
        answer = queries.trip(question)
    show(answer.to_json(), as_json, lambda: _print_trip(answer))


def _print_trip(answer: TripAnswer) -> None:
    from evcharge.cli.terminal import styled

    car = answer.car
    say(
        f"{answer.start.name} to {answer.to.name} by {car.name} ({car.usable_kwh:g} kWh), "
        f"{answer.consumption.reference_kwh_per_100km:g} kWh per 100 km at 110 km/h, {answer.consumption.temperature_c:g} °C"
    )
    about = "about " if answer.is_estimate else ""
    arrives = "" if answer.failing_leg else f", arrives {_day_and_clock(answer.arrives_at)}"
    say(
        f"{about}{answer.distance_km:.0f} km in {_span(answer.total_s)}: driving {_span(answer.drive_s)}, "
        f"charging {_span(answer.charge_s)}, waiting {_span(answer.wait_s)}, {_stops(len(answer.stops))}; "
        f"{answer.energy_kwh:.1f} kWh",
        f"departs {_day_and_clock(answer.departs_at)}{arrives}",
        "",
    )
    table = plain_table("", "km", "drive", "charge %", "charging", "wait", "free", "now", "at")
    for column in (*table.columns[1:3], *table.columns[4:7]):
        column.justify = "right"
    at = answer.departs_at
    table.add_row(answer.start.name, "", "", f"{answer.question.soc:.0f}", "", "", "", "", _clock(at, at))
    for number, leg in enumerate(answer.legs):
        arrived = f"{max(leg.soc_end, 0):.0f}"
        drive = (f"{leg.distance_km:.0f}", _span(leg.drive_s))
        if not leg.is_feasible:
            arrived = "out of reach"
        if number == len(answer.stops):
            state = arrived if leg.is_feasible else styled(arrived, "red")
            table.add_row(answer.to.name, *drive, state, "", "", "", "", _clock(answer.arrives_at, at))
            break
        stop = answer.stops[number].visit
        table.add_row(_station(stop), *drive, f"{arrived} → {stop.soc_leave:.0f}", *_stop(stop, at))
        alternative = answer.stops[number].alternative
        if alternative is not None:
            other = alternative.visit
            reach = f"{other.soc_arrive:.0f} → {other.soc_leave:.0f}"
            extra = f"  or, {_more(alternative.extra_s)}: {_station(other)}"
            table.add_row(styled(extra, "dim"), "", "", styled(reach, "dim"), *_stop(other, at))
    print_table(table)
    failing = answer.failing_leg
    if failing is not None:
        say("", f"The car cannot make it. Leg {answer.legs.index(failing) + 1} fails: {failing.reason}")
    say("")
    if answer.is_estimate:
        say(f"distances are estimates ({answer.road_source.removeprefix('estimate: ')})")
    if answer.note:
        say(answer.note)
    if not answer.fresh.stale and answer.fresh.age_s is not None:
        say(f"state: {answer.fresh.age_s:.1f} s old")


def _station(stop: Visit) -> str:
    station, plug = stop.candidate.station, stop.candidate.plug
    return f"{station.station_name or station.station_id}, {plug.power_kw:g} kW ({station.station_id})"


def _stop(stop: Visit, departs_at: datetime) -> tuple[str, str, str, str, str]:
    """Charging, wait, chance, state now and time of arrival, as cells."""
    chance = f"{stop.probability_free * 100:.0f} %"
    return (
        _span(stop.charge_s),
        _span(stop.expected_wait_s),
        chance,
        stop.state.value,
        _clock(stop.arrive_at, departs_at),
    )


def _stops(count: int) -> str:
    return f"{count} stop{'' if count == 1 else 's'} of 5 min" if count else "no stop"


def _more(seconds: float) -> str:
    return f"{_span(seconds)} more" if seconds >= 0 else f"{_span(-seconds)} less"


def _span(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02}"


def _day_and_clock(at: datetime) -> str:
    """A time of this machine's zone, with the zone's name: "Mon 30 Nov 18:30 UTC"."""
    local = at.astimezone()
    return f"{local:%a} {local.day} {local:%b %H:%M %Z}"


def _clock(at: datetime, departs_at: datetime) -> str:
    """The time of this machine's zone, with the weekday where it is not the day of the departure."""
    local = at.astimezone()
    return f"{local:%H:%M}" if local.date() == departs_at.astimezone().date() else f"{local:%a %H:%M}"
