"""Rows in passes: all of a station at once, each once, in their order, and never more than a limit in memory."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as checked
from hypothesis import strategies as st

from evcharge import passes as module
from evcharge.errors import UserError
from evcharge.passes import HELD_BYTES, PASS_BYTES, StationRows, of_stations, passes, station_hashes

SCHEMA = pa.schema([("station_id", pa.string()), ("n", pa.int64()), ("is_odd", pa.bool_())])


def rows(stations: list[str | None], first: int = 0) -> pa.Table:
    numbers = range(first, first + len(stations))
    return pa.table([stations, numbers, [n % 2 == 1 for n in numbers]], schema=SCHEMA)


@checked(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.lists(st.one_of(st.none(), st.text("abcdef", max_size=2)))),
    others=st.lists(st.text("abc", max_size=1)),
    held_bytes=st.integers(1, 500),
    pass_bytes=st.integers(1, 1_000),
)
def test_each_row_is_in_one_pass_with_all_of_its_station(
    parts: list[list[str | None]], others: list[str], held_bytes: int, pass_bytes: int, tmp_path: Path
) -> None:
    with (
        pytest.MonkeyPatch.context() as patch,
        StationRows(tmp_path, SCHEMA) as ours,
        StationRows(tmp_path, SCHEMA) as theirs,
    ):
        patch.setattr(module, "HELD_BYTES", held_bytes)
        first = 0
        for part in parts:
            ours.add(rows(part, first))
            first += len(part)
        theirs.add(rows(list(others)))
        found = list(passes(ours, theirs, pass_bytes=pass_bytes))
    assert found
    assert ours.num_rows == first
    by_number = {row["n"]: row["station_id"] for table, _ in found for row in table.to_pylist()}
    assert [by_number[n] for n in range(first)] == [station for part in parts for station in part]
    assert sorted(n for _, table in found for n in table["n"].to_pylist()) == list(range(len(others)))
    assert all(row["is_odd"] == (row["n"] % 2 == 1) for pair in found for table in pair for row in table.to_pylist())
    passes_of = Counter(
        station for pair in found for station in {s or "" for table in pair for s in table["station_id"].to_pylist()}
    )
    assert set(passes_of.values()) <= {1}
    for station in by_number.values():
        numbers = [n for n in (n for table, _ in found for n in table["n"].to_pylist()) if by_number[n] == station]
        assert numbers == sorted(numbers)


def test_what_is_held_and_what_a_pass_reads_have_a_limit(tmp_path: Path) -> None:
    before = pa.total_allocated_bytes()
    peak = largest = 0
    with StationRows(tmp_path, SCHEMA) as store:
        for start in range(0, 3_000_000, 100_000):
            store.add(rows([f"station {n % 5_000}" for n in range(100_000)], start))
            peak = max(peak, pa.total_allocated_bytes() - before)
        for (table,) in passes(store):
            largest = max(largest, table.nbytes)
            peak = max(peak, pa.total_allocated_bytes() - before)
    assert store.num_rows * 21 > 3 * HELD_BYTES
    assert largest < 1.2 * PASS_BYTES
    assert peak < 4 * HELD_BYTES
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_BYTES", 1)
    monkeypatch.setattr(module, "TemporaryFile", lambda dir: Path("/dev/full").open("r+b", buffering=0))  # noqa: SIM115
    with StationRows(tmp_path, SCHEMA) as store, pytest.raises(UserError, match=f"{tmp_path} has no room for the rows"):
        store.add(rows(["a"]))


def test_few_rows_touch_no_disk(tmp_path: Path) -> None:
    with StationRows(tmp_path / "none", SCHEMA) as store:
        store.add(rows(["a", "b"]))
        (((table,)),) = passes(store)
    assert table.num_rows == 2
    assert not (tmp_path / "none").exists()


def test_a_sample_has_its_share_of_whole_stations_and_always_the_same() -> None:
    rows = pa.table({"station_id": [f"station {n % 20_000}" for n in range(60_000)]})
    tenth, fifth = (set(of_stations(rows, share)["station_id"].to_pylist()) for share in (0.1, 0.2))
    assert 1_800 < len(tenth) < 2_200
    assert tenth < fifth
    assert of_stations(rows, 0.1).num_rows == 3 * len(tenth)
    assert [of_stations(rows, share).num_rows for share in (0, 1, None)] == [0, 60_000, 60_000]
    # spread over all passes
    assert len(set((station_hashes(pa.array(sorted(tenth))) >> 54).tolist())) > module.BUCKETS / 2
