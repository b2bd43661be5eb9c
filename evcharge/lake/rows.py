"""Reads the archive's rows with Spark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evcharge.contracts import CONTRACTS
from evcharge.contracts.spark import ddl
from evcharge.lake.layout import ARCHIVE_DDL, raw_prefix
from evcharge.lake.repository import Repository

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def raw_rows(
    repository: Repository, spark: SparkSession, commit: str, topic: str, event_dates: list[str] | None
) -> DataFrame | None:
    """The raw rows of a topic at a commit, of the given event dates or of all; None if there are no files."""
    prefixes = [raw_prefix(topic)] if event_dates is None else [raw_prefix(topic, d) for d in event_dates]
    # Listed through lakeFS' own API: Spark would list folder by folder through the gateway.
    paths = [f"s3a://{repository.name}/{commit}/{p}" for prefix in prefixes for p in repository.paths(commit, prefix)]
    # with the schema given, Spark need not open files to learn it
    schema = f"{ddl(CONTRACTS[topic])}, {ARCHIVE_DDL}"
    return spark.read.schema(schema).parquet(*paths) if paths else None
