"""What the stream's Python workers keep between tasks."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from evcharge.contracts import SESSION_EVENTS
from evcharge.live.station_folder import StationFolder
from evcharge.live.worker import COLLECTED_EVERY
from evcharge.settings import Settings


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.mark.slow
def test_a_worker_rarely_collects_garbage_in_what_it_keeps() -> None:
    frozen = []
    for _ in range(2 * COLLECTED_EVERY):
        list(StationFolder(Settings(), "index", SESSION_EVENTS.topic)([]))
        frozen.append(gc.get_freeze_count() > 0)
    assert frozen.count(False) == 2
