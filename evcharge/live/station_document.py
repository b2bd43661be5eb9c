"""The parts of a station's Elasticsearch document: its EVSEs, outlets and sessions, and the fields that a list shows."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any

import orjson

from evcharge.clock import DAY_MS, ms_to_iso
from evcharge.contracts.connector_types import CONNECTOR_TYPES, answers_to
from evcharge.live.evse import (
    AVAILABLE,
    BLOCKED,
    CHARGING,
    INOPERATIVE,
    OUT_OF_ORDER,
    PLANNED,
    UNKNOWN,
    Evse,
    OpenSession,
)

#: The registry's fields that the document repeats as they are.
REGISTRY_FIELDS = (
    "station_name",
    "city",
    "state",
    "zip",
    "country",
    "time_zone",
    "status_code",
    "network",
    "source",
)
#: The fields that a list of stations shows for each station.
LISTED_FIELDS = (
    *("station_id", "station_name", "city", "state", "country", "network", "source", "time_zone", "location"),
    *("status_code", "observed_at", "removed_at", "is_current", "outlets", "queue_length"),
    *("last_event_at", "last_change_at"),
)
#: DC charging is planned to end here, where it slows down: TomTom's default curve falls to 35 % of peak from 80 % on.
DC_TARGET_PERCENT = 80.0
#: An end of charging further ahead than this says nothing: a car that gained a thousandth of a percent would need years.
LONGEST_CHARGE_MS = 30 * DAY_MS
#: A connector with more power than this gives direct current: J1772 ends at 80 A x 240 V.
MAX_AC_KW = 19.2
#: The keys of `power_kw` and `free_power_kw`.
POWER_KEYS = ("any", *CONNECTOR_TYPES)
#: The states of an outlet in `offers`. Blocked: its car does not charge. Further free outlets have the numbers from 5 on.
OFFER_UNKNOWN, OFFER_CHARGING, OFFER_BLOCKED, OFFER_BROKEN, OFFER_FREE = range(5)
#: What `shown` has: a station's state by all its outlets, if its events are recent enough to count. Planned and closed ones are
#: so by the registry, whatever was heard from them.
SHOWN_UNKNOWN, SHOWN_FREE, SHOWN_BUSY, SHOWN_BLOCKED, SHOWN_BROKEN, SHOWN_PLANNED, SHOWN_CLOSED = range(7)
_SHOWN_OF_REGISTRY = {"P": SHOWN_PLANNED, "T": SHOWN_CLOSED}
#: Up to so many free outlets are told apart in `offers`.
MOST_FREE_COUNTED = 8
#: Enough bits for `contracts.session_events.MAX_POWER_KW` in steps of 10 W.
_POWER_BITS, _STATE_BITS = 19, 4
_HIGHEST_POWER = (1 << _POWER_BITS) - 1
_PLACE_OF = {name: place for place, name in enumerate(POWER_KEYS)}

#: A registry status of the whole station outweighs what its EVSEs last reported.
_STATUS_OF_REGISTRY = {"P": PLANNED, "T": INOPERATIVE}
#: The group in which an EVSE's status counts among the outlets. A driver cares whether an outlet can be used, not why not.
_COUNTED_AS = {
    AVAILABLE: "free",
    CHARGING: "busy",
    BLOCKED: "busy",
    OUT_OF_ORDER: "out_of_order",
    INOPERATIVE: "out_of_order",
    PLANNED: "out_of_order",
    UNKNOWN: "unknown",
}


def evses_of(
    registry: Mapping[str, Any], evses: Mapping[str, Evse], occupied: Collection[str]
) -> dict[str, Mapping[str, Any]]:
    """The EVSEs that a station has, by id, each with what the registry lists of it (nothing: {}).

    Those that the registry lists come first. Where its list removes others, EVSEs that only events know fill what the list
    lacks of the registry's number of outlets, the one heard of last first. An EVSE in `occupied` is always there.
    """
    found: dict[str, Mapping[str, Any]] = {listed["evse_id"]: listed for listed in registry.get("evses", ())}
    others = [evse for evse_id, evse in evses.items() if evse_id not in found]
    if others and registry.get("lists_all"):
        free = [evse for evse in others if evse.evse_id not in occupied]
        busy = len(others) - len(free)
        room = max((registry.get("total_outlets") or 0) - len(found) - busy, 0)
        free = sorted(free, key=lambda evse: (evse.last_at, evse.evse_id), reverse=True)[:room]
        others = free + [evse for evse in others if evse.evse_id in occupied]
    found |= {evse.evse_id: {} for evse in others}
    return {evse_id: found[evse_id] for evse_id in sorted(found)}


def evse_document(evse: Evse, listed: Mapping[str, Any], status_code: str | None) -> dict[str, Any]:
    """An EVSE's part; `listed` is what the registry lists of it, `status_code` the registry's status of the station."""
    return {
        "evse_id": evse.evse_id,
        "connector_id": listed.get("connector_id") or evse.connector_id,
        "connector_type": listed.get("connector_type"),
        "power_kw": listed.get("power_kw"),
        "status": _STATUS_OF_REGISTRY.get(status_code or "", evse.status),
        "since_at": ms_to_iso(evse.since_at),
    }


def outlet_documents(evses: list[dict[str, Any]], registry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Outlets counted by connector type and power. Those that no EVSE document stands for yet are unknown.

    `blocked` is how many of the `busy` ones have a car that does not charge.
    """
    groups: dict[tuple[str | None, float | None], dict[str, Any]] = {}

    def group(connector_type: str | None, power_kw: float | None) -> dict[str, Any]:
        return groups.setdefault(
            (connector_type, power_kw),
            {
                "connector_type": connector_type,
                "power_kw": power_kw,
                **dict.fromkeys(("total", "free", "busy", "blocked", "out_of_order", "unknown"), 0),
            },
        )

    for evse in evses:
        counts = group(evse["connector_type"], evse["power_kw"])
        counts["total"] += 1
        counts[_COUNTED_AS[evse["status"]]] += 1
        counts["blocked"] += evse["status"] == BLOCKED
    missing = (registry.get("total_outlets") or 0) - len(evses)
    if not registry.get("evses"):
        for listed in registry.get("connectors") or ():
            ports = min(listed.get("ports") or 0, missing)
            if ports > 0:
                counts = group(listed["connector_type"], listed["power_kw"])
                counts["total"] += ports
                counts["unknown"] += ports
                missing -= ports
    if missing > 0:
        types = registry.get("connector_types") or []
        only = types[0] if len(types) == 1 and not registry.get("connectors") else None
        counts = group(only, None)
        counts["total"] += missing
        counts["unknown"] += missing
    return sorted(groups.values(), key=lambda group: (group["connector_type"] or "", group["power_kw"] or 0.0))


def session_document(session: OpenSession, status: str, power_kw: float | None) -> dict[str, Any]:
    """The part of a session that is plugged in at an EVSE with this status by its events and this power."""
    return {
        "session_id": session.session_id,
        "evse_id": session.evse_id,
        "ev_id": session.ev_id,
        "ev_model_id": session.ev_model_id,
        "started_at": ms_to_iso(session.since_at),
        "energy_delivered_kwh": session.energy_kwh,
        "power_kw": session.power_kw,
        "state_of_charge": session.soc,
        "expected_end_at": ms_to_iso(_expected_end_at(session, status, power_kw)),
    }


def _expected_end_at(session: OpenSession, status: str, power_kw: float | None) -> int | None:
    """When charging ends if it continues at its speed so far; None if the car does not report its state of charge."""
    if status != CHARGING or session.soc is None or session.soc_first is None:
        return None
    gained, elapsed_ms = session.soc - session.soc_first, session.last_at - session.since_at
    if gained <= 0 or elapsed_ms <= 0:
        return None
    is_dc = (power_kw or session.power_kw or 0.0) > MAX_AC_KW
    target = DC_TARGET_PERCENT if is_dc and session.soc < DC_TARGET_PERCENT else 100.0
    left_ms = (target - session.soc) / gained * elapsed_ms
    return session.last_at + round(left_ms) if left_ms <= LONGEST_CHARGE_MS else None


def strongest_kw(outlets: Iterable[Mapping[str, Any]], connector_types: Iterable[str] = ()) -> dict[str, float]:
    """The highest power (kW) by each connector type in whose questions the outlets are found, and over all under `any`.

    An unknown power counts as 0, as does that of further `connector_types`. An unknown connector type counts under `any`
    alone: the names become field names of Elasticsearch, so there are no others than those of `POWER_KEYS`.
    """
    strongest: dict[str, float] = {}
    sockets = [(outlet["connector_type"], outlet["power_kw"] or 0.0) for outlet in outlets]
    for connector_type, power_kw in (*sockets, *((name, 0.0) for name in connector_types)):
        for name in ("any", *_asked_as(connector_type)):
            strongest[name] = max(strongest.get(name, 0.0), power_kw)
    return strongest


def shown(outlets: Iterable[Mapping[str, Any]], status_code: str | None) -> int:
    """The station's state as one number, so that a map's stations are counted by state from one column."""
    if status_code in _SHOWN_OF_REGISTRY:
        return _SHOWN_OF_REGISTRY[status_code]
    free = unknown = busy = blocked = broken = 0
    for outlet in outlets:
        free += outlet["free"]
        unknown += outlet["unknown"]
        busy += outlet["busy"]
        blocked += outlet["blocked"]
        broken += outlet["out_of_order"]
    if free:
        return SHOWN_FREE
    if unknown or not busy + broken:
        return SHOWN_UNKNOWN
    if not busy:
        return SHOWN_BROKEN
    return SHOWN_BUSY if busy > blocked else SHOWN_BLOCKED


def offer(name: str, state: int, power_kw: float = 0.0) -> int:
    """The number in `offers` for an outlet in a state, by one of the `POWER_KEYS`.

    The numbers of one name and state are in the order of power. So one range says whether a station has an outlet of some
    connector type, state and power.
    """
    return (_PLACE_OF[name] << _STATE_BITS | state) << _POWER_BITS | _power(power_kw)


def _power(power_kw: float) -> int:
    return min(round(power_kw * 100), _HIGHEST_POWER)


def offers(outlets: Iterable[Mapping[str, Any]], connector_types: Iterable[str] = ()) -> list[int]:
    """What a station's outlets offer, each as an `offer`, for questions about connector type, power and state together.

    One column of numbers: a column for each connector type and state would be 200 of them. The nth strongest free outlet (from
    the second on) has the state `OFFER_FREE + n - 1`, so "at least n free" is a range too. An unknown power counts as 0. An
    outlet of unknown connector type is an unknown one of any type that the station has; a type without outlets has one, too.
    """
    found: set[int] = set()
    add = found.add
    free: dict[int, list[int]] = {}
    named, untyped = set(), []
    for outlet in outlets:
        connector_type, power = outlet["connector_type"], _power(outlet["power_kw"] or 0.0)
        if connector_type is None:
            untyped.append(power)
        busy, blocked, count = outlet["busy"], outlet["blocked"], outlet["free"]
        for place in _places_of(connector_type):
            named.add(place)
            states = place << _STATE_BITS
            if outlet["unknown"]:
                add((states | OFFER_UNKNOWN) << _POWER_BITS | power)
            if busy > blocked:
                add((states | OFFER_CHARGING) << _POWER_BITS | power)
            if blocked:
                add((states | OFFER_BLOCKED) << _POWER_BITS | power)
            if outlet["out_of_order"]:
                add((states | OFFER_BROKEN) << _POWER_BITS | power)
            if count:
                add((states | OFFER_FREE) << _POWER_BITS | power)
                free.setdefault(place, []).extend([power] * count)
    maybe = {place for connector_type in connector_types for place in _places_of(connector_type)[1:]}
    # of an outlet without a type nobody knows which of the station's types it has
    for place in maybe | (named - {_PLACE_OF["any"]} if untyped else set()):
        for power in untyped or (() if place in named else (0,)):
            add((place << _STATE_BITS | OFFER_UNKNOWN) << _POWER_BITS | power)
    for place, powers in free.items():
        for number, power in enumerate(sorted(powers, reverse=True)[:MOST_FREE_COUNTED]):
            if number:
                add((place << _STATE_BITS | OFFER_FREE + number) << _POWER_BITS | power)
    return sorted(found)


# Sources have few different types.
@lru_cache(maxsize=1_000)
def _places_of(connector_type: str | None) -> tuple[int, ...]:
    """The places in `POWER_KEYS` of the keys under which an outlet counts, that of `any` first."""
    return tuple(_PLACE_OF[name] for name in ("any", *_asked_as(connector_type)))


# Sources have few different types.
@lru_cache(maxsize=1_000)
def _asked_as(connector_type: str | None) -> tuple[str, ...]:
    return answers_to(connector_type) if connector_type in CONNECTOR_TYPES else ()


def packed(listed: bytes) -> str:
    """The `LISTED_FIELDS` of a document (JSON) as one text, for its field `listed`."""
    return b64encode(listed).decode()


def unpacked(listed: str) -> dict[str, Any]:
    """The `LISTED_FIELDS` of a document, from its field `listed`."""
    fields: dict[str, Any] = orjson.loads(b64decode(listed))
    return fields
