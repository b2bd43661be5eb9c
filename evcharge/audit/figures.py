"""What the audit compares: figures and an order-free hash of a store's rows, by station and UTC hour."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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


Disagreement = tuple[StationHour, Figures | None, Figures | None]
"""Station and hour, what is expected and what is found."""


def disagreements(sides: Sides) -> Iterator[Disagreement]:
    """Where what is expected and what is found differ, in the order of stations and hours."""
    for key in sorted(sides.expected.keys() | sides.found.keys()):
        expected, found = sides.expected.get(key), sides.found.get(key)
        if expected != found:
            yield key, expected, found


def by_station_hour(rows: pa.Table) -> dict[StationHour, Figures]:
    """Figures of session rows (`session_rows.SCHEMA`) by station and hour.

    The hash is the sum of the rows' 64-bit hashes, so that the order of rows does not matter.
    """
    return {key: own for key, _, own in row_disagreements(rows, rows.slice(0, 0)) if own is not None}


def row_disagreements(found: pa.Table, expected: pa.Table) -> Iterator[Disagreement]:
    """`disagreements` of the figures by station and hour of two tables of session rows, in no order.

    Figures are made only where the two differ, since elsewhere nobody asks for them.
    """
    rows = pa.concat_tables([table.select(["station_id"]) for table in (found, expected)])
    stations = rows["station_id"].combine_chunks().dictionary_encode("encode")
    hours = np.concatenate([table["at"].to_numpy() // HOUR_MS for table in (found, expected)])
    first = hours.min(initial=0)
    span = int(hours.max(initial=0) - first) + 1
    groups, group_of = np.unique(
        stations.indices.to_numpy().astype(np.int64) * span + (hours - first), return_inverse=True
    )
    here, there = group_of[: found.num_rows], group_of[found.num_rows :]
    sums = [_sums(found, here, len(groups)), _sums(expected, there, len(groups))]
    names = stations.dictionary.to_pylist()
    for group in np.flatnonzero(np.any([own != other for own, other in zip(*sums, strict=True)], axis=0)):
        station, hour = divmod(int(groups[group]), span)
        own, other = ([int(values[group]) for values in side] for side in sums)
        key = names[station], (hour + int(first)) * HOUR_MS
        yield key, _of_sums(other) if other[0] else None, _of_sums(own) if own[0] else None


def total_of_rows(rows: pa.Table) -> Figures:
    """Figures of all session rows (`session_rows.SCHEMA`)."""
    return _of_sums([int(values[0]) for values in _sums(rows, np.zeros(rows.num_rows, np.int64), 1)])


def with_digests(rows: pa.Table) -> pa.Table:
    """The rows with their hashes in a column `digest`, so that they are computed once."""
    return rows.append_column("digest", pa.array(_digests(rows)))


def added(one: Figures, other: Figures) -> Figures:
    """The figures of both together; no row is in both."""
    digest = (int(one.hash, 16) + int(other.hash, 16)) % 2**64
    return _of_sums([one.events + other.events, one.sessions + other.sessions, one.energy_wh + other.energy_wh, digest])


def total_of_hours(figures: Mapping[StationHour, Figures]) -> Figures:
    """The sum of the figures of a live store, in which a hash does not cover its station and hour."""
    digest = (
        sum(int(xxhash.xxh3_64_hexdigest(f"{key}|{own.hash}".encode()), 16) for key, own in figures.items()) % 2**64
    )
    events, sessions, energy_wh = (
        sum(getattr(own, name) for own in figures.values()) for name in ("events", "sessions", "energy_wh")
    )
    return Figures(events, sessions, energy_wh, f"{digest:016x}")


def merged(parts: Iterable[Sides]) -> Sides:
    """The sides of all parts together, each of other stations."""
    found: dict[StationHour, Figures] = {}
    expected: dict[StationHour, Figures] = {}
    ahead = unordered = 0
    for part in parts:
        found |= part.found
        expected |= part.expected
        ahead, unordered = ahead + part.ahead, unordered + part.unordered
    return Sides(found, expected, ahead, unordered)


def _sums(rows: pa.Table, group_of: np.ndarray, groups: int) -> list[np.ndarray]:
    """Of each group the numbers of rows and finished sessions, their energy, and the sum of the rows' hashes."""
    session = rows["session"].to_numpy(zero_copy_only=False).astype(bool)
    energy_wh, digests = np.zeros(groups, np.int64), np.zeros(groups, np.uint64)
    np.add.at(energy_wh, group_of[session], rows["energy_wh"].to_numpy()[session])
    # it wraps around at 2**64
    np.add.at(digests, group_of, _digests(rows))
    counts = [np.bincount(which, minlength=groups) for which in (group_of, group_of[session])]
    return [*counts, energy_wh, digests]


def _of_sums(sums: Sequence[int]) -> Figures:
    events, sessions, energy_wh, digest = sums
    return Figures(events, sessions, energy_wh, f"{digest:016x}")


def _digests(rows: pa.Table) -> np.ndarray:
    """The hash of each row's key, instant and energy."""
    if "digest" in rows.column_names:
        return np.asarray(rows["digest"].to_numpy())
    numbers = (rows[name].cast(pa.string()) for name in ("at", "energy_wh"))
    texts = pc.binary_join_element_wise(rows["key"], *numbers, "|").cast(pa.binary())
    return np.fromiter(map(xxhash.xxh3_64_intdigest, texts.to_pylist()), np.uint64, rows.num_rows)
