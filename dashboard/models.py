"""The API's answers, for its description. The answers themselves come from `evcharge.queries`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

State = Literal["free", "busy", "blocked", "broken", "planned", "unknown"]


class Fresh(BaseModel):
    """How old the state is that the answer was read from."""

    state_as_of: str | None = Field(description="everything that had happened by then is in the answer (UTC)")
    age_s: float | None
    stale: bool = Field(description="too old to say anything of outlets")
    note: str | None = Field(description="in one line what a reader has to know")


class Counts(BaseModel):
    """Numbers of stations by state."""

    free: int
    busy: int
    blocked: int
    broken: int
    planned: int
    unknown: int


class MapStation(BaseModel):
    """A station on the map, with its outlets that fit the question."""

    id: str
    name: str | None
    city: str | None
    state_code: str | None
    lat: float | None
    lon: float | None
    state: State
    free: int
    total: int
    power_kw: float | None
    connectors: list[str]
    network: str | None
    queue_length: int | None
    last_event_at: str | None
    remark: str | None
    likely_free: float | None
    fits: bool = Field(
        description="false for a favourite that the filter leaves out, which is shown with all its outlets"
    )


class Cluster(Counts):
    """Stations that are close together, with the edges of their map tile."""

    key: str
    lat: float
    lon: float
    count: int
    west: float
    south: float
    east: float
    north: float


class MapAnswer(Fresh):
    total: int
    mode: Literal["stations", "clusters"]
    truncated: bool
    counts: Counts
    stations: list[MapStation]
    clusters: list[Cluster]


class Network(BaseModel):
    name: str
    stations: int


class Networks(BaseModel):
    networks: list[Network]


class Vehicle(BaseModel):
    """A connected car where it last said it was."""

    id: str
    lat: float
    lon: float
    heading: float | None
    speed_kmh: float
    ignition: bool
    state_of_charge: float
    range_km: float | None
    destination_station_id: str | None
    ev_model_id: str | None
    occurred_at: str


class Vehicles(Fresh):
    vehicles: list[Vehicle]
    truncated: bool


class InboundCar(BaseModel):
    """A car that heads for the station."""

    vehicle_id: str
    ev_model_id: str | None
    by: Literal["destination", "heading"]
    distance_km: float
    eta_minutes: float
    speed_kmh: float
    state_of_charge: float
    range_km: float | None
    latitude: float
    longitude: float
    occurred_at: str


class StationAnswer(Fresh):
    """A station now, as `evcharge station --json` has it, with the map's word for its state and the cars that head for it."""

    station_id: str
    station_name: str | None
    city: str | None
    state_code: str | None
    network: str | None
    latitude: float | None
    longitude: float | None
    state: State
    remark: str | None
    total_outlets: int
    queue_length: int | None
    last_event_at: str | None
    time_zone: str
    outlets: list[dict[str, Any]]
    evses: list[dict[str, Any]]
    today: dict[str, Any] | None
    today_note: str | None = Field(description="why `today` is missing")
    inbound: list[InboundCar]
    inbound_note: str | None


class ForecastModel(BaseModel):
    version: str
    trained_at: str | None
    trained_on: dict[str, Any]


class ForecastPoint(BaseModel):
    """A point in time. `low` and `high` are the bounds of the free outlets' number."""

    in_min: float
    at: str
    probability_free: float | None
    expected_wait_s: float | None
    expected_free: float | None
    low: float | None
    high: float | None


class ForecastAnswer(Fresh):
    station_id: str
    connector_type: str | None
    min_power_kw: float | None
    outlets: int
    source: str
    model: ForecastModel
    score: dict[str, Any] | None
    points: list[ForecastPoint]


class Place(BaseModel):
    name: str
    kind: Literal["place", "zip", "coordinates", "station"]
    state_code: str | None
    lat: float
    lon: float


class Places(BaseModel):
    places: list[Place]


class EvModel(BaseModel):
    ev_model_id: str
    make: str
    model: str
    usable_kwh: float
    dc_kw: float | None
    ac_kw: float | None
    consumption_kwh_per_100km: float
    connector_types: list[str]


class EvModels(BaseModel):
    models: list[EvModel]
    note: str | None


class TripLeg(BaseModel):
    """A leg between the start, stops and the destination. `path` has [longitude, latitude] pairs."""

    model_config = ConfigDict(populate_by_name=True)

    start: str = Field(alias="from")
    to: str
    distance_km: float
    drive_s: float
    energy_kwh: float
    soc_start: float
    soc_end: float
    soc_needed: float
    feasible: bool
    path: list[list[float]]


class FailingLeg(TripLeg):
    number: int
    reason: str | None


class TripAlternative(BaseModel):
    station_id: str
    name: str | None
    lat: float
    lon: float
    connector_type: str | None
    power_kw: float
    state: State
    arrive_at: str
    soc_arrive: float
    soc_leave: float
    charge_s: float
    expected_wait_s: float
    probability_free: float
    energy_kwh: float
    extra_s: float | None = Field(default=None, description="what an alternative makes the trip longer by")


class TripStop(TripAlternative):
    alternative: TripAlternative | None


class TripAnswer(Fresh):
    """A plan. `total_s` is drive, charge, wait and five minutes a stop."""

    model_config = ConfigDict(populate_by_name=True)

    question: dict[str, Any]
    start: Place = Field(alias="from")
    to: Place
    model: EvModel
    distance_km: float
    distance_is_estimate: bool
    road_source: str
    drive_s: float
    charge_s: float
    wait_s: float
    total_s: float
    energy_kwh: float
    feasible: bool
    failing_leg: FailingLeg | None
    path: list[list[float]]
    legs: list[TripLeg]
    stops: list[TripStop]
    departs_at: str
    arrives_at: str


class ForecastScore(BaseModel):
    """Scores against "no change" and climatology: the platform's own forecasts of late, null before the first, and this
    version's on recordings and on the simulator's truth."""

    platform: dict[str, Any] | None
    published: dict[str, Any]


class StationDay(BaseModel):
    """A local day; all is null where nothing is known of it."""

    date: str
    sessions: int | None
    energy_kwh: float | None
    occupied_minutes: float | None
    failed_starts: int | None
    waits: int | None
    faults: int | None
    utilisation: float | None


class HistoryAnswer(BaseModel):
    """Thirty local days, today last."""

    station_id: str
    time_zone: str
    note: str | None
    days: list[StationDay]


class Column(BaseModel):
    key: str
    title: str
    unit: str


class Table(BaseModel):
    title: str
    columns: list[Column]
    rows: list[list[Any]]
    truncated: bool


class NetworkAnswer(BaseModel):
    """The operator's figures. `data_to` is the end of the last session that the warehouse has."""

    question: dict[str, Any]
    data_to: str | None
    note: str | None
    networks: list[str]
    states: list[str]
    summary: dict[str, Any]
    tables: dict[str, Table]
    heatmap: dict[str, Any]
    utilisation: dict[str, Any]


class Feed(BaseModel):
    """How current what a topic brings is. `lag` has the records that are not in the state yet."""

    name: str
    topic: str
    last_at: str | None
    age_s: float | None
    lag: int | None
    state: Literal["current", "behind", "failing", "unknown"]


class Store(BaseModel):
    name: str
    state: Literal["up", "down"]
    detail: str | None
    as_of: str


class Link(BaseModel):
    title: str
    url: str


class StatusAnswer(BaseModel):
    """How the platform is. What is not known says so and hides nothing else."""

    now: str
    feeds: list[Feed]
    stores: list[Store]
    lake: dict[str, Any]
    warehouse: dict[str, Any]
    disk: dict[str, Any]
    coming: list[dict[str, str]]
    links: list[Link]
    note: str | None
