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
        #: The files that each commit leaves on main.
        self.files: dict[str, frozenset[str]] = {}

    def publish(self, topic: str, *days: date, reached: list[date] | None = None, run_id: str = "a run") -> str:
        """Adds a publication with good rows of the given UTC days, made by a run; its commit's id.

        `reached` are the other days that its sessions reach into. None: a publication of an earlier version.
        """
        dates = {"event_dates": days} | ({} if reached is None else {"reached_dates": reached})
        return self.add(
            topic=topic,
            run_id=run_id,
            **{name: json.dumps([day.isoformat() for day in listed]) for name, listed in dates.items()},
        )

    def add(self, **metadata: str) -> str:
        number = len(self.commits) + 1
        self.commits.append(Commit(f"c{number}", "", _BEGAN + timedelta(minutes=number), metadata))
        return self.commits[-1].id

    def head(self, ref: str = MAIN) -> Commit:
        return self.commits[-1]

    def log(self, ref: str = MAIN, *, stop_at: str | None = None) -> Iterator[Commit]:
        self.readings.append(stop_at)
        newest = next(place for place, commit in enumerate(self.commits) if commit.id == ref)
        for commit in reversed(self.commits[: newest + 1]):
            if commit.id == stop_at:
                return
            yield commit

    def diff(self, left: str, right: str, *, prefix: str = "", is_past: bool = False) -> list[tuple[str, str]]:
        before, after = self.files[left], self.files[right]
        kinds = {"added": after - before, "removed": before - after}
        return [(kind, path) for kind, paths in kinds.items() for path in sorted(paths) if path.startswith(prefix)]
