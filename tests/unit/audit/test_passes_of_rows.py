"""Comparing in passes finds what comparing all rows at once would: against a plain oracle, on random small stores."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
import xxhash
from fuzz_messages import generated
from hypothesis import HealthCheck, given
from hypothesis import settings as checked
from hypothesis import strategies as st

from evcharge import record_batches
from evcharge.audit import reconcile as module
from evcharge.audit.figures import Sides, by_station_hour, disagreements, row_disagreements
from evcharge.audit.reconcile import LISTED, Part, Reconciliation, _Comparison
from evcharge.audit.session_rows import SCHEMA, _events_of, _events_one_by_one
from evcharge.clock import DAY_MS, HOUR_MS, day_to_ms
from evcharge.contracts import SESSION_EVENTS
from evcharge.lake.gaps import Gap
from evcharge.lake.record_places import Moves, place_codes
from evcharge.passes import StationRows, passes

Row = dict[str, Any]
FIRST = date(2026, 3, 1)
#: Days whose facts were loaded at the offsets, by partition.
LOADED = {FIRST: {0: 30, 1: 12}, FIRST + timedelta(days=1): {0: 10}}
OVERDUE = {0: 8, 1: 20}
CUT = {0: 45, 1: 40}
LOG_START = {0: 5, 1: 3}
GAPS = [Gap(1, 20, 23)]
QUARANTINED = [(0, 6), (1, 1), (1, 30)]
MOVED = {(0, 6): (0, 44), (1, 30): (1, 35), (1, 35): (0, 41)}


def place(partition: int, offset: int, generation: int = 0) -> Row:
    return {"generation": generation, "partition": partition, "offset": offset}


@st.composite
def records(draw: st.DrawFn) -> list[Row]:
    """Records of few stations, sessions and event ids, so that many are sent again, change, or end twice."""
    places = draw(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 50)), unique=True, max_size=25))
    found = []
    for partition, offset in places:
        session = draw(st.sampled_from(["s", "t"]))
        found.append(
            {
                "station_id": draw(st.sampled_from(["a", "b", "ü", "d"])),
                "at": day_to_ms(FIRST) + draw(st.integers(0, 50)) * HOUR_MS + 1,
                "key": f"{session}-{draw(st.integers(0, 2))}",
                "session_id": session,
                "session": draw(st.booleans()),
                "energy_wh": draw(st.integers(0, 2)),
                **place(partition, offset, draw(st.integers(0, 1)) if draw(st.integers(0, 9)) == 0 else 0),
            }
        )
    return found


@st.composite
def stores(draw: st.DrawFn) -> tuple[list[Row], list[Row], list[Row], list[Row]]:
    """Lake, ledgers, Kafka and ClickHouse: each has most rows of the one before, and some of its own."""
    log = [
        row
        for row in draw(records())
        if row["generation"] == 0 and (row["partition"], row["offset"]) not in QUARANTINED
    ]
    lake = [row for row in log if draw(st.integers(0, 9))] + [
        row for row in draw(records()) if draw(st.integers(0, 4)) == 0
    ]
    sent = [row for row in log if draw(st.booleans())] + [
        row for row in draw(records()) if draw(st.integers(0, 3)) == 0
    ]
    sent = [row | {"generation": 0} for row in sent]
    ends = [row for row in lake if row["session"] and draw(st.integers(0, 9))]
    facts = [row | {"key": row["session_id"], **place(-1, -1)} for row in ends]
    kafka = [
        row for row in log if row["offset"] >= LOG_START[row["partition"]] and row["offset"] < CUT[row["partition"]]
    ]
    return lake, sent, kafka, facts


# --- the oracle: all rows in lists ---


def order(row: Row) -> tuple[int, int, int]:
    return row["generation"], row["partition"], row["offset"]


def first_of(rows: Iterable[Row], *names: str) -> list[Row]:
    found: dict[Any, Row] = {}
    for row in sorted(rows, key=order):
        found.setdefault(tuple(row[name] for name in names), row)
    return list(found.values())


def per_event(rows: list[Row]) -> list[Row]:
    unique = first_of(rows, "station_id", "key", "session")
    ends = {id(row) for row in first_of((row for row in unique if row["session"]), "station_id", "session_id")}
    return [row | {"session": id(row) in ends} for row in unique]


def figures(rows: list[Row]) -> dict[tuple[str, int], tuple[int, int, int, str]]:
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["station_id"], row["at"] // HOUR_MS * HOUR_MS), []).append(row)
    return {key: total(own) for key, own in groups.items()}


def total(rows: list[Row]) -> tuple[int, int, int, str]:
    ended = [row for row in rows if row["session"]]
    hashes = [xxhash.xxh3_64_intdigest(f"{row['key']}|{row['at']}|{row['energy_wh']}".encode()) for row in rows]
    return len(rows), len(ended), sum(row["energy_wh"] for row in ended), f"{sum(hashes) % 2**64:016x}"


def expected_verdict(lake: list[Row], sent: list[Row], kafka: list[Row], facts: list[Row]) -> dict[str, Any]:
    def newest(row: Row) -> Row:
        at = row["partition"], row["offset"]
        while at in MOVED:
            at = MOVED[at]
        return row | {"partition": at[0], "offset": at[1]}

    def content(row: Row) -> tuple[Any, ...]:
        return tuple(row[name] for name in ("station_id", "key", "session", "at", "energy_wh"))

    ledgered = [newest(row) for row in first_of(sent, "station_id", "key")]
    own = [row for row in ledgered if row["offset"] < CUT[row["partition"]]]
    own = [row for row in own if (row["partition"], row["offset"]) not in QUARANTINED]
    lost = [
        row for row in own if any(g.partition == row["partition"] and g.first <= row["offset"] < g.end for g in GAPS)
    ]
    own = [row for row in own if row not in lost]
    in_log = [row for row in own if row["offset"] >= LOG_START[row["partition"]]]
    before = [row for row in own if row["offset"] < LOG_START[row["partition"]]]
    ends = [
        row | {"day": FIRST + timedelta(days=(row["at"] - day_to_ms(FIRST)) // DAY_MS)}
        for row in lake
        if row["session"]
    ]
    seen = [row["offset"] < LOADED.get(row["day"], {}).get(row["partition"], 0) for row in ends]
    due = [s or row["offset"] < OVERDUE[row["partition"]] for row, s in zip(ends, seen, strict=True)]
    at_load = first_of([row for row, is_due in zip(ends, due, strict=True) if is_due], "station_id", "session_id")
    pairs = {
        ("kafka", "producers"): ([r for r in in_log if content(r) in set(map(content, kafka))], in_log),
        ("lake", "producers"): ([r for r in before if content(r) in set(map(content, lake))], before),
        ("lake", "kafka"): (
            per_event([r for r in lake if r["offset"] >= LOG_START[r["partition"]]]),
            per_event(kafka),
        ),
        ("clickhouse", "lake"): (facts, [row | {"key": row["session_id"]} for row in at_load]),
    }
    differences = []
    for pair, (found, wanted) in pairs.items():
        has, should = figures(found), figures(wanted)
        differences += [
            (*pair, *key, should.get(key), has.get(key))
            for key in sorted(has.keys() | should.keys())
            if has.get(key) != should.get(key)
        ]
    known = {(row["station_id"], row["key"]) for row in ledgered}
    return {
        "stores": {
            "producers": total(per_event(own)),
            "kafka": total(per_event(kafka)),
            "lake": total(per_event(lake)),
            "clickhouse": total(facts),
        },
        "differences": differences,
        "lost": len(lost),
        "lost_at": {row["station_id"] for row in lost},
        "behind": sorted({row["day"].isoformat() for row, s in zip(ends, seen, strict=True) if not s}),
        "other_producers": sum((row["station_id"], row["key"]) not in known for row in per_event(lake)),
    }


def compared(
    folder: Path, pass_bytes: int, *tables: list[Row], part: Part | None = None
) -> tuple[Reconciliation, set[str]]:
    old, new = zip(*MOVED.items(), strict=True)
    comparison = _Comparison(CUT, OVERDUE, place_codes(*zip(*sorted(QUARANTINED), strict=True)), GAPS, None)
    comparison.log_start, comparison.loaded = LOG_START, LOADED
    comparison.moves = Moves.of(place_codes(*zip(*old, strict=True)), place_codes(*zip(*new, strict=True)))
    filled = []
    for rows in (*tables, []):
        filled.append(StationRows(folder, SCHEMA))
        filled[-1].add(pa.Table.from_pylist(rows, SCHEMA))
    for found in passes(*filled, pass_bytes=pass_bytes):
        comparison.add(*found)
    return comparison.verdict(part or Part()), comparison.lost_at


@checked(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables=stores(), pass_bytes=st.sampled_from([1, 400, 10**9]))
def test_a_comparison_in_passes_is_that_of_all_rows_at_once(
    tables: tuple[list[Row], ...], pass_bytes: int, tmp_path: Path
) -> None:
    lake, sent, kafka, facts = tables
    expected = expected_verdict(lake, sent, kafka, facts)
    verdict, lost_at = compared(tmp_path, pass_bytes, lake, sent, kafka, facts)

    def plain(own: Any) -> Any:
        return None if own is None else (own.events, own.sessions, own.energy_wh, own.hash)

    assert {store: plain(own) for store, own in verdict.stores.items()} == expected["stores"]
    differences = [
        (d.store, d.against, d.station_id, d.hour, plain(d.expected), plain(d.found)) for d in verdict.differences
    ]
    hour = module._hour
    wanted = [
        (store, against, station, hour(at), *both) for store, against, station, at, *both in expected["differences"]
    ]
    assert (differences, verdict.difference_count) == (wanted[:LISTED], len(wanted))
    assert (verdict.equal, verdict.empty) == (not wanted, not any(count for count, *_ in expected["stores"].values()))
    assert (verdict.lost, lost_at) == (expected["lost"], expected["lost_at"])
    assert (verdict.days_behind, verdict.other_producers) == (expected["behind"], expected["other_producers"])


def test_of_many_differences_the_first_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    facts = [
        {
            "station_id": f"{n:04}",
            "at": day_to_ms(FIRST) + n % 3 * HOUR_MS,
            "key": "s",
            "session_id": "s",
            "session": True,
        }
        | {"energy_wh": 1, **place(-1, -1)}
        for n in range(1_000)
    ]
    verdict, _ = compared(tmp_path, 1, [], [], [], facts)
    assert verdict.difference_count == 1_000
    assert [d.station_id for d in verdict.differences] == [f"{n:04}" for n in range(LISTED)]


@checked(max_examples=50)
@given(found=records(), expected=records())
def test_disagreements_of_rows_are_those_of_their_figures(found: list[Row], expected: list[Row]) -> None:
    ours, theirs = (pa.Table.from_pylist(rows, SCHEMA) for rows in (found, expected))
    assert sorted(row_disagreements(ours, theirs)) == list(
        disagreements(Sides(by_station_hour(ours), by_station_hour(theirs)))
    )
    assert {key: (f.events, f.sessions, f.energy_wh, f.hash) for key, f in by_station_hour(ours).items()} == figures(
        found
    )


# --- Kafka's messages ---


def batch(values: list[bytes | None]) -> pa.RecordBatch:
    columns = [[1] * len(values), range(len(values)), [1_772_625_600_000] * len(values), [b"key"] * len(values), values]
    return pa.record_batch(columns, schema=record_batches.SCHEMA)


def assert_read_alike(values: list[bytes | None]) -> None:
    events = _events_of(batch(values)).sort_by("offset").to_pylist()
    assert events == _events_one_by_one(batch(values)).to_pylist()


@pytest.mark.parametrize("seed", range(5))
def test_many_messages_at_once_are_read_as_each_by_itself(seed: int) -> None:
    assert_read_alike(list(generated(SESSION_EVENTS, 400, seed)))


FIELDS = ("station_id", "event_id", "session_id", "event_type", "occurred_at", "energy_delivered_kwh")
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=4)
)
TIMES = st.sampled_from(
    [
        *(
            "2026-03-04T12:00:00.000Z",
            "2026-02-30T12:00:00.000Z",
            "2026-03-04T24:00:00.000Z",
            "1899-03-04T12:00:00.000Z",
        ),
        *(
            "2026-03-04T12:00:60.000Z",
            "2026-03-04T12:00:00Z",
            "2026-03-04T12:00:00.000Z\n",
            "2026-03-04T12:00:00.000+01",
        ),
        *("2026-03-04T12:61:00.000Z", "٢٠٢٦-03-04T12:00:00.000Z", "", 17),
    ]
)


@given(
    st.lists(st.fixed_dictionaries({}, optional={**dict.fromkeys(FIELDS, VALUES), "occurred_at": TIMES}), max_size=4)
)
def test_odd_messages_are_read_as_each_by_itself(messages: list[dict[str, Any]]) -> None:
    usual = dict.fromkeys(FIELDS[:4], "x") | {
        "occurred_at": "2026-03-04T12:00:00.123Z",
        "energy_delivered_kwh": 12.3445,
    }
    values = [orjson.dumps(usual | message) for message in messages if all(_fits(v) for v in message.values())]
    assert_read_alike(
        [*values, orjson.dumps(usual), b"{", b"[]", b"3", None, orjson.dumps(usual | {"energy_delivered_kwh": 3})]
    )


def _fits(value: object) -> bool:
    return type(value) is not int or -(2**63) <= value < 2**64


def test_a_number_that_no_column_holds_is_a_difference_at_its_key() -> None:
    usual: dict[str, Any] = dict.fromkeys(FIELDS[:4], "x") | {"occurred_at": "2026-03-04T12:00:00.123Z"}
    (event,) = _events_of(batch([orjson.dumps(usual | {"energy_delivered_kwh": 1e300})])).to_pylist()
    assert (event["station_id"], event["event_id"]) == ("key", "unreadable record 1-0")
