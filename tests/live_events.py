"""Crafted events and records with times in ms, as the folds of the live state take them, and what they fold to."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from evcharge.contracts import SESSION_EVENTS
from evcharge.live.station_state import StationState

NOON = int(datetime(2026, 3, 4, 12, tzinfo=UTC).timestamp() * 1000)
MINUTE = 60_000

Rows = list[dict[str, Any]]


def event(kind: str, at: int, session: str = "s1", sequence: int = 0, **fields: Any) -> dict[str, Any]:
    """A session event with every column of the contract; times in ms."""
    row = dict.fromkeys(SESSION_EVENTS.columns)
    row |= {
        "event_id": f"{session}-{sequence}",
        "session_id": session,
        "sequence": sequence,
        "station_id": "st",
        "event_type": kind,
        "occurred_at": at,
        "evse_id": None if kind in ("queued", "abandoned") else "st-1",
        "connector_id": None if kind in ("queued", "abandoned") else "1",
        **fields,
    }
    return row


def record(**fields: Any) -> dict[str, Any]:
    """A registry record of a station with two EVSEs; times in ms."""
    return {
        "observed_at": NOON,
        "station_id": "st",
        "station_name": "Station",
        "time_zone": "America/New_York",
        "longitude": -73.9,
        "latitude": 40.7,
        "status_code": "E",
        "connector_types": ["J1772COMBO"],
        "total_outlets": 2,
        "connectors": [{"connector_type": "J1772COMBO", "power_kw": 150.0, "ports": 2}],
        "evses": [
            {"evse_id": f"st-{n}", "connector_id": "1", "connector_type": "J1772COMBO", "power_kw": 150.0}
            for n in (1, 2)
        ],
        "removed_at": None,
        **fields,
    }


def in_milliseconds(rows: Iterable[dict[str, Any]]) -> Rows:
    def ms(value: object) -> object:
        return round(value.timestamp() * 1000) if isinstance(value, datetime) else value

    return [{name: ms(value) for name, value in row.items()} for row in rows]


def folded(*events: dict[str, Any], registry: dict[str, Any] | None = None) -> StationState:
    """The state of one station after the events."""
    state = StationState("st")
    state.register(registry or record())
    for row in events:
        state.apply(row)
    return state


def fold_all(records: Rows, events: Iterable[dict[str, Any]], save_every: int = 0, **options: Any) -> dict[str, Any]:
    """The document of every station after the events, saved and read back at each `save_every`th."""
    states: dict[str, StationState] = {}
    for row in records:
        states[row["station_id"]] = StationState(row["station_id"], **options)
        states[row["station_id"]].register(row)
    for number, row in enumerate(events):
        station_id = row["station_id"]
        states[station_id].apply(row)
        if save_every and number % save_every == 0:
            saved = json.loads(json.dumps(states[station_id].document()))
            states[station_id] = StationState.from_document(saved)
    return {station_id: state.document() for station_id, state in states.items()}
