"""Creates what the platform needs on its servers: buckets, the lake's repository, topics, tables, indices, roles."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from evcharge.connections import (
    CASSANDRA_DEFAULT_LOGIN,
    REQUEST_TIMEOUT_S,
    LoginRefusedError,
    cassandra,
    kafka_errors,
    kafka_options,
    lakefs_client,
    minio_client,
)
from evcharge.contracts import CONTRACTS, STATION_REGISTRY
from evcharge.errors import UserError
from evcharge.settings import Settings
from evcharge.stack.services import STORES

#: A message over the limit of a single row still has to reach the quarantine (design: 8 MB).
TOPIC_MESSAGE_BYTES = 8 * 1024 * 1024
TOPIC_RETENTION_MS = 7 * 24 * 3600 * 1000
TOPIC_CONFIGS = {
    "cleanup.policy": "delete",
    "max.message.bytes": str(TOPIC_MESSAGE_BYTES),
    "retention.ms": str(TOPIC_RETENTION_MS),
    # a producer's clock may be wrong: what lies in the future is judged by Kafka's
    "message.timestamp.type": "LogAppendTime",
}


def bootstrap(settings: Settings, services: Collection[str] = STORES) -> None:
    """Creates what is missing on each server in `services`; what is there stays as it is."""
    steps: tuple[tuple[str, Callable[[Settings], None]], ...] = (
        ("minio", create_buckets),
        ("lakefs", create_repository),
        ("kafka", create_topics),
        ("clickhouse", create_tables),
        ("elasticsearch", create_indices),
        ("cassandra", create_keyspace),
        ("mongodb", create_reference),
    )
    for service, step in steps:
        if service in services:
            step(settings)


def create_buckets(settings: Settings) -> None:
    """The lake's bucket and the compute logs' bucket."""
    client = minio_client(settings)
    present = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    for bucket in (settings.lake_bucket, settings.compute_log_bucket):
        if bucket not in present:
            client.create_bucket(Bucket=bucket)


def create_repository(settings: Settings) -> None:
    """The lake's repository with its branch `main`."""
    import lakefs_sdk

    repositories = lakefs_sdk.RepositoriesApi(lakefs_client(settings))
    try:
        repositories.get_repository(settings.lake_repository, _request_timeout=REQUEST_TIMEOUT_S)
    except lakefs_sdk.exceptions.NotFoundException:
        repositories.create_repository(
            lakefs_sdk.RepositoryCreation(
                name=settings.lake_repository, storage_namespace=f"s3://{settings.lake_bucket}", default_branch="main"
            ),
            _request_timeout=REQUEST_TIMEOUT_S,
        )


def create_topics(settings: Settings) -> None:
    """One topic per contract. Registry snapshots keep one order over all stations, so theirs has one partition."""
    from kafka import KafkaAdminClient
    from kafka.admin import ConfigResource, ConfigResourceType

    with kafka_errors(settings):
        admin = KafkaAdminClient(**kafka_options(settings))
        try:
            missing = CONTRACTS.keys() - set(admin.list_topics())
            if missing:
                admin.create_topics(
                    {topic: _topic_options(settings, topic) for topic in sorted(missing)}, wait_for_metadata=True
                )
            altered = admin.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, topic, configs=TOPIC_CONFIGS) for topic in CONTRACTS]
            )
            # the client raises nothing here
            refused = {topic: result for topic, result in altered["topic"].items() if result != "OK"}
            if refused:
                raise UserError(f"Kafka refuses the topics' configuration: {refused}")
        finally:
            admin.close()


def create_tables(settings: Settings) -> None:
    """The warehouse's database, tables and views."""
    from evcharge.warehouse import schema

    schema.apply(settings)


def create_indices(settings: Settings) -> None:
    """Elasticsearch's indices."""
    from evcharge.live import indices

    indices.ensure(settings)


def create_keyspace(settings: Settings) -> None:
    """The platform's role on a Cassandra of our own, which is then nobody else's; keyspace and tables on any."""
    from evcharge.live import tables

    if not settings.is_external("cassandra"):
        _take_over_cassandra(settings)
    with cassandra(settings) as session:
        session.execute(
            f"CREATE KEYSPACE IF NOT EXISTS {settings.cassandra_keyspace} "
            "WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"
        )
    tables.ensure(settings)


def create_reference(settings: Settings) -> None:
    """The reference data's collections."""
    from evcharge.reference import collections as reference

    reference.ensure(settings)


def _take_over_cassandra(settings: Settings) -> None:
    """Makes the platform's role with the server's default login, then takes that login away."""
    user, password = settings.cassandra_user, settings.cassandra_password.get_secret_value()
    try:
        with cassandra(settings):
            pass
    except LoginRefusedError:
        with cassandra(settings, CASSANDRA_DEFAULT_LOGIN) as session:
            session.execute(
                f"CREATE ROLE IF NOT EXISTS {_identifier(user)} "
                f"WITH SUPERUSER = true AND LOGIN = true AND PASSWORD = {_literal(password)}"
            )
    with cassandra(settings) as session:
        session.execute(f"ALTER ROLE {CASSANDRA_DEFAULT_LOGIN[0]} WITH SUPERUSER = false AND LOGIN = false")


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _topic_options(settings: Settings, topic: str) -> dict[str, Any]:
    return {
        "num_partitions": 1 if topic == STATION_REGISTRY.topic else settings.kafka_partitions,
        "replication_factor": -1,
    }
