"""A lock file that one process holds. The lock is free again when the process ends, however it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from evcharge.errors import UserError


@contextmanager
def only_one(path: Path, refusal: UserError, wait_s: float = 0.0) -> Iterator[None]:
    """Holds the lock; makes its file if needed. Raises `refusal` if another process still has it after `wait_s` seconds."""
    lock = _lock(path)
    try:
        lock.acquire(timeout=wait_s)
    except Timeout:
        raise refusal from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def in_turn(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Waits for the lock, then holds it. If another process has it, `on_wait` is called before the wait."""
    lock = _lock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        _acquire_in_time(lock, path)
    try:
        yield
    finally:
        lock.release()


def _acquire_in_time(lock: FileLock, path: Path) -> None:
    """Waits for the lock, also while whoever has it removes the lock's folder, as `evcharge stack clean` does."""
    while True:
        try:
            lock.acquire()
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
        else:
            return


def is_held(path: Path) -> bool:
    """Whether a process has the lock. The answer takes the lock for an instant if it is free."""
    if not path.exists():
        return False
    lock = _lock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _lock(path: Path) -> FileLock:
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path)
