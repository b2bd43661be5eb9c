"""The ClickHouse star schema as assets: Spark loads UTC days of it from a merged commit.

The loads are imported where they begin: every run loads this module, and few of them need Arrow.
"""

from datetime import date
from typing import Any

import dagster as dg
from dagster._core.storage.tags import SENSOR_NAME_TAG

from evcharge.connections import clickhouse
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.settings import Settings
from evcharge.warehouse.day_rules import DAY_RULES, DayRule, broken_rows
from evcharge.warehouse.tables import LoadReport
from evcharge_assets.columns import warehouse_columns
from evcharge_assets.kafka import OWNER
from evcharge_assets.lake import any_hour_of, archive_key
from evcharge_assets.partitions import event_days
from evcharge_assets.reference import collection_key
from evcharge_assets.resources import Platform, SparkConnect

#: One load at a time.
WAREHOUSE_POOL = "warehouse_load"
SERVERS = ("minio", "lakefs", "spark-connect", "clickhouse")


def table_key(table: str) -> dg.AssetKey:
    return dg.AssetKey(["clickhouse", table])


def _common(table: str, description: str) -> dict[str, Any]:
    return {
        "key": table_key(table),
        "description": description,
        "group_name": "clickhouse",
        "kinds": {"clickhouse", "spark"},
        "owners": [OWNER],
        "metadata": {"dagster/column_schema": warehouse_columns(table)},
        "code_version": "1",
    }


dim_time = dg.AssetSpec(
    table_key("dim_time"),
    description="Every UTC hour from the first event day on. The schema fills it; nothing loads it.",
    group_name="clickhouse",
    kinds={"clickhouse"},
    owners=[OWNER],
    metadata={"dagster/column_schema": warehouse_columns("dim_time")},
)

v_charging_sessions = dg.AssetSpec(
    table_key("v_charging_sessions"),
    deps=[table_key(t) for t in ("fact_charging_sessions", "dim_station", "dim_vehicle", "dim_ev_model")],
    description="Where analysts start: sessions with their station, vehicle and model. It is a view, so it is always current.",
    group_name="clickhouse",
    kinds={"clickhouse", "view"},
    owners=[OWNER],
    metadata={"dagster/column_schema": warehouse_columns("v_charging_sessions")},
)


@dg.asset(
    **_common("dim_station", "One row per charging station, as the registry on main describes it now."),
    deps=[archive_key(STATION_REGISTRY.topic)],
    pool=WAREHOUSE_POOL,
)
def dim_station(
    context: dg.AssetExecutionContext, platform: Platform, pyspark: SparkConnect
) -> dg.MaterializeResult[None]:
    from evcharge.warehouse.load_stations import load_stations

    with platform.naming_servers(context, *SERVERS):
        report = load_stations(platform.settings(), platform.repository(), pyspark.spark_session, context.run.run_id)
    return dg.MaterializeResult(metadata={"dagster/row_count": report.rows, "lake_commit": report.lake_commit})


@dg.asset(
    **_common("dim_ev_model", "One row per vehicle model of the reference data in MongoDB.")
    | {"kinds": {"clickhouse"}},
    deps=[collection_key("ev_models")],
    # one load of models at a time; it may run beside the loads from the lake
    pool="ev_models_load",
)
def dim_ev_model(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
    from evcharge.warehouse.load_ev_models import load_ev_models

    with platform.naming_servers(context, "mongodb", "clickhouse"):
        rows = load_ev_models(platform.settings(), context.run.run_id)
    return dg.MaterializeResult(metadata={"dagster/row_count": rows})


def vehicle_positions_asset(settings: Settings) -> dg.AssetsDefinition:
    """The positions of connected cars by UTC day."""

    @dg.asset(
        **_common("fact_vehicle_positions", "Where connected cars were, by UTC day, thinned to what analysts need."),
        deps=[any_hour_of(VEHICLE_TELEMETRY.topic)],
        partitions_def=event_days(settings),
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=WAREHOUSE_POOL,
    )
    def fact_vehicle_positions(
        context: dg.AssetExecutionContext, platform: Platform, pyspark: SparkConnect
    ) -> dg.MaterializeResult[None]:
        from evcharge.warehouse.load_positions import load_vehicle_positions

        days = [date.fromisoformat(key) for key in context.partition_keys]
        with platform.naming_servers(context, *SERVERS):
            report = load_vehicle_positions(
                platform.settings(),
                platform.repository(),
                pyspark.spark_session,
                days,
                context.run.run_id,
                on_step=lambda step: context.log.info(step),
            )
        return dg.MaterializeResult(
            metadata={"dagster/row_count": report.rows, "lake_commit": report.lake_commit, "days": len(days)}
        )

    return fact_vehicle_positions


def session_assets(settings: Settings) -> list[Any]:
    """The session facts and the vehicles that they name, which one load fills, and their checks."""
    fact, vehicle = (
        _common("fact_charging_sessions", "One row per finished session (CDR), by UTC day of its end."),
        _common("dim_vehicle", "One row per vehicle that ever charged; a day's load adds and corrects its own."),
    )
    deps = [any_hour_of(topic) for topic in (SESSION_EVENTS.topic, STATION_REGISTRY.topic)]

    @dg.multi_asset(
        name="warehouse_days",
        description="A sensor's run reads what is new. A run that somebody asked for reads its days in full.",
        specs=[dg.AssetSpec(**fact, deps=deps), dg.AssetSpec(**vehicle, deps=deps)],
        partitions_def=event_days(settings),
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=WAREHOUSE_POOL,
    )
    def warehouse_days(context: dg.AssetExecutionContext, platform: Platform, pyspark: SparkConnect) -> Any:
        from evcharge.warehouse.load_sessions import load_sessions

        days = [date.fromisoformat(key) for key in context.partition_keys]
        with platform.naming_servers(context, *SERVERS):
            report = load_sessions(
                platform.settings(),
                platform.repository(),
                pyspark.spark_session,
                days,
                context.run.run_id,
                in_full=SENSOR_NAME_TAG not in context.run.tags,
                on_step=lambda step: context.log.info(step),
            )
        for key, metadata in sessions_metadata(report, len(days)).items():
            yield dg.MaterializeResult(asset_key=key, metadata=metadata)

    return [warehouse_days, *(_day_check(rule) for rule in DAY_RULES)]


def sessions_metadata(report: LoadReport, days: int) -> dict[dg.AssetKey, dict[str, Any]]:
    """What a load of days says of the tables that it fills."""
    common: dict[str, Any] = {
        "lake_commit": report.lake_commit,
        "days": days,
        # the others were read in full
        "days_added_to": len(report.added_to),
    }
    # `stopped` records that were read and are no fact, because their session has one
    no_facts = {"resent": report.resent, "second_ends": report.second_ends}
    return {
        table_key("fact_charging_sessions"): common | {"dagster/row_count": report.rows} | no_facts,
        table_key("dim_vehicle"): common | {"new_vehicles": report.new_vehicles},
    }


def _day_check(rule: DayRule) -> dg.AssetChecksDefinition:
    """The check of a rule on loaded days. It warns and stops nothing, because late events may still correct a day."""

    @dg.asset_check(
        asset=table_key("fact_charging_sessions"),
        name=rule.code.lower(),
        description=rule.description,
    )
    def check(context: dg.AssetCheckExecutionContext, platform: Platform) -> dg.AssetCheckResult:
        return day_result(platform.settings(), rule, *_checked_days(context))

    return check


def day_result(settings: Settings, rule: DayRule, first: date, last: date) -> dg.AssetCheckResult:
    """How the loaded days from `first` to `last` keep a rule."""
    client = clickhouse(settings)
    rows, examples = broken_rows(client, rule, first, last)
    return dg.AssetCheckResult(
        passed=rows == 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{rule.code}: {rows} sessions of {first} to {last}",
        metadata={
            "rule": rule.code,
            "rows": rows,
            "examples": dg.MetadataValue.json(examples),
            **(rule.figures(client, first, last) if rule.figures else {}),
        },
    )


def _checked_days(context: dg.AssetCheckExecutionContext) -> tuple[date, date]:
    tags = context.run.tags
    one = tags.get("dagster/partition")
    first = tags.get("dagster/asset_partition_range_start", one)
    last = tags.get("dagster/asset_partition_range_end", one)
    if first and last:
        return date.fromisoformat(first), date.fromisoformat(last)
    return date(1970, 1, 1), date(2100, 1, 1)
