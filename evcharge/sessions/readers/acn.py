"""ACN-Data: sessions of the Adaptive Charging Network, as its CSV exports have them.

Lee, Li, Low: "ACN-Data: Analysis and Applications of an Open EV Charging Dataset", ACM e-Energy 2019. The charging
station is the site; each `station_id` of the file is an EVSE of it.
"""

from __future__ import annotations

import re
from typing import Any

from evcharge.sessions.readers import fields
from evcharge.sessions.readers.model import (
    CONNECTOR_ID,
    Columns,
    Connector,
    RecordedSession,
    Site,
    UnknownSiteError,
    registry_record,
)

# Site and EVSE power as the ACN-Data paper describes them: level 2, 32 A at 208 V.
CALTECH = Site(
    station_id="acn-caltech",
    station_name="Caltech ACN",
    latitude=34.1377,
    longitude=-118.1253,
    time_zone="America/Los_Angeles",
    city="Pasadena",
    state="CA",
    zip="91125",
    country="US",
    network="ACN",
)
CALTECH_EVSE_PREFIX = "CA-"
CONNECTOR = Connector("J1772", 6.6)

ARRIVAL, DEPARTURE, ENERGY = "arrival", "departure", "delivered_energy (kWh)"
EVSE, SESSION = "station_id", "session_id"


class AcnFormat:
    """Reads ACN rows. `site` replaces the site that the EVSE ids tell."""

    source = "acn"
    columns = Columns(SESSION, ARRIVAL, DEPARTURE, ENERGY)
    required: tuple[str, ...] = (ARRIVAL, DEPARTURE, ENERGY, EVSE, SESSION)
    optional: tuple[str, ...] = ("requested_energy (kWh)", "estimated_departure", "claimed")

    def __init__(self, site: Site | None = None) -> None:
        self._site = site
        self._evses: dict[str, Connector] = {}

    def session(self, row: fields.Row) -> RecordedSession:
        """The session of a row. The file's session id has blanks and colons, which the stores' names may not have."""
        evse_id = fields.text(row, EVSE)
        if self._site is None and not evse_id.startswith(CALTECH_EVSE_PREFIX):
            raise UnknownSiteError(
                EVSE,
                f"EVSE {evse_id!r} belongs to no site that is known here: say which with --site-id, --site-latitude, "
                "--site-longitude and --site-time-zone",
            )
        station_id = (self._site or CALTECH).station_id
        session = RecordedSession(
            session_id=f"{station_id}-{re.sub(r'[^A-Za-z0-9_-]', '-', fields.text(row, SESSION))}",
            station_id=station_id,
            evse_id=evse_id,
            connector_id=CONNECTOR_ID,
            started_at=fields.instant(row, ARRIVAL),
            ended_at=fields.instant(row, DEPARTURE),
            energy_delivered_kwh=round(fields.number(row, ENERGY), 3),
            reason="EVDisconnected",
        )
        self._evses[evse_id] = CONNECTOR
        return session

    def stations(self) -> list[dict[str, Any]]:
        """The site with the EVSEs that the rows read so far have used."""
        return [registry_record(self._site or CALTECH, self._evses, self.source)] if self._evses else []
