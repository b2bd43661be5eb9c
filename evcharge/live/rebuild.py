"""Computes the station state from the lake: a whole new index, or the records that the current index does not have yet.

The code that folds the stream also folds these rows, in the order of their offsets. A document has the offsets that it was
computed up to, so a state that is newer than the lake stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evcharge.connections import elasticsearch, elasticsearch_errors
from evcharge.contracts import CONTRACTS, SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY, Contract, FieldType
from evcharge.lake.ledger import read_ledger
from evcharge.lake.repository import Repository
from evcharge.lake.rows import raw_rows
from evcharge.live import indices
from evcharge.live.batch_report import REPORT_DDL
from evcharge.live.indices import STATION_STATE, VEHICLE_POSITION, Offsets
from evcharge.live.spark_batches import collected
from evcharge.live.station_folder import StationFolder
from evcharge.live.vehicle_positions import PositionWriter
from evcharge.log import log
from evcharge.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

TOPICS = (STATION_REGISTRY.topic, SESSION_EVENTS.topic)
#: The number of parallel tasks that fold stations.
TASKS = 2


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was computed: the index, the commit of main that was read, rows by topic, and stations in the index."""

    index: str
    lake_commit: str
    rows: dict[str, int]
    stations: int


def rebuild_station_state(settings: Settings, spark: SparkSession) -> Rebuilt:
    """Computes a new index from main's head and puts it in the old one's place. Raises ServerDownError."""
    repository = Repository(settings)
    commit = repository.head().id
    begins_at: Offsets = {
        topic: {str(p): offset for p, offset in read_ledger(repository, topic, commit).offsets.items()}
        for topic in TOPICS
    }
    with elasticsearch_errors(settings), elasticsearch(settings) as client:
        name = indices.create(client, STATION_STATE, begins_at, commit)
        rows = {topic: _fold(settings, repository, spark, commit, topic, name) for topic in TOPICS}
        indices.promote(client, STATION_STATE, name)
        stations = int(client.count(index=STATION_STATE)["count"])
    log.info("station state computed", index=name, commit=commit, rows=rows, stations=stations)
    return Rebuilt(name, commit, rows, stations)


def catch_up_station_state(settings: Settings, spark: SparkSession) -> Rebuilt:
    """Folds the records of main that the current index does not have. Rebuilds an index that is missing or of an older format.

    Raises ServerDownError.
    """
    repository = Repository(settings)
    commit = repository.head().id
    with elasticsearch_errors(settings), elasticsearch(settings) as client:
        index = indices.live_index(client, STATION_STATE)
        if index is None or not index.is_current_format:
            return rebuild_station_state(settings, spark)
        rows = {topic: _fold(settings, repository, spark, commit, topic, index.name) for topic in TOPICS}
        stations = int(client.count(index=index.name)["count"])
    return Rebuilt(index.name, commit, rows, stations)


def recompute_positions(settings: Settings, spark: SparkSession, event_dates: Iterable[str]) -> int:
    """Writes the cars' newest positions of some UTC days, where the index has no newer ones. Returns the rows read."""
    repository = Repository(settings)
    contract = VEHICLE_TELEMETRY
    frame = raw_rows(repository, spark, repository.head().id, contract.topic, list(event_dates))
    if frame is None:
        return 0
    writer = PositionWriter(settings, VEHICLE_POSITION, judged=True)
    reports = in_milliseconds(frame, contract).mapInArrow(writer, REPORT_DDL)
    return sum(report.records for report in collected(reports))


def in_milliseconds(rows: DataFrame, contract: Contract) -> DataFrame:
    """The contract's columns, with times in ms since the epoch, and the record's partition and offset."""
    columns = [
        f"unix_millis({f.name}) AS {f.name}" if f.type is FieldType.TIMESTAMP else f.name for f in contract.fields
    ]
    return rows.selectExpr(*columns, "kafka_partition", "kafka_offset")


def _fold(settings: Settings, repository: Repository, spark: SparkSession, commit: str, topic: str, index: str) -> int:
    rows = raw_rows(repository, spark, commit, topic, None)
    if rows is None:
        return 0
    ordered = (
        in_milliseconds(rows, CONTRACTS[topic])
        .repartition(TASKS, "station_id")
        .sortWithinPartitions("station_id", "kafka_partition", "kafka_offset")
    )
    # the rows come station by station
    folder = StationFolder(settings, index, topic, keeps_states=False)
    reports = ordered.mapInArrow(folder, REPORT_DDL)
    return sum(report.records for report in collected(reports))
