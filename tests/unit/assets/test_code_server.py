"""Runs are forked from a process that has everything they need, and that is safe to fork."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from evcharge_assets import code_server


def _as_a_run(answers: Any) -> None:
    threads = [Path(f"/proc/self/task/{task}/comm").read_text().strip() for task in os.listdir("/proc/self/task")]
    answers.put(
        {
            "modules": {"evcharge_assets.definitions", "lakefs_sdk", "sqlalchemy"} & set(sys.modules),
            "python_threads": threading.active_count(),
            "clients": [name for name in threads if "grpc" in name or "kafka" in name],
            "seconds": sum(os.times()[:2]),
        }
    )


@pytest.mark.slow
def test_a_run_begins_with_the_definitions_and_without_threads_of_others() -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(code_server.PRELOADED))
    answers = context.SimpleQueue()
    run = context.Process(target=_as_a_run, args=[answers])
    run.start()
    found = answers.get()
    run.join(30)
    assert run.exitcode == 0
    assert found["modules"] == {"evcharge_assets.definitions", "lakefs_sdk", "sqlalchemy"}
    assert found["python_threads"] == 1
    assert not found["clients"]
    # importing them again would take seconds
    assert found["seconds"] < 1.5


def test_dagsters_command_makes_the_warm_server(monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster._grpc import server

    monkeypatch.setattr(server, "DagsterApiServer", server.DagsterApiServer)
    monkeypatch.setattr(code_server, "dagster_main", lambda: None)
    monkeypatch.setattr(sys, "argv", ["x"])
    code_server.main()
    assert server.DagsterApiServer is code_server.WarmApiServer
