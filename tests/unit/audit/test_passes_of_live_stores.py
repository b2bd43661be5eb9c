"""The folds beside the live stores end the same in passes as all at once, whatever the size of a pass."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from live_events import in_milliseconds

from evcharge.audit import live_stores
from evcharge.audit.figures import Figures, Sides, StationHour, disagreements, merged
from evcharge.audit.live_stores import _compared_documents, _hours_of, _needed_schema, _row_schema
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY
from evcharge.live.final_usage import folded
from evcharge.live.pending_hours import ComputedDay
from evcharge.live.station_folder import fold
from evcharge.live.station_state import StationState
from evcharge.passes import StationRows, passes
from simulation import Simulation, build_fleet, build_network

START = datetime(2026, 3, 3, tzinfo=UTC)
REGISTRY, EVENTS = STATION_REGISTRY.topic, SESSION_EVENTS.topic
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def feed() -> tuple[Rows, Rows]:
    """Registry records and the events of a simulated day at 40 stations, each with its place in Kafka."""
    network = build_network(40, seed=5)
    simulation = Simulation(network, build_fleet(network, 300, seed=5), seed=5, start_at=START)
    events = in_milliseconds(simulation.advance(until=START + timedelta(hours=20)).rows())
    registry = in_milliseconds({**row, "observed_at": START, "removed_at": None} for row in network.registry_records())
    return placed(registry), placed(events)


def placed(rows: Rows) -> Rows:
    return [row | {"topic_generation": 1, "kafka_partition": 0, "kafka_offset": n} for n, row in enumerate(rows)]


def table(topic: str, rows: Rows) -> pa.Table:
    schema = _row_schema(topic)
    return pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema)


def documents(registry: Rows, events: Rows) -> dict[str, dict[str, Any]]:
    """What the stream makes of the rows, as Elasticsearch has it."""
    states: dict[str, StationState] = {}
    for topic, rows in ((REGISTRY, registry), (EVENTS, events)):
        for row in table(topic, rows).drop_columns("topic_generation").to_pylist():
            fold(states.setdefault(row["station_id"], StationState(row["station_id"])), topic, [row])
    return {name: orjson.loads(orjson.dumps(state.document())) for name, state in states.items()}


def in_passes(folder: Path, pass_bytes: int, registry: Rows, events: Rows, found: dict[str, dict[str, Any]]) -> Sides:
    ledgers = {REGISTRY: {0: len(registry)}, EVENTS: {0: len(events), 1: 10**6}}
    texts = [list(found), list(map(orjson.dumps, found.values()))]
    tables = table(REGISTRY, registry), table(EVENTS, events), pa.table(texts, schema=live_stores._DOCUMENTS)
    stores = [StationRows(folder, rows.schema) for rows in tables]
    for store, rows in zip(stores, tables, strict=True):
        store.add(rows)
    return merged(
        _compared_documents(records, own, texts_of, ledgers, {0: 0}, {"nobody"})
        for records, own, texts_of in passes(*stores, pass_bytes=pass_bytes)
    )


@pytest.mark.parametrize("pass_bytes", [1, 100_000, 10**9])
def test_documents_agree_with_the_fold(pass_bytes: int, feed: tuple[Rows, Rows], tmp_path: Path) -> None:
    registry, events = feed
    found = documents(registry, events)
    sides = in_passes(tmp_path, pass_bytes, registry, events, found)
    assert (len(sides.found), list(disagreements(sides))) == (len(found), [])
    assert (sides.ahead, sides.unordered) == (0, 0)


@pytest.mark.parametrize("pass_bytes", [1, 100_000, 10**9])
def test_what_is_wrong_is_found_in_any_pass(pass_bytes: int, feed: tuple[Rows, Rows], tmp_path: Path) -> None:
    registry, events = feed
    found = documents(registry, events)
    busy = sorted({row["station_id"] for row in events})
    changed, missing, ahead, spread = busy[:4]
    found[changed] |= {"free_outlets": 99}
    del found[missing]
    found[ahead]["applied"][EVENTS]["0"] += 1 + len(events)
    moved = next(row for row in events if row["station_id"] == spread)
    events = [row | ({"kafka_partition": 1} if row is moved else {}) for row in events]
    sides = in_passes(tmp_path, pass_bytes, registry, events, found)
    # below `overdue` nothing is, so a document that is missing has nothing to miss
    assert [key[0] for key, _, _ in disagreements(sides)] == [changed]
    assert (sides.ahead, sides.unordered) == (1, 1)


@pytest.mark.parametrize("pass_bytes", [1, 100_000, 10**9])
def test_final_hours_in_passes(pass_bytes: int, feed: tuple[Rows, Rows], tmp_path: Path) -> None:
    _, events = feed
    # some come twice, in another order
    rows = [*events, *(row | {"kafka_offset": row["kafka_offset"] + 10**6} for row in reversed(events[::7]))]
    mark = ComputedDay("commit", START + timedelta(hours=18), START)
    days = {date(2026, 3, 3): mark}
    with StationRows(tmp_path, _needed_schema()) as store:
        store.add(table(EVENTS, rows).append_column("commit", pa.repeat("commit", len(rows))))
        hours: dict[StationHour, Figures] = {}
        for (found,) in passes(store, pass_bytes=pass_bytes):
            hours |= _hours_of(found.drop_columns("commit"), days)
    ordered = sorted(events, key=lambda r: (r["station_id"], r["occurred_at"], r["session_id"], r["sequence"]))
    until = int(mark.hours_to.timestamp() * 1000)
    expected = {
        (state.station_id, start): live_stores._hour_figures(hour)
        for state in folded(ordered)
        for start, hour in state.usage.hours.items()
        if start < until
    }
    assert len(expected) > 100
    assert hours == expected
