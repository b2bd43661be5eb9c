"""`evcharge lake release`: what to do with a range that failed its attempts."""

from __future__ import annotations

import pytest
from support import NOON, RUN, Lake, Record, evcharge, meter, record, station

from evcharge.contracts import SESSION_EVENTS
from evcharge.lake.candidate import write_candidate
from evcharge.lake.ledger import OffsetRange, read_ledger
from evcharge.lake.locate import parked_range

STATION = "release-1"


@pytest.fixture
def parked(lake: Lake) -> OffsetRange:
    """A range that failed three times: nine good rows and three broken ones on three branches, the first left early."""
    lake.register(station(STATION))
    good = [record(SESSION_EVENTS, meter(f"release-{n}", STATION, occurred_at=NOON)) for n in range(9)]
    planned = lake.send([*good, *[Record(b"x", b"{")] * 3])
    lake.repository.create_branch(planned.branch(1))
    for attempt in (2, 3):
        write_candidate(lake.settings, lake.repository, lake.spark, planned, attempt, RUN)
    return planned


def test_a_parked_range_is_found_once_it_failed_often_enough(lake: Lake, parked: OffsetRange) -> None:
    topic = SESSION_EVENTS.topic
    assert parked_range(lake.repository, topic, attempts=4) is None
    found = parked_range(lake.repository, topic, attempts=3)
    assert found is not None
    assert found.hash == parked.hash

    ended = evcharge("lake", "release", topic, "--keep-good", "--yes")

    assert ended.returncode == 0, ended.stderr
    assert "9 rows published, 3 in quarantine" in ended.stdout
    assert read_ledger(lake.repository, topic).offsets == parked.end
    rows = lake.rows_of(parked)
    assert (len(rows["raw"]), len(rows["quarantine"])) == (9, 3)
    again = evcharge("lake", "release", topic, "--yes")
    assert again.returncode == 1
    assert "no range failed 3 times" in again.stderr
    assert read_ledger(lake.repository, topic).offsets == parked.end


def test_an_unknown_topic_is_named(lake: Lake) -> None:
    ended = evcharge("lake", "release", "sessions", "--yes")
    assert ended.returncode == 1
    assert ended.stderr.strip() == (
        "evcharge: sessions is not a topic; there are station-registry, session-events, vehicle-telemetry"
    )
