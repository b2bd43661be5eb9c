"""Dagster's three processes: the code server, the webserver, the daemon."""

from __future__ import annotations

import sys
from pathlib import Path

from evcharge.components import pinned_version
from evcharge.connections import require_dagster_postgres
from evcharge.dagster_api import graphql, login
from evcharge.priority import STREAM
from evcharge.settings import PROJECT, Settings
from evcharge.stack.dagster_history import Report, take_history_along
from evcharge.stack.files import socket_path, write_private
from evcharge.stack.programs import environment_script
from evcharge.stack.servers.base import ProjectProcess, project_environment
from evcharge.stack.servers.probing import PROBE_TIMEOUT_S, NotHealthy, http_get

_LOCATIONS = """{workspaceOrError{__typename ... on Workspace{locationEntries{name loadStatus
    locationOrLoadError{__typename ... on PythonError{message}}}}}}"""
_DAEMONS = "{instance{daemonHealth{allDaemonStatuses{daemonType required healthy lastHeartbeatErrors{message}}}}}"


def code_socket(settings: Settings) -> Path:
    """Where the code server listens. Its protocol has no login, and a socket has the rights of a file."""
    return socket_path(settings.home, "dagster-code")


def dagster_environment(settings: Settings) -> dict[str, str]:
    """What Dagster's processes need beside the platform's settings: its home, its storage, the compute logs' store."""
    return {
        "DAGSTER_HOME": str(settings.dagster_home),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        # the events of a run over many partitions are written so many at a time
        "DAGSTER_EVENT_BATCH_SIZE": "500",
        # A sensor that lost its cursor reads main's whole log: after a year for longer than Dagster's limit of 60.
        "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "600",
        "EVCHARGE_DAGSTER_POSTGRES_URL": settings.dagster_postgres_url.get_secret_value(),
        "DAGSTER_CODE_SOCKET": str(code_socket(settings)),
        "COMPUTE_LOG_BUCKET": settings.compute_log_bucket,
        "COMPUTE_LOG_ENDPOINT": settings.minio_endpoint,
        "COMPUTE_LOG_DIR": str(settings.home / "dagster" / "compute-logs"),
        "AWS_ACCESS_KEY_ID": settings.minio_access_key,
        "AWS_SECRET_ACCESS_KEY": settings.minio_secret_key.get_secret_value(),
        "AWS_DEFAULT_REGION": "us-east-1",
    }


class _DagsterProcess(ProjectProcess):
    """What all three share: Dagster's home and its configuration."""

    version = pinned_version("dagster")
    configuration = ("dagster.yaml",)

    @property
    def folder(self) -> Path:
        return self.settings.dagster_home

    @property
    def environment(self) -> dict[str, str]:
        return project_environment(self.settings) | dagster_environment(self.settings)

    def prepare(self) -> None:
        require_dagster_postgres(self.settings)
        write_private(self.folder / "dagster.yaml", (PROJECT / "dagster.yaml").read_text())

    def take_along(self, report: Report) -> None:
        # a home that `up` has not prepared yet is still read as the older version does
        if "PlatformStorage" in (self.folder / "dagster.yaml").read_text() and not self.settings.dagster_postgres_url:
            take_history_along(self.folder, self.settings.run_log_days, report)


class DagsterCodeServer(_DagsterProcess):
    """Serves the project's definitions to the other two, and launches the runs."""

    name = "dagster-code"
    after = ("kafka", "minio", "lakefs", "clickhouse", "elasticsearch", "cassandra", "mongodb")
    stop_within_s = 60
    # its runs inherit this; the stream is one of them
    niceness = STREAM

    @property
    def command(self) -> tuple[str, ...]:
        return (
            *(sys.executable, "-m", "evcharge_assets.code_server", "api", "grpc"),
            *("--socket", str(code_socket(self.settings)), "--inject-env-vars-from-instance"),
            # code that does not load is then shown in the web UI
            "--lazy-load-user-code",
            *("-m", "evcharge_assets.definitions", "-a", "defs"),
            *("-d", str(PROJECT), "--location-name", "evcharge", "--use-python-environment-entry-point"),
        )

    def probe(self) -> None:
        """Asks the code server by gRPC's health protocol. The webserver's probe reports code that does not load."""
        socket = code_socket(self.settings)
        if not socket.exists():
            raise NotHealthy(f"{socket} is not there yet")

        import grpc  # type: ignore[import-untyped]
        from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse  # type: ignore[import-untyped]
        from grpc_health.v1.health_pb2_grpc import HealthStub  # type: ignore[import-untyped]

        with grpc.insecure_channel(f"unix:{socket}") as channel:
            try:
                answer = HealthStub(channel).Check(HealthCheckRequest(service="DagsterApi"), timeout=PROBE_TIMEOUT_S)
            except grpc.RpcError as error:
                raise NotHealthy(f"{error.code().name}: {error.details()}") from None
        if answer.status != HealthCheckResponse.SERVING:
            raise NotHealthy("it is not serving")


class DagsterWebserver(_DagsterProcess):
    """Shows assets and runs, and answers GraphQL."""

    name = "dagster-webserver"
    ports = ("dagster_webserver",)
    after = ("dagster-code",)
    stop_within_s = 30

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.settings.dagster_port}"

    @property
    def command(self) -> tuple[str, ...]:
        return (
            *(sys.executable, "-m", "evcharge_assets.webserver", "-h", "127.0.0.1"),
            *("-p", str(self.settings.dagster_port), "-w", str(PROJECT / "workspace.yaml")),
        )

    @property
    def environment(self) -> dict[str, str]:
        settings = self.settings
        return super().environment | {
            "EVCHARGE_DAGSTER_USER": settings.dagster_user,
            "EVCHARGE_DAGSTER_PASSWORD": settings.dagster_password.get_secret_value(),
            "EVCHARGE_DAGSTER_HOSTS": settings.dagster_hosts,
        }

    def probe(self) -> None:
        """Reads the webserver's version and whether it could load the project's code."""
        http_get(f"http://{self.address}/server_info", login=login(self.settings))
        workspace = graphql(self.settings, _LOCATIONS, timeout_s=PROBE_TIMEOUT_S)["workspaceOrError"]
        for entry in workspace.get("locationEntries", ()):
            loaded = entry["locationOrLoadError"] or {}
            if loaded.get("__typename") == "PythonError":
                raise NotHealthy(f"code location {entry['name']} does not load: {loaded['message'].strip()}")
            if entry["loadStatus"] != "LOADED":
                raise NotHealthy(f"code location {entry['name']} is loading")


class DagsterDaemon(_DagsterProcess):
    """Runs sensors, schedules and the queue of runs."""

    name = "dagster-daemon"
    # its sensors launch runs at once
    after = ("dagster-code", "spark-connect")
    stop_within_s = 60

    @property
    def command(self) -> tuple[str, ...]:
        return (str(environment_script("dagster-daemon")), "run", "-w", str(PROJECT / "workspace.yaml"))

    def probe(self) -> None:
        """Asks the webserver for the heartbeat of every required daemon."""
        answer = graphql(self.settings, _DAEMONS, timeout_s=PROBE_TIMEOUT_S)
        for status in answer["instance"]["daemonHealth"]["allDaemonStatuses"]:
            if status["required"] and not status["healthy"]:
                errors = [error["message"].strip().splitlines()[-1] for error in status["lastHeartbeatErrors"] or []]
                raise NotHealthy(f"{status['daemonType']} daemon: {'; '.join(errors) or 'no heartbeat yet'}")
