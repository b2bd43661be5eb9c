"""The lake sensor asks for loads of the days and stations that merges touched and the warehouse does not have yet.

A run that publishes loads what it published. The sensor asks for the rest: days that are backfilled or were published by other
runs, and what such a run could not load.
"""

from datetime import date

import dagster as dg

from evcharge.connections import ServerDownError
from evcharge.disk import require_room
from evcharge.lake.parked import PUBLISH_JOB
from evcharge.warehouse.pending_loads import Pending, pending_loads
from evcharge_assets.jobs import load_days_job, load_positions_job, load_stations_job
from evcharge_assets.partitions import contiguous
from evcharge_assets.publishing import LOADS_TAG
from evcharge_assets.resources import Platform
from evcharge_sensors.runs import RANGES_PER_TICK, range_request, recent_runs, unfinished, why_wait


@dg.sensor(
    jobs=[load_days_job, load_positions_job, load_stations_job],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Compares main's commits with loaded_day and asks for the days and stations that are behind.",
)
def load_merged_days(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
    records = {
        job.name: recent_runs(context.instance, job.name)
        for job in (load_days_job, load_positions_job, load_stations_job)
    }
    publishing = unfinished(recent_runs(context.instance, PUBLISH_JOB, limit=1))
    loads_itself = publishing is not None and publishing.dagster_run.tags.get(LOADS_TAG) == "yes"
    left_to = publishing.dagster_run.run_id if publishing is not None and loads_itself else None
    try:
        require_room(platform.settings(), "clickhouse")
        pending = pending_loads(platform.settings(), platform.repository(), since=context.cursor, left_to=left_to)
    except ServerDownError as error:
        context.log.error(str(error))
        return dg.SkipReason(str(error))
    if pending.nothing:
        return dg.SensorResult(skip_reason=_all_loaded(pending), cursor=None if pending.left else pending.cursor)

    def free(job_name: str) -> bool:
        return why_wait(records[job_name]) is None

    requests = []
    if pending.stations and free(load_stations_job.name):
        requests.append(dg.RunRequest(job_name=load_stations_job.name))
    if pending.days and free(load_days_job.name):
        requests += _days_requests(load_days_job.name, pending.days)
    if pending.positions and free(load_positions_job.name):
        requests += _days_requests(load_positions_job.name, pending.positions)
    if not requests:
        waiting = len(pending.days) + len(pending.positions)
        return dg.SkipReason(f"{waiting} days wait: for the running load, or for the next try after a failure")
    return dg.SensorResult(run_requests=requests)


def _all_loaded(pending: Pending) -> str:
    if pending.left:
        return "the publishing run loads what it has published"
    later = ", ".join(day.isoformat() for day in pending.later)
    # Producers' clocks may be ahead, and Dagster has no partition of a day that has not begun.
    return f"the warehouse has all of main{f', but for {later}: a day is loaded once it has begun' if later else ''}"


def _days_requests(job_name: str, days: list[date]) -> list[dg.RunRequest]:
    ranges = contiguous(days)[:RANGES_PER_TICK]
    return [range_request(job_name, first.isoformat(), last.isoformat()) for first, last in ranges]
