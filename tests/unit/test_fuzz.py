"""What the rules call good, every reader takes: thousands of generated messages, judged by a real Spark.

`make test` judges a few thousand and always the same ones; `make fuzz` goes on with new ones. The stores take the same
messages in `tests/integration/test_fuzz_stores.py`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pyarrow as pa
import pytest
from fuzz_messages import generated
from judging import TAKEN_AT, Judge, Judged

from evcharge.audit.session_rows import event_of, one_row_per_event, record_rows
from evcharge.contracts import CONTRACTS, SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.live.final_usage import folded
from evcharge.live.station_document import unpacked
from evcharge.live.station_state import StationState
from evcharge.live.vehicle_positions import Place, is_jump
from evcharge.live.vehicle_positions import document as position_document
from evcharge.queries.availability import read_station
from evcharge.queries.freshness import Freshness
from evcharge.queries.station import station_now
from evcharge.queries.typical import days_compared, utc_days

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

#: Elasticsearch's limits: of a document's id, and of a doc value.
MAX_ID_BYTES, MAX_DOC_VALUE_BYTES = 512, 32_766
#: The least share of good ones among the generated messages: with fewer the fuzz shows little.
LEAST_GOOD = 0.25

#: Of each contract, in a round.
MESSAGES = 2_000

Row = Mapping[str, Any]


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge() as judge:
        yield judge


def test_every_reader_takes_what_the_rules_call_good(judge: Judge, pytestconfig: pytest.Config) -> None:
    total: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    for round_seed in rounds(pytestconfig):
        messages = {topic: generated(c, MESSAGES, round_seed) for topic, c in CONTRACTS.items()}
        # as the stream judges, without jumps: few cars at random places would be good
        judged = {topic: judge(contract, messages[topic]) for topic, contract in CONTRACTS.items()}
        for topic, verdicts in judged.items():
            assert len(verdicts.good) > LEAST_GOOD * len(messages[topic]), topic
            total[topic] += len(messages[topic])
            codes.update(code for code, _ in verdicts.verdicts if code)
        where = f"seed {round_seed}"
        random = Random(round_seed)
        check_fold(judged[STATION_REGISTRY.topic], judged[SESSION_EVENTS.topic], random, where)
        check_final_usage(judged[SESSION_EVENTS.topic], where)
        check_positions(judged[VEHICLE_TELEMETRY.topic], where)
        check_reconcile(messages[SESSION_EVENTS.topic], judged[SESSION_EVENTS.topic], where)
    print(f"\nfuzz: {total.total():,} messages judged {dict(total)}; refused by rule: {dict(codes.most_common())}")


def rounds(config: pytest.Config) -> range:
    """The seed of each round: the first one alone, or those of this minute on."""
    count = config.getoption("--fuzz-rounds")
    first = int(time.time()) // 60 * 1000 if count > 1 else 1
    return range(first, first + count)


def check_fold(registry: Judged, events: Judged, random: Random, where: str) -> None:
    """The stream's fold, its documents, and what drivers' questions read in them."""
    records = [("register", row) for row in registry.good.values()] + [("apply", row) for row in events.good.values()]
    random.shuffle(records)
    states: dict[str, StationState] = {}
    for step, row in records:
        station_id = row["station_id"]
        assert 0 < len(station_id.encode()) <= MAX_ID_BYTES
        state = states.setdefault(station_id, StationState(station_id))
        try:
            getattr(state, step)(row)
            if random.random() < 0.2:
                document = orjson.loads(orjson.dumps(state.document()))
                states[station_id] = StationState.from_document(document)
                check_document(document)
        except Exception as error:
            raise AssertionError(f"{where}: {step} of {row}") from error
    for state in states.values():
        check_document(orjson.loads(orjson.dumps(state.document())))


def check_document(document: Row) -> None:
    """What Elasticsearch and drivers' questions need of a station's document."""
    assert StationState.from_document(document).document() == document
    listed = unpacked(document["listed"])
    assert len(orjson.dumps(listed)) <= MAX_DOC_VALUE_BYTES
    fresh = Freshness(TAKEN_AT, TAKEN_AT, None)
    for since in (TAKEN_AT - timedelta(hours=6), datetime.min.replace(tzinfo=UTC)):
        answer = station_now(document, fresh, since)
        orjson.dumps([answer.to_json(), read_station(listed, fresh, since).to_json()])
        zone = ZoneInfo(answer.time_zone)
        today, before = days_compared(TAKEN_AT, zone)
        assert utc_days([today, *before], zone)


def check_final_usage(events: Judged, where: str) -> None:
    """The final hours: of whole stations, in time order."""
    order = ("station_id", "occurred_at", "session_id", "sequence")
    rows = sorted(events.good.values(), key=lambda row: tuple(row[name] for name in order))
    try:
        states = list(folded(rows))
    except Exception as error:
        raise AssertionError(f"{where}: final usage") from error
    for state in states:
        for start, hour in state.usage.hours.items():
            datetime.fromtimestamp(start / 1000, UTC)
            # columns of Cassandra are bigint and int
            assert all(0 <= value < 2**31 for value in hour.values()), (where, state.station_id, start)


def check_positions(cars: Judged, where: str) -> None:
    """The cars' newest positions."""
    before: tuple[Place, ...] = ()
    for row in cars.good.values():
        assert 0 < len(row["vehicle_id"].encode()) <= MAX_ID_BYTES
        place = Place(row["latitude"], row["longitude"], row["occurred_at"])
        try:
            is_jump(place, before)
            orjson.dumps(position_document(row))
        except Exception as error:
            raise AssertionError(f"{where}: position {row}") from error
        # Elasticsearch's version of the document
        assert 0 <= row["occurred_at"] < 2**63
        before = (*before, place)[-2:]


def check_reconcile(messages: list[bytes], judged: Judged, where: str) -> None:
    """The comparison of stores reads a message of Kafka as Spark does."""
    read = []
    for n, row in judged.good.items():
        record = SimpleNamespace(partition=0, offset=n, value=messages[n], key=b"key", timestamp=0)
        event = event_of(record)
        read.append(event)
        energy_kwh = row["energy_delivered_kwh"]
        expected = {
            "station_id": row["station_id"],
            "event_id": row["event_id"],
            "event_type": row["event_type"],
            "energy_wh": None if energy_kwh is None else round(energy_kwh * 1000),
        }
        assert {name: event.get(name) for name in expected} == expected, (where, messages[n])
        assert int(event["occurred_at"].timestamp() * 1000) == row["occurred_at"], (where, messages[n])
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("station_id", "event_id", "session_id", "event_type")),
            ("occurred_at", pa.timestamp("us", "UTC")),
            *((name, pa.int64()) for name in ("energy_wh", "partition", "offset")),
        ]
    )
    events = {(e["station_id"], e["event_id"], e["event_type"] == "stopped") for e in read}
    assert one_row_per_event(record_rows(pa.Table.from_pylist(read, schema))).num_rows == len(events)
