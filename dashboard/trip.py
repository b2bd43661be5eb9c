"""Trips: places, EV models and plans."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response

from dashboard.answers import answer, queries
from dashboard.models import EvModels, Places, TripAnswer
from dashboard.parameters import PlacesQuery, TripQuery

blueprint = APIBlueprint("trip", __name__, tag="trip")


@blueprint.get("/places")
@blueprint.input(PlacesQuery, location="query", arg_name="query")
@blueprint.output(Places)
def places(query: PlacesQuery) -> Response:
    """Places that begin with a text, for a search box."""
    return answer(queries().places(query.q, query.limit).to_json())


@blueprint.get("/ev-models")
@blueprint.output(EvModels)
def ev_models() -> Response:
    """The EV models that a trip can be planned for."""
    return answer(queries().ev_models().to_json())


@blueprint.get("/trip")
@blueprint.input(TripQuery, location="query", arg_name="query")
@blueprint.output(TripAnswer)
def trip(query: TripQuery) -> Response:
    """The quickest plan by an electric car, with its stops to charge, the waits there and each stop's alternative."""
    return answer(queries().trip(query.question()).to_json())
