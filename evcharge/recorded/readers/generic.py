"""Our own documented CSV, for sessions from anywhere: see docs/formats.md."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from evcharge.contracts.session_events import MAX_POWER_KW
from evcharge.recorded.readers import fields
from evcharge.recorded.readers.model import (
    CONNECTOR_ID,
    Columns,
    Connector,
    RecordedSession,
    RowError,
    Site,
    registry_record,
)


class GenericFormat:
    """Reads rows of the generic format.

    A station is registered if one of its rows has latitude, longitude and time zone. The first row with a station's place,
    or with an EVSE's connector, counts for all rows. Other stations must be in the registry already.
    """

    source = "generic"
    ignores_others = False
    site_power_kw: float | None = None
    columns = Columns("session_id", "started_at", "ended_at", "energy_delivered_kwh")
    required: tuple[str, ...] = (
        "session_id",
        "station_id",
        "evse_id",
        "started_at",
        "ended_at",
        "energy_delivered_kwh",
    )
    optional: tuple[str, ...] = (
        "ev_id",
        "ev_model_id",
        "state_of_charge_start",
        "state_of_charge_end",
        "idle_s",
        "queue_wait_s",
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

    def __init__(self) -> None:
        self._sites: dict[str, Site] = {}
        self._evses: dict[str, dict[str, Connector]] = {}

    def session(self, row: fields.Row) -> RecordedSession:
        """The session of a row. `stations` remembers what the row says about its station."""
        session = RecordedSession(
            session_id=fields.name(row, "session_id"),
            station_id=fields.name(row, "station_id"),
            evse_id=fields.text(row, "evse_id"),
            connector_id=CONNECTOR_ID,
            started_at=fields.instant(row, "started_at"),
            ended_at=fields.instant(row, "ended_at"),
            energy_delivered_kwh=round(fields.number(row, "energy_delivered_kwh"), 3),
            ev_id=fields.optional_text(row, "ev_id"),
            ev_model_id=fields.optional_text(row, "ev_model_id"),
            soc_start=fields.optional_number(row, "state_of_charge_start", 0, 100),
            soc_end=fields.optional_number(row, "state_of_charge_end", 0, 100),
            idle_s=fields.optional_number(row, "idle_s", 0),
            queue_wait_s=fields.optional_number(row, "queue_wait_s", 0),
        )
        site = _site(row, session.station_id)
        connector = Connector(
            fields.optional_text(row, "connector_type"), fields.optional_number(row, "power_kw", 0, MAX_POWER_KW)
        )
        if site is not None:
            self._sites.setdefault(site.station_id, site)
        evses = self._evses.setdefault(session.station_id, {})
        if session.evse_id not in evses or evses[session.evse_id].connector_type is None:
            evses[session.evse_id] = connector
        return session

    def stations(self) -> list[dict[str, Any]]:
        """The stations whose place is known from the rows read so far."""
        return [registry_record(site, self._evses[site.station_id], self.source) for site in self._sites.values()]


def _site(row: fields.Row, station_id: str) -> Site | None:
    latitude = fields.optional_number(row, "latitude", -90, 90)
    longitude = fields.optional_number(row, "longitude", -180, 180)
    time_zone = fields.optional_text(row, "time_zone")
    if latitude is None or longitude is None or time_zone is None:
        return None
    try:
        ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise RowError("UNKNOWN_TIME_ZONE", "time_zone", f"{time_zone!r} is not an IANA time zone") from None
    return Site(
        station_id=station_id,
        station_name=fields.optional_text(row, "station_name") or station_id,
        latitude=latitude,
        longitude=longitude,
        time_zone=time_zone,
        city=fields.optional_text(row, "city"),
        state=fields.optional_text(row, "state"),
        zip=fields.optional_text(row, "zip"),
        country=fields.optional_text(row, "country"),
    )
