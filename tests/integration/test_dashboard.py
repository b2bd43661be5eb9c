"""The dashboard on real servers: what it answers, to whom, with which rights, and what is left while a store is down."""

from __future__ import annotations

import http.client
import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import schemathesis
from elasticsearch import AuthorizationException, Elasticsearch
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from servers import free_port
from support import meter, position, station

from dashboard.__main__ import QUESTION_THREADS, RECEIVE_TIMEOUT_S, REQUEST_TIMEOUT_S
from evcharge.connections import cassandra, clickhouse, elasticsearch, mongodb
from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.live.indices import ALIASES, STATION_STATE, STREAM_STATUS, VEHICLE_POSITION
from evcharge.live.station_folder import fold_into
from evcharge.live.stream_status import QueryStatus, write_status
from evcharge.live.vehicle_positions import write_positions
from evcharge.queries.dashboard import read_settings, settings_file
from evcharge.queries.freshness import utc_text
from evcharge.settings import PROJECT, Settings
from evcharge.stack.stack import Stack

PREFIX = f"dash-{token_hex(3)}"
STATION, CAR = f"{PREFIX}-station", f"{PREFIX}-car"
#: On the ice east of Ross Island, away from what other tests put on the map.
PLACE = (-77.5, 172.0)
VIEW = {"west": 171, "south": -78, "east": 173, "north": -77, "zoom": 10}
STREAMS = 60
ATTEMPTS = 10_000
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
#: Each question with parameters that fit.
QUESTIONS: dict[str, dict[str, Any]] = {
    "config": {},
    "stations": VIEW,
    "networks": {},
    f"stations/{STATION}": {},
    f"stations/{STATION}/forecast": {"in_min": 30},
    f"stations/{STATION}/history": {},
    "vehicles": {name: value for name, value in VIEW.items() if name != "zoom"},
    f"vehicles/{CAR}": {},
    "places": {"q": "Los Ang"},
    "ev-models": {},
    "trip": {"from": "Los Angeles, CA", "to": "San Diego, CA", "model": "nissan-leaf-40", "soc": 80},
    "network": {"months": 2},
    "network/stations.csv": {"months": 2},
    "status": {},
}
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    '{"match_all":{}}',
    "* OR station_id:*",
    "../_all/_search",
    "x'; DROP KEYSPACE evcharge; --",
    "x' UNION SELECT * FROM system.users --",
    "') FORMAT JSON; DROP DATABASE evcharge; --",
    '{"$gt": ""}',
    "a\r\nX-Injected: yes\r\n\r\n<html>",
    '\n{"event": "request", "status": 200}',
    "\x1b[31mred\x1b[0m\x00",
    "{{7*7}}${7*7}%n%s",
    "\u202e\U0001f697" * 20,
    "9" * 400,
    "A" * 5_000,
)


@dataclass
class Dashboard:
    """A dashboard as `evcharge dashboard` runs it, and what its stores hold."""

    settings: Settings
    client: Elasticsearch
    port: int
    process: subprocess.Popen[str]
    log: Path
    offset: int = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, timeout_s: float = 30, **parameters: Any) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Status, headers and body."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)) as connection:
            connection.request("GET", f"{path}?{urlencode(parameters)}" if parameters else path)
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def ask(self, question: str, **parameters: Any) -> tuple[int, Any]:
        """Status and content of an answer of the API."""
        status, _, body = self.get(f"/api/v1/{question}", **parameters)
        return status, json.loads(body)

    @contextmanager
    def events(self) -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
        """The events of a stream of the view, each with its data."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", f"/api/v1/events?{urlencode(VIEW)}")
        response = connection.getresponse()
        if response.status != 200:
            raise ConnectionRefusedError(response.status)
        assert response.headers.get_content_type() == "text/event-stream"

        def told() -> Iterator[tuple[str, dict[str, Any]]]:
            name = ""
            while line := response.readline().decode().rstrip("\n"):
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    yield name, json.loads(value)
                    response.readline()
                else:
                    if field == "retry":
                        response.readline()

        try:
            yield told()
        finally:
            response.close()
            connection.close()

    def send(self, contract: Any, row: dict[str, Any]) -> None:
        """Folds a registry's or an event's row into its station's document."""
        self.offset += 1
        record = {name: _in_ms(row.get(name)) for name in contract.columns}
        record |= {"kafka_partition": 0, "kafka_offset": self.offset}
        fold_into(self.client, STATION_STATE, contract.topic, {row["station_id"]: [record]})

    def says(self, query: str) -> None:
        """Lets the live state be of now."""
        now = utc_text(datetime.now(UTC))
        write_status(self.client, QueryStatus(query, "test", "test", now, now))

    def worker(self) -> int:
        """The process that answers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[-1])

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()


def _in_ms(value: Any) -> Any:
    return int(value.timestamp() * 1000) if isinstance(value, datetime) else value


@pytest.fixture(scope="module")
def served(platform: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """A station with two outlets of which nothing was heard but a car that left, and a car that drives to it."""
    log, port = tmp_path_factory.mktemp("dashboard") / "dashboard.log", free_port()
    limits = {"EVCHARGE_DASHBOARD_REQUESTS_PER_MINUTE": "1000000", "EVCHARGE_DASHBOARD_STREAMS": str(STREAMS)}
    command = [str(Path(sys.executable).with_name("evcharge")), "dashboard", "--port", str(port)]
    with log.open("w") as output, elasticsearch(platform) as client:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, text=True, env=os.environ | limits, cwd=PROJECT
        )
        dashboard = Dashboard(platform, client, port, process, log)
        try:
            _wait_for(lambda: dashboard.ask("config")[0] == 200, 60)
            now = datetime.now(UTC)
            outlets = [
                {"evse_id": f"{STATION}-{n}", "connector_id": "1", "connector_type": "J1772COMBO", "power_kw": 150.0}
                for n in (1, 2)
            ]
            row = station(STATION, latitude=PLACE[0], longitude=PLACE[1], evses=outlets, observed_at=now)
            dashboard.send(STATION_REGISTRY, row | {"connector_types": ["J1772COMBO"]})
            dashboard.send(SESSION_EVENTS, meter("before", STATION, event_type="started", occurred_at=now))
            car = position(CAR, now, latitude=PLACE[0], longitude=PLACE[1], destination_station_id=STATION)
            write_positions(
                client, VEHICLE_POSITION, [{name: _in_ms(car.get(name)) for name in VEHICLE_TELEMETRY.columns}]
            )
            for query in ("stations", "vehicles"):
                dashboard.says(query)
            for alias in ALIASES:
                client.indices.refresh(index=alias)
            yield dashboard
        finally:
            process.send_signal(signal.SIGTERM)
            ended = process.wait(20)
            client.options(ignore_status=404).delete(index=STATION_STATE, id=STATION, refresh=True)
            client.options(ignore_status=404).delete(index=VEHICLE_POSITION, id=CAR, refresh=True)
            for query in ("stations", "vehicles"):
                client.options(ignore_status=404).delete(index=STREAM_STATUS, id=query, refresh=True)
        assert ended == 0, "streams that are open must not keep it from ending"


def _wait_for(condition: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while True:
        try:
            if condition():
                return
        except (OSError, http.client.HTTPException):
            pass
        assert time.monotonic() < deadline, f"it did not happen within {within_s} s"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def reader(served: Dashboard) -> Settings:
    """The settings of the dashboard's process."""
    return read_settings(settings_file(served.settings.home, served.port))


@pytest.mark.parametrize("question", QUESTIONS)
def test_each_question_is_answered(served: Dashboard, question: str) -> None:
    for query in ("stations", "vehicles"):
        served.says(query)
    status, headers, body = served.get(f"/api/v1/{question}", **QUESTIONS[question])
    assert status == 200, body[:500]
    assert headers.get_content_type() == ("text/csv" if question.endswith(".csv") else "application/json")
    assert headers["Cache-Control"] == "no-store"


def test_the_station_is_on_the_map_with_the_car_that_heads_for_it(served: Dashboard) -> None:
    for query in ("stations", "vehicles"):
        served.says(query)
    _, answer = served.ask("stations", **VIEW)
    assert [one["id"] for one in answer["stations"]] == [STATION]
    _, found = served.ask(f"stations/{STATION}")
    assert [car["vehicle_id"] for car in found["inbound"]] == [CAR]
    assert served.ask(f"vehicles/{CAR}")[1]["destination_station_id"] == STATION
    assert served.ask("stations/none")[0] == served.ask("stations/none/forecast")[0] == 404


def test_an_open_page_is_told_of_a_change_within_three_seconds(served: Dashboard) -> None:
    with served.events() as told:
        assert next(told)[0] == "fresh"
        time.sleep(1)
        served.says("stations")
        served.send(
            SESSION_EVENTS,
            meter(f"s-{token_hex(3)}", STATION, event_type="started", occurred_at=datetime.now(UTC)),
        )
        began = time.monotonic()
        _, data = next(one for one in told if one[0] == "station")
        assert time.monotonic() - began < 3
        assert (data["id"], data["total"]) == (STATION, 2)


def test_the_process_has_no_secret_of_the_platform(served: Dashboard) -> None:
    secrets = dict(line.split("=", 1) for line in served.settings.credentials_file.read_text().split())
    own = {secret for name, secret in secrets.items() if name.startswith("EVCHARGE_DASHBOARD_")}
    for pid in (served.process.pid, served.worker()):
        held = Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
        assert not [name for name, secret in secrets.items() if secret.encode() in held]
    text = settings_file(served.settings.home, served.port).read_text() + served.log.read_text()
    assert not [name for name, secret in secrets.items() if secret in text and secret not in own]


def test_its_login_reads_the_live_state_and_does_nothing_else(reader: Settings) -> None:
    with elasticsearch(reader) as client:
        assert client.search(index=STATION_STATE, size=1)["hits"]["hits"]
        index = max(client.indices.get_alias(name=STATION_STATE))
        for forbidden in (
            lambda: client.index(index=STATION_STATE, id="x", document={}),
            lambda: client.delete(index=STATION_STATE, id=STATION),
            lambda: client.update(index=VEHICLE_POSITION, id=CAR, doc={"speed_kmh": 1}),
            lambda: client.indices.delete(index=index),
            lambda: client.indices.update_aliases(actions=[{"add": {"index": STATION_STATE, "alias": "mine"}}]),
            lambda: client.indices.create(index="mine"),
            lambda: client.search(index="dead-letters"),
            lambda: client.cluster.put_settings(persistent={"cluster.max_shards_per_node": 1}),
            lambda: client.security.get_user(),
            lambda: client.put_script(id="x", script={"lang": "painless", "source": "1"}),
        ):
            with pytest.raises(AuthorizationException):
                forbidden()


def test_its_login_reads_the_usage_and_does_nothing_else(reader: Settings) -> None:
    from cassandra import Unauthorized

    keyspace = reader.cassandra_keyspace
    with cassandra(reader) as session:
        session.execute(f"SELECT * FROM {keyspace}.usage_days WHERE year = 2026")
        for statement in (
            f"INSERT INTO {keyspace}.usage_days (year, day) VALUES (2026, '2026-01-01')",
            f"DELETE FROM {keyspace}.usage_days WHERE year = 2026",
            f"TRUNCATE {keyspace}.usage_days",
            f"DROP TABLE {keyspace}.usage_days",
            f"DROP KEYSPACE {keyspace}",
            "CREATE KEYSPACE mine WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
            "CREATE ROLE mine WITH SUPERUSER = true",
            f"ALTER ROLE {reader.cassandra_user} WITH SUPERUSER = true",
            f"GRANT ALL ON KEYSPACE {keyspace} TO {reader.cassandra_user}",
            "SELECT * FROM system_auth.roles",
        ):
            with pytest.raises(Unauthorized):
                session.execute(statement)


def test_its_login_reads_the_warehouse_and_does_nothing_else(reader: Settings) -> None:
    from clickhouse_driver.errors import ServerException

    client = clickhouse(reader)
    try:
        assert client.execute("SELECT count() >= 0 FROM fact_charging_sessions") == [(1,)]
        for statement in (
            "INSERT INTO loaded_day (day) VALUES ('2026-01-01')",
            "TRUNCATE TABLE fact_charging_sessions",
            "ALTER TABLE fact_charging_sessions DELETE WHERE 1",
            "DROP TABLE fact_charging_sessions",
            "CREATE TABLE mine (a Int8) ENGINE = Memory",
            "SELECT * FROM file('/etc/passwd', LineAsString)",
            "SELECT * FROM url('http://127.0.0.1:1/', LineAsString)",
            "SELECT * FROM system.users",
            "SET max_execution_time = 3600",
            "SET max_memory_usage = 100000000000",
        ):
            with pytest.raises(ServerException):
                client.execute(statement)
    finally:
        client.disconnect()


def test_its_login_reads_the_reference_data_and_does_nothing_else(reader: Settings) -> None:
    from pymongo.errors import OperationFailure

    with mongodb(reader) as database:
        database["ev_models"].count_documents({})
        for forbidden in (
            lambda: database["ev_models"].insert_one({"a": 1}),
            lambda: database["ev_models"].update_many({}, {"$set": {"a": 1}}),
            lambda: database["ev_models"].delete_many({}),
            lambda: database["ev_models"].drop(),
            lambda: list(database["ev_models"].aggregate([{"$match": {}}, {"$out": "mine"}])),
            lambda: database.command("createUser", "mine", pwd="x", roles=["dbOwner"]),
            lambda: database.client["admin"]["system.users"].find_one(),
        ):
            with pytest.raises(OperationFailure):
                forbidden()


def _hostile_requests(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The text in the place of each parameter and of each part of an address."""
    optional = {
        "stations": ("connector", "network", "favourites", "min_power_kw", "free_now", "likely_free_in_min"),
        "events": ("stations", "vehicles", "network", "connector"),
        "network": ("network", "state"),
        "network/stations.csv": ("network", "state"),
        f"stations/{STATION}/forecast": ("connector", "min_power_kw"),
        "trip": ("depart_at", "avoid", "temperature_c", "reference_consumption"),
    }
    for question, fitting in {**QUESTIONS, "events": VIEW}.items():
        for name in (*fitting, *optional.get(question, ())):
            yield f"/api/v1/{question}", {**fitting, name: text}
        yield f"/api/v1/{question}", {**fitting, text[:100]: "1"}
    part = quote(text, safe="")
    for path in ("stations/{}", "stations/{}/forecast", "stations/{}/history", "vehicles/{}", "network/{}.csv", "{}"):
        yield f"/api/v1/{path.format(part)}", {}
    yield f"/{part}", {}
    yield f"/stations/{part}", {}
    yield f"/static/{part}", {}


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_text_gets_a_clear_answer_and_does_nothing(served: Dashboard, text: str) -> None:
    for query in ("stations", "vehicles"):
        served.says(query)
    logged = len(served.lines())
    asked = 0
    for path, parameters in _hostile_requests(text):
        if path == "/api/v1/events":
            # a stream does not end: only its head is read
            with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)) as connection:
                connection.request("GET", f"{path}?{urlencode(parameters)}")
                response = connection.getresponse()
                status, headers = response.status, response.headers
                body = b"" if status == 200 else response.read()
        else:
            status, headers, body = served.get(path, **parameters)
        asked += 1
        if status == 414:
            assert b"AAAA" not in body, "gunicorn answers an address that is too long"
            asked -= 1
            continue
        assert status in (200, 400, 404, 422), (status, path, parameters, body[:300])
        assert "X-Injected" not in headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        if headers.get_content_type() == "text/html":
            assert text.encode() not in body or text.isalnum()
        if status != 200 and path.startswith("/api/"):
            assert headers.get_content_type() == "application/problem+json"
            detail = json.loads(body)["detail"]
            assert detail
            assert "\n" not in detail
            assert not [word for word in ("Traceback", "Exception", "elastic", ".py") if word in detail], detail
    new = served.lines()[logged:]
    assert len(new) == asked, "each request has one line of the log"
    assert all(json.loads(line)["event"] == "request" for line in new)
    _nothing_happened(served)


def _nothing_happened(served: Dashboard) -> None:
    served.client.indices.refresh(index=STATION_STATE)
    assert served.client.exists(index=STATION_STATE, id=STATION)
    with cassandra(served.settings) as session:
        session.execute(f"SELECT * FROM {served.settings.cassandra_keyspace}.usage_days LIMIT 1")
    assert clickhouse(served.settings).execute("SELECT count() >= 0 FROM fact_charging_sessions") == [(1,)]


def test_the_api_keeps_to_its_description(served: Dashboard) -> None:
    """schemathesis asks each question as its description allows, and as it does not."""
    for query in ("stations", "vehicles"):
        served.says(query)
    # the answer of a stream does not end
    schema = schemathesis.openapi.from_url(f"{served.address}/api/v1/openapi.json").exclude(path="/api/v1/events")
    asked = set()
    operations: list[Any] = [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]
    for operation in operations:
        for mode in GenerationMode if operation.query else [GenerationMode.POSITIVE]:
            _ask(operation.as_strategy(generation_mode=mode))
        asked.add(operation.label)
    assert len(asked) >= len(QUESTIONS)


def _ask(cases: Any) -> None:
    """Sends a dozen of the cases and judges the answers."""

    @examples(max_examples=12, database=None, suppress_health_check=list(HealthCheck))
    @given(case=cases)
    def ask(case: schemathesis.Case) -> None:
        response = case.call(timeout=30)
        # gunicorn answers an address that is too long, before us
        if response.status_code != 414:
            case.validate_response(response, checks=CHECKS)

    ask()


def test_ten_thousand_streams_leave_the_rest_working(served: Dashboard) -> None:
    """Opens ten thousand at once, asks meanwhile, and looks at threads, memory and what was answered."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    attempts = min(ATTEMPTS, most - 500)
    request = f"GET /api/v1/events?{urlencode(VIEW)} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    answers: Counter[str] = Counter()
    asked: list[int] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            asked.append(served.get("/api/v1/config", timeout_s=60)[0])
            time.sleep(0.3)

    asking = threading.Thread(target=ask)
    selector = selectors.DefaultSelector()
    try:
        asking.start()
        for _ in range(attempts):
            opened = socket.socket()
            opened.setblocking(False)
            opened.connect_ex(("127.0.0.1", served.port))
            selector.register(opened, selectors.EVENT_WRITE)
        deadline = time.monotonic() + 60
        refused = attempts - STREAMS
        while sum(answers.values()) < refused and time.monotonic() < deadline:
            for key, event in selector.select(0.5):
                connection: Any = key.fileobj
                try:
                    if event & selectors.EVENT_WRITE:
                        connection.send(request)
                        selector.modify(connection, selectors.EVENT_READ)
                        continue
                    head = connection.recv(65_536)
                    if key.data is None:
                        answers[head[9:12].decode() or "closed"] += 1
                        selector.modify(connection, selectors.EVENT_READ, "answered")
                    if not head:
                        selector.unregister(connection)
                        connection.close()
                except OSError as error:
                    answers[type(error).__name__] += 1
                    selector.unregister(connection)
                    connection.close()
        state = dict(line.split(":\t", 1) for line in Path(f"/proc/{served.worker()}/status").read_text().splitlines())
        assert answers["200"] <= STREAMS
        assert answers["503"] > attempts / 2, answers
        assert int(state["Threads"]) < STREAMS + 100
        assert int(state["VmRSS"].split()[0]) < 700_000, "kB"
        # while the streams that were opened still are
        assert served.ask("stations", **VIEW)[0] == 200
    finally:
        done.set()
        asking.join()
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert asked
    assert set(asked) == {200}
    _wait_for(lambda: _opens(served), 30)


def test_requests_that_come_by_drops_are_cut_off(served: Dashboard) -> None:
    """More of them than there are threads, a byte each second."""
    count = STREAMS + QUESTION_THREADS + 20
    drops = [socket.create_connection(("127.0.0.1", served.port), timeout=30) for _ in range(count)]
    try:
        for drop in drops:
            drop.sendall(b"GET /api/v1/config HTTP/1.1\r\nX-Slow: ")
        ended = 0
        deadline = time.monotonic() + 3 * (REQUEST_TIMEOUT_S + RECEIVE_TIMEOUT_S)
        while drops and time.monotonic() < deadline:
            time.sleep(1)
            left = []
            for drop in drops:
                try:
                    drop.sendall(b"a")
                    drop.setblocking(False)
                    assert drop.recv(1_000) == b""
                except BlockingIOError:
                    drop.settimeout(30)
                    left.append(drop)
                    continue
                except OSError:
                    pass
                ended += 1
                drop.close()
            drops = left
        assert ended == count
        assert served.ask("config")[0] == 200
    finally:
        for drop in drops:
            drop.close()
    assert "Traceback" not in served.log.read_text()


def _opens(served: Dashboard) -> bool:
    with served.events() as told:
        return next(told)[0] == "fresh"


@pytest.fixture
def stopped(request: pytest.FixtureRequest, served: Dashboard) -> Iterator[str]:
    stack = Stack(served.settings)
    stack.stop(request.param)
    yield request.param
    stack.start(request.param)
    for query in ("stations", "vehicles"):
        served.says(query)
    question = {"elasticsearch": "stations", "cassandra": f"stations/{STATION}/history", "clickhouse": "network"}
    name = question[request.param]
    _wait_for(lambda: served.ask(name, **QUESTIONS[name])[0] == 200, 60)


#: By server: the questions that cannot be answered without it.
NEEDED = {
    "elasticsearch": {
        *("stations", "networks", f"stations/{STATION}", f"stations/{STATION}/forecast", "vehicles", f"vehicles/{CAR}"),
        *(f"stations/{STATION}/history", "trip"),
    },
    "cassandra": {f"stations/{STATION}/history"},
    # the figures that it read before it shows on
    "clickhouse": set[str](),
}


@pytest.mark.parametrize("stopped", NEEDED, indirect=True)
def test_a_store_that_is_down_is_named_and_the_rest_answers(served: Dashboard, stopped: str) -> None:
    for question, parameters in QUESTIONS.items():
        status, headers, body = served.get(f"/api/v1/{question}", **parameters)
        if question in NEEDED[stopped]:
            assert (status, json.loads(body)["detail"]) == (503, f"{stopped} does not answer"), question
            assert headers.get_content_type() == "application/problem+json"
            assert int(headers["Retry-After"]) > 0
        else:
            assert status == 200, (question, body[:300])
    for page in ("/", f"/stations/{STATION}", "/trip", "/network", "/status"):
        assert served.get(page)[0] == 200
    names = {"elasticsearch": "Elasticsearch", "cassandra": "Cassandra", "clickhouse": "ClickHouse"}
    down = [store["name"] for store in served.ask("status")[1]["stores"] if store["state"] == "down"]
    assert names[stopped] in down
    if stopped == "cassandra":
        found = served.ask(f"stations/{STATION}")[1]
        assert (found["today"], found["today_note"]) == (None, "cassandra does not answer")
    with served.events() as told:
        if stopped == "elasticsearch":
            assert ("error", {"detail": "elasticsearch does not answer"}) in [next(told) for _ in range(2)]
        else:
            assert next(told)[0] == "fresh"
