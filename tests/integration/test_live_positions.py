"""The stream's worker writes cars' positions into a real index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from elasticsearch import Elasticsearch

from evcharge.connections import elasticsearch
from evcharge.contracts import VEHICLE_TELEMETRY
from evcharge.live import indices
from evcharge.live.batch_report import BatchReport
from evcharge.live.indices import VEHICLE_POSITION
from evcharge.live.vehicle_positions import PositionWriter
from evcharge.settings import Settings

CAR = "live-positions-1"
NOON_MS = 1_777_636_800_000
MINUTE_MS = 60_000


@pytest.fixture
def client(platform: Settings) -> Iterator[Elasticsearch]:
    indices.ensure(platform)
    with elasticsearch(platform) as client:
        yield client
        client.options(ignore_status=404).delete(index=VEHICLE_POSITION, id=CAR)


def known_after(platform: Settings, client: Elasticsearch, *places: tuple[float, float]) -> dict[str, Any]:
    """The car's known latitude after it sent these places: (degrees north, minutes after noon)."""
    rows = [
        dict.fromkeys(VEHICLE_TELEMETRY.columns)
        | {
            "vehicle_id": CAR,
            "occurred_at": round(NOON_MS + minute * MINUTE_MS),
            "latitude": latitude,
            "longitude": -74.0,
            "speed_kmh": 30.0,
            "ignition": True,
            "state_of_charge": 50.0,
        }
        for latitude, minute in places
    ]
    (report,) = PositionWriter(platform)([pa.RecordBatch.from_pylist(rows)])
    document = client.get(index=VEHICLE_POSITION, id=CAR)["_source"]
    return {
        "latitude": document["location"]["lat"],
        "records": BatchReport.read(report["report"][0].as_py()).records,
    }


def test_an_outlier_is_left_out_and_what_follows_it_is_not(platform: Settings, client: Elasticsearch) -> None:
    assert known_after(platform, client, (40.0, 0), (40.01, 1)) == {"latitude": 40.01, "records": 2}
    assert known_after(platform, client, (44.5, 2)) == {"latitude": 40.01, "records": 0}
    # the same batch once more: an outlier does not vouch for itself
    assert known_after(platform, client, (44.5, 2)) == {"latitude": 40.01, "records": 0}
    assert known_after(platform, client, (40.02, 3)) == {"latitude": 40.02, "records": 1}
    # the same batch once more
    assert known_after(platform, client, (40.02, 3)) == {"latitude": 40.02, "records": 1}
    # an older place changes nothing
    assert known_after(platform, client, (40.015, 2.5)) == {"latitude": 40.02, "records": 1}
