"""What the audit compares: figures and an order-free hash of a store's rows, by station and UTC hour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from evcharge.clock import HOUR_MS

#: Station id and the start of a UTC hour, ms since the epoch.
StationHour = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Figures:
    """What a store holds of one station and hour, or in all. Energy is that of finished sessions.

    For Elasticsearch, `events` counts documents, `sessions` running sessions, and energy is that of the hours that documents
    keep. For Cassandra, `events` counts final hours; sessions and energy are what began and was delivered in them.
    """

    events: int
    sessions: int
    energy_wh: int
    hash: str


@dataclass(frozen=True, slots=True)
class Sides:
    """What a store holds and what it should hold.

    Two counts are of documents that were left out: `ahead` of those that are ahead of the lake, `unordered` of those whose
    events lie in several partitions of Kafka, which have no order among each other.
    """

    found: Mapping[StationHour, Figures]
    expected: Mapping[StationHour, Figures]
    ahead: int = 0
    unordered: int = 0


def disagreements(sides: Sides) -> Iterator[tuple[StationHour, Figures | None, Figures | None]]:
    """Station and hour, what is expected and what is found, where the two differ."""
    for key in sorted(sides.expected.keys() | sides.found.keys()):
        expected, found = sides.expected.get(key), sides.found.get(key)
        if expected != found:
            yield key, expected, found


def by_station_hour(rows: pa.Table) -> dict[StationHour, Figures]:
    """Figures of session rows (`session_rows.SCHEMA`) by station and hour.

    The hash is the sum of the rows' 64-bit hashes, so that the order of rows does not matter.
    """
    if rows.num_rows == 0:
        return {}
    hours = pa.array(rows["at"].to_numpy() // HOUR_MS)
    rows = rows.append_column("hour", hours).sort_by([("station_id", "ascending"), ("hour", "ascending")])
    stations, hour = rows["station_id"].to_numpy(zero_copy_only=False), rows["hour"].to_numpy()
    starts = np.flatnonzero(np.r_[True, (stations[1:] != stations[:-1]) | (hour[1:] != hour[:-1])])
    session = rows["session"].to_numpy(zero_copy_only=False)
    energy = np.where(session, rows["energy_wh"].to_numpy(), 0)
    ends = np.r_[starts[1:], len(hour)]
    sums = [np.add.reduceat(values, starts) for values in (session.astype(np.int64), energy, _hashes(rows))]
    return {
        (stations[start], int(hour[start]) * HOUR_MS): Figures(int(end - start), int(n), int(wh), f"{int(digest):016x}")
        for start, end, n, wh, digest in zip(starts, ends, *sums, strict=True)
    }


def total_of_rows(rows: pa.Table) -> Figures:
    """Figures of all session rows (`session_rows.SCHEMA`)."""
    finished = rows.filter(rows["session"])
    digest = int(np.add.reduce(_hashes(rows))) if rows.num_rows else 0
    return Figures(rows.num_rows, finished.num_rows, pc.sum(finished["energy_wh"]).as_py() or 0, f"{digest:016x}")


def total_of_hours(figures: Mapping[StationHour, Figures]) -> Figures:
    """The sum of the figures of a live store, in which a hash does not cover its station and hour."""
    digest = (
        sum(int(xxhash.xxh3_64_hexdigest(f"{key}|{own.hash}".encode()), 16) for key, own in figures.items()) % 2**64
    )
    events, sessions, energy_wh = (
        sum(getattr(own, name) for own in figures.values()) for name in ("events", "sessions", "energy_wh")
    )
    return Figures(events, sessions, energy_wh, f"{digest:016x}")


def _hashes(rows: pa.Table) -> np.ndarray:
    keys, at, energy = (rows[name].to_pylist() for name in ("key", "at", "energy_wh"))
    return np.fromiter(
        (xxhash.xxh3_64_intdigest(f"{k}|{t}|{e}".encode()) for k, t, e in zip(keys, at, energy, strict=True)),
        dtype=np.uint64,
        count=len(keys),
    )
