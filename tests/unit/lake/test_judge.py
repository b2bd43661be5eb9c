"""The verdict of a real Spark on messages that would stop a reader, and on every form of a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from judging import EVENT, TAKEN_AT, Judge, Judged

from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY, Contract
from evcharge.contracts.spark import readable
from evcharge.contracts.station_registry import MAX_CONNECTOR_TYPES, MAX_CONNECTORS, MAX_KINDS, MAX_OUTLETS
from evcharge.contracts.time_zones import known_time_zones
from evcharge.contracts.times import read_time, time_sql
from evcharge.lake.last_places import KEPT, SCHEMA

pytestmark = pytest.mark.slow

STATION: dict[str, Any] = {
    "schema_version": 1,
    "observed_at": "2026-11-21T12:00:00Z",
    "station_id": "station",
    "station_name": "Station",
    "time_zone": "Europe/Zurich",
    "longitude": 8.5,
    "latitude": 47.4,
    "status_code": "E",
    "total_outlets": 4,
    "source": "generic",
    "snapshot_scope": "source",
}
CAR: dict[str, Any] = {
    "schema_version": 1,
    "vehicle_id": "car",
    "occurred_at": "2026-11-21T12:00:00Z",
    "latitude": 47.4,
    "longitude": 8.5,
    "speed_kmh": 48.2,
    "ignition": True,
    "state_of_charge": 61.2,
}
GOOD = {SESSION_EVENTS.topic: EVENT, STATION_REGISTRY.topic: STATION, VEHICLE_TELEMETRY.topic: CAR}

#: Far from now in every form: as text, in seconds, in milliseconds, in a year of five digits.
FAR_TIMES = {
    "9999-12-31T23:59:59Z": "TIMESTAMP_IN_FUTURE",
    "20000-01-01T00:00:00Z": "TIMESTAMP_IN_FUTURE",
    253_402_300_800: "TIMESTAMP_IN_FUTURE",
    1_763_726_400_000_000: "WRONG_TYPE",
    "0001-01-01T00:00:00Z": "TIMESTAMP_TOO_OLD",
    -1: "TIMESTAMP_TOO_OLD",
}

Case = tuple[dict[str, Any], str | None, str | None]


def evses(*ids: str | None, **fields: Any) -> list[dict[str, Any]]:
    return [{"evse_id": name, **fields} for name in ids]


STATIONS: dict[str, Case] = {
    "good": ({}, None, None),
    "everything that is known": (
        {
            "connector_types": ["J1772", "Type 2 (max. 22 kW)"],
            "connectors": [{"connector_type": "J1772", "power_kw": 6.6, "ports": 2}],
            "evses": evses("1", connector_id="1", connector_type="n.a.", power_kw=4000),
            "removed_at": "2026-11-21T12:00:00Z",
        },
        None,
        None,
    ),
    "null where nothing is known": (
        {"evses": evses("1", connector_type=None, power_kw=None), "connectors": [{"ports": None}], "removed_at": None},
        None,
        None,
    ),
    "empty lists": ({"evses": [], "connectors": [], "connector_types": []}, None, None),
    "an id that looks like JSON": ({"evses": evses("[1]", "Bay 1 [/left]")}, None, None),
    "null EVSE": ({"evses": [None]}, "MISSING_FIELD", "evses"),
    "null connector": ({"connectors": [None]}, "MISSING_FIELD", "connectors"),
    "null connector type": ({"connector_types": ["J1772", None]}, "MISSING_FIELD", "connector_types"),
    "EVSE without id beside one with": ({"evses": evses("1", None)}, "MISSING_FIELD", "evses"),
    "two EVSEs of one id": ({"evses": evses("1", "2", "1")}, "DUPLICATE_ID", "evses"),
    "blank EVSE id": ({"evses": evses("1", "")}, "BLANK_TEXT", "evses"),
    "blank connector id": ({"evses": evses("1", connector_id=" ")}, "BLANK_TEXT", "evses"),
    "long EVSE id": ({"evses": evses("x" * 513)}, "TEXT_TOO_LONG", "evses"),
    "control character in an EVSE id": ({"evses": evses("a\u0000")}, "CONTROL_CHARACTER", "evses"),
    "blank connector type": ({"connector_types": [""]}, "BLANK_TEXT", "connector_types"),
    "long connector type": ({"connector_types": ["ü" * 65]}, "TEXT_TOO_LONG", "connector_types"),
    "newline in a connector type": ({"connectors": [{"connector_type": "a\nb"}]}, "CONTROL_CHARACTER", "connectors"),
    "power of an EVSE": ({"evses": evses("1", power_kw=1e308)}, "OUT_OF_RANGE", "evses"),
    "infinite power": ({"evses": evses("1", power_kw=float("inf"))}, "OUT_OF_RANGE", "evses"),
    "negative power": ({"connectors": [{"power_kw": -1}]}, "OUT_OF_RANGE", "connectors"),
    "power of a connector": ({"connectors": [{"power_kw": 4000.5}]}, "OUT_OF_RANGE", "connectors"),
    "negative ports": ({"connectors": [{"ports": -2}]}, "OUT_OF_RANGE", "connectors"),
    "absurd ports": ({"connectors": [{"ports": 2**31 - 1}]}, "OUT_OF_RANGE", "connectors"),
    "absurd outlets": ({"total_outlets": MAX_OUTLETS + 1}, "OUT_OF_RANGE", "total_outlets"),
    "too many EVSEs": ({"evses": evses(*map(str, range(MAX_OUTLETS + 1)))}, "TOO_MANY_ELEMENTS", "evses"),
    "as many EVSEs as allowed": ({"evses": evses(*map(str, range(MAX_OUTLETS)))}, None, None),
    "too many kinds of outlets": (
        {"evses": [{"evse_id": str(n), "power_kw": n} for n in range(MAX_KINDS + 1)]},
        "TOO_MANY_ELEMENTS",
        "evses",
    ),
    "too many connectors": ({"connectors": [{}] * (MAX_CONNECTORS + 1)}, "TOO_MANY_ELEMENTS", "connectors"),
    "too many connector types": (
        {"connector_types": [str(n) for n in range(MAX_CONNECTOR_TYPES + 1)]},
        "TOO_MANY_ELEMENTS",
        "connector_types",
    ),
    "blank station id": ({"station_id": " "}, "BLANK_TEXT", "station_id"),
    "station id of 600 bytes": ({"station_id": "x" * 600}, "TEXT_TOO_LONG", "station_id"),
    "long name": ({"station_name": "x" * 513}, "TEXT_TOO_LONG", "station_name"),
    "long city": ({"city": "x" * 257}, "TEXT_TOO_LONG", "city"),
    "Java's own zone": ({"time_zone": "SystemV/PST8"}, "UNKNOWN_TIME_ZONE", "time_zone"),
    "object for a connector type": ({"connector_types": [{"a": 1}]}, "WRONG_TYPE", "connector_types"),
    "array for an EVSE id": ({"evses": evses("1", connector_id=["x"])}, "WRONG_TYPE", "evses"),
    "text for the power of an EVSE": ({"evses": evses("1", power_kw="fast")}, "WRONG_TYPE", "evses"),
    "text for a list": ({"connector_types": "J1772"}, "WRONG_TYPE", "connector_types"),
    "object for the EVSEs": ({"evses": {"evse_id": "1"}}, "WRONG_TYPE", "evses"),
    "text for a number": ({"latitude": "north"}, "WRONG_TYPE", "latitude"),
    **{
        f"{name} {time}": ({name: time}, code, name)
        for name in ("observed_at", "removed_at")
        for time, code in FAR_TIMES.items()
    },
}


def session(session_id: Any, **fields: Any) -> dict[str, Any]:
    return {"session_id": session_id, "event_id": f"{session_id}-{fields.get('sequence', 1)}", **fields}


EVENTS: dict[str, Case] = {
    "good": ({}, None, None),
    "longest ids": (session("x" * 512, sequence=1_000_000, ev_id="x" * 512, connector_id="1"), None, None),
    "blank session id": (session(""), "BLANK_TEXT", "session_id"),
    "session id of 70 kB": (session("x" * 70_000), "TEXT_TOO_LONG", "event_id"),
    "blank EVSE id": ({"evse_id": ""}, "BLANK_TEXT", "evse_id"),
    "long connector id": ({"connector_id": "x" * 600}, "TEXT_TOO_LONG", "connector_id"),
    "long vehicle id": ({"ev_id": "x" * 600}, "TEXT_TOO_LONG", "ev_id"),
    "long model id": ({"ev_model_id": "x" * 600}, "TEXT_TOO_LONG", "ev_model_id"),
    "control character": ({"ev_id": "a\u009f"}, "CONTROL_CHARACTER", "ev_id"),
    "absurd sequence": (session("s", sequence=1_000_001), "OUT_OF_RANGE", "sequence"),
    "absurd idle time": ({"idle_s": 1e308}, "OUT_OF_RANGE", "idle_s"),
    "absurd wait": ({"queue_wait_s": 1e9}, "OUT_OF_RANGE", "queue_wait_s"),
    "power": ({"power_kw": 1e308}, "OUT_OF_RANGE", "power_kw"),
    "text for a number": ({"power_kw": "7"}, "WRONG_TYPE", "power_kw"),
    "fraction for an integer": ({"sequence": 0.5}, "WRONG_TYPE", "sequence"),
    "two of wrong type": ({"power_kw": {"kw": 7}, "idle_s": "long"}, "WRONG_TYPE", "power_kw"),
    "object for a time": ({"occurred_at": {"at": 1}}, "WRONG_TYPE", "occurred_at"),
    "fraction of seconds": ({"started_at": 1_763_726_400.5}, "WRONG_TYPE", "started_at"),
    "a stay of more than a year": (session("s", started_at="2025-11-20T00:00:00Z"), "STAY_TOO_LONG", "started_at"),
    **{
        f"{name} {time}": ({name: time}, code, name)
        for name in ("occurred_at", "started_at")
        for time, code in FAR_TIMES.items()
    },
}

CARS: dict[str, Case] = {
    "good": ({}, None, None),
    "blank id": ({"vehicle_id": ""}, "BLANK_TEXT", "vehicle_id"),
    "id of 600 bytes": ({"vehicle_id": "x" * 600}, "TEXT_TOO_LONG", "vehicle_id"),
    "blank destination": ({"destination_station_id": ""}, "BLANK_TEXT", "destination_station_id"),
    "word for a switch": ({"ignition": "on"}, "WRONG_TYPE", "ignition"),
    **{f"occurred_at {time}": ({"occurred_at": time}, code, "occurred_at") for time, code in FAR_TIMES.items()},
}

CASES = {STATION_REGISTRY.topic: STATIONS, SESSION_EVENTS.topic: EVENTS, VEHICLE_TELEMETRY.topic: CARS}


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge() as judge:
        yield judge


def as_json(fields: dict[str, Any]) -> bytes:
    # Java reads this number as infinity
    return json.dumps(fields).replace("Infinity", "1e999").encode()


@pytest.mark.parametrize("contract", [STATION_REGISTRY, SESSION_EVENTS, VEHICLE_TELEMETRY], ids=lambda c: c.topic)
def test_each_message_breaks_the_rule_that_names_its_field(judge: Judge, contract: Contract) -> None:
    cases = CASES[contract.topic]
    messages = [as_json(GOOD[contract.topic] | change) for change, _, _ in cases.values()]
    verdicts = dict(zip(cases, judge(contract, messages).verdicts, strict=True))
    assert verdicts == {name: (code, field) for name, (_, code, field) in cases.items()}


def test_spark_knows_every_accepted_zone_as_python_does(judge: Judge) -> None:
    names = sorted(known_time_zones())
    stations = [orjson.dumps(STATION | {"time_zone": name}) for name in names]
    assert judge(STATION_REGISTRY, stations).verdicts == [(None, None)] * len(names)
    # loads compute local times with this function
    local = judge.sql(
        f"CAST(from_utc_timestamp(TIMESTAMP '2026-07-01 12:00:00Z', '{name}') AS STRING)" for name in names
    )
    assert len(local) == len(names)
    assert all(local.values())


#: When it is, in UTC; None for a text that gives no time.
TIMES = {
    "2026-11-21T11:00:00.000Z": "11:00:00",
    "2026-11-21T11:00:00Z": "11:00:00",
    "2026-11-21t11:00:00z": "11:00:00",
    "2026-11-21 11:00:00+00:00": "11:00:00",
    "2026-11-21T12:00:00+01:00": "11:00:00",
    "2026-11-21T12:00:00+0100": "11:00:00",
    "2026-11-21T12:00:00+01": "11:00:00",
    "2026-11-21T05:30:00-0530": "11:00:00",
    "2026-11-21T11:00Z": "11:00:00",
    "2026-11-21T12:00+0100": "11:00:00",
    "2026-11-21T11:00:00.5Z": "11:00:00.500",
    "2026-11-21T11:00:00.123456Z": "11:00:00.123456",
    "2026-11-21T11:00:00.1234567Z": "11:00:00.123456",
    "2026-11-21T11:00:00.123456789+00:00": "11:00:00.123456",
    "1795258800": "11:00:00",
    "2026-11-21T11:00:00": None,
    "2026-11-21T11:00:00 CET": None,
    "2026-11-21T11:00:00 Europe/Zurich": None,
    "2026-11-21T11:00:00GMT": None,
    "2026-11-21T11Z": None,
    "2026-11-21": None,
    "2026-1-2T11:00:00Z": None,
    "2026-02-30T11:00:00Z": None,
    "2026-11-21T24:00:00Z": None,
    "2026-11-21T23:59:60Z": None,
    "2026-11-21T11:00:00,5Z": None,
    "2026-11-21T11:00:00.Z": None,
    "2026-11-21T11:00:00Z\n": None,
    " 2026-11-21T11:00:00Z": None,
    "21.11.2026 11:00:00+00:00": None,
    "yesterday": None,
    "": None,
    "1795258800.5": None,
    "\uff11\uff17\uff19\uff15\uff12\uff15\uff18\uff18\uff10\uff10": None,
}


def test_spark_and_python_read_a_time_alike(judge: Judge) -> None:
    texts = {text: "'" + text.replace("\n", "\\n") + "'" for text in TIMES}
    found = judge.sql(time_sql(text) for text in texts.values())
    for text, at in TIMES.items():
        # the session's zone is UTC, and PySpark gives a time in this machine's zone
        by_spark = found[time_sql(texts[text])]
        if at is None:
            assert by_spark is None, text
            with pytest.raises(ValueError, match=r"time with a UTC offset|day is out of range|must be in|Invalid"):
                read_time(text)
        else:
            expected = datetime.fromisoformat(f"2026-11-21T{at}+00:00")
            assert by_spark.astimezone(UTC) == expected == read_time(text), text


def test_a_time_is_judged_as_it_is_read(judge: Judge) -> None:
    messages = [orjson.dumps(EVENT | {"started_at": text}) for text in TIMES]
    judged: Judged = judge(SESSION_EVENTS, messages)
    expected = [(None, None) if at else ("WRONG_TYPE", "started_at") for at in TIMES.values()]
    assert dict(zip(TIMES, judged.verdicts, strict=True)) == dict(zip(TIMES, expected, strict=True))
    for n, row in judged.good.items():
        assert row["started_at"] == int(read_time(list(TIMES)[n]).timestamp() * 1000)


def drive(random: Random, count: int) -> list[dict[str, Any]]:
    """Messages of three cars that drive north, and now and then are somewhere else, once or from then on."""
    messages = []
    shift = dict.fromkeys("abc", 0.0)
    for n in range(count):
        car = random.choice("abc")
        outlier = random.choice([0.0] * 4 + [5.0])
        shift[car] += random.choice([0.0] * 6 + [5.0])
        at = datetime(2026, 11, 21, 8, tzinfo=UTC) + timedelta(seconds=30 * n)
        latitude = 34 + 0.001 * n + shift[car] + outlier
        messages.append(CAR | {"vehicle_id": car, "occurred_at": at.isoformat(), "latitude": min(latitude, 90)})
        if random.random() < 0.1:
            messages.append(CAR | {"vehicle_id": car, "speed_kmh": 999})
    return messages


def test_a_jump_is_judged_alike_however_the_records_are_cut(judge: Judge) -> None:
    random = Random(17)
    messages = [orjson.dumps(message) for message in drive(random, 60)]
    whole = judge(VEHICLE_TELEMETRY, messages, last_places=SCHEMA.empty_table())
    assert {code for code, _ in whole.verdicts} == {None, "OUT_OF_RANGE", "IMPLAUSIBLE_JUMP"}
    for cuts in ([30], sorted(random.sample(range(1, len(messages)), 5))):
        places, verdicts = SCHEMA.empty_table(), []
        for start, end in pairwise([0, *cuts, len(messages)]):
            part = judge(VEHICLE_TELEMETRY, messages[start:end], last_places=places)
            verdicts += part.verdicts
            # offsets begin anew in each call, so what came before is marked as earlier
            assert part.places is not None
            places = earlier(part.places)
        assert verdicts == whole.verdicts, cuts


def earlier(places: pa.Table) -> pa.Table:
    index = places.schema.get_field_index("kafka_timestamp")
    return places.set_column(index, places.schema[index], pc.subtract(places["kafka_timestamp"], timedelta(seconds=1)))


def test_a_place_is_forgotten_after_a_stated_time(judge: Judge) -> None:
    there = [orjson.dumps(CAR), orjson.dumps(CAR | {"latitude": 40.0})]
    for waited, verdict in ((KEPT, ("IMPLAUSIBLE_JUMP", "latitude")), (KEPT + timedelta(seconds=1), (None, None))):
        taken_at = [TAKEN_AT, TAKEN_AT + waited]
        # in one range, and in two
        whole = judge(VEHICLE_TELEMETRY, there, taken_at=taken_at, last_places=SCHEMA.empty_table())
        first = judge(VEHICLE_TELEMETRY, there[:1], taken_at=taken_at[:1], last_places=SCHEMA.empty_table())
        second = judge(VEHICLE_TELEMETRY, there[1:], taken_at=taken_at[1:], last_places=first.places)
        assert [whole.verdicts[1], second.verdicts[0]] == [verdict, verdict]
        assert second.places is not None
        assert second.places.num_rows == (2 if waited == KEPT else 1)


def test_rows_of_older_rules_come_without_what_stops_a_reader(judge: Judge) -> None:
    def read(name: str, literal: str) -> Any:
        field = STATION_REGISTRY.field(name)
        query = f"(SELECT {readable(field)} FROM (SELECT CAST({literal} AS {field.type.value}) AS {name}))"
        return judge.sql([query])[query]

    evse = "named_struct('evse_id', {}, 'connector_id', '1', 'connector_type', NULL, 'power_kw', {}D)"
    found = read("evses", f"array(NULL, {evse.format('NULL', 1)}, {evse.format(repr('a'), 7)})")
    assert [(e.evse_id, e.power_kw) for e in found] == [("a", 7.0)]
    found = read("evses", f"array({evse.format(repr(''), 1)}, {evse.format(repr('b'), '1e308')})")
    assert found == []
    assert read("connector_types", "array('J1772', NULL, '', 'n.a.')") == ["J1772", "n.a."]
    assert read("evses", "NULL") is None
    assert read("removed_at", "TIMESTAMP '+20000-01-01 00:00:00Z'").year == 9999
    assert read("removed_at", "NULL") is None
