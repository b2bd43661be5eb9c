"""SIGKILL between any two steps of a publication, and during its Spark write: one publication, the same rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson
import pyarrow.parquet as pq
import pytest
import stuck
from support import NOON, RUN, Lake, Record, changed, meter, record, station, stopped

from evcharge.connections import lake_files
from evcharge.contracts import SESSION_EVENTS
from evcharge.lake.archive import ReplanError, merge_candidate
from evcharge.lake.candidate import Manifest, write_candidate
from evcharge.lake.layout import raw_prefix
from evcharge.lake.ledger import LedgerError, OffsetRange, read_ledger
from evcharge.lake.maintenance import maintain
from evcharge.lake.planner import plan
from evcharge.lake.publish import free_attempt
from evcharge.lake.repository import MergeConflictError, Repository

STEPS = (
    *("planned", "branch created", "rows written", "manifest written", "ledger written"),
    *("candidate committed", "gates passed", "merged", "branch deleted"),
)
STATIONS = [f"kill-{letter}" for letter in "abcdefghijkl"]
#: Enough for Spark to write with a task per partition instead of one for all.
MANY_ROWS = 60_000
#: One of so many rows is spread over all partitions. The rest has one key: its task goes on when the others have ended.
SPREAD_ONE_OF = 100


@dataclass(frozen=True)
class Reference:
    """A batch of records, and the result on main of a publication that nothing killed."""

    records: list[Record]
    good: int
    quarantined: dict[str, int]
    row_hash: str


@pytest.fixture(scope="module")
def batch(lake: Lake) -> Reference:
    """Two days, re-sent events and malformed rows, spread over all partitions."""
    lake.register(*(station(name) for name in STATIONS))
    records = []
    for number in range(60):
        name = STATIONS[number % len(STATIONS)]
        records += [
            record(SESSION_EVENTS, meter(f"kill-{number}", name)),
            record(SESSION_EVENTS, stopped(f"kill-{number}", name, NOON + timedelta(hours=number))),
        ]
        if number % 5 == 0:
            records.append(records[-1])
        if number % 6 == 0:
            records.append(Record(name.encode(), b'{"session_id": "kill-'))
        if number % 10 == 0:
            records.append(changed(SESSION_EVENTS, meter(f"kill-{number}", name), energy_delivered_kwh=-1.0))
    return _reference(lake, records)


def _reference(lake: Lake, records: list[Record]) -> Reference:
    planned = lake.send(records)
    manifest = lake.publish(planned).manifest
    return Reference(records, manifest.rows_good, manifest.quarantined_by_rule, lake.row_hash(planned))


def assert_published_once(lake: Lake, planned: OffsetRange, reference: Reference) -> None:
    """One manifest, one commit, the ledger at the range's end, every offset once and its row as without the kill."""
    manifests, commits = lake.publications_of(planned)
    assert (len(manifests), len(commits)) == (1, 1)
    ledger = read_ledger(lake.repository, planned.topic)
    assert (ledger.offsets, ledger.topic_id) == (planned.end, planned.topic_id)
    assert ledger.publication_id == planned.publication_id
    rows = lake.rows_of(planned)
    places = sorted((row["kafka_partition"], row["kafka_offset"]) for kind in rows.values() for row in kind)
    assert places == [(p, offset) for p in sorted(planned.end) for offset in range(planned.start[p], planned.end[p])]
    assert (len(rows["raw"]), len(rows["quarantine"])) == (reference.good, sum(reference.quarantined.values()))
    assert lake.row_hash(planned) == reference.row_hash
    following = plan(lake.settings, lake.repository, planned.topic, eager=True)
    assert (following.range, following.reason) == (None, "nothing new")


def test_the_batch_is_worth_killing(batch: Reference) -> None:
    assert batch.good == 60 * 2 + 12
    assert batch.quarantined == {"MALFORMED_JSON": 10, "OUT_OF_RANGE": 6}


@pytest.mark.parametrize("gap", [f"after {step}" for step in STEPS])
def test_publish_killed(lake: Lake, batch: Reference, gap: str) -> None:
    step = gap.removeprefix("after ")
    planned = lake.send(batch.records)
    before = lake.repository.head().id
    with stuck.Victim(stuck.publish, (lake.settings, planned), block_at=step) as victim:
        victim.reach(step)
        victim.kill()
    merged = step in ("merged", "branch deleted")
    assert (lake.repository.head().id != before) == merged
    published = lake.publish(planned)
    assert published.merged_now != merged
    assert_published_once(lake, planned, batch)


def test_publish_killed_during_the_spark_write(lake: Lake, batch: Reference) -> None:
    """The Spark server finishes a killed client's job beside the next attempt, on a branch of its own."""
    good = [
        record(SESSION_EVENTS, meter(f"kill-many-{number}", _skewed_station(number), number % 7))
        for number in range(MANY_ROWS)
    ]
    bad = [changed(SESSION_EVENTS, meter("kill-bad", station), power_kw=-1.0) for station in STATIONS]
    records = [*bad, *good]
    planned = lake.send(records)
    before = lake.repository.head().id
    with stuck.Victim(stuck.publish, (lake.settings, planned), block_at="rows written") as victim:
        victim.reach("branch created")
        _until(lambda: bool(_files_written(lake, planned, attempt=1)), "the Spark job writes")
        victim.kill()
    assert _rows_written(lake, planned, attempt=1) < MANY_ROWS
    assert lake.repository.head().id == before
    published = lake.publish(planned)
    assert published.manifest.attempt == 2
    head = lake.repository.head().id
    _until(lambda: _rows_written(lake, planned, attempt=1) == MANY_ROWS, "the killed client's Spark job ends")
    # its files, which main never sees, hold the rows that an unkilled run writes
    unkilled = lake.row_hash(planned, ref=planned.branch(1))
    assert_published_once(lake, planned, Reference(records, MANY_ROWS, {"OUT_OF_RANGE": len(bad)}, unkilled))
    assert lake.repository.head().id == head
    assert sorted(row["event_id"] for row in lake.rows_of(planned)["raw"]) == sorted(
        orjson.loads(value or b"")["event_id"] for _, value in good
    )


def test_publish_again_changes_nothing(lake: Lake, batch: Reference) -> None:
    planned = lake.send(batch.records)
    first = lake.publish(planned)
    head = lake.repository.head().id
    again = lake.publish(planned)
    assert (again.merged_now, again.manifest) == (False, first.manifest)
    assert lake.repository.head().id == head
    assert first.merge_commit == head


def test_publish_race_of_two_candidates(lake: Lake, batch: Reference) -> None:
    planned = lake.send(batch.records)
    first, second = (_candidate(lake, planned) for _ in range(2))
    assert (first.attempt, second.attempt) == (1, 2)
    won = merge_candidate(lake.repository, first)
    lost = merge_candidate(lake.repository, second)
    assert (won.merged_now, lost.merged_now) == (True, False)
    assert (lost.manifest, lost.merge_commit) == (first, won.merge_commit)
    assert_published_once(lake, planned, batch)
    assert second.branch not in dict(lake.repository.branches())


def test_publish_race_lost_within_the_merge(lake: Lake, batch: Reference) -> None:
    """Both saw main's ledger at the range's start. lakeFS refuses the second merge, because both wrote the ledger."""
    planned = lake.send(batch.records)
    first, second = (_candidate(lake, planned) for _ in range(2))
    refused = []

    class Overtaken(Repository):
        def merge(self, source: str, message: str, metadata: dict[str, str]) -> str:
            merge_candidate(lake.repository, first)
            try:
                return super().merge(source, message, metadata)
            except MergeConflictError as error:
                refused.append(str(error))
                raise

    lost = merge_candidate(Overtaken(lake.settings), second)
    assert refused == [f"{second.branch} conflicts with main"]
    assert (lost.merged_now, lost.manifest) == (False, first)
    assert_published_once(lake, planned, batch)


def test_publish_of_a_void_range_is_refused(lake: Lake, batch: Reference) -> None:
    """Main has passed a part of the range: the candidate is not merged, and planning starts again."""
    planned = lake.send(batch.records)
    stale = _candidate(lake, planned)
    half = OffsetRange(
        planned.topic,
        planned.topic_id,
        planned.start,
        {p: (planned.start[p] + end) // 2 for p, end in planned.end.items()},
        planned.planned_at,
    )
    lake.publish(half)
    head = lake.repository.head().id
    with pytest.raises(ReplanError, match="main's ledger is at"):
        merge_candidate(lake.repository, stale)
    with pytest.raises(LedgerError, match="main's ledger is at"):
        lake.publish(planned)
    assert lake.repository.head().id == head
    rest = lake.plan()
    assert rest.start == half.end
    lake.publish(rest)
    assert [len(rows) for rows in lake.rows_of(planned).values()] == [batch.good, sum(batch.quarantined.values())]


def test_what_killed_attempts_leave_is_bounded_and_goes(lake: Lake, batch: Reference) -> None:
    planned = lake.send(batch.records)
    for attempt in range(1, 6):
        assert free_attempt(lake.repository, planned) == attempt
        lake.repository.create_branch(planned.branch(attempt))
    published = lake.publish(planned)
    assert published.manifest.attempt == 6
    assert_published_once(lake, planned, batch)
    left = [name for name, _ in lake.repository.branches(planned.branch_prefix)]
    assert left == [planned.branch(attempt) for attempt in (1, 4, 5)]
    settings = lake.settings.model_copy(update={"left_branch_h": 1})
    # the first time sees them
    for at in (datetime.now(UTC), datetime.now(UTC) + timedelta(hours=2)):
        maintain(settings, lake.repository, RUN.run_id, now=at)
    assert not list(lake.repository.branches(f"ingest-{planned.topic}-"))


def _candidate(lake: Lake, planned: OffsetRange) -> Manifest:
    attempt = free_attempt(lake.repository, planned)
    return write_candidate(lake.settings, lake.repository, lake.spark, planned, attempt, RUN)[0]


def _skewed_station(number: int) -> str:
    return STATIONS[number // SPREAD_ONE_OF % len(STATIONS)] if number % SPREAD_ONE_OF == 0 else STATIONS[0]


def _files_written(lake: Lake, planned: OffsetRange, attempt: int) -> list[str]:
    """All files of an attempt's branch, including uncommitted files."""
    branch = planned.branch(attempt)
    return [
        f"{lake.repository.name}/{branch}/{path}"
        for path in lake.repository.paths(branch, raw_prefix(planned.topic))
        if f"/{planned.hash}-{attempt}-" in path
    ]


def _rows_written(lake: Lake, planned: OffsetRange, attempt: int) -> int:
    files = lake_files(lake.settings)
    paths = _files_written(lake, planned, attempt)
    return sum(pq.read_metadata(path, filesystem=files).num_rows for path in paths)


def _until(condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not in {timeout_s} s: {what}"
        time.sleep(0.02)
