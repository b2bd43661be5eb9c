"""The inputs of the live stream: which topic each query reads, how often, and what takes its rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from evcharge.connections import require_cassandra
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY, Contract
from evcharge.live.indices import STATION_STATE, VEHICLE_POSITION
from evcharge.live.journal import LEFT_OUT, JournalWriter
from evcharge.live.station_folder import StationFolder
from evcharge.live.vehicle_positions import PositionWriter
from evcharge.settings import Settings

#: The most records of one batch: a backlog is read in batches that fit in the workers' memory.
BATCH_RECORDS = 50_000


@dataclass(frozen=True)
class Input:
    """A query of the stream: the good rows of a contract's topic go to a `writer`.

    The writer is made from settings, index name, and whether it has to find the records at which its batch fails.
    `alias` is the index that the query writes, empty if it writes none. `look_at` is SQL over Kafka's records: a cheap first
    test of which records are worth parsing. `batch_records` limits one batch. `require_store` raises ServerDownError if the
    query need not start because its store is away: each start costs seconds of processor time.
    """

    name: str
    contract: Contract
    trigger_s: float
    writer: Callable[[Settings, str, bool], Any]
    alias: str = STATION_STATE
    batch_records: int = BATCH_RECORDS
    look_at: str = "true"
    require_store: Callable[[Settings], None] = lambda settings: None

    @property
    def follows_index(self) -> bool:
        """Whether the query writes `station-state`, and begins anew where its index is replaced."""
        return self.alias == STATION_STATE


def inputs() -> tuple[Input, ...]:
    """The stream's queries, those first for which drivers wait: to start one takes seconds.

    The triggers differ because even a batch without rows costs 0.1 s of processor time.
    """
    registry, sessions = STATION_REGISTRY.topic, SESSION_EVENTS.topic
    return (
        Input("stations", SESSION_EVENTS, 0.6, lambda s, index, careful: StationFolder(s, index, sessions, careful)),
        Input("registry", STATION_REGISTRY, 1.0, lambda s, index, careful: StationFolder(s, index, registry, careful)),
        Input(
            "vehicles",
            VEHICLE_TELEMETRY,
            2.0,
            lambda s, index, careful: PositionWriter(s, careful=careful),
            alias=VEHICLE_POSITION,
        ),
        Input(
            "journal",
            SESSION_EVENTS,
            # A row costs Cassandra far less in a batch with other rows of its station.
            20.0,
            lambda s, index, careful: JournalWriter(s, careful),
            alias="",
            batch_records=10 * BATCH_RECORDS,
            # The text as our producers write it: three of four events need no parsing.
            look_at=f'NOT contains(CAST(value AS STRING), \'"event_type":"{LEFT_OUT}"\')',
            require_store=require_cassandra,
        ),
    )
