"""Final hours on real servers: what later days' rows tell reaches the days before, and obsolete hours go."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from secrets import token_hex

import pytest
from support import NOON, Lake, Row, meter, station, stopped

from evcharge.audit.figures import disagreements
from evcharge.audit.live_stores import HOURS_GRACE, final_hours
from evcharge.connections import cassandra
from evcharge.live.final_usage import FinalReport, write_final_usage
from evcharge.live.pending_hours import pending_hours

STATION, OTHER = (f"final-{name}-{token_hex(3)}" for name in ("hours", "other"))
#: Far from the days of other tests. The first day begins at its midnight.
MIDNIGHT = NOON.replace(hour=0) + timedelta(days=300)
DAYS = [(MIDNIGHT + timedelta(days=n)).date() for n in range(8)]


@pytest.fixture(scope="module", autouse=True)
def _registered(lake: Lake) -> None:
    lake.register(station(STATION), station(OTHER))


def at(days: float) -> datetime:
    return MIDNIGHT + timedelta(days=days)


def started(session: str, when: datetime, station_id: str = STATION) -> Row:
    return meter(session, station_id, occurred_at=when, event_type="started", energy_delivered_kwh=0.0)


def compute(lake: Lake, days: Iterable[date]) -> FinalReport:
    return write_final_usage(lake.settings, lake.repository, lake.spark, days, datetime.now(UTC))


def pending(lake: Lake) -> set[date]:
    return set(pending_hours(lake.settings, lake.repository, datetime.now(UTC)).days).intersection(DAYS)


def energy_wh(lake: Lake, day: date, station_id: str = STATION) -> dict[int, int]:
    with cassandra(lake.settings) as session:
        rows = session.execute(
            f"SELECT hour, energy_wh FROM {lake.settings.cassandra_keyspace}.usage_final "
            "WHERE station_id = %s AND day = %s",
            (station_id, day),
        )
        return {row.hour: row.energy_wh for row in rows}


def wrong(lake: Lake, loading_since: datetime) -> set[date]:
    """The days of which reconcile says that the hours are not those of the lake."""
    sides = final_hours(lake.settings, lake.repository, loading_since)
    keys = [key for key, _, _ in disagreements(sides) if key[0] in (STATION, OTHER)]
    return {datetime.fromtimestamp(start / 1000, UTC).date() for _, start in keys}


def test_a_session_over_midnight_reaches_the_day_before(lake: Lake) -> None:
    first, second = DAYS[0], DAYS[1]
    session = f"{STATION}-night"
    lake.publish(lake.send_events([started(session, at(20 / 24))]))
    assert pending(lake) == {first}
    compute(lake, [first])
    assert energy_wh(lake, first) == {20: 0}
    stop = stopped(session, STATION, at(28 / 24), started_at=at(20 / 24), energy_delivered_kwh=80.0)
    published = lake.publish(lake.send_events([stop]))
    assert published.manifest.reached_dates == [str(first)]
    assert pending(lake) == {first, second}
    # at first it may just not be computed yet
    assert wrong(lake, datetime.now(UTC)) == set()
    overdue = datetime.now(UTC) + HOURS_GRACE
    assert wrong(lake, overdue) == {first}
    compute(lake, [first, second])
    assert energy_wh(lake, first) == dict.fromkeys(range(20, 24), 10_000)
    assert energy_wh(lake, second) == dict.fromkeys(range(4), 10_000) | {4: 0}
    assert pending(lake) == set()
    assert wrong(lake, overdue) == set()


def test_a_session_of_many_days_reaches_all_of_them(lake: Lake) -> None:
    session = f"{OTHER}-long"
    lake.publish(
        lake.send_events(
            [
                started(session, at(2.5), OTHER),
                meter(session, OTHER, 1, occurred_at=at(2.625), event_type="suspended", energy_delivered_kwh=30.0),
            ]
        )
    )
    compute(lake, DAYS[1:3])
    stop = stopped(
        session, OTHER, at(7.5), started_at=at(2.5), energy_delivered_kwh=30.0, sequence=2, event_id=f"{session}-2"
    )
    lake.publish(lake.send_events([stop]))
    assert pending(lake) == set(DAYS[2:])
    for day in DAYS[2:]:
        compute(lake, [day])
    assert [sum(energy_wh(lake, day, OTHER).values()) for day in DAYS[2:]] == [30_000, 0, 0, 0, 0, 0]
    # plugged in all day, though the day itself has no row
    assert len(energy_wh(lake, DAYS[5], OTHER)) == 24
    assert wrong(lake, datetime.now(UTC) + HOURS_GRACE) == set()


def test_hours_that_a_day_no_longer_has_are_deleted(lake: Lake) -> None:
    table = f"{lake.settings.cassandra_keyspace}.usage_final"
    insert = f"INSERT INTO {table} (station_id, day, hour, energy_wh) VALUES (%s, %s, %s, 1)"
    before = energy_wh(lake, DAYS[0])
    with cassandra(lake.settings) as session:
        for station_id in (STATION, f"{STATION}-gone"):
            session.execute(insert, (station_id, DAYS[0], 7))
    assert compute(lake, [DAYS[0]]).removed == 2
    assert (energy_wh(lake, DAYS[0]), energy_wh(lake, DAYS[0], f"{STATION}-gone")) == (before, {})
    assert compute(lake, [DAYS[0]]).removed == 0


def test_one_session_id_at_two_stations_is_two_sessions(lake: Lake) -> None:
    session = f"{STATION}-shared"
    ends = [stopped(session, name, at(6.5), energy_delivered_kwh=5.0) for name in (STATION, OTHER)]
    lake.publish(lake.send_events(ends))
    compute(lake, [DAYS[6]])
    assert [energy_wh(lake, DAYS[6], name)[11] for name in (STATION, OTHER)] == [5_000, 5_000]
    assert wrong(lake, datetime.now(UTC) + HOURS_GRACE) == set()
