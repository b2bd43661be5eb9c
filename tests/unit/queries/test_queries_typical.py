"""A station's day against a typical one, by the clock on its wall."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from evcharge.live.usage_tables import HourlyUsage
from evcharge.queries.typical import DayComparison, compare, days_compared, utc_days, utc_hours

LOS_ANGELES = ZoneInfo("America/Los_Angeles")
#: A Wednesday, 11:30 in Los Angeles.
NOW = datetime(2026, 5, 20, 18, 30, tzinfo=UTC)
TODAY = date(2026, 5, 20)


def usage(at: datetime, sessions: int = 1, *, is_final: bool = True) -> HourlyUsage:
    return HourlyUsage(
        "s", at.astimezone(UTC), sessions, 10.0 * sessions, 30.0 * sessions, sessions, 0, 0, is_final, NOW
    )


def local(day: date, hour: int, zone: ZoneInfo = LOS_ANGELES) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=zone)


def asked(usages: Iterable[HourlyUsage], settled: Iterable[date] = (), now: datetime = NOW) -> DayComparison:
    ends = {day: datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1) for day in settled}
    return compare(usages, ends, now - timedelta(seconds=2), now, LOS_ANGELES)


def test_a_weekday_is_compared_with_twenty_weekdays() -> None:
    today, before = days_compared(NOW, LOS_ANGELES)
    assert today == TODAY
    assert len(before) == 20
    assert all(day.weekday() < 5 for day in before)
    assert (before[0], before[-1]) == (date(2026, 5, 19), date(2026, 4, 22))


def test_today_is_that_of_the_station() -> None:
    night = datetime(2026, 5, 24, 3, tzinfo=UTC)  # still Saturday evening in Los Angeles
    today, before = days_compared(night, LOS_ANGELES)
    assert today == date(2026, 5, 23)
    assert len(before) == 8
    assert days_compared(night, ZoneInfo("UTC"))[0] == date(2026, 5, 24)


def test_local_days_have_the_hours_that_their_clocks_show() -> None:
    assert [len(utc_hours(day, LOS_ANGELES)) for day in (TODAY, date(2026, 3, 8), date(2026, 11, 1))] == [24, 23, 25]
    assert utc_days([TODAY], LOS_ANGELES) == [TODAY, TODAY + timedelta(days=1)]
    # half past: a UTC hour belongs to the local hour in which it begins
    kolkata = utc_hours(TODAY, ZoneInfo("Asia/Kolkata"))
    assert (len(kolkata), kolkata[0]) == (24, datetime(2026, 5, 19, 19, tzinfo=UTC))


def test_hours_of_use_are_those_of_the_wall_clock() -> None:
    day = asked([usage(local(TODAY, 9), 2, is_final=False)])
    assert day.hours[9].today is not None
    assert (day.hours[9].today.sessions, day.hours[9].today.energy_kwh, day.hours[9].is_final) == (2, 20.0, False)
    assert day.hours[8].today is not None
    assert day.hours[8].today.sessions == 0


def test_where_a_day_is_final_the_streams_hours_do_not_count() -> None:
    """The stream had a session that the lake has elsewhere, or not at all."""
    monday, tuesday = (TODAY - timedelta(days=n) for n in (2, 1))
    used = [usage(local(monday, 3)), usage(local(tuesday, 3), 5), usage(local(tuesday, 9), 7, is_final=False)]
    before = asked([*used, usage(local(monday, 9), is_final=False)], [monday])
    assert before.hours[9].typical is not None
    assert (before.typical_days, before.hours[9].typical.sessions) == (2, 3.5)


def test_future_hours_are_left_out() -> None:
    day = asked([])
    assert [hour.hour for hour in day.hours if hour.today is None] == list(range(12, 24))


def test_hours_after_the_stream_stopped_are_left_out() -> None:
    day = compare([], {}, local(TODAY, 8), NOW, LOS_ANGELES)
    assert [hour.hour for hour in day.hours if hour.today is not None] == list(range(8))


def test_a_station_without_events_has_no_hours() -> None:
    day = compare([], {TODAY: NOW}, None, NOW, LOS_ANGELES)
    assert all(hour.today is None for hour in day.hours)


def test_a_typical_day_is_the_mean_of_the_days_that_are_known() -> None:
    first, second = date(2026, 5, 18), date(2026, 5, 19)
    day = asked([usage(local(first, 9), 1), usage(local(second, 9), 2), usage(local(second, 10), 1)])
    assert (day.typical_days, day.typical_days_wanted) == (2, 20)
    assert day.hours[9].typical is not None
    assert (day.hours[9].typical.sessions, day.hours[9].typical.occupied_minutes) == (1.5, 45.0)
    assert day.hours[10].typical is not None
    assert day.hours[10].typical.sessions == 0.5
    assert day.note == "typical is the mean of only 2 of the 20 weekdays before"


def test_a_computed_day_without_use_counts_from_the_stations_first_day_on() -> None:
    tuesday, friday, before = date(2026, 5, 19), date(2026, 5, 15), date(2026, 5, 14)
    settled = [day + timedelta(days=n) for day in (tuesday, before) for n in (0, 1)]
    day = asked([usage(local(friday, 9), 2)], settled)
    assert day.typical_days == 2
    assert day.hours[9].typical is not None
    assert day.hours[9].typical.sessions == 1


def test_hours_before_the_platform_began_are_not_known() -> None:
    """It began in the afternoon of the day before: nobody knows whether the station stood unused that morning."""
    monday, tuesday = date(2026, 5, 18), date(2026, 5, 19)
    began = asked([usage(local(tuesday, 14), 2)], [tuesday, TODAY])
    assert [hour.hour for hour in began.hours if hour.typical is None] == list(range(14))
    assert began.hours[14].typical is not None
    assert began.hours[15].typical is not None
    assert (began.hours[14].typical.sessions, began.hours[15].typical.sessions) == (2, 0)
    later = asked([usage(local(monday, 14), 2), usage(local(tuesday, 9), 3)], [monday, tuesday])
    # of two days, the first counts only from its first known hour on
    assert later.hours[9].typical is not None
    assert later.hours[14].typical is not None
    assert (later.hours[9].typical.sessions, later.hours[14].typical.sessions) == (3, 1)
    # the platform knew days before: the station stood unused until then
    known = asked([usage(local(tuesday, 14), 2)], [monday])
    assert all(hour.typical is not None for hour in known.hours)


def test_other_kinds_of_days_do_not_count() -> None:
    sunday = date(2026, 5, 17)
    day = asked([usage(local(sunday, 9))])
    assert day.typical_days == 0
    assert day.note == "no weekday of the 4 weeks before is known yet: nothing to compare with"
    weekend = asked([usage(local(sunday, 9))], now=datetime(2026, 5, 23, 18, tzinfo=UTC))
    assert (weekend.kind, weekend.typical_days, weekend.typical_days_wanted) == ("weekend day", 1, 8)


def test_twenty_known_days_need_no_remark() -> None:
    _, before = days_compared(NOW, LOS_ANGELES)
    assert asked([usage(local(day, 9)) for day in before]).note is None


def test_an_hour_that_comes_twice_is_one_and_a_missing_one_is_no_zero() -> None:
    autumn = datetime(2026, 11, 1, 23, tzinfo=UTC)
    twice = [usage(datetime(2026, 11, 1, 8, tzinfo=UTC)), usage(datetime(2026, 11, 1, 9, tzinfo=UTC), 2)]
    hour = asked(twice, now=autumn).hours[1].today
    assert hour is not None
    assert (hour.sessions, hour.peak_occupancy) == (3, 2)
    spring = asked([usage(datetime(2026, 3, 8, 9, tzinfo=UTC))], now=datetime(2026, 3, 14, 23, tzinfo=UTC))
    assert spring.typical_days == 1
    assert spring.hours[2].typical is None


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Asia/Kathmandu", "UTC"])
def test_every_hour_of_a_day_is_there_once(zone: str) -> None:
    day = compare([], {}, None, NOW, ZoneInfo(zone)).to_json()
    assert [hour["hour"] for hour in day["hours"]] == list(range(24))
