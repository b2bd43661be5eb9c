"""What every recorded file becomes: sessions at sites, and impossible rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from evcharge.contracts.station_registry import UNDECLARED
from evcharge.errors import UserError

# Recorded files name only the EVSE. Each EVSE has one connector, which OCPP numbers from 1.
CONNECTOR_ID = "1"
# A cable that stays plugged in for a month is a lost stop message. The longest session of ACN-Data lasts a week.
MAX_STAY = timedelta(days=30)


class RecordingError(UserError):
    """A recorded file cannot be read. The message is one line that names file, row and column where they are known."""


class RowError(ValueError):
    """A row is impossible. `reason` is the code under which it is counted; `column` is the one to look at."""

    def __init__(self, reason: str, column: str, detail: str) -> None:
        super().__init__(f"{reason} ({detail})")
        self.reason = reason
        self.column = column


class ColumnError(ValueError):
    """A column can be read in two ways. `number` is the row that shows it."""

    def __init__(self, number: int, column: str, detail: str) -> None:
        super().__init__(detail)
        self.number = number
        self.column = column


class UnknownSiteError(RowError):
    """The row's EVSE belongs to no known site. Then no row of the file has a station."""

    def __init__(self, column: str, detail: str) -> None:
        super().__init__("UNKNOWN_SITE", column, detail)


@dataclass(frozen=True, slots=True)
class Columns:
    """A format's names for the columns that every format has."""

    session: str
    started: str
    ended: str
    energy: str


class DocumentedFormat:
    """What formats have in common whose columns are described in docs/formats.md: names of their own, and a decimal point."""

    names: Mapping[str, str] = MappingProxyType({})
    parts: Mapping[str, tuple[str, str]] = MappingProxyType({})
    usual_decimal: str | None = "."
    ignores_others = False
    site_power_kw: float | None = None


@dataclass(frozen=True, slots=True)
class RecordedSession:
    """One charging session as its source recorded it. A value that the source lacks is None.

    Times are aware UTC instants, energy is in kWh to the Wh, state of charge in percent, `reason` is an OCPP stop reason.
    """

    session_id: str
    station_id: str
    evse_id: str
    connector_id: str
    started_at: datetime
    ended_at: datetime
    energy_delivered_kwh: float
    ev_id: str | None = None
    ev_model_id: str | None = None
    soc_start: float | None = None
    soc_end: float | None = None
    power_max_kw: float | None = None
    idle_s: float | None = None
    queue_wait_s: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Site:
    """A charging station (OCPI location), as far as a recorded file or its reader knows it.

    A site without a place can be fitted, but it does not go to the registry.
    """

    station_id: str
    station_name: str
    latitude: float | None
    longitude: float | None
    time_zone: str
    city: str | None = None
    state: str | None = None
    zip: str | None = None
    country: str | None = None
    network: str | None = None


@dataclass(frozen=True, slots=True)
class Connector:
    """The one connector of an EVSE: AFDC connector type and power in kW."""

    connector_type: str | None
    power_kw: float | None


def registry_record(site: Site, evses: dict[str, Connector], source: str) -> dict[str, Any]:
    """The station-registry record of a site, without schema_version and observed_at.

    `evses` maps evse_id to its connector. A file shows the EVSEs that were used in it, not all that exist: its scope is not
    declared, so the live state adds them to those of other files.
    """
    groups: dict[tuple[str, float | None], int] = {}
    for connector in evses.values():
        if connector.connector_type:
            group = (connector.connector_type, connector.power_kw)
            groups[group] = groups.get(group, 0) + 1
    return {
        "station_id": site.station_id,
        "station_name": site.station_name,
        "city": site.city,
        "state": site.state,
        "zip": site.zip,
        "country": site.country,
        "time_zone": site.time_zone,
        "longitude": site.longitude,
        "latitude": site.latitude,
        "status_code": "E",
        "connector_types": sorted({kind for kind, _ in groups}) or None,
        "total_outlets": len(evses),
        "connectors": [
            {"connector_type": kind, "power_kw": power_kw, "ports": ports} for (kind, power_kw), ports in groups.items()
        ]
        or None,
        "evses": [
            {
                "evse_id": evse_id,
                "connector_id": CONNECTOR_ID,
                "connector_type": connector.connector_type,
                "power_kw": connector.power_kw,
            }
            for evse_id, connector in sorted(evses.items())
        ],
        "network": site.network,
        "source": source,
        "snapshot_scope": UNDECLARED,
    }
