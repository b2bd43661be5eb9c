"""An instance of Dagster in memory, the lake in memory, and runs on them. Runs and their records are Dagster's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lake_in_memory import JOB, TOPIC, LakeInMemory, PlatformInMemory, manifest_of
from main_log import MainLog
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

from evcharge.lake import gates
from evcharge.lake.candidate import Manifest, RunIdentity
from evcharge.lake.ledger import OffsetRange
from evcharge.lake.parked import PUBLISH_JOB
from evcharge.lake.repository import Commit
from evcharge.lake.schemas import QUARANTINE_SCHEMA
from evcharge.settings import Settings
from evcharge_assets import lake as lake_assets
from evcharge_assets import publishing
from evcharge_assets.definitions import build_definitions

#: A value of each type that quarantined rows have.
_ANY = {
    pa.int32(): 0,
    pa.int64(): 0,
    pa.string(): "any",
    pa.binary(): b"any",
    pa.timestamp("us", tz="UTC"): datetime(2026, 11, 21, tzinfo=UTC),
}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def platform_in_memory() -> PlatformInMemory:
    PlatformInMemory.lake = LakeInMemory()
    return PlatformInMemory()


@pytest.fixture
def lake(platform_in_memory: PlatformInMemory) -> LakeInMemory:
    return platform_in_memory.lake


class NoSpark(dg.ConfigurableResource):
    spark_session: str = "no session"


@pytest.fixture(scope="session")
def publish_job() -> dg.JobDefinition:
    """The publishing job of the topic, on the lake in memory of whichever test runs it."""
    return build_definitions({"platform": PlatformInMemory(), "pyspark": NoSpark()}).resolve_job_def(JOB)


@pytest.fixture(scope="session")
def together_job() -> dg.JobDefinition:
    """The job that publishes all topics, on the lake in memory of whichever test runs it."""
    return build_definitions({"platform": PlatformInMemory(), "pyspark": NoSpark()}).resolve_job_def(PUBLISH_JOB)


@pytest.fixture
def run_job(
    publish_job: dg.JobDefinition, together_job: dg.JobDefinition, instance: dg.DagsterInstance, lake: LakeInMemory
) -> Callable[[dg.RunRequest], dg.ExecuteInProcessResult]:
    """Does with a request what the daemon does, in this process."""

    def run(asked: dg.RunRequest) -> dg.ExecuteInProcessResult:
        job = together_job if asked.job_name == PUBLISH_JOB else publish_job
        return job.execute_in_process(
            instance=instance,
            run_config=asked.run_config,
            partition_key=asked.partition_key,
            tags=asked.tags,
            raise_on_error=False,
        )

    return run


@pytest.fixture
def manifests(lake: LakeInMemory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Manifest]:
    """The manifests of the candidates that runs wrote: writing real ones needs Kafka and Spark."""
    written: list[Manifest] = []

    def write_candidate(
        _settings: Settings,
        repository: LakeInMemory,
        _spark: object,
        planned: OffsetRange,
        attempt: int,
        run: RunIdentity,
        **_options: object,
    ) -> tuple[Manifest, Commit]:
        manifest = replace(
            manifest_of(planned, attempt, run.run_id, run.root_run_id), event_dates=repository.event_dates
        )
        commit = repository.leave_candidate(manifest)
        for path, count in manifest.files.items():
            file = tmp_path / repository.name / commit.id / path
            file.parent.mkdir(parents=True)
            row = {field.name: _ANY[field.type] for field in QUARANTINE_SCHEMA}
            pq.write_table(pa.Table.from_pylist([row] * count, QUARANTINE_SCHEMA), file)
        written.append(manifest)
        return manifest, commit

    for module in (lake_assets, publishing):
        monkeypatch.setattr(module, "write_candidate", write_candidate)
    monkeypatch.setattr(gates, "lake_files", lambda _: SubTreeFileSystem(str(tmp_path), LocalFileSystem()))
    return written


@pytest.fixture
def planned() -> OffsetRange:
    """The first 150 records of a topic with two partitions."""
    return OffsetRange(TOPIC, "topic-id", {0: 0, 1: 0}, {0: 100, 1: 50}, datetime.now(UTC))


@pytest.fixture
def following(planned: OffsetRange) -> OffsetRange:
    return OffsetRange(TOPIC, "topic-id", planned.end, {0: 120, 1: 60}, datetime.now(UTC))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, platform_in_memory: Any) -> MainLog:
    """Main's log, empty, which the platform reads."""
    main = MainLog()
    monkeypatch.setattr(type(platform_in_memory), "repository", lambda _: main)
    return main
