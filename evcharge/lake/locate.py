"""Finds what is in the lake: the candidate of a run, the publications of an ingest hour."""

from __future__ import annotations

from collections.abc import Iterator

from evcharge.lake.candidate import Manifest
from evcharge.lake.layout import manifest_prefix
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
    """Manifests of the publications that were planned in an ingest hour (`YYYY-MM-DD-HH`).

    In a compacted hour a manifest's files are shared with other publications, with the number of its own rows in each.
    """
    # compaction moves manifests: all are read from one commit
    commit = repository.head().id if ref == MAIN else ref
    for manifests in manifest_files(repository, topic, ingest_hour, commit).values():
        yield from manifests


def manifest_files(repository: Repository, topic: str, ingest_hour: str, commit: str) -> dict[str, list[Manifest]]:
    """Paths of the files with manifests of an ingest hour, and what is in each."""
    found = {}
    for path in repository.paths(commit, manifest_prefix(topic, ingest_hour)):
        content = repository.read_json(commit, path)
        if content is not None:
            found[path] = [Manifest(**one) for one in content.get("manifests", [content])]
    return found
