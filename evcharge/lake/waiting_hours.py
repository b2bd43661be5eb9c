"""Which ingest hours maintenance has to look at: those of the publications that came since it looked last.

A note on main says up to which commit its log was read, and which hours of that part still wait. So each call reads only what
is new of the log, and a publication that comes late into an hour that was compacted brings that hour back. Each maintenance
changes the note: of two that run beside each other lakeFS refuses the second one to merge.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from evcharge.contracts import CONTRACTS
from evcharge.lake.repository import Repository
from evcharge.lake.touched_days import log_since

PATH = "_maintenance/compaction.json"
_NOTHING: dict[str, Any] = {
    "seen": None,
    "hours": [],
    "refused": [],
    "branches": {},
    "forgotten_to": "",
    "unforgotten": [],
}


class Hour(NamedTuple):
    """An ingest hour (`YYYY-MM-DD-HH`) of a topic. Hours sort by time."""

    ingest_hour: str
    topic: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """The hours to look at, seen from the commit `seen`, and the hours that were left alone, with the reason.

    `branches` says when each branch was first seen (ISO 8601). Hours that sort before `forgotten_to` have no messages in
    quarantine any more, except for those `unforgotten`, which were left alone. `has_news` is False if nothing was published
    since the note was written.
    """

    seen: str
    hours: frozenset[Hour]
    refused: dict[Hour, str]
    branches: dict[str, str]
    forgotten_to: str
    unforgotten: frozenset[Hour]
    has_news: bool

    def note(
        self,
        done: Iterable[Hour],
        refused: dict[Hour, str],
        branches: dict[str, str],
        forgotten_to: str,
        unforgotten: Iterable[Hour],
        written_by: str,
    ) -> dict[str, Any]:
        """What is written on main once the hours `done` are compacted. `written_by` is different each time."""
        left = self.hours.difference(done, refused)
        return {
            "seen": self.seen,
            "hours": [list(hour) for hour in sorted(left)],
            "refused": [[*hour, reason] for hour, reason in sorted({**self.refused, **refused}.items())],
            "branches": branches,
            "forgotten_to": forgotten_to,
            "unforgotten": [list(hour) for hour in sorted(unforgotten)],
            "written_by": written_by,
        }


def waiting_hours(repository: Repository, commit: str) -> Waiting:
    """What waits at a commit of main. Raises ServerDownError."""
    note = _NOTHING | (repository.read_json(commit, PATH) or {})
    published = {
        Hour(found.metadata["ingest_hour"], found.metadata["topic"])
        for found in log_since(repository, commit, note["seen"])
        if found.metadata.get("topic") in CONTRACTS and "ingest_hour" in found.metadata
    }
    refused = {Hour(hour, topic): reason for hour, topic, reason in note["refused"]}
    # one that was refused is tried again once it has new rows
    refused = {hour: reason for hour, reason in refused.items() if hour not in published}
    return Waiting(
        commit,
        frozenset(published.union(Hour(*hour) for hour in note["hours"])),
        refused,
        note["branches"],
        note["forgotten_to"],
        frozenset(Hour(*hour) for hour in note["unforgotten"]),
        has_news=bool(published),
    )


def quarantined_hours(repository: Repository, commit: str, since: str, before: str) -> frozenset[Hour]:
    """The hours of which a commit has rows in quarantine, of those that sort from `since` on and `before` a name."""
    found = set()
    for topic in CONTRACTS:
        prefix = f"quarantine/{topic}/ingest_hour="
        for path in repository.paths(commit, prefix, after=f"{prefix}{since}"):
            hour = path.removeprefix(prefix).partition("/")[0]
            if hour >= before:
                break
            found.add(Hour(hour, topic))
    return frozenset(found)
