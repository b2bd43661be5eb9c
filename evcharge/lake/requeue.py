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

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evcharge.connections import lake_files
from evcharge.contracts import CONTRACTS, SESSION_EVENTS
from evcharge.errors import UserError
from evcharge.gathering import gathered
from evcharge.kafka_log import append_records
from evcharge.lake.judge import judged
from evcharge.lake.known_stations import known_stations
from evcharge.lake.record_places import Moves, place_codes
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
#: Rows of a file that are read at once where it has more bytes than a portion: a message has up to 8 MB.
_READ_ROWS = 4

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
    done = requeued_places(repository, topic, head).old
    sent = kept = 0
    waiting = _quarantined(settings, repository, topic, rule, head, done)
    for rows in gathered(waiting, _PORTION_ROWS, _PORTION_BYTES):
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


def requeued_places(repository: Repository, topic: str, ref: str = MAIN) -> Moves:
    """Of each record of a topic that was sent again: where it was, and where its newest copy is."""
    parts = [
        np.array((repository.read_json(ref, path) or {})["records"], np.int64).reshape(-1, 4)
        for path in repository.paths(ref, f"_requeued/{topic}/")
    ]
    moved = np.concatenate([np.empty((0, 4), np.int64), *parts])
    return Moves.of(place_codes(moved[:, 0], moved[:, 1]), place_codes(moved[:, 2], moved[:, 3]))


def _quarantined(
    settings: Settings, repository: Repository, topic: str, rule: str, ref: str, done: np.ndarray
) -> Iterator[pa.RecordBatch]:
    """Rows of the rule that were not sent again, with the columns of _AS_KAFKA, a few at a time."""
    files = lake_files(settings)
    for path in repository.paths(ref, f"quarantine/{topic}/"):
        # page by page, since a row group may have more bytes than there is memory
        name = f"{repository.name}/{ref}/{path}"
        with pq.ParquetFile(name, filesystem=files, pre_buffer=False, buffer_size=1_000_000) as file:
            for group in range(file.num_row_groups):
                is_small = file.metadata.row_group(group).total_byte_size <= _PORTION_BYTES
                batches = file.iter_batches(
                    _PORTION_ROWS if is_small else _READ_ROWS, row_groups=[group], columns=[*_AS_KAFKA, "rule_code"]
                )
                for batch in batches:
                    new = np.isin(place_codes(batch["kafka_partition"], batch["kafka_offset"]), done, invert=True)
                    mask = pc.and_(pc.equal(batch["rule_code"], rule), pa.array(new))
                    yield batch.filter(mask).select(list(_AS_KAFKA))


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
