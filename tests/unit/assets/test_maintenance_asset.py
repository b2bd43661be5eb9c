"""The asset that maintains the lake: its figures, its merges in the pool of all merges, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
import pytest
from lake_in_folders import LakeInFolders, install
from small_publications import NOON, event, publish

from evcharge.contracts import SESSION_EVENTS
from evcharge.settings import Settings
from evcharge_assets import maintenance
from evcharge_assets.lake import MERGE_POOL
from evcharge_assets.maintenance import MAINTENANCE, lake_maintenance
from evcharge_assets.resources import Platform

TOPIC = SESSION_EVENTS.topic


class PlatformInFolders(Platform):
    lake: ClassVar[LakeInFolders]

    def settings(self) -> Settings:
        return self.lake.settings

    def repository(self) -> LakeInFolders:
        return self.lake


@pytest.fixture
def lake(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LakeInFolders:
    PlatformInFolders.lake = install(settings, tmp_path / "lake", monkeypatch)
    for number in range(3):
        publish(PlatformInFolders.lake, [event(f"s{number}")], NOON + timedelta(minutes=number))
    return PlatformInFolders.lake


def maintained(instance: dg.DagsterInstance) -> dict[str, Any]:
    done = dg.materialize([lake_maintenance], instance=instance, resources={"platform": PlatformInFolders()})
    assert done.success
    (event,) = done.asset_materializations_for_node(MAINTENANCE.to_python_identifier())
    return {name: value.value for name, value in event.metadata.items()}


def test_it_shows_figures_before_and_after(lake: LakeInFolders, instance: dg.DagsterInstance) -> None:
    found = maintained(instance)
    assert (found["files_before"], found["files_after"]) == (3, 1)
    assert found["bytes_before"] > found["bytes_after"] > 0
    (record,) = found["by_topic"].records
    assert (record.data["topic"], record.data["hours"], record.data["rows"]) == (TOPIC, 1, 3)
    assert record.data["manifests_before"] == 3
    assert found["lake_commits"] == [lake.head().id]
    assert (found["hours_left"], found["refused"]) == (0, [])
    again = maintained(instance)
    assert (again["files_before"], again["lake_commits"]) == (0, [])


def test_it_merges_in_the_pool_of_all_merges(
    lake: LakeInFolders, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[str] = []

    @contextmanager
    def pool_slot(context: dg.OpExecutionContext, pool: str) -> Iterator[None]:
        assert isinstance(context, dg.OpExecutionContext)
        before = lake.head().id
        yield
        held.append(pool)
        assert lake.head().id != before

    monkeypatch.setattr(maintenance, "pool_slot", pool_slot)
    maintained(instance)
    assert held == [MERGE_POOL]
