"""Branches that a kill left behind. Each publication and each check of it would ask lakeFS about them for ever.

Nothing on a branch says how old it is, so maintenance notes when it first saw one. A day later nobody works on it any more. A
branch whose range is still the next one of its topic stays all the same: somebody may have to look at what failed, and
its number says which attempt is the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import orjson

from evcharge.lake.ledger import OffsetRange, RangePosition, read_ledger
from evcharge.lake.repository import Repository

#: What the names of our branches begin with.
PREFIXES = ("accept-gap-", "ingest-", "maintain-", "requeue-")


def seen_branches(repository: Repository, before: Mapping[str, str], now: datetime) -> dict[str, str]:
    """When each of our branches was first seen, as ISO 8601, by what was seen `before`."""
    names = (name for prefix in PREFIXES for name, _ in repository.branches(prefix))
    return {name: before.get(name, now.isoformat()) for name in names}


def abandoned_branches(
    repository: Repository, seen: Mapping[str, str], now: datetime, kept_for: timedelta
) -> list[str]:
    """Those that were first seen so long ago, and are not attempts at the next range of their topic."""
    old = [name for name, at in seen.items() if now - datetime.fromisoformat(at) >= kept_for]
    return [name for name in old if not _may_be_needed(repository, name)]


def _may_be_needed(repository: Repository, name: str) -> bool:
    planned = _planned(repository, name)
    return planned is not None and read_ledger(repository, planned.topic).position_of(planned) is RangePosition.NEXT


def _planned(repository: Repository, name: str) -> OffsetRange | None:
    """The range that an attempt was for, by its commit or by what it had written; None if it had not begun."""
    metadata = repository.head(name).metadata
    if metadata.get("branch") == name:
        return OffsetRange.from_json(orjson.loads(metadata["range"]))
    for path in repository.uncommitted(name, "_publications/"):
        content = repository.read_json(name, path)
        if content is not None and "range" in content:
            return OffsetRange.from_json(content["range"])
    return None
