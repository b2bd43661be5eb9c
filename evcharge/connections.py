"""Opens connections to the platform's servers; the one place that turns settings into client options.

Every client has a timeout. A server that does not answer raises ServerDownError, whose message names the server, its
address and, when it runs natively, its log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import lakefs_sdk
    import pyarrow.fs
    from clickhouse_driver import Client
    from pyspark.sql import SparkSession

    from evcharge.settings import Settings

CONNECT_TIMEOUT_S = 10
REQUEST_TIMEOUT_S = 60


class ServerDownError(ConnectionError):
    """A server does not answer."""


def server_down(settings: Settings, service: str, address: str, cause: BaseException) -> ServerDownError:
    """The error that says which server is down and where its log is."""
    log = "" if settings.is_external(service) else f"; its log: {settings.log_dir / service}.log"
    reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
    return ServerDownError(f"{service} at {address} does not answer ({reason}){log}")


def kafka_options(settings: Settings) -> dict[str, Any]:
    """Options that every kafka-python client takes: address and SASL/SCRAM login."""
    return {
        "bootstrap_servers": settings.kafka_bootstrap_servers.split(","),
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": settings.kafka_user,
        "sasl_plain_password": settings.kafka_password.get_secret_value(),
    }


@contextmanager
def kafka_errors(settings: Settings) -> Iterator[None]:
    """Turns kafka-python's connection errors into ServerDownError."""
    from kafka.errors import KafkaConnectionError, KafkaTimeoutError

    try:
        yield
    except (KafkaTimeoutError, KafkaConnectionError) as error:
        raise server_down(settings, "kafka", settings.kafka_bootstrap_servers, error) from error


def lakefs_client(settings: Settings) -> lakefs_sdk.ApiClient:
    """A lakefs-sdk client; pass it to `lakefs_sdk.BranchesApi` and the like."""
    import lakefs_sdk

    configuration = lakefs_sdk.Configuration(
        host=f"{settings.lakefs_endpoint}/api/v1",
        username=settings.lakefs_access_key,
        password=settings.lakefs_secret_key.get_secret_value(),
    )
    return lakefs_sdk.ApiClient(configuration)


def lake_files(settings: Settings) -> pyarrow.fs.S3FileSystem:
    """The lakeFS S3 gateway as an Arrow file system; paths are `repository/ref/key`."""
    import pyarrow.fs

    return pyarrow.fs.S3FileSystem(
        endpoint_override=settings.lakefs_endpoint,
        access_key=settings.lakefs_access_key,
        secret_key=settings.lakefs_secret_key.get_secret_value(),
        region="us-east-1",
        force_virtual_addressing=False,
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=REQUEST_TIMEOUT_S,
        # one request instead of three for a file that fits in memory
        allow_delayed_open=True,
    )


def spark_remote_url(settings: Settings) -> str:
    """The Spark Connect address with its token, for `SparkSession.builder.remote` and `spark.remote`."""
    token = settings.spark_token.get_secret_value()
    if not token or "token=" in settings.spark_remote:
        return settings.spark_remote
    separator = ";" if "/;" in settings.spark_remote else "/;"
    return f"{settings.spark_remote.rstrip('/')}{separator}token={token}"


def spark_session(settings: Settings) -> SparkSession:
    """A client of the warm Spark Connect server, for commands; assets get theirs from dagster-pyspark."""
    from pyspark.sql import SparkSession

    session: SparkSession = SparkSession.builder.remote(spark_remote_url(settings)).getOrCreate()
    return session


def clickhouse(settings: Settings, *, database: str = "", use_numpy: bool = False) -> Client:
    """A clickhouse-driver client on the native protocol as the loading user."""
    from clickhouse_driver import Client

    # it logs a traceback for each address that does not answer, and raises the same as an error
    logging.getLogger("clickhouse_driver.connection").setLevel(logging.CRITICAL)
    return Client(
        host=settings.clickhouse_host,
        port=settings.clickhouse_port,
        user=settings.clickhouse_user,
        password=settings.clickhouse_password.get_secret_value(),
        connect_timeout=CONNECT_TIMEOUT_S,
        send_receive_timeout=300,
        database=database or settings.clickhouse_database,
        settings={"use_numpy": use_numpy},
    )


@contextmanager
def clickhouse_errors(settings: Settings) -> Iterator[None]:
    """Turns clickhouse-driver's connection errors into ServerDownError."""
    from clickhouse_driver.errors import NetworkError, SocketTimeoutError

    try:
        yield
    except (NetworkError, SocketTimeoutError, EOFError, ConnectionError) as error:
        address = f"{settings.clickhouse_host}:{settings.clickhouse_port}"
        raise server_down(settings, "clickhouse", address, error) from error
