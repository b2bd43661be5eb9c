"""The warehouse's tables and views as the files in `sql/` describe them, and their creation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from evcharge.connections import clickhouse, clickhouse_errors
from evcharge.settings import Settings
from evcharge.warehouse.staging import mutate
from evcharge.warehouse.tables import ENDS, FACT

if TYPE_CHECKING:
    from clickhouse_driver import Client

SQL = Path(__file__).parent / "sql"

#: dim_time reaches this many years ahead of the day on which it is filled.
YEARS_AHEAD = 2

_FILL_TIME = """
INSERT INTO dim_time
SELECT
    toYear(at) * 1000000 + toMonth(at) * 10000 + toDayOfMonth(at) * 100 + toHour(at), at, toDate(at), toYear(at),
    toMonth(at), toDayOfMonth(at), toHour(at), toDayOfWeek(at), toDayOfWeek(at) >= 6
FROM (SELECT toDateTime(%(first)s, 'UTC') + INTERVAL number HOUR AS at FROM numbers(%(hours)s))
WHERE at > (SELECT max(hour_at) FROM dim_time)
"""


_TABLE = re.compile(
    r"^CREATE (?:TABLE IF NOT EXISTS|OR REPLACE VIEW) (\w+)\n\(\n(.*?)\n\)\n.*?^COMMENT '(.*?)';",
    re.MULTILINE | re.DOTALL,
)
_COLUMN = re.compile(r"^\s+(\w+)\s+(\S.*?) COMMENT '(.*?)',?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view of the warehouse: its columns as (name, type, comment)."""

    name: str
    comment: str
    columns: tuple[tuple[str, str, str], ...]


def apply(settings: Settings) -> None:
    """Creates what is missing and keeps what exists. Raises ServerDownError."""
    with clickhouse_errors(settings):
        clickhouse(settings, database="default").execute(
            f"CREATE DATABASE IF NOT EXISTS {settings.clickhouse_database}"
        )
        client = clickhouse(settings)
        _reload_before_identity(client)
        for file in sorted(SQL.glob("*.sql")):
            for statement in statements(file):
                client.execute(statement)
        first = date.fromisoformat(settings.event_days_from)
        last = date(datetime.now(UTC).year + YEARS_AHEAD, 1, 1)
        client.execute(_FILL_TIME, {"first": first, "hours": (last - first).days * 24})


def _reload_before_identity(client: Client) -> None:
    """Makes every day of sessions pending in a warehouse of a version without `session_end`: only a load can fill it.

    It comes before that table is made, so that a kill in between loses nothing.
    """
    existing = {name for (name,) in client.execute("SHOW TABLES")}
    if "loaded_day" in existing and ENDS not in existing:
        mutate(client, "loaded_day", "DELETE WHERE table_name IN %(values)s", [FACT])


def statements(file: Path) -> list[str]:
    """The statements of a SQL file. A semicolon at the end of a line ends a statement."""
    return [s.strip() for s in file.read_text().split(";\n") if s.strip().rstrip(";")]


def warehouse_tables(folder: Path) -> list[Table]:
    """Tables and views of the SQL files in `folder`."""
    text = "\n".join(file.read_text() for file in sorted(folder.glob("*.sql")))
    return [Table(name, comment, tuple(_COLUMN.findall(body))) for name, body, comment in _TABLE.findall(text)]
