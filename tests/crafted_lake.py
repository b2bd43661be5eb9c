"""A lake and a warehouse of their own on the platform's servers, whose publications are written without Kafka."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import lakefs_sdk
import pyarrow as pa
from support import Lake, Row, parquet, station

from evcharge.connections import lakefs_client
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, Contract
from evcharge.lake.layout import raw_path
from evcharge.lake.schemas import raw_schema
from evcharge.settings import Settings
from evcharge.warehouse import schema


class CraftedLake(Lake):
    """A lake whose files and commits are those that publications make, row by row as the caller wants them."""

    def __init__(self, platform: Settings, name: str) -> None:
        creation = lakefs_sdk.RepositoryCreation(name=name, storage_namespace=f"s3://{platform.lake_bucket}/{name}")
        lakefs_sdk.RepositoriesApi(lakefs_client(platform)).create_repository(creation)
        database = name.replace("-", "_")
        super().__init__(platform.model_copy(update={"lake_repository": name, "clickhouse_database": database}))
        schema.apply(self.settings)
        self._files = 0
        self._commits = 0

    def drop(self) -> None:
        self.query(f"DROP DATABASE {self.settings.clickhouse_database} SYNC")

    def add_stations(self, *names: str) -> None:
        rows = [
            archived(station(name), "stations", (0, 0, offset), STATION_REGISTRY) for offset, name in enumerate(names)
        ]
        self.publish_rows(STATION_REGISTRY, "stations", "2026-01-01-00", rows)

    def publish_rows(self, contract: Contract, publication: str, hour: str, rows: Iterable[Mapping[str, Any]]) -> str:
        """Publishes archived rows as they are. Returns the merge commit."""
        by_day: dict[date, list[Mapping[str, Any]]] = {}
        for row in rows:
            by_day.setdefault(day_of(row), []).append(row)

        def write(branch: str) -> None:
            for day, held in by_day.items():
                self.write_rows(branch, contract, day, hour, held)

        metadata = {"topic": contract.topic, "publication_id": publication, "range": "{}", "ingest_hour": hour}
        return self._commit(write, {**metadata, "event_dates": json.dumps([str(day) for day in sorted(by_day)])})

    def write_rows(
        self, branch: str, contract: Contract, day: date, hour: str, rows: Iterable[Mapping[str, Any]]
    ) -> None:
        self._files += 1
        path = raw_path(contract.topic, day.isoformat(), hour, f"file-{self._files}")
        self.write(branch, path, parquet(pa.Table.from_pylist(list(rows), schema=raw_schema(contract))))

    def compact(self, hour: str) -> None:
        """Rewrites the session events of an ingest hour, a file a day, and announces nothing."""
        topic = SESSION_EVENTS.topic
        old = [path for path in self.repository.paths("main", f"raw/{topic}/") if f"/ingest_hour={hour}/" in path]

        def rewrite(branch: str) -> None:
            rows = [row for path in old for row in self.table("main", path).to_pylist()]
            for day in {day_of(row) for row in rows}:
                self.write_rows(branch, SESSION_EVENTS, day, hour, [row for row in rows if day_of(row) == day])
            for path in old:
                self.delete(branch, path)

        if old:
            self._commit(rewrite, {"topic": topic})

    def retract(self, path: str) -> None:
        """Takes the rows of a file of session events back."""
        day = path.split("event_date=")[1][:10]
        metadata = {"topic": SESSION_EVENTS.topic, "event_dates": json.dumps([day])}
        self._commit(lambda branch: self.delete(branch, path), metadata)

    def _commit(self, change: Any, metadata: dict[str, str]) -> str:
        self._commits += 1
        return self.craft(f"crafted-{self._commits}", change, metadata)


def archived(
    row: Row, publication: str, place: tuple[int, int, int], contract: Contract = SESSION_EVENTS
) -> dict[str, Any]:
    """A row as the archive has it; `place` is topic generation, partition and offset."""
    generation, partition, offset = place
    return {
        **dict.fromkeys(contract.columns),
        "schema_version": contract.schema_version,
        **row,
        "topic_generation": generation,
        "kafka_partition": partition,
        "kafka_offset": offset,
        "kafka_timestamp": datetime(2026, 1, 1, tzinfo=UTC),
        "publication_id": publication,
    }


def day_of(row: Mapping[str, Any]) -> date:
    """The UTC day of an archived row."""
    at: datetime = row.get("occurred_at") or row["observed_at"]
    return at.astimezone(UTC).date()
