"""How a load gets its rows into ClickHouse: staging tables of its own, then a swap of partitions.

A day is swapped in with REPLACE PARTITION, and `loaded_day` is written last. A load that was killed leaves each day either
old or new. It is repeated, because `loaded_day` does not name its commit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from evcharge.connections import clickhouse, clickhouse_errors
from evcharge.settings import Settings

if TYPE_CHECKING:
    from clickhouse_driver import Client
    from pyspark.sql import DataFrame, SparkSession

_INSERT_ROWS = 200_000


@dataclass(frozen=True, slots=True)
class TableByDay:
    """A table whose partitions are the UTC days of the column `day`, and the SQL of its staging.

    Spark fills a table made by `create_rows` (placeholder: name). `copy_rows` (placeholders: days, rows) copies it into a
    table like the target.
    """

    name: str
    day: str
    create_rows: str
    copy_rows: str


def query(spark: SparkSession, sql: str, **frames: DataFrame | None) -> DataFrame:
    """Runs `sql` on the frames by their names. Raises ValueError for a frame that the lake does not have."""
    for name, frame in frames.items():
        if frame is None:
            raise ValueError(f"the lake has no {name}")
        frame.createOrReplaceTempView(name)
    return spark.sql(sql)


def replace_days(
    settings: Settings,
    table: TableByDay,
    commit: str,
    rows: DataFrame | None,
    days: list[date],
    run_id: str,
    on_step: Callable[[str], None],
    before_swap: Callable[[Client, str], None] = lambda client, rows_table: None,
) -> dict[date, int]:
    """Replaces the days by `rows` and marks them as loaded from `commit`. Returns each day's number of rows.

    `before_swap` gets the staging table with the rows. Raises ServerDownError.
    """
    with clickhouse_errors(settings):
        client = clickhouse(settings)
        rows_table, days_table = _staging_names(client, table.name, run_id)
        try:
            client.execute(table.create_rows.format(name=rows_table))
            client.execute(f"CREATE TABLE {days_table} AS {table.name}")
            on_step("staging created")
            if rows is not None:
                _insert_from_spark(settings, rows, rows_table)
            on_step("staging filled")
            # a replay of a year touches more days at once than ClickHouse's default limit
            any_days = {"max_partitions_per_insert_block": 0}
            client.execute(table.copy_rows.format(days=days_table, rows=rows_table), settings=any_days)
            counts = dict(client.execute(f"SELECT toDate({table.day}, 'UTC'), count() FROM {days_table} GROUP BY 1"))
            before_swap(client, rows_table)
            rows_by_day = {}
            for day in days:
                rows_by_day[day] = counts.get(day, 0)
                # REPLACE PARTITION refuses a source without rows
                action = (
                    f"REPLACE PARTITION '{day}' FROM {days_table}" if rows_by_day[day] else f"DROP PARTITION '{day}'"
                )
                client.execute(f"ALTER TABLE {table.name} {action}")
                on_step(f"day {day} replaced")
            mark_loaded(client, table.name, commit, rows_by_day, run_id)
            on_step("loaded_day written")
        finally:
            client.disconnect()
            client = clickhouse(settings)
            for staging in (rows_table, days_table):
                client.execute(f"DROP TABLE IF EXISTS {staging}")
    return rows_by_day


def replace_all(client: Client, table: str, rows: list[dict[str, Any]], run_id: str) -> None:
    """Replaces all rows of a table without partitions; the rows all have the same columns."""
    staging, _ = _staging_names(client, table, run_id)
    try:
        client.execute(f"CREATE TABLE {staging} AS {table}")
        if rows:
            client.execute(f"INSERT INTO {staging} ({', '.join(rows[0])}) VALUES", rows)
            client.execute(f"ALTER TABLE {table} REPLACE PARTITION tuple() FROM {staging}")
        else:
            client.execute(f"TRUNCATE TABLE {table}")
    finally:
        client.execute(f"DROP TABLE IF EXISTS {staging}")


def mark_loaded(client: Client, table: str, commit: str, rows_by_day: dict[date, int], run_id: str) -> None:
    """Writes into `loaded_day` which commit the days were loaded from."""
    now = datetime.now(UTC)
    client.execute(
        "INSERT INTO loaded_day (table_name, date, lake_commit, row_count, run_id, loaded_at) VALUES",
        [(table, day, commit, rows, run_id, now) for day, rows in rows_by_day.items()],
    )


def _insert_from_spark(settings: Settings, rows: DataFrame, table: str) -> None:
    """Sends the rows to ClickHouse from Spark's Python workers, columnar."""

    def send(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        client = clickhouse(settings, use_numpy=True)
        sent = 0
        for batch in batches:
            for start in range(0, batch.num_rows, _INSERT_ROWS):
                part = batch.slice(start, _INSERT_ROWS)
                columns = [_numpy(part.column(i)) for i in range(part.num_columns)]
                names = ", ".join(part.schema.names)
                client.execute(f"INSERT INTO {table} ({names}) VALUES", columns, columnar=True)
                sent += part.num_rows
        client.disconnect()
        yield pa.RecordBatch.from_pydict({"rows": [sent]})

    rows.mapInArrow(send, "rows BIGINT").collect()


def _numpy(column: pa.Array) -> np.ndarray:
    if pa.types.is_string(column.type) or column.null_count:
        return np.array(column.to_pylist(), dtype=object)
    return column.to_numpy(zero_copy_only=False)


def _staging_names(client: Client, table: str, run_id: str) -> tuple[str, str]:
    """Names of this run's staging tables, after dropping those that killed runs left (loads run one at a time)."""
    for (left,) in client.execute(f"SHOW TABLES LIKE 'staging_{table}_%'"):
        client.execute(f"DROP TABLE IF EXISTS {left}")
    # A name is never used twice: the Spark job of a killed load may still be inserting when the same run retries the step.
    suffix = re.sub(r"\W", "", run_id)[:16] + "_" + token_hex(4)
    return f"staging_{table}_{suffix}_rows", f"staging_{table}_{suffix}_days"
