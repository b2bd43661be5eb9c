"""Judges messages as the platform does, with a Spark of its own in a process of its own: no server is needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from evcharge.contracts import CONTRACTS, Contract
from evcharge.lake.schemas import KAFKA_SCHEMA

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

#: When Kafka took the messages that are judged.
TAKEN_AT = datetime(2026, 11, 21, 12, tzinfo=UTC)

#: A good session event.
EVENT: dict[str, Any] = {
    "schema_version": 1,
    "event_id": "s-1",
    "session_id": "s",
    "sequence": 1,
    "station_id": "station",
    "evse_id": "evse",
    "event_type": "stopped",
    "occurred_at": "2026-11-21T12:00:00Z",
    "energy_delivered_kwh": 12.345,
    "started_at": "2026-11-21T11:00:00Z",
}


def kafka_records(values: Sequence[bytes | None], taken_at: Sequence[datetime] | None = None) -> pa.RecordBatch:
    """The messages as Spark's Kafka source has them: one range of one partition, which Kafka took at TAKEN_AT by default."""
    count = len(values)
    columns = [[0] * count, range(count), taken_at or [TAKEN_AT] * count, [b"key"] * count, values]
    return pa.record_batch(
        [pa.array(c, f.type) for c, f in zip(columns, KAFKA_SCHEMA, strict=True)], schema=KAFKA_SCHEMA
    )


@dataclass(frozen=True, slots=True)
class Judged:
    """Verdicts of messages: code and field of each, or None twice; and the good rows, with times in ms, by message.

    `places` are the cars' last places after the messages, if they were judged with those before.
    """

    verdicts: list[tuple[str | None, str | None]]
    good: dict[int, dict[str, Any]]
    places: pa.Table | None


class Judge:
    """A Spark that judges. Use it as a context manager."""

    def __enter__(self) -> Self:
        # A session with a driver of its own and one on a Connect server do not live in one process.
        self._process = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.submit(_stop).result()
        self._process.shutdown()

    def __call__(
        self,
        contract: Contract,
        values: Sequence[bytes | None],
        *,
        taken_at: Sequence[datetime] | None = None,
        last_places: pa.Table | None = None,
    ) -> Judged:
        """Judges the messages as one range of one partition, in their order. Kafka took all at TAKEN_AT by default."""
        times = list(taken_at or [TAKEN_AT] * len(values))
        return self._process.submit(_judge, contract.topic, list(values), times, last_places).result()

    def sql(self, expressions: Iterable[str]) -> dict[str, Any]:
        """The values of SQL expressions, by expression."""
        return self._process.submit(_sql, list(expressions)).result()


_sessions: list[SparkSession] = []


def _spark() -> SparkSession:
    if not _sessions:
        for name in ("SPARK_REMOTE", "SPARK_CONNECT_MODE_ENABLED"):
            os.environ.pop(name, None)
        os.environ |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
        from pyspark.sql import SparkSession

        options = {
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.driver.memory": "1g",
            "spark.driver.extraJavaOptions": "-Duser.timezone=UTC -XX:+UseSerialGC",
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.shuffle.partitions": "1",
        }
        builder = SparkSession.builder.master("local[1]")
        for name, value in options.items():
            builder = builder.config(name, value)
        _sessions.append(builder.getOrCreate())
        _sessions[0].sparkContext.setLogLevel("ERROR")
    return _sessions[0]


def _stop() -> None:
    for session in _sessions:
        session.stop()


def _judge(topic: str, values: list[bytes | None], taken_at: list[datetime], last_places: pa.Table | None) -> Judged:
    from evcharge.lake.judge import judged
    from evcharge.lake.last_places import newest_two, places_after
    from evcharge.live.rebuild import in_milliseconds
    from evcharge.live.worker import records_of
    from evcharge.settings import load_settings

    contract = CONTRACTS[topic]
    rows = _spark().createDataFrame(pa.Table.from_batches([kafka_records(values, taken_at)]))
    found = judged(load_settings(home=Path(gettempdir())), rows, contract, last_places=last_places)
    found = found.orderBy("kafka_offset").localCheckpoint()
    broken = found.select("rule_code", "rule_field").toArrow().to_pylist()
    # the good rows only: a bad one may have times that Python cannot hold
    good = in_milliseconds(found.where("rule_code IS NULL"), contract).toArrow()
    places = None
    if last_places is not None:
        seen = found.where("rule_code IS NULL OR rule_code = 'IMPLAUSIBLE_JUMP'").select(*last_places.schema.names)
        places = places_after(last_places, [newest_two(seen.toArrow())])
    return Judged(
        [(row["rule_code"], row["rule_field"]) for row in broken],
        {row["kafka_offset"]: row for batch in good.to_batches() for row in records_of(batch)},
        places,
    )


def _sql(expressions: list[str]) -> dict[str, Any]:
    columns = [f"{expression} AS c{n}" for n, expression in enumerate(expressions)]
    row = _spark().range(1).selectExpr(*columns).collect()[0]
    return dict(zip(expressions, row, strict=True))
