"""The first look: the live map with its stores, stream and feed, while the rest of the platform is still fetched and built."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from evcharge.components import Go
from evcharge.connections import ServerDownError, elasticsearch, elasticsearch_errors
from evcharge.live.indices import STATION_STATE
from evcharge.live.stream_lock import is_running
from evcharge.live.stream_status import read_status
from evcharge.settings import PROJECT, Settings
from evcharge.simulated.live_feed import first_day_end
from evcharge.stack.errors import StackError
from evcharge.stack.programs import environment_script
from evcharge.stack.provision import Provisioner
from evcharge.stack.servers import in_profile
from evcharge.stack.servers.base import project_environment
from evcharge.stack.servers.simulation import Simulation
from evcharge.stack.servers.stream import Stream
from evcharge.stack.stack import Stack, Step
from evcharge.stack.supervisor import Supervisor

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

FIRST_DAY = "first day"
#: The state is that of now: events arrive every five seconds, and the stream writes how far it is every second.
FRESH_WITHIN_S = 10.0
#: A stream with an hour's backlog needs a minute or two. Whatever takes longer comes later, and does not hold up the rest.
LIVES_WITHIN_S = 180.0
DAY_WITHIN_S = 600.0
POLL_S = 0.5

#: What each server is for those who wait for it. Others are called by their names.
PARTS = {
    "kafka": "Kafka",
    "minio": "MinIO, the lake's objects",
    "lakefs": "lakeFS, the lake",
    "clickhouse": "ClickHouse, the warehouse",
    "elasticsearch": "Elasticsearch, the live state",
    "cassandra": "Cassandra, the hourly usage",
    "mongodb": "MongoDB, the reference data",
    "spark-connect": "Spark",
    "dagster-code": "Dagster's code server",
    "dagster-webserver": "Dagster's pages",
    "dagster-daemon": "Dagster's sensors",
    "dashboard": "the dashboard",
}

Report = Callable[[str, str], None]


def first_look_servers(settings: Settings) -> list[str]:
    """The profile's servers that the live map needs, without what runs on demand; empty on a small platform."""
    if settings.profile == "small":
        return []
    return [name for name, server in in_profile(settings).items() if server.first_look and not server.on_demand]


def provision_in_order(settings: Settings, provisioner: Provisioner) -> list[Future[None]]:
    """Provisions what the first look needs; begins the rest in the background, the builds at once.

    Returns the downloads that go on, for `start_what_is_fetched`.
    """
    own = {name: server for name, server in in_profile(settings).items() if not server.external}
    built = _built(settings)
    first = [n for n, server in own.items() if server.first_look] if first_look_servers(settings) else []
    # the processors are idle while the downloads wait for the network
    provisioner.begin(built)
    provisioner.run(first)
    return provisioner.begin(name for name in own if name not in (*built, *first))


def start_what_is_fetched(stack: Stack, provisioner: Provisioner, downloads: list[Future[None]]) -> None:
    """Starts what needs nothing that is still being built: Cassandra, the warehouse, Spark. Raises StackError."""
    provisioner.wait(downloads)
    known, waiting = in_profile(stack.settings), set(_built(stack.settings))
    names = []
    for name, server in known.items():
        if server.on_demand or name in waiting or waiting & set(server.after):
            waiting.add(name)
        else:
            names.append(name)
    stack.bring_up(names)


def _built(settings: Settings) -> list[str]:
    """The profile's own servers whose programs are built from source, which takes minutes."""
    return [
        name
        for name, server in in_profile(settings).items()
        if not server.external and server.component and isinstance(server.component.source, Go)
    ]


def start_first_look(stack: Stack, simulate: bool) -> bool:
    """Starts the servers of the first look with the stream and the simulated feed, and waits until the servers are healthy.

    With `simulate` the first simulated day is sent if it was not sent yet. Returns whether a feed runs, so that the map will
    live. Raises StackError, ServerDownError.
    """
    settings, steps = stack.settings, []
    names = first_look_servers(settings)
    if not is_running(settings):
        names.append(Stream.name)
    if simulate and first_day_end(settings) is None:
        steps.append(Step(FIRST_DAY, ("kafka", "mongodb"), lambda: _send_first_day(stack.settings, stack.report)))
    feeds = simulate or first_day_end(settings) is not None
    if feeds:
        feed = Simulation.name
        steps.append(Step(feed, ("kafka", FIRST_DAY), lambda: Supervisor(stack.settings).start(feed)))
    stack.bring_up(names, steps)
    return feeds


def why_it_does_not_live(settings: Settings, client: Elasticsearch, now: datetime) -> str:
    """What the map still lacks; empty if it shows stations with states of now, known from events."""
    from elasticsearch import ApiError

    try:
        with elasticsearch_errors(settings):
            status = read_status(client, "stations")
            known = int(client.count(index=STATION_STATE, query={"exists": {"field": "last_event_at"}})["count"])
    except (ServerDownError, ApiError) as error:
        return str(error).splitlines()[0]
    age_s = None if status is None else status.age_s(now)
    if status is None or age_s is None:
        return "the stream starts"
    if not is_running(settings):
        return "no stream runs"
    if age_s > FRESH_WITHIN_S:
        return f"the state is {age_s:.0f} s old, {status.lag_rows:,} events are not in it yet"
    return "" if known else "no station has sent an event"


def wait_until_it_lives(stack: Stack) -> bool:
    """Waits until the map lives. Returns whether it does: after `LIVES_WITHIN_S` the rest of the platform is not held up."""
    deadline = time.monotonic() + LIVES_WITHIN_S
    with elasticsearch(stack.settings) as client:
        while lacks := why_it_does_not_live(stack.settings, client, datetime.now(UTC)):
            if time.monotonic() > deadline:
                stack.report("live map", f"comes later: {lacks}")
                return False
            stack.report("live map", f"waits: {lacks}")
            time.sleep(POLL_S)
    stack.report("live map", "ready")
    return True


def _send_first_day(settings: Settings, report: Report) -> None:
    """Runs `evcharge simulate day`. It can be killed at any moment: the next call sends what is missing, with the same ids."""
    report(FIRST_DAY, "is simulated and sent to Kafka")
    command = [str(environment_script("evcharge")), "simulate", "day"]
    environment = os.environ | project_environment(settings)
    with TemporaryFile("w+") as said:
        try:
            done = subprocess.run(
                command, stdout=said, stderr=said, cwd=PROJECT, env=environment, timeout=DAY_WITHIN_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise StackError(f"the first day is not simulated after {timedelta(seconds=DAY_WITHIN_S)}") from None
        if done.returncode:
            said.seek(0)
            raise StackError(f"the first day cannot be simulated: {said.read().strip()[-1000:]}")
    report(FIRST_DAY, "ready")
