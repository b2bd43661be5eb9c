"""Contract rows and their bytes on Kafka."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from evcharge.contracts import CONTRACTS, Contract
from evcharge.contracts.session_events import event_id
from evcharge.sessions.readers import RecordedSession

_COLUMNS = {topic: frozenset(contract.columns) for topic, contract in CONTRACTS.items()}


def message(contract: Contract, row: Mapping[str, Any]) -> bytes:
    """The row as the contract's JSON: schema version filled in, null fields left out, times in UTC to the millisecond.

    Raises ValueError for a field that the contract does not have, TypeError for a value that is no part of JSON or a
    time without zone.
    """
    present: dict[str, Any] = {"schema_version": contract.schema_version}
    for name, value in row.items():
        if value is not None:
            present[name] = value
    if not present.keys() <= _COLUMNS[contract.topic]:
        unknown = sorted(present.keys() - _COLUMNS[contract.topic])
        raise ValueError(f"{contract.topic} has no field {', '.join(unknown)}")
    return orjson.dumps(present, default=_encode, option=orjson.OPT_PASSTHROUGH_DATETIME)


def instant(at: datetime) -> str:
    """ISO-8601 in UTC with milliseconds and Z; raises ValueError for a time without zone."""
    if at.tzinfo is None:
        raise ValueError(f"{at} has no time zone")
    return at.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def session_events(session: RecordedSession) -> tuple[dict[str, Any], dict[str, Any]]:
    """The `started` and the `stopped` event of a recorded session, as rows of the session-events contract.

    Sources that record sessions have no events in between; the sequence numbers are 0 and 1.
    """
    common = {
        "session_id": session.session_id,
        "station_id": session.station_id,
        "evse_id": session.evse_id,
        "connector_id": session.connector_id,
        "ev_id": session.ev_id,
        "ev_model_id": session.ev_model_id,
    }
    started = {
        **common,
        "event_id": event_id(session.session_id, 0),
        "sequence": 0,
        "event_type": "started",
        "occurred_at": session.started_at,
        "energy_delivered_kwh": 0.0,
        "state_of_charge": session.soc_start,
    }
    stopped = {
        **common,
        "event_id": event_id(session.session_id, 1),
        "sequence": 1,
        "event_type": "stopped",
        "occurred_at": session.ended_at,
        "energy_delivered_kwh": session.energy_delivered_kwh,
        "state_of_charge": session.soc_end,
        "reason": session.reason,
        "started_at": session.started_at,
        "idle_s": session.idle_s,
        "queue_wait_s": session.queue_wait_s,
        "state_of_charge_start": session.soc_start,
    }
    return started, stopped


def _encode(value: object) -> str:
    if isinstance(value, datetime):
        return instant(value)
    raise TypeError(f"{type(value).__name__} has no place in a message")
