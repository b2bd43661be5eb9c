"""Maintenance of the lake: what has to be done now and then, so that history costs nothing.

Branches that a kill left are deleted. Then the small files of ingest hours are joined:

    1. plan     which ingest hours have small files, from a commit of main (waiting_hours.py)
    2. compact  on a branch from that commit: files, manifests, the note of what was done, one commit (compaction.py)
    3. check    the same rows, and nothing else changed
    4. merge    a plain merge; every maintenance changes the note, so of two beside each other lakeFS refuses the second

A call does this a portion at a time, each with a commit of its own, until nothing is left or its time is over. If it is killed
between any two steps, main has the portion or not, and the next call continues.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any

from evcharge.disk import require_room
from evcharge.errors import UserError
from evcharge.lake.abandoned_branches import abandoned_branches, seen_branches
from evcharge.lake.candidate import OnStep
from evcharge.lake.compaction import (
    CompactedHour,
    Figures,
    HourPlan,
    RefusedHourError,
    check_compacted,
    compact_hour,
    plan_hour,
)
from evcharge.lake.known_stations import note_stations
from evcharge.lake.layout import KNOWN_STATIONS_PATH
from evcharge.lake.repository import MergeConflictError, Repository
from evcharge.lake.row_digest import Digest
from evcharge.lake.waiting_hours import PATH, Hour, Waiting, quarantined_hours, waiting_hours
from evcharge.log import log
from evcharge.settings import Settings

#: Files that one commit replaces, and their bytes, about: a killed maintenance repeats no more than this.
PORTION_FILES = 1_000
PORTION_BYTES = 500_000_000
BRANCH_PREFIX = "maintain-"
#: How ingest hours are written.
_HOUR = "%Y-%m-%d-%H"

#: Holds whatever keeps a merge from being beside another one.
Merging = Callable[[], AbstractContextManager[None]]


class MaintainedBesideError(UserError):
    """Another maintenance was merged meanwhile."""


@dataclass
class Maintained:
    """What a call did, or with `--dry-run` would do: figures by topic, hours that it refused, and its commits on main.

    `hours_left` counts the hours that are over and wait for the next call, `branches` has the abandoned ones that it deleted.
    """

    figures: dict[str, Figures] = field(default_factory=dict)
    refused: dict[Hour, str] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    hours_left: int = 0
    branches: list[str] = field(default_factory=list)

    def add(self, figures: dict[str, Figures]) -> None:
        for topic, own in figures.items():
            self.figures.setdefault(topic, Figures()).add(own)

    def to_json(self) -> dict[str, Any]:
        return {
            "topics": {topic: asdict(own) for topic, own in sorted(self.figures.items())},
            "refused": [{**hour._asdict(), "reason": reason} for hour, reason in sorted(self.refused.items())],
            "commits": self.commits,
            "hours_left": self.hours_left,
            "branches_deleted": self.branches,
        }


@dataclass(frozen=True, slots=True)
class _Portion:
    """What one commit does: the hours to compact, all hours of it that are over, and those that wait for the next one."""

    plans: list[HourPlan]
    over: list[Hour]
    left: list[Hour]
    #: hours that sort before it have no messages in quarantine any more, except for those that are unforgotten
    forgotten_to: str
    unforgotten: frozenset[Hour]


def maintain(
    settings: Settings,
    repository: Repository,
    run_id: str,
    *,
    dry_run: bool = False,
    now: datetime | None = None,
    merging: Merging = nullcontext,
    on_step: OnStep = lambda step: None,
    on_progress: Callable[[Maintained], None] = lambda so_far: None,
) -> Maintained:
    """Deletes abandoned branches and compacts what waits, for about `maintain_s` seconds. With `dry_run` nothing is changed.

    `merging` is held during each merge, `on_step` gets the name of each step that is done. Raises MaintainedBesideError,
    ServerDownError, NoRoomError.
    """
    now = now or datetime.now(UTC)
    running = now.strftime(_HOUR)
    ends_at = time.monotonic() + settings.maintain_s
    done = Maintained()
    branches = _left_branches(settings, repository, now, done, dry_run=dry_run)
    if not dry_run:
        require_room(settings, "minio")
        repository.keep_history(settings.lake_history_days)
    on_step("branches deleted")
    work = _Work(settings, repository, run_id, branches, merging, on_step)
    looked_at: set[Hour] = set()
    has_looked = False
    while True:
        waiting = waiting_hours(repository, repository.head().id)
        old = _old_quarantine(settings, repository, waiting, now)
        left_alone = {*waiting.refused, *done.refused}
        hours = sorted((waiting.hours | old).difference(looked_at, left_alone))
        portion = _plan(settings, repository, waiting, hours, old, left_alone, running, ends_at)
        on_step("planned")
        has_news = not has_looked and (waiting.has_news or branches != waiting.branches)
        has_news |= not done.refused.keys() <= waiting.refused.keys()
        has_looked = True
        try:
            if dry_run:
                done.add(_expected(settings, portion.plans))
            elif portion.over or portion.plans or has_news:
                work.do(portion, waiting, done)
            is_noted = True
            looked_at.update(set(hours).difference(portion.left))
        except RefusedHourError as error:
            log.warning("an hour of the lake is not compacted", hour=error.hour, reason=error.reason)
            done.refused[error.hour] = error.reason
            portion.left.append(error.hour)
            is_noted = False
        done.hours_left = sum(hour.ingest_hour < running for hour in portion.left)
        on_progress(done)
        if not portion.left or time.monotonic() >= ends_at:
            break
    if not is_noted:
        # else the next call would begin with the hours that were refused last
        waiting = waiting_hours(repository, repository.head().id)
        work.do(_Portion([], [], [], waiting.forgotten_to, waiting.unforgotten), waiting, done)
    return done


def _left_branches(
    settings: Settings, repository: Repository, now: datetime, done: Maintained, *, dry_run: bool
) -> dict[str, str]:
    """Deletes the abandoned branches, and says when the others were first seen."""
    note = repository.read_json(repository.head().id, PATH) or {}
    seen = seen_branches(repository, note.get("branches", {}), now)
    done.branches = abandoned_branches(repository, seen, now, timedelta(hours=settings.left_branch_h))
    for name in done.branches if not dry_run else ():
        repository.delete_branch(name)
    return {name: at for name, at in seen.items() if name not in done.branches}


def _old_quarantine(settings: Settings, repository: Repository, waiting: Waiting, now: datetime) -> frozenset[Hour]:
    """The hours whose quarantined rows are so old that they lose their messages."""
    if not settings.quarantine_days:
        return frozenset()
    before = (now - timedelta(days=settings.quarantine_days)).strftime(_HOUR)
    return quarantined_hours(repository, waiting.seen, waiting.forgotten_to, before)


def _plan(
    settings: Settings,
    repository: Repository,
    waiting: Waiting,
    hours: list[Hour],
    old: frozenset[Hour],
    left_alone: set[Hour],
    running: str,
    ends_at: float,
) -> _Portion:
    """The first of the `hours`; those of `old` quarantine lose their messages too.

    Of the ones that are `left_alone` it notes which have to lose theirs once they come back.
    """
    forgets = old | (waiting.unforgotten if settings.quarantine_days else frozenset())
    plans: list[HourPlan] = []
    over: list[Hour] = []
    files = size = 0
    left = list(hours)
    while left:
        hour = left.pop(0)
        is_running = hour.ingest_hour >= running
        plan = plan_hour(settings, repository, waiting.seen, hour, is_running=is_running, forgets=hour in forgets)
        if not plan.nothing:
            plans.append(plan)
        if not is_running:
            over.append(hour)
        files, size = files + plan.files, size + plan.bytes
        if files >= PORTION_FILES or size >= PORTION_BYTES or time.monotonic() >= ends_at:
            break
    not_yet = [hour.ingest_hour for hour in old.intersection(left)]
    # a tilde comes after every path of its hour
    forgotten = [f"{hour.ingest_hour}~" for hour in old] or [waiting.forgotten_to]
    unforgotten = waiting.unforgotten.union(old & left_alone).difference(over if settings.quarantine_days else ())
    return _Portion(plans, over, left, min(not_yet, default=max(forgotten)), unforgotten)


@dataclass(frozen=True)
class _Work:
    """How a portion gets to main."""

    settings: Settings
    repository: Repository
    run_id: str
    branches: dict[str, str]
    merging: Merging
    on_step: OnStep

    def do(self, portion: _Portion, waiting: Waiting, done: Maintained) -> None:
        """Compacts a portion, checks and merges it, and adds it to what is done. Raises RefusedHourError."""
        repository, base = self.repository, waiting.seen
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{token_hex(4)}"
        branch = f"{BRANCH_PREFIX}{name}"
        repository.create_branch(branch, base)
        self.on_step("branch created")
        try:
            hours = [compact_hour(self.settings, repository, base, branch, plan, name) for plan in portion.plans]
            self.on_step("files written")
            may_change = {PATH}
            if note_stations(repository, branch, base):
                may_change.add(KNOWN_STATIONS_PATH)
            note = waiting.note(
                portion.over, done.refused, self.branches, portion.forgotten_to, portion.unforgotten, branch
            )
            repository.write_json(branch, PATH, note)
            self.on_step("note written")
            message, metadata = self._said(hours, waiting)
            commit = repository.commit(branch, message, metadata)
            self.on_step("committed")
            figures = check_compacted(self.settings, repository, base, commit.id, hours, may_change)
            self.on_step("checked")
            with self.merging():
                done.commits.append(repository.merge(branch, message, metadata))
            self.on_step("merged")
            done.add(figures)
        except MergeConflictError as error:
            raise MaintainedBesideError(
                "another maintenance of the lake was merged meanwhile; nothing is lost"
            ) from error
        finally:
            repository.delete_branch(branch)
        self.on_step("branch deleted")

    def _said(self, hours: list[CompactedHour], waiting: Waiting) -> tuple[str, dict[str, str]]:
        """Message and metadata of the commit. It has no topic and no dates: nobody has to load anything."""
        digest = sum((hour.digest for hour in hours), Digest())
        before, after = sum(len(hour.removed) for hour in hours), sum(len(hour.added) for hour in hours)
        return (
            f"maintain: {before} files of {len(hours)} hours become {after}, {digest.rows} rows",
            {
                "maintenance": "compaction",
                "run_id": self.run_id,
                "seen": waiting.seen,
                "rows": str(digest.rows),
                "row_hash": str(digest),
                "files_before": str(before),
                "files_after": str(after),
            },
        )


def _expected(settings: Settings, plans: list[HourPlan]) -> dict[str, Figures]:
    """What the plans find, and what is probably left of it."""
    figures: dict[str, Figures] = {}
    for plan in plans:
        own = Figures(
            hours=1,
            files_before=plan.files,
            files_after=plan.files_after(settings),
            bytes_before=plan.bytes,
            bytes_after=plan.bytes,
            manifests_before=len(plan.manifests),
            manifests_after=1,
        )
        figures.setdefault(plan.hour.topic, Figures()).add(own)
    return figures
