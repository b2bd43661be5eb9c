"""A record of the Alternative Fuels Data Center (AFDC) as a row of the station-registry contract.

Records have the field names of AFDC's JSON API, whichever file they come from (`files.py`). Values are the API's or the text of
a CSV. A value that the row needs and that cannot be read raises RecordError. Any other value that cannot be read is left out
and named as a correction.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tzfpy import get_tz

from evcharge.contracts.connector_types import known_type, normalised
from evcharge.contracts.session_events import MAX_POWER_KW
from evcharge.contracts.station_registry import STATUS_CODES
from evcharge.contracts.time_zones import is_known_time_zone
from evcharge.registry.boundaries import is_comparable, misfit

Record = Mapping[str, Any]
Row = dict[str, Any]

ELECTRIC = "ELEC"
#: AFDC's codes of the other fuels.
OTHER_FUELS = frozenset({"BD", "CNG", "E85", "HY", "LNG", "LPG", "RD"})
SOURCE = "afdc"
#: `ev_network` in the records of our own example, and their source in the rows.
SYNTHETIC_NETWORK = "Synthetic"
SYNTHETIC_SOURCE = "synthetic"
_PREFIXES = {SOURCE: "afdc", SYNTHETIC_SOURCE: "syn"}

#: The fields of a row that describe the station. The fields that describe the snapshot are added for publishing.
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

# The largest sites have a few hundred ports. A larger number is an id or a price in the wrong column.
MAX_PORTS = 10_000

#: Ports by charging level, and the connector types that each level can have. TESLA is SAE J3400.
LEVELS = {
    "ev_level1_evse_num": ("NEMA515", "NEMA520"),
    "ev_level2_evse_num": ("J1772", "NEMA1450", "TESLA"),
    "ev_dc_fast_num": ("J1772COMBO", "CCS", "CHADEMO", "TESLA", "J3271"),
}
# A level 1 port without a household socket is a J1772 cable.
_LEVEL_1, _LEVEL_1_CABLE = "ev_level1_evse_num", "J1772"

#: The fields of the row that downloads may lack, and the record's field for each.
_COLUMNS = {
    "city": "city",
    "zip": "zip",
    "status_code": "status_code",
    "connector_types": "ev_connector_types",
    "network": "ev_network",
}
# Names of AFDC's two countries beside their codes.
_COUNTRIES = {"USA": "US", "UNITED STATES": "US", "UNITED STATES OF AMERICA": "US", "CAN": "CA", "CANADA": "CA"}
# AFDC's own downloads are of open stations unless somebody asks for others.
_STATUS_OF_A_DOWNLOAD = "E"

TIMES = ("updated_at", "date_last_confirmed")
#: The fields of a record that are used.
FIELDS = frozenset(
    {
        *("id", "fuel_type_code", "station_name", "state", "country", "latitude", "longitude", "ev_charging_units"),
        *_COLUMNS.values(),
        *LEVELS,
        *TIMES,
    }
)
_US_TIME = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})(?:[ T](\d{1,2}):(\d{2})(?::(\d{2}))?(?: ?([AaPp])[Mm])?)?")


class RecordError(ValueError):
    """A record is not a station. `reason` is the code to report, `field` the field to look at; empty: the whole record."""

    def __init__(self, reason: str, field: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.field = field


@dataclass(frozen=True, slots=True)
class Reading:
    """A record as it was read.

    `row` has the fields of CONTENT. `unstated` are those that the record does not have: their values are for a station that was
    unknown so far. `corrections` has (reason, detail) for each value that was corrected or left out, or is unknown.
    `updated_at` is the newest of the record's own times, None if it has none.
    """

    row: Row
    unstated: frozenset[str] = frozenset()
    corrections: list[tuple[str, str]] = field(default_factory=list)
    updated_at: datetime | None = None


def read_station(record: Record) -> Reading:
    """The row of an electric record. Raises RecordError."""
    corrections: list[tuple[str, str]] = []
    latitude, longitude = _coordinates(record)
    counts = {name: _count(record.get(name), name) for name in LEVELS}
    units = _units(record.get("ev_charging_units"), corrections)
    types = sorted(
        {connector_type for connector_type, _ in units.ports}
        | {normalised(name) for name in _names(record.get("ev_connector_types"))}
    )
    corrections += [("UNKNOWN_CONNECTOR", f"{name!r} is kept as it is") for name in types if known_type(name) is None]
    name = _text(record.get("station_name"))
    if name is None:
        raise RecordError("MISSING_NAME", "station_name", "no name")
    country, state = _country(record), state_of(record)
    wrong_place = misfit(latitude, longitude, country, state)
    if wrong_place is not None:
        raise RecordError("PLACE_DOES_NOT_FIT", "", f"the place does not fit country and state: {wrong_place}")
    if not is_comparable(country, state):
        corrections.append(("UNKNOWN_COUNTRY", f"country {country!r}: the place could not be compared with it"))
    total_outlets = sum(counts.values()) or units.evses
    row = {
        "station_id": station_id(record),
        "station_name": name,
        "city": _text(record.get("city")),
        "state": state,
        "zip": _zip(record, country, corrections),
        "country": country,
        "time_zone": _time_zone(longitude, latitude),
        "longitude": longitude,
        "latitude": latitude,
        "status_code": _status(record),
        "connector_types": types or None,
        "total_outlets": total_outlets,
        "connectors": _connectors(units.ports or _units_of_levels(types, counts)),
        "network": _text(record.get("ev_network")),
        "source": source(record),
    }
    unstated = {name for name, column in _COLUMNS.items() if column not in record}
    if units.evses < total_outlets:
        unstated.add("connectors")
    return Reading(row, frozenset(unstated), corrections, _updated_at(record, corrections))


def source(record: Record) -> str:
    """`synthetic` for the records of our own example, `afdc` for all others."""
    return SYNTHETIC_SOURCE if _text(record.get("ev_network")) == SYNTHETIC_NETWORK else SOURCE


def station_id(record: Record) -> str:
    """`afdc-<id>`, or `syn-<id>` for a synthetic record. Raises RecordError."""
    number = _text(record.get("id"))
    if number is None:
        raise RecordError("MISSING_ID", "id", "no id")
    # spreadsheets and pandas add a decimal point
    found = re.fullmatch(r"([0-9]+)(?:\.0+)?", number)
    if not found:
        raise RecordError("UNPARSABLE_ID", "id", f"{number!r} is not a number")
    return f"{_PREFIXES[source(record)]}-{int(found[1])}"


def _country(record: Record) -> str | None:
    text = _upper(record.get("country"))
    return _COUNTRIES.get(text or "", text)


def state_of(record: Record) -> str | None:
    """The code of the record's state or province."""
    return _upper(record.get("state"))


def is_electric(record: Record) -> bool:
    """Whether the record is of an electric station. Raises RecordError if its fuel is none of AFDC's."""
    fuel = _upper(record.get("fuel_type_code"))
    if fuel != ELECTRIC and fuel not in OTHER_FUELS:
        raise RecordError(
            "UNKNOWN_FUEL", "fuel_type_code", f"{fuel!r} is none of {', '.join(sorted(OTHER_FUELS | {ELECTRIC}))}"
        )
    return fuel == ELECTRIC


def parse_time(text: str) -> datetime | None:
    """A time as AFDC or a spreadsheet writes it (ISO-8601, with or without ` UTC`, or m/d/yyyy), in UTC; None if neither."""
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


def _updated_at(record: Record, corrections: list[tuple[str, str]]) -> datetime | None:
    times = []
    for name in TIMES:
        text = _text(record.get(name))
        if text is None:
            continue
        at = parse_time(text)
        if at is None:
            corrections.append(("UNREADABLE_DATE", f"{name} {text!r}"))
        else:
            times.append(at)
    return max(times, default=None)


def _coordinates(record: Record) -> tuple[float, float]:
    values = []
    for name in ("latitude", "longitude"):
        text = _text(record.get(name))
        if text is None:
            raise RecordError("MISSING_COORDINATES", name, f"no {name}")
        try:
            values.append(float(text))
        except ValueError:
            raise RecordError("UNPARSABLE_COORDINATES", name, f"{text!r} is not a number") from None
    latitude, longitude = values
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):
        raise RecordError("OFF_THE_GLOBE", "latitude", f"latitude {latitude}, longitude {longitude}")
    if latitude == longitude == 0:
        # Software writes 0, 0 for "unknown": the place is in the Gulf of Guinea.
        raise RecordError("MISSING_COORDINATES", "latitude", "latitude 0, longitude 0")
    return latitude, longitude


def _time_zone(longitude: float, latitude: float) -> str:
    zone = get_tz(longitude, latitude)
    if not is_known_time_zone(zone):
        raise RecordError("UNKNOWN_TIME_ZONE", "latitude", f"no known time zone at {latitude}, {longitude}")
    return zone


def _count(value: Any, name: str) -> int:
    """The number of ports; 0 where the record has none."""
    text = _text(value)
    if text is None:
        return 0
    try:
        number = float(text)
    except ValueError:
        raise RecordError("UNPARSABLE_COUNT", name, f"{text!r} is not a number") from None
    if not (number.is_integer() and 0 <= number <= MAX_PORTS):
        raise RecordError("UNPARSABLE_COUNT", name, f"{text!r} is not a number of ports")
    return int(number)


def _status(record: Record) -> str:
    if "status_code" not in record:
        return _STATUS_OF_A_DOWNLOAD
    status = _upper(record["status_code"])
    if status not in STATUS_CODES:
        raise RecordError("UNKNOWN_STATUS", "status_code", f"{status!r} is none of {', '.join(STATUS_CODES)}")
    return status


def _zip(record: Record, country: str | None, corrections: list[tuple[str, str]]) -> str | None:
    """The zip code, in the US with five digits. Spreadsheets drop New England's leading zeros and add a decimal point."""
    text = _text(record.get("zip"))
    if text is None or country not in ("US", None):
        return text
    found = re.fullmatch(r"(\d{1,5})(?:\.0)?(?:-\d{4})?", text)
    if found is None:
        corrections.append(("UNREADABLE_ZIP", f"{text!r} left out"))
        return None
    if len(found[1]) < 5:
        corrections.append(("ZIP_PADDED", f"{text} is {found[1].zfill(5)}"))
    return found[1].zfill(5)


class _Units(NamedTuple):
    """The ports by connector type and power (kW, None: unknown), and the EVSEs that the units have."""

    ports: dict[tuple[str, float | None], int]
    evses: int


def _units(value: Any, corrections: list[tuple[str, str]]) -> _Units:
    """The charging units of the API. An EVSE with two cables has two ports here, and is one EVSE."""
    ports: dict[tuple[str, float | None], int] = {}
    evses = 0
    try:
        for unit in value or ():
            counts = [0]
            for name, connector in (unit.get("connectors") or {}).items():
                count = _count(connector.get("port_count"), "ev_charging_units")
                if count:
                    key = (normalised(name), _power_kw(connector.get("power_kw"), corrections))
                    ports[key] = ports.get(key, 0) + count
                    counts.append(count)
            evses += max(counts)
    except (AttributeError, TypeError, ValueError) as error:
        if isinstance(error, RecordError):
            raise
        raise RecordError("UNREADABLE_UNITS", "ev_charging_units", f"not as documented ({error})") from None
    return _Units(ports, evses)


def _power_kw(value: Any, corrections: list[tuple[str, str]]) -> float | None:
    text = _text(value)
    power_kw = None if text is None else float(text)
    if power_kw == 0:
        # AFDC's list of units has some 50 of these: the power is not known
        corrections.append(("ZERO_POWER", "ev_charging_units: 0 kW left out"))
        return None
    if power_kw is not None and not (math.isfinite(power_kw) and 0 < power_kw <= MAX_POWER_KW):
        raise RecordError("UNREADABLE_UNITS", "ev_charging_units", f"{power_kw:g} kW is not a power")
    return power_kw


def _units_of_levels(types: Iterable[str], counts: Mapping[str, int]) -> dict[tuple[str, float | None], int]:
    """The ports by connector type where the record has only the ports of each level. The power is unknown.

    A level's ports may have any of the station's connectors that go with the level, and often have two cables. Each type
    counts all ports of its level, so its number is the most ports that can have it.
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


def _names(value: Any) -> list[str]:
    """Names from a list, from a JSON list in a CSV field (2023), or from text with blanks or punctuation between them."""
    if isinstance(value, list):
        return [name for name in (str(item).strip() for item in value) if name]
    text = str(value or "").strip()
    if text.startswith("["):
        with suppress(ValueError):
            return _names(json.loads(text))
    names: list[str] = []
    for part in filter(None, (part.strip() for part in re.split(r"[,;|]", text))):
        # AFDC's own names have no blanks: they divide the names, unless the whole is one, such as "Type 2"
        names += [part] if known_type(part) else part.split()
    return names


def _text(value: Any) -> str | None:
    text = "" if value is None else str(value).strip()
    return text or None


def _upper(value: Any) -> str | None:
    text = _text(value)
    return text.upper() if text else None
