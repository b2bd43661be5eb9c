"""Processes that do one operation and block at a chosen step until SIGKILL ends them."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from datetime import date
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from support import Lake

from evcharge.lake.ledger import OffsetRange
from evcharge.lake.maintenance import maintain as maintain_lake
from evcharge.settings import Settings
from evcharge.warehouse.load_sessions import load_sessions

#: A new process imports PySpark and opens a session. This is several times what that takes on a busy machine.
STEP_TIMEOUT_S = 90

# Each is a fork of one process that has imported the slow modules and holds no connection, which saves seconds.
_processes = get_context("forkserver")
_processes.set_forkserver_preload(
    ["evcharge.lake.publish", "evcharge.warehouse.load_sessions", "pyspark.sql.connect.session"]
)


class Victim:
    """A process that runs `target(*arguments, on_step)`, reports its steps and blocks for ever in the one `block_at`."""

    def __init__(self, target: Callable[..., None], arguments: tuple[Any, ...], block_at: str) -> None:
        self._steps, theirs = _processes.Pipe(duplex=False)
        self._process: BaseProcess = _processes.Process(target=_run, args=(target, arguments, block_at, theirs))
        self._process.start()
        theirs.close()

    def reach(self, step: str) -> None:
        """Returns when the process has done `step`."""
        deadline = time.monotonic() + STEP_TIMEOUT_S
        while self._steps.poll(max(0.0, deadline - time.monotonic())):
            done, error = self._steps.recv()
            assert not error, error
            if done == step:
                return
        raise AssertionError(f"the process did not reach {step!r} in {STEP_TIMEOUT_S} s")

    def kill(self) -> None:
        """SIGKILL, as the kernel's out-of-memory killer or a lost machine would."""
        self._process.kill()
        self._process.join()

    def __enter__(self) -> Victim:
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()
        self._steps.close()


def publish(settings: Settings, planned: OffsetRange, on_step: Callable[[str], None]) -> None:
    """Publishes a range."""
    Lake(settings).publish(planned, on_step=on_step)


def load(
    settings: Settings,
    days: Sequence[date],
    run_id: str,
    in_full: bool,
    on_step: Callable[[str], None],
) -> None:
    """Loads days into the warehouse."""
    lake = Lake(settings)
    load_sessions(settings, lake.repository, lake.spark, days, run_id, in_full=in_full, on_step=on_step)


def maintain(settings: Settings, on_step: Callable[[str], None]) -> None:
    """Maintains the lake."""
    maintain_lake(settings, Lake(settings).repository, "killed-run", on_step=on_step)


def _run(target: Callable[..., None], arguments: tuple[Any, ...], block_at: str, steps: Connection) -> None:
    def on_step(step: str) -> None:
        steps.send((step, ""))
        while step == block_at:
            time.sleep(3600)

    try:
        target(*arguments, on_step)
    except Exception:
        steps.send(("", traceback.format_exc()))
