"""A platform at rest, as `make up` leaves it, with its simulated feed at its default: what it takes for ever.

It has a home, ports and servers of its own: the benchmark runs `evcharge up`, waits until the first day is worked off, and then
only looks. Processor time is that of the supervised processes with all that they started and that has ended since. Memory is
the proportional set size: a page that several processes share counts in equal parts. Of what a publication takes, only the
process of its Dagster run is counted, not what servers do for it. ClickHouse is asked every five seconds whether sessions have
come, so the time from Kafka to ClickHouse is up to five seconds too long.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from kafka import KafkaConsumer
from kafka.structs import TopicPartition

from benchmarks.dagster_year import DAY_S, bytes_a_day, bytes_after_a_year, kept
from benchmarks.harness import Report, Result, percentile, percentiles
from benchmarks.processes import Processes, ProcessTimes, machine_busy_s
from evcharge.connections import clickhouse, kafka_options
from evcharge.contracts import CONTRACTS, SESSION_EVENTS
from evcharge.lake.parked import PUBLISH_JOB, publish_job_name
from evcharge.lake.repository import Repository
from evcharge.settings import PROJECT, Settings, load_settings
from evcharge.stack.preflight import OFFSET_STEP, free_offset
from evcharge.stack.programs import environment_script
from evcharge.stack.stack import Stack, last_lines
from evcharge.stack.supervisor import Supervisor

#: Away from the offsets of the other benchmarks.
FIRST_OFFSET = 19 * OFFSET_STEP
UP_WITHIN_S = 3_600.0
#: A finished session that is not in ClickHouse after this counts as if it came now.
ARRIVES_WITHIN_S = 900.0
PUBLISH_JOBS = {PUBLISH_JOB, *map(publish_job_name, CONTRACTS)}
#: What stands for all services together.
ALL = "all"
#: What Dagster logs when a run's process begins.
_PROCESS = re.compile(r"Started process for run \(pid: (\d+)\)")


@dataclass(frozen=True, slots=True)
class Effort:
    """How long the platform is looked at, and how long it is left alone before; how often it is looked at."""

    seconds: float = 1_800.0
    settle_s: float = 300.0
    processes_every_s: float = 1.0
    memory_every_s: float = 60.0
    arrivals_every_s: float = 5.0


def idle(effort: Effort, report: Report) -> list[Result]:
    """Cores, memory, runs, the processor time of a publication, Dagster's disk, and how soon sessions are in ClickHouse."""
    with running_platform(report) as settings:
        report("settling")
        time.sleep(effort.settle_s)
        return _measure(settings, effort, report)


@contextmanager
def running_platform(report: Report) -> Iterator[Settings]:
    """What `evcharge up` brings up, in a home of its own, until it has ended. Raises RuntimeError if it fails."""
    with TemporaryDirectory(prefix="evcharge-idle-") as folder:
        home, offset = Path(folder), free_offset(FIRST_OFFSET)
        environment = os.environ | {"EVCHARGE_HOME": str(home), "EVCHARGE_PORT_OFFSET": str(offset)}
        log = home / "up.log"
        try:
            report("make up")
            with log.open("w") as said:
                done = subprocess.run(
                    [str(environment_script("evcharge")), "up"],
                    cwd=PROJECT,
                    env=environment,
                    stdout=said,
                    stderr=said,
                    timeout=UP_WITHIN_S,
                    check=False,
                )
            if done.returncode:
                raise RuntimeError("\n  ".join(["`evcharge up` failed", *last_lines(log, 20)]))
            yield load_settings(home=home, port_offset=offset)
        finally:
            Stack(load_settings(home=home, port_offset=offset)).clean()


def _measure(settings: Settings, effort: Effort, report: Report) -> list[Result]:
    results = _results(effort)
    services = {name: found.pid for name, found in Supervisor(settings).processes().items() if found.pid}
    # the root of them all
    services[ALL] = int((settings.home / "supervisord.pid").read_text())
    dagster_before, runs_before = kept(settings.dagster_home, settings), _runs(settings)
    with closing(Arrivals(settings)) as arrivals:
        seen = _look(services, effort, arrivals, report)
        for result in results.values():
            result.run_ended()
        dagster_after, runs_after = kept(settings.dagster_home, settings), _runs(settings)
        report("waiting for the last sessions")
        deadline = time.monotonic() + ARRIVES_WITHIN_S
        while arrivals.waiting and time.monotonic() < deadline:
            time.sleep(effort.arrivals_every_s)
            arrivals.look(waits_for_more=False)

    cores, memory = results["cores"], results["memory"]
    by_service, by_job = seen.cores(services), seen.runs_s.by_job(_processes(settings))
    cores.ours.append(by_service.pop(ALL))
    cores.details |= {
        "by_service": by_service,
        "by_job": {job: round(s / seen.seconds, 4) for job, s in by_job.items()},
        "machine": round(seen.machine_s / seen.seconds, 4),
    }
    bytes_by_service = {name: median(sample[name] for sample in seen.memory_bytes) for name in services}
    memory.ours.append(round(bytes_by_service.pop(ALL) / 1e9, 3))
    memory.details["mb_by_service"] = {name: round(size / 1e6) for name, size in bytes_by_service.items()}

    runs, publication = results["runs"], results["publication"]
    begun = Counter(runs_after.values()) - Counter(runs_before.values())
    runs.ours.append(round(begun.total() * DAY_S / seen.seconds))
    runs.details["runs"] = dict(begun)
    published = _publications(settings, seen.began_at, seen.ended_at)
    publishing_s = sum(s for job, s in by_job.items() if job in PUBLISH_JOBS)
    publication.ours.append(round(publishing_s / max(published.total(), 1), 2))
    publication.details |= {"publications": dict(published), "processor_s": round(publishing_s, 1)}

    disk, arrival = results["disk"], results["arrival"]
    year = bytes_after_a_year(dagster_before, dagster_after, seen.seconds, settings)
    disk.ours.append(round(year / 1e9, 3))
    disk.details["mb_a_day"] = round(bytes_a_day(dagster_before, dagster_after, seen.seconds) / 1e6, 1)
    latencies = arrivals.latencies_s()
    arrival.ours.append(round(percentile(latencies, 95), 1))
    arrival.details |= percentiles(latencies, 1)
    arrival.details |= {"sessions": len(latencies), "not_there": len(arrivals.waiting)}
    return list(results.values())


@dataclass(frozen=True)
class Seen:
    """What was seen of the platform's processes; memory in samples."""

    before: Processes
    after: Processes
    began_at: datetime
    ended_at: datetime
    seconds: float
    machine_s: float
    runs_s: ProcessTimes
    memory_bytes: list[dict[str, int]]

    def cores(self, services: Mapping[str, int]) -> dict[str, float]:
        """How many cores each service kept busy. Raises RuntimeError if one did not run all the time."""
        if gone := [
            name for name, pid in services.items() if pid not in self.before.by_id or pid not in self.after.by_id
        ]:
            raise RuntimeError(f"{', '.join(gone)} did not run all the time")
        return {
            name: round((self.after.processor_s(pid) - self.before.processor_s(pid)) / self.seconds, 4)
            for name, pid in services.items()
        }


def _look(services: Mapping[str, int], effort: Effort, arrivals: Arrivals, report: Report) -> Seen:
    began, began_at, machine_s = time.monotonic(), datetime.now(UTC), machine_busy_s()
    before = Processes.now()
    runs_s, memory = ProcessTimes(services["dagster-code"]), list[dict[str, int]]()
    next_memory = next_arrivals = began
    while (now := time.monotonic()) < began + effort.seconds:
        report(f"looking for {(now - began) / 60:.0f} of {effort.seconds / 60:.0f} minutes")
        processes = Processes.now()
        runs_s.note(processes)
        if now >= next_memory:
            memory.append({name: processes.memory_bytes(pid) for name, pid in services.items()})
            next_memory = now + effort.memory_every_s
        if now >= next_arrivals:
            arrivals.look(waits_for_more=True)
            next_arrivals = now + effort.arrivals_every_s
        time.sleep(effort.processes_every_s)
    after = Processes.now()
    runs_s.note(after)
    seconds, machine_s = time.monotonic() - began, machine_busy_s() - machine_s
    return Seen(before, after, began_at, datetime.now(UTC), seconds, machine_s, runs_s, memory)


def _results(effort: Effort) -> dict[str, Result]:
    minutes = f"{effort.seconds / 60:.0f} minutes"
    return {
        "cores": Result(
            "idle cores",
            "cores",
            f"A platform that only has its simulated feed keeps so many cores busy, over {minutes}.",
            floor=0.45,
            aim=0.2,
        ),
        "memory": Result(
            "idle memory",
            "GB",
            "All its processes together take this much memory (proportional set size).",
            floor=5,
            aim=4,
        ),
        "runs": Result(
            "runs a day", "runs", f"Dagster begins so many runs a day, as in these {minutes}.", floor=700, aim=300
        ),
        "publication": Result(
            "publication's processor time",
            "s",
            "The run that publishes takes this much processor time for each publication, its start included.",
            floor=5,
            aim=2,
        ),
        "disk": Result(
            "Dagster's disk after a year",
            "GB",
            f"Dagster's files take this much after a year like these {minutes}, pruned daily.",
            floor=5,
            aim=2,
        ),
        "arrival": Result(
            "event to warehouse",
            "s",
            "95 of 100 finished sessions are a row in ClickHouse within this time after Kafka took their last event.",
            floor=240,
            aim=120,
        ),
    }


class Arrivals:
    """Finished sessions on their way from Kafka to ClickHouse, from now on."""

    def __init__(self, settings: Settings) -> None:
        self.waiting: dict[str, float] = {}
        self._arrived_s: list[float] = []
        self._warehouse = clickhouse(settings)
        self._consumer = KafkaConsumer(**kafka_options(settings), enable_auto_commit=False)
        partitions = self._consumer.partitions_for_topic(SESSION_EVENTS.topic) or ()
        self._consumer.assign([TopicPartition(SESSION_EVENTS.topic, partition) for partition in partitions])
        self._consumer.seek_to_end()
        for partition in self._consumer.assignment():
            # the seek is done when it is asked for
            self._consumer.position(partition)

    def look(self, *, waits_for_more: bool) -> None:
        """Notes the sessions that have come to ClickHouse, and those that have ended since, if more are waited for."""
        if waits_for_more:
            for records in self._consumer.poll(timeout_ms=0).values():
                for record in records:
                    event = json.loads(record.value)
                    if event["event_type"] == "stopped":
                        self.waiting[event["session_id"]] = record.timestamp / 1000
        if not self.waiting:
            return
        there = self._warehouse.execute(
            "SELECT DISTINCT session_id FROM fact_charging_sessions WHERE session_id IN %(waiting)s",
            {"waiting": tuple(self.waiting)},
        )
        now = time.time()
        self._arrived_s += [now - self.waiting.pop(session_id) for (session_id,) in there]

    def latencies_s(self) -> list[float]:
        """Of all sessions that ended, those that have not come as if they came now."""
        return [*self._arrived_s, *(time.time() - sent for sent in self.waiting.values())]

    def close(self) -> None:
        self._consumer.close()
        self._warehouse.disconnect()


def _runs(settings: Settings) -> dict[str, str]:
    """The job of each of Dagster's runs, by its id."""
    return dict(_rows(settings, "runs.db", "SELECT run_id, pipeline_name FROM runs"))


def _processes(settings: Settings) -> dict[int, str]:
    """The job that each process was or is a run of."""
    runs, found = _runs(settings), dict[int, str]()
    events = _rows(
        settings, "event_log.db", "SELECT run_id, event FROM event_logs WHERE event LIKE '%Started process for run%'"
    )
    for run_id, event in events:
        if run_id in runs and (match := _PROCESS.search(event)):
            found[int(match[1])] = runs[run_id]
    return found


def _rows(settings: Settings, file: str, query: str) -> list[tuple[str, str]]:
    path = settings.dagster_home / "history" / file
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return database.execute(query).fetchall()


def _publications(settings: Settings, since: datetime, until: datetime) -> Counter[str]:
    """How many publications of each topic were merged in that time."""
    found: Counter[str] = Counter()
    for commit in Repository(settings).log():
        if commit.created_at < since:
            break
        if commit.created_at <= until and "publication_id" in commit.metadata:
            found[commit.metadata["topic"]] += 1
    return found
