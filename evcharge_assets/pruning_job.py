"""The job that prunes old runs. What it does is imported when it runs: it brings Dagster's storage along, and the daemons."""

import dagster as dg

from evcharge_assets.resources import Platform


@dg.op(name="prune_old_runs", description="Deletes the logs of old runs, and older runs.")
def prune_op(context: dg.OpExecutionContext, platform: Platform) -> None:
    from evcharge_assets.pruning import prune

    settings = platform.settings()
    with platform.naming_servers(context, "minio"):
        # no log without its run
        run_days = max(settings.run_days, settings.run_log_days)
        pruned = prune(context.instance, log_days=settings.run_log_days, run_days=run_days)
    context.log.info(
        f"deleted {pruned.events:,} events and {pruned.check_results:,} check results of runs that ended more than "
        f"{settings.run_log_days} days ago, and {pruned.runs:,} runs that ended more than {run_days} days ago"
    )


@dg.job(
    name="prune_runs",
    description="Deletes what Dagster keeps about old runs. Partition status, last materializations and lineage stay.",
    executor_def=dg.in_process_executor,
)
def prune_runs_job() -> None:
    prune_op()
