"""Maintenance of the lake as an asset: what became of the small files, with figures before and after."""

from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import dagster as dg

from evcharge.contracts import CONTRACTS
from evcharge_assets.kafka import OWNER
from evcharge_assets.lake import MERGE_POOL, any_hour_of
from evcharge_assets.publishing import pool_slot
from evcharge_assets.resources import Platform

if TYPE_CHECKING:
    from evcharge.lake.maintenance import Maintained

MAINTENANCE = dg.AssetKey(["lake", "maintenance"])

_COLUMNS = dg.TableSchema(
    [
        dg.TableColumn("topic", "string", description="Topic of the ingest hours"),
        dg.TableColumn("hours", "integer", description="Ingest hours that were compacted"),
        dg.TableColumn("rows", "long", description="Rows that were written again, as they were"),
        dg.TableColumn("files_before", "integer", description="Data files of these hours that were joined"),
        dg.TableColumn("files_after", "integer", description="Files that they became"),
        dg.TableColumn("bytes_before", "long", description="Bytes of the files that were joined"),
        dg.TableColumn("bytes_after", "long", description="Bytes of the files that they became"),
        dg.TableColumn("manifests_before", "integer", description="Files with manifests of these hours"),
        dg.TableColumn("manifests_after", "integer", description="Files with manifests that they became"),
    ]
)


@dg.asset(
    key=MAINTENANCE,
    deps=[any_hour_of(topic) for topic in CONTRACTS],
    group_name="lake",
    kinds={"lakefs", "parquet"},
    owners=[OWNER],
    description="The small files of ingest hours that are over, joined into few sorted ones with the same rows. Nothing is "
    "loaded again. A run begins nothing more after EVCHARGE_MAINTAIN_S seconds; the next one continues.",
    metadata={"dagster/column_schema": _COLUMNS},
    code_version="1",
)
def lake_maintenance(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
    from evcharge.lake.maintenance import maintain

    def merging() -> AbstractContextManager[None]:
        return pool_slot(context.op_execution_context, MERGE_POOL)

    with platform.naming_servers(context, "minio", "lakefs"):
        done = maintain(
            platform.settings(),
            platform.repository(),
            context.run.run_id,
            merging=merging,
            on_step=lambda step: context.log.debug(step),
        )
    for hour, reason in sorted(done.refused.items()):
        context.log.warning(f"{hour.topic}, {hour.ingest_hour} is left as it is: {reason}")
    return dg.MaterializeResult(metadata=maintained_metadata(done))


def maintained_metadata(done: "Maintained") -> dict[str, Any]:
    figures = done.figures.values()
    records = [dg.TableRecord({"topic": topic, **asdict(own)}) for topic, own in sorted(done.figures.items())]
    return {
        "files_before": sum(own.files_before for own in figures),
        "files_after": sum(own.files_after for own in figures),
        "bytes_before": sum(own.bytes_before for own in figures),
        "bytes_after": sum(own.bytes_after for own in figures),
        "by_topic": dg.MetadataValue.table(records, schema=_COLUMNS),
        "hours_left": done.hours_left,
        "branches_deleted": dg.MetadataValue.json(done.branches),
        "refused": dg.MetadataValue.json([{**hour._asdict(), "reason": why} for hour, why in done.refused.items()]),
        "lake_commits": dg.MetadataValue.json(done.commits),
    }


maintain_lake_job = dg.define_asset_job(
    "maintain_lake",
    selection=dg.AssetSelection.assets(MAINTENANCE),
    description="Joins the small files of the lake's ingest hours that are over.",
    executor_def=dg.in_process_executor,
)
