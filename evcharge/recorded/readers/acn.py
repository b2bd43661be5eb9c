"""ACN-Data: sessions of the Adaptive Charging Network, from its API, its website and its CSV exports.

Lee, Li, Low: "ACN-Data: Analysis and Applications of an Open EV Charging Dataset", ACM e-Energy 2019. A site of ACN-Data is
a charging station here; each space (`spaceID`, in exports `station_id`) is one of its EVSEs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from evcharge.contracts.session_events import MAX_ENERGY_KWH
from evcharge.recorded.readers import fields
from evcharge.recorded.readers.model import (
    CONNECTOR_ID,
    Columns,
    Connector,
    DocumentedFormat,
    RecordedSession,
    Site,
    UnknownSiteError,
    registry_record,
)
from evcharge.recorded.readers.numbers import Quantity

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
JPL = Site(
    station_id="acn-jpl",
    station_name="JPL ACN",
    latitude=34.2013,
    longitude=-118.1714,
    time_zone="America/Los_Angeles",
    city="Pasadena",
    state="CA",
    zip="91109",
    country="US",
    network="ACN",
)
# ACN-Data gives no address of the office, only Silicon Valley. The place is that of San Jose.
OFFICE001 = Site(
    station_id="acn-office001",
    station_name="Office001 ACN",
    latitude=37.3382,
    longitude=-121.8863,
    time_zone="America/Los_Angeles",
    state="CA",
    country="US",
    network="ACN",
)
# The API numbers sites with leading zeros ("0002"), its CSV without; its queries use names.
SITES = {"1": JPL, "2": CALTECH, "19": OFFICE001, "jpl": JPL, "caltech": CALTECH, "office001": OFFICE001}
CALTECH_EVSE_PREFIX = "CA-"
# The paper's EVSEs: level 2, 32 A at 208 V.
CONNECTOR = Connector("J1772", 6.6)
_NUMBERS = {"delivered_energy (kWh)": Quantity(MAX_ENERGY_KWH)}
_API_NUMBERS = {"kWhDelivered": Quantity(MAX_ENERGY_KWH)}


class _Acn(DocumentedFormat):
    """What both forms have in common. `site` replaces the site of the rows. `time_zone` is that of local times."""

    source = "acn"

    def __init__(self, site: Site | None = None, time_zone: str | None = None) -> None:
        self._site = site
        stated = time_zone or (site.time_zone if site else None)
        self._zone = ZoneInfo(stated) if stated else None
        self._evses: dict[Site, dict[str, Connector]] = {}

    def stations(self) -> list[dict[str, Any]]:
        """The sites, with the EVSEs of the rows read so far."""
        return [registry_record(site, evses, self.source) for site, evses in self._evses.items()]

    def _session(
        self, site: Site, evse_id: str, session_id: str, started_at: datetime, ended_at: datetime, energy_kwh: float
    ) -> RecordedSession:
        """A session. Blanks and colons of the file's session id are replaced: names in the stores may not have them."""
        session = RecordedSession(
            session_id=f"{site.station_id}-{fields.slug(session_id)}",
            station_id=site.station_id,
            evse_id=evse_id,
            connector_id=CONNECTOR_ID,
            started_at=started_at,
            ended_at=ended_at,
            energy_delivered_kwh=round(energy_kwh, 3),
            reason="EVDisconnected",
        )
        self._evses.setdefault(site, {})[evse_id] = CONNECTOR
        return session

    def _site_of(self, column: str, evse_id: str, session_id: str, site_id: str | None = None) -> Site:
        """The site by its id, else by the session id (it begins with site and cluster, `2_39_…`), else by the EVSE."""
        if self._site is not None:
            return self._site
        if site_id is None:
            numbered = re.match(r"(\d+)_\d+_", session_id)
            site_id = numbered[1] if numbered else "2" if evse_id.startswith(CALTECH_EVSE_PREFIX) else ""
        site = SITES.get(site_id.lstrip("0").lower())
        if site is None:
            raise UnknownSiteError(
                column,
                f"EVSE {evse_id!r} belongs to no site that is known here: say which with --site-id, --site-latitude, "
                "--site-longitude and --site-time-zone",
            )
        return site


class AcnFormat(_Acn):
    """Reads rows of the CSV exports that the paper's authors and others use for optimization."""

    columns = Columns("session_id", "arrival", "departure", "delivered_energy (kWh)")
    required: tuple[str, ...] = ("arrival", "departure", "delivered_energy (kWh)", "station_id", "session_id")
    optional: tuple[str, ...] = ("requested_energy (kWh)", "estimated_departure", "claimed")
    times: tuple[str, ...] = ("arrival", "departure")
    numbers: Mapping[str, Quantity] = _NUMBERS

    def session(self, row: fields.Row) -> RecordedSession:
        """The session of a row. Such exports exist in UTC and in local time, so a time without offset needs a stated zone."""
        evse_id, session_id = fields.text(row, "station_id", "evse_id"), fields.text(row, "session_id")
        return self._session(
            self._site_of("station_id", evse_id, session_id),
            evse_id,
            session_id,
            *fields.interval(row, "arrival", "departure", self._zone),
            fields.number(row, "delivered_energy (kWh)"),
        )


class AcnApiFormat(_Acn):
    """Reads sessions with the API's names: its JSON, the website's download, or a CSV made from them.

    The users' own inputs are not used. CSVs spread them over columns of many names, so other columns are ignored.
    """

    ignores_others = True
    columns = Columns("sessionID", "connectionTime", "disconnectTime", "kWhDelivered")
    required: tuple[str, ...] = ("connectionTime", "disconnectTime", "kWhDelivered", "sessionID")
    optional: tuple[str, ...] = (
        "_id",
        "clusterID",
        "doneChargingTime",
        "siteID",
        "spaceID",
        "stationID",
        "timezone",
        "userID",
        "userInputs",
    )
    times: tuple[str, ...] = ("connectionTime", "disconnectTime")
    numbers: Mapping[str, Quantity] = _API_NUMBERS

    def session(self, row: fields.Row) -> RecordedSession:
        """The session of a row. A time without offset is in the row's `timezone`."""
        column = "spaceID" if fields.optional_text(row, "spaceID") else "stationID"
        evse_id, session_id = fields.text(row, column, "evse_id"), fields.text(row, "sessionID", "session_id")
        site_id = fields.optional_text(row, "siteID")
        zone = self._zone or fields.zone_of(row, "timezone", *self.times)
        return self._session(
            self._site_of("siteID" if site_id else column, evse_id, session_id, site_id),
            evse_id,
            session_id,
            *fields.interval(row, "connectionTime", "disconnectTime", zone),
            fields.number(row, "kWhDelivered"),
        )
