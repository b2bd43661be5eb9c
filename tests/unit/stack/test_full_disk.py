"""What brings a server back that ended on a full disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from evcharge.settings import load_settings
from evcharge.stack import full_disk
from evcharge.stack.servers import definitions


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What is free at each look; after the last one the program ends by itself."""
    looks: list[int] = []
    program = os.getpid()
    monkeypatch.setattr(full_disk.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(full_disk.os, "getppid", lambda: program if looks else 1)
    monkeypatch.setattr(full_disk.shutil, "disk_usage", lambda folder: SimpleNamespace(free=looks.pop(0)))
    return looks


@pytest.mark.parametrize(
    ("looks", "left"),
    [
        # full, then a little room, which is not enough, then room
        ([10**9, 0, 6_000_000, 10**9, 10**9], [10**9]),
        # never full
        ([10**9, 6_000_000, 10**9], None),
        # still full
        ([10**9, 0, 0], None),
    ],
)
def test_a_program_ends_once_its_full_disk_has_room(
    free: list[int], looks: list[int], left: list[int] | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(full_disk.os, "kill", lambda pid, number: signals.append((pid, number)))
    free[:] = looks
    full_disk.end_after_full(tmp_path, os.getpid())
    assert signals == ([(os.getpid(), signal.SIGTERM)] if left else [])
    assert free == (left or [])


def test_the_one_who_looks_goes_with_the_program_and_is_not_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", full_disk.__name__, "restart", str(tmp_path), "sleep", "60"]
    process = subprocess.Popen(command)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 30
    while not (Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n" and children.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (child,) = children.read_text().split()
    process.kill()
    process.wait(30)
    while Path(f"/proc/{child}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_only_segments_of_nothing_but_zeros_go(tmp_path: Path) -> None:
    contents = {
        "CommitLog-7-1.log": bytes(3 << 20),
        "CommitLog-7-2.log": bytes(3 << 20) + b"\1",
        "CommitLog-7-3.log": b"\1" + bytes(100),
        "CommitLog-7-4.log": b"",
        "CommitLog-7-1_cdc.idx": bytes(10),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    command = [
        sys.executable,
        "-m",
        full_disk.__name__,
        "without-blank",
        str(tmp_path),
        sys.executable,
        "-c",
        "print('up')",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "up\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "CommitLog-7-1_cdc.idx",
        "CommitLog-7-2.log",
        "CommitLog-7-3.log",
    ]
    assert "CommitLog-7-1.log" in done.stderr
    # a new server has no folder yet
    assert full_disk.delete_blank(tmp_path / "none") == []


def test_cassandra_and_mongodb_are_started_so(tmp_path: Path) -> None:
    services = definitions(load_settings(home=tmp_path))
    cassandra, mongodb = services["cassandra"].command, services["mongodb"].command
    assert cassandra[1:5] == ("-m", full_disk.__name__, "without-blank", str(tmp_path / "cassandra/data/commitlog"))
    assert mongodb[1:5] == ("-m", full_disk.__name__, "restart", str(tmp_path / "mongodb"))
