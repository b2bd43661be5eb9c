"""Jobs: what a sensor, a schedule or a person launches."""

from __future__ import annotations

import dagster as dg

from evcharge.contracts import CONTRACTS
from evcharge_assets.kafka import snake
from evcharge_assets.lake import archive_key, candidate_key
from evcharge_assets.warehouse import table_key


def publish_job_name(topic: str) -> str:
    return f"publish_{snake(topic)}"


publish_jobs = [
    dg.define_asset_job(
        publish_job_name(topic),
        selection=dg.AssetSelection.assets(candidate_key(topic), archive_key(topic)),
        description=f"Publishes a range of {topic}: candidate, blocking checks, merge.",
        executor_def=dg.in_process_executor,
        tags={"evcharge/topic": topic},
    )
    for topic in CONTRACTS
]

load_days_job = dg.define_asset_job(
    "load_warehouse_days",
    selection=dg.AssetSelection.assets(table_key("fact_charging_sessions"), table_key("dim_vehicle")),
    description="Loads UTC days of sessions from main's head into ClickHouse.",
    executor_def=dg.in_process_executor,
)

load_stations_job = dg.define_asset_job(
    "load_stations",
    selection=dg.AssetSelection.assets(table_key("dim_station")),
    description="Loads the stations from main's head into ClickHouse.",
    executor_def=dg.in_process_executor,
)

simulated_day_job = dg.define_asset_job(
    "simulate_first_day",
    selection=dg.AssetSelection.groups("feeds"),
    description="The main job's input: one simulated day to Kafka. The sensors carry it on to ClickHouse.",
    executor_def=dg.in_process_executor,
)

jobs = [*publish_jobs, load_days_job, load_stations_job, simulated_day_job]
