"""The inputs of the live stream: which topic each query reads, how often, and what takes its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from evcharge.connections import require_cassandra
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY, Contract
from evcharge.live.indices import STATION_STATE, VEHICLE_POSITION
from evcharge.live.journal import LEFT_OUT, JournalWriter
from evcharge.live.station_folder import StationFolder
from evcharge.live.vehicle_positions import PositionWriter
from evcharge.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

Writer: TypeAlias = "Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]"
"""Takes the Arrow batches of a task, and reports what it took."""

#: The most records of one batch: a backlog is read in batches that fit in the workers' memory.
BATCH_RECORDS = 50_000


@dataclass(frozen=True)
class Input:
    """A query of the stream: the good rows of a contract's topic go to a `writer`.

    The writer is made from settings, index name, and whether it has to find the records at which its batch fails.
    `alias` is the index that the query writes, empty if it writes none. `look_at` is SQL over Kafka's records: a cheap first
    test of which records are worth parsing. `batch_records` limits one batch. `require_store` raises ServerDownError if the
    query need not start because its store is away: each start costs seconds of processor time. An input that `is_quick`
    has a `StationFolder`, which first takes what surely is good (`quick_folder`).

    A batch with many records lasts `busy_s` at least, and the next one starts when it has ended.

    An input may be read by several queries side by side: this is `task` (from 1 on) of `tasks`.
    """

    name: str
    contract: Contract
    trigger_s: float
    writer: Callable[[Settings, str, bool], Writer]
    alias: str = STATION_STATE
    batch_records: int = BATCH_RECORDS
    look_at: str = "true"
    require_store: Callable[[Settings], None] = lambda settings: None
    busy_s: float = 0.0
    is_quick: bool = False
    task: int = 1
    tasks: int = 1

    @property
    def follows_index(self) -> bool:
        """Whether the query writes `station-state`, and begins anew where its index is replaced."""
        return self.alias == STATION_STATE

    @property
    def task_name(self) -> str:
        """The name of the query: the input's, if that is read by no other query."""
        return self.name if self.tasks == 1 else f"{self.name}-{self.task}-of-{self.tasks}"

    def own(self, partitions: Mapping[int, int]) -> dict[int, int]:
        """What is said of the topic's partitions that this query reads. A station's events lie in one partition."""
        return {p: value for p, value in partitions.items() if p % self.tasks == self.task - 1}


def inputs(settings: Settings) -> tuple[Input, ...]:
    """The stream's queries, those first for which drivers wait: to start one takes seconds.

    The triggers differ because even a batch without rows costs 0.1 s of processor time. Of many session events, several are of
    the same station: at half the distance batches write nearly twice as many documents. Then 1,000 events took 0.26 s of
    processor time in place of 0.2, and an event was found no sooner (measured at 5,000 events/s on two cores).
    """
    registry, sessions = STATION_REGISTRY.topic, SESSION_EVENTS.topic
    stations = Input(
        "stations",
        SESSION_EVENTS,
        0.3,
        lambda s, index, careful: StationFolder(s, index, sessions, careful),
        # counted from the job's start, which is a little after the batch's
        busy_s=0.5,
        is_quick=True,
        tasks=settings.stream_tasks,
    )
    return (
        *(replace(stations, task=task) for task in range(1, stations.tasks + 1)),
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
