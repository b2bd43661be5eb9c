"""Publications after a long history: the publish protocol over and over, into one repository of a real lakeFS on MinIO.

Each publication is small and goes the whole way: attempt, branch, files, manifest, ledger, commit, gates, merge. Only Spark is
left out. Its rows are given as it would have read and judged them, because no history changes what it does; so a change is a
larger part of the time than on a platform. The topics come as on a platform at its defaults whose registry is polled: sessions
every 90 s, cars every quarter of an hour, stations every hour.

The time is that of the sessions' publications. The same in a new repository, measured at the end, shows in the details what the
servers' age and the machine have to do with it.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import pyarrow as pa
import structlog

from benchmarks.harness import Report, Result
from benchmarks.lake import RUN, fresh
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY, Contract
from evcharge.lake.ledger import OffsetRange
from evcharge.lake.publish import publish_range
from evcharge.lake.repository import MAIN, Repository
from evcharge.lake.schemas import raw_schema
from evcharge.settings import Settings
from simulation import Simulation, build_fleet, build_network

SEED, STATIONS, VEHICLES = 7, 200, 1_000
START_AT = datetime(2026, 3, 2, tzinfo=UTC)
#: The most that a publication may take in units of the first ones, and the aim.
FLOOR, AIM = 1.3, 1.1
#: So many publications of sessions at either end are compared.
COMPARED = 100
#: What is published in an hour, in order.
HOUR = (STATION_REGISTRY, *(VEHICLE_TELEMETRY, *(SESSION_EVENTS,) * 10) * 4)
APART = timedelta(hours=1) / len(HOUR)
#: Rows of a publication: 90 s at an event a second, a few cars, what changes of the registry in an hour.
ROWS = {SESSION_EVENTS.topic: 90, VEHICLE_TELEMETRY.topic: 1_000, STATION_REGISTRY.topic: 20}


@dataclass(frozen=True, slots=True)
class Effort:
    """How many publications, and the time after which no more are made."""

    publications: int = 10_000
    within_s: float = 3_600.0


def history(settings: Settings, effort: Effort, report: Report) -> list[Result]:
    """How long a publication takes after many others, and what they leave."""
    # two lines about each publication would hide how far it is
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    report("warming up")
    # the servers are cold at first, which would make the first hundred slow and the comparison easy
    _session_seconds(publications(fresh(settings, "history-warm"), COMPARED))
    own = fresh(settings, "history")
    disk_before = _bytes_on_disk(settings)
    done: list[tuple[str, float]] = []
    began = time.monotonic()
    for number, publication in enumerate(publications(own, effort.publications), start=1):
        done.append(publication)
        if number % COMPARED == 0:
            report(f"{number:,} of {effort.publications:,} publications")
        if time.monotonic() - began > effort.within_s:
            break
    return _results(own, done, disk_before, report)


def _results(settings: Settings, done: list[tuple[str, float]], disk_before: int, report: Report) -> list[Result]:
    count = len(done)
    times = Result(
        "publication after a history",
        "times",
        f"After {count:,} publications one takes so many times as long as among the first hundred.",
        floor=FLOOR,
        aim=AIM,
    )
    seconds = _session_seconds(done)
    first, last = seconds[:COMPARED], seconds[-COMPARED:]
    times.ours.append(round(median(last) / median(first), 3))
    times.details |= {
        "first_s": round(median(first), 4),
        "last_s": round(median(last), 4),
        "by_thousand_s": [round(median(seconds[n : n + 1_000]), 4) for n in range(0, len(seconds), 1_000)],
        "publications": dict(Counter(topic for topic, _ in done)),
    }
    files = Result(
        "files of a history", "files", f"{count:,} publications leave so many files on the lake's main branch."
    )
    paths = Counter(path.partition("/")[0] for path in Repository(settings).paths(MAIN, ""))
    files.ours.append(paths.total())
    files.details |= dict(paths)
    disk = Result(
        "bytes of a history", "MB", f"{count:,} publications leave so much on the disk, in MinIO and lakeFS together."
    )
    disk.ours.append(round((_bytes_on_disk(settings) - disk_before) / 1e6, 1))
    report("a new repository")
    new = _session_seconds(publications(fresh(settings, "history-new"), 2 * COMPARED))
    times.details["new_repository_s"] = round(median(new[:COMPARED]), 4)
    results = [times, files, disk]
    for result in results:
        result.run_ended()
    return results


def _session_seconds(publications: Iterable[tuple[str, float]]) -> list[float]:
    return [seconds for topic, seconds in publications if topic == SESSION_EVENTS.topic]


def publications(settings: Settings, count: int) -> Iterator[tuple[str, float]]:
    """Publishes so many ranges; of each the topic and the seconds that it took."""
    repository, judged = Repository(settings), given_rows()
    ends: dict[str, int] = {}
    for number, contract in enumerate(islice(cycle(HOUR), count)):
        topic = contract.topic
        planned = next_range(topic, ends.get(topic, 0), START_AT + number * APART)
        ends[topic] = planned.end[0]
        rows = placed(judged[topic], contract, planned)
        with spark_gives(rows):
            began = time.perf_counter()
            publish_range(settings, repository, cast(Any, None), planned, RUN)
            seconds = time.perf_counter() - began
        yield topic, seconds


@contextmanager
def spark_gives(rows: pa.Table) -> Iterator[None]:
    """A publication begun here finds these rows in place of those that Spark reads from Kafka and judges."""
    with (
        patch("evcharge.lake.candidate.kafka_rows", lambda *_: Given(rows)),
        patch("evcharge.lake.judge.judged", lambda _settings, given, *_, **__: given),
    ):
        yield


def next_range(topic: str, start: int, at: datetime) -> OffsetRange:
    return OffsetRange(topic, "history", {0: start}, {0: start + ROWS[topic]}, at)


def given_rows() -> dict[str, pa.Table]:
    """Good rows of each topic, as `evcharge.lake.judge.judged` gives them; their places in Kafka are still missing."""
    network = build_network(STATIONS, SEED)
    simulation = Simulation(network, build_fleet(network, VEHICLES, SEED), seed=SEED, start_at=START_AT)
    sessions = list(simulation.advance(until=START_AT + timedelta(hours=6)).rows())
    station = network.stations[0]
    car = {
        "latitude": station.latitude,
        "longitude": station.longitude,
        "speed_kmh": 0.0,
        "ignition": False,
        "state_of_charge": 50.0,
    }
    cars = ({"vehicle_id": f"ev-{number}", **car} for number in range(ROWS[VEHICLE_TELEMETRY.topic]))
    rows: list[tuple[Contract, Iterable[Mapping[str, Any]]]] = [
        (STATION_REGISTRY, network.registry_records()),
        (SESSION_EVENTS, sessions),
        (VEHICLE_TELEMETRY, cars),
    ]
    return {contract.topic: _table(contract, islice(own, ROWS[contract.topic])) for contract, own in rows}


def _table(contract: Contract, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    columns = pa.schema(
        [column.with_nullable(True) for column in raw_schema(contract) if column.name in contract.columns]
    )
    return pa.Table.from_pylist([{"schema_version": contract.schema_version, **row} for row in rows], columns)


def placed(rows: pa.Table, contract: Contract, planned: OffsetRange) -> pa.Table:
    """The rows at the range's offsets. They happened when it was planned, and each is a row that the rules let pass."""
    count, at = rows.num_rows, pa.scalar(planned.planned_at, pa.timestamp("us", "UTC"))
    moment = pa.repeat(at, count)
    columns = {
        contract.event_time: moment,
        "event_date": moment.cast(pa.date32()),
        "kafka_partition": pa.repeat(pa.scalar(0, pa.int32()), count),
        "kafka_offset": pa.array(range(planned.start[0], planned.end[0]), pa.int64()),
        "kafka_timestamp": moment,
        "kafka_key": pa.nulls(count, pa.binary()),
        "kafka_value": pa.nulls(count, pa.binary()),
        "rule_code": pa.nulls(count, pa.string()),
        "rule_field": pa.nulls(count, pa.string()),
    }
    if "started_at" in rows.column_names:
        columns["started_at"] = moment
    for name, values in columns.items():
        rows = rows.drop_columns(name) if name in rows.column_names else rows
        rows = rows.append_column(name, values)
    return rows


@dataclass
class Given:
    """Judged rows in place of Spark's: as much of a DataFrame as a candidate needs."""

    rows: pa.Table
    lines: list[SimpleNamespace] = field(default_factory=list)

    def coalesce(self, _tasks: int) -> Given:
        return self

    def mapInArrow(self, write: Callable[[Any], Iterator[pa.RecordBatch]], _ddl: str) -> Given:
        for batch in write(iter(self.rows.combine_chunks().to_batches())):
            for line in batch.to_pylist():
                self.lines.append(SimpleNamespace(**{**line, "rule_counts": dict(line["rule_counts"] or ())}))
        return self

    def collect(self) -> list[SimpleNamespace]:
        return self.lines


def _bytes_on_disk(settings: Settings) -> int:
    folders = [Path(settings.home, name) for name in ("minio", "lakefs")]
    return sum(file.stat().st_blocks * 512 for folder in folders for file in folder.rglob("*") if file.is_file())
