"""From published events to ClickHouse: values, local days, duplicates, emptied days, pending days, and analyst rights."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from secrets import token_hex
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import Lake, Record, Row, meter, parquet, record, station, stopped

from evcharge.connections import clickhouse
from evcharge.contracts import SESSION_EVENTS
from evcharge.lake.layout import raw_prefix
from evcharge.lake.schemas import ARCHIVE_FIELDS, QUARANTINE_SCHEMA
from evcharge.settings import Settings
from evcharge.warehouse import schema
from evcharge.warehouse.day_rules import DAY_RULES, broken_rows
from evcharge.warehouse.load_stations import load_stations
from evcharge.warehouse.pending_loads import pending_loads
from evcharge.warehouse.schema import YEARS_AHEAD
from evcharge.warehouse.tables import FACT

COAST, ALPS, ISLANDS, NOWHERE = (f"wh-{name}" for name in ("coast", "alps", "islands", "utc"))
ZONES = {COAST: "America/Los_Angeles", ALPS: "Europe/Zurich", ISLANDS: "Pacific/Auckland", NOWHERE: "UTC"}

#: Start in UTC, station, and the local day and hour that people there see on the clock.
LOCAL_TIMES = (
    # clocks go back at 09:00 UTC: the hour from 1 to 2 comes twice
    ("2024-11-03T08:30:00", COAST, "2024-11-03", 1),
    ("2024-11-03T09:30:00", COAST, "2024-11-03", 1),
    ("2024-11-03T10:30:00", COAST, "2024-11-03", 2),
    # clocks go forward at 10:00 UTC: there is no hour from 2 to 3
    ("2024-03-10T09:59:59", COAST, "2024-03-10", 1),
    ("2024-03-10T10:00:00", COAST, "2024-03-10", 3),
    ("2024-06-15T06:59:00", COAST, "2024-06-14", 23),
    ("2024-03-31T00:59:59", ALPS, "2024-03-31", 1),
    ("2024-03-31T01:00:00", ALPS, "2024-03-31", 3),
    ("2024-10-27T00:30:00", ALPS, "2024-10-27", 2),
    ("2024-10-27T01:30:00", ALPS, "2024-10-27", 2),
    ("2024-12-31T22:59:59", ALPS, "2024-12-31", 23),
    ("2024-12-31T23:00:00", ALPS, "2025-01-01", 0),
    ("2024-01-15T11:00:00", ISLANDS, "2024-01-16", 0),
    ("2024-02-29T23:59:59", NOWHERE, "2024-02-29", 23),
)

#: Energy in a message and in the warehouse: rounded to the Wh, halves to even.
ENERGIES = {
    0.0: "0.000",
    0.001: "0.001",
    0.1 + 0.2: "0.300",
    12.345: "12.345",
    12.3444: "12.344",
    12.3445: "12.344",
    12.3455: "12.346",
    999.999: "999.999",
    1000.0: "1000.000",
}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


#: New names in every run of the module, so that its stations were never loaded before.
MARK = token_hex(3)
WEAK, KNOWN, NEWEST = (f"wh-{name}-{MARK}" for name in ("weak", "known", "newest"))
#: The rules count every session of a day, so each run has another day of the four years before all other sessions.
RULES_DAY = at("2019-01-01T00:00:00") + timedelta(days=int(MARK, 16) % 1461)
RETRACTED_DAY = date(2024, 5, 5)
RETRACTED_CAR = f"car-retracted-{MARK}"

FULL_STATION = station(
    "wh-full",
    station_name="Full House",
    city="Pasadena",
    state="CA",
    zip="01234",
    country="US",
    network="Net",
    total_outlets=6,
    connectors=[{"connector_type": "J1772", "power_kw": 7.2, "ports": 4}],
    evses=[{"evse_id": "F1", "connector_id": "1", "connector_type": "J1772COMBO", "power_kw": 150.0}],
    connector_types=["J1772", "J1772COMBO"],
)
FULL_SESSION = stopped(
    f"full-{MARK}",
    "wh-full",
    at("2024-08-20T01:45:30.250"),
    started_at=at("2024-08-19T22:45:00.250"),
    evse_id="F1",
    connector_id="1",
    ev_id=f"car-{MARK}",
    ev_model_id="model-3",
    energy_delivered_kwh=41.337,
    idle_s=600.5,
    queue_wait_s=90.0,
    state_of_charge_start=20.5,
    state_of_charge=80.0,
    reason="SOCLimitReached",
)
AGAIN = [stopped(f"again-{MARK}-{n}", name) for n, name in enumerate(ZONES)]


def offender(name: str, where: str, start_h: float, end_h: float, **fields: Any) -> Row:
    """A session on the day whose rules are judged; hours since its midnight."""
    start, end = (RULES_DAY + timedelta(hours=h) for h in (start_h, end_h))
    return stopped(f"{name}-{MARK}", where, end, **{"started_at": start, **fields})


RULES_EVENTS = [
    offender("twice", KNOWN, 1, 2),
    offender("twice", KNOWN, 1, 2, sequence=2, event_id=f"twice-{MARK}-2"),
    offender("long", KNOWN, 3, 9, evse_id="E1"),
    offender("within", KNOWN, 4, 5, evse_id="E1"),
    offender("also-within", KNOWN, 6, 7, evse_id="E1"),
    offender("next", KNOWN, 9, 10, evse_id="E1"),
    offender("elsewhere", KNOWN, 4, 5, evse_id="E2"),
    offender("strong", WEAK, 1, 2, energy_delivered_kwh=7.7),
    offender("fits", WEAK, 3, 4, energy_delivered_kwh=7.6),
    offender("brief", WEAK, 5, 5),
]


def by_another_maker() -> Record:
    """Python's json writes blanks after separators; times come in other zones and precisions."""
    event = json.loads(record(SESSION_EVENTS, stopped(f"json-{MARK}", COAST)).value or b"")
    event |= {"occurred_at": "2025-01-15T13:00:00.123456+01:00", "started_at": "2025-01-15T03:00:00-08:00", "note": {}}
    return Record(COAST.encode(), json.dumps(event).encode())


@dataclass(frozen=True)
class Loaded:
    """What was published and loaded for this module, and what the rules found before the stations were loaded."""

    publication_id: str
    offenders_before: dict[str, tuple[int, list[str]]]


@pytest.fixture(scope="module", autouse=True)
def loaded(lake: Lake) -> Loaded:
    newest, older = at("2025-02-02T00:00:00"), at("2025-02-01T00:00:00")
    lake.register(
        *(station(name, time_zone=zone) for name, zone in ZONES.items()),
        FULL_STATION,
        station(NEWEST, station_name="old", observed_at=older),
        station(NEWEST, station_name="new", observed_at=newest),
        station(NEWEST, station_name="older", observed_at=older),
        station(WEAK, connectors=[{"connector_type": "J1772", "power_kw": 7.2, "ports": 1}]),
        station(KNOWN),
    )
    events = [
        FULL_SESSION,
        stopped(f"bare-{MARK}", NOWHERE, reason=None),
        meter(f"open-{MARK}", COAST),
        meter(f"open-{MARK}", COAST, 1, event_type="faulted"),
        *(
            stopped(f"local-{MARK}-{n:02}", name, at(start) + timedelta(hours=5), started_at=at(start))
            for n, (start, name, _, _) in enumerate(LOCAL_TIMES)
        ),
        *(stopped(f"energy-{MARK}-{n}", NOWHERE, energy_delivered_kwh=e) for n, e in enumerate(ENERGIES)),
        *(stopped(f"retracted-{MARK}-{n}", COAST, at("2024-05-05T10:00:00"), ev_id=RETRACTED_CAR) for n in range(3)),
        # what counts once the retracted end of its session is gone
        stopped(f"retracted-{MARK}-0", COAST, at("2024-06-06T10:00:00"), ev_id=RETRACTED_CAR),
        *RULES_EVENTS,
        *AGAIN,
        *AGAIN,
        AGAIN[0],
    ]
    first = lake.send([*(record(SESSION_EVENTS, event) for event in events), by_another_maker()])
    assert lake.publish(first).manifest.rows_quarantined == 0
    lake.publish(lake.send_events(AGAIN))
    lake.load(pending_loads(lake.settings, lake.repository).days)
    before = offenders(lake)
    lake.load_waiting()
    return Loaded(first.publication_id, before)


def offenders(lake: Lake) -> dict[str, tuple[int, list[str]]]:
    client = clickhouse(lake.settings)
    try:
        return {rule.code: broken_rows(client, rule, RULES_DAY.date(), RULES_DAY.date()) for rule in DAY_RULES}
    finally:
        client.disconnect()


def sessions(lake: Lake, name: str, columns: str = "*") -> list[Row]:
    """Rows of v_charging_sessions by session id."""
    client = clickhouse(lake.settings)
    try:
        rows, names = client.execute(
            f"SELECT {columns} FROM v_charging_sessions WHERE startsWith(session_id, %(prefix)s) ORDER BY session_id",
            {"prefix": f"{name}-{MARK}"},
            with_column_types=True,
        )
    finally:
        client.disconnect()
    return [dict(zip((name for name, _ in names), row, strict=True)) for row in rows]


def test_every_column_of_a_session(lake: Lake, loaded: Loaded) -> None:
    (found,) = sessions(lake, "full")
    assert found == {
        "session_id": f"full-{MARK}",
        "station_id": "wh-full",
        "station_name": "Full House",
        "city": "Pasadena",
        "state": "CA",
        "zip": "01234",
        "country": "US",
        "network": "Net",
        "source": "generic",
        "latitude": 34.1,
        "longitude": -118.1,
        "total_outlets": 6,
        "max_power_kw": 150.0,
        "evse_id": "F1",
        "connector_id": "1",
        "vehicle_id": f"car-{MARK}",
        "ev_model_id": "model-3",
        # the reference data do not know it
        "make": "",
        "model": "",
        "started_at": at("2024-08-19T22:45:00.250"),
        "ended_at": at("2024-08-20T01:45:30.250"),
        "time_zone": "America/Los_Angeles",
        "local_date": date(2024, 8, 19),
        "local_hour": 15,
        "energy_delivered_kwh": Decimal("41.337"),
        "duration_s": 10_830.0,
        "idle_s": 600.5,
        "queue_wait_s": 90.0,
        "soc_start_percent": 20.5,
        "soc_end_percent": 80.0,
        "end_reason": "SOCLimitReached",
        "publication_id": loaded.publication_id,
    }
    times = lake.query(f"SELECT start_time_id, end_time_id FROM {FACT} WHERE session_id = %(id)s", id=f"full-{MARK}")
    assert times == [(2024081922, 2024082001)]


def test_what_a_source_leaves_out_is_null_or_empty(lake: Lake) -> None:
    (found,) = sessions(lake, "bare")
    assert [found[name] for name in ("idle_s", "queue_wait_s", "soc_start_percent", "soc_end_percent")] == [None] * 4
    assert [found[name] for name in ("connector_id", "vehicle_id", "ev_model_id", "end_reason", "city")] == [""] * 5
    assert found["max_power_kw"] is None


def test_local_day_and_hour_follow_the_stations_clock(lake: Lake) -> None:
    found = sessions(lake, "local", "started_at, station_id, toString(local_date) AS local_date, local_hour")
    assert [tuple(row.values()) for row in found] == [
        (at(start), name, local_date, hour) for start, name, local_date, hour in LOCAL_TIMES
    ]


def test_energy_is_exact_to_the_watt_hour(lake: Lake) -> None:
    found = sessions(lake, "energy", "energy_delivered_kwh")
    assert [row["energy_delivered_kwh"] for row in found] == [Decimal(kwh) for kwh in ENERGIES.values()]


def test_an_event_that_is_sent_again_counts_once(lake: Lake, loaded: Loaded) -> None:
    found = sessions(lake, "again", "session_id, publication_id")
    first = loaded.publication_id
    assert found == [{"session_id": event["session_id"], "publication_id": first} for event in AGAIN]


def test_a_session_without_its_end_is_no_fact(lake: Lake) -> None:
    assert sessions(lake, "open") == []


def test_messages_of_other_makers_reach_the_warehouse(lake: Lake) -> None:
    (found,) = sessions(lake, "json", "started_at, ended_at, duration_s")
    assert found == {
        "started_at": at("2025-01-15T11:00:00"),
        "ended_at": at("2025-01-15T12:00:00.123"),
        "duration_s": 3600.123,
    }


def test_the_newest_record_of_a_station_wins(lake: Lake) -> None:
    found = lake.query("SELECT station_name, observed_at FROM dim_station WHERE station_id = %(id)s", id=NEWEST)
    assert found == [("new", at("2025-02-02T00:00:00"))]


def test_loading_again_changes_nothing(lake: Lake) -> None:
    day = RULES_DAY.date()

    def state() -> list[Any]:
        facts = lake.query(f"SELECT * FROM {FACT} WHERE toDate(ended_at) = %(day)s ORDER BY ALL", day=day)
        vehicles = lake.query("SELECT * FROM dim_vehicle FINAL ORDER BY ALL")
        marks = lake.query("SELECT date, row_count FROM loaded_day FINAL WHERE date = %(day)s", day=day)
        return [facts, vehicles, marks]

    before = state()
    assert len(before[0]) >= len(RULES_EVENTS) - 1
    for in_full in (False, True):
        report = lake.load([day], in_full=in_full)
        assert (report.rows_by_day, report.new_vehicles) == ({day: len(before[0])}, 0)
        assert report.added_to == (() if in_full else (day,))
        assert state() == before


def test_a_day_that_becomes_empty_is_dropped(lake: Lake) -> None:
    """A retraction moves the rows to quarantine as RETRACTED and announces the day."""
    day = RETRACTED_DAY
    first_seen = f"SELECT first_seen_date FROM dim_vehicle FINAL WHERE vehicle_id = '{RETRACTED_CAR}'"
    assert {row["ended_at"].date() for row in sessions(lake, "retracted")} == {day}
    assert (len(sessions(lake, "retracted")), lake.query(first_seen)) == (3, [(day,)])
    raw = list(lake.repository.paths("main", raw_prefix(SESSION_EVENTS.topic, day.isoformat())))

    def retract(branch: str) -> None:
        for number, path in enumerate(raw):
            content = lake.repository.read("main", path)
            assert content is not None
            rows = pq.read_table(pa.BufferReader(content))
            kept = {field.name: rows[field.name] for field in ARCHIVE_FIELDS}
            code = {name: ["RETRACTED"] * len(rows) for name in ("rule_code", "rule_field")}
            nothing = {name: pa.nulls(len(rows), pa.binary()) for name in ("kafka_key", "kafka_value")}
            table = pa.table({**kept, **code, **nothing}).select(QUARANTINE_SCHEMA.names).cast(QUARANTINE_SCHEMA)
            lake.write(branch, f"quarantine/{SESSION_EVENTS.topic}/retracted/{MARK}-{number}.parquet", parquet(table))
            lake.delete(branch, path)

    metadata = {"topic": SESSION_EVENTS.topic, "event_dates": json.dumps([day.isoformat()])}
    lake.craft(f"retract-{MARK}", retract, metadata)
    assert pending_loads(lake.settings, lake.repository).days == [day]
    lake.load_waiting()
    # the same event on another day had not counted before
    assert [row["ended_at"] for row in sessions(lake, "retracted")] == [at("2024-06-06T10:00:00")]
    assert lake.query(first_seen) == [(date(2024, 6, 6),)]
    assert lake.query(f"SELECT count() FROM {FACT} WHERE toDate(ended_at) = %(day)s", day=day) == [(0,)]
    partitions = "SELECT count() FROM system.parts WHERE table = %(fact)s AND active AND partition = %(day)s"
    assert lake.query(partitions, fact=FACT, day=day.isoformat()) == [(0,)]
    assert lake.query("SELECT row_count FROM loaded_day FINAL WHERE date = %(day)s", day=day) == [(0,)]
    assert day not in pending_loads(lake.settings, lake.repository).days


def test_pending_days_are_those_touched_since_their_load(lake: Lake) -> None:
    lake.publish_waiting()
    lake.load_waiting()

    def pending(since: str | None = None) -> tuple[list[date], bool]:
        found = pending_loads(lake.settings, lake.repository, since)
        return found.days, found.stations

    assert pending() == ([], False)
    idle = pending_loads(lake.settings, lake.repository).cursor
    first, second = at("2024-07-01T10:00:00"), at("2024-07-02T10:00:00")
    days = [first.date(), second.date()]
    both = [stopped(f"pending-{MARK}-{n}", COAST, day) for n, day in enumerate((first, second))]
    lake.publish(lake.send_events(both))
    assert pending() == pending(since=idle) == (days, False)
    # the cursor of an earlier version, a commit alone, is not believed
    assert pending(since=lake.repository.head().id) == (days, False)

    lake.load(days[:1])
    assert pending() == pending(since=idle) == (days[1:], False)
    lake.register(station(COAST, time_zone=ZONES[COAST]))
    assert pending() == pending(since=idle) == (days[1:], True)
    load_stations(lake.settings, lake.repository, lake.spark, "test-run")
    assert pending() == (days[1:], False)
    # the older load does not cover later changes of its day
    lake.publish(lake.send_events([stopped(f"pending-{MARK}-late", COAST, first)]))
    assert pending() == pending(since=idle) == (days, False)
    lake.load_waiting()
    assert pending() == pending(since=idle) == ([], False)


def test_day_rules_find_the_offenders(lake: Lake, loaded: Loaded) -> None:
    before, after = loaded.offenders_before, offenders(lake)
    assert before["SESSION_IS_UNIQUE"] == after["SESSION_IS_UNIQUE"] == (0, [])
    assert before["SESSION_ENDS_ONCE"] == after["SESSION_ENDS_ONCE"] == (1, [f"twice-{MARK}"])
    overlapping = sorted(f"{name}-{MARK}" for name in ("within", "also-within"))
    assert before["NO_OVERLAP_ON_EVSE"] == after["NO_OVERLAP_ON_EVSE"] == (2, overlapping)
    # the sessions were loaded before their stations
    ids = sorted({event["session_id"] for event in RULES_EVENTS})
    assert before["STATION_IS_KNOWN"] == (len(ids), ids)
    assert before["ENERGY_FITS_POWER"] == (0, [])
    assert after["STATION_IS_KNOWN"] == (0, [])
    assert after["ENERGY_FITS_POWER"] == (1, [f"strong-{MARK}"])


def test_a_session_with_two_rows_is_found(lake: Lake) -> None:
    day = RULES_DAY.date()
    lake.query(f"INSERT INTO {FACT} SELECT * FROM {FACT} WHERE session_id = 'long-{MARK}'")
    assert offenders(lake)["SESSION_IS_UNIQUE"] == (1, [f"long-{MARK}"])
    lake.load([day])
    assert offenders(lake)["SESSION_IS_UNIQUE"] == (0, [])


#: Days of which each is loaded before the next, by the name of the order. Numbers are days of a month of its own.
ORDERS = {"together": [[2, 20]], "singly": [[2], [20]], "reversed": [[20], [2]], "again": [[20], [2], [20], [2]]}


@pytest.fixture(scope="module")
def same_ids(lake: Lake, loaded: Loaded) -> dict[str, list[tuple[Any, ...]]]:
    """For each order, the events of two sites with the same ids, published; the facts that they must become."""
    events, expected = [], {}
    for number, order in enumerate(ORDERS):
        early, late = (at(f"2024-0{number + 1}-{day:02}T20:00:00") for day in (2, 20))
        first, second = (f"wh-{order}-{name}-{MARK}" for name in ("a", "b"))
        lake.register(station(first), station(second))

        def end(name: str, where: str, day: datetime, energy_kwh: float, sequence: int = 1) -> Row:
            return stopped(
                f"{name}-{MARK}",
                where,
                day,
                energy_delivered_kwh=energy_kwh,
                sequence=sequence,
                event_id=f"{name}-{MARK}-{sequence}",
            )

        events += [
            # the same event on another day, and a second end on another day: the first in Kafka counts
            *(end("moved", first, late, 1), end("moved", first, early, 2), end("moved", first, early, 3)),
            *(end("ended", first, early, 4), end("ended", first, late, 5, sequence=2)),
            # another site's sessions of these names, one on the same day and one on another
            *(end("moved", second, late, 6), end("ended", second, late, 7)),
        ]
        expected[order] = [
            (first, f"ended-{MARK}", early, 4),
            (first, f"moved-{MARK}", late, 1),
            (second, f"ended-{MARK}", late, 7),
            (second, f"moved-{MARK}", late, 6),
        ]
    lake.publish(lake.send_events(events))
    return expected


@pytest.mark.parametrize("order", ORDERS)
def test_a_session_counts_once_whatever_days_are_loaded_together(
    lake: Lake, same_ids: dict[str, list[tuple[Any, ...]]], order: str
) -> None:
    month = list(ORDERS).index(order) + 1
    days = [date(2024, month, day) for day in (2, 20)]
    for group in ORDERS[order]:
        lake.load([date(2024, month, day) for day in group])
    facts = (
        f"SELECT station_id, session_id, ended_at, toUInt8(energy_delivered_kwh) FROM {FACT} "
        "WHERE startsWith(station_id, %(order)s) ORDER BY station_id, session_id"
    )
    assert lake.query(facts, order=f"wh-{order}-") == same_ids[order]
    marks = (
        f"SELECT date, row_count FROM loaded_day FINAL WHERE table_name = '{FACT}' AND date IN %(days)s ORDER BY date"
    )
    counts = (
        f"SELECT toDate(ended_at, 'UTC') AS day, count() FROM {FACT} WHERE day IN %(days)s GROUP BY day ORDER BY day"
    )
    assert lake.query(marks, days=days) == lake.query(counts, days=days)
    assert lake.query(facts, order=f"wh-{order}-") == same_ids[order]
    report = lake.load(days, in_full=True)
    assert (report.added_to, report.resent, report.second_ends) == ((), 2, 1)
    assert lake.query(facts, order=f"wh-{order}-") == same_ids[order]
    client = clickhouse(lake.settings)
    unique, once = (rule for rule in DAY_RULES if rule.code in ("SESSION_IS_UNIQUE", "SESSION_ENDS_ONCE"))
    assert broken_rows(client, unique, *days) == (0, [])
    assert broken_rows(client, once, *days) == (1, [f"ended-{MARK}"])
    assert once.figures is not None
    assert once.figures(client, *days) == {"resent": 2, "second_ends": 1}
    client.disconnect()


def test_a_corrected_time_zone_corrects_its_facts(lake: Lake, loaded: Loaded) -> None:
    moved, stays = (f"wh-zone-{name}-{MARK}" for name in ("moved", "stays"))
    ended = at("2024-09-10T10:30:00")
    lake.register(station(moved), station(stays))
    lake.publish(lake.send_events([stopped(f"zone-{MARK}-{n}", name, ended) for n, name in enumerate((moved, stays))]))
    lake.load_waiting()
    lake.register(station(moved, time_zone="Pacific/Auckland", observed_at=at("2025-02-02T00:00:00")))
    lake.load_waiting()
    assert [tuple(row.values()) for row in sessions(lake, "zone", "station_id, time_zone, local_date, local_hour")] == [
        (moved, "Pacific/Auckland", date(2024, 9, 10), 21),
        (stays, "America/Los_Angeles", date(2024, 9, 10), 2),
    ]
    assert not pending_loads(lake.settings, lake.repository).days


def test_a_vehicle_has_its_first_day_and_newest_model_in_any_order(lake: Lake, loaded: Loaded) -> None:
    car = f"car-order-{MARK}"
    times = [at(f"2024-09-{day}T10:00:00") for day in (11, 12, 13)]
    models = ["model-z", "model-a", None]
    events = [
        stopped(f"car-{MARK}-{n}", COAST, day, ev_id=car, ev_model_id=model)
        for n, (day, model) in enumerate(zip(times, models, strict=True))
    ]
    lake.publish(lake.send_events(events))
    first, second, third = (day.date() for day in times)

    def known() -> list[tuple[Any, ...]]:
        return lake.query(
            "SELECT ev_model_id, first_seen_date FROM dim_vehicle FINAL WHERE vehicle_id = %(car)s", car=car
        )

    assert lake.load([third]).new_vehicles == 1
    assert known() == [("", third)]
    assert lake.load([first]).new_vehicles == 0
    assert known() == [("model-z", first)]
    lake.load([second])
    assert known() == [("model-a", first)]
    lake.load([first, third])
    assert known() == [("model-a", first)]


def test_dim_time_has_every_hour_once(lake: Lake) -> None:
    first = date.fromisoformat(lake.settings.event_days_from)
    last = date(datetime.now(UTC).year + YEARS_AHEAD, 1, 1)
    found = lake.query("SELECT count(), uniqExact(time_id), min(hour_at), max(hour_at) FROM dim_time")
    hours = (last - first).days * 24
    ends = (at(f"{first}T00:00:00"), at(f"{last - timedelta(days=1)}T23:00:00"))
    assert found == [(hours, hours, *ends)]
    assert lake.query(
        "SELECT time_id, toString(date), year, month, day, hour, iso_weekday, is_weekend FROM dim_time "
        "WHERE time_id IN (2024022923, 2024030300) ORDER BY time_id"
    ) == [(2024022923, "2024-02-29", 2024, 2, 29, 23, 4, False), (2024030300, "2024-03-03", 2024, 3, 3, 0, 7, True)]
    strangers = (
        f"SELECT count() FROM {FACT} WHERE start_time_id NOT IN (SELECT time_id FROM dim_time) "
        "OR end_time_id NOT IN (SELECT time_id FROM dim_time)"
    )
    assert lake.query(strangers) == [(0,)]


def over_http(settings: Settings, sql: str, user: str, password: str) -> tuple[int, str]:
    """Status and text that ClickHouse answers."""
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    database = urllib.parse.urlencode({"database": settings.clickhouse_database})
    request = urllib.request.Request(
        f"http://{settings.clickhouse_host}:{settings.clickhouse_http_port}/?{database}",
        data=sql.encode(),
        headers={"Authorization": f"Basic {login}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def as_analyst(settings: Settings, sql: str) -> tuple[int, str]:
    return over_http(settings, sql, settings.analyst_user, settings.analyst_password.get_secret_value())


def test_the_analyst_reads(lake: Lake) -> None:
    for name in ("v_charging_sessions", FACT, "dim_time", "dim_station", "dim_vehicle", "loaded_day"):
        status, text = as_analyst(lake.settings, f"SELECT count() >= 0 FROM {name}")
        assert (status, text.strip()) == (200, "1"), text


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO dim_vehicle VALUES ('x', '', '2024-01-01')",
        "CREATE TABLE mine (a UInt8) ENGINE = Memory",
        "CREATE DATABASE mine",
        "DROP TABLE fact_charging_sessions",
        "TRUNCATE TABLE fact_charging_sessions",
        "ALTER TABLE fact_charging_sessions DELETE WHERE 1",
        "ALTER TABLE fact_charging_sessions DROP PARTITION '2024-01-01'",
        "RENAME TABLE fact_charging_sessions TO mine",
        "SYSTEM SHUTDOWN",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
        "SET readonly = 0",
    ],
)
def test_the_analyst_changes_nothing(lake: Lake, sql: str) -> None:
    status, text = as_analyst(lake.settings, sql)
    assert status != 200
    assert "ACCESS_DENIED" in text or "READONLY" in text, text


def test_a_wrong_password_is_refused_and_the_engine_stays(lake: Lake) -> None:
    for user in (lake.settings.analyst_user, lake.settings.clickhouse_user, "nobody"):
        status, text = over_http(lake.settings, "SELECT 1", user, "wrong")
        assert status in (401, 403), text
        assert "AUTHENTICATION_FAILED" in text
    assert as_analyst(lake.settings, "SELECT 1") == (200, "1\n")


def test_tables_views_and_columns_have_comments(lake: Lake) -> None:
    here = "database = currentDatabase() AND NOT startsWith({name}, 'staging_')"
    assert lake.query(f"SELECT name FROM system.tables WHERE {here.format(name='name')} AND comment = ''") == []
    assert (
        lake.query(f"SELECT table, name FROM system.columns WHERE {here.format(name='table')} AND comment = ''") == []
    )
    assert lake.query(f"SELECT count() > 70 FROM system.columns WHERE {here.format(name='table')}") == [(1,)]


def test_a_warehouse_without_identities_is_loaded_again(lake: Lake, loaded: Loaded) -> None:
    """An earlier version had no `session_end`, and a session on two days was two facts."""
    lake.publish_waiting()
    lake.load_waiting()
    every = f"SELECT * FROM {FACT} ORDER BY ALL"
    facts, ends = lake.query(every), lake.query("SELECT * FROM session_end FINAL ORDER BY ALL")
    lake.query("DROP TABLE session_end SYNC")
    lake.query(
        f"INSERT INTO {FACT} SELECT * REPLACE (ended_at + INTERVAL 1 DAY AS ended_at) FROM {FACT} "
        f"WHERE session_id = 'full-{MARK}'"
    )
    schema.apply(lake.settings)
    assert at("2024-08-20T00:00:00").date() in pending_loads(lake.settings, lake.repository).days
    schema.apply(lake.settings)
    lake.load_waiting()
    assert lake.query("SELECT * FROM session_end FINAL ORDER BY ALL") == ends
    lake.load([date(2024, 8, 21)])
    assert lake.query(every) == facts
