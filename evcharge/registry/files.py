"""Reads AFDC's downloads: a CSV of any year or the API's JSON, gzipped or plain."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from evcharge.registry.afdc import LEVELS, Record, RecordError
from evcharge.registry.snapshot import RegistryError, Scope, Snapshot

#: The API's names of CSV columns whose names differ by more than spaces. Before 2021 some columns had underscores.
_RENAMED = {"ev_dc_fast_count": "ev_dc_fast_num"}
#: The columns that every AFDC download has.
_REQUIRED = ("fuel_type_code", "station_name", "state", "status_code", "latitude", "longitude", "id")
_GZIP = b"\x1f\x8b"


def read_file(path: Path, scope: Scope) -> Snapshot:
    """The snapshot in a download. Raises RegistryError, which names the file and the reason."""
    try:
        snapshot = Snapshot.gather(_records(_content(path)), scope)
    except (RegistryError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise RegistryError(f"{path}: {reason}") from None
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


def _content(path: Path) -> str:
    raw = path.read_bytes()
    if raw.startswith(_GZIP):
        try:
            raw = gzip.decompress(raw)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise RegistryError(f"damaged gzip ({error})") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        # The encoding of spreadsheets on Windows.
        return raw.decode("cp1252", errors="replace")


def _records(text: str) -> Iterator[tuple[int, Record | RecordError]]:
    start = text.lstrip()[:1]
    if start in ("{", "["):
        try:
            return enumerate(json_records(orjson.loads(text)), start=1)
        except orjson.JSONDecodeError as error:
            raise RegistryError(f"not JSON to its end ({error})") from None
    if start == "<":
        raise RegistryError("an HTML or XML page, not a CSV or JSON download")
    return _csv_records(text)


def _csv_records(text: str) -> Iterator[tuple[int, Record | RecordError]]:
    rows = csv.reader(io.StringIO(text, newline=""))
    header = [_column(name) for name in next(rows, [])]
    missing = [name for name in _REQUIRED if name not in header]
    if not any(level in header for level in LEVELS):
        missing.append("ev_level2_evse_num")
    if missing:
        raise RegistryError(f"column {missing[0]} is missing: the header is not that of an AFDC download")
    # Downloads from the time before AFDC had Canadian stations have no country.
    always = {} if "country" in header else {"country": "US"}
    try:
        for number, values in enumerate(rows, start=2):
            if not any(values):
                continue
            if len(values) != len(header):
                detail = f"{len(values)} values for {len(header)} columns"
                yield number, RecordError("WRONG_COLUMN_COUNT", header[-1], detail)
            else:
                yield number, dict(zip(header, values, strict=True)) | always
    except csv.Error as error:
        raise RegistryError(f"not CSV ({error})") from None


def _column(name: str) -> str:
    plain = "_".join(name.strip().lower().replace("_", " ").split())
    return _RENAMED.get(plain, plain)
