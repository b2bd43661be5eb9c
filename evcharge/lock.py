"""A lock file that one process holds and that dies with it, however it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from evcharge.errors import UserError


@contextmanager
def only_one(path: Path, refusal: UserError, wait_s: float = 0.0) -> Iterator[None]:
    """Holds the lock, whose file is made where it is missing. Raises `refusal` if another process has it after `wait_s`."""
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
    """Holds the lock once whoever has it lets go. Calls `on_wait` first if somebody has it."""
    lock = _lock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """Whether a process has the lock. To ask takes the lock for an instant."""
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
