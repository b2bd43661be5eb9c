"""Reads the archive's rows: with Spark, or with Arrow in this process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from evcharge.connections import lake_files
from evcharge.contracts import CONTRACTS
from evcharge.contracts.spark import ddl, readable
from evcharge.lake.layout import ARCHIVE_COLUMNS, ARCHIVE_DDL, raw_prefix
from evcharge.lake.repository import Repository
from evcharge.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds
    from pyspark.sql import DataFrame, SparkSession


def raw_rows(
    repository: Repository, spark: SparkSession, commit: str, topic: str, event_dates: list[str] | None
) -> DataFrame | None:
    """The raw rows of a topic at a commit, of the given event dates or (None) of all; None if there are no files.

    Rows that older rules let pass come in a form that readers take (`readable`).
    """
    paths = _paths(repository, commit, raw_prefixes(topic, event_dates))
    if not paths:
        return None
    # without a schema Spark would open files to find it
    schema = f"{ddl(CONTRACTS[topic])}, {ARCHIVE_DDL}"
    columns = [*map(readable, CONTRACTS[topic].fields), *(column.name for column in ARCHIVE_COLUMNS)]
    return spark.read.schema(schema).parquet(*(f"s3a://{path}" for path in paths)).selectExpr(*columns)


def raw_prefixes(topic: str, event_dates: Iterable[str] | None) -> list[str]:
    """Folders of a topic's good rows, of the given event dates or (None) of all."""
    return [raw_prefix(topic)] if event_dates is None else [raw_prefix(topic, day) for day in event_dates]


def archive_dataset(
    repository: Repository, ref: str, prefixes: Iterable[str], schema: pa.Schema | None = None
) -> ds.Dataset | None:
    """The files below the prefixes at a ref; None if there are none.

    With `schema`, files that were written before a column was added have nulls in it.
    """
    paths = _paths(repository, ref, prefixes)
    return dataset_of(repository.settings, paths, schema) if paths else None


def dataset_of(settings: Settings, paths: list[str], schema: pa.Schema | None) -> ds.Dataset:
    """Files of the lake, each as `repository/ref/key`, of which there is at least one."""
    import pyarrow.dataset as ds

    return ds.dataset(paths, schema=schema, filesystem=lake_files(settings), format="parquet", partitioning=None)


def _paths(repository: Repository, ref: str, prefixes: Iterable[str]) -> list[str]:
    # listed through lakeFS' own API: Spark and Arrow would list folder by folder through the gateway
    return [f"{repository.name}/{ref}/{path}" for prefix in prefixes for path in repository.paths(ref, prefix)]
