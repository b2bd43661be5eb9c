"""Finds what a store lacks: the days that main's commits touched since the store computed them.

A store keeps a mark for each of its parts (a day of a table): the commit that the part was computed from. A part lacks
something if a newer commit on main touched it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import orjson

from evcharge.lake.repository import Commit, Repository

#: A table and one of its days.
Part = tuple[str, date]


@dataclass(frozen=True, slots=True)
class Mark:
    """What a store says of a part: the commit that it was computed from, and when it was written."""

    lake_commit: str
    written_at: datetime


@dataclass(frozen=True, slots=True)
class Behind:
    """The parts that lack something, sorted, and a cursor that spares the next search the log up to here.

    `last_run` has the run that made the last commit that touched a part, if this search read that commit.
    """

    parts: list[Part]
    cursor: str
    last_run: dict[Part, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a cursor says: the parts that were behind at the commit `head`, and what the store's marks were then.

    A store that goes on only adds marks and replaces them by later ones. So fewer marks, or a smaller sum of their times
    (ms since the epoch), show that it lost some or was restored.
    """

    head: str
    parts: list[Part]
    marks: int
    written_ms: int

    @classmethod
    def of(cls, head: str, parts: list[Part], marks: Mapping[Part, Mark]) -> _Seen:
        written_ms = sum(int(mark.written_at.timestamp() * 1000) for mark in marks.values())
        return cls(head, parts, len(marks), written_ms)

    @classmethod
    def read(cls, cursor: str) -> _Seen | None:
        """What the cursor says; None for one of another version."""
        try:
            content: dict[str, Any] = orjson.loads(cursor)
            parts = [(table, date.fromisoformat(day)) for table, day in content["parts"]]
            return cls(content["head"], parts, content["marks"], content["written_ms"])
        except (ValueError, KeyError, TypeError):
            return None

    def cursor(self) -> str:
        return orjson.dumps(self).decode()

    def is_before(self, now: _Seen) -> bool:
        """Whether the store can have come from this state to that of `now` without a loss."""
        return now.marks >= self.marks > 0 and now.written_ms >= self.written_ms


def behind_main(
    repository: Repository,
    head: str,
    touched_by: Callable[[Commit], Iterable[Part]],
    marks: Mapping[Part, Mark],
    cursor: str | None = None,
) -> Behind:
    """The parts that commits up to `head` touched after the commit that the part was computed from.

    `cursor` is of an earlier answer. It only saves reading: without one, or with one that does not fit the store, the whole
    log is read. Raises ServerDownError.
    """
    seen = _Seen.read(cursor) if cursor else None
    if seen is not None and not seen.is_before(_Seen.of(head, [], marks)):
        seen = None
    touched: dict[Part, int] = {}
    last_run: dict[Part, str] = {}
    ages: dict[str, int] = {}
    for age, commit in enumerate(log_since(repository, head, seen.head if seen else None)):
        ages[commit.id] = age
        for part in touched_by(commit):
            touched.setdefault(part, age)
            last_run.setdefault(part, commit.metadata.get("run_id", ""))
    not_read = len(ages)
    if seen is not None:
        # What was behind then was touched by that commit or before: only what was computed from it or later has it all.
        ages[seen.head] = not_read
        for part in seen.parts:
            touched.setdefault(part, not_read)
        not_read += 1
    # A commit that was not read is older than those that were, or unknown: it covers nothing that they touched.
    parts = sorted(
        part
        for part, age in touched.items()
        if (ages.get(marks[part].lake_commit, not_read) if part in marks else not_read) > age
    )
    return Behind(parts, _Seen.of(head, parts, marks).cursor(), last_run)


def log_since(repository: Repository, head: str, stop_at: str | None) -> Iterator[Commit]:
    """Main's commits from `head` back to `stop_at` (not included), newest first; all of them if it is not there any more."""
    from lakefs_sdk.exceptions import NotFoundException

    try:
        yield from repository.log(head, stop_at=stop_at)
    except NotFoundException:
        # the lake was restored to a time before that commit
        yield from repository.log(head)


def event_days(commit: Commit) -> list[date]:
    """The UTC days of the good rows that a publication brought; none for other commits."""
    return _days(commit.metadata.get("event_dates", "[]"))


def reached_days(commit: Commit) -> list[date] | None:
    """The UTC days, other than its `event_days`, that the finished sessions of a publication reach back into.

    None for a publication of an earlier version, which does not say.
    """
    listed = commit.metadata.get("reached_dates")
    return None if listed is None else _days(listed)


def _days(listed: str) -> list[date]:
    return [date.fromisoformat(day) for day in orjson.loads(listed)]
