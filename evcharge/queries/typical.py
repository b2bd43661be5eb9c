"""A station's day so far compared with a typical day of the same kind, hour by hour of its local clock.

A UTC hour belongs to the local hour in which it begins. The two are the same where clocks differ from UTC by whole hours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from operator import attrgetter
from typing import Any
from zoneinfo import ZoneInfo

from evcharge.live.usage_tables import HourlyUsage

WEEKS = 4
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Usage:
    """The usage of one local hour, or its mean over several days; `peak_occupancy` is the most EVSEs occupied at once."""

    sessions: float
    energy_kwh: float
    occupied_minutes: float
    peak_occupancy: float
    waits: float
    faults: float

    def to_json(self) -> dict[str, float]:
        return {name: round(value, 2) for name, value in asdict(self).items()}


#: `asdict` copies each value, which took most of a comparison's time
_FIGURES = attrgetter(*(field.name for field in fields(Usage)))


@dataclass(frozen=True, slots=True)
class LocalHour:
    """An hour of the local clock: today's usage so far, null if it is in the future or not known, and the typical usage."""

    hour: int
    today: Usage | None
    is_final: bool
    typical: Usage | None

    def to_json(self) -> dict[str, Any]:
        return {
            "hour": self.hour,
            "today": self.today and self.today.to_json(),
            "is_final": self.is_final,
            "typical": self.typical and self.typical.to_json(),
        }


@dataclass(frozen=True, slots=True)
class DayComparison:
    """Today at the station, compared with the mean of `typical_days` of the `typical_days_wanted` days of its kind before."""

    date: date
    time_zone: str
    is_weekend: bool
    typical_days: int
    typical_days_wanted: int
    hours: tuple[LocalHour, ...]

    @property
    def kind(self) -> str:
        return "weekend day" if self.is_weekend else "weekday"

    @property
    def note(self) -> str | None:
        """Says how few days the typical day is computed from; None if all days are known."""
        if not self.typical_days:
            return f"no {self.kind} of the {WEEKS} weeks before is known yet: nothing to compare with"
        if self.typical_days < self.typical_days_wanted:
            return (
                f"typical is the mean of only {self.typical_days} of the {self.typical_days_wanted} {self.kind}s before"
            )
        return None

    def to_json(self) -> dict[str, Any]:
        return {
            "date": self.date.isoformat(),
            "time_zone": self.time_zone,
            "kind": self.kind,
            "typical_days": self.typical_days,
            "typical_days_wanted": self.typical_days_wanted,
            "note": self.note,
            "hours": [hour.to_json() for hour in self.hours],
        }


def days_compared(now: datetime, zone: ZoneInfo) -> tuple[date, list[date]]:
    """Today at the station, and the days of the same kind (weekday, weekend) in the four weeks before, newest first."""
    today = now.astimezone(zone).date()
    before = (today - timedelta(days=n) for n in range(1, WEEKS * 7 + 1))
    return today, [day for day in before if _is_weekend(day) == _is_weekend(today)]


def utc_days(days: Iterable[date], zone: ZoneInfo) -> list[date]:
    """The UTC days that have the hours of local days."""
    return sorted({hour.date() for day in days for hour in utc_hours(day, zone)})


def utc_hours(day: date, zone: ZoneInfo) -> list[datetime]:
    """The starts of the UTC hours that begin on a local day: 24, or 23 or 25 when the clocks change."""
    hour = datetime.combine(day, time(), zone).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    hours = (hour + n * _HOUR for n in range(27))
    return [start for start in hours if start.astimezone(zone).date() == day]


def known_from(first_at: datetime, settled: Iterable[date], zone: ZoneInfo) -> datetime:
    """From when on it is known what a station did on the local day of `first_at`, its first hour that is known (UTC).

    That is the day's beginning if the platform knew a UTC day before: `settled` has the days with final hours. Otherwise the
    platform may have begun on this day, and what was before `first_at` is not known.
    """
    midnight = datetime.combine(first_at.astimezone(zone).date(), time(), zone).astimezone(UTC)
    return midnight if any(day < midnight.date() for day in settled) else first_at


def compare(
    usages: Iterable[HourlyUsage],
    settled_to: Mapping[date, datetime],
    known_to: datetime | None,
    now: datetime,
    zone: ZoneInfo,
) -> DayComparison:
    """Compares a station's day with the days before.

    Everything that the station did until `known_to` is known. An hour of today without a row counts as unused if it began
    before then; otherwise it is not known. A day before counts if the station has a row for it. After the station's first
    such day, a day without rows counts too if all its hours are final: `settled_to` has the end of the final hours by UTC day.
    Of the first day only what is after `known_from` counts. A provisional hour does not count on a UTC day whose hours are all
    final: the lake does not have what the stream had.
    """

    def is_replaced(usage: HourlyUsage) -> bool:
        midnight = datetime.combine(usage.hour_at.date() + timedelta(days=1), time(), UTC)
        return not usage.is_final and settled_to.get(usage.hour_at.date(), usage.hour_at) >= midnight

    found = {usage.hour_at: usage for usage in usages if not is_replaced(usage)}
    today, before = days_compared(now, zone)

    def is_settled(start: datetime) -> bool:
        return start < settled_to.get(start.date(), start)

    hours_of = {day: utc_hours(day, zone) for day in before}
    used = {day for day, hours in hours_of.items() if any(hour in found for hour in hours)}
    counted = [
        day
        for day, hours in hours_of.items()
        if used and day >= min(used) and (day in used or all(map(is_settled, hours)))
    ]
    begun_at = known_from(min(found), settled_to, zone) if counted else now
    typical = _typical({day: [start for start in hours_of[day] if start >= begun_at] for day in counted}, found, zone)
    todays: dict[int, list[HourlyUsage | None]] = {hour: [] for hour in range(24)}
    for start in utc_hours(today, zone):
        is_known = start in found or (known_to is not None and start < known_to)
        if start <= now and is_known:
            todays[start.astimezone(zone).hour].append(found.get(start))
    compared = tuple(
        LocalHour(
            hour,
            _sum(rows) if rows else None,
            bool(rows) and all(row is not None and row.is_final for row in rows),
            typical.get(hour),
        )
        for hour, rows in todays.items()
    )
    return DayComparison(today, zone.key, _is_weekend(today), len(counted), len(before), compared)


def _typical(
    hours_of: Mapping[date, list[datetime]], found: Mapping[datetime, HourlyUsage], zone: ZoneInfo
) -> dict[int, Usage]:
    """The mean usage of each local hour over the days that have it."""
    sums: dict[int, list[Usage]] = {}
    for starts in hours_of.values():
        rows: dict[int, list[HourlyUsage | None]] = {}
        for start in starts:
            rows.setdefault(start.astimezone(zone).hour, []).append(found.get(start))
        for hour, of_hour in rows.items():
            sums.setdefault(hour, []).append(_sum(of_hour))
    return {
        hour: Usage(*(sum(values) / len(days) for values in zip(*map(_FIGURES, days), strict=True)))
        for hour, days in sums.items()
    }


def _sum(rows: Iterable[HourlyUsage | None]) -> Usage:
    there = [row for row in rows if row is not None]
    return Usage(
        sessions=sum(row.sessions for row in there),
        energy_kwh=sum(row.energy_kwh for row in there),
        occupied_minutes=sum(row.occupied_minutes for row in there),
        peak_occupancy=max((row.peak_occupancy for row in there), default=0),
        waits=sum(row.waits for row in there),
        faults=sum(row.faults for row in there),
    )


def _is_weekend(day: date) -> bool:
    return day.weekday() >= 5
