"""Dagster's pages about assets and partitions after two years of hours and 200,000 runs, and what its storage then takes.

The history is written, not waited for (`dagster_history.py`). The pages' questions are those that Dagster's own pages ask, and
Dagster's webserver answers them, with the platform's code. Nothing else runs.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg

from benchmarks.dagster_history import Template, executed, size_bytes, used_bytes, write
from benchmarks.harness import Report, Result, percentiles
from evcharge.connections import ServerDownError
from evcharge.dagster_api import graphql
from evcharge.settings import PROJECT, Settings, load_settings
from evcharge_assets.lake import archive_key
from evcharge_assets.live import STATION_STATE
from evcharge_assets.partitions import hour_key
from evcharge_assets.pruning import prune
from evcharge_assets.warehouse import table_key

#: What a page may take, in s.
PAGE_FLOOR, PAGE_AIM = 2.0, 1.0
#: What Dagster's files may take after a year, in GB.
DISK_FLOOR, DISK_AIM = 5.0, 2.0
READY_WITHIN_S = 180.0
ANSWERS_WITHIN_S = 300.0

#: `dagster.yaml` of a home with the platform's storage, and nothing else of the platform.
CONFIGURATION = """
storage:
  custom:
    module: evcharge_assets.storage
    class: PlatformStorage
    config: {{base_dir: "{home}", postgres_url: ""}}
telemetry: {{enabled: false}}
"""

_MATERIALIZATION = """fragment Shown on MaterializationEvent {
  partition tags { key value } runId timestamp stepKey label description
  runOrError { ... on PipelineRun { id mode status pipelineName pipelineSnapshotId } }
  metadataEntries { label description } assetLineage { assetKey { path } partitions } }"""

#: By page: what it asks (dagster-webserver 1.13), shortened where the answer needs no more work.
PAGES: dict[str, tuple[str, ...]] = {
    "asset": (
        """query($key: AssetKeyInput!) { assetNodes(assetKeys: [$key], loadMaterializations: true) { id opNames
          assetMaterializations(limit: 1) { timestamp runId stepKey } assetObservations(limit: 1) { timestamp runId stepKey }
          assetChecksOrError { ... on AssetChecks { checks { name
            executionForLatestMaterialization { id runId status timestamp evaluation { severity } } } } }
          partitionStats { numMaterialized numMaterializing numPartitions numFailed } }
          assetsLatestInfo(assetKeys: [$key]) { id unstartedRunIds inProgressRunIds
            latestRun { id status startTime endTime } } }""",
        """query($key: AssetKeyInput!) { assetNodes(assetKeys: [$key]) { id staleStatus
          staleCauses { key { path } reason category dependency { path } } } }""",
    ),
    "asset's partitions": (
        """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode { id
          partitionKeysByDimension { name type partitionKeys }
          assetPartitionStatuses { ... on TimePartitionStatuses { ranges { status startKey endKey } } } } } }""",
    ),
    "asset's events": (
        _MATERIALIZATION
        + """query($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset { id
          assetEventHistory(limit: 100, eventTypeSelectors: [MATERIALIZATION, OBSERVATION, FAILED_TO_MATERIALIZE]) {
            results { ...Shown } cursor } } } }""",
    ),
    "a partition": (
        _MATERIALIZATION
        + """query($key: AssetKeyInput!, $partition: String!) { assetOrError(assetKey: $key) { ... on Asset { id
          definition { id opNames latestRunForPartition(partition: $partition) { id status endTime } }
          assetEventHistory(partitions: [$partition], limit: 1000,
            eventTypeSelectors: [MATERIALIZATION, OBSERVATION, FAILED_TO_MATERIALIZE]) { results { ...Shown } } } } }""",
        """query($key: AssetKeyInput!, $partition: String!) { assetNodeOrError(assetKey: $key) { ... on AssetNode { id
          staleStatus(partition: $partition)
          staleCauses(partition: $partition) { key { path } reason category dependency { path } } } } }""",
    ),
    "runs": (
        """{ runsFeedOrError(limit: 30, view: RUNS) { ... on RunsFeedConnection { cursor hasMore results { id runStatus
          creationTime startTime endTime tags { key value } jobName } } } }""",
    ),
}


@dataclass(frozen=True, slots=True)
class Effort:
    """How long the history is, and how often each page is asked for in each round."""

    days: int = 730
    runs: int = 200_000
    #: In the last days; at default there are no more.
    runs_a_day: int = 700
    times: int = 5
    rounds: int = 3


def dagster_pages(effort: Effort, report: Report) -> list[Result]:
    """The slowest page with the whole history and with what pruning leaves of it; what the storage takes on disk."""
    whole = Result(
        "Dagster's pages",
        "s",
        f"The slowest page about an asset comes within this time after {effort.days} days of hourly partitions and the "
        f"events of {effort.runs:,} runs.",
        floor=PAGE_FLOOR,
        aim=PAGE_AIM,
    )
    pruned = Result(
        "Dagster's pages, pruned",
        "s",
        "The slowest of the same pages comes within this time once the daily job has pruned the history.",
        floor=PAGE_FLOOR,
        aim=PAGE_AIM,
    )
    disk = Result(
        "Dagster's disk",
        "GB",
        f"Dagster's files hold this much after {effort.days} days, the last of them with {effort.runs_a_day} runs each, "
        "pruned daily.",
        floor=DISK_FLOOR,
        aim=DISK_AIM,
    )
    now = datetime.now(UTC)
    begin = now - timedelta(days=effort.days)
    with TemporaryDirectory(prefix="evcharge-dagster-") as folder:
        home = Path(folder)
        (home / "dagster.yaml").write_text(CONFIGURATION.format(home=home))
        settings = load_settings(ingest_hours_from=begin.date().isoformat(), dagster_port=_free_port())
        with dg.DagsterInstance.from_config(str(home)) as instance:
            templates = executed(instance, settings)
            report(f"writing {effort.runs:,} runs")
            began = time.perf_counter()
            write(home, templates, begin, now - timedelta(days=30), effort.runs, logs=False)
            whole.details |= {"written_s": round(time.perf_counter() - began, 1), "bytes": size_bytes(home)}
            _measure(whole, settings, home, effort, now, report)

            report("pruning")
            began = time.perf_counter()
            done = prune(instance, log_days=settings.run_log_days, run_days=settings.run_days)
            pruned.details |= {
                "first_pruning_s": round(time.perf_counter() - began, 1),
                "events": done.events,
                "runs": done.runs,
            }
            _add_last_days(home, templates, settings, effort, now)
            began = time.perf_counter()
            done = prune(instance, log_days=settings.run_log_days, run_days=settings.run_days)
            pruned.details |= {"daily_pruning_s": round(time.perf_counter() - began, 1), "events_a_day": done.events}
            _measure(pruned, settings, home, effort, now, report)
        # not the size of the files: that is still the size of a history that nobody ever pruned
        disk.ours.append(round(used_bytes(home) / 1e9, 3))
        disk.details |= {
            **{file.name: file.stat().st_size for file in home.rglob("*.db")},
            "log_bytes_of_a_run": {t.run["pipeline_name"]: t.log_bytes for t in templates},
        }
        disk.run_ended()
    return [whole, pruned, disk]


def _add_last_days(home: Path, templates: list[Template], settings: Settings, effort: Effort, now: datetime) -> None:
    """Runs as many as there may be: those whose logs have been pruned, a day of those to be pruned now, those with logs."""
    pruned_until = now - timedelta(days=settings.run_log_days)
    days = settings.run_days - settings.run_log_days - 1
    write(
        home,
        templates,
        now - timedelta(days=settings.run_days),
        pruned_until - timedelta(days=1),
        days * effort.runs_a_day,
        logs=False,
    )
    write(
        home,
        templates,
        pruned_until - timedelta(days=1),
        now,
        (settings.run_log_days + 1) * effort.runs_a_day,
        logs=True,
    )


def _measure(result: Result, settings: Settings, home: Path, effort: Effort, now: datetime, report: Report) -> None:
    """Adds the slowest page of each round to the result, and all pages' times to its details."""
    keys = {
        "archive": archive_key("session-events"),
        "live state": STATION_STATE,
        "facts": table_key("fact_charging_sessions"),
    }
    partition_at = now - timedelta(days=effort.days // 2)
    first: dict[str, float] = {}
    times: dict[str, list[float]] = {}
    with _webserver(settings, home):
        for round_ in range(1, effort.rounds + 1):
            report(f"{result.name}, round {round_} of {effort.rounds}")
            slowest = 0.0
            for name, key in keys.items():
                by_day = name == "facts"
                partition = partition_at.date().isoformat() if by_day else hour_key(partition_at)
                for page, queries in PAGES.items():
                    for _ in range(effort.times):
                        taken_s = _page_s(settings, queries, {"key": {"path": key.path}, "partition": partition})
                        of_page = f"{page} ({name})"
                        # the first time, Dagster computes the partition status that it then keeps
                        if of_page not in first:
                            first[of_page] = round(taken_s, 3)
                            continue
                        times.setdefault(of_page, []).append(taken_s)
                        slowest = max(slowest, taken_s)
            result.ours.append(round(slowest, 3))
            result.run_ended()
        materialized = {name: _materialized(settings, key) for name, key in keys.items()}
    result.details |= {
        "materialized_partitions": materialized,
        "first_time_s": first,
        "pages_s": {page: percentiles(taken, 3) for page, taken in times.items()},
    }


def _materialized(settings: Settings, key: dg.AssetKey) -> int:
    """The asset's materialized partitions. Raises RuntimeError if the page shows none."""
    (query, _), asked = PAGES["asset"], {"key": {"path": key.path}}
    (node,) = graphql(settings, query, asked, timeout_s=ANSWERS_WITHIN_S)["assetNodes"]
    count = int((node["partitionStats"] or {}).get("numMaterialized") or 0)
    if not count:
        raise RuntimeError(f"Dagster's page of {key.to_user_string()} shows no partition: {node}")
    return count


def _page_s(settings: Settings, queries: tuple[str, ...], variables: dict[str, Any]) -> float:
    """Seconds for all that a page asks, one after another. Raises UserError if Dagster does not know what is asked."""
    began = time.perf_counter()
    for query in queries:
        asked = {name: value for name, value in variables.items() if f"${name}:" in query}
        graphql(settings, query, asked, timeout_s=ANSWERS_WITHIN_S)
    return time.perf_counter() - began


@contextmanager
def _webserver(settings: Settings, home: Path) -> Iterator[None]:
    """Dagster's webserver with the platform's code and that home, until it can answer."""
    environment = os.environ | {
        "DAGSTER_HOME": str(home),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "EVCHARGE_INGEST_HOURS_FROM": settings.ingest_hours_from,
    }
    command = (sys.executable, "-m", "evcharge_assets.webserver", "-h", "127.0.0.1", "-p", str(settings.dagster_port))
    with (home / "webserver.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "-m", "evcharge_assets.definitions", "-a", "defs"],
            stdout=log,
            stderr=log,
            cwd=PROJECT,
            env=environment,
        )
    try:
        deadline = time.monotonic() + READY_WITHIN_S
        while not _answers(settings):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"Dagster's webserver does not start: {(home / 'webserver.log').read_text()[-1000:]}"
                )
            time.sleep(0.5)
        yield
    finally:
        process.terminate()
        process.wait(30)


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        return int(free.getsockname()[1])


def _answers(settings: Settings) -> bool:
    try:
        graphql(settings, "{ version }")
    except ServerDownError:
        return False
    return True
