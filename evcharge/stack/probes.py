"""Asks each server, in its own protocol and with the platform's login, whether it serves.

A probe returns when the server is healthy and raises otherwise; the exception's text is what the user reads.
"""

from __future__ import annotations

import base64
import json
import socket
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from evcharge.settings import Settings

#: How long one probe may take. A server that is busy starting is asked again.
PROBE_TIMEOUT_S = 5.0


class NotHealthy(Exception):
    """The server answers, but not as a healthy one."""


def probe_kafka(settings: Settings) -> None:
    """Logs in with SASL and reads the cluster's metadata."""
    from kafka import KafkaAdminClient

    from evcharge.connections import kafka_options

    for server in settings.kafka_bootstrap_servers.split(","):
        _listening(*server.rsplit(":", 1))
    admin = KafkaAdminClient(
        **kafka_options(settings), request_timeout_ms=int(PROBE_TIMEOUT_S * 1000), bootstrap_timeout_ms=5000
    )
    try:
        if not admin.describe_cluster()["brokers"]:
            raise NotHealthy("no broker is registered")
    finally:
        admin.close()


def probe_minio(settings: Settings) -> None:
    """Asks for readiness and lists the buckets with the platform's key."""
    from evcharge.connections import minio_client

    _get(f"{settings.minio_endpoint}/minio/health/ready")
    minio_client(settings).list_buckets()


def probe_lakefs(settings: Settings) -> None:
    """Asks for health and lists repositories with the platform's key."""
    _get(f"{settings.lakefs_endpoint}/_health")
    _get(
        f"{settings.lakefs_endpoint}/api/v1/repositories?amount=1",
        login=(settings.lakefs_access_key, settings.lakefs_secret_key.get_secret_value()),
    )


def probe_clickhouse(settings: Settings) -> None:
    """Selects 1 as the loading user, over HTTP and then over the native protocol.

    HTTP first, because the hosted engine aborts when a native login fails.
    """
    from evcharge.connections import clickhouse

    _listening(settings.clickhouse_host, settings.clickhouse_http_port)
    answer = _get(
        f"http://{settings.clickhouse_host}:{settings.clickhouse_http_port}/?query=SELECT%201",
        login=(settings.clickhouse_user, settings.clickhouse_password.get_secret_value()),
    )
    if answer.strip() != "1":
        raise NotHealthy(f"SELECT 1 gave {answer[:80]!r}")
    client = clickhouse(settings, database="default")
    try:
        client.execute("SELECT 1")
    finally:
        client.disconnect()


def probe_spark_connect(settings: Settings) -> None:
    """Executes SELECT 1 over gRPC with the token, in a session that is released at once."""
    url = urlsplit(settings.spark_remote)
    _listening(url.hostname or "localhost", url.port or 15002)

    import uuid

    import grpc  # type: ignore[import-untyped]
    from pyspark.sql.connect.client.core import DefaultChannelBuilder
    from pyspark.sql.connect.proto import (
        ExecutePlanRequest,
        Plan,
        ReleaseSessionRequest,
        SparkConnectServiceStub,
        UserContext,
    )

    from evcharge.connections import spark_remote_url

    session, user = str(uuid.uuid4()), UserContext(user_id="probe")
    plan = Plan()
    plan.root.sql.query = "SELECT 1"
    with DefaultChannelBuilder(spark_remote_url(settings)).toChannel() as channel:
        stub = SparkConnectServiceStub(channel)
        try:
            answers = stub.ExecutePlan(
                ExecutePlanRequest(session_id=session, user_context=user, plan=plan), timeout=3 * PROBE_TIMEOUT_S
            )
            if not sum(answer.arrow_batch.row_count for answer in answers):
                raise NotHealthy("SELECT 1 gave no row")
            stub.ReleaseSession(ReleaseSessionRequest(session_id=session, user_context=user), timeout=PROBE_TIMEOUT_S)
        except grpc.RpcError as error:
            raise NotHealthy(f"{error.code().name}: {error.details()}") from None


def probe_elasticsearch(settings: Settings) -> None:
    """Asks for the cluster's health with the platform's login: every primary shard has to be there."""
    health = json.loads(
        _get(
            f"{settings.elasticsearch_url}/_cluster/health",
            login=(settings.elasticsearch_user, settings.elasticsearch_password.get_secret_value()),
        )
    )
    if health["status"] == "red":
        raise NotHealthy(f"status red, {health['active_shards_percent_as_number']:.0f} % of the shards are active")


def probe_cassandra(settings: Settings) -> None:
    """Logs in and reads the server's version; a new server, which has no role of ours yet, with its default login."""
    from evcharge.connections import CASSANDRA_DEFAULT_LOGIN, LoginRefusedError, cassandra

    for point in settings.cassandra_contact_points.split(","):
        _listening(*point.rsplit(":", 1))
    query = "SELECT release_version FROM system.local"
    try:
        with cassandra(settings) as session:
            session.execute(query)
    except LoginRefusedError as refused:
        if settings.is_external("cassandra"):
            raise
        try:
            with cassandra(settings, CASSANDRA_DEFAULT_LOGIN) as session:
                session.execute(query)
        except LoginRefusedError:
            raise refused from None


def probe_mongodb(settings: Settings) -> None:
    """Logs in and lists the database's collections."""
    from evcharge.connections import mongodb

    for point in settings.mongodb_host.split(","):
        _listening(*point.rsplit(":", 1))
    with mongodb(settings) as database:
        database.list_collection_names()


def probe_dagster_code(settings: Settings) -> None:
    """Asks the code server by gRPC's health protocol. Whether the code loads is the webserver's to tell."""
    port = settings.port("dagster_code")
    _listening("127.0.0.1", port)

    import grpc
    from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse  # type: ignore[import-untyped]
    from grpc_health.v1.health_pb2_grpc import HealthStub  # type: ignore[import-untyped]

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer = HealthStub(channel).Check(HealthCheckRequest(service="DagsterApi"), timeout=PROBE_TIMEOUT_S)
        except grpc.RpcError as error:
            raise NotHealthy(f"{error.code().name}: {error.details()}") from None
    if answer.status != HealthCheckResponse.SERVING:
        raise NotHealthy("it is not serving")


def probe_dagster_webserver(settings: Settings) -> None:
    """Asks the webserver which Dagster it is and whether it could load the project's code."""
    _get(f"http://127.0.0.1:{settings.dagster_port}/server_info")
    query = """{workspaceOrError{__typename ... on Workspace{locationEntries{name loadStatus
        locationOrLoadError{__typename ... on PythonError{message}}}}}}"""
    for entry in _graphql(settings, query)["workspaceOrError"].get("locationEntries", ()):
        loaded = entry["locationOrLoadError"] or {}
        if loaded.get("__typename") == "PythonError":
            raise NotHealthy(f"code location {entry['name']} does not load: {loaded['message'].strip()}")
        if entry["loadStatus"] != "LOADED":
            raise NotHealthy(f"code location {entry['name']} is loading")


def probe_dagster_daemon(settings: Settings) -> None:
    """Asks the webserver for the heartbeats of every daemon that is required."""
    query = "{instance{daemonHealth{allDaemonStatuses{daemonType required healthy lastHeartbeatErrors{message}}}}}"
    for status in _graphql(settings, query)["instance"]["daemonHealth"]["allDaemonStatuses"]:
        if status["required"] and not status["healthy"]:
            errors = [error["message"].strip().splitlines()[-1] for error in status["lastHeartbeatErrors"] or []]
            raise NotHealthy(f"{status['daemonType']} daemon: {'; '.join(errors) or 'no heartbeat yet'}")


def explain(error: BaseException) -> str:
    """The first line of what a probe raised."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    text = str(error).strip().splitlines()
    return (
        f"{type(error).__name__}: {text[0]}"
        if text and not isinstance(error, NotHealthy)
        else (text or [repr(error)])[0]
    )


def _listening(host: str, port: str | int) -> None:
    """Fails at once where nothing listens, sparing the clients' own retries."""
    socket.create_connection((host, int(port)), timeout=PROBE_TIMEOUT_S).close()


def _graphql(settings: Settings, query: str) -> dict[str, Any]:
    answer = json.loads(_get(f"http://127.0.0.1:{settings.dagster_port}/graphql", body={"query": query}))
    data: dict[str, Any] | None = answer.get("data")
    if data is None:
        raise NotHealthy(f"GraphQL: {answer.get('errors')}")
    return data


def _get(url: str, login: tuple[str, str] | None = None, body: dict[str, Any] | None = None) -> str:
    request = urllib.request.Request(url)
    if login:
        request.add_header("Authorization", "Basic " + base64.b64encode(":".join(login).encode()).decode())
    if body is not None:
        request.add_header("Content-Type", "application/json")
        request.data = json.dumps(body).encode()
    with urllib.request.urlopen(request, timeout=PROBE_TIMEOUT_S) as response:
        return str(response.read().decode())
