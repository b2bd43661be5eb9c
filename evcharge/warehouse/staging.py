"""How a load gets its rows into ClickHouse: staging tables of its own, then a swap of partitions.

A day is swapped in with REPLACE PARTITION, and `loaded_day` is written last. A load that was killed leaves each day either
old or new. It is repeated, because `loaded_day` does not name its commit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from evcharge.connections import clickhouse, clickhouse_errors, insert_arrow
from evcharge.disk import require_room
from evcharge.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa
    from clickhouse_driver import Client
    from pyspark.sql import DataFrame, SparkSession

#: Rows and bytes of one insert, which a worker holds at once.
INSERT_ROWS, INSERT_BYTES = 100_000, 100_000_000
#: Values in one mutation. With ids of 512 bytes it has half a megabyte of text, twice ClickHouse's default limit.
_MUTATED = 1_000


@dataclass(frozen=True, slots=True)
class TableByDay:
    """A table whose partitions are the UTC days of the column `day`.

    Spark's workers fill a staging table made by `create_rows` (placeholder: name). `loader` names what computes the rows.
    """

    name: str
    day: str
    create_rows: str
    loader: str = ""


@dataclass(frozen=True, slots=True)
class Staging:
    """The names of one load's staging tables: `rows` as Spark sends them, `days` like the target, and others by `named`."""

    prefix: str

    @property
    def rows(self) -> str:
        return self.named("rows")

    @property
    def days(self) -> str:
        return self.named("days")

    def named(self, name: str) -> str:
        return f"{self.prefix}_{name}"


#: A replay of a year touches more days at once than ClickHouse's default limit.
ANY_DAYS = {"max_partitions_per_insert_block": 0}


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
    send_rows: Callable[[str], None],
    days: list[date],
    run_id: str,
    on_step: Callable[[str], None],
    fill_days: Callable[[Client, Staging], Iterable[date]],
) -> dict[date, int]:
    """Replaces the days and marks them as loaded from `commit`. Returns each day's number of rows.

    `send_rows` fills the staging table `rows`, whose name it gets, and `fill_days` the staging table `days` from it. It returns
    other days that it filled too: they are replaced, and count as loaded from the commit that they were loaded from before.
    Raises ServerDownError, NoRoomError.
    """
    require_room(settings, "clickhouse")
    with clickhouse_errors(settings):
        client = clickhouse(settings)
        staging = _new_staging(client, table.name, run_id)
        try:
            client.execute(table.create_rows.format(name=staging.rows))
            client.execute(f"CREATE TABLE {staging.days} AS {table.name}")
            on_step("staging created")
            send_rows(staging.rows)
            on_step("staging filled")
            others = list(fill_days(client, staging))
            on_step("days filled")
            counts = dict(client.execute(f"SELECT toDate({table.day}, 'UTC'), count() FROM {staging.days} GROUP BY 1"))
            # before they are replaced: once they are, a repeated load does not find them any more
            for day, commit_before, loader in _marks(client, table.name, others):
                mark_loaded(client, table.name, commit_before, {day: counts.get(day, 0)}, run_id, loader)
            for day in [*days, *others]:
                # REPLACE PARTITION refuses a source without rows
                action = (
                    f"REPLACE PARTITION '{day}' FROM {staging.days}" if day in counts else f"DROP PARTITION '{day}'"
                )
                client.execute(f"ALTER TABLE {table.name} {action}")
                on_step(f"day {day} replaced")
            rows_by_day = {day: counts.get(day, 0) for day in days}
            mark_loaded(client, table.name, commit, rows_by_day, run_id, table.loader)
            on_step("loaded_day written")
        finally:
            client.disconnect()
            _drop_staging(clickhouse(settings), f"{staging.prefix}_")
    return rows_by_day


def replace_all(
    client: Client,
    table: str,
    rows: list[dict[str, Any]],
    run_id: str,
    before_swap: Callable[[str], None] = lambda staging: None,
) -> None:
    """Replaces all rows of a table without partitions; the rows all have the same columns.

    `before_swap` gets the name of the staging table that has the rows.
    """
    staging = _new_staging(client, table, run_id)
    try:
        client.execute(f"CREATE TABLE {staging.rows} AS {table}")
        if rows:
            client.execute(f"INSERT INTO {staging.rows} ({', '.join(rows[0])}) VALUES", rows)
            before_swap(staging.rows)
            client.execute(f"ALTER TABLE {table} REPLACE PARTITION tuple() FROM {staging.rows}")
        else:
            client.execute(f"TRUNCATE TABLE {table}")
    finally:
        _drop_staging(client, f"{staging.prefix}_")


def mutate(client: Client, table: str, action: str, values: Sequence[Any], /, **parameters: Any) -> None:
    """Runs `ALTER TABLE table action` for all `values` (placeholder: values), and waits until it is done.

    The values are in the statement. A subquery could fail for ever: ClickHouse goes on with a mutation whose client was
    killed, and the next load drops the staging tables.
    """
    for start in range(0, len(values), _MUTATED):
        client.execute(
            f"ALTER TABLE {table} {action}",
            {**parameters, "values": values[start : start + _MUTATED]},
            settings={"mutations_sync": 2, "max_query_size": 2**22},
        )


def mark_loaded(
    client: Client, table: str, commit: str, rows_by_day: dict[date, int], run_id: str, loader: str = ""
) -> None:
    """Writes into `loaded_day` which commit the days were loaded from, and what computed the rows."""
    now = datetime.now(UTC)
    client.execute(
        "INSERT INTO loaded_day (table_name, date, lake_commit, row_count, run_id, loaded_at, loader) VALUES",
        [(table, day, commit, rows, run_id, now, loader) for day, rows in rows_by_day.items()],
    )


def intact_days(client: Client, table: TableByDay, days: list[date]) -> dict[date, str]:
    """Of `days` those that are as their mark says, with the commit that they were loaded from.

    The present loader computed their rows, and the table has as many as were loaded.
    """
    if not days:
        return {}
    counted = (
        f"SELECT toDate({table.day}, 'UTC') AS date, count() AS rows FROM {table.name} "
        "WHERE date IN %(days)s GROUP BY date"
    )
    found = client.execute(
        f"SELECT m.date, m.lake_commit FROM (SELECT * FROM loaded_day FINAL) AS m LEFT JOIN ({counted}) AS c "
        "ON c.date = m.date WHERE m.table_name = %(table)s AND m.date IN %(days)s AND m.loader = %(loader)s "
        "AND m.row_count = c.rows",
        {"table": table.name, "days": days, "loader": table.loader},
    )
    return dict(found)


def mark_unloaded(client: Client, table: str, days: Sequence[date]) -> None:
    """Forgets in `loaded_day` that the days were loaded, so that they are loaded again."""
    mutate(client, "loaded_day", "DELETE WHERE table_name = %(table)s AND date IN %(values)s", days, table=table)


def insert_from_spark(settings: Settings, rows: DataFrame, table: str) -> None:
    """Sends the rows to ClickHouse from Spark's Python workers, as the Arrow batches that they get."""

    def send(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        from evcharge.gathering import gathered

        sent = 0
        for gathered_rows in gathered(batches, INSERT_ROWS, INSERT_BYTES):
            insert_arrow(settings, table, gathered_rows.to_batches())
            sent += gathered_rows.num_rows
        yield pa.RecordBatch.from_pydict({"rows": [sent]})

    rows.mapInArrow(send, "rows BIGINT").collect()


def _marks(client: Client, table: str, days: list[date]) -> list[tuple[date, str, str]]:
    """Of each day the commit that it was loaded from, and the loader; a day that is not marked as loaded has none."""
    if not days:
        return []
    found: list[tuple[date, str, str]] = client.execute(
        "SELECT date, lake_commit, loader FROM loaded_day FINAL WHERE table_name = %(table)s AND date IN %(days)s",
        {"table": table, "days": days},
    )
    return found


def _new_staging(client: Client, table: str, run_id: str) -> Staging:
    """Names for this run's staging tables, after dropping those that killed runs left (loads run one at a time)."""
    _drop_staging(client, f"staging_{table}_")
    # A name is never used twice: the Spark job of a killed load may still be inserting when the same run retries the step.
    run = re.sub(r"\W", "", run_id)[:16]
    return Staging(f"staging_{table}_{run}_{token_hex(4)}")


def _drop_staging(client: Client, prefix: str) -> None:
    found = "SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(name, %(prefix)s)"
    for (left,) in client.execute(found, {"prefix": prefix}):
        client.execute(f"DROP TABLE IF EXISTS {left}")
