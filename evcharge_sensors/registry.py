"""The schedules of reference data: an hourly poll of AFDC, if there is an API key, and a daily load of the EV models."""

from __future__ import annotations

import dagster as dg

from evcharge.settings import Settings
from evcharge_assets.jobs import load_reference_job
from evcharge_assets.registry import poll_registry_job
from evcharge_assets.resources import Platform


def registry_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Polls hourly, but not on the full hour, when most clients do. It runs by itself only where a key is set."""
    has_key = bool(settings.afdc_api_key.get_secret_value())

    @dg.schedule(
        name="poll_registry_hourly",
        job=poll_registry_job,
        cron_schedule="23 * * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING if has_key else dg.DefaultScheduleStatus.STOPPED,
        description="Asks AFDC's API hourly whether stations have changed. Skips without EVCHARGE_AFDC_API_KEY.",
    )
    def poll_registry_hourly(
        context: dg.ScheduleEvaluationContext, platform: Platform
    ) -> dg.RunRequest | dg.SkipReason:
        if not platform.settings().afdc_api_key.get_secret_value():
            return dg.SkipReason("EVCHARGE_AFDC_API_KEY is not set")
        return dg.RunRequest()

    return poll_registry_hourly


reference_schedule = dg.ScheduleDefinition(
    name="load_reference_daily",
    job=load_reference_job,
    cron_schedule="41 3 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Loads the EV models that `evcharge reference load` added into ClickHouse.",
)
