"""Main's log in memory: a repository without lakeFS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from evcharge.lake.repository import MAIN, Commit, Repository

_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class MainLog(Repository):
    """Commits named c1, c2, … in the order in which they are added."""

    def __init__(self) -> None:
        self.commits: list[Commit] = []
        #: The `stop_at` of every reading of the log.
        self.readings: list[str | None] = []

    def publish(self, topic: str, *days: date) -> str:
        """Adds a publication with good rows of the given UTC days; its commit's id."""
        return self.add(topic=topic, event_dates=json.dumps([day.isoformat() for day in days]))

    def add(self, **metadata: str) -> str:
        number = len(self.commits) + 1
        self.commits.append(Commit(f"c{number}", "", _BEGAN + timedelta(minutes=number), metadata))
        return self.commits[-1].id

    def head(self, ref: str = MAIN) -> Commit:
        return self.commits[-1]

    def log(self, ref: str = MAIN, *, stop_at: str | None = None, first_parent: bool = True) -> Iterator[Commit]:
        self.readings.append(stop_at)
        newest = next(place for place, commit in enumerate(self.commits) if commit.id == ref)
        for commit in reversed(self.commits[: newest + 1]):
            if commit.id == stop_at:
                return
            yield commit
