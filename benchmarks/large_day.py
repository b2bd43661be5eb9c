"""A large day on its way from the lake to ClickHouse: all of it, and a thousand sessions more.

The lake's files are written here, as publications write them, so that Kafka has no part in the figures. Limit of a whole day:
Spark's workers read the same records and send them to a table that keeps no order. No rule is asked.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.harness import Report, Result
from benchmarks.lake import fresh
from evcharge.connections import clickhouse, lake_files, spark_session
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, Contract
from evcharge.lake.layout import raw_path, raw_prefix
from evcharge.lake.repository import Repository
from evcharge.lake.schemas import raw_schema
from evcharge.settings import Settings
from evcharge.warehouse import schema
from evcharge.warehouse.load_sessions import STAGING_TABLE, load_sessions, send_stopped
from evcharge.warehouse.tables import ENDS, FACT

#: Sessions/s of a whole day, and seconds for a thousand more in a day of a million.
WHOLE_FLOOR, WHOLE_AIM = 100_000, 250_000
ADDED_FLOOR_S, ADDED_AIM_S = 10.0, 4.0
NAME = "bench-large-day"
DAY = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = "2026-03-02-12"
STATIONS, VEHICLES = 10_000, 400_000
#: Rows of a publication, and so of a file.
FILE_ROWS = 100_000

#: The staging table without order: its rows are written as they come.
_LIMIT_TABLE = STAGING_TABLE.partition(") ENGINE")[0] + ") ENGINE = MergeTree ORDER BY tuple()"


@dataclass(frozen=True)
class Effort:
    """How large the day is, how many sessions come to it each time, and how often both are loaded."""

    sessions: int = 1_000_000
    added: int = 1_000
    rounds: int = 3


def large_day(settings: Settings, effort: Effort, report: Report) -> list[Result]:
    """Loads the day `rounds` times into an empty warehouse and adds to it. Raises RuntimeError if a full reload differs."""
    whole = Result(
        "large day",
        "sessions/s",
        f"So many sessions a second come from the lake to ClickHouse when a day of {effort.sessions:,} is loaded.",
        floor=WHOLE_FLOOR,
        aim=WHOLE_AIM,
    )
    added = Result(
        "added to a large day",
        "s",
        f"{effort.added:,} sessions more are in ClickHouse after this time, on a day that has {effort.sessions:,} already.",
        floor=ADDED_FLOOR_S,
        aim=ADDED_AIM_S,
    )
    spark = spark_session(settings)
    for run in range(effort.rounds + 1):
        # the first round warms Spark and its Python workers, and does not count
        report(f"run {run} of {effort.rounds}" if run else "warming up")
        rows = effort.sessions if run else min(effort.sessions, FILE_ROWS)
        with_day = _Day(settings, f"{NAME}-{run}")
        with_day.publish_stations()
        for first in range(0, rows, FILE_ROWS):
            with_day.publish(first, min(FILE_ROWS, rows - first))
        loading = _Timed(with_day, spark)
        whole_s = loading.load(rows)
        limit_s = with_day.limit(spark)
        with_day.publish(rows, effort.added)
        steps = _Timed(with_day, spark)
        added_s = steps.load(rows + effort.added)
        if steps.added_to != 1:
            raise RuntimeError("the day was read in full")
        before = with_day.content()
        again = _Timed(with_day, spark)
        again.load(rows + effort.added, in_full=True)
        if with_day.content() != before:
            raise RuntimeError("a full reload gives another day")
        if run:
            whole.ours.append(round(rows / whole_s, 1))
            whole.limit.append(round(rows / limit_s, 1))
            whole.run_ended()
            whole.details = {"steps_s": loading.steps, "reloaded_s": again.seconds}
            added.ours.append(round(added_s, 2))
            added.run_ended()
            added.details = {"steps_s": steps.steps}
        with_day.drop()
    spark.stop()
    report("ready")
    return [whole, added]


@dataclass
class _Timed:
    """A load, with the seconds after which each step was done."""

    day: _Day
    spark: Any
    steps: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    added_to: int = 0

    def load(self, rows: int, *, in_full: bool = False) -> float:
        began = time.monotonic()

        def on_step(step: str) -> None:
            self.steps[step] = round(time.monotonic() - began, 2)

        done = load_sessions(
            self.day.settings,
            self.day.repository,
            self.spark,
            [DAY.date()],
            "benchmark",
            in_full=in_full,
            on_step=on_step,
        )
        self.seconds, self.added_to = round(time.monotonic() - began, 2), len(done.added_to)
        if done.rows != rows:
            raise RuntimeError(f"{done.rows:,} rows instead of {rows:,}")
        return time.monotonic() - began


class _Day:
    """A lake and a warehouse with one day."""

    def __init__(self, platform: Settings, name: str) -> None:
        self.settings = fresh(platform, name).model_copy(update={"clickhouse_database": name.replace("-", "_")})
        self.repository = Repository(self.settings)
        self._published = 0
        schema.apply(self.settings)

    def publish_stations(self) -> None:
        columns = {
            "observed_at": [DAY - timedelta(days=1)] * STATIONS,
            "station_id": [f"large-{n:06}" for n in range(STATIONS)],
            "time_zone": ["America/Chicago"] * STATIONS,
        }
        self._publish(STATION_REGISTRY, _archived(STATION_REGISTRY, columns, STATIONS, 0, "stations"))

    def publish(self, first: int, rows: int) -> None:
        """A publication of the day's sessions from number `first` on."""
        numbers = np.arange(first, first + rows)
        ended_ms = int(DAY.timestamp()) * 1000 + numbers * 7_919 % 86_400_000
        stays_ms = 900_000 + numbers * 104_729 % 21_600_000
        columns = {
            "schema_version": pa.repeat(pa.scalar(1, pa.int32()), rows),
            "event_id": [f"event-{n}" for n in numbers],
            "session_id": [f"session-{n:09}" for n in numbers],
            "sequence": pa.repeat(pa.scalar(9, pa.int32()), rows),
            "station_id": [f"large-{n:06}" for n in numbers % STATIONS],
            "evse_id": [f"large-{n:06}-{m}" for n, m in zip(numbers % STATIONS, numbers // STATIONS % 4, strict=True)],
            "connector_id": pa.repeat("1", rows),
            "ev_id": [f"car-{n}" for n in numbers * 31 % VEHICLES],
            "ev_model_id": [f"model-{n}" for n in numbers * 31 % VEHICLES % 40],
            "event_type": pa.repeat("stopped", rows),
            "occurred_at": pa.array(ended_ms * 1000, pa.timestamp("us", "UTC")),
            "started_at": pa.array((ended_ms - stays_ms) * 1000, pa.timestamp("us", "UTC")),
            "energy_delivered_kwh": pa.array(numbers % 70_000 / 1000),
            "idle_s": pa.array(numbers % 3600 * 1.0),
            "state_of_charge_start": pa.array(numbers % 50 * 1.0),
            "state_of_charge": pa.array(50.0 + numbers % 50),
            "reason": pa.repeat("EVDisconnected", rows),
        }
        self._publish(SESSION_EVENTS, _archived(SESSION_EVENTS, columns, rows, first, f"publication-{first}"))

    def _publish(self, contract: Contract, rows: pa.Table) -> None:
        self._published += 1
        publication = rows["publication_id"][0].as_py()
        at = rows["occurred_at" if "occurred_at" in rows.column_names else "observed_at"][0].as_py()
        branch, day = f"publication-{self._published}", at.date().isoformat()
        self.repository.create_branch(branch)
        path = raw_path(contract.topic, day, HOUR, publication)
        pq.write_table(
            rows, f"{self.repository.name}/{branch}/{path}", filesystem=lake_files(self.settings), compression="zstd"
        )
        metadata = {
            "topic": contract.topic,
            "publication_id": publication,
            "range": "{}",
            "ingest_hour": HOUR,
            "event_dates": json.dumps([day]),
        }
        self.repository.commit(branch, publication, metadata)
        self.repository.merge(branch, publication, metadata)
        self.repository.delete_branch(branch)

    def limit(self, spark: Any) -> float:
        """Seconds for the day's records, sent to a table that keeps no order, and nothing after that."""
        client = clickhouse(self.settings)
        client.execute(_LIMIT_TABLE.format(name="staging_limit"))
        began = time.monotonic()
        paths = list(self.repository.paths("main", raw_prefix(SESSION_EVENTS.topic, DAY.date().isoformat())))
        send_stopped(self.repository, spark, self.repository.head().id, paths, None, "staging_limit")
        seconds = time.monotonic() - began
        client.execute("DROP TABLE staging_limit")
        client.disconnect()
        return seconds

    def content(self) -> list[Any]:
        """Counts and order-free hashes of the facts and of where their ends are."""
        client = clickhouse(self.settings)
        try:
            return [
                client.execute(f"SELECT count(), groupBitXor(cityHash64(*)) FROM {table} FINAL")
                if table == ENDS
                else client.execute(f"SELECT count(), groupBitXor(cityHash64(*)) FROM {table}")
                for table in (FACT, ENDS)
            ]
        finally:
            client.disconnect()

    def drop(self) -> None:
        client = clickhouse(self.settings, database="default")
        client.execute(f"DROP DATABASE {self.settings.clickhouse_database} SYNC")
        client.disconnect()


def _archived(contract: Contract, columns: dict[str, Any], rows: int, first: int, publication: str) -> pa.Table:
    """The columns as the archive has them; fields that are not given are null."""
    archive = {
        "topic_generation": pa.repeat(pa.scalar(0, pa.int32()), rows),
        "kafka_partition": pa.repeat(pa.scalar(0, pa.int32()), rows),
        "kafka_offset": pa.array(np.arange(first, first + rows)),
        "kafka_timestamp": pa.nulls(rows, pa.timestamp("us", "UTC")),
        "publication_id": pa.repeat(publication, rows),
    }
    given = columns | archive
    schema = pa.schema([field.with_nullable(True) for field in raw_schema(contract)])
    filled = (given.get(field.name, pa.nulls(rows, field.type)) for field in schema)
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, field.type)
        for column, field in zip(filled, schema, strict=True)
    ]
    return pa.table(arrays, schema=schema)
