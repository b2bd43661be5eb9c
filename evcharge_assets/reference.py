"""The reference data in MongoDB as assets: the stations of the registry on main and the EV models."""

import dagster as dg

from evcharge.contracts import STATION_REGISTRY
from evcharge.reference import mongodb as reference
from evcharge.reference.bundled import bundled_models
from evcharge_assets.columns import contract_columns
from evcharge_assets.kafka import OWNER
from evcharge_assets.lake import archive_key
from evcharge_assets.resources import Platform


def collection_key(collection: str) -> dg.AssetKey:
    return dg.AssetKey(["mongodb", collection])


def _columns(fields: dict[str, tuple[str, str]]) -> list[dg.TableColumn]:
    return [dg.TableColumn(name, type_, description=meaning) for name, (type_, meaning) in fields.items()]


_STATION_COLUMNS = [
    column for column in contract_columns(STATION_REGISTRY, archived=False).columns if column.name != "schema_version"
] + _columns(reference.STATION_EXTRAS)


def upserted_metadata(upserted: reference.Upserted) -> dict[str, int]:
    return {
        "inserted": upserted.inserted,
        "changed": upserted.changed,
        "unchanged": upserted.unchanged,
        "older": upserted.older,
    }


@dg.asset(
    key=collection_key(reference.STATIONS),
    deps=[archive_key(STATION_REGISTRY.topic)],
    description="The stations of the registry on main, also those that are gone. The simulation reads them.",
    group_name="mongodb",
    kinds={"mongodb"},
    owners=[OWNER],
    metadata={"dagster/column_schema": dg.TableSchema(_STATION_COLUMNS)},
    code_version="1",
)
def mongodb_stations(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
    # Imported here, because no other run needs it.
    from evcharge.reference.from_lake import sync_stations

    if not reference.available(platform.settings()):
        return dg.MaterializeResult(metadata={"outcome": "this platform has no MongoDB (EVCHARGE_PROFILE=small)"})
    with platform.naming_servers(context, "minio", "lakefs", "mongodb"):
        upserted, commit = sync_stations(platform.settings(), platform.repository())
    return dg.MaterializeResult(metadata=upserted_metadata(upserted) | {"lake_commit": commit})


@dg.asset(
    key=collection_key(reference.EV_MODELS),
    description="EV models: the bundled models of this version, and the models that `evcharge reference load` added.",
    group_name="mongodb",
    kinds={"mongodb"},
    owners=[OWNER],
    metadata={"dagster/column_schema": dg.TableSchema(_columns(reference.MODEL_FIELDS))},
    code_version="1",
)
def mongodb_ev_models(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
    settings = platform.settings()
    with platform.naming_servers(context, "mongodb"):
        reference.ensure(settings)
        upserted = reference.upsert_models(settings, bundled_models())
        rows = sum(part.documents for part in reference.held(settings) if part.collection == reference.EV_MODELS)
    return dg.MaterializeResult(metadata=upserted_metadata(upserted) | {"dagster/row_count": rows})


assets = [mongodb_stations, mongodb_ev_models]
