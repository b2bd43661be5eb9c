"""The producers' ledgers: one row per event, whole files, whatever is sent twice or killed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from fake_kafka import FakePublisher

from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.contracts.session_events import event_id
from evcharge.feeds import sent_ledger as ledger
from evcharge.feeds.sent_ledger import LedgerTotals, chunks, ledger_totals, merge_chunks, publish_chunk, read_sent
from evcharge.settings import Settings

T0 = datetime(2024, 5, 1, 8, 0, 0, 1_999, tzinfo=UTC)


def stopped(number: int, energy_kwh: float | None = 1.001) -> dict[str, Any]:
    return {
        "event_id": event_id(f"s-{number}", 1),
        "session_id": f"s-{number}",
        "sequence": 1,
        "station_id": "st",
        "event_type": "stopped",
        "occurred_at": T0 + timedelta(minutes=number),
        "energy_delivered_kwh": energy_kwh,
    }


def publish(settings: Settings, kafka: FakePublisher, chunk: str, *numbers: int, feed: str = "f") -> pa.Table:
    return publish_chunk(settings, kafka, feed, chunk, SESSION_EVENTS, [stopped(number) for number in numbers])


def test_a_row_per_acknowledged_message(settings: Settings, kafka: FakePublisher) -> None:
    station = {"station_id": "st", "observed_at": T0}
    publish_chunk(settings, kafka, "f", "stations", STATION_REGISTRY, [station])
    publish(settings, kafka, "000000", 1)
    registry, event = sorted(read_sent(settings).to_pylist(), key=lambda row: row["offset"])
    assert registry["event_id"] == "st@2024-05-01T08:00:00.001Z"
    assert event == {
        "topic": "session-events",
        "partition": 0,
        "offset": 1,
        "event_id": "s-1-1",
        "session_id": "s-1",
        "station_id": "st",
        "event_type": "stopped",
        "occurred_at": datetime(2024, 5, 1, 8, 1, 0, 1_000, tzinfo=UTC),
        "energy_wh": 1001,
    }
    assert ledger_totals(read_sent(settings)) == LedgerTotals(messages=2, sessions=1, energy_wh=1001)


def test_sent_again_keeps_one_row_with_the_lowest_offset(settings: Settings, kafka: FakePublisher) -> None:
    publish(settings, kafka, "000000", 1, 2)
    publish(settings, kafka, "000000", 1, 2, 3)
    publish(settings, kafka, "000000", 3, feed="another")
    assert chunks(settings, "f") == ["000000"]
    offsets = {row["event_id"]: row["offset"] for row in read_sent(settings).to_pylist()}
    assert offsets == {"s-1-1": 0, "s-2-1": 1, "s-3-1": 4}
    assert read_sent(settings, "another").num_rows == 1


def test_stations_may_have_the_same_event_ids(settings: Settings, kafka: FakePublisher) -> None:
    publish(settings, kafka, "000000", 1)
    publish_chunk(settings, kafka, "f", "000001", SESSION_EVENTS, [{**stopped(1), "station_id": "other"}])
    assert read_sent(settings)["station_id"].to_pylist() == ["other", "st"]


def test_nothing_acknowledged_nothing_written(settings: Settings, kafka: FakePublisher) -> None:
    kafka.fail_after = ConnectionError("cut off")
    with pytest.raises(ConnectionError):
        publish(settings, kafka, "000000", 1)
    assert read_sent(settings).num_rows == 0
    assert ledger_totals(read_sent(settings)) == LedgerTotals(0, 0, 0)


def test_a_chunk_is_replaced_whole_or_not_at_all(
    settings: Settings, kafka: FakePublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(settings, kafka, "000000", 1)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "replace_durably", killed)
        with pytest.raises(KeyboardInterrupt):
            publish(settings, kafka, "000000", 2)
    assert read_sent(settings)["event_id"].to_pylist() == ["s-1-1"]
    publish(settings, kafka, "000000", 2)
    assert read_sent(settings)["event_id"].to_pylist() == ["s-1-1", "s-2-1"]
    assert [path.suffix for path in settings.feeds_dir.rglob("*.*")] == [".parquet"]


def test_merged_chunks_are_one_file(settings: Settings, kafka: FakePublisher) -> None:
    for number in range(3):
        publish(settings, kafka, f"hour-{number}", number)
    before = read_sent(settings)
    merge_chunks(settings, "f", "day", ["hour-0", "hour-1", "hour-2", "hour-none"])
    merge_chunks(settings, "f", "day", [])
    assert chunks(settings, "f") == ["day"]
    assert read_sent(settings).equals(before)


def test_a_car_is_known_by_its_id_and_time(settings: Settings, kafka: FakePublisher) -> None:
    publish(settings, kafka, "000000", 1)
    position = {"vehicle_id": "ev-1", "occurred_at": T0}
    publish_chunk(settings, kafka, "f", "cars", VEHICLE_TELEMETRY, [position])
    publish_chunk(settings, kafka, "f", "cars", VEHICLE_TELEMETRY, [position])
    (row,) = read_sent(settings, topic=VEHICLE_TELEMETRY.topic).to_pylist()
    assert (row["event_id"], row["station_id"], row["offset"]) == ("ev-1@2024-05-01T08:00:00.001Z", None, 1)
    assert read_sent(settings, "f", topic=SESSION_EVENTS.topic)["session_id"].to_pylist() == ["s-1"]
    assert read_sent(settings).num_rows == 2


def test_what_occurred_later_is_left_out(settings: Settings, kafka: FakePublisher) -> None:
    publish(settings, kafka, "000000", 1, 2, 3)
    publish(settings, kafka, "000001", 4)
    found = read_sent(settings, until=T0.replace(microsecond=1_000) + timedelta(minutes=2))
    assert found["session_id"].to_pylist() == ["s-1", "s-2"]
