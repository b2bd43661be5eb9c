"""A lock is held by one at a time, and whoever waits for it gets it."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from evcharge.errors import UserError
from evcharge.lock import in_turn, is_held, only_one

WAIT_S = 10


def test_a_held_lock_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    assert not is_held(path)
    with only_one(path, UserError("held")):
        assert is_held(path)
        with pytest.raises(UserError, match="taken"), only_one(path, UserError("taken")):
            pass
    assert not is_held(path)


def test_who_waits_outlasts_the_removal_of_the_folder(tmp_path: Path) -> None:
    """`evcharge stack clean` removes the home while another command may wait for its lock."""
    path = tmp_path / "home" / "stack.lock"
    waits, has_it = threading.Event(), threading.Event()

    def wait() -> None:
        with in_turn(path, waits.set):
            has_it.set()

    waiting = threading.Thread(target=wait, daemon=True)
    with only_one(path, UserError("held")):
        waiting.start()
        assert waits.wait(WAIT_S)
        shutil.rmtree(path.parent)
    waiting.join(WAIT_S)
    assert has_it.is_set()
