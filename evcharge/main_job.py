"""The main job takes one simulated day from Kafka to ClickHouse through Dagster, then checks what the stores hold."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime

import pyarrow as pa
import pyarrow.compute as pc

from evcharge.audit.reconcile import Reconciliation, reconcile
from evcharge.connections import clickhouse
from evcharge.contracts import VEHICLE_TELEMETRY
from evcharge.dagster_api import launch_job, wait_for_run, was_launched
from evcharge.errors import UserError
from evcharge.feeds.sent_ledger import end_offsets, read_sent
from evcharge.lake.repository import Repository
from evcharge.reference.mongodb import available
from evcharge.settings import Settings
from evcharge.simulated.live_feed import FEED, first_day_end
from evcharge.warehouse.wait import Missing, wait_until_loaded

JOB = "simulate_first_day"
#: Makes and models for the analysts' views. Nothing waits for this job.
REFERENCE_JOB = "load_reference"
RUN_TIMEOUT_S = 600
LOAD_TIMEOUT_S = 900

Report = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the stores hold after the main job, the seconds that each stage took, and whether all stores agree."""

    stage_s: dict[str, float]
    ledger_sessions: int
    ledger_energy_kwh: float
    warehouse_sessions: int
    warehouse_energy_kwh: float
    stations: int
    publications: int
    reconciliation: Reconciliation


def run_main_job(settings: Settings, report: Report) -> Outcome:
    """Simulates the first day in a Dagster run, waits until its sessions are in ClickHouse, and compares the stores.

    A day that was sent already is not sent again. A second call adds nothing. Raises UserError, WaitTimeoutError and
    ServerDownError.
    """
    stage_s: dict[str, float] = {}

    def stage(name: str, began: float) -> float:
        now = time.monotonic()
        stage_s[name] = round(now - began, 1)
        report(name, "ready")
        return now

    began = time.monotonic()
    if available(settings):
        launch_job(settings, REFERENCE_JOB)
    if first_day_end(settings) is not None:
        if not was_launched(settings, JOB):
            # The day was sent before Dagster ran. The job finds it sent, and notes in the assets what it holds.
            launch_job(settings, JOB)
    else:
        report("simulate", f"Dagster job {JOB}")
        run_id = launch_job(settings, JOB)
        wait_for_run(settings, run_id, RUN_TIMEOUT_S, lambda status: report("simulate", f"run {run_id[:8]}: {status}"))
    began = stage("simulate", began)
    day_end = first_day_end(settings)
    if day_end is None:
        raise UserError(f"Dagster's job {JOB} succeeded, but the simulated day is not complete")
    ledger = read_sent(settings, FEED, until=day_end)

    def show(progress: Missing) -> None:
        report("publish", f"{progress.unpublished_rows} rows wait" if progress.unpublished_rows else "ready")
        if not progress.unpublished_rows:
            stage_s.setdefault("publish", round(progress.waited_s, 1))
            report("load", f"{progress.unloaded_days} days wait")

    ends = end_offsets(ledger)
    # Positions are not waited for. They are published every `telemetry_interval_s`: if the first publication comes before
    # the whole day is sent, the rest of the day waits for the next one.
    ends.pop(VEHICLE_TELEMETRY.topic, None)
    wait_until_loaded(settings, ends, _days(ledger), LOAD_TIMEOUT_S, show)
    stage_s.setdefault("publish", 0.0)
    report("publish", "ready")
    report("load", "ready")
    stage_s["load"] = round(time.monotonic() - began - stage_s["publish"], 1)
    began = time.monotonic()
    report("reconcile", "comparing the stores")
    verdict = reconcile(settings, lambda store: report("reconcile", f"reading {store}"))
    stage("reconcile", began)
    return _outcome(settings, ledger, day_end, stage_s, verdict)


def _outcome(
    settings: Settings, ledger: pa.Table, day_end: datetime, stage_s: dict[str, float], verdict: Reconciliation
) -> Outcome:
    stopped = ledger.filter(pc.equal(ledger["event_type"], "stopped"))
    simulated = pc.unique(stopped["station_id"]).to_pylist()
    client = clickhouse(settings)
    sessions, energy_kwh = client.execute(
        "SELECT count(), sum(energy_delivered_kwh) FROM fact_charging_sessions "
        "WHERE station_id IN %(stations)s AND ended_at <= toDateTime64(%(day_end)s, 3, 'UTC')",
        {"stations": tuple(simulated) or ("",), "day_end": f"{day_end:%Y-%m-%d %H:%M:%S}"},
    )[0]
    stations = client.execute("SELECT count() FROM dim_station")[0][0]
    publications = sum("publication_id" in commit.metadata for commit in Repository(settings).log())
    energy_wh = pc.sum(stopped["energy_wh"]).as_py() or 0
    return Outcome(
        stage_s, stopped.num_rows, energy_wh / 1000, sessions, float(energy_kwh), stations, publications, verdict
    )


def _days(ledger: pa.Table) -> set[date]:
    return set(pc.unique(ledger["occurred_at"].cast(pa.date32())).to_pylist())
