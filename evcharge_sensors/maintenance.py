"""The schedule that maintains the lake once a day."""

import dagster as dg

from evcharge_assets.maintenance import maintain_lake_job

maintain_schedule = dg.ScheduleDefinition(
    name="maintain_lake_daily",
    job=maintain_lake_job,
    cron_schedule="37 3 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Has the small files of the lake joined.",
)
