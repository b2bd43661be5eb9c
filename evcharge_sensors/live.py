"""The sensor that keeps the stream alive, and the sensor that requests final hours from the lake."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg

from evcharge.connections import ServerDownError
from evcharge.live.pending_hours import pending_hours
from evcharge.live.stream_lock import is_running, stands_in
from evcharge_assets.jobs import check_state_job, load_hours_job
from evcharge_assets.live import STATION_STATE, STREAM_JOB
from evcharge_assets.partitions import contiguous, hour_key
from evcharge_assets.resources import Platform
from evcharge_sensors.runs import RANGES_PER_TICK, backoff_left_s, range_request, recent_runs, unfinished, why_wait

#: The time that a run may need from its launch until it holds the stream's lock.
STARTING_S = 90
#: The same beside a stand-in, whose place it takes once its own Spark runs: on a machine that is still building the platform.
TAKING_OVER_S = 300
#: So long an evaluation of the state's checks counts. A running stream says itself what has changed, unless it hangs.
CHECKED_FOR_S, CHECKED_BY_STREAM_FOR_S = 540, 3_540


@dg.sensor(
    job_name=STREAM_JOB,
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts the live stream if none runs on the platform, in Dagster or outside it. It takes over from a stand-in.",
)
def keep_stream_alive(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
    settings = platform.settings()
    if settings.profile == "small":
        return dg.SkipReason("EVCHARGE_PROFILE is small: there are no live stores")
    # The lock decides, not the run's status: a killed run loses it at once, and a stream outside Dagster holds it too.
    hands_over = stands_in(settings)
    if is_running(settings) and not hands_over:
        return dg.SkipReason("the stream runs")
    records = recent_runs(context.instance, STREAM_JOB)
    starting = unfinished(records)
    if starting is not None:
        age = datetime.now(UTC) - starting.create_timestamp.replace(tzinfo=UTC)
        if age < timedelta(seconds=TAKING_OVER_S if hands_over else STARTING_S):
            return dg.SkipReason(f"run {starting.dagster_run.run_id} is starting")
    finished = [record for record in records if record is not starting]
    # A stream that ran for a while was killed and is not broken: it starts again at once.
    wait_s = 0.0 if finished and _ran_s(finished[0]) > STARTING_S else backoff_left_s(finished)
    if wait_s > 0:
        return dg.SkipReason(f"the last run failed; next try in {wait_s:.0f} s")
    return dg.SensorResult(run_requests=[dg.RunRequest()])


def _ran_s(record: dg.RunRecord) -> float:
    if record.start_time is None or record.end_time is None:
        return 0.0
    return record.end_time - record.start_time


@dg.sensor(
    job=load_hours_job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Compares main's commits with the days in usage_days and requests the final hours that are behind.",
)
def load_closed_hours(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
    settings = platform.settings()
    if settings.profile == "small":
        return dg.SkipReason("EVCHARGE_PROFILE is small: there is no Cassandra")
    waits = why_wait(recent_runs(context.instance, load_hours_job.name))
    if waits:
        return dg.SkipReason(waits)
    now = datetime.now(UTC)
    try:
        pending = pending_hours(settings, platform.repository(), now, since=context.cursor)
    except ServerDownError as error:
        context.log.error(str(error))
        return dg.SkipReason(str(error))
    if pending.days:
        return dg.SensorResult(
            run_requests=[_request(*days, now) for days in contiguous(pending.days)[:RANGES_PER_TICK]]
        )
    waits = "the running hour is served by the stream until it is over"
    return dg.SensorResult(skip_reason=waits if pending.running else "Cassandra has all of main", cursor=pending.cursor)


def _request(first: date, last: date, now: datetime) -> dg.RunRequest:
    begin = datetime.combine(first, datetime.min.time(), UTC)
    end = min(datetime.combine(last, datetime.min.time(), UTC) + timedelta(hours=23), now)
    return range_request(load_hours_job.name, hour_key(begin), hour_key(end))


@dg.schedule(
    name="check_station_state_regularly",
    job=check_state_job,
    cron_schedule="*/10 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Has the checks of the station state evaluated if nobody has done so for ten minutes, or for an hour while the "
    "stream runs, which evaluates them itself.",
)
def check_state_schedule(context: dg.ScheduleEvaluationContext, platform: Platform) -> dg.RunRequest | dg.SkipReason:
    fresh = dg.AssetCheckKey(STATION_STATE, "stream_is_fresh")
    last = context.instance.event_log_storage.get_latest_asset_check_execution_by_key([fresh]).get(fresh)
    counts_for_s = CHECKED_BY_STREAM_FOR_S if is_running(platform.settings()) else CHECKED_FOR_S
    if last is not None and context.scheduled_execution_time.timestamp() - last.create_timestamp < counts_for_s:
        return dg.SkipReason("they were evaluated lately")
    return dg.RunRequest()
