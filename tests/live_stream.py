"""A live stream in a process of its own that tests kill, and simulated charging for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, Self

from support import Lake, record, send

from evcharge.audit.figures import Sides, disagreements
from evcharge.audit.live_stores import station_documents
from evcharge.connections import elasticsearch
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY
from evcharge.lake.ledger import read_ledger
from evcharge.live.stream_status import QueryStatus, read_status
from evcharge.settings import Settings
from evcharge.simulated.live_feed import BEHAVIOUR
from simulation import Simulation, build_fleet, build_network

#: The design promises a fresh state within a minute after a kill. A test machine is shared and slower.
FRESH_WITHIN_S = 180
#: A stream that ends more often within that time is broken.
STARTS = 3


class Stream:
    """`evcharge stream` on a platform."""

    def __init__(self, settings: Settings, log: Path, *options: str) -> None:
        self.settings, self.log, self.options = settings, log, options
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = Path(sys.executable).with_name("evcharge")
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [command, "stream", *self.options],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL to the driver alone: its JVM and the Python workers must notice by themselves."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)

    def stop(self) -> None:
        """SIGTERM, as a user's Ctrl-C; kills what does not end."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)

    def wait_until_fresh(self, since: datetime, query: str = "stations") -> float:
        """Seconds until everything that Kafka had at `since` is in the state."""
        began, starts = time.monotonic(), 0
        last: object = None
        while time.monotonic() - began < FRESH_WITHIN_S:
            if self.process is not None and self.process.poll() is not None and starts < STARTS:
                # as Dagster's sensor does on a platform
                self.start()
                starts += 1
            try:
                status = self.status(query)
                last = status
                if status and status.as_of and datetime.fromisoformat(status.as_of) >= since:
                    return time.monotonic() - began
            except Exception as error:  # Elasticsearch may be the one that was killed
                last = error
            time.sleep(0.5)
        raise AssertionError(f"not fresh after {FRESH_WITHIN_S} s: {last}\n{self.log.read_text()[-4000:]}")

    def status(self, query: str = "stations") -> QueryStatus | None:
        with elasticsearch(self.settings) as client:
            return read_status(client, query)

    def failing_s(self, query: str) -> float:
        """For how long a query has failed; 0 while it works."""
        status = self.status(query)
        return 0.0 if status is None else status.failing_s(datetime.now(UTC))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class Feed:
    """A few simulated stations. Their events of the last hours go to Kafka at `events_per_s`."""

    def __init__(self, settings: Settings, stations: int = 150, events_per_s: int = 30) -> None:
        self.settings, self.events_per_s = settings, events_per_s
        self.prefix = f"live-{token_hex(3)}-"
        network = build_network(stations, seed=11)
        start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=30)
        simulation = Simulation(
            network, build_fleet(network, 15 * stations, seed=11), seed=11, start_at=start, behaviour=BEHAVIOUR
        )
        self.events = [self._renamed(row) for row in simulation.advance(until=start + timedelta(hours=30)).rows()]
        self.records = [self._renamed({**row, "observed_at": start}) for row in network.registry_records()]
        self.sent = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def _renamed(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row at a station of this feed alone."""
        row = dict(row, station_id=self.prefix + row["station_id"])
        for name in ("session_id", "event_id"):
            if row.get(name):
                row[name] = self.prefix + row[name]
        return row

    def register(self) -> None:
        send(self.settings, STATION_REGISTRY.topic, [record(STATION_REGISTRY, row) for row in self.records])

    def send(self, count: int) -> None:
        rows = self.events[self.sent : self.sent + count]
        send(self.settings, SESSION_EVENTS.topic, [record(SESSION_EVENTS, row) for row in rows])
        self.sent += len(rows)

    def __enter__(self) -> Self:
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(120)

    def _run(self) -> None:
        while not self._stop.wait(1.0) and self.sent < len(self.events):
            try:
                self.send(self.events_per_s)
            except Exception:  # Kafka may be the one that was killed: the same rows again
                time.sleep(1)


def compare(lake: Lake, stream: Stream, feed: Feed) -> Sides:
    """The feed's stations in Elasticsearch and in the lake, once both have all that was sent."""
    lake.publish_waiting()
    for query in ("registry", "stations"):
        stream.wait_until_fresh(datetime.now(UTC), query)
    head = lake.repository.head().id
    sides = station_documents(
        lake.settings, lake.repository, head, read_ledger(lake.repository, SESSION_EVENTS.topic).offsets
    )

    found, expected = (
        {key: value for key, value in held.items() if key[0].startswith(feed.prefix)}
        for held in (sides.found, sides.expected)
    )
    return Sides(found, expected, sides.ahead)


def assert_equal(lake: Lake, stream: Stream, feed: Feed) -> None:
    sides = compare(lake, stream, feed)
    assert len(sides.found) == len(feed.records)
    assert list(disagreements(sides)) == []
