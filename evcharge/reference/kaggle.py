"""Reads the two Kaggle files that reference data may come from, and refuses rows that cannot be true.

`charging_stations.csv` ("Global EV charging stations") is generated: its columns are independent of each other, and its points
lie anywhere on the globe. `electric_vehicles.csv` lists the cars of ev-database.org. A row is loaded if nothing in it is
impossible. Every other row is refused with all of its reasons.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import tzfpy

from evcharge.errors import UserError
from evcharge.table_files import Unread, open_table

Row = dict[str, Any]

SOURCE = "kaggle"

STATION_COLUMNS = (
    "Station ID",
    "Latitude",
    "Longitude",
    "Address",
    "Charger Type",
    "Cost (USD/kWh)",
    "Availability",
    "Distance to City (km)",
    "Usage Stats (avg users/day)",
    "Station Operator",
    "Charging Capacity (kW)",
    "Connector Types",
    "Installation Year",
    "Renewable Energy Source",
    "Reviews (Rating)",
    "Parking Spots",
    "Maintenance Frequency",
)
MODEL_COLUMNS = (
    "Battery",
    "Car_name",
    "Car_name_link",
    "Efficiency",
    "Fast_charge",
    "Price.DE.",
    "Range",
    "Top_speed",
    "acceleration..0.100.",
)

#: Public charging ends at Nordkapp, 71.2 N, and Ushuaia, 54.8 S. The few sockets of Svalbard (78 N) are refused too: in the
#: file, points that far north or south are random.
MAX_LATITUDE = 75.0


@dataclass(frozen=True, slots=True)
class _ChargerType:
    """The highest power of a plug of the type (kW), the reason for it, and the connectors that the plug may have."""

    max_kw: float
    limit: str
    connector_types: frozenset[str]


# Connectors in the registry's words: AFDC's, and OCPI's for the one that AFDC does not have. The file has one name for the two
# shapes of CCS.
_CONNECTORS = {"CCS": "J1772COMBO", "CHAdeMO": "CHADEMO", "Tesla": "TESLA", "Type 2": "IEC_62196_T2"}
_AC_CONNECTORS = frozenset({"IEC_62196_T2", "TESLA"})
# SAE J1772: AC Level 1 is 120 V x 16 A. IEC 62196-2: a Type 2 plug carries 400 V x 63 A on three phases, more than the
# 19.2 kW of J1772's Level 2. IEC 61851-23: CCS ends at 1,000 V x 500 A.
_CHARGER_TYPES = {
    "AC Level 1": _ChargerType(1.92, "120 V x 16 A give 1.92 kW", _AC_CONNECTORS),
    "AC Level 2": _ChargerType(43.6, "three phases of 63 A give 43.6 kW", _AC_CONNECTORS),
    "DC Fast Charger": _ChargerType(
        500.0, "1,000 V x 500 A give 500 kW", frozenset({"J1772COMBO", "CHADEMO", "TESLA"})
    ),
}
# The end of an address without a real place: "4826 Random Rd, City 98, Country".
_NO_PLACE = re.compile(r"\bCountry\s*$")

# Limits around production cars: Renault Twizy 6.1 kWh, GMC Hummer EV 212 kWh; Lucid Air below 130 Wh/km, Hummer EV 390 Wh/km;
# mean power of a fast charge below 300 kW (Porsche Taycan 2024).
_BATTERY_KWH = (5.0, 250.0)
_EFFICIENCY_WH_PER_KM = (90.0, 450.0)
_MAX_FAST_CHARGE_KW = 350.0
# In ev-database.org's figures, range x efficiency equals the battery; the range is rounded to 5 km.
_RANGE_TOLERANCE = 0.1
#: The file has no onboard charger. Nearly all cars sold in Europe have three phases of 16 A at 230 V.
ASSUMED_AC_KW = 11.0
# Cars that charge by CHAdeMO in Europe; all others have CCS.
_CHADEMO_NAMES = ("Nissan Leaf", "Lexus UX")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a row is refused: a code to count by, and a text that says what is wrong."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that is not loaded; `line` counts from 1, which is the header."""

    line: int
    name: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class ReferenceFile:
    """The contents of a file: rows to load into the collection `kind`, and refused rows."""

    path: Path
    kind: Literal["stations", "ev_models"]
    rows: list[Row]
    refused: list[Refused]

    def reasons(self) -> dict[str, Counter[str]]:
        """The number of refused rows by code, the most frequent first, and by text. A row may have several reasons."""
        found: dict[str, Counter[str]] = {}
        for row in self.refused:
            for reason in row.reasons:
                found.setdefault(reason.code, Counter())[reason.text] += 1
        return dict(sorted(found.items(), key=lambda item: -item[1].total()))


class _Row:
    """A row of the file that collects the reasons against it while it is read."""

    def __init__(self, line: int, cells: dict[str, str]) -> None:
        self.line = line
        self.cells = cells
        self.reasons: list[Reason] = []

    def refuse(self, code: str, text: str) -> None:
        self.reasons.append(Reason(code, text))

    def text(self, column: str) -> str:
        value = (self.cells.get(column) or "").strip()
        if not value:
            self.refuse("EMPTY_FIELD", f"{column} is empty")
        return value

    def number(self, column: str, least: float, most: float) -> float | None:
        value = self.text(column)
        try:
            number = float(value)
        except ValueError:
            if value:
                self.refuse("NOT_A_NUMBER", f"{column} is not a number")
            return None
        if not least <= number <= most:
            self.refuse("OUT_OF_RANGE", f"{column} is not within {least:g} and {most:g}")
            return None
        return number


def read(path: Path, observed_at: datetime) -> ReferenceFile:
    """Reads one of the two files; the header says which. Raises UserError if it is neither or cannot be read.

    Stations become rows of the station-registry contract. The file has no date: `observed_at` is the time of the reading.
    """
    table = open_table(path)
    rows: list[_Row] = []
    unread: list[Refused] = []
    for line, cells in table.rows():
        if isinstance(cells, Unread):
            unread.append(Refused(line, "", (Reason(cells.reason, cells.detail),)))
        else:
            rows.append(_Row(line, cells))
    header = set(table.columns)
    if header >= set(STATION_COLUMNS):
        file = _file(path, "stations", rows, "Station ID", lambda row: _station(row, observed_at), _repeated_stations)
    elif header >= set(MODEL_COLUMNS):
        file = _file(path, "ev_models", rows, "Car_name", _model, _repeated_models)
    else:
        raise UserError(
            f"{path} is not a file of reference data: its header is neither that of charging_stations.csv "
            f"({', '.join(STATION_COLUMNS[:3])}, … {len(STATION_COLUMNS)} columns) nor that of electric_vehicles.csv "
            f"({', '.join(MODEL_COLUMNS[:3])}, … {len(MODEL_COLUMNS)} columns); "
            "AFDC's downloads go to `evcharge registry load`"
        )
    return replace(file, refused=sorted(file.refused + unread, key=lambda refused: refused.line))


def _file(
    path: Path,
    kind: Literal["stations", "ev_models"],
    rows: list[_Row],
    name: str,
    convert: Callable[[_Row], Row],
    refuse_repeated: Callable[[Iterable[_Row]], None],
) -> ReferenceFile:
    converted = [convert(row) for row in rows]
    # Only rows that can be true compete for a name.
    refuse_repeated(row for row in rows if not row.reasons)
    return ReferenceFile(
        path,
        kind,
        [content for row, content in zip(rows, converted, strict=True) if not row.reasons],
        [Refused(row.line, (row.cells.get(name) or "").strip(), tuple(row.reasons)) for row in rows if row.reasons],
    )


def _station(row: _Row, observed_at: datetime) -> Row:
    station_id = row.text("Station ID")
    latitude, longitude = row.number("Latitude", -90, 90), row.number("Longitude", -180, 180)
    time_zone = ""
    if latitude is not None and longitude is not None:
        time_zone = tzfpy.get_tz(longitude, latitude)
        if abs(latitude) > MAX_LATITUDE:
            row.refuse("LATITUDE_BEYOND_75", "the point is beyond 75 degrees of latitude")
        # The zones of the high seas begin where territorial waters end, 12 nautical miles off a coast.
        elif time_zone.startswith("Etc/") or not time_zone:
            row.refuse("OPEN_SEA", "the point is in the open sea")
    address = row.text("Address")
    if _NO_PLACE.search(address):
        row.refuse("NO_PLACE", "the address names no place")
    power_kw = row.number("Charging Capacity (kW)", 0.1, 1_000)
    connector_types = _connector_types(row)
    fitting = _fitting(row, power_kw, connector_types)
    return {
        "observed_at": observed_at,
        "station_id": f"kag-{station_id}",
        "station_name": f"{row.text('Station Operator')}, {address}",
        "city": address.rpartition(",")[2].strip() or None,
        "state": None,
        "zip": None,
        "country": None,
        "time_zone": time_zone,
        "longitude": longitude,
        "latitude": latitude,
        "status_code": "E",
        "connector_types": connector_types,
        # The file lists types, not plugs: one plug of each type is certain.
        "total_outlets": len(connector_types),
        "connectors": [
            {"connector_type": connector, "power_kw": power_kw if connector in fitting else None, "ports": 1}
            for connector in connector_types
        ],
        "evses": None,
        "network": row.text("Station Operator"),
        "source": SOURCE,
        "snapshot_scope": "source",
        "removed_at": None,
    }


def _connector_types(row: _Row) -> list[str]:
    found = set()
    for name in filter(None, (part.strip() for part in row.text("Connector Types").split(","))):
        if name in _CONNECTORS:
            found.add(_CONNECTORS[name])
        else:
            row.refuse("UNKNOWN_CONNECTOR", f"connector {name!r} is none of {', '.join(_CONNECTORS)}")
    return sorted(found)


def _fitting(row: _Row, power_kw: float | None, connector_types: list[str]) -> frozenset[str]:
    """The row's connectors that its charger type can have."""
    name = row.text("Charger Type")
    if name not in _CHARGER_TYPES:
        if name:
            row.refuse("UNKNOWN_CHARGER_TYPE", f"charger type {name!r} is none of {', '.join(_CHARGER_TYPES)}")
        return frozenset()
    charger = _CHARGER_TYPES[name]
    if power_kw is not None and power_kw > charger.max_kw:
        row.refuse("POWER_OF_TYPE", f"{name} at {power_kw:g} kW: {charger.limit} at most")
    fitting = charger.connector_types & set(connector_types)
    if connector_types and not fitting:
        row.refuse("CONNECTOR_OF_TYPE", f"{name} with no other connector than {', '.join(connector_types)}")
    return fitting


def _repeated_stations(rows: Iterable[_Row]) -> None:
    """Refuses all but the first row of an id."""
    seen: set[str] = set()
    for row in rows:
        station_id = row.cells["Station ID"].strip()
        if station_id in seen:
            row.refuse("DUPLICATE_ID", "a row before it has the same id")
        seen.add(station_id)


def _model(row: _Row) -> Row:
    name = row.text("Car_name")
    make, _, model = name.partition(" ")
    if name and not model:
        row.refuse("NO_MODEL", "the name is one word: it does not separate make and model")
    usable_kwh = row.number("Battery", *_BATTERY_KWH)
    efficiency = row.number("Efficiency", *_EFFICIENCY_WH_PER_KM)
    range_km = row.number("Range", 10, 1_500)
    if usable_kwh and efficiency and range_km:
        expected_km = usable_kwh * 1000 / efficiency
        if abs(range_km / expected_km - 1) > _RANGE_TOLERANCE:
            row.refuse(
                "RANGE_OF_BATTERY", f"battery and efficiency do not give the range within {_RANGE_TOLERANCE:.0%}"
            )
    dc_kw = _dc_kw(row, efficiency)
    connector_types = ["IEC_62196_T2"]
    if dc_kw is not None:
        connector_types.insert(0, "CHADEMO" if name.startswith(_CHADEMO_NAMES) else "J1772COMBO")
    return {
        "ev_model_id": f"kag-{_slug(name)}",
        "make": make,
        "model": model,
        "usable_kwh": usable_kwh,
        "ac_kw": ASSUMED_AC_KW,
        "dc_kw": dc_kw,
        "consumption_kwh_per_100km": None if efficiency is None else round(efficiency / 10, 1),
        "connector_types": sorted(connector_types),
        "dc_curve": None,
        "fleet_share": None,
        "source": SOURCE,
    }


def _dc_kw(row: _Row, efficiency: float | None) -> float | None:
    """The mean power of a fast charge from 10 to 80 %: the kilometres that an hour gives, times the energy of a kilometre.

    The peak is higher. None for a car without the figure (two in the file): it cannot fast charge.
    """
    if (row.cells.get("Fast_charge") or "").strip() in ("", "NA"):
        return None
    speed_kmh = row.number("Fast_charge", 10, 3_000)
    if speed_kmh is None or efficiency is None:
        return None
    dc_kw = round(speed_kmh * efficiency / 1000, 1)
    if dc_kw > _MAX_FAST_CHARGE_KW:
        row.refuse("FAST_CHARGE_POWER", f"fast charging would take more than {_MAX_FAST_CHARGE_KW:g} kW on average")
    return dc_kw


def _repeated_models(rows: Iterable[_Row]) -> None:
    """Refuses all but the newest car of a name. ev-database.org numbers cars in order, and the link has the number."""
    newest: dict[str, _Row] = {}
    for row in rows:
        slug = _slug(row.cells["Car_name"])
        other = newest.get(slug)
        older = row if other is not None and _number(row) <= _number(other) else other
        if older is not row:
            newest[slug] = row
        if older is not None:
            older.refuse("DUPLICATE_NAME", "a newer car has the same name")


def _number(row: _Row) -> int:
    found = re.search(r"/car/(\d+)", row.cells.get("Car_name_link") or "")
    return int(found[1]) if found else 0


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower().replace("+", " plus ")
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
