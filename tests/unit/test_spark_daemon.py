"""PySpark's daemon as a fork: it speaks with Spark as the original does, and ends when nobody needs it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from evcharge import spark_daemon
from evcharge.live.spark_driver import WORKER_IMPORTS
from evcharge.spark_daemon import FORKS, IMPORTS, MODULE

SECRET = "secret"
WITHIN_S = 60


def environment(**more: str) -> dict[str, str]:
    """What Spark gives a daemon."""
    return {**os.environ, "PYTHON_WORKER_FACTORY_SECRET": SECRET, "SPARK_REUSE_WORKER": "1", **more}


def start(*arguments: str, **more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(**more)
    )


def listens_at(daemon: subprocess.Popen[bytes]) -> int:
    """The port that a daemon tells Spark."""
    assert daemon.stdout
    return int.from_bytes(daemon.stdout.read(4), "big")


def worker_of(port: int) -> tuple[socket.socket, int]:
    """A worker that Spark has asked for: its connection, which ends it, and its id."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S)
    return connection, int.from_bytes(connection.recv(4), "big")


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture
def forks() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    name = f"test-{uuid4()}"
    process = start("-m", MODULE, "--forks", name, **{IMPORTS: "json"})
    yield process, name
    process.communicate(timeout=WITHIN_S)


def test_a_fork_is_the_daemon_for_as_long_as_spark_wants(forks: tuple[subprocess.Popen[bytes], str]) -> None:
    server, name = forks
    daemons = [start("-m", MODULE, "pyspark.worker", **{FORKS: name}) for _ in range(2)]
    workers = [worker_of(listens_at(daemon)) for daemon in daemons]
    for connection, pid in workers:
        # the daemon is a fork of the server, and the worker one of the daemon
        assert parent_of(parent_of(pid)) == server.pid
        with connection:
            size = len(SECRET).to_bytes(4, "big")
            connection.sendall(size + SECRET.encode())
            assert connection.recv(6) == (2).to_bytes(4, "big") + b"ok"
    for daemon in daemons:
        # Spark ends a daemon by closing its standard input
        daemon.communicate(timeout=WITHIN_S)
        assert daemon.returncode == 0
    assert server.poll() is None
    server.communicate(timeout=WITHIN_S)
    assert server.returncode == 0


def test_without_forks_spark_gets_a_daemon_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spark_daemon, "FORKS_WITHIN_S", 0.1)
    assert not spark_daemon._hand_over(f"nobody-{uuid4()}")
    daemon = start("-m", MODULE, "pyspark.worker")
    connection, pid = worker_of(listens_at(daemon))
    assert parent_of(pid) == daemon.pid
    connection.close()
    daemon.communicate(timeout=WITHIN_S)


def test_a_daemon_without_workers_ends() -> None:
    hurried = (
        f"from evcharge import spark_daemon as d; d.LOOK_EVERY_S, d.ENDS_AFTER_S = 0.1, 0.5; "
        f"import sys; sys.argv = ['{MODULE}', 'pyspark.worker']; d.main()"
    )
    daemon = start("-c", hurried)
    connection, _ = worker_of(listens_at(daemon))
    with connection:
        time.sleep(1.5)
        assert daemon.poll() is None
    assert daemon.wait(timeout=WITHIN_S) == 0


@pytest.mark.parametrize("modules", [WORKER_IMPORTS, "pyarrow,evcharge.lake.rowfiles"])
def test_what_is_imported_before_a_fork_starts_no_thread(modules: str) -> None:
    code = (
        "from evcharge import spark_daemon; spark_daemon._import(); import os, sys; "
        "names = [open(f'/proc/self/task/{task}/comm').read().strip() for task in os.listdir('/proc/self/task')]; "
        # of Arrow's allocator, which knows of forks
        "print(len([name for name in names if name != 'jemalloc_bg_thd']), 'pyspark.worker' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(**{IMPORTS: modules}),
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )
    assert done.stdout.split() == ["1", "True"], done.stderr
