"""Killing the stream and its stores under load: afterwards the live state is what the lake's rows fold to, and fresh."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from live_stream import Feed, Stream
from support import Lake

from evcharge.audit.figures import Sides, disagreements
from evcharge.audit.live_stores import final_hours, station_documents
from evcharge.connections import elasticsearch
from evcharge.contracts import SESSION_EVENTS
from evcharge.lake.ledger import read_ledger
from evcharge.live import indices
from evcharge.live.final_usage import write_final_usage
from evcharge.live.indices import STATION_STATE, live_index
from evcharge.live.rebuild import catch_up_station_state
from evcharge.stack.supervisor import Supervisor

VICTIMS = ("the stream", "elasticsearch", "cassandra", "kafka")


@pytest.fixture(scope="module")
def feed(lake: Lake) -> Feed:
    feed = Feed(lake.settings)
    feed.register()
    lake.publish_waiting()
    return feed


@pytest.fixture(scope="module")
def stream(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stream]:
    with Stream(lake.settings, tmp_path_factory.mktemp("stream") / "stream.log") as stream:
        stream.wait_until_fresh(datetime.now(UTC))
        yield stream


def compare(lake: Lake, stream: Stream, feed: Feed) -> Sides:
    """The feed's stations in Elasticsearch and in the lake, once both have all that was sent."""
    lake.publish_waiting()
    stream.wait_until_fresh(datetime.now(UTC))
    head = lake.repository.head().id
    sides = station_documents(
        lake.settings, lake.repository, head, read_ledger(lake.repository, SESSION_EVENTS.topic).offsets
    )

    found, expected = (
        {key: value for key, value in held.items() if key[0].startswith(feed.prefix)}
        for held in (sides.found, sides.expected)
    )
    return Sides(found, expected, sides.ahead)


def assert_equal(lake: Lake, stream: Stream, feed: Feed) -> None:
    sides = compare(lake, stream, feed)
    assert len(sides.found) == len(feed.records)
    assert list(disagreements(sides)) == []


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
