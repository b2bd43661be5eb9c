"""A platform without servers, and an instance of Dagster in memory.

The lake is a dict of JSON files: what sensors decide from it is their logic, and lakeFS itself is the integration tests'
matter. Runs and their records are Dagster's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar

import dagster as dg
import pytest

from evcharge.contracts import SESSION_EVENTS
from evcharge.lake.ledger import Ledger, OffsetRange
from evcharge.lake.repository import Repository
from evcharge.settings import Settings, load_settings
from evcharge_assets.resources import Platform

TOPIC = SESSION_EVENTS.topic


class LakeInMemory(Repository):
    """As much of the lake as planning needs: JSON files on main, no branches."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, Any]] = {}

    def read_json(self, ref: str, path: str) -> dict[str, Any] | None:
        return self.files.get(path)

    def branches(self, prefix: str = "") -> Iterator[tuple[str, str]]:
        return iter(())

    def publish(self, planned: OffsetRange) -> None:
        """Moves the ledger to the range's end."""
        former = Ledger(planned.topic, "", {}, 0, "", 0, None)
        self.files[Ledger.path(planned.topic)] = former.after(planned, 1).to_json()


class PlatformInMemory(Platform):
    lake: ClassVar[LakeInMemory]

    def settings(self) -> Settings:
        return load_settings()

    def repository(self) -> Repository:
        return self.lake


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


@pytest.fixture
def planned() -> OffsetRange:
    """The first 150 records of a topic with two partitions."""
    return OffsetRange(TOPIC, "topic-id", {0: 0, 1: 0}, {0: 100, 1: 50}, datetime.now(UTC))


@pytest.fixture
def following(planned: OffsetRange) -> OffsetRange:
    return OffsetRange(TOPIC, "topic-id", planned.end, {0: 120, 1: 60}, datetime.now(UTC))
