"""A Kafka for unit tests, with faults before or after it takes the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evcharge.contracts import Contract
from evcharge.feeds.messages import message


class FakePublisher:
    """One partition that acknowledges everything, unless `fail_before` or `fail_after` is set."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.fail_before: Exception | None = None
        self.fail_after: Exception | None = None

    def publish(self, contract: Contract, rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
        if self.fail_before:
            raise self.fail_before
        first = len(self.messages)
        self.messages.extend((contract.topic, message(contract, row)) for row in rows)
        if self.fail_after:
            raise self.fail_after
        return [(0, first + number) for number in range(len(rows))]

    def __enter__(self) -> FakePublisher:
        return self

    def __exit__(self, *_: object) -> None:
        pass
