"""The raw archive as assets: per topic a candidate on a branch, blocking checks on it, and the archive on main.

The steps are `evcharge.lake`'s; see `evcharge/lake/publish.py` for the protocol. A run without a planned range, launched
by hand or by a backfill, verifies what its ingest hour published; in the running hour it publishes what waits.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster_pyspark import LazyPySparkResource

from evcharge.contracts import CONTRACTS, SESSION_EVENTS, STATION_REGISTRY, Contract
from evcharge.lake.archive import ReplanError, discard_branch, merge_candidate
from evcharge.lake.candidate import Manifest, write_candidate
from evcharge.lake.gates import GATES, Gate
from evcharge.lake.ledger import LedgerError, OffsetRange, read_ledger
from evcharge.lake.locate import candidate_of_run, published_in_hour
from evcharge.lake.planner import plan
from evcharge.lake.publish import free_attempt
from evcharge.settings import Settings
from evcharge_assets.columns import contract_columns
from evcharge_assets.kafka import OWNER, snake, topic_key
from evcharge_assets.partitions import hour_key, ingest_hour, ingest_hours
from evcharge_assets.resources import Platform, identity, root_run_id

SERVERS = ("kafka", "minio", "lakefs", "spark-connect")


class PlannedRange(dg.Config):
    """The range to publish, as the planning sensor asks for it; empty to verify the partition's ingest hour."""

    offset_range: dict[str, Any] = {}  # noqa: RUF012  a pydantic default, copied per instance
    release: bool = False


def candidate_key(topic: str) -> dg.AssetKey:
    return dg.AssetKey(["lake", f"{snake(topic)}_candidate"])


def archive_key(topic: str) -> dg.AssetKey:
    return dg.AssetKey(["lake", snake(topic)])


def _publication_metadata(manifests: list[Manifest]) -> dict[str, Any]:
    rules: Counter[str] = Counter()
    for manifest in manifests:
        rules.update(manifest.quarantined_by_rule)
    return {
        "dagster/row_count": sum(m.rows_good for m in manifests),
        "rows_read": sum(m.rows_read for m in manifests),
        "rows_quarantined": sum(m.rows_quarantined for m in manifests),
        "quarantined_by_rule": dg.MetadataValue.json(dict(rules)),
        "publications": dg.MetadataValue.json([m.publication_id for m in manifests]),
        "offsets": dg.MetadataValue.json([{"start": m.range["start"], "end": m.range["end"]} for m in manifests]),
        "event_dates": dg.MetadataValue.json(sorted({d for m in manifests for d in m.event_dates})),
    }


def any_hour_of(topic: str) -> dg.AssetDep:
    """The archive of a topic as what something is made from whose partitions are not ingest hours: any hour may have
    brought a row of it."""
    return dg.AssetDep(archive_key(topic), partition_mapping=dg.AllPartitionMapping())


def _stations_before(topic: str) -> list[dg.AssetDep]:
    """Sessions are judged by the registry on main, whatever hour brought it."""
    if topic != SESSION_EVENTS.topic:
        return []
    return [any_hour_of(STATION_REGISTRY.topic)]


def archive_assets(contract: Contract, settings: Settings) -> list[Any]:
    """Candidate, its blocking checks and archive of one topic."""
    topic = contract.topic
    partitions = ingest_hours(settings)

    @dg.asset(
        key=candidate_key(topic),
        partitions_def=partitions,
        deps=[topic_key(topic), *_stations_before(topic)],
        group_name="lake",
        kinds={"spark", "lakefs", "parquet"},
        owners=[OWNER],
        description=f"A planned range of `{topic}` on a lakeFS branch of its own: good rows, quarantined rows, ledger.",
        metadata={"dagster/column_schema": contract_columns(contract, archived=True)},
        code_version="1",
    )
    def candidate(
        context: dg.AssetExecutionContext, config: PlannedRange, platform: Platform, pyspark: LazyPySparkResource
    ) -> dg.MaterializeResult[None]:
        settings, repository = platform.settings(), platform.repository()
        hour = ingest_hour(context.partition_key)
        with platform.naming_servers(context, *SERVERS):
            planned = OffsetRange.from_json(config.offset_range) if config.offset_range else None
            if planned is None and context.partition_key == hour_key(datetime.now(UTC)):
                planned = plan(settings, repository, topic, eager=True).range
            if planned is None or read_ledger(repository, topic).covers(planned):
                manifests = list(published_in_hour(repository, topic, hour))
                context.log.info(f"nothing to publish: {len(manifests)} publications of {hour} are verified instead")
                return dg.MaterializeResult(metadata=_publication_metadata(manifests) | {"verified": True})
            attempt = free_attempt(repository, planned)
            context.log.info(f"publishing {planned.rows} rows of {topic}, attempt {attempt}: {planned.to_json()}")
            manifest, commit = write_candidate(
                settings,
                repository,
                pyspark.spark_session,
                planned,
                attempt,
                identity(context),
                release=config.release,
                on_step=lambda step: context.log.info(step),
            )
        return dg.MaterializeResult(
            metadata=_publication_metadata([manifest]) | {"branch": manifest.branch, "lake_commit": commit.id}
        )

    @dg.asset(
        key=archive_key(topic),
        partitions_def=partitions,
        deps=[candidate_key(topic)],
        group_name="lake",
        kinds={"lakefs", "parquet"},
        owners=[OWNER],
        pool="lake_merge",
        description=f"Every record of `{topic}`, once, on main: the candidate's branch merged after its checks.",
        metadata={"dagster/column_schema": contract_columns(contract, archived=True)},
        code_version="1",
    )
    def archive(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
        repository = platform.repository()
        hour = ingest_hour(context.partition_key)
        with platform.naming_servers(context, "minio", "lakefs"):
            found = candidate_of_run(repository, topic, root_run_id(context.run))
            if found is None:
                manifests = list(published_in_hour(repository, topic, hour))
                return dg.MaterializeResult(metadata=_publication_metadata(manifests) | {"verified": True})
            try:
                published = merge_candidate(repository, found[0])
            except (ReplanError, LedgerError) as error:
                raise dg.Failure(str(error), allow_retries=False) from error
            discard_branch(repository, published)
        verb = "merged as" if published.merged_now else "already published at"
        context.log.info(f"{published.manifest.publication_id} {verb} commit {published.merge_commit}")
        return dg.MaterializeResult(
            metadata=_publication_metadata([published.manifest])
            | {"branch": published.manifest.branch, "lake_commit": published.merge_commit}
        )

    return [candidate, archive, *(_gate_check(topic, gate) for gate in GATES)]


def _gate_check(topic: str, gate: Gate) -> dg.AssetChecksDefinition:
    gate_name = gate.__name__

    @dg.asset_check(
        asset=candidate_key(topic),
        name=gate_name,
        blocking=True,
        description=(gate.__doc__ or "").strip(),
    )
    def check(context: dg.AssetCheckExecutionContext, platform: Platform) -> dg.AssetCheckResult:
        repository = platform.repository()
        settings = platform.settings()
        found = candidate_of_run(repository, topic, root_run_id(context.run))
        if found is None:
            hour = ingest_hour(context.run.tags.get("dagster/partition", ""))
            return _verify_published(settings, topic, gate, hour, platform)
        manifest, commit_id = found
        result = gate(settings, repository, manifest, commit_id)
        return dg.AssetCheckResult(
            passed=result.passed,
            description=f"{result.rule}: {result.message}",
            metadata={k: dg.MetadataValue.json(v) if isinstance(v, list | dict) else v for k, v in _figures(result)},
        )

    return check


def _figures(result: Any) -> Iterator[tuple[str, Any]]:
    yield "rule", result.rule
    yield from asdict(result)["figures"].items()


def _verify_published(settings: Settings, topic: str, gate: Gate, hour: str, platform: Platform) -> dg.AssetCheckResult:
    """Judges the publications of an hour that are on main already; what a branch changed was judged before its merge."""
    repository = platform.repository()
    if gate is GATES[0]:
        return dg.AssetCheckResult(passed=True, description="DIFF_IS_MANIFEST: judged before the merge")
    head = repository.head().id
    results = [gate(settings, repository, m, head) for m in published_in_hour(repository, topic, hour, head)]
    broken = [r for r in results if not r.passed]
    return dg.AssetCheckResult(
        passed=not broken,
        description="; ".join(f"{r.rule}: {r.message}" for r in broken) or f"{len(results)} publications verified",
    )


def all_archive_assets(settings: Settings) -> list[Any]:
    return [asset for contract in CONTRACTS.values() for asset in archive_assets(contract, settings)]
