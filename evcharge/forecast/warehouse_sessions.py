"""What training reads of ClickHouse: counts per station of the whole window, and the sessions of a sample of the stations.

The counts are aggregated by ClickHouse, one row a station. The sample is drawn by a hash of the station's id, so that the same
data give the same sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from evcharge.connections import clickhouse, clickhouse_errors
from evcharge.forecast.power_class import usual_power_kw
from evcharge.forecast.sessions import Sessions, Sites
from evcharge.forecast.training import DAY_S, SHORTEST_STAY_S, STAYS_H, SiteCounts, cohort_end_s, days_between

if TYPE_CHECKING:
    from clickhouse_driver import Client

    from evcharge.settings import Settings

#: Sessions that are read row by row at most, for hazards and the score: 2 s and some 30 MB.
MOST_SESSIONS = 250_000
#: A query of training may take so long (s) and so much memory (bytes): the warehouse has others to serve.
_LIMITS = {"max_execution_time": 120, "max_memory_usage": 2_000_000_000, "max_threads": 2}
#: Reasons of OCPP 2.0.1 after which the outlet is out of order.
_FAULTS = ("GroundFault", "PowerLoss", "OvercurrentFault", "EmergencyStop")


@dataclass(frozen=True, eq=False)
class Window:
    """What was read: [since_s, until_s) in seconds since the epoch, all counts in it, and a sample's sessions.

    `sessions` is the number of all sessions in the window.
    """

    since_s: float
    until_s: float
    counts: SiteCounts
    sample: Sessions
    sessions: int


def has_sessions(settings: Settings) -> bool:
    """Whether any finished session is loaded. Raises ServerDownError."""
    with clickhouse_errors(settings):
        client = clickhouse(settings)
        try:
            return bool(client.execute("SELECT 1 FROM fact_charging_sessions LIMIT 1"))
        finally:
            client.disconnect()


def read_window(settings: Settings, days: int) -> Window | None:
    """The newest `days` days of finished sessions; None if there are none. Raises ServerDownError.

    The window ends with the last session that is loaded, not now: the same data give the same window.
    """
    with clickhouse_errors(settings):
        client = clickhouse(settings)
        try:
            return _read(client, days)
        finally:
            client.disconnect()


def _read(client: Client, days: int) -> Window | None:
    ((last,),) = client.execute("SELECT max(ended_at) FROM fact_charging_sessions", settings=_LIMITS)
    until_s = last.replace(tzinfo=UTC).timestamp()
    if until_s <= 0:
        return None
    ((first, count),) = client.execute(
        "SELECT min(started_at), count() FROM fact_charging_sessions WHERE ended_at >= %(since)s "
        "AND started_at >= %(since)s",
        {"since": _at(until_s - days * DAY_S)},
        settings=_LIMITS,
    )
    if not count:
        return None
    since_s = first.replace(tzinfo=UTC).timestamp()
    counts = _counts(client, since_s, until_s)
    return Window(since_s, until_s, counts, _sample(client, since_s, count, counts.sites), count)


def _at(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)


def _counts(client: Client, since_s: float, until_s: float) -> SiteCounts:
    end_s = cohort_end_s(since_s, until_s)
    rows = client.execute(
        "SELECT f.station_id, any(s.time_zone), any(s.total_outlets), uniqExact(f.evse_id), any(s.max_power_kw), "
        "any(s.connector_types), "
        "sumMap([toUInt16(if(toDayOfWeek(f.local_date) >= 6, 24, 0) + f.local_hour)], [toUInt32(1)]), "
        "sumMap(if(f.duration_s >= %(shortest)s, "
        "[toUInt16(arrayCount(x -> f.duration_s >= x * 3600, %(stays)s) - 1)], emptyArrayUInt16()), "
        "if(f.duration_s >= %(shortest)s, [toUInt32(1)], emptyArrayUInt32())) "
        "FROM fact_charging_sessions AS f LEFT JOIN dim_station AS s ON s.station_id = f.station_id "
        "WHERE f.ended_at >= %(since)s AND f.started_at >= %(since)s AND f.started_at < %(end)s "
        "GROUP BY f.station_id ORDER BY f.station_id",
        {
            "since": _at(since_s),
            "end": _at(end_s),
            "shortest": SHORTEST_STAY_S,
            "stays": STAYS_H.tolist(),
        },
        settings=_LIMITS,
    )
    starts, stays = np.zeros((len(rows), 48)), np.zeros((len(rows), len(STAYS_H)))
    for place, row in enumerate(rows):
        for table, (keys, values) in ((starts, row[6]), (stays, row[7])):
            table[place, keys] = values
    sites = Sites(
        tuple(row[0] for row in rows),
        tuple(row[1] or "UTC" for row in rows),
        np.array([max(row[2], row[3]) for row in rows], dtype=np.int64),
        np.array([row[4] or usual_power_kw(row[5]) for row in rows], dtype=np.float64),
    )
    return SiteCounts(sites, starts.reshape(-1, 2, 24), stays, days_between(since_s, end_s))


def _sample(client: Client, since_s: float, count: int, sites: Sites) -> Sessions:
    part = -(-count // MOST_SESSIONS)
    columns: list[Any] = (
        client.execute(
            "SELECT station_id, evse_id, toFloat64(toUnixTimestamp64Milli(started_at)) / 1000, "
            "toFloat64(toUnixTimestamp64Milli(ended_at)) / 1000, ifNull(idle_s, 0), ifNull(queue_wait_s, 0), "
            "ifNull(soc_start_percent, nan), ifNull(soc_end_percent, nan), end_reason IN %(faults)s "
            "FROM fact_charging_sessions WHERE ended_at >= %(since)s AND started_at >= %(since)s "
            "AND cityHash64(station_id) %% %(part)s = 0 "
            "ORDER BY station_id, started_at, session_id LIMIT %(most)s",
            {"since": _at(since_s), "part": part, "faults": _FAULTS, "most": 2 * MOST_SESSIONS},
            columnar=True,
            settings=_LIMITS,
        )
        or [[]] * 9
    )
    number = {station_id: place for place, station_id in enumerate(sites.station_ids)}
    known = np.array([station in number for station in columns[0]], dtype=bool)
    evses = {evse: place for place, evse in enumerate(sorted(set(zip(columns[0], columns[1], strict=True))))}
    started, ended, idle, wait, soc_start, soc_end = (np.array(column, dtype=np.float64) for column in columns[2:8])
    found = Sessions(
        sites,
        np.array([number.get(station, -1) for station in columns[0]], dtype=np.int64),
        np.array([evses[pair] for pair in zip(columns[0], columns[1], strict=True)], dtype=np.int64),
        started,
        ended,
        idle,
        wait,
        soc_start,
        soc_end,
        np.array(columns[8], dtype=bool),
    )
    return found.where(known)
