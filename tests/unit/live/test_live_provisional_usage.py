"""How often hours are written to Cassandra: slow writes pause for longer, a failed write is soon repeated."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Event
from typing import Any

import pytest

from evcharge.live import provisional_usage as provisional
from evcharge.live.provisional_usage import EVERY_S, UsageWriter
from evcharge.settings import Settings

SHORTEST_S, LONGEST_S = EVERY_S


@dataclass
class Clock:
    """Time that passes only where the test says so."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now


@dataclass
class Ended(Event):
    """Set after the wanted number of pauses, which it notes."""

    wanted: int
    pauses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses.append(timeout or 0.0)
        if len(self.pauses) == self.wanted:
            self.set()
        return self.is_set()


@pytest.mark.parametrize(
    ("took_s", "written", "pause_s"),
    [
        (0.1, 500, SHORTEST_S),
        (4.0, 5_000, 36.0),
        (16.0, 20_000, LONGEST_S),
        # Cassandra was down until the driver gave up
        (16.0, 0, SHORTEST_S),
    ],
)
def test_a_pause_is_nine_times_what_writing_took_within_bounds(
    monkeypatch: pytest.MonkeyPatch, took_s: float, written: int, pause_s: float
) -> None:
    clock, ended, client = Clock(), Ended(2), object()
    monkeypatch.setattr(provisional, "time", clock)

    def write(_self: UsageWriter, asked: Any) -> int:
        assert asked is client
        clock.now += took_s
        return written

    monkeypatch.setattr(UsageWriter, "write_changed", write)
    UsageWriter(Settings()).keep_written(client, ended)  # type: ignore[arg-type]
    assert ended.pauses == [pause_s, pause_s]
