"""The rows that the benchmark of a long history gives in place of Spark: they become files like any others."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

from benchmarks.history import APART, HOUR, ROWS, START_AT, Given, given_rows, next_range, placed
from evcharge.contracts import CONTRACTS
from evcharge.lake import rowfiles
from evcharge.lake.rowfiles import FILE_DDL, RowFileWriter
from evcharge.lake.schemas import raw_schema
from evcharge.settings import load_settings


def test_an_hour_has_what_a_platform_publishes_in_it() -> None:
    counts = Counter(contract.topic for contract in HOUR)
    assert counts == {"session-events": 40, "vehicle-telemetry": 4, "station-registry": 1}
    assert APART * len(HOUR) == timedelta(hours=1)


@pytest.mark.parametrize("topic", CONTRACTS)
def test_given_rows_become_a_file_of_the_archive(topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = SubTreeFileSystem(str(tmp_path), LocalFileSystem())
    monkeypatch.setattr(rowfiles, "lake_files", lambda settings: local)
    contract, planned = CONTRACTS[topic], next_range(topic, 4_000, START_AT)
    writer = RowFileWriter(
        settings=load_settings(),
        topic=topic,
        branch="branch",
        ingest_hour=planned.ingest_hour,
        publication_id=planned.publication_id,
        file_prefix="file",
        generation=1,
    )
    # the gateway makes folders by itself
    folder = tmp_path / "evcharge" / "branch" / "raw" / topic / "event_date=2026-03-02" / "ingest_hour=2026-03-02-00"
    folder.mkdir(parents=True)
    (line,) = Given(placed(given_rows()[topic], contract, planned)).mapInArrow(writer, FILE_DDL).collect()
    assert (line.event_date, line.rows, line.rule_counts) == ("2026-03-02", ROWS[topic], {})
    (file,) = folder.iterdir()
    written = pq.read_table(file, partitioning=None)
    assert written.schema.equals(raw_schema(contract))
    assert written["kafka_offset"].to_pylist() == list(range(4_000, 4_000 + ROWS[topic]))
    assert not any(written[name].null_count for name in contract.columns if contract.field(name).required)
