"""Publications of crafted rows on a lake in folders, without Kafka and Spark: candidate, gates, merge."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from lake_in_folders import LakeInFolders

from evcharge.contracts import CONTRACTS, SESSION_EVENTS, STATION_REGISTRY
from evcharge.lake.archive import Published
from evcharge.lake.candidate import Manifest
from evcharge.lake.known_stations import note_stations
from evcharge.lake.layout import quarantine_path, raw_path, raw_prefix
from evcharge.lake.ledger import Ledger, OffsetRange, read_ledger
from evcharge.lake.publish import closed_gates, merge, next_attempt
from evcharge.lake.schemas import QUARANTINE_SCHEMA, raw_schema

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PARTITIONS = 2

Row = dict[str, Any]


def event(session_id: str, sequence: int = 0, at: datetime = NOON, station_id: str = "station-1") -> Row:
    """A meter reading."""
    return {
        "schema_version": 1,
        "event_id": f"{session_id}-{sequence}",
        "session_id": session_id,
        "sequence": sequence,
        "station_id": station_id,
        "event_type": "meter",
        "occurred_at": at,
        "energy_delivered_kwh": 1.25 * sequence,
    }


def registered(station_id: str, at: datetime = NOON) -> Row:
    return {
        "schema_version": 1,
        "observed_at": at,
        "station_id": station_id,
        "station_name": f"Station {station_id}",
        "time_zone": "Europe/Zurich",
        "longitude": 8.5,
        "latitude": 47.4,
        "status_code": "E",
        "total_outlets": 1,
        "connector_types": ["CCS", "TYPE2"],
        "evses": [{"evse_id": f"{station_id}-1", "connector_id": "1", "connector_type": "CCS", "power_kw": 50.0}],
        "source": "generic",
        "snapshot_scope": "source",
    }


def planned(lake: LakeInFolders, topic: str, rows: int, planned_at: datetime) -> OffsetRange:
    """The next range, of so many rows: the last ones in partition 1."""
    published = read_ledger(lake, topic)
    start = {p: published.published(p) for p in range(PARTITIONS)}
    first = (rows + 1) // 2
    return OffsetRange(topic, f"id-{topic}", start, {0: start[0] + first, 1: start[1] + rows - first}, planned_at)


def publish(
    lake: LakeInFolders,
    rows: Sequence[Row],
    planned_at: datetime = NOON,
    *,
    broken: Sequence[bytes] = (),
    topic: str = SESSION_EVENTS.topic,
) -> Published:
    """Publishes good rows, a file for each event date, and quarantined messages."""
    wanted = planned(lake, topic, len(rows) + len(broken), planned_at)
    return merge(lake, candidate(lake, wanted, rows, broken))


def candidate(
    lake: LakeInFolders,
    wanted: OffsetRange,
    rows: Sequence[Row],
    broken: Sequence[bytes] = (),
    *,
    notes_stations: bool = True,
) -> Manifest:
    """Writes a candidate that passes all gates; without `notes_stations` as an earlier version did."""
    topic, attempt = wanted.topic, next_attempt(lake, wanted)
    assert attempt is not None
    branch = wanted.branch(attempt)
    base = lake.create_branch(branch)
    places = [(p, offset) for p in sorted(wanted.end) for offset in range(wanted.start[p], wanted.end[p])]
    by_path: dict[str, list[Row]] = defaultdict(list)
    name, time = f"{wanted.hash}-{attempt}-0-{wanted.start[0]}", CONTRACTS[topic].event_time
    records: list[Row | bytes] = [*rows, *broken]
    for (partition, offset), row in zip(places, records, strict=True):
        archived = {
            "topic_generation": 0,
            "kafka_partition": partition,
            "kafka_offset": offset,
            "kafka_timestamp": wanted.planned_at + timedelta(milliseconds=offset),
            "publication_id": wanted.publication_id,
        }
        if isinstance(row, bytes):
            found = {"kafka_key": b"key", "kafka_value": row, "rule_code": "MALFORMED_JSON", "rule_field": ""}
            by_path[quarantine_path(topic, wanted.ingest_hour, name)].append(found | archived)
        else:
            day = row[time].date().isoformat()
            by_path[raw_path(topic, day, wanted.ingest_hour, name)].append(row | archived)
    raw = raw_schema(CONTRACTS[topic])
    for path, held in by_path.items():
        table = pa.Table.from_pylist(held, raw if path.startswith("raw/") else QUARANTINE_SCHEMA)
        lake.write(branch, path, parquet(table))
    if topic == STATION_REGISTRY.topic and notes_stations:
        note_stations(lake, branch, base, by_path)
    manifest = Manifest(
        publication_id=wanted.publication_id,
        topic=topic,
        range=wanted.to_json(),
        ingest_hour=wanted.ingest_hour,
        attempt=attempt,
        branch=branch,
        base_commit=base,
        rows_read=len(places),
        rows_good=len(rows),
        rows_quarantined=len(broken),
        quarantined_by_rule=dict(Counter("MALFORMED_JSON" for _ in broken)),
        event_dates=sorted({row[time].date().isoformat() for row in rows}),
        files={path: len(held) for path, held in by_path.items()},
        run_id="run",
        root_run_id="run",
        code_version="test",
    )
    lake.write_json(branch, wanted.manifest_path, manifest.to_json())
    lake.write_json(branch, Ledger.path(topic), read_ledger(lake, topic, base).after(wanted, attempt).to_json())
    commit = lake.commit(branch, "candidate", manifest.metadata())
    assert closed_gates(lake.settings, lake, manifest, commit.id) == []
    return manifest


def parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


def rows_at(lake: LakeInFolders, ref: str, prefix: str = "") -> list[Row]:
    """All rows at a ref, good and quarantined, in Kafka's order."""
    prefixes = [prefix] if prefix else [*(raw_prefix(topic) for topic in CONTRACTS), "quarantine/"]
    found = [
        {"folder": path.rpartition("/")[0], **row}
        for prefix in prefixes
        for path in lake.paths(ref, prefix)
        for row in pq.read_table(pa.BufferReader(lake.read(ref, path))).to_pylist()
    ]
    return sorted(found, key=lambda row: (row["folder"], row["kafka_partition"], row["kafka_offset"]))


def register(lake: LakeInFolders, *stations: str, planned_at: datetime = NOON) -> Published:
    return publish(lake, [registered(name) for name in stations], planned_at, topic=STATION_REGISTRY.topic)
