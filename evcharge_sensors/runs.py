"""What sensors need to know of earlier runs."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from evcharge_assets.resources import SERVER_DOWN_TAG

#: How long a sensor waits after failures: doubling from the first to the last, so a server may take its time to return.
FIRST_BACKOFF_S = 15
LAST_BACKOFF_S = 120

FAILED = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


def recent_runs(instance: dg.DagsterInstance, job_name: str, limit: int = 20) -> list[dg.RunRecord]:
    """The newest runs of a job, newest first."""
    return list(instance.get_run_records(dg.RunsFilter(job_name=job_name), limit=limit))


def unfinished(records: list[dg.RunRecord]) -> dg.RunRecord | None:
    return next((r for r in records if r.dagster_run.status in NOT_FINISHED_STATUSES), None)


def backoff_left_s(records: list[dg.RunRecord], now: datetime | None = None) -> float:
    """Seconds still to wait after the failures that the newest runs ended in; 0 or less: go on."""
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
    return SERVER_DOWN_TAG in record.dagster_run.tags
