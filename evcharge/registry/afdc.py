"""A record of the Alternative Fuels Data Center (AFDC) as a row of the station-registry contract.

Records carry the field names of AFDC's JSON API, whichever file they come from (`files.py`); values may be the API's
or the text of a CSV. What a row needs and can not be read raises RecordError; what it does not need and can not be read
is left out and named as a correction.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tzfpy import get_tz

from evcharge.contracts.station_registry import STATUS_CODES

Record = Mapping[str, Any]
Row = dict[str, Any]

ELECTRIC = "ELEC"
SOURCE = "afdc"
#: `ev_network` of the records of our own example, and the source that they become.
SYNTHETIC_NETWORK = "Synthetic"
SYNTHETIC_SOURCE = "synthetic"
_PREFIXES = {SOURCE: "afdc", SYNTHETIC_SOURCE: "syn"}

#: What a row says of its station; the fields that tell of the snapshot are added when it is published.
CONTENT = (
    "station_id",
    "station_name",
    "city",
    "state",
    "zip",
    "country",
    "time_zone",
    "longitude",
    "latitude",
    "status_code",
    "connector_types",
    "total_outlets",
    "connectors",
    "network",
    "source",
)

# The largest sites have a few hundred ports; a larger number is an id or a price in the wrong column.
MAX_PORTS = 10_000

#: Ports by charging level, and the connector types that each level can have, in AFDC's spelling. TESLA is SAE J3400.
LEVELS = {
    "ev_level1_evse_num": ("NEMA515", "NEMA520"),
    "ev_level2_evse_num": ("J1772", "NEMA1450", "TESLA"),
    "ev_dc_fast_num": ("J1772COMBO", "CHADEMO", "TESLA", "J3271"),
}
# A level 1 port that has no household socket is a J1772 cable.
_LEVEL_1, _LEVEL_1_CABLE = "ev_level1_evse_num", "J1772"

_TIMES = ("updated_at", "date_last_confirmed")
_US_TIME = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})(?:[ T](\d{1,2}):(\d{2})(?::(\d{2}))?(?: ?([AaPp])[Mm])?)?")


class RecordError(ValueError):
    """A record is no station. `reason` is the code that it is reported under, `field` the field to look at."""

    def __init__(self, reason: str, field: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.field = field


@dataclass(frozen=True, slots=True)
class Reading:
    """A station as a record tells it.

    `row` has the fields of CONTENT; `corrections` are (reason, detail) of what was mended or left out; `told_at` is
    the newest of the record's own times, None if it has none.
    """

    row: Row
    corrections: list[tuple[str, str]] = field(default_factory=list)
    told_at: datetime | None = None


def read_station(record: Record) -> Reading:
    """The row that an electric record becomes. Raises RecordError."""
    corrections: list[tuple[str, str]] = []
    latitude, longitude = _coordinates(record)
    counts = {name: _count(record.get(name), name) for name in LEVELS}
    units = _units(record.get("ev_charging_units"))
    types = sorted(set(_words(record.get("ev_connector_types"))) | {connector_type for connector_type, _ in units})
    name = _text(record.get("station_name"))
    if name is None:
        raise RecordError("MISSING_NAME", "station_name", "no name")
    country = _text(record.get("country"))
    row = {
        "station_id": station_id(record),
        "station_name": name,
        "city": _text(record.get("city")),
        "state": _upper(record.get("state")),
        "zip": _zip(record, country, corrections),
        "country": country,
        "time_zone": _time_zone(longitude, latitude),
        "longitude": longitude,
        "latitude": latitude,
        "status_code": _status(record),
        "connector_types": types or None,
        "total_outlets": sum(counts.values()),
        "connectors": _connectors(units or _units_of_levels(types, counts)),
        "network": _text(record.get("ev_network")),
        "source": source(record),
    }
    return Reading(row, corrections, _told_at(record, corrections))


def source(record: Record) -> str:
    """`synthetic` for the records of our own example, `afdc` for all others."""
    return SYNTHETIC_SOURCE if _text(record.get("ev_network")) == SYNTHETIC_NETWORK else SOURCE


def station_id(record: Record) -> str:
    """`afdc-<id>`, or `syn-<id>` for a synthetic record. Raises RecordError."""
    told = _text(record.get("id"))
    if told is None:
        raise RecordError("MISSING_ID", "id", "no id")
    if not re.fullmatch(r"[0-9]+", told):
        raise RecordError("UNPARSABLE_ID", "id", f"{told!r} is no number")
    return f"{_PREFIXES[source(record)]}-{int(told)}"


def is_electric(record: Record) -> bool:
    return _upper(record.get("fuel_type_code")) == ELECTRIC


def parse_time(text: str) -> datetime | None:
    """A time as AFDC or a spreadsheet writes it, in UTC: ISO-8601, with ` UTC` at its end, or m/d/yyyy; None if neither."""
    text = text.strip().removesuffix("UTC").rstrip()
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at_us = _us_time(text)
        if at_us is None:
            return None
        at = at_us
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _us_time(text: str) -> datetime | None:
    found = _US_TIME.fullmatch(text)
    if found is None:
        return None
    month, day, year = (int(part) for part in found.groups()[:3])
    hour, minute, second = (int(part or 0) for part in found.groups()[3:6])
    half = (found[7] or "").lower()
    try:
        if half:
            hour = datetime.strptime(f"{hour} {half}m", "%I %p").hour  # noqa: DTZ007 - a number is read, not a time
        return datetime(year if year > 99 else 2000 + year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def _told_at(record: Record, corrections: list[tuple[str, str]]) -> datetime | None:
    times = []
    for name in _TIMES:
        told = _text(record.get(name))
        if told is None:
            continue
        at = parse_time(told)
        if at is None:
            corrections.append(("UNREADABLE_DATE", f"{name} {told!r}"))
        else:
            times.append(at)
    return max(times, default=None)


def _coordinates(record: Record) -> tuple[float, float]:
    values = []
    for name in ("latitude", "longitude"):
        told = _text(record.get(name))
        if told is None:
            raise RecordError("MISSING_COORDINATES", name, f"no {name}")
        try:
            values.append(float(told))
        except ValueError:
            raise RecordError("UNPARSABLE_COORDINATES", name, f"{told!r} is no number") from None
    latitude, longitude = values
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):
        raise RecordError("OFF_THE_GLOBE", "latitude", f"latitude {latitude}, longitude {longitude}")
    if latitude == longitude == 0:
        # what software writes for "unknown"; no charger floats in the Gulf of Guinea
        raise RecordError("MISSING_COORDINATES", "latitude", "latitude 0, longitude 0")
    return latitude, longitude


def _time_zone(longitude: float, latitude: float) -> str:
    zone = get_tz(longitude, latitude)
    if not zone:
        raise RecordError("UNKNOWN_TIME_ZONE", "latitude", f"no time zone at {latitude}, {longitude}")
    return zone


def _count(told: Any, name: str) -> int:
    """Ports of a level; 0 where the record tells none."""
    text = _text(told)
    if text is None:
        return 0
    try:
        number = float(text)
    except ValueError:
        raise RecordError("UNPARSABLE_COUNT", name, f"{text!r} is no number") from None
    if not (number.is_integer() and 0 <= number <= MAX_PORTS):
        raise RecordError("UNPARSABLE_COUNT", name, f"{text!r} is no number of ports")
    return int(number)


def _status(record: Record) -> str:
    status = _upper(record.get("status_code"))
    if status not in STATUS_CODES:
        raise RecordError("UNKNOWN_STATUS", "status_code", f"{status!r} is none of {', '.join(STATUS_CODES)}")
    return status


def _zip(record: Record, country: str | None, corrections: list[tuple[str, str]]) -> str | None:
    """US: five digits. Spreadsheets drop the leading zeros of New England and add a decimal point."""
    told = _text(record.get("zip"))
    if told is None or country not in ("US", None):
        return told
    found = re.fullmatch(r"(\d{1,5})(?:\.0)?(?:-\d{4})?", told)
    if found is None:
        corrections.append(("UNREADABLE_ZIP", f"{told!r} left out"))
        return None
    if len(found[1]) < 5:
        corrections.append(("ZIP_PADDED", f"{told} is {found[1].zfill(5)}"))
    return found[1].zfill(5)


def _units(told: Any) -> dict[tuple[str, float | None], int]:
    """Ports by connector type and power of the API's charging units, of which each EVSE has its own."""
    ports: dict[tuple[str, float | None], int] = {}
    try:
        for unit in told or ():
            for connector_type, connector in (unit.get("connectors") or {}).items():
                count = _count(connector.get("port_count"), "ev_charging_units")
                power_kw = connector.get("power_kw")
                key = (connector_type, None if power_kw is None else float(power_kw))
                if count:
                    ports[key] = ports.get(key, 0) + count
    except (AttributeError, TypeError, ValueError) as error:
        if isinstance(error, RecordError):
            raise
        raise RecordError("UNREADABLE_UNITS", "ev_charging_units", f"not as documented ({error})") from None
    if any(power_kw is not None and not (math.isfinite(power_kw) and power_kw > 0) for _, power_kw in ports):
        raise RecordError("UNREADABLE_UNITS", "ev_charging_units", "a power that is not positive")
    return ports


def _units_of_levels(types: Iterable[str], counts: Mapping[str, int]) -> dict[tuple[str, float | None], int]:
    """Ports by connector type where only the levels' ports are told, power unknown.

    A level's ports may have any of the station's connectors that go with the level, and often have two cables: each of
    them counts the level's ports, so a type's ports are those that can have it, at most.
    """
    ports: dict[tuple[str, float | None], int] = {}
    for level, candidates in LEVELS.items():
        fitting = [connector_type for connector_type in types if connector_type in candidates]
        if level == _LEVEL_1 and not fitting and _LEVEL_1_CABLE in types:
            fitting = [_LEVEL_1_CABLE]
        for connector_type in fitting:
            if counts[level]:
                ports[connector_type, None] = ports.get((connector_type, None), 0) + counts[level]
    return ports


def _connectors(ports: Mapping[tuple[str, float | None], int]) -> list[dict[str, Any]] | None:
    ordered = sorted(ports.items(), key=lambda item: (item[0][0], item[0][1] or 0.0))
    return [
        {"connector_type": connector_type, "power_kw": power_kw, "ports": count}
        for (connector_type, power_kw), count in ordered
    ] or None


def _words(told: Any) -> list[str]:
    """Connector types: a list, words with spaces between, or a JSON list in a CSV field (downloads of 2023)."""
    texts = told if isinstance(told, list) else [told or ""]
    return [word for text in texts for word in re.findall(r"[A-Z0-9_]+", str(text).upper())]


def _text(told: Any) -> str | None:
    text = "" if told is None else str(told).strip()
    return text or None


def _upper(told: Any) -> str | None:
    text = _text(told)
    return text.upper() if text else None
