"""The stream of changes, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import Response, current_app, request

from dashboard.parameters import EventsQuery, ids
from dashboard.problems import RETRY_AFTER_S, problem
from dashboard.streams import CARS_FROM_ZOOM, Streams, TooManyStreamsError, View

blueprint = APIBlueprint("events", __name__, tag="events")

_STREAM: Any = {200: {"description": "a stream of events", "content": {"text/event-stream": {}}}}


@blueprint.get("/events")
@blueprint.input(EventsQuery, location="query", arg_name="query")
@blueprint.doc(responses=_STREAM)
def events(query: EventsQuery) -> Response:
    """Changes of the view's stations and cars, and how old the state is at least every 5 s.

    Events: `station` and `vehicle` as in the answers of `/stations` and `/vehicles`, `fresh`, `error`. A map that is zoomed
    out beyond 8 gets the cars that it names only. A client that connects again with `Last-Event-ID` first gets an `error`
    that says that it must load its view again.
    """
    streams: Streams = current_app.extensions["streams"]
    cars = query.zoom is None or query.zoom >= CARS_FROM_ZOOM
    view = View(query.question(), cars, frozenset(ids(query.stations)), frozenset(ids(query.vehicles)))
    try:
        subscription = streams.subscribe(view, request.remote_addr or "", was_away="Last-Event-ID" in request.headers)
    except TooManyStreamsError:
        return problem(503, "too many pages are open; this one asks again", {"Retry-After": str(RETRY_AFTER_S)})
    response = Response(streams.events(subscription), mimetype="text/event-stream")
    # an answer that is never read, as of HEAD, does not begin the events that would end it
    response.call_on_close(lambda: streams.unsubscribe(subscription))
    response.headers["Cache-Control"] = "no-store"
    # nginx hands on what it gets at once
    response.headers["X-Accel-Buffering"] = "no"
    return response
