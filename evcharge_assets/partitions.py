"""Partitions: ingest hours for the archive, UTC days of events for the warehouse, UTC hours of events for the live state.

All of them include the running hour or day. Only the partitions of simulated days end with yesterday: a day is simulated
as a whole, once it is over.
"""

from __future__ import annotations

from datetime import UTC, date, datetime

import dagster as dg

from evcharge.settings import Settings

_HOUR = "%Y-%m-%d-%H:%M"


def ingest_hours(settings: Settings) -> dg.HourlyPartitionsDefinition:
    """UTC hours in which ranges were planned."""
    first = datetime.fromisoformat(settings.ingest_hours_from)
    return dg.HourlyPartitionsDefinition(start_date=first, fmt=_HOUR, timezone="UTC", end_offset=1)


def event_days(settings: Settings) -> dg.DailyPartitionsDefinition:
    """UTC days of events. The first day is a setting, so that recorded years can be included."""
    return dg.DailyPartitionsDefinition(start_date=settings.event_days_from, timezone="UTC", end_offset=1)


def ended_days(settings: Settings) -> dg.DailyPartitionsDefinition:
    """The event days that are over."""
    return dg.DailyPartitionsDefinition(start_date=settings.event_days_from, timezone="UTC")


def event_hours(settings: Settings) -> dg.HourlyPartitionsDefinition:
    """UTC hours of events, from the first event day on: some 79,000 by now."""
    first = datetime.fromisoformat(settings.event_days_from)
    return dg.HourlyPartitionsDefinition(start_date=first, fmt=_HOUR, timezone="UTC", end_offset=1)


def hour_partition(key: str) -> datetime:
    """The start of an hour's partition."""
    return datetime.strptime(key, _HOUR).replace(tzinfo=UTC)


def hour_of_ms(at_ms: int) -> str:
    """The partition key of the UTC hour of `at_ms` (ms since the epoch)."""
    return hour_key(datetime.fromtimestamp(at_ms / 1000, UTC))


def hour_key(at: datetime) -> str:
    """The partition key of the UTC hour of `at`."""
    return at.astimezone(UTC).strftime("%Y-%m-%d-%H:00")


def ingest_hour(partition_key: str) -> str:
    """The lake's name (`YYYY-MM-DD-HH`) of the ingest hour with this partition key."""
    return partition_key.removesuffix(":00")


#: A range may include gaps of this many days without changes: to load these days costs less than one more run.
GAP_DAYS = 14


def contiguous(days: list[date]) -> list[tuple[date, date]]:
    """The fewest ranges (first and last day) that hold all days and no gap of more than GAP_DAYS."""
    ranges: list[tuple[date, date]] = []
    for day in sorted(days):
        if ranges and (day - ranges[-1][1]).days <= GAP_DAYS:
            ranges[-1] = (ranges[-1][0], day)
        else:
            ranges.append((day, day))
    return ranges
