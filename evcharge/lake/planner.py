"""Plans the next range of a topic to publish. Planning changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.kafka_log import TopicMissingError, TopicState, topic_states
from evcharge.lake.gaps import described, gaps
from evcharge.lake.ledger import Ledger, LedgerError, OffsetRange, read_ledger
from evcharge.lake.repository import Repository
from evcharge.settings import Settings


@dataclass(frozen=True, slots=True)
class Plan:
    """The next range of a topic, or the reason why there is none. `lag_rows` counts the rows that wait in the log."""

    topic: str
    range: OffsetRange | None
    reason: str
    lag_rows: int


def plan(
    settings: Settings,
    repository: Repository,
    topic: str,
    *,
    now: datetime | None = None,
    eager: bool = False,
) -> Plan:
    """The next range of `topic`: from the ledger to the log's end, at most `publish_max_rows`.

    With `eager` one unpublished row is enough. Otherwise `publish_min_rows` rows must wait, or the last publication must
    be `publish_interval_s` old (`telemetry_interval_s` for telemetry). Raises LedgerError if ledger and log contradict
    each other.
    """
    now = now or datetime.now(UTC)
    # only sessions are judged by the registry's stations
    topics = [topic, STATION_REGISTRY.topic] if topic == SESSION_EVENTS.topic else [topic]
    # One call per topic, the planned topic first. A producer sends a station before its sessions, so a call that sees the
    # sessions is followed by one that sees the station.
    try:
        states = {name: topic_states(settings, [name])[name] for name in topics}
    except TopicMissingError as error:
        raise LedgerError(str(error)) from error
    state = states[topic]
    ledger = read_ledger(repository, topic)
    lag_rows = _check(ledger, state)
    if lag_rows == 0:
        return Plan(topic, None, "nothing new", 0)
    waited_s = (now - ledger.published_at).total_seconds() if ledger.published_at else float("inf")
    telemetry = topic == VEHICLE_TELEMETRY.topic
    interval_s = settings.telemetry_interval_s if telemetry else settings.publish_interval_s
    if not eager and lag_rows < settings.publish_min_rows and waited_s < interval_s:
        return Plan(topic, None, f"{lag_rows} rows wait, last publication {waited_s:.0f} s ago", lag_rows)
    if topic == SESSION_EVENTS.topic:
        registry_lag = _check(read_ledger(repository, STATION_REGISTRY.topic), states[STATION_REGISTRY.topic])
        if registry_lag:
            return Plan(topic, None, f"{registry_lag} registry rows come first: sessions need their stations", lag_rows)
    return Plan(topic, _next_range(state, ledger, settings.publish_max_rows, now), "ready", lag_rows)


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
