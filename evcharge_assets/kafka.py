"""The Kafka topics as external assets: Dagster observes their offsets and does not materialize them."""

from __future__ import annotations

import dagster as dg

from evcharge.contracts import CONTRACTS, SESSION_EVENTS, STATION_REGISTRY, Contract
from evcharge_assets.columns import contract_columns

OWNER = "team:data-platform"

#: Stations from AFDC's API.
REGISTRY_FEED = dg.AssetKey(["feeds", "afdc_registry"])

#: Simulated days. Each continues the day before it.
SIMULATED_SESSIONS = dg.AssetKey(["feeds", "simulated_sessions"])

#: The feeds of a topic, apart from the simulation's first day.
_FEEDS = {
    STATION_REGISTRY.topic: (REGISTRY_FEED, SIMULATED_SESSIONS),
    SESSION_EVENTS.topic: (SIMULATED_SESSIONS,),
}


def snake(topic: str) -> str:
    """A topic's name with underscores, for the names of assets, jobs and sensors."""
    return topic.replace("-", "_")


def topic_key(topic: str) -> dg.AssetKey:
    return dg.AssetKey(["kafka", snake(topic)])


def simulated_key(topic: str) -> dg.AssetKey:
    """The asset of the messages that the simulation's first day sends to a topic."""
    return dg.AssetKey(["feeds", f"simulated_{snake(topic)}"])


def topic_asset(contract: Contract) -> dg.AssetSpec:
    return dg.AssetSpec(
        topic_key(contract.topic),
        deps=[simulated_key(contract.topic), *_FEEDS.get(contract.topic, ())],
        description=f"Kafka topic `{contract.topic}`, keyed by {contract.key}. {contract.description}",
        group_name="kafka",
        kinds={"kafka"},
        owners=[OWNER],
        metadata={"dagster/column_schema": contract_columns(contract, archived=False)},
    )


topics = [topic_asset(contract) for contract in CONTRACTS.values()]
