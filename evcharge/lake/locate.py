"""Finds publications again: the candidate of a run, the publications of an ingest hour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from evcharge.lake.candidate import Manifest
from evcharge.lake.ledger import OffsetRange, read_ledger
from evcharge.lake.repository import MAIN, Repository


def candidate_of_run(repository: Repository, topic: str, root_run_id: str) -> tuple[Manifest, str] | None:
    """Manifest and commit of the newest candidate that a run, or a retry of it, left on a branch; None without one."""
    found: dict[int, tuple[Manifest, str]] = {}
    for _, commit_id in repository.branches(f"ingest-{topic}-"):
        metadata = repository.commit_of(commit_id).metadata
        if metadata.get("root_run_id") == root_run_id and metadata.get("topic") == topic:
            content = repository.read_json(commit_id, metadata["manifest"])
            if content is not None:
                found[int(metadata["attempt"])] = Manifest(**content), commit_id
    return found[max(found)] if found else None


def parked_range(repository: Repository, topic: str, attempts: int) -> OffsetRange | None:
    """The range that main's ledger waits for and that `attempts` failed attempts left on branches; None if none is."""
    ledger = read_ledger(repository, topic)
    branches = [name for name, _ in repository.branches(f"ingest-{topic}-")]
    left = Counter(name.rsplit("-", 1)[0] for name in branches)
    # an attempt that died early may have left its branch without the plan; another one of the range has it
    for branch in (name for name in branches if left[name.rsplit("-", 1)[0]] >= attempts):
        range_hash = branch.rsplit("-", 2)[1]
        for path in repository.paths(branch, f"_publications/{topic}/"):
            content = repository.read_json(branch, path) if path.endswith(f"/{range_hash}.json") else None
            planned = OffsetRange.from_json(content["range"]) if content else None
            if planned and ledger.is_at_start_of(planned) and not ledger.covers(planned):
                return planned
    return None


def published_in_hour(repository: Repository, topic: str, ingest_hour: str, ref: str = MAIN) -> Iterator[Manifest]:
    """Manifests of the publications planned in an ingest hour (`YYYY-MM-DD-HH`)."""
    for path in repository.paths(ref, f"_publications/{topic}/{ingest_hour}/"):
        content = repository.read_json(ref, path)
        if content is not None:
            yield Manifest(**content)
