"""A lock file that one process holds. The lock is free again when the process ends, however it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from evcharge.errors import UserError

_FOREVER = -1.0


@contextmanager
def only_one(path: Path, refusal: UserError, wait_s: float = 0.0) -> Iterator[None]:
    """Holds the lock; makes its file if needed. Raises `refusal` if another process still has it after `wait_s` seconds."""
    try:
        held = _acquired(path, wait_s)
    except Timeout:
        raise refusal from None
    with held:
        yield


@contextmanager
def in_turn(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Waits for the lock, then holds it. If another process has it, `on_wait` is called before the wait."""
    try:
        held = _acquired(path, 0.0)
    except Timeout:
        on_wait()
        held = _acquired(path, _FOREVER)
    with held:
        yield


def is_held(path: Path) -> bool:
    """Whether a process has the lock. The answer takes the lock for an instant if it is free."""
    if not path.exists():
        return False
    try:
        with _acquired(path, 0.0):
            return False
    except Timeout:
        return True


def _acquired(path: Path, timeout_s: float) -> AbstractContextManager[object]:
    """The lock, taken; leaving the context gives it back. Raises filelock's Timeout."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return FileLock(path).acquire(timeout=timeout_s)
        except FileNotFoundError:
            # somebody removed the folder during the wait, as `evcharge stack clean` does
            continue
