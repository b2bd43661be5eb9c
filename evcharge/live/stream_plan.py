"""A query's plan from Kafka's records to its writer's report, and its worker; both can be warmed up before the start.

A query that starts in a driver that has just started takes seconds for its first batch: Spark compiles the plan's code, and a
Python worker imports the writer. A stream that takes over does that while the other one still runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from evcharge.lake.candidate import kafka_rows
from evcharge.lake.judge import judged
from evcharge.live.batch_report import REPORT_DDL
from evcharge.live.quick_folder import RECORD_COLUMNS, LeftFolder, QuickFolder
from evcharge.live.rebuild import in_milliseconds
from evcharge.live.station_folder import StationFolder
from evcharge.live.stream_inputs import Input, Writer, inputs
from evcharge.log import log
from evcharge.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

#: A record as Spark's Kafka source has it, which no rule lets pass. It depends on `id`, so that nothing is computed beforehand.
_BAD_RECORD = (
    "CAST(CAST(id AS STRING) AS BINARY) AS key",
    "CAST(CAST(id AS STRING) AS BINARY) AS value",
    "'' AS topic",
    "CAST(id AS INT) AS partition",
    "id AS offset",
    "timestamp_millis(id) AS timestamp",
    "0 AS timestampType",
)


def by_rules(settings: Settings, records: DataFrame, input_: Input, writer: Writer) -> DataFrame:
    """The report of a writer that takes the good rows of the records, with times in ms since the epoch."""
    # One task, from the reading on: Spark generates a task's code again for each partition that it reads. The rows are
    # judged and folded within the stream's own plan, which Spark analyses once and not for each batch.
    judged_rows = judged(settings, records.coalesce(1).where(input_.look_at), input_.contract)
    good = in_milliseconds(judged_rows.where("rule_code IS NULL"), input_.contract)
    with _own_worker(records.sparkSession, input_):
        return good.mapInArrow(writer, REPORT_DDL)


def quickly(records: DataFrame, input_: Input, folder: StationFolder) -> DataFrame:
    """The report of a folder that takes what surely is good of the records; it says which others are left."""
    return _as_they_are(records, input_, QuickFolder(folder))


def of_left(
    settings: Settings, spark: SparkSession, input_: Input, folder: StationFolder, left: Mapping[int, Sequence[int]]
) -> DataFrame:
    """The report of a folder that takes, by the rules, the records at the offsets (by partition) that were left."""
    start = {partition: min(offsets) for partition, offsets in left.items()}
    end = {partition: max(offsets) + 1 for partition, offsets in left.items()}
    records = kafka_rows(settings, spark, input_.contract.topic, start, end)
    return by_rules(settings, records, input_, LeftFolder(folder, left))


def _as_they_are(records: DataFrame, input_: Input, writer: Writer) -> DataFrame:
    plain = records.coalesce(1).selectExpr(*RECORD_COLUMNS)
    with _own_worker(records.sparkSession, input_):
        return plain.mapInArrow(writer, REPORT_DDL)


_environment = Lock()


@contextmanager
def _own_worker(spark: SparkSession, input_: Input) -> Iterator[None]:
    """Gives what is planned meanwhile the query's own worker.

    Spark keeps workers with different environments apart. So a query's one task gets the same worker, with what it keeps in
    memory, in every batch.
    """
    with _environment:
        spark.sparkContext.environment["STREAM_QUERY"] = input_.task_name
        yield


def warm_up(settings: Settings, spark: SparkSession, enough: Callable[[], bool] = lambda: False) -> None:
    """Plans and runs every query on one record that is no message, or fewer queries if `enough` says so.

    It reads no store and writes none.
    """
    try:
        for input_ in inputs(settings):
            if enough():
                return
            records = spark.range(1).selectExpr(*_BAD_RECORD)
            if input_.is_quick:
                _as_they_are(records, input_, _import_writers).collect()
            else:
                by_rules(settings, records, input_, _import_writers).collect()
    except Exception as error:
        log.warning("the queries start cold", reason=str(error)[:300])


def _import_writers(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """In a worker: imports what the writers need, and reports nothing."""
    import elasticsearch  # noqa: F401

    import evcharge.live.stream_inputs  # noqa: F401

    for _ in batches:
        pass
    return iter(())
