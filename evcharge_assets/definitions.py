"""Assembles the asset graph. Only this module may import the sensors."""

from __future__ import annotations

from typing import Any

import dagster as dg

from evcharge.reference.mongodb import available
from evcharge.settings import load_settings
from evcharge_assets import feeds, forecast, kafka, live, reference, registry, simulation, warehouse
from evcharge_assets.jobs import jobs
from evcharge_assets.lake import all_archive_assets
from evcharge_assets.maintenance import lake_maintenance
from evcharge_assets.resources import Platform, spark_resource
from evcharge_sensors.forecast import train_forecast_daily
from evcharge_sensors.live import check_state_schedule, keep_stream_alive, load_closed_hours
from evcharge_sensors.load import load_merged_days
from evcharge_sensors.maintenance import maintain_schedule
from evcharge_sensors.plan import plan_publications
from evcharge_sensors.pruning import prune_schedule
from evcharge_sensors.registry import reference_schedule, registry_schedule


def build_definitions(overrides: dict[str, Any] | None = None) -> dg.Definitions:
    """The whole graph; `overrides` replaces resources by name (`platform`, `pyspark`)."""
    settings = load_settings()
    built = [
        *all_archive_assets(settings),
        *warehouse.session_assets(settings),
        warehouse.vehicle_positions_asset(settings),
        warehouse.dim_station,
        *live.live_assets(settings),
    ]
    checks = [item for item in built if isinstance(item, dg.AssetChecksDefinition)]
    assets = [item for item in built if not isinstance(item, dg.AssetChecksDefinition)]
    return dg.Definitions(
        assets=[
            *kafka.topics,
            feeds.simulated_day,
            simulation.simulated_sessions_asset(settings),
            registry.afdc_registry,
            lake_maintenance,
            *reference.assets,
            *assets,
            warehouse.dim_ev_model,
            warehouse.dim_time,
            warehouse.v_charging_sessions,
            *forecast.assets,
        ],
        asset_checks=[*checks, *forecast.checks],
        jobs=jobs,
        schedules=[
            registry_schedule(settings),
            prune_schedule,
            maintain_schedule,
            *([reference_schedule] if available(settings) else []),
            *([check_state_schedule, train_forecast_daily] if settings.profile == "full" else []),
        ],
        sensors=[plan_publications, load_merged_days, keep_stream_alive, load_closed_hours],
        resources={"platform": Platform(), "pyspark": spark_resource(settings), **(overrides or {})},
        executor=dg.in_process_executor,
    )


defs = build_definitions()
