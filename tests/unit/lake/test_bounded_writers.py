"""What a writer holds has a limit in bytes: messages of 8 MB are written out a few at a time, and read so from quarantine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

from evcharge.contracts import SESSION_EVENTS
from evcharge.gathering import gathered
from evcharge.lake import requeue, rowfiles
from evcharge.lake.layout import quarantine_path
from evcharge.lake.record_places import Moves, partition_and_offset, place_codes
from evcharge.lake.repository import Repository
from evcharge.lake.rowfiles import FLUSH_BYTES, RowFileWriter
from evcharge.lake.schemas import QUARANTINE_SCHEMA, raw_schema
from evcharge.live.worker import BYTES_AT_ONCE, gathered_records
from evcharge.settings import Settings

TOPIC = SESSION_EVENTS.topic
MESSAGE_BYTES = 8_000_000


def quarantined(count: int, value_bytes: int) -> Iterator[pa.RecordBatch]:
    """Judged rows that all broke a rule, one a batch, as Spark sends messages of this size."""
    schema = pa.schema(
        [
            *(
                field.with_nullable(True)
                for field in raw_schema(SESSION_EVENTS)
                if field.name in SESSION_EVENTS.columns
            ),
            ("event_date", pa.date32()),
            *(QUARANTINE_SCHEMA.field(name) for name in ("kafka_partition", "kafka_offset", "kafka_timestamp")),
            *(QUARANTINE_SCHEMA.field(name) for name in ("kafka_key", "kafka_value", "rule_code", "rule_field")),
        ]
    )
    value = bytes(value_bytes)
    for offset in range(count):
        row = {"kafka_partition": 0, "kafka_offset": offset, "kafka_timestamp": datetime(2026, 3, 1, tzinfo=UTC)}
        broken = {"kafka_key": b"k", "kafka_value": value, "rule_code": "MESSAGE_TOO_LARGE", "rule_field": "value"}
        yield pa.RecordBatch.from_pylist([row | broken], schema)


@pytest.mark.parametrize("messages", [40, pytest.param(1_000, marks=pytest.mark.slow)])
def test_messages_of_8_mb_are_written_with_a_bounded_memory(
    messages: int, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rowfiles, "lake_files", lambda _: SubTreeFileSystem(str(tmp_path), LocalFileSystem()))
    path = quarantine_path(TOPIC, "2026-03-01-00", "f")
    (tmp_path / settings.lake_repository / "branch" / path).parent.mkdir(parents=True)
    before = pa.total_allocated_bytes()
    peak = 0

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal peak
        for batch in quarantined(messages, MESSAGE_BYTES):
            peak = max(peak, pa.total_allocated_bytes() - before)
            yield batch

    (lines,) = RowFileWriter(settings, TOPIC, "branch", "2026-03-01-00", "p", "f", 1)(counted())
    assert sum(lines["rows"].to_pylist()) == messages
    assert len(set(lines["path"].to_pylist())) == lines.num_rows == -(-messages // -(-FLUSH_BYTES // MESSAGE_BYTES))
    assert peak < FLUSH_BYTES + 4 * MESSAGE_BYTES


def test_large_rows_reach_the_live_writers_a_few_at_a_time() -> None:
    text = "x" * 900_000
    batches = (pa.RecordBatch.from_pylist([{"n": n, "text": text}]) for n in range(200))
    found: list[list[int]] = []
    lists = []
    for rows in gathered_records(batches):
        found.append([row["n"] for row in rows])
        lists.append(rows)
        assert sum(map(len, lists)) == len(rows), "no list of before is in memory"
    assert [n for own in found for n in own] == list(range(200))
    assert max(map(len, found)) == -(-BYTES_AT_ONCE // 900_000)


@given(
    sizes=st.lists(st.integers(0, 9)),
    rows=st.integers(1, 20),
    nbytes=st.integers(1, 200),
)
def test_gathering_keeps_all_rows_in_their_order(sizes: list[int], rows: int, nbytes: int) -> None:
    start, batches = 0, []
    for size in sizes:
        batches.append(pa.RecordBatch.from_pydict({"n": pa.array(range(start, start + size), pa.int64())}))
        start += size
    tables = list(gathered(batches, rows, nbytes))
    assert [n for table in tables for n in table["n"].to_pylist()] == list(range(start))
    for table in tables[:-1]:
        assert table.num_rows >= rows or table.nbytes >= nbytes
    for table in tables:
        largest = max(batch.num_rows for batch in table.to_batches())
        assert 0 < table.num_rows < rows + largest
        assert table.nbytes < nbytes + 8 * largest


class LocalQuarantine(Repository):
    """A lake whose main is a folder."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.name, self._main = settings, "lake", folder / "lake" / "main"

    def paths(self, ref: str, prefix: str, *, after: str = "") -> Iterator[str]:
        return (str(path.relative_to(self._main)) for path in sorted((self._main / prefix).rglob("*.parquet")))


def test_a_large_quarantine_file_is_read_a_few_rows_at_a_time(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As files of an earlier version are: all of a task's rows in one row group."""
    monkeypatch.setattr(requeue, "lake_files", lambda _: SubTreeFileSystem(str(tmp_path), LocalFileSystem()))
    rows = pa.Table.from_batches(list(quarantined(60, 4_000_000)))
    rows = rows.append_column("topic_generation", pa.repeat(pa.scalar(1, pa.int32()), 60))
    rows = rows.append_column("publication_id", pa.repeat("p", 60)).select(QUARANTINE_SCHEMA.names)
    path = tmp_path / "lake" / "main" / quarantine_path(TOPIC, "2026-03-01-00", "f")
    path.parent.mkdir(parents=True)
    pq.write_table(rows.cast(QUARANTINE_SCHEMA), path, compression="zstd")
    del rows
    before = pa.total_allocated_bytes()
    lake, done = LocalQuarantine(settings, tmp_path), place_codes([0, 0], [0, 59])
    peak, offsets = 0, []
    for batch in requeue._quarantined(settings, lake, TOPIC, "MESSAGE_TOO_LARGE", "main", done):
        peak = max(peak, pa.total_allocated_bytes() - before)
        offsets += batch["kafka_offset"].to_pylist()
    assert offsets == list(range(1, 59))
    assert peak < 80_000_000
    assert sum(b.num_rows for b in requeue._quarantined(settings, lake, TOPIC, "NOT_UTF8", "main", done)) == 0


def test_places_take_eight_bytes_each() -> None:
    codes = place_codes([3] * 1_000, range(2**43, 2**43 + 1_000))
    assert codes.nbytes == 8_000
    partitions, offsets = partition_and_offset(codes)
    assert (set(partitions.tolist()), offsets.tolist()) == ({3}, list(range(2**43, 2**43 + 1_000)))


PLACES = st.tuples(st.integers(0, 2), st.integers(0, 9))


@given(st.lists(st.tuples(PLACES, PLACES).filter(lambda move: move[0] < move[1])), st.lists(PLACES))
def test_a_record_is_at_the_place_of_its_newest_copy(
    moves: list[tuple[tuple[int, int], tuple[int, int]]], asked: list[tuple[int, int]]
) -> None:
    newest = dict(moves)

    def followed(place: tuple[int, int]) -> tuple[int, int]:
        while place in newest:
            place = newest[place]
        return place

    old, new = (
        place_codes([place[0] for place in side], [place[1] for place in side])
        for side in ([move[0] for move in moves], [move[1] for move in moves])
    )
    codes = Moves.of(old, new).applied(place_codes([p for p, _ in asked], [o for _, o in asked]))
    partitions, offsets = partition_and_offset(codes)
    assert list(zip(partitions.tolist(), offsets.tolist(), strict=True)) == [followed(place) for place in asked]
