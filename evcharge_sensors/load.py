"""The lake sensor: asks for the days, and the stations, that merges touched and the warehouse does not have yet."""

from datetime import date

import dagster as dg

from evcharge.connections import ServerDownError
from evcharge.warehouse.pending import pending_loads
from evcharge_assets.jobs import load_days_job, load_stations_job
from evcharge_assets.partitions import contiguous
from evcharge_assets.resources import Platform
from evcharge_sensors.runs import backoff_left_s, recent_runs, unfinished

#: Ranges of days asked for in one tick; loads run one at a time, and the next tick asks for what is left.
RANGES_PER_TICK = 3


@dg.sensor(
    jobs=[load_days_job, load_stations_job],
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Compares main's commits with loaded_day and asks for the days and stations that are behind.",
)
def load_merged_days(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
    records = {job.name: recent_runs(context.instance, job.name) for job in (load_days_job, load_stations_job)}
    try:
        pending = pending_loads(platform.settings(), platform.repository(), since=context.cursor)
    except ServerDownError as error:
        context.log.error(str(error))
        return dg.SkipReason(str(error))
    if pending.nothing:
        return dg.SensorResult(skip_reason="the warehouse has all of main", cursor=pending.head)

    def free(job_name: str) -> bool:
        return unfinished(records[job_name]) is None and backoff_left_s(records[job_name]) <= 0

    requests = []
    if pending.stations and free(load_stations_job.name):
        requests.append(dg.RunRequest(job_name=load_stations_job.name))
    if pending.days and free(load_days_job.name):
        requests += [_days_request(*days) for days in contiguous(pending.days)[:RANGES_PER_TICK]]
    if not requests:
        return dg.SkipReason(f"{len(pending.days)} days wait for the running load, or for the next try after a failure")
    return dg.SensorResult(run_requests=requests)


def _days_request(first: date, last: date) -> dg.RunRequest:
    # No run key: what is pending is known from the stores, and the same days may be asked for again.
    if first == last:
        return dg.RunRequest(job_name=load_days_job.name, partition_key=first.isoformat())
    return dg.RunRequest(
        job_name=load_days_job.name,
        tags={
            "dagster/asset_partition_range_start": first.isoformat(),
            "dagster/asset_partition_range_end": last.isoformat(),
        },
    )
