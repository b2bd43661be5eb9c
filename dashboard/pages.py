"""The pages: an HTML shell each, which the scripts in `/static` fill."""

from __future__ import annotations

import json
from pathlib import Path

from apiflask import APIBlueprint
from flask import redirect, render_template
from werkzeug.wrappers import Response

blueprint = APIBlueprint("pages", __name__, enable_openapi=False)

STATIC = Path(__file__).parent / "static"


@blueprint.app_template_global()
def preloads(page: str) -> list[str]:
    """The scripts that a page needs beside `app.js`, as the front end's build listed them: a browser asks for all at once."""
    try:
        return json.loads((STATIC / "preloads.json").read_bytes()).get(page, [])
    except (OSError, ValueError):
        return []


@blueprint.app_template_global()
def is_built() -> bool:
    """Whether the front end was built."""
    return (STATIC / "app.js").exists()


@blueprint.get("/")
def map_page() -> str:
    return render_template("map.html", page="map")


@blueprint.get("/stations/<path:station_id>")
def station_page(station_id: str) -> str:
    """Whether there is such a station, the page asks itself."""
    return render_template("station.html", page="station", station_id=station_id)


@blueprint.get("/trip")
def trip_page() -> str:
    return render_template("trip.html", page="trip")


@blueprint.get("/network")
def network_page() -> str:
    return render_template("network.html", page="network")


@blueprint.get("/status")
def status_page() -> str:
    return render_template("status.html", page="status")


@blueprint.get("/favicon.ico")
def favicon() -> Response:
    return redirect("/static/icon.svg", 301)
