"""What the process that runs are forked from has: the definitions with the whole graph, and the modules that runs use."""

from __future__ import annotations

import gc
from importlib import import_module

from evcharge_assets.definitions import defs

#: Imported by a run where it first needs them. Importing them opens nothing and starts no thread.
MODULES = (
    "boto3",
    "dagster._core.storage.event_log",
    "dagster._core.storage.runs",
    "dagster._utils.test",
    "dagster_aws.s3.compute_log_manager",
    "dagster_pyspark",
    "evcharge.lake.judge",
    "evcharge.lake.last_places",
    "evcharge.lake.rowfiles",
    "evcharge_assets.storage",
    "clickhouse_driver",
    "elasticsearch",
    "kafka",
    "lakefs_sdk",
    "pyarrow.parquet",
    "pyspark.sql.connect.session",
    "structlog",
)

for name in MODULES:
    import_module(name)
defs.get_repository_def().get_all_jobs()
# objects that the collector leaves alone stay in memory that all runs share
gc.freeze()
