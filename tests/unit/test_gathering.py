"""Files are read a few rows at a time, whatever they are like and however slow the reader is."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evcharge.gathering import plain_memory, scanned

SCHEMA = pa.schema([("n", pa.int64()), ("text", pa.string())])


def dataset(folder: Path) -> ds.Dataset:
    return ds.dataset(sorted(map(str, folder.glob("*.parquet"))), schema=SCHEMA, format="parquet")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    row_group=st.integers(1, 50),
    least=st.one_of(st.none(), st.integers(0, 200)),
)
def test_every_wanted_row_is_read_once_in_order(
    sizes: list[int], row_group: int, least: int | None, tmp_path: Path
) -> None:
    for old in tmp_path.iterdir():
        old.unlink()
    start = 0
    for number, size in enumerate(sizes):
        rows = pa.table([range(start, start + size), [f"text {n}" for n in range(size)]], schema=SCHEMA)
        # as before a column was added
        rows = rows.drop_columns("text") if number % 3 == 2 else rows
        pq.write_table(rows, tmp_path / f"{number:03}.parquet", row_group_size=row_group)
        start += size
    wanted = None if least is None else pc.field("n") >= least
    batches = list(scanned(dataset(tmp_path), ["n", "text"], wanted))
    found = pa.Table.from_batches(batches, SCHEMA) if batches else SCHEMA.empty_table()
    assert found == dataset(tmp_path).to_table(columns=["n", "text"], filter=wanted).combine_chunks()
    assert found["n"].to_pylist() == list(range(least or 0, start))


@pytest.mark.parametrize("files", [1, 20])
def test_what_is_read_ahead_has_a_limit(files: int, tmp_path: Path) -> None:
    """80 MB, in row groups of 4 MB, for a reader that stops at the first rows."""
    for number in range(files):
        rows = pa.table([range(400_000 // files), ["x" * 192] * (400_000 // files)], schema=SCHEMA)
        pq.write_table(rows, tmp_path / f"{number:03}.parquet", row_group_size=20_000, use_dictionary=False)
    del rows
    before = pa.total_allocated_bytes()
    read = scanned(dataset(tmp_path), ["n", "text"])
    next(read)
    time.sleep(0.5)
    assert pa.total_allocated_bytes() - before < 30_000_000
    assert sum(batch.num_rows for batch in read) + 20_000 == 400_000


def test_arrows_allocator_is_put_back() -> None:
    before = pa.default_memory_pool().backend_name
    with plain_memory():
        assert pa.default_memory_pool().backend_name == "system"
    assert pa.default_memory_pool().backend_name == before
