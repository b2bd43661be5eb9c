"""A query's plan from Kafka's records to good rows, and the worker that takes them; both can be warmed up before the start.

A query that starts in a driver that has just started takes seconds for its first batch: Spark compiles the plan's code, and a
Python worker imports the writer. A stream that takes over does that while the other one still runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from evcharge.lake.judge import judged
from evcharge.live.batch_report import REPORT_DDL
from evcharge.live.rebuild import in_milliseconds
from evcharge.live.stream_inputs import Input, inputs
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


def good_rows(settings: Settings, records: DataFrame, input_: Input) -> DataFrame:
    """The good rows of a query's records, with times in ms since the epoch."""
    # One task, from the reading on: Spark generates a task's code again for each partition that it reads. The rows are
    # judged and folded within the stream's own plan, which Spark analyses once and not for each batch.
    judged_rows = judged(settings, records.coalesce(1).where(input_.look_at), input_.contract)
    return in_milliseconds(judged_rows.where("rule_code IS NULL"), input_.contract)


def give_worker(spark: SparkSession, input_: Input) -> None:
    """Gives what is planned next the query's own worker.

    Spark keeps workers with different environments apart. So a query's one task gets the same worker, with what it keeps in
    memory, in every batch.
    """
    spark.sparkContext.environment["STREAM_QUERY"] = input_.name


def warm_up(settings: Settings, spark: SparkSession, enough: Callable[[], bool] = lambda: False) -> None:
    """Plans and runs every query on one record that is no message, or fewer queries if `enough` says so.

    It reads no store and writes none.
    """
    try:
        for input_ in inputs():
            if enough():
                return
            give_worker(spark, input_)
            records = spark.range(1).selectExpr(*_BAD_RECORD)
            good_rows(settings, records, input_).mapInArrow(_import_writers, REPORT_DDL).collect()
    except Exception as error:
        log.warning("the queries start cold", reason=str(error)[:300])


def _import_writers(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """In a worker: imports what the writers need, and reports nothing."""
    import elasticsearch  # noqa: F401

    import evcharge.live.stream_inputs  # noqa: F401

    for _ in batches:
        pass
    return iter(())
