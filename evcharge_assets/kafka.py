"""The Kafka topics as external assets: Dagster observes their offsets and does not make them."""

from __future__ import annotations

import dagster as dg

from evcharge.contracts import CONTRACTS, SESSION_EVENTS, STATION_REGISTRY, Contract
from evcharge_assets.columns import contract_columns

OWNER = "team:data-platform"


#: What AFDC's API told of stations.
REGISTRY_FEED = dg.AssetKey(["feeds", "afdc_registry"])

#: Days of simulation, each from the day before.
SIMULATED_SESSIONS = dg.AssetKey(["feeds", "simulated_sessions"])

#: What feeds a topic beside the simulation's first day.
_FEEDS = {
    STATION_REGISTRY.topic: (REGISTRY_FEED, SIMULATED_SESSIONS),
    SESSION_EVENTS.topic: (SIMULATED_SESSIONS,),
}


def snake(topic: str) -> str:
    """A topic's name as asset keys, jobs and sensors spell it."""
    return topic.replace("-", "_")


def topic_key(topic: str) -> dg.AssetKey:
    return dg.AssetKey(["kafka", snake(topic)])


def simulated_key(topic: str) -> dg.AssetKey:
    """What the simulation sends to a topic."""
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
