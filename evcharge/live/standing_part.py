"""The part of a station's document that stands until the registry or the status of an EVSE changes.

Most events are meter values, which change neither. This part is most of a document, and to make it takes most of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from evcharge.clock import ms_to_iso
from evcharge.live.evse import Evse
from evcharge.live.station_document import (
    LISTED_FIELDS,
    REGISTRY_FIELDS,
    evse_document,
    offers,
    outlet_documents,
    shown,
    strongest_kw,
)

#: The registry's record, and each EVSE with its connector, status and the status's instant: all that the part depends on.
_Facts = tuple[Mapping[str, Any], list[tuple[str, str | None, str, int]]]


@dataclass(frozen=True, slots=True)
class StandingPart:
    """JSON objects: the part of the `document`, of its field `listed`, and the `registry`'s record with its keys in order."""

    facts: _Facts
    document: bytes
    listed: bytes
    registry: orjson.Fragment

    @classmethod
    def of(
        cls,
        station_id: str,
        registry: Mapping[str, Any],
        listed: Mapping[str, Mapping[str, Any]],
        evses: Mapping[str, Evse],
        before: StandingPart | None,
    ) -> StandingPart:
        """The part for what the registry says, and what it says of each EVSE that the station has, in the order of their ids.

        It is the one `before`, if that still stands.
        """
        have = [evses.get(evse_id) or Evse(evse_id) for evse_id in listed]
        statuses = [(evse.evse_id, evse.connector_id, evse.status, evse.since_at) for evse in have]
        if before is not None and before.facts[0] is registry and before.facts[1] == statuses:
            return before
        part = _rendered(
            station_id, registry, [evse_document(e, listed[e.evse_id], registry.get("status_code")) for e in have]
        )
        shown_in_lists = {name: part[name] for name in LISTED_FIELDS if name in part}
        return cls(
            (registry, statuses),
            orjson.dumps(part),
            orjson.dumps(shown_in_lists),
            orjson.Fragment(orjson.dumps(registry, option=orjson.OPT_SORT_KEYS)),
        )


def _rendered(station_id: str, registry: Mapping[str, Any], evses: list[dict[str, Any]]) -> dict[str, Any]:
    outlets = outlet_documents(evses, registry)
    connector_types = registry.get("connector_types", ())
    return {
        "station_id": station_id,
        **{name: registry.get(name) for name in REGISTRY_FIELDS},
        "observed_at": ms_to_iso(registry.get("observed_at")),
        "removed_at": ms_to_iso(registry.get("removed_at")),
        "location": {"lat": registry["latitude"], "lon": registry["longitude"]} if registry else None,
        "is_current": bool(registry) and registry.get("removed_at") is None,
        "evses": evses,
        "outlets": outlets,
        "registered_outlets": registry.get("total_outlets"),
        "total_outlets": sum(outlet["total"] for outlet in outlets),
        **{f"{name}_outlets": sum(o[name] for o in outlets) for name in ("free", "busy", "unknown", "out_of_order")},
        "power_kw": strongest_kw(outlets, connector_types),
        "free_power_kw": strongest_kw([outlet for outlet in outlets if outlet["free"]]),
        "shown": shown(outlets, registry.get("status_code")),
        "offers": offers(outlets, connector_types),
    }


def joined(*objects: bytes) -> bytes:
    """JSON objects, none of them empty, as one."""
    return b"{" + b",".join(each[1:-1] for each in objects) + b"}"
