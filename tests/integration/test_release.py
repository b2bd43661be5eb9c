"""`evcharge lake release`: what to do with a range that failed its attempts. Which range is parked, Dagster's runs say."""

from __future__ import annotations

import pytest
from support import NOON, RUN, Lake, Record, evcharge, meter, record, station

from evcharge.contracts import SESSION_EVENTS
from evcharge.lake.candidate import write_candidate
from evcharge.lake.ledger import OffsetRange, read_ledger

STATION = "release-1"


@pytest.fixture
def failed(lake: Lake) -> OffsetRange:
    """A range whose three attempts left their branches: nine good rows and three broken ones."""
    lake.register(station(STATION))
    good = [record(SESSION_EVENTS, meter(f"release-{n}", STATION, occurred_at=NOON)) for n in range(9)]
    planned = lake.send([*good, *[Record(b"x", b"{")] * 3])
    lake.repository.create_branch(planned.branch(1))
    for attempt in (2, 3):
        write_candidate(lake.settings, lake.repository, lake.spark, planned, attempt, RUN)
    return planned


def test_branches_do_not_make_a_range_a_parked_one(lake: Lake, failed: OffsetRange) -> None:
    topic = SESSION_EVENTS.topic
    refused = evcharge("lake", "release", topic, "--yes")
    assert refused.returncode == 1
    assert refused.stderr.startswith("evcharge: dagster-webserver at "), "nobody can say that it is parked"
    assert read_ledger(lake.repository, topic).offsets == failed.start

    ended = evcharge("lake", "release", topic, "--keep-good", "--force", "--yes")
    assert ended.returncode == 0, ended.stderr
    assert "9 rows published, 3 in quarantine" in ended.stdout
    assert read_ledger(lake.repository, topic).offsets == failed.end
    rows = lake.rows_of(failed)
    assert (len(rows["raw"]), len(rows["quarantine"])) == (9, 3)
    again = evcharge("lake", "release", topic, "--force", "--yes")
    assert again.stdout == "session-events: no rows wait\n"


def test_an_unknown_topic_is_named(lake: Lake) -> None:
    ended = evcharge("lake", "release", "sessions", "--yes")
    assert ended.returncode == 1
    assert ended.stderr.strip() == (
        "evcharge: sessions is not a topic; there are station-registry, session-events, vehicle-telemetry"
    )
