"""What the benchmark of a platform at rest reads: Dagster's runs and their processes, sessions on their way."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from benchmarks import idle
from benchmarks.dagster_year import Kept, bytes_a_day, bytes_after_a_year
from benchmarks.idle import Arrivals
from evcharge.settings import Settings, load_settings

DAY_S = 86_400


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home whose Dagster had two runs: one whose process began, and one in the queue."""
    history = tmp_path / "dagster" / "history"
    history.mkdir(parents=True)
    with closing(sqlite3.connect(history / "runs.db")) as runs, runs:
        runs.execute("CREATE TABLE runs (run_id, pipeline_name)")
        runs.executemany("INSERT INTO runs VALUES (?, ?)", [("one", "publish_waiting"), ("two", "load_stations")])
    with closing(sqlite3.connect(history / "event_log.db")) as events, events:
        events.execute("CREATE TABLE event_logs (run_id, event)")
        said = '{"message": "Started process for run (pid: 4711)."}'
        rows = [("one", said), ("one", "something else"), ("forgotten", said.replace("4711", "12"))]
        events.executemany("INSERT INTO event_logs VALUES (?, ?)", rows)
    return load_settings(home=tmp_path)


def test_a_process_is_known_by_the_job_that_it_runs(settings: Settings) -> None:
    assert idle._runs(settings) == {"one": "publish_waiting", "two": "load_stations"}
    assert idle._processes(settings) == {4711: "publish_waiting"}


class Consumer:
    """Kafka's consumer, as much of it as is used: the records of each poll."""

    def __init__(self, *polls: list[tuple[str, str, float]]) -> None:
        self.polls = list(polls)

    def poll(self, timeout_ms: int) -> dict[int, list[Any]]:
        sent = self.polls.pop(0) if self.polls else []
        records = [
            SimpleNamespace(value=orjson.dumps({"event_type": kind, "session_id": name}), timestamp=at * 1000)
            for kind, name, at in sent
        ]
        return {0: records}


class Warehouse:
    def __init__(self) -> None:
        self.sessions: set[str] = set()

    def execute(self, query: str, parameters: dict[str, tuple[str, ...]]) -> list[tuple[str]]:
        return [(name,) for name in parameters["waiting"] if name in self.sessions]


@pytest.fixture
def arrivals() -> Arrivals:
    now = time.time()
    made = Arrivals.__new__(Arrivals)
    made.waiting, made._arrived_s, made._warehouse = {}, [], Warehouse()
    made._consumer = Consumer(
        [("started", "a", now - 99), ("stopped", "b", now - 50), ("stopped", "c", now - 20)],
        [("stopped", "too late", now)],
    )
    return made


def test_finished_sessions_are_waited_for(arrivals: Arrivals) -> None:
    arrivals.look(waits_for_more=True)
    assert set(arrivals.waiting) == {"b", "c"}
    arrivals._warehouse.sessions.add("b")
    arrivals.look(waits_for_more=False)
    assert set(arrivals.waiting) == {"c"}
    # one that has not come counts as if it came now
    assert arrivals.latencies_s() == pytest.approx([50, 20], abs=2)


def test_a_year_is_made_of_what_stays_for_days_and_what_stays_for_ever(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, run_log_days=7, run_days=30)
    before = Kept(now=10_000, without_logs=5_000, without_runs=1_000, ticks=100)
    after = Kept(now=10_000 + 800, without_logs=5_000 + 80, without_runs=1_000 + 8, ticks=100 + 2)
    seconds = DAY_S / 2
    assert bytes_a_day(before, after, seconds) == 2 * 802
    year = bytes_after_a_year(before, after, seconds, settings)
    assert year == 1_000 + 100 + 2 * (800 * 7 + 80 * 23 + 8 * 335 + 2 * 14)
