"""What strangers get: other users of this machine, and pages of other sites in a browser on it."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clickhouse_driver import Client
from clickhouse_driver.errors import ServerException
from kafka import KafkaAdminClient
from kafka.errors import KafkaError
from pydantic import SecretStr

from evcharge.connections import LoginRefusedError, cassandra, clickhouse, kafka_options
from evcharge.settings import Settings
from evcharge.stack.credentials import GENERATORS
from evcharge.stack.servers import SERVERS, definitions
from evcharge.stack.servers.base import SERVER_USER_ID
from evcharge.stack.stack import Stack
from evcharge.stack.supervisor import Supervisor

DAGSTER = ("dagster-code", "dagster-webserver")
FOREIGN = {"Origin": "http://elsewhere.example", "Sec-Fetch-Site": "cross-site"}

#: What writes to the warehouse, or reaches beyond it.
FORBIDDEN = (
    "INSERT INTO evcharge.loaded_day (table_name) VALUES ('x')",
    "DROP TABLE evcharge.fact_charging_sessions",
    "TRUNCATE TABLE evcharge.fact_charging_sessions",
    "CREATE TABLE evcharge.mine (x Int8) ENGINE = Memory",
    "CREATE DATABASE mine",
    "CREATE USER mine",
    "SELECT * FROM file('/etc/passwd', LineAsString)",
    "INSERT INTO FUNCTION file('written.csv', CSV, 'x Int8') VALUES (1)",
    "SELECT * FROM url('http://127.0.0.1:1/', LineAsString)",
    "SELECT * FROM s3('http://127.0.0.1:1/bucket/key', LineAsString)",
    "SELECT * FROM remote('127.0.0.1', system.one)",
    "SELECT * FROM executable('id', TabSeparated, 'x String')",
    "SYSTEM STOP LISTEN TCP",
    "SYSTEM STOP LISTEN HTTP",
    "SYSTEM SHUTDOWN",
)
#: What reads it. An analyst may, and so nobody else.
READING = (
    "SELECT count() FROM evcharge.fact_charging_sessions",
    "SELECT name FROM system.tables",
    "SELECT * FROM numbers(10)",
    "SHOW DATABASES",
)


def status_of(url: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
    """Status and headers of the answer to a request: a GET, or a POST if there is a body."""
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, dict(response.headers)
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers)


def http_port(settings: Settings) -> str:
    return f"http://{settings.clickhouse_host}:{settings.clickhouse_http_port}/"


@pytest.mark.parametrize("query", FORBIDDEN + READING)
def test_the_warehouse_refuses_everybody(query: str, platform: Settings) -> None:
    """Without a login, over both protocols, and as a page of another site posts it."""
    for headers in ({}, FOREIGN, {"X-ClickHouse-User": "default"}, {"X-ClickHouse-User": "host"}):
        status, answered = status_of(http_port(platform), query.encode(), headers)
        assert status >= 400, headers
        assert "Access-Control-Allow-Origin" not in answered
    client = Client(platform.clickhouse_host, platform.clickhouse_port, user="default", connect_timeout=5)
    with pytest.raises(ServerException):
        client.execute(query)
    client.disconnect()
    assert clickhouse(platform).execute("SELECT count() >= 0 FROM evcharge.fact_charging_sessions") == [(1,)]


@pytest.mark.parametrize("query", FORBIDDEN)
def test_the_warehouse_lets_an_analyst_read_it_and_do_nothing_else(query: str, platform: Settings) -> None:
    headers = {
        "X-ClickHouse-User": platform.analyst_user,
        "X-ClickHouse-Key": platform.analyst_password.get_secret_value(),
    }
    assert status_of(http_port(platform), READING[0].encode(), headers)[0] == 200
    assert status_of(http_port(platform), query.encode(), headers)[0] >= 400


@pytest.mark.parametrize(
    "headers", [{}, FOREIGN, {"Authorization": "Basic ZXZjaGFyZ2U6d3Jvbmc="}, {"Host": "x.example"}]
)
def test_http_servers_refuse_requests_without_a_login(headers: dict[str, str], platform: Settings) -> None:
    console = f"http://127.0.0.1:{platform.port('minio_console')}"
    for url, body in (
        (f"{platform.lakefs_endpoint}/api/v1/repositories", None),
        (f"{platform.lakefs_endpoint}/api/v1/config", None),
        (f"{platform.lakefs_endpoint}/api/v1/repositories", b'{"name": "mine", "storage_namespace": "s3://mine"}'),
        (f"{platform.minio_endpoint}/", None),
        (f"{platform.minio_endpoint}/{platform.lake_bucket}?list-type=2", None),
        (f"{platform.minio_endpoint}/minio/v2/metrics/cluster", None),
        (f"{console}/api/v1/buckets", None),
        (f"{console}/api/v1/login", b'{"accessKey": "evcharge", "secretKey": "wrong"}'),
        (f"{platform.elasticsearch_url}/_cluster/health", None),
        (f"{platform.elasticsearch_url}/station-state/_search", b"{}"),
    ):
        status, _ = status_of(url, body, {"Content-Type": "application/json"} | headers)
        assert status in (400, 401, 403), url


def test_kafka_refuses_clients_without_a_login(platform: Settings) -> None:
    address = platform.kafka_bootstrap_servers
    controller = f"127.0.0.1:{platform.port('kafka_controller')}"
    wrong = platform.model_copy(update={"kafka_password": SecretStr("wrong")})
    plain = {"security_protocol": "PLAINTEXT"}
    for options in (
        {"bootstrap_servers": address} | plain,
        kafka_options(wrong),
        {"bootstrap_servers": controller} | plain,
        {"bootstrap_controllers": controller} | plain,
        kafka_options(wrong) | {"bootstrap_servers": controller, "sasl_mechanism": "PLAIN"},
    ):
        with pytest.raises((KafkaError, ValueError)):
            KafkaAdminClient(**options, request_timeout_ms=3_000, bootstrap_timeout_ms=3_000).list_topics()


def test_cassandra_never_had_its_default_login(platform: Settings) -> None:
    default = platform.model_copy(update={"cassandra_user": "cassandra", "cassandra_password": SecretStr("cassandra")})
    with pytest.raises(LoginRefusedError), cassandra(default):
        pass
    with cassandra(platform) as session:
        roles = {
            row.role: row.is_superuser for row in session.execute("SELECT role, is_superuser FROM system_auth.roles")
        }
    assert roles == {platform.cassandra_user: True, platform.dashboard_user: False}


def test_spark_refuses_clients_without_its_token(platform: Settings) -> None:
    for token in ("", "wrong"):
        with pytest.raises(Exception, match=r"UNAUTHENTICATED|authenti"):  # the probe's own error, and gRPC's
            definitions(platform.model_copy(update={"spark_token": SecretStr(token)}))["spark-connect"].probe()


@pytest.fixture(scope="module")
def dagster(platform: Settings) -> Iterator[str]:
    """The address of Dagster's webserver, which runs for this module."""
    Stack(platform).up(DAGSTER)
    yield f"http://127.0.0.1:{platform.dagster_port}"
    Supervisor(platform).stop_together(DAGSTER, lambda name, doing: None)


def test_dagster_takes_requests_from_its_own_pages_alone(dagster: str) -> None:
    query, as_json = json.dumps({"query": "{version}"}).encode(), {"Content-Type": "application/json"}
    graphql = f"{dagster}/graphql"
    assert status_of(graphql, query, as_json)[0] == 200
    assert status_of(graphql, query, as_json | {"Origin": dagster})[0] == 200
    assert status_of(f"{dagster}/runs", None, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})[0] == 200
    for url, body, headers, expected in (
        (graphql, query, as_json | FOREIGN, 403),
        (graphql, query, as_json | {"Origin": "http://127.0.0.1:8080"}, 403),
        (graphql, query, as_json | {"Host": "elsewhere.example"}, 400),
        (graphql, query, {"Content-Type": "text/plain"}, 415),
        (f"{graphql}?query=%7Bversion%7D", None, {}, 405),
        (f"{dagster}/report_asset_materialization/x", b"{}", FOREIGN, 403),
    ):
        assert status_of(url, body, headers)[0] == expected, (url, headers)


def test_nothing_secret_is_in_arguments_logs_or_dagster(dagster: str, platform: Settings) -> None:
    values = {name: getattr(platform, name) for name in GENERATORS if name != "lakefs_access_key"}
    secrets = {value.get_secret_value().encode(): name for name, value in values.items()}

    def found_in(content: bytes) -> set[str]:
        return {name for secret, name in secrets.items() if secret in content}

    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            arguments = (process / "cmdline").read_bytes()
            assert not found_in(arguments), arguments.replace(b"\0", b" ")[:200]
    for folder in (platform.log_dir, platform.dagster_home):
        for path in folder.rglob("*"):
            if path.is_file():
                assert not found_in(path.read_bytes()), path
    shown: Any = [status.as_dict() for status in Stack(platform).status()]
    assert not found_in(json.dumps(shown).encode())


def test_nobody_else_can_use_a_file_of_the_home(platform: Settings) -> None:
    """Nobody else gets into the home. What servers write there is closed by itself, too."""
    assert stat.S_IMODE(platform.home.stat().st_mode) == 0o700
    of_servers = {*(server.folder for server in definitions(platform).values()), platform.log_dir}
    for path in platform.home.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                continue
            theirs = path in of_servers or not of_servers.isdisjoint(path.parents) or stat.S_ISSOCK(status.st_mode)
            assert not stat.S_IMODE(status.st_mode) & (0o007 if theirs else 0o002), path
            assert status.st_uid in (os.getuid(), SERVER_USER_ID), path


@pytest.mark.skipif(os.getuid() != 0, reason="only root starts servers as another user")
def test_root_runs_the_stores_as_another_user(platform: Settings) -> None:
    for status in Stack(platform).status():
        if status.service in SERVERS and definitions(platform)[status.service].unprivileged:
            assert os.stat(f"/proc/{status.pid}").st_uid == SERVER_USER_ID, status.service
