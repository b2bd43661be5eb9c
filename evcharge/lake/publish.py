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

from collections.abc import Callable
from typing import TYPE_CHECKING

from evcharge.contracts import CONTRACTS
from evcharge.errors import UserError
from evcharge.lake.archive import Published, ReplanError, discard_branch, merge_candidate, published_manifest
from evcharge.lake.candidate import Manifest, OnStep, RunIdentity, write_candidate
from evcharge.lake.gates import GATES
from evcharge.lake.ledger import LedgerError, OffsetRange, RangePosition, read_ledger
from evcharge.lake.planner import plan
from evcharge.lake.repository import Repository
from evcharge.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


#: So many failed attempts at a range can be looked at.
BRANCHES_KEPT = 3


class GateClosedError(UserError):
    """A gate stopped the merge. The message names its rule."""


def next_attempt(repository: Repository, planned: OffsetRange) -> int | None:
    """The number of the next attempt at a range; None if the range is published already."""
    if read_ledger(repository, planned.topic).position_of(planned) is RangePosition.PUBLISHED:
        return None
    return free_attempt(repository, planned)


def free_attempt(repository: Repository, planned: OffsetRange) -> int:
    """The attempt number after the highest one that left a branch: no branch is used twice.

    Of the branches that earlier attempts at the range left, only the first and the newest stay, BRANCHES_KEPT in all. The first
    one says that there were attempts. The highest number is never given again, although the Spark job of a killed client may
    still write to a branch that is gone.
    """
    if not repository.has_branch(planned.branch(1)):
        return 1
    prefix = planned.branch_prefix
    attempts = sorted(int(name.removeprefix(prefix)) for name, _ in repository.branches(prefix))
    for attempt in attempts[1 : 1 - BRANCHES_KEPT]:
        repository.delete_branch(planned.branch(attempt))
    return max(attempts, default=0) + 1


def closed_gates(settings: Settings, repository: Repository, manifest: Manifest, ref: str) -> list[str]:
    """Rule and message of each gate that the candidate at `ref` does not pass."""
    verdicts = [(gate.rule, gate.judge(settings, repository, manifest, ref)) for gate in GATES]
    return [f"{rule}: {verdict.message}" for rule, verdict in verdicts if not verdict.passed]


def merge(repository: Repository, manifest: Manifest, on_step: OnStep = lambda step: None) -> Published:
    """Merges a candidate that passed its gates, then deletes its branch. Raises ReplanError, LedgerError.

    Branches of failed attempts stay: maintenance deletes them.
    """
    published = merge_candidate(repository, manifest)
    on_step("merged")
    discard_branch(repository, published)
    on_step("branch deleted")
    return published


def publish_waiting(
    settings: Settings,
    repository: Repository,
    spark: SparkSession,
    run: RunIdentity,
    on_progress: Callable[[str], None] = lambda line: None,
) -> bool:
    """Publishes what waits on every topic, without waiting for more of it. Returns whether nothing waits any more.

    `on_progress` gets a line about each publication, and about each topic that cannot be published. Raises ServerDownError.
    """
    done = True
    # in the order of planning: sessions need their stations
    for topic in CONTRACTS:
        try:
            while (planned := plan(settings, repository, topic, eager=True)).range is not None:
                on_progress(f"{topic}: {planned.lag_rows:,} rows wait")
                try:
                    publish_range(settings, repository, spark, planned.range, run)
                except (ReplanError, LedgerError):
                    # somebody else was faster; if ledger and log contradict each other, the next plan says so
                    continue
            waits = planned.lag_rows > 0
            reason = planned.reason
        except (GateClosedError, LedgerError) as error:
            waits, reason = True, str(error)
        if waits:
            on_progress(f"{topic} is not published: {reason}")
            done = False
    return done


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
