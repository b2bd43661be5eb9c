"""Which rows of the lake the hours of some days need, and the sums of the hours of long sessions; the files are local."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

from evcharge.audit.live_stores import _expected_hours
from evcharge.clock import HOUR_MS, day_to_ms
from evcharge.contracts import SESSION_EVENTS
from evcharge.contracts.session_events import MAX_SESSION_DAYS
from evcharge.lake import rowfiles, rows
from evcharge.lake.candidate import _reached_dates
from evcharge.lake.layout import raw_prefix
from evcharge.lake.repository import Repository
from evcharge.lake.rowfiles import RowFileWriter
from evcharge.lake.schemas import raw_schema
from evcharge.live.hour_rows import days_of_session, needed_rows
from evcharge.live.pending_hours import ComputedDay
from evcharge.settings import Settings

FIRST = date(2026, 3, 2)
Write = Callable[..., None]


class LocalLake(Repository):
    """A lake whose main is a folder."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.name, self._main = settings, "lake", folder / "lake" / "main"

    def paths(self, ref: str, prefix: str, *, after: str = "") -> Iterator[str]:
        return (str(path.relative_to(self._main)) for path in sorted((self._main / prefix).rglob("*.parquet")))


@pytest.fixture
def lake(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalLake:
    files = SubTreeFileSystem(str(tmp_path), LocalFileSystem())
    monkeypatch.setattr(rows, "lake_files", lambda _: files)
    return LocalLake(settings, tmp_path)


@pytest.fixture
def write(lake: LocalLake, tmp_path: Path) -> Write:
    """Writes events into the files of their dates."""
    offset = 0

    def written(*events: dict[str, Any]) -> None:
        nonlocal offset
        for event in events:
            offset += 1
            folder = tmp_path / "lake" / "main" / raw_prefix(SESSION_EVENTS.topic, str(event["occurred_at"].date()))
            folder.mkdir(parents=True, exist_ok=True)
            row = event | {"topic_generation": 1, "kafka_partition": 0, "kafka_offset": offset, "publication_id": "p"}
            pq.write_table(pa.Table.from_pylist([row], raw_schema(SESSION_EVENTS)), folder / f"{offset}.parquet")

    return written


def at(days: float) -> datetime:
    return datetime.combine(FIRST, datetime.min.time(), UTC) + timedelta(days=days)


def event(kind: str, days: float, session: str = "s", sequence: int = 0, **fields: Any) -> dict[str, Any]:
    row = dict.fromkeys(SESSION_EVENTS.columns)
    return row | {
        "schema_version": 1,
        "event_id": f"{session}-{sequence}",
        "session_id": session,
        "sequence": sequence,
        "station_id": "st",
        "evse_id": "st-1",
        "event_type": kind,
        "occurred_at": at(days),
        **fields,
    }


def energy_wh(lake: LocalLake, day: date) -> list[int]:
    """The energy of each hour of a day at the station, as it is computed from the lake."""
    mark = ComputedDay("main", at(1_000), at(1_000))
    hours = _expected_hours(lake, "main", {day: mark})
    starts = range(day_to_ms(day), day_to_ms(day) + 24 * HOUR_MS, HOUR_MS)
    return [hours["st", start].energy_wh if ("st", start) in hours else 0 for start in starts]


def test_a_session_over_midnight_counts_on_both_days(lake: LocalLake, write: Write) -> None:
    write(event("started", 20 / 24, energy_delivered_kwh=0.0))
    assert energy_wh(lake, FIRST) == [0] * 24
    write(event("stopped", 28 / 24, sequence=1, started_at=at(20 / 24), energy_delivered_kwh=80.0))
    assert energy_wh(lake, FIRST)[20:] == [10_000] * 4
    assert energy_wh(lake, FIRST + timedelta(days=1))[:5] == [10_000] * 4 + [0]


@pytest.mark.parametrize("days", [1, 2, 5, MAX_SESSION_DAYS])
def test_the_days_of_a_long_session_add_up_to_its_energy(days: int, lake: LocalLake, write: Write) -> None:
    """It charged for three hours and then stood there: what its rows say, not an even spread over all its days."""
    write(
        event("started", 0.5, energy_delivered_kwh=0.0),
        event("suspended", 0.625, sequence=1, energy_delivered_kwh=30.0),
        event("stopped", 0.5 + days, sequence=2, started_at=at(0.5), energy_delivered_kwh=30.0),
        event("started", 0.7, "other", energy_delivered_kwh=0.0, evse_id="st-2"),
    )
    assert energy_wh(lake, FIRST)[12:15] == [10_000] * 3
    assert sum(sum(energy_wh(lake, FIRST + timedelta(days=n))) for n in range(-1, days + 2)) == 30_000


@pytest.mark.parametrize("days", [1, 2, 5, MAX_SESSION_DAYS])
def test_the_end_alone_of_a_long_session_counts_on_all_its_days(days: int, lake: LocalLake, write: Write) -> None:
    write(event("stopped", days, started_at=at(0), energy_delivered_kwh=24.0 * days))
    assert [sum(energy_wh(lake, FIRST + timedelta(days=n))) for n in range(days + 1)] == [24_000] * days + [0]


def test_a_session_that_is_longer_than_any_counts_on_its_last_days(lake: LocalLake, write: Write) -> None:
    days = MAX_SESSION_DAYS + 5
    write(event("stopped", days, started_at=at(0), energy_delivered_kwh=24.0 * days))
    found = [sum(energy_wh(lake, FIRST + timedelta(days=n))) for n in range(days)]
    assert found == [0] * 5 + [24_000] * MAX_SESSION_DAYS
    assert len(days_of_session(FIRST, FIRST + timedelta(days=days))) == MAX_SESSION_DAYS + 1


def test_far_rows_are_read_for_long_sessions_only(lake: LocalLake, write: Write) -> None:
    write(
        event("stopped", 0.5, "short", started_at=at(0.1), energy_delivered_kwh=1.0),
        event("stopped", 4.5, "long", started_at=at(0.5), energy_delivered_kwh=1.0),
        event("stopped", 9.5, "elsewhere", started_at=at(7.5), energy_delivered_kwh=1.0),
    )
    needed = needed_rows(lake, "main", [FIRST])
    assert needed.sessions == {("st", "long")}
    assert needed.days == ["2026-03-01", "2026-03-02", "2026-03-03"]
    assert needed.far_days == ["2026-03-04", "2026-03-05", "2026-03-06"]


def test_the_same_session_at_two_stations_is_two_sessions(lake: LocalLake, write: Write) -> None:
    stop = event("stopped", 0.5, started_at=at(11 / 24), energy_delivered_kwh=5.0)
    write(stop | {"station_id": "another"}, stop)
    assert energy_wh(lake, FIRST)[11] == 5_000


def test_a_publication_says_which_days_its_sessions_reach_into(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rowfiles, "lake_files", lambda _: SubTreeFileSystem(str(tmp_path), LocalFileSystem()))
    events = [
        event("started", 0.5),
        event("stopped", 0.6, started_at=at(0.5)),
        event("stopped", 5.2, "b", started_at=at(3.9)),
        event("stopped", 90.5, "c", started_at=at(0.5)),
        event("meter", 200.5, "d", started_at=at(0.5)),
    ]
    judged = pa.Table.from_pylist(
        [
            row
            | {"event_date": row["occurred_at"].date(), "kafka_partition": 0, "kafka_offset": n}
            | dict.fromkeys(("kafka_timestamp", "kafka_key", "kafka_value", "rule_code", "rule_field"))
            for n, row in enumerate(events)
        ]
    )
    folder = tmp_path / settings.lake_repository / "branch"
    writer = RowFileWriter(settings, SESSION_EVENTS.topic, "branch", "2026-03-02-00", "p", "f", 1)
    for day in {row["occurred_at"].date() for row in events}:
        (folder / raw_prefix(SESSION_EVENTS.topic, str(day)) / "ingest_hour=2026-03-02-00").mkdir(parents=True)
    (lines,) = list(writer(judged.to_batches()))
    reached = _reached_dates([Line(row) for row in lines.to_pylist()])
    long = [str(FIRST + timedelta(days=n)) for n in range(90 - MAX_SESSION_DAYS, 90)]
    assert reached == [str(FIRST + timedelta(days=n)) for n in (3, 4)] + long


class Line:
    """A row of Spark's."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.__dict__ = fields
