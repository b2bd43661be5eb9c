"""A lock file that one process holds and that dies with it, however it ends."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from evcharge.errors import UserError

_AGAIN_AFTER_S = 0.2


@contextmanager
def only_one(path: Path, refusal: UserError, tries: int = 1) -> Iterator[None]:
    """Holds the lock, which is made where it is missing; raises `refusal` if another process still has it after `tries`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        for attempt in range(tries):
            if attempt:
                time.sleep(_AGAIN_AFTER_S)
            if _locked(file):
                yield
                return
        raise refusal


def is_held(path: Path) -> bool:
    """Whether a process has the lock. Asking takes it for an instant."""
    if not path.exists():
        return False
    with path.open("w") as file:
        return not _locked(file)


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
