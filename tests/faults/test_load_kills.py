"""SIGKILL between any two steps of a warehouse load: repeating it gives the lake's rows, once, and no staging tables."""

from __future__ import annotations

from datetime import timedelta
from secrets import token_hex
from typing import Any

import pytest
import stuck
from support import NOON, Lake, Row, meter, station, stopped

from evcharge.warehouse.pending_loads import pending_loads
from evcharge.warehouse.tables import FACT

STATION = f"load-kill-{token_hex(3)}"
#: Days of this module's sessions. No other test has sessions on them.
FIRST, SECOND = (NOON + timedelta(days=300 + n) for n in range(2))
DAYS = [FIRST.date(), SECOND.date()]
GAPS = (
    "staging created",
    "staging filled",
    "known facts kept",
    "days filled",
    *(f"day {day} replaced" for day in DAYS),
    "loaded_day written",
)


def sessions(generation: int) -> list[Row]:
    """Twenty sessions over both days. All generations have the first two."""
    return [
        stopped(
            f"{STATION}-{0 if n < 2 else generation}-{n}",
            STATION,
            (FIRST, SECOND)[n % 2] + timedelta(minutes=n),
            energy_delivered_kwh=5 + n / 1000,
        )
        for n in range(20)
    ]


def facts(lake: Lake) -> list[tuple[Any, ...]]:
    return lake.query(
        f"SELECT session_id, ended_at, energy_delivered_kwh, publication_id FROM {FACT} "
        "WHERE station_id = %(station)s ORDER BY session_id",
        station=STATION,
    )


@pytest.fixture(scope="module")
def expected(lake: Lake) -> dict[str, tuple[int, str]]:
    """Sessions that were published so far: energy in Wh and publication of each, which the tests fill."""
    lake.register(station(STATION))
    return {}


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("in_full", [True, False], ids=["in full", "what is new"])
def test_warehouse_load_killed(lake: Lake, expected: dict[str, tuple[int, str]], gap: str, *, in_full: bool) -> None:
    lake.load(DAYS)
    events = sessions(len(expected) + 1)
    planned = lake.send_events([*events, meter(f"{STATION}-open", STATION, occurred_at=FIRST)])
    lake.publish(planned)
    for event in events:
        energy_wh = round(event["energy_delivered_kwh"] * 1000)
        expected.setdefault(event["session_id"], (energy_wh, planned.publication_id))
    before = facts(lake)
    with stuck.Victim(stuck.load, (lake.settings, DAYS, "killed-run", in_full), block_at=gap) as victim:
        victim.reach(gap)
        victim.kill()
    if gap in GAPS[:4]:
        assert facts(lake) == before
    if gap != "loaded_day written":
        assert set(DAYS) <= set(pending_loads(lake.settings, lake.repository).days)

    # with the killed run's id, as a retry of a step in that run does
    report = lake.load(DAYS, run_id="killed-run")
    loaded = {session: (int(energy * 1000), publication) for session, _, energy, publication in facts(lake)}
    assert loaded == expected
    assert len(facts(lake)) == len(expected)
    # a day that was replaced has other facts than its mark says, and is read in full
    replaced = {GAPS[4]: DAYS[:1], GAPS[5]: DAYS}.get(gap, [])
    assert report.added_to == tuple(day for day in DAYS if day not in replaced)
    assert report.lake_commit == lake.repository.head().id
    assert lake.query(
        f"SELECT date, lake_commit, row_count FROM loaded_day FINAL "
        f"WHERE table_name = '{FACT}' AND date IN %(days)s ORDER BY date",
        days=DAYS,
    ) == [(day, report.lake_commit, report.rows_by_day[day]) for day in DAYS]
    assert lake.query("SHOW TABLES LIKE 'staging_%'") == []
    assert not set(DAYS) & set(pending_loads(lake.settings, lake.repository).days)
    as_added = facts(lake)
    assert lake.load(DAYS, in_full=True).added_to == ()
    assert facts(lake) == as_added


@pytest.mark.parametrize("gap", ["days filled", f"day {DAYS[1]} replaced", f"day {DAYS[0]} replaced"])
def test_a_fact_leaves_its_day_although_the_load_was_killed(
    lake: Lake, expected: dict[str, tuple[int, str]], gap: str
) -> None:
    """Its record on the second day is the first in Kafka, and the first day is loaded before."""
    session = f"{STATION}-moved-{token_hex(3)}"
    lake.publish(lake.send_events([stopped(session, STATION, SECOND), stopped(session, STATION, FIRST)]))

    def ended() -> list[tuple[Any, ...]]:
        return lake.query(f"SELECT ended_at FROM {FACT} WHERE session_id = %(session)s", session=session)

    lake.load(DAYS[:1])
    assert ended() == [(FIRST,)]
    with stuck.Victim(stuck.load, (lake.settings, DAYS[1:], "killed-run", False), block_at=gap) as victim:
        victim.reach(gap)
        victim.kill()
    assert set(DAYS[1:]) <= set(pending_loads(lake.settings, lake.repository).days)
    lake.load_waiting()
    assert ended() == [(SECOND,)]
    assert lake.query("SHOW TABLES LIKE 'staging_%'") == []
