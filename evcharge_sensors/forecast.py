"""The schedule that trains the forecast's model: at once when there is something to learn from, then daily."""

from datetime import UTC, datetime

import dagster as dg

from evcharge.connections import ServerDownError
from evcharge_assets.jobs import train_forecast_job
from evcharge_assets.resources import Platform
from evcharge_sensors.runs import recent_runs, unfinished


@dg.schedule(
    name="train_forecast_daily",
    job=train_forecast_job,
    cron_schedule="*/10 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Looks every ten minutes whether the forecast has no model, or one of yesterday, and has it trained.",
)
def train_forecast_daily(context: dg.ScheduleEvaluationContext, platform: Platform) -> dg.RunRequest | dg.SkipReason:
    # Imported here: the definitions load without NumPy and all that learns.
    from evcharge.forecast.daily_training import why_train

    settings = platform.settings()
    if settings.profile == "small":
        return dg.SkipReason("EVCHARGE_PROFILE is small: there are no live stores")
    records = recent_runs(context.instance, train_forecast_job.name)
    if unfinished(records) is not None:
        return dg.SkipReason("it is being trained")
    last_at = records[0].create_timestamp.replace(tzinfo=UTC) if records else None
    try:
        due = why_train(settings, last_at, datetime.now(UTC))
    except ServerDownError as error:
        return dg.SkipReason(str(error))
    return dg.RunRequest() if due else dg.SkipReason("there is nothing to learn yet, or it was learned lately")
