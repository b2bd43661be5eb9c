"""What a `stopped` record of the archive is in the staging table: its names, its rounding, and the clock at its station."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from evcharge.contracts import SESSION_EVENTS
from evcharge.lake.schemas import raw_schema
from evcharge.warehouse.stopped_records import _READ, staged

ENDED = datetime(2026, 3, 8, 9, 0, 0, 250_000, UTC)
ZONES = {"ny": "America/New_York", "howe": "Australia/Lord_Howe", "kathmandu": "Asia/Kathmandu", "old": "Mars/Olympus"}
NO_ZONES: dict[str, str | None] = {}


def records(*rows: dict[str, Any]) -> pa.Table:
    schema = raw_schema(SESSION_EVENTS)
    filled = [{"station_id": "ny", "started_at": ENDED, "occurred_at": ENDED, **row} for row in rows]
    fields = [schema.field(name).with_nullable(True) for name in _READ]
    return pa.Table.from_pylist(filled, pa.schema(fields))


def of(*rows: dict[str, Any], zones: dict[str, str | None] | None = None) -> list[dict[str, Any]]:
    known = ZONES if zones is None else zones
    table = pa.table({"station_id": pa.array(known, pa.string()), "time_zone": pa.array(known.values(), pa.string())})
    found: list[dict[str, Any]] = staged(records(*rows), table).to_pylist()
    return found


def test_what_a_source_does_not_tell_is_empty_or_null() -> None:
    (row,) = of({"session_id": "s", "ev_id": "car", "sequence": 9, "kafka_offset": 2**40})
    assert (row["vehicle_id"], row["evse_id"], row["end_reason"], row["ev_model_id"]) == ("car", "", "", "")
    assert (row["idle_s"], row["soc_start_percent"]) == (None, None)
    assert (row["sequence"], row["kafka_offset"]) == (9, 2**40)


@pytest.mark.parametrize(
    ("kwh", "wh"), [(None, 0), (0.0005, 0), (0.0015, 2), (0.0025, 2), (12.3456, 12_346), (41.0004999, 41_000)]
)
def test_energy_is_rounded_to_the_wh_halves_to_even(kwh: float | None, wh: int) -> None:
    assert of({"energy_delivered_kwh": kwh})[0]["energy_wh"] == wh


def test_times_are_to_the_millisecond() -> None:
    (row,) = of({"started_at": ENDED - timedelta(minutes=90, microseconds=1_999)})
    assert row["ended_at"] == round(ENDED.timestamp() * 1000)
    assert (row["started_at"], row["duration_s"]) == (row["ended_at"] - 5_400_002, 5_400.002)


@pytest.mark.parametrize(
    ("station", "started_at", "local"),
    [
        # clocks go forward at 07:00 UTC
        ("ny", "2026-03-08T06:59:59Z", "2026-03-08T01"),
        ("ny", "2026-03-08T07:00:00Z", "2026-03-08T03"),
        ("ny", "2026-11-01T06:00:00Z", "2026-11-01T01"),
        # by half an hour, at half past an hour of UTC
        ("howe", "2026-10-03T15:29:59Z", "2026-10-04T01"),
        ("howe", "2026-10-03T15:30:00Z", "2026-10-04T02"),
        ("kathmandu", "2026-03-08T18:14:00Z", "2026-03-08T23"),
        ("kathmandu", "2026-03-08T18:15:00Z", "2026-03-09T00"),
        # UTC, where no zone is known
        ("old", "2026-03-08T23:59:59Z", "2026-03-08T23"),
        ("nowhere", "2026-03-08T23:59:59Z", "2026-03-08T23"),
        ("ny", "9999-12-31T23:59:59Z", "9999-12-30T19"),
        ("ny", "1969-12-31T23:59:59Z", "1969-12-31T18"),
    ],
)
def test_days_and_hours_are_those_of_the_clock_at_the_station(station: str, started_at: str, local: str) -> None:
    (row,) = of({"station_id": station, "started_at": datetime.fromisoformat(started_at)})
    day = date(1970, 1, 1) + timedelta(days=row["local_date"])
    assert f"{day}T{row['local_hour']:02}" == local


def test_many_records_of_many_zones_in_one_batch() -> None:
    random = Random(3)
    begins = datetime(2025, 1, 1, tzinfo=UTC)
    rows: list[dict[str, Any]] = [
        {"station_id": random.choice(["ny", "howe", "kathmandu"]), "started_at": begins + timedelta(hours=n * 7.3)}
        for n in range(2_000)
    ]
    for row, given in zip(of(*rows), rows, strict=True):
        local = given["started_at"].astimezone(ZoneInfo(ZONES[given["station_id"]]))
        assert (date(1970, 1, 1) + timedelta(days=row["local_date"]), row["local_hour"]) == (local.date(), local.hour)


def test_a_lake_without_stations() -> None:
    (row,) = of({"started_at": ENDED}, zones=NO_ZONES)
    assert row["local_hour"] == 9
