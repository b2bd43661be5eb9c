"""A station's thirty days: local days, failed starts, days that are not known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from evcharge.live.usage_tables import HourlyUsage
from evcharge.queries.history import _days, failed_starts

ZONE = ZoneInfo("America/Los_Angeles")
NOW = datetime(2026, 3, 9, 20, tzinfo=UTC)


@dataclass
class Event:
    """A row of the journal: its times come from Cassandra without a zone."""

    event_type: str
    session_id: str
    occurred_at: datetime
    energy_delivered_kwh: float | None = None
    reason: str | None = None


def stay(session: str, minutes: float, energy_kwh: float | None, reason: str, at: datetime) -> list[Event]:
    ended = at + timedelta(minutes=minutes)
    return [Event("stopped", session, ended, energy_kwh, reason), Event("started", session, at)]


def test_a_failed_start_has_no_energy_or_an_early_fault() -> None:
    at = datetime(2026, 3, 9, 5)  # noqa: DTZ001
    events = [
        *stay("empty", 1, None, "Other", at),
        *stay("zero", 30, 0.0, "EVDisconnected", at),
        *stay("early fault", 4, 1.2, "GroundFault", at),
        *stay("late fault", 6, 1.2, "PowerLoss", at),
        *stay("good", 2, 0.5, "Local", at),
        Event("abandoned", "queue", at),
        # its start is before the days that were read
        Event("stopped", "older", at, 3.0, "GroundFault"),
    ]
    # five in the morning UTC is the evening before in Los Angeles
    assert failed_starts(events, ZONE) == {date(2026, 3, 8): 3}


def usage(hour_at: datetime, minutes: float) -> HourlyUsage:
    return HourlyUsage("s", hour_at, 1, 10.0, minutes, 1, 0, 0, True, hour_at)


def test_days_are_local_and_those_before_the_first_are_not_known() -> None:
    days = [date(2026, 3, 6) + timedelta(days=n) for n in range(4)]
    usages = [
        usage(datetime(2026, 3, 8, 7, tzinfo=UTC), 60.0),  # the 7th, 23:00
        usage(datetime(2026, 3, 8, 8, tzinfo=UTC), 60.0),  # the 8th, 0:00, which has 23 hours
        usage(datetime(2026, 3, 9, 19, tzinfo=UTC), 30.0),  # today, noon
    ]
    settled = [date(2026, 3, 6)]
    found = _days(days, usages, {date(2026, 3, 9): 2}, settled, ZONE, 2, NOW)
    assert [day.sessions for day in found] == [None, 1, 1, 1]
    assert [day.failed_starts for day in found] == [None, 0, 0, 2]
    assert [day.utilisation for day in found] == [None, 60 / (2 * 1440), 60 / (2 * 23 * 60), 30 / (2 * 13 * 60)]
    assert _days(days, usages, {}, settled, ZONE, 0, NOW)[1].utilisation is None
    assert all(day.sessions is None for day in _days(days, [], {}, settled, ZONE, 2, NOW))


def test_of_the_day_on_which_the_platform_began_the_known_hours_count() -> None:
    days = [date(2026, 3, 5), date(2026, 3, 6)]
    # the 5th, 14:00 to 15:00, which is 22:00 UTC
    usages = [usage(datetime(2026, 3, 5, 22, tzinfo=UTC), 60.0), usage(datetime(2026, 3, 6, 22, tzinfo=UTC), 60.0)]
    began = _days(days, usages, {}, [date(2026, 3, 5), date(2026, 3, 6)], ZONE, 1, NOW)
    assert [day.utilisation for day in began] == [60 / (10 * 60), 60 / 1440]
    # a day before has final hours: the station stood unused until then
    unused = _days(days, usages, {}, [date(2026, 3, 4)], ZONE, 1, NOW)
    assert [day.utilisation for day in unused] == [60 / 1440, 60 / 1440]
    # a failed start without an hour says nothing of when the day began
    failed = _days(days, usages[1:], {days[0]: 1}, [], ZONE, 1, NOW)
    assert [day.utilisation for day in failed] == [0.0, 60 / 1440]
