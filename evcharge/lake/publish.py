"""The publish protocol in one place: plan, candidate, gates, merge.

    1. plan       next range = [ledger on main, end of the log); the ledger on main is the only thing believed
    2. candidate  a fresh branch per attempt: data, manifest, ledger, one commit (candidate.py)
    3. gates      blocking checks on the branch (checks.py); nothing merges inside the candidate
    4. merge      a plain merge, guarded by main's ledger (archive.py)

Dagster runs the steps as two assets with checks between them (`evcharge_assets`); `publish_range` runs them in one call
for tests, benchmarks and the command. Killed between any two steps, the next attempt at the same range ends in one
publication with equal rows: until the merge nothing of an attempt is on main, and after it the ledger covers the range.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evcharge.errors import UserError
from evcharge.lake.archive import Published, discard_branch, merge_candidate, published_manifest
from evcharge.lake.candidate import Manifest, OnStep, RunIdentity, write_candidate
from evcharge.lake.gates import GATES, GateResult
from evcharge.lake.ledger import OffsetRange, read_ledger
from evcharge.lake.repository import Repository
from evcharge.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class GateClosedError(UserError):
    """A gate stopped the merge; the message names its rule."""


def free_attempt(repository: Repository, planned: OffsetRange) -> int:
    """The first attempt number of which no branch is left: a branch is never used twice."""
    prefix = f"ingest-{planned.topic}-{planned.hash}-"
    used = [int(name.removeprefix(prefix)) for name, _ in repository.branches(prefix)]
    return max(used, default=0) + 1


def check_candidate(settings: Settings, repository: Repository, manifest: Manifest, ref: str) -> list[GateResult]:
    """The verdict of every gate on the candidate at `ref`."""
    return [gate(settings, repository, manifest, ref) for gate in GATES]


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
    """Publishes a range, or finds that it is published. Raises GateClosedError, ReplanError, LedgerError, ServerDownError."""
    if read_ledger(repository, planned.topic).covers(planned):
        manifest = published_manifest(repository, planned)
        if manifest is not None:
            return Published(manifest, "", merged_now=False)
    on_step("planned")
    attempt = free_attempt(repository, planned)
    manifest, commit = write_candidate(
        settings, repository, spark, planned, attempt, run, release=release, on_step=on_step
    )
    closed = [r for r in check_candidate(settings, repository, manifest, commit.id) if not r.passed]
    if closed:
        raise GateClosedError("; ".join(f"{r.rule}: {r.message}" for r in closed))
    on_step("gates passed")
    published = merge_candidate(repository, manifest)
    on_step("merged")
    discard_branch(repository, published)
    on_step("branch deleted")
    return published
