"""Plans the next range of a topic to publish. Planning changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from typing import Self

from evcharge.contracts import CONTRACTS, SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.kafka_log import TopicMissingError, TopicState, topic_states
from evcharge.lake.gaps import described, gaps
from evcharge.lake.ledger import Ledger, LedgerError, OffsetRange, read_ledger
from evcharge.lake.repository import Repository
from evcharge.settings import Settings


@dataclass(frozen=True, slots=True)
class Plan:
    """The next range of a topic, or the reason why there is none. `lag_rows` counts the rows that wait in the log.

    They are published by themselves in `due_in_s` seconds, which is infinite if nothing waits. `contradicts` says that ledger
    and log contradict each other: nothing of the topic is published before somebody has looked.
    """

    topic: str
    range: OffsetRange | None
    reason: str
    lag_rows: int
    due_in_s: float = inf
    contradicts: bool = False


@dataclass(frozen=True, slots=True)
class _Waiting:
    """What waits on a topic: rows, and seconds since its last publication (infinite before the first)."""

    state: TopicState
    ledger: Ledger
    rows: int
    since_s: float

    @classmethod
    def found(cls, repository: Repository, state: TopicState, now: datetime) -> Self:
        """Raises LedgerError if ledger and log contradict each other."""
        ledger = read_ledger(repository, state.topic)
        rows = _check(ledger, state)
        return cls(state, ledger, rows, (now - ledger.published_at).total_seconds() if ledger.published_at else inf)

    def due_in_s(self, settings: Settings) -> float:
        """The more rows wait, the sooner they are due: at once from `publish_min_rows` on."""
        if not self.rows:
            return inf
        share = min(1.0, self.rows / settings.publish_min_rows)
        return max(0.0, _interval_s(settings, self.state.topic) * (1 - share) - self.since_s)

    def goes_along(self, settings: Settings) -> bool:
        """Whether a run that publishes another topic takes these rows too."""
        return self.rows > 0 and self.since_s >= _interval_s(settings, self.state.topic) * _GOES_ALONG_AFTER

    def ready(self, settings: Settings, now: datetime) -> Plan:
        following = _next_range(self.state, self.ledger, settings.publish_max_rows, now)
        return Plan(self.state.topic, following, "ready", self.rows, 0.0)

    def waits(self, settings: Settings) -> Plan:
        reason = f"{self.rows} rows wait, last publication {self.since_s:.0f} s ago"
        return Plan(self.state.topic, None, reason, self.rows, self.due_in_s(settings))


#: A topic that is due takes along what has waited for this share of its interval, so that topics meet in one run.
_GOES_ALONG_AFTER = 0.9


def _interval_s(settings: Settings, topic: str) -> int:
    return settings.telemetry_interval_s if topic == VEHICLE_TELEMETRY.topic else settings.publish_interval_s


def plan(
    settings: Settings,
    repository: Repository,
    topic: str,
    *,
    now: datetime | None = None,
    eager: bool = False,
) -> Plan:
    """The next range of `topic`: from the ledger to the log's end, at most `publish_max_rows`.

    With `eager` one unpublished row is enough. Otherwise few rows wait until the last publication is `publish_interval_s` old
    (`telemetry_interval_s` for telemetry), `publish_min_rows` not at all, and a part of these so much shorter. Raises
    LedgerError if ledger and log contradict each other.
    """
    now = now or datetime.now(UTC)
    # only sessions are judged by the registry's stations
    topics = [topic, STATION_REGISTRY.topic] if topic == SESSION_EVENTS.topic else [topic]
    states = _states(settings, topics)
    waiting = _Waiting.found(repository, states[topic], now)
    if not waiting.rows:
        return Plan(topic, None, "nothing new", 0)
    if not eager and waiting.due_in_s(settings) > 0:
        return waiting.waits(settings)
    if topic == SESSION_EVENTS.topic:
        first = _Waiting.found(repository, states[STATION_REGISTRY.topic], now).rows
        if first:
            return Plan(topic, None, _stations_first(first), waiting.rows, 0.0)
    return waiting.ready(settings, now)


def plan_together(
    settings: Settings, repository: Repository, resting: Collection[str] = (), now: datetime | None = None
) -> list[Plan]:
    """What one run publishes: a plan for each topic, in the order of publication. The topics `resting` have no range.

    If one topic is due, the others go along. Registry rows that wait go before the sessions, in the same run, so that no
    session waits for its station. Raises LedgerError if a topic is missing, ServerDownError.
    """
    now = now or datetime.now(UTC)
    found: dict[str, _Waiting | Plan] = {}
    # the registry's log last, see _states
    for topic, state in _states(settings, sorted(CONTRACTS, key=STATION_REGISTRY.topic.__eq__)).items():
        try:
            found[topic] = _Waiting.found(repository, state, now)
        except LedgerError as error:
            found[topic] = Plan(topic, None, str(error), 0, contradicts=True)
    waiting = {topic: one for topic, one in found.items() if isinstance(one, _Waiting) and topic not in resting}
    due = any(one.due_in_s(settings) <= 0 for one in waiting.values())
    plans: dict[str, Plan] = {}
    for topic in CONTRACTS:
        one = found[topic]
        if isinstance(one, Plan):
            plans[topic] = one
        elif topic in resting or not one.rows:
            plans[topic] = Plan(topic, None, "resting" if one.rows else "nothing new", one.rows)
        elif due and (one.due_in_s(settings) <= 0 or one.goes_along(settings)):
            plans[topic] = one.ready(settings, now)
        else:
            plans[topic] = one.waits(settings)
    return list(_after_stations(plans, found, settings, now).values())


def _after_stations(
    plans: dict[str, Plan], found: Mapping[str, _Waiting | Plan], settings: Settings, now: datetime
) -> dict[str, Plan]:
    """The plans, with all registry rows before the sessions, or without the sessions if that is not possible."""
    sessions, registry = plans[SESSION_EVENTS.topic], plans[STATION_REGISTRY.topic]
    if sessions.range is None:
        return plans
    stations = found[STATION_REGISTRY.topic]
    if isinstance(stations, _Waiting) and stations.rows and registry.range is None and registry.reason != "resting":
        registry = stations.ready(settings, now)
    left = registry.lag_rows - (registry.range.rows if registry.range else 0)
    if left or registry.contradicts:
        reason = registry.reason if registry.contradicts else _stations_first(left)
        sessions = Plan(sessions.topic, None, reason, sessions.lag_rows, inf)
    return plans | {STATION_REGISTRY.topic: registry, SESSION_EVENTS.topic: sessions}


def _stations_first(rows: int) -> str:
    return f"{rows} registry rows come first: sessions need their stations"


def _states(settings: Settings, topics: list[str]) -> dict[str, TopicState]:
    """The topics' states, read in the given order. Raises LedgerError if a topic is missing.

    A producer sends a station before its sessions. So the registry comes last: whoever has seen the sessions then sees their
    stations.
    """
    try:
        return topic_states(settings, topics)
    except TopicMissingError as error:
        raise LedgerError(str(error)) from error


def _check(ledger: Ledger, state: TopicState) -> int:
    """Number of rows that wait in the log. Raises LedgerError if ledger and log contradict each other."""
    found = gaps(ledger, state)
    if found:
        raise LedgerError(
            f"{'; '.join(described(state.topic, found))}; `evcharge lake accept-gap {state.topic}` says what is lost "
            "and lets the topic go on"
        )
    return sum(end - ledger.published(p) for p, end in state.log_end.items())


def _next_range(state: TopicState, ledger: Ledger, max_rows: int, now: datetime) -> OffsetRange:
    start = {p: ledger.published(p) for p in sorted(state.log_end)}
    lag = {p: state.log_end[p] - start[p] for p in start}
    total = sum(lag.values())
    # Each partition gives its share of a backlog, so that no partition falls behind the others.
    take = {p: rows * max_rows // max(total, max_rows) for p, rows in lag.items()}
    for partition in sorted(lag, key=lambda p: take[p] - lag[p])[: min(total, max_rows) - sum(take.values())]:
        take[partition] += 1
    return OffsetRange(state.topic, state.topic_id, start, {p: start[p] + take[p] for p in start}, now)
