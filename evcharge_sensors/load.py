"""The lake sensor asks for loads of the days and stations that merges touched and the warehouse does not have yet."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg

from evcharge.connections import ServerDownError
from evcharge.warehouse.pending_loads import Pending, pending_loads
from evcharge_assets.jobs import load_days_job, load_positions_job, load_stations_job
from evcharge_assets.partitions import contiguous
from evcharge_assets.resources import Platform
from evcharge_sensors.runs import LAST_PARTITION, RANGES_PER_TICK, range_request, recent_runs, why_wait

#: The running day of cars' positions is loaded at most this often. A load replaces whole days, every publication touches
#: this day, and its telemetry grows to a million messages and more.
RUNNING_DAY_EVERY = timedelta(minutes=15)


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
        return dg.SensorResult(skip_reason=_all_loaded(pending), cursor=pending.cursor)

    def free(job_name: str) -> bool:
        return why_wait(records[job_name]) is None

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
        return dg.SkipReason(
            f"{waiting} days wait: for the running load, for their time, or for the next try after a failure"
        )
    return dg.SensorResult(run_requests=requests)


def _all_loaded(pending: Pending) -> str:
    later = ", ".join(day.isoformat() for day in pending.later)
    # Producers' clocks may be ahead, and Dagster has no partition of a day that has not begun.
    return f"the warehouse has all of main{f', but for {later}: a day is loaded once it has begun' if later else ''}"


def _due(days: list[date], records: list[dg.RunRecord]) -> list[date]:
    """The days, without the running one if it was loaded less than RUNNING_DAY_EVERY ago."""
    now = datetime.now(UTC)

    def was_just_loaded(day: str) -> bool:
        for record in records:
            run, created_at = record.dagster_run, record.create_timestamp.replace(tzinfo=UTC)
            last = run.tags.get(LAST_PARTITION, run.tags.get("dagster/partition"))
            if run.status == dg.DagsterRunStatus.SUCCESS and last == day and now - created_at < RUNNING_DAY_EVERY:
                return True
        return False

    return [day for day in days if day != now.date() or not was_just_loaded(day.isoformat())]


def _days_requests(job_name: str, days: list[date]) -> list[dg.RunRequest]:
    ranges = contiguous(days)[:RANGES_PER_TICK]
    return [range_request(job_name, first.isoformat(), last.isoformat()) for first, last in ranges]
