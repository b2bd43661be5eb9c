"""The raw archive as assets: per topic a candidate on a branch, blocking checks on it, and the archive on main.

`evcharge/lake/publish.py` has the protocol and its steps. A run without a planned range is launched by hand or by a
backfill. It verifies the publications of its ingest hour. In the running hour it publishes the rows that wait, if any.
"""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from evcharge.connections import ServerDownError
from evcharge.contracts import CONTRACTS, SESSION_EVENTS, STATION_REGISTRY, Contract
from evcharge.errors import UserError
from evcharge.lake import publish
from evcharge.lake.archive import ReplanError
from evcharge.lake.candidate import Manifest, write_candidate
from evcharge.lake.gates import GATES, Gate, Verdict
from evcharge.lake.ledger import LedgerError, OffsetRange
from evcharge.lake.locate import candidate_of_run, published_in_hour
from evcharge.lake.planner import plan
from evcharge.lake.repository import Repository
from evcharge.lake.retention import forget_published, is_first_of_day
from evcharge.settings import Settings
from evcharge_assets.columns import contract_columns
from evcharge_assets.kafka import OWNER, snake, topic_key
from evcharge_assets.partitions import hour_key, ingest_hour, ingest_hours
from evcharge_assets.resources import Platform, SparkConnect, identity, root_run_id

#: One merge at a time.
MERGE_POOL = "lake_merge"
SERVERS = ("kafka", "minio", "lakefs", "spark-connect")


class PlannedRange(dg.Config):
    """The range to publish, as the planning sensor requests it. Without one the partition's ingest hour is verified."""

    offset_range: dict[str, Any] = {}  # noqa: RUF012  a pydantic default, copied per instance
    release: bool = False


def candidate_key(topic: str) -> dg.AssetKey:
    return dg.AssetKey(["lake", f"{snake(topic)}_candidate"])


def archive_key(topic: str) -> dg.AssetKey:
    return dg.AssetKey(["lake", snake(topic)])


def publication_metadata(manifests: list[Manifest]) -> dict[str, Any]:
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
    """A dependency on the archive of a topic, for an asset whose partitions are not ingest hours.

    Each of that asset's partitions may need rows of any ingest hour.
    """
    return dg.AssetDep(archive_key(topic), partition_mapping=dg.AllPartitionMapping())


def _stations_before(topic: str) -> list[dg.AssetDep]:
    """The station archive for `session-events`: its rows are judged by all stations on main."""
    if topic != SESSION_EVENTS.topic:
        return []
    return [any_hour_of(STATION_REGISTRY.topic)]


def archive_assets(contract: Contract, settings: Settings) -> list[Any]:
    """The candidate of one topic, its blocking checks, and the archive."""
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
        context: dg.AssetExecutionContext, config: PlannedRange, platform: Platform, pyspark: SparkConnect
    ) -> dg.MaterializeResult[None]:
        settings, repository = platform.settings(), platform.repository()
        hour = ingest_hour(context.partition_key)
        with platform.naming_servers(context, *SERVERS):
            planned = OffsetRange.from_json(config.offset_range) if config.offset_range else None
            if planned is None and context.partition_key == hour_key(datetime.now(UTC)):
                planned = plan(settings, repository, topic, eager=True).range
            attempt = publish.next_attempt(repository, planned) if planned else None
            if planned is None or attempt is None:
                manifests = list(published_in_hour(repository, topic, hour))
                context.log.info(f"nothing to publish: {len(manifests)} publications of {hour} are verified instead")
                return dg.MaterializeResult(metadata=publication_metadata(manifests) | {"verified": True})
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
            metadata=publication_metadata([manifest]) | {"branch": manifest.branch, "lake_commit": commit.id}
        )

    @dg.asset(
        key=archive_key(topic),
        partitions_def=partitions,
        deps=[candidate_key(topic)],
        group_name="lake",
        kinds={"lakefs", "parquet"},
        owners=[OWNER],
        pool=MERGE_POOL,
        description=f"Every record of `{topic}`, once, on main: the candidate's branch merged after its checks.",
        metadata={"dagster/column_schema": contract_columns(contract, archived=True)},
        code_version="1",
    )
    def archive(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
        repository = platform.repository()
        hour = ingest_hour(context.partition_key)
        with platform.naming_servers(context, "minio", "lakefs"):
            found = find_candidate(context.run, repository, topic)
            if found is None:
                manifests = list(published_in_hour(repository, topic, hour))
                return dg.MaterializeResult(metadata=publication_metadata(manifests) | {"verified": True})
            closed = _closed_gates(context, platform.settings(), repository, topic, found)
            if closed:
                raise dg.Failure("; ".join(closed), allow_retries=False)
            try:
                published = publish.merge(repository, found[0])
            except (ReplanError, LedgerError) as error:
                raise dg.Failure(str(error), allow_retries=False) from error
            forget_if_first_of_day(context, platform.settings(), repository, found[0])
        verb = "merged as" if published.merged_now else "already published at"
        context.log.info(f"{published.manifest.publication_id} {verb} commit {published.merge_commit}")
        return dg.MaterializeResult(
            metadata=publication_metadata([published.manifest])
            | {"branch": published.manifest.branch, "lake_commit": published.merge_commit}
        )

    return [candidate, archive, *(_gate_check(topic, gate) for gate in GATES)]


#: By topic: the id of the last run whose candidate was found, and that candidate.
_last_found: dict[str, tuple[str, tuple[Manifest, str]]] = {}


def find_candidate(run: dg.DagsterRun, repository: Repository, topic: str) -> tuple[Manifest, str] | None:
    """Manifest and commit id of the run's candidate; None if it wrote none.

    The checks and the archive of a run all ask for it, and the search takes a request for each branch of the topic. So a
    candidate that was found is kept for its run. A retry is a run of its own and may write another candidate.
    """
    run_id, found = _last_found.get(topic, ("", None))
    if run_id == run.run_id:
        return found
    found = candidate_of_run(repository, topic, root_run_id(run))
    if found is not None:
        _last_found[topic] = run.run_id, found
    return found


def _closed_gates(
    context: dg.AssetExecutionContext,
    settings: Settings,
    repository: Repository,
    topic: str,
    found: tuple[Manifest, str],
) -> list[str]:
    """Rule and message of each gate that the run's candidate does not pass.

    A run whose own checks passed them all has judged it. A run without them, as when only the archive is executed again,
    judges it here.
    """
    events = context.instance.all_logs(context.run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    evaluations = [e.dagster_event.asset_check_evaluation_data for e in events if e.dagster_event is not None]
    passed = {e.check_name for e in evaluations if e.asset_key == candidate_key(topic) and e.passed}
    return [] if passed >= {gate.name for gate in GATES} else publish.closed_gates(settings, repository, *found)


def forget_if_first_of_day(
    context: dg.OpExecutionContext | dg.AssetExecutionContext,
    settings: Settings,
    repository: Repository,
    manifest: Manifest,
) -> None:
    """Once a day and topic, after a merge: cuts Kafka's log. What fails here fails no publication and waits a day."""
    from kafka.errors import KafkaError

    try:
        if is_first_of_day(repository, manifest):
            forget_published(settings, repository, manifest.topic)
    except (ServerDownError, UserError, KafkaError) as error:
        context.log.warning(f"published records stay in Kafka for another day: {error}")


def _gate_check(topic: str, gate: Gate) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=candidate_key(topic),
        name=gate.name,
        blocking=True,
        description=f"{gate.rule}: {gate.description}",
    )
    def check(context: dg.AssetCheckExecutionContext, platform: Platform) -> dg.AssetCheckResult:
        settings, repository = platform.settings(), platform.repository()
        with platform.naming_servers(context, "minio", "lakefs"):
            found = find_candidate(context.run, repository, topic)
            if found is None:
                hour = ingest_hour(context.run.tags.get("dagster/partition", ""))
                return _verify_published(settings, repository, topic, gate, hour)
            verdict = gate.judge(settings, repository, *found)
        return gate_result(gate, verdict)

    return check


def gate_result(gate: Gate, verdict: Verdict) -> dg.AssetCheckResult:
    figures = {k: dg.MetadataValue.json(v) if isinstance(v, list | dict) else v for k, v in verdict.figures.items()}
    return dg.AssetCheckResult(
        passed=verdict.passed,
        description=f"{gate.rule}: {verdict.message}",
        metadata={"rule": gate.rule, **figures},
    )


def _verify_published(
    settings: Settings, repository: Repository, topic: str, gate: Gate, hour: str
) -> dg.AssetCheckResult:
    """Judges the publications of an ingest hour on main."""
    if not gate.judged_on_main:
        return dg.AssetCheckResult(passed=True, description=f"{gate.rule}: judged before the merge")
    head = repository.head().id
    verdicts = [gate.judge(settings, repository, m, head) for m in published_in_hour(repository, topic, hour, head)]
    failed = [f"{gate.rule}: {verdict.message}" for verdict in verdicts if not verdict.passed]
    return dg.AssetCheckResult(
        passed=not failed, description="; ".join(failed) or f"{len(verdicts)} publications verified"
    )


def all_archive_assets(settings: Settings) -> list[Any]:
    return [asset for contract in CONTRACTS.values() for asset in archive_assets(contract, settings)]
