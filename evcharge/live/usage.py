"""How much a station was used, by UTC hour. The sums are the same for the stream's events and for the lake's rows.

Energy between two readings of a session is spread evenly. Sums are whole watt-hours and milliseconds, so that they do not
depend on how a session's readings fall into batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from evcharge.clock import DAY_MS, HOUR_MS, hour_start


@dataclass(slots=True)
class Hour:
    """The usage of a station in one UTC hour.

    `sessions` counts the sessions that began in the hour. `waits` counts the cars that began to charge after a wait, or gave
    up, in the hour. `peak_occupancy` is the highest number of EVSEs that were occupied at once.
    """

    sessions: int = 0
    energy_wh: int = 0
    occupied_ms: int = 0
    peak_occupancy: int = 0
    waits: int = 0
    faults: int = 0

    def values(self) -> list[int]:
        return [self.sessions, self.energy_wh, self.occupied_ms, self.peak_occupancy, self.waits, self.faults]


@dataclass(slots=True)
class Usage:
    """The hours of one station, by the start of the hour in ms since the epoch.

    `counted_to` is the end of the last hour in whose peak the current occupancy is counted.
    """

    hours: dict[int, Hour] = field(default_factory=dict)
    counted_to: int = 0

    def hour(self, at_ms: int) -> Hour:
        """The hour of the instant `at_ms`, added if it is new."""
        return self._hour_from(at_ms - at_ms % HOUR_MS)

    def _hour_from(self, start: int) -> Hour:
        found = self.hours.get(start)
        if found is None:
            found = self.hours[start] = Hour()
        return found

    def add_stretch(self, from_ms: int, to_ms: int, from_kwh: float, to_kwh: float, not_before_ms: int = 0) -> None:
        """Adds a plugged-in stretch between two readings: its occupied time, and its energy spread evenly.

        Leaves out the part before `not_before_ms`. A reading that is lower than the one before adds no energy.
        """
        if to_ms < from_ms:
            return
        gained_wh = max(round(to_kwh * 1000) - round(from_kwh * 1000), 0)
        if to_ms == from_ms:
            if from_ms >= not_before_ms:
                self.hour(from_ms).energy_wh += gained_wh
            return
        first = from_ms - from_ms % HOUR_MS
        if not_before_ms <= from_ms and to_ms <= first + HOUR_MS:
            # nearly always: the two readings are some minutes apart
            hour = self._hour_from(first)
            hour.occupied_ms += to_ms - from_ms
            hour.peak_occupancy = hour.peak_occupancy or 1
            hour.energy_wh += gained_wh
            return
        for start, end in pieces(max(from_ms, not_before_ms), to_ms):
            hour = self.hour(start)
            hour.occupied_ms += end - start
            hour.peak_occupancy = max(hour.peak_occupancy, 1)
            # Differences of a rounded running sum add up to the whole.
            hour.energy_wh += gained_wh * (end - from_ms) // (to_ms - from_ms) - gained_wh * (start - from_ms) // (
                to_ms - from_ms
            )

    def carry_occupancy(self, at_ms: int, before: int, after: int) -> None:
        """Counts the occupancy in the hours' peaks: `before` since the last event, `after` from `at_ms` on."""
        start = at_ms - at_ms % HOUR_MS
        if start < self.counted_to:
            # the hour is counted already
            hour = self._hour_from(start)
            if after > hour.peak_occupancy:
                hour.peak_occupancy = after
            return
        if before and self.counted_to:
            # At most a day: an EVSE that stays occupied for longer has fallen silent.
            for past in range(max(self.counted_to, start - DAY_MS), start, HOUR_MS):
                hour = self.hour(past)
                hour.peak_occupancy = max(hour.peak_occupancy, before)
        hour = self._hour_from(start)
        # The cars that were plugged in before the hour count in its peak.
        hour.peak_occupancy = max(hour.peak_occupancy, before, after)
        self.counted_to = start + HOUR_MS

    def forget_before(self, at_ms: int) -> None:
        """Drops the hours that began before `at_ms`."""
        for start in [start for start in self.hours if start < at_ms]:
            del self.hours[start]

    def to_json(self) -> dict[str, Any]:
        return {
            "hours": {str(start): hour.values() for start, hour in self.hours.items()},
            "counted_to": self.counted_to,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Usage:
        hours = {int(start): Hour(*values) for start, values in document["hours"].items()}
        return cls(hours, document["counted_to"])


def pieces(from_ms: int, to_ms: int) -> Iterator[tuple[int, int]]:
    """The stretch, cut at the full hours."""
    start = from_ms
    while start < to_ms:
        end = min(hour_start(start) + HOUR_MS, to_ms)
        yield start, end
        start = end
