"""What the quick pass folds and what it leaves is together what the rules find good, in the order of each station."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import Any, ClassVar

import orjson
import pyarrow as pa
import pytest
from judging import EVENT, Judge, kafka_records
from odd_events import varied

from evcharge.contracts import SESSION_EVENTS
from evcharge.lake.surely_good import MAX_BYTES
from evcharge.live.batch_report import BatchReport, TouchedHours
from evcharge.live.quick_folder import LeftFolder, QuickFolder, station_of
from evcharge.live.station_folder import StationFolder
from evcharge.live.worker import records_of
from evcharge.settings import Settings, load_settings

STATIONS = ("a", "b", "c")


class Written(StationFolder):
    """A folder that remembers its rows in place of writing them."""

    rows: ClassVar[list[dict[str, Any]]] = []

    def write(self, batches: Iterable[pa.RecordBatch], hours: TouchedHours) -> None:
        for batch in batches:
            self.rows.extend(records_of(batch))
            hours.add(batch["occurred_at"].to_pylist())


@pytest.fixture
def folder(settings: Settings) -> Written:
    Written.rows = []
    return Written(settings, "index", SESSION_EVENTS.topic)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load_settings(home=tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge() as judge:
        yield judge


def read(values: Sequence[bytes | None], partitions: Sequence[int] | None = None) -> pa.RecordBatch:
    """Kafka's records as the stream's plan hands them on: a long value is null. The offsets count through all partitions."""
    records = kafka_records([value if value and len(value) <= MAX_BYTES else None for value in values])
    columns = {name: records[name] for name in ("partition", "offset", "timestamp", "value")}
    if partitions is not None:
        columns["partition"] = pa.array(partitions, pa.int32())
    return pa.record_batch(columns)


def taken(folder: StationFolder, *batches: pa.RecordBatch) -> tuple[list[int], dict[int, list[int]], int]:
    """The offsets that were folded and left, and how many records the report has."""
    (report,) = QuickFolder(folder)(iter(batches))
    said = BatchReport.read(report["report"][0].as_py())
    return [row["kafka_offset"] for row in Written.rows], {p: [*o] for p, o in said.left.items()}, said.records


def good(station_id: str, n: int = 0) -> bytes:
    return orjson.dumps(EVENT | {"station_id": station_id, "sequence": n, "event_id": f"s-{n}"})


@pytest.mark.parametrize(
    ("message", "station_id"),
    [
        (b'{"station_id":"a"}', "a"),
        (b'{"station_id" :\t"a", "x": 1}', "a"),
        ('{"station_id":"ä"}'.encode(), "ä"),
        # nobody's: the contract needs a station
        (b"", ""),
        (b"no json", ""),
        (b'{"station_id":null}', ""),
        (b"{'station_id':'a'}", ""),
        # of whom nobody can tell
        (None, None),
        (b'{"station_id":7}', None),
        (b'{"station_id":"a","station_id":"b"}', None),
        (b'{"station_id":"a","reason":"station_id"}', None),
        (b'{"station\\u005fid":"a"}', None),
        (b'{"station_id":"a\\u0062"}', None),
        (b'{"station_id":"\xff"}', None),
        (b'{\x00"\x00s\x00', None),
    ],
)
def test_the_station_of_an_odd_message_is_told_if_it_is_sure(message: bytes | None, station_id: str | None) -> None:
    assert station_of(message) == station_id


def test_what_is_good_is_folded_at_once(folder: Written) -> None:
    assert taken(folder, read([good("a"), good("b")]), read([])) == ([0, 1], {}, 2)
    row = Written.rows[0]
    assert row["occurred_at"] == 1_795_262_400_000
    assert row.keys() == {*SESSION_EVENTS.columns, "kafka_partition", "kafka_offset"}


def test_a_station_waits_with_its_odd_message_and_no_other_does(folder: Written) -> None:
    odd = good("a").replace(b'"evse"', '"ä"'.encode())
    first = read([good("a"), odd, good("b"), good("a", 1)])
    second = read([good("a", 2), good("b", 1)])
    folded, left, records = taken(folder, first, second)
    assert folded == [2, 1]
    assert records == 2
    assert {partition: sorted(offsets) for partition, offsets in left.items()} == {0: [0, 0, 1, 3]}


def test_a_partition_waits_with_a_message_of_which_nobody_can_tell(folder: Written) -> None:
    values = [good("a"), rb'{"station_id":"\u0061"}', good("b"), good("c")]
    folded, left, _ = taken(folder, read(values, [0, 1, 1, 0]))
    assert (folded, left) == ([0, 3], {1: [1, 2]})


def test_a_message_that_is_nobodys_holds_nobody_up(folder: Written) -> None:
    assert taken(folder, read([b"no json", good("a")])) == ([1], {0: [0]}, 1)


def test_what_was_left_is_folded_and_no_other(folder: Written) -> None:
    rows = pa.record_batch(
        {
            "station_id": ["a", "a", "b", "a"],
            "occurred_at": [0, 0, 0, 0],
            "kafka_partition": pa.array([0, 0, 1, 1], pa.int32()),
            "kafka_offset": [7, 8, 7, 8],
        }
    )
    (report,) = LeftFolder(folder, {0: [8], 1: [7, 9]})(iter([rows]))
    assert [(row["kafka_partition"], row["kafka_offset"]) for row in Written.rows] == [(0, 8), (1, 7)]
    assert BatchReport.read(report["report"][0].as_py()).records == 2


@pytest.mark.slow
def test_both_passes_fold_what_the_rules_find_good_in_the_order_of_each_station(folder: Written, judge: Judge) -> None:
    random = Random(20)
    values = [_of_a_station(random) for _ in range(3_000)]
    judged = judge(SESSION_EVENTS, values)
    whole = read(values)
    sizes = [0]
    while sizes[-1] < len(values):
        sizes.append(sizes[-1] + random.choice((1, 3, 10)))
    # batches of the stream, each in several pieces
    for start, end in pairwise(sizes):
        pieces = [whole.slice(at, min(2, end - at)) for at in range(start, min(end, len(values)), 2)]
        _, left, _ = taken(folder, *pieces)
        folded = [row["kafka_offset"] for row in Written.rows]
        Written.rows += [judged.good[offset] for offset in sorted(left.get(0, ())) if offset in judged.good]
        assert len(folded) < len(values)
    assert {row["kafka_offset"]: row for row in Written.rows} == judged.good
    assert len(Written.rows) == len(judged.good) > 500
    for station_id in {row["station_id"] for row in Written.rows}:
        own = [row["kafka_offset"] for row in Written.rows if row["station_id"] == station_id]
        assert own == sorted(own), station_id


def _of_a_station(random: Random) -> bytes:
    station_id = random.choice(STATIONS).encode()
    if random.random() < 0.5:
        return good(station_id.decode())
    return varied(random).replace(b'"station"', b'"' + station_id + b'"')
