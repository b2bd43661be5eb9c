"""What a page has to know before it asks anything."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response
from pydantic import BaseModel, Field

from dashboard.answers import answer, options, queries

blueprint = APIBlueprint("configuration", __name__, tag="configuration")


class Configuration(BaseModel):
    """Settings of the pages."""

    tile_url: str = Field(description="a URL of map tiles; empty: the built-in map")
    dagster_url: str
    version: str
    likely_free_available: bool = Field(description="whether stations have `likely_free`")


@blueprint.get("/config")
@blueprint.output(Configuration)
def config() -> Response:
    """Settings of the pages. Asks no store, so it tells whether the dashboard runs."""
    known = options()
    return answer(
        {
            "tile_url": known.tile_url,
            "dagster_url": known.dagster_url,
            "version": known.version,
            "likely_free_available": hasattr(queries(), "forecast"),
        }
    )
