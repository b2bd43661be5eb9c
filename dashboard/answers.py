"""How an answer of the API is written."""

from __future__ import annotations

from typing import Any, cast

import orjson
from flask import Response, current_app

from evcharge.queries.dashboard import DashboardOptions, Queries


def queries() -> Queries:
    """The questions that the running application asks."""
    return cast(Queries, current_app.extensions["queries"])


def options() -> DashboardOptions:
    """The running application's settings."""
    return cast(DashboardOptions, current_app.extensions["options"])


def answer(payload: Any) -> Response:
    """`payload` as JSON, which no cache keeps: an old state looks like a new one.

    It is not checked against the endpoint's model, which describes it: for 2,000 stations that took longer than to find them.
    """
    response = Response(orjson.dumps(payload), mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response
