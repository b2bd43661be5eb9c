"""The producers' own ledgers: the acknowledged messages, kept in files outside every store of the platform.

A feed has a folder of chunks, `<feeds_dir>/<feed>/ledger/<chunk>.parquet`, with one row per acknowledged event. A chunk may be
published again after a kill, or because a file is replayed again. It then keeps the lowest known offset of each event: the
same row that every reader of the lake keeps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evcharge.clock import to_iso
from evcharge.contracts import SESSION_EVENTS, Contract
from evcharge.feeds.durable_files import replace_durably
from evcharge.feeds.producer import Ack, Publisher
from evcharge.gathering import scanned
from evcharge.settings import Settings

#: `event_id` is `<key>@<event time>` for a message without an id of its own, where the key is a station's or a car's id.
#: `station_id` is null for cars. `energy_wh` is cumulative within a session.
SCHEMA = pa.schema(
    [
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("event_id", pa.string()),
        ("session_id", pa.string()),
        ("station_id", pa.string()),
        ("event_type", pa.string()),
        ("occurred_at", pa.timestamp("ms", "UTC")),
        ("energy_wh", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class LedgerTotals:
    """The totals of a ledger. Sessions and energy are those of the stopped events."""

    messages: int
    sessions: int
    energy_wh: int


def publish_chunk(
    settings: Settings,
    publisher: Publisher,
    feed: str,
    chunk: str,
    contract: Contract,
    rows: Sequence[Mapping[str, Any]],
) -> pa.Table:
    """Publishes rows, waits until all are acknowledged, then writes them into the feed's chunk. Returns the ledger's rows.

    After a kill before the chunk is written, the caller publishes the same rows under the same chunk again.
    """
    table = _table(contract, rows, publisher.publish(contract, rows))
    if table.num_rows:
        write_chunk(settings, feed, chunk, table)
    return table


def write_chunk(settings: Settings, feed: str, chunk: str, table: pa.Table) -> Path:
    """Writes a chunk, or adds rows to it, completely or not at all, with one row per event. Returns the chunk's file."""
    path = _folder(settings, feed) / f"{chunk}.parquet"
    tables = [pq.read_table(path, schema=SCHEMA), table] if path.exists() else [table]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    pq.write_table(_one_row_per_event(pa.concat_tables(tables)), temporary, compression="zstd")
    replace_durably(temporary, path)
    return path


def merge_chunks(settings: Settings, feed: str, chunk: str, merged: Sequence[str]) -> None:
    """Moves the rows of some chunks into another one. After a kill, rows may be in both; readers see them once."""
    folder = _folder(settings, feed)
    paths = [path for name in merged if (path := folder / f"{name}.parquet").exists()]
    if paths:
        write_chunk(settings, feed, chunk, pa.concat_tables(pq.read_table(path, schema=SCHEMA) for path in paths))
        for path in paths:
            path.unlink()


def chunks(settings: Settings, feed: str) -> list[str]:
    """The names of a feed's chunks, sorted."""
    return sorted(path.stem for path in _folder(settings, feed).glob("*.parquet"))


def read_sent(
    settings: Settings, feed: str | None = None, *, topic: str | None = None, until: datetime | None = None
) -> pa.Table:
    """All rows of a feed's ledger, or of every feed's, one row per event, in the columns of SCHEMA.

    `topic` selects the rows of one topic, `until` those that occurred by then. Files without such rows are not read:
    telemetry grows by a million rows a day.
    """
    wanted = pc.scalar(True)
    if topic is not None:
        wanted &= pc.field("topic") == topic
    if until is not None:
        wanted &= pc.field("occurred_at") <= pa.scalar(until, SCHEMA.field("occurred_at").type)
    return _read(sorted(settings.feeds_dir.glob(f"{feed or '*'}/ledger/*.parquet")), wanted)


def sent_batches(
    settings: Settings, topic: str, columns: list[str], since: datetime | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of a topic in every feed's ledger that occurred since an instant (None: all), batch by batch.

    An event may come more than once, as `read_sent` would not let it.
    """
    import pyarrow.dataset as ds

    paths = sorted(settings.feeds_dir.glob("*/ledger/*.parquet"))
    if not paths:
        return iter(())
    wanted = pc.field("topic") == topic
    if since is not None:
        wanted &= pc.field("occurred_at") >= pa.scalar(since, SCHEMA.field("occurred_at").type)
    return scanned(ds.dataset(list(map(str, paths)), schema=SCHEMA, format="parquet"), columns, wanted)


def read_ends(settings: Settings, session_ids: Sequence[str], *, other_than: str) -> pa.Table:
    """The `stopped` events that feeds other than `other_than` sent of sessions with these ids, at any station.

    Only the parts of files are read that lie between the first and the last id.
    """
    own = _folder(settings, other_than)
    paths = sorted(path for path in settings.feeds_dir.glob("*/ledger/*.parquet") if path.parent != own)
    session = pc.field("session_id")
    between = (session >= min(session_ids)) & (session <= max(session_ids))
    return _read(paths, between & (pc.field("event_type") == "stopped") & session.isin(session_ids))


def read_chunk(settings: Settings, feed: str, chunk: str) -> pa.Table:
    """The rows of one chunk, sorted by topic and event id; no rows if there is no such chunk."""
    path = _folder(settings, feed) / f"{chunk}.parquet"
    return pq.read_table(path, schema=SCHEMA) if path.exists() else SCHEMA.empty_table()


def end_offsets(table: pa.Table) -> dict[str, dict[int, int]]:
    """The offset after the last acknowledged one, by topic and partition of a ledger table."""
    last = table.group_by(["topic", "partition"]).aggregate([("offset", "max")]).to_pydict()
    ends: dict[str, dict[int, int]] = {}
    for topic, partition, offset in zip(last["topic"], last["partition"], last["offset_max"], strict=True):
        ends.setdefault(topic, {})[partition] = offset + 1
    return ends


def ledger_totals(table: pa.Table) -> LedgerTotals:
    """Adds up a ledger table."""
    stopped = table.filter(pc.equal(table["event_type"], "stopped"))
    return LedgerTotals(table.num_rows, stopped.num_rows, pc.sum(stopped["energy_wh"]).as_py() or 0)


def _folder(settings: Settings, feed: str) -> Path:
    return settings.feeds_dir / feed / "ledger"


def _read(paths: Sequence[Path], wanted: pc.Expression) -> pa.Table:
    if not paths:
        return SCHEMA.empty_table()
    return _one_row_per_event(pa.concat_tables(pq.read_table(path, schema=SCHEMA, filters=wanted) for path in paths))


def _table(contract: Contract, rows: Sequence[Mapping[str, Any]], acks: Sequence[Ack]) -> pa.Table:
    times = [row[contract.event_time] for row in rows]
    if contract is SESSION_EVENTS:
        event_ids = [row["event_id"] for row in rows]
    else:
        event_ids = [f"{row[contract.key]}@{to_iso(at)}" for row, at in zip(rows, times, strict=True)]
    energies = [row.get("energy_delivered_kwh") for row in rows]
    columns = [
        pa.array([contract.topic] * len(rows), pa.string()),
        pa.array([partition for partition, _ in acks], pa.int32()),
        pa.array([offset for _, offset in acks], pa.int64()),
        pa.array(event_ids, pa.string()),
        pa.array([row.get("session_id") for row in rows], pa.string()),
        pa.array([row.get("station_id") for row in rows], pa.string()),
        pa.array([row.get("event_type") for row in rows], pa.string()),
        # Messages have milliseconds, truncated and not rounded.
        pc.floor_temporal(pa.array(times, pa.timestamp("us", "UTC")), unit="millisecond").cast(SCHEMA.field(7).type),
        pa.array([None if energy is None else round(energy * 1000) for energy in energies], pa.int64()),
    ]
    return pa.table(columns, schema=SCHEMA)


def _one_row_per_event(table: pa.Table) -> pa.Table:
    """The lowest offset of each event. Stations may have the same event ids; the events of a car name no station."""
    if not table.num_rows:
        return table
    names = ("topic", "event_id", "station_id", "partition", "offset")
    table = table.sort_by([(name, "ascending") for name in names])
    stations = pc.fill_null(table["station_id"], "")
    ids = pc.binary_join_element_wise(table["topic"], table["event_id"], stations, " ").combine_chunks()
    first = pa.concat_arrays([pa.array([True]), pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1))])
    return table.filter(first)
