"""Every process of Dagster's pays for importing the definitions: the code server, and whatever forks from it."""

from __future__ import annotations

import subprocess
import sys

from evcharge.settings import PROJECT

#: Servers' clients and what computes, with the processor seconds that importing it took here.
HEAVY = {
    "boto3": 0.5,
    "cassandra": 0.4,
    "clickhouse_driver": 0.4,
    "elasticsearch": 1.3,
    "kafka": 0.7,
    "lakefs_sdk": 2.2,
    "numpy": 0.5,
    "pandas": 1.0,
    "pyarrow": 0.6,
    "pymongo": 0.4,
    "pyspark": 0.6,
    "rich": 0.3,
    "simpy": 0.1,
    "structlog": 0.4,
}


def test_the_definitions_load_without_clients() -> None:
    command = "import sys, evcharge_assets.definitions; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True, timeout=120, cwd=PROJECT
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "dagster" in loaded
    assert sorted(loaded & HEAVY.keys()) == []
