"""Which branches maintenance deletes: those that nobody can need any more."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from lake_in_folders import LakeInFolders, install
from small_publications import NOON, candidate, event, planned, publish, rows_at

from evcharge.contracts import SESSION_EVENTS
from evcharge.lake.maintenance import Maintained, maintain
from evcharge.lake.publish import merge, next_attempt
from evcharge.settings import Settings

TOPIC = SESSION_EVENTS.topic
DAY = timedelta(days=1)


@pytest.fixture
def lake(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LakeInFolders:
    return install(settings, tmp_path / "lake", monkeypatch)


def maintained(lake: LakeInFolders, days: int, *, dry_run: bool = False) -> Maintained:
    return maintain(lake.settings, lake, "run", now=NOON + days * DAY, dry_run=dry_run)


def names(lake: LakeInFolders) -> list[str]:
    return [name for name, _ in lake.branches() if name != "main"]


@pytest.mark.parametrize("name", ["maintain-x", "requeue-session-events-x", "accept-gap-session-events-x"])
def test_what_a_kill_left_goes_a_day_after_it_was_seen(lake: LakeInFolders, name: str) -> None:
    publish(lake, [event("a")])
    lake.create_branch(name)
    assert maintained(lake, 0).branches == []
    assert maintained(lake, 0).branches == []
    assert maintained(lake, 1, dry_run=True).branches == [name]
    assert names(lake) == [name]
    assert maintained(lake, 1).branches == [name]
    assert names(lake) == []
    # a new one of that name is new
    lake.create_branch(name)
    assert maintained(lake, 2).branches == []
    assert maintained(lake, 3).branches == [name]


def test_branches_of_others_stay(lake: LakeInFolders) -> None:
    publish(lake, [event("a")])
    lake.create_branch("an-analyst")
    for day in range(3):
        assert maintained(lake, day).branches == []
    assert names(lake) == ["an-analyst"]


@pytest.mark.parametrize("is_committed", [True, False])
def test_attempts_at_the_next_range_stay(lake: LakeInFolders, is_committed: bool) -> None:
    """It may be parked: somebody looks at them, and they say which attempt is the next."""
    publish(lake, [event("a")])
    wanted = planned(lake, TOPIC, 1, NOON)
    if is_committed:
        candidate(lake, wanted, [event("b")])
    else:
        lake.create_branch(wanted.branch(1))
        lake.write_json(wanted.branch(1), wanted.manifest_path, {"range": wanted.to_json()})
    for day in range(3):
        assert maintained(lake, day).branches == []
    assert names(lake) == [wanted.branch(1)]
    assert next_attempt(lake, wanted) == 2


@pytest.mark.parametrize("is_committed", [True, False])
def test_attempts_at_a_range_that_main_has_passed_go(lake: LakeInFolders, is_committed: bool) -> None:
    wanted = planned(lake, TOPIC, 2, NOON)
    candidate(lake, wanted, [event("a"), event("b")])
    if not is_committed:
        lake.delete_branch(wanted.branch(1))
        lake.create_branch(wanted.branch(1))
        lake.write_json(wanted.branch(1), wanted.manifest_path, {"range": wanted.to_json()})
    # released in parts, so that no merge saw this range
    half = planned(lake, TOPIC, 1, NOON)
    manifest = candidate(lake, half, [event("a")])
    lake.merge(manifest.branch, "", manifest.metadata())
    maintained(lake, 0)
    rows = rows_at(lake, "main")
    assert sorted(maintained(lake, 1).branches) == sorted([wanted.branch(1), manifest.branch])
    assert names(lake) == []
    assert rows_at(lake, "main") == rows


def test_an_attempt_that_had_not_begun_goes(lake: LakeInFolders) -> None:
    publish(lake, [event("a")])
    wanted = planned(lake, TOPIC, 1, NOON)
    lake.create_branch(wanted.branch(1))
    maintained(lake, 0)
    assert maintained(lake, 1).branches == [wanted.branch(1)]
    assert merge(lake, candidate(lake, wanted, [event("b")])).merged_now


def test_an_idle_lake_gets_no_commits(lake: LakeInFolders) -> None:
    publish(lake, [event("a")])
    lake.create_branch("maintain-x")
    maintained(lake, 0)
    head = lake.head().id
    maintained(lake, 0)
    assert lake.head().id == head
    maintained(lake, 1)
    assert (lake.head().id != head, names(lake)) == (True, [])
    head = lake.head().id
    maintained(lake, 2)
    assert lake.head().id == head


def test_the_rules_of_collection_are_set(lake: LakeInFolders) -> None:
    maintained(lake, 0, dry_run=True)
    assert lake.history_days == 0
    maintained(lake, 0)
    assert lake.history_days == lake.settings.lake_history_days
