"""Finds what is in the lake: the candidate of a run, the publications of an ingest hour."""

from __future__ import annotations

from collections.abc import Iterator

from evcharge.lake.candidate import Manifest
from evcharge.lake.repository import MAIN, Repository


def candidate_of_run(repository: Repository, topic: str, root_run_id: str) -> tuple[Manifest, str] | None:
    """Manifest and commit id of the newest candidate that a run or one of its retries left on a branch; None without one."""
    found: dict[int, tuple[Manifest, str]] = {}
    for _, commit_id in repository.branches(f"ingest-{topic}-"):
        metadata = repository.commit_of(commit_id).metadata
        if metadata.get("root_run_id") == root_run_id and metadata.get("topic") == topic:
            content = repository.read_json(commit_id, metadata["manifest"])
            if content is not None:
                found[int(metadata["attempt"])] = Manifest(**content), commit_id
    return found[max(found)] if found else None


def published_in_hour(repository: Repository, topic: str, ingest_hour: str, ref: str = MAIN) -> Iterator[Manifest]:
    """Manifests of the publications that were planned in an ingest hour (`YYYY-MM-DD-HH`)."""
    for path in repository.paths(ref, f"_publications/{topic}/{ingest_hour}/"):
        content = repository.read_json(ref, path)
        if content is not None:
            yield Manifest(**content)
