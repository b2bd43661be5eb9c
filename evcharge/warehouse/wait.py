"""Waits until what was sent to Kafka is published on main and loaded into the warehouse."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from evcharge.errors import UserError
from evcharge.lake.ledger import read_ledger
from evcharge.lake.repository import Repository
from evcharge.settings import Settings
from evcharge.warehouse.pending_loads import pending_loads

POLL_S = 2.0


class WaitTimeoutError(UserError):
    """The wait took too long. The message says what is still missing."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Rows not yet on main, days not yet in the warehouse, seconds waited."""

    unpublished_rows: int
    unloaded_days: int
    waited_s: float


def wait_until_loaded(
    settings: Settings,
    topic_offsets: dict[str, dict[int, int]],
    event_dates: set[date],
    timeout_s: float = 600,
    on_progress: Callable[[Missing], None] = lambda progress: None,
) -> None:
    """Returns when main has the rows below `topic_offsets` and the warehouse has main's `event_dates` and stations.

    `topic_offsets` gives each topic's and partition's end offset, exclusive; `timeout_s` is in seconds.
    Raises WaitTimeoutError, ServerDownError.
    """
    repository = Repository(settings)
    began = time.monotonic()
    while True:
        unpublished = 0
        for topic, ends in topic_offsets.items():
            published = read_ledger(repository, topic).offsets
            unpublished += sum(max(0, end - published.get(partition, 0)) for partition, end in ends.items())
        days = -1
        if unpublished == 0:
            pending = pending_loads(settings, repository)
            days = len(event_dates.intersection(pending.days)) + pending.stations
            if days == 0:
                return
        waited_s = time.monotonic() - began
        on_progress(Missing(unpublished, max(days, 0), waited_s))
        if waited_s > timeout_s:
            missing = f"{unpublished} rows are not published" if unpublished else f"{days} days are not loaded"
            raise WaitTimeoutError(
                f"after {waited_s:.0f} s {missing}; is the Dagster daemon up? See `evcharge stack status`"
            )
        time.sleep(POLL_S)
