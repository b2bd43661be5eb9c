"""The operator's figures, as JSON and as CSV files."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import Response

from dashboard.answers import answer, queries
from dashboard.models import NetworkAnswer
from dashboard.parameters import NetworkQuery
from evcharge.queries.dashboard import NoSuchThingError

blueprint = APIBlueprint("network", __name__, tag="network")

_FILE: Any = {200: {"description": "the table's rows", "content": {"text/csv": {"schema": {"type": "string"}}}}}


@blueprint.get("/network")
@blueprint.input(NetworkQuery, location="query", arg_name="query")
@blueprint.output(NetworkAnswer)
def network(query: NetworkQuery) -> Response:
    """Utilisation, energy, faults, waits and uptime over at most twelve months."""
    return answer(queries().network(query.question()).to_json())


@blueprint.get("/network/<table>.csv")
@blueprint.input(NetworkQuery, location="query", arg_name="query")
@blueprint.doc(responses=_FILE)
def network_table(table: str, query: NetworkQuery) -> Response:
    """One of the tables as a CSV file (RFC 4180)."""
    found = queries().network(query.question()).tables
    if table not in found:
        raise NoSuchThingError(f"no table {table!r}; there are {', '.join(found)}")
    response = Response(found[table].to_csv(), mimetype="text/csv")
    response.headers["Content-Disposition"] = f'attachment; filename="evcharge-{table}.csv"'
    response.headers["Cache-Control"] = "no-store"
    return response
