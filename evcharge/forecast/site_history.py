"""One charging site's changes, prepared so that its state and its past can be read at many instants at once."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from evcharge.forecast.change_events import SiteEvents

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAY_S = 86_400
SLOT_S = 1_800
SLOTS = DAY_S // SLOT_S
#: The longest time since something that is told apart, and the time since what never happened.
LONG_S = 14 * DAY_S
#: What is left of a day's weight in the usual week one day later: half after five weeks.
_KEPT_A_DAY = 0.98


class LocalTime:
    """Local seconds since the epoch of instants in a time zone, for many of them at once."""

    def __init__(self, time_zone: str, from_s: int, to_s: int) -> None:
        zone = ZoneInfo(time_zone)
        self._first_hour = from_s // 3600
        days = (to_s // 3600 - self._first_hour) // 24 + 2
        edges = [_offset_s(zone, (self._first_hour + 24 * day) * 3600) for day in range(days + 1)]
        self._offset_s = np.array(edges[:-1], dtype=np.int64).repeat(24)
        for day in range(days):
            if edges[day] != edges[day + 1]:
                for hour in range(24 * day, 24 * day + 24):
                    self._offset_s[hour] = _offset_s(zone, (self._first_hour + hour) * 3600)

    def __call__(self, at_s: Ints) -> Ints:
        return at_s + self._offset_s[np.clip(at_s // 3600 - self._first_hour, 0, len(self._offset_s) - 1)]


def _offset_s(zone: ZoneInfo, at_s: int) -> int:
    offset = datetime.fromtimestamp(at_s, zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def is_weekend(local_s: Ints) -> NDArray[np.bool_]:
    """Whether local seconds since the epoch, which was a Thursday, are on a Saturday or Sunday."""
    return (local_s // DAY_S + 3) % 7 >= 5


class SiteHistory:
    """A site's changes with what follows from them. What it says of an instant comes from changes at or before it."""

    def __init__(self, events: SiteEvents) -> None:
        at_s = events.at_s
        self.events = events
        self.local = LocalTime(events.time_zone, int(at_s[0]) - 2 * DAY_S, int(at_s[-1]) + 8 * DAY_S)
        known = (events.total > 0).astype(float)
        free = events.available.astype(float)
        self.known_s = _Integral(at_s, known)
        self.free_s = _Integral(at_s, known * (free > 0))
        self.share_s = _Integral(at_s, known * free / np.maximum(events.total, 1))
        self.busy_s = _Integral(at_s, known * (events.total - free))
        steps = np.diff(events.available, prepend=events.available[:1])
        # a point that joins or leaves is no departure or arrival
        same = np.diff(events.total, prepend=events.total[:1]) == 0
        self.arrivals = Steps(at_s, np.where(same, np.maximum(-steps, 0), 0))
        self.departures = Steps(at_s, np.where(same, np.maximum(steps, 0), 0))
        #: After each change: start of the newest and of the oldest running session if the oldest one always leaves first,
        #: and the same if the newest one does. Counts do not tell which of them left. 0: none runs.
        self.started_s = _sessions(events)
        self._turned_s = at_s[np.flatnonzero(np.diff((free == 0).astype(int), prepend=-1) != 0)]
        self.week = UsualWeek(self)

    def place(self, at_s: Ints) -> Ints:
        """The place of the change that stands at each instant."""
        return np.clip(self.events.last_change(at_s), 0, None)

    def since_turn(self, at_s: Ints) -> tuple[Floats, Floats]:
        """Seconds since the site last became full or stopped being full, and how long the state before that lasted."""
        turn = np.clip(np.searchsorted(self._turned_s, at_s, side="right") - 1, 0, None)
        before = np.where(turn > 0, self._turned_s[turn] - self._turned_s[turn - 1], 0)
        return (at_s - self._turned_s[turn]).astype(float), before.astype(float)

    def share(self, part: _Integral, at_s: Ints, window_s: int, otherwise: float) -> Floats:
        """The share of `part` in what is known of the window before each instant."""
        known = self.known_s(at_s) - self.known_s(at_s - window_s)
        return np.where(known > 0, (part(at_s) - part(at_s - window_s)) / np.maximum(known, 1), otherwise)


class _Integral:
    """The integral over time of a value that stands between changes."""

    def __init__(self, at_s: Ints, value: Floats) -> None:
        self._at_s, self._value = at_s, value
        self._until = np.concatenate([[0.0], np.cumsum(np.diff(at_s) * value[:-1])])

    def __call__(self, at_s: Ints) -> Floats:
        place = np.searchsorted(self._at_s, at_s, side="right") - 1
        first = np.clip(place, 0, None)
        return np.where(place >= 0, self._until[first] + (at_s - self._at_s[first]) * self._value[first], 0.0)


class Steps:
    """Arrivals, or departures: when, and how many up to an instant."""

    def __init__(self, at_s: Ints, count: Ints) -> None:
        self.places = np.flatnonzero(count)
        self.at_s, self.count = at_s[self.places], count[self.places]
        self._until = np.concatenate([[0], np.cumsum(self.count)])

    def until(self, at_s: Ints) -> Floats:
        return self._until[np.searchsorted(self.at_s, at_s, side="right")].astype(float)

    def since(self, at_s: Ints, nth: int) -> Floats:
        """Seconds since the nth last one."""
        place = np.searchsorted(self.at_s, at_s, side="right") - nth
        if not len(self.at_s):
            return np.full(len(at_s), float(LONG_S))
        return np.where(place >= 0, at_s - self.at_s[np.clip(place, 0, None)], LONG_S).astype(float)


def _sessions(events: SiteEvents) -> Floats:
    rows = np.zeros((len(events), 4))
    oldest_first: list[int] = []
    newest_first: list[int] = []
    times, busy_points = events.at_s.tolist(), (events.total - events.available).tolist()
    for place, (at, busy) in enumerate(zip(times, busy_points, strict=True)):
        for started, end in ((oldest_first, 0), (newest_first, -1)):
            while len(started) > busy:
                started.pop(end)
            started.extend([at] * (busy - len(started)))
        if busy:
            rows[place] = oldest_first[-1], oldest_first[0], newest_first[-1], newest_first[0]
    return rows


class UsualWeek:
    """By local day: how weekdays and weekend days looked by half hours, from the days before it. Newer days weigh more."""

    def __init__(self, history: SiteHistory) -> None:
        events = history.events
        self._first_day = int(history.local(events.at_s[:1])[0]) // DAY_S
        days = int(history.local(events.at_s[-1:])[0]) // DAY_S - self._first_day + 2
        # The offset at noon is wrong for some hours of the two days a year on which clocks change.
        noon = (self._first_day + np.arange(days)) * DAY_S + DAY_S // 2
        midnight = noon - DAY_S // 2 - (history.local(noon) - noon)
        edges = np.minimum(midnight[:, None] + np.arange(SLOTS + 1) * SLOT_S, events.at_s[-1])
        parts = np.stack(
            [
                np.diff(part(edges.ravel()).reshape(edges.shape), axis=1)
                for part in (
                    history.known_s,
                    history.free_s,
                    history.share_s,
                    history.busy_s,
                    history.arrivals.until,
                    history.departures.until,
                )
            ]
        )
        weekend = is_weekend(noon)
        self._before = np.zeros((days, 2, len(parts), SLOTS))
        kept = np.zeros((2, len(parts), SLOTS))
        for day in range(days):
            self._before[day] = kept
            kept = kept * _KEPT_A_DAY
            kept[int(weekend[day])] += parts[:, day]

    def at(self, local_now_s: Ints, local_then_s: Ints) -> dict[str, Floats]:
        """Weighted sums over the half hour around `then` on such days, as known at the midnight before `now`.

        Seconds known, with a free point, of the share of free points, of busy points; arrivals, departures.
        """
        day = np.clip(local_now_s // DAY_S - self._first_day, 0, len(self._before) - 1)
        kind = is_weekend(local_then_s).astype(int)
        slot = (local_then_s % DAY_S) // SLOT_S
        rest = (local_then_s % SLOT_S) / SLOT_S - 0.5
        beside = (slot + np.where(rest >= 0, 1, -1)) % SLOTS
        near = np.abs(rest)[:, None]
        mixed = (1 - near) * self._before[day, kind, :, slot] + near * self._before[day, kind, :, beside]
        return dict(zip(("known", "free", "share", "busy", "arrivals", "departures"), mixed.T, strict=True))
