"""Where the stream's queries begin: their checkpoints, and the offsets for a query without one.

The checkpoints of the queries that write `station-state` belong to one index. The other queries keep theirs for good.
"""

from __future__ import annotations

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
    return settings.home / "live" / "checkpoints" / owner / input_.name


def has_checkpoints(settings: Settings, index: LiveIndex) -> bool:
    """Whether every query that writes `index` has a checkpoint for it."""
    folders = (checkpoint_folder(settings, i, index) for i in inputs() if i.follows_index)
    return all((folder / "offsets").is_dir() for folder in folders)


def starting_offsets(input_: Input, index: LiveIndex | None, ends: LogEnds) -> str:
    """Spark's `startingOffsets` for a query without a checkpoint: the offsets that its index began with.

    Raises ServerDownError.
    """
    begins = index.begins_at.get(input_.contract.topic, {}) if index is not None and input_.follows_index else {}
    if not begins:
        return "earliest"
    # -2 is Spark's number for the earliest offset.
    offsets = {str(p): begins.get(str(p), -2) for p in ends.of(input_.contract.topic)}
    return orjson.dumps({input_.contract.topic: offsets}).decode()


def is_in_log(settings: Settings, index: LiveIndex) -> bool:
    """Whether Kafka still has every record after the offsets that the index began with. Raises ServerDownError."""
    for topic in (STATION_REGISTRY.topic, SESSION_EVENTS.topic):
        begins = index.begins_at.get(topic, {})
        log_start = topic_states(settings, [topic])[topic].log_start
        if any(begins.get(str(p), 0) < start for p, start in log_start.items()):
            return False
    return True


def is_checkpoint_trouble(error: str) -> bool:
    """Whether a query's error says that its checkpoint is of no use."""
    return any(text in error for text in _CHECKPOINT_TROUBLE)
