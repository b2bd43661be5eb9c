"""The simulated feed on stations of the reference data: those that it began with, whatever MongoDB says later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from afdc_downloads import RecordingKafka

from evcharge.contracts import Contract
from evcharge.reference.bundled import bundled_models, bundled_stations
from evcharge.settings import Settings, load_settings
from evcharge.simulated import live_feed as simulated
from evcharge.simulated.live_feed import FeedError, simulate_day
from evcharge.simulated.world import world_of

NOW = datetime(2026, 3, 10, 9, 17, tzinfo=UTC)
STATIONS = 8


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("EVCHARGE_SIMULATION_STATIONS", str(STATIONS))
    monkeypatch.setenv("EVCHARGE_SIMULATION_VEHICLES", "30")
    world = world_of(bundled_stations(), bundled_models(), STATIONS, 7)
    monkeypatch.setattr(simulated, "simulated_world", lambda _: world)
    return load_settings(home=tmp_path)


@pytest.fixture
def kafka() -> RecordingKafka:
    return RecordingKafka()


def refuse(_: Settings) -> None:
    raise AssertionError("a resumed day reads no reference data")


def test_sessions_are_at_stations_that_the_feed_registered(settings: Settings, kafka: RecordingKafka) -> None:
    report = simulate_day(settings, NOW, open_publisher=kafka)
    registered, events = kafka.rows[:STATIONS], kafka.rows[STATIONS:]
    assert report.stations == STATIONS
    assert {row["source"] for row in registered} == {"synthetic"}
    evses = {(row["station_id"], evse["evse_id"]) for row in registered for evse in row["evses"]}
    sessions = [event for event in events if event.get("event_type") == "started"]
    assert {(event["station_id"], event["evse_id"]) for event in sessions} <= evses
    assert sessions


def test_a_killed_day_is_resumed_without_reference_data(
    settings: Settings, kafka: RecordingKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(RecordingKafka):
        def publish(self, contract: Contract, rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
            if len(self.rows) > STATIONS + 20:
                raise ConnectionError("cut off")
            return super().publish(contract, rows)

    killed = Killed()
    with pytest.raises(ConnectionError):
        simulate_day(settings, NOW, open_publisher=killed)
    monkeypatch.setattr(simulated, "simulated_world", refuse)
    simulate_day(settings, NOW, open_publisher=kafka)
    registered = {row["station_id"] for row in killed.rows[:STATIONS]}
    assert {row["station_id"] for row in kafka.rows if "evse_id" in row} <= registered


def test_a_feed_whose_stations_are_gone_says_so(
    settings: Settings, kafka: RecordingKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate_day(settings, NOW, open_publisher=kafka)
    (settings.feeds_dir / simulated.FEED / "network.json").write_text("{}")
    with pytest.raises(FeedError, match=r"network\.json.*start again"):
        simulate_day(settings, NOW, open_publisher=kafka)
