"""What the tests of the registry share: a row of a download, and a Kafka that keeps what it gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from evcharge.contracts import Contract
from evcharge.feeds.messages import message
from evcharge.settings import Settings

#: A station as a download of 2025 has it, in a subset of its columns.
DOWNLOADED = {
    "Fuel Type Code": "ELEC",
    "Station Name": "City Garage",
    "City": "Boston",
    "State": "MA",
    "ZIP": "02114",
    "Status Code": "E",
    "EV Level1 EVSE Num": "",
    "EV Level2 EVSE Num": "4",
    "EV DC Fast Count": "",
    "EV Network": "Non-Networked",
    "Latitude": "42.361",
    "Longitude": "-71.066",
    "ID": "1",
    "Updated At": "2025-02-12 00:16:32 UTC",
    "EV Connector Types": "J1772",
    "Country": "US",
}

WriteCsv = Callable[..., Path]


class RecordingKafka:
    """One partition that acknowledges everything. With `fail_after` set it takes the rows and raises."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.opened = 0
        self.fail_after: Exception | None = None

    def __call__(self, settings: Settings) -> RecordingKafka:
        self.opened += 1
        return self

    def publish(self, contract: Contract, rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
        first = len(self.rows)
        self.rows += [orjson.loads(message(contract, row)) for row in rows]
        if self.fail_after:
            raise self.fail_after
        return [(0, first + number) for number in range(len(rows))]

    def newest(self) -> dict[str, dict[str, Any]]:
        """The row of each station that wins: the latest observed. The last to arrive wins a tie."""
        return {row["station_id"]: row for row in sorted(self.rows, key=lambda row: row["observed_at"])}

    def __enter__(self) -> RecordingKafka:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def publish_with(monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any], kafka: RecordingKafka) -> None:
    """Replaces the default publisher of `function`, for code that calls it without naming one."""
    defaults = function.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "open_publisher", kafka)
