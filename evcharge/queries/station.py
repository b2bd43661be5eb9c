"""What one station does now, and how busy today is compared with a typical day."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from elasticsearch import Elasticsearch, NotFoundError

from evcharge.errors import NoSuchThingError
from evcharge.live.cassandra_statements import prepared
from evcharge.live.indices import STATION_STATE
from evcharge.live.station_document import LISTED_FIELDS
from evcharge.live.usage_tables import read_hours
from evcharge.queries.availability import Station, read_station, read_status
from evcharge.queries.freshness import Freshness
from evcharge.queries.typical import DayComparison, compare, days_compared, utc_days
from evcharge.settings import Settings

if TYPE_CHECKING:
    from cassandra.cluster import Session


@dataclass(frozen=True, slots=True)
class RunningSession:
    """A car that is plugged in. `expected_end_at` is null where the car reports no state of charge."""

    session_id: str
    started_at: str
    expected_end_at: str | None
    energy_delivered_kwh: float
    power_kw: float | None
    state_of_charge: float | None
    ev_model_id: str | None


@dataclass(frozen=True, slots=True)
class EvseNow:
    """An EVSE with its OCPI status. `since_at` is the start of that status, null where it is not known."""

    evse_id: str
    connector_type: str | None
    power_kw: float | None
    status: str
    since_at: str | None
    session: RunningSession | None


@dataclass(frozen=True, slots=True)
class StationAnswer:
    """A station now and its day. `today` is null if the hours were not read.

    `time_zone` is UTC if this machine does not know the registry's.
    """

    fresh: Freshness
    station: Station
    time_zone: str
    evses: tuple[EvseNow, ...]
    today: DayComparison | None

    @property
    def note(self) -> str | None:
        """Why nothing is known, in one line."""
        return f"the station's state is unknown: {self.fresh.reason}" if self.fresh.stale else None

    def to_json(self) -> dict[str, Any]:
        return {
            **self.fresh.to_json(),
            "note": self.note,
            **self.station.to_json(),
            "time_zone": self.time_zone,
            "evses": [asdict(evse) for evse in self.evses],
            "today": self.today and self.today.to_json(),
        }


def station_document(client: Elasticsearch, station_id: str, *more_fields: str) -> Mapping[str, Any]:
    """The `LISTED_FIELDS` and some more fields of a station's document. Raises NoSuchThingError if there is no such station."""
    unknown = NoSuchThingError(f"no station {station_id!r}; `evcharge nearby` lists stations with their ids")
    # Elasticsearch refuses longer ids.
    if not station_id or len(station_id.encode()) > 512:
        raise unknown
    try:
        answer = client.get(index=STATION_STATE, id=station_id, source_includes=[*LISTED_FIELDS, *more_fields])
    except NotFoundError as error:
        if isinstance(error.body, dict) and error.body.get("found") is False:
            raise unknown from None
        raise
    document: Mapping[str, Any] = answer["_source"]
    return document


def station_now(document: Mapping[str, Any], fresh: Freshness, heard_since: datetime) -> StationAnswer:
    """What the station does now, from its document with `evses` and `sessions`."""
    station = read_station(document, fresh, heard_since)
    running = {session["evse_id"]: session for session in document["sessions"]} if station.is_known else {}
    evses = []
    for evse in document["evses"]:
        status = read_status(evse["status"], station)
        session = running.get(evse["evse_id"])
        evses.append(
            EvseNow(
                evse["evse_id"],
                evse["connector_type"],
                evse["power_kw"],
                status,
                evse["since_at"] if status == evse["status"] else None,
                session and RunningSession(**{name: session[name] for name in RunningSession.__dataclass_fields__}),
            )
        )
    return StationAnswer(fresh, station, known_zone(document["time_zone"]), tuple(evses), None)


def known_zone(name: str | None) -> str:
    """The name of a time zone; UTC for one that this machine does not know."""
    try:
        return ZoneInfo(name or "UTC").key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return "UTC"


def day_of_station(settings: Settings, session: Session, answer: StationAnswer, now: datetime) -> DayComparison:
    """The station's local day compared with the days before, from Cassandra."""
    zone, station = ZoneInfo(answer.time_zone), answer.station
    today, before = days_compared(now, zone)
    days = utc_days([today, *before], zone)
    settled = ask_settled_days(settings, session, days)
    usages = read_hours(settings, session, station.station_id, days)
    # Nothing is known of a silent station after its last event, however current the stream is.
    last_event_at = station.last_event_at and datetime.fromisoformat(station.last_event_at)
    known_to = answer.fresh.as_of if station.is_known else last_event_at or None
    return compare(usages, settled(), known_to, now, zone)


def ask_settled_days(settings: Settings, session: Session, days: Iterable[date]) -> Callable[[], dict[date, datetime]]:
    """Asks for the end of the last final hour of each UTC day from the one before `days` to the last of them.

    The function that is returned waits for the answer, which leaves out days without a final hour.
    """
    wanted = sorted(days)
    wanted.insert(0, wanted[0] - timedelta(days=1))
    statement = prepared(
        session,
        f"SELECT day, hours_to FROM {settings.cassandra_keyspace}.usage_days WHERE year = ? AND day >= ? AND day <= ?",
    )
    years = range(wanted[0].year, wanted[-1].year + 1)
    answers = [session.execute_async(statement, (year, wanted[0], wanted[-1])) for year in years]
    return lambda: {row.day.date(): row.hours_to.replace(tzinfo=UTC) for answer in answers for row in answer.result()}
