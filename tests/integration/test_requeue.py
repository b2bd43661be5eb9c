"""`evcharge lake requeue`: the way back from quarantine, once the reason is mended."""

from __future__ import annotations

from secrets import token_hex

import pyarrow.compute as pc
import pytest
from support import NOON, Lake, Record, evcharge, record, send, station, stopped

from evcharge.audit.reconcile import reconcile
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY
from evcharge.errors import UserError
from evcharge.feeds.producer import KafkaPublisher
from evcharge.feeds.sent_ledger import publish_chunk
from evcharge.lake.requeue import Requeued, requeue

TOPIC = SESSION_EVENTS.topic


@pytest.fixture(scope="module", autouse=True)
def _nothing_from_other_tests(lake: Lake) -> None:
    for topic, rule in ((TOPIC, "UNKNOWN_STATION"), (TOPIC, "RELEASED"), (STATION_REGISTRY.topic, "RELEASED")):
        requeue(lake.settings, lake.repository, lake.spark, topic, rule)
    lake.publish_waiting()


def test_rows_of_a_station_come_back_once_it_is_registered(lake: Lake) -> None:
    """Three sessions of a station that is registered too late, sent by a producer of ours; and one of another station."""
    mark = token_hex(3)
    name, other = f"requeue-{mark}", f"requeue-other-{mark}"
    events = [stopped(f"{name}-{n}", name, NOON) for n in range(3)]
    lake.publish_waiting()
    with KafkaPublisher(lake.settings) as publisher:
        publish_chunk(lake.settings, publisher, name, "000000", SESSION_EVENTS, events)
    manifest = lake.publish(lake.send([record(SESSION_EVENTS, stopped(f"{other}-0", other, NOON))])).manifest
    assert manifest.quarantined_by_rule == {"UNKNOWN_STATION": manifest.rows_read}
    assert reconcile(lake.settings).equal
    nothing = requeue(lake.settings, lake.repository, lake.spark, TOPIC, "UNKNOWN_STATION")
    assert nothing.sent == 0

    lake.register(station(name))
    ended = evcharge("lake", "requeue", TOPIC)
    assert ended.returncode == 0, ended.stderr
    assert "session-events: 3 rows of UNKNOWN_STATION sent again" in ended.stdout
    published = lake.publish(lake.plan())
    assert (published.manifest.rows_good, published.manifest.rows_quarantined) == (3, 0)
    facts = "SELECT count() FROM fact_charging_sessions WHERE station_id = %(name)s"
    lake.load_waiting()
    assert lake.query(facts, name=name) == [(3,)]
    assert reconcile(lake.settings).differences == []

    again = requeue(lake.settings, lake.repository, lake.spark, TOPIC, "UNKNOWN_STATION")
    assert again.sent == 0
    assert again.kept == nothing.kept - 3
    assert lake.repository.head().metadata["publication_id"] == published.manifest.publication_id


def test_rows_that_came_twice_make_one_session(lake: Lake) -> None:
    """As after a kill between Kafka's acknowledgement and the mark on main."""
    name = f"requeue-{token_hex(3)}"
    event = record(SESSION_EVENTS, stopped(f"{name}-0", name, NOON))
    lake.publish(lake.send([event]))
    lake.register(station(name))
    send(lake.settings, TOPIC, [event])
    assert requeue(lake.settings, lake.repository, lake.spark, TOPIC, "UNKNOWN_STATION").sent == 1
    lake.publish_waiting()
    lake.load_waiting()
    assert lake.query("SELECT count() FROM fact_charging_sessions WHERE station_id = %(name)s", name=name) == [(1,)]
    assert reconcile(lake.settings).equal


def test_released_rows_come_back_and_broken_ones_stay(lake: Lake) -> None:
    name = f"requeue-{token_hex(3)}"
    lake.register(station(name))
    good = [record(SESSION_EVENTS, stopped(f"{name}-{n}", name, NOON)) for n in range(2)]
    lake.publish(lake.send([*good, Record(name.encode(), b"{")]), release=True)
    done = requeue(lake.settings, lake.repository, lake.spark, TOPIC, "RELEASED")
    assert (done.sent, done.kept >= 1) == (2, True)
    waiting = lake.plan()
    lake.publish(waiting)
    assert sorted(row["session_id"] for row in lake.rows_of(waiting)["raw"]) == [f"{name}-0", f"{name}-1"]


def test_registry_rows_come_back(lake: Lake) -> None:
    name = f"requeue-{token_hex(3)}"
    lake.publish(lake.send([record(STATION_REGISTRY, station(name))], STATION_REGISTRY.topic), release=True)
    sent = requeue(lake.settings, lake.repository, lake.spark, STATION_REGISTRY.topic, "RELEASED")
    assert sent == Requeued(1, 0)
    lake.publish_waiting()
    stations = lake.table("main", f"raw/{STATION_REGISTRY.topic}/")
    assert stations.filter(pc.field("station_id") == name).num_rows == 1


def test_a_rule_that_judges_by_other_rows_is_refused(lake: Lake) -> None:
    with pytest.raises(UserError, match="IMPLAUSIBLE_JUMP judges a row by the rows around it"):
        requeue(lake.settings, lake.repository, lake.spark, "vehicle-telemetry", "IMPLAUSIBLE_JUMP")
