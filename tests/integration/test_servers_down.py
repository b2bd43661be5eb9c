"""A server that is down is named with its log, and everything works again once it is back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from secrets import token_hex

import pytest
from support import NOON, Lake, evcharge, station, stopped

from evcharge.audit.reconcile import reconcile
from evcharge.connections import ServerDownError
from evcharge.contracts import CONTRACTS
from evcharge.lake.planner import plan
from evcharge.lake.repository import Repository
from evcharge.settings import Settings
from evcharge.stack.stack import Stack
from evcharge.warehouse.pending_loads import pending_loads

STATION = "down"


def _plan(settings: Settings) -> object:
    return plan(settings, Repository(settings), next(iter(CONTRACTS)))


def _pending(settings: Settings) -> object:
    return pending_loads(settings, Repository(settings))


def _load(settings: Settings) -> object:
    return Lake(settings).load([NOON.date()])


OPERATIONS: dict[str, list[Callable[[Settings], object]]] = {
    "lakefs": [_plan],
    "kafka": [_plan, reconcile],
    "clickhouse": [_pending, _load, reconcile],
}
COMMANDS = {"lakefs": ("lake", "log"), "clickhouse": ("trace", "any")}


@pytest.fixture(params=OPERATIONS)
def down(request: pytest.FixtureRequest, lake: Lake) -> Iterator[str]:
    """The name of a server that is down during the test."""
    # something is published, so that reconcile asks every server
    lake.register(station(STATION))
    lake.publish(lake.send_events([stopped(f"before-{token_hex(3)}", STATION)]))
    stack = Stack(lake.settings)
    stack.stop(request.param)
    yield request.param
    stack.start(request.param)
    # it is back with its data, and the way from Kafka to ClickHouse is open
    session = f"after-{token_hex(3)}"
    planned = lake.send_events([stopped(session, STATION)])
    lake.publish(planned)
    lake.load_waiting()
    assert lake.query("SELECT publication_id FROM v_charging_sessions WHERE session_id = %(id)s", id=session) == [
        (planned.publication_id,)
    ]


def test_a_server_that_is_down_is_named_with_its_log(lake: Lake, down: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcharge.kafka_log.CONNECT_TIMEOUT_S", 2)
    log = lake.settings.log_dir / f"{down}.log"
    assert log.stat().st_size > 0
    for operation in OPERATIONS[down]:
        with pytest.raises(ServerDownError) as error:
            operation(lake.settings)
        assert re.fullmatch(rf"{down} at \S+ does not answer \(.+\); its log: {re.escape(str(log))}", str(error.value))
    if down not in COMMANDS:
        return
    done = evcharge(*COMMANDS[down])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith(f"evcharge: {down} at ")
    assert "Traceback" not in done.stderr
