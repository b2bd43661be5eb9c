"""Writes the judged rows of one Spark task as Parquet files on the candidate's branch. It runs in Spark's Python workers.

One pass over Kafka yields good rows, quarantined rows and their counts. Each task sorts its rows by verdict and event
date, writes a file for each event date and one for quarantine, and returns a row about each file. A file's name follows
from the range, the attempt, and the partition and offset of the first row, so a task that Spark repeats overwrites its own
files. With `SurelyGoodWriter` a task first writes the rows that surely are good, and Spark's rules judge the others.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
import pyarrow.parquet as pq

from evcharge.connections import lake_files
from evcharge.contracts import CONTRACTS, VEHICLE_TELEMETRY
from evcharge.contracts.session_events import MAX_SESSION_DAYS
from evcharge.gathering import Gathering, gathered
from evcharge.lake.last_places import newest_two, to_bytes
from evcharge.lake.layout import quarantine_path, raw_path
from evcharge.lake.schemas import KAFKA_SCHEMA, QUARANTINE_SCHEMA, raw_schema
from evcharge.lake.surely_good import SurelyGood
from evcharge.settings import Settings

#: Stands for quarantine among the event dates (days since 1970), and sorts after all of them.
_BROKEN = np.iinfo(np.int32).max - 1

#: A task writes out what it holds at this many rows (some 250 bytes each, so 75 MB), or at this many bytes: quarantined
#: messages have up to 8 MB each.
FLUSH_ROWS = 300_000
FLUSH_BYTES = 100_000_000
WRITE_TRIES = 3

FILE_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("event_date", pa.string()),
        ("reaches_to", pa.string()),
        ("rows", pa.int64()),
        ("bytes", pa.int64()),
        ("rule_counts", pa.map_(pa.string(), pa.int64())),
        # of the batch that the file is of; only in its first line, and only for cars
        ("last_places", pa.binary()),
    ]
)
#: FILE_SCHEMA as Spark DDL, for mapInArrow.
FILE_DDL = (
    "path STRING, event_date STRING, reaches_to STRING, rows BIGINT, bytes BIGINT, rule_counts MAP<STRING, BIGINT>, "
    "last_places BINARY"
)


#: The messages that `SurelyGoodWriter` leaves to Spark's rules, as Spark's Kafka source has them. WRITTEN is null in them. It
#: is the only value in a row about a file: a line of FILE_SCHEMA, as JSON.
WRITTEN = "written"
LEFT_DDL = f"partition INT, offset BIGINT, timestamp TIMESTAMP, key BINARY, value BINARY, {WRITTEN} BINARY"
_LEFT_SCHEMA = KAFKA_SCHEMA.append(pa.field(WRITTEN, pa.binary()))


@dataclass(frozen=True)
class RowFileWriter:
    """Call it with the Arrow batches of a task. It yields one batch of FILE_SCHEMA with a row for each file it wrote.

    The batches have the columns of `evcharge.lake.judge.judged`, and may have WRITTEN.
    """

    settings: Settings
    topic: str
    branch: str
    ingest_hour: str
    publication_id: str
    file_prefix: str
    generation: int

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        files = lake_files(self.settings)
        lines: list[dict[str, object]] = []
        for rows in gathered(_without_written(batches, lines), FLUSH_ROWS, FLUSH_BYTES):
            lines += self.write(files, rows)
            # not to be held while the next ones are gathered
            del rows
        if lines:
            yield pa.RecordBatch.from_pylist(lines, schema=FILE_SCHEMA)

    def write(self, files: pyarrow.fs.S3FileSystem, rows: pa.Table) -> list[dict[str, object]]:
        """Writes judged rows, and returns a line about each file."""
        rows = rows.append_column("topic_generation", pa.repeat(pa.scalar(self.generation, pa.int32()), rows.num_rows))
        rows = rows.append_column("publication_id", pa.repeat(self.publication_id, rows.num_rows))
        name = f"{self.file_prefix}-{rows['kafka_partition'][0].as_py()}-{rows['kafka_offset'][0].as_py()}"
        raw = raw_schema(CONTRACTS[self.topic])
        lines = []
        for event_date, part in _by_date(rows):
            if event_date is not None:
                path = raw_path(self.topic, event_date, self.ingest_hour, name)
                lines.append(self._put(files, path, event_date, _conform(part, raw), {}))
            else:
                counts = Counter(part["rule_code"].to_pylist())
                path = quarantine_path(self.topic, self.ingest_hour, name)
                lines.append(self._put(files, path, None, _conform(part, QUARANTINE_SCHEMA), dict(counts)))
        if self.topic == VEHICLE_TELEMETRY.topic:
            # a jump counts as a place, so that a car that was carried away is not refused for ever
            judged = rows.filter(pc.is_in(rows["rule_code"], pa.array([None, "IMPLAUSIBLE_JUMP"])))
            lines[0]["last_places"] = to_bytes(newest_two(judged))
        return lines

    def _put(
        self,
        files: pyarrow.fs.S3FileSystem,
        path: str,
        event_date: str | None,
        table: pa.Table,
        rule_counts: dict[str, int],
    ) -> dict[str, object]:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", compression_level=1)
        content = sink.getvalue()
        upload(files, f"{self.settings.lake_repository}/{self.branch}/{path}", content)
        return {
            "path": path,
            "event_date": event_date,
            "reaches_to": None if event_date is None else _reaches_to(table, event_date),
            "rows": table.num_rows,
            "bytes": content.size,
            "rule_counts": sorted(rule_counts.items()),
        }


@dataclass(frozen=True)
class SurelyGoodWriter:
    """Call it with the Arrow batches of Spark's Kafka source. It writes the rows that surely are good.

    It yields the other messages, and in the end what it wrote, in the columns of LEFT_DDL.
    """

    writer: RowFileWriter
    good: SurelyGood

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        files = lake_files(self.writer.settings)
        lines: list[dict[str, object]] = []
        gathering = Gathering(FLUSH_ROWS, FLUSH_BYTES)
        for batch in batches:
            rows, left = self.good.pick(batch)
            if left.num_rows:
                yield _left({name: left[name] for name in left.schema.names}, left.num_rows)
            if (enough := gathering.add(rows)) is not None:
                lines += self.writer.write(files, enough)
        if (rest := gathering.take()) is not None:
            lines += self.writer.write(files, rest)
        if lines:
            yield _left({WRITTEN: pa.array([orjson.dumps(line) for line in lines], pa.binary())}, len(lines))


def _left(columns: dict[str, pa.Array], rows: int) -> pa.RecordBatch:
    every = [columns.get(field.name, pa.nulls(rows, field.type)).cast(field.type) for field in _LEFT_SCHEMA]
    return pa.record_batch(every, schema=_LEFT_SCHEMA)


def _without_written(batches: Iterable[pa.RecordBatch], lines: list[dict[str, object]]) -> Iterator[pa.RecordBatch]:
    """The judged rows. What their batches tell of written files goes to `lines`."""
    for batch in batches:
        if WRITTEN in batch.schema.names:
            written = batch[WRITTEN]
            lines += [orjson.loads(line) for line in written.drop_null().to_pylist()]
            batch = batch.filter(written.is_null()).drop_columns([WRITTEN])
        yield batch


def upload(files: pyarrow.fs.FileSystem, name: str, content: pa.Buffer) -> None:
    """Writes a file, in up to WRITE_TRIES attempts. Raises OSError."""
    for attempt in range(1, WRITE_TRIES + 1):
        try:
            with files.open_output_stream(name) as stream:
                stream.write(content)
            return
        except OSError:
            if attempt == WRITE_TRIES:
                raise
            time.sleep(2**attempt)


def _reaches_to(rows: pa.Table, event_date: str) -> str | None:
    """The first UTC date of the finished sessions that end on a date, if that is before it; at most MAX_SESSION_DAYS before."""
    if "started_at" not in rows.schema.names:
        return None
    started_at = pc.min(rows["started_at"].filter(pc.equal(rows["event_type"], "stopped"))).as_py()
    ended_on = date.fromisoformat(event_date)
    if started_at is None or started_at.date() >= ended_on:
        return None
    return max(started_at.date(), ended_on - timedelta(days=MAX_SESSION_DAYS)).isoformat()


def _by_date(rows: pa.Table) -> Iterator[tuple[str | None, pa.Table]]:
    """The good rows of each event date, in their order; last, with None for the date, the rows that broke a rule."""
    dates = pc.if_else(pc.is_null(rows["rule_code"]), rows["event_date"], pa.scalar(None, pa.date32()))
    days = pc.fill_null(dates.cast(pa.int32()), _BROKEN).to_numpy()
    order = np.argsort(days, kind="stable")
    ends = np.flatnonzero(np.diff(days[order], append=_BROKEN + 1)) + 1
    if len(ends) > 1:
        rows = rows.take(pa.array(order))
    start = 0
    for end in ends:
        day = int(days[order[start]])
        yield (
            None if day == _BROKEN else (date(1970, 1, 1) + timedelta(days=day)).isoformat(),
            rows.slice(start, end - start),
        )
        start = int(end)


def _conform(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    return pa.Table.from_arrays([rows[name].cast(schema.field(name).type) for name in schema.names], schema=schema)
