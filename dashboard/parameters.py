"""The parameters of the API's questions. What they mean together, `evcharge.queries` checks."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from evcharge.queries.dashboard import MAX_STATIONS, MOST_STATIONS, MapQuestion, NetworkQuestion, TripQuestion

#: Ids that one question may name: favourites, and a page's cars.
MOST_IDS = 200


def ids(text: str) -> tuple[str, ...]:
    """The ids in a text with commas between."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _few_ids(text: str) -> str:
    if len(ids(text)) > MOST_IDS:
        raise ValueError(f"at most {MOST_IDS} ids")
    return text


Latitude = Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False, description="degrees north (WGS 84)")]
Longitude = Annotated[
    float,
    Field(
        ge=-540, le=540, allow_inf_nan=False, description="degrees east (WGS 84), of a map that may be scrolled around"
    ),
]
Power = Annotated[float | None, Field(ge=0, le=5_000, allow_inf_nan=False)]
Connector = Annotated[str | None, Field(max_length=50, description="any name of a connector type, e.g. CCS")]
Ids = Annotated[str, Field(max_length=8_000, description="ids, with commas between"), AfterValidator(_few_ids)]


class Query(BaseModel):
    """A parameter that no question knows is refused: a misspelt filter would otherwise answer something else."""

    model_config = ConfigDict(extra="forbid")


class ViewQuery(Query):
    """A part of the map. `west` above `east` crosses the antimeridian."""

    west: Longitude
    south: Latitude
    east: Longitude
    north: Latitude


class FilterQuery(ViewQuery):
    """A part of the map and the stations that are wanted there."""

    zoom: Annotated[float | None, Field(ge=0, le=24, allow_inf_nan=False)] = None
    connector: Connector = None
    min_power_kw: Power = None
    max_power_kw: Power = None
    min_free: Annotated[int | None, Field(ge=1, le=8)] = None
    network: Annotated[str | None, Field(max_length=200)] = None
    free_now: bool = False

    def question(
        self,
        favourites: tuple[str, ...] = (),
        likely_free_in_min: int | None = None,
        most_stations: int = MAX_STATIONS,
    ) -> MapQuestion:
        """Raises UserError."""
        return MapQuestion(
            self.west,
            self.south,
            self.east,
            self.north,
            self.zoom or 0.0,
            self.connector or None,
            self.min_power_kw,
            self.max_power_kw,
            self.min_free,
            self.network or None,
            self.free_now,
            likely_free_in_min,
            favourites,
            most_stations,
        )


class MapQuery(FilterQuery):
    likely_free_in_min: Annotated[int | None, Field(ge=0, le=240)] = None
    favourites: Ids = ""
    most_stations: Annotated[
        int, Field(ge=0, le=MOST_STATIONS, description="more stations than these are answered as clusters")
    ] = MAX_STATIONS


class EventsQuery(FilterQuery):
    stations: Ids = ""
    vehicles: Ids = ""


class VehiclesQuery(ViewQuery):
    limit: Annotated[int, Field(ge=1, le=2_000)] = 500


class ForecastQuery(Query):
    connector: Connector = None
    min_power_kw: Power = None
    in_min: Annotated[
        float | None, Field(ge=0, le=240, allow_inf_nan=False, description="one point instead of all")
    ] = None


class PlacesQuery(Query):
    q: Annotated[
        str, Field(max_length=200, description="the beginning of a name, a ZIP, coordinates or a station's id")
    ]
    limit: Annotated[int, Field(ge=1, le=50)] = 8


Share = Annotated[float, Field(ge=0, le=90, allow_inf_nan=False, description="percent of the battery")]
End = Annotated[str, Field(max_length=200, description="coordinates, a ZIP, a US place or a station's id")]


class TripQuery(Query):
    start: Annotated[End, Field(alias="from")]
    to: End
    model: Annotated[str, Field(max_length=200, description="an EV model's id or name")]
    soc: Annotated[float, Field(ge=1, le=100, allow_inf_nan=False, description="percent of the battery at departure")]
    arrive_with: Share = 10.0
    stop_with: Share = 10.0
    reference_consumption: Annotated[
        float | None, Field(allow_inf_nan=False, description="kWh per 100 km at a steady 110 km/h")
    ] = None
    temperature_c: Annotated[float | None, Field(allow_inf_nan=False)] = None
    depart_at: Annotated[AwareDatetime | None, Field(description="an instant, e.g. 2026-05-20T18:30:00Z")] = None
    avoid: Ids = ""

    def question(self) -> TripQuestion:
        """Raises UserError."""
        return TripQuestion(
            self.start,
            self.to,
            self.model,
            self.soc,
            self.arrive_with,
            self.stop_with,
            self.reference_consumption,
            self.temperature_c,
            self.depart_at,
            ids(self.avoid),
        )


class NetworkQuery(Query):
    network: Annotated[str | None, Field(max_length=200, description="a network's exact name; none: all")] = None
    state: Annotated[str | None, Field(max_length=200, description="a state's exact code; none: all")] = None
    months: Annotated[int, Field(ge=1, le=12, description="the running month and those before it (UTC)")] = 12

    def question(self) -> NetworkQuestion:
        """Raises UserError."""
        return NetworkQuestion(self.network or None, self.state or None, self.months)
