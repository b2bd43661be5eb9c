"""Takes along what Dagster wrote in an older version's files: the events of each run in a file of its own.

`history/runs/index.db` has the events that Dagster's pages read across runs, and `history/runs/<run>.db` has all events of
one run. They become one file, `history/event_log.db`. Events keep their ids, since others refer to them: those of assets and
checks are copied as they are, and the rest of each run's log comes after them. Nothing runs meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from evcharge.stack.errors import StackError

#: The types of events that `index.db` has with the ids by which others refer to them (dagster._core.events, 1.13).
_REFERRED_TO = (
    "ASSET_MATERIALIZATION",
    "ASSET_MATERIALIZATION_PLANNED",
    "ASSET_OBSERVATION",
    "ASSET_FAILED_TO_MATERIALIZE",
    "FRESHNESS_STATE_CHANGE",
    "ASSET_CHECK_EVALUATION",
    "ASSET_CHECK_EVALUATION_PLANNED",
)
_UNREFERENCED = (
    "(dagster_event_type IS NULL OR dagster_event_type NOT IN ("
    + ", ".join(f"'{kind}'" for kind in _REFERRED_TO)
    + "))"
)
#: What SQLite says of a file that is damaged, or that a process left when it was killed at its first write.
_UNREADABLE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
_COLUMNS = "run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition"
_REPORT_EVERY_S = 1.0

Report = Callable[[str], None]
"""Called with how far it is."""


def take_history_along(dagster_home: Path, log_days: int, report: Report) -> None:
    """Moves the events of an older version into `event_log.db`; nothing happens where there are none.

    The logs of runs that succeeded more than `log_days` ago are left behind, as they would be pruned at once. The old files
    are removed when the new one is whole. It can be killed at any moment, and the next call does what is missing. A file
    that cannot be read stays in `history/unreadable`. Raises StackError, for example on a full disk: the old files are then
    complete.
    """
    history = dagster_home / "history"
    old, done_with, new, unfinished = (
        history / name for name in ("runs", "runs.taken", "event_log.db", "event_log.unfinished")
    )
    if not done_with.exists():
        if new.exists() or not (old / "index.db").exists():
            return
        try:
            _write(old, history, unfinished, log_days, report)
        except (sqlite3.Error, OSError) as error:
            raise StackError(
                f"Dagster's history in {old} cannot be taken along: {error}. It is complete; `make up` tries it again"
            ) from error
        old.rename(done_with)
    if not new.exists():
        unfinished.rename(new)
    shutil.rmtree(done_with)
    report("has its history in one file")


def _write(old: Path, history: Path, target: Path, log_days: int, report: Report) -> None:
    _remove(target)
    with _opened(old / "index.db") as index:
        index.execute("PRAGMA auto_vacuum = INCREMENTAL")
        index.execute("VACUUM INTO ?", (str(target),))
    with _opened(target) as events:
        # a file that is not whole is written anew
        events.execute("PRAGMA journal_mode = MEMORY")
        events.execute("PRAGMA synchronous = OFF")
        runs = [run_id for run_id in _runs_with_logs(history, log_days) if (old / f"{run_id}.db").exists()]
        reported_at = 0.0
        for number, run_id in enumerate(runs):
            if time.monotonic() - reported_at > _REPORT_EVERY_S:
                reported_at = time.monotonic()
                report(f"takes its history along: {number:,} of {len(runs):,} runs")
            try:
                _take_log(events, old / f"{run_id}.db", run_id)
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorcode & 0xFF not in _UNREADABLE:
                    raise
                _keep(old, run_id, history / "unreadable")
        events.execute("PRAGMA journal_mode = WAL")
    _to_disk(target)


def _runs_with_logs(history: Path, log_days: int) -> list[str]:
    """The ids of the runs whose logs are taken along, oldest first."""
    with _opened(history / "runs.db") as runs:
        query = "SELECT run_id FROM runs WHERE status <> 'SUCCESS' OR end_time IS NULL OR end_time >= ? ORDER BY id"
        return [run_id for (run_id,) in runs.execute(query, (time.time() - log_days * 86_400,))]


def _take_log(events: sqlite3.Connection, file: Path, run_id: str) -> None:
    """Adds to `events` what the run's file has and `events` has not under an id that others refer to."""
    events.execute("ATTACH ? AS run", (str(file),))
    try:
        with _transaction(events):
            # how the run went, of which `index.db` has copies, comes to its place in the log
            events.execute(f"DELETE FROM main.event_logs WHERE run_id = ? AND {_UNREFERENCED}", (run_id,))
            events.execute(
                f"INSERT INTO main.event_logs ({_COLUMNS}) SELECT {_COLUMNS} FROM run.event_logs "
                f"WHERE {_UNREFERENCED} ORDER BY id"
            )
    finally:
        events.execute("DETACH run")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        yield connection


def _keep(old: Path, run_id: str, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for file in old.glob(f"{run_id}.db*"):
        shutil.copy2(file, folder)


def _remove(database: Path) -> None:
    for file in database.parent.glob(f"{database.name}*"):
        file.unlink()


def _to_disk(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
