"""Processes that do one operation and stop for good where they are told to, waiting for their SIGKILL."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import date
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from support import Lake

from evcharge.lake.ledger import OffsetRange
from evcharge.settings import Settings
from evcharge.warehouse.load import load_sessions

#: A cold process imports PySpark and opens a session; several times what that takes on a busy machine.
STEP_TIMEOUT_S = 90

# Forks of one process that has imported everything and holds no connection: a second instead of five for each.
_processes = get_context("forkserver")
_processes.set_forkserver_preload(["support"])


class Victim:
    """A process that reports its steps and blocks for ever in the one called `block_at`."""

    def __init__(self, target: Callable[..., None], arguments: tuple[Any, ...], block_at: str) -> None:
        self._steps, theirs = _processes.Pipe(duplex=False)
        self._process: BaseProcess = _processes.Process(target=target, args=(*arguments, block_at, theirs))
        self._process.start()
        theirs.close()

    def reach(self, step: str) -> None:
        """Returns when the process has done `step`."""
        deadline = time.monotonic() + STEP_TIMEOUT_S
        while self._steps.poll(max(0.0, deadline - time.monotonic())):
            if self._steps.recv() == step:
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


def publish(settings: Settings, planned: OffsetRange, block_at: str, steps: Connection) -> None:
    """Publishes a range, up to the end of the step `block_at`."""
    Lake(settings).publish(planned, on_step=_blocking(block_at, steps))


def load(settings: Settings, days: Sequence[date], run_id: str, block_at: str, steps: Connection) -> None:
    """Loads days into the warehouse, up to the end of the step `block_at`."""
    lake = Lake(settings)
    load_sessions(settings, lake.repository, lake.spark, days, run_id, on_step=_blocking(block_at, steps))


def _blocking(block_at: str, steps: Connection) -> Callable[[str], None]:
    def on_step(step: str) -> None:
        steps.send(step)
        while step == block_at:
            time.sleep(3600)

    return on_step
