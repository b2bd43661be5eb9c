"""A worker that remembers the states that it wrote, beside another that writes the same stations."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest
from elasticsearch import Elasticsearch
from support import NOON, meter, station

from evcharge.connections import elasticsearch
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, Contract
from evcharge.live import indices
from evcharge.live import station_folder as stations
from evcharge.live.indices import STATION_STATE
from evcharge.live.refusals import IndexGoneError
from evcharge.live.station_folder import KnownStates, StationFolder, fold_into
from evcharge.live.station_state import StationState
from evcharge.settings import Settings

STATION = "known-states"


@pytest.fixture
def client(platform: Settings) -> Iterator[Elasticsearch]:
    with elasticsearch(platform) as client:
        yield client


@pytest.fixture
def index(client: Elasticsearch) -> Iterator[str]:
    name = indices.create(client, STATION_STATE, {}, "")
    yield name
    client.indices.delete(index=name, ignore_unavailable=True)


def record(contract: Contract, row: dict[str, Any], offset: int) -> dict[str, Any]:
    columns = {name: row.get(name) for name in contract.columns}
    for name, value in columns.items():
        if isinstance(value, datetime):
            columns[name] = int(value.timestamp() * 1000)
    return columns | {"kafka_partition": 0, "kafka_offset": offset}


def session(number: int) -> dict[str, Any]:
    """The start of a session of its own."""
    row = meter(
        f"{STATION}-{number}",
        STATION,
        occurred_at=NOON + timedelta(minutes=number),
        event_type="started",
        energy_delivered_kwh=0.0,
        evse_id=f"{STATION}-{number}",
    )
    return record(SESSION_EVENTS, row, number)


def state_of(client: Elasticsearch, index: str) -> StationState:
    return StationState.from_document(client.get(index=index, id=STATION)["_source"])


def test_what_it_wrote_is_not_read_again(client: Elasticsearch, index: str) -> None:
    known = KnownStates()
    registered = record(STATION_REGISTRY, station(STATION), 0)
    fold_into(client, index, STATION_REGISTRY.topic, {STATION: [registered]}, known)
    with patch.object(stations, "_read", side_effect=AssertionError("read again")):
        for number in range(3):
            fold_into(client, index, SESSION_EVENTS.topic, {STATION: [session(number)]}, known)
        # a repeated batch changes nothing and is not forgotten either
        fold_into(client, index, SESSION_EVENTS.topic, {STATION: [session(2)]}, known)
    assert len(state_of(client, index).sessions) == 3


@pytest.fixture
def folder(platform: Settings, index: str) -> Iterator[StationFolder]:
    yield StationFolder(platform, index, STATION_REGISTRY.topic)
    # the folder freezes objects, which hides them from the collector
    gc.unfreeze()


def registration() -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([record(STATION_REGISTRY, station(STATION), 0)])


def test_what_a_batch_wrote_shows_at_once(client: Elasticsearch, index: str, folder: StationFolder) -> None:
    client.indices.put_settings(index=index, settings={"refresh_interval": "-1"})
    list(folder([registration()]))
    assert client.count(index=index)["count"] == 1


def test_an_index_that_is_gone_once_all_is_written_ends_no_batch(
    client: Elasticsearch, index: str, folder: StationFolder
) -> None:
    list(folder([registration()]))
    client.indices.delete(index=index)
    # nothing is left to write, only to refresh
    (report,) = folder([registration()])
    assert report.num_rows == 1


def test_two_that_write_in_turn_lose_nothing(client: Elasticsearch, index: str) -> None:
    one, other = KnownStates(), KnownStates()
    for number in range(8):
        fold_into(client, index, SESSION_EVENTS.topic, {STATION: [session(number)]}, (one, other)[number % 2])
    state = state_of(client, index)
    assert set(state.sessions) == {f"{STATION}-{number}" for number in range(8)}
    assert state.applied == {SESSION_EVENTS.topic: {"0": 8}}


def test_a_document_that_somebody_deleted_is_begun_again(client: Elasticsearch, index: str) -> None:
    known = KnownStates()
    fold_into(client, index, SESSION_EVENTS.topic, {STATION: [session(0)]}, known)
    client.delete(index=index, id=STATION)
    fold_into(client, index, SESSION_EVENTS.topic, {STATION: [session(1)]}, known)
    assert set(state_of(client, index).sessions) == {f"{STATION}-1"}


def test_an_index_that_is_gone_is_not_made_again(client: Elasticsearch, index: str) -> None:
    known = KnownStates()
    fold_into(client, index, SESSION_EVENTS.topic, {STATION: [session(0)]}, known)
    client.indices.delete(index=index)
    with pytest.raises(IndexGoneError, match=index):
        fold_into(client, index, SESSION_EVENTS.topic, {STATION: [session(1)]}, known)
    assert not client.indices.exists(index=index)


def test_the_longest_untouched_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stations, "KEPT_STATES", 2)
    known = KnownStates()
    for name in ("a", "b", "a", "c"):
        known.take(name)
        known.put(StationState(name), None)
    assert list(known.held) == ["a", "c"]
