"""Earlier runs of a job: what sensors read from them before they request another."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from evcharge.lake.parked import counts_as_attempt

#: How long a sensor waits after failures. Each failure doubles the wait, up to the last value: a server may need a while to
#: come back.
FIRST_BACKOFF_S = 15
LAST_BACKOFF_S = 120

_FIRST, _LAST = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"

#: Ranges of partitions that one tick requests at most. Loads run one at a time, and the next tick requests the rest.
RANGES_PER_TICK = 3

FAILED = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


def recent_runs(instance: dg.DagsterInstance, job_name: str, limit: int = 20) -> list[dg.RunRecord]:
    """The newest runs of a job, newest first."""
    return list(instance.get_run_records(dg.RunsFilter(job_name=job_name), limit=limit))


def unfinished(records: list[dg.RunRecord]) -> dg.RunRecord | None:
    return next((r for r in records if r.dagster_run.status in NOT_FINISHED_STATUSES), None)


def backoff_left_s(records: list[dg.RunRecord], now: datetime | None = None) -> float:
    """Seconds left to wait after the newest runs failed in a row; 0 or less: no need to wait."""
    failures = 0
    for record in records:
        if record.dagster_run.status not in FAILED:
            break
        failures += 1
    if failures == 0:
        return 0.0
    ended = records[0].end_time or records[0].update_timestamp.replace(tzinfo=UTC).timestamp()
    wait = min(FIRST_BACKOFF_S * 2.0 ** (failures - 1), LAST_BACKOFF_S)
    return wait - ((now or datetime.now(UTC)).timestamp() - ended)


def server_was_down(record: dg.RunRecord) -> bool:
    return not counts_as_attempt(record.dagster_run.tags)


def range_request(job_name: str, first: str, last: str) -> dg.RunRequest:
    """A request for a run over the partitions from `first` to `last`.

    It has no run key: the stores show what is pending, and the same partitions may be requested again.
    """
    if first == last:
        return dg.RunRequest(job_name=job_name, partition_key=first)
    return dg.RunRequest(job_name=job_name, tags={_FIRST: first, _LAST: last})


def why_wait(records: list[dg.RunRecord]) -> str | None:
    """Why no run of a job may be requested now, given its newest runs; None: it may be."""
    busy = unfinished(records)
    if busy is not None:
        return f"run {busy.dagster_run.run_id} is not finished"
    wait_s = backoff_left_s(records)
    return f"the last run failed; next try in {wait_s:.0f} s" if wait_s > 0 else None
