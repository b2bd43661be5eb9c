"""A record that a real store refuses becomes a dead letter, everything else goes on, and a retry takes it once it can.

The rows here go straight to the writers of the stream: the contract's rules would keep most of them away.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from cassandra import InvalidRequest
from elasticsearch import Elasticsearch
from live_events import MINUTE, NOON, event
from live_events import record as registration
from support import evcharge

from evcharge.connections import cassandra, elasticsearch
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.live import cassandra_schema, dead_letters, indices, station_folder, vehicle_positions
from evcharge.live.batch_report import BatchReport
from evcharge.live.checks import no_dead_letters
from evcharge.live.dead_letters import bury, count_letters, read_letter, read_letters, update_letters
from evcharge.live.dead_letters_retry import retry_letters
from evcharge.live.indices import DEAD_LETTERS, STATION_STATE, VEHICLE_POSITION
from evcharge.live.journal import TABLE, JournalWriter
from evcharge.live.refusals import Reason, Record, Refusal, taken_with_care
from evcharge.live.station_folder import KnownStates, StationFolder, fold_into
from evcharge.live.vehicle_positions import PositionWriter
from evcharge.settings import Settings

TOPIC = SESSION_EVENTS.topic
#: A place that no geo_point has: Elasticsearch refuses the document.
NOWHERE = 1000.0
TOO_LONG = "é" * 300

Rows = list[dict[str, Any]]


@pytest.fixture
def client(platform: Settings) -> Iterator[Elasticsearch]:
    indices.ensure(platform)
    cassandra_schema.ensure(platform)
    with elasticsearch(platform) as client:
        update_letters(client, read_letters(client), [])
        yield client
        update_letters(client, read_letters(client), [])
    station_folder._known.clear()
    # the folder freezes objects, which hides them from the collector
    gc.unfreeze()


@pytest.fixture
def index(client: Elasticsearch) -> Iterator[str]:
    name = indices.create(client, STATION_STATE, {}, "")
    yield name
    client.indices.delete(index=name, ignore_unavailable=True)


def numbered(rows: Sequence[dict[str, Any]]) -> Rows:
    """The rows as records of one partition, in this order."""
    return [row | {"kafka_partition": 0, "kafka_offset": offset} for offset, row in enumerate(rows)]


def registrations(*latitudes: float, station_id: str = "st") -> Rows:
    """A station that is moved again and again."""
    return numbered(
        [registration(station_id=station_id, latitude=lat, observed_at=NOON + n) for n, lat in enumerate(latitudes)]
    )


def fold_in_parts(client: Elasticsearch, index: str, topic: str, rows: Rows, size: int) -> list[tuple[int, str]]:
    """Folds the rows in batches, each by a worker that knows nothing yet. Returns offset and code of the refused ones."""
    refusals: list[Refusal] = []
    for start in range(0, len(rows), size):
        by_station: dict[str, Rows] = {}
        for row in rows[start : start + size]:
            by_station.setdefault(row["station_id"], []).append(row)
        refusals += fold_into(client, index, topic, by_station, KnownStates())
    return sorted((refusal.record["kafka_offset"], refusal.reason.code) for refusal in refusals)


def document(client: Elasticsearch, index: str, station_id: str = "st") -> dict[str, Any]:
    content: dict[str, Any] = client.get(index=index, id=station_id)["_source"]
    del content["applied_at"]
    return content


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_document_that_is_refused_keeps_its_last_good_state(client: Elasticsearch, index: str, size: int) -> None:
    rows = registrations(40.0, 41.0, NOWHERE, 42.0, NOWHERE, NOWHERE, 43.0, NOWHERE)
    refused = fold_in_parts(client, index, STATION_REGISTRY.topic, rows, size)
    assert {code for _, code in refused} == {"document_parsing_exception"}
    # a bad place that another record of the batch replaces is not noticed
    assert [offset for offset, _ in refused] == [2, 4, 5, 7] if size == 1 else {7} <= {offset for offset, _ in refused}
    found = document(client, index)
    assert found["location"] == {"lat": 43.0, "lon": -73.9}
    assert found["applied"] == {STATION_REGISTRY.topic: {"0": 7}}
    # again, as after a restart or in a state computed anew: the same ends likewise
    assert fold_in_parts(client, index, STATION_REGISTRY.topic, rows, 100) == [(7, "document_parsing_exception")]
    assert document(client, index) == found


def test_an_event_at_which_our_own_code_fails_is_left_out_alone(client: Elasticsearch, index: str) -> None:
    rows = numbered(
        [
            event("started", NOON, energy_delivered_kwh=0.0),
            event("meter", "soon", sequence=1),  # type: ignore[arg-type]  # no rule lets this through
            event("stopped", NOON + MINUTE, sequence=2, started_at=NOON, energy_delivered_kwh=1.0),
            event("started", NOON, "other", station_id="next"),
        ]
    )
    assert fold_in_parts(client, index, TOPIC, rows, 100) == [(1, "TypeError")]
    assert document(client, index)["sessions"] == []
    assert document(client, index)["last_event_at"] == "2026-03-04T12:01:00.000Z"
    assert len(document(client, index, "next")["sessions"]) == 1


def test_an_id_that_elasticsearch_refuses_is_no_index_that_is_gone(client: Elasticsearch, index: str) -> None:
    rows = numbered([event("started", NOON, station_id=name) for name in ("", TOO_LONG, "st")])
    assert fold_in_parts(client, index, TOPIC, rows, 100) == [(0, "id_length"), (1, "id_length")]
    assert len(document(client, index)["sessions"]) == 1


def test_a_document_that_fails_its_whole_request_holds_up_no_other(
    client: Elasticsearch, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(station_folder, "of_id", lambda identifier: None)
    rows = numbered([event("started", NOON, station_id=name) for name in ("a", TOO_LONG, "st")])
    assert fold_in_parts(client, index, TOPIC, rows, 100) == [(1, "action_request_validation_exception")]
    assert [len(document(client, index, name)["sessions"]) for name in ("a", "st")] == [1, 1]


def test_a_document_that_cannot_be_read_holds_up_no_other(client: Elasticsearch, index: str) -> None:
    client.index(index=index, id="st", document={"station_id": "st", "fold": "{"})
    rows = numbered([event("started", NOON), event("started", NOON, station_id="next")])
    assert fold_in_parts(client, index, TOPIC, rows, 100) == [(0, "JSONDecodeError")]
    assert len(document(client, index, "next")["sessions"]) == 1


@pytest.mark.parametrize("careful", [False, True])
def test_a_refused_record_becomes_one_letter(
    platform: Settings, client: Elasticsearch, index: str, careful: bool
) -> None:
    rows = registrations(40.0, NOWHERE)
    folder = StationFolder(platform, index, STATION_REGISTRY.topic, careful)
    for _ in range(2):
        (report,) = folder([pa.RecordBatch.from_pylist(rows)])
        assert report.num_rows == 1
    (letter,) = read_letters(client, records=True)
    assert letter.letter_id == f"{STATION_STATE}:{STATION_REGISTRY.topic}:0:1"
    assert (letter.store, letter.code, letter.attempts) == ("elasticsearch", "document_parsing_exception", 1)
    assert "illegal latitude value" in letter.reason
    assert (letter.station_id, letter.to_json()["record"]["latitude"]) == ("st", NOWHERE)
    finding = no_dead_letters(client)
    assert (finding.passed, finding.broken) == (False, 1)


def test_a_row_that_cassandra_refuses_is_left_out_alone(platform: Settings, client: Elasticsearch) -> None:
    at = NOON + 1
    rows = numbered([event("started", at, f"s{n}", station_id="journal-st") for n in range(300)])
    rows[7]["event_id"] = "x" * 70_000
    rows[200]["station_id"] = "x" * 70_000
    rows[299]["occurred_at"] = 10**18
    refused = JournalWriter(platform).take(rows)
    assert sorted(refusal.record["kafka_offset"] for refusal in refused) == [7, 200, 299]
    assert {refusal.reason.store for refusal in refused} == {"cassandra"}
    with cassandra(platform) as session:
        statement = (
            f"SELECT count(*) AS n FROM {platform.cassandra_keyspace}.{TABLE} "
            "WHERE station_id = 'journal-st' AND day = '2026-03-04'"
        )
        assert session.execute(statement).one().n == 297


def test_a_journal_without_its_table_refuses_no_row(platform: Settings) -> None:
    elsewhere = platform.model_copy(update={"cassandra_keyspace": "nosuch"})
    with pytest.raises(InvalidRequest):
        JournalWriter(elsewhere).take(numbered([event("started", NOON)]))


def position(car: str, latitude: float, minute: float, **fields: Any) -> dict[str, Any]:
    return dict.fromkeys(VEHICLE_TELEMETRY.columns) | {
        "vehicle_id": car,
        "occurred_at": round(NOON + minute * MINUTE),
        "latitude": latitude,
        "longitude": -74.0,
        "speed_kmh": 30.0,
        "ignition": True,
        **fields,
    }


def latitude_of(client: Elasticsearch, car: str) -> float:
    return float(client.get(index=VEHICLE_POSITION, id=car)["_source"]["location"]["lat"])


def test_a_refused_position_leaves_the_newest_good_one(platform: Settings, client: Elasticsearch) -> None:
    rows = numbered(
        [
            position("letters-1", 40.0, 0),
            position("letters-1", 40.01, 1),
            position("letters-1", 40.02, 2, speed_kmh="fast"),
            position("", 40.0, 0),
            position(TOO_LONG, 40.0, 0),
            position("letters-2", 41.0, 0),
        ]
    )
    refused = PositionWriter(platform).take(rows)
    assert sorted((r.record["kafka_offset"], r.reason.code) for r in refused) == [
        (2, "document_parsing_exception"),
        (3, "id_length"),
        (4, "id_length"),
    ]
    assert (latitude_of(client, "letters-1"), latitude_of(client, "letters-2")) == (40.01, 41.0)


def test_a_batch_at_which_a_writer_itself_fails_goes_on_without_the_record(
    platform: Settings, client: Elasticsearch
) -> None:
    rows = numbered([position("letters-4", 40.0, 0), position("letters-4", 41.0, 0, occurred_at="soon")])
    writer = PositionWriter(platform)
    with pytest.raises(TypeError):
        writer.take(rows)
    (refusal,) = taken_with_care(rows, writer.take)
    assert refusal.record["kafka_offset"] == 1
    assert latitude_of(client, "letters-4") == 40.0


@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_position_is_judged_the_same_by_a_worker_that_knows_nothing_yet(
    platform: Settings, client: Elasticsearch, size: int
) -> None:
    car = f"letters-cut-{size}"
    places = [(40.0, 0), (40.01, 1), (44.5, 2), (40.02, 3), (48.0, 4), (40.03, 5), (52.0, 6)]
    rows = numbered([position(car, latitude, minute) for latitude, minute in places])
    taken = 0
    for start in range(0, len(rows), size):
        vehicle_positions._tracks.clear()
        (report,) = PositionWriter(platform)([pa.RecordBatch.from_pylist(rows[start : start + size])])
        taken += BatchReport.read(report["report"][0].as_py()).records
    assert (taken, latitude_of(client, car)) == (4, 40.03)


def refusal_of(row: Record, text: str = "by an older version") -> Refusal:
    return Refusal(row, Reason("stream", "KeyError", text))


def test_the_oldest_letters_leave(client: Elasticsearch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "MAX_LETTERS", 3)
    for row in numbered([event("started", NOON) for _ in range(5)]):
        bury(client, STATION_STATE, TOPIC, [refusal_of(row)])
    assert [letter.offset for letter in read_letters(client)] == [4, 3, 2]
    bury(client, STATION_STATE, TOPIC, [refusal_of(row) for row in numbered([event("started", NOON)] * 50)])
    assert count_letters(client) == 3


def test_a_hostile_record_is_kept_as_far_as_it_is_bounded(client: Elasticsearch) -> None:
    (row,) = numbered([event("started", NOON, reason="\x00'\"" + "x" * 200_000, station_id="y" * 5_000)])
    bury(client, STATION_STATE, TOPIC, [refusal_of(row, "z" * 5_000)])
    (letter,) = read_letters(client, records=True)
    assert letter.record is not None
    assert (letter.is_whole, len(letter.record)) == (False, dead_letters.MAX_RECORD_CHARS)
    assert (len(letter.reason), len(letter.station_id or "")) == (500, 500)


def test_a_retry_takes_what_can_be_taken_and_keeps_the_rest(platform: Settings, client: Elasticsearch) -> None:
    started, stopped, bad = numbered(
        [
            event("started", NOON, "retry", station_id="letters-retry", energy_delivered_kwh=0.0),
            event(
                "stopped",
                NOON + MINUTE,
                "retry",
                1,
                station_id="letters-retry",
                started_at=NOON,
                energy_delivered_kwh=1.0,
            ),
            event("started", NOON, station_id=""),
        ]
    )
    at = indices.live_index(client, STATION_STATE)
    assert at is not None
    # the second record of the session was refused, and a later one is in the document
    assert fold_into(client, at.name, TOPIC, {"letters-retry": [started]}) == []
    later = event("queued", NOON + 2 * MINUTE, "later", station_id="letters-retry")
    assert (
        fold_into(client, at.name, TOPIC, {"letters-retry": [later | {"kafka_partition": 0, "kafka_offset": 9}]}) == []
    )
    bury(client, STATION_STATE, TOPIC, [refusal_of(stopped), refusal_of(bad)])
    bury(client, TABLE, TOPIC, [refusal_of(stopped)])
    bury(client, VEHICLE_POSITION, VEHICLE_TELEMETRY.topic, [refusal_of(numbered([position("letters-3", 42.0, 0)])[0])])

    retried = retry_letters(platform, client, read_letters(client, records=True))
    assert (len(retried.taken), len(retried.refused), len(retried.cut)) == (3, 1, 0)
    assert latitude_of(client, "letters-3") == 42.0
    found = document(client, at.name, "letters-retry")
    assert (found["sessions"], found["queue_length"], found["applied"]) == ([], 1, {TOPIC: {"0": 10}})
    (left,) = read_letters(client)
    assert (left.offset, left.attempts, left.code) == (2, 2, "id_length")
    # what was taken is in the state: taking it again changes nothing
    bury(client, STATION_STATE, TOPIC, [refusal_of(stopped)])
    assert len(retry_letters(platform, client, read_letters(client, records=True)).taken) == 1
    assert document(client, at.name, "letters-retry") == found
    client.delete(index=at.name, id="letters-retry")


def test_the_commands(platform: Settings, client: Elasticsearch) -> None:
    (row,) = numbered([event("started", NOON, station_id="Bay 1 [/left]")])
    empty = evcharge("live", "dead-letters")
    assert (empty.returncode, empty.stdout) == (0, "No dead letters: no store refused a record.\n")
    bury(client, STATION_STATE, TOPIC, [refusal_of(row, "reason [/b]")])
    listed = evcharge("live", "dead-letters")
    letter_id = f"{STATION_STATE}:{TOPIC}:0:0"
    assert listed.returncode == 0
    assert "KeyError" in listed.stdout
    summary = json.loads(evcharge("live", "dead-letters", "--json").stdout)
    assert summary["by_reason"] == [{"target": STATION_STATE, "store": "stream", "code": "KeyError", "records": 1}]
    (shown,) = json.loads(evcharge("live", "dead-letters", "show", letter_id, "--json").stdout)
    assert (shown["offset"], shown["record"]["station_id"], shown["reason"]) == (0, "Bay 1 [/left]", "reason [/b]")
    assert "Bay 1 [/left]" in evcharge("live", "dead-letters", "show").stdout
    nobody = evcharge("live", "dead-letters", "show", "nobody")
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert "there is no dead letter nobody" in nobody.stderr
    status = evcharge("live", "status", "--json")
    assert (status.returncode, json.loads(status.stdout)["dead_letters"]) == (1, 1)
    assert "1 dead letters" in evcharge("stack", "status").stdout
    retried = evcharge("live", "dead-letters", "retry", letter_id)
    assert (retried.returncode, retried.stdout) == (0, "1 taken, 0 refused again, 0 left out\n")
    assert read_letter(client, letter_id) is None
    client.delete(index=STATION_STATE, id="Bay 1 [/left]")


def test_an_index_of_an_earlier_version_gets_its_new_fields(client: Elasticsearch) -> None:
    """`stream-status` of an existing platform has no `failing_since`, and its mapping is strict."""
    index = indices.definition(indices.STREAM_STATUS)
    del index["mappings"]["properties"]["failing_since"]
    name = f"{indices.STREAM_STATUS}-{datetime.now(UTC):%Y%m%dt%H%M%S%f}"
    client.indices.create(index=name, settings=index["settings"], mappings=index["mappings"])
    indices.promote(client, indices.STREAM_STATUS, name)
    indices.ensure_alias(client, indices.STREAM_STATUS)
    client.index(index=indices.STREAM_STATUS, id="x", document={"failing_since": "2026-03-04T12:00:00.000Z"})
    client.delete(index=indices.STREAM_STATUS, id="x", refresh=True)
    assert client.indices.exists_alias(name=DEAD_LETTERS)
