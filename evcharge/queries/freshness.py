"""How old the live state is, and from which age on it says nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from evcharge.live.stream_status import QueryStatus
from evcharge.settings import Settings

#: Half of the median stay at a fast charger (30 minutes; EPFL's recording of 2022): after that, an outlet that was free is as
#: likely to be taken as not.
STREAM_STALE_AFTER = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old the state is at `now` that a query of the stream writes.

    Everything that Kafka had at `as_of` is in the state; `as_of` is None if the query never ran. `reason` says why the state
    is of no use; it is None while the state is of use.
    """

    now: datetime
    as_of: datetime | None
    reason: str | None

    @property
    def age_s(self) -> float | None:
        return None if self.as_of is None else max((self.now - self.as_of).total_seconds(), 0.0)

    @property
    def stale(self) -> bool:
        return self.reason is not None

    def to_json(self) -> dict[str, Any]:
        age_s = self.age_s
        return {
            "state_as_of": None if self.as_of is None else utc_text(self.as_of),
            "age_s": None if age_s is None else round(age_s, 3),
            "stale": self.stale,
        }


def freshness(status: QueryStatus | None, now: datetime) -> Freshness:
    """The freshness at `now`, from the stored status of a query of the stream."""
    if status is None or status.as_of is None:
        return Freshness(now, None, "the live stream has not reported yet how current its state is; is it running?")
    as_of = datetime.fromisoformat(status.as_of)
    if now - as_of > STREAM_STALE_AFTER:
        return Freshness(now, as_of, f"the live state is {duration_text(now - as_of)} old; is the live stream running?")
    return Freshness(now, as_of, None)


def heard_since(settings: Settings, now: datetime) -> datetime:
    """The oldest time of a last event that counts: a station without a later event reads as unknown."""
    # Whole minutes, so that Elasticsearch can use its cached result of an earlier question.
    return (now - timedelta(hours=settings.state_stale_after_h)).replace(second=0, microsecond=0)


def duration_text(span: timedelta) -> str:
    """A span of time as people say it, e.g. "3 min"; a negative span counts as 0 s."""
    seconds = max(span.total_seconds(), 0.0)
    for unit, size, until in (("s", 1, 90), ("min", 60, 5400), ("h", 3600, 172_800)):
        if seconds < until:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def utc_text(at: datetime) -> str:
    """ISO-8601 in UTC with milliseconds, as in the live state."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
