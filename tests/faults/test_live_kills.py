"""Killing the stream and its stores under load: afterwards the live state is what the lake's rows fold to, and fresh."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import TypeVar

import pytest
from live_stream import Feed, Stream, assert_equal
from support import Lake, evcharge, position, record, send

from evcharge.audit.figures import disagreements
from evcharge.audit.live_stores import final_hours
from evcharge.connections import cassandra, elasticsearch
from evcharge.contracts import VEHICLE_TELEMETRY
from evcharge.live import indices
from evcharge.live.checks import FRESH_WITHIN_S, no_query_fails
from evcharge.live.dead_letters import count_letters, read_letters
from evcharge.live.final_usage import write_final_usage
from evcharge.live.indices import STATION_STATE, VEHICLE_POSITION, live_index
from evcharge.live.journal import TABLE
from evcharge.live.rebuild import catch_up_station_state
from evcharge.stack.stack import Stack
from evcharge.stack.supervisor import Supervisor

VICTIMS = ("the stream", "elasticsearch", "cassandra", "kafka")
#: Long enough for a dozen failures of a query. How long it may fail has no limit, which a unit test shows for two days.
AWAY_S = 60.0
WAIT_S = 180.0

T = TypeVar("T")


def wait_for(ask: Callable[[], T], is_so: Callable[[T], bool]) -> T:
    """Asks until the answer is as expected; returns the last answer."""
    deadline = time.monotonic() + WAIT_S
    while not is_so(answer := ask()):
        assert time.monotonic() < deadline, f"still {answer} after {WAIT_S:.0f} s"
        time.sleep(1)
    return answer


@pytest.fixture(scope="module")
def feed(lake: Lake) -> Feed:
    feed = Feed(lake.settings)
    feed.register()
    lake.publish_waiting()
    return feed


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stream")


@pytest.fixture(scope="module")
def stand_in(lake: Lake, logs: Path) -> Iterator[Stream]:
    with Stream(lake.settings, logs / "stand-in.log", "--stand-in") as stand_in:
        stand_in.wait_until_fresh(datetime.now(UTC))
        yield stand_in


@pytest.fixture(scope="module")
def stream(lake: Lake, logs: Path, stand_in: Stream) -> Iterator[Stream]:
    """The stream that relieved the stand-in."""
    with Stream(lake.settings, logs / "stream.log") as stream:
        yield stream


def test_a_stand_in_makes_room_under_load(lake: Lake, feed: Feed, stand_in: Stream, stream: Stream) -> None:
    with feed:
        first = stand_in.status()
        assert first is not None
        oldest_s, deadline = 0.0, time.monotonic() + WAIT_S
        while (status := stream.status()) is None or status.stream_id == first.stream_id or status.index == "":
            assert time.monotonic() < deadline, stream.log.read_text()[-4000:]
            time.sleep(0.5)
        while (age_s := (stream.status() or first).age_s(datetime.now(UTC)) or 0.0) > FRESH_WITHIN_S / 6:
            oldest_s = max(oldest_s, age_s)
            assert time.monotonic() < deadline, stream.log.read_text()[-4000:]
            time.sleep(0.5)
    print(f"the state was at most {oldest_s:.0f} s old while the stream took over")
    assert stand_in.process is not None
    assert stand_in.process.wait(60) == 0
    assert "another stream takes over" in stand_in.log.read_text()
    # its Spark was there before it asked for the other's place
    assert oldest_s < FRESH_WITHIN_S
    assert_equal(lake, stream, feed)


@pytest.mark.parametrize("victim", VICTIMS)
def test_killed_under_load(lake: Lake, feed: Feed, stream: Stream, victim: str) -> None:
    chance = random.Random()
    with feed:
        time.sleep(chance.uniform(2, 6))
        before = feed.sent
        killed_at = datetime.now(UTC)
        if victim == "the stream":
            stream.kill()
        else:
            os.kill(Supervisor(lake.settings).processes()[victim].pid, signal.SIGKILL)
        fresh_s = stream.wait_until_fresh(killed_at)
        deadline = time.monotonic() + 120
        while feed.sent == before and time.monotonic() < deadline:
            time.sleep(1)
    print(f"{victim}: fresh again after {fresh_s:.0f} s, {feed.sent - before} events sent meanwhile")
    assert feed.sent > before
    assert_equal(lake, stream, feed)


def test_the_last_commit_of_a_checkpoint_is_lost(lake: Lake, feed: Feed, stream: Stream) -> None:
    feed.send(200)
    stream.wait_until_fresh(datetime.now(UTC))
    stream.stop()
    with elasticsearch(lake.settings) as client:
        index = live_index(client, STATION_STATE)
    assert index is not None
    commits = lake.settings.home / "live" / "checkpoints" / index.name / "stations" / "commits"
    last = max((path for path in commits.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    last.unlink()
    (commits / f".{last.name}.crc").unlink(missing_ok=True)
    stream.start()
    feed.send(200)
    assert_equal(lake, stream, feed)


def test_an_index_that_was_deleted_is_computed_anew(lake: Lake, feed: Feed, stream: Stream) -> None:
    feed.send(200)
    stream.wait_until_fresh(datetime.now(UTC))
    lake.publish_waiting()
    stream.stop()
    with elasticsearch(lake.settings) as client:
        index = live_index(client, STATION_STATE)
        assert index is not None
        client.indices.delete(index=index.name)
    # what the asset `elasticsearch/station_state` runs
    rebuilt = catch_up_station_state(lake.settings, lake.spark)
    assert rebuilt.index > index.name
    assert rebuilt.stations >= len(feed.records)
    stream.start()
    feed.send(200)
    assert_equal(lake, stream, feed)


def test_a_running_stream_follows_an_index_that_was_replaced(lake: Lake, feed: Feed, stream: Stream) -> None:
    stream.wait_until_fresh(datetime.now(UTC))
    with elasticsearch(lake.settings) as client:
        index = live_index(client, STATION_STATE)
        assert index is not None
        client.indices.delete(index=index.name)
        deadline = time.monotonic() + 180
        while (found := live_index(client, STATION_STATE)) is None and time.monotonic() < deadline:
            time.sleep(1)
    assert found is not None, stream.log.read_text()[-4000:]
    assert found.name > index.name
    feed.send(200)
    assert_equal(lake, stream, feed)


@pytest.mark.long
def test_a_cassandra_that_stays_away_ends_no_query(lake: Lake, feed: Feed, stream: Stream) -> None:
    feed.send(100)
    stream.wait_until_fresh(datetime.now(UTC), "journal")
    assert stream.process is not None
    pid, stack = stream.process.pid, Stack(lake.settings)
    stack.stop("cassandra")
    try:
        away_at = datetime.now(UTC)
        with feed:
            # until the journal has failed so often that its waits are the longest
            failing_s = wait_for(lambda: stream.failing_s("journal"), lambda seconds: seconds > AWAY_S)
            status = stream.status("journal")
            assert status is not None
            assert status.failing_reason is not None
            assert "cassandra" in status.failing_reason.lower()
            with elasticsearch(lake.settings) as client:
                finding = no_query_fails(client, datetime.now(UTC) + timedelta(seconds=FRESH_WITHIN_S))
            assert not finding.passed
            assert finding.examples[0].startswith("journal: for ")
            # the live state moves, as if nothing had happened
            for query in ("registry", "stations", "vehicles"):
                stream.wait_until_fresh(away_at + timedelta(seconds=AWAY_S / 2), query)
                assert stream.failing_s(query) == 0
            shown = evcharge("live", "status")
            assert (shown.returncode, "The stream runs." in shown.stdout) == (1, True)
        print(f"cassandra was away for {failing_s:.0f} s")
    finally:
        stack.start("cassandra")
    back_at = datetime.now(UTC)
    stream.wait_until_fresh(back_at, "journal")
    wait_for(lambda: stream.failing_s("journal"), lambda seconds: seconds == 0)
    # the same stream: nothing ended and began anew
    assert (stream.process.pid, stream.process.poll()) == (pid, None)
    assert_equal(lake, stream, feed)
    sent = [row for row in feed.events[: feed.sent] if row["event_type"] != "meter"]
    keyspace = lake.settings.cassandra_keyspace
    newest = sent[-1]
    with cassandra(lake.settings) as session:
        found = session.execute(
            f"SELECT event_id FROM {keyspace}.{TABLE} WHERE station_id = %s AND day = %s",
            (newest["station_id"], newest["occurred_at"].date()),
        )
        assert newest["event_id"] in {row.event_id for row in found}


def test_a_record_that_is_refused_stops_neither_its_batch_nor_its_station(
    lake: Lake, feed: Feed, stream: Stream
) -> None:
    feed.send(200)
    assert_equal(lake, stream, feed)
    station_id = feed.events[feed.sent]["station_id"]
    with elasticsearch(lake.settings) as client:
        good = client.get(index=STATION_STATE, id=station_id)["_source"]
        # Nobody can read this document: no record of the station can be folded.
        client.index(index=STATION_STATE, id=station_id, document=good | {"fold": "{"})
        feed.send(200)
        # the other stations have their records
        stream.wait_until_fresh(datetime.now(UTC))
        letters = read_letters(client)
        assert letters
        assert {letter.station_id for letter in letters} == {station_id}
        assert stream.failing_s("stations") == 0
        # the cause is mended
        client.index(index=STATION_STATE, id=station_id, document=good)
        retried = evcharge("live", "dead-letters", "retry")
        assert (retried.returncode, retried.stdout.split(",")[0]) == (0, f"{len(letters)} taken")
        assert count_letters(client) == 0
    assert_equal(lake, stream, feed)


def test_a_lost_index_of_positions_restarts_its_query_alone(lake: Lake, stream: Stream) -> None:
    stream.wait_until_fresh(datetime.now(UTC), "vehicles")
    before = stream.status("stations")
    with elasticsearch(lake.settings) as client:
        index = live_index(client, VEHICLE_POSITION)
        assert index is not None
        client.indices.delete(index=index.name)
        car = f"kills-{token_hex(3)}"
        row = position(car, datetime.now(UTC) - timedelta(seconds=1))
        send(lake.settings, VEHICLE_TELEMETRY.topic, [record(VEHICLE_TELEMETRY, row)])
        wait_for(lambda: live_index(client, VEHICLE_POSITION), lambda found: found is not None)
        stream.wait_until_fresh(datetime.now(UTC), "vehicles")
        assert client.get(index=VEHICLE_POSITION, id=car)["found"]
    after = stream.status("stations")
    assert before is not None
    assert after is not None
    assert (after.stream_id, after.started_at) == (before.stream_id, before.started_at)


def test_the_hours_of_the_stream_are_those_of_the_lake(lake: Lake, feed: Feed, stream: Stream) -> None:
    feed.send(len(feed.events))
    assert_equal(lake, stream, feed)
    days = {row["occurred_at"].date() for row in feed.events}
    now = datetime.now(UTC)
    first = write_final_usage(lake.settings, lake.repository, lake.spark, days, now)
    again = write_final_usage(lake.settings, lake.repository, lake.spark, days, now)
    assert (again.rows, again.sessions, again.energy_kwh) == (first.rows, first.sessions, first.energy_kwh)
    assert first.rows > 100
    sides = final_hours(lake.settings, lake.repository, datetime.now(UTC))
    assert [key for key, _, _ in disagreements(sides) if key[0].startswith(feed.prefix)] == []
    assert any(key[0].startswith(feed.prefix) for key in sides.found)


def test_two_streams_do_not_run_at_once(stream: Stream, lake: Lake) -> None:
    second = Stream(lake.settings, stream.log.with_name("second.log"))
    second.start()
    assert second.process is not None
    assert second.process.wait(60) == 1
    assert "another stream runs on this platform" in second.log.read_text()


def test_an_index_begun_later_is_not_replaced_by_one_begun_before(lake: Lake) -> None:
    with elasticsearch(lake.settings) as client:
        alias = indices.STREAM_STATUS
        present = live_index(client, alias)
        older = indices.create(client, alias, {}, "")
        newer = indices.create(client, alias, {}, "")
        indices.promote(client, alias, newer)
        indices.promote(client, alias, older)
        found = live_index(client, alias)
        assert found is not None
        assert present is not None
        assert found.name == newer
        assert not client.indices.exists(index=older)
        assert not client.indices.exists(index=present.name)
