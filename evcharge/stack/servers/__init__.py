"""The platform's servers: each has one file here. This module lists them and works on all of them."""

from __future__ import annotations

from collections.abc import Collection

from evcharge.components import Component
from evcharge.settings import Settings
from evcharge.stack.servers.base import Server
from evcharge.stack.servers.cassandra import Cassandra
from evcharge.stack.servers.clickhouse import ClickHouse
from evcharge.stack.servers.dagster import DagsterCodeServer, DagsterDaemon, DagsterWebserver
from evcharge.stack.servers.dashboard import Dashboard
from evcharge.stack.servers.elasticsearch import Elasticsearch
from evcharge.stack.servers.kafka import Kafka
from evcharge.stack.servers.lakefs import LakeFS
from evcharge.stack.servers.minio import Minio
from evcharge.stack.servers.mongodb import MongoDB
from evcharge.stack.servers.simulation import Simulation
from evcharge.stack.servers.spark_connect import SparkConnect
from evcharge.stack.servers.stream import Stream

_STORES: tuple[type[Server], ...] = (Kafka, Minio, LakeFS, ClickHouse, Elasticsearch, Cassandra, MongoDB)
#: Every server, in the order in which they start.
EVERY: tuple[type[Server], ...] = (
    *(*_STORES, SparkConnect),
    *(Dashboard, DagsterCodeServer, DagsterWebserver, DagsterDaemon, Simulation, Stream),
)

#: The names of the servers that hold data.
STORES = tuple(server.name for server in _STORES)
#: The names of the servers that hold or process data. The others run on top of them.
SERVERS = (*STORES, SparkConnect.name)
#: The stores of live state and reference data, and what a small platform lacks without each.
LIVE_STORES = {server.name: server.lacking for server in _STORES if server.lacking}
#: Every server that a small platform goes without, and what it then lacks.
FULL_ONLY = {server.name: server.lacking for server in EVERY if server.lacking}


def definitions(settings: Settings) -> dict[str, Server]:
    """Every server by name, in the order in which they start."""
    return {server.name: server(settings) for server in EVERY}


def in_profile(settings: Settings) -> dict[str, Server]:
    """The servers of the settings' profile, by name, in order. An external server belongs to every profile."""
    return {
        name: server
        for name, server in definitions(settings).items()
        if settings.profile == "full" or server.external or not server.lacking
    }


def components() -> dict[str, Component]:
    """What is fetched or built, by the name of the server that needs it."""
    return {server.name: server.component for server in EVERY if server.component}


def missing_without(servers: Collection[str]) -> str:
    """One line on what a platform without `servers` lacks and how to get it."""
    lacks = [FULL_ONLY[name] for name in servers]
    if {"elasticsearch", "cassandra"} & set(servers):
        lacks.append("live stream")
    return (
        f"{', '.join(servers)} do not run, so these are missing: {', '.join(lacks)}; `make up PROFILE=full` adds them"
    )


def prepare(settings: Settings, names: Collection[str]) -> None:
    """Writes the configuration of the servers in `names` below `settings.home`; formats what is new."""
    settings.log_dir.mkdir(parents=True, exist_ok=True)
    for name, server in definitions(settings).items():
        if name in names and not server.external:
            server.prepare()
            server.give_away()


def bootstrap(settings: Settings, names: Collection[str] = STORES) -> None:
    """Creates what the platform needs on the servers in `names`: buckets, repository, topics, tables, indices, roles.

    What exists stays as it is.
    """
    for name, server in definitions(settings).items():
        if name in names:
            server.bootstrap()
