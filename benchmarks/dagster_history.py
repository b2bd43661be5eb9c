"""Years of Dagster's history, written straight into its SQLite files: millions of events in minutes.

One run of each kind is really executed. The others are copies of its rows, with a run, a time and a partition of their own.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from io import StringIO
from itertools import cycle
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.base import EventLogRecord
from dagster._serdes import deserialize_value, serialize_value

from evcharge.contracts import CONTRACTS
from evcharge.lake.gates import GATES
from evcharge.lake.parked import RANGE_TAG, publish_job_name
from evcharge.settings import Settings
from evcharge_assets.lake import archive_key, candidate_key
from evcharge_assets.live import HOURLY_USAGE, STATION_STATE, VEHICLE_POSITION
from evcharge_assets.partitions import event_days, event_hours, hour_key, ingest_hours
from evcharge_assets.warehouse import table_key

_RUNS_AT_ONCE = 500
#: What every copy keeps of a run's log, beside how it went, what it materialized and what its checks said.
_ALWAYS = ("ASSET_", "PIPELINE_")

Row = dict[str, Any]


@dataclass(frozen=True)
class Template:
    """The rows of an executed run."""

    run_id: str
    partition: str
    run: Row
    tags: list[Row]
    events: list[Row]
    checks: list[Row]

    def partition_at(self, at: datetime) -> str:
        by_day = len(self.partition) == len("2026-03-01")
        return at.date().isoformat() if by_day else hour_key(at)

    @property
    def log_bytes(self) -> int:
        return sum(len(event["event"]) for event in self.events)


def executed(instance: dg.DagsterInstance, settings: Settings) -> list[Template]:
    """Executes a run of each kind: the publication of each topic, a load of a day, and the live state of an hour."""
    hours = [
        (publish_job_name(topic), [candidate_key(topic), archive_key(topic)], ingest_hours(settings))
        for topic in CONTRACTS
    ]
    live = ("live_hours", [STATION_STATE, VEHICLE_POSITION, HOURLY_USAGE], event_hours(settings))
    load = (
        "load_warehouse_days",
        [table_key(name) for name in ("fact_charging_sessions", "dim_vehicle")],
        event_days(settings),
    )
    return [_executed(instance, *kind) for kind in (*hours, load, live)]


def write(home: Path, templates: list[Template], begin: datetime, end: datetime, runs: int, *, logs: bool) -> None:
    """Writes `runs` finished runs, of each kind in turn, evenly over the time. Without `logs`, they have lost their logs."""
    kinds, step = cycle(templates), (end - begin) / runs
    history = home / "history"
    with closing(_opened(history / "event_log.db")) as events, closing(_opened(history / "runs.db")) as stored:
        for database in (events, stored):
            # nobody else reads them now, and nobody needs what is written in part
            database.execute("PRAGMA journal_mode = OFF")
            database.execute("PRAGMA cache_size = -400000")
        for first in range(0, runs, _RUNS_AT_ONCE):
            with events, stored:
                for number in range(first, min(first + _RUNS_AT_ONCE, runs)):
                    _copy(next(kinds), begin + number * step, events, stored, logs)
        _note_last(events)
        for database in (events, stored):
            database.execute("PRAGMA journal_mode = WAL")


def size_bytes(home: Path) -> int:
    """What Dagster's files take, with SQLite's logs folded in."""
    for file in home.rglob("*.db"):
        with closing(_opened(file)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return sum(file.stat().st_blocks * 512 for file in home.rglob("*") if file.is_file())


def used_bytes(folder: Path) -> int:
    """Bytes of the pages that hold something, in all databases of a folder."""
    used = 0
    for file in folder.rglob("*.db"):
        with closing(sqlite3.connect(file)) as database:
            pages, free, size = (
                database.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
            used += (pages - free) * size
    return used


def _executed(
    instance: dg.DagsterInstance, job: str, keys: list[dg.AssetKey], partitions: dg.TimeWindowPartitionsDefinition
) -> Template:
    metadata: dict[str, Any] = {
        "dagster/row_count": 4_000,
        "rows_read": 4_000,
        "rows_quarantined": 12,
        "quarantined_by_rule": dg.MetadataValue.json({"WRONG_TYPE": 7, "BLANK_TEXT": 5}),
        "publications": dg.MetadataValue.json(["session-events-0123456789abcdef"]),
        "offsets": dg.MetadataValue.json(
            [{"start": {str(p): 10**6 for p in range(4)}, "end": {str(p): 10**6 + 1_000 for p in range(4)}}]
        ),
        "event_dates": dg.MetadataValue.json(["2026-11-28", "2026-11-29"]),
        "lake_commit": "0" * 64,
    }

    @dg.multi_asset(name=job, specs=[dg.AssetSpec(key) for key in keys], partitions_def=partitions)
    def assets(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        for key in keys:
            context.log.info("a step of the work")
            yield dg.MaterializeResult(asset_key=key, metadata=metadata)

    def check(name: str) -> dg.AssetChecksDefinition:
        @dg.asset_check(asset=keys[0], name=name)
        def passes() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=True, description=name, metadata={"rule": name, "rows": 4_000})

        return passes

    checks = [check(gate.name) for gate in GATES] if job.startswith("publish") else []
    definitions = dg.Definitions([assets], asset_checks=checks, jobs=[dg.define_asset_job(f"{job}_job", [*keys])])
    partition = partitions.get_last_partition_key()
    assert partition
    # Dagster shows the log there, too
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        done = definitions.resolve_job_def(f"{job}_job").execute_in_process(
            instance=instance, partition_key=partition, tags={RANGE_TAG: "0" * 16, "dagster/run_key": "0" * 16}
        )
    history = Path(instance.root_directory) / "history"

    def rows(database: str, table: str) -> list[Row]:
        with closing(_opened(history / database)) as opened:
            opened.row_factory = sqlite3.Row
            query = f"SELECT * FROM {table} WHERE run_id = ? ORDER BY id"
            return [
                {name: value for name, value in dict(row).items() if name != "id"}
                for row in opened.execute(query, (done.run_id,))
            ]

    (run,) = rows("runs.db", "runs")
    return Template(
        done.run_id,
        partition,
        run | {"pipeline_name": job},
        rows("runs.db", "run_tags"),
        rows("event_log.db", "event_logs"),
        rows("event_log.db", "asset_check_executions"),
    )


def _copy(template: Template, at: datetime, events: sqlite3.Connection, runs: sqlite3.Connection, logs: bool) -> None:
    run_id, partition = str(uuid4()), template.partition_at(at)
    # as Dagster stores it
    stamp = at.replace(tzinfo=None).isoformat(" ", "microseconds")

    def own(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return value.replace(template.run_id, run_id).replace(template.partition, partition)

    run = {name: own(value) for name, value in template.run.items()}
    run |= {
        "create_timestamp": stamp,
        "update_timestamp": stamp,
        "start_time": at.timestamp(),
        "end_time": at.timestamp() + 10,
    }
    _insert(runs, "runs", [run])
    _insert(runs, "run_tags", [{name: own(value) for name, value in tag.items()} for tag in template.tags])
    kept = [e for e in template.events if logs or str(e["dagster_event_type"]).startswith(_ALWAYS)]
    _insert(events, "event_logs", [{n: own(v) for n, v in event.items()} | {"timestamp": stamp} for event in kept])
    _insert(
        events,
        "asset_check_executions",
        [{n: own(v) for n, v in c.items()} | {"evaluation_event_timestamp": stamp} for c in template.checks],
    )


def _insert(database: sqlite3.Connection, table: str, rows: list[Row]) -> None:
    if rows:
        columns = list(rows[0])
        names, marks = ", ".join(f'"{name}"' for name in columns), ", ".join("?" for _ in columns)
        database.executemany(
            f"INSERT INTO {table} ({names}) VALUES ({marks})", [[row[name] for name in columns] for row in rows]
        )


def _note_last(events: sqlite3.Connection) -> None:
    """Notes each asset's newest materialization where Dagster looks for it, and forgets the partition status."""
    newest = events.execute(
        "SELECT asset_key, max(id) FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION' GROUP BY asset_key"
    ).fetchall()
    with events:
        for key, event_id in newest:
            (body,) = events.execute("SELECT event FROM event_logs WHERE id = ?", (event_id,)).fetchone()
            entry = deserialize_value(body, EventLogEntry)
            events.execute(
                "UPDATE asset_keys SET last_materialization = ?, last_run_id = ?, cached_status_data = NULL "
                "WHERE asset_key = ?",
                (serialize_value(EventLogRecord(event_id, entry)), entry.run_id, key),
            )


def _opened(file: Path) -> sqlite3.Connection:
    database = sqlite3.connect(file)
    database.execute("PRAGMA synchronous = OFF")
    return database
