"""Merges a checked candidate into main, once."""

from __future__ import annotations

from dataclasses import dataclass

from evcharge.errors import UserError
from evcharge.lake.candidate import Manifest
from evcharge.lake.ledger import LedgerError, OffsetRange, RangePosition, read_ledger
from evcharge.lake.repository import MAIN, Commit, MergeConflictError, Repository
from evcharge.log import log


class ReplanError(UserError):
    """The range is void: it neither begins where main's ledger ends nor is it published. The next plan replaces it."""


@dataclass(frozen=True, slots=True)
class Published:
    """A published range: its manifest on main, its merge commit, and whether this call merged it.

    `merge_commit` is empty if it was not looked up or is not in main's log.
    """

    manifest: Manifest
    merge_commit: str
    merged_now: bool


def merge_candidate(repository: Repository, manifest: Manifest) -> Published:
    """Merges the candidate's branch, unless main already has its range; then the branch is deleted instead.

    The caller has checked the candidate. Raises ReplanError if the range is void, LedgerError if main has its rows from
    ranges with other bounds.
    """
    planned = manifest.offsets
    ledger = read_ledger(repository, planned.topic)
    match ledger.position_of(planned):
        case RangePosition.PUBLISHED:
            return _published_by_another(repository, manifest)
        case RangePosition.VOID:
            raise ReplanError(
                f"{planned.publication_id}: main's ledger is at {ledger.offsets}, the range at {planned.start}"
            )
    message = f"publish {planned.topic}: {manifest.rows_good} rows, {manifest.rows_quarantined} quarantined"
    try:
        commit = repository.merge(manifest.branch, message, manifest.metadata())
    except MergeConflictError as error:
        # Two attempts differ in their ledger file, so lakeFS refuses the second one to merge.
        if read_ledger(repository, planned.topic).position_of(planned) is RangePosition.PUBLISHED:
            return _published_by_another(repository, manifest)
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
    """Deletes the branch of a published candidate. The merge commit's metadata keeps the branch's name."""
    repository.delete_branch(published.manifest.branch)


def published_manifest(repository: Repository, planned: OffsetRange) -> Manifest:
    """The manifest of a range that main's ledger covers.

    Raises LedgerError if ranges with other bounds published its rows.
    """
    content = repository.read_json(MAIN, planned.manifest_path)
    if content is None:
        # The same offsets may have been planned and published in another hour, or their hour is compacted.
        merged = _merge_commit(repository, planned.publication_id)
        content = repository.read_json(merged.id, merged.metadata["manifest"]) if merged else None
    if content is None:
        raise LedgerError(f"main has the rows of {planned.publication_id} from ranges with other bounds; plan anew")
    return Manifest(**content)


def _published_by_another(repository: Repository, candidate: Manifest) -> Published:
    """What another attempt published. Deletes the branch of this candidate, which came too late."""
    planned = candidate.offsets
    manifest = published_manifest(repository, planned)
    merged = _merge_commit(repository, planned.publication_id)
    commit = merged.id if merged else ""
    # The caller deletes the branch that the manifest names, which is the other attempt's.
    repository.delete_branch(candidate.branch)
    log.info("already published", publication_id=planned.publication_id, commit=commit)
    return Published(manifest, commit, merged_now=False)


def _merge_commit(repository: Repository, publication_id: str) -> Commit | None:
    """The merge commit of a publication; None if main's log has none."""
    found = (commit for commit in repository.log() if commit.metadata.get("publication_id") == publication_id)
    return next(found, None)
