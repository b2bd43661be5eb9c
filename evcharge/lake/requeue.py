"""The way back from quarantine: rows that keep every rule by now are sent to Kafka again, as they were.

A row is sent again once. `_requeued/<topic>/` on main says where each one was and where its new record is. A call that is
killed after Kafka took rows and before main says so sends them a second time at its repetition: the copies have the same
event ids, of which every reader keeps the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_hex
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evcharge.connections import lake_files
from evcharge.contracts import CONTRACTS, SESSION_EVENTS
from evcharge.errors import UserError
from evcharge.kafka_log import append_records
from evcharge.lake.candidate import known_stations
from evcharge.lake.judge import judged
from evcharge.lake.repository import MAIN, Repository
from evcharge.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

#: A record of a topic: its partition and offset.
Place = tuple[int, int]

#: The rule that judges a row by the rows around it, which are not in quarantine.
_NEEDS_NEIGHBOURS = "IMPLAUSIBLE_JUMP"
#: Rows and bytes that are judged and sent in one go. Spark Connect takes messages of up to 128 MB.
_PORTION_ROWS = 20_000
_PORTION_BYTES = 32_000_000

#: As Spark's Kafka source names them.
_AS_KAFKA = {
    "kafka_partition": "partition",
    "kafka_offset": "offset",
    "kafka_timestamp": "timestamp",
    "kafka_key": "key",
    "kafka_value": "value",
}


@dataclass(frozen=True, slots=True)
class Requeued:
    """Rows that were sent again, and rows that still break a rule and stay."""

    sent: int
    kept: int


def requeue(
    settings: Settings,
    repository: Repository,
    spark: SparkSession,
    topic: str,
    rule: str,
    on_progress: Callable[[Requeued], None] = lambda so_far: None,
) -> Requeued:
    """Sends the rows that are in quarantine under `rule` to Kafka again, if they keep every rule by now.

    Raises UserError for a rule that needs more than the row, ServerDownError.
    """
    if rule == _NEEDS_NEIGHBOURS:
        raise UserError(f"{rule} judges a row by the rows around it; such a row cannot be sent again alone")
    head = repository.head().id
    stations = known_stations(repository, head) if topic == SESSION_EVENTS.topic else None
    done = set(requeued_places(repository, topic, head))
    sent = kept = 0
    for rows in _quarantined(settings, repository, topic, rule, head, done):
        found = spark.createDataFrame(rows.rename_columns(_AS_KAFKA))
        verdicts = judged(settings, found, CONTRACTS[topic], stations).where("rule_code IS NULL")
        good = {(row[0], row[1]) for row in verdicts.select("kafka_partition", "kafka_offset").collect()}
        again = [
            (place, (row["kafka_key"], row["kafka_value"]))
            for row in rows.to_pylist()
            if (place := (row["kafka_partition"], row["kafka_offset"])) in good
        ]
        if again:
            places = append_records(settings, topic, [record for _, record in again])
            _mark(repository, topic, rule, [(old, new) for (old, _), new in zip(again, places, strict=True)])
        sent, kept = sent + len(again), kept + rows.num_rows - len(again)
        on_progress(Requeued(sent, kept))
    return Requeued(sent, kept)


def requeued_places(repository: Repository, topic: str, ref: str = MAIN) -> dict[Place, Place]:
    """Of each record of a topic that was sent again: where it was, and where its newest copy is."""
    moved: dict[Place, Place] = {}
    for path in repository.paths(ref, f"_requeued/{topic}/"):
        for partition, offset, new_partition, new_offset in (repository.read_json(ref, path) or {})["records"]:
            moved[partition, offset] = new_partition, new_offset

    def newest(place: Place) -> Place:
        # a copy may have come to quarantine as well, and been sent again
        while place in moved:
            place = moved[place]
        return place

    return {old: newest(new) for old, new in moved.items()}


def _quarantined(
    settings: Settings, repository: Repository, topic: str, rule: str, ref: str, done: set[Place]
) -> Iterator[pa.Table]:
    """Rows of the rule that were not sent again, in portions, with the columns of _AS_KAFKA."""
    files = lake_files(settings)
    for path in repository.paths(ref, f"quarantine/{topic}/"):
        rows = pq.read_table(
            f"{repository.name}/{ref}/{path}",
            columns=list(_AS_KAFKA),
            filters=pc.field("rule_code") == rule,
            filesystem=files,
        )
        places = zip(rows["kafka_partition"].to_pylist(), rows["kafka_offset"].to_pylist(), strict=True)
        rows = rows.filter(pa.array([place not in done for place in places], pa.bool_()))
        if rows.num_rows:
            size = max(1, min(_PORTION_ROWS, rows.num_rows * _PORTION_BYTES // max(1, rows.nbytes)))
            yield from (rows.slice(start, size) for start in range(0, rows.num_rows, size))


def _mark(repository: Repository, topic: str, rule: str, moved: list[tuple[Place, Place]]) -> None:
    """Notes on main which records were sent again."""
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{token_hex(4)}"
    branch = f"requeue-{topic}-{name}"
    repository.create_branch(branch)
    try:
        content = {"topic": topic, "rule": rule, "records": [[*old, *new] for old, new in moved]}
        repository.write_json(branch, f"_requeued/{topic}/{name}.json", content)
        message, metadata = f"{topic}: {len(moved)} rows of {rule} sent again", {"topic": topic, "rule": rule}
        repository.commit(branch, message, metadata)
        repository.merge(branch, message, metadata)
    finally:
        repository.delete_branch(branch)
