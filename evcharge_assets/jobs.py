"""The jobs that sensors, schedules and people launch."""

from __future__ import annotations

from typing import Any

import dagster as dg

from evcharge.contracts import CONTRACTS
from evcharge.lake.parked import TOPIC_TAG, publish_job_name
from evcharge.reference.mongodb import EV_MODELS, STATIONS
from evcharge.settings import load_settings
from evcharge_assets.forecast import MODEL, SCORE
from evcharge_assets.kafka import simulated_key
from evcharge_assets.lake import archive_key, candidate_key
from evcharge_assets.live import HOURLY_USAGE, STATION_STATE, live_stream_job
from evcharge_assets.maintenance import maintain_lake_job
from evcharge_assets.pruning_job import prune_runs_job
from evcharge_assets.publishing import TIME_LIMIT_TAG, publish_waiting_job
from evcharge_assets.reference import collection_key
from evcharge_assets.registry import poll_registry_job
from evcharge_assets.warehouse import table_key

_settings = load_settings()
_PUBLISH_LIMIT = {TIME_LIMIT_TAG: str(_settings.publish_timeout_s)}
_LOAD_LIMIT = {TIME_LIMIT_TAG: str(_settings.load_timeout_s)}

publish_jobs = [
    dg.define_asset_job(
        publish_job_name(topic),
        selection=dg.AssetSelection.assets(candidate_key(topic), archive_key(topic)),
        description=f"Publishes a range of {topic} alone: candidate, blocking checks, merge.",
        executor_def=dg.in_process_executor,
        tags={TOPIC_TAG: topic, **_PUBLISH_LIMIT},
    )
    for topic in CONTRACTS
]

load_days_job = dg.define_asset_job(
    "load_warehouse_days",
    selection=dg.AssetSelection.assets(table_key("fact_charging_sessions"), table_key("dim_vehicle")),
    description="Loads UTC days of sessions from main's head into ClickHouse.",
    executor_def=dg.in_process_executor,
    tags=_LOAD_LIMIT,
)

load_positions_job = dg.define_asset_job(
    "load_vehicle_positions",
    selection=dg.AssetSelection.assets(table_key("fact_vehicle_positions")),
    description="Loads UTC days of connected cars' positions from main's head into ClickHouse.",
    executor_def=dg.in_process_executor,
    tags=_LOAD_LIMIT,
)

load_stations_job = dg.define_asset_job(
    "load_stations",
    selection=dg.AssetSelection.assets(table_key("dim_station"), collection_key(STATIONS)),
    description="Loads the stations from main's head into ClickHouse and MongoDB.",
    executor_def=dg.in_process_executor,
    tags=_LOAD_LIMIT,
)

load_reference_job = dg.define_asset_job(
    "load_reference",
    selection=dg.AssetSelection.assets(collection_key(EV_MODELS), table_key("dim_ev_model")),
    description="Loads the EV models of the reference data into ClickHouse.",
    executor_def=dg.in_process_executor,
    tags=_LOAD_LIMIT,
)

load_hours_job = dg.define_asset_job(
    "load_hourly_usage",
    selection=dg.AssetSelection.assets(HOURLY_USAGE),
    description="Computes the final hours of UTC days from main's head into Cassandra.",
    executor_def=dg.in_process_executor,
    tags=_LOAD_LIMIT,
)

rebuild_state_job = dg.define_asset_job(
    "rebuild_station_state",
    selection=dg.AssetSelection.assets(STATION_STATE),
    description="Folds the lake's records that the station state lacks into it; rebuilds a missing index.",
    executor_def=dg.in_process_executor,
    tags=_LOAD_LIMIT,
)

check_state_job = dg.define_asset_job(
    "check_station_state",
    selection=dg.AssetSelection.checks_for_assets(STATION_STATE),
    description="Evaluates the checks of the station state. The stream's own run cannot do this when it is dead.",
    executor_def=dg.in_process_executor,
)

simulated_day_job = dg.define_asset_job(
    "simulate_first_day",
    selection=dg.AssetSelection.assets(*(simulated_key(topic) for topic in CONTRACTS)),
    description="The main job's input: sends one simulated day to Kafka. The sensors bring it to ClickHouse.",
    executor_def=dg.in_process_executor,
)

train_forecast_job = dg.define_asset_job(
    "train_forecast",
    selection=dg.AssetSelection.assets(MODEL, SCORE) | dg.AssetSelection.checks_for_assets(SCORE),
    description="Trains the forecast's model on the newest sessions, and scores it.",
    executor_def=dg.in_process_executor,
    tags=_LOAD_LIMIT,
)

jobs: list[Any] = [
    publish_waiting_job,
    *publish_jobs,
    load_days_job,
    load_positions_job,
    load_stations_job,
    simulated_day_job,
    load_hours_job,
    rebuild_state_job,
    check_state_job,
    live_stream_job,
    poll_registry_job,
    load_reference_job,
    train_forecast_job,
    prune_runs_job,
    maintain_lake_job,
]
