"""`evcharge reconcile` on the live stores: it names documents and hours that differ from the fold of the lake's rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from secrets import token_hex

import pytest
from support import NOON, Lake, Record, message, meter, station, stopped

from evcharge.audit.figures import disagreements
from evcharge.audit.live_stores import final_hours, station_documents
from evcharge.audit.reconcile import LOAD_GRACE
from evcharge.connections import cassandra, elasticsearch
from evcharge.contracts import SESSION_EVENTS
from evcharge.lake.ledger import read_ledger
from evcharge.live import indices
from evcharge.live.final_usage import write_final_usage
from evcharge.live.indices import STATION_STATE, live_index
from evcharge.live.rebuild import catch_up_station_state, rebuild_station_state

STATION = f"live-reconcile-{token_hex(3)}"
DAY = NOON + timedelta(days=500)


def wrong_documents(lake: Lake) -> list[str]:
    head = lake.repository.head().id
    overdue = read_ledger(lake.repository, SESSION_EVENTS.topic, head).offsets
    sides = station_documents(lake.settings, lake.repository, head, overdue)
    return [key[0] for key, _, _ in disagreements(sides) if key[0] == STATION]


def wrong_hours(lake: Lake) -> list[tuple[str, int]]:
    sides = final_hours(lake.settings, lake.repository, datetime.now(UTC) - LOAD_GRACE)
    return [key for key, _, _ in disagreements(sides) if key[0] == STATION]


@pytest.fixture(scope="module", autouse=True)
def published(lake: Lake) -> None:
    lake.register(station(STATION))
    events = [
        meter(f"{STATION}-a", STATION, occurred_at=DAY, event_type="started", energy_delivered_kwh=0.0),
        stopped(f"{STATION}-a", STATION, DAY + timedelta(hours=1)),
        meter(
            f"{STATION}-b",
            STATION,
            occurred_at=DAY + timedelta(hours=2),
            event_type="started",
            energy_delivered_kwh=0.0,
        ),
    ]
    lake.publish(lake.send_events(events))
    catch_up_station_state(lake.settings, lake.spark)
    write_final_usage(lake.settings, lake.repository, lake.spark, [DAY.date()], datetime.now(UTC))


def test_a_document_that_was_changed(lake: Lake) -> None:
    assert wrong_documents(lake) == []
    with elasticsearch(lake.settings) as client:
        document = client.get(index=STATION_STATE, id=STATION)["_source"]
        assert document["last_event_at"] == "2026-05-30T14:00:00.000Z"
        client.index(index=STATION_STATE, id=STATION, document=document | {"free_outlets": 9}, refresh=True)
        assert wrong_documents(lake) == [STATION]
        client.index(index=STATION_STATE, id=STATION, document=document, refresh=True)
    assert wrong_documents(lake) == []


def test_a_document_that_is_missing_is_put_back_by_a_rebuild(lake: Lake) -> None:
    with elasticsearch(lake.settings) as client:
        before = live_index(client, STATION_STATE)
        client.delete(index=STATION_STATE, id=STATION, refresh=True)
        assert wrong_documents(lake) == [STATION]
        rebuilt = rebuild_station_state(lake.settings, lake.spark)
        after = live_index(client, STATION_STATE)
    assert before is not None
    assert after is not None
    assert before.name < after.name == rebuilt.index
    ledger = read_ledger(lake.repository, SESSION_EVENTS.topic, after.lake_commit)
    assert after.begins_at[SESSION_EVENTS.topic] == {str(p): o for p, o in ledger.offsets.items()}
    assert wrong_documents(lake) == []


def test_folding_again_changes_nothing(lake: Lake) -> None:
    with elasticsearch(lake.settings) as client:
        before = client.get(index=STATION_STATE, id=STATION)
        catch_up_station_state(lake.settings, lake.spark)
        after = client.get(index=STATION_STATE, id=STATION)
    assert (before["_version"], before["_source"]) == (after["_version"], after["_source"])


def test_an_index_of_an_older_format_is_computed_anew(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    with elasticsearch(lake.settings) as client:
        before = live_index(client, STATION_STATE)
    monkeypatch.setattr(indices, "FORMAT", indices.FORMAT + 1)
    assert before is not None
    assert not before.is_current_format
    assert catch_up_station_state(lake.settings, lake.spark).index > before.name
    monkeypatch.undo()
    # for the tests that follow
    rebuild_station_state(lake.settings, lake.spark)


def test_an_hour_that_was_changed(lake: Lake) -> None:
    assert wrong_hours(lake) == []
    keyspace = lake.settings.cassandra_keyspace
    key = f"WHERE station_id = '{STATION}' AND day = '{DAY:%Y-%m-%d}' AND hour = {DAY.hour}"
    with cassandra(lake.settings) as session:
        row = session.execute(f"SELECT sessions, energy_wh FROM {keyspace}.usage_final {key}").one()
        assert (row.sessions, row.energy_wh) == (1, 7000)
        session.execute(f"UPDATE {keyspace}.usage_final SET energy_wh = 1 {key}")
        (wrong,) = wrong_hours(lake)
        assert wrong == (STATION, int(DAY.timestamp() * 1000))
        session.execute(f"UPDATE {keyspace}.usage_final SET energy_wh = 7000 {key}")
    assert wrong_hours(lake) == []


def test_a_day_that_is_being_loaded_is_left_out(lake: Lake) -> None:
    keyspace = lake.settings.cassandra_keyspace
    key = f"WHERE station_id = '{STATION}' AND day = '{DAY:%Y-%m-%d}' AND hour = {DAY.hour}"
    with cassandra(lake.settings) as session:
        row = session.execute(f"SELECT lake_commit, written_at FROM {keyspace}.usage_final {key}").one()
        change = f"UPDATE {keyspace}.usage_final SET energy_wh = %s, lake_commit = %s, written_at = %s {key}"
        session.execute(change, (1, "of a load that has not marked its day", datetime.now(UTC)))
        assert wrong_hours(lake) == []
        session.execute(change, (1, "of a load that never will", datetime.now(UTC) - 2 * LOAD_GRACE))
        assert wrong_hours(lake) == [(STATION, int(DAY.timestamp() * 1000))]
        session.execute(change, (7000, row.lake_commit, row.written_at))
    assert wrong_hours(lake) == []


def test_events_under_other_keys_have_no_order_to_compare(lake: Lake) -> None:
    """Another key can mean another partition, and Kafka has no order between partitions."""
    spread = f"{STATION}-spread"
    lake.register(station(spread))
    events = [
        meter(f"{spread}-{n}", spread, occurred_at=DAY + timedelta(minutes=n), energy_delivered_kwh=1.0)
        for n in range(20)
    ]
    lake.publish(lake.send(Record(f"key {n}".encode(), message(SESSION_EVENTS, e)) for n, e in enumerate(events)))
    head = lake.repository.head().id
    overdue = read_ledger(lake.repository, SESSION_EVENTS.topic, head).offsets
    sides = station_documents(lake.settings, lake.repository, head, overdue)
    assert sides.unordered == 1
    assert spread not in {key[0] for key, _, _ in disagreements(sides)}
