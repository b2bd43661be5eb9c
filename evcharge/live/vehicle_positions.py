"""Keeps each car's newest position. The writer runs inside Spark's Python workers.

A position's version is its time: an older position never replaces a newer one, and a repeated batch changes nothing. A
position that the car could not have reached is left out, by the rule of the archive's IMPLAUSIBLE_JUMP.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import pyarrow as pa

from evcharge.clock import HOUR_MS, ms_to_iso
from evcharge.contracts import VEHICLE_TELEMETRY
from evcharge.contracts.vehicle_telemetry import MAX_JUMP_KMH, MIN_JUMP_KM
from evcharge.live.batch_report import TouchedHours
from evcharge.live.dead_letters import bury
from evcharge.live.indices import VEHICLE_POSITION
from evcharge.live.refusals import Reason, Record, Refusal, of_id, of_stream, taken_with_care
from evcharge.live.worker import Operation, bulk, gathered_records, shared_client
from evcharge.places import distance_km
from evcharge.settings import Settings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

#: A parked car reports every half an hour: a car that has missed two reports may be somewhere else.
EXPIRES_AFTER_MS = HOUR_MS
_PER_REQUEST = 1_000
#: Number of cars whose last places a worker keeps.
_KEPT_TRACKS = 100_000


class Place(NamedTuple):
    """A place that a car reported: degrees (WGS 84), ms since the epoch."""

    latitude: float
    longitude: float
    at_ms: int


_tracks: OrderedDict[str, tuple[Place, ...]] = OrderedDict()


@dataclass(frozen=True)
class PositionWriter:
    """Takes the Arrow batches of a task: vehicle-telemetry rows with `occurred_at` in ms, a car's in the order of its offsets.

    Rows of the archive are `judged` already. With `careful` it also finds the records of a batch at which it fails for no
    known reason.
    """

    settings: Settings
    index: str = VEHICLE_POSITION
    careful: bool = False
    judged: bool = False

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        hours = TouchedHours()
        for rows in gathered_records(batches):
            tracks: dict[str, tuple[Place, ...]] = {}
            plausible = rows if self.judged else self._plausible(rows, tracks)
            hours.add(row["occurred_at"] for row in plausible)
            refusals = taken_with_care(plausible, self.take) if self.careful else self.take(plausible)
            bury(shared_client(self.settings), VEHICLE_POSITION, VEHICLE_TELEMETRY.topic, refusals)
            # After the writes, so that a batch that fails is judged in the same way when it is repeated.
            _remember(tracks)
        yield hours.report()

    def take(self, rows: Sequence[Record]) -> list[Refusal]:
        """Writes each car's newest position; returns the refused rows.

        Where the newest is refused, the car's other rows are written, so that the newest good one is known.
        """
        newest: dict[str, Record] = {}
        for row in rows:
            known = newest.get(row["vehicle_id"])
            if known is None or known["occurred_at"] <= row["occurred_at"]:
                newest[row["vehicle_id"]] = row
        client = shared_client(self.settings)
        refusals = write_positions(client, self.index, list(newest.values()))
        cars = {refusal.record["vehicle_id"] for refusal in refusals}
        others = [row for row in rows if row["vehicle_id"] in cars and row is not newest[row["vehicle_id"]]]
        return refusals + write_positions(client, self.index, others)

    def _plausible(self, rows: Sequence[Record], tracks: dict[str, tuple[Place, ...]]) -> list[Record]:
        """The rows to which the car can have driven. Adds the cars' places to `tracks`."""
        strangers = {row["vehicle_id"] for row in rows if row["vehicle_id"] not in _tracks}
        tracks.update(_stored_places(shared_client(self.settings), self.index, sorted(strangers)))
        return [row for row in rows if not _jumps(row, tracks)]


def _stored_places(client: Elasticsearch, index: str, vehicle_ids: Sequence[str]) -> Iterator[tuple[str, tuple[Place]]]:
    """The stored positions of cars that this process has not met: so it judges as the process before it did."""
    asked = [vehicle_id for vehicle_id in vehicle_ids if of_id(vehicle_id) is None]
    for start in range(0, len(asked), _PER_REQUEST):
        ids = asked[start : start + _PER_REQUEST]
        for entry in client.mget(index=index, ids=ids, source_includes=["location", "occurred_at"])["docs"]:
            if entry.get("found"):
                location, at = entry["_source"]["location"], datetime.fromisoformat(entry["_source"]["occurred_at"])
                yield entry["_id"], (Place(location["lat"], location["lon"], round(at.timestamp() * 1000)),)


def is_jump(place: Place, before: Sequence[Place]) -> bool:
    """Whether a car cannot have come to `place` from any of the (at most two) places that it reported before.

    With two places, one outlier does not make the next good place look like a jump.
    """
    return bool(before) and all(_is_too_far(place, other) for other in before)


def _is_too_far(a: Place, b: Place) -> bool:
    km = distance_km(a.latitude, a.longitude, b.latitude, b.longitude)
    return km > max(MIN_JUMP_KM, MAX_JUMP_KMH * abs(a.at_ms - b.at_ms) / HOUR_MS)


def _jumps(row: Mapping[str, Any], tracks: dict[str, tuple[Place, ...]]) -> bool:
    """Judges a row by the car's rows before it, in Kafka's order, and adds it to `tracks`, the places of this batch."""
    vehicle_id = row["vehicle_id"]
    place = Place(row["latitude"], row["longitude"], row["occurred_at"])
    known = tracks.get(vehicle_id) or _tracks.get(vehicle_id, ())
    # A place of the same instant is the same row, sent again: it must not make itself plausible.
    before = tuple(other for other in known if other.at_ms != place.at_ms)[-2:]
    tracks[vehicle_id] = (*before, place)
    return is_jump(place, before)


def _remember(tracks: Mapping[str, tuple[Place, ...]]) -> None:
    """Keeps the tracks for the next batches. If there are too many, the one unused for longest is dropped."""
    for vehicle_id, track in tracks.items():
        _tracks[vehicle_id] = track
        _tracks.move_to_end(vehicle_id)
    while len(_tracks) > _KEPT_TRACKS:
        _tracks.popitem(last=False)


def write_positions(client: Elasticsearch, index: str, rows: Sequence[Record]) -> list[Refusal]:
    """Writes the positions that are newer than the stored ones; returns the refused rows. Raises IndexGoneError, UserError."""
    refusals: list[Refusal] = []
    for start in range(0, len(rows), _PER_REQUEST):
        part: list[Record] = []
        operations = []
        for row in rows[start : start + _PER_REQUEST]:
            reason = of_id(row["vehicle_id"])
            if reason is not None:
                refusals.append(Refusal(row, reason))
                continue
            try:
                operations.append(_operation(row))
                part.append(row)
            except Exception as error:
                refusals.append(Refusal(row, of_stream(error)))
        # `require_alias`: a write to an alias that is gone must not make an index without mappings.
        results = bulk(client, index, operations, require_alias=True)
        refusals += [Refusal(row, r) for row, r in zip(part, results, strict=True) if isinstance(r, Reason)]
    return refusals


def _operation(row: Record) -> Operation:
    action = {"_id": row["vehicle_id"], "version": row["occurred_at"], "version_type": "external_gte"}
    return orjson.dumps({"index": action}), orjson.dumps(document(row))


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
    """Deletes up to 10,000 expired positions, unless a newer one has come in the meantime; returns how many it found."""
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
