"""What publications have added to days since a commit, without reading those days again.

Main's log says which publications touched a day, and the diff of the two commits has the files. A rewrite of files, as
compaction is, announces no dates. Its files are read only where a new publication's rows may be in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from itertools import islice

from evcharge.lake.layout import raw_prefix
from evcharge.lake.repository import Commit, Repository
from evcharge.lake.touched_days import event_days

#: Of more publications everything is read: their ids go into a query.
MOST_PUBLICATIONS = 1_000
#: So far back main's log is read, which takes about a second. A day that was loaded before is read as a whole.
MOST_COMMITS = 10_000


@dataclass(frozen=True, slots=True)
class AddedRows:
    """Rows of a day that are new at a commit: those of `publications` in the files `paths`, or none."""

    paths: list[str]
    publications: list[str]


def added_rows(repository: Repository, topic: str, since: Mapping[date, str], commit: str) -> dict[date, AddedRows]:
    """What each UTC day of a topic has at `commit`, beside what it had at its older commit, which `since` has.

    Days are left out if rows may have gone or changed: a commit that is no publication announces them, or main was set back.
    So are days of more than MOST_PUBLICATIONS, and those whose commit is not among the last MOST_COMMITS. Raises
    ServerDownError.
    """
    open_days = dict(since)
    publications: dict[date, list[Commit]] = {}
    for entry in islice(repository.log(commit), MOST_COMMITS + 1):
        for day in [day for day, loaded_from in open_days.items() if loaded_from == entry.id]:
            publications.setdefault(day, [])
            del open_days[day]
        if not open_days:
            break
        if entry.metadata.get("topic") != topic:
            continue
        for day in open_days.keys() & event_days(entry):
            if _is_publication(entry):
                publications.setdefault(day, []).append(entry)
            else:
                publications.pop(day, None)
                del open_days[day]
    found = {
        day: _of_day(repository, topic, day, since[day], commit, by)
        for day, by in publications.items()
        if day not in open_days
    }
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
    changes = repository.diff(since, commit, prefix=raw_prefix(topic, day.isoformat()), is_past=True)
    if any(kind not in ("added", "removed") for kind, _ in changes):
        return None
    # a rewritten file stays in its ingest hour
    hours = {f"/ingest_hour={entry.metadata['ingest_hour']}/" for entry in publications}
    paths = [path for kind, path in changes if kind == "added" and any(hour in path for hour in hours)]
    return AddedRows(paths, sorted({entry.metadata["publication_id"] for entry in publications}))
