"""Dagster's instance on one SQLite file, as `dagster.yaml` has it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
import pytest
from dagster_home import FILE_PER_RUN, HOURS, hourly, instance_in, log_of, run_hour, run_hours, run_whole, shown

from evcharge.settings import PROJECT
from evcharge_assets.storage import OneFileEventLogStorage

pytestmark = pytest.mark.slow

#: A process that opens the instance at the same moment as others, and stores events of a run.
WRITER = """
import sys, dagster as dg
from dagster_home import instance_in, run_hour
from pathlib import Path
print("ready", flush=True)
sys.stdin.readline()
with instance_in(Path(sys.argv[1])) as instance:
    print(run_hour(instance, int(sys.argv[2])), flush=True)
"""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with instance_in(tmp_path / "dagster") as opened:
        yield opened


def test_runs_leave_no_file_each(instance: dg.DagsterInstance) -> None:
    def files() -> list[str]:
        # what runs print is stored elsewhere in production
        root = Path(instance.root_directory)
        return sorted(str(f.relative_to(root)) for name in ("history", "schedules") for f in (root / name).rglob("*"))

    run_hour(instance, 1)
    before = files()
    for hour in (2, 3, 4):
        run_hour(instance, hour)
    assert files() == before
    assert "history/event_log.db" in before


def test_pages_show_the_same_as_with_a_file_per_run(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    def figures(of: dg.DagsterInstance) -> tuple[object, ...]:
        run_hour(of, 1)
        run_hour(of, 2, fail="yes")
        run_whole(of)
        run_hours(of, "2026-03-01-03:00", "2026-03-01-05:00")
        seen = shown(of)
        last = {key: event.dagster_event.partition for key, event in seen["last"].items()}
        logs = [[entry.message for entry in of.all_logs(run.run_id)] for run in of.get_runs()]
        return seen["materialized"], seen["failed"], last, seen["check"].status, [len(log) for log in logs]

    with instance_in(tmp_path / "other", FILE_PER_RUN) as file_per_run:
        assert figures(instance) == figures(file_per_run)


def test_a_range_is_stored_in_batches(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    one_by_one = run_hours(instance, "2026-03-02-00:00", "2026-03-03-23:00")
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "20")
    batches: list[int] = []
    store = OneFileEventLogStorage.store_event_batch

    def counted(self: OneFileEventLogStorage, events: Sequence[dg.EventLogEntry]) -> None:
        batches.append(len(events))
        store(self, events)

    monkeypatch.setattr(OneFileEventLogStorage, "store_event_batch", counted)
    batched = run_hours(instance, "2026-03-02-00:00", "2026-03-03-23:00")
    assert sum(batches) == 2 * 48, "what is planned, and what is materialized"
    assert max(batches) == 20

    def of_assets(run_id: str) -> list[tuple[object, ...]]:
        events = (e.dagster_event for e in instance.all_logs(run_id) if e.dagster_event and e.dagster_event.asset_key)
        return [(event.event_type, event.asset_key, event.partition) for event in events]

    assert of_assets(batched) == of_assets(one_by_one)
    last = instance.get_latest_materialization_event(hourly.key)
    assert last is not None
    assert (last.run_id, last.get_dagster_event().partition) == (batched, "2026-03-03-23:00")


def test_a_page_hears_of_new_events(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(dg.job(name="empty")(lambda: None))
    heard: list[str] = []
    arrived = threading.Event()

    def hear(entry: dg.EventLogEntry, _cursor: str) -> None:
        heard.append(entry.message)
        arrived.set()

    instance.event_log_storage.watch(run.run_id, None, hear)
    instance.report_engine_event("something happened", run)
    assert arrived.wait(10)
    instance.event_log_storage.end_watch(run.run_id, hear)
    assert heard == ["something happened"]


def test_processes_that_start_together_share_the_file(tmp_path: Path) -> None:
    home = tmp_path / "dagster"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(PROJECT), str(PROJECT / "tests")))}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(home), str(hour)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for hour in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    run_ids = [process.communicate("\n", timeout=120)[0].split()[-1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    with instance_in(home) as instance:
        assert {run.run_id for run in instance.get_runs()} == set(run_ids)
        lengths = {len(log_of(instance, run_id)) for run_id in run_ids}
        assert len(lengths) == 1
        assert shown(instance)["materialized"] == HOURS.get_partition_keys()[:4]
