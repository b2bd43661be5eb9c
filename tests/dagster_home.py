"""A small asset graph, runs of it on a real instance of Dagster, and what Dagster's pages show about them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

HOURS = dg.HourlyPartitionsDefinition(start_date="2026-03-01-00:00")
FAIL = "fail"

PLATFORM_STORAGE = """
storage:
  custom:
    module: evcharge_assets.storage
    class: PlatformStorage
    config: {{base_dir: "{home}", postgres_url: "{postgres_url}"}}
"""
#: Dagster's default, as the platform had it before: a file per run.
FILE_PER_RUN = ""


@contextmanager
def instance_in(
    home: Path, configuration: str = PLATFORM_STORAGE, postgres_url: str = ""
) -> Iterator[dg.DagsterInstance]:
    """Dagster's instance with that home and configuration."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text(
        configuration.format(home=home, postgres_url=postgres_url) + "telemetry: {enabled: false}\n"
    )
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def _work(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    context.log.info("a line of the log")
    print("printed")
    if FAIL in context.run.tags:
        raise dg.Failure("it failed", allow_retries=False)
    return dg.MaterializeResult(metadata={"run": context.run.run_id})


@dg.asset(partitions_def=HOURS, backfill_policy=dg.BackfillPolicy.single_run())
def hourly(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    return _work(context)


@dg.asset(deps=[dg.AssetDep(hourly, partition_mapping=dg.AllPartitionMapping())])
def whole(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    return _work(context)


@dg.asset_check(asset=whole, name="is_whole")
def is_whole() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True, metadata={"rows": 1})


CHECK = dg.AssetCheckKey(whole.key, "is_whole")
DEFINITIONS = dg.Definitions(
    assets=[hourly, whole],
    asset_checks=[is_whole],
    jobs=[dg.define_asset_job("hours", [hourly]), dg.define_asset_job("all_of_it", [whole])],
    executor=dg.in_process_executor,
)


def run_hour(instance: dg.DagsterInstance, hour: int, **tags: str) -> str:
    """Materializes an hour of 1 March 2026; with the tag `fail` the run fails. Returns the run's id."""
    return _run(instance, "hours", partition_key=f"2026-03-01-{hour:02}:00", tags=tags)


def run_hours(instance: dg.DagsterInstance, first: str, last: str) -> str:
    """Materializes the hours from `first` to `last` in one run."""
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return _run(instance, "hours", tags=tags)


def run_whole(instance: dg.DagsterInstance) -> str:
    return _run(instance, "all_of_it")


def log_of(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """The messages of a run's events, in their order."""
    return [entry.message for entry in instance.all_logs(run_id)]


def _run(instance: dg.DagsterInstance, job: str, **options: Any) -> str:
    done = DEFINITIONS.resolve_job_def(job).execute_in_process(instance=instance, raise_on_error=False, **options)
    assert done.success == (FAIL not in options.get("tags", {}))
    return done.run_id


def shown(instance: dg.DagsterInstance, *, cached: bool = True) -> dict[str, Any]:
    """What the pages show of the assets: partition status, last materializations with their lineage, and checks.

    Without `cached`, the partition status is computed from the events alone.
    """
    storage = instance.event_log_storage
    if not cached:
        storage.wipe_asset_cached_status(hourly.key)
    status = get_and_update_asset_status_cache_value(instance, hourly.key, HOURS)
    assert status is not None
    last = instance.get_latest_materialization_events([hourly.key, whole.key])
    of_hours = storage.get_latest_storage_id_by_partition(hourly.key, dg.DagsterEventType.ASSET_MATERIALIZATION)
    return {
        "materialized": sorted(status.deserialize_materialized_partition_subsets(HOURS).get_partition_keys()),
        "failed": sorted(status.deserialize_failed_partition_subsets(HOURS).get_partition_keys()),
        "in progress": sorted(status.deserialize_in_progress_partition_subsets(HOURS).get_partition_keys()),
        "last": last,
        "last of each hour": of_hours,
        "tags of each hour": storage.get_latest_tags_by_partition(
            hourly.key, dg.DagsterEventType.ASSET_MATERIALIZATION, ["dagster/data_version"]
        ),
        "check": storage.get_asset_check_summary_records([CHECK])[CHECK].last_completed_check_execution_record,
    }


def a_year(instance: dg.DagsterInstance) -> dict[str, list[str]]:
    """Runs of all kinds; the ids of those that can go, and of those that something asks for."""
    old = [run_hour(instance, 1), run_hour(instance, 2, fail="yes"), run_whole(instance)]
    old += [run_hour(instance, 1), run_hour(instance, 2)]
    failing = run_hour(instance, 3, fail="yes")
    old.append(run_hours(instance, "2026-03-02-00:00", "2026-03-02-05:00"))
    last = [run_hour(instance, 4), run_whole(instance)]
    return {"old": old, "failing": [failing], "last": last}
