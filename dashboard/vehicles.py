"""Connected cars."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response

from dashboard.answers import answer, queries
from dashboard.models import Vehicle, Vehicles
from dashboard.parameters import VehiclesQuery
from evcharge.queries.dashboard import VehiclesQuestion

blueprint = APIBlueprint("vehicles", __name__, tag="vehicles")


@blueprint.get("/vehicles")
@blueprint.input(VehiclesQuery, location="query", arg_name="query")
@blueprint.output(Vehicles)
def vehicles(query: VehiclesQuery) -> Response:
    """The connected cars in a part of the map."""
    question = VehiclesQuestion(query.west, query.south, query.east, query.north, query.limit)
    return answer(queries().vehicles(question).to_json())


@blueprint.get("/vehicles/<vehicle_id>")
@blueprint.output(Vehicle)
def vehicle(vehicle_id: str) -> Response:
    """One connected car."""
    return answer(queries().vehicle(vehicle_id).to_json())
