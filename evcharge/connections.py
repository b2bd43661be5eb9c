"""Opens connections to the platform's servers. This is the one place that turns settings into client options.

Every client has a timeout. If a server does not answer, ServerDownError is raised. Its message names the server, its
address and, if the server runs natively, its log.
"""

from __future__ import annotations

import base64
import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from evcharge.errors import UserError

if TYPE_CHECKING:
    import lakefs_sdk
    import pyarrow as pa
    import pyarrow.fs
    from cassandra.cluster import Cluster, Session
    from clickhouse_driver import Client
    from elasticsearch import Elasticsearch
    from pymongo.database import Database
    from pyspark.sql import SparkSession

    from evcharge.settings import Settings

CONNECT_TIMEOUT_S = 10
REQUEST_TIMEOUT_S = 60
#: MongoDB's error code AuthenticationFailed.
MONGODB_AUTHENTICATION_FAILED = 18


def require_listener(address: str, timeout_s: float) -> None:
    """Raises OSError at once if nothing listens at `host:port`. The clients themselves would try again for seconds."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s).close()


def basic_login(user: str, password: str) -> str:
    """The value of the header `Authorization` for HTTP's basic authentication (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class ServerDownError(ConnectionError):
    """A server does not answer. `service` is its name where it is known."""

    def __init__(self, message: str, service: str = "") -> None:
        super().__init__(message)
        self.service = service


class LoginRefusedError(ServerDownError):
    """A server answers, but refuses the login."""


def server_down(settings: Settings, service: str, address: str, cause: BaseException) -> ServerDownError:
    """An error that says which server is down and where its log is."""
    log = "" if settings.is_external(service) else f"; its log: {settings.log_dir / service}.log"
    reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
    return ServerDownError(f"{service} at {address} does not answer ({reason}){log}", service)


def require_dagster_postgres(settings: Settings) -> None:
    """Returns if Dagster's Postgres lets us in, or if none is set.

    Raises UserError, ServerDownError; neither shows the password.
    """
    url = settings.dagster_postgres_url.get_secret_value()
    if not url:
        return
    try:
        import psycopg2
    except ImportError:
        raise UserError(
            "EVCHARGE_DAGSTER_POSTGRES_URL needs one more package: pip install 'evcharge[postgres]'"
        ) from None
    try:
        psycopg2.connect(url, connect_timeout=CONNECT_TIMEOUT_S).close()
    except psycopg2.ProgrammingError:
        form = "postgresql://user:password@host:port/database"
        raise UserError(f"EVCHARGE_DAGSTER_POSTGRES_URL is not of the form {form}") from None
    except psycopg2.OperationalError as error:
        reason = str(error).splitlines()[0]
        raise ServerDownError(f"Dagster's Postgres does not answer ({reason}): EVCHARGE_DAGSTER_POSTGRES_URL") from None


def kafka_options(settings: Settings) -> dict[str, Any]:
    """Options for every kafka-python client: address and SASL/SCRAM login."""
    return {
        "bootstrap_servers": settings.kafka_bootstrap_servers.split(","),
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": settings.kafka_user,
        "sasl_plain_password": settings.kafka_password.get_secret_value(),
    }


def spark_kafka_options(settings: Settings) -> dict[str, str]:
    """Options for Spark's Kafka source: address and login. A read fails if its offsets left the log."""
    password = settings.kafka_password.get_secret_value()
    return {
        "kafka.bootstrap.servers": settings.kafka_bootstrap_servers,
        "kafka.security.protocol": "SASL_PLAINTEXT",
        "kafka.sasl.mechanism": "SCRAM-SHA-256",
        "kafka.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required "
        f'username="{settings.kafka_user}" password="{password}";',
        "failOnDataLoss": "true",
        "fetchOffset.numRetries": "3",
        # After each poll Spark asks for the ends of the partition, and waits meanwhile for the fetch that the consumer has
        # begun beyond the records that it has. So no fetch may wait for records that are still to come.
        "kafka.fetch.max.wait.ms": "1",
        # What a fetch (1 MB) brought beyond one poll's records is thrown away by that question, and fetched again. 400,000
        # records are read in 1.6 s in place of 2.4 with Kafka's default of 500.
        "kafka.max.poll.records": "100000",
        "kafka.request.timeout.ms": "30000",
        "kafka.default.api.timeout.ms": "30000",
    }


@contextmanager
def kafka_errors(settings: Settings) -> Iterator[None]:
    """Turns kafka-python's connection errors into ServerDownError."""
    from kafka.errors import KafkaConnectionError, KafkaTimeoutError

    try:
        yield
    except (KafkaTimeoutError, KafkaConnectionError) as error:
        raise server_down(settings, "kafka", settings.kafka_bootstrap_servers, error) from error


def minio_client(settings: Settings) -> Any:
    """A boto3 S3 client for MinIO itself. The lake's files are read through lakeFS."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=settings.minio_endpoint,
        aws_access_key_id=settings.minio_access_key,
        aws_secret_access_key=settings.minio_secret_key.get_secret_value(),
        region_name="us-east-1",
        config=Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=REQUEST_TIMEOUT_S,
            retries={"max_attempts": 2},
            s3={"addressing_style": "path"},
        ),
    )


def lakefs_client(settings: Settings) -> lakefs_sdk.ApiClient:
    """A lakefs-sdk client; pass it to `lakefs_sdk.BranchesApi` and the like.

    A GET or DELETE is tried three times, with 3 s between the last two, if the connection fails or lakeFS answers 5xx.
    Any other request is repeated only if no connection was made, so that lakeFS never gets it twice.
    """
    import lakefs_sdk
    from urllib3.util.retry import Retry

    # urllib3 warns about each retry, although the last failure is raised as an error
    logging.getLogger("urllib3.connectionpool").addFilter(_is_no_retry)
    configuration = lakefs_sdk.Configuration(
        host=f"{settings.lakefs_endpoint}/api/v1",
        username=settings.lakefs_access_key,
        password=settings.lakefs_secret_key.get_secret_value(),
    )
    configuration.retries = Retry(
        total=2,
        allowed_methods={"GET", "HEAD", "DELETE"},
        status_forcelist=range(500, 600),
        # the first retry comes at once, the second after twice this (seconds)
        backoff_factor=1.5,
        # an answer 5xx to the last try is an ApiException like any other
        raise_on_status=False,
        respect_retry_after_header=False,
    )
    return lakefs_sdk.ApiClient(configuration)


def _is_no_retry(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Retrying (")


def lake_files(settings: Settings) -> pyarrow.fs.S3FileSystem:
    """The lakeFS S3 gateway as an Arrow file system. Paths are `repository/ref/key`."""
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
    """A client of the running Spark Connect server, for commands. Assets get theirs from dagster-pyspark."""
    from pyspark.sql import SparkSession

    session: SparkSession = SparkSession.builder.remote(spark_remote_url(settings)).getOrCreate()
    return session


def clickhouse(settings: Settings, *, database: str = "", use_numpy: bool = False) -> Client:
    """A clickhouse-driver client for the native protocol, logged in as the loading user."""
    from clickhouse_driver import Client

    # for each address that does not answer the driver logs a traceback, and raises the same as an error
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


def insert_arrow(settings: Settings, table: str, batches: Sequence[pa.RecordBatch]) -> None:
    """Inserts Arrow batches, of which there is at least one, into a ClickHouse table; columns go by their names.

    ClickHouse reads Arrow itself, over HTTP. For clickhouse-driver each text would become a Python object.
    Raises RuntimeError with ClickHouse's answer if it refuses them, OSError if it does not answer.
    """
    import pyarrow as pa

    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    asked = urlencode({"database": settings.clickhouse_database, "query": f"INSERT INTO {table} FORMAT ArrowStream"})
    login = {
        "X-ClickHouse-User": settings.clickhouse_user,
        "X-ClickHouse-Key": settings.clickhouse_password.get_secret_value(),
    }
    connection = HTTPConnection(settings.clickhouse_host, settings.clickhouse_http_port, timeout=300)
    with closing(connection):
        connection.request("POST", f"/?{asked}", memoryview(stream.getvalue()), login)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    if answer.status != HTTPStatus.OK:
        raise RuntimeError(f"ClickHouse did not take {table}: {text[:1000]}")


@contextmanager
def clickhouse_errors(settings: Settings) -> Iterator[None]:
    """Turns clickhouse-driver's connection errors into ServerDownError."""
    from clickhouse_driver.errors import NetworkError, SocketTimeoutError

    try:
        yield
    except (NetworkError, SocketTimeoutError, EOFError, ConnectionError) as error:
        address = f"{settings.clickhouse_host}:{settings.clickhouse_port}"
        raise server_down(settings, "clickhouse", address, error) from error


def elasticsearch(settings: Settings) -> Elasticsearch:
    """An Elasticsearch client. Close it, or use it as a context manager."""
    from elasticsearch import Elasticsearch, OrjsonSerializer

    return Elasticsearch(
        settings.elasticsearch_url,
        basic_auth=(settings.elasticsearch_user, settings.elasticsearch_password.get_secret_value()),
        request_timeout=CONNECT_TIMEOUT_S,
        max_retries=2,
        retry_on_timeout=True,
        serializers={OrjsonSerializer.mimetype: OrjsonSerializer()},
    )


@contextmanager
def elasticsearch_errors(settings: Settings) -> Iterator[None]:
    """Turns Elasticsearch's connection errors into ServerDownError, a wrong login into LoginRefusedError."""
    from elastic_transport import ConnectionError as NoConnection
    from elastic_transport import ConnectionTimeout
    from elasticsearch import AuthenticationException

    try:
        yield
    except AuthenticationException as error:
        raise LoginRefusedError(
            f"elasticsearch at {settings.elasticsearch_url} refuses the login of {settings.elasticsearch_user}",
            "elasticsearch",
        ) from error
    except (NoConnection, ConnectionTimeout) as error:
        raise server_down(settings, "elasticsearch", settings.elasticsearch_url, error) from error


def cassandra_cluster(settings: Settings) -> Cluster:
    """Cassandra's driver, not yet connected. `connect()` opens a session, `shutdown()` ends it."""
    from cassandra.auth import PlainTextAuthProvider
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
    from cassandra.policies import RoundRobinPolicy

    # the driver logs each connection that fails, and raises the same as an error
    logging.getLogger("cassandra").setLevel(logging.CRITICAL)
    hosts = [point.rpartition(":") for point in settings.cassandra_contact_points.split(",")]
    return Cluster(
        [host for host, _, _ in hosts],
        port=int(hosts[0][2]),
        auth_provider=PlainTextAuthProvider(settings.cassandra_user, settings.cassandra_password.get_secret_value()),
        execution_profiles={
            EXEC_PROFILE_DEFAULT: ExecutionProfile(
                load_balancing_policy=RoundRobinPolicy(), request_timeout=CONNECT_TIMEOUT_S
            )
        },
        connect_timeout=CONNECT_TIMEOUT_S,
        control_connection_timeout=CONNECT_TIMEOUT_S,
        protocol_version=5,
    )


def require_cassandra(settings: Settings) -> None:
    """Returns at once if something listens at one of Cassandra's addresses. Raises ServerDownError."""
    refusals: list[OSError] = []
    for point in settings.cassandra_contact_points.split(","):
        try:
            require_listener(point, CONNECT_TIMEOUT_S)
        except OSError as error:
            refusals.append(error)
        else:
            return
    raise server_down(settings, "cassandra", settings.cassandra_contact_points, refusals[0])


@contextmanager
def cassandra(settings: Settings) -> Iterator[Session]:
    """A session on Cassandra without a keyspace: statements name `keyspace.table`.

    Raises ServerDownError, LoginRefusedError.
    """
    from cassandra import AuthenticationFailed, OperationTimedOut
    from cassandra.cluster import NoHostAvailable

    cluster = cassandra_cluster(settings)
    address = settings.cassandra_contact_points
    try:
        yield cluster.connect()
    except (NoHostAvailable, OperationTimedOut) as error:
        causes = getattr(error, "errors", {})
        if any(isinstance(cause, AuthenticationFailed) for cause in dict(causes or {}).values()):
            message = f"cassandra at {address} refuses the login of {settings.cassandra_user}"
            raise LoginRefusedError(message, "cassandra") from error
        raise server_down(settings, "cassandra", address, error) from error
    finally:
        cluster.shutdown()


@contextmanager
def mongodb(settings: Settings) -> Iterator[Database[dict[str, Any]]]:
    """The platform's database on the server with MongoDB's protocol.

    Raises ServerDownError, LoginRefusedError.
    """
    from pymongo import MongoClient
    from pymongo.errors import ConnectionFailure, OperationFailure

    client: MongoClient[dict[str, Any]] = MongoClient(
        f"mongodb://{settings.mongodb_host}",
        username=settings.mongodb_user,
        password=settings.mongodb_password.get_secret_value(),
        authSource=settings.mongodb_auth_source,
        tz_aware=True,
        connectTimeoutMS=CONNECT_TIMEOUT_S * 1000,
        serverSelectionTimeoutMS=CONNECT_TIMEOUT_S * 1000,
        socketTimeoutMS=REQUEST_TIMEOUT_S * 1000,
    )
    try:
        yield client[settings.mongodb_database]
    except ConnectionFailure as error:
        raise server_down(settings, "mongodb", settings.mongodb_host, error) from error
    except OperationFailure as error:
        if error.code != MONGODB_AUTHENTICATION_FAILED:
            raise
        message = f"mongodb at {settings.mongodb_host} refuses the login of {settings.mongodb_user}"
        raise LoginRefusedError(message, "mongodb") from error
    finally:
        client.close()
