"""The schedule that prunes Dagster's old runs once a day."""

import dagster as dg

from evcharge_assets.pruning_job import prune_runs_job

prune_schedule = dg.ScheduleDefinition(
    name="prune_runs_daily",
    job=prune_runs_job,
    cron_schedule="17 4 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Has the logs of old runs and older runs deleted.",
)
