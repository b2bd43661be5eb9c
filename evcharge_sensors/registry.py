"""Schedules of reference data: AFDC is asked once an hour, if there is a key to ask with; the EV models go daily."""

from __future__ import annotations

import dagster as dg

from evcharge.settings import Settings
from evcharge_assets.jobs import load_reference_job
from evcharge_assets.registry import poll_registry_job
from evcharge_assets.resources import Platform


def registry_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Hourly, off the full hour at which everybody asks; it runs by itself only where a key is set."""
    has_key = bool(settings.afdc_api_key.get_secret_value())

    @dg.schedule(
        name="poll_registry_hourly",
        job=poll_registry_job,
        cron_schedule="23 * * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING if has_key else dg.DefaultScheduleStatus.STOPPED,
        description="Asks AFDC's API hourly whether stations have changed; skips without EVCHARGE_AFDC_API_KEY.",
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
    description="Brings EV models that `evcharge reference load` added to ClickHouse.",
)
