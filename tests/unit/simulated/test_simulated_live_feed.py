"""The simulated feed: one day once, then a live feed without gap or changed id, whatever breaks."""

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from fake_kafka import FakePublisher

from evcharge.connections import ServerDownError
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY, Contract
from evcharge.feeds.messages import message
from evcharge.feeds.sent_ledger import chunks, read_sent
from evcharge.settings import Settings, load_settings
from evcharge.simulated import live_feed as simulated
from evcharge.simulated.live_feed import BEHAVIOUR, FeedError, run_live, simulate_day
from simulation import Simulation, build_fleet, build_network

NOW = datetime(2026, 3, 10, 9, 17, 5, 500_000, tzinfo=UTC)
START = datetime(2026, 3, 9, 9, 17, 5, tzinfo=UTC)


def expected(settings: Settings, until: datetime, contract: Contract = SESSION_EVENTS) -> set[bytes]:
    """Messages of an uninterrupted simulation; of cars those from the first day's last hour on."""
    network = build_network(stations=settings.simulation_stations, seed=settings.simulation_seed)
    fleet = build_fleet(network, vehicles=settings.simulation_vehicles, seed=settings.simulation_seed)
    whole = Simulation(network, fleet, seed=settings.simulation_seed, start_at=START, behaviour=BEHAVIOUR)
    events = whole.advance(until=until)
    batch = events if contract is SESSION_EVENTS else whole.telemetry(since=START + timedelta(hours=23))
    return {message(contract, row) for row in batch.rows()}


def session_events(kafka: FakePublisher) -> list[bytes]:
    return sent(kafka, SESSION_EVENTS)


def sent(kafka: FakePublisher, contract: Contract) -> list[bytes]:
    return [value for topic, value in kafka.messages if topic == contract.topic]


def ledger_event_ids(settings: Settings, contract: Contract = SESSION_EVENTS) -> list[str]:
    return read_sent(settings, topic=contract.topic)["event_id"].to_pylist()


def assert_complete(settings: Settings, kafka: FakePublisher, until: datetime) -> None:
    """Every message of both topics was sent, if not once then with the same id, and the ledger has each once."""
    for contract in (SESSION_EVENTS, VEHICLE_TELEMETRY):
        assert set(sent(kafka, contract)) == expected(settings, until, contract)
        ids = ledger_event_ids(settings, contract)
        assert len(ids) == len(set(ids)) == len(set(sent(kafka, contract)))


def live(settings: Settings, kafka: FakePublisher, *times: datetime, speed: float | None = None) -> None:
    """Runs the live feed at the given times of its clock, then stops it."""
    # the first look at the clock is for the log
    left = [times[0], *times]

    class StopAfterLast(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if not left:
                self.set()
            return self.is_set()

    run_live(settings, StopAfterLast(), open_publisher=lambda _: kafka, clock=lambda: left.pop(0), speed=speed)


def test_a_day_is_published_once(settings: Settings, kafka: FakePublisher) -> None:
    report = simulate_day(settings, NOW, open_publisher=lambda _: kafka)
    assert (report.simulated_from, report.simulated_until) == (START, START + timedelta(hours=24))
    assert not report.already_simulated
    assert [topic for topic, _ in kafka.messages[:9]] == [STATION_REGISTRY.topic] * 8 + [SESSION_EVENTS.topic]
    for contract in (SESSION_EVENTS, VEHICLE_TELEMETRY):
        assert sorted(sent(kafka, contract)) == sorted(expected(settings, report.simulated_until, contract))
        assert report.metadata(contract.topic)["messages"] == len(sent(kafka, contract))
    assert report.metadata("station-registry")["messages"] == 8
    stopped = [event for value in session_events(kafka) if (event := orjson.loads(value))["event_type"] == "stopped"]
    metadata = report.metadata("session-events")
    assert metadata["sessions"] == len(stopped) > 5
    assert metadata["energy_delivered_kwh"] == pytest.approx(sum(e["energy_delivered_kwh"] for e in stopped), abs=1e-6)

    before = len(kafka.messages)
    again = simulate_day(settings, NOW + timedelta(hours=3), open_publisher=lambda _: kafka)
    assert again.already_simulated
    assert again.totals == report.totals
    assert len(kafka.messages) == before


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["fail_before", "fail_after"])
# the last are of the first day's two last, cut hours, in which cars send messages too
@pytest.mark.parametrize("chunk", [0, 1, 5, 24, 25, 26, 27])
def test_an_interrupted_day_is_completed_as_it_was_begun(
    settings: Settings, kafka: FakePublisher, fault: str, chunk: int
) -> None:
    class FailsOnce(FakePublisher):
        calls = 0

        def publish(self, contract: Contract, rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
            setattr(self, fault, ConnectionError("cut off") if self.calls == chunk else None)
            self.calls += 1
            return super().publish(contract, rows)

    kafka = FailsOnce()
    with pytest.raises(ConnectionError):
        simulate_day(settings, NOW, open_publisher=lambda _: kafka)
    # stations are registered before the day's start is fixed, so only a fault after them can be resumed much later
    simulate_day(settings, NOW if chunk == 0 else NOW + timedelta(hours=5), open_publisher=lambda _: kafka)
    assert_complete(settings, kafka, START + timedelta(hours=24))


@pytest.mark.slow
def test_live_continues_without_gap_or_changed_id(settings: Settings, kafka: FakePublisher) -> None:
    simulate_day(settings, NOW, open_publisher=lambda _: kafka)
    end = START + timedelta(hours=24)
    live(settings, kafka, end + timedelta(seconds=5, microseconds=333), end + timedelta(minutes=7))
    # asleep for two days
    live(settings, kafka, end + timedelta(days=2, minutes=3))
    until = end + timedelta(days=2, minutes=4)
    live(settings, kafka, until)
    for contract in (SESSION_EVENTS, VEHICLE_TELEMETRY):
        assert len(sent(kafka, contract)) == len(set(sent(kafka, contract)))
    assert_complete(settings, kafka, until)
    # one ledger file of each kind for a past day, more for the running one
    names = chunks(settings, simulated.FEED)
    days = ["20260309", "20260310", "20260311"]
    assert [name for name in names if "T" not in name] == [*days, "cars-20260310", "cars-20260311", "stations"]
    assert all(name.startswith(("20260312T", "cars-20260312T")) for name in names if "T" in name)


@pytest.mark.slow
def test_live_catches_up_after_a_pause_at_the_given_pace(settings: Settings, kafka: FakePublisher) -> None:
    simulate_day(settings, NOW, open_publisher=lambda _: kafka)
    end = START + timedelta(hours=24)
    now = end + timedelta(hours=3)
    live(settings, kafka, now, now + timedelta(minutes=1), speed=60)
    assert_complete(settings, kafka, end + timedelta(hours=1))
    # killed and started again: from there on, and never ahead of the clock
    live(settings, kafka, now + timedelta(minutes=2), now + timedelta(minutes=3), speed=60)
    assert_complete(settings, kafka, end + timedelta(hours=2))
    live(settings, kafka, now + timedelta(minutes=4), now + timedelta(minutes=9), speed=60)
    assert_complete(settings, kafka, now + timedelta(minutes=9))


@pytest.mark.slow
def test_a_killed_live_feed_sends_the_open_chunk_again(settings: Settings, kafka: FakePublisher) -> None:
    simulate_day(settings, NOW, open_publisher=lambda _: kafka)
    end = START + timedelta(hours=24)
    live(settings, kafka, end + timedelta(minutes=2))
    folder = settings.feeds_dir / simulated.FEED
    cursor = (folder / "state.json").read_bytes()
    snapshots = {path: path.read_bytes() for path in folder.glob("simulation-*")}
    live(settings, kafka, end + timedelta(minutes=40))
    # as if killed between Kafka's acknowledgement and the cursor
    for path in folder.glob("simulation-*"):
        path.unlink()
    for path, content in snapshots.items():
        path.write_bytes(content)
    (folder / "state.json").write_bytes(cursor)
    until = end + timedelta(minutes=41)
    live(settings, kafka, until)
    assert_complete(settings, kafka, until)


def test_live_outlasts_a_kafka_that_is_down(settings: Settings, kafka: FakePublisher) -> None:
    simulate_day(settings, NOW, open_publisher=lambda _: kafka)
    end = START + timedelta(hours=24)
    waited: list[float] = []

    class Down(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout or 0)
            kafka.fail_before = ServerDownError("kafka does not answer") if len(waited) < 9 else None
            if len(waited) == 10:
                self.set()
            return self.is_set()

    kafka.fail_before = ServerDownError("kafka does not answer")
    times = (end + timedelta(minutes=minutes) for minutes in range(30, 90, 5))
    run_live(settings, Down(), open_publisher=lambda _: kafka, clock=lambda: next(times))
    assert waited == [1, 2, 4, 8, 16, 32, 60, 60, 60, simulated.LIVE_INTERVAL_S]
    state = orjson.loads((settings.feeds_dir / simulated.FEED / "state.json").read_bytes())
    until = datetime.fromisoformat(state["published_until"])
    assert until > end + timedelta(minutes=60)
    assert sorted(session_events(kafka)) == sorted(expected(settings, until))


def test_live_waits_for_the_first_day(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    class StopsAtOnce(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            self.set()
            return True

    opened: list[Settings] = []

    def open_publisher(settings: Settings) -> FakePublisher:
        opened.append(settings)
        return FakePublisher()

    run_live(settings, StopsAtOnce(), open_publisher=open_publisher)
    assert not opened


def test_two_processes_cannot_feed_at_once(settings: Settings, kafka: FakePublisher) -> None:
    with simulated._only_one(settings), pytest.raises(FeedError, match="another process runs the simulated feed"):
        simulate_day(settings, NOW, open_publisher=lambda _: kafka)


def test_other_settings_than_the_feed_began_with_are_refused(
    settings: Settings, kafka: FakePublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate_day(settings, NOW, open_publisher=lambda _: kafka)
    monkeypatch.setenv("EVCHARGE_SIMULATION_VEHICLES", "61")
    with pytest.raises(FeedError, match="EVCHARGE_SIMULATION_VEHICLES is 61, but the simulated feed began with 60"):
        simulate_day(load_settings(home=settings.home), NOW, open_publisher=lambda _: kafka)


@pytest.mark.parametrize("broken", ["state.json", "simulation-*"])
def test_a_broken_state_is_named(settings: Settings, kafka: FakePublisher, broken: str) -> None:
    simulate_day(settings, NOW, open_publisher=lambda _: kafka)
    (path,) = (settings.feeds_dir / simulated.FEED).glob(broken)
    path.write_bytes(b"{")
    with pytest.raises(FeedError, match=str(settings.feeds_dir)):
        live(settings, kafka, NOW)
