"""The station registry's feed as an asset: one poll of AFDC's API, published to Kafka."""

import dagster as dg

from evcharge.contracts import STATION_REGISTRY
from evcharge.errors import UserError
from evcharge_assets.columns import contract_columns
from evcharge_assets.kafka import OWNER, REGISTRY_FEED
from evcharge_assets.resources import Platform


@dg.asset(
    key=REGISTRY_FEED,
    description="The stations that AFDC's API lists; changes since the last poll are sent to `station-registry`.",
    group_name="feeds",
    kinds={"python", "kafka"},
    owners=[OWNER],
    metadata={"dagster/column_schema": contract_columns(STATION_REGISTRY, archived=False)},
    code_version="1",
)
def afdc_registry(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
    # Imported here, because no other run needs the API's client.
    from evcharge.registry.api import NoKeyError
    from evcharge.registry.feed import PollReport, poll

    def polled() -> PollReport | UserError:
        # Returned and not raised: `naming_servers` would name Kafka, if it is down, as the cause of AFDC's error.
        try:
            return poll(platform.settings())
        except UserError as error:
            return error

    with platform.naming_servers(context, "kafka"):
        report = polled()
    if isinstance(report, NoKeyError):
        return dg.MaterializeResult(metadata={"outcome": "not polled: no key", "reason": str(report)})
    if isinstance(report, UserError):
        # The next hour's poll is the retry.
        raise dg.Failure(str(report), allow_retries=False) from report
    metadata = {"outcome": report.outcome, "afdc_last_updated": report.last_updated}
    return dg.MaterializeResult(metadata=metadata | (report.load.metadata() if report.load else {}))


poll_registry_job = dg.define_asset_job(
    "poll_registry",
    selection=dg.AssetSelection.assets(REGISTRY_FEED),
    description="Asks AFDC's API once and publishes the stations that have changed.",
    executor_def=dg.in_process_executor,
)
