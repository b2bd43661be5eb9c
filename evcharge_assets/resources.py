"""Resources: the platform's settings and lake, and the Spark session of the batch assets."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import dagster as dg

from evcharge.connections import ServerDownError
from evcharge.disk import lack_of_room
from evcharge.lake.candidate import RunIdentity
from evcharge.lake.parked import SERVER_DOWN_TAG
from evcharge.lake.repository import Repository
from evcharge.settings import IS_CLONE, PROJECT, Settings, load_settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class Platform(dg.ConfigurableResource):
    """Gives assets the settings and the lake. Settings come from the environment, never from run configuration."""

    def settings(self) -> Settings:
        return load_settings()

    def repository(self) -> Repository:
        return Repository(self.settings())

    @contextmanager
    def naming_servers(
        self,
        context: dg.OpExecutionContext | dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
        *services: str,
    ) -> Iterator[None]:
        """If a server is down or the disk is full, turns any error into one that says so, and tags the run.

        Spark and Arrow raise errors of their own if MinIO or Kafka is down. So after an error the servers are probed.
        """
        try:
            yield
        except dg.Failure:
            # says already why
            raise
        except Exception as error:
            # Imported here, because it knows every server's client, and only a failed run asks.
            from evcharge.stack.health import unhealthy_servers

            settings = self.settings()
            down = [str(error)] if isinstance(error, ServerDownError) else unhealthy_servers(settings, services)
            if not down and (lack := lack_of_room(settings)):
                down = [lack]
            if not down:
                raise
            context.instance.add_run_tags(context.run.run_id, {SERVER_DOWN_TAG: "; ".join(down)[:200]})
            raise dg.Failure("; ".join(down), allow_retries=False) from error


class SparkConnect(dg.ConfigurableResource):
    """A client of the running Spark Connect server. PySpark is imported, and the session opened, when the first asset asks."""

    remote: str

    @property
    def spark_session(self) -> SparkSession:
        from dagster_pyspark import LazyPySparkResource

        session: SparkSession = LazyPySparkResource(spark_config={"spark.remote": self.remote}).spark_session
        return session


def spark_resource(settings: Settings) -> SparkConnect:
    # the token goes through the environment, since Dagster's pages show a resource's configuration
    os.environ.setdefault("SPARK_CONNECT_AUTHENTICATE_TOKEN", settings.spark_token.get_secret_value())
    return SparkConnect(remote=settings.spark_remote)


def root_run_id(run: dg.DagsterRun) -> str:
    """The id of the first run, which all its retries share."""
    return run.root_run_id or run.run_id


def identity(context: dg.OpExecutionContext | dg.AssetExecutionContext) -> RunIdentity:
    """The run and our code's version, for the lake's metadata."""
    return RunIdentity(context.run.run_id, root_run_id(context.run), code_version())


@cache
def code_version() -> str:
    """The commit of our own code; `unknown` outside a Git checkout."""
    # an installed package may lie inside another project's checkout
    if not IS_CLONE:
        return "unknown"
    try:
        command = ["git", "-C", str(PROJECT), "rev-parse", "--short=12", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
