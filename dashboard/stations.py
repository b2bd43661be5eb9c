"""Stations: the map's view, and one station with what it does now and will do."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import Response

from dashboard.answers import answer, queries
from dashboard.models import ForecastAnswer, ForecastScore, HistoryAnswer, MapAnswer, Networks, StationAnswer
from dashboard.parameters import ForecastQuery, MapQuery, ids
from evcharge.queries.dashboard import ForecastQuestion, ServerDownError, Station, TrafficQuestion, UserError

blueprint = APIBlueprint("stations", __name__, tag="stations")

#: Cars that head for a station without naming it are looked for within this distance: half an hour at 80 km/h.
INBOUND_KM = 40.0


@blueprint.get("/stations")
@blueprint.input(MapQuery, location="query", arg_name="query")
@blueprint.output(MapAnswer)
def stations(query: MapQuery) -> Response:
    """The stations of a map's view, or clusters of them where they are many."""
    question = query.question(ids(query.favourites), query.likely_free_in_min, query.most_stations)
    return answer(queries().map(question).to_json())


@blueprint.get("/networks")
@blueprint.output(Networks)
def networks() -> Response:
    """The networks that current stations are of, the largest first."""
    return answer({"networks": [{"name": name, "stations": count} for name, count in queries().networks()]})


@blueprint.get("/stations/<station_id>")
@blueprint.output(StationAnswer)
def station(station_id: str) -> Response:
    """What a station does now, its day compared with a typical one, and the cars that head for it.

    Without Cassandra it is answered without the day.
    """
    try:
        found, today_note = queries().station(station_id), None
    except ServerDownError as error:
        if error.service != "cassandra":
            raise
        found, today_note = queries().station(station_id, with_day=False), "cassandra does not answer"
    named = {"state_code": found.station.state_code, "state": found.station.map_state.value}
    return answer({**found.to_json(), **named, "today_note": today_note, **_inbound(found.station)})


@blueprint.get("/stations/<station_id>/forecast")
@blueprint.input(ForecastQuery, location="query", arg_name="query")
@blueprint.output(ForecastAnswer)
def forecast(station_id: str, query: ForecastQuery) -> Response:
    """Whether a fitting outlet will be free in the next four hours, and how long a driver will wait."""
    question = ForecastQuestion(station_id, query.in_min, query.connector or None, query.min_power_kw)
    return answer(queries().forecast(question).to_json())


@blueprint.get("/stations/<station_id>/history")
@blueprint.output(HistoryAnswer)
def history(station_id: str) -> Response:
    """A station's last thirty local days."""
    return answer(queries().history(station_id).to_json())


@blueprint.get("/forecast/score")
@blueprint.output(ForecastScore)
def forecast_score() -> Response:
    """How good the forecasts are: the platform's own of late, and this version's published scores."""
    return answer(queries().forecast_score())


def _inbound(station: Station) -> dict[str, Any]:
    try:
        traffic = queries().traffic(TrafficQuestion(station.station_id, INBOUND_KM), station=station)
    except UserError as error:
        return {"inbound": [], "inbound_note": str(error)}
    except ServerDownError as error:
        return {"inbound": [], "inbound_note": f"{error.service} does not answer"}
    return {"inbound": [car.to_json() for car in traffic.inbound], "inbound_note": traffic.note}
