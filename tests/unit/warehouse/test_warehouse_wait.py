"""What a replay has in quarantine: its own rows, whatever publications they came with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from lake_in_memory import TOPIC, LakeInMemory, manifest_of

from evcharge.lake import rows
from evcharge.lake.ledger import OffsetRange
from evcharge.lake.repository import Commit
from evcharge.lake.schemas import QUARANTINE_SCHEMA
from evcharge.settings import Settings
from evcharge.warehouse.wait import quarantined

AT = datetime(2026, 1, 1, tzinfo=UTC)


class LakeInFolder(LakeInMemory):
    """A lake whose files are in a folder and whose log is a list. Each publication quarantines the rows that it is given."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        super().__init__()
        self.settings, self._folder = settings, folder
        self.commits: list[Commit] = []
        self.visited: list[str] = []

    def publish_bad(self, start: int, end: int, rules: dict[int, str], partition: int = 0) -> None:
        planned = OffsetRange(TOPIC, "id", {partition: start}, {partition: end}, AT)
        path = f"quarantine/{TOPIC}/{partition}-{start}.parquet"
        table = pa.Table.from_pylist(
            [
                {
                    "topic_generation": 0,
                    "kafka_partition": partition,
                    "kafka_offset": offset,
                    "publication_id": planned.publication_id,
                    "rule_code": rule,
                    "rule_field": "f",
                }
                for offset, rule in rules.items()
            ],
            schema=QUARANTINE_SCHEMA,
        )
        commit = str(len(self.commits))
        file = self._folder / self.name / commit / path
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, file)
        manifest = manifest_of(planned)
        metadata = {**manifest.metadata(), "rows_quarantined": str(len(rules))}
        self.files[manifest.offsets.manifest_path] = {**manifest.to_json(), "files": {path: len(rules)}}
        self.commits.append(Commit(commit, "", AT, metadata))

    def log(self, ref: str = "main", *, stop_at: str | None = None) -> Iterator[Commit]:
        for commit in reversed(self.commits):
            self.visited.append(commit.id)
            yield commit

    def paths(self, ref: str, prefix: str, *, after: str = "") -> Iterator[str]:
        return iter([prefix])


@pytest.fixture
def lake(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LakeInFolder:
    local = pyarrow.fs.SubTreeFileSystem(str(tmp_path), pyarrow.fs.LocalFileSystem())
    monkeypatch.setattr(rows, "lake_files", lambda _: local)
    return LakeInFolder(settings, tmp_path)


def sent(*offsets: int, partition: int = 0) -> pa.Table:
    count = len(offsets)
    return pa.table({"topic": [TOPIC] * count, "partition": [partition] * count, "offset": [*offsets]})


def test_rows_of_others_in_the_same_publications_do_not_count(lake: LakeInFolder) -> None:
    lake.publish_bad(0, 10, {3: "WRONG_TYPE"})
    lake.publish_bad(10, 20, {11: "UNKNOWN_STATION", 12: "UNKNOWN_STATION", 15: "WRONG_TYPE"})
    lake.publish_bad(20, 30, {21: "STAY_TOO_LONG", 22: "STAY_TOO_LONG"})
    lake.publish_bad(0, 30, {11: "MALFORMED_JSON", 21: "MALFORMED_JSON"}, partition=1)
    assert quarantined(lake, sent(11, 14, 15, 21)) == {"UNKNOWN_STATION": 1, "WRONG_TYPE": 1, "STAY_TOO_LONG": 1}
    assert quarantined(lake, pa.concat_tables([sent(22), sent(21, partition=1)])) == {
        "STAY_TOO_LONG": 1,
        "MALFORMED_JSON": 1,
    }


def test_publications_before_the_first_row_are_not_read(lake: LakeInFolder) -> None:
    for start in range(0, 100, 10):
        lake.publish_bad(start, start + 10, {start: "WRONG_TYPE"})
    assert quarantined(lake, sent(85, 90)) == {"WRONG_TYPE": 1}
    assert lake.visited == ["9", "8"]
