"""The stream in several tasks, on a Spark cluster, and moved to another machine: the documents are the lake's fold."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

import pytest
from live_stream import Feed, Stream, assert_equal
from spark_cluster import SparkCluster
from support import Lake

from evcharge.connections import elasticsearch
from evcharge.live.indices import STATION_STATE, live_index

EVENTS = 600


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tasks")


@pytest.fixture(scope="module")
def feed(lake: Lake, logs: Path) -> Feed:
    feed = Feed(lake.settings)
    feed.register()
    lake.publish_waiting()
    # other tests have sent events that no stream has read yet
    with Stream(lake.settings, logs / "before.log") as stream:
        for query in ("registry", "stations"):
            stream.wait_until_fresh(datetime.now(UTC), query)
    return feed


def index_name(lake: Lake) -> str:
    with elasticsearch(lake.settings) as client:
        index = live_index(client, STATION_STATE)
    assert index is not None
    return index.name


@pytest.mark.parametrize("tasks", [2, 4, 1])
def test_any_number_of_tasks_folds_the_same(
    lake: Lake, feed: Feed, logs: Path, monkeypatch: pytest.MonkeyPatch, tasks: int
) -> None:
    before = index_name(lake)
    monkeypatch.setenv("EVCHARGE_STREAM_TASKS", str(tasks))
    with Stream(lake.settings, logs / f"{tasks}.log") as stream:
        feed.send(EVENTS)
        assert_equal(lake, stream, feed)
        status = stream.status()
    # it went on where the other number of tasks had ended, in the same index
    assert status is not None
    assert (index_name(lake), status.index) == (before, before)
    assert status.rows < 3 * EVENTS
    checkpoints = lake.settings.home / "live" / "checkpoints" / before
    names = {folder.name for folder in checkpoints.iterdir() if folder.name.startswith("stations")}
    assert names == ({"stations"} if tasks == 1 else {f"stations-{n + 1}-of-{tasks}" for n in range(tasks)})


@pytest.fixture
def cluster(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SparkCluster]:
    secret = token_hex(16)
    with SparkCluster(lake.settings, tmp_path, 2, secret) as cluster:
        monkeypatch.setenv("EVCHARGE_STREAM_TASKS", "2")
        monkeypatch.setenv("EVCHARGE_STREAM_MASTER", cluster.master)
        monkeypatch.setenv("EVCHARGE_STREAM_SECRET", secret)
        yield cluster


@pytest.mark.long
def test_a_cluster_loses_an_executor_and_its_driver_moves(
    lake: Lake, feed: Feed, logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: SparkCluster
) -> None:
    with Stream(lake.settings, logs / "cluster.log") as stream:
        with feed:
            stream.wait_until_fresh(datetime.now(UTC))
            killed, other = cluster.executors()
            os.kill(killed, signal.SIGKILL)
            killed_at = datetime.now(UTC)
            stream.wait_until_fresh(killed_at)
        assert other in cluster.executors()
        assert_equal(lake, stream, feed)
        # the driver dies with its machine: what is in its home is lost
        stream.kill()
        moved_home = tmp_path / "moved"
        moved_home.mkdir()
        shutil.copy(lake.settings.home / "credentials.env", moved_home)
        monkeypatch.setenv("EVCHARGE_HOME", str(moved_home))
        with Stream(lake.settings, logs / "moved.log") as moved:
            feed.send(EVENTS)
            assert_equal(lake, moved, feed)
            assert "another stream had the lease" in moved.log.read_text()
            status = moved.status()
            assert status is not None
            assert status.rows < 3 * EVENTS
