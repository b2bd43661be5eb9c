"""Reconcile and the rebuild of the live state on ten million events: the library's part of them, in one process on one core.

The stores are stand-ins, written before: the lake and the sent ledgers are Parquet files, Kafka is a file of its batches,
ClickHouse, Elasticsearch and Cassandra are files of their answers. So the figures have no server in them and no network, and of
the rebuild not Spark's sort; what the platform itself does with the rows is all there. Every run ends in "equal".

Limit: reading Kafka's messages from the same file.

The events are those of a small simulated network, at as many copies of it as are needed.
"""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from types import SimpleNamespace
from typing import Any, Self
from unittest.mock import MagicMock, patch

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

from benchmarks.alone import alone, memory_mb
from benchmarks.harness import Report, Result
from evcharge.audit.reconcile import reconcile
from evcharge.clock import HOUR_MS
from evcharge.contracts import CONTRACTS, SESSION_EVENTS, STATION_REGISTRY, FieldType
from evcharge.feeds import sent_ledger
from evcharge.feeds.messages import message
from evcharge.lake.layout import raw_path
from evcharge.lake.ledger import Ledger
from evcharge.lake.repository import Commit, Repository
from evcharge.lake.schemas import raw_schema
from evcharge.live.final_usage import folded
from evcharge.live.pending_hours import ComputedDay
from evcharge.live.station_folder import StationFolder, fold
from evcharge.live.station_state import StationState
from evcharge.record_batches import records_of
from evcharge.settings import Settings, load_settings
from evcharge.warehouse.tables import FACT
from simulation import Simulation, build_fleet, build_network

SEED, STATIONS, VEHICLES, DAYS = 7, 300, 3_000, 3
START_AT = datetime(2026, 3, 2, tzinfo=UTC)
PARTITIONS = 4
BATCH_RECORDS = 1_000
HEAD = "head"
EVENTS, REGISTRY = SESSION_EVENTS.topic, STATION_REGISTRY.topic

#: The most that may be taken, and the aim.
SECONDS_FLOOR, SECONDS_AIM = 300.0, 120.0
MEMORY_MB_FLOOR, MEMORY_MB_AIM = 1_000.0, 500.0


@dataclass(frozen=True, slots=True)
class Effort:
    """How many events at least, and how often."""

    events: int = 10_000_000
    runs: int = 1


def reconcile_scale(effort: Effort, report: Report) -> list[Result]:
    """Seconds and memory (MB, the peak of the process) of `reconcile` and of the fold of a rebuild."""
    with TemporaryDirectory(prefix="evcharge-reconcile-scale-") as name:
        folder = Path(name)
        report(f"writing {effort.events:,} events")
        events = alone(prepare, folder, effort.events)
        compares, rebuilds = f"A comparison of all stores on {events:,} events", f"The live state of {events:,} events"
        where = "in one process on one core, with files in place of the servers."
        compared = Result(
            "reconcile time", "s", f"{compares} takes this long, {where}", floor=SECONDS_FLOOR, aim=SECONDS_AIM
        )
        compared_mb = Result(
            "reconcile memory", "MB", f"{compares} takes at most this memory.", floor=MEMORY_MB_FLOOR, aim=MEMORY_MB_AIM
        )
        rebuilt = Result(
            "rebuild time",
            "s",
            f"{rebuilds} is computed anew in this time, {where}",
            floor=SECONDS_FLOOR,
            aim=SECONDS_AIM,
        )
        rebuilt_mb = Result(
            "rebuild memory", "MB", f"{rebuilds} takes at most this memory.", floor=MEMORY_MB_FLOOR, aim=MEMORY_MB_AIM
        )
        for run in range(1, effort.runs + 1):
            for name, measured, time_result, memory_result in (
                ("reconcile", compare, compared, compared_mb),
                ("rebuild", rebuild, rebuilt, rebuilt_mb),
            ):
                report(f"{name}, run {run} of {effort.runs}")
                seconds, peak_mb, details = alone(measured, folder)
                time_result.ours.append(round(seconds, 2))
                time_result.limit.append(round(alone(least, folder), 2))
                memory_result.ours.append(peak_mb)
                time_result.details |= details
                for result in (time_result, memory_result):
                    result.run_ended()
    return [compared, compared_mb, rebuilt, rebuilt_mb]


# --- the stand-ins ---


def prepare(folder: Path, events: int) -> int:
    """Writes the stores with at least so many events. Returns how many."""
    settings = _settings(folder)
    network = build_network(STATIONS, seed=SEED)
    simulation = Simulation(network, build_fleet(network, VEHICLES, seed=SEED), seed=SEED, start_at=START_AT)
    rows = list(simulation.advance(until=START_AT + timedelta(days=DAYS)).rows())
    registry = [{**row, "observed_at": START_AT, "removed_at": None} for row in network.registry_records()]
    messages = [message(SESSION_EVENTS, row) for row in rows]
    copies = -(-events // len(rows))
    base = _table(EVENTS, rows)
    states = _states(_table(REGISTRY, registry), base)
    registered_at = {name: state.applied[REGISTRY]["0"] for name, state in states.items()}
    heard_at = {name: state.applied.get(EVENTS, {}).get("0") for name, state in states.items()}
    with ExitStack() as stack:
        logs = [stack.enter_context((folder / f"kafka-{p}").open("wb")) for p in range(PARTITIONS)]
        stored = stack.enter_context((folder / "documents").open("wb"))
        for copy in range(copies):
            partition, first = copy % PARTITIONS, copy // PARTITIONS * len(rows)
            own = _renamed(base, copy, partition, first)
            _write_lake(folder, own, copy)
            _write_ledger(settings, own, copy)
            _write_log(logs[partition], messages, copy, first)
            for name, state in states.items():
                applied = {REGISTRY: {"0": copy * len(registry) + registered_at[name]}}
                if (offset := heard_at[name]) is not None:
                    applied[EVENTS] = {str(partition): first + offset}
                stored.write(_document(state, name, copy, applied) + b"\n")
    records = _table(REGISTRY, [row for copy in range(copies) for row in _renamed_records(registry, copy)])
    pq.write_table(records, _path(folder, raw_path(REGISTRY, "2026-03-02", "2026-03-02-00", "registry")))
    _write_facts(folder, rows, copies)
    _write_hours(folder, rows, copies)
    _write_sorted(folder)
    (folder / "world.json").write_text(
        json.dumps({"offsets": [(copies + PARTITIONS - 1 - p) // PARTITIONS * len(rows) for p in range(PARTITIONS)]})
    )
    return copies * len(rows)


def _settings(folder: Path) -> Settings:
    return load_settings(home=folder / "home").model_copy(update={"profile": "full"})


def _path(folder: Path, path: str) -> Path:
    found = folder / "lake" / HEAD / path
    found.parent.mkdir(parents=True, exist_ok=True)
    return found


def _table(topic: str, rows: list[dict[str, Any]]) -> pa.Table:
    schema = raw_schema(CONTRACTS[topic])
    place = {"schema_version": 1, "topic_generation": 1, "kafka_partition": 0, "publication_id": "p"}
    filled = ({**dict.fromkeys(schema.names), **place, **row, "kafka_offset": n} for n, row in enumerate(rows))
    return pa.Table.from_pylist(list(filled), schema)


def _suffix(copy: int) -> str:
    return f"-{copy:04}"


def _set(rows: pa.Table, name: str, values: Any) -> pa.Table:
    index = rows.schema.get_field_index(name)
    return rows.set_column(index, rows.schema.field(index), values)


def _renamed(base: pa.Table, copy: int, partition: int, first: int) -> pa.Table:
    rows = _set(base, "station_id", pc.binary_join_element_wise(base["station_id"], _suffix(copy), ""))
    rows = _set(rows, "kafka_partition", pa.repeat(pa.scalar(partition, pa.int32()), rows.num_rows))
    return _set(rows, "kafka_offset", pa.array(range(first, first + rows.num_rows)))


def _renamed_records(registry: list[dict[str, Any]], copy: int) -> list[dict[str, Any]]:
    return [row | {"station_id": row["station_id"] + _suffix(copy)} for row in registry]


def _write_lake(folder: Path, rows: pa.Table, copy: int) -> None:
    dates = rows["occurred_at"].cast(pa.date32())
    for day in dates.unique().to_pylist():
        path = _path(folder, raw_path(EVENTS, str(day), "2026-03-09-00", f"{copy:04}"))
        pq.write_table(rows.filter(pc.equal(dates, day)), path, compression="zstd", compression_level=1)


def _write_ledger(settings: Settings, rows: pa.Table, copy: int) -> None:
    path = settings.feeds_dir / "bench" / "ledger" / f"{copy:06}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    energy_wh = pc.round(pc.multiply(rows["energy_delivered_kwh"], 1000.0)).cast(pa.int64())
    columns = {
        "topic": pa.repeat(EVENTS, rows.num_rows),
        "partition": rows["kafka_partition"],
        "offset": rows["kafka_offset"],
        "occurred_at": pc.floor_temporal(rows["occurred_at"], unit="millisecond").cast(pa.timestamp("ms", "UTC")),
        "energy_wh": energy_wh,
    }
    table = [columns.get(name, rows[name] if name in rows.column_names else None) for name in sent_ledger.SCHEMA.names]
    pq.write_table(pa.table(table, schema=sent_ledger.SCHEMA), path, compression="zstd")


def _write_log(log: Any, messages: list[bytes], copy: int, first: int) -> None:
    """Record batches, each behind its size in four bytes."""
    mark, renamed = b'","', _suffix(copy).encode() + b'","'
    for start in range(0, len(messages), BATCH_RECORDS):
        builder = DefaultRecordBatchBuilder(
            magic=2,
            compression_type=3,
            is_transactional=0,
            producer_id=1,
            producer_epoch=0,
            base_sequence=0,
            batch_size=2**30,
        )
        for n, value in enumerate(messages[start : start + BATCH_RECORDS]):
            head, key, rest = value.partition(b'"station_id":"')
            station, _, tail = rest.partition(mark)
            whole = head + key + station + renamed + tail
            builder.append(
                n, timestamp=1_772_625_600_000, key=station + _suffix(copy).encode(), value=whole, headers=[]
            )
        batch = bytearray(builder.build())
        # outside of the checksum
        struct.pack_into(">q", batch, 0, first + start)
        log.write(struct.pack(">I", len(batch)) + batch)


def _in_ms(row: dict[str, Any]) -> dict[str, Any]:
    return {n: int(v.timestamp() * 1000) if isinstance(v, datetime) else v for n, v in row.items()}


def _as_folded(topic: str, rows: pa.Table) -> pa.Table:
    """Rows of the lake with times in ms and their places in Kafka, as the rebuild hands them to the fold."""
    contract = CONTRACTS[topic]
    rows = rows.select([*contract.columns, "kafka_partition", "kafka_offset"])
    for index, field in enumerate(contract.fields):
        if field.type is FieldType.TIMESTAMP:
            at = rows[field.name].cast(pa.timestamp("ms", "UTC"), safe=False).cast(pa.int64())
            rows = rows.set_column(index, field.name, at)
    return rows


def _states(registry: pa.Table, events: pa.Table) -> dict[str, StationState]:
    states: dict[str, StationState] = {}
    for topic, rows in ((REGISTRY, registry), (EVENTS, events)):
        for record in _as_folded(topic, rows).to_pylist():
            fold(states.setdefault(record["station_id"], StationState(record["station_id"])), topic, [record])
    return states


def _document(state: StationState, station_id: str, copy: int, applied: dict[str, dict[str, int]]) -> bytes:
    """The document of a copy of a station, as if it had been folded."""
    state.station_id = station_id + _suffix(copy)
    if "station_id" in state.registry:
        state.registry["station_id"] = state.station_id
    # the names have changed in place
    state.standing = None
    return orjson.dumps(state.document() | {"applied": applied})


def _write_facts(folder: Path, rows: list[dict[str, Any]], copies: int) -> None:
    ends = [row for row in rows if row["event_type"] == "stopped"]
    facts = [
        (row["station_id"], _in_ms(row)["occurred_at"], row["session_id"], round(row["energy_delivered_kwh"] * 1000))
        for row in ends
    ]
    with (folder / "facts").open("wb") as stored:
        for copy in range(copies):
            stored.writelines(orjson.dumps((name + _suffix(copy), *fact)) + b"\n" for name, *fact in facts)


def _write_hours(folder: Path, rows: list[dict[str, Any]], copies: int) -> None:
    ordered = sorted(
        (dict.fromkeys(SESSION_EVENTS.columns) | _in_ms(row) for row in rows),
        key=lambda row: (row["station_id"], row["occurred_at"], row["session_id"], row["sequence"]),
    )
    hours = [
        (state.station_id, start, hour.values())
        for state in folded(ordered)
        for start, hour in state.usage.hours.items()
        if datetime.fromtimestamp(start / 1000, UTC) < START_AT + timedelta(days=DAYS)
    ]
    with (folder / "hours").open("wb") as stored:
        for copy in range(copies):
            stored.writelines(orjson.dumps((name + _suffix(copy), *hour)) + b"\n" for name, *hour in hours)


def _write_sorted(folder: Path) -> None:
    """The rows as Spark hands them to a task of the rebuild: station by station, in the order of their offsets."""
    import pyarrow.dataset as ds

    for topic in (REGISTRY, EVENTS):
        source = ds.dataset(folder / "lake" / HEAD / "raw" / topic, schema=raw_schema(CONTRACTS[topic]))
        schema = _as_folded(topic, raw_schema(CONTRACTS[topic]).empty_table()).schema
        with pq.ParquetWriter(folder / f"sorted-{topic}", schema) as writer:
            # a copy at a time: its stations are those of no other
            for suffix in sorted({path.split("/")[-1] for path in source.files}):
                files = [path for path in source.files if path.endswith(f"/{suffix}")]
                rows = _as_folded(topic, ds.dataset(files, schema=source.schema).to_table())
                order = [(name, "ascending") for name in ("station_id", "kafka_partition", "kafka_offset")]
                writer.write_table(rows.sort_by(order), row_group_size=100_000)


class FolderLake(Repository):
    """A lake whose only commit is a folder."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.name = settings, "lake"
        self._folder = settings.home.parent

    def paths(self, ref: str, prefix: str, *, after: str = "") -> Iterator[str]:
        main = self._folder / "lake" / HEAD
        found = (str(path.relative_to(main)) for path in sorted((main / prefix).rglob("*.parquet")))
        return (path for path in found if path > after)

    def read_json(self, ref: str, path: str) -> dict[str, Any] | None:
        offsets = json.loads((self._folder / "world.json").read_text())["offsets"]
        if path == Ledger.path(EVENTS):
            ledger = Ledger(EVENTS, "id", dict(enumerate(offsets)), 1, "p", 1, START_AT + timedelta(days=DAYS))
        elif path == Ledger.path(REGISTRY):
            ledger = Ledger(REGISTRY, "id", {0: 10**9}, 1, "p", 1, START_AT)
        else:
            return None
        return {**asdict(ledger), "published_at": START_AT.isoformat()}

    def head(self, ref: str = "main") -> Commit:
        return Commit(HEAD, "", START_AT + timedelta(days=DAYS), {})

    def log(self, ref: str = "main", **options: Any) -> Iterator[Commit]:
        return iter([self.head()])


@contextmanager
def stand_ins(folder: Path) -> Iterator[Settings]:
    """The platform's clients replaced by readers of the files."""
    settings = _settings(folder)

    @contextmanager
    def log(_settings: Settings, _topic: str, ends: dict[int, int], _since: object = None) -> Iterator[Any]:
        yield dict.fromkeys(ends, 0), (batch for p in ends for batch in _batches(folder, p))

    def lines(name: str) -> Iterator[Any]:
        with (folder / name).open("rb") as stored:
            yield from map(orjson.loads, stored)

    def facts(query: str, _parameters: object, chunk_size: int) -> Iterator[list[Any]]:
        held: list[Any] = []
        for fact in lines("facts") if FACT in query else ():
            held.append(fact)
            if len(held) == chunk_size:
                yield held
                held = []
        if held:
            yield held

    def hours(_query: str, days: tuple[date, ...] = (), timeout: float = 0.0) -> Iterator[Any]:
        return (row for row in map(_cassandra_row, lines("hours")) if not days or row.day.date() in days)

    days = {(START_AT + timedelta(days=n)).date() for n in range(DAYS)}
    marks = {day: ComputedDay(HEAD, START_AT + timedelta(days=DAYS + 1), START_AT) for day in days}
    clickhouse = SimpleNamespace(execute_iter=facts, execute=lambda *_: [(day, HEAD) for day in days])
    cassandra = MagicMock()
    cassandra().__enter__().execute = hours
    files = SubTreeFileSystem(str(folder), LocalFileSystem())
    with ExitStack() as stack:
        for name, standing_in in {
            "evcharge.audit.reconcile.Repository": FolderLake,
            "evcharge.audit.reconcile.clickhouse": lambda _: clickhouse,
            "evcharge.audit.session_rows.clickhouse": lambda _: clickhouse,
            "evcharge.audit.session_rows.log_columns": log,
            "evcharge.lake.rows.lake_files": lambda _: files,
            "evcharge.audit.live_stores.elasticsearch": MagicMock(),
            "evcharge.audit.live_stores.documents": lambda *_: lines("documents"),
            "evcharge.audit.live_stores.cassandra": cassandra,
            "evcharge.audit.live_stores.computed_days": lambda _: marks,
        }.items():
            stack.enter_context(patch(name, standing_in))
        yield settings


def _batches(folder: Path, partition: int) -> Iterator[pa.RecordBatch]:
    for content in _record_batches(folder, partition):
        batch = DefaultRecordBatch(content)
        if not batch.validate_crc():
            raise RuntimeError("a record batch is not what was written")
        yield records_of(partition, batch, 0, 2**62)


def _record_batches(folder: Path, partition: int) -> Iterator[bytes]:
    with (folder / f"kafka-{partition}").open("rb") as log:
        while size := log.read(4):
            yield log.read(*struct.unpack(">I", size))


def _cassandra_row(hour: list[Any]) -> SimpleNamespace:
    station_id, start, (sessions, energy_wh, occupied_ms, peak_occupancy, waits, faults) = hour
    at = datetime.fromtimestamp(start / 1000, UTC)
    return SimpleNamespace(
        station_id=station_id,
        day=at,
        hour=start % (24 * HOUR_MS) // HOUR_MS,
        sessions=sessions,
        energy_wh=energy_wh,
        occupied_ms=occupied_ms,
        peak_occupancy=peak_occupancy,
        waits=waits,
        faults=faults,
        lake_commit=HEAD,
        written_at=datetime(2026, 3, 9),  # noqa: DTZ001 as Cassandra's driver has it
    )


# --- what is measured ---

Measured = tuple[float, float, dict[str, Any]]
"""Seconds, the peak of this process' memory in MB, and details."""


def compare(folder: Path) -> Measured:
    """Raises RuntimeError if the stores are not equal."""
    began, steps = time.monotonic(), {}

    def on_step(step: str) -> None:
        steps[f"{step} after_s"] = round(time.monotonic() - began, 1)

    with stand_ins(folder) as settings:
        verdict = reconcile(settings, on_step)
    seconds = time.monotonic() - began
    if not verdict.equal or verdict.stations_ahead or verdict.stations_unordered:
        raise RuntimeError(f"not equal: {verdict.difference_count} differences, {verdict.differences[:3]}")
    return seconds, memory_mb("VmHWM"), {"stores": {n: f.events for n, f in verdict.stores.items()}, **steps}


def rebuild(folder: Path) -> Measured:
    """Folds all rows into documents, which go nowhere. Raises RuntimeError if a station has none."""
    began = time.monotonic()
    with _Index(folder) as index, patch("evcharge.live.station_folder.shared_client", lambda _: index):
        for topic in (REGISTRY, EVENTS):
            with pq.ParquetFile(folder / f"sorted-{topic}", pre_buffer=False) as rows:
                # as many at once as Spark hands over
                batches = rows.iter_batches(10_000)
                list(StationFolder(_settings(folder), "index", topic, keeps_states=False)(batches))
    seconds = time.monotonic() - began
    with (folder / "documents").open("rb") as stored:
        stations = sum(1 for _ in stored)
    if len(index.places) != stations:
        raise RuntimeError(f"{len(index.places):,} stations have a document, not {stations:,}")
    return seconds, memory_mb("VmHWM"), {"stations": stations, "documents written": index.written}


class _Index:
    """As much of an Elasticsearch client as a folder needs; the documents are in a file."""

    def __init__(self, folder: Path) -> None:
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115
        self.places: dict[str, tuple[int, int]] = {}
        self.written = 0
        self.indices = MagicMock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def mget(self, *, ids: list[str], **_: object) -> dict[str, Any]:
        return {"docs": [{"_id": name, **self._found(name)} for name in ids]}

    def bulk(self, *, operations: list[bytes], **_: object) -> dict[str, Any]:
        items = []
        for action, document in zip(operations[::2], operations[1::2], strict=True):
            ((_, about),) = orjson.loads(action).items()
            self.places[about["_id"]] = self._file.seek(0, os.SEEK_END), len(document)
            self._file.write(document)
            self.written += 1
            items.append({"index": {"status": 200, "_id": about["_id"], "_seq_no": self.written, "_primary_term": 1}})
        return {"items": items}

    def _found(self, name: str) -> dict[str, Any]:
        if name not in self.places:
            return {"found": False}
        at, size = self.places[name]
        self._file.seek(at)
        return {"found": True, "_source": orjson.loads(self._file.read(size)), "_seq_no": 1, "_primary_term": 1}


def least(folder: Path) -> float:
    """Seconds for reading Kafka's messages and nothing else."""
    began = time.monotonic()
    for partition in range(PARTITIONS):
        for batch in _batches(folder, partition):
            for value in batch["value"].to_pylist():
                orjson.loads(value)
    return time.monotonic() - began
