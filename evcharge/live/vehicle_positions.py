"""Keeps each car's newest position; runs inside Spark's Python workers.

A position's version is its time: an older one never takes a newer one's place, and a repeated batch changes nothing. A
position that no car could have come to from where this one was is left out, by the rule of the archive's IMPLAUSIBLE_JUMP.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import pyarrow as pa

from evcharge.clock import HOUR_MS, ms_to_iso
from evcharge.contracts.vehicle_telemetry import MAX_JUMP_KMH, MIN_JUMP_KM
from evcharge.errors import UserError
from evcharge.live.batch_report import TouchedHours
from evcharge.live.indices import VEHICLE_POSITION
from evcharge.live.worker import IndexGoneError, records_of, shared_client
from evcharge.places import distance_km
from evcharge.settings import Settings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

#: A parked car reports every half an hour: one that has missed two reports is somewhere else by now.
EXPIRES_AFTER_MS = HOUR_MS
_PER_REQUEST = 1_000
#: Cars whose last places a worker keeps.
_KEPT_TRACKS = 100_000


class Place(NamedTuple):
    """Where a car said it was: degrees (WGS 84), ms since the epoch."""

    latitude: float
    longitude: float
    at_ms: int


_tracks: OrderedDict[str, tuple[Place, ...]] = OrderedDict()


@dataclass(frozen=True)
class PositionWriter:
    """Call it with the Arrow batches of a task: vehicle-telemetry rows with `occurred_at` as ms."""

    settings: Settings
    index: str = VEHICLE_POSITION

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        newest: dict[str, Mapping[str, Any]] = {}
        tracks: dict[str, tuple[Place, ...]] = {}
        hours = TouchedHours()
        for batch in batches:
            told = [row for row in records_of(batch) if not _jumps(row, tracks)]
            hours.add(row["occurred_at"] for row in told)
            for row in told:
                known = newest.get(row["vehicle_id"])
                if known is None or known["occurred_at"] <= row["occurred_at"]:
                    newest[row["vehicle_id"]] = row
        rows = list(newest.values())
        client = shared_client(self.settings)
        for start in range(0, len(rows), _PER_REQUEST):
            write_positions(client, self.index, rows[start : start + _PER_REQUEST])
        # not before: a batch that fails is judged alike when it is repeated
        _remember(tracks)
        yield hours.report()


def is_jump(place: Place, before: Sequence[Place]) -> bool:
    """Whether a car can not have come to `place` from any of the (at most two) places that it told before.

    From any of them, so that one outlier does not take the next good place with it.
    """
    return bool(before) and all(_is_too_far(place, other) for other in before)


def _is_too_far(a: Place, b: Place) -> bool:
    km = distance_km(a.latitude, a.longitude, b.latitude, b.longitude)
    return km > max(MIN_JUMP_KM, MAX_JUMP_KMH * abs(a.at_ms - b.at_ms) / HOUR_MS)


def _jumps(row: Mapping[str, Any], tracks: dict[str, tuple[Place, ...]]) -> bool:
    """Judges a row by those of the same car before it, in Kafka's order, and notes it in `tracks`, the batch's own."""
    vehicle_id = row["vehicle_id"]
    place = Place(row["latitude"], row["longitude"], row["occurred_at"])
    known = tracks.get(vehicle_id) or _tracks.get(vehicle_id, ())
    # one of the same instant is the row itself, told once more: it must not vouch for itself
    before = tuple(other for other in known if other.at_ms != place.at_ms)[-2:]
    tracks[vehicle_id] = (*before, place)
    return is_jump(place, before)


def _remember(tracks: Mapping[str, tuple[Place, ...]]) -> None:
    """Keeps the tracks for the batches to come, the longest untouched of too many forgotten."""
    for vehicle_id, track in tracks.items():
        _tracks[vehicle_id] = track
        _tracks.move_to_end(vehicle_id)
    while len(_tracks) > _KEPT_TRACKS:
        _tracks.popitem(last=False)


def write_positions(client: Elasticsearch, index: str, rows: Iterable[Mapping[str, Any]]) -> int:
    """Writes positions that are newer than what is there; how many were. Raises IndexGoneError."""
    # encoded here, quicker than the client does; it takes bytes as they are
    lines: list[Any] = []
    for row in rows:
        action = {"_id": row["vehicle_id"], "version": row["occurred_at"], "version_type": "external_gte"}
        lines += [orjson.dumps({"index": action}), orjson.dumps(document(row))]
    if not lines:
        return 0
    # an alias that is gone must not come back as an index without mappings
    answer = client.bulk(
        index=index, operations=lines, require_alias=True, filter_path="errors,items.*.status,items.*.error"
    )
    written = 0
    for item in answer["items"]:
        (told,) = item.values()
        if told["status"] == 404:
            raise IndexGoneError(f"{index}: {told['error'].get('reason', told['error'])}")
        if told["status"] >= 300 and told["status"] != 409:
            raise UserError(f"{index}: a position was refused: {told['error']}")
        written += told["status"] < 300
    return written


def document(row: Mapping[str, Any]) -> dict[str, Any]:
    """The Elasticsearch document of a vehicle-telemetry row."""
    return {
        "vehicle_id": row["vehicle_id"],
        "ev_model_id": row["ev_model_id"],
        "occurred_at": ms_to_iso(row["occurred_at"]),
        "location": {"lat": row["latitude"], "lon": row["longitude"]},
        "heading": row["heading"],
        "speed_kmh": row["speed_kmh"],
        "ignition": row["ignition"],
        "state_of_charge": row["state_of_charge"],
        "range_km": row["range_km"],
        "destination_station_id": row["destination_station_id"],
        "expires_at": ms_to_iso(row["occurred_at"] + EXPIRES_AFTER_MS),
    }


def remove_expired(client: Elasticsearch, now_ms: int) -> int:
    """Deletes up to 10,000 positions that have expired, unless a newer one came meanwhile; how many."""
    found = client.search(
        index=VEHICLE_POSITION,
        query={"range": {"expires_at": {"lt": ms_to_iso(now_ms)}}},
        size=10_000,
        source=False,
        seq_no_primary_term=True,
    )
    lines: list[dict[str, Any]] = [
        {"delete": {"_id": hit["_id"], "if_seq_no": hit["_seq_no"], "if_primary_term": hit["_primary_term"]}}
        for hit in found["hits"]["hits"]
    ]
    if lines:
        client.bulk(index=VEHICLE_POSITION, operations=lines, require_alias=True)
    return len(lines)
