"""Shared by the tests on real servers: crafted messages, bytes sent to Kafka, and the lake of a platform."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import lakefs_sdk
import orjson
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from kafka import KafkaProducer
from pyspark.sql import SparkSession

from evcharge.connections import clickhouse, kafka_options, lake_files, lakefs_client, spark_session
from evcharge.contracts import CONTRACTS, SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY, Contract
from evcharge.contracts.session_events import event_id
from evcharge.feeds.messages import message
from evcharge.lake.archive import Published
from evcharge.lake.candidate import RunIdentity
from evcharge.lake.ledger import OffsetRange
from evcharge.lake.planner import plan
from evcharge.lake.publish import publish_range
from evcharge.lake.repository import Repository
from evcharge.settings import Settings
from evcharge.warehouse.load_positions import load_vehicle_positions
from evcharge.warehouse.load_sessions import load_sessions
from evcharge.warehouse.load_stations import load_stations
from evcharge.warehouse.pending_loads import pending_loads
from evcharge.warehouse.tables import LoadReport

RUN = RunIdentity("test-run", "test-run", "test")
#: Crafted records have this time by default. It is far from daylight saving changes.
NOON = datetime(2025, 1, 15, 12, tzinfo=UTC)

Row = dict[str, Any]


class Record(NamedTuple):
    """A Kafka record as it is sent."""

    key: bytes | None
    value: bytes | None


def station(station_id: str, **fields: Any) -> Row:
    """A registry row that keeps every rule."""
    return {
        "observed_at": NOON,
        "station_id": station_id,
        "station_name": f"Station {station_id}",
        "time_zone": "America/Los_Angeles",
        "longitude": -118.1,
        "latitude": 34.1,
        "status_code": "E",
        "total_outlets": 2,
        "source": "generic",
        "snapshot_scope": "source",
        **fields,
    }


def meter(session_id: str, station_id: str, sequence: int = 0, **fields: Any) -> Row:
    """A meter reading that keeps every rule."""
    return {
        "event_id": event_id(session_id, fields.get("sequence", sequence)),
        "session_id": session_id,
        "sequence": sequence,
        "station_id": station_id,
        "evse_id": f"{station_id}-1",
        "event_type": "meter",
        "occurred_at": NOON,
        "energy_delivered_kwh": 1.5,
        **fields,
    }


def stopped(session_id: str, station_id: str, ended_at: datetime = NOON, **fields: Any) -> Row:
    """A charge detail record that keeps every rule: an hour, 7 kWh."""
    return {
        **meter(session_id, station_id, sequence=1),
        "event_type": "stopped",
        "occurred_at": ended_at,
        "started_at": ended_at - timedelta(hours=1),
        "energy_delivered_kwh": 7.0,
        "reason": "EVDisconnected",
        **fields,
    }


def position(vehicle_id: str, occurred_at: datetime = NOON, **fields: Any) -> Row:
    """A car's message that keeps every rule: parked in Pasadena."""
    return {
        "vehicle_id": vehicle_id,
        "occurred_at": occurred_at,
        "latitude": 34.147,
        "longitude": -118.139,
        "speed_kmh": 0.0,
        "ignition": False,
        "state_of_charge": 55.5,
        **fields,
    }


def record(contract: Contract, row: Mapping[str, Any]) -> Record:
    """The row as producers send it."""
    return Record(row[contract.key].encode(), message(contract, row))


def changed(contract: Contract, row: Mapping[str, Any], **fields: Any) -> Record:
    """The row's message with fields set to any JSON value. The value `...` removes a field."""
    content = {**orjson.loads(message(contract, row)), **fields}
    return Record(row[contract.key].encode(), orjson.dumps({name: v for name, v in content.items() if v is not ...}))


def send(settings: Settings, topic: str, records: Iterable[Record]) -> list[tuple[int, int]]:
    """Sends the records in order, without our checks and ledgers. Returns partition and offset of each."""
    producer = KafkaProducer(
        **kafka_options(settings), acks="all", linger_ms=20, compression_type="lz4", max_request_size=8 * 1024 * 1024
    )
    try:
        futures = [producer.send(topic, value=value, key=key) for key, value in records]
        producer.flush(timeout=60)
        sent = [future.get(timeout=10) for future in futures]
    finally:
        producer.close(timeout=10)
    return [(metadata.partition, metadata.offset) for metadata in sent]


class Lake:
    """The lake of one platform, with what tests do to it and read from it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.repository = Repository(settings)

    @property
    def spark(self) -> SparkSession:
        return spark_session(self.settings)

    def plan(self, topic: str = SESSION_EVENTS.topic) -> OffsetRange:
        """The range of everything that waits; the registry must be published."""
        planned = plan(self.settings, self.repository, topic, eager=True)
        assert planned.range is not None, planned.reason
        return planned.range

    def publish(
        self, planned: OffsetRange, *, release: bool = False, on_step: Callable[[str], None] = lambda step: None
    ) -> Published:
        return publish_range(self.settings, self.repository, self.spark, planned, RUN, release=release, on_step=on_step)

    def publish_waiting(self) -> None:
        """Publishes what other tests left on the topics, so that the next range has the caller's rows only."""
        for topic in CONTRACTS:
            while (planned := plan(self.settings, self.repository, topic, eager=True)).range is not None:
                self.publish(planned.range)

    def register(self, *stations: Mapping[str, Any]) -> None:
        """Sends and publishes stations, after whatever waits."""
        send(self.settings, STATION_REGISTRY.topic, [record(STATION_REGISTRY, row) for row in stations])
        self.publish_waiting()

    def send_events(self, events: Iterable[Mapping[str, Any]]) -> OffsetRange:
        """Sends events; the range that holds just them."""
        return self.send(record(SESSION_EVENTS, row) for row in events)

    def send(self, records: Iterable[Record], topic: str = SESSION_EVENTS.topic) -> OffsetRange:
        """Sends records to a topic; the range that holds just them."""
        self.publish_waiting()
        send(self.settings, topic, records)
        return self.plan(topic)

    def send_positions(self, positions: Iterable[Mapping[str, Any]]) -> OffsetRange:
        """Sends messages of cars; the range that holds just them."""
        return self.send((record(VEHICLE_TELEMETRY, row) for row in positions), VEHICLE_TELEMETRY.topic)

    def load_waiting(self) -> None:
        """Brings the warehouse up to main's head."""
        pending = pending_loads(self.settings, self.repository)
        if pending.stations:
            load_stations(self.settings, self.repository, self.spark, RUN.run_id)
        if pending.days:
            self.load(pending.days)
        if pending.positions:
            self.load_positions(pending.positions)

    def load_positions(self, days: Iterable[Any]) -> LoadReport:
        return load_vehicle_positions(self.settings, self.repository, self.spark, days, RUN.run_id)

    def load(self, days: Iterable[Any], run_id: str = RUN.run_id, *, in_full: bool = False) -> LoadReport:
        return load_sessions(self.settings, self.repository, self.spark, days, run_id, in_full=in_full)

    def query(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        client = clickhouse(self.settings)
        try:
            rows: list[tuple[Any, ...]] = client.execute(sql, parameters or None)
            return rows
        finally:
            client.disconnect()

    def table(self, ref: str, prefix: str) -> pa.Table:
        """All rows of the data files below a prefix."""
        paths = [f"{self.repository.name}/{ref}/{path}" for path in self.repository.paths(ref, prefix)]
        if not paths:
            return pa.table({})
        files = lake_files(self.settings)
        return ds.dataset(paths, filesystem=files, format="parquet", partitioning=None).to_table()

    def rows_of(self, planned: OffsetRange, ref: str = "main") -> dict[str, list[Row]]:
        """Every row of main whose record lies in the range, wherever its file is."""
        found: dict[str, list[Row]] = {}
        for kind in ("raw", "quarantine"):
            table = self.table(ref, f"{kind}/{planned.topic}/")
            if table.num_rows:
                places = zip(table["kafka_partition"].to_pylist(), table["kafka_offset"].to_pylist(), strict=True)
                table = table.filter(
                    pa.array([planned.start.get(p, 0) <= o < planned.end.get(p, 0) for p, o in places], pa.bool_())
                )
            found[kind] = table.to_pylist() if table.num_rows else []
        return found

    def all_rows(self, topic: str = SESSION_EVENTS.topic, ref: str = "main") -> dict[str, pa.Table]:
        """Every row of a topic, good and quarantined ones, each in Kafka's order."""
        order = [(name, "ascending") for name in ("topic_generation", "kafka_partition", "kafka_offset")]
        tables = {kind: self.table(ref, f"{kind}/{topic}/") for kind in ("raw", "quarantine")}
        return {kind: table.sort_by(order).combine_chunks() for kind, table in tables.items() if table.num_rows}

    def row_hash(self, planned: OffsetRange, ref: str = "main") -> str:
        """Hash of what main holds of the range: contract columns, or bytes and rule, by place within the range."""
        lines = []
        for kind, rows in self.rows_of(planned, ref).items():
            columns = (
                CONTRACTS[planned.topic].columns
                if kind == "raw"
                else ("kafka_key", "kafka_value", "rule_code", "rule_field")
            )
            for row in rows:
                partition = row["kafka_partition"]
                place = (partition, row["kafka_offset"] - planned.start[partition])
                lines.append((place, kind, [row[name] for name in columns]))
        lines.sort(key=lambda line: line[0])
        return hashlib.sha256(repr(lines).encode()).hexdigest()

    def publications_of(self, planned: OffsetRange) -> tuple[list[str], list[str]]:
        """Paths of the manifests on main that publish the range, and ids of main's commits that brought it."""
        manifests = [
            path
            for path in self.repository.paths("main", f"_publications/{planned.topic}/")
            if path.endswith(f"/{planned.hash}.json")
        ]
        commits = [c.id for c in self.repository.log() if c.metadata.get("publication_id") == planned.publication_id]
        return manifests, commits

    def craft(self, branch: str, change: Callable[[str], None], metadata: dict[str, str] | None = None) -> str:
        """A publication outside the protocol: `change` gets the branch. Its commit and merge commit carry
        `metadata`. Returns the merge commit."""
        self.repository.create_branch(branch)
        change(branch)
        self.repository.commit(branch, branch, metadata or {})
        merged = self.repository.merge(branch, branch, metadata or {})
        self.repository.delete_branch(branch)
        return merged

    def write(self, branch: str, path: str, content: bytes) -> None:
        with lake_files(self.settings).open_output_stream(f"{self.repository.name}/{branch}/{path}") as stream:
            stream.write(content)

    def delete(self, branch: str, path: str) -> None:
        # not through Arrow, which leaves an empty object in place of the folder
        lakefs_sdk.ObjectsApi(lakefs_client(self.settings)).delete_object(self.repository.name, branch, path)


def parquet(table: pa.Table) -> bytes:
    """The table as a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


def evcharge(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command as a user does, on the platform that the environment names."""
    command = Path(sys.executable).with_name("evcharge")
    return subprocess.run([command, *arguments], capture_output=True, text=True, timeout=120)
