"""Simulated days: each continues the one before, however often it is launched and whatever is killed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson
import pytest
from fake_kafka import FakePublisher

from evcharge import lock
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY, Contract
from evcharge.feeds.messages import message
from evcharge.feeds.sent_ledger import read_sent
from evcharge.settings import Settings, load_settings
from evcharge.simulated import live_feed as simulated
from evcharge.simulated import past_days as simulated_days
from evcharge.simulated.live_feed import BEHAVIOUR, FeedError, simulate_day
from evcharge.simulated.past_days import FEED, DayReport, simulate_past_day
from simulation import EventBatch, Simulation, build_fleet, build_network

FIRST, SECOND, THIRD = (date(2026, 3, day) for day in (7, 8, 9))
START = datetime(2026, 3, 7, tzinfo=UTC)
NOW = datetime(2026, 3, 11, 9, 17, 5, tzinfo=UTC)


def simulate(settings: Settings, kafka: FakePublisher, *days: date) -> list[DayReport]:
    return [simulate_past_day(settings, day, NOW, open_publisher=lambda _: kafka) for day in days]


def unbroken(settings: Settings, days: int) -> list[bytes]:
    """Messages of one simulation of so many days, in which midnight's events are the next day's."""
    seed = settings.simulation_seed + 1
    network = build_network(settings.simulation_stations, seed, "simday")
    fleet = build_fleet(network, settings.simulation_vehicles, seed, id_prefix="ev-simday")
    end = START + timedelta(days=days)
    events = Simulation(network, fleet, seed=seed, start_at=START, behaviour=BEHAVIOUR).advance(until=end)
    return [message(SESSION_EVENTS, row) for row in events.rows() if row["occurred_at"] < end]


def sent(kafka: FakePublisher) -> list[bytes]:
    return [value for topic, value in kafka.messages if topic == SESSION_EVENTS.topic]


def files(settings: Settings) -> dict[str, bytes]:
    """The feed's folder."""
    folder = settings.feeds_dir / FEED
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def offsets(settings: Settings) -> dict[str, int]:
    """Where the ledger says that each event went; it names none twice."""
    rows = read_sent(settings, FEED, topic=SESSION_EVENTS.topic).to_pylist()
    found = {row["event_id"]: row["offset"] for row in rows}
    assert len(found) == len(rows)
    return found


def test_days_one_by_one_are_one_long_simulation(settings: Settings, kafka: FakePublisher) -> None:
    reports = simulate(settings, kafka, FIRST, SECOND)
    assert sent(kafka) == unbroken(settings, 2)
    assert [topic for topic, _ in kafka.messages].count(STATION_REGISTRY.topic) == 8
    for report in reports:
        of_day = [event for event in map(orjson.loads, sent(kafka)) if event["occurred_at"][:10] == str(report.day)]
        stopped = [event for event in of_day if event["event_type"] == "stopped"]
        metadata = report.metadata()
        assert not metadata["already_simulated"]
        assert metadata["events"] == len(of_day)
        assert metadata["sessions"] == len(stopped) > 5
        assert metadata["energy_kwh"] == pytest.approx(sum(event["energy_delivered_kwh"] for event in stopped))
        assert metadata["state_bytes"] == len(files(settings)[f"{report.day}.state.json.gz"]) > 0
    assert reports[0].ledger_hash != reports[1].ledger_hash


def test_an_event_at_midnight_is_the_next_days(
    settings: Settings, kafka: FakePublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hardly any event falls on that millisecond, so the test looks at how far a day is simulated."""
    reached: list[datetime] = []
    advance = Simulation.advance

    def noting(simulation: Simulation, *, until: datetime) -> EventBatch:
        reached.append(until)
        return advance(simulation, until=until)

    monkeypatch.setattr(Simulation, "advance", noting)
    simulate(settings, kafka, FIRST)
    assert max(reached) == START + timedelta(days=1) - timedelta(milliseconds=1)


def test_a_second_run_changes_nothing(settings: Settings, kafka: FakePublisher) -> None:
    first, second = simulate(settings, kafka, FIRST, SECOND)
    before, messages = files(settings), list(kafka.messages)
    again = simulate(settings, kafka, SECOND, FIRST)
    assert [report.already_simulated for report in again] == [True, True]
    assert [(r.totals, r.ledger_hash) for r in again] == [
        (second.totals, second.ledger_hash),
        (first.totals, first.ledger_hash),
    ]
    assert kafka.messages == messages
    assert files(settings) == before


@pytest.mark.slow
@pytest.mark.parametrize("day", [FIRST, SECOND])
@pytest.mark.parametrize("lost", ["state", "ledger"])
def test_an_old_day_comes_out_the_same(settings: Settings, kafka: FakePublisher, day: date, lost: str) -> None:
    """Without its state a day looks killed right before its end; without its ledger it looks unsent."""
    reports = simulate(settings, kafka, FIRST, SECOND, THIRD)
    before, events = files(settings), sent(kafka)
    ledger = read_sent(settings, FEED)
    name = {"state": f"{day}.state.json.gz", "ledger": f"ledger/{day:%Y%m%d}.parquet"}[lost]
    (settings.feeds_dir / FEED / name).unlink()
    (again,) = simulate(settings, kafka, day)
    assert not again.already_simulated
    former = reports[(day - FIRST).days]
    assert (again.totals, again.ledger_hash) == (former.totals, former.ledger_hash)
    assert files(settings).keys() == before.keys()
    assert files(settings)[f"{day}.state.json.gz"] == before[f"{day}.state.json.gz"]
    assert set(sent(kafka)) == set(events)
    if lost == "state":
        assert read_sent(settings, FEED).equals(ledger)
    (following,) = simulate(settings, kafka, THIRD)
    assert following.already_simulated


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["fail_before", "fail_after"])
# stations, the first and last hour of the first day, and an hour of the second
@pytest.mark.parametrize("call", [0, 1, 24, 30])
def test_a_killed_day_is_completed_under_the_same_ids(settings: Settings, fault: str, call: int) -> None:
    class FailsOnce(FakePublisher):
        calls = 0

        def publish(self, contract: Contract, rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
            setattr(self, fault, ConnectionError("cut off") if self.calls == call else None)
            self.calls += 1
            return super().publish(contract, rows)

    kafka = FailsOnce()
    killed = SECOND if call > 24 else FIRST
    with pytest.raises(ConnectionError):
        simulate(settings, kafka, FIRST, SECOND)
    assert f"{killed}.state.json.gz" not in files(settings)
    acknowledged = offsets(settings)
    simulate(settings, kafka, FIRST, SECOND)
    assert set(sent(kafka)) == set(unbroken(settings, 2))
    assert len(offsets(settings)) == len(unbroken(settings, 2))
    # whoever reads the lake keeps an event's first record too
    assert acknowledged.items() <= offsets(settings).items()


def test_a_missing_day_is_named(settings: Settings, kafka: FakePublisher) -> None:
    simulate(settings, kafka, FIRST)
    messages = list(kafka.messages)
    with pytest.raises(
        FeedError, match=r"2026-03-08 is not simulated: launch the backfill from 2026-03-08 to 2026-03-10"
    ):
        simulate(settings, kafka, date(2026, 3, 10))
    (settings.feeds_dir / FEED / f"{FIRST}.state.json.gz").unlink()
    with pytest.raises(FeedError, match="2026-03-07 is not simulated"):
        simulate(settings, kafka, THIRD)
    assert kafka.messages == messages


@pytest.mark.parametrize(
    ("day", "reason"),
    [
        (NOW.date(), "only UTC days that are over can, up to 2026-03-10"),
        (NOW.date() + timedelta(days=1), "only UTC days that are over can, up to 2026-03-10"),
        (date(2017, 12, 31), "event days begin with 2018-01-01"),
    ],
)
def test_an_impossible_day_begins_nothing(settings: Settings, kafka: FakePublisher, day: date, reason: str) -> None:
    with pytest.raises(FeedError, match=reason):
        simulate(settings, kafka, day)
    assert not (settings.feeds_dir / FEED).exists()


def test_days_are_utc_days(settings: Settings, kafka: FakePublisher) -> None:
    """An hour past midnight in Tokyo the day before is not over in UTC."""
    in_tokyo = datetime.fromisoformat("2026-03-08T01:00:00+09:00")
    with pytest.raises(FeedError, match="up to 2026-03-06"):
        simulate_past_day(settings, FIRST, in_tokyo, open_publisher=lambda _: kafka)


def test_nothing_comes_before_the_first_day(settings: Settings, kafka: FakePublisher) -> None:
    simulate(settings, kafka, SECOND)
    with pytest.raises(FeedError, match="2026-03-07 cannot be simulated: simulated days began with 2026-03-08"):
        simulate(settings, kafka, FIRST)


@pytest.mark.slow
def test_nothing_is_shared_with_the_live_feed(settings: Settings, kafka: FakePublisher) -> None:
    simulate(settings, kafka, FIRST)
    simulate_day(settings, START + timedelta(days=1), open_publisher=lambda _: kafka)
    days, live = (read_sent(settings, feed) for feed in (FEED, simulated.FEED))
    assert days.num_rows
    assert VEHICLE_TELEMETRY.topic not in days["topic"].to_pylist()
    for name in ("event_id", "session_id", "station_id"):
        in_days = {value for value in days[name].to_pylist() if value is not None}
        assert in_days
        assert not in_days & set(live[name].to_pylist())
    events = [orjson.loads(value) for value in sent(kafka)]
    for name in ("evse_id", "ev_id"):
        of_days = {event.get(name) for event in events if event["station_id"].startswith("simday-")} - {None}
        assert of_days
        assert not of_days & {event.get(name) for event in events if event["station_id"].startswith("sim-")}


def test_other_settings_than_the_days_began_with_are_refused(
    settings: Settings, kafka: FakePublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(settings, kafka, FIRST)
    monkeypatch.setenv("EVCHARGE_SIMULATION_STATIONS", "9")
    with pytest.raises(FeedError, match="EVCHARGE_SIMULATION_STATIONS is 9, but the simulated feed began with 8"):
        simulate(load_settings(home=settings.home), kafka, SECOND)


def test_two_processes_cannot_simulate_days_at_once(settings: Settings, kafka: FakePublisher) -> None:
    held = settings.feeds_dir / FEED / "lock"
    with lock.only_one(held, FeedError("held")), pytest.raises(FeedError, match="another process simulates days"):
        simulate(settings, kafka, FIRST)
    assert not kafka.messages


@pytest.mark.parametrize("broken", ["feed.json", f"{FIRST}.state.json.gz"])
def test_a_broken_file_is_named(settings: Settings, kafka: FakePublisher, broken: str) -> None:
    simulate(settings, kafka, FIRST)
    path = settings.feeds_dir / FEED / broken
    path.write_bytes(b"{")
    for day in (FIRST, SECOND):
        with pytest.raises(FeedError, match=str(path)):
            simulate(settings, kafka, day)


def test_a_state_of_another_simulation_is_refused(
    settings: Settings, kafka: FakePublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(settings, kafka, FIRST)
    monkeypatch.setattr(simulated_days, "VEHICLE_PREFIX", "ev-other")
    with pytest.raises(FeedError, match=r"2026-03-07\.state\.json\.gz cannot be resumed"):
        simulate(settings, kafka, SECOND)
