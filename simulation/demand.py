"""When cars come, how long they stay and how patient they are, by kind of site: parameters, no rows.

Workplaces follow the shipped profile of a campus (ACN-Data Caltech): when cars come, how long they stay and what they take.
DC fast sites follow the hours of the EPFL fast chargers' profile. Public AC has EVnetNL's weekday peak shortly before nine.
Residential sites, visits per car, other stays and patience are assumptions, set so that stays and use are near published
figures.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from math import exp, log

from simulation.clock import DAY_MS, HOUR_MS, WEEK_MS, ms_into_week
from simulation.draws import Uniforms, normal
from simulation.network import SiteKind
from simulation.profile import SiteProfile, shipped

_HOURS_PER_WEEK = 168


@dataclass(frozen=True, slots=True)
class Stay:
    """How long a car stays plugged in.

    A share `until_share` of drivers stays until about the local hour `until_hour` (the shift ends, the morning comes) if that
    is between 1.5 and 16 hours away. The others stay for a log-normal time.
    """

    median_s: float
    sigma: float
    until_share: float = 0.0
    until_hour: float = 0.0
    until_sigma_h: float = 0.0


@dataclass(frozen=True, slots=True)
class KindDemand:
    """Demand at one kind of site.

    `visits_per_day` is the weekly mean of a car that uses such sites. `hours` spreads it over the week: relative weights of
    the 168 hours of a local week, Monday first. `stay` says how long cars stay; a profile also says what they take.
    `patience_median_s` is how long drivers wait for a plug. `linger_s` is the median time (s) that drivers who wait beside
    the car leave it plugged in when it is full; None where they come back by their own plan. Managed charging interrupts a
    `pause_share` of the sessions once.
    """

    visits_per_day: float
    hours: tuple[float, ...]
    stay: Stay | SiteProfile
    patience_median_s: float
    linger_s: float | None = None
    pause_share: float = 0.0

    def hourly_rates(self) -> list[float]:
        """Visits per hour for the 168 hours of a local week, Monday first; they sum to 7 x visits_per_day."""
        scale = 7 * self.visits_per_day / sum(self.hours)
        return [scale * weight for weight in self.hours]


def _week(
    weekday_hours: tuple[float, ...], weekend_hours: tuple[float, ...], weekend_share: float
) -> tuple[float, ...]:
    """Weights of a week. A weekend day has `weekend_share` of the visits of a weekday."""
    weekday = [weight / sum(weekday_hours) for weight in weekday_hours]
    weekend = [weekend_share * weight / sum(weekend_hours) for weight in weekend_hours]
    return tuple(weekday * 5 + weekend * 2)


_PUBLIC_WEEKDAY = (2, 1, 1, 1, 2, 6, 18, 48, 72, 64, 52, 50, 52, 48, 44, 44, 50, 56, 54, 42, 28, 18, 10, 5)
_PUBLIC_WEEKEND = (4, 2, 1, 1, 1, 2, 5, 12, 26, 46, 62, 66, 64, 62, 60, 56, 52, 48, 42, 32, 22, 16, 11, 7)
_HOME_WEEKDAY = (10, 5, 3, 2, 2, 4, 8, 14, 16, 14, 14, 16, 20, 22, 26, 40, 64, 92, 100, 84, 66, 48, 32, 18)
_HOME_WEEKEND = (14, 8, 5, 3, 2, 3, 5, 9, 16, 26, 36, 42, 46, 48, 50, 54, 60, 66, 66, 58, 48, 40, 30, 20)


def _built_in() -> dict[SiteKind, KindDemand]:
    return {
        SiteKind.WORKPLACE: KindDemand(
            visits_per_day=0.80,
            hours=tuple(shipped("campus").hourly_visits()),
            stay=shipped("campus"),
            patience_median_s=45 * 60,
            pause_share=0.12,
        ),
        SiteKind.PUBLIC: KindDemand(
            visits_per_day=0.33,
            hours=_week(_PUBLIC_WEEKDAY, _PUBLIC_WEEKEND, weekend_share=0.9),
            stay=Stay(median_s=2.0 * 3600, sigma=0.7),
            patience_median_s=8 * 60,
            pause_share=0.02,
        ),
        SiteKind.RESIDENTIAL: KindDemand(
            visits_per_day=0.60,
            hours=_week(_HOME_WEEKDAY, _HOME_WEEKEND, weekend_share=0.95),
            stay=Stay(median_s=3.0 * 3600, sigma=0.7, until_share=0.75, until_hour=7.5, until_sigma_h=1.2),
            patience_median_s=30 * 60,
            pause_share=0.12,
        ),
        SiteKind.DC_FAST: KindDemand(
            visits_per_day=1.3,
            hours=tuple(shipped("dc_fast").hourly_visits()),
            stay=Stay(median_s=42 * 60, sigma=0.45),
            patience_median_s=15 * 60,
            linger_s=4 * 60,
        ),
    }


@dataclass(frozen=True)
class Demand:
    """Demand at every kind of site. The top of this module describes the built-in values."""

    kinds: dict[SiteKind, KindDemand] = field(default_factory=_built_in)

    @cached_property
    def _rates(self) -> dict[SiteKind, list[float]]:
        return {kind: demand.hourly_rates() for kind, demand in self.kinds.items()}

    @cached_property
    def _calendars(self) -> dict[tuple[SiteKind, ...], Calendar]:
        return {}

    def calendar(self, kinds: tuple[SiteKind, ...]) -> Calendar:
        """When a car that uses sites of these kinds comes, and to which kind."""
        calendar = self._calendars.get(kinds)
        if calendar is None:
            calendar = self._calendars[kinds] = Calendar(kinds, [self._rates[kind] for kind in kinds])
        return calendar


class Calendar:
    """Visits of one car as a Poisson process whose rate repeats every local week."""

    def __init__(self, kinds: tuple[SiteKind, ...], rates: list[list[float]]) -> None:
        """`rates`: visits per hour for 168 local hours, one list for each of `kinds`. ValueError if they are all zero."""
        self._kinds = kinds
        self._by_hour = [list(accumulate(rate[hour] for rate in rates)) for hour in range(_HOURS_PER_WEEK)]
        self._cumulated = [0.0, *accumulate(total[-1] for total in self._by_hour)]
        if self._cumulated[-1] <= 0:
            raise ValueError("a car without any visits has no calendar")

    def next_visit(self, local_ms: int, when: float, which: float) -> tuple[int, SiteKind]:
        """Local time (ms) and kind of the next visit after `local_ms`; `when` and `which` are uniforms."""
        into_week = ms_into_week(local_ms)
        hour, rest_ms = divmod(into_week, HOUR_MS)
        elapsed = self._cumulated[hour] + (self._cumulated[hour + 1] - self._cumulated[hour]) * (rest_ms / HOUR_MS)
        weeks, remainder = divmod(elapsed - log(when), self._cumulated[-1])
        hour = min(bisect_right(self._cumulated, remainder), _HOURS_PER_WEEK) - 1
        width = self._cumulated[hour + 1] - self._cumulated[hour]
        fraction = (remainder - self._cumulated[hour]) / width
        visit_ms = local_ms - into_week + int(weeks) * WEEK_MS + int((hour + fraction) * HOUR_MS)
        shares = self._by_hour[hour]
        kind = self._kinds[min(bisect_right(shares, which * shares[-1]), len(shares) - 1)]
        return visit_ms, kind


def log_normal(median: float, sigma: float, uniform: float) -> float:
    """The quantile of a log-normal distribution with this median and this spread of the logarithm."""
    return median * exp(sigma * normal(uniform))


_SHORTEST_UNTIL_MS = int(1.5 * HOUR_MS)
_LONGEST_UNTIL_MS = 16 * HOUR_MS
_SHORTEST_STAY_S = 240.0
_LONGEST_STAY_S = 36 * 3600.0


def stay_ms(stay: Stay, local_ms: int, u: Uniforms) -> int:
    """How long (ms) a car stays that plugs in at local time `local_ms`. Uses the first two uniforms of `u`."""
    if u[0] < stay.until_share:
        hour = stay.until_hour + stay.until_sigma_h * normal(u[1])
        left_ms = int(hour * HOUR_MS - local_ms % DAY_MS) % DAY_MS
        if _SHORTEST_UNTIL_MS <= left_ms <= _LONGEST_UNTIL_MS:
            return left_ms
    seconds = log_normal(stay.median_s, stay.sigma, u[1])
    return int(min(max(seconds, _SHORTEST_STAY_S), _LONGEST_STAY_S) * 1000)
