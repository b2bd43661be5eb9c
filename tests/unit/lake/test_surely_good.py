"""What Arrow picks as surely good, a real Spark finds good, with the same values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import judging
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from judging import TAKEN_AT, Judge, kafka_records
from odd_events import VALUES, varied
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY
from evcharge.feeds.messages import message
from evcharge.lake import rowfiles
from evcharge.lake.rowfiles import WRITTEN, RowFileWriter, SurelyGoodWriter
from evcharge.lake.surely_good import SurelyGood, can_pick
from evcharge.settings import Settings, load_settings
from simulation import Simulation, build_fleet, build_network

EVENT = judging.EVENT | {
    "connector_id": None,
    "occurred_at": "2026-11-21T11:59:00.123456Z",
    "power_kw": 0,
    "reason": "Local",
    "idle_s": 1e2,
}
GOOD = orjson.dumps(EVENT)


def changed(**fields: Any) -> bytes:
    return json.dumps(EVENT | fields).encode()


def replaced(old: bytes, new: bytes) -> bytes:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


#: Each is left to Spark's rules, whatever they say of it.
LEFT: dict[str, bytes | None] = {
    "nothing": None,
    "no bytes": b"",
    "blanks": b"  ",
    "one brace": b"{",
    "an empty object": b"{}",
    "an array": b"[" + GOOD + b"]",
    "two objects": GOOD + GOOD,
    "two objects with a blank": GOOD + b" " + GOOD,
    "a line's end between two objects": GOOD + b"\n" + GOOD,
    "a line's end within": replaced(b",", b",\n"),
    "text behind": GOOD + b"x",
    "a missing end": GOOD[:-1],
    "a missing start": GOOD[1:],
    "a missing quote": replaced(b'"s"', b'"s'),
    "a comma too many": replaced(b"}", b",}"),
    "single quotes": GOOD.replace(b'"', b"'"),
    "an escape": replaced(b'"s"', rb'"\u0073"'),
    "beyond ASCII": changed(ev_id="ä").replace(rb"\u00e4", "ä".encode()),
    "no UTF-8": replaced(b'"evse"', b'"\xff"'),
    "a control character": replaced(b'"evse"', b'"\x7f"'),
    "a nested object": changed(note={"a": 1}),
    "a nested array": changed(note=[1]),
    "a member twice": replaced(b"{", b'{"sequence":1,'),
    "a long message": changed(note="x" * 1_000),
    "a number of 2,000 digits": replaced(b"12.345", b"1." + b"0" * 2_000),
    "NaN": replaced(b"12.345", b"NaN"),
    "an endless number": replaced(b"12.345", b"1e999"),
    "a leading zero": replaced(b"12.345", b"012.345"),
    "a leading plus": replaced(b"12.345", b"+12.345"),
    "a number without digits": replaced(b"12.345", b"12."),
    "a text for a number": changed(energy_delivered_kwh="12"),
    "a fraction for an integer": changed(sequence=1.0),
    "a large integer": changed(sequence=2**40),
    "a number for a text": changed(session_id=1),
    "a truth for a text": changed(evse_id=True),
    "a time with an offset": changed(occurred_at="2026-11-21T11:59:00+00:00"),
    "a time in seconds": changed(occurred_at=1_763_726_340),
    "a time with a blank": changed(occurred_at="2026-11-21 11:59:00Z"),
    "a day that is none": changed(occurred_at="2026-02-30T11:59:00Z"),
    "an hour that is none": changed(occurred_at="2026-11-21T24:00:00Z"),
    "a second that is none": changed(occurred_at="2026-11-21T11:59:60Z"),
    "the future": changed(occurred_at=(TAKEN_AT + timedelta(hours=24, seconds=1)).isoformat()[:19] + "Z"),
    "the past": changed(started_at="1999-01-01T00:00:00Z"),
    "no version": changed(schema_version=None),
    "another version": changed(schema_version=2),
    "no station": changed(station_id=None),
    "a station that nobody registered": changed(station_id="another"),
    "an unknown type": changed(event_type="paused"),
    "an unknown reason": changed(reason="Boredom"),
    "a blank id": changed(evse_id=" "),
    "an empty id": changed(ev_id=""),
    "a long id": changed(connector_id="x" * 513),
    "a negative number": changed(sequence=-1),
    "too much energy": changed(energy_delivered_kwh=1_000.5),
    "another session's event": changed(event_id="t-1"),
    "a CDR without energy": changed(energy_delivered_kwh=None),
    "an end before the start": changed(started_at="2026-11-21T11:59:01Z"),
    "a stay of more than a year": changed(started_at="2025-11-20T11:00:00Z"),
}

PICKED = {
    "good": GOOD,
    "a member that the contract has not": changed(note="x", count=1.5, yes=True, none=None),
    "blanks between": GOOD.replace(b",", b" , ").replace(b'":', b'" : '),
    "an exponent": replaced(b"12.345", b"1.2345E1"),
    "an integer for a fraction": replaced(b"12.345", b"12"),
    "a CDR's parts missing before the end": changed(event_type="meter", energy_delivered_kwh=None, started_at=None),
    "the bounds": changed(energy_delivered_kwh=1_000, idle_s=0),
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load_settings(home=tmp_path_factory.mktemp("home"))


def pick(settings: Settings, values: Sequence[bytes | None], *stations: str) -> tuple[pa.Table, pa.RecordBatch]:
    registered = pa.array(sorted(stations) or ["station"], pa.string())
    good, left = SurelyGood(settings, SESSION_EVENTS.topic, registered).pick(kafka_records(values))
    assert sorted(good["kafka_offset"].to_pylist() + left["offset"].to_pylist()) == list(range(len(values)))
    return good, left


def test_every_rule_of_session_events_is_known_and_no_list() -> None:
    assert can_pick(SESSION_EVENTS)
    assert not can_pick(STATION_REGISTRY)


@pytest.mark.parametrize("name", LEFT)
def test_what_is_odd_is_left_and_no_other_message_with_it(settings: Settings, name: str) -> None:
    good, left = pick(settings, [*[GOOD] * 200, LEFT[name], *[GOOD] * 200])
    assert 200 in left["offset"].to_pylist()
    # only a message that Arrow cannot read costs others of its batch
    assert good.num_rows >= 300
    assert left["value"][left["offset"].to_pylist().index(200)].as_py() == LEFT[name]


@pytest.mark.parametrize("name", PICKED)
def test_what_is_usual_is_picked(settings: Settings, name: str) -> None:
    good, left = pick(settings, [PICKED[name]])
    assert (good.num_rows, left.num_rows) == (1, 0)
    assert good["rule_code"].null_count == 1
    assert good["event_date"].to_pylist() == [good["occurred_at"][0].as_py().date()]


def test_an_empty_batch_is_no_fault(settings: Settings) -> None:
    good, left = pick(settings, [])
    assert (good.num_rows, left.num_rows) == (0, 0)
    assert set(SESSION_EVENTS.columns) < set(good.schema.names)


def test_a_slice_of_a_batch_is_read_where_it_begins(settings: Settings) -> None:
    whole = kafka_records([changed(idle_s=n) for n in range(10)])
    good, _ = SurelyGood(settings, SESSION_EVENTS.topic, pa.array(["station"])).pick(whole.slice(4, 3))
    assert good["idle_s"].to_pylist() == [4, 5, 6]
    assert good["kafka_offset"].to_pylist() == [4, 5, 6]


def test_all_that_the_simulator_sends_is_picked(settings: Settings) -> None:
    network = build_network(stations=20, seed=3)
    start_at = TAKEN_AT - timedelta(hours=6)
    simulation = Simulation(network, build_fleet(network, vehicles=400, seed=3), seed=3, start_at=start_at)
    values = [message(SESSION_EVENTS, row) for row in simulation.advance(until=TAKEN_AT).rows()]
    assert len(values) > 30
    good, left = pick(settings, values, *(row["station_id"] for row in network.registry_records()))
    assert left["value"].to_pylist() == []
    assert good.num_rows == len(values)


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge() as judge:
        yield judge


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_spark_finds_good_what_is_picked_with_the_same_values(settings: Settings, judge: Judge, seed: int) -> None:
    random = Random(seed)
    values: list[bytes | None] = [*LEFT.values(), *PICKED.values(), *(varied(random) for _ in range(4_000))]
    random.shuffle(values)
    stations = pa.array(["station", *(value for value in VALUES if isinstance(value, str))])
    picker, whole = SurelyGood(settings, SESSION_EVENTS.topic, stations), kafka_records(values)
    # few at a time: one that Arrow cannot read costs its neighbours
    picked = [picker.pick(whole.slice(start, 2))[0] for start in range(0, len(values), 2)]
    good = pa.concat_tables(picked)
    assert good.num_rows > 300
    judged = judge(SESSION_EVENTS, values)
    wrong = {n: (values[n], judged.verdicts[n]) for n in good["kafka_offset"].to_pylist() if n not in judged.good}
    assert wrong == {}
    for row in good.to_pylist():
        spark = judged.good[row["kafka_offset"]]
        ours = {name: row[name] for name in SESSION_EVENTS.columns}
        for name in ("occurred_at", "started_at"):
            ours[name] = ours[name] and int(ours[name].timestamp() * 1_000)
        assert ours == {name: spark[name] for name in ours}, values[row["kafka_offset"]]


def test_what_is_left_goes_on_and_what_is_written_is_told(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rowfiles, "lake_files", lambda _: SubTreeFileSystem(str(tmp_path), LocalFileSystem()))
    monkeypatch.setattr(rowfiles, "FLUSH_ROWS", 4)
    (tmp_path / settings.lake_repository / "branch").mkdir(parents=True)
    monkeypatch.setattr(
        rowfiles, "upload", lambda files, name, content: (tmp_path / name.replace("/", "_")).write_bytes(content)
    )
    writer = RowFileWriter(settings, SESSION_EVENTS.topic, "branch", "2026-11-21-12", "p", "f", 1)
    picker = SurelyGood(settings, SESSION_EVENTS.topic, pa.array(["station"]))
    batches = [kafka_records([GOOD, b"bad", GOOD]), kafka_records([b"worse"]), kafka_records([GOOD, GOOD, GOOD])]
    left = pa.Table.from_batches(SurelyGoodWriter(writer, picker)(iter(batches)))
    assert left["value"].drop_null().to_pylist() == [b"bad", b"worse"]
    lines = [orjson.loads(line) for line in left[WRITTEN].drop_null().to_pylist()]
    assert [line["rows"] for line in lines] == [5]
    assert {line["event_date"] for line in lines} == {"2026-11-21"}
    assert left.filter(pc.is_valid(left[WRITTEN]))["value"].null_count == len(lines)
    # the writer behind Spark's rules gives them back as its own
    (again,) = writer(left.filter(pc.is_valid(left[WRITTEN])).select([WRITTEN]).to_batches())
    assert again["path"].to_pylist() == [line["path"] for line in lines]
