"""Assembles the asset graph. Only this module may import the sensors."""

from __future__ import annotations

from typing import Any

import dagster as dg

from evcharge.reference.mongodb import available
from evcharge.settings import load_settings
from evcharge_assets import feeds, kafka, live, reference, registry, simulation, warehouse
from evcharge_assets.jobs import jobs
from evcharge_assets.lake import all_archive_assets
from evcharge_assets.resources import Platform, spark_resource
from evcharge_sensors.live import check_state_schedule, keep_stream_alive, load_closed_hours
from evcharge_sensors.load import load_merged_days
from evcharge_sensors.plan import planning_sensors
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
            *reference.assets,
            *assets,
            warehouse.dim_ev_model,
            warehouse.dim_time,
            warehouse.v_charging_sessions,
        ],
        asset_checks=checks,
        jobs=jobs,
        schedules=[
            registry_schedule(settings),
            *([reference_schedule] if available(settings) else []),
            *([check_state_schedule] if settings.profile == "full" else []),
        ],
        sensors=[*planning_sensors, load_merged_days, keep_stream_alive, load_closed_hours],
        resources={"platform": Platform(), "pyspark": spark_resource(settings), **(overrides or {})},
        executor=dg.in_process_executor,
    )


defs = build_definitions()
