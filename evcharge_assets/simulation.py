"""Days of simulated charging as an asset: each partition continues from the final state of the day before."""

import time
from datetime import UTC, date, datetime

import dagster as dg

from evcharge.contracts import SESSION_EVENTS
from evcharge.settings import Settings
from evcharge_assets.columns import contract_columns
from evcharge_assets.kafka import OWNER, SIMULATED_SESSIONS
from evcharge_assets.partitions import ended_days
from evcharge_assets.resources import Platform

#: Days that one run of a backfill simulates. Dagster starts the next run after up to 30 s, and a day takes a few seconds.
DAYS_PER_RUN = 31


def simulated_sessions_asset(settings: Settings) -> dg.AssetsDefinition:
    """Sessions of simulated days, published to Kafka day after day."""

    @dg.asset(
        key=SIMULATED_SESSIONS,
        partitions_def=ended_days(settings),
        deps=[
            dg.AssetDep(
                SIMULATED_SESSIONS,
                partition_mapping=dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1),
            )
        ],
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=DAYS_PER_RUN),
        pool="simulated_days",
        description=f"UTC days of simulated charging, sent to `{SESSION_EVENTS.topic}`. Each day continues from the day "
        "before: the first launched day begins the series, and a backfill runs in order. A finished day does not change.",
        group_name="feeds",
        kinds={"python", "kafka"},
        owners=[OWNER],
        metadata={"dagster/column_schema": contract_columns(SESSION_EVENTS, archived=False)},
        code_version="1",
    )
    def simulated_sessions(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
        # Imported here, because no other run needs the simulation.
        from evcharge.simulated.live_feed import FeedError
        from evcharge.simulated.past_days import DayReport, simulate_past_day

        def simulated(key: str) -> DayReport | FeedError:
            # Returned and not raised: `naming_servers` would name Kafka, if it is down, as the cause.
            try:
                return simulate_past_day(platform.settings(), date.fromisoformat(key), datetime.now(UTC))
            except FeedError as error:
                return error

        for key in context.partition_keys:
            began = time.monotonic()
            with platform.naming_servers(context, "kafka"):
                report = simulated(key)
            if isinstance(report, FeedError):
                raise dg.Failure(str(report), allow_retries=False) from report
            metadata = report.metadata() | {"wall_s": round(time.monotonic() - began, 2)}
            context.add_asset_metadata(metadata, partition_key=key)
            context.log.info(f"{key}: {metadata}")
        return dg.MaterializeResult()

    return simulated_sessions
