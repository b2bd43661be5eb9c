"""What a station is doing, folded from its registry record and its session events.

The module is pure. A `StationState` takes events one by one, in the order of their Kafka offsets, and renders the document
that drivers' questions read. The stream folds new events into the stored document. A rebuild folds all of the lake's rows.
Both end in the same document. No rule looks at a clock: ages are computed when a document is read.

What the registry says and what the events say are kept apart. They meet only in the rendered document, so the order in which
the two topics arrive does not matter. The registry decides which EVSEs a station has (`station_document.evses_of`). The status
of an EVSE comes from events alone: an EVSE without any event is UNKNOWN.

An event that was sent again changes nothing: a session keeps its last sequence number, and sessions that ended are kept for
`HORIZON_MS`. An event that is older than that, counted back from the station's newest event, may still change the status of
an EVSE that has no newer event. It opens no session and counts in no hour. The hours computed from the lake have no such
limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from evcharge.clock import HOUR_MS, hour_start, ms_to_iso
from evcharge.live.closed_sessions import digest, packed_ends, unpacked_ends
from evcharge.live.evse import AVAILABLE, BLOCKED, CHARGING, OUT_OF_ORDER, Evse, OpenSession
from evcharge.live.registered import MAX_EVSES, kept
from evcharge.live.standing_part import StandingPart, joined
from evcharge.live.station_document import evses_of, packed, session_document
from evcharge.live.usage import Usage

#: Longer than nearly every wait and charge stop. Overnight sessions are open sessions, which no horizon closes.
HORIZON_MS = 6 * HOUR_MS

_STATUS_OF_EVENT = {
    "started": CHARGING,
    "meter": CHARGING,
    "resumed": CHARGING,
    "suspended": BLOCKED,
    "faulted": OUT_OF_ORDER,
    "stopped": AVAILABLE,
}

Event = Mapping[str, Any]
"""A session-events row with its times in ms since the epoch."""

#: What the fold reads of an event.
EVENT_FIELDS = (
    *("station_id", "session_id", "sequence", "event_type", "occurred_at", "started_at", "evse_id", "connector_id"),
    *("ev_id", "ev_model_id", "energy_delivered_kwh", "power_kw", "state_of_charge", "queue_wait_s"),
)


@dataclass(slots=True)
class StationState:
    """One station. `applied` has, per topic and partition, the offset after the last record in the state.

    `registry` is the newest record as `registered.kept` returns it. `evses` has at most `MAX_EVSES` of the EVSEs that events
    named.

    With `keeps_all` the state forgets nothing: for events that come in time order, each once. `closed` has the end of each
    closed session (ms) by the `digest` of its id, and `closed_since` is no later than the earliest of them.
    """

    station_id: str
    keeps_all: bool = False
    registry: dict[str, Any] = field(default_factory=dict)
    evses: dict[str, Evse] = field(default_factory=dict)
    sessions: dict[str, OpenSession] = field(default_factory=dict)
    closed: dict[bytes, int] = field(default_factory=dict)
    closed_since: int = field(default=0, compare=False)
    usage: Usage = field(default_factory=Usage)
    last_event_at: int = 0
    last_change_at: int = 0
    applied: dict[str, dict[str, int]] = field(default_factory=dict)
    standing: StandingPart | None = field(default=None, compare=False, repr=False)

    # --- input ---

    def is_new(self, topic: str, partition: int, offset: int) -> bool:
        """Whether a record is not in the state yet. Counts the record as applied."""
        offsets = self.applied.setdefault(topic, {})
        key = str(partition)
        if offset < offsets.get(key, 0):
            return False
        offsets[key] = offset + 1
        return True

    def register(self, record: Mapping[str, Any]) -> None:
        """Takes a station-registry row (`observed_at` and `removed_at` in ms), unless the state has a newer one."""
        if not self.registry or record["observed_at"] >= self.registry["observed_at"]:
            self.registry = kept(record, self.registry)

    def apply(self, event: Event) -> None:
        """Takes a session event that has passed the contract's rules."""
        at, session_id = event["occurred_at"], event["session_id"]
        session = self.sessions.get(session_id)
        # An open session is never among the closed ones, so most events need no digest.
        is_old = digest(session_id) in self.closed if session is None else event["sequence"] <= session.sequence
        if is_old:
            return
        self._move_evse(event)
        if session is not None or at >= self._horizon():
            self._take(event, session)
        self._forget()

    # --- folding ---

    def _take(self, event: Event, session: OpenSession | None) -> None:
        at, session_id = event["occurred_at"], event["session_id"]
        occupied = self._occupied()
        stays = session is not None and session.evse_id == event["evse_id"]
        self.last_event_at = max(self.last_event_at, at)
        self._count(event, session)
        kind = event["event_type"]
        if kind in ("stopped", "abandoned"):
            self._close(session_id, at)
            stays = False
        else:
            self._open(event, session)
        self.usage.carry_occupancy(at, occupied, occupied if stays else self._occupied())

    def _move_evse(self, event: Event) -> None:
        """Sets an EVSE's status by its newest event, whenever that event arrives."""
        evse_id, at = event["evse_id"], event["occurred_at"]
        if evse_id is None:
            return
        evse = self.evses.get(evse_id)
        if evse is None:
            evse = self.evses[evse_id] = Evse(evse_id)
        if at < evse.last_at:
            return
        if evse.connector_id is None:
            evse.connector_id = event["connector_id"]
        kind = event["event_type"]
        # A fault also ends the session, and that end repairs nothing.
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
        if evse_id is not None and session.evse_id != evse_id:
            # An EVSE serves one car: any other open session there has ended without an event.
            for other in [s for s in self.sessions.values() if s.evse_id == evse_id]:
                self._close(other.session_id, at)
            if session.evse_id is None:
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
        self.closed[digest(session_id)] = at
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
            # No earlier event of this charge came: its end has the start time and the energy of the whole session.
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
        # a list is made in half the time of a generator's sum, and this runs twice an event
        return len([1 for session in self.sessions.values() if session.evse_id is not None])

    def _horizon(self) -> int:
        return 0 if self.keeps_all else self.last_event_at - HORIZON_MS

    def _forget(self) -> None:
        if self.keeps_all:
            return
        while len(self.evses) > MAX_EVSES:
            self._forget_evse()
        oldest = self._horizon()
        if self.closed_since < oldest:
            self.closed = {session: at for session, at in self.closed.items() if at >= oldest}
            self.closed_since = min(self.closed.values(), default=oldest)
        for session in [s for s in self.sessions.values() if s.evse_id is None and s.last_at < oldest]:
            del self.sessions[session.session_id]
        self.usage.forget_before(hour_start(oldest))

    def _forget_evse(self) -> None:
        """Drops the EVSE that was heard of longest ago, one without a car if there is any. A car there has left."""
        cars = {session.evse_id: session for session in self.sessions.values()}
        gone = min(self.evses.values(), key=lambda evse: (evse.evse_id in cars, evse.last_at, evse.evse_id))
        del self.evses[gone.evse_id]
        if gone.evse_id in cars:
            self._close(cars[gone.evse_id].session_id, self.last_event_at)

    # --- the document ---

    def document(self) -> dict[str, Any]:
        """The Elasticsearch document: the fields that questions read, and under `fold` what the next fold needs."""
        document: dict[str, Any] = orjson.loads(self.document_json())
        return document

    def document_json(self, **more: str | None) -> bytes:
        """The document as JSON, with `more` fields.

        `listed` repeats the fields that a list of stations shows, packed into one column: reading whole documents took a
        third of a search's time.
        """
        plugged = [(s.evse_id, s) for _, s in sorted(self.sessions.items()) if s.evse_id is not None]
        listed = evses_of(self.registry, self.evses, {evse_id for evse_id, _ in plugged})
        part = self.standing = StandingPart.of(self.station_id, self.registry, listed, self.evses, self.standing)
        shown_in_lists = orjson.dumps(
            {
                "queue_length": len(self.sessions) - len(plugged),
                "last_event_at": ms_to_iso(self.last_event_at),
                "last_change_at": ms_to_iso(self.last_change_at),
            }
        )
        others = {
            "sessions": [
                session_document(session, self.evses[evse_id].status, listed[evse_id].get("power_kw"))
                for evse_id, session in plugged
            ],
            "applied": self.applied,
            "hours": self.usage.to_json()["hours"],
            "has_hours": bool(self.usage.hours),
            # A text, which Elasticsearch stores as it is: parsing these objects would take most of its time.
            "fold": orjson.dumps(self._fold(part), option=orjson.OPT_SORT_KEYS).decode(),
            "listed": packed(joined(part.listed, shown_in_lists)),
            **more,
        }
        return joined(part.document, shown_in_lists, orjson.dumps(others))

    def _fold(self, part: StandingPart) -> dict[str, Any]:
        return {
            "registry": part.registry,
            "evses": [evse for _, evse in sorted(self.evses.items())],
            "sessions": [session for _, session in sorted(self.sessions.items())],
            "closed": packed_ends(self.closed),
            "counted_to": self.usage.counted_to,
            "last_event_at": self.last_event_at,
            "last_change_at": self.last_change_at,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> StationState:
        """The state from which `document` was rendered."""
        fold = orjson.loads(document["fold"])
        evses = (Evse(**fields) for fields in fold["evses"])
        sessions = (OpenSession(**fields) for fields in fold["sessions"])
        return cls(
            station_id=document["station_id"],
            registry=fold["registry"],
            evses={evse.evse_id: evse for evse in evses},
            sessions={session.session_id: session for session in sessions},
            closed=unpacked_ends(fold["closed"]),
            usage=Usage.from_json({"hours": document["hours"], "counted_to": fold["counted_to"]}),
            last_event_at=fold["last_event_at"],
            last_change_at=fold["last_change_at"],
            applied=document["applied"],
        )
