"""Runs a query's batches and gives their reports to Python, with as little as possible around each batch.

What `DataStreamWriter.foreachBatch` gives is a DataFrame. To wrap and to collect it, Python asks the JVM some two dozen
things, and Spark plans the batch a second time. But the rows that Spark has planned already are an RDD, and its collection is
one call.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from evcharge.live.batch_report import BatchReport

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.streaming.readwriter import DataStreamWriter

Take: TypeAlias = "Callable[[list[BatchReport], float], None]"
"""What is done with a batch's reports; it is also told when the batch began, in s of the monotonic clock."""


class _Batches:
    """What Spark calls with each batch. A task's report is one row: the next one would overwrite it before it is read."""

    def __init__(self, take: Take) -> None:
        self.take = take

    def call(self, batch: Any, _batch_id: int) -> None:
        begun = time.monotonic()
        # Collecting the reports makes Spark write the batch.
        rows = batch.logicalPlan().rdd().collect()
        self.take([BatchReport.read(row.getString(0)) for row in rows], begun)

    class Java:
        implements = ("org.apache.spark.sql.execution.streaming.sources.PythonForeachBatchFunction",)


def for_each_report(writer: DataStreamWriter, take: Take) -> DataStreamWriter:
    """The writer of a stream of reports (`batch_report.REPORT_DDL`), which runs each batch and then calls `take`."""
    from pyspark.java_gateway import ensure_callback_server_started

    gateway: Any = writer._spark._sc._gateway
    helper = gateway.jvm.org.apache.spark.sql.execution.streaming.sources.PythonForeachBatchHelper
    helper.callForeachBatch(writer._jwrite, _Batches(take))
    ensure_callback_server_started(gateway)
    return writer


def collected(reports: DataFrame) -> list[BatchReport]:
    """The reports (`batch_report.REPORT_DDL`) of what Spark does when it is asked for them, outside a stream."""
    return [BatchReport.read(row.report) for row in reports.collect()]
