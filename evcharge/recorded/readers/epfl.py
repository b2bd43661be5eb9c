"""EPFL style: sessions at one DC fast charger with two plugs, in local time without offset and watt-hours.

The site is the fast charger on the EPFL campus whose sessions of 2022 and 2023 the Distributed Electrical Systems
Laboratory published; its two CCS plugs share 172.5 kW.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from evcharge.contracts.session_events import MAX_ENERGY_KWH, MAX_POWER_KW
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

LAUSANNE = Site(
    station_id="epfl-dcfast",
    station_name="EPFL DC fast charger",
    latitude=46.5191,
    longitude=6.5668,
    time_zone="Europe/Zurich",
    city="Lausanne",
    state="VD",
    country="CH",
    network="EPFL",
)
SITE_POWER_KW = 172.5
CONNECTOR = Connector("J1772COMBO", SITE_POWER_KW)
PLUGS = ("CCS1", "CCS2")

SESSION, PLUG, ARRIVAL, DEPARTURE, ENERGY = "Session", "CCS", "Arrival", "Departure", "Energy (Wh)"
POWER_MAX, SOC_START, SOC_END = "Pmax (W)", "SOC arrival", "SOC departure"
_NUMBERS = {
    ENERGY: Quantity(MAX_ENERGY_KWH * 1000, whole=True),
    POWER_MAX: Quantity(MAX_POWER_KW * 1000, whole=True),
    SOC_START: Quantity(100),
    SOC_END: Quantity(100),
}


class EpflFormat(DocumentedFormat):
    """Reads EPFL rows. `site` replaces the campus charger. Times are local, in its zone or in `time_zone`."""

    source = "epfl"
    columns = Columns(SESSION, ARRIVAL, DEPARTURE, ENERGY)
    required: tuple[str, ...] = (SESSION, PLUG, ARRIVAL, DEPARTURE, ENERGY)
    optional: tuple[str, ...] = (
        POWER_MAX,
        SOC_START,
        SOC_END,
        "Stay (min)",
        "Preq_max (W)",
        "Controlled session (0=False, 1=True)",
        "TotalCapacity",
        "BulkCapacity",
        "Energy capacity (Wh)",
    )
    times: tuple[str, ...] = (ARRIVAL, DEPARTURE)
    numbers: Mapping[str, Quantity] = _NUMBERS

    def __init__(self, site: Site | None = None, time_zone: str | None = None) -> None:
        self._site = site or LAUSANNE
        self._zone = ZoneInfo(time_zone or self._site.time_zone)
        self.site_power_kw = None if site else SITE_POWER_KW
        self._evses = {} if site else dict.fromkeys(PLUGS, CONNECTOR)

    def session(self, row: fields.Row) -> RecordedSession:
        """The session of a row. The file numbers sessions per site, so the id starts with the site's id."""
        evse_id = fields.text(row, PLUG, "evse_id")
        started_at, ended_at = fields.interval(row, ARRIVAL, DEPARTURE, self._zone)
        power_max_w = fields.optional_number(row, POWER_MAX, 0, MAX_POWER_KW * 1000)
        session = RecordedSession(
            session_id=f"{self._site.station_id}-{fields.name(row, SESSION)}",
            station_id=self._site.station_id,
            evse_id=evse_id,
            connector_id=CONNECTOR_ID,
            started_at=started_at,
            ended_at=ended_at,
            energy_delivered_kwh=round(fields.number(row, ENERGY) / 1000, 3),
            soc_start=_percent(row, SOC_START),
            soc_end=_percent(row, SOC_END),
            power_max_kw=None if power_max_w is None else power_max_w / 1000,
            reason="EVDisconnected",
        )
        self._evses[evse_id] = CONNECTOR
        return session

    def stations(self) -> list[dict[str, Any]]:
        """The charger with its plugs."""
        return [registry_record(self._site, self._evses, self.source)]


def _percent(row: fields.Row, column: str) -> float | None:
    value = fields.optional_number(row, column, 0, 100)
    return None if value is None else round(value, 3)
