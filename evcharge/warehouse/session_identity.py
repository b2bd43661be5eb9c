"""Which record of a session is its fact: one rule over the whole archive, however days are grouped into loads.

A session is its station and its session id, because OCPI's session ids are unique within their operator only. All records of
a station are in one Kafka partition, so they have one order. Of the `stopped` records of a session the first in Kafka is the
fact, whatever day each is of. The others do not count: they are the same event again, or a second end.

`session_end` has a row for each `stopped` record of the days that were loaded, in the order of sessions. A load asks it for
the sessions that it brings, so its cost grows with these and not with the days before. Its granules are small, because a
lookup reads a whole one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from evcharge.warehouse.staging import ANY_DAYS, mark_unloaded, mutate
from evcharge.warehouse.tables import ENDS, FACT

if TYPE_CHECKING:
    from clickhouse_driver import Client

#: Where a record was in Kafka. The smallest one is the first.
PLACE = "topic_generation, kafka_partition, kafka_offset"

#: The records of sessions that have several, in the order of Kafka, without repeated rows. Few sessions have, and only theirs
#: are sorted. Placeholder: where.
_RECORDS = f"""
SELECT station_id, session_id, arraySort(groupUniqArray(({PLACE}, sequence, ended_on))) AS records
FROM {ENDS} WHERE (station_id, session_id) IN (
    SELECT station_id, session_id FROM {ENDS} WHERE {{where}} GROUP BY station_id, session_id HAVING count() > 1)
GROUP BY station_id, session_id HAVING length(records) > 1
"""

#: The records that do not count, beside what the counting one of their session has.
_UNCOUNTED = f"""
SELECT
    station_id, session_id, record.1 AS topic_generation, record.2 AS kafka_partition, record.3 AS kafka_offset,
    record.4 AS sequence, record.5 AS ended_on, records[1].4 AS counted_sequence, records[1].5 AS counted_on
FROM ({_RECORDS}) ARRAY JOIN arrayPopFront(records) AS record
"""

#: Sessions in one question.
_ASKED = 1_000

# The table is sorted by session, so that one session's records are in memory. With those of two million sessions the query
# took more than a gigabyte.
_IN_ORDER = {"optimize_aggregation_in_order": 1}


@dataclass(frozen=True, slots=True)
class Uncounted:
    """`stopped` records that are no fact: `resent` have the event id of the record that counts, `second_ends` another one."""

    resent: int
    second_ends: int


def forget_vanished(client: Client, rows: str, days: list[date]) -> list[date]:
    """Forgets the records of `days` that are not among `rows` any more. Returns other days that may now have the fact.

    These days are marked as not loaded, before anything is forgotten: a load that is killed later leaves them pending.
    """
    vanished = client.execute(
        f"SELECT station_id, session_id, {PLACE} FROM {ENDS} "
        f"WHERE ended_on IN %(days)s AND ({PLACE}) NOT IN (SELECT {PLACE} FROM {rows})",
        {"days": days},
    )
    if not vanished:
        return []
    others = {
        day
        for start in range(0, len(vanished), _ASKED)
        for (day,) in client.execute(
            f"SELECT DISTINCT ended_on FROM {ENDS} WHERE (station_id, session_id) IN %(sessions)s "
            "AND ended_on NOT IN %(days)s",
            {"sessions": [row[:2] for row in vanished[start : start + _ASKED]], "days": days},
            settings={"max_query_size": 2**22},
        )
    }
    mark_unloaded(client, FACT, sorted(others))
    key = f"(station_id, session_id, {PLACE})"
    mutate(client, ENDS, f"DELETE WHERE {key} IN %(values)s", vanished)
    return sorted(others)


def remember(client: Client, rows: str, days: list[date]) -> None:
    """Adds the records among `rows` that are not known yet.

    If `rows` has all records of `days`, those that are known are looked up by day, otherwise (no days) by session.
    """
    known = (
        "ended_on IN %(days)s" if days else f"(station_id, session_id) IN (SELECT station_id, session_id FROM {rows})"
    )
    columns = f"station_id, session_id, {PLACE}, sequence"
    client.execute(
        f"INSERT INTO {ENDS} ({columns}, ended_on) "
        f"SELECT {columns}, toDate(fromUnixTimestamp64Milli(ended_at, 'UTC')) FROM {rows} "
        f"WHERE ({PLACE}) NOT IN (SELECT {PLACE} FROM {ENDS} WHERE {known})",
        {"days": days},
    )


def create_uncounted(client: Client, rows: str, uncounted: str) -> None:
    """Makes the table `uncounted`: of the sessions among `rows`, the records of any day that do not count."""
    where = f"(station_id, session_id) IN (SELECT station_id, session_id FROM {rows})"
    client.execute(
        f"CREATE TABLE {uncounted} ENGINE = MergeTree ORDER BY (ended_on, station_id, session_id) AS "
        + _UNCOUNTED.format(where=where),
        settings=_IN_ORDER,
    )


def create_leaving(client: Client, rows: str, uncounted: str, days: list[date], leaving: str) -> None:
    """Makes the table `leaving`: the facts whose session has its fact on another day, or on `days` anew, from `rows`."""
    misplaced = f"(SELECT ended_on, station_id, session_id FROM {uncounted} WHERE ended_on <> counted_on)"
    counted = f"(SELECT station_id, session_id FROM {rows} WHERE ({PLACE}) NOT IN (SELECT {PLACE} FROM {uncounted}))"
    fact = f"SELECT toDate(ended_at, 'UTC') AS day, station_id, session_id FROM {FACT}"
    found = (
        f"{fact} WHERE day IN (SELECT ended_on FROM {uncounted} WHERE ended_on <> counted_on) "
        f"AND (day, station_id, session_id) IN {misplaced}"
    )
    if days:
        found += f" UNION DISTINCT {fact} WHERE day IN %(days)s AND (station_id, session_id) IN {counted}"
    client.execute(
        f"CREATE TABLE {leaving} ENGINE = MergeTree ORDER BY (day, station_id, session_id) AS {found}", {"days": days}
    )


def days_in(client: Client, leaving: str) -> list[date]:
    """The days of the table that `create_leaving` made, sorted."""
    return [day for (day,) in client.execute(f"SELECT DISTINCT day FROM {leaving} ORDER BY day")]


def keep(client: Client, days: list[date], leaving: str, target: str) -> None:
    """Puts the facts of `days` into the table `target`, without those in `leaving`.

    A day that keeps all its facts costs nothing: its files are linked. The others are copied.
    """
    copied = [day for day in days_in(client, leaving) if day in days]
    for day in set(days).difference(copied):
        client.execute(f"ALTER TABLE {target} ATTACH PARTITION '{day}' FROM {FACT}")
    if copied:
        client.execute(
            f"INSERT INTO {target} SELECT * FROM {FACT} WHERE toDate(ended_at, 'UTC') IN %(days)s "
            f"AND (toDate(ended_at, 'UTC'), station_id, session_id) NOT IN (SELECT * FROM {leaving})",
            {"days": copied},
            settings=ANY_DAYS,
        )


def uncounted_in(client: Client, uncounted: str, rows: str) -> Uncounted:
    """How many records among `rows` do not count, by the table that `create_uncounted` made."""
    return _counts(client, f"SELECT * FROM {uncounted} WHERE ({PLACE}) IN (SELECT {PLACE} FROM {rows})", {})


def uncounted_between(client: Client, first: date, last: date) -> Uncounted:
    """How many records of the UTC days `first` to `last` do not count."""
    between = "ended_on BETWEEN %(first)s AND %(last)s"
    where = f"(station_id, session_id) IN (SELECT station_id, session_id FROM {ENDS} WHERE {between})"
    return _counts(
        client,
        f"SELECT * FROM ({_UNCOUNTED.format(where=where)}) WHERE {between}",
        {"first": first, "last": last},
    )


def _counts(client: Client, uncounted: str, parameters: dict[str, object]) -> Uncounted:
    resent, second_ends = client.execute(
        f"SELECT countIf(sequence = counted_sequence), countIf(sequence <> counted_sequence) FROM ({uncounted})",
        parameters,
        settings=_IN_ORDER,
    )[0]
    return Uncounted(resent, second_ends)
