"""What one run publishes together. The logs and ledgers are given; tests/integration plans on a real Kafka."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import inf

import pytest

from evcharge.contracts import CONTRACTS, SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.kafka_log import TopicMissingError, TopicState
from evcharge.lake import planner
from evcharge.lake.ledger import Ledger, LedgerError
from evcharge.lake.planner import Plan, plan_together
from evcharge.settings import Settings, load_settings

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
REGISTRY, SESSIONS, POSITIONS = STATION_REGISTRY.topic, SESSION_EVENTS.topic, VEHICLE_TELEMETRY.topic

Together = Callable[..., dict[str, Plan]]


@pytest.fixture
def settings() -> Settings:
    return load_settings(
        publish_interval_s=90, telemetry_interval_s=900, publish_min_rows=1_000, publish_max_rows=5_000
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The topics in the order in which Kafka was asked."""
    return []


@pytest.fixture
def together(settings: Settings, asked: list[str], monkeypatch: pytest.MonkeyPatch) -> Together:
    """The plans by topic, where so many rows wait on a topic, and its last publication was so many seconds ago."""

    def found(resting: tuple[str, ...] = (), **topics: tuple[int, float]) -> dict[str, Plan]:
        waiting = {topic.replace("-", "_"): topic for topic in CONTRACTS}
        rows = {waiting[name]: rows for name, (rows, _) in topics.items()}
        since = {waiting[name]: since_s for name, (_, since_s) in topics.items()}

        def states(_: Settings, names: list[str]) -> dict[str, TopicState]:
            asked.extend(names)
            return {name: TopicState(name, "id", {0: 0}, {0: 10 + rows.get(name, 0)}) for name in names}

        def ledger(_: object, topic: str) -> Ledger:
            # a ledger that is ahead of the log contradicts it
            offset = 10 if rows.get(topic, 0) >= 0 else 99
            return Ledger(topic, "id", {0: offset}, 0, "p", 1, NOW - timedelta(seconds=since.get(topic, 1)))

        monkeypatch.setattr(planner, "topic_states", states)
        monkeypatch.setattr(planner, "read_ledger", ledger)
        plans = plan_together(settings, None, resting, NOW)  # type: ignore[arg-type]
        assert [plan.topic for plan in plans] == list(CONTRACTS)
        return {plan.topic: plan for plan in plans}

    return found


def planned(plans: dict[str, Plan]) -> dict[str, int]:
    """Rows of each range."""
    return {topic: plan.range.rows for topic, plan in plans.items() if plan.range}


def test_nothing_new_plans_nothing(together: Together) -> None:
    plans = together(session_events=(0, 9_999))
    assert planned(plans) == {}
    assert {plan.due_in_s for plan in plans.values()} == {inf}


@pytest.mark.parametrize(
    ("rows", "since_s", "due_in_s"),
    [(1, 30, 59.9), (1, 89, 0.9), (500, 30, 15), (500, 45, 0), (1_000, 1, 0), (9_999, 0, 0)],
)
def test_the_more_rows_wait_the_sooner(rows: int, since_s: float, due_in_s: float, together: Together) -> None:
    found = together(session_events=(rows, since_s))[SESSIONS]
    assert found.due_in_s == pytest.approx(due_in_s, abs=0.05)
    assert (found.range is None) == (due_in_s > 0)


def test_a_topic_that_is_due_takes_the_others_along(together: Together) -> None:
    assert planned(together(session_events=(5, 90), vehicle_telemetry=(7, 810))) == {SESSIONS: 5, POSITIONS: 7}
    assert planned(together(session_events=(5, 81), vehicle_telemetry=(7, 900))) == {SESSIONS: 5, POSITIONS: 7}
    plans = together(session_events=(5, 90), vehicle_telemetry=(7, 800))
    assert planned(plans) == {SESSIONS: 5}, "cars' positions are published seldom"
    assert 90 < plans[POSITIONS].due_in_s < 100


def test_sessions_do_not_wait_for_the_registrys_clock(together: Together) -> None:
    assert planned(together(station_registry=(3, 1), session_events=(5, 90))) == {REGISTRY: 3, SESSIONS: 5}


def test_all_stations_come_before_the_sessions(together: Together) -> None:
    plans = together(station_registry=(7_000, 1), session_events=(5, 90))
    assert planned(plans) == {REGISTRY: 5_000}
    assert plans[SESSIONS].reason == "2000 registry rows come first: sessions need their stations"


def test_a_registry_that_rests_holds_up_the_sessions_alone(together: Together) -> None:
    plans = together((REGISTRY,), station_registry=(3, 90), session_events=(5, 90), vehicle_telemetry=(7, 900))
    assert planned(plans) == {POSITIONS: 7}
    assert plans[SESSIONS].reason == "3 registry rows come first: sessions need their stations"
    assert planned(together((REGISTRY,), session_events=(5, 90))) == {SESSIONS: 5}, "none of its rows wait"


def test_a_contradiction_stops_its_topic(together: Together) -> None:
    plans = together(vehicle_telemetry=(-1, 900), session_events=(5, 90))
    assert planned(plans) == {SESSIONS: 5}
    assert plans[POSITIONS].contradicts
    assert "published up to 99, but the log ends at 9" in plans[POSITIONS].reason
    plans = together(station_registry=(-1, 90), session_events=(5, 90))
    assert planned(plans) == {}, "sessions need their stations"
    assert plans[SESSIONS].reason == plans[REGISTRY].reason


def test_the_registrys_log_is_read_last(together: Together, asked: list[str]) -> None:
    """A producer sends a station before its sessions: whoever has seen the sessions then sees their stations."""
    together(session_events=(5, 90))
    assert asked[-1] == REGISTRY
    assert set(asked) == set(CONTRACTS)


def test_a_missing_topic_is_reported(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise TopicMissingError("topic session-events does not exist in Kafka")

    monkeypatch.setattr(planner, "topic_states", missing)
    with pytest.raises(LedgerError, match="does not exist"):
        plan_together(settings, None)  # type: ignore[arg-type]
