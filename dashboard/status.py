"""How the platform is."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response

from dashboard.answers import answer, queries
from dashboard.models import StatusAnswer

blueprint = APIBlueprint("status", __name__, tag="status")


@blueprint.get("/status")
@blueprint.output(StatusAnswer)
def status() -> Response:
    """Each feed and store, the lake's last merge, the warehouse's last day, the disk. Answers whatever is down."""
    return answer(queries().status().to_json())
