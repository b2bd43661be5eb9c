"""The simulated feed as assets, one for each topic: the first simulated day, published to Kafka."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from evcharge.contracts import CONTRACTS
from evcharge_assets.columns import contract_columns
from evcharge_assets.kafka import OWNER, simulated_key
from evcharge_assets.resources import Platform


@dg.multi_asset(
    name="simulated_day",
    specs=[
        dg.AssetSpec(
            simulated_key(contract.topic),
            description=f"What the simulation sent to `{contract.topic}` for its first day, the 24 hours before its start.",
            group_name="feeds",
            kinds={"python", "kafka"},
            owners=[OWNER],
            metadata={"dagster/column_schema": contract_columns(contract, archived=False)},
            code_version="1",
        )
        for contract in CONTRACTS.values()
    ],
)
def simulated_day(context: dg.AssetExecutionContext, platform: Platform) -> Any:
    # Imported here, because no other run needs the simulation.
    from evcharge.simulated.live_feed import simulate_day

    with platform.naming_servers(context, "kafka"):
        report = simulate_day(platform.settings(), datetime.now(UTC))
    for contract in CONTRACTS.values():
        yield dg.MaterializeResult(
            asset_key=simulated_key(contract.topic),
            metadata=report.metadata(contract.topic),
        )
