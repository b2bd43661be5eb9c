"""What `evcharge stack down` does before it stops the servers: it publishes what waits, within its time."""

from __future__ import annotations

import time

from support import Lake, meter, record, send, station

from evcharge.contracts import SESSION_EVENTS
from evcharge.lake.ledger import read_ledger
from evcharge.stack.publishing import publish_waiting

TOPIC = SESSION_EVENTS.topic
STATION = "before-stop"


def test_what_waits_is_published(lake: Lake) -> None:
    lake.register(station(STATION))
    send(lake.settings, TOPIC, [record(SESSION_EVENTS, meter(f"before-stop-{n}", STATION)) for n in range(5)])
    waiting = lake.plan()
    lines: list[str] = []
    assert publish_waiting(lake.settings, 120, lambda _, line: lines.append(line)) == ""
    assert lines == ["looks for rows that wait", "session-events: 5 rows wait", "ready"]
    assert read_ledger(lake.repository, TOPIC).offsets == waiting.end
    assert len(lake.rows_of(waiting)["raw"]) == 5


def test_its_time_is_limited(lake: Lake) -> None:
    lake.register(station(STATION))
    send(lake.settings, TOPIC, [record(SESSION_EVENTS, meter("before-stop-late", STATION))])
    before = read_ledger(lake.repository, TOPIC).offsets
    began = time.monotonic()
    assert publish_waiting(lake.settings, 0.1, lambda *_: None) == "it took longer than 0 s"
    assert time.monotonic() - began < 20
    assert read_ledger(lake.repository, TOPIC).offsets == before
    lake.publish_waiting()


def test_a_server_that_is_down_is_named(lake: Lake) -> None:
    nowhere = lake.settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    assert publish_waiting(nowhere, 120, lambda *_: None).startswith("kafka at ")
