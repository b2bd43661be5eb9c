"""Finds what is in the lake: the candidate of a run, a range that failed too often, the publications of an ingest hour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from evcharge.lake.candidate import Manifest
from evcharge.lake.ledger import OffsetRange, RangePosition, read_ledger
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


def parked_range(repository: Repository, topic: str, attempts: int) -> OffsetRange | None:
    """The next range to publish, if at least `attempts` failed attempts at it left their branches; else None."""
    ledger = read_ledger(repository, topic)
    branches = [name for name, _ in repository.branches(f"ingest-{topic}-")]
    attempts_at = Counter(_range_of(branch) for branch in branches)
    # An attempt that died early may have left its branch without the plan. Another branch of the range has it.
    for branch in (name for name in branches if attempts_at[_range_of(name)] >= attempts):
        range_hash = branch.rsplit("-", 2)[1]
        for path in repository.paths(branch, f"_publications/{topic}/"):
            content = repository.read_json(branch, path) if path.endswith(f"/{range_hash}.json") else None
            planned = OffsetRange.from_json(content["range"]) if content else None
            if planned and ledger.position_of(planned) is RangePosition.NEXT:
                return planned
    return None


def _range_of(branch: str) -> str:
    """The branch's name without the attempt: equal for all attempts at a range."""
    return branch.rsplit("-", 1)[0]


def published_in_hour(repository: Repository, topic: str, ingest_hour: str, ref: str = MAIN) -> Iterator[Manifest]:
    """Manifests of the publications that were planned in an ingest hour (`YYYY-MM-DD-HH`)."""
    for path in repository.paths(ref, f"_publications/{topic}/{ingest_hour}/"):
        content = repository.read_json(ref, path)
        if content is not None:
            yield Manifest(**content)
