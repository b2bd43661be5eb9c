"""Reads AFDC's downloads: a table of any year, with a row for each station or for each charging unit, or the API's JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from evcharge.registry.afdc import FIELDS, LEVELS, TIMES, Record, RecordError
from evcharge.registry.snapshot import RegistryError, Scope, Snapshot
from evcharge.table_files import TableError, TableFile, Unread, first_character, open_table, read_text

#: The API's names of CSV columns whose names differ by more than spaces. Before 2021 some columns had underscores.
_RENAMED = {"ev_dc_fast_count": "ev_dc_fast_num"}
#: The columns that every AFDC download has.
_REQUIRED = ("fuel_type_code", "station_name", "state", "latitude", "longitude", "id")
# The encoding of spreadsheets on Windows.
_FALLBACK_ENCODING = "cp1252"

#: The columns that only a download of charging units has, for each connector: its ports and their power. In August 2026 there
#: are J1772, CCS, CHAdeMO, J3400 and J3271. The row of each unit repeats the station's columns.
_PORTS_OF_A_UNIT = re.compile(r"ev_(.+)_connector_count")
_POWER_OF_A_UNIT = "ev_{}_power_output_(kw)"
# AFDC's CCS is CCS1.
_CONNECTORS_OF_A_UNIT = {"ccs": "J1772COMBO"}


def read_file(path: Path, scope: Scope) -> Snapshot:
    """The snapshot in a download. Raises RegistryError, which names the file and the reason."""
    try:
        start = first_character(path)
        if start in ("{", "["):
            snapshot = _read_json(path, scope)
        elif start == "<":
            raise RegistryError(f"{path}: an HTML or XML page, not a CSV or JSON download")
        else:
            snapshot = _read_table(path, scope)
    except TableError as error:
        raise RegistryError(str(error)) from None
    if not snapshot.stations:
        reasons = sorted({problem.reason for problem in snapshot.rejected})
        why = f"all {len(snapshot.rejected):,} were rejected: {', '.join(reasons)}" if reasons else "the file has none"
        raise RegistryError(f"{path}: no electric station to load ({why})")
    return snapshot


def json_records(document: Any) -> list[Record]:
    """The records of an API answer. Raises RegistryError if the document is not one."""
    stations = document.get("fuel_stations") if isinstance(document, dict) else None
    if not isinstance(stations, list) or not all(isinstance(station, dict) for station in stations):
        raise RegistryError("no list `fuel_stations`: not the API's JSON")
    return stations


def _read_json(path: Path, scope: Scope) -> Snapshot:
    try:
        document = orjson.loads(read_text(path, _FALLBACK_ENCODING).lstrip("\ufeff"))
        records = json_records(document)
    except orjson.JSONDecodeError as error:
        raise RegistryError(f"{path}: not JSON to its end ({error})") from None
    except RegistryError as error:
        raise RegistryError(f"{path}: {error}") from None
    snapshot = Snapshot.gather(enumerate(records, start=1), scope)
    total = document.get("total_results", len(records))
    if total != len(records):
        snapshot.doubts.append(f"the file has {len(records):,} of {total} stations")
    return snapshot


def _read_table(path: Path, scope: Scope) -> Snapshot:
    table = open_table(path, _FALLBACK_ENCODING)
    names = [_column(name) for name in table.columns]
    missing = [name for name in _REQUIRED if name not in names]
    units = {found[1]: name for name in names if (found := _PORTS_OF_A_UNIT.fullmatch(name))}
    if not units and not any(level in names for level in LEVELS):
        missing.append("ev_level2_evse_num")
    if missing:
        raise RegistryError(f"{path}: column {missing[0]} is missing: the header is not that of an AFDC download")
    for name in names:
        if names.count(name) > 1 and (name in FIELDS or _is_of_units(name)):
            raise RegistryError(f"{path}: column {name} is there twice")
    # Downloads from the time before AFDC had Canadian stations have no country.
    always = {} if "country" in names else {"country": "US"}
    records = _records(table, always)
    snapshot = Snapshot.gather(_merged(records, units) if units else records, scope, is_table=True)
    if not table.is_whole:
        snapshot.doubts.append("the file ends within a line: it may have been cut short")
    if "status_code" not in names:
        snapshot.notes.append("no column Status Code: new stations count as open, known ones keep their status")
    if table.encoding == _FALLBACK_ENCODING:
        snapshot.notes.append("the text is not UTF-8: it was read as Windows-1252")
    return snapshot


def _records(table: TableFile, always: Mapping[str, str]) -> Iterator[tuple[int, dict[str, Any] | RecordError]]:
    """The records with those fields that are used: a download has 75 columns."""
    fields = {column: name for column in table.columns if (name := _column(column)) in FIELDS or _is_of_units(name)}
    for line, cells in table.rows():
        if isinstance(cells, Unread):
            yield line, RecordError(cells.reason, "", cells.detail)
        else:
            yield line, {**{name: cells[column] for column, name in fields.items()}, **always}


def _merged(
    records: Iterable[tuple[int, dict[str, Any] | RecordError]], units: Mapping[str, str]
) -> Iterator[tuple[int, Record | RecordError]]:
    """One record for each station of a download of charging units, with its units as the API has them.

    A row whose other columns differ from the station's first row is of another station: its id is wrong.
    """
    stations: dict[str, tuple[int, dict[str, Any]]] = {}
    for line, record in records:
        if isinstance(record, RecordError) or not record["id"].strip():
            yield line, record
            continue
        unit = _unit(record, units)
        first_line, first = stations.setdefault(record["id"].strip(), (line, record | {"ev_charging_units": []}))
        differing = next((name for name in record if record[name] != first[name] and name not in TIMES), None)
        if differing is None:
            first["ev_charging_units"].append(unit)
        else:
            detail = f"differs from line {first_line}, which has the same id"
            yield line, RecordError("DUPLICATE_ID", differing, detail)
    yield from stations.values()


def _unit(record: dict[str, Any], units: Mapping[str, str]) -> dict[str, Any]:
    """Takes the columns of the charging unit out of a row."""
    connectors = {}
    for connector, ports in units.items():
        power_kw = record.pop(_POWER_OF_A_UNIT.format(connector), "").strip()
        connectors[_CONNECTORS_OF_A_UNIT.get(connector, connector.replace("_", " ").upper())] = {
            "port_count": record.pop(ports).strip(),
            "power_kw": power_kw or None,
        }
    return {"connectors": connectors}


def _is_of_units(name: str) -> bool:
    return name.startswith("ev_") and name.endswith(("_connector_count", "_power_output_(kw)"))


def _column(name: str) -> str:
    plain = "_".join(name.strip().lower().replace("_", " ").split())
    return _RENAMED.get(plain, plain)
