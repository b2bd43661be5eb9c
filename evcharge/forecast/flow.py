"""A site as cars that come and go: the chance that a point is free, from rates of arrival and departure.

A birth-death process over the number of free points in steps of five minutes. Departures have a hazard by the age of the
running sessions and the local hour, times the site's own factor. Arrivals have a rate by local half hour, the site's own mixed
with what is common to all sites. Cars that find the site full drive on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evcharge.forecast.site_history import DAY_S, SLOT_S, SLOTS, Floats, Ints, SiteHistory, is_weekend

STEP_S = 300
#: Edges of the ages of a running session, in minutes.
_AGE_EDGES_MIN = np.array([15, 30, 45, 60, 90, 120, 150, 180, 240, 300, 360, 480, 600, 720, 960, 1440, 2880])
_HOURS_A_BLOCK = 3
_BLOCKS = 24 // _HOURS_A_BLOCK
#: Hazards by age and hour lean on the hazard by age as if so many departures had been seen.
_LEAN_DEPARTURES = 20.0
#: A site's own rates lean on the common ones as if so many events had been seen.
_LEAN_EVENTS = 10.0
#: A half hour's rate leans on the site's level as if so many seconds had been seen.
_LEAN_SLOT_S = 8.0 * SLOT_S
#: The window of a site's own level.
_LEVEL_S = 42 * DAY_S
#: More free points than these are counted as these: the site does not fill up within hours.
_MOST_FREE = 12
_EXPOSURE_STEP_S = 600
_CHUNK = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """What is common to all sites.

    `departures_per_s` by age and block of local hours. `arrivals_per_s` and `arrivals_shape` (mean 1) by weekday or weekend and
    half hour, while a point is free.
    """

    departures_per_s: Floats
    arrivals_per_s: float
    arrivals_shape: Floats

    @classmethod
    def fit(cls, histories: Sequence[SiteHistory], until_s: int) -> Flow:
        """Learns from what happened before an instant."""
        shape = (len(_AGE_EDGES_MIN) + 1, _BLOCKS)
        left, lasted = np.zeros(shape), np.zeros(shape)
        came, open_s = np.zeros((2, SLOTS)), np.zeros((2, SLOTS))
        for history in histories:
            events = history.events
            at_s = np.arange(events.at_s[0], min(events.at_s[-1], until_s), _EXPOSURE_STEP_S, dtype=np.int64)
            at_s = at_s[events.known(at_s)]
            place = history.place(at_s)
            block = _block(history.local(at_s))
            busy = (events.total - events.available)[place]
            for column in range(4):
                started = history.started_s[place, column]
                runs = started > 0
                cell = _age_bin(at_s[runs] - started[runs]), block[runs]
                np.add.at(lasted, cell, busy[runs] * _EXPOSURE_STEP_S / 4)
            steps = history.departures
            before = np.clip(steps.places - 1, 0, None)
            inside = steps.at_s < until_s
            for column in (1, 2):
                started = history.started_s[before, column]
                runs = (started > 0) & inside
                cell = _age_bin(steps.at_s[runs] - started[runs]), _block(history.local(steps.at_s[runs]))
                np.add.at(left, cell, steps.count[runs] / 2)
            local = history.local(at_s)
            cell = is_weekend(local).astype(int), local % DAY_S // SLOT_S
            np.add.at(open_s, cell, (events.available[place] > 0) * float(_EXPOSURE_STEP_S))
            arrivals = history.arrivals
            inside = arrivals.at_s < until_s
            local = history.local(arrivals.at_s[inside])
            np.add.at(came, (is_weekend(local).astype(int), local % DAY_S // SLOT_S), arrivals.count[inside])
        overall = (left.sum() + 1) / (lasted.sum() + 6 * 3600)
        by_age = (left.sum(axis=1) + _LEAN_DEPARTURES) / (lasted.sum(axis=1) + _LEAN_DEPARTURES / overall)
        lean_s = _LEAN_DEPARTURES / by_age[:, None]
        hazard = (left + _LEAN_DEPARTURES) / (lasted + lean_s)
        rate = (came.sum() + 1) / (open_s.sum() + 6 * 3600)
        smooth = [sum(np.roll(sums, shift, axis=1) for shift in (-1, 0, 1)) for sums in (came, open_s)]
        usual = (smooth[0] + 10) / (smooth[1] + 10 / rate)
        return cls(hazard, float(rate), usual / rate)

    def hazard(self, age_s: Floats, block: Ints) -> Floats:
        return self.departures_per_s[_age_bin(age_s), block]

    def site(self, history: SiteHistory) -> SiteFlow:
        return SiteFlow(self, history)


class SiteFlow:
    """The rates of one site at any instant, from its past."""

    def __init__(self, flow: Flow, history: SiteHistory) -> None:
        self._flow, self._history = flow, history
        events = history.events
        self._from_s = int(events.at_s[0])
        at_s = np.arange(self._from_s, events.at_s[-1] + 1, _EXPOSURE_STEP_S, dtype=np.int64)
        place = history.place(at_s)
        local = history.local(at_s)
        expected = (
            self._hazard(history.started_s[place], at_s, _block(local)) * (events.total - events.available)[place]
        )
        self._expected_departures = np.concatenate([[0.0], np.cumsum(expected * _EXPOSURE_STEP_S)])
        shape = flow.arrivals_shape[is_weekend(local).astype(int), local % DAY_S // SLOT_S]
        expected = shape * flow.arrivals_per_s * (events.available[place] > 0)
        self._expected_arrivals = np.concatenate([[0.0], np.cumsum(expected * _EXPOSURE_STEP_S)])

    def _hazard(self, started_s: Floats, at_s: Ints, block: Ints) -> Floats:
        """The mean hazard of the running sessions."""
        ages = [self._flow.hazard(np.clip(at_s - started_s[:, column], 0, None), block) for column in range(4)]
        return sum(ages, np.zeros(len(at_s))) / 4

    def factors(self, at_s: Ints) -> tuple[Floats, Floats]:
        """How much quicker cars leave, and come, than at other sites; 1 of a site without a past."""
        found = []
        for steps, expected in (
            (self._history.departures, self._expected_departures),
            (self._history.arrivals, self._expected_arrivals),
        ):
            seen = steps.until(at_s) - steps.until(at_s - _LEVEL_S)
            # only full steps before the instant
            last, first = ((at - self._from_s) // _EXPOSURE_STEP_S for at in (at_s, at_s - _LEVEL_S))
            usual = expected[np.clip(last, 0, len(expected) - 1)] - expected[np.clip(first, 0, len(expected) - 1)]
            found.append((seen + _LEAN_EVENTS) / (usual + _LEAN_EVENTS))
        return found[0], found[1]

    def chances(self, at_s: Ints, ahead_min: Sequence[int]) -> dict[str, Floats]:
        """At each instant and so many minutes later (rising): the probability that a point is free, and how many arrivals and
        departures to expect. Shapes (instants, horizons)."""
        parts = [self._chances(at_s[start : start + _CHUNK], ahead_min) for start in range(0, len(at_s), _CHUNK)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _chances(self, at_s: Ints, ahead_min: Sequence[int]) -> dict[str, Floats]:
        history, events = self._history, self._history.events
        place = history.place(at_s)
        total = events.total[place]
        most = int(min(_MOST_FREE, max(1, total.max())))
        rows = np.arange(len(at_s))
        states = np.arange(most + 1)
        chance = np.zeros((len(at_s), most + 1))
        chance[rows, np.minimum(events.available[place], most)] = 1.0
        busy = np.maximum(total[:, None] - states, 0)
        leave_factor, come_factor = self.factors(at_s)
        local = history.local(at_s)
        started = history.started_s[place]
        started = np.where(started > 0, started, at_s[:, None])
        come = leave = np.zeros(len(at_s))
        arrivals, departures = np.zeros(len(at_s)), np.zeros(len(at_s))
        names = ("free", "arrivals", "departures")
        found: dict[str, list[Floats]] = {name: [] for name in names}
        steps = [max(1, -(-minutes * 60 // STEP_S)) for minutes in ahead_min]
        for step in range(max(steps)):
            then = local + step * STEP_S + STEP_S // 2
            if step % 2 == 0:
                come = self._arrival_rate(local, then, come_factor)
                leave = leave_factor * self._hazard(started, at_s + step * STEP_S + STEP_S // 2, _block(then))
            down = (1 - np.exp(-come * STEP_S))[:, None] * (states > 0)
            up = 1 - np.exp(-leave[:, None] * busy * STEP_S)
            arrivals += (chance * down).sum(axis=1)
            departures += (chance * up).sum(axis=1)
            going_down, going_up = chance * down * (1 - up), chance * up * (1 - down)
            going_up[:, -1] = 0
            chance = chance - going_down - going_up
            chance[:, :-1] += going_down[:, 1:]
            chance[:, 1:] += going_up[:, :-1]
            for minutes in (m for m, s in zip(ahead_min, steps, strict=True) if s == step + 1):
                del minutes
                for name, value in zip(names, (1 - chance[:, 0], arrivals.copy(), departures.copy()), strict=True):
                    found[name].append(value)
        return {name: np.stack(values, axis=1) for name, values in found.items()}

    def _arrival_rate(self, local: Ints, then: Ints, factor: Floats) -> Floats:
        week = self._history.week.at(local, then)
        common = self._flow.arrivals_shape[is_weekend(then).astype(int), then % DAY_S // SLOT_S]
        level = common * self._flow.arrivals_per_s * factor
        return (week["arrivals"] + _LEAN_SLOT_S * level) / (week["free"] + _LEAN_SLOT_S)


def _age_bin(age_s: Floats) -> Ints:
    return np.searchsorted(_AGE_EDGES_MIN * 60.0, age_s, side="right")


def _block(local_s: Ints) -> Ints:
    return local_s % DAY_S // (3600 * _HOURS_A_BLOCK)
