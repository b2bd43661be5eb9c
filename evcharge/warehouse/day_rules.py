"""Rules across the rows of loaded days. They only warn, because a late event may still correct what they find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING

from evcharge.warehouse.session_identity import uncounted_between
from evcharge.warehouse.tables import ENDS, FACT

if TYPE_CHECKING:
    from clickhouse_driver import Client


@dataclass(frozen=True, slots=True)
class DayRule:
    """A query for the ids of sessions that break the rule and ended on the UTC days %(first)s to %(last)s.

    `figures` gives more about these days, by name.
    """

    code: str
    description: str
    session_ids: str
    figures: Callable[[Client, date, date], dict[str, int]] | None = None


_DAYS = "toDate(ended_at, 'UTC') BETWEEN %(first)s AND %(last)s"
_ENDED = "ended_on BETWEEN %(first)s AND %(last)s"

DAY_RULES = (
    DayRule(
        "SESSION_IS_UNIQUE",
        "A session, which is its station and its session id, has one row in the whole table.",
        # its other rows are on days on which it has ended as well
        f"""SELECT session_id FROM {FACT}
        WHERE (station_id, session_id) IN (SELECT station_id, session_id FROM {FACT} WHERE {_DAYS})
        AND ({_DAYS} OR toDate(ended_at, 'UTC') IN (
            SELECT ended_on FROM {ENDS} WHERE (station_id, session_id) IN (
                SELECT station_id, session_id FROM {FACT} WHERE {_DAYS})))
        GROUP BY station_id, session_id HAVING count() > 1""",
    ),
    DayRule(
        "SESSION_ENDS_ONCE",
        "A session has one `stopped` event. Of several the first in Kafka counts.",
        f"""SELECT session_id FROM {ENDS}
        WHERE (station_id, session_id) IN (SELECT station_id, session_id FROM {ENDS} WHERE {_ENDED})
        GROUP BY station_id, session_id HAVING uniqExact(sequence) > 1""",
        # all records that do not count, by reason
        lambda client, first, last: asdict(uncounted_between(client, first, last)),
    ),
    DayRule(
        "NO_OVERLAP_ON_EVSE",
        "An EVSE serves one session at a time.",
        f"""SELECT session_id FROM (
            SELECT session_id, started_at, max(ended_at) OVER (
                PARTITION BY station_id, evse_id ORDER BY started_at, ended_at
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS previous_ended_at
            FROM {FACT} WHERE {_DAYS}
        ) WHERE previous_ended_at > started_at""",
    ),
    DayRule(
        "ENERGY_FITS_POWER",
        "A session's mean power is at most the strongest connector's power, with 5 % for meter tolerance.",
        f"""SELECT session_id FROM {FACT} AS f INNER JOIN dim_station AS s ON s.station_id = f.station_id
        WHERE {_DAYS} AND s.max_power_kw IS NOT NULL AND f.duration_s > 0
        AND toFloat64(f.energy_delivered_kwh) > s.max_power_kw * f.duration_s / 3600 * 1.05 + 0.1""",
    ),
    DayRule(
        "STATION_IS_KNOWN",
        "Every session's station is in dim_station.",
        f"""SELECT session_id FROM {FACT}
        WHERE {_DAYS} AND station_id NOT IN (SELECT station_id FROM dim_station)""",
    ),
)


def broken_rows(client: Client, rule: DayRule, first: date, last: date) -> tuple[int, list[str]]:
    """How many sessions of the days break the rule, and up to ten of their ids."""
    days = {"first": first, "last": last}
    count = client.execute(f"SELECT count() FROM ({rule.session_ids})", days)[0][0]
    examples = client.execute(f"SELECT session_id FROM ({rule.session_ids}) ORDER BY session_id LIMIT 10", days)
    return int(count), [row[0] for row in examples]
