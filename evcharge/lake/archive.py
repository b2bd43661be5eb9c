"""Merges a checked candidate into main, once."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from evcharge.errors import UserError
from evcharge.lake.candidate import Manifest
from evcharge.lake.ledger import LedgerError, OffsetRange, read_ledger
from evcharge.lake.repository import MAIN, MergeConflictError, Repository

log = structlog.get_logger()


class ReplanError(UserError):
    """Main moved on to a place that is not the range's start: the range is void, the next plan starts from the ledger."""


@dataclass(frozen=True, slots=True)
class Published:
    """Where a range is published: the manifest on main, the commit (None if not searched) and whether we merged it."""

    manifest: Manifest
    merge_commit: str
    merged_now: bool


def merge_candidate(repository: Repository, manifest: Manifest) -> Published:
    """Merges the candidate's branch, unless main already covers its range.

    A candidate that comes too late loses its branch. Raises ReplanError if main's ledger is neither past the range nor
    at its start. The caller has checked the candidate.
    """
    planned = manifest.offsets
    ledger = read_ledger(repository, planned.topic)
    if ledger.covers(planned):
        return _already(repository, manifest)
    if not ledger.is_at_start_of(planned):
        raise ReplanError(
            f"{planned.publication_id}: main's ledger is at {ledger.offsets}, the range at {planned.start}"
        )
    message = f"publish {planned.topic}: {manifest.rows_good} rows, {manifest.rows_quarantined} quarantined"
    try:
        commit = repository.merge(manifest.branch, message, manifest.metadata())
    except MergeConflictError as error:
        # Two attempts differ in their ledger file: who loses the race finds its range published by the other.
        if read_ledger(repository, planned.topic).covers(planned):
            return _already(repository, manifest)
        raise ReplanError(f"{planned.publication_id}: {error}") from error
    log.info(
        "published",
        run_id=manifest.run_id,
        publication_id=manifest.publication_id,
        ingest_hour=manifest.ingest_hour,
        start=planned.start,
        end=planned.end,
        commit=commit,
    )
    return Published(manifest, commit, merged_now=True)


def discard_branch(repository: Repository, published: Published) -> None:
    """Deletes the branch of a published candidate; its name stays in the commit's metadata."""
    repository.delete_branch(published.manifest.branch)


def published_manifest(repository: Repository, planned: OffsetRange, ref: str = MAIN) -> Manifest | None:
    """The manifest that published exactly this range, None if there is none."""
    content = repository.read_json(ref, planned.manifest_path)
    if content is None:
        # The same offsets may have been planned, and published, in another hour.
        paths = repository.paths(ref, f"_publications/{planned.topic}/")
        path = next((path for path in paths if path.endswith(f"/{planned.hash}.json")), None)
        content = repository.read_json(ref, path) if path else None
    return None if content is None else Manifest(**content)


def publication_commit(repository: Repository, publication_id: str) -> str | None:
    """Id of the merge commit that brought a publication to main."""
    for commit in repository.log():
        if commit.metadata.get("publication_id") == publication_id:
            return commit.id
    return None


def _already(repository: Repository, candidate: Manifest) -> Published:
    planned = candidate.offsets
    manifest = published_manifest(repository, planned)
    if manifest is None:
        raise LedgerError(f"{planned.publication_id} is covered by main's ledger, but by ranges of another cut; replan")
    commit = publication_commit(repository, planned.publication_id) or ""
    # the caller discards the branch that was merged, which is the other attempt's
    repository.delete_branch(candidate.branch)
    log.info("already published", publication_id=planned.publication_id, commit=commit)
    return Published(manifest, commit, merged_now=False)
