"""The stack on real servers: every probe, logins, listeners, a crash, a second start."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from pymongo import WriteConcern

from evcharge.connections import (
    LoginRefusedError,
    cassandra,
    elasticsearch,
    minio_client,
    mongodb,
)
from evcharge.settings import Settings
from evcharge.stack.health import unhealthy_servers
from evcharge.stack.servers import LIVE_STORES, SERVERS, bootstrap, definitions
from evcharge.stack.servers.probing import NotHealthy
from evcharge.stack.stack import Stack, Status
from evcharge.stack.supervisor import Supervisor


def status(settings: Settings) -> dict[str, Status]:
    return {status.service: status for status in Stack(settings).status() if status.service in SERVERS}


def live_status(settings: Settings) -> list[Status]:
    return [now for name, now in status(settings).items() if name in LIVE_STORES]


def process_tree(pid: int) -> list[int]:
    """A process and all that descend from it (proc(5): children are listed by the thread that started them)."""
    children = [child for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]
    return [pid, *(process for child in children for process in process_tree(int(child)))]


def listeners(pid: int) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The address of every TCP socket that a process tree listens on (proc(5), net/tcp)."""
    inodes = {
        os.readlink(descriptor) for process in process_tree(pid) for descriptor in Path(f"/proc/{process}/fd").iterdir()
    }
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                # words of the address in the byte order of this machine
                words = bytes.fromhex(fields[1].partition(":")[0])
                address = ipaddress.ip_address(b"".join(words[n : n + 4][::-1] for n in range(0, len(words), 4)))
                yield getattr(address, "ipv4_mapped", None) or address


def write_everywhere(settings: Settings, value: str) -> None:
    """Writes a row to each live store; every one is acknowledged as kept."""
    with elasticsearch(settings) as client:
        if not client.indices.exists(index="kept"):
            client.indices.create(index="kept")
        client.index(index="kept", id="row", document={"value": value})
    with cassandra(settings) as session:
        table = f"{settings.cassandra_keyspace}.kept"
        session.execute(f"CREATE TABLE IF NOT EXISTS {table} (id text PRIMARY KEY, value text)")
        session.execute(f"INSERT INTO {table} (id, value) VALUES ('row', %s)", (value,))
    with mongodb(settings) as database:
        kept = database.get_collection("kept", write_concern=WriteConcern(j=True))
        kept.replace_one({"_id": "row"}, {"value": value}, upsert=True)


def read_everywhere(settings: Settings) -> dict[str, str]:
    """What `write_everywhere` wrote, by store."""
    with elasticsearch(settings) as client, cassandra(settings) as session, mongodb(settings) as database:
        row = session.execute(f"SELECT value FROM {settings.cassandra_keyspace}.kept WHERE id = 'row'").one()
        document = database["kept"].find_one({"_id": "row"})
        assert document
        return {
            "elasticsearch": client.get(index="kept", id="row")["_source"]["value"],
            "cassandra": row.value,
            "mongodb": document["value"],
        }


def test_every_server_is_healthy_on_a_port_of_its_own(platform: Settings) -> None:
    found = status(platform)
    assert {name: status.detail for name, status in found.items()} == dict.fromkeys(SERVERS, "healthy")
    assert len({status.port for status in found.values()}) == len(SERVERS)
    assert all(status.memory_mb > 50 for status in found.values())


def test_a_second_start_leaves_the_processes_alone(platform: Settings) -> None:
    before = {name: status.pid for name, status in status(platform).items()}
    Stack(platform).up(SERVERS)
    assert {name: status.pid for name, status in status(platform).items()} == before


def test_bootstrap_can_be_repeated(platform: Settings) -> None:
    bootstrap(platform)
    buckets = {bucket["Name"] for bucket in minio_client(platform).list_buckets()["Buckets"]}
    assert {platform.lake_bucket, platform.compute_log_bucket} <= buckets


def test_a_killed_server_comes_back_by_itself(platform: Settings) -> None:
    killed = status(platform)["lakefs"].pid
    os.kill(killed, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while not (now := status(platform)["lakefs"]).healthy or now.pid == killed:
        assert time.monotonic() < deadline, now
        time.sleep(0.5)


def test_every_listener_is_on_loopback(platform: Settings) -> None:
    found = {name: set(listeners(status.pid)) for name, status in status(platform).items()}
    assert all(found.values()), found
    assert not {name: addresses for name, addresses in found.items() if not all(a.is_loopback for a in addresses)}


@pytest.mark.parametrize(
    ("store", "refusal"),
    [
        ("elasticsearch", urllib.error.HTTPError),
        ("cassandra", LoginRefusedError),
        ("mongodb", LoginRefusedError),
    ],
)
def test_a_wrong_password_is_refused(store: str, refusal: type[Exception], platform: Settings) -> None:
    wrong = platform.model_copy(update={f"{store}_password": SecretStr("wrong")})
    with pytest.raises(refusal):
        definitions(wrong)[store].probe()
    assert unhealthy_servers(platform, [store]) == []


def test_no_index_comes_into_being_by_a_misspelt_name(platform: Settings) -> None:
    with elasticsearch(platform) as client, pytest.raises(Exception, match="no such index"):
        client.index(index="station-sate", document={})


def test_the_live_stores_keep_their_data_over_a_stop(platform: Settings) -> None:
    write_everywhere(platform, "before the stop")
    Supervisor(platform).stop_together(LIVE_STORES, lambda _name, _doing: None)
    down = unhealthy_servers(platform, LIVE_STORES)
    assert [line.partition(" ")[0] for line in down] == list(LIVE_STORES)
    Stack(platform).up(LIVE_STORES)
    assert read_everywhere(platform) == dict.fromkeys(LIVE_STORES, "before the stop")


def test_killed_live_stores_come_back_by_themselves_with_their_data(platform: Settings) -> None:
    killed = {name: status.pid for name, status in status(platform).items() if name in LIVE_STORES}
    write_everywhere(platform, "before the kill")
    for pid in killed.values():
        # the server first, then what started it
        for process in reversed(process_tree(pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    deadline = time.monotonic() + 180
    while any(not now.healthy or now.pid == killed[now.service] for now in live_status(platform)):
        assert time.monotonic() < deadline, live_status(platform)
        time.sleep(0.5)
    assert read_everywhere(platform) == dict.fromkeys(LIVE_STORES, "before the kill")


def test_spark_refuses_a_wrong_token(platform: Settings) -> None:
    wrong = platform.model_copy(update={"spark_token": type(platform.spark_token)("wrong")})
    with pytest.raises(NotHealthy, match="UNAUTHENTICATED"):
        definitions(wrong)["spark-connect"].probe()
