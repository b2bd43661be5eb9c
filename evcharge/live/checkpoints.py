"""Where the stream's queries begin: their checkpoints, and the offsets for a query without one.

The checkpoints of the queries that write `station-state` belong to one index. The other queries keep theirs for good.

A checkpoint is in the home. A stream that runs on another machine, or in other tasks, has none: it begins where the status of
its query says that the index is complete.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import orjson

from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY
from evcharge.kafka_log import LogEnds, topic_states
from evcharge.live.indices import LiveIndex
from evcharge.live.stream_inputs import Input, inputs
from evcharge.settings import Settings

#: Parts of Spark's messages about a checkpoint that it cannot read, or whose offsets Kafka has dropped.
_CHECKPOINT_TROUBLE = (
    "OffsetOutOfRange",
    "DATA_LOSS",
    "CHECKPOINT",
    "Incomplete log file",
    "UnsupportedLogVersion",
    "does not exist when reading",
    "MALFORMED_LOG_FILE",
    "org.apache.spark.sql.execution.streaming.checkpointing",
)


def checkpoint_folder(settings: Settings, input_: Input, index: LiveIndex | None) -> Path:
    """The folder of a query's checkpoint while the stream follows `index`, which may be None for a query that does not."""
    owner = index.name if index is not None and input_.follows_index else "always"
    return settings.home / "live" / "checkpoints" / owner / input_.task_name


def has_checkpoints(settings: Settings, index: LiveIndex, ends: LogEnds) -> bool:
    """Whether every query that writes `index` has a checkpoint for it. Raises ServerDownError."""
    writing = (i for i in inputs(settings) if i.follows_index and i.own(ends.of(i.contract.topic)))
    return all((checkpoint_folder(settings, i, index) / "offsets").is_dir() for i in writing)


def remove_unused(settings: Settings, index: LiveIndex) -> None:
    """Removes an index's checkpoints of queries that there are no longer: those of another number of tasks."""
    used = {checkpoint_folder(settings, i, index) for i in inputs(settings) if i.follows_index}
    for folder in {folder for path in used for folder in path.parent.glob("*")} - used:
        shutil.rmtree(folder, ignore_errors=True)


def starting_offsets(
    input_: Input, index: LiveIndex | None, ends: LogEnds, read_to: Mapping[str, int] | None = None
) -> str:
    """Spark's `startingOffsets` for a query without a checkpoint: what it has `read_to`, or what its index began with.

    Raises ServerDownError.
    """
    topic = input_.contract.topic
    own = input_.own(ends.of(topic))
    # A log that is shorter than what was read of it is another one.
    reached = {p: offset for p, offset in (read_to or {}).items() if offset <= own.get(int(p), -1)}
    begins = _begins(index, topic, reached) if index is not None and input_.follows_index else {}
    if not begins:
        return "earliest"
    # -2 is Spark's number for the earliest offset.
    return orjson.dumps({topic: {str(p): begins.get(str(p), -2) for p in own}}).decode()


def is_in_log(settings: Settings, index: LiveIndex, read_to: Mapping[str, Mapping[str, int]]) -> bool:
    """Whether Kafka still has every record that the index lacks. `read_to` is by topic. Raises ServerDownError."""
    for topic in (STATION_REGISTRY.topic, SESSION_EVENTS.topic):
        begins = _begins(index, topic, read_to.get(topic))
        log_start = topic_states(settings, [topic])[topic].log_start
        if any(begins.get(str(p), 0) < start for p, start in log_start.items()):
            return False
    return True


def _begins(index: LiveIndex, topic: str, read_to: Mapping[str, int] | None) -> dict[str, int]:
    return index.begins_at.get(topic, {}) | dict(read_to or {})


def is_checkpoint_trouble(error: str) -> bool:
    """Whether a query's error says that its checkpoint is of no use."""
    return any(text in error for text in _CHECKPOINT_TROUBLE)
