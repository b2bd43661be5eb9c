"""The stack on real servers: every probe, a crash, a second start."""

from __future__ import annotations

import os
import signal
import time

import pytest

from evcharge.settings import Settings
from evcharge.stack.bootstrap import bootstrap, minio_client
from evcharge.stack.probes import NotHealthy, probe_spark_connect
from evcharge.stack.services import SERVERS
from evcharge.stack.stack import Stack, Status


def status(settings: Settings) -> dict[str, Status]:
    return {status.service: status for status in Stack(settings).status() if status.service in SERVERS}


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


def test_spark_refuses_a_wrong_token(platform: Settings) -> None:
    wrong = platform.model_copy(update={"spark_token": type(platform.spark_token)("wrong")})
    with pytest.raises(NotHealthy, match="UNAUTHENTICATED"):
        probe_spark_connect(wrong)
