"""Counts the session ids of a recorded file that our producers have sent before, by what becomes of these sessions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from evcharge.clock import to_iso
from evcharge.feeds.sent_ledger import read_ends
from evcharge.recorded.readers import RecordedSession
from evcharge.settings import Settings


@dataclass(frozen=True, slots=True)
class TakenIds:
    """Sessions whose id was sent before by another feed.

    `at_other_stations` count, because a session is its station and its id. `with_other_values` do not: their station has a
    session of this id with another end or energy already, and the first one counts.
    """

    at_other_stations: int = 0
    with_other_values: int = 0

    def __add__(self, other: Self) -> TakenIds:
        return TakenIds(
            self.at_other_stations + other.at_other_stations, self.with_other_values + other.with_other_values
        )


def taken_ids(settings: Settings, feed: str, sessions: Sequence[RecordedSession]) -> TakenIds:
    """Asks the sent ledgers of all feeds but `feed`. They are files here: no server has to be up."""
    ends = read_ends(settings, [session.session_id for session in sessions], other_than=feed)
    sent: dict[str, dict[str, set[tuple[str, int]]]] = defaultdict(lambda: defaultdict(set))
    for end in ends.to_pylist():
        sent[end["session_id"]][end["station_id"]].add((to_iso(end["occurred_at"]), end["energy_wh"]))
    elsewhere = otherwise = 0
    for session in sessions:
        stations = sent.get(session.session_id, {})
        elsewhere += any(station != session.station_id for station in stations)
        recorded = stations.get(session.station_id)
        otherwise += recorded is not None and _values(session) not in recorded
    return TakenIds(elsewhere, otherwise)


def _values(session: RecordedSession) -> tuple[str, int]:
    """The session's end, to the millisecond as in a message, and its energy in Wh."""
    ended_at: datetime = session.ended_at
    return to_iso(ended_at), round(session.energy_delivered_kwh * 1000)
