"""What is published next: order of the topics, size and age of a range, and what the planner refuses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from secrets import token_hex

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from support import Lake, Record, meter, record, send, station

from evcharge.connections import kafka_options
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY
from evcharge.errors import UserError
from evcharge.kafka_log import TopicMissingError, TopicState, topic_states
from evcharge.lake.gaps import Gap, accept, accepted_gaps, find_loss
from evcharge.lake.ledger import Ledger, LedgerError, read_ledger
from evcharge.lake.planner import plan

STATIONS = [f"plan-{letter}" for letter in "abcdefgh"]


@pytest.fixture(scope="module", autouse=True)
def _stations(lake: Lake) -> None:
    lake.register(*(station(name) for name in STATIONS))


def events(count: int) -> list[Record]:
    return [record(SESSION_EVENTS, meter(f"plan-{n}", STATIONS[n % len(STATIONS)])) for n in range(count)]


def test_sessions_wait_for_their_stations(lake: Lake) -> None:
    lake.publish_waiting()
    new = f"plan-{token_hex(3)}"
    send(lake.settings, STATION_REGISTRY.topic, [record(STATION_REGISTRY, station(new))])
    send(lake.settings, SESSION_EVENTS.topic, [record(SESSION_EVENTS, meter("plan-first", new))])
    waits = plan(lake.settings, lake.repository, SESSION_EVENTS.topic, eager=True)
    assert (waits.range, waits.lag_rows) == (None, 1)
    assert waits.reason == "1 registry rows come first: sessions need their stations"
    lake.publish(lake.plan(STATION_REGISTRY.topic))
    manifest = lake.publish(lake.plan()).manifest
    assert (manifest.rows_good, manifest.rows_quarantined) == (1, 0)


def test_nothing_new_plans_nothing(lake: Lake) -> None:
    lake.publish_waiting()
    for topic in (STATION_REGISTRY.topic, SESSION_EVENTS.topic):
        found = plan(lake.settings, lake.repository, topic, eager=True)
        assert (found.range, found.reason, found.lag_rows) == (None, "nothing new", 0)


def test_planning_changes_nothing(lake: Lake) -> None:
    planned = lake.send(events(8))
    head, branches = lake.repository.head().id, list(lake.repository.branches())
    again = lake.plan()
    assert (again.hash, again.rows) == (planned.hash, 8)
    assert (lake.repository.head().id, list(lake.repository.branches())) == (head, branches)
    lake.publish(planned)


def test_few_rows_wait_until_the_last_publication_is_old_enough(lake: Lake) -> None:
    lake.publish(lake.send(events(1)))
    published_at = read_ledger(lake.repository, SESSION_EVENTS.topic).published_at
    assert published_at is not None
    send(lake.settings, SESSION_EVENTS.topic, events(9))
    settings = lake.settings.model_copy(update={"publish_min_rows": 10, "publish_interval_s": 60})

    def after(seconds: int, **changes: int) -> tuple[int, str]:
        now = published_at + timedelta(seconds=seconds)
        found = plan(settings.model_copy(update=changes), lake.repository, SESSION_EVENTS.topic, now=now)
        assert found.lag_rows == 9
        return (found.range.rows if found.range else 0), found.reason

    # nine of the ten rows that do not wait: a tenth of the interval
    assert after(5) == (0, "9 rows wait, last publication 5 s ago")
    assert after(6) == (9, "ready")
    assert after(1, publish_min_rows=9) == (9, "ready")
    assert after(53, publish_min_rows=90) == (0, "9 rows wait, last publication 53 s ago")
    assert after(54, publish_min_rows=90) == (9, "ready")
    assert lake.plan().rows == 9
    lake.publish_waiting()


def test_a_backlog_is_split_evenly_and_without_gaps(lake: Lake) -> None:
    whole = lake.send(events(80))
    small = Lake(lake.settings.model_copy(update={"publish_max_rows": 50}))
    first = small.plan()
    assert (first.start, first.rows) == (whole.start, 50)
    for partition, end in whole.end.items():
        waiting, taken = end - whole.start[partition], first.end[partition] - first.start[partition]
        assert abs(taken - waiting * 50 / 80) < 1
    small.publish(first)
    second = small.plan()
    assert (second.start, second.end, second.rows) == (first.end, whole.end, 30)
    small.publish(second)
    assert len(lake.rows_of(whole)["raw"]) == 80


def test_a_single_row_can_be_planned(lake: Lake) -> None:
    lake.send(events(16))
    one = lake.settings.model_copy(update={"publish_max_rows": 1})
    assert Lake(one).plan().rows == 1
    lake.publish_waiting()


@pytest.fixture
def admin(lake: Lake) -> Iterator[KafkaAdminClient]:
    client = KafkaAdminClient(**kafka_options(lake.settings))
    yield client
    client.close()


@pytest.fixture
def scratch(lake: Lake, admin: KafkaAdminClient) -> Iterator[str]:
    """A topic of the test's own, with ten records in its only partition. By the ledger five of them are published."""
    topic = f"plan-scratch-{token_hex(3)}"
    _create(lake, admin, topic)
    send(lake.settings, topic, [Record(b"key", b"{}")] * 10)
    _publish_up_to(lake, _state(lake, topic), 5)
    yield topic
    if topic in admin.list_topics():
        admin.delete_topics([topic])


def _create(lake: Lake, admin: KafkaAdminClient, topic: str) -> None:
    admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
    _until_exists(lake, topic, exists=True)


def _until_exists(lake: Lake, topic: str, *, exists: bool) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            _state(lake, topic)
            found = True
        except TopicMissingError:
            found = False
        if found == exists:
            return
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _state(lake: Lake, topic: str) -> TopicState:
    return topic_states(lake.settings, [topic])[topic]


def _publish_up_to(lake: Lake, state: TopicState, offset: int) -> None:
    ledger = Ledger(state.topic, state.topic_id, {0: offset}, 0, "crafted", 1, datetime.now(UTC))
    lake.craft(
        f"ledger-{state.topic}-{offset}",
        lambda branch: lake.repository.write_json(branch, Ledger.path(state.topic), ledger.to_json()),
    )


def test_a_topic_that_agrees_with_its_ledger_is_planned(lake: Lake, scratch: str) -> None:
    lake.publish_waiting()
    planned = lake.plan(scratch)
    assert (planned.start, planned.end) == ({0: 5}, {0: 10})


def test_published_rows_may_leave_the_log(lake: Lake, scratch: str, admin: KafkaAdminClient) -> None:
    lake.publish_waiting()
    admin.delete_records({TopicPartition(scratch, 0): 5})
    assert lake.plan(scratch).start == {0: 5}


def test_unpublished_rows_that_left_the_log_are_reported(lake: Lake, scratch: str, admin: KafkaAdminClient) -> None:
    admin.delete_records({TopicPartition(scratch, 0): 8})
    message = (
        f"^{scratch}-0: offsets 5 to 7 left the log unpublished; `evcharge lake accept-gap {scratch}` says what is lost"
    )
    with pytest.raises(LedgerError, match=message):
        lake.plan(scratch)


def test_an_accepted_gap_is_on_main_and_planning_goes_on(lake: Lake, scratch: str, admin: KafkaAdminClient) -> None:
    admin.delete_records({TopicPartition(scratch, 0): 8})
    loss = find_loss(lake.settings, lake.repository, scratch)
    assert loss is not None
    assert (loss.gaps, loss.rows) == ([Gap(0, 5, 8)], 3)
    begins = loss.log_begins[0]
    assert loss.published_at is not None
    assert begins is not None
    assert datetime.now(UTC) - timedelta(minutes=10) < begins < loss.published_at
    accept(lake.repository, loss)
    assert accepted_gaps(lake.repository, scratch) == [Gap(0, 5, 8)]
    assert "offset" in lake.repository.head().metadata["gaps"]
    assert not [name for name, _ in lake.repository.branches("accept-gap-")]
    planned = lake.plan(scratch)
    assert (planned.start, planned.end) == ({0: 8}, {0: 10})
    assert find_loss(lake.settings, lake.repository, scratch) is None


def test_a_gap_is_accepted_as_it_was_shown(lake: Lake, scratch: str, admin: KafkaAdminClient) -> None:
    """A publication, or another call, came between."""
    admin.delete_records({TopicPartition(scratch, 0): 8})
    loss = find_loss(lake.settings, lake.repository, scratch)
    assert loss is not None
    _publish_up_to(lake, loss.state, 7)
    with pytest.raises(UserError, match="main's ledger has moved meanwhile"):
        accept(lake.repository, loss)
    assert not accepted_gaps(lake.repository, scratch)


def test_a_first_publication_skips_no_rows(lake: Lake, admin: KafkaAdminClient) -> None:
    topic = f"plan-scratch-{token_hex(3)}"
    _create(lake, admin, topic)
    try:
        send(lake.settings, topic, [Record(b"key", b"{}")] * 10)
        assert lake.plan(topic).start == {0: 0}
        admin.delete_records({TopicPartition(topic, 0): 4})
        with pytest.raises(LedgerError, match=f"^{topic}-0: offsets 0 to 3 left the log unpublished"):
            lake.plan(topic)
        loss = find_loss(lake.settings, lake.repository, topic)
        assert loss is not None
        assert loss.published_at is None
        accept(lake.repository, loss)
        assert lake.plan(topic).start == {0: 4}
    finally:
        admin.delete_topics([topic])


def test_a_new_partition_skips_no_rows(lake: Lake, scratch: str, admin: KafkaAdminClient) -> None:
    lake.publish_waiting()
    admin.create_partitions({scratch: 2})
    producer = KafkaProducer(**kafka_options(lake.settings))
    for _ in range(6):
        producer.send(scratch, b"{}", partition=1).get(timeout=10)
    producer.close()
    assert lake.plan(scratch).start == {0: 5, 1: 0}
    admin.delete_records({TopicPartition(scratch, 1): 2})
    with pytest.raises(LedgerError, match=f"^{scratch}-1: offsets 0 to 1 left the log unpublished"):
        lake.plan(scratch)


def test_a_log_that_ends_below_the_ledger_is_reported(lake: Lake, scratch: str) -> None:
    _publish_up_to(lake, _state(lake, scratch), 12)
    with pytest.raises(LedgerError, match=f"^{scratch}-0: published up to 12, but the log ends at 10$"):
        lake.plan(scratch)


def test_a_topic_that_was_made_anew_is_reported(lake: Lake, scratch: str, admin: KafkaAdminClient) -> None:
    old = _state(lake, scratch).topic_id
    admin.delete_topics([scratch])
    _until_exists(lake, scratch, exists=False)
    _create(lake, admin, scratch)
    send(lake.settings, scratch, [Record(b"key", b"{}")] * 10)
    new = _state(lake, scratch).topic_id
    with pytest.raises(LedgerError, match=rf"^topic {scratch} was made anew \(id {new}, the ledger knows {old}\)"):
        lake.plan(scratch)


def test_a_topic_that_is_missing_is_reported(lake: Lake, scratch: str, admin: KafkaAdminClient) -> None:
    admin.delete_topics([scratch])
    _until_exists(lake, scratch, exists=False)
    with pytest.raises(LedgerError, match=f"^topic {scratch} does not exist in Kafka"):
        lake.plan(scratch)
