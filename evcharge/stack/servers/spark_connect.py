"""Spark Connect: the warm Spark that publications and loads share."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from evcharge import spark_daemon
from evcharge.components import SPARK
from evcharge.connections import require_listener, spark_remote_url
from evcharge.priority import BACKGROUND
from evcharge.spark_configuration import NO_FOLDER, SPARK_HOME, spark_configuration
from evcharge.stack.files import write_private
from evcharge.stack.programs import java_command
from evcharge.stack.servers.base import Server, password, project_environment
from evcharge.stack.servers.probing import PROBE_TIMEOUT_S, NotHealthy

_SERVER_CLASS = "org.apache.spark.sql.connect.service.SparkConnectServer"


class SparkConnect(Server):
    name = "spark-connect"
    version = SPARK.version
    ports = ("spark_connect",)
    secrets: ClassVar = {"spark_token": password}
    component = SPARK
    programs: ClassVar = {"java": java_command}
    configuration = ("spark-defaults.conf",)
    # it starts slowest, and nothing in the bootstrap needs it
    starts_early = True
    stop_within_s = 30
    # publications and loads
    niceness = BACKGROUND

    @property
    def address(self) -> str:
        return self.settings.spark_remote.partition("/;")[0]

    @property
    def folder(self) -> Path:
        return self.settings.home / "spark"

    @property
    def command(self) -> tuple[str, ...]:
        return (
            *(f"{SPARK_HOME}/bin/spark-submit", "--class", _SERVER_CLASS),
            *("--properties-file", str(self.folder / "spark-defaults.conf"), "spark-internal"),
        )

    @property
    def environment(self) -> dict[str, str]:
        return {
            "SPARK_HOME": str(SPARK_HOME),
            **NO_FOLDER,
            "SPARK_NO_DAEMONIZE": "1",
            "SPARK_LOCAL_IP": "127.0.0.1",
            # the workers would otherwise be the PATH's python3, which has none of the project's packages
            "PYSPARK_PYTHON": sys.executable,
            spark_daemon.IMPORTS: "pyarrow,evcharge.lake.rowfiles",
            **project_environment(self.settings),
        }

    def prepare(self) -> None:
        work = self.folder / "work"
        work.mkdir(parents=True, exist_ok=True)
        port = self.settings.port("spark_connect")
        write_private(self.folder / "spark-defaults.conf", spark_configuration(self.settings, "connect", work, port))

    def probe(self) -> None:
        """Executes SELECT 1 over gRPC with the token, in a session that is released at once."""
        url = urlsplit(self.settings.spark_remote)
        require_listener(f"{url.hostname or 'localhost'}:{url.port or 15002}", PROBE_TIMEOUT_S)

        import grpc  # type: ignore[import-untyped]
        from pyspark.sql.connect.client.core import DefaultChannelBuilder
        from pyspark.sql.connect.proto import (
            ExecutePlanRequest,
            Plan,
            ReleaseSessionRequest,
            SparkConnectServiceStub,
            UserContext,
        )

        session, user = str(uuid.uuid4()), UserContext(user_id="probe")
        plan = Plan()
        plan.root.sql.query = "SELECT 1"
        with DefaultChannelBuilder(spark_remote_url(self.settings)).toChannel() as channel:
            stub = SparkConnectServiceStub(channel)
            try:
                answers = stub.ExecutePlan(
                    ExecutePlanRequest(session_id=session, user_context=user, plan=plan), timeout=3 * PROBE_TIMEOUT_S
                )
                if not sum(answer.arrow_batch.row_count for answer in answers):
                    raise NotHealthy("SELECT 1 gave no row")
                release = ReleaseSessionRequest(session_id=session, user_context=user)
                stub.ReleaseSession(release, timeout=PROBE_TIMEOUT_S)
            except grpc.RpcError as error:
                raise NotHealthy(f"{error.code().name}: {error.details()}") from None
