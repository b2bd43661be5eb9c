"""What a station's state keeps of the registry: its newest record, without what no reader can use.

Records come from Kafka and from the lake as they were sent, some before today's rules of the contract. So an element of a
list may be missing, or have no id, and a power may be absurd: such an element or value is left out.

Only a list can say that an EVSE is gone. The newest record that lists EVSEs decides which EVSEs a station has. A record whose
snapshot declares no scope, as that of a recorded file, adds its EVSEs to those listed before: a file shows the EVSEs that
were used in it, not those that exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from evcharge.clock import LAST_MS
from evcharge.contracts.connector_types import normalised
from evcharge.contracts.session_events import MAX_POWER_KW
from evcharge.contracts.station_registry import UNDECLARED

#: The most EVSEs that a station's document has from its registry, and as many from its events. The largest sites have a few
#: hundred; a charger that makes up a new id for each event has no bound of its own.
MAX_EVSES = 1_000


def kept(record: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The record as the state keeps it, after the one `before` (empty: none). Times in ms since the epoch.

    `evses` has the EVSEs listed by this record and, if it takes none away, by those before. `lists_all` says whether a record
    has ever said which others are gone.
    """
    evses = {evse["evse_id"]: evse for evse in _usable(record.get("evses"), "evse_id")}
    adds_only = not evses or record.get("snapshot_scope") == UNDECLARED
    if adds_only:
        evses = {evse["evse_id"]: evse for evse in before.get("evses", ())} | evses
    return {
        **record,
        "removed_at": _removed_at(record),
        "connector_types": sorted({name for word in record.get("connector_types") or () if (name := _type(word))}),
        "connectors": _usable(record.get("connectors")),
        "evses": [evses[evse_id] for evse_id in sorted(evses)[:MAX_EVSES]],
        "lists_all": before.get("lists_all", False) if adds_only else True,
    }


def _usable(elements: Iterable[Mapping[str, Any] | None] | None, *required: str) -> list[dict[str, Any]]:
    return [
        {
            **element,
            "connector_type": _type(element.get("connector_type")),
            "power_kw": _power_kw(element.get("power_kw")),
        }
        for element in elements or ()
        if element and all(element.get(name) for name in required)
    ][:MAX_EVSES]


def _type(word: str | None) -> str | None:
    return normalised(word) or None if word else None


def _power_kw(power_kw: float | None) -> float | None:
    return power_kw if power_kw is not None and 0 <= power_kw <= MAX_POWER_KW else None


def _removed_at(record: Mapping[str, Any]) -> int | None:
    removed_at = record.get("removed_at")
    return None if removed_at is None else max(1, min(removed_at, LAST_MS))
