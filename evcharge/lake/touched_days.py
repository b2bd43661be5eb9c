"""Finds what a store lacks: the days that main's commits touched since the store computed them.

A store keeps, for each of its parts (a day, or a day of a table), the commit that the part was computed from. A part lacks
something if a newer commit on main touched it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import TypeVar

from evcharge.lake.repository import Commit, Repository

#: A day, or a day of a table.
Part = TypeVar("Part", date, tuple[str, date])


def touched_since_computed(
    repository: Repository,
    head: str,
    touched_by: Callable[[Commit], Iterable[Part]],
    computed_from: Mapping[Part, str],
    since: str | None = None,
) -> list[Part]:
    """The parts, sorted, that commits up to `head` touched after the commit that the part was computed from.

    `since` is a commit at which nothing was lacking. It only saves reading: None reads the whole log. Raises
    ServerDownError.
    """
    # A store without parts lost its data or was made anew: `since` was true of the old one.
    stop_at = since if computed_from else None
    touched: dict[Part, int] = {}
    ages: dict[str, int] = {}
    for age, commit in enumerate(repository.log(head, stop_at=stop_at)):
        ages[commit.id] = age
        for part in touched_by(commit):
            touched.setdefault(part, age)
    # A commit that was not read is older than those that were, or unknown: it covers nothing that they touched.
    not_read = len(ages)
    return sorted(part for part, age in touched.items() if ages.get(computed_from.get(part, ""), not_read) > age)


def event_days(commit: Commit) -> list[date]:
    """The UTC days of the good rows that a publication brought; none for other commits."""
    return [date.fromisoformat(day) for day in json.loads(commit.metadata.get("event_dates", "[]"))]
