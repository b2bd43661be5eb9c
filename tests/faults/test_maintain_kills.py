"""SIGKILL between any two steps of maintenance, and beside others: the same rows, and a second call finishes."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from secrets import token_hex

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import stuck
from support import NOON, RUN, Lake, Record, Row, meter, record, station, stopped

from evcharge.contracts import SESSION_EVENTS
from evcharge.lake.ledger import OffsetRange
from evcharge.lake.maintenance import Maintained, maintain
from evcharge.settings import Settings
from evcharge.warehouse.pending_loads import pending_loads
from evcharge.warehouse.tables import FACT

TOPIC = SESSION_EVENTS.topic
STEPS = (
    *("branches deleted", "planned", "branch created", "files written", "note written", "committed", "checked"),
    *("merged", "branch deleted"),
)
STATION = f"maintain-kill-{token_hex(3)}"
#: Days of this module's sessions. No other test has sessions on them.
DAYS = [(NOON + timedelta(days=400 + n)).date() for n in range(2)]


@pytest.fixture(scope="module")
def settings(lake: Lake) -> Settings:
    """The tests' rows are all of the running hour, which is compacted as if it were over."""
    lake.register(station(STATION))
    return lake.settings.model_copy(update={"compact_running_files": 2})


def some_rows() -> list[Record]:
    """Two sessions, one on each day, and a message that is no JSON."""
    mark = token_hex(4)
    rows = [stopped(f"{STATION}-{mark}-{n}", STATION, NOON + timedelta(days=400 + n)) for n in range(2)]
    rows.append(meter(f"{STATION}-{mark}-open", STATION, occurred_at=rows[0]["occurred_at"]))
    return [*(record(SESSION_EVENTS, row) for row in rows), Record(STATION.encode(), b"{")]


def publish(lake: Lake) -> OffsetRange:
    planned = lake.send(some_rows())
    lake.publish(planned)
    return planned


def maintained(lake: Lake, settings: Settings, **options: object) -> Maintained:
    return maintain(settings, lake.repository, RUN.run_id, **options)  # type: ignore[arg-type]


def most_files(lake: Lake) -> int:
    """Files in the folder that has most of them."""
    paths = [*lake.repository.paths("main", f"raw/{TOPIC}/"), *lake.repository.paths("main", f"quarantine/{TOPIC}/")]
    return max(Counter(path.rpartition("/")[0] for path in paths).values())


def pending(lake: Lake) -> tuple[object, ...]:
    found = pending_loads(lake.settings, lake.repository)
    return found.days, found.stations, found.positions


def facts(lake: Lake) -> list[tuple[object, ...]]:
    return lake.query(
        f"SELECT session_id, ended_at, publication_id FROM {FACT} WHERE station_id = %(station)s ORDER BY session_id",
        station=STATION,
    )


def _below(rows: pa.Table, offsets: dict[int, int]) -> pa.Table:
    """The rows before the offsets of their partitions."""
    limits = pa.array([offsets[partition] for partition in rows["kafka_partition"].to_pylist()], pa.int64())
    return rows.filter(pc.less(rows["kafka_offset"], limits)).combine_chunks()


def _count(rows: dict[str, pa.Table]) -> int:
    return sum(table.num_rows for table in rows.values())


@pytest.mark.parametrize("step", STEPS)
def test_maintenance_killed(lake: Lake, settings: Settings, step: str) -> None:
    for _ in range(2):
        publish(lake)
    rows, waits, before = lake.all_rows(), pending(lake), lake.repository.head().id
    with stuck.Victim(stuck.maintain, (settings,), block_at=step) as victim:
        victim.reach(step)
        victim.kill()
    is_merged = step in ("merged", "branch deleted")
    assert (lake.repository.head().id != before) == is_merged
    assert lake.all_rows() == rows
    done = maintained(lake, settings)
    assert (bool(done.figures), done.refused) == (not is_merged, {})
    assert lake.all_rows() == rows == lake.all_rows(ref=before)
    assert most_files(lake) == 1
    assert pending(lake) == waits
    assert maintained(lake, settings).commits == []


def test_what_kills_left_is_deleted(lake: Lake, settings: Settings) -> None:
    left = [name for name, _ in lake.repository.branches("maintain-")]
    assert len(left) == len(STEPS[2:-1])
    later = settings.model_copy(update={"left_branch_h": 1})
    publish(lake)
    done = maintain(later, lake.repository, RUN.run_id)
    assert done.branches == []
    done = maintain(later, lake.repository, RUN.run_id, now=datetime.now(UTC) + timedelta(hours=2))
    assert sorted(name for name in done.branches if name.startswith("maintain-")) == sorted(left)
    assert list(lake.repository.branches("maintain-")) == []


def test_publications_a_load_and_a_release_beside_it(lake: Lake, settings: Settings) -> None:
    """Each between two steps of one maintenance."""
    for _ in range(2):
        publish(lake)
    lake.load_waiting()
    before, known = lake.all_rows(), facts(lake)
    came: list[OffsetRange] = []

    def beside(step: str) -> None:
        if step == "branch created":
            came.append(publish(lake))
        elif step == "files written":
            lake.load(DAYS)
        elif step == "committed":
            came.append(lake.send(some_rows()))
            lake.publish(came[-1], release=True)
        elif step == "checked":
            lake.load_waiting()

    done = maintained(lake, settings, on_step=beside)
    assert (len(done.commits), done.refused) == (1, {})
    rows = lake.all_rows()
    assert {kind: _below(table, came[0].start) for kind, table in rows.items()} == before
    assert _count(rows) == _count(before) + sum(planned.rows for planned in came)
    lake.load_waiting()
    # two sessions were published beside it, and two were released to quarantine
    assert len(facts(lake)) == len(known) + 2
    maintained(lake, settings)
    assert (lake.all_rows(), most_files(lake)) == (rows, 1)
    lake.load(DAYS)
    assert len(facts(lake)) == len(known) + 2


@pytest.mark.parametrize("step", ["branch created", "rows written", "candidate committed", "gates passed"])
def test_a_publication_that_is_killed_after_it(lake: Lake, settings: Settings, step: str) -> None:
    for _ in range(2):
        publish(lake)
    planned = lake.send(some_rows())
    with stuck.Victim(stuck.publish, (lake.settings, planned), block_at=step) as victim:
        victim.reach(step)
        assert maintained(lake, settings).commits
        victim.kill()
    assert lake.publish(planned).merged_now
    rows: dict[str, list[Row]] = lake.rows_of(planned)
    assert (len(rows["raw"]), len(rows["quarantine"])) == (3, 1)
    assert [len(found) for found in lake.publications_of(planned)] == [1, 1]


@pytest.mark.parametrize("step", ["staging created", "staging filled", "loaded_day written"])
def test_a_load_that_is_killed_after_it(lake: Lake, settings: Settings, step: str) -> None:
    for _ in range(2):
        publish(lake)
    with stuck.Victim(stuck.load, (lake.settings, DAYS, "killed-run", False), block_at=step) as victim:
        victim.reach(step)
        assert maintained(lake, settings).commits
        victim.kill()
    lake.load(DAYS, run_id="killed-run")
    rows = lake.all_rows()["raw"]
    is_end = pc.and_(pc.equal(rows["event_type"], "stopped"), pc.equal(rows["station_id"], STATION))
    ended = set(rows.filter(is_end)["session_id"].to_pylist())
    assert {session for session, _, _ in facts(lake)} == ended
    assert not set(DAYS) & set(pending_loads(lake.settings, lake.repository).days)
