"""What publications have added to days since a commit, without reading those days again.

Main's log says which publications touched a day, and the diff of the two commits has the files. A rewrite of files, as
compaction is, announces no dates. Its files are read only where a new publication's rows may be in them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from evcharge.lake.layout import raw_prefix
from evcharge.lake.repository import Commit, Repository
from evcharge.lake.touched_days import event_days

#: Of more publications everything is read: their ids go into a query.
MOST_PUBLICATIONS = 1_000


@dataclass(frozen=True, slots=True)
class AddedRows:
    """Rows of a day that are new at a commit: those of `publications` in the files `paths`, or none."""

    paths: list[str]
    publications: list[str]


def added_rows(
    repository: Repository, topic: str, days: Iterable[date], since: str, commit: str
) -> dict[date, AddedRows]:
    """What each UTC day of a topic has at `commit`, beside what it had at the older commit `since`.

    Days are left out if rows may have gone or changed: a commit that is no publication announces them, or main was set back.
    So are days of more than MOST_PUBLICATIONS. Raises ServerDownError.
    """
    if not repository.is_ancestor(since, commit):
        return {}
    publications: dict[date, list[Commit]] = {day: [] for day in days}
    for entry in repository.log(commit, stop_at=since):
        if entry.metadata.get("topic") != topic:
            continue
        for day in publications.keys() & event_days(entry):
            if _is_publication(entry):
                publications[day].append(entry)
            else:
                del publications[day]
    found = {day: _of_day(repository, topic, day, since, commit, by) for day, by in publications.items()}
    return {day: rows for day, rows in found.items() if rows is not None}


def _is_publication(commit: Commit) -> bool:
    return commit.metadata.keys() >= {"publication_id", "range", "ingest_hour"}


def _of_day(
    repository: Repository, topic: str, day: date, since: str, commit: str, publications: list[Commit]
) -> AddedRows | None:
    if not publications:
        return AddedRows([], [])
    if len(publications) > MOST_PUBLICATIONS:
        return None
    changes = repository.diff(since, commit, prefix=raw_prefix(topic, day.isoformat()))
    if any(kind not in ("added", "removed") for kind, _ in changes):
        return None
    # a rewritten file stays in its ingest hour
    hours = {f"/ingest_hour={entry.metadata['ingest_hour']}/" for entry in publications}
    paths = [path for kind, path in changes if kind == "added" and any(hour in path for hour in hours)]
    return AddedRows(paths, sorted({entry.metadata["publication_id"] for entry in publications}))
