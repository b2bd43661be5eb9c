"""What must be true of the live state: the rules behind the asset checks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from evcharge.connections import cassandra
from evcharge.live.dead_letters import count_letters, read_letters
from evcharge.live.indices import documents
from evcharge.live.stream_status import read_status, read_statuses
from evcharge.live.usage_tables import FINAL, PROVISIONAL
from evcharge.settings import Settings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

#: A status must be published within a minute of its change (AFIR, EU 2023/1804, article 20).
FRESH_WITHIN_S = 60.0
#: One minute of the simulated platform's busiest hour. A longer lag means that the stream does not keep up.
LAG_ALLOWED_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a rule: the number of cases that broke it, up to ten of them, and a summary of one line."""

    passed: bool
    broken: int
    examples: list[str]
    summary: str


def no_more_busy_than_outlets(client: Elasticsearch) -> Finding:
    """No station has more occupied EVSEs than outlets in its registry record."""
    broken = [
        f"{doc['station_id']}: {doc['busy_outlets']} busy of {doc['registered_outlets']}"
        for doc in documents(
            client, {"range": {"busy_outlets": {"gt": 0}}}, ["station_id", "busy_outlets", "registered_outlets"]
        )
        if doc["registered_outlets"] is not None and doc["busy_outlets"] > doc["registered_outlets"]
    ]
    return Finding(not broken, len(broken), broken[:10], f"{len(broken)} stations have more busy EVSEs than outlets")


def stream_keeps_up(client: Elasticsearch) -> Finding:
    """Few records are in Kafka and not yet in the station state."""
    status = read_status(client, "stations")
    if status is None:
        return Finding(False, 0, [], "the stream has not run yet")
    passed = status.lag_rows <= LAG_ALLOWED_ROWS
    return Finding(passed, status.lag_rows, [], f"{status.lag_rows:,} records behind, {LAG_ALLOWED_ROWS:,} allowed")


def stream_is_fresh(client: Elasticsearch, now: datetime) -> Finding:
    """Each query of the stream had all of Kafka's records at most FRESH_WITHIN_S ago.

    The rule reads the stream's own status, so that a recomputed past hour does not make a dead stream look alive.
    """
    stale = []
    for query in ("registry", "stations", "vehicles"):
        status = read_status(client, query)
        age_s = None if status is None else status.age_s(now)
        if age_s is None or age_s > FRESH_WITHIN_S:
            stale.append(f"{query}: {'never ran' if age_s is None else f'{age_s:.0f} s old'}")
    return Finding(not stale, len(stale), stale, "; ".join(stale) or f"all queries within {FRESH_WITHIN_S:.0f} s")


def no_query_fails(client: Elasticsearch, now: datetime) -> Finding:
    """No query of the stream has failed for longer than FRESH_WITHIN_S. The others go on meanwhile."""
    failing = [
        f"{status.query}: for {status.failing_s(now):.0f} s, {status.failing_reason}"
        for status in read_statuses(client)
        if status.failing_s(now) > FRESH_WITHIN_S
    ]
    return Finding(not failing, len(failing), failing, "; ".join(failing) or "no query fails")


def no_dead_letters(client: Elasticsearch) -> Finding:
    """No record waits that a store refused. `evcharge live dead-letters` shows and retries them."""
    count = count_letters(client)
    newest = read_letters(client, limit=10) if count else []
    examples = [f"{letter.letter_id}: {letter.store} {letter.code}: {letter.reason}" for letter in newest]
    summary = f"{count:,} records were refused" + (": see `evcharge live dead-letters`" if count else "")
    return Finding(not count, count, examples, summary)


def provisional_is_final(settings: Settings, hour: datetime) -> Finding:
    """The hour computed by the stream equals the hour computed from the lake, where both exist."""
    day, keyspace = hour.astimezone(UTC).date(), settings.cassandra_keyspace
    columns = ("sessions", "energy_wh", "occupied_ms", "waits", "faults")
    with cassandra(settings) as session:
        tables: dict[str, dict[str, tuple[Any, ...]]] = {}
        for table in (PROVISIONAL, FINAL):
            rows = session.execute(
                f"SELECT station_id, {', '.join(columns)} FROM {keyspace}.{table} "
                f"WHERE day = %s AND hour = %s ALLOW FILTERING",
                (day, hour.hour),
                timeout=60,
            )
            tables[table] = {row.station_id: tuple(getattr(row, name) for name in columns) for row in rows}
    provisional, final = tables[PROVISIONAL], tables[FINAL]
    both = provisional.keys() & final.keys()
    broken = [f"{s}: stream {provisional[s]}, lake {final[s]}" for s in sorted(both) if provisional[s] != final[s]]
    broken += [f"{s}: stream nothing, lake {final[s]}" for s in sorted(final.keys() - both) if provisional]
    return Finding(
        not broken, len(broken), broken[:10], f"{len(broken)} of {len(final)} stations differ at {hour:%Y-%m-%d %H}:00"
    )


def last_closed_hour(now: datetime) -> datetime:
    """The start of the hour before the last full one: its last publication has had an hour to arrive."""
    return now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
