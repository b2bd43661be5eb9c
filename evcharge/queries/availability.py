"""What a station's document says about its outlets now: free, busy, out of service, or unknown if it is too old."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from evcharge.contracts.connector_types import answers_to
from evcharge.live.evse import INOPERATIVE, PLANNED, UNKNOWN
from evcharge.queries.freshness import Freshness, duration_text

#: Registry status codes of stations that nobody can charge at, whatever their EVSEs last reported.
PLANNED_CODE = "P"
NOT_OPEN = {PLANNED_CODE: "planned, not open yet", "T": "closed for now"}


class Availability(StrEnum):
    """What a driver can expect. A station has the first of these values that one of its outlets has."""

    FREE = "free"
    UNKNOWN = "unknown"
    BUSY = "busy"
    OUT_OF_SERVICE = "out_of_service"


class MapState(StrEnum):
    """What a map shows of a station, by its outlets that fit.

    A planned station is planned and one that is closed for now is broken, whatever was heard from it. Otherwise a station is
    free if any outlet is known to be free, and unknown if none is but the state of one is not known: unknown looks neither
    busy nor free. It is broken if all outlets are out of order. It is blocked if no car at any of its outlets charges (they
    are full, or paused), else busy.
    """

    FREE = "free"
    BUSY = "busy"
    BLOCKED = "blocked"
    BROKEN = "broken"
    PLANNED = "planned"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Outlets:
    """Outlets of one connector type and power; both are null where the registry does not have them.

    `blocked` is how many of the `busy` ones have a car that does not charge.
    """

    connector_type: str | None
    power_kw: float | None
    total: int
    free: int = 0
    busy: int = 0
    unknown: int = 0
    out_of_service: int = 0
    blocked: int = 0


@dataclass(frozen=True, slots=True)
class Station:
    """A station as it may be shown at one instant.

    `remark` says in words why the station's state differs from what its outlets last reported. Times are ISO-8601 in UTC.
    """

    station_id: str
    station_name: str | None
    city: str | None
    state_code: str | None
    network: str | None
    source: str | None
    latitude: float | None
    longitude: float | None
    is_open: bool
    is_known: bool
    remark: str | None
    outlets: tuple[Outlets, ...]
    queue_length: int | None
    last_event_at: str | None
    last_change_at: str | None
    is_planned: bool = False

    @property
    def map_state(self) -> MapState:
        if not self.is_open:
            return MapState.PLANNED if self.is_planned else MapState.BROKEN
        match self.availability:
            case Availability.FREE:
                return MapState.FREE
            case Availability.UNKNOWN:
                return MapState.UNKNOWN
            case Availability.OUT_OF_SERVICE:
                return MapState.BROKEN
        charging = any(outlets.busy > outlets.blocked for outlets in self.outlets)
        return MapState.BUSY if charging else MapState.BLOCKED

    @property
    def availability(self) -> Availability:
        for availability in Availability:
            if any(getattr(outlets, availability) for outlets in self.outlets):
                return availability
        if not self.is_open:
            return Availability.OUT_OF_SERVICE
        return Availability.UNKNOWN

    def count(self, availability: Availability) -> int:
        """The number of outlets with this availability."""
        return sum(getattr(outlets, availability) for outlets in self.outlets)

    @property
    def total(self) -> int:
        return sum(outlets.total for outlets in self.outlets)

    def to_json(self) -> dict[str, Any]:
        return {
            "station_id": self.station_id,
            "station_name": self.station_name,
            "city": self.city,
            "state": self.state_code,
            "network": self.network,
            "source": self.source,
            "latitude": self.latitude,
            "longitude": self.longitude,
            "availability": self.availability.value,
            "remark": self.remark,
            "total_outlets": self.total,
            **{f"{availability.value}_outlets": self.count(availability) for availability in Availability},
            "outlets": [asdict(outlets) for outlets in self.outlets],
            "queue_length": self.queue_length,
            "last_event_at": self.last_event_at,
            "last_change_at": self.last_change_at,
        }


def read_station(
    document: Mapping[str, Any],
    fresh: Freshness,
    heard_since: datetime,
    connector_type: str | None = None,
    min_power_kw: float | None = None,
    max_power_kw: float | None = None,
) -> Station:
    """The station of a document's `LISTED_FIELDS`, with the outlets that fit a connector type and power (kW).

    An outlet without a connector in the registry may fit: it counts as unknown. An unknown power counts as 0.
    """
    heard_at = document["last_event_at"] and datetime.fromisoformat(document["last_event_at"])
    is_open, remark = _standing(document)
    is_known = not fresh.stale and heard_at is not None and heard_at >= heard_since and bool(document["observed_at"])
    if remark is None and not fresh.stale and not is_known:
        silence = "nothing was heard from it yet"
        remark = f"nothing was heard from it for {duration_text(fresh.now - heard_at)}" if heard_at else silence
    location = document["location"] or {}
    return Station(
        station_id=document["station_id"],
        station_name=document["station_name"],
        city=document["city"],
        state_code=document["state"],
        network=document["network"],
        source=document["source"],
        latitude=location.get("lat"),
        longitude=location.get("lon"),
        is_open=is_open,
        is_known=is_known,
        remark=remark,
        outlets=tuple(_fitting(document["outlets"], is_open, is_known, connector_type, min_power_kw, max_power_kw)),
        queue_length=document["queue_length"] if is_known else None,
        last_event_at=document["last_event_at"],
        last_change_at=document["last_change_at"],
        is_planned=not document["removed_at"] and document["status_code"] == PLANNED_CODE,
    )


def read_status(status: str, station: Station) -> str:
    """The OCPI status that may be shown for an EVSE that has `status`."""
    return status if station.is_known or status in (PLANNED, INOPERATIVE) else UNKNOWN


def _standing(document: Mapping[str, Any]) -> tuple[bool, str | None]:
    """Whether the station is open by the registry, and a remark where there is one to make."""
    if document["removed_at"]:
        return False, f"gone from the registry since {document['removed_at'][:10]}"
    if not document["observed_at"]:
        return True, "not in the registry: only its sessions are known"
    return document["status_code"] not in NOT_OPEN, NOT_OPEN.get(document["status_code"])


def _fitting(
    groups: Iterable[Mapping[str, Any]],
    is_open: bool,
    is_known: bool,
    connector_type: str | None,
    min_power_kw: float | None,
    max_power_kw: float | None,
) -> Iterable[Outlets]:
    for group in groups:
        group_type, power_kw, total = group["connector_type"], group["power_kw"], group["total"]
        if connector_type and group_type is not None and connector_type not in answers_to(group_type):
            continue
        if min_power_kw and (power_kw or 0.0) < min_power_kw:
            continue
        if max_power_kw is not None and (power_kw or 0.0) > max_power_kw:
            continue
        if not is_open:
            yield Outlets(group_type, power_kw, total, out_of_service=total)
        elif not is_known or (connector_type and group_type is None):
            yield Outlets(group_type, power_kw, total, unknown=total)
        else:
            # Documents of format 6, which are read until the stream has computed those of this one, have no `blocked`.
            yield Outlets(
                connector_type=group_type,
                power_kw=power_kw,
                total=total,
                free=group["free"],
                busy=group["busy"],
                unknown=group["unknown"],
                out_of_service=group["out_of_order"],
                blocked=group.get("blocked", 0),
            )
