"""The publish protocol: plan, candidate, gates, merge.

    1. plan       next range = [ledger on main, end of the log); only the ledger on main is trusted (planner.py)
    2. candidate  a new branch for each attempt: data, manifest, ledger, one commit (candidate.py)
    3. gates      blocking checks on the branch; the candidate itself merges nothing (gates.py)
    4. merge      a plain merge, guarded by main's ledger (archive.py)

`publish_range` runs the steps in one call, for tests, benchmarks and the command. Dagster runs the same steps as two
assets with checks between them (`evcharge_assets`). If an attempt is killed between any two steps, the next attempt at
the range still ends in one publication with the same rows: before the merge main has nothing of an attempt, and after
the merge main's ledger covers the range.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evcharge.errors import UserError
from evcharge.lake.archive import Published, discard_branch, merge_candidate, published_manifest
from evcharge.lake.candidate import Manifest, OnStep, RunIdentity, write_candidate
from evcharge.lake.gates import GATES
from evcharge.lake.ledger import OffsetRange, RangePosition, read_ledger
from evcharge.lake.repository import Repository
from evcharge.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class GateClosedError(UserError):
    """A gate stopped the merge. The message names its rule."""


def next_attempt(repository: Repository, planned: OffsetRange) -> int | None:
    """The number of the next attempt at a range; None if the range is published already."""
    if read_ledger(repository, planned.topic).position_of(planned) is RangePosition.PUBLISHED:
        return None
    return free_attempt(repository, planned)


def free_attempt(repository: Repository, planned: OffsetRange) -> int:
    """The attempt number after the highest one that left a branch: no branch is used twice."""
    names = (name for name, _ in repository.branches(planned.branch_prefix))
    return max((int(name.removeprefix(planned.branch_prefix)) for name in names), default=0) + 1


def closed_gates(settings: Settings, repository: Repository, manifest: Manifest, ref: str) -> list[str]:
    """Rule and message of each gate that the candidate at `ref` does not pass."""
    verdicts = [(gate.rule, gate.judge(settings, repository, manifest, ref)) for gate in GATES]
    return [f"{rule}: {verdict.message}" for rule, verdict in verdicts if not verdict.passed]


def merge(repository: Repository, manifest: Manifest, on_step: OnStep = lambda step: None) -> Published:
    """Merges a candidate that passed its gates, then deletes its branch. Raises ReplanError, LedgerError."""
    published = merge_candidate(repository, manifest)
    on_step("merged")
    discard_branch(repository, published)
    on_step("branch deleted")
    return published


def publish_range(
    settings: Settings,
    repository: Repository,
    spark: SparkSession,
    planned: OffsetRange,
    run: RunIdentity,
    *,
    release: bool = False,
    on_step: OnStep = lambda step: None,
) -> Published:
    """Publishes a range, unless it is published already.

    `on_step` is called with the name of each step that is done. Raises GateClosedError, ReplanError, LedgerError,
    ServerDownError.
    """
    attempt = next_attempt(repository, planned)
    if attempt is None:
        return Published(published_manifest(repository, planned), "", merged_now=False)
    on_step("planned")
    manifest, commit = write_candidate(
        settings, repository, spark, planned, attempt, run, release=release, on_step=on_step
    )
    closed = closed_gates(settings, repository, manifest, commit.id)
    if closed:
        raise GateClosedError("; ".join(closed))
    on_step("gates passed")
    return merge(repository, manifest, on_step)
