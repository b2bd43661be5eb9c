"""Of each car the two places that Kafka took last are kept, and none for longer than stated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from evcharge.lake.last_places import DDL, KEPT, SCHEMA, from_bytes, newest_two, places_after, to_bytes

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def places(*rows: tuple[str, int], partition: int = 0, at: datetime = NOON) -> pa.Table:
    """Rows of cars, by id and offset; Kafka took one a second."""
    return pa.Table.from_pylist([place(partition, car, offset, at) for car, offset in rows], SCHEMA)


def place(partition: int, car: str, offset: int, at: datetime) -> dict[str, Any]:
    taken_at = at + timedelta(seconds=offset)
    values = (partition, car, 34.0, -118.0, taken_at - timedelta(seconds=2), offset, taken_at)
    return dict(zip(SCHEMA.names, values, strict=True))


def kept(table: pa.Table) -> list[tuple[int, str, int]]:
    names = ("kafka_partition", "vehicle_id", "kafka_offset")
    return sorted(tuple(row[name] for name in names) for row in table.to_pylist())


def test_the_two_newest_of_each_car_in_each_partition() -> None:
    rows = pa.concat_tables(
        [places(("a", 3), ("b", 1), ("a", 0), ("a", 2), ("b", 4), ("b", 5)), places(("a", 9), partition=1)]
    )
    assert kept(newest_two(rows)) == [(0, "a", 2), (0, "a", 3), (0, "b", 4), (0, "b", 5), (1, "a", 9)]
    assert newest_two(SCHEMA.empty_table()).num_rows == 0


@pytest.mark.parametrize("cut", range(1, 6))
def test_it_does_not_matter_how_the_rows_are_cut(cut: int) -> None:
    rows = places(("a", 0), ("b", 1), ("a", 2), ("a", 3), ("c", 4), ("b", 5))
    after = places_after(places_after(SCHEMA.empty_table(), [newest_two(rows[:cut])]), [newest_two(rows[cut:])])
    assert kept(after) == kept(newest_two(rows))


def test_a_car_that_is_silent_is_forgotten() -> None:
    before = places(("a", 0), ("b", 1))
    assert kept(places_after(before, [places(("c", 0), at=NOON + KEPT)])) == [(0, "a", 0), (0, "b", 1), (0, "c", 0)]
    assert kept(places_after(before, [places(("c", 1), at=NOON + KEPT)])) == [(0, "b", 1), (0, "c", 1)]
    assert kept(places_after(before, [])) == kept(before)


def test_offsets_of_a_topic_that_was_made_anew_begin_again() -> None:
    before = places(("a", 70), ("a", 71))
    after = places_after(before, [places(("a", 0), at=NOON + timedelta(hours=1))])
    assert kept(after) == [(0, "a", 0), (0, "a", 71)]


def test_the_file_holds_the_places() -> None:
    rows = places(("a", 3), ("Łódź", 4))
    assert from_bytes(to_bytes(rows)).equals(rows)


def test_spark_reads_the_same_columns() -> None:
    types = {pa.int32(): "INT", pa.int64(): "BIGINT", pa.string(): "STRING", pa.float64(): "DOUBLE"}
    assert ", ".join(f"{field.name} {types.get(field.type, 'TIMESTAMP')}" for field in SCHEMA) == DDL
