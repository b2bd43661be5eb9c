"""The lake sensor: asks for the days, and the stations, that merges touched and the warehouse does not have yet."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg

from evcharge.connections import ServerDownError
from evcharge.warehouse.pending import pending_loads
from evcharge_assets.jobs import load_days_job, load_positions_job, load_stations_job
from evcharge_assets.partitions import contiguous
from evcharge_assets.resources import Platform
from evcharge_sensors.runs import backoff_left_s, recent_runs, unfinished

#: Ranges of days asked for in one tick; loads run one at a time, and the next tick asks for what is left.
RANGES_PER_TICK = 3

#: How often the running day of cars' positions is loaded at most: a load replaces whole days, and each publication touches
#: this one, whose telemetry grows to a million messages and more.
RUNNING_DAY_EVERY = timedelta(minutes=15)

_FIRST_DAY, _LAST_DAY = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@dg.sensor(
    jobs=[load_days_job, load_positions_job, load_stations_job],
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Compares main's commits with loaded_day and asks for the days and stations that are behind.",
)
def load_merged_days(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
    records = {
        job.name: recent_runs(context.instance, job.name)
        for job in (load_days_job, load_positions_job, load_stations_job)
    }
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
        requests += _days_requests(load_days_job.name, pending.days)
    positions = _due(pending.positions, records[load_positions_job.name])
    if positions and free(load_positions_job.name):
        requests += _days_requests(load_positions_job.name, positions)
    if not requests:
        waiting = len(pending.days) + len(pending.positions)
        return dg.SkipReason(f"{waiting} days wait for the running load, their time, or the next try after a failure")
    return dg.SensorResult(run_requests=requests)


def _due(days: list[date], records: list[dg.RunRecord]) -> list[date]:
    """The days without the running one, if that was loaded a short while ago."""
    now = datetime.now(UTC)

    def was_just_loaded(day: str) -> bool:
        for record in records:
            run, asked_at = record.dagster_run, record.create_timestamp.replace(tzinfo=UTC)
            last = run.tags.get(_LAST_DAY, run.tags.get("dagster/partition"))
            if run.status == dg.DagsterRunStatus.SUCCESS and last == day and now - asked_at < RUNNING_DAY_EVERY:
                return True
        return False

    return [day for day in days if day != now.date() or not was_just_loaded(day.isoformat())]


def _days_requests(job_name: str, days: list[date]) -> list[dg.RunRequest]:
    return [_days_request(job_name, *bounds) for bounds in contiguous(days)[:RANGES_PER_TICK]]


def _days_request(job_name: str, first: date, last: date) -> dg.RunRequest:
    # No run key: what is pending is known from the stores, and the same days may be asked for again.
    if first == last:
        return dg.RunRequest(job_name=job_name, partition_key=first.isoformat())
    return dg.RunRequest(job_name=job_name, tags={_FIRST_DAY: first.isoformat(), _LAST_DAY: last.isoformat()})
