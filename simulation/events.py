"""What a simulation reports: session events in columns, with the fields of the session-events message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulation.clock import to_datetime

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


@dataclass(frozen=True)
class EventBatch:
    """Events in time order: `arrays` has a numpy array of shape (n,) for each field of `COLUMNS`.

    Times are datetime64[ms] in UTC, energies kWh to the Wh, states of charge percent, strings objects. A field that does not
    apply is None, NaN or NaT.
    """

    arrays: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.arrays["sequence"])

    @cached_property
    def columns(self) -> dict[str, list[Any]]:
        """The arrays as lists of Python values: datetimes in UTC, None where a field does not apply."""
        return {name: _plain(values) for name, values in self.arrays.items()}

    def rows(self) -> Iterator[dict[str, Any]]:
        """The events one by one, each a message (field: Python value)."""
        for row in zip(*self.columns.values(), strict=True):
            yield dict(zip(self.columns, row, strict=True))


@dataclass(slots=True)
class Totals:
    """The producer's own count of everything reported since the start.

    `hashes` are two sums, modulo 2**64, of a hash per event. Equal events give equal sums, in any order and any chunks.

    Some `visits` end without a session. `balked` counts drivers who saw the queue and left, by kind of site. `without_car`
    counts visits that nobody made, since none of the site's guests was free. `rerouted` counts drivers who drove on to
    another station, at once or after they waited. `failed_starts` counts sessions that ended before any energy flowed; after
    each the driver tried again or left.
    """

    events_by_type: Counter[str] = field(default_factory=Counter)
    # Whole watt-hours, so that the sum is exact in any order.
    energy_wh: int = 0
    hashes: tuple[int, int] = (0, 0)
    visits: int = 0
    balked: Counter[str] = field(default_factory=Counter)
    rerouted: int = 0
    without_car: int = 0
    failed_starts: int = 0

    @property
    def events(self) -> int:
        return self.events_by_type.total()

    @property
    def sessions(self) -> int:
        """Finished sessions: those with a stopped event, failed starts included."""
        return self.events_by_type["stopped"]

    @property
    def energy_kwh(self) -> float:
        """Energy of the finished sessions."""
        return self.energy_wh / 1000

    @property
    def ledger_hash(self) -> str:
        """32 hexadecimal digits. Any lost, added or changed event changes them."""
        return "".join(f"{part:016x}" for part in self.hashes)

    def to_json(self) -> dict[str, Any]:
        """The totals as plain JSON values."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        counts = {name: dict(plain[name]) for name in ("events_by_type", "balked")}
        return {**plain, **counts, "hashes": list(self.hashes)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Totals:
        """The totals that `to_json` made `plain`."""
        first, second = plain["hashes"]
        counts = {name: Counter(plain[name]) for name in ("events_by_type", "balked")}
        return cls(**{**plain, **counts, "hashes": (first, second)})


def _plain(values: NDArray[Any]) -> list[Any]:
    if values.dtype.kind == "M":
        absent = np.isnat(values).tolist()
        instants = values.astype(np.int64).tolist()
        return [None if none else to_datetime(ms) for ms, none in zip(instants, absent, strict=True)]
    plain: list[Any] = values.tolist()
    if values.dtype.kind == "f":
        return [None if value != value else value for value in plain]
    return plain
