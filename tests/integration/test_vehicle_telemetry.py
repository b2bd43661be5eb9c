"""Connected cars from Kafka to ClickHouse: what is quarantined, what the fact keeps, and that a second load changes nothing."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any

import pytest
from support import Lake, Record, Row, changed, position, record, send

from evcharge.contracts import STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.lake.last_places import PATH, read_last_places
from evcharge.lake.planner import plan
from evcharge.warehouse.pending_loads import pending_loads
from evcharge.warehouse.tables import POSITIONS

MARK = token_hex(3)
#: A day of its own, far from what other tests send.
MORNING = datetime(2024, 4, 2, 7, tzinfo=UTC)
TOPIC = VEHICLE_TELEMETRY.topic

#: Degrees of latitude: 500 km, and the distance that a car drives in 30 s at 100 km/h.
FAR = 500 / 111.2
STEP = 0.83 / 111.2


def drive(car: str, count: int, **changes: dict[str, Any]) -> dict[str, Record]:
    """Messages of a car that drives north, every 30 s, by name; `m3={...}` changes fields of the third one."""
    return {
        f"{car}-{n}": changed(
            VEHICLE_TELEMETRY,
            position(
                f"{car}-{MARK}",
                MORNING + timedelta(seconds=30 * n),
                latitude=34.0 + STEP * n,
                speed_kmh=100.0,
                ignition=True,
            ),
            **changes.get(f"m{n}", {}),
        )
        for n in range(count)
    }


def north(n: int, km_north: float) -> dict[str, Any]:
    return {"latitude": 34.0 + STEP * n + km_north / 111.2}


RECORDS = {
    **drive("good", 6),
    **drive("fast", 4, m2={"speed_kmh": 400}),
    **drive("charged", 4, m2={"state_of_charge": 130}),
    **drive("empty", 4, m2={"state_of_charge": -0.1}),
    **drive("off-globe", 6, m1={"latitude": 90.5}, m2={"longitude": -180.5}, m3={"latitude": -91}),
    **drive("nameless", 4, m2={"vehicle_id": None}),
    **drive("switched", 4, m2={"ignition": "on"}),
    **drive("early", 4, m2={"occurred_at": "2017-12-31T23:59:59Z"}),
    # one jump, there and back at once
    **drive("jumps", 5, m2=north(2, 500)),
    # a train carried the car away: one message is quarantined, the later ones are good
    **drive("moved", 6, **{f"m{n}": north(n, 500) for n in (3, 4, 5)}),
    # the second message has only one before it
    **drive("at-once", 4, m1=north(1, 500)),
    # GPS noise of 900 m in 30 s would be 108 km/h; at one instant no speed can be computed
    **drive("noisy", 4, m2={**north(2, 0.9), "occurred_at": (MORNING + timedelta(seconds=30)).isoformat()}),
    # a parked car that sends again after a holiday 500 km away
    **drive("silent", 3, m1={"occurred_at": (MORNING - timedelta(days=2)).isoformat(), **north(1, -500)}),
    # the destination is not in the registry
    **drive("anywhere", 2, m1={"destination_station_id": "nobody-knows-it"}),
}

BAD = {
    "fast-2": ("OUT_OF_RANGE", "speed_kmh"),
    "charged-2": ("OUT_OF_RANGE", "state_of_charge"),
    "empty-2": ("OUT_OF_RANGE", "state_of_charge"),
    "off-globe-1": ("OUT_OF_RANGE", "latitude"),
    "off-globe-2": ("OUT_OF_RANGE", "longitude"),
    "off-globe-3": ("OUT_OF_RANGE", "latitude"),
    "nameless-2": ("MISSING_FIELD", "vehicle_id"),
    "switched-2": ("WRONG_TYPE", "ignition"),
    "early-2": ("TIMESTAMP_TOO_OLD", "occurred_at"),
    "jumps-2": ("IMPLAUSIBLE_JUMP", "latitude"),
    "moved-3": ("IMPLAUSIBLE_JUMP", "latitude"),
    "at-once-1": ("IMPLAUSIBLE_JUMP", "latitude"),
}


def test_impossible_cars_are_quarantined(lake: Lake) -> None:
    lake.publish_waiting()
    # cars take turns, as they do on the road
    order = sorted(RECORDS, key=lambda name: int(name.rsplit("-", 1)[1]))
    places = dict(zip(order, send(lake.settings, TOPIC, [RECORDS[name] for name in order]), strict=True))
    planned = lake.plan(TOPIC)
    manifest = lake.publish(planned).manifest
    found = {(r["kafka_partition"], r["kafka_offset"]): r for rows in lake.rows_of(planned).values() for r in rows}
    verdicts = {name: (row.get("rule_code"), row.get("rule_field")) for name in order if (row := found[places[name]])}
    assert verdicts == {name: BAD.get(name, (None, None)) for name in order}
    for name in BAD:
        assert (found[places[name]]["kafka_key"], found[places[name]]["kafka_value"]) == RECORDS[name]
    assert manifest.quarantined_by_rule == Counter(code for code, _ in BAD.values())
    assert manifest.rows_read == len(RECORDS) == manifest.rows_good + len(BAD)


def test_a_jump_is_judged_alike_wherever_ranges_are_cut(lake: Lake) -> None:
    # there and back, and carried away: at each cut the verdict depends on rows of ranges before
    changes = {"m3": north(3, 500), **{f"m{n}": north(n, 500) for n in (5, 6, 7)}}
    records = list(drive("cut", 8, **changes).values())
    found = []
    for start, end in ((0, 3), (3, 4), (4, 6), (6, 8)):
        planned = lake.send(records[start:end], TOPIC)
        lake.publish(planned)
        rows = [row for rows in lake.rows_of(planned).values() for row in rows]
        rows.sort(key=lambda row: row["kafka_offset"])
        found += [row.get("rule_code") for row in rows]
    jump = "IMPLAUSIBLE_JUMP"
    assert found == [None, None, None, jump, None, None, None, None]
    kept = read_last_places(lake.repository, "main").to_pylist()
    car = f"cut-{MARK}"
    assert [row["latitude"] for row in kept if row["vehicle_id"] == car] == [
        pytest.approx(34.0 + STEP * n + FAR, abs=0.1) for n in (7, 6)
    ]


def test_a_lake_without_the_file_of_places_goes_on(lake: Lake) -> None:
    first, second = drive("fresh", 2, m1=north(1, 500)).values()
    lake.publish(lake.send([first], TOPIC))
    lake.craft(f"no-places-{MARK}", lambda branch: lake.delete(branch, PATH))
    planned = lake.send([second], TOPIC)
    assert lake.publish(planned).manifest.rows_quarantined == 0
    assert read_last_places(lake.repository, "main").num_rows == 1


def test_cars_do_not_wait_for_the_registry(lake: Lake) -> None:
    lake.publish_waiting()
    unpublished = Record(b"some", b"{}")
    send(lake.settings, STATION_REGISTRY.topic, [unpublished])
    send(lake.settings, TOPIC, [record(VEHICLE_TELEMETRY, position(f"waits-{MARK}", MORNING))])
    assert plan(lake.settings, lake.repository, TOPIC, eager=True).range is not None


def moment(minutes: float, **fields: Any) -> Row:
    return position(f"thin-{MARK}", MORNING + timedelta(minutes=minutes), **fields)


#: A car's morning: parked, a drive, a drive to a station; times in minutes since seven.
PARKED = [moment(m) for m in range(0, 150, 30)]
ON = {"ignition": True, "speed_kmh": 50.0, "heading": 90.0, "range_km": 200.0}
TO_STATION = {**ON, "destination_station_id": "some-station"}
DRIVE = [moment(152 + n / 2, **ON) for n in range(30)]
TO_CHARGE = [moment(167 + n / 2, **TO_STATION) for n in range(8)]
ARRIVED = [moment(m) for m in (171, 176, 181)]
#: A parked car keeps one message an hour, a drive one of ten.
KEPT = [0, 60, 120, 152, 155, 160, 165, 167, 170, 171, 181]


def facts(lake: Lake, columns: str = "*") -> list[tuple[Any, ...]]:
    return lake.query(
        f"SELECT {columns} FROM {POSITIONS} WHERE vehicle_id = %(id)s ORDER BY occurred_at", id=f"thin-{MARK}"
    )


@pytest.fixture(scope="module")
def publication_id(lake: Lake) -> str:
    """The id of the publication of the car's morning, which is sent twice, the last hour first."""
    rows = [*TO_CHARGE, *ARRIVED, *PARKED, *DRIVE]
    planned = lake.send_positions([*rows, *rows[:20]])
    published = lake.publish(planned)
    assert published.manifest.rows_quarantined == 0
    lake.publish(lake.send_positions(rows))
    lake.load_waiting()
    return published.manifest.publication_id


def test_the_fact_keeps_drives_and_stays(lake: Lake, publication_id: str) -> None:
    assert [(at - MORNING) / timedelta(minutes=1) for (at,) in facts(lake, "occurred_at")] == KEPT
    assert facts(lake, "ignition, destination_station_id") == [
        *[(False, "")] * 3,
        *[(True, "")] * 4,
        *[(True, "some-station")] * 2,
        *[(False, "")] * 2,
    ]


def test_every_column_of_a_position(lake: Lake, publication_id: str) -> None:
    rows = facts(lake)
    where = (34.147, -118.139)
    day = MORNING.replace(hour=0)
    assert rows[0] == (f"thin-{MARK}", MORNING, 2024040207, *where, None, 0.0, False, 55.5, None, "", publication_id)
    arriving = day + timedelta(hours=9, minutes=50)
    assert rows[8] == (
        *(f"thin-{MARK}", arriving, 2024040209, *where, 90.0, 50.0, True, 55.5, 200.0),
        *("some-station", publication_id),
    )


def test_loading_again_changes_nothing(lake: Lake, publication_id: str) -> None:
    day = MORNING.date()
    everything = f"SELECT * FROM {POSITIONS} WHERE toDate(occurred_at) = %(day)s ORDER BY ALL"
    marks = f"SELECT date, row_count FROM loaded_day FINAL WHERE table_name = '{POSITIONS}' ORDER BY ALL"
    before = lake.query(everything, day=day), lake.query(marks)
    assert lake.load_positions([day]).rows_by_day == {day: len(before[0])}
    assert (lake.query(everything, day=day), lake.query(marks)) == before
    assert lake.query("SHOW TABLES LIKE 'staging_%'") == []


def test_a_publication_makes_its_days_pending(lake: Lake, publication_id: str) -> None:
    lake.publish_waiting()
    lake.load_waiting()
    later = MORNING + timedelta(days=40)
    lake.publish(lake.send_positions([position(f"later-{MARK}", later), position(f"later-{MARK}", MORNING)]))
    pending = pending_loads(lake.settings, lake.repository)
    assert (pending.days, pending.positions) == ([], [MORNING.date(), later.date()])
    assert not pending.nothing
    lake.load_positions([later.date()])
    assert pending_loads(lake.settings, lake.repository).positions == [MORNING.date()]
    lake.load_waiting()
    assert pending_loads(lake.settings, lake.repository).nothing
