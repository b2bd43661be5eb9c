"""Any table of sessions whose columns the user has named. Start, end or duration, and energy are enough."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from evcharge.contracts.session_events import MAX_POWER_KW
from evcharge.recorded.readers import fields
from evcharge.recorded.readers.model import (
    CONNECTOR_ID,
    Columns,
    Connector,
    RecordedSession,
    RecordingError,
    RowError,
    Site,
    registry_record,
)

#: What --columns can name. A duration may replace the end, and watt-hours may replace kilowatt-hours.
NAMES = (
    "started_at",
    "ended_at",
    "duration",
    "duration_h",
    "duration_min",
    "duration_s",
    "energy_kwh",
    "energy_wh",
    "session_id",
    "station_id",
    "evse_id",
    "state_of_charge_start",
    "state_of_charge_end",
    "connector_type",
    "power_kw",
)
_ENDS = {"ended_at": 0, "duration": 1, "duration_h": 3600, "duration_min": 60, "duration_s": 1}
_ENERGIES = {"energy_kwh": 1, "energy_wh": 1000}
_ONLY_SITE, _ONLY_EVSE = "site", "1"
_CLOCK = re.compile(r"(?:(\d+) days? )?(\d+):(\d\d)(?::(\d\d(?:\.\d+)?))?")
_DATED = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4})[ T]+(\d{1,2}:\d\d(?::\d\d)?)(?: ?([AaPp][Mm]))?")


class MappedFormat:
    """Reads rows of a table by a mapping from NAMES to its columns. It ignores the other columns.

    Times are ISO-8601, or dates with the day before or after the month: `day_first` says which (None: no row shows it).
    Times without UTC offset are local; in an hour that daylight saving repeats they are the first occurrence. Raises
    RecordingError for a mapping that lacks a start, an end or an energy, or has two of one.
    """

    source = "generic"
    site_power_kw: float | None = None
    ignores_others = True
    optional: tuple[str, ...] = ()

    def __init__(self, mapping: Mapping[str, str], time_zone: str, day_first: bool | None) -> None:
        for name in mapping:
            if name not in NAMES:
                raise RecordingError(f"--columns: {name!r} is none of {', '.join(NAMES)}")
        self._of = dict(mapping)
        self._zone = ZoneInfo(time_zone)
        self._day_first = day_first
        started = self._one("started_at")
        self._ended, self._energy = self._one(*_ENDS), self._one(*_ENERGIES)
        self.columns = Columns(
            mapping.get("session_id", mapping[started]), mapping[started], mapping[self._ended], mapping[self._energy]
        )
        self.required: tuple[str, ...] = tuple(mapping.values())
        self._rows = 0
        self._evses: dict[str, dict[str, Connector]] = {}

    def session(self, row: fields.Row) -> RecordedSession:
        """The session of a row. A row without an id gets its number as id."""
        self._rows += 1
        station_id = _safe(self._optional(row, "station_id") or _ONLY_SITE)
        evse_id = self._optional(row, "evse_id") or _ONLY_EVSE
        started_at = self._time(row, self._of["started_at"])
        energy = _decimal(row, self._of[self._energy])
        session = RecordedSession(
            session_id=f"{station_id}-{_safe(self._optional(row, 'session_id') or str(self._rows))}",
            station_id=station_id,
            evse_id=evse_id,
            connector_id=CONNECTOR_ID,
            started_at=started_at,
            ended_at=self._end(row, started_at),
            energy_delivered_kwh=round(energy / _ENERGIES[self._energy], 3),
            soc_start=self._percent(row, "state_of_charge_start"),
            soc_end=self._percent(row, "state_of_charge_end"),
        )
        power_kw = fields.optional_number(row, self._of.get("power_kw", ""), 0, MAX_POWER_KW)
        connector = Connector(self._optional(row, "connector_type"), power_kw)
        self._evses.setdefault(station_id, {}).setdefault(evse_id, connector)
        return session

    def stations(self) -> list[dict[str, Any]]:
        """The sites of the rows read so far. Their places are unknown, so they do not go to the registry."""
        return [
            registry_record(Site(name, name, 0.0, 0.0, self._zone.key), evses, self.source)
            for name, evses in self._evses.items()
        ]

    def _one(self, *names: str) -> str:
        given = [name for name in names if name in self._of]
        if len(given) != 1:
            raise RecordingError(f"--columns: name one of {', '.join(names)}, not {' and '.join(given) or 'none'}")
        return given[0]

    def _optional(self, row: fields.Row, name: str) -> str | None:
        return fields.optional_text(row, self._of[name]) if name in self._of else None

    def _percent(self, row: fields.Row, name: str) -> float | None:
        return fields.optional_number(row, self._of[name], 0, 100) if name in self._of else None

    def _end(self, row: fields.Row, started_at: datetime) -> datetime:
        column = self._of[self._ended]
        if self._ended == "ended_at":
            return self._time(row, column)
        seconds = _clock(row, column) if self._ended == "duration" else _decimal(row, column) * _ENDS[self._ended]
        try:
            return started_at + timedelta(seconds=seconds)
        except OverflowError:
            raise RowError("OUT_OF_RANGE", column, f"{row[column]} is not a duration") from None

    def _time(self, row: fields.Row, column: str) -> datetime:
        value = fields.text(row, column)
        dated = _DATED.fullmatch(value)
        if dated is None:
            return fields.zoned_instant(row, column, self._zone)
        first, separator, second, year, clock, half = dated.groups()
        day_first = True if separator == "." else self._day_first
        if day_first is None:
            raise RowError("UNPARSABLE_TIME", column, f"{value!r}: no row shows which is the day; write ISO-8601")
        day, month = (first, second) if day_first else (second, first)
        hour, rest = clock.split(":", 1)
        if half:
            hour = str(int(hour) % 12 + 12 * (half.lower() == "pm"))
        iso = f"{year}-{int(month):02d}-{int(day):02d}T{int(hour):02d}:{rest}"
        return fields.zoned_instant({column: iso}, column, self._zone)


def is_day_first(value: str) -> bool | None:
    """Whether a date has its day before its month. None if both are possible or the text is no such date."""
    dated = _DATED.fullmatch(value.strip())
    if dated is None or (int(dated[1]) > 12) == (int(dated[3]) > 12):
        return None
    return int(dated[1]) > 12


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)


def _decimal(row: fields.Row, column: str) -> float:
    """A number, with a decimal point or a decimal comma."""
    value = fields.text(row, column)
    return fields.number({column: value.replace(",", ".") if re.fullmatch(r"-?\d+,\d+", value) else value}, column)


def _clock(row: fields.Row, column: str) -> float:
    """Seconds of a duration such as 1:30, 26:05:10 or 1 day 2:05:10 (hours, minutes, seconds)."""
    value = fields.text(row, column)
    clock = _CLOCK.fullmatch(value)
    if clock is None:
        raise RowError("UNPARSABLE_NUMBER", column, f"{value!r} is not hours:minutes:seconds")
    days, hours, minutes, seconds = (float(part or 0) for part in clock.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
