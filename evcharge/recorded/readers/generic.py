"""Our own documented CSV, for sessions from anywhere: see docs/formats.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from evcharge.contracts.connector_types import normalised
from evcharge.contracts.session_events import MAX_ENERGY_KWH, MAX_POWER_KW, MAX_STAY_S
from evcharge.recorded.readers import fields
from evcharge.recorded.readers.model import (
    CONNECTOR_ID,
    Columns,
    Connector,
    DocumentedFormat,
    RecordedSession,
    Site,
    registry_record,
)
from evcharge.recorded.readers.numbers import Quantity

#: Columns about the station and the EVSE.
PLACE = (
    "station_name",
    "latitude",
    "longitude",
    "time_zone",
    "city",
    "state",
    "zip",
    "country",
    "connector_type",
    "power_kw",
)
#: Columns that a table may have beside its ids, times and energy.
OPTIONAL = (
    "ev_id",
    "ev_model_id",
    "state_of_charge_start",
    "state_of_charge_end",
    "idle_s",
    "queue_wait_s",
    *PLACE,
)
NUMBERS = {
    "state_of_charge_start": Quantity(100),
    "state_of_charge_end": Quantity(100),
    "idle_s": Quantity(MAX_STAY_S),
    "queue_wait_s": Quantity(MAX_STAY_S),
    "latitude": Quantity(90),
    "longitude": Quantity(180),
    "power_kw": Quantity(MAX_POWER_KW),
}
_NUMBERS = {**NUMBERS, "energy_delivered_kwh": Quantity(MAX_ENERGY_KWH)}


class Stations:
    """The sites and EVSEs that rows have named. The first row with a place, or with an EVSE's connector, counts for all.

    `zone` is that of rows that name none, `only` the site of all rows.
    """

    def __init__(self, zone: ZoneInfo | None, only: Site | None = None) -> None:
        self._zone = zone
        self._only = only
        self._sites: dict[str, Site] = {}
        self._evses: dict[str, dict[str, Connector]] = {}
        # The rows of a station have the same place: cells that were read are not read again.
        self._read: dict[tuple[str, str], tuple[str, ...]] = {}

    def add(self, row: fields.Row, station_id: str, evse_id: str) -> None:
        """Takes what a row says about its station. Raises RowError."""
        cells = fields.cells(row, PLACE)
        if self._read.get((station_id, evse_id)) == cells:
            return
        site, connector = self._only or site_of(row, station_id, self._zone), connector_of(row)
        known = self._sites.get(station_id)
        if site is not None and (known is None or (known.latitude is None and site.latitude is not None)):
            self._sites[station_id] = site
        evses = self._evses.setdefault(station_id, {})
        if evse_id not in evses or evses[evse_id].connector_type is None:
            evses[evse_id] = connector
        self._read[station_id, evse_id] = cells

    def records(self, source: str) -> list[dict[str, Any]]:
        """The registry records of the stations whose time zone is known."""
        return [registry_record(site, self._evses[site.station_id], source) for site in self._sites.values()]


class GenericFormat(DocumentedFormat):
    """Reads rows of the generic format.

    A station is registered if one of its rows has latitude, longitude and time zone. Other stations must be in the registry
    already. `time_zone` is that of local times, and of sites that name none.
    """

    source = "generic"
    columns = Columns("session_id", "started_at", "ended_at", "energy_delivered_kwh")
    required: tuple[str, ...] = (
        "session_id",
        "station_id",
        "evse_id",
        "started_at",
        "ended_at",
        "energy_delivered_kwh",
    )
    optional: tuple[str, ...] = OPTIONAL
    times: tuple[str, ...] = ("started_at", "ended_at")
    numbers: Mapping[str, Quantity] = _NUMBERS

    def __init__(self, time_zone: str | None = None) -> None:
        self._zone = ZoneInfo(time_zone) if time_zone else None
        self._stations = Stations(self._zone)

    def session(self, row: fields.Row) -> RecordedSession:
        """The session of a row. `stations` remembers what the row says about its station.

        A local time is in the zone that the user gives, or else in the station's, if no row has a UTC offset.
        """
        session_id, station_id = fields.name(row, "session_id"), fields.name(row, "station_id")
        evse_id = fields.text(row, "evse_id")
        zone = self._zone or fields.zone_of(row, "time_zone", *self.times)
        started_at, ended_at = fields.interval(row, "started_at", "ended_at", zone, mixed=self._zone is not None)
        session = RecordedSession(
            session_id=session_id,
            station_id=station_id,
            evse_id=evse_id,
            connector_id=CONNECTOR_ID,
            started_at=started_at,
            ended_at=ended_at,
            energy_delivered_kwh=round(fields.number(row, "energy_delivered_kwh"), 3),
            **details_of(row),
        )
        self._stations.add(row, station_id, evse_id)
        return session

    def stations(self) -> list[dict[str, Any]]:
        """The stations whose time zone is known from the rows read so far, or from the user."""
        return self._stations.records(self.source)


def details_of(row: fields.Row) -> dict[str, Any]:
    """What a row may say about the car and its visit."""
    return {
        "ev_id": fields.optional_text(row, "ev_id"),
        "ev_model_id": fields.optional_text(row, "ev_model_id"),
        "soc_start": fields.optional_number(row, "state_of_charge_start", 0, 100),
        "soc_end": fields.optional_number(row, "state_of_charge_end", 0, 100),
        "idle_s": fields.optional_number(row, "idle_s", 0, MAX_STAY_S),
        "queue_wait_s": fields.optional_number(row, "queue_wait_s", 0, MAX_STAY_S),
    }


def connector_of(row: fields.Row) -> Connector:
    """The connector of the row's EVSE, by the name that the platform uses."""
    written = fields.optional_text(row, "connector_type")
    return Connector(normalised(written) if written else None, fields.optional_number(row, "power_kw", 0, MAX_POWER_KW))


def site_of(row: fields.Row, station_id: str, zone: ZoneInfo | None) -> Site | None:
    """The row's station; None if its time zone is unknown. It has a place only if the row has the whole of it."""
    latitude = fields.optional_number(row, "latitude", -90, 90)
    longitude = fields.optional_number(row, "longitude", -180, 180)
    own = fields.optional_zone(row, "time_zone") or zone
    if own is None:
        return None
    placed = latitude is not None and longitude is not None
    return Site(
        station_id=station_id,
        station_name=fields.optional_text(row, "station_name") or station_id,
        latitude=latitude if placed else None,
        longitude=longitude if placed else None,
        time_zone=own.key,
        city=fields.optional_text(row, "city"),
        state=fields.optional_text(row, "state"),
        zip=fields.optional_text(row, "zip"),
        country=fields.optional_text(row, "country"),
    )
