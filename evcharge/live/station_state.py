"""What a station is doing, folded from its registry record and its session events.

Pure: a `StationState` takes events one by one, in the order of their Kafka offsets, and renders the document that drivers'
questions read. The stream folds what is new into the stored document; a rebuild folds the lake's rows from the first:
both end in the same document. Nothing here looks at a clock: ages are computed when a document is read.

States are OCPI 2.2.1 EVSE statuses. They come from events alone: an EVSE of which no event told is UNKNOWN.

An event that was sent again changes nothing: a session knows its last sequence, and sessions that ended are remembered for
`HORIZON_MS`. What is older than that, seen from the station's newest event, may still move an EVSE whose own events are
older, but opens no session and counts in no hour; the hours computed from the lake know no such limit.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from evcharge.clock import HOUR_MS, hour_start, ms_to_iso
from evcharge.live.usage import Usage

AVAILABLE = "AVAILABLE"
CHARGING = "CHARGING"
#: Occupied by a car that does not charge: full, or paused.
BLOCKED = "BLOCKED"
OUT_OF_ORDER = "OUTOFORDER"
INOPERATIVE = "INOPERATIVE"
PLANNED = "PLANNED"
UNKNOWN = "UNKNOWN"

#: Longer than nearly every wait and charge stop; overnight sessions are open sessions, which no horizon closes.
HORIZON_MS = 6 * HOUR_MS
#: DC charging is planned to end here, where it slows down: TomTom's default curve falls to 35 % of peak from 80 % on.
DC_TARGET_PERCENT = 80.0
#: Above this a connector gives direct current: J1772 ends at 80 A x 240 V.
MAX_AC_KW = 19.2

_STATUS_OF_EVENT = {
    "started": CHARGING,
    "meter": CHARGING,
    "resumed": CHARGING,
    "suspended": BLOCKED,
    "faulted": OUT_OF_ORDER,
    "stopped": AVAILABLE,
}
#: What the registry says about the whole station outweighs what its EVSEs last told.
_STATUS_OF_REGISTRY = {"P": PLANNED, "T": INOPERATIVE}

Event = Mapping[str, Any]
"""A session-events row; its times are ms since the epoch."""


@dataclass(slots=True)
class Evse:
    """An EVSE, with its one connector as far as the registry tells. Times in ms; `since_at` 0: never heard of."""

    evse_id: str
    connector_id: str | None = None
    connector_type: str | None = None
    power_kw: float | None = None
    status: str = UNKNOWN
    since_at: int = 0
    last_at: int = 0
    session_id: str | None = None


@dataclass(slots=True)
class OpenSession:
    """A session that queues (`evse_id` null) or is plugged in. Times in ms."""

    session_id: str
    sequence: int
    last_at: int
    evse_id: str | None = None
    ev_id: str | None = None
    ev_model_id: str | None = None
    since_at: int = 0
    energy_kwh: float = 0.0
    power_kw: float | None = None
    soc: float | None = None
    soc_first: float | None = None


@dataclass(slots=True)
class StationState:
    """One station; `applied` is, per topic and partition, the offset after the last one that is in it.

    With `keeps_all` nothing is forgotten, however long ago: for events that come in time order, each once. No session was
    closed before `closed_since` (ms), or none that is still remembered.
    """

    station_id: str
    keeps_all: bool = False
    registry: dict[str, Any] = field(default_factory=dict)
    evses: dict[str, Evse] = field(default_factory=dict)
    sessions: dict[str, OpenSession] = field(default_factory=dict)
    closed: dict[str, int] = field(default_factory=dict)
    closed_since: int = field(default=0, compare=False)
    usage: Usage = field(default_factory=Usage)
    last_event_at: int = 0
    last_change_at: int = 0
    applied: dict[str, dict[str, int]] = field(default_factory=dict)

    # --- what is new ---

    def is_new(self, topic: str, partition: int, offset: int) -> bool:
        """Whether a record is not in the state yet; notes it as applied."""
        offsets = self.applied.setdefault(topic, {})
        key = str(partition)
        if offset < offsets.get(key, 0):
            return False
        offsets[key] = offset + 1
        return True

    def register(self, record: Mapping[str, Any]) -> None:
        """Takes a station-registry row (`observed_at` and `removed_at` in ms), unless a newer one is there."""
        if self.registry and record["observed_at"] < self.registry["observed_at"]:
            return
        self.registry = dict(record)
        listed_ids = {listed["evse_id"] for listed in record.get("evses") or ()}
        for evse_id in [e.evse_id for e in self.evses.values() if not e.last_at and e.evse_id not in listed_ids]:
            del self.evses[evse_id]
        for listed in record.get("evses") or ():
            evse = self._evse(listed["evse_id"])
            evse.connector_id = listed.get("connector_id") or evse.connector_id
            evse.connector_type = listed.get("connector_type")
            evse.power_kw = listed.get("power_kw")

    def apply(self, event: Event) -> None:
        """Takes a session event that keeps the row rules."""
        at, session_id = event["occurred_at"], event["session_id"]
        session = self.sessions.get(session_id)
        if session_id in self.closed or (session is not None and event["sequence"] <= session.sequence):
            return
        self._move_evse(event)
        if session is None and at < self._horizon():
            return
        occupied = self._occupied()
        self.last_event_at = max(self.last_event_at, at)
        self._count(event, session)
        kind = event["event_type"]
        if kind in ("stopped", "abandoned"):
            self._close(session_id, at)
        else:
            self._open(event, session)
        self.usage.carry_occupancy(at, occupied, self._occupied())
        self._forget()

    # --- folding ---

    def _evse(self, evse_id: str) -> Evse:
        found = self.evses.get(evse_id)
        if found is None:
            found = self.evses[evse_id] = Evse(evse_id)
        return found

    def _move_evse(self, event: Event) -> None:
        """The newest event of an EVSE tells its status, whenever it arrives."""
        evse_id, at = event["evse_id"], event["occurred_at"]
        if evse_id is None:
            return
        evse = self._evse(evse_id)
        if at < evse.last_at:
            return
        if evse.connector_id is None:
            evse.connector_id = event["connector_id"]
        kind = event["event_type"]
        # a fault ends the session too, which repairs nothing
        keeps_fault = kind == "stopped" and evse.status == OUT_OF_ORDER and evse.session_id == event["session_id"]
        status = OUT_OF_ORDER if keeps_fault else _STATUS_OF_EVENT.get(kind, evse.status)
        if status != evse.status:
            evse.status, evse.since_at = status, at
            self.last_change_at = max(self.last_change_at, at)
        evse.last_at = at
        evse.session_id = event["session_id"]

    def _open(self, event: Event, session: OpenSession | None) -> None:
        at, evse_id = event["occurred_at"], event["evse_id"]
        if session is None:
            session = OpenSession(event["session_id"], event["sequence"], at, since_at=at)
            self.sessions[session.session_id] = session
        if evse_id is not None and session.evse_id is None:
            # an EVSE serves one car: whoever is still plugged in there has left without a word
            for other in [s for s in self.sessions.values() if s.evse_id == evse_id]:
                self._close(other.session_id, at)
            session.since_at = at
            session.soc_first = event["state_of_charge"]
        session.sequence, session.last_at, session.evse_id = event["sequence"], at, evse_id or session.evse_id
        session.ev_id = event["ev_id"] or session.ev_id
        session.ev_model_id = event["ev_model_id"] or session.ev_model_id
        session.energy_kwh = event["energy_delivered_kwh"] or session.energy_kwh
        session.power_kw = event["power_kw"]
        if event["state_of_charge"] is not None:
            session.soc = event["state_of_charge"]
        if event["event_type"] == "queued":
            self.last_change_at = max(self.last_change_at, at)

    def _close(self, session_id: str, at: int) -> None:
        session = self.sessions.pop(session_id, None)
        if session is not None and session.evse_id is None:
            self.last_change_at = max(self.last_change_at, at)
        self.closed[session_id] = at
        self.closed_since = min(self.closed_since, at)

    def _count(self, event: Event, session: OpenSession | None) -> None:
        """Adds an event to the hours."""
        at, kind, energy_kwh = event["occurred_at"], event["event_type"], event["energy_delivered_kwh"]
        not_before = hour_start(self._horizon())
        plugged = session is not None and session.evse_id is not None
        if plugged and session is not None:
            reading = session.energy_kwh if energy_kwh is None else energy_kwh
            self.usage.add_stretch(session.last_at, at, session.energy_kwh, reading, not_before)
        elif kind == "stopped":
            # the first that is heard of it: its CDR tells all
            self.usage.add_stretch(event["started_at"], at, 0.0, energy_kwh, not_before)
        begun_at = event["started_at"] if kind == "stopped" else at
        if not plugged and event["evse_id"] is not None and begun_at >= not_before:
            hour = self.usage.hour(begun_at)
            hour.sessions += 1
            hour.waits += (event["queue_wait_s"] or 0) > 0
        if kind == "abandoned":
            self.usage.hour(at).waits += 1
        if kind == "faulted":
            self.usage.hour(at).faults += 1

    def _occupied(self) -> int:
        return sum(session.evse_id is not None for session in self.sessions.values())

    def _horizon(self) -> int:
        return 0 if self.keeps_all else self.last_event_at - HORIZON_MS

    def _forget(self) -> None:
        if self.keeps_all:
            return
        oldest = self._horizon()
        if self.closed_since < oldest:
            self.closed = {session_id: at for session_id, at in self.closed.items() if at >= oldest}
            self.closed_since = min(self.closed.values(), default=oldest)
        for session in [s for s in self.sessions.values() if s.evse_id is None and s.last_at < oldest]:
            del self.sessions[session.session_id]
        self.usage.forget_before(hour_start(oldest))

    # --- the document ---

    def document(self) -> dict[str, Any]:
        """The Elasticsearch document: what questions read, and under `fold` what the next fold needs.

        `listed` has what a list of stations shows once more, packed into one column (`unpacked`): to read whole documents
        took a third of a search's time.
        """
        registry = self.registry
        evses = [self._evse_document(evse) for _, evse in sorted(self.evses.items())]
        outlets = self._outlets(evses)
        free = [outlet for outlet in outlets if outlet["free"]]
        document = {
            "station_id": self.station_id,
            **{name: registry.get(name) for name in _REGISTRY_FIELDS},
            "observed_at": ms_to_iso(registry.get("observed_at")),
            "removed_at": ms_to_iso(registry.get("removed_at")),
            "location": {"lat": registry["latitude"], "lon": registry["longitude"]} if registry else None,
            "is_current": bool(registry) and registry.get("removed_at") is None,
            "evses": evses,
            "outlets": outlets,
            "registered_outlets": registry.get("total_outlets"),
            "total_outlets": sum(outlet["total"] for outlet in outlets),
            **{
                f"{name}_outlets": sum(o[name] for o in outlets) for name in ("free", "busy", "unknown", "out_of_order")
            },
            "power_kw": _strongest(outlets),
            "free_power_kw": _strongest(free),
            "queue_length": sum(session.evse_id is None for session in self.sessions.values()),
            "sessions": [
                self._session_document(session)
                for session in sorted(self.sessions.values(), key=lambda s: s.session_id)
                if session.evse_id is not None
            ],
            "last_event_at": ms_to_iso(self.last_event_at),
            "last_change_at": ms_to_iso(self.last_change_at),
            "applied": self.applied,
            "hours": self.usage.to_json()["hours"],
            "has_hours": bool(self.usage.hours),
            # a text, which Elasticsearch stores as it is: to read through these objects would cost it most of its time
            "fold": orjson.dumps(self._fold(), option=orjson.OPT_SORT_KEYS).decode(),
        }
        return document | {"listed": _packed({name: document[name] for name in LISTED_FIELDS})}

    def _fold(self) -> dict[str, Any]:
        return {
            "registry": self.registry,
            "evses": [evse for _, evse in sorted(self.evses.items())],
            "sessions": [session for _, session in sorted(self.sessions.items())],
            "closed": self.closed,
            "counted_to": self.usage.counted_to,
            "last_event_at": self.last_event_at,
            "last_change_at": self.last_change_at,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> StationState:
        """The state that `document` was rendered from."""
        fold = orjson.loads(document["fold"])
        evses = (Evse(**told) for told in fold["evses"])
        sessions = (OpenSession(**told) for told in fold["sessions"])
        return cls(
            station_id=document["station_id"],
            registry=fold["registry"],
            evses={evse.evse_id: evse for evse in evses},
            sessions={session.session_id: session for session in sessions},
            closed=fold["closed"],
            usage=Usage.from_json({"hours": document["hours"], "counted_to": fold["counted_to"]}),
            last_event_at=fold["last_event_at"],
            last_change_at=fold["last_change_at"],
            applied=document["applied"],
        )

    def _evse_document(self, evse: Evse) -> dict[str, Any]:
        return {
            "evse_id": evse.evse_id,
            "connector_id": evse.connector_id,
            "connector_type": evse.connector_type,
            "power_kw": evse.power_kw,
            "status": _STATUS_OF_REGISTRY.get(self.registry.get("status_code", ""), evse.status),
            "since_at": ms_to_iso(evse.since_at),
        }

    def _outlets(self, evses: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Outlets counted by connector type and power; those that no EVSE stands for yet are unknown."""
        groups: dict[tuple[str | None, float | None], dict[str, Any]] = {}

        def group(connector_type: str | None, power_kw: float | None) -> dict[str, Any]:
            return groups.setdefault(
                (connector_type, power_kw),
                {
                    "connector_type": connector_type,
                    "power_kw": power_kw,
                    **dict.fromkeys(("total", "free", "busy", "out_of_order", "unknown"), 0),
                },
            )

        for evse in evses:
            counts = group(evse["connector_type"], evse["power_kw"])
            counts["total"] += 1
            counts[_COUNTED_AS[evse["status"]]] += 1
        missing = self.registry.get("total_outlets", 0) - len(evses)
        if not self.registry.get("evses"):
            for listed in self.registry.get("connectors") or ():
                ports = min(listed["ports"] or 0, missing)
                if ports > 0:
                    counts = group(listed["connector_type"], listed["power_kw"])
                    counts["total"] += ports
                    counts["unknown"] += ports
                    missing -= ports
        if missing > 0:
            types = self.registry.get("connector_types") or []
            only = types[0] if len(types) == 1 and not self.registry.get("connectors") else None
            counts = group(only, None)
            counts["total"] += missing
            counts["unknown"] += missing
        return sorted(groups.values(), key=lambda group: (group["connector_type"] or "", group["power_kw"] or 0.0))

    def _session_document(self, session: OpenSession) -> dict[str, Any]:
        evse = self.evses[session.evse_id or ""]
        return {
            "session_id": session.session_id,
            "evse_id": session.evse_id,
            "ev_id": session.ev_id,
            "ev_model_id": session.ev_model_id,
            "started_at": ms_to_iso(session.since_at),
            "energy_delivered_kwh": session.energy_kwh,
            "power_kw": session.power_kw,
            "state_of_charge": session.soc,
            "expected_end_at": ms_to_iso(_expected_end_at(session, evse)),
        }


#: How an EVSE's status counts among the outlets. A driver cares whether it can be used, not why it can not.
_COUNTED_AS = {
    AVAILABLE: "free",
    CHARGING: "busy",
    BLOCKED: "busy",
    OUT_OF_ORDER: "out_of_order",
    INOPERATIVE: "out_of_order",
    PLANNED: "out_of_order",
    UNKNOWN: "unknown",
}

_REGISTRY_FIELDS = (
    "station_name",
    "city",
    "state",
    "zip",
    "country",
    "time_zone",
    "status_code",
    "connector_types",
    "network",
    "source",
)


#: What a list of stations shows of each.
LISTED_FIELDS = (
    *("station_id", "station_name", "city", "state", "country", "network", "source", "time_zone", "location"),
    *("status_code", "observed_at", "removed_at", "is_current", "outlets", "queue_length"),
    *("last_event_at", "last_change_at"),
)


def _packed(listed: Mapping[str, Any]) -> str:
    return b64encode(orjson.dumps(listed)).decode()


def unpacked(listed: str) -> dict[str, Any]:
    """The `LISTED_FIELDS` of a document, from its `listed`."""
    fields: dict[str, Any] = orjson.loads(b64decode(listed))
    return fields


def _expected_end_at(session: OpenSession, evse: Evse) -> int | None:
    """When charging ends if it goes on as fast as so far; null where the car does not tell its state of charge."""
    if evse.status != CHARGING or session.soc is None or session.soc_first is None:
        return None
    gained, elapsed_ms = session.soc - session.soc_first, session.last_at - session.since_at
    if gained <= 0 or elapsed_ms <= 0:
        return None
    is_dc = (evse.power_kw or session.power_kw or 0.0) > MAX_AC_KW
    target = DC_TARGET_PERCENT if is_dc and session.soc < DC_TARGET_PERCENT else 100.0
    return session.last_at + round((target - session.soc) / gained * elapsed_ms)


def _strongest(outlets: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The most power (kW) by connector type, and under `any` of all; an unknown power counts as 0."""
    strongest: dict[str, float] = {}
    for outlet in outlets:
        power_kw = outlet["power_kw"] or 0.0
        for name in ("any", outlet["connector_type"]):
            if name:
                strongest[name] = max(strongest.get(name, 0.0), power_kw)
    return strongest
