"""What a simulation tells: session events in columns, in the words of the session-events message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 1

COLUMNS = (
    "schema_version",
    "event_id",
    "session_id",
    "sequence",
    "station_id",
    "evse_id",
    "connector_id",
    "ev_id",
    "ev_model_id",
    "event_type",
    "occurred_at",
    "power_kw",
    "energy_delivered_kwh",
    "state_of_charge",
    "reason",
    "started_at",
    "idle_s",
    "queue_wait_s",
    "state_of_charge_start",
)

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Events in time order, as one list per field of `COLUMNS`.

    Times are datetimes in UTC of whole milliseconds, energies kWh to the Wh, states of charge percent; None where a field
    does not apply.
    """

    columns: dict[str, list[Any]]

    @classmethod
    def of(cls, rows: list[Row]) -> EventBatch:
        """A batch of rows in the order of `COLUMNS`."""
        if not rows:
            return cls({name: [] for name in COLUMNS})
        return cls(dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True)))

    def __len__(self) -> int:
        return len(self.columns["event_id"])

    def rows(self) -> Iterator[dict[str, Any]]:
        """The events one by one, each a message of Python values."""
        for row in zip(*self.columns.values(), strict=True):
            yield dict(zip(self.columns, row, strict=True))


@dataclass(slots=True)
class Totals:
    """The producer's own count of everything told since the start."""

    events_by_type: Counter[str] = field(default_factory=Counter)
    # Whole watt-hours, so that the sum is exact whatever the order.
    energy_wh: int = 0

    @property
    def events(self) -> int:
        return self.events_by_type.total()

    @property
    def sessions(self) -> int:
        """Finished sessions: those with a stopped event."""
        return self.events_by_type["stopped"]

    @property
    def energy_kwh(self) -> float:
        """Energy of the finished sessions."""
        return self.energy_wh / 1000
