"""A run of the publishing job, from the candidate through its checks to main, on a lake in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast
from uuid import uuid4

import dagster as dg
import pytest
from lake_in_memory import JOB, TOPIC, LakeInMemory, manifest_of

from evcharge.connections import ServerDownError
from evcharge.lake import publish
from evcharge.lake.candidate import Manifest, RunIdentity
from evcharge.lake.gates import GATES
from evcharge.lake.ledger import OffsetRange
from evcharge.settings import load_settings
from evcharge_assets import lake as lake_assets
from evcharge_assets.lake import archive_key, candidate_key, find_candidate
from evcharge_assets.partitions import hour_key
from evcharge_sensors.plan import run_config

RunJob = Callable[[dg.RunRequest], dg.ExecuteInProcessResult]


def request(planned: OffsetRange) -> dg.RunRequest:
    return dg.RunRequest(partition_key=hour_key(planned.planned_at), run_config=run_config(TOPIC, planned))


def materialized(done: dg.ExecuteInProcessResult, key: dg.AssetKey) -> dict[str, object]:
    (event,) = done.asset_materializations_for_node(key.to_python_identifier())
    return {name: value.value for name, value in event.metadata.items()}


def test_a_candidate_that_passes_its_gates_is_merged(
    run_job: RunJob, lake: LakeInMemory, manifests: list[Manifest], planned: OffsetRange
) -> None:
    done = run_job(request(planned))
    assert done.success
    (manifest,) = manifests
    assert lake.merged == [manifest.branch] == [planned.branch(1)]
    assert not lake.candidates, "a merged branch is deleted"
    assert {e.check_name: e.passed for e in done.get_asset_check_evaluations()} == {g.name: True for g in GATES}
    archived = materialized(done, archive_key(TOPIC))
    assert archived["lake_commit"] == "merge-commit"
    assert archived["rows_quarantined"] == planned.rows


def test_a_run_searches_the_branches_for_its_candidate_once(
    run_job: RunJob, lake: LakeInMemory, manifests: list[Manifest], planned: OffsetRange
) -> None:
    assert run_job(request(planned)).success
    # for the four checks and the archive together
    assert lake.listings == [f"ingest-{TOPIC}-"]


def test_the_next_attempt_is_judged_by_its_own_candidate(
    run_job: RunJob, lake: LakeInMemory, manifests: list[Manifest], planned: OffsetRange
) -> None:
    lake.stray = ["stray.parquet"]
    assert not run_job(request(planned)).success
    lake.stray = []
    assert run_job(request(planned)).success
    assert [manifest.attempt for manifest in manifests] == [1, 2]
    assert lake.merged == [planned.branch(2)]


@pytest.mark.parametrize("stray", [["stray.parquet"], []], ids=["closed", "open"])
def test_the_archive_alone_judges_the_gates_itself(
    stray: list[str],
    publish_job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    lake: LakeInMemory,
    manifests: list[Manifest],
    planned: OffsetRange,
) -> None:
    """As when only the archive's step of a run is executed again: none of the checks is a part of it."""
    run_id = str(uuid4())
    lake_assets.write_candidate(load_settings(), lake, cast(Any, None), planned, 1, RunIdentity(run_id, run_id, "test"))
    lake.stray = stray
    done = publish_job.execute_in_process(
        instance=instance,
        run_id=run_id,
        run_config={},
        partition_key=hour_key(planned.planned_at),
        asset_selection=[archive_key(TOPIC)],
        raise_on_error=False,
    )
    assert not done.get_asset_check_evaluations()
    assert lake.merged == ([] if stray else [planned.branch(1)])
    if stray:
        failure = done.failure_data_for_node(archive_key(TOPIC).to_python_identifier())
        assert failure is not None
        assert failure.error is not None
        assert "DIFF_IS_MANIFEST: 4 paths changed, 1 unexpected" in failure.error.message


@pytest.mark.parametrize(("days", "cut"), [(0, []), (1, [TOPIC]), (40, [TOPIC])])
def test_the_first_publication_of_a_day_cuts_the_log(
    days: int,
    cut: list[str],
    run_job: RunJob,
    lake: LakeInMemory,
    manifests: list[Manifest],
    planned: OffsetRange,
    following: OffsetRange,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kafka is down at that instant: the publication is on main, so its run does not fail."""
    asked = []

    def kafka_is_down(_settings: object, _repository: object, topic: str) -> None:
        asked.append(topic)
        raise ServerDownError("kafka at 127.0.0.1:1 does not answer")

    monkeypatch.setattr(lake_assets, "forget_published", kafka_is_down)
    lake.publish(replace(planned, planned_at=following.planned_at - timedelta(days=days)))
    assert run_job(request(following)).success
    assert asked == cut
    assert lake.merged == [following.branch(1)]


def test_an_outage_leaves_three_branches_and_uses_none_twice(lake: LakeInMemory, planned: OffsetRange) -> None:
    for attempt in range(1, 31):
        assert publish.free_attempt(lake, planned) == attempt
        lake.leave_candidate(manifest_of(planned, attempt))
    assert publish.free_attempt(lake, planned) == 31
    assert sorted(lake.candidates) == [planned.branch(attempt) for attempt in (1, 29, 30)]


def test_a_published_range_is_verified_and_not_written_again(
    run_job: RunJob,
    lake: LakeInMemory,
    manifests: list[Manifest],
    planned: OffsetRange,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake.publish(planned)
    monkeypatch.setattr(lake, "paths", lambda *_: iter(()))
    monkeypatch.setattr(lake, "head", lambda: lake.leave_candidate(manifest_of(planned, root_run_id="another")))
    done = run_job(request(planned))
    assert done.success
    assert not manifests
    assert not lake.merged
    assert materialized(done, candidate_key(TOPIC))["verified"]
    assert materialized(done, archive_key(TOPIC))["verified"]
    (diff,) = (e for e in done.get_asset_check_evaluations() if e.check_name == "diff_matches_manifest")
    assert diff.description == "DIFF_IS_MANIFEST: judged before the merge"


def run(root: str | None = None) -> dg.DagsterRun:
    return dg.DagsterRun(job_name=JOB, run_id=str(uuid4()), root_run_id=root, parent_run_id=root)


def test_a_candidate_that_is_not_there_yet_is_searched_for_again(lake: LakeInMemory, planned: OffsetRange) -> None:
    asking = run()
    assert find_candidate(asking, lake, TOPIC) is None
    manifest = manifest_of(planned, root_run_id=asking.run_id)
    commit = lake.leave_candidate(manifest)
    assert find_candidate(asking, lake, TOPIC) == (manifest, commit.id)
    assert len(lake.listings) == 2
    assert find_candidate(asking, lake, TOPIC) == (manifest, commit.id)
    assert len(lake.listings) == 2


def test_a_retry_finds_the_candidate_that_it_wrote_itself(lake: LakeInMemory, planned: OffsetRange) -> None:
    first = run()
    manifest = manifest_of(planned, attempt=1, root_run_id=first.run_id)
    lake.leave_candidate(manifest)
    assert find_candidate(first, lake, TOPIC) == (manifest, lake.candidates[manifest.branch].id)
    retry = run(root=first.run_id)
    again = manifest_of(planned, attempt=2, root_run_id=first.run_id)
    commit = lake.leave_candidate(again)
    assert find_candidate(retry, lake, TOPIC) == (again, commit.id)
