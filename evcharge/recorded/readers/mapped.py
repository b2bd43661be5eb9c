"""Any table of sessions whose columns the user has named. Start, end or duration, and energy are enough."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from evcharge.contracts.session_events import MAX_ENERGY_KWH
from evcharge.recorded.readers import fields
from evcharge.recorded.readers.generic import NUMBERS, OPTIONAL, Stations, details_of
from evcharge.recorded.readers.model import (
    CONNECTOR_ID,
    MAX_STAY,
    Columns,
    RecordedSession,
    RecordingError,
    RowError,
    Site,
)
from evcharge.recorded.readers.numbers import Quantity

_ENDS = {"ended_at": 0, "duration": 1, "duration_h": 3600, "duration_min": 60, "duration_s": 1}
_ENERGIES = {"energy_kwh": 1, "energy_wh": 1000}
#: What --columns can name. A duration may replace the end, and watt-hours may replace kilowatt-hours.
NAMES = ("started_at", *_ENDS, *_ENERGIES, "session_id", "station_id", "evse_id", *OPTIONAL)
_ONLY_SITE, _ONLY_EVSE = "site", "1"
_CLOCK = re.compile(r"(?:(\d+) days?,? )?(\d+):(\d\d)(?::(\d\d(?:\.\d+)?))?")
# No header has it: a name that is not mapped has no column, even if the table has one of this name.
_ABSENT = "\0"


class MappedFormat:
    """Reads rows of a table with the columns `header` by a mapping from NAMES to them. It ignores the other columns.

    A mapping may join the column of a date and the column of a time: `DATE+TIME`. `site` is where all rows are. Raises
    RecordingError for a mapping that lacks a start, an end or an energy, or has two of one.
    """

    source = "generic"
    site_power_kw: float | None = None
    ignores_others = True
    optional: tuple[str, ...] = ()
    usual_decimal: str | None = None

    def __init__(
        self, mapping: Mapping[str, str], header: Collection[str], time_zone: str | None, site: Site | None
    ) -> None:
        for name in mapping:
            if name not in NAMES:
                raise RecordingError(f"--columns: {name!r} is none of {', '.join(NAMES)}")
        self._of = dict(mapping)
        self.names: Mapping[str, str] = {**dict.fromkeys(NAMES, _ABSENT), **mapping}
        self.parts: Mapping[str, tuple[str, str]] = {
            column: _two(column) for column in mapping.values() if column not in header and "+" in column
        }
        started = self._one("started_at")
        self._ended, self._energy = self._one(*_ENDS), self._one(*_ENERGIES)
        self.columns = Columns(
            mapping.get("session_id", mapping[started]), mapping[started], mapping[self._ended], mapping[self._energy]
        )
        self.required: tuple[str, ...] = tuple(
            part for column in mapping.values() for part in self.parts.get(column, (column,))
        )
        self.times: tuple[str, ...] = tuple(name for name in ("started_at", "ended_at") if name in mapping)
        self.numbers: Mapping[str, Quantity] = {
            **NUMBERS,
            **{name: Quantity(MAX_STAY.total_seconds() / seconds) for name, seconds in _ENDS.items() if seconds},
            "energy_kwh": Quantity(MAX_ENERGY_KWH),
            # meters count whole watt-hours
            "energy_wh": Quantity(MAX_ENERGY_KWH * 1000, whole=True),
        }
        self._site = site
        stated = time_zone or (site.time_zone if site else None)
        self._zone = ZoneInfo(stated) if stated else None
        self._stations = Stations(self._zone, site)
        self._ids: dict[str, int] = {}

    def session(self, row: fields.Row) -> RecordedSession:
        """The session of a row. A row without an id gets its EVSE and its start as id."""
        station_id = self._site.station_id if self._site else fields.slug(self._text(row, "station_id", _ONLY_SITE))
        evse_id = self._text(row, "evse_id", _ONLY_EVSE)
        started_at, ended_at = self._interval(row)
        energy = fields.number(row, self._energy)
        session = RecordedSession(
            session_id=f"{station_id}-{self._id(row, evse_id, started_at)}",
            station_id=station_id,
            evse_id=evse_id,
            connector_id=CONNECTOR_ID,
            started_at=started_at,
            ended_at=ended_at,
            energy_delivered_kwh=round(energy / _ENERGIES[self._energy], 3),
            **details_of(row),
        )
        self._stations.add(row, station_id, evse_id)
        return session

    def stations(self) -> list[dict[str, Any]]:
        """The sites of the rows read so far whose time zone is known."""
        return self._stations.records(self.source)

    def _one(self, *names: str) -> str:
        given = [name for name in names if name in self._of]
        if len(given) != 1:
            raise RecordingError(f"--columns: name one of {', '.join(names)}, not {' and '.join(given) or 'none'}")
        return given[0]

    def _text(self, row: fields.Row, name: str, otherwise: str) -> str:
        return fields.optional_text(row, name) or otherwise

    def _id(self, row: fields.Row, evse_id: str, started_at: datetime) -> str:
        """The row's own id, or one that another file with this session has too.

        Sessions that start at one EVSE in one second are numbered: a table without EVSEs has several cars at its only one.
        """
        if own := fields.optional_text(row, "session_id"):
            return fields.slug(own)
        made = f"{fields.slug(evse_id)}-{started_at:%Y%m%dT%H%M%SZ}"
        number = self._ids[made] = self._ids.get(made, 0) + 1
        return made if number == 1 else f"{made}-{number}"

    def _interval(self, row: fields.Row) -> tuple[datetime, datetime]:
        zone, mixed = self._zone or fields.zone_of(row, "time_zone", *self.times), self._zone is not None
        if self._ended == "ended_at":
            return fields.interval(row, "started_at", "ended_at", zone, mixed=mixed)
        started_at = fields.instant(row, "started_at", zone, mixed=mixed)
        is_clock = self._ended == "duration"
        seconds = _clock(row) if is_clock else fields.number(row, self._ended) * _ENDS[self._ended]
        try:
            return started_at, started_at + timedelta(seconds=seconds)
        except OverflowError:
            column = self._of[self._ended]
            raise RowError("OUT_OF_RANGE", column, f"{row.cells[column]} is not a duration") from None


def _two(column: str) -> tuple[str, str]:
    date, _, time = column.partition("+")
    return date.strip(), time.strip()


def _clock(row: fields.Row) -> float:
    """Seconds of a duration such as 1:30, 26:05:10 or 1 day 2:05:10 (hours, minutes, seconds)."""
    written = fields.text(row, "duration")
    clock = _CLOCK.fullmatch(written)
    if clock is None:
        raise RowError("UNPARSABLE_NUMBER", row.forms.column("duration"), f"{written!r} is not hours:minutes:seconds")
    days, hours, minutes, seconds = (float(part or 0) for part in clock.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
