"""Which process runs the live stream: the one that holds a lock file, which is free again when the process ends."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from evcharge import lock
from evcharge.errors import UserError
from evcharge.settings import Settings

LOCK_WAIT_S = 1.0


class StreamError(UserError):
    """The stream cannot continue, or another one runs."""


def only_one(settings: Settings) -> AbstractContextManager[None]:
    """Holds the stream's lock. Raises StreamError if another stream runs."""
    path = lock_file(settings)
    # Waits, because `is_running` holds the lock for an instant.
    return lock.only_one(path, StreamError(f"another stream runs on this platform ({path} is locked)"), LOCK_WAIT_S)


def is_running(settings: Settings) -> bool:
    """Whether some process runs the stream."""
    return lock.is_held(lock_file(settings))


def lock_file(settings: Settings) -> Path:
    return settings.home / "live" / "stream.lock"
