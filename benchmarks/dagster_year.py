"""What Dagster's files will take after a year, from what they grew by in a short time.

Of a run's rows some stay for `run_log_days` days, some for `run_days` days, and some for ever. How many are which is found by
pruning: a copy of the files is pruned as if so many days had passed. By then the runs that now go on have ended, but for the
stream's, which never does; and those that are in use now, of each job the newest for example, have been followed by others.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from benchmarks.dagster_history import used_bytes
from benchmarks.dagster_pages import CONFIGURATION
from evcharge.settings import Settings
from evcharge_assets.live import STREAM_JOB
from evcharge_assets.pruning import prune

DAYS = 365
DAY_S = 86_400
#: How long `dagster.yaml` keeps a sensor's tick that asked for a run. Others it keeps for a day, so this is more than will be.
TICK_DAYS = 14


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes of Dagster's files: of runs and events now, once the logs are pruned, and once the runs are; and of ticks."""

    now: int
    without_logs: int
    without_runs: int
    ticks: int


def kept(home: Path, settings: Settings) -> Kept:
    """Of the files in a Dagster home, which may be in use. They are copied."""
    with TemporaryDirectory(prefix="evcharge-dagster-") as folder:
        copy = Path(folder)
        for file in home.rglob("*.db"):
            _copy(file, copy / file.relative_to(home))
        (copy / "dagster.yaml").write_text(CONFIGURATION.format(home=copy))
        now, pruned = datetime.now(UTC), list[int]()
        before = used_bytes(copy / "history")
        with dg.DagsterInstance.from_config(str(copy)) as instance:
            _end_runs(copy / "history" / "runs.db", now)
            for days in (settings.run_log_days, settings.run_days):
                # all that has ended by now is then older than this
                later = now + timedelta(days=days, minutes=1)
                prune(instance, log_days=settings.run_log_days, run_days=settings.run_days, now=later, in_use=())
                pruned.append(used_bytes(copy / "history"))
        without_logs, without_runs = pruned
        return Kept(before, without_logs, without_runs, used_bytes(copy / "schedules"))


def bytes_a_day(before: Kept, after: Kept, seconds: float) -> float:
    """How much a day adds, before anything is pruned."""
    return (after.now - before.now + after.ticks - before.ticks) * DAY_S / seconds


def bytes_after_a_year(before: Kept, after: Kept, seconds: float, settings: Settings) -> float:
    """What the files take after a year like the `seconds` between both, pruned daily."""
    logs_days = settings.run_log_days
    runs_days = max(settings.run_days, logs_days) - logs_days
    grown = (
        (after.now - before.now) * logs_days
        + (after.without_logs - before.without_logs) * runs_days
        + (after.without_runs - before.without_runs) * (DAYS - logs_days - runs_days)
        + (after.ticks - before.ticks) * TICK_DAYS
    )
    return before.without_runs + before.ticks + grown * DAY_S / seconds


def _copy(file: Path, target: Path) -> None:
    """Copies a database with what its log has, at one moment."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)


def _end_runs(file: Path, now: datetime) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        unfinished = [status.value for status in NOT_FINISHED_STATUSES]
        database.execute(
            "UPDATE runs SET status = ?, end_time = ? WHERE pipeline_name <> ? "
            f"AND status IN ({', '.join('?' * len(unfinished))})",
            (dg.DagsterRunStatus.SUCCESS.value, now.timestamp(), STREAM_JOB, *unfinished),
        )
