"""Which process runs the live stream: the one that holds a lock file, which is free again when the process ends.

A stand-in is a stream that runs until another one wants to: `make up` starts it before Dagster. The other one starts its Spark
first and then asks for the lock, so that the state is out of date for seconds only.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from evcharge import lock
from evcharge.errors import UserError
from evcharge.settings import Settings

LOCK_WAIT_S = 1.0
#: A stand-in may be in a batch, or starting its Spark.
TAKE_OVER_WITHIN_S = 90.0


class StreamError(UserError):
    """The stream cannot continue, or another one runs."""


@contextmanager
def only_one(settings: Settings, *, stand_in: bool = False) -> Iterator[None]:
    """Holds the stream's lock. Raises StreamError if another stream runs."""
    path, marker = lock_file(settings), _marker(settings)
    # Waits, because `is_running` holds the lock for an instant.
    with lock.only_one(path, StreamError(f"another stream runs on this platform ({path} is locked)"), LOCK_WAIT_S):
        # What a killed stream left says nothing about this one.
        _request(settings).unlink(missing_ok=True)
        marker.touch() if stand_in else marker.unlink(missing_ok=True)
        try:
            yield
        finally:
            marker.unlink(missing_ok=True)


@contextmanager
def take_over(settings: Settings, within_s: float = TAKE_OVER_WITHIN_S) -> Iterator[None]:
    """Asks the stand-in to end and then holds the lock. Raises StreamError if it has not ended in time."""
    deadline = time.monotonic() + within_s
    with ExitStack() as held:
        while True:
            _request(settings).touch()
            try:
                held.enter_context(only_one(settings))
            except StreamError:
                if time.monotonic() > deadline:
                    raise
            else:
                break
        yield


def is_running(settings: Settings) -> bool:
    """Whether some process runs the stream."""
    return lock.is_held(lock_file(settings))


def stands_in(settings: Settings) -> bool:
    """Whether the stream that runs is a stand-in."""
    return _marker(settings).exists() and is_running(settings)


def is_taken_over(settings: Settings) -> bool:
    """Whether another stream asked for the stand-in's place."""
    return _request(settings).exists()


def lock_file(settings: Settings) -> Path:
    return settings.home / "live" / "stream.lock"


def _marker(settings: Settings) -> Path:
    return settings.home / "live" / "stream.stand-in"


def _request(settings: Settings) -> Path:
    return settings.home / "live" / "stream.take-over"
