"""Makes the warehouse's database, tables and views from the files in `sql/`."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

from evcharge.connections import clickhouse, clickhouse_errors
from evcharge.settings import Settings

SQL = Path(__file__).parent / "sql"

#: dim_time reaches this many years ahead of the day it is filled on.
YEARS_AHEAD = 2

_FILL_TIME = """
INSERT INTO dim_time
SELECT
    toYear(at) * 1000000 + toMonth(at) * 10000 + toDayOfMonth(at) * 100 + toHour(at), at, toDate(at), toYear(at),
    toMonth(at), toDayOfMonth(at), toHour(at), toDayOfWeek(at), toDayOfWeek(at) >= 6
FROM (SELECT toDateTime(%(first)s, 'UTC') + INTERVAL number HOUR AS at FROM numbers(%(hours)s))
WHERE at > (SELECT max(hour_at) FROM dim_time)
"""


def apply(settings: Settings) -> None:
    """Creates what is missing; changes nothing where all is there. Raises ServerDownError."""
    with clickhouse_errors(settings):
        clickhouse(settings, database="default").execute(
            f"CREATE DATABASE IF NOT EXISTS {settings.clickhouse_database}"
        )
        client = clickhouse(settings)
        for file in sorted(SQL.glob("*.sql")):
            for statement in statements(file):
                client.execute(statement)
        first = date.fromisoformat(settings.event_days_from)
        last = date(datetime.now(UTC).year + YEARS_AHEAD, 1, 1)
        client.execute(_FILL_TIME, {"first": first, "hours": (last - first).days * 24})


def statements(file: Path) -> list[str]:
    """The statements of a SQL file, which are separated by semicolons at a line's end."""
    return [s.strip() for s in file.read_text().split(";\n") if s.strip().rstrip(";")]
