"""Copies the registry on the lake's main branch to MongoDB."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from evcharge.contracts import STATION_REGISTRY
from evcharge.lake.layout import raw_prefix
from evcharge.lake.repository import Repository
from evcharge.lake.rows import archive_dataset
from evcharge.lake.schemas import raw_schema
from evcharge.reference.mongodb import Upserted, observed, upsert_stations
from evcharge.settings import Settings

# If two records have the same time, the later one in Kafka counts, as in the warehouse.
_NEWEST_LAST = [(name, "ascending") for name in ("station_id", "observed_at", "kafka_partition", "kafka_offset")]


def sync_stations(settings: Settings, repository: Repository) -> tuple[Upserted, str]:
    """Writes the newest record of each station at main's head to MongoDB, also the records of stations that are gone.

    Returns the result and the commit that was read. Raises ServerDownError.
    """
    commit = repository.head().id
    known = observed(settings)
    newest = _newest_rows(repository, commit)
    # The document was made from the record of the same time.
    rows = [row for row in newest if row["station_id"] not in known or row["observed_at"] > known[row["station_id"]]]
    done = upsert_stations(settings, rows)
    left_alone = len(newest) - len(rows)
    return Upserted(done.inserted, done.changed, done.unchanged + left_alone, done.older), commit


def _newest_rows(repository: Repository, commit: str) -> list[dict[str, Any]]:
    """One row per station, in the contract's columns."""
    files = archive_dataset(repository, commit, [raw_prefix(STATION_REGISTRY.topic)], raw_schema(STATION_REGISTRY))
    if files is None:
        return []
    columns = [*STATION_REGISTRY.columns, "kafka_partition", "kafka_offset"]
    table: pa.Table = files.to_table(columns=columns).sort_by(_NEWEST_LAST)
    ids = np.array(table["station_id"].to_pylist(), dtype=object)
    is_last = np.append(ids[1:] != ids[:-1], True)
    rows: list[dict[str, Any]] = table.filter(pa.array(is_last)).select(STATION_REGISTRY.columns).to_pylist()
    return rows
